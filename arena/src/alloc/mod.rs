//! From a size to a block, and back.

mod boxed;

pub(crate) use boxed::*;

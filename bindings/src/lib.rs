//! Lua over the runtime: one state per service, and the native modules.

pub mod library;

mod codecache;
mod hand;
mod profile;
mod raw;
mod seri;

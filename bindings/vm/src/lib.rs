//! The Lua virtual machine.
#![allow(missing_docs)]
pub use mlua;
pub use mlua_sys as ffi;

//! The Lua virtual machine of skein: Lua 5.5.1, unmodified, with what a process full of states needs of it.
//!
//! The machine is one C file (`csrc/onevm.c`) that includes the sources of the crate `lua-src` under macro overrides.
//! Added are objects of the arena that every state reads ([`shared`]) in versions ([`versions`]), one hash seed for all states ([`seed`]), files
//! embedded in the program ([`embedded`]), frozen code of files kept for the process ([`cache`]), strings whose bytes lie in
//! arena blocks ([`external`]), states with counted, limited memory ([`state`]) that may begin as copies of one ([`image`]), and a way to
//! break into what they run ([`interrupt`]).
//!
//! This crate is also the only door to mlua: depend on it, and use [`mlua`] and [`ffi`] from here, so that there is one
//! Lua in the program. mlua keeps nothing in `lua_getextraspace`; nor do we, C modules may have it: what we keep in front of a thread
//! ([`owner`]) lies before that word.
//!
//! # From skynet
//! 3rd/lua (patched Lua) → `csrc/`, luaL_loadfilex with its code cache → [`cache`], the shared hash seed → [`seed`],
//! `lalloc` of service_snlua.c → [`state::Memory`], `signal_hook` → [`interrupt`].

pub mod cache;
mod code;
pub mod embedded;
pub mod external;
pub mod fields;
mod heap;
mod hooks;
pub mod image;
pub mod interrupt;
pub mod owner;
mod pages;
pub mod seed;
pub mod shared;
pub mod state;
pub mod versions;
pub mod walk;

pub use mlua;
pub use mlua_sys as ffi;

//! Lua over the runtime: one state per service, and the native modules.

pub mod core;
pub mod library;

mod codecache;
mod hand;
mod profile;
mod raw;
mod seri;
mod state;

pub use state::{CONTEXT_KEY, ServiceState};

//! Files that are part of the program, under names that begin with [`PREFIX`].
//!
//! The machine opens them wherever it would open a Lua file: `loadfile`, `dofile`, `require`, `package.searchpath`.
//! They do not exist for `io` and `os`.

use std::sync::OnceLock;

/// How the names of embedded files begin.
pub const PREFIX: &str = "skein:/";

/// Finds an embedded file by its whole name.
pub type Find = fn(name: &[u8]) -> Option<&'static [u8]>;

static FIND: OnceLock<Find> = OnceLock::new();

/// Says where embedded files are. The first call wins; a program has one set of them.
pub fn provide(find: Find) {
    let _ = FIND.set(find);
}

/// The file called `name`, if there is one.
pub fn find(name: &[u8]) -> Option<&'static [u8]> {
    FIND.get().and_then(|find| find(name))
}

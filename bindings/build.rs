//! Lists the Lua files that become part of the binary, to run and for editors, and lets C modules find the binary's Lua API.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Folders of this crate that are embedded; their files keep their paths below it.
const FOLDERS: [&str; 2] = ["lualib", "service"];

/// What native modules look like, for editors; never run.
const DECLARATIONS: &str = "lualib/meta";

/// What `src/capi/malloc.rs` replaces.
const MALLOC_FAMILY: [&str; 12] = [
    "malloc",
    "calloc",
    "free",
    "cfree",
    "realloc",
    "reallocarray",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "valloc",
    "pvalloc",
    "malloc_usable_size",
];

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut files = Vec::new();
    for folder in FOLDERS {
        println!("cargo:rerun-if-changed={folder}");
        if root.join(folder).is_dir() {
            collect(&root, Path::new(folder), &mut files)?;
        }
    }
    list(&root, &mut files, "library.rs")?;
    let mut declarations = Vec::new();
    collect(&root, Path::new(DECLARATIONS), &mut declarations)?;
    list(&root, &mut declarations, "declarations.rs")?;

    println!("cargo:rerun-if-changed=csrc");
    cc::Build::new().file("csrc/skynet_error.c").std("c99").opt_level(2).compile("skein_c");

    // C modules and C services look up lua_*, luaL_*, luaopen_* and skynet_* in the program that loads them.
    println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol=lua*");
    println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol=skynet_*");
    // They free what we give them, and we what they give us: one allocator for all objects of the process.
    for name in MALLOC_FAMILY {
        println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol={name}");
    }
    // Where tests that compile such a module find lua.h.
    println!("cargo:rustc-env=SKEIN_LUA_INCLUDE={}", env::var("DEP_SKEIN_VM_INCLUDE").unwrap_or_default());
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}

/// Writes a table of names and contents into `OUT_DIR`.
fn list(root: &Path, files: &mut [String], name: &str) -> io::Result<()> {
    // By bytes: the table is searched by halves.
    files.sort();
    let mut table = String::from("&[\n");
    for file in files {
        let path = root.join(&*file);
        writeln!(table, "    ({file:?}, include_bytes!({path:?})),").expect("a String takes it");
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join(name), table)
}

/// Adds the Lua files below `folder`, with `/` between the parts of their names on every system.
fn collect(root: &Path, folder: &Path, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let path = folder.join(entry?.file_name());
        println!("cargo:rerun-if-changed={}", path.display());
        if root.join(&path).is_dir() {
            if path != Path::new(DECLARATIONS) {
                collect(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|it| it == "lua") {
            let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
            files.push(parts.join("/"));
        }
    }
    Ok(())
}

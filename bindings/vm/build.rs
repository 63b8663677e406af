//! Compiles the virtual machine: one C file that includes the sources of the crate `lua-src`.
//!
//! `-O3` in every profile: an unoptimised interpreter is five times slower, and nobody debugs it through us; at `-O2` calls and
//! methods take a tenth longer.
//! `SKEIN_VM_CFLAGS` adds compiler flags (`-DLUAI_ASSERT -DHARDMEMTESTS` for the checks of CONTRIBUTING.md);
//! `SKEIN_VM_LUA_SRC` names a directory of Lua 5.5.1 sources to take instead.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::{env, panic};

const SOURCES: &str = "lua-5.5.1";

/// The directory of the crate `lua-src`, which it does not tell.
///
/// Asked to build for an impossible target it panics before it touches anything, and the location of that panic is
/// the path of its own `src/lib.rs`.
fn from_panic_location() -> Option<PathBuf> {
    let seen = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&seen);
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        *slot.lock().unwrap() = info.location().map(|at| PathBuf::from(at.file()));
    }));
    let out = PathBuf::from(env::var_os("OUT_DIR")?).join("probe");
    let _ = panic::catch_unwind(|| {
        lua_src::Build::new().out_dir(out).target("no-such-target").build(lua_src::Lua55)
    });
    panic::set_hook(usual);
    let file = seen.lock().unwrap().take()?;
    Some(file.parent()?.parent()?.to_path_buf())
}

/// The same from cargo, for builds that rewrite paths (`--remap-path-prefix`).
fn from_cargo_metadata() -> Option<PathBuf> {
    let manifest = Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    let out = std::process::Command::new(env::var_os("CARGO")?)
        .args(["metadata", "--format-version=1", "--offline", "--manifest-path"])
        .arg(manifest)
        .output()
        .ok()?;
    let json = String::from_utf8(out.stdout).ok()?;
    let found = json.split('"').find(|text| text.ends_with("/lua-src-551.1.0/Cargo.toml"))?;
    Some(Path::new(found).parent()?.to_path_buf())
}

fn sources() -> PathBuf {
    println!("cargo:rerun-if-env-changed=SKEIN_VM_LUA_SRC");
    if let Some(given) = env::var_os("SKEIN_VM_LUA_SRC") {
        return given.into();
    }
    [from_panic_location, from_cargo_metadata]
        .iter()
        .filter_map(|find| Some(find()?.join(SOURCES)))
        .find(|dir| dir.join("lvm.c").is_file())
        .unwrap_or_else(|| panic!("no sources in the crate lua-src; set SKEIN_VM_LUA_SRC to a {SOURCES}/src"))
}

fn main() {
    println!("cargo:rerun-if-changed=csrc");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SKEIN_VM_CFLAGS");
    let dir = sources();
    let mut build = cc::Build::new();
    build
        .file("csrc/onevm.c")
        .include(&dir)
        .include("csrc")
        .std("gnu11")
        .define("LUA_USE_LINUX", None)
        .warnings(false)
        .opt_level(3)
        // cc turns it on beside debug information; it costs the interpreter a register.
        .force_frame_pointer(false)
        .flag_if_supported("-fno-common")
        // One Lua in the program: its own calls need not be replaceable.
        .flag_if_supported("-fno-semantic-interposition")
        .flag_if_supported("-fno-plt")
        .flag_if_supported("-Wno-attributes");
    if env::var_os("CARGO_CFG_SKEIN_TSAN").is_some() {
        build.define("SKEIN_TSAN", None);
    }
    for flag in env::var("SKEIN_VM_CFLAGS").unwrap_or_default().split_whitespace() {
        build.flag(flag);
    }
    build.compile("skein_vm_c");
    println!("cargo:rustc-link-lib=m");
    println!("cargo:rustc-link-lib=dl");
    // Where C modules find lua.h: `DEP_SKEIN_VM_INCLUDE` in the build script of a dependent crate.
    println!("cargo:include={}", dir.display());
}

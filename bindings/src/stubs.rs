//! `skein stubs`: what an editor needs to complete and check `skynet.` and all other modules.
//!
//! The library's own files are annotated for the Lua language server (LuaLS), and the native modules have declarations: both are in
//! the binary, so that they always fit it, and are written into a directory in the form of an addon, a `config.json` beside `library`.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::library;

/// Settings that the addon brings, in the form of `config.json` of LuaLS's addons.
const CONFIG: &str = r#"{
    "name": "skein",
    "words": ["require[%s%(\"']+skynet[%.%)\"']"],
    "settings": {
        "Lua.runtime.version": "Lua 5.5",
        "Lua.diagnostics.globals": ["SERVICE_NAME", "SERVICE_PATH"]
    }
}
"#;

/// The command.
pub fn command() -> Command {
    let dir = Arg::new("dir").value_name("DIR").value_parser(value_parser!(PathBuf)).required(true);
    Command::new("stubs")
        .about("Writes declarations of all modules, for editors")
        .arg(dir.help("Where to; files of an earlier time are replaced"))
}

/// Writes them, and says how to use them; the status to end with.
///
/// # Errors
/// Whoever reads `out` or `errors` went away.
pub fn run(matches: &ArgMatches, out: &mut impl Write, errors: &mut impl Write) -> io::Result<u8> {
    let dir = matches.get_one::<PathBuf>("dir").expect("clap requires it");
    let files = match write(dir) {
        Ok(files) => files,
        Err((path, error)) => {
            writeln!(errors, "skein stubs: {}: {error}", path.display())?;
            return Ok(1);
        }
    };
    let library = dir.join("library");
    writeln!(out, "{files} modules in {}. In the .luarc.json of your project:", library.display())?;
    writeln!(out, "{{")?;
    writeln!(out, "    \"runtime.version\": \"Lua 5.5\",")?;
    writeln!(out, "    \"workspace.library\": [{:?}],", library.to_string_lossy())?;
    writeln!(out, "    \"diagnostics.globals\": [\"SERVICE_NAME\", \"SERVICE_PATH\"]")?;
    writeln!(out, "}}")?;
    Ok(0)
}

/// How many files were written, or which could not be.
fn write(dir: &Path) -> Result<usize, (PathBuf, io::Error)> {
    let put = |path: PathBuf, bytes: &[u8]| {
        let folder = path.parent().expect("it is below `dir`");
        fs::create_dir_all(folder).and_then(|()| fs::write(&path, bytes)).map_err(|error| (path, error))
    };
    let mut count = 0;
    for (file, bytes) in library::for_editors() {
        let name = file.strip_prefix("lualib/").expect("the library is there");
        put(dir.join("library").join(name), bytes)?;
        count += 1;
    }
    put(dir.join("config.json"), CONFIG.as_bytes())?;
    Ok(count)
}

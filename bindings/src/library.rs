//! The Lua library and the system services, embedded in the binary, and which file wins over which.
//!
//! Embedded files have names that begin with `skein:/` and are opened like any Lua file; they stand behind the patterns
//! of the config, so a file of the user's own wins. `skein_library = true` turns that round. Names of native modules
//! are not files: they are preloaded and always ours.
//!
//! # From skynet
//! `lua_path`, `luaservice` and `lualoader` of a config file → [`Paths`].

use std::path::{Path, PathBuf};
use std::sync::Once;

use skein_vm::embedded;

/// Where the library is.
pub const LUALIB: &str = "skein:/lualib/?.lua;skein:/lualib/?/init.lua";
/// Where the services are.
pub const SERVICES: &str = "skein:/service/?.lua";

const LOADER: &str = "lualib/loader.lua";

/// Every file, by its path in this crate, in order of bytes.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/library.rs"));

/// What native modules look like, for editors, as [`FILES`].
static DECLARATIONS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/declarations.rs"));

/// Lets the virtual machine open the embedded files. Every way to make a state goes through here.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| embedded::provide(find));
}

/// The embedded file of a whole name, such as `skein:/lualib/skynet.lua`.
pub fn find(name: &[u8]) -> Option<&'static [u8]> {
    let path = name.strip_prefix(embedded::PREFIX.as_bytes())?;
    let at = FILES.binary_search_by(|(file, _)| file.as_bytes().cmp(path)).ok()?;
    Some(FILES[at].1)
}

/// The whole names of all embedded files.
pub fn names() -> impl Iterator<Item = String> {
    FILES.iter().map(|(file, _)| format!("{}{file}", embedded::PREFIX))
}

/// Paths and contents of what an editor needs to know the library: its modules, and declarations of the native ones.
pub fn for_editors() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    FILES.iter().chain(DECLARATIONS).copied().filter(|(file, _)| file.starts_with("lualib/"))
}

/// Where a service looks for Lua files: the config's values with ours beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// `package.path`.
    pub lua_path: String,
    /// `package.cpath`.
    pub lua_cpath: String,
    /// Patterns of service scripts.
    pub services: String,
    /// The file that loads a service.
    pub loader: String,
}

impl Paths {
    /// Reads the keys of a config; `key` answers its values.
    pub fn new(key: impl Fn(&str) -> Option<String>) -> Self {
        let library_first = key("skein_library").as_deref() == Some("true");
        let lua_path = key("lua_path").unwrap_or_else(|| "./lualib/?.lua;./lualib/?/init.lua".to_owned());
        let services = key("luaservice").unwrap_or_else(|| "./service/?.lua".to_owned());
        let built_in = || format!("{}{LOADER}", embedded::PREFIX);
        let loader = match key("lualoader") {
            // A config that still names the loader of a skynet tree that is gone.
            Some(own) if own.ends_with(LOADER) && !Path::new(&own).exists() => built_in(),
            Some(own) => own,
            None if !library_first && Path::new(LOADER).is_file() => format!("./{LOADER}"),
            None => built_in(),
        };
        Self {
            lua_path: beside(&lua_path, LUALIB, library_first),
            lua_cpath: key("lua_cpath").unwrap_or_else(|| "./luaclib/?.so".to_owned()),
            services: beside(&services, SERVICES, library_first),
            loader,
        }
    }
}

fn beside(own: &str, embedded: &str, embedded_first: bool) -> String {
    let own = own.trim_matches(';');
    match (own.is_empty(), embedded_first) {
        (true, _) => embedded.to_owned(),
        (false, true) => format!("{embedded};{own}"),
        (false, false) => format!("{own};{embedded}"),
    }
}

/// A file of the user's that is found before an embedded one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// What would be found without it.
    pub embedded: String,
    /// What is found.
    pub file: PathBuf,
}

/// All files that shadow embedded ones, `skynet.lua` first, then in order of names.
pub fn shadows(paths: &Paths) -> Vec<Shadow> {
    let mut found: Vec<Shadow> = FILES.iter().filter_map(|(file, _)| shadow(paths, file)).collect();
    found.sort_by_key(|it| !it.embedded.ends_with("/lualib/skynet.lua"));
    found
}

fn shadow(paths: &Paths, file: &str) -> Option<Shadow> {
    let (folder, rest) = file.split_once('/')?;
    let name = rest.strip_suffix(".lua")?;
    let (patterns, name) = match folder {
        "lualib" => (&paths.lua_path, name.strip_suffix("/init").unwrap_or(name)),
        _ => (&paths.services, name),
    };
    let first = patterns
        .split(';')
        .filter(|pattern| !pattern.is_empty())
        .map(|pattern| pattern.replace('?', name))
        .find(|path| find(path.as_bytes()).is_some() || Path::new(path).is_file())?;
    let embedded = format!("{}{file}", embedded::PREFIX);
    (!first.starts_with(embedded::PREFIX)).then(|| Shadow { embedded, file: first.into() })
}

/// The line of the start-up log that tells about shadowing, if there is any: once for each process.
pub fn notice(paths: &Paths) -> Option<String> {
    static ONCE: Once = Once::new();
    let mut line = None;
    ONCE.call_once(|| {
        line = shadows(paths).first().map(|first| {
            format!("using {}; skein_library = true uses the built-in one", first.file.display())
        });
    });
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(keys: &[(&str, &str)]) -> Paths {
        Paths::new(|key| keys.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_library_stands_behind_the_users_own_patterns() {
        let paths =
            paths(&[("lua_path", "./a/?.lua;"), ("luaservice", "./s/?.lua"), ("lualoader", "./l.lua")]);
        assert_eq!(paths.lua_path, format!("./a/?.lua;{LUALIB}"));
        assert_eq!(paths.services, format!("./s/?.lua;{SERVICES}"));
        assert_eq!(paths.lua_cpath, "./luaclib/?.so");
        assert_eq!(paths.loader, "./l.lua");
    }

    #[test]
    fn skein_library_turns_it_round() {
        let paths = paths(&[("luaservice", "./s/?.lua"), ("skein_library", "true")]);
        assert_eq!(paths.services, format!("{SERVICES};./s/?.lua"));
        assert_eq!(paths.loader, "skein:/lualib/loader.lua");
    }

    #[test]
    fn files_are_in_the_order_that_find_needs() {
        assert!(FILES.is_sorted_by_key(|(file, _)| file.as_bytes()));
        for name in names() {
            assert!(find(name.as_bytes()).is_some(), "{name}");
        }
        assert_eq!(find(b"skein:/lualib/no-such.lua"), None);
        assert_eq!(find(b"lualib/skynet.lua"), None);
    }
}

//! Reads a skynet configuration file: Lua text whose globals are the keys.
//!
//! The text runs in an empty environment where only `include "file"` can be called. Before it is compiled, every `$NAME`
//! in it becomes the environment variable of that name, as raw text. Included files are named relative to the file that
//! includes them, go through the same steps, and set the same globals.
//!
//! # From skynet
//! skynet_main.c: `load_config` (the Lua text in it) → [`read`], `_init_env` → `settings`.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::{env, fs, io};

use skein_runtime::Settings;
use skein_vm::mlua::{self, Lua, Table, Value, chunk::ChunkMode};
use skein_vm::state::Aside;

/// Files may include files to this depth; one that includes itself gets there.
const MAX_DEPTH: usize = 100;

/// Why a configuration cannot be used. `Display` is one line: the file, the place, and what is wrong there.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{from}{file}: {}", reason(.kind))]
    File {
        /// Its name.
        file: String,
        /// Where it was included, `file:line: `, or nothing.
        from: String,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// A `$NAME` names no environment variable.
    #[error("{file}:{line}: os.getenv() failed: {name}")]
    Environment {
        /// The file.
        file: String,
        /// The line of the first such name.
        line: usize,
        /// The variable.
        name: String,
    },
    /// The text is no Lua, or running it failed. The message says where.
    #[error("{0}")]
    Lua(String),
    /// Files include each other without end.
    #[error("{file}: include: more than {MAX_DEPTH} files deep")]
    Depth {
        /// The file that was to be included.
        file: String,
    },
    /// A global has a name that is no string.
    #[error("{file}: Invalid config table: key {key} is a {found}, expected a string")]
    Key {
        /// The file.
        file: String,
        /// The key as text.
        key: String,
        /// Its type.
        found: &'static str,
    },
    /// A global has a value that is no text.
    #[error(
        "{file}: Invalid config table key = {key}: expected a string, number or boolean, found a {found}"
    )]
    Value {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// The type of its value.
        found: &'static str,
    },
}

fn reason(kind: &io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::NotFound => "No such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "Permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "Is a directory".to_owned(),
        other => other.to_string(),
    }
}

/// Reads the file at `path` and what it includes.
///
/// # Errors
///
/// Returns the first thing that is wrong.
pub fn read(path: impl AsRef<Path>) -> Result<Settings, ConfigError> {
    let name = path.as_ref().as_os_str().as_bytes();
    let shown = String::from_utf8_lossy(name).into_owned();
    let failed = |error: mlua::Error| config_error(&error);
    // No library at all: the file sees `include` and nothing else. Aside, since it may name a domain, and so a seed.
    let aside = Aside::new().ok_or_else(|| ConfigError::Lua(format!("{shown}: not enough memory")))?;
    // SAFETY: the state is fresh, and lives until we return; what we have made of it is gone by then.
    let lua = unsafe { Lua::get_or_init_from_ptr(aside.as_ptr()) };
    let reader = Reader::new(lua).map_err(failed)?;
    reader.run(lua, name, String::new()).map_err(failed)?;
    settings(lua, &reader.table, &shown)
}

/// The files being read, and the globals that they set.
#[derive(Clone)]
struct Reader {
    table: Table,
    /// The directory of each file that is being read, the innermost last.
    directories: Rc<RefCell<Vec<PathBuf>>>,
}

impl Reader {
    fn new(lua: &Lua) -> mlua::Result<Self> {
        let table = lua.create_table()?;
        let reader = Self { table: table.clone(), directories: Rc::default() };
        let inner = Self { table: table.clone(), directories: Rc::clone(&reader.directories) };
        let include = lua.create_function(move |lua, name: mlua::LuaString| {
            let from = lua
                .inspect_stack(1, |frame| {
                    let (source, line) = (frame.source(), frame.current_line());
                    match (source.short_src, line) {
                        (Some(source), Some(line)) => format!("{source}:{line}: "),
                        _ => String::new(),
                    }
                })
                .unwrap_or_default();
            inner.run(lua, &name.as_bytes(), from)
        })?;
        // Not a global of the file's: only an assignment makes it one.
        let fallback = lua.create_table()?;
        fallback.raw_set("include", include)?;
        let meta = lua.create_table()?;
        meta.raw_set("__index", fallback)?;
        table.set_metatable(Some(meta))?;
        Ok(reader)
    }

    /// Reads, expands, compiles and runs one file.
    fn run(&self, lua: &Lua, name: &[u8], from: String) -> mlua::Result<()> {
        let shown = String::from_utf8_lossy(name).into_owned();
        let depth = self.directories.borrow().len();
        if depth >= MAX_DEPTH {
            return Err(mlua::Error::external(ConfigError::Depth { file: shown }));
        }
        let directory = self.directories.borrow().last().cloned().unwrap_or_else(|| PathBuf::from("."));
        let path = directory.join(OsStr::from_bytes(name));
        let text = fs::read(&path).map_err(|error| {
            let file = path.display().to_string();
            mlua::Error::external(ConfigError::File { file, from, kind: error.kind() })
        })?;
        let text = expand(&text, &shown, |name| env::var_os(OsStr::from_bytes(name)))
            .map_err(mlua::Error::external)?;
        self.directories.borrow_mut().push(path.parent().map_or(directory, Path::to_path_buf));
        let result = lua
            .load(text)
            .set_name(format!("@{shown}"))
            .set_mode(ChunkMode::Text)
            .set_environment(self.table.clone())
            .exec();
        self.directories.borrow_mut().pop();
        // The only message of Lua's that does not say where.
        result.map_err(|error| match error {
            mlua::Error::SyntaxError { message, .. } if message.starts_with("attempt to load") => {
                mlua::Error::external(ConfigError::Lua(format!("{shown}: {message}")))
            }
            other => other,
        })
    }
}

/// Replaces every `$NAME` by what `variable` says.
fn expand<V: AsRef<OsStr>>(
    text: &[u8],
    file: &str,
    variable: impl Fn(&[u8]) -> Option<V>,
) -> Result<Vec<u8>, ConfigError> {
    let mut expanded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        let (before, after) = rest.split_at(at);
        expanded.extend_from_slice(before);
        let end = after[1..].iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
        let (name, behind) = after[1..].split_at(end.unwrap_or(after.len() - 1));
        if name.is_empty() {
            expanded.push(b'$');
        } else if let Some(value) = variable(name) {
            expanded.extend_from_slice(value.as_ref().as_bytes());
        } else {
            let read = &text[..text.len() - after.len()];
            return Err(ConfigError::Environment {
                file: file.to_owned(),
                line: 1 + read.iter().filter(|byte| **byte == b'\n').count(),
                name: String::from_utf8_lossy(name).into_owned(),
            });
        }
        rest = behind;
    }
    expanded.extend_from_slice(rest);
    Ok(expanded)
}

/// Turns the globals into settings, in an order that does not depend on hashes.
fn settings(lua: &Lua, table: &Table, file: &str) -> Result<Settings, ConfigError> {
    let mut settings = Settings::new();
    let mut wrong: Option<(Vec<u8>, ConfigError)> = None;
    table
        .for_each(|key: Value, value: Value| {
            let Value::String(name) = &key else {
                let shown = key.to_string()?;
                let error = ConfigError::Key { file: file.to_owned(), key: shown, found: key.type_name() };
                wrong = Some((Vec::new(), error));
                return Ok(());
            };
            let name = name.as_bytes().to_vec();
            match &value {
                Value::Boolean(flag) => {
                    settings.set(&name, flag.to_string());
                }
                Value::Integer(_) | Value::Number(_) => {
                    // Lua's own form, which is not Rust's: 3.0, 1e+15.
                    let text = lua.coerce_string(value.clone())?;
                    settings.set(&name, text.map_or_else(Vec::new, |text| text.as_bytes().to_vec()));
                }
                Value::String(text) => {
                    settings.set(&name, &*text.as_bytes());
                }
                _ if wrong.as_ref().is_none_or(|(first, _)| name < *first) => {
                    let key = String::from_utf8_lossy(&name).into_owned();
                    let found = value.type_name();
                    wrong = Some((name, ConfigError::Value { file: file.to_owned(), key, found }));
                }
                _ => {}
            }
            Ok(())
        })
        .map_err(|error| config_error(&error))?;
    wrong.map_or(Ok(settings), |(_, error)| Err(error))
}

/// Our own error from inside, or Lua's message without its traceback.
fn config_error(error: &mlua::Error) -> ConfigError {
    if let Some(ours) = error.downcast_ref::<ConfigError>() {
        return ours.clone();
    }
    let text = match error {
        mlua::Error::CallbackError { cause, .. } => return config_error(cause),
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        mlua::Error::RuntimeError(message) => message.clone(),
        other => other.to_string(),
    };
    let message = text.split("\nstack traceback:").next().unwrap_or_default();
    ConfigError::Lua(message.replace('\n', " "))
}

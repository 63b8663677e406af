//! `skein check`: reads a config, resolves every path in it, and names each problem with file and key.
//!
//! A *problem* stops the node or one of its first services, and makes the exit status 1. A *note* is worth knowing: a
//! directory on a search path that does not exist, a key of skynet's that has no effect yet.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use skein_runtime::Settings;

use crate::config;
use crate::library::{self, Paths};

/// Keys whose value is a list of patterns, and whether the built-in library stands behind them.
const SEARCH_PATHS: [(&str, &str); 4] = [
    ("luaservice", "./service/?.lua"),
    ("lua_path", "./lualib/?.lua;./lualib/?/init.lua"),
    ("lua_cpath", "./luaclib/?.so"),
    ("snax", ""),
];

/// Native service modules that a config may name.
const MODULES: [&str; 3] = ["snlua", "logger", "harbor"];

/// Checks the config file `path`, writes what it found to `out`, and returns the exit status.
///
/// # Errors
/// When `out` cannot be written.
pub fn run(path: &Path, out: &mut dyn Write) -> io::Result<u8> {
    let file = path.display();
    let settings = match config::read(path) {
        Ok(settings) => settings,
        Err(problem) => {
            writeln!(out, "problem: {problem}")?;
            return Ok(1);
        }
    };
    let paths = Paths::new(|key| settings.text(key));
    let mut report = Report::default();
    report.values(&settings);
    report.modules(&settings);
    report.scripts(&settings, &paths);
    report.files(&settings);
    report.search_paths(&settings);

    writeln!(out, "{file}: {} keys", settings.iter().count())?;
    let width = report.resolved.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    for (what, place) in &report.resolved {
        writeln!(out, "  {what:width$}  {place}")?;
    }
    for shadow in library::shadows(&paths) {
        writeln!(out, "shadow: {} is used instead of {}", shadow.file.display(), shadow.embedded)?;
    }
    for note in &report.notes {
        writeln!(out, "note: {file}: {note}")?;
    }
    for problem in &report.problems {
        writeln!(out, "problem: {file}: {problem}")?;
    }
    match report.problems.len() {
        0 => writeln!(out, "no problems")?,
        1 => writeln!(out, "1 problem")?,
        many => writeln!(out, "{many} problems")?,
    }
    Ok(u8::from(!report.problems.is_empty()))
}

/// What a check found, in the order it will be read.
#[derive(Default)]
struct Report {
    resolved: Vec<(String, String)>,
    notes: Vec<String>,
    problems: Vec<String>,
}

impl Report {
    fn problem(&mut self, key: &str, text: impl AsRef<str>) {
        self.problems.push(format!("{key}: {}", text.as_ref()));
    }

    fn note(&mut self, key: &str, text: impl AsRef<str>) {
        self.notes.push(format!("{key}: {}", text.as_ref()));
    }

    fn found(&mut self, key: &str, value: &str, place: impl Into<String>) {
        self.resolved.push((format!("{key} = {value}"), place.into()));
    }

    /// Keys that must hold a number, a size or a yes.
    fn values(&mut self, settings: &Settings) {
        if let Err(problem) = settings.threads() {
            self.problem("thread", problem.to_string());
        }
        if let Err(problem) = settings.arena_limit() {
            self.problem("arena_limit", problem.to_string());
        }
        if let Err(problem) = settings.cluster_inbound_limit() {
            self.problem("cluster_inbound_limit", problem.to_string());
        }
        if let Some(text) = settings.text("harbor") {
            match text.parse::<u32>() {
                Ok(0) => {
                    if settings.get("standalone").is_some() {
                        self.problem("standalone", "must not be set when harbor is 0");
                    }
                }
                Ok(1..=255) => self.several_nodes(settings),
                _ => self.problem("harbor", format!("expected a number from 0 to 255, found {text:?}")),
            }
        } else {
            self.several_nodes(settings);
        }
        for key in ["profile", "enablessl", "skein_library"] {
            match settings.text(key).as_deref() {
                None | Some("true" | "false") => {}
                Some(other) => {
                    self.problem(
                        key,
                        format!("expected true or false, found {other:?}, which counts as false"),
                    );
                }
            }
        }
    }

    /// A node of a harbor needs to know its master and itself.
    fn several_nodes(&mut self, settings: &Settings) {
        for key in ["address", "master"] {
            if settings.get(key).is_none() {
                self.problem(key, "needed because harbor is not 0 (a single node says harbor = 0)");
            }
        }
    }

    /// The native modules that start first.
    fn modules(&mut self, settings: &Settings) {
        if !settings.cpath().split(';').all(|pattern| pattern.is_empty() || pattern.contains('?')) {
            self.problem("cpath", format!("every pattern needs a `?`, found {:?}", settings.cpath()));
        }
        for (key, text) in [("bootstrap", settings.bootstrap()), ("logservice", settings.log_service())] {
            let module = text.split_whitespace().next().unwrap_or_default();
            let shared = settings.cpath();
            let mut objects = shared.split(';').map(|pattern| pattern.replace('?', module));
            if MODULES.contains(&module) {
                self.found(key, &text, format!("built-in module {module}"));
            } else if let Some(object) = objects.find(|it| Path::new(it).is_file()) {
                self.found(key, &text, object);
            } else {
                self.problem(key, format!("no module {module:?}; there are {}", MODULES.join(", ")));
            }
        }
    }

    /// Lua files that must be there for the node to come up.
    fn scripts(&mut self, settings: &Settings, paths: &Paths) {
        self.must_open("lualoader", &paths.loader);
        if let Some(preload) = settings.text("preload") {
            if library::find(paths.loader.as_bytes()).is_some() || readable(&preload) {
                self.must_open("preload", &preload);
            } else {
                // A loader of the application's may read it as a list, say.
                self.note("preload", format!("no file {preload}; {} says what it means", paths.loader));
            }
        }
        let bootstrap = settings.bootstrap();
        let mut words = bootstrap.split_whitespace();
        if words.next() == Some("snlua") {
            match words.next() {
                Some(name) => self.service(paths, "bootstrap", name),
                None => self.problem("bootstrap", "snlua needs the name of a service behind it"),
            }
        }
        if settings.log_service() == "snlua" {
            let logger = settings.text("logger").unwrap_or_default();
            match logger.split_whitespace().next() {
                Some(name) => self.service(paths, "logger", name),
                None => self.problem("logger", "names the Lua log service, and is empty"),
            }
        }
        let start = settings.text("start").unwrap_or_else(|| "main".into());
        if settings.bootstrap() == "snlua bootstrap" {
            let name = start.split_whitespace().next().unwrap_or_default().to_owned();
            self.service(paths, "start", &name);
        }
    }

    /// A service's script, looked for as the loader does.
    fn service(&mut self, paths: &Paths, key: &str, name: &str) {
        let tried: Vec<String> =
            paths.services.split(';').filter(|it| !it.is_empty()).map(|it| it.replace('?', name)).collect();
        match tried.iter().find(|it| readable(it)) {
            Some(place) => {
                let place = place.clone();
                self.found(key, name, place);
            }
            None => {
                self.problem(key, format!("no file for the service {name:?}; tried {}", tried.join(", ")))
            }
        }
    }

    fn must_open(&mut self, key: &str, name: &str) {
        if readable(name) {
            let kind = if library::find(name.as_bytes()).is_some() { "built in" } else { "found" };
            self.found(key, name, kind);
        } else {
            self.problem(key, format!("cannot open {name}"));
        }
    }

    /// Files and directories that are written to or read by name.
    fn files(&mut self, settings: &Settings) {
        if settings.log_service() == "logger"
            && let Some(name) = settings.text("logger")
        {
            match fs::OpenOptions::new().append(true).open(&name) {
                Ok(_) => self.found("logger", &name, "appended to"),
                Err(problem) if problem.kind() == io::ErrorKind::NotFound => {
                    let folder = folder_of(&name);
                    if folder.is_dir() {
                        self.found("logger", &name, "will be created");
                    } else {
                        self.problem("logger", format!("no directory {}", folder.display()));
                    }
                }
                Err(problem) => self.problem("logger", format!("cannot append to {name}: {problem}")),
            }
        }
        if let Some(folder) = settings.log_path() {
            if folder.is_dir() {
                self.found("logpath", &folder.display().to_string(), "message logs");
            } else {
                self.note("logpath", format!("no directory {}, so no message logs", folder.display()));
            }
        }
        if let Some(file) = settings.daemon() {
            self.pid_file(&file);
        }
        if let Some(nodes) = settings.text("cluster") {
            self.must_open("cluster", &nodes);
        }
        if settings.text("enablessl").as_deref() == Some("true") {
            for (key, default) in [("certfile", "./server-cert.pem"), ("keyfile", "./server-key.pem")] {
                let name = settings.text(key).unwrap_or_else(|| default.into());
                if readable(&name) {
                    self.found(key, &name, "found");
                } else {
                    self.note(key, format!("cannot open {name}, so nobody can be served over TLS"));
                }
            }
        }
    }

    fn pid_file(&mut self, file: &Path) {
        let shown = file.display().to_string();
        if let Ok(text) = fs::read_to_string(file)
            && let Ok(pid) = text.trim().parse::<u32>()
            && Path::new("/proc").join(pid.to_string()).exists()
        {
            return self.problem("daemon", format!("{shown} names the running process {pid}"));
        }
        let folder = folder_of(&shown);
        if folder.is_dir() {
            self.found("daemon", &shown, "pid file");
        } else {
            self.problem("daemon", format!("no directory {}", folder.display()));
        }
    }

    /// Directories that the search paths name.
    fn search_paths(&mut self, settings: &Settings) {
        for (key, default) in SEARCH_PATHS {
            let given = settings.text(key);
            let patterns = given.clone().unwrap_or_else(|| default.into());
            for pattern in patterns.split(';').filter(|it| !it.is_empty()) {
                if !pattern.contains('?') {
                    self.note(key, format!("the pattern {pattern} has no `?`"));
                }
                let fixed = pattern.split('?').next().unwrap_or_default();
                let folder = folder_of(fixed);
                // A default that is not there is no news: the built-in library needs none of them.
                if given.is_some() && !folder.is_dir() {
                    self.note(key, format!("no directory {}", folder.display()));
                }
            }
        }
    }
}

/// Whether Lua could open the file, embedded ones included.
fn readable(name: &str) -> bool {
    library::find(name.as_bytes()).is_some() || Path::new(name).is_file()
}

/// The directory part of a name; `.` when it has none.
fn folder_of(name: &str) -> PathBuf {
    match name.rfind('/') {
        Some(0) => PathBuf::from("/"),
        Some(at) => PathBuf::from(&name[..at]),
        None => PathBuf::from("."),
    }
}

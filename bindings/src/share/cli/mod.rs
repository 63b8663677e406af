//! `skein share`: the tables of a domain, from the command line.
//!
//! For people and for scripts: the status is 0 if all is well, 1 if something is wrong or cannot be done, and for `diff` if there is a
//! difference. A domain is named as the config key `domain` names it.

mod lines;
mod load;

use std::{
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use clap::{Arg, ArgMatches, Command, value_parser};
use skein_sharedata::Tables;
use skein_vm::mlua::Lua;
use skein_vm::shared;

use super::{domain, explain};
use crate::arena_cli::{age, bytes};
use lines::{Lines, compare};

/// The command and its subcommands.
pub fn command() -> Command {
    let domain = || {
        let domain = Arg::new("domain").value_name("DOMAIN").required(true);
        domain.help("The domain's name, or its directory")
    };
    let name = || Arg::new("name").value_name("NAME").required(true).help("What the table is called");
    let file = || {
        let file = Arg::new("file").value_name("FILE").value_parser(value_parser!(PathBuf)).required(true);
        file.help("A Lua file that returns a table, or .json, or .msgpack")
    };
    let sub = |it: &'static str, about: &'static str| Command::new(it).about(about).arg(domain());
    Command::new("share")
        .about("Publishes, shows and compares the tables that the processes of a domain share")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            sub("publish", "Makes a file the current version of a table, for all processes at once")
                .arg(name())
                .arg(file()),
        )
        .subcommand(sub("ls", "Lists the tables, who reads them, and old versions that are still read"))
        .subcommand(
            sub("show", "Prints a table, a line for each value")
                .arg(name())
                .arg(Arg::new("path").value_name("PATH").help("Only what begins so, as in `.items[3]`")),
        )
        .subcommand(sub("diff", "Says what would change if a file were published").arg(name()).arg(file()))
        .subcommand(sub("check", "Compares all files with what they have to be"))
        .subcommand(sub("rm", "Takes a table out of the domain; who reads it keeps it").arg(name()))
}

/// Runs what `matches`, of [`command`], ask for; the status to end with.
///
/// # Errors
/// Whoever reads `out` or `errors` went away.
pub fn run(matches: &ArgMatches, out: &mut impl Write, errors: &mut impl Write) -> io::Result<u8> {
    let (command, matches) = matches.subcommand().expect("clap requires one");
    let done = match command {
        "publish" => publish(matches, out),
        "ls" => list(matches, out),
        "show" => show(matches, out),
        "diff" => diff(matches, out),
        "check" => check(matches, out),
        _ => remove(matches, out),
    };
    match done {
        Ok(status) => Ok(status),
        Err(Failure::Output(error)) => Err(error),
        Err(Failure::Text(text)) => {
            writeln!(errors, "skein share {command}: {text}")?;
            Ok(1)
        }
    }
}

/// Why a command ended early.
#[derive(Debug)]
enum Failure {
    /// Whoever reads the output went away.
    Output(io::Error),
    /// For the user: one line.
    Text(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl From<skein_sharedata::Error> for Failure {
    fn from(error: skein_sharedata::Error) -> Failure {
        Failure::Text(explain(&error))
    }
}

fn failure(text: impl Display) -> Failure {
    Failure::Text(text.to_string())
}

fn text<'a>(matches: &'a ArgMatches, key: &str) -> &'a str {
    matches.get_one::<String>(key).expect("clap requires it")
}

/// The tables of the domain, which has to be there.
fn tables(matches: &ArgMatches) -> Result<Arc<Tables>, Failure> {
    let name = text(matches, "domain");
    let found = Tables::find(&domain::options(name), shared::machine())?;
    found.ok_or_else(|| failure(format_args!("there is no domain {name}, or it never had a table")))
}

/// A state that hashes as the domain does.
fn state(tables: &Tables) -> Result<Lua, Failure> {
    domain::adopt_seed(tables).map_err(failure)?;
    Ok(Lua::new())
}

fn publish(matches: &ArgMatches, out: &mut impl Write) -> Result<u8, Failure> {
    let (name, file) = (text(matches, "name"), matches.get_one::<PathBuf>("file").expect("clap requires it"));
    let tables = Tables::open(&domain::options(text(matches, "domain")), shared::machine())?;
    let lua = state(&tables)?;
    let table = load::file(&lua, file).map_err(failure)?;
    let segment = load::freeze(&lua, &table, name, &tables)?;
    let header = segment.header();
    writeln!(
        out,
        "{name}: version {}, {}, {} tables, {} strings",
        segment.version(),
        bytes(segment.size() as u64),
        header.tables,
        header.strings
    )?;
    Ok(0)
}

fn list(matches: &ArgMatches, out: &mut impl Write) -> Result<u8, Failure> {
    let tables = tables(matches)?;
    let numbers = |of: &[u32]| match of {
        [] => "-".to_owned(),
        some => some.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
    };
    writeln!(out, "version       size      age  publisher  name, readers")?;
    for it in tables.list()? {
        let (size, age) = (bytes(it.size), age(it.published_ns));
        let readers = numbers(&it.readers);
        writeln!(out, "{:7} {size:>10} {age:>8} {:10}  {}, {readers}", it.version, it.pid, it.name)?;
    }
    for it in tables.others()? {
        let what = if it.finished { "old, read by" } else { "being filled by" };
        let size = if it.finished { bytes(it.size) } else { "-".to_owned() };
        writeln!(out, "      - {size:>10}  {}: {what} {}", it.file, numbers(&it.readers))?;
    }
    Ok(0)
}

/// The lines of a published table.
fn published(tables: &Arc<Tables>, lua: &Lua, name: &str) -> Result<Lines, Failure> {
    let segment = tables.current(name)?;
    let segment = segment.ok_or_else(|| failure(format_args!("there is no table {name}")))?;
    let root = load::push(lua, &segment).map_err(failure)?;
    lines::of(&root).map_err(failure)
}

fn show(matches: &ArgMatches, out: &mut impl Write) -> Result<u8, Failure> {
    let (tables, name) = (tables(matches)?, text(matches, "name"));
    let lua = state(&tables)?;
    let prefix = matches.get_one::<String>("path").map_or("", String::as_str);
    let mut found = 0;
    for (path, value) in published(&tables, &lua, name)? {
        // `.item` does not mean `.items`.
        let rest = path.strip_prefix(prefix);
        if rest.is_some_and(|it| it.is_empty() || prefix.is_empty() || it.starts_with(['.', '[', '<'])) {
            found += 1;
            writeln!(out, "{path} = {value}")?;
        }
    }
    if found == 0 {
        return Err(failure(format_args!("{name} has nothing at {prefix}")));
    }
    Ok(0)
}

fn diff(matches: &ArgMatches, out: &mut impl Write) -> Result<u8, Failure> {
    let (tables, name) = (tables(matches)?, text(matches, "name"));
    let file = matches.get_one::<PathBuf>("file").expect("clap requires it");
    let lua = state(&tables)?;
    let before = published(&tables, &lua, name)?;
    let after = load::file(&lua, file).and_then(|it| lines::of(&it)).map_err(failure)?;
    let differences = compare(&before, &after);
    for line in &differences {
        writeln!(out, "{line}")?;
    }
    Ok(u8::from(!differences.is_empty()))
}

fn check(matches: &ArgMatches, out: &mut impl Write) -> Result<u8, Failure> {
    let (problems, count) = tables(matches)?.check()?;
    for problem in &problems {
        writeln!(out, "problem: {}", explain(problem))?;
    }
    let of = if count == 1 { "1 table".to_owned() } else { format!("{count} tables") };
    match problems.len() {
        0 => writeln!(out, "{of}, no problems")?,
        1 => writeln!(out, "{of}, 1 problem")?,
        many => writeln!(out, "{of}, {many} problems")?,
    }
    Ok(u8::from(!problems.is_empty()))
}

fn remove(matches: &ArgMatches, out: &mut impl Write) -> Result<u8, Failure> {
    let name = text(matches, "name");
    if !tables(matches)?.remove(name)? {
        return Err(failure(format_args!("there is no table {name}")));
    }
    writeln!(out, "{name}: removed")?;
    Ok(0)
}

//! The `skein` binary: a config file in, a node up.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

/// What `skein` without a config file prints; skynet's users know the second line.
const USAGE: &str = "Need a config file.\nusage: skein configfilename";

/// Anything but a running node ends with this status, as in skynet.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let matches = command_line().get_matches();
    if let Some((name, arguments)) = matches.subcommand() {
        return command(name, arguments);
    }
    let Some(config) = matches.get_one::<PathBuf>("config") else {
        eprintln!("{USAGE}");
        return ExitCode::from(FAILED);
    };
    match skein_bindings::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            if !problem.is_logged() {
                eprintln!("{problem}");
            }
            ExitCode::from(FAILED)
        }
    }
}

/// Runs a subcommand; what it finds wrong is a status that is not 0.
fn command(name: &str, arguments: &ArgMatches) -> ExitCode {
    let (out, errors) = (&mut io::stdout().lock(), &mut io::stderr());
    let status = match name {
        "check" => {
            skein_bindings::check::run(arguments.get_one::<PathBuf>("config").expect("clap requires it"), out)
        }
        "arena" => skein_bindings::arena_cli::run(arguments, out, errors),
        "share" => skein_bindings::share_cli::run(arguments, out, errors),
        "stubs" => skein_bindings::stubs::run(arguments, out, errors),
        _ => unreachable!("clap knows no command {name}"),
    };
    // If it failed, whoever read its output went away.
    ExitCode::from(status.unwrap_or(FAILED))
}

/// The arguments of the binary. Words behind the config file are ignored, as skynet ignores them.
fn command_line() -> Command {
    let config = Arg::new("config").value_name("CONFIG").value_parser(value_parser!(PathBuf));
    Command::new("skein")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Runs skynet applications: actor servers written in Lua")
        .after_help("A config file named like a command is run as ./NAME.")
        .args_conflicts_with_subcommands(true)
        .arg(config.clone().help("The skynet configuration file to run"))
        .arg(Arg::new("ignored").action(ArgAction::Append).hide(true).trailing_var_arg(true))
        .subcommand(
            Command::new("check")
                .about("Reads a config file, resolves every path in it and reports each problem")
                .arg(config.required(true).help("The configuration file to check")),
        )
        .subcommand(skein_bindings::arena_cli::command())
        .subcommand(skein_bindings::share_cli::command())
        .subcommand(skein_bindings::stubs::command())
}

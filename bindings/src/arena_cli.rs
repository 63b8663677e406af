//! `skein arena`: what is in the memory of a domain, alive or dead.
//!
//! For people and for scripts: the status is 0 if all is well, 1 if there is a problem or the domain could not be read. Only `sweep`
//! changes anything.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Arg, ArgMatches, Command};
use skein_arena::{
    DomainError, Stats,
    check::{self, Reclamation, Report, SlotState},
    domain, epoch,
};

/// What `sweep` waits for others that open or sweep the domain.
const PATIENCE: Duration = Duration::from_secs(10);

/// The command and its subcommands.
pub fn command() -> Command {
    let domain = || {
        let domain = Arg::new("domain").value_name("DOMAIN").required(true);
        domain.help("The domain's name, or its directory")
    };
    let sub = |name: &'static str, about: &'static str| Command::new(name).about(about).arg(domain());
    Command::new("arena")
        .about("Looks into the memory that the processes of a domain share")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(sub("check", "Compares all files with each other and reports each problem"))
        .subcommand(sub("ls", "Lists the slots, who has them and who reads them"))
        .subcommand(sub("stats", "Shows what each heap holds, by size of block"))
        .subcommand(sub("sweep", "Removes what dead processes left and nobody reads"))
}

/// Runs what `matches`, of [`command`], ask for; the status to end with.
///
/// # Errors
/// Whoever reads `out` went away.
pub fn run(matches: &ArgMatches, out: &mut impl Write, errors: &mut impl Write) -> io::Result<u8> {
    let (name, matches) = matches.subcommand().expect("clap requires one");
    let dir = directory(matches.get_one::<String>("domain").expect("clap requires it"));
    let done = dir.and_then(|dir| match name {
        "check" => check::check(&dir).map(|it| print_check(&it, out)),
        "ls" => check::look(&dir).map(|it| print_slots(&it, out)),
        "stats" => check::look(&dir).map(|it| print_stats(&it, out)),
        _ => sweep(&dir, out),
    });
    match done {
        Ok(status) => status,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|it| format!(": {it}")).unwrap_or_default();
            writeln!(errors, "skein arena {name}: {error}{cause}")?;
            Ok(1)
        }
    }
}

/// Where a domain is: its name says so, or, if there is a slash in it, it is the directory.
fn directory(domain: &str) -> Result<PathBuf, DomainError> {
    if domain.contains('/') { Ok(PathBuf::from(domain)) } else { domain::path_of(domain) }
}

fn print_check(report: &Report, out: &mut impl Write) -> io::Result<u8> {
    let mut unfinished = 0;
    for slot in &report.slots {
        unfinished += slot.unfinished;
        writeln!(out, "slot {:3}: {}, {} blocks with owners", slot.slot, state(slot.state), slot.blocks)?;
    }
    if unfinished > 0 {
        writeln!(out, "{unfinished} differences of the kind that a death leaves")?;
    }
    end(report, out)
}

/// The problems, and the status that goes with them.
fn end(report: &Report, out: &mut impl Write) -> io::Result<u8> {
    for problem in &report.problems {
        writeln!(out, "problem: {problem}")?;
    }
    match report.problems.len() {
        0 => writeln!(out, "no problems").map(|()| 0),
        1 => writeln!(out, "1 problem").map(|()| 1),
        many => writeln!(out, "{many} problems").map(|()| 1),
    }
}

fn print_slots(report: &Report, out: &mut impl Write) -> io::Result<u8> {
    writeln!(out, "domain {:016x}, made by process {} {} ago", report.id, report.pid, age(report.made_ns))?;
    writeln!(out, "slot  state       process      age      used  committed    blocks  read by")?;
    for slot in &report.slots {
        let readers: Vec<String> = slot.mapped_by.iter().map(ToString::to_string).collect();
        let stats = &slot.stats;
        writeln!(
            out,
            "{:4}  {:10} {:8} {:>8} {:>9} {:>10} {:>9}  {}",
            slot.slot.number(),
            state(slot.state),
            slot.pid,
            age(slot.taken_ns),
            bytes(stats.used_bytes),
            bytes(stats.committed_bytes),
            stats.live_blocks,
            if readers.is_empty() { "-".to_owned() } else { readers.join(",") },
        )?;
    }
    end_quietly(report, out)
}

fn print_stats(report: &Report, out: &mut impl Write) -> io::Result<u8> {
    for slot in &report.slots {
        let stats: &Stats = &slot.stats;
        writeln!(out, "slot {}: {}, process {}", slot.slot, state(slot.state), slot.pid)?;
        for (name, value) in [
            ("live", stats.live_bytes),
            ("used", stats.used_bytes),
            ("committed", stats.committed_bytes),
            ("retained", stats.retained_bytes),
            ("limit", stats.limit),
        ] {
            writeln!(out, "  {name:10} {:>10}", bytes(value))?;
        }
        for it in &slot.lanes {
            let (with, sent, unread, holds) = (it.with, it.sent, it.unread, it.holds);
            writeln!(
                out,
                "  slot {with}: {sent} sent, {unread} of them not read; holds {holds} of its blocks"
            )?;
        }
        print_reclamation(&slot.reclamation, out)?;
        writeln!(out, "  block size       live    at hand      spans")?;
        for class in &stats.classes {
            writeln!(out, "  {:10} {:10} {:10} {:10}", class.block, class.live, class.at_hand, class.spans)?;
        }
        writeln!(
            out,
            "  {:>10} {:10}            {:>10}",
            "large",
            stats.large_blocks,
            bytes(stats.large_bytes)
        )?;
    }
    end_quietly(report, out)
}

/// Who reads, what waits, and for whom.
fn print_reclamation(of: &Reclamation, out: &mut impl Write) -> io::Result<()> {
    let seconds = |since: u64| epoch::now().saturating_sub(since) / 1_000_000_000;
    if let Some(since) = of.pinned_since {
        let read = if of.pinned == 1 { "thread reads" } else { "threads read" };
        writeln!(out, "  {} {read} others' memory, the first for {} s", of.pinned, seconds(since))?;
    }
    if of.periods > 0 || of.waiting > 0 {
        writeln!(out, "  {} grace periods, {} pieces wait", of.periods, of.waiting)?;
    }
    if let Some((slot, process, since)) = of.stalled {
        writeln!(out, "  waits for process {process} in slot {slot}, which reads for {} s", seconds(since))?;
    }
    Ok(())
}

/// As [`end`], without a word if there is nothing to say.
fn end_quietly(report: &Report, out: &mut impl Write) -> io::Result<u8> {
    if report.problems.is_empty() { Ok(0) } else { end(report, out) }
}

fn sweep(dir: &Path, out: &mut impl Write) -> Result<io::Result<u8>, DomainError> {
    let swept = domain::sweep(dir, PATIENCE)?;
    let mut print = || {
        for it in &swept.removed {
            writeln!(
                out,
                "slot {}: removed, {} blocks of process {}, {}",
                it.slot,
                it.blocks,
                it.pid,
                bytes(it.bytes)
            )?;
        }
        for it in &swept.held {
            writeln!(out, "slot {}: dead, and still read by slot {}", it.slot, it.by)?;
        }
        Ok(0)
    };
    Ok(print())
}

fn state(state: SlotState) -> &'static str {
    match state {
        SlotState::Alive => "alive",
        SlotState::Dead => "dead",
        SlotState::Unfinished => "unfinished",
    }
}

/// How long ago a time was.
pub(crate) fn age(since_ns: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_nanos() as u64);
    let seconds = now.saturating_sub(since_ns) / 1_000_000_000;
    match seconds {
        _ if since_ns == 0 => "-".to_owned(),
        0..100 => format!("{seconds} s"),
        100..6000 => format!("{} min", seconds / 60),
        6000..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Bytes, as people read them.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..10_240 => format!("{count} B"),
        10_240..10_485_760 => format!("{:.1} KiB", count as f64 / 1024.0),
        10_485_760..10_737_418_240 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}

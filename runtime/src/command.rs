//! The text commands of a service to its node: TIMEOUT, REG, …
//!
//! A handle in a parameter is `:hex` or `.name`, and ends at the first byte that is no hex digit; anything else counts as
//! nobody, with a line in the log. A missing parameter is an empty one.
//!
//! # From skynet
//! skynet_server.c: the cmd_* functions → one function each; cmd_funcs → `run`. Differs: a missing parameter is never a
//! crash; SETENV of an existing key is ignored.

use skein_arena::sync::atomic::Ordering::Relaxed;

use crate::{Handle, MessageType, config::parse_integer, sched::WorkerCounters, service::ServiceContext};

type Answer = Option<Vec<u8>>;

/// Runs one command on behalf of a service. An unknown one has no answer.
pub(crate) fn run(ctx: &ServiceContext, name: &[u8], param: &[u8]) -> Answer {
    match name {
        b"TIMEOUT" => timeout(ctx, param),
        b"REG" => reg(ctx, param),
        b"QUERY" => query(ctx, param),
        b"NAME" => self::name(ctx, param),
        b"EXIT" => exit(ctx, ctx.handle(), "KILL self".to_owned()),
        b"KILL" => kill(ctx, param),
        b"LAUNCH" => launch(ctx, param),
        b"GETENV" => ctx.node().env().get(param),
        b"SETENV" => setenv(ctx, param),
        b"STARTTIME" => text(ctx.node().starttime()),
        b"ABORT" => {
            ctx.node().abort();
            None
        }
        b"MONITOR" => monitor(ctx, param),
        b"STAT" => Some(stat(ctx, param).into_bytes()),
        b"LOGON" => {
            let service = handle_in(ctx, param);
            with(ctx, service, |it| it.message_log.open(ctx, service));
            None
        }
        b"LOGOFF" => {
            let service = handle_in(ctx, param);
            with(ctx, service, |it| it.message_log.close(ctx, service));
            None
        }
        b"SIGNAL" => signal(ctx, param),
        b"MAILBOX" => {
            ctx.set_bound(parse_integer(param).clamp(0, i64::from(u32::MAX)) as u32);
            None
        }
        b"STOPPER" => stopper(ctx),
        _ => None,
    }
}

fn text(value: impl ToString) -> Answer {
    Some(value.to_string().into_bytes())
}

fn timeout(ctx: &ServiceContext, param: &[u8]) -> Answer {
    let ticks = parse_integer(param) as i32;
    match ctx.timeout(ticks) {
        Ok(session) => text(session),
        Err(error) => {
            ctx.log(format!("error: no timeout: {error}"));
            None
        }
    }
}

fn reg(ctx: &ServiceContext, param: &[u8]) -> Answer {
    match param {
        b"" => text(format_args!(":{:x}", ctx.handle().0)),
        [b'.', name @ ..] => bind(ctx, name, ctx.handle()),
        other => {
            complain(ctx, "error: Can't register global name ", other, " in C");
            None
        }
    }
}

fn bind(ctx: &ServiceContext, name: &[u8], handle: Handle) -> Answer {
    ctx.node().names.bind(name, handle).then(|| name.to_vec())
}

fn query(ctx: &ServiceContext, param: &[u8]) -> Answer {
    let handle = ctx.node().names.find(param.strip_prefix(b".")?)?;
    text(format_args!(":{:x}", handle.0))
}

fn name(ctx: &ServiceContext, param: &[u8]) -> Answer {
    let (name, rest) = word(param);
    let (second, _) = word(rest);
    let handle = Handle::parse_hex(second.strip_prefix(b":")?);
    if handle.is_none() {
        return None;
    }
    match name {
        [b'.', local @ ..] => bind(ctx, local, handle),
        global => {
            complain(ctx, "error: Can't set global name ", global, " in C");
            None
        }
    }
}

fn exit(ctx: &ServiceContext, handle: Handle, line: String) -> Answer {
    let node = ctx.node();
    ctx.log(line);
    let monitor = Handle(node.exit_monitor.load(Relaxed));
    if !monitor.is_none() {
        // Before the handle is gone; also for one that never was.
        let _ = ctx.send(monitor, Some(handle), MessageType::CLIENT, Some(0), None);
    }
    node.retire(handle);
    None
}

fn kill(ctx: &ServiceContext, param: &[u8]) -> Answer {
    let handle = handle_in(ctx, param);
    if handle.is_none() {
        return None;
    }
    exit(ctx, handle, format!("KILL :{:x}", handle.0))
}

fn launch(ctx: &ServiceContext, param: &[u8]) -> Answer {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = param.iter().position(|byte| !is_blank(byte))?;
    let rest = &param[start..];
    let (module, rest) = rest.split_at(rest.iter().position(is_blank).unwrap_or(rest.len()));
    // One separator belongs to the module; the arguments end with the line.
    let args = rest.get(1..).map(|it| it.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default());
    let args = args.filter(|it| !it.is_empty());
    let handle = ctx.node().launch(&String::from_utf8_lossy(module), args).ok()?;
    text(format_args!(":{:08X}", handle.0))
}

fn setenv(ctx: &ServiceContext, param: &[u8]) -> Answer {
    let space = param.iter().position(|byte| *byte == b' ')?;
    ctx.node().env().set(&param[..space], &param[space + 1..]);
    None
}

fn monitor(ctx: &ServiceContext, param: &[u8]) -> Answer {
    let monitor = &ctx.node().exit_monitor;
    if param.is_empty() {
        let handle = monitor.load(Relaxed);
        return if handle == 0 { None } else { text(format_args!(":{handle:x}")) };
    }
    monitor.store(handle_in(ctx, param).0, Relaxed);
    None
}

fn stat(ctx: &ServiceContext, param: &[u8]) -> String {
    let seconds = |nanos: u64| format!("{:.6}", (nanos / 1000) as f64 / 1e6);
    match param {
        b"mqlen" => ctx.queued().to_string(),
        b"endless" => u8::from(ctx.take_endless()).to_string(),
        b"cpu" => seconds(ctx.cpu_nanos()),
        b"time" if ctx.node().profile => seconds(ctx.current_nanos()),
        b"time" => "0".to_owned(),
        b"message" => ctx.messages().to_string(),
        b"bound" => ctx.bound().0.to_string(),
        b"refused" => ctx.bound().1.to_string(),
        [b's', b'c', b'h', b'e', b'd', b'.', which @ ..] => scheduler(ctx, which),
        _ => String::new(),
    }
}

/// What all workers of the node did, in sum: the counters of [`crate::sched::WorkerCounters`] by their names.
fn scheduler(ctx: &ServiceContext, which: &[u8]) -> String {
    let sum = |of: fn(&WorkerCounters) -> u64| ctx.node().worker_counters().iter().map(of).sum::<u64>().to_string();
    match which {
        b"turns" => sum(|it| it.turns),
        b"from_slot" => sum(|it| it.from_slot),
        b"from_injector" => sum(|it| it.from_injector),
        b"steals" => sum(|it| it.steals),
        b"slots_taken" => sum(|it| it.slots_taken),
        b"looks" => ctx.node().counters().looks.to_string(),
        b"wakes" => sum(|it| it.wakes),
        b"woken" => sum(|it| it.woken),
        b"parks" => sum(|it| it.parks),
        b"contended" => sum(|it| it.contended),
        _ => String::new(),
    }
}

fn signal(ctx: &ServiceContext, param: &[u8]) -> Answer {
    let (handle, number) = word(param);
    let handle = handle_in(ctx, handle);
    // Called without the pin: it may take its time.
    let signaller = with(ctx, handle, |it| it.signaller.get().cloned()).flatten();
    if let Some(signaller) = signaller {
        signaller(parse_any_base(number) as i32);
    }
    None
}

/// From now on SIGTERM and SIGINT are messages to this service. Without an answer: they cannot be had.
fn stopper(ctx: &ServiceContext) -> Answer {
    let taken = ctx.node().signals.get()?.take_stop();
    taken.inspect_err(|error| ctx.log(format!("error: no SIGTERM: {error}"))).ok()?;
    ctx.node().stopper.store(ctx.handle().0, Relaxed);
    text(1)
}

/// `:hex` or `.name`; with a line in the log for anything else.
fn handle_in(ctx: &ServiceContext, param: &[u8]) -> Handle {
    match param {
        [b':', hex @ ..] => Handle::parse_hex(hex),
        [b'.', name @ ..] => ctx.node().names.find(name).unwrap_or(Handle::NONE),
        other => {
            complain(ctx, "error: Can't convert ", other, " to handle");
            Handle::NONE
        }
    }
}

fn with<R>(ctx: &ServiceContext, handle: Handle, look: impl FnOnce(&ServiceContext) -> R) -> Option<R> {
    ctx.node().with_service(handle, look)
}

fn complain(ctx: &ServiceContext, before: &str, what: &[u8], after: &str) {
    ctx.log([before.as_bytes(), what, after.as_bytes()].concat());
}

/// The first word, and what follows it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    text.split_at(text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len()))
}

/// C's `strtol(text, NULL, 0)`: `0x` is hex, a leading 0 octal.
fn parse_any_base(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (base, digits) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', rest @ ..] => (8, rest),
        rest => (10, rest),
    };
    let values = digits.iter().map_while(|byte| char::from(*byte).to_digit(base));
    let value = values.fold(0_i64, |value, digit| value.saturating_mul(i64::from(base)).saturating_add(i64::from(digit)));
    if negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_numbers_may_be_decimal_octal_or_hex() {
        for (text, value) in [(" 1", 1), (" 0x10", 16), (" 010", 8), (" -3", -3), (" x", 0), ("", 0), (" +2 ", 2)] {
            assert_eq!(parse_any_base(text.as_bytes()), value, "{text:?}");
        }
    }
}

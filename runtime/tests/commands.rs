//! The 16 text commands, with every parameter that is missing or odd.

mod common;

use std::sync::{Arc, mpsc};

use common::{Context, World, eventually, hear, once};
use skein_runtime::{Handle, InitError, Message, MessageType, Service, Signaller};

/// What a command answers, as text.
fn ask(ctx: &Context, line: &str) -> Option<String> {
    let (name, param) = line.split_once('|').unwrap_or((line, ""));
    ctx.command(name, param.as_bytes()).map(|it| String::from_utf8(it).unwrap())
}

#[test]
fn answers_are_skynets() {
    let world = World::with(|settings, _| {
        settings.set("mykey", "my value").set("profile", "false");
    });
    let puppet = world.puppet();
    assert_eq!(puppet.handle(), Handle(2));
    let started = world.node.starttime().to_string();
    for (line, answer) in [
        ("REG", Some(":2")),
        ("REG|.me", Some("me")),
        ("REG|.me", None),
        ("REG|me", None),
        ("QUERY", None),
        ("QUERY|.", None),
        ("QUERY|.me", Some(":2")),
        ("QUERY|me", None),
        ("QUERY|:2", None),
        ("QUERY|.nobody", None),
        ("NAME", None),
        ("NAME|.x", None),
        ("NAME|.x .me", None),
        ("NAME|.x :0", None),
        ("NAME|.x :zz", None),
        ("NAME|.x :2", Some("x")),
        ("NAME|.x :3", None),
        ("NAME|.y   :ffff trailing", Some("y")),
        ("NAME|global :2", None),
        ("QUERY|.y", Some(":ffff")),
        ("GETENV", None),
        ("GETENV|mykey", Some("my value")),
        ("GETENV|thread", Some("2")),
        ("GETENV|harbor", Some("0")),
        ("GETENV|cpath", Some("./cservice/?.so")),
        ("GETENV|start", None),
        ("GETENV|nokey", None),
        ("SETENV", None),
        ("SETENV|alone", None),
        ("GETENV|alone", None),
        ("SETENV|k v w", None),
        ("GETENV|k", Some("v w")),
        ("SETENV|k other", None),
        ("GETENV|k", Some("v w")),
        ("SETENV|empty ", None),
        ("GETENV|empty", Some("")),
        ("STARTTIME", Some(&started)),
        ("STARTTIME|x", Some(&started)),
        ("MONITOR", None),
        ("MONITOR|nonsense", None),
        ("STAT", Some("")),
        ("STAT|mqlen", Some("0")),
        ("STAT|endless", Some("0")),
        ("STAT|cpu", Some("0.000000")),
        ("STAT|time", Some("0")),
        ("STAT|message", Some("0")),
        ("STAT|nosuch", Some("")),
        ("LOGON", None),
        ("LOGON|:2", None),
        ("LOGOFF", None),
        ("LOGOFF|:2", None),
        ("LOGOFF|.nobody", None),
        ("SIGNAL", None),
        ("SIGNAL|:2", None),
        ("SIGNAL|:2 1", None),
        ("SIGNAL|:fff 1", None),
        ("SIGNAL|.nobody 1", None),
        ("LAUNCH", None),
        ("LAUNCH| \t\r\n", None),
        ("LAUNCH|nomod", None),
        ("KILL", None),
        ("KILL|.nobody", None),
        ("KILL|:0", None),
        ("KILL|junk", None),
        ("NOSUCH", None),
        ("reg", None),
        ("", None),
    ] {
        assert_eq!(ask(&puppet, line).as_deref(), answer, "{line}");
    }
    let log = world.log_until("error: Can't convert junk to handle");
    for line in [
        "[:00000002] error: Can't register global name me in C",
        "[:00000002] error: Can't set global name global in C",
        "[:00000002] error: Can't convert nonsense to handle",
        "[:00000002] error: Can't convert  to handle",
    ] {
        assert!(log.iter().any(|it| it == line), "{line} is not in {log:#?}");
    }
    assert!(!log.iter().any(|it| it.contains("KILL")), "{log:#?}");
}

#[test]
fn timeout_answers_its_session_and_fires() {
    let world = World::new();
    let (ear, heard) = world.ear();
    for (session, param) in ["0", "-5", "", "junk", "1", "2x"].into_iter().enumerate() {
        let session = session as i32 + 1;
        assert_eq!(ear.command("TIMEOUT", param.as_bytes()), Some(session.to_string().into_bytes()));
        let message = hear(&heard);
        assert_eq!((message.source, message.ty), (Handle::NONE, MessageType::RESPONSE));
        assert_eq!((message.session, message.body), (session, None), "{param:?}");
    }
}

/// Remembers its arguments; tells its signals.
struct Curious {
    args: mpsc::Sender<Option<Vec<u8>>>,
    signals: mpsc::Sender<i32>,
}

impl Service for Curious {
    fn init(&mut self, _: &Context, args: Option<&[u8]>) -> Result<(), InitError> {
        self.args.send(args.map(<[u8]>::to_vec)).unwrap();
        Ok(())
    }

    fn dispatch(&mut self, _: &Context, _: Message) {}

    fn signaller(&self) -> Option<Signaller> {
        let signals = self.signals.clone();
        Some(Arc::new(move |number| signals.send(number).unwrap()))
    }
}

#[test]
fn launch_passes_the_rest_of_the_line() {
    let world = World::new();
    let puppet = world.puppet();
    let (args, launched) = mpsc::channel();
    let (signals, _keep) = mpsc::channel();
    for (line, expected, log) in [
        ("curious", None, "LAUNCH curious "),
        ("curious  two  words ", Some(" two  words "), "LAUNCH curious  two  words "),
        ("\t curious a\nb", Some("a"), "LAUNCH curious a"),
        ("curious\ta\r", Some("a"), "LAUNCH curious a"),
        ("curious ", None, "LAUNCH curious "),
    ] {
        once(&world.node, "curious", Curious { args: args.clone(), signals: signals.clone() });
        let handle = ask(&puppet, &format!("LAUNCH|{line}")).unwrap();
        assert!(handle.len() == 9 && handle.starts_with(":0000000"), "{handle}");
        assert_eq!(launched.recv().unwrap().as_deref(), expected.map(str::as_bytes), "{line:?}");
        let address = handle.to_lowercase();
        world.log_until(&format!("[{address}] {log}"));
    }
}

#[test]
fn signals_reach_the_service_on_the_calling_thread() {
    let world = World::new();
    let puppet = world.puppet();
    let (args, _keep) = mpsc::channel();
    let (signals, received) = mpsc::channel();
    let handle = world.launch("curious", None, Curious { args, signals });
    assert!(puppet.command("REG", b".p").is_some() && world.node.bind_name(b"c", handle));
    for (param, number) in [(":3", 0), (":3 1", 1), (".c", 0), (":3 0x10", 16), (":3 x", 0), (".c 7", 7)] {
        puppet.command("SIGNAL", param.as_bytes());
        assert_eq!(received.try_recv(), Ok(number), "{param}");
    }
}

#[test]
fn kill_and_exit_say_who() {
    let world = World::new();
    let [first, second, third] = [world.puppet(), world.puppet(), world.puppet()];
    first.command("REG", b".first");
    second.command("KILL", b".first trailing");
    second.command("KILL", b":4zz");
    second.command("KILL", b":dead");
    second.command("EXIT", b"ignored");
    let log = world.log_until("KILL self");
    for line in ["[:00000003] KILL :4", "[:00000003] KILL :dead", "[:00000003] KILL self"] {
        assert!(log.iter().any(|it| it == line), "{line} is not in {log:#?}");
    }
    // A name ends with its service, and `.first trailing` is no name.
    assert!(world.node.is_alive(first.handle()));
    assert!(!world.node.is_alive(third.handle()) && !world.node.is_alive(second.handle()));
    first.command("KILL", b".first");
    assert_eq!(world.node.query(b".first"), None);
}

#[test]
fn stat_tells_what_a_service_did() {
    let world = World::new();
    let (give, take) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let counted = world.service("counted", move |ctx, _| {
        gate.recv().unwrap();
        let stat = |what: &str| ask(ctx, &format!("STAT|{what}")).unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(2);
        while std::time::Instant::now() < until {}
        give.send((stat("message"), stat("mqlen"), stat("time"), stat("cpu"))).unwrap();
    });
    let puppet = world.puppet();
    for _ in 0..3 {
        puppet.send(counted, None, MessageType::TEXT, Some(0), None).unwrap();
    }
    assert!(eventually(|| world.node.with_service(counted, |it| it.queued()) == Some(2)));
    let mut last_cpu = -1.0;
    for (message, mqlen) in [("1", "2"), ("2", "1"), ("3", "0")] {
        open.send(()).unwrap();
        let (messages, queued, time, cpu) = take.recv().unwrap();
        assert_eq!((messages.as_str(), queued.as_str()), (message, mqlen));
        assert!(time.parse::<f64>().unwrap() > 0.0 && time.split_once('.').unwrap().1.len() == 6, "{time}");
        let cpu = cpu.parse::<f64>().unwrap();
        assert!(cpu > last_cpu, "{cpu} after {last_cpu}");
        last_cpu = cpu;
    }
}

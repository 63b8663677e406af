//! What the log says, and how: line forms, file and reopening, message logs, warnings.

mod common;

use std::{fs, sync::mpsc, time::Duration};

use common::{World, eventually, hear};
use skein_runtime::{Handle, MessageType, Node, Settings, StartError};

#[test]
fn lines_in_a_file_begin_with_the_time() {
    let world = World::new();
    let puppet = world.puppet();
    puppet.log("hello");
    world.node.log(Handle::NONE, b"from the runtime");
    puppet.log(b"bytes \0 \xff % and\nanother line");
    puppet.log("");
    puppet.log("last");
    world.log_until("last");
    let text = fs::read(world.log_path()).unwrap();
    let text: Vec<_> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let expected: [&[u8]; 7] = [
        b"[:00000002] LAUNCH puppet ",
        b"[:00000002] hello",
        b"[:00000000] from the runtime",
        b"[:00000002] bytes \0 \xff % and",
        b"another line",
        b"[:00000002] ",
        b"[:00000002] last",
    ];
    for (line, expected) in text.iter().zip(expected) {
        if !line.starts_with(b"another") {
            // 23/11/26 04:06:32.57
            let shape: Vec<u8> =
                line[..21].iter().map(|it| if it.is_ascii_digit() { b'0' } else { *it }).collect();
            assert_eq!(shape, b"00/00/00 00:00:00.00 ");
            assert_eq!(&line[21..], expected);
        }
    }
}

#[test]
fn the_log_is_appended_to_and_reopened_by_name() {
    let world = World::with(|_, dir| fs::write(dir.path().join("log"), "old\n").unwrap());
    let puppet = world.puppet();
    puppet.log("before");
    world.log_until("before");
    let rotated = world.dir.path().join("log.1");
    fs::rename(world.log_path(), &rotated).unwrap();
    puppet.log("between");
    world.node.reopen_log();
    puppet.log("after");
    let lines = world.log_until("after");
    assert_eq!(lines, ["[:00000002] after"]);
    let old = fs::read_to_string(rotated).unwrap();
    assert!(old.starts_with("old\n") && old.ends_with("[:00000002] between\n"), "{old}");
}

#[test]
fn other_services_cannot_upset_the_logger() {
    let world = World::new();
    let puppet = world.puppet();
    for ty in 0..20 {
        if ty != 4 {
            puppet.send_name(b".logger", None, MessageType(ty), Some(ty.into()), None).unwrap();
        }
    }
    puppet.log("still here");
    let lines = world.log_until("still here");
    assert!(lines.contains(&"[:00000002] ".to_owned()), "a TEXT without a body is an empty line");
}

#[test]
fn lines_of_before_the_logger_has_its_name_are_lost() {
    let world = World::idle(|_, _| {});
    world.node.log(Handle::NONE, b"too early");
    world.node.start().unwrap();
    world.node.log(Handle::NONE, b"in time");
    assert_eq!(world.log_until("in time"), ["[:00000000] in time"]);
    assert!(world.node.counters().dropped_log_lines >= 2, "its own LAUNCH line among them");
}

#[test]
fn a_message_log_has_a_line_per_message() {
    let world = World::with(|settings, dir| {
        settings.set("logpath", dir.path().as_os_str().as_encoded_bytes());
    });
    let (ear, heard) = world.ear();
    let puppet = world.puppet();
    puppet.command("LOGON", b":2");
    puppet.command("LOGON", b":2");
    let path = world.dir.path().join("00000002.log");
    puppet.send(ear.handle(), None, MessageType::LUA, Some(3), world.block(b"\x0c\x78\n")).unwrap();
    puppet.send(ear.handle(), Some(Handle(0x0100_0009)), MessageType::TEXT, Some(-1), None).unwrap();
    let mut socket = [2_i32, 7, 5, 0].map(i32::to_le_bytes).concat();
    socket.extend_from_slice(&[0; 8]);
    socket.extend_from_slice(b"127.0.0.1:80");
    puppet.send(ear.handle(), None, MessageType::SOCKET, Some(0), world.block(&socket)).unwrap();
    puppet.send(ear.handle(), None, MessageType::SOCKET, Some(0), world.block(b"short")).unwrap();
    (0..4).for_each(|_| drop(hear(&heard)));
    puppet.command("LOGOFF", b":2");
    puppet.command("LOGOFF", b":2");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines[0][..2], ["open", "time:"]);
    assert!(lines[0].len() >= 8 && lines[0].last().unwrap().starts_with("20"), "{:?}", lines[0]);
    assert_eq!((&lines[1][..3], lines[1][4]), (&[":00000003", "10", "3"][..], "0c780a"));
    assert_eq!((&lines[2][..3], lines[2][4]), (&[":01000009", "0", "-1"][..], ""));
    assert_eq!(lines[3], ["[socket]", "2", "7", "5", "[127.0.0.1:80]"]);
    assert_eq!(lines[4][0], "[socket]");
    assert_eq!(lines[5][..2], ["close", "time:"]);
    assert_eq!(lines.len(), 6);
    world.log_until("[:00000003] Close log file :00000002");
    let opened = format!("[:00000003] Open log file {}", path.display());
    assert_eq!(world.log().iter().filter(|line| **line == opened).count(), 1);
}

#[test]
fn a_message_log_that_cannot_be_opened_says_so() {
    let world = World::with(|settings, _| {
        settings.set("logpath", "/nonexistent/dir");
    });
    world.puppet().command("LOGON", b".logger");
    world.log_until("Open log file /nonexistent/dir/00000001.log fail");
}

#[test]
fn a_mailbox_that_grows_is_named() {
    let world = World::new();
    let (open, gate) = mpsc::channel::<()>();
    let slow = world.service("slow", move |_, _| {
        let _ = gate.recv();
    });
    let puppet = world.puppet();
    let send = |count| {
        for _ in 0..count {
            puppet.send(slow, None, MessageType::TEXT, Some(0), None).unwrap();
        }
    };
    send(1);
    assert!(eventually(|| world.node.with_service(slow, |it| it.queued()) == Some(0)));
    send(3000);
    drop(open);
    let lines = world.log_until("error: May overload, message queue length = 2999");
    let warnings = lines.iter().filter(|line| line.contains("May overload")).count();
    assert_eq!(warnings, 1, "{lines:#?}");
}

#[test]
fn a_service_stuck_in_one_message_is_named_until_it_ends() {
    let world = World::with(|settings, _| {
        settings.set_monitor_period(Duration::from_millis(30));
    });
    let (open, gate) = mpsc::channel::<()>();
    let looping = world.service("looping", move |_, _| {
        let _ = gate.recv();
    });
    let puppet = world.puppet();
    puppet.send(looping, None, MessageType::TEXT, Some(0), None).unwrap();
    let said = || {
        let lines = world.log();
        let start = format!(
            "[:00000000] error: A message from [ {} ] to [ {looping} ] maybe in an endless loop (version = ",
            puppet.handle()
        );
        lines.iter().filter(|line| line.starts_with(&start)).count()
    };
    assert!(eventually(|| said() >= 2), "{:#?}", world.log());
    let endless = || world.node.with_service(looping, |it| it.take_endless()).unwrap();
    assert!(endless(), "and reading it clears it");
    drop(open);
}

#[test]
fn a_log_that_cannot_be_opened_stops_the_start() {
    let mut settings = Settings::new();
    settings.set("bootstrap", "").set("logger", "/nonexistent/dir/log");
    let node = Node::new(settings).unwrap();
    let error = node.start().unwrap_err();
    assert!(matches!(error, StartError::Logger(_)));
    assert_eq!(error.to_string(), "Can't launch logger service");
}

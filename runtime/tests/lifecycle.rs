//! How services come and go, and what becomes of the messages they leave behind.

mod common;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use common::{Closure, Context, Heard, World, eventually, hear, once};
use skein_arena::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use skein_runtime::{Handle, InitError, LaunchError, Message, MessageType, SendError, Service};

/// A service that waits in its first message until the test says go on.
fn stuck(world: &World, name: &str) -> (Handle, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (open, gate) = mpsc::channel::<()>();
    let (enter, entered) = mpsc::channel();
    let handle = world.service(name, move |_, _| {
        enter.send(()).unwrap();
        let _ = gate.recv();
    });
    (handle, open, entered)
}

#[test]
fn a_killed_service_stops_after_the_running_message_and_the_rest_comes_back() {
    let world = World::new();
    let (open, gate) = mpsc::channel::<()>();
    let handled = Arc::new(AtomicUsize::new(0));
    let victim = world.service("victim", {
        let handled = Arc::clone(&handled);
        move |ctx, message| {
            handled.fetch_add(1, SeqCst);
            gate.recv().unwrap();
            assert!(ctx.is_retired());
            // Its sends still work.
            ctx.send(message.source(), None, MessageType::RESPONSE, Some(message.session()), None).unwrap();
        }
    });
    let (ear, heard) = world.ear();
    let send = |ty, session| ear.send(victim, None, ty, Some(session), world.block(b"body")).unwrap();
    send(MessageType::LUA, 1);
    assert!(eventually(|| handled.load(SeqCst) == 1));
    for session in [2, 0, 3] {
        send(MessageType::LUA, session);
    }
    // Answers are not answered.
    send(MessageType::RESPONSE, 90);
    send(MessageType::ERROR, 91);
    send(MessageType::TEXT, 4);

    ear.command("KILL", format!(":{:x}", victim.0).as_bytes());
    assert!(matches!(ear.send(victim, None, MessageType::LUA, None, None), Err(SendError::NoDestination)));
    open.send(()).unwrap();
    let response = Heard { source: victim, ty: MessageType::RESPONSE, session: 1, body: None };
    assert_eq!(hear(&heard), response);
    for session in [2, 0, 3, 4] {
        assert_eq!(hear(&heard), Heard { source: victim, ty: MessageType::ERROR, session, body: None });
    }
    assert_eq!(handled.load(SeqCst), 1);
    let counters = world.node.counters();
    assert_eq!((counters.dropped_requests, counters.dropped_answers), (4, 2));
}

#[test]
fn an_idle_service_is_released_at_once_and_its_sends_work() {
    let world = World::new();
    let (ear, heard) = world.ear();
    let to = ear.handle();
    let release = Box::new(move |ctx: &Context| {
        assert!(!ctx.node().is_alive(ctx.handle()));
        ctx.send(to, None, MessageType::TEXT, Some(0), None).unwrap();
    });
    let idle = world.launch("idle", None, Closure { dispatch: Box::new(|_, _| {}), release: Some(release) });
    assert!(world.node.retire(idle));
    assert_eq!(hear(&heard).source, idle);
    assert!(!world.node.retire(idle), "once");
    assert!(eventually(|| world.node.counters().services == 2));
}

#[test]
fn a_service_that_exits_itself_finishes_its_message() {
    let world = World::new();
    let (ear, heard) = world.ear();
    let to = ear.handle();
    let leaver = world.service("leaver", move |ctx, _| {
        assert_eq!(ctx.command("EXIT", b""), None);
        ctx.send(to, None, MessageType::TEXT, Some(0), None).unwrap();
    });
    ear.send(leaver, None, MessageType::TEXT, Some(0), None).unwrap();
    ear.send(leaver, None, MessageType::TEXT, Some(0), None).ok();
    assert_eq!(hear(&heard).ty, MessageType::TEXT);
    assert!(eventually(|| !world.node.is_alive(leaver)));
    world.log_until(&format!("[{leaver}] KILL self"));
}

#[test]
fn a_panic_is_logged_and_answered_and_the_service_lives_on() {
    let world = World::new();
    let (ear, heard) = world.ear();
    let shaky = world.service("shaky", |ctx, message| {
        if &message[..] == b"boom" {
            panic!("no {}", 42);
        }
        ctx.send(message.source(), None, MessageType::RESPONSE, Some(message.session()), None).unwrap();
    });
    ear.send(shaky, None, MessageType::LUA, Some(3), world.block(b"boom")).unwrap();
    assert_eq!(hear(&heard), Heard { source: shaky, ty: MessageType::ERROR, session: 3, body: None });
    ear.send(shaky, None, MessageType::LUA, Some(0), world.block(b"boom")).unwrap();
    ear.send(shaky, None, MessageType::LUA, Some(4), world.block(b"fine")).unwrap();
    assert_eq!(hear(&heard).session, 4, "nothing for session 0");
    let (from, to) = (ear.handle().0, shaky.0);
    world.log_until(&format!("[{shaky}] rust call [{from:x} to :{to:x} : 3 msgsz = 4] error : no 42"));
}

struct Refuses;

impl Service for Refuses {
    fn init(&mut self, ctx: &Context, _: Option<&[u8]>) -> Result<(), InitError> {
        // A message to itself waits, and is dropped with it.
        ctx.send(ctx.handle(), None, MessageType::TEXT, Some(1), None)?;
        Err("not today".into())
    }

    fn dispatch(&mut self, _: &Context, _: Message) {
        unreachable!("init failed");
    }
}

#[test]
fn a_failed_launch_says_so_and_leaves_nothing() {
    let world = World::new();
    once(&world.node, "refuses", Refuses);
    let error = world.node.launch("refuses", Some(b"x")).unwrap_err();
    assert!(
        matches!(&error, LaunchError::Init { source, .. } if source.to_string() == "not today"),
        "{error}"
    );
    world.log_until("error: launch refuses FAILED");
    assert_eq!(world.node.counters().services, 1);
    let error = world.node.launch("nosuch", None).unwrap_err();
    assert!(matches!(error, LaunchError::NoModule { .. }));
    let next = world.puppet();
    assert_eq!(next.handle(), Handle(3), "the failed launch had 2, the missing module none");
}

struct PanicsAtInit;

impl Service for PanicsAtInit {
    fn init(&mut self, _: &Context, _: Option<&[u8]>) -> Result<(), InitError> {
        panic!("in init");
    }

    fn dispatch(&mut self, _: &Context, _: Message) {}
}

#[test]
fn a_panic_in_init_is_a_failed_launch() {
    let world = World::new();
    once(&world.node, "panics", PanicsAtInit);
    let error = world.node.launch("panics", None).unwrap_err();
    assert!(matches!(&error, LaunchError::Init { source, .. } if source.to_string() == "in init"), "{error}");
}

struct Early(Arc<AtomicBool>);

impl Service for Early {
    fn init(&mut self, ctx: &Context, _: Option<&[u8]>) -> Result<(), InitError> {
        ctx.send(ctx.handle(), None, MessageType::TEXT, Some(0), None)?;
        std::thread::sleep(Duration::from_millis(30));
        self.0.store(true, SeqCst);
        Ok(())
    }

    fn dispatch(&mut self, _: &Context, _: Message) {
        assert!(self.0.load(SeqCst), "dispatched before the end of init");
        self.0.store(false, SeqCst);
    }
}

#[test]
fn no_message_is_dispatched_before_init_has_returned() {
    let world = World::new();
    let ready = Arc::new(AtomicBool::new(false));
    world.launch("early", None, Early(Arc::clone(&ready)));
    assert!(eventually(|| !ready.load(SeqCst)));
    assert!(!world.log().iter().any(|line| line.contains("rust call")));
}

#[test]
fn the_exit_monitor_hears_of_deaths() {
    let world = World::new();
    let (ear, heard) = world.ear();
    let puppet = world.puppet();
    puppet.command("MONITOR", format!(":{:x}", ear.handle().0).as_bytes());
    assert_eq!(puppet.command("MONITOR", b""), Some(format!(":{:x}", ear.handle().0).into_bytes()));
    puppet.command("KILL", b":fff");
    let notice = |source| Heard { source, ty: MessageType::CLIENT, session: 0, body: None };
    assert_eq!(hear(&heard), notice(Handle(0xfff)), "also for one that never lived");
    puppet.command("EXIT", b"");
    assert_eq!(hear(&heard), notice(puppet.handle()));
    ear.command("MONITOR", b".nobody");
    assert_eq!(ear.command("MONITOR", b""), None, "an unknown name clears it");
}

#[test]
fn services_killed_under_fire_answer_every_request_once() {
    let world = World::new();
    const EACH: usize = 3000;
    for round in 0..20 {
        let victim = world.service("victim", |ctx, message| {
            let (to, session) = (message.source(), message.session());
            let _ = ctx.send(to, None, MessageType::RESPONSE, Some(session), None);
        });
        let (accepted, answered) = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let (ear, heard) = world.ear();
                        let send = |_: &usize| ear.send(victim, None, MessageType::LUA, None, None).is_ok();
                        let accepted = (0..EACH).take_while(send).count();
                        let mut sessions: Vec<_> = (0..accepted).map(|_| hear(&heard).session).collect();
                        sessions.sort_unstable();
                        sessions.dedup();
                        (accepted, sessions.len())
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_micros(50 * round));
            world.node.retire(victim);
            senders
                .into_iter()
                .map(|it| it.join().unwrap())
                .fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
        });
        assert_eq!(accepted, answered, "round {round}");
    }
}

#[test]
fn abort_ends_the_node_and_writes_the_last_lines() {
    let world = World::new();
    let (victim, open, entered) = stuck(&world, "stuck");
    let puppet = world.puppet();
    puppet.send(victim, None, MessageType::TEXT, Some(0), None).unwrap();
    entered.recv().unwrap();
    for line in 0..500 {
        puppet.log(format!("line {line}"));
    }
    puppet.command("ABORT", b"");
    assert!(matches!(
        puppet.send(victim, None, MessageType::TEXT, Some(0), None),
        Err(SendError::NoDestination)
    ));
    open.send(()).unwrap();
    let begun = std::time::Instant::now();
    let log = world.end();
    assert!(begun.elapsed() < Duration::from_secs(1), "the monitor's sleep is cut short");
    let lines = log.iter().filter(|line| line.contains("] line ")).count();
    assert_eq!(lines, 500);
}

#[test]
fn the_node_ends_when_its_last_service_goes() {
    let world = World::new();
    let only = world.puppet();
    only.command("KILL", b".logger");
    only.command("EXIT", b"");
    world.node.wait();
    assert_eq!(world.node.counters().services, 0);
}

#[test]
fn a_harbor_service_does_not_keep_a_node_alive() {
    let world = World::new();
    let puppet = world.puppet();
    let answer = puppet.command("LAUNCH", format!("harbor 0 {}", puppet.handle().0).as_bytes());
    assert_eq!(answer, Some(b":00000003".to_vec()));
    puppet.command("KILL", b".logger");
    puppet.command("EXIT", b"");
    world.node.wait();
}

#[test]
fn what_goes_to_another_node_comes_back_when_all_are_down() {
    let world = World::new();
    let (slave, heard) = world.ear();
    slave.command("LAUNCH", format!("harbor 0 {}", slave.handle().0).as_bytes()).unwrap();
    let remote = Handle(0x0300_0009);
    let session = slave.send(remote, None, MessageType::LUA, None, world.block(b"abc")).unwrap();
    assert_eq!(hear(&heard), Heard { source: remote, ty: MessageType::ERROR, session, body: None });
    world.log_until(&format!(
        "[:00000003] Drop message to harbor 3 from {:x} to 3000009 (session = {session}, msgsz = 3)",
        slave.handle().0
    ));
    slave.send(remote, None, MessageType::RESPONSE, Some(9), None).unwrap();

    // A global name that nobody has: the slave is asked once, and the messages wait for it.
    for word in [b"1", b"2"] {
        slave.send_name(b"DB", None, MessageType::LUA, Some(0), world.block(word)).unwrap();
    }
    assert_eq!(hear(&heard).body.unwrap(), b"Q DB", "no error for a response before it");
    slave.send(Handle(3), None, MessageType::HARBOR, Some(0), world.block(b"N DB")).unwrap();
    for word in [b"1", b"2"] {
        assert_eq!(hear(&heard).body.unwrap(), word);
    }
    slave.send_name(b"DB", None, MessageType::LUA, Some(0), world.block(b"3")).unwrap();
    assert_eq!(hear(&heard).body.unwrap(), b"3");
    assert!(heard.try_recv().is_err());
}

#[test]
fn a_harbor_without_a_slave_is_refused() {
    let world = World::new();
    let puppet = world.puppet();
    for args in ["harbor", "harbor 0", "harbor 0 0", "harbor 0 x"] {
        assert_eq!(puppet.command("LAUNCH", args.as_bytes()), None, "{args}");
    }
    assert!(eventually(|| world.node.counters().services == 2));
}

#[test]
fn each_worker_calls_the_quiet_hook_after_services_ended() {
    // Allocators keep memory for each thread: what one worker took and another freed stayed there, with both asleep.
    let callers = Arc::new(Mutex::new(HashSet::new()));
    let world = World::idle(|_, _| {});
    world.node.on_quiet({
        let callers = Arc::clone(&callers);
        move || {
            callers.lock().unwrap().insert(std::thread::current().id());
        }
    });
    world.node.start().unwrap();
    let ear = world.puppet();
    let victim = world.service("victim", |_, _| {});
    assert!(callers.lock().unwrap().is_empty(), "nobody ended");
    ear.command("KILL", format!(":{:x}", victim.0).as_bytes());
    assert!(eventually(|| callers.lock().unwrap().len() == 2));
}

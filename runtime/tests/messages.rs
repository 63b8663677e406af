//! Messages between services: order, numbers, addresses, memory.

mod common;

use std::sync::{
    Arc,
    mpsc::{self, Sender},
};

use common::{Heard, World, eventually, hear};
use skein_arena::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use skein_runtime::{Handle, MessageType, SendError};

#[test]
fn messages_of_one_sender_keep_their_order() {
    let world = World::new();
    let (give, take) = mpsc::channel();
    let sink = world.service("sink", move |_, message| {
        give.send((message.source(), u32::from_le_bytes(message[..].try_into().unwrap()))).unwrap();
    });
    const EACH: u32 = 20_000;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let sender = world.puppet();
                for number in 0..EACH {
                    let body = world.block(&number.to_le_bytes());
                    sender.send(sink, None, MessageType::LUA, Some(0), body).unwrap();
                }
            });
        }
    });
    let mut next = std::collections::HashMap::new();
    for (source, number) in take.iter().take(3 * EACH as usize) {
        let expected = next.entry(source).or_insert(0);
        assert_eq!(number, *expected, "from {source}");
        *expected += 1;
    }
    assert_eq!(next.len(), 3);
}

#[test]
fn a_service_answers_a_call_with_its_session() {
    let world = World::new();
    let echo = world.service("echo", |ctx, message| {
        let (to, session) = (message.source(), message.session());
        ctx.send(to, None, MessageType::RESPONSE, Some(session), Some(message.into_block())).unwrap();
    });
    let (caller, heard) = world.ear();
    for (round, word) in ["one", "", "three"].into_iter().enumerate() {
        let session = caller.send(echo, None, MessageType::LUA, None, world.block(word.as_bytes())).unwrap();
        assert_eq!(session, round as i32 + 1);
        let body = Some(word.as_bytes().to_vec());
        assert_eq!(hear(&heard), Heard { source: echo, ty: MessageType::RESPONSE, session, body });
    }
}

/// Sends a token around a ring until it is used up.
fn ring(world: &World, members: usize, hops: usize) {
    let (done, finished) = mpsc::channel::<()>();
    let mut handles: Vec<Handle> = Vec::new();
    let next = Arc::new(std::sync::OnceLock::<Vec<Handle>>::new());
    for index in 0..members {
        let (next, done) = (Arc::clone(&next), done.clone());
        let name = format!("member{index}");
        handles.push(world.service(&name, move |ctx, message| {
            let left = usize::from_le_bytes(message[..].try_into().unwrap());
            if left == 0 {
                return done.send(()).unwrap();
            }
            let mut block = message.into_block();
            block.bytes_mut().unwrap().copy_from_slice(&(left - 1).to_le_bytes());
            let to = next.get().unwrap()[(index + 1) % members];
            ctx.send(to, None, MessageType::LUA, Some(0), Some(block)).unwrap();
        }));
    }
    next.set(handles.clone()).unwrap();
    let starter = world.puppet();
    starter.send(handles[0], None, MessageType::LUA, Some(0), world.block(&hops.to_le_bytes())).unwrap();
    finished.recv_timeout(std::time::Duration::from_secs(60)).expect("the token came home");
}

#[test]
fn ten_thousand_services_pass_one_token_around_three_times() {
    let world = World::new();
    ring(&world, 10_000, 30_000);
    assert_eq!(world.node.counters().services, 10_002);
    // The log is still being written: ten thousand launches are ten thousand lines.
    let live = || world.node.arena().stats().live_blocks;
    let begun = std::time::Instant::now();
    while live() >= 10 {
        assert!(begun.elapsed().as_secs() < 60, "{} blocks live in a world at rest", live());
        std::thread::yield_now();
    }
}

#[test]
fn a_million_messages_wait_at_one_service_and_are_all_delivered() {
    let world = World::new();
    let (open, gate) = mpsc::channel::<()>();
    let count = Arc::new(AtomicUsize::new(0));
    let sink = world.service("sink", {
        let count = Arc::clone(&count);
        move |_, message| {
            if count.fetch_add(1, SeqCst) == 0 {
                gate.recv().unwrap();
            }
            assert_eq!(message.session(), count.load(SeqCst) as i32);
        }
    });
    let sender = world.puppet();
    const MANY: usize = 1_000_000;
    for session in 1..=MANY {
        sender.send(sink, None, MessageType::LUA, Some(session as i32), None).unwrap();
    }
    let waiting = world.node.with_service(sink, |it| it.queued()).unwrap();
    assert!((MANY - 1..=MANY).contains(&waiting), "{waiting}");
    open.send(()).unwrap();
    assert!(eventually(|| count.load(SeqCst) == MANY));
    assert!(eventually(|| world.node.with_service(sink, |it| it.queued()) == Some(0)));
    assert!(eventually(|| world.node.arena().stats().live_blocks < 10), "{:?}", world.node.arena().stats());
}

#[test]
fn addresses_that_lead_nowhere_are_told_apart() {
    let world = World::new();
    let puppet = world.puppet();
    let send = |to, body| puppet.send(Handle(to), None, MessageType::LUA, Some(7), body);
    assert!(matches!(send(0xfff, world.block(b"x")), Err(SendError::NoDestination)));
    assert!(matches!(send(0, world.block(b"x")), Err(SendError::ZeroDestination)));
    assert!(matches!(send(0, None), Ok(7)), "how a session is made");
    assert!(matches!(send(0x0200_0001, None), Err(SendError::NoHarbor { .. })), "remote");
    let name = |name: &[u8]| puppet.send_name(name, None, MessageType::LUA, Some(7), world.block(b"x"));
    assert!(matches!(name(b".nobody"), Err(SendError::NoDestination)));
    assert!(matches!(name(b":fff"), Err(SendError::NoDestination)));
    assert!(matches!(name(b":"), Err(SendError::ZeroDestination)));
    assert!(matches!(name(b"GLOBAL"), Err(SendError::NoHarbor { .. })));
    assert!(matches!(name(b""), Err(SendError::GlobalName { len: 0 })));
    assert!(matches!(name(b"SIXTEENCHARACTER"), Err(SendError::GlobalName { len: 16 })));
    assert_eq!(name(b".logger").unwrap(), 7);
    world.log_until("error: Destination address can't be 0");
    assert!(eventually(|| world.node.arena().stats().live_blocks == 0), "refused bodies are dropped");
}

#[test]
fn a_message_may_speak_for_another_source() {
    let world = World::new();
    let (ear, heard) = world.ear();
    ear.send(ear.handle(), Some(Handle(0x77)), MessageType::CLIENT, Some(5), world.block(b"hi")).unwrap();
    let expected =
        Heard { source: Handle(0x77), ty: MessageType::CLIENT, session: 5, body: Some(b"hi".to_vec()) };
    assert_eq!(hear(&heard), expected);
    ear.send(ear.handle(), Some(Handle::NONE), MessageType::TEXT, Some(0), None).unwrap();
    assert_eq!(hear(&heard), Heard { source: ear.handle(), ty: MessageType::TEXT, session: 0, body: None });
}

#[test]
fn sessions_begin_at_one_and_stay_positive() {
    let world = World::new();
    let puppet = world.puppet();
    assert_eq!((puppet.new_session(), puppet.new_session()), (1, 2));
    assert_eq!(puppet.timeout(0).unwrap(), 3, "timeouts take from the same numbers");
    assert_eq!(puppet.send(Handle::NONE, None, MessageType::TEXT, None, None).unwrap(), 4);
}

#[test]
fn at_the_arena_limit_senders_get_an_error_and_nobody_hangs() {
    let world = World::with(|settings, _| {
        settings.set("arena_limit", "16M");
    });
    let (open, gate) = mpsc::channel::<()>();
    let slow = world.service("slow", move |_, _| {
        let _ = gate.recv();
    });
    let (ear, heard) = world.ear();
    let refused = loop {
        let body = match world.node.arena().copy_from(&[1; 4000]) {
            Ok(body) => body,
            Err(error) => break error,
        };
        ear.send(slow, None, MessageType::LUA, None, Some(body)).unwrap();
    };
    assert!(refused.to_string().contains("limited to"), "{refused}");
    // Envelopes still go: a timeout can be set, a kill is answered.
    ear.timeout(0).unwrap();
    assert_eq!(hear(&heard).ty, MessageType::RESPONSE);
    world.node.retire(slow);
    drop(open);
    // Every request that waited comes back as an error, in order, though there is no room for new blocks.
    let sessions: Vec<_> =
        heard.iter().map_while(|it| (it.ty == MessageType::ERROR).then_some(it.session)).take(100).collect();
    assert!(sessions.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sessions:?}");
    assert!(eventually(|| world.node.arena().copy_from(&[1; 4000]).is_ok()));
}

#[test]
fn a_body_handed_on_is_the_same_memory() {
    let world = World::new();
    let (give, take) = mpsc::channel();
    let last = world.service("last", move |_, message| give.send(message.as_ptr() as usize).unwrap());
    let middle = world.service("middle", move |ctx, message| {
        ctx.send(last, None, MessageType::CLIENT, Some(0), Some(message.into_block())).unwrap();
    });
    let body = world.block(&[9; 100_000]);
    let at = body.as_ref().unwrap().as_ptr() as usize;
    let copied = world.node.arena().stats().copied_in;
    world.puppet().send(middle, None, MessageType::CLIENT, Some(0), body).unwrap();
    assert_eq!(take.recv().unwrap(), at);
    let now = world.node.arena().stats().copied_in;
    assert!(now - copied < 1000, "only log lines were copied: {}", now - copied);
}

#[test]
fn counters_of_a_service_count() {
    let world = World::new();
    let (give, take): (Sender<()>, _) = mpsc::channel();
    let busy = world.service("busy", move |ctx, message| {
        ctx.add_copied_out(message.len());
        let until = std::time::Instant::now() + std::time::Duration::from_millis(3);
        while std::time::Instant::now() < until {}
        assert!(ctx.current_nanos() > 0);
        give.send(()).unwrap();
    });
    let puppet = world.puppet();
    for _ in 0..4 {
        puppet.send(busy, None, MessageType::LUA, Some(0), world.block(b"12345")).unwrap();
    }
    (0..4).for_each(|_| take.recv().unwrap());
    assert!(eventually(|| world.node.with_service(busy, |it| it.cpu_nanos()).unwrap() > 1_000_000));
    let counters = world.node.with_service(busy, |it| it.counters()).unwrap();
    assert_eq!((counters.messages, counters.queued, counters.copied_out), (4, 0, 20));
}

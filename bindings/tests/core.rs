//! `skynet.core`: who owns a block when, what is copied, what raises, and what the log says.

mod support;

use skein_runtime::{Handle, Message, MessageType};
use skein_vm::mlua::{MultiValue, Value};
use support::{Probe, node, receive, seat};

const LOGGER: Handle = Handle(1);

/// A running node, a service of it with a Lua state, and another that the test looks into.
fn pair() -> (Probe, Probe) {
    let node = node(|_| ());
    node.start().unwrap();
    (Probe::of(seat(&node)), Probe::of(seat(&node)))
}

/// Sends with `chunk` (the other's address is `to`), and gives what arrives.
fn send(from: &Probe, to: &Probe, chunk: &str) -> Message {
    let handle = to.state.context().handle();
    from.globals.set("to", handle.0).unwrap();
    from.eval::<()>(chunk);
    receive(from, handle)
}

fn copied(probe: &Probe) -> (u64, u64) {
    let counters = probe.state.context().counters();
    (counters.copied_in, counters.copied_out)
}

#[test]
fn opening_it_without_a_service_says_so() {
    let lua = skein_vm::mlua::Lua::new();
    // SAFETY: the opener is a C function of ours, and the state is valid.
    let opened = unsafe {
        let open = lua.create_c_function(skein_bindings::core::open_core).unwrap();
        open.call::<Value>(())
    };
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("Init skynet context first"), "{error}");
}

#[test]
fn it_has_the_seventeen_functions() {
    let names: String = Probe::new().eval(
        "local names = {} for name, f in pairs(core) do assert(type(f) == 'function') names[#names + 1] = name end
         table.sort(names) return table.concat(names, ' ')",
    );
    assert_eq!(
        names,
        "addresscommand callback command error genid harbor hpc intcommand now pack packstring redirect send \
         tostring trace trash unpack"
    );
}

#[test]
fn a_packed_message_moves_and_is_copied_once_in_and_once_out() {
    let (from, to) = pair();
    let message = send(
        &from,
        &to,
        "p, n = pack('hello', {1, 2, x = true}) at = address(p)
        assert(core.send(to, 10, 77, p, n) == 77)",
    );
    assert_eq!(from.state.blocks_in_hand(), 0);
    let (at, len): (i64, u64) = from.eval("return at, n");
    assert_eq!(message.as_ptr().addr(), at as usize, "the block itself travels");
    assert_eq!(
        (message.source(), message.session(), message.ty()),
        (from.state.context().handle(), 77, MessageType::LUA)
    );
    assert_eq!(copied(&from), (len, 0));

    to.eval::<()>("core.callback(function(ty, msg, sz, session, source) got = table.pack(ty, session, source, unpack(msg, sz)) end)");
    to.deliver(message);
    let shown: String =
        to.eval("return ('%d %d %x %s %d %s'):format(got[1], got[2], got[3], got[4], got[5][2], got[5].x)");
    assert_eq!(shown, format!("10 77 {:x} hello 2 true", from.state.context().handle().0));
    assert_eq!(copied(&to), (0, len));
}

#[test]
fn a_raw_payload_passes_through_services_without_a_copy() {
    let (first, second) = pair();
    let mut message = send(&first, &second, "core.send(to, 3, 0, rep('x', 100000))");
    assert_eq!(copied(&first), (100_000, 0));
    let at = message.as_ptr();

    let node = second.state.context().node().clone();
    let mut probe = second;
    for hop in 0..5 {
        let next = Probe::of(seat(&node));
        let to = next.state.context().handle();
        probe.globals.set("to", to.0).unwrap();
        // Every second one in forward mode: there the handler owns the message, elsewhere it takes it.
        let forward = hop % 2 == 0;
        probe.eval::<()>(format!(
            "core.callback(function(ty, msg, sz, session, source) core.redirect(to, source, ty, session, msg, sz) end, {forward})"
        ));
        probe.deliver(message);
        assert_eq!(copied(&probe), (0, 0), "hop {hop}");
        assert_eq!(probe.state.blocks_in_hand(), 0, "hop {hop}");
        message = receive(&probe, to);
        assert_eq!(message.source(), first.state.context().handle(), "hop {hop}");
        probe = next;
    }
    assert_eq!(message.as_ptr(), at);
    assert_eq!(message.len(), 100_000);
}

#[test]
fn what_was_sent_or_trashed_is_not_held_any_more() {
    let (from, to) = pair();
    from.globals.set("to", to.state.context().handle().0).unwrap();
    for (first, second) in [
        ("core.send(to, 10, 0, p, n)", "core.send(to, 10, 0, p, n)"),
        ("core.send(to, 10, 0, p, n)", "trash(p, n)"),
        ("core.send(0xfffff0, 10, 0, p, n)", "trash(p, n)"),
        ("trash(p, n)", "trash(p, n)"),
        ("trash(p, n)", "unpack(p, n)"),
        ("trash(p, n)", "core.tostring(p, n)"),
        ("trash(p, n)", "core.redirect(to, 1, 10, 0, p, n)"),
    ] {
        let error = from.error(&format!("local p, n = pack('gone') {first} {second}"));
        assert!(
            error.starts_with("test:1: ") && error.contains("is not held by this service"),
            "{second}: {error}"
        );
    }
}

#[test]
fn a_doubled_pointer_is_an_error_although_its_address_was_reused() {
    // As long as the stream: its block has just that size.
    const SECOND: &[u8] = &[b'2'; 40];
    let probe = Probe::new();
    probe.eval::<()>("p, n = pack(rep('1', 37)) trash(p, n) p, n = pack(rep('1', 37)) trash(p, n)");
    let address: i64 = probe.eval("return address(p)");
    let arena = probe.state.context().node().arena();
    // Somebody else's block, at the same address if the allocator can be brought to it.
    let others: Vec<_> = (0..1000).map(|_| arena.copy_from(SECOND).unwrap()).collect();
    let reused = others.iter().any(|it| it.as_ptr().addr() == address as usize);
    let error = probe.error("trash(p, n)");
    assert!(error.contains("is not held"), "{error}");
    assert!(others.iter().all(|it| **it == *SECOND));
    assert!(reused, "the address was not handed out again, so this proves nothing");
}

#[test]
fn sizes_are_checked_against_the_block() {
    let (from, to) = pair();
    from.globals.set("to", to.state.context().handle().0).unwrap();
    let error = from.error("p, n = pack('abcdef') core.send(to, 10, 0, p, n + 1)");
    assert!(error.contains("size 8 is out of range: the block at"), "{error}");
    // It is still ours, and a part of it may be sent.
    from.eval::<()>("core.send(to, 10, 0, p, 3)");
    assert_eq!(*receive(&to, to.state.context().handle()), *b"\x34ab");

    let error = from.error("p, n = pack('abcdef') unpack(p, 1 << 40)");
    assert!(error.contains("out of range"), "{error}");
    let error = from.error("core.tostring(p, -1)");
    assert!(
        error.contains("bad argument #2 to 'skynet.core.tostring'")
            || error.contains("bad argument #2 to 'tostring'"),
        "{error}"
    );
    from.eval::<()>("trash(p, n)");
}

#[test]
fn a_pointer_to_nothing_of_ours_is_refused() {
    let (from, to) = pair();
    from.globals.set("to", to.state.context().handle().0).unwrap();
    from.eval::<()>("p, n = pack(('y'):rep(100)) inside = pointer(address(p) + 16) one = pointer(1) stack = pointer(0x7ffc00000000)");
    for bad in ["inside", "one", "stack"] {
        for call in ["core.send(to, 10, 0, {}, 4)", "trash({}, 4)", "unpack({}, 4)", "core.tostring({}, 4)"] {
            let error = from.error(&call.replace("{}", bad));
            assert!(error.contains("is not held"), "{call} {bad}: {error}");
        }
    }
    assert_eq!(from.state.blocks_in_hand(), 1);
}

#[test]
fn texts_of_errors_are_skynets() {
    let probe = Probe::new();
    for (chunk, expected) in [
        ("core.send(0, 10, 0, '')", "test:1: Invalid service address 0"),
        ("core.send(0.5, 10, 0, '')", "test:1: Invalid service address 0"),
        ("core.send(0x100000000, 10, 0, '')", "test:1: Invalid service address 0"),
        ("core.send(nil, 10, 0, '')", "test:1: dest address type (nil) must be a string or number."),
        ("core.send({}, 10, 0, '')", "test:1: dest address type (table) must be a string or number."),
        ("core.send(1, 10)", "bad argument #3 to 'send' (number expected, got no value)"),
        ("core.send(1, 'x', 0, '')", "bad argument #2 to 'send' (number expected, got string)"),
        ("core.send(1, 10, 0)", "test:1: invalid param no value"),
        ("core.send(1, 10, 0, nil)", "test:1: invalid param nil"),
        ("core.send(1, 10, 0, {})", "test:1: invalid param table"),
        ("core.send(1, 10, 0, io.stdout)", "test:1: invalid param userdata"),
        ("core.send(1, 10, 0, pointer(0))", "bad argument #5 to 'send' (number expected, got no value)"),
        ("core.callback(1)", "bad argument #1 to 'callback' (function expected, got number)"),
        ("trash({})", "test:1: skynet.trash invalid param table"),
        ("trash()", "test:1: skynet.trash invalid param no value"),
        ("pack(print)", "test:1: Unsupport type function to serialize"),
        ("unpack('\\7')", "test:1: Invalid serialize stream 0 (line:8)"),
        ("core.intcommand('GETENV', 'bad')", "test:1: Invalid result 12x"),
        (
            "core.intcommand('TIMEOUT', 1.5)",
            "bad argument #2 to 'intcommand' (number has no integer representation)",
        ),
    ] {
        probe.state.context().command("SETENV", b"bad 12x");
        let error = probe.error(chunk);
        let error = error.replace("'skynet.core.", "'");
        assert_eq!(error.trim_start_matches("test:1: "), expected.trim_start_matches("test:1: "), "{chunk}");
        assert!(error.starts_with("test:1: "), "{chunk} has no position: {error}");
    }
}

#[test]
fn sessions_and_results_of_send() {
    let (from, to) = pair();
    let to = to.state.context().handle();
    from.globals.set("to", to.0).unwrap();
    from.globals.set("name", format!(":{:x}", to.0)).unwrap();
    let results: MultiValue = from.eval(
        "return core.send(to, 10, nil, 'a'), core.send(to, 10, nil, 'b'), core.genid(), core.send(to, 10, 0, ''),
            core.send(tostring(to), 10, 9, 'c'), core.send(name, 0x2000a, 0, 'd'), select('#', core.send(0xfffff0, 10, 0, 'x')),
            select('#', core.send('.nobody', 10, 0, 'x')), core.send(':0', 10, 5, '')",
    );
    let results: Vec<i64> = results.iter().map(|it| it.as_integer().expect("integers")).collect();
    assert_eq!(results, [1, 2, 3, 0, 9, 4, 0, 0, 5]);
    for (session, body) in [(1, "a"), (2, "b"), (0, ""), (9, "c"), (4, "d")] {
        let message = receive(&from, to);
        assert_eq!((message.session(), &*message), (session, body.as_bytes()));
        assert_eq!(message.has_body(), !body.is_empty(), "an empty string is the NULL message");
    }

    assert!(
        from.error("core.send(to, 0x2000a, 3, 'x')").contains("session must be 0 to allocate one, not 3")
    );
    assert!(from.error("core.send(to, 10, 0, pointer(0), 7)").contains("null pointer"));
    assert_eq!(from.eval::<i64>("return core.send(to, 10, 0, pointer(0), 0)"), 0);
    assert!(!receive(&from, to).has_body());
    assert_eq!(from.eval::<i64>("return core.genid()"), 5, "what failed took no session");
}

#[test]
fn a_message_that_is_too_large_answers_false_and_is_logged() {
    let (from, to) = pair();
    from.globals.set("to", to.state.context().handle().0).unwrap();
    assert!(!from.eval::<bool>("p, n = pack('x') return core.send(to, 10, 0, p, -1)"));
    assert_eq!(from.state.blocks_in_hand(), 0, "it is taken all the same");
    let expected = format!("error: The message to {:x} is too large", to.state.context().handle().0);
    assert_eq!(logged(&from), expected);
}

#[test]
fn redirect_names_another_source() {
    let (from, to) = pair();
    let message = send(&from, &to, "assert(core.redirect(to, 0x1234, 3, nil, 'body') == 1)");
    assert_eq!((message.source(), message.session(), message.ty().0), (Handle(0x1234), 1, 3));
    let message = send(&from, &to, "core.redirect(to, 0, 3, 8, 'body')");
    assert_eq!(message.source(), from.state.context().handle());
}

#[test]
fn blocks_in_transit_are_claimed_by_the_receiver_or_freed_with_the_message() {
    let (from, to) = pair();
    let arena = from.state.context().node().arena();
    let before = arena.stats().live_blocks;

    let message = send(
        &from,
        &to,
        "
        inner, size = pack('inside')
        other, _ = pack('also')
        p, n = pack('outside', inner, size, {deep = other, plain = pointer(0xabc)}, inner)
        assert(not pcall(trash, inner, size), 'it was given away')
        core.send(to, 10, 0, p, n)",
    );
    assert_eq!(from.state.blocks_in_hand(), 0);
    to.eval::<()>(
        "core.callback(function(_, msg, sz)
        local text, inner, size, t, again = unpack(msg, sz)
        assert(text == 'outside' and again == inner)
        kept, kept_size, deep = inner, size, t.deep
        assert(unpack(inner, size) == 'inside')
        -- A second look at the message has no rights to give.
        assert(select(2, unpack(msg, sz)) == inner)
        plain = t.plain
    end)",
    );
    to.deliver(message);
    assert_eq!(to.state.blocks_in_hand(), 2, "both were claimed, once");
    assert_eq!(to.eval::<String>("return unpack(kept, kept_size)"), "inside");
    to.eval::<()>("trash(kept, kept_size) trash(deep, 0) assert(not pcall(trash, plain, 0))");

    let message = send(
        &from,
        &to,
        "
        local inner = pack(('z'):rep(1000))
        local middle, size = pack(inner)
        core.send(to, 10, 0, pack(middle, size))",
    );
    drop(message);
    let left = arena.stats().live_blocks;
    assert!(left <= before, "{left} blocks are left of {before}");
}

#[test]
fn a_string_gives_no_block_away_and_grants_none() {
    let probe = Probe::new();
    let text: String = probe.eval(
        "local p, n = pack('mine')
         local s = packstring(p, n)
         local q, m = unpack(s)
         assert(p == q and n == m)
         return unpack(p, n), trash(p, n)",
    );
    assert_eq!(text, "mine");
    let error =
        probe.error("local p, n = pack('mine') local s = packstring(p) trash(p, n) trash(unpack(s), n)");
    assert!(error.contains("is not held"), "{error}");
}

#[test]
fn the_message_being_handled_is_no_gift_unless_the_handler_owns_it() {
    let probe = Probe::new();
    probe.eval::<()>("core.callback(function(_, msg, sz) p, n = pack(msg, sz) again = unpack(msg, sz) end)");
    probe.deliver(probe.message(b"\x1cabc"));
    assert_eq!(probe.eval::<String>("return again"), "abc");
    let error = probe.error("trash(unpack(p, n))");
    assert!(error.contains("is not held"), "{error}");

    probe.eval::<()>(
        "core.callback(function(_, msg, sz) p, n = pack(msg, sz) ok = pcall(unpack, msg, sz) end, true)",
    );
    probe.deliver(probe.message(b"\x1cabc"));
    assert!(!probe.eval::<bool>("return ok"), "it belongs to the packed message");
    assert_eq!(probe.eval::<String>("local m, s = unpack(p, n) return core.tostring(m, s)"), "\x1cabc");
}

#[test]
fn a_message_is_gone_when_its_handler_returns() {
    let probe = Probe::new();
    let arena = probe.state.context().node().arena();
    let before = arena.stats().live_blocks;
    probe.eval::<()>("core.callback(function(_, msg, sz) kept, size = msg, sz end)");
    probe.deliver(probe.message(b"\x09"));
    assert_eq!(arena.stats().live_blocks, before);
    assert!(probe.error("unpack(kept, size)").contains("is not held"));

    // Forward mode: it stays until somebody disposes of it.
    probe.eval::<()>("core.callback(function(_, msg, sz) kept, size = msg, sz end, true)");
    probe.deliver(probe.message(b"\x09"));
    assert_eq!(probe.state.blocks_in_hand(), 1);
    assert!(probe.eval::<bool>("local v = unpack(kept, size) trash(kept, size) return v"));
    assert_eq!(arena.stats().live_blocks, before);
}

#[test]
fn without_a_callback_messages_are_dropped() {
    let probe = Probe::new();
    let arena = probe.state.context().node().arena();
    let before = arena.stats().live_blocks;
    probe.deliver(probe.message(b"\x09"));
    assert_eq!(arena.stats().live_blocks, before);
}

#[test]
fn a_handler_may_replace_itself_while_it_runs() {
    let probe = Probe::new();
    probe.eval::<()>(
        "
        order = ''
        core.callback(function()
            for i = 1, 3 do core.callback(function() order = order .. i end) collectgarbage() end
            order = order .. 'first '
        end)
        collectgarbage()",
    );
    for _ in 0..3 {
        probe.deliver(probe.message(b""));
        probe.eval::<()>("collectgarbage()");
    }
    assert_eq!(probe.eval::<String>("return order"), "first 33");
}

#[test]
fn a_handler_cannot_yield_and_is_on_its_own_thread() {
    let probe = Probe::new();
    probe.eval::<()>(
        "core.callback(function()
        local _, main = coroutine.running()
        shown = tostring(main) .. tostring(coroutine.isyieldable())
        _, error_text = pcall(coroutine.yield)
    end)",
    );
    probe.deliver(probe.message(b""));
    assert_eq!(probe.eval::<String>("return shown"), "falsefalse");
    assert_eq!(probe.eval::<String>("return error_text"), "attempt to yield across a C-call boundary");
}

/// The next line that this service logged, but for what the runtime says of its launch.
fn logged(probe: &Probe) -> String {
    loop {
        let line = receive(probe, LOGGER);
        if line.source() == probe.state.context().handle() && !line.starts_with(b"LAUNCH ") {
            return String::from_utf8_lossy(&line).into_owned();
        }
    }
}

#[test]
fn a_handler_that_raises_is_logged_as_skynet_logs_it() {
    let (probe, _other) = pair();
    let own = probe.state.context().handle().0;
    probe.eval::<()>("core.callback(function(_, msg, sz) error('boom') end)");
    probe.deliver(probe.message(b"\x09\x09"));
    let line = logged(&probe);
    let head = format!(
        "lua call [7 to :{own:x} : 5 msgsz = 2] error : \x1b[31mtest:1: boom\nstack traceback:\n\t[C]: in global 'error'"
    );
    assert!(line.starts_with(&head), "{line:?}");
    assert!(line.ends_with("\x1b[0m"), "{line:?}");

    probe.eval::<()>("core.callback(function() error({}) end)");
    probe.deliver(probe.message(b""));
    assert_eq!(
        logged(&probe),
        format!("lua call [7 to :{own:x} : 5 msgsz = 0] error : \x1b[31m(no error message)\x1b[0m")
    );

    // It goes on.
    probe.eval::<()>("core.callback(function() fine = true end)");
    probe.deliver(probe.message(b""));
    assert!(probe.eval::<bool>("return fine"));
}

#[test]
fn log_lines_are_made_as_skynet_makes_them() {
    let (probe, _other) = pair();
    for (chunk, expected) in [
        ("core.error()", "nil"),
        ("core.error('a\\0b')", "a\0b"),
        ("core.error(1, 'two', nil, 3.5, true)", "1 two nil 3.5 true"),
        ("core.error(setmetatable({}, {__tostring = function() return 'shown' end}))", "shown"),
    ] {
        assert_eq!(probe.eval::<i64>(format!("return select('#', {chunk})")), 0);
        assert_eq!(logged(&probe), expected, "{chunk}");
    }
    assert!(
        probe
            .error("core.error(setmetatable({}, {__tostring = function() return {} end}))")
            .contains("must return a string")
    );

    probe.eval::<()>("core.trace('tag', 'begin')");
    let line = logged(&probe);
    let (head, time) = line.rsplit_once('>').unwrap();
    assert_eq!(head, "<TRACE tag");
    assert!(
        time.trim().ends_with(" begin") && time.trim().split(' ').next().unwrap().parse::<u64>().is_ok(),
        "{line}"
    );
    probe.eval::<()>(
        "local function f() core.trace('tag', 'user', 1) return 1 end\nlocal x = f() return x and 1",
    );
    assert!(logged(&probe).ends_with(" user : =test:1 =test:2"));
    probe.eval::<()>("local co = coroutine.create(function() coroutine.yield() end)\ncoroutine.resume(co) core.trace('tag', 'user', co)");
    assert!(logged(&probe).ends_with(" user : =test:1"));
    for level in ["99", "-1", "math.mininteger + 1 << 31", "co, -5", "co, math.maxinteger"] {
        let chunk = format!("local co = coroutine.create(print) core.trace('tag', 'user', {level})");
        probe.eval::<()>(chunk);
        assert!(logged(&probe).ends_with(" user"), "{level}");
    }
}

#[test]
fn commands_and_their_numbers() {
    let probe = Probe::new();
    let own = probe.state.context().handle().0;
    assert_eq!(probe.eval::<String>("return core.command('REG')"), format!(":{own:x}"));
    assert_eq!(probe.eval::<u32>("return core.addresscommand('REG')"), own);
    assert_eq!(probe.eval::<String>("return core.command('REG', '.myself')"), "myself");
    assert_eq!(probe.eval::<u32>("return core.addresscommand('QUERY', '.myself')"), own);
    for silent in [
        "core.command('NOSUCH')",
        "core.intcommand('NOSUCH')",
        "core.addresscommand('REG', '.other')",
        "core.command('QUERY')",
        "core.command('QUERY', '.nobody')",
    ] {
        assert_eq!(probe.eval::<i64>(format!("return select('#', {silent})")), 0, "{silent}");
    }
    for (value, expected) in [
        ("12", "12"),
        ("0x1F", "31"),
        ("010", "8"),
        ("", "0"),
        ("-7", "-7"),
        ("2.5", "2.5"),
        ("1e3", "1000.0"),
    ] {
        let key = format!("k{}", value.replace(['.', '-'], "_"));
        probe.state.context().command("SETENV", format!("{key} {value}").as_bytes());
        let shown: String = probe.eval(format!("return tostring(core.intcommand('GETENV', '{key}'))"));
        assert_eq!(shown, expected, "{value}");
    }
    assert_eq!(probe.eval::<i64>("return core.intcommand('TIMEOUT', '1000000')"), 1);
    assert_eq!(probe.eval::<i64>("return core.intcommand('TIMEOUT', 1000000.0)"), 2);
    let (id, remote): (i64, bool) = probe.eval("return core.harbor(0x05000001)");
    assert_eq!((id, remote), (5, true));
    let (now, first, second): (i64, i64, i64) = probe.eval("return core.now(), core.hpc(), core.hpc()");
    assert!(now >= 0 && second >= first);
}

#[test]
fn at_the_arenas_limit_there_is_an_error_that_says_so() {
    let node = node(|it| {
        it.set("arena_limit", "16M");
    });
    let probe = Probe::of(seat(&node));
    probe.globals.set("to", seat(&node).handle().0).unwrap();
    let error = probe.error("for i = 1, 10000 do core.send(to, 10, 0, rep('x', 10000)) end");
    assert!(error.starts_with("test:1: no room for 10000 bytes in an arena limited to"), "{error}");
    let error = probe.error("for i = 1, 10000 do core.send(to, 10, 0, pack(rep('x', 10000), i, {i})) end");
    assert!(error.starts_with("test:1: no room for "), "{error}");
    // A small answer still finds a place, and a message without a body always does.
    assert_eq!(probe.eval::<i64>("return core.send(to, 7, 3, '')"), 3);
}

#[test]
fn finalizers_that_trash_the_message_do_not_pull_it_from_under_unpack() {
    let probe = Probe::new();
    probe.eval::<()>(
        "
        local t = {} for i = 1, 2000 do t[i] = 'string number ' .. i end
        big = packstring(t)
        trashed = 0
        core.callback(function(_, msg, sz)
            for i = 1, 200 do
                setmetatable({}, {__gc = function()
                    if pcall(trash, msg, sz) then trashed = trashed + 1 end
                    local other = pack(rep('garbage', 1000)) trash(other, 0)
                end})
            end
            collectgarbage('step')
            local got = unpack(msg, sz)
            for i = 1, 2000 do assert(got[i] == 'string number ' .. i) end
            whole = true
        end)",
    );
    for _ in 0..50 {
        let big: skein_vm::mlua::LuaString = probe.eval("whole = false return big");
        probe.deliver(probe.message(&big.as_bytes()));
    }
    let (whole, trashed): (bool, i64) = probe.eval("return whole, trashed");
    assert!(trashed > 0, "no finalizer ran in the middle, so this proves nothing");
    assert!(whole || trashed == 50, "the message was gone before the unpack, or whole in it");
}

#[test]
fn a_state_out_of_memory_loses_nothing_but_the_call() {
    let probe = Probe::new();
    probe.eval::<()>("t = {} for i = 1, 5000 do t[i] = 'some string ' .. i end big = packstring(t) t = nil collectgarbage()");
    probe.eval::<()>("p, n = pack('mine')");
    let arena = probe.state.context().node().arena();
    let before = arena.stats().live_blocks;
    for spare in [0, 100, 1000, 10_000, 100_000] {
        probe.lua.gc_collect().unwrap();
        probe.lua.set_memory_limit(probe.lua.used_memory() + 40_000 + spare).unwrap();
        let (unpacked, packed): (bool, bool) =
            probe.eval("return pcall(unpack, big), (pcall(packstring, big, big, big, big))");
        probe.lua.set_memory_limit(0).unwrap();
        assert!(!unpacked || !packed, "{spare}: memory was not short");
    }
    probe.eval::<()>("packstring(1)");
    assert_eq!(arena.stats().live_blocks, before);
    assert_eq!(probe.eval::<String>("return unpack(p, n)"), "mine");
}

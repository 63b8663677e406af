//! `skein.resp`: requests and replies of Redis' protocol. The bytes are those of its specification.

mod support;

use support::Probe;

#[test]
fn requests_have_the_bytes_of_the_specification() {
    let probe = Probe::new();
    probe.globals.set("resp", probe.eval::<skein_vm::mlua::Table>("return require 'skein.resp'")).unwrap();
    for (call, bytes) in [
        ("resp.command('PING')", "*1\\r\\n$4\\r\\nPING\\r\\n"),
        ("resp.command('GET', 'key')", "*2\\r\\n$3\\r\\nGET\\r\\n$3\\r\\nkey\\r\\n"),
        ("resp.command('GET', nil, 'key')", "*1\\r\\n$3\\r\\nGET\\r\\n"),
        (
            "resp.command('SET', 'k', nil, 1)",
            "*4\\r\\n$3\\r\\nSET\\r\\n$1\\r\\nk\\r\\n$-1\\r\\n$1\\r\\n1\\r\\n",
        ),
        ("resp.command('A', {1, 2.5})", "*3\\r\\n$1\\r\\nA\\r\\n$1\\r\\n1\\r\\n$3\\r\\n2.5\\r\\n"),
        ("resp.command('A', {nil, '', n = 2})", "*3\\r\\n$1\\r\\nA\\r\\n$-1\\r\\n$0\\r\\n\\r\\n"),
        ("resp.command('A', {true, n = 0})", "*1\\r\\n$1\\r\\nA\\r\\n"),
        ("resp.command('A', true, -7)", "*3\\r\\n$1\\r\\nA\\r\\n$4\\r\\ntrue\\r\\n$2\\r\\n-7\\r\\n"),
        (
            "resp.command('A', setmetatable({}, {__tostring = function() return 'its name' end}), 1)",
            "*1\\r\\n$1\\r\\nA\\r\\n",
        ),
        (
            "resp.command('A', 1, setmetatable({}, {__tostring = function() return 'its name' end}))",
            "*3\\r\\n$1\\r\\nA\\r\\n$1\\r\\n1\\r\\n$8\\r\\nits name\\r\\n",
        ),
        ("resp.commands {}", ""),
        (
            "resp.commands {{'get', 'k'}, {'incr', 5, n = 2}}",
            "*2\\r\\n$3\\r\\nget\\r\\n$1\\r\\nk\\r\\n*2\\r\\n$4\\r\\nincr\\r\\n$1\\r\\n5\\r\\n",
        ),
    ] {
        let made: skein_vm::mlua::LuaString = probe.eval(format!("return {call}"));
        assert_eq!(made.as_bytes().escape_ascii().to_string(), bytes, "{call}");
    }
    // Longer than what a buffer begins with.
    probe.eval::<()>(
        "local x = ('x'):rep(100000)
        assert(resp.command('A', x, x) == '*3\\r\\n$1\\r\\nA\\r\\n' .. ('$100000\\r\\n' .. x .. '\\r\\n'):rep(2))
        local many = T(100000)
        local made = resp.command('A', many)
        assert(made:sub(1, 9) == '*100001\\r\\n' and made:sub(-12) == '$6\\r\\n100000\\r\\n')",
    );
    for (call, text) in [
        ("resp.command()", "string expected"),
        ("resp.command({})", "string expected"),
        ("resp.command('A', {n = 1 << 40})", "a command of 1099511627776 arguments"),
        ("resp.command('A', setmetatable({}, {__tostring = error}))", ""),
        ("resp.commands(1)", "table expected"),
        ("resp.commands {{}, 1}", "command 2 is a number, not a table"),
    ] {
        let ok: bool = probe.eval(format!("return (pcall(function() return {call} end))"));
        if text.is_empty() {
            assert!(ok, "{call}: a table as the first argument is not asked for its name");
        } else {
            assert!(!ok, "{call}");
            let said = probe.error(&format!("local resp = require 'skein.resp' return {call}"));
            assert!(said.contains(text), "{call}: {said}");
        }
    }
}

/// Replies, what they are in Lua's own words, and whether they are whole.
const REPLIES: &str = r#"
    return {
        { "+OK\r\n", true, "OK" }, { "+\r\n", true, "" }, { "-ERR no\r\n", false, "ERR no" },
        { ":0\r\n", true, 0 }, { ":-12\r\n", true, -12 }, { ":+5\r\n", true, 5 },
        { ":9223372036854775807\r\n", true, math.maxinteger }, { ":-9223372036854775808\r\n", true, math.mininteger },
        { "$-1\r\n", true, nil }, { "*-1\r\n", true, nil }, { "$0\r\n\r\n", true, "" }, { "$5\r\na\r\nb\0\r\n", true, "a\r\nb\0" },
        { "*0\r\n", nil, 0 }, { "*3\r\n", nil, 3 },
    }
"#;

#[test]
fn replies_are_read_wherever_they_stand_and_however_they_are_cut() {
    let probe = Probe::new();
    probe.globals.set("replies", probe.eval::<skein_vm::mlua::Table>(REPLIES)).unwrap();
    probe.eval::<()>(
        r#"
        local resp = require "skein.resp"
        for _, it in ipairs(replies) do
            local text, fine, value = it[1], it[2], it[3]
            for _, before in ipairs { "", "+before\r\n" } do
                for _, after in ipairs { "", "+after\r\n", "x" } do
                    local at, its_fine, its = resp.read(before .. text .. after, #before + 1)
                    assert(at == #before + #text + 1 and its_fine == fine and its == value and math.type(its) == math.type(value), text)
                end
            end
            for cut = 0, #text - 1 do
                local at, missing = resp.read(text:sub(1, cut), 1)
                assert(at == false and missing >= 1 and missing <= #text - cut, text)
            end
        end
        -- How much is missing is known once the length is.
        assert(select(2, resp.read("$100\r\nabc", 1)) == 99)
        -- Elements, until one is not whole, or an array.
        local values = {}
        local at, index, fine, nested, count = resp.fill(":1\r\n$1\r\nb\r\n$-1\r\n+d\r\n", 1, values, 1, 4)
        assert(at == 21 and index == 5 and fine and not nested and count == 0)
        assert(values[1] == 1 and values[2] == "b" and values[3] == nil and values[4] == "d")
        at, index, fine, nested, count = resp.fill(":1\r\n-no\r\n*7\r\n:3\r\n", 1, values, 1, 9)
        assert(at == 14 and index == 3 and not fine and nested and count == 7 and values[2] == "no")
        at, index, fine, nested, count = resp.fill(":1\r\n$5\r\nab", 1, values, 4, 9)
        assert(at == 5 and index == 5 and fine and not nested and count == 5 and values[4] == 1)
        -- Each with whether it is no error.
        values = { "before" }
        at, index, fine = resp.fill(":1\r\n-no\r\n$-1\r\n$2\r\nab\r\n+mo", 1, values, 2, 9, true)
        assert(at == 23 and index == 6 and not fine and values[1] == "before")
        for i, it in ipairs { { true, 1 }, { false, "no" }, { true, nil }, { true, "ab" } } do
            assert(values[i + 1].ok == it[1] and values[i + 1].out == it[2])
        end
        at, index = resp.fill("", 1, values, 1, 0)
        assert(at == 1 and index == 1)
        "#,
    );
}

#[test]
fn what_is_no_reply_is_an_error_and_nothing_is_read_beyond_the_end() {
    let probe = Probe::new();
    for (text, said) in [
        ("x", "no reply of Redis begins with byte 120"),
        ("\\r\\n", "byte 13"),
        (":\\r\\n", "says"),
        (":1x\\r\\n", "a reply of Redis says '1x' for a number"),
        (":9223372036854775808\\r\\n", "says"),
        (":99999999999999999999999\\r\\n", "says"),
        ("$-2\\r\\n", "says '-2'"),
        ("$999999999999\\r\\n", "says"),
        ("*-2\\r\\n", "says"),
        ("*9999999999\\r\\n", "says"),
        ("$1\\r\\nabc", "longer than it says"),
        ("+' .. ('x'):rep(70000) .. '", "without an end"),
    ] {
        for function in ["read('TEXT', 1)", "fill('TEXT', 1, {}, 1, 5)"] {
            let call = format!("require('skein.resp').{}", function.replace("TEXT", text));
            let raised = probe.error(&call);
            assert!(raised.contains(said), "{text}: {raised}");
        }
    }
    for call in ["read('', 0)", "read('abc', 5)", "read('', -1)", "fill(':1\\r\\n', 1, {}, 0, 1)"] {
        let raised = probe.error(&format!("require('skein.resp').{call}"));
        assert!(raised.contains("bad argument"), "{call}: {raised}");
    }
}

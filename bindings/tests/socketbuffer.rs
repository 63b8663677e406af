//! Stream buffers and socket messages, held to what skynet does. `golden/socketbuffer.json` was recorded from it.
//!
//! The vectors become one script that a service of the real binary runs.

mod common;

use common::fine;
use serde_json::Value as Json;

fn golden() -> Json {
    serde_json::from_str(include_str!("golden/socketbuffer.json")).unwrap()
}

fn list<'a>(golden: &'a Json, part: &str) -> &'a [Json] {
    golden[part].as_array().unwrap()
}

/// A string of Lua by its bytes.
fn bytes(hex: &Json) -> String {
    let hex = hex.as_str().unwrap();
    let escaped: String = (0..hex.len() / 2).map(|at| format!("\\x{}", &hex[2 * at..2 * at + 2])).collect();
    format!("\"{escaped}\"")
}

/// A recorded value as Lua writes it.
fn value(it: &Json) -> String {
    match it["t"].as_str().unwrap() {
        "nil" => "nil".to_owned(),
        "bool" | "int" => it["v"].as_str().map_or_else(|| it["v"].to_string(), str::to_owned),
        "str" => bytes(&it["hex"]),
        other => panic!("a value of type {other}"),
    }
}

fn values(list: &Json) -> String {
    let all: Vec<_> = list.as_array().unwrap().iter().map(value).collect();
    format!("table.pack({})", all.join(", "))
}

const HELPERS: &str = r##"
    local driver = require "skynet.socketdriver"
    local function same(what, found, expected)
        assert(found.n == expected.n, what .. ": " .. found.n .. " values and not " .. expected.n)
        for i = 1, expected.n do
            assert(found[i] == expected[i] and math.type(found[i]) == math.type(expected[i]),
                what .. ": " .. tostring(found[i]) .. " and not " .. tostring(expected[i]))
        end
    end
    local function push(buffer, pool, text)
        return driver.push(buffer, pool, driver.str2p(text))
    end
"##;

#[test]
fn buffers_give_what_skynets_give() {
    let golden = golden();
    let mut script = HELPERS.to_owned();
    for flow in list(&golden, "flows") {
        script += "do local buffer, pool = driver.buffer(), {}\n";
        for (at, step) in flow["steps"].as_array().unwrap().iter().enumerate() {
            let call = match step["op"].as_str().unwrap() {
                "push" => format!("push(buffer, pool, {})", bytes(&step["arg"])),
                "pop" => format!("driver.pop(buffer, pool, {})", step["arg"]),
                "readline" => format!("driver.readline(buffer, pool, {})", bytes(&step["arg"])),
                "check" => format!("driver.readline(buffer, nil, {})", bytes(&step["arg"])),
                "readall" => "driver.readall(buffer, pool)".to_owned(),
                "clear" => "driver.clear(buffer, pool)".to_owned(),
                other => panic!("a step {other}"),
            };
            let expected = values(&step["result"]);
            script +=
                &format!("same({:?}, table.pack({call}), {expected})\n", format!("{} {at}", flow["name"]));
        }
        script += "end\n";
    }
    fine(&script);
}

#[test]
fn headers_addresses_and_messages_are_read_as_skynets_are() {
    let golden = golden();
    let mut script = HELPERS.to_owned();
    for case in list(&golden, "header") {
        let input = bytes(&case["in"]);
        script += &match case["error"].as_str() {
            Some(_) => {
                format!("assert(select(2, pcall(driver.header, {input})) == 'Invalid read ' .. {input})\n")
            }
            None => format!("assert(driver.header({input}) == {})\n", case["out"]),
        };
    }
    for case in list(&golden, "udp_address") {
        let expected = values(&case["out"]);
        script +=
            &format!("same('udp', table.pack(driver.udp_address({})), {expected})\n", bytes(&case["in"]));
    }
    let kinds = ["data", "connect", "close", "accept", "error", "udp", "warning"];
    for case in list(&golden, "unpack") {
        let kind = 1 + kinds.iter().position(|it| case["type"] == **it).unwrap();
        let (text, expected) = (bytes(&case["text"]), values(&case["out"]));
        let head = format!("string.pack('<i4i4i4i4', {kind}, {}, {}, 0)", case["id"], case["ud"]);
        script += &if case.get("block").is_some() {
            format!(
                "do local p, n = driver.str2p({text})
                local address = string.unpack('<I8', skynet.packstring(p), 2)
                local m, size = driver.str2p({head} .. string.pack('<I8', address))
                local found = table.pack(driver.unpack(m, size))
                assert(found[4] == p and skynet.tostring(found[4], n) == {text})
                found[4], found.n = nil, 3
                same('block', found, {expected})
                driver.drop(p, n) driver.drop(m, size) end\n"
            )
        } else {
            format!(
                "do local m, size = driver.str2p({head} .. ('\\0'):rep(8) .. {text})
                same('text', table.pack(driver.unpack(m, size)), {expected})
                driver.drop(m, size) end\n"
            )
        };
    }
    fine(&script);
}

#[test]
fn wrong_calls_raise_what_skynets_raise() {
    let golden = golden();
    let mut script = HELPERS.to_owned();
    script += "local buffer = driver.buffer()\n";
    for case in list(&golden, "calls") {
        let call = case["call"].as_str().unwrap();
        // Straight through `pcall`, as they were recorded.
        let (name, arguments) = call.split_once('(').unwrap();
        let arguments = arguments.strip_suffix(')').unwrap().replace("str2p", "driver.str2p");
        let result = format!("table.pack(pcall(driver.{name}, {arguments}))");
        script += &match case["error"].as_str() {
            Some(error) => format!(
                "do local r = {result} assert(not r[1] and r[2] == {error:?}, {call:?} .. ': ' .. tostring(r[2])) end\n"
            ),
            None => format!("do local r = {result} assert(r[1] and r.n == 1, {call:?}) end\n"),
        };
    }
    fine(&script);
}

#[test]
fn the_pool_grows_as_skynets_does_and_warns() {
    let ended = fine(
        r##"
        local driver = require "skynet.socketdriver"
        local pool, buffer, expected = {}, driver.buffer(), {}
        local function push() driver.push(buffer, pool, driver.str2p "x") end
        local nodes = 0
        for entry = 1, 40 do
            push()
            assert(#pool == entry + 1, #pool)
            for i = 2, 8 << math.min(entry, 9) do push() end
            assert(#pool == entry + 1, #pool)
        end
        local all = driver.readall(buffer, pool)
        -- What is free is used again.
        local before = #pool
        for i = 1, #all do push() end
        assert(#pool == before)
        "##,
    );
    assert!(!ended.stdout.contains("Too many socket pool (32)"), "{}", ended.stdout);
    assert!(ended.stdout.contains("[:00000000] Too many socket pool (33)\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("[:00000000] Too many socket pool (41)\n"), "{}", ended.stdout);
}

#[test]
fn a_large_piece_that_ends_a_block_is_not_copied() {
    fine(
        r##"
        local driver = require "skynet.socketdriver"
        local memory = require "skynet.memory"
        local pool, buffer = {}, driver.buffer()
        local text = ("0123456789abcdef"):rep(4096)
        driver.push(buffer, pool, driver.str2p(text))
        collectgarbage "stop"
        local blocks = memory.block()
        local head = driver.pop(buffer, pool, 16)
        local rest = driver.pop(buffer, pool, #text - 16)
        assert(head == "0123456789abcdef" and rest == text:sub(17))
        -- The string keeps the block.
        assert(memory.block() == blocks)
        rest = nil
        collectgarbage() collectgarbage()
        assert(memory.block() == blocks - 1)
        "##,
    );
}

#[test]
fn a_finalizer_that_uses_the_buffer_being_read_does_no_harm() {
    fine(
        r##"
        local driver = require "skynet.socketdriver"
        local pool, buffer = {}, driver.buffer()
        local reads = 0
        local function trap()
            setmetatable({}, { __gc = function()
                reads = reads + 1
                driver.readall(buffer, pool)
                if reads < 2000 then trap() end
            end })
        end
        trap()
        collectgarbage "incremental"
        collectgarbage("param", "pause", 0)
        for i = 1, 20000 do
            driver.push(buffer, pool, driver.str2p(("line %d "):format(i):rep(20) .. "\n"))
            local ok, line = pcall(driver.readline, buffer, pool, "\n")
            assert(ok or line:find "finalizer", line)
            ok, line = pcall(driver.pop, buffer, pool, 60)
            assert(ok or line:find "finalizer", line)
        end
        assert(reads > 10, reads)
        "##,
    );
}

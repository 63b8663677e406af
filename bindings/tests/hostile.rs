//! Bytes that promise what they do not have: whatever a decoder is told, it takes memory for what is there, and no stack for what nests.

mod support;

use skein_bindings::library;
use skein_vm::mlua::{Function, LuaString};
use support::Probe;

/// What a decoder may take for each byte of its input, and beside that. A table of one value is two bytes of a message.
const EACH: u64 = 64;
const BESIDE: u64 = 2 << 20;

/// Address space that all of it together may take: a promise is of 2 or 4 GiB.
const SPACE: u64 = 1 << 30;

/// The decoders, each with bytes for it. They get them as a string, and as a message.
const CASES: &str = r##"
    package.path = path
    local bson, c, cluster = require "bson", require "skynet.cluster.core", require "skein.cluster"
    local crypt, driver, md5 = require "skynet.crypt", require "skynet.mongo.driver", require "md5.core"
    local resp, sheet = require "skein.resp", require "skynet.datasheet.core"
    local re, sproto, s = require "re", require "sproto", require "sproto.core"
    local socket = require "skynet.socketdriver"
    local sp = sproto.parse ".A { l 0 : *integer s 1 : string p 2 : A b 3 : *boolean e 4 : *A }"

    local huge <const> = "\xff\xff\xff\x7f"
    local cases = {}
    local function add(what, decode, ...)
        for i = 1, select("#", ...) do
            cases[#cases + 1] = { what .. " " .. i, decode, (select(i, ...)) }
        end
    end
    local function nested(depth, wrap)
        local bytes = ""
        for _ = 1, depth do bytes = wrap(bytes) end
        return bytes
    end

    add("unpack", function(text, msg, sz)
            pcall(unpack, msg, sz)
            unpack(text)
        end,
        "\x25" .. huge,                                      -- a string
        "\xfe\x22" .. huge,                                  -- an array
        ("\x0e"):rep(50000),                                 -- one in another
        "\xfe\x22" .. string.pack("<i4", 50000) .. ("\x06\0"):rep(50000) .. "\0",
        "\x06" .. ("\x0a\1\x09"):rep(20000) .. "\0")

    local function doc(fields) return string.pack("<i4", #fields + 5) .. fields .. "\0" end
    local items = {}
    for i = 0, 5000 do items[#items + 1] = "\3" .. i .. "\0" .. doc "" end
    add("bson", function(text, msg)
            pcall(bson.type, text)
            bson.decode(msg)
        end,
        huge .. "\0", doc("\2a\0" .. huge), doc("\5a\0" .. huge .. "\0"), doc("\15a\0" .. huge), doc("\12a\0" .. huge),
        doc("\4a\0" .. doc "\x082147483646\0\1"), doc("\4a\0" .. doc(table.concat(items))),
        nested(3000, function(inner) return doc("\3a\0" .. (inner == "" and doc "" or inner)) end))
    add("mongo's reply", function(text) driver.reply(text) end, ("\xff"):rep(20), ("\0"):rep(16) .. huge .. huge)

    local function decode(text) sp:decode("A", text) end
    add("sproto", decode,
        "\xff\xff", "\1\0\0\0" .. huge, "\1\0\0\0\5\0\0\0\8" .. huge, "\2\0\1\0\0\0" .. huge,
        "\2\0\5\0\0\0" .. string.pack("<s4", ("\1"):rep(50000)),
        "\2\0\7\0\0\0" .. string.pack("<s4", ("\2\0\0\0\0\0"):rep(20000)),
        nested(3000, function(inner) return "\2\0\3\0\0\0" .. string.pack("<s4", inner == "" and "\0\0" or inner) end))
    add("packed zeros", function(text) s.unpack(text) end, ("\0"):rep(50000), "\xff\xff" .. ("x"):rep(8))
    add("a schema", function(text) s.deleteproto(assert(s.newproto(text))) end, "\xff\xff", "\2\0\0\0\0\0" .. huge .. huge)

    add("cluster", function(text, msg, sz)
            pcall(c.unpackrequest, msg, sz)
            pcall(c.unpackresponse, msg, sz)
            c.unpackresponse(text)
            c.unpackrequest(text)
        end,
        "\1" .. string.pack("<I4I4I4", 1, 1, 0xffffffff), "\x81\1a" .. string.pack("<I4I4", 1, 0xffffffff),
        "\xc1\xffa", string.pack("<I4", 1) .. "\2" .. huge, huge .. "x", ("\0\0\0\0"):rep(20000))
    add("cluster's parts", function(text)
            assert(c.concat { 0x7fffffff, text } == nil)
            local part = cluster.assembly(0xffffffff)
            local at, size = c.packrequest(text)
            assert(cluster.add(part, at, size) and cluster.finish(part) == nil)
        end, ("x"):rep(1000))

    add("a sheet", function(text)
            local name = sheet.stringpointer(text)
            local function walk(t, depth)
                for _, v in pairs(t) do
                    if type(v) == "table" and depth < 200 then walk(v, depth + 1) end
                end
            end
            walk(sheet.new(name), 0)
        end,
        ("\xff"):rep(100), huge .. huge .. huge, string.pack("<I4I4", 0x7fffffff, 0) .. ("\0"):rep(100))
    add("resp", function(text)
            pcall(resp.fill, text, 1, {}, 1, 1000000)
            resp.read(text, 1)
        end,
        "*2000000000\r\n", "$2000000000\r\n", "%1000000000\r\n", "*-5\r\n", ("*1\r\n"):rep(20000), ("*0\r\n"):rep(20000))
    local event <const> = "<i4i4i4xxxxI8"
    add("sockets", function(text, msg, sz)
            pcall(socket.unpack, msg, sz)
            pcall(socket.udp_address, text)
            local buffer, pool = socket.buffer(), {}
            socket.push(buffer, pool, socket.str2p(text))
            assert(socket.pop(buffer, pool, 0x7fffffff) == nil)
            socket.readline(buffer, nil, "\r\n")
            while socket.readline(buffer, pool, "\n") do end
            socket.readall(buffer, pool)
        end,
        ("\xff"):rep(24), string.pack(event, 1, 1, 0x7fffffff, 0), string.pack(event, 6, -1, 0x7fffffff, 0x7fffffffff) .. "x",
        string.pack(event, 4, 0x7fffffff, 0, 16) .. ("a"):rep(50000), ("\n"):rep(20000), ("\r"):rep(50000), "\2" .. huge)
    add("codings", function(text)
            for _, f in ipairs { crypt.base64decode, crypt.hexdecode, crypt.hexencode, crypt.base64encode } do pcall(f, text) end
            pcall(crypt.desdecode, "12345678", text)
            pcall(md5.decrypt, text, "key")
        end,
        ("A"):rep(50000), ("\xff"):rep(50000))
    add("re", function(text) re.compile(text) end, ("("):rep(5000), ("!"):rep(5000) .. "'a'", ("{"):rep(5000), "'" .. ("a"):rep(50000) .. "'")
    return cases
"##;

/// The greatest address space of the process so far.
fn space() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says it");
    let line = status.lines().find_map(|it| it.strip_prefix("VmPeak:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

#[test]
fn no_decoder_takes_more_than_a_multiple_of_what_it_gets() {
    library::install();
    let probe = Probe::new();
    probe.globals.set("path", library::LUALIB).unwrap();
    probe.eval::<()>(format!("cases = (function() {CASES} end)()"));
    // What the modules themselves take is not the bytes' fault.
    probe.eval::<()>("for _, case in ipairs(cases) do pcall(case[2], '', nil, 0) end");
    probe.eval::<()>(
        "core.callback(function(_, msg, sz)
            collectgarbage() collectgarbage()
            collectgarbage 'stop'
            local before = collectgarbage 'count'
            pcall(decode, text, msg, sz)
            taken = math.floor((collectgarbage 'count' - before) * 1024)
            collectgarbage 'restart'
        end)",
    );
    let arena = probe.state.context().node().arena();
    let begun = space();
    for at in 1..=probe.eval::<usize>("return #cases") {
        let (what, decode, text): (String, Function, LuaString) =
            probe.eval(format!("return table.unpack(cases[{at}])"));
        let text = text.as_bytes().to_vec();
        probe.globals.set("decode", decode).unwrap();
        probe.globals.set("text", probe.lua.create_string(&text).unwrap()).unwrap();
        let message = probe.message(&text);
        let before = arena.stats().live_bytes;
        probe.deliver(message);
        let limit = EACH * text.len() as u64 + BESIDE;
        let taken = probe.eval::<u64>("return math.max(taken, 0)");
        assert!(taken <= limit, "{what}: {taken} bytes of Lua's memory for {}", text.len());
        let grown = arena.stats().live_bytes.saturating_sub(before);
        assert!(grown <= limit, "{what}: {grown} bytes of the arena for {}", text.len());
    }
    let grown = space() - begun;
    assert!(grown < SPACE, "{grown} bytes of address space");
}

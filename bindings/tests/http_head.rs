//! `skein.http`: heads are taken apart as `http.internal` does in Lua, whatever is in them.

mod support;

use skein_vm::mlua::Table;
use support::Probe;

#[test]
fn a_head_is_taken_apart_where_it_ends_and_not_before() {
    let probe = Probe::new();
    probe.eval::<()>(
        r#"
        local head = require("skein.http").head
        local text = "GET /a?b=c HTTP/1.1\r\nHost: h:80\r\nX-Twice:  1 \r\nempty:\r\nx-tWICE: 2\r\nLong: a\r\n\tb\r\nx-twice:3\r\n\t4\r\n\r\n"
        for cut = 0, #text - 1 do
            local header = {}
            assert(head(text:sub(1, cut), header) == nil and next(header) == nil)
        end
        local header = {}
        local behind, method, url, version = head(text .. "body\r\n\r\n", header)
        assert(behind == #text + 1 and method == "GET" and url == "/a?b=c" and version == 1.1)
        assert(header.host == "h:80" and header.empty == "" and header.long == "ab")
        assert(table.concat(header["x-twice"], "|") == "1|2|34")
        -- A line that is none of the plain ones comes as it is.
        behind, method, url = head("GET  / HTTP/1.1\r\n\r\n", {})
        assert(behind == 20 and method == nil and url == "GET  / HTTP/1.1")
        assert(select('#', head("\r\n", {})) == 1 and head("\r\nGET", {}) == 3)
        -- A name that is longer than most.
        header = {}
        head("GET / HTTP/1.0\r\n" .. ("N"):rep(5000) .. ": v\r\n\r\n", header)
        assert(header[("n"):rep(5000)] == "v")
        "#,
    );
}

#[test]
fn what_could_be_read_in_two_ways_is_malformed() {
    let probe = Probe::new();
    probe.eval::<()>(
        r#"
        local head = require("skein.http").head
        assert(head("GET / HTTP/1.1\r\n\tfolded\r\n\r\n", {}) == false)
        for _, lines in ipairs {
            "Host : h", " Host: h", ":h", "Host", "", "a: b\rc: d", "a: b\nc: d", "a: b\0", "a\0: b",
            "Content-Length: 1\r\n\t2", "Transfer-Encoding: x\r\n\t, chunked", "HOST: a\r\n\tb", "a: 1\r\n b: 2",
        } do
            local behind = head("GET / HTTP/1.1\r\nx: y\r\n" .. lines .. "\r\n\r\n", {})
            if lines == "" then
                assert(behind == 25, "an empty line is the end")
            else
                assert(behind == false, lines)
            end
        end
        "#,
    );
}

#[test]
fn any_head_is_what_the_lines_of_it_are_in_lua() {
    let probe = Probe::new();
    let lines = probe.eval::<Table>(include_str!("../lualib/http/internal.lua"));
    probe.globals.set("internal", lines).unwrap();
    probe.eval::<()>(
        r#"
        local head = require("skein.http").head
        local PARTS <const> = {
            "a", "B", "host", "Content-Length", ":", ": ", " ", "\t", "\r", "\n", "\0", "\v", "\r\n", "\r\n", "\r\n\t", "a: b\r\n", "x:\r\n",
            "a:c\r\n", "12", "é",
        }
        math.randomseed(7)
        local wholes, goods = 0, 0
        for _ = 1, 20000 do
            local parts = { "GET / HTTP/1.1\r\n" }
            for i = 2, math.random(2, 12) do
                parts[i] = PARTS[math.random(#PARTS)]
            end
            local text = table.concat(parts) .. "\r\n\r\n" .. "rest"
            local lines, header = {}, {}
            local rest = internal.recvheader(error, lines, text)
            local expected = internal.parseheader(lines, 2, {})
            local behind = head(text, header)
            wholes = wholes + 1
            assert((behind ~= false) == (expected ~= nil), text)
            if behind then
                goods = goods + 1
                assert(text:sub(behind) == rest, text)
                local function same(a, b)
                    for key, value in pairs(a) do
                        local other = b[key]
                        assert(type(value) == "table" and same(value, other) or value == other, text)
                    end
                    return true
                end
                same(expected, header)
                same(header, expected)
            end
        end
        assert(goods > 1000 and wholes - goods > 1000, goods)
        "#,
    );
}

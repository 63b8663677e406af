//! `lpeg` on any pattern: the first bytes are a program of a small stack machine that builds one, the rest is the subject. Whatever it
//! is, it is refused, or it matches, and does both a second time. The text as a pattern of `re` likewise.
#![no_main]

use kept::kept;
use libfuzzer_sys::fuzz_target;
use skein_bindings::library;
use skein_vm::mlua::Function;
use support::Probe;

mod kept;
#[path = "../../tests/support/mod.rs"]
mod support;

fn state() -> (Probe, Function) {
    library::install();
    let probe = Probe::new();
    probe.globals.set("path", library::LUALIB).unwrap();
    let check = probe.eval(
        "package.path = path
        local m, re = require 'lpeg', require 're'
        local function all(...) return select('#', ...), ... end
        local function asked(s, i, ...)
            local n = select('#', ...)
            if n == 0 then return true end
            if n % 3 == 0 then return false end
            return math.min(i + n - 1, #s + 1), ...
        end
        local ops = {
            function(a, b) return a * b end, function(a, b) return a + b end, function(a, b) return a - b end,
            function(a, b, n) return a ^ (n % 7 - 3) end, function(a) return -a end, function(a) return #a end,
            function(a) return m.C(a) end, function(a) return m.Ct(a) end, function(a) return m.Cs(a) end,
            function(a, b, n) return m.Cg(a, n % 2 == 0 and n or nil) end, function(a) return a / all end,
            function(a, b, n) return a / (n % 4) end, function(a, b, n) return a / ('%' .. n % 10 .. '-%0') end,
            function(a) return a / { a = 1 } end, function(a) return a % all end, function(a) return m.Cf(a, all) end,
            function(a) return m.Cmt(a, asked) end, function(a) return m.B(a) end,
            function(a, b, n) return m.P { 'A', A = a, B = b, C = n % 2 == 0 and m.V 'A' or nil } end,
            function(a, b, n) return m.Cb(n) end, function() return m.Cp() end, function(a, b, n) return m.Cc(n, nil, {}) end,
            function(a, b, n) return m.V(n % 2 == 0 and 'A' or 'B') end, function(a, b, n) return m.P(string.char(n)) end,
            function(a, b, n) return m.R(string.char(n, 255)) end, function(a, b, n) return m.P(n % 5 - 2) end,
            function(a, b, n) return m.utfR(n, n * n * n) end, function(a, b, n) return m.Carg(n % 3 + 1) end,
        }
        return function(bytes)
            collectgarbage 'step'
            local length = math.min(bytes:byte(1) or 0, #bytes)
            local stack = { m.P(1), m.P 'a' }
            for at = 2, length - 1, 2 do
                local op, n = bytes:byte(at, at + 1)
                local a, b = stack[#stack], stack[#stack - 1]
                local ok, p = pcall(ops[op % #ops + 1], a, b, n)
                if ok then
                    if op < 128 then stack[#stack] = nil end
                    if #stack == 0 then stack[1] = m.P 'b' end
                    stack[#stack + 1] = p
                else
                    assert(type(p) == 'string', p)
                end
            end
            local subject = bytes:sub(length + 1, length + 24)
            local p = stack[#stack]
            -- A short one: what is built may take exponential time, as any such pattern may.
            local results = table.pack(pcall(m.match, p, subject, 1, 'extra'))
            local again = table.pack(pcall(m.match, p, subject, 1, 'extra'))
            assert(results.n == again.n and results[1] == again[1])
            for i = 2, results.n do
                assert(type(results[i]) == type(again[i]))
                if type(results[i]) == 'string' then assert(results[i] == again[i]) end
            end
            local ok, made = pcall(re.compile, bytes:sub(1, 100))
            if ok then pcall(m.match, made, subject) end
        end",
    );
    (probe, check)
}

fuzz_target!(|bytes: &[u8]| {
    let (probe, check) = kept(state);
    check.call::<()>(probe.lua.create_string(bytes).unwrap()).unwrap();
});

//! `lpeg` and `re`, held to what LPeg 1.1 does. `golden/lpeg.json` was recorded from it: expressions and what they answer or raise.
//! `.ci/c-modules` compares both on random patterns.

mod support;

use serde_json::Value as Json;
use skein_bindings::library;
use support::Probe;

/// A state with both modules, as `m` and `re`.
fn probe() -> Probe {
    library::install();
    let probe = Probe::new();
    probe.globals.set("path", library::LUALIB).unwrap();
    probe.eval::<()>(
        "package.path = path
        m, re = require 'lpeg', require 're'",
    );
    probe
}

#[test]
fn expressions_answer_what_lpeg_answers() {
    let probe = probe();
    let show: skein_vm::mlua::Function = probe.eval(
        r#"
        local function show(v)
            if type(v) == "table" then
                local parts = {}
                for k, x in pairs(v) do parts[#parts + 1] = tostring(k) .. "=" .. show(x) end
                table.sort(parts)
                return "{" .. table.concat(parts, ",") .. "}"
            end
            return (tostring(v):gsub("0x%x+", ""))
        end
        function cat(...)
            local values = table.pack(...)
            for i = 1, values.n do values[i] = tostring(values[i]) end
            return "<" .. table.concat(values, ",") .. ">"
        end
        local NAMES <const> = "local m, re, cat = ... local P, R, S, V, C, Cc, Cg, Cb, Ct, Cs, Cf, Cmt, Cp, Carg = "
            .. "m.P, m.R, m.S, m.V, m.C, m.Cc, m.Cg, m.Cb, m.Ct, m.Cs, m.Cf, m.Cmt, m.Cp, m.Carg return "
        return function(expression)
            local results = table.pack(pcall(function() return load(NAMES .. expression, "=x")(m, re, cat) end))
            for i = 1, results.n do results[i] = show(results[i]) end
            return (table.concat(results, " | "):gsub("[^ ]*re%.lua:%d+: ", ""))
        end
        "#,
    );
    let cases: Json = serde_json::from_str(include_str!("golden/lpeg.json")).unwrap();
    let mut wrong = Vec::new();
    for case in cases.as_array().unwrap() {
        let expression = case[0].as_str().unwrap();
        let found: String = show.call(expression).unwrap();
        if found != case[1].as_str().unwrap() {
            wrong.push(format!("{expression}\n  LPeg:  {}\n  found: {found}", case[1].as_str().unwrap()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A choice gave way to its second part after the first one had matched, because what came behind it was looked at too early.
#[test]
fn what_comes_behind_a_choice_never_reopens_it() {
    probe().eval::<()>(
        "assert(not m.match(('aa' * m.P'bc' ^ -1 + 'aab') * 'e', 'aabe'))
        assert(not m.match(('aa' * m.P'bc' ^ 0 + 'aab') * 'e', 'aabe'))
        assert(not m.match((m.P'aa' * (m.P'bc' + '') + 'aab') * 'e', 'aabe'))",
    );
}

#[test]
fn a_pattern_costs_no_more_stack_than_its_rules_are_deep() {
    probe().eval::<()>(
        "-- The last call of a rule leaves nothing behind.
        local long = ('x'):rep(100000)
        assert(m.P{ 'y' + 1 * m.V(1) + -1 }:match(long) == 100001)
        local nested = m.P{ '(' * m.V(1) * ')' + 'x' }
        assert(nested:match(('('):rep(398) .. 'x' .. (')'):rep(398)) == 798)
        local ok, why = pcall(nested.match, nested, ('('):rep(399) .. 'x')
        assert(not ok and why:find('backtrack stack overflow (current limit is 400)', 1, true), why)
        m.setmaxstack(1000000)
        assert(nested:match(('('):rep(300000) .. 'x' .. (')'):rep(300000)) == 600002)
        m.setmaxstack(400)",
    );
}

#[test]
fn captures_nest_as_deep_as_memory_allows() {
    probe().eval::<()>(
        "m.setmaxstack(1 << 30)
        local depth = 100000
        local subject = ('('):rep(depth) .. (')'):rep(depth)
        local tables = m.P{ m.Ct('(' * m.V(1) ^ -1 * ')') }:match(subject)
        local found = 0
        while tables do found, tables = found + 1, tables[1] end
        assert(found == depth)
        assert(m.P{ '(' * m.V(1) ^ -1 * ')' / '%0' }:match(subject:sub(depth - 99, depth + 100)) == ('('):rep(100) .. (')'):rep(100))
        assert(m.P{ m.Cg('(' * m.V(1) ^ -1 * ')') / 1 }:match(subject) == '()')
        local less = subject:sub(depth - 1999, depth + 2000)
        assert(m.P{ m.Cs('(' * m.V(1) ^ -1 * ')') }:match(less) == less)
        assert(m.P{ m.C('(' * m.V(1) ^ -1 * ')') / 1 }:match(less) == less)
        -- Values of one capture have to fit on Lua's stack, and that is told.
        local ok, why = pcall(m.match, m.C(1) ^ 0, ('x'):rep(2000000))
        assert(not ok and why:find 'too many captures', why)
        assert(#m.match(m.Ct(m.C(1) ^ 0), ('x'):rep(200000)) == 200000)",
    );
}

#[test]
fn patterns_that_are_too_large_or_too_deep_are_refused() {
    probe().eval::<()>(
        "local function refused(f, what)
            local ok, why = pcall(f)
            assert(not ok and why:find(what, 1, true), why)
        end
        refused(function()
            local p = m.P 'a'
            for _ = 1, 600 do p = -p end
        end, 'pattern nested too deeply')
        refused(function() return m.match((m.P 'ab' ^ 100000) ^ 100000, 'a') end, 'pattern code too large')
        refused(function()
            local p = m.P 'ab'
            while true do p = p * p end
        end, 'pattern code too large')
        -- Long ones are not deep.
        local p = m.P(false)
        for i = 1, 2000 do p = p + ('k' .. i .. '.') end
        assert(p:match 'k1234.' == 7 and not p:match 'k2001.')",
    );
}

/// Thirty differences of a pattern with itself, found by a fuzzer, took seconds and half a gigabyte before they were refused.
#[test]
fn a_pattern_that_doubles_is_refused_before_it_fills_memory() {
    probe().eval::<()>(
        "collectgarbage()
        local p, before = m.P 'ab', collectgarbage 'count'
        local ok, why = pcall(function()
            while true do p = p - p end
        end)
        assert(not ok and why:find('pattern code too large', 1, true), why)
        local kept = collectgarbage 'count' - before
        assert(kept < 64 << 10, kept)",
    );
}

#[test]
fn errors_and_yields_inside_of_a_match_leave_it_well() {
    probe().eval::<()>(
        "local p = m.Ct((m.C(1) * m.Cmt('', function(s, i)
            if i == 5 then error('stop', 0) end
            collectgarbage()
            return true, ('v'):rep(i)
        end)) ^ 0)
        for _ = 1, 100 do
            local ok, why = pcall(p.match, p, 'abcdefgh')
            assert(not ok and why == 'stop')
            assert(#p:match 'abc' == 6)
        end
        -- A match inside of a match.
        local inner = m.Ct(m.C(m.R 'az' ^ 1 / function(w) return w:upper() end + 1) ^ 0)
        local outer = m.Ct((m.C(m.R 'az' ^ 1) / function(w) return inner:match(w .. ' x') end + 1) ^ 0)
        local found = outer:match 'one two'
        assert(#found == 2 and found[1][2] == 'ONE' and found[2][5] == 'X')
        local ok, why = coroutine.resume(coroutine.create(function() return m.match(m.P(coroutine.yield), 'x') end))
        assert(not ok and why:find 'yield across', why)",
    );
}

/// What a match uses is on Lua's stack, where `debug.setlocal` reaches it.
#[test]
fn a_match_whose_stack_is_changed_from_outside_ends_with_an_error() {
    probe().eval::<()>(
        "for slot = 1, 12 do
            for _, value in ipairs { false, 'other', m.P 'zz' } do
                local touched = m.Cmt('a', function()
                    debug.setlocal(2, slot, value)
                    collectgarbage()
                    collectgarbage()
                    return true
                end)
                local p = m.Ct((m.C(m.C '') * touched * 'a' * m.Cc(slot)) ^ 0) * ('a' * m.P 'x' + 'a') ^ 0
                local ok, why = pcall(p.match, p, ('a'):rep(300), 1, 7)
                assert(ok or type(why) == 'string', why)
            end
        end
        -- Nor is what the registry or the pattern keeps believed.
        local p, q = m.C(m.P 'a' / 'one') * m.Cc(1, 2), m.P 'b' ^ 0 / { b = 1 }
        p:match 'a' q:match 'b'
        for slot = 1, 2 do
            local mine = debug.getuservalue(p, slot)
            for _, other in ipairs { (debug.getuservalue(q, slot)), 'text', {}, p } do
                debug.setuservalue(p, other, slot)
                pcall(p.match, p, 'aab')
                pcall(function() return (p * q):match 'ab' end)
            end
            debug.setuservalue(p, mine, slot)
        end
        assert(p:match 'a' == 'a')",
    );
}

#[test]
fn re_reads_its_own_grammar() {
    let probe = probe();
    probe.eval::<()>(
        r#"
        local grammar = [=[
            pattern <- exp !.
            exp <- S (grammar / alternative)
            alternative <- seq ('/' S seq)*
            seq <- prefix*
            prefix <- '&' S prefix / '!' S prefix / suffix
            suffix <- primary S (([+*?] / '^' [+-]? num / '->' S (string / '{}' / name) / '>>' S name / '=>' S name) S)*
            primary <- '(' exp ')' / string / class / defined / '{:' (name ':')? exp ':}' / '=' name / '{}' / '{~' exp '~}'
                / '{|' exp '|}' / '{' exp '}' / '.' / name S !arrow / '<' name '>'
            grammar <- definition+
            definition <- name S arrow exp
            class <- '[' '^'? item (!']' item)* ']'
            item <- defined / range / .
            range <- . '-' [^]]
            S <- (%s / '--' [^%nl]*)*
            name <- [A-Za-z_][A-Za-z0-9_]*
            arrow <- '<-'
            num <- [0-9]+
            string <- '"' [^"]* '"' / "'" [^']* "'"
            defined <- '%' name
        ]=]
        assert(re.match(grammar, grammar) == #grammar + 1)
        assert(re.compile [[ R <- (!.) -> '' / ({.} R) -> '%2%1' ]]:match "0123456789" == "9876543210")
        local record = re.compile [[
            record <- {| field (',' field)* |} (%nl / !.)
            field <- escaped / plain
            plain <- { [^,"%nl]* }
            escaped <- '"' {~ ([^"] / '""' -> '"')* ~} '"'
        ]]
        local fields = record:match 'a,"b ""c""",,d'
        assert(#fields == 4 and fields[2] == 'b "c"' and fields[3] == "")
        assert(re.compile [[ long <- ('[' {:eq: '='* :} '[' close) close <- ']' =eq ']' / . close ]]:match "[==[]]===]]]]==]===[]" == 17)
        assert(re.gsub("hello World", "[aeiou]", ".") == "h.ll. W.rld")
        assert(re.find("the number 423 is odd", "[0-9]+") == 12)
        "#,
    );
}

--- What do patterns cost? A JSON reader and a checker, a search, a splitter, a substitution, a calculator, and building patterns. (A
--- script called `lpeg` would hide the module.)
local lpeg = require "lpeg"
local bench = require "bench"

local P, R, S, V = lpeg.P, lpeg.R, lpeg.S, lpeg.V
local C, Cc, Cf, Cg, Cs, Ct = lpeg.C, lpeg.Cc, lpeg.Cf, lpeg.Cg, lpeg.Cs, lpeg.Ct

local STEP <const> = 10

local space = S " \t\r\n" ^ 0
local digits = R "09" ^ 1
local number = P "-" ^ -1 * digits * ("." * digits) ^ -1 * (S "eE" * S "+-" ^ -1 * digits) ^ -1
local escape = P "\\" * (S '"\\/bfnrt' + "u" * R("09", "af", "AF") ^ 4)
local text = (P(1) - S '"\\') ^ 1

--- A grammar of JSON whose leaves are made by `leaf`.
local function json(values)
    return P {
        space * V "value" * -1,
        value = (V "object" + V "array" + V "string" + V "number" + V "word") * space,
        object = values.object("{" * space * (V "pair" * ("," * space * V "pair") ^ 0) ^ -1 * "}"),
        pair = values.pair(V "string" * space * ":" * space * V "value"),
        array = values.array("[" * space * (V "value" * ("," * space * V "value") ^ 0) ^ -1 * "]"),
        string = '"' * values.string((text + escape) ^ 0) * '"',
        number = values.number(number),
        word = values.word("true", true) + values.word("false", false) + values.word("null", nil),
    }
end

local function same(p) return p end
local check = json { object = same, pair = same, array = same, string = same, number = same, word = function(w) return P(w) end }
local read = json {
    object = function(p) return Cf(Ct "" * p, rawset) end,
    pair = Cg,
    array = Ct,
    string = C,
    number = function(p) return p / tonumber end,
    word = function(w, value) return w * Cc(value) end,
}

local parts = {}
for i = 1, 50 do
    parts[i] = ('{"id": %d, "name": "item%d", "price": %d.25, "tags": ["a", "bc", "def"], "ok": true, "none": null}'):format(i, i, i)
end
local document = "[" .. table.concat(parts, ",\n") .. "]"
local prose = ("It was the best of times, it was the worst of times. "):rep(40)
local list = ("alpha,beta,gamma,delta,"):rep(50) .. "omega"
local sum = ("1+2*(3-4)/5-"):rep(20) .. "6"

local calculator = P {
    V "sum" * -1,
    sum = Cf(V "product" * Cg(C(S "+-") * V "product") ^ 0, function(a, op, b) return op == "+" and a + b or a - b end),
    product = Cf(V "value" * Cg(C(S "*/") * V "value") ^ 0, function(a, op, b) return op == "*" and a * b or a / b end),
    value = digits / tonumber + "(" * V "sum" * ")",
}

local MATCHES <const> = {
    json_check = { check, document },
    json_read = { read, document },
    search = { P { P "worst of all" + 1 * V(1) } + true, prose },
    words = { Ct((C(R("az", "AZ") ^ 1) + 1) ^ 0), prose },
    split = { Ct(C((1 - P ",") ^ 0) * ("," * C((1 - P ",") ^ 0)) ^ 0), list },
    replace = { Cs((P "times" / "days" + P "best" / { best = "last" } + 1) ^ 0), prose },
    calculate = { calculator, sum },
    short = { C(R "az" ^ 1) * "=" * C(digits), "key=12345" },
}

bench.start(function()
    for _, name in ipairs { "json_check", "json_read", "search", "words", "split", "replace", "calculate", "short" } do
        local p, subject = MATCHES[name][1], MATCHES[name][2]
        assert(p:match(subject))
        bench.measure("lpeg_" .. name, STEP, function(n)
            for _ = 1, n do
                p:match(subject)
            end
        end)
    end
    bench.measure("lpeg_build", STEP, function(n)
        for _ = 1, n do
            json({ object = same, pair = same, array = same, string = C, number = C, word = function(w) return P(w) end }):match "[]"
        end
    end)
end)

--- Patterns in the notation of regular expressions, over `lpeg`. Written from the manual of LPeg's module of that name.
--
-- The grammar of patterns below is itself made of LPeg's patterns, whose captures build the pattern that a text means. What the text
-- names, functions, tables, patterns, strings, comes from `defs`, the first extra argument of the match.

local lpeg = require "lpeg"

local P, R, V = lpeg.P, lpeg.R, lpeg.V
local C, Carg, Cb, Cc, Cf, Cg, Cmt, Cp, Cs, Ct =
    lpeg.C, lpeg.Carg, lpeg.Cb, lpeg.Cc, lpeg.Cf, lpeg.Cg, lpeg.Cmt, lpeg.Cp, lpeg.Cs, lpeg.Ct
local match, type, error, setmetatable = lpeg.match, type, error, setmetatable
local kind = lpeg.type

local re = {}

--- Letters of predefined classes, and the class of C that each means; the capital means all other bytes.
local CLASSES <const> = {
    a = "alpha",
    c = "cntrl",
    d = "digit",
    g = "graph",
    l = "lower",
    p = "punct",
    s = "space",
    u = "upper",
    w = "alnum",
    x = "xdigit",
}

local any = P(1)

---@type table<string, lpeg.Pattern>
local predefined
--- Compiled patterns, by their text.
---@type table<string, lpeg.Pattern>
local compiled, searching, replacing

--- Takes the classes of the current locale, and forgets what was compiled with others.
function re.updatelocale()
    local classes = lpeg.locale()
    predefined = { nl = P "\n" }
    for letter, name in pairs(CLASSES) do
        predefined[letter] = classes[name]
        predefined[letter:upper()] = any - classes[name]
    end
    local weak = { __mode = "v" }
    compiled, searching, replacing = setmetatable({}, weak), setmetatable({}, weak), setmetatable({}, weak)
end

re.updatelocale()

--- Raises that the text cannot be read from `at` on.
local function unreadable(text, at)
    local rest = #text < at + 20 and text:sub(at) or text:sub(at, at + 20) .. "..."
    error(("pattern error near '%s'"):format(rest), 2)
end

--- What `defs` has under a name.
local function defined(name, defs)
    local value = defs and defs[name]
    if not value then error("undefined name: " .. name) end
    return value
end

--- The pattern that `%name` means.
local function definition(name, defs)
    local value = defs and defs[name] or predefined[name]
    if not value then error(("name '%s' undefined"):format(name)) end
    return P(value)
end

--- `p` exactly n times.
local function times(p, n)
    local all = P(true)
    -- By halves, so that the pattern is not copied n times over.
    while n > 0 do
        if n % 2 == 1 then all = all * p end
        n = n // 2
        if n > 0 then p = p * p end
    end
    return all
end

local function choice(a, b) return a + b end
local function sequence(a, b) return a * b end

--- A rule of a grammar is added to the table of its rules.
local function add_rule(rules, name, p)
    if rules[name] then error(("'%s' already defined as a rule"):format(name)) end
    rules[name] = p
    return rules
end

local function first_rule(name, p) return add_rule({ name }, name, p) end

--- The rule of a name, which must be one of the grammar around it.
local function rule_named(name, inside)
    if not inside then error(("rule '%s' used outside a grammar"):format(name)) end
    return V(name)
end

local space = (predefined.s + "--" * (any - predefined.nl) ^ 0) ^ 0
local letter = R("AZ", "az", "__")
local word = C(letter * (letter + R "09") ^ 0)
local number = C(R "09" ^ 1) / tonumber
local defs = Carg(1)
local arrow = space * "<-"

local quoted = "'" * C((any - "'") ^ 0) * "'" + '"' * C((any - '"') ^ 0) * '"'
local percent = "%" * word * defs / definition

local range = C(any) * "-" * C(any - "]") / function(from, to) return R(from .. to) end
local item = percent + range + C(any) / P
local class = "["
    * C(P "^" ^ -1)
    * (item * ((item - P "]") % choice) ^ 0)
    / function(inverse, set) return inverse == "^" and any - set or set end
    * "]"

--- What comes behind a pattern: captures and repetitions, each a function of the pattern and of a value.
local function suffix(mark, value, f) return mark * space * value * Cc(f) end

local after = suffix("*", Cc(nil), function(p) return p ^ 0 end)
    + suffix("+", Cc(nil), function(p) return p ^ 1 end)
    + suffix("?", Cc(nil), function(p) return p ^ -1 end)
    + suffix("^+", number, function(p, n) return p ^ n end)
    + suffix("^-", number, function(p, n) return p ^ -n end)
    + suffix("^", number, times)
    + suffix("->", quoted + number + P "{}" * Cc {}, function(p, value)
        if type(value) == "table" then return Ct(p) end
        return p / value
    end)
    + suffix("->", word * defs / defined, function(p, value) return p / value end)
    + suffix("=>", word * defs / defined, Cmt)
    + suffix("~>", word * defs / defined, Cf)
    + suffix(">>", word * defs / defined, function(p, f) return p % f end)

--- Whether names are those of rules.
local INSIDE <const> = Cg(Cc(true), "inside")

local grammar = P {
    "Pattern",
    Pattern = space * V "Whole" * (-any + P(unreadable)),
    Whole = INSIDE * V "Grammar" + Cg(Cc(false), "inside") * V "Choice",
    Inner = INSIDE * V "Grammar" + V "Choice",
    Grammar = V "Rule" / first_rule * (V "Rule" % add_rule) ^ 0 / P,
    Rule = word * arrow * space * V "Choice",
    Choice = V "Sequence" * ("/" * space * V "Sequence" % choice) ^ 0,
    Sequence = Cc(P(true)) * (V "Prefixed" % sequence) ^ 0,
    Prefixed = "&" * space * V "Prefixed" / function(p) return #p end
        + "!" * space * V "Prefixed" / function(p) return -p end
        + V "Suffixed",
    Suffixed = V "Primary" * space * ((after * space) % function(p, value, f) return f(p, value) end) ^ 0,
    Primary = "(" * space * V "Inner" * ")"
        + quoted / P
        + class
        + percent
        + "{:" * (word * ":" + Cc(nil)) * space * V "Inner" * ":}" / function(name, p) return Cg(p, name) end
        + "=" * word / function(name)
            return Cmt(Cb(name), function(subject, at, seen)
                if type(seen) ~= "string" then return false end
                local to = at + #seen
                return subject:sub(at, to - 1) == seen and to
            end)
        end
        + P "{}" / Cp
        + "{~" * space * V "Inner" * "~}" / Cs
        + "{|" * space * V "Inner" * "|}" / Ct
        + "{" * space * V "Inner" * "}" / C
        + P "." * Cc(any)
        + (word * -arrow + "<" * word * ">") * Cb "inside" / rule_named,
}

local function compile(text, definitions)
    if kind(text) == "pattern" then return text end
    local p = match(grammar, text, 1, definitions)
    if not p then error("incorrect pattern", 3) end
    return p
end

--- The pattern that a text means.
---@param text string | lpeg.Pattern
---@param definitions table?  what names in the text mean
---@return lpeg.Pattern
function re.compile(text, definitions) return compile(text, definitions) end

--- All captures of a match of `text`, or where it ends; nil if there is none.
---@param subject string
---@param text string | lpeg.Pattern
---@param init integer?
---@return any ...
function re.match(subject, text, init)
    local p = compiled[text]
    if not p then
        p = compile(text)
        compiled[text] = p
    end
    return match(p, subject, init or 1)
end

--- The first and last position of the first match; nil if there is none.
---@param subject string
---@param text string | lpeg.Pattern
---@param init integer?
---@return integer? from
---@return integer? to
function re.find(subject, text, init)
    local p = searching[text]
    if not p then
        p = compile(text)
        p = P { Cp() * (p / 0) * Cp() / function(from, to) return from, to - 1 end + any * V(1) }
        searching[text] = p
    end
    return match(p, subject, init or 1)
end

--- The subject with every match replaced, by what `/` makes of it with `replacement`.
---@param subject string
---@param text string | lpeg.Pattern
---@param replacement string | number | table | function
---@return string
function re.gsub(subject, text, replacement)
    local of = replacing[text] or {}
    replacing[text] = of
    local p = of[replacement]
    if not p then
        p = Cs((compile(text) / replacement + any) ^ 0)
        of[replacement] = p
    end
    return match(p, subject)
end

return re

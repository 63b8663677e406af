---@meta lpeg

--- Patterns of parsing expression grammars: LPeg 1.1. What takes a pattern takes also what `P` makes one of.
local lpeg = {}

lpeg.version = ""

--- A pattern. `a * b`: one after the other. `a + b`: the first that matches. `a - b`: a where b does not match. `a ^ n`: at least n
--- times, or at most -n times. `-a`: where a does not match. `#a`: where a matches, going nowhere. `a / x`: what a string, number, table or
--- function makes of the captures of a. `a % f`: f makes a new value of the last one and of the captures of a.
---@class lpeg.Pattern
---@field match fun(self: lpeg.Pattern, subject: string, init: integer?, ...: any): any ...
---@operator mul(any): lpeg.Pattern
---@operator add(any): lpeg.Pattern
---@operator sub(any): lpeg.Pattern
---@operator div(string|number|table|function): lpeg.Pattern
---@operator mod(function): lpeg.Pattern
---@operator pow(integer): lpeg.Pattern
---@operator unm: lpeg.Pattern
---@operator len: lpeg.Pattern

--- The captures of a match that begins at `init`, or the position behind it if there are none; nil if there is no match.
---@param pattern any
---@param subject string
---@param init integer?
---@param ... any  for `Carg`
---@return any ...
function lpeg.match(pattern, subject, init, ...) end

--- "pattern", or nil.
---@param value any
---@return "pattern"?
function lpeg.type(value) end

--- Limit of calls and choices that a match keeps: 400 at first, and never less.
---@param n integer
function lpeg.setmaxstack(n) end

--- Patterns of character classes, `alpha`, `digit` and so on.
---@param into table?
---@return table<string, lpeg.Pattern>
function lpeg.locale(into) end

--- A pattern: a string matches itself, a number that many bytes, a boolean always or never, a table is a grammar, a function is asked
--- while matching.
---@param value any
---@return lpeg.Pattern
function lpeg.P(value) end

--- Any byte of a string.
---@param bytes string
---@return lpeg.Pattern
function lpeg.S(bytes) end

--- Any byte of ranges, each two bytes.
---@param ... string
---@return lpeg.Pattern
function lpeg.R(...) end

--- The UTF-8 of a code point of a range.
---@param from integer
---@param to integer
---@return lpeg.Pattern
function lpeg.utfR(from, to) end

--- Where `pattern`, of a fixed length, matches just before.
---@param pattern any
---@return lpeg.Pattern
function lpeg.B(pattern) end

--- A rule of the grammar to come.
---@param name any
---@return lpeg.Pattern
function lpeg.V(name) end

--- Captures what was matched.
---@param pattern any
---@return lpeg.Pattern
function lpeg.C(pattern) end

--- Captures the n-th extra argument of `match`.
---@param n integer
---@return lpeg.Pattern
function lpeg.Carg(n) end

--- Captures what the last group of this key did.
---@param key any
---@return lpeg.Pattern
function lpeg.Cb(key) end

--- Captures these values.
---@param ... any
---@return lpeg.Pattern
function lpeg.Cc(...) end

--- Captures one value: the first, then what `f` makes of it and each that follows.
---@deprecated
---@param pattern any
---@param f function
---@return lpeg.Pattern
function lpeg.Cf(pattern, f) end

--- A group; with a key, for `Cb` and for tables.
---@param pattern any
---@param key any?
---@return lpeg.Pattern
function lpeg.Cg(pattern, key) end

--- While matching, `f(subject, position, captures...)` says where to go on, true for here, or false; what else it returns is captured.
---@param pattern any
---@param f function
---@return lpeg.Pattern
function lpeg.Cmt(pattern, f) end

--- Captures the position.
---@return lpeg.Pattern
function lpeg.Cp() end

--- Captures what was matched, with values in place of what they matched.
---@param pattern any
---@return lpeg.Pattern
function lpeg.Cs(pattern) end

--- Captures a table of all values.
---@param pattern any
---@return lpeg.Pattern
function lpeg.Ct(pattern) end

--- Raises: for LPeg's own debugging.
---@param pattern any
function lpeg.ptree(pattern) end

--- Raises: for LPeg's own debugging.
---@param pattern any
function lpeg.pcode(pattern) end

return lpeg

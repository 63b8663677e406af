-- What is told of this file must not depend on who compiled it.
local first, second = "short", "a string that is longer than forty bytes, and so is not interned"
local M = { first = first, second = second }

function M.index(t) return t.no.such end
function M.call(t) return t.missing() end
function M.arith(a) return a + second end
function M.concat(a) return first .. a end
function M.upvalue() return first() end
function M.method(o) return o:nothing() end
function M.global() return undefined_name.x end
function M.compare(a) return a < M end
function M.plain() error("plain") end
function M.level() error("level two", 2) end
function M.object() error({ code = 42 }) end
function M.assert(a) assert(a, "asserted") end
function M.vararg(...)
    local n = select("#", ...)
    local a <const>, b <close> = n, nil
    for i = 1, n do
        local inner = function(...) return i + a, b, ... end
        if i == 3 then return inner end
    end
end
function M.deep(n)
    if n == 0 then return M.index({}) end
    return (M.deep(n - 1))
end
function M.tail(n) return M.deep(n) end
M.nested = function()
    return function()
        local x = 1
        return function() return x, M end
    end
end

goto done
do
    local never = 1
end
::done::

return M

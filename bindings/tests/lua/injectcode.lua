-- Code in the scope of a stopped function: lua-api §6.3.
local skynet = require "skynet"
local injectcode = require "skynet.injectcode"
local check = require "check"

local outer = "outer"

check.run("injectcode", function()
    local seen
    local function body(a, ...)
        local b = 2
        do
            local b = "inner b"
            local table_ = { x = 1 }
            coroutine.yield(b, table_)
            seen = b
        end
        return a, b, outer, ...
    end
    local co = coroutine.create(body)
    coroutine.resume(co, "A", "v1", "v2", "v3")
    -- Frame 0 of a coroutine that yielded is the native `yield`; ours is the next.
    check.values("locals", table.pack(injectcode("return a, b, outer", co, 1)), true, "A", "inner b", "outer")
    check.values("varargs", table.pack(injectcode("return ...", co, 1)), true, "v1", "v2", "v3")
    check.eq("table", select(2, injectcode("return table_.x", co, 1)), 1)
    check.eq("global", select(2, injectcode("return math.pi", co, 1)), math.pi)
    injectcode("b = 'changed'", co, 1)
    if check.skein then
        injectcode("outer = 'new outer'", co, 1)
        check.eq("upvalue", outer, "new outer")
    end
    coroutine.resume(co)
    check.eq("written back", seen, "changed")
    co = coroutine.create(body)
    coroutine.resume(co)
    local ok, err = injectcode("return 1 +", co, 1)
    check.eq("syntax", ok, false)
    check.contains("syntax", err, "unexpected symbol")
    ok, err = injectcode("error 'inside'", co, 1)
    check.eq("error", ok, false)
    check.contains("error", err, "inside")
    if check.skein then -- skynet's raises
        check.values("level", table.pack(injectcode("return 1", co, 99)), false, "Invalid level")
    end
    check.eq("further names", select(2, injectcode("return helper(b)", co, 1, { helper = type })), "string")
end)

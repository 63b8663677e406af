-- Supervisors: who is started again, in which order, and when that is too often.
--! log: supervisor: gives up
--! no-log: stack traceback
local skynet = require "skynet"
local supervisor = require "skein.supervisor"
local check = require "check"
require "skynet.manager"

local FOREVER <const> = 1000000

check.run("supervisor", function()
    local rec = check.recorder()

    local function child(name, more)
        local it = {
            name = name,
            start = function()
                rec(name)
                return skynet.newservice "skein_peer"
            end,
        }
        for key, value in pairs(more or {}) do
            it[key] = value
        end
        return it
    end

    --- Waits until a child was started `count` times again.
    local function restarted(sup, name, count)
        while not (sup:restarts(name) >= count and sup:child(name)) do
            skynet.sleep(1)
        end
    end

    local function three(strategy)
        local sup = supervisor.start {
            strategy = strategy,
            window = FOREVER,
            max_restarts = 3,
            children = { child "a", child "b", child "c" },
        }
        check.eq(strategy .. " starts", rec(), "a b c")
        local before = { a = sup:child "a", b = sup:child "b", c = sup:child "c" }
        skynet.send(before.b, "lua", "leave")
        return sup, before
    end

    -- Only the one.
    local sup, before = three "one_for_one"
    restarted(sup, "b", 1)
    check.eq("one_for_one", rec(), "b")
    check.eq("a stays", sup:child "a", before.a)
    check.ok("b is another", sup:child "b" ~= before.b)
    check.eq("it works", skynet.call(sup:child "b", "lua", "echo", 5), 5)
    sup:stop()
    check.eq("stopped", sup:child "a", nil)
    check.raises("ended", "call", skynet.call, before.a, "lua", "echo")

    -- All of them.
    sup, before = three "one_for_all"
    restarted(sup, "c", 1)
    check.eq("one_for_all", rec(), "a b c")
    check.ok("a is another", sup:child "a" ~= before.a)
    sup:stop()

    -- It and those behind it. A kill is an end like others.
    sup, before = three "rest_for_one"
    restarted(sup, "c", 1)
    check.eq("rest_for_one", rec(), "b c")
    check.eq("a stays", sup:child "a", before.a)
    skynet.kill(sup:child "c")
    restarted(sup, "c", 2)
    check.eq("the last one", rec(), "c")
    sup:stop()

    -- Too often: it ends the others, and says so.
    local given_up
    sup = supervisor.start {
        window = FOREVER,
        max_restarts = 2,
        children = { child "x", child "y" },
        escalate = function(_, name)
            given_up = name
            skynet.wakeup "escalated"
        end,
    }
    local other = sup:child "x"
    skynet.fork(function()
        for count = 1, 3 do
            skynet.send(sup:child "y", "lua", "leave")
            if count < 3 then restarted(sup, "y", count) end
        end
    end)
    skynet.wait "escalated"
    check.eq("escalated", given_up, "y")
    check.eq("twice again", rec(), "x y y y")
    check.raises("the others ended", "call", skynet.call, other, "lua", "echo")

    -- A child that does not start again uses up the restarts as well.
    local starts = 0
    supervisor.start {
        window = FOREVER,
        children = {
            {
                name = "broken",
                start = function()
                    starts = starts + 1
                    assert(starts == 1, "as it should")
                    local handle = skynet.newservice "skein_peer"
                    skynet.send(handle, "lua", "leave")
                    return handle
                end,
            },
        },
        escalate = function() skynet.wakeup "escalated" end,
    }
    skynet.wait "escalated"
    check.eq("attempts", starts, 4)

    -- Temporary ones are not started again.
    sup = supervisor.start { window = FOREVER, children = { child("t", { restart = "temporary" }), child "p" } }
    rec()
    skynet.kill(sup:child "t")
    skynet.kill(sup:child "p")
    restarted(sup, "p", 1)
    check.eq("temporary", sup:child "t", nil)
    check.eq("only the other", rec(), "p")
    sup:stop()

    -- A start that fails ends those before it.
    local first
    check.raises("start", "no luck", supervisor.start, {
        children = {
            {
                name = "first",
                start = function()
                    first = skynet.newservice "skein_peer"
                    return first
                end,
            },
            { name = "second", start = function() error "no luck" end },
        },
    })
    check.raises("ended", "call", skynet.call, first, "lua", "echo")

    -- Wrong use.
    check.raises("strategy", "no such strategy", supervisor.start, { strategy = "all", children = {} })
    check.raises("names", "same name", supervisor.start, { children = { child "a", child "a" } })
    check.raises("children", "needs children", supervisor.start, {})
    check.raises("restart", "permanent or temporary", supervisor.start, { children = { child("a", { restart = "often" }) } })
    check.raises("child", "no child", sup.child, sup, "nobody")
end)

-- What `skein` has beside skynet's interface: calls with a deadline, timers that are taken back, mailboxes with a bound. Nothing
-- here depends on how long something takes: what must not come in time is held back until it has been given up.
--! no-log: Response message
--! no-log: stack traceback
local skynet = require "skynet"
local skein = require "skein"
local check = require "check"

check.run("skein", function()
    local peer = skynet.newservice "skein_peer"
    local LONG <const> = 360000

    -- An answer in time.
    check.values("in time", table.pack(skein.call_timeout(LONG, peer, "lua", "echo", 1, nil, "x", nil)), 1, nil, "x", nil)
    check.values("no values", table.pack(skein.call_timeout(LONG, peer, "lua", "echo")))
    check.eq("timers taken back", skynet.task(), 0)

    -- None in time: each call is given up, and what comes then is dropped and counted.
    for i = 1, 20 do
        check.raises("late " .. i, "call timeout: no answer from :", skein.call_timeout, i % 3 - 1, peer, "lua", "hold")
    end
    check.eq("nobody waits", skynet.task(), 0)
    check.eq("none is late yet", skein.stat().late, 0)
    skynet.call(peer, "lua", "release")
    check.eq("late answers", skein.stat().late, 20)
    check.eq("timeouts", skein.stat().timeouts, 20)

    -- Answers that never come leave nothing behind: only so many are expected.
    for _ = 1, 1100 do
        pcall(skein.call_timeout, 0, peer, "lua", "hold")
    end
    check.eq("given up", skein.stat().timeouts, 1120)

    -- What fails otherwise fails as a call does.
    check.raises("gone", "invalid address", skein.call_timeout, LONG, 0xfffff0, "lua", "echo")
    local leaving = skynet.newservice "skein_peer"
    check.raises("ended", "call failed", skein.call_timeout, LONG, leaving, "lua", "leave")
    check.eq("nobody waits", skynet.task(), 0)

    -- Killed while it waits.
    local task = skynet.fork(function() skein.call_timeout(LONG, peer, "lua", "hold") end)
    skynet.yield()
    check.eq("a task, its answer and its timer", skynet.task(), 3)
    skynet.killthread(task)
    check.eq("nothing stays behind a killed task", skynet.task(), 0)

    -- Timers.
    local rec = check.recorder()
    local cancelled = skein.timeout(1, function() rec "cancelled" end)
    local never = skein.timeout(LONG, function() rec "never" end)
    local soon = skein.timeout(0, function() rec "soon" end)
    check.ok("pending", cancelled:pending() and never:pending() and soon:pending())
    check.eq("cancel", cancelled:cancel(), true)
    check.eq("cancel again", cancelled:cancel(), false)
    check.eq("cancel what is due", soon:cancel(), true)
    check.eq("cancel what is far", never:cancel(), true)
    skein.timeout(3, function() rec "run" end)
    local last
    last = skein.timeout(4, function()
        rec(tostring(last:pending()))
        skynet.wakeup "timers"
    end)
    skynet.wait "timers"
    check.eq("those that ran", rec(), "run false")
    check.eq("cancel what ran", last:cancel(), false)

    -- Bounds. The peer is busy until all six are there or refused. Three find room, or two when it has not begun yet.
    check.raises("a bound", "from 0 on", skein.set_mailbox, -1)
    skynet.call(peer, "lua", "bound", 3)
    skynet.send(peer, "lua", "block", 6)
    local answers = {}
    local function ask(i)
        answers[i] = table.pack(pcall(skynet.call, peer, "lua", "echo", i))
        skynet.wakeup "asked"
    end
    for i = 1, 6 do
        skynet.fork(ask, i)
    end
    for _ = 1, 6 do
        skynet.wait "asked"
    end
    local served, refused = 0, 0
    for i = 1, 6 do
        if answers[i][1] then
            served = served + 1
            check.eq("served", answers[i][2], i)
        else
            refused = refused + 1
            check.contains("refused", answers[i][2], "call failed")
        end
    end
    check.ok("who found room", served == 2 or served == 3, served .. " served")
    local stat = skynet.call(peer, "lua", "stat")
    check.eq("bound", stat.bound, 3)
    check.eq("counted", stat.refused, refused)
    check.eq("shown", skynet.call(peer, "debug", "STAT").refused, refused)
    check.eq("not shown without a bound", skynet.call(".launcher", "debug", "STAT").bound, nil)
end)

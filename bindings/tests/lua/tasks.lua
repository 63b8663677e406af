-- Tasks and time: conformance T1 to T15, lua-api §2.2, §2.5, §3.6.
--! log: first error
--! log: second error
--! log: Unknown command : FOO
--! log: Call skynet.coroutine.yield out of skynet.coroutine.resume
--! no-log: Response message
local skynet = require "skynet"
local check = require "check"

check.run("tasks", function()
    local rec = check.recorder()
    local me = coroutine.running()

    -- T1
    check.eq("T1", skynet.wakeup "nobody", nil)
    check.eq("T1 after", skynet.sleep(1, "nobody"), nil)
    -- T2
    skynet.fork(function() check.eq("T2 wakeup", skynet.wakeup(me), true) end)
    check.eq("T2 sleep", skynet.sleep(100), "BREAK")
    check.values("T2 expired", table.pack(skynet.sleep(1)))
    skynet.fork(function() skynet.wakeup "t2" end)
    check.values("T2 wait", table.pack(skynet.wait "t2"))
    -- T3
    skynet.fork(function()
        check.eq("T3", skynet.wakeup "t3", true)
        check.eq("T3", skynet.wakeup "t3", true)
    end)
    check.eq("T3 first", skynet.sleep(100, "t3"), "BREAK")
    check.eq("T3 second", skynet.sleep(100, "t3"), "BREAK")
    -- Two wake-ups, and no second sleep: the entry is discarded.
    skynet.fork(function()
        skynet.wakeup "t3b"
        skynet.wakeup "t3b"
    end)
    check.eq("T3 discard", skynet.sleep(100, "t3b"), "BREAK")
    skynet.yield()
    check.eq("T3 discarded", skynet.sleep(1, "t3b"), nil)
    -- T4
    skynet.fork(function() rec(skynet.sleep(3, "t4") or "expired") end)
    skynet.fork(function()
        if check.skein then -- skynet's takes its timer first, and later wakes somebody else with it
            check.raises("T4", "token duplicative", skynet.sleep, 1, "t4")
        end
        check.raises("T4", "token duplicative", skynet.wait, "t4")
    end)
    skynet.sleep(5)
    check.eq("T4", rec(), "expired")
    -- T5
    for i = 1, 3 do
        skynet.fork(function()
            rec(i)
            skynet.fork(rec, "n" .. i)
        end)
    end
    skynet.yield()
    check.eq("T5", rec(), "1 2 3 n1 n2 n3")
    -- T6
    skynet.timeout(2, function() rec "a" end)
    for i = 1, 5 do
        skynet.timeout(3, function() rec(i) end)
    end
    skynet.timeout(0, function() rec "z" end)
    skynet.fork(rec, "f")
    skynet.sleep(8)
    check.eq("T6", rec(), "f z a 1 2 3 4 5")
    -- T7
    for i = 1, 3 do
        skynet.fork(function()
            skynet.wait("t7" .. i)
            rec(i)
        end)
    end
    skynet.yield()
    for _, i in ipairs { 3, 1, 2 } do
        skynet.wakeup("t7" .. i)
    end
    rec "waker"
    skynet.yield()
    check.eq("T7", rec(), "waker 3 1 2")
    -- A woken task's own wake-ups go to the tail.
    for i = 1, 3 do
        skynet.fork(function()
            skynet.wait("t7" .. i)
            rec(i)
            if i == 1 then skynet.wakeup "t73" end
        end)
    end
    skynet.yield()
    skynet.wakeup "t71"
    skynet.wakeup "t72"
    skynet.yield()
    check.eq("T7 tail", rec(), "1 2 3")
    -- Wake-ups before forks: the draining comes first.
    skynet.fork(function()
        skynet.wait "t7w"
        rec "woken"
    end)
    skynet.yield()
    skynet.fork(rec, "fork")
    skynet.wakeup "t7w"
    skynet.yield()
    check.eq("woken before forks", rec(), "woken fork")
    -- T8
    local count
    skynet.fork(function(...) count = select("#", ...) end, nil, 2, nil)
    skynet.yield()
    check.eq("T8", count, 3)
    -- T9
    skynet.fork(error, "first error")
    skynet.fork(rec, "between")
    skynet.fork(error, "second error")
    skynet.yield()
    check.eq("T9", rec(), "between")
    -- A failing task keeps its wake-ups; they run after the forks before them.
    skynet.fork(function()
        skynet.wait "t9"
        rec "woken"
    end)
    skynet.yield()
    skynet.fork(function()
        skynet.wakeup "t9"
        skynet.fork(rec, "fork")
        error "first error"
    end)
    skynet.yield()
    check.eq("T9 wake-ups", rec(), "fork woken")
    -- T10
    local fork = skynet.fork(rec, "never")
    check.eq("T10 fork", skynet.killthread(fork), fork)
    skynet.yield()
    check.eq("T10 never ran", rec(), "")
    local sleeper = skynet.fork(function()
        local _ <close> = setmetatable({}, {
            __close = function() rec "closed" end,
        })
        skynet.sleep(3, "t10")
        rec "woke"
    end)
    skynet.yield()
    check.eq("T10", skynet.killthread(sleeper), sleeper)
    check.eq("T10 closed", rec(), "closed")
    check.eq("T10 dead", coroutine.status(sleeper), "dead")
    check.eq("T10 unknown", skynet.killthread(sleeper), nil)
    check.eq("T10 unknown", skynet.killthread "no such thread", nil)
    check.eq("T10 not asleep", skynet.wakeup "t10", nil)
    -- By pattern.
    sleeper = skynet.fork(skynet.wait, "t10p")
    skynet.yield()
    check.eq("T10 pattern", skynet.killthread((tostring(sleeper):gsub("%p", "%%%0"))), sleeper)
    -- T11: the killed sleeper's timer comes in here, silently (see no-log).
    if check.skein then skynet.sleep(5) end
    check.eq("T11", rec(), "")
    -- T12
    check.eq("T12 none", skynet.task(), check.skein and 0 or skynet.task())
    local before = skynet.task()
    local co = skynet.fork(skynet.sleep, 20, "t12")
    skynet.yield()
    check.eq("T12", skynet.task(), before + 1)
    local session = skynet.task(co)
    check.eq("T12 session", math.type(session), "integer")
    check.contains("T12 traceback", skynet.task(session), "stack traceback:")
    check.eq("T12 no session", skynet.task(99999), "No session")
    local all = {}
    skynet.task(all)
    check.contains("T12 table", all[string.format("%s session: %d", co, session)], "stack traceback:")
    skynet.wakeup "t12"
    skynet.yield()
    all = {}
    skynet.task(all)
    check.eq("T12 tombstone", all["BREAK session: " .. session], "BREAK")
    check.eq("T12 not counted", skynet.task(), before)
    for _ = 1, 24 do
        skynet.fork(skynet.sleep, 2)
    end
    skynet.yield()
    local found
    for key in pairs(skynet.uniqtask()) do
        -- Fresh and reused coroutines make two groups.
        if tonumber(key:match "^%d+") > 10 then found = key end
    end
    check.ok(
        "uniqtask",
        found and found:find "^%d+\tsessions:%[%d+,%d+,%d+,%d+,%d+,%d+,%d+,%d+,%d+%.%.%.%]\n$",
        found
    )
    skynet.sleep(4)
    check.contains("init", skynet.task "init", "stack traceback:")
    -- T13
    check.eq("T13", math.type(skynet.now()), "integer")
    check.eq("T13", math.type(skynet.time()), "float")
    check.eq("T13", math.type(skynet.starttime()), "integer")
    check.eq("T13", math.type(skynet.hpc()), "integer")
    local t = skynet.now()
    skynet.sleep(3)
    check.ok("T13 sleep", skynet.now() - t >= 3)
    -- T14
    skynet.fork(coroutine.yield, "FOO")
    skynet.fork(coroutine.yield, "USER")
    skynet.fork(coroutine.yield)
    skynet.yield()
    -- T15
    check.eq("T15", type(skynet.timeout(0, rec)), "thread")
    check.eq("T15", type(skynet.fork(rec, "x")), "thread")
    skynet.yield()
    rec()
    -- A timer below zero is queued at once, behind what is there.
    skynet.timeout(-5, function() rec "timer" end)
    skynet.send(skynet.self(), "lua")
    skynet.dispatch("lua", function() rec "message" end)
    skynet.sleep(1)
    check.eq("timeout below zero", rec(), "timer message")
    -- A task that waits in a call is not woken.
    local waiting = skynet.fork(function() rec(pcall(skynet.call, "NOBODY_YET", "lua")) end)
    skynet.yield()
    check.eq("A8.4", skynet.wakeup(waiting), nil)
    skynet.term "NOBODY_YET"
    skynet.yield()
    check.eq("term", rec(), "false")
    -- Killing one that answered is no error; killing one that waits for an answer drops the answer.
    local served
    skynet.dispatch("lua", function(_, _, what)
        served = coroutine.running()
        if what == "early" then
            skynet.retpack "answer"
            skynet.wait "for ever"
        else
            skynet.wait "for ever too"
        end
    end)
    check.eq("early answer", skynet.call(skynet.self(), "lua", "early"), "answer")
    if check.skein then
        check.eq("kill after ret", skynet.killthread(served), served)
        skynet.timeout(2, function() skynet.killthread(served) end)
        check.raises("kill before ret", "call failed", skynet.call, skynet.self(), "lua", "late")
    end
    -- A timer whose coroutine nobody took has one as soon as somebody looks.
    before = skynet.task()
    local done = {}
    skynet.timeout(2, function()
        rec(coroutine.isyieldable() and "plain")
        skynet.timeout(1, function()
            skynet.sleep(0)
            rec "slept"
            skynet.timeout(1, function()
                rec(type(skynet.timeout(1, function() skynet.wakeup(done) end)))
            end)
        end)
    end)
    check.eq("plain timer counts", skynet.task(), before + 1)
    all = {}
    skynet.task(all)
    skynet.wait(done)
    check.eq("plain timers", rec(), "plain slept thread")
    for i = 1, 3000 do
        skynet.timeout(1, function()
            if i % 1000 == 0 then rec(i) end
            if i == 3000 then skynet.wakeup(done) end
        end)
    end
    collectgarbage()
    skynet.wait(done)
    check.eq("a crowd of plain timers", rec(), "1000 2000 3000")
    -- trace_timeout
    skynet.trace_timeout(true)
    local timer = skynet.timeout(2, function() end)
    check.contains("trace_timeout", skynet.task(skynet.task(timer)), "TIMER ")
    skynet.trace_timeout(false)
    skynet.sleep(3)
    -- In a nested plain coroutine the word of the framework comes out.
    check.eq("nested wrap", coroutine.wrap(function() skynet.sleep(0) end)(), "SUSPEND")
    skynet.yield()
end)

-- Critical sections: conformance Q1 to Q3.
local skynet = require "skynet"
local queue = require "skynet.queue"
local check = require "check"

check.run("queue", function()
    local rec = check.recorder()
    local cs = queue()
    check.eq("installed", skynet.queue, queue)
    -- Q1
    check.values("Q1", table.pack(cs(function(...) return ... end, 1, nil, 2, nil)), 1, nil, 2, nil)
    local ok, err = pcall(cs, error, "in section")
    check.eq("Q1", ok, false)
    check.contains("Q1", err, "in section")
    check.contains("Q1 traceback", err, "stack traceback:")
    local object = {}
    ok, err = pcall(cs, error, object)
    check.eq("Q1 object", err, object)
    check.eq(
        "Q1 nested",
        cs(function()
            return cs(function()
                skynet.sleep(1)
                return cs(function() return "deep" end)
            end)
        end),
        "deep"
    )
    -- Q2
    for i = 1, 3 do
        skynet.fork(function()
            cs(function()
                rec("in" .. i)
                skynet.sleep(2)
                rec("out" .. i)
            end)
        end)
    end
    skynet.sleep(10)
    check.eq("Q2", rec(), "in1 out1 in2 out2 in3 out3")
    -- A nested failure leaves the outer section locked, and the next one is let in after it.
    skynet.fork(function()
        cs(function()
            pcall(cs, error, "inner")
            skynet.sleep(2)
            rec "first"
        end)
    end)
    skynet.fork(function() cs(rec, "second") end)
    skynet.sleep(5)
    check.eq("nested failure", rec(), "first second")
    -- All of them fail, and nothing else happens in the service: it is the closing of a failed task that lets the next one in.
    local failed = 0
    for i = 1, 5 do
        skynet.fork(function()
            local _ <close> = setmetatable({}, { __close = function() failed = failed + 1 end })
            cs(function()
                if i == 1 then skynet.sleep(1) end
                error("inside " .. i)
            end)
        end)
    end
    skynet.sleep(10)
    check.eq("all had their turn and failed", failed, 5)
    -- An unqueued one runs beside it.
    local other = queue()
    skynet.fork(cs, function()
        skynet.sleep(2)
        rec "slow"
    end)
    skynet.fork(other, rec, "beside")
    skynet.sleep(4)
    check.eq("two queues", rec(), "beside slow")
    if check.skein then
        -- Q3: a killed holder leaves; a killed waiter loses its place.
        local holder = skynet.fork(cs, function() skynet.sleep(100) end)
        skynet.yield()
        local waiter = skynet.fork(cs, rec, "killed waiter")
        skynet.fork(cs, rec, "next")
        skynet.yield()
        check.eq("Q3 waiter", skynet.killthread(waiter), waiter)
        check.eq("Q3 holder", skynet.killthread(holder), holder)
        skynet.yield()
        check.eq("Q3", rec(), "next")
        -- Killed between being let in and running.
        holder = skynet.fork(cs, function() skynet.wait "hold" end)
        waiter = skynet.fork(cs, rec, "never")
        skynet.yield()
        skynet.fork(cs, rec, "last")
        skynet.yield()
        skynet.fork(function()
            skynet.killthread(holder)
            skynet.killthread(waiter)
        end)
        skynet.sleep(2)
        check.eq("Q3 let in and killed", rec(), "last")
        check.eq("Q3 free", cs(function() return "free" end), "free")
    end
end)

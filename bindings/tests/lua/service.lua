-- Services from functions: conformance S1 to S3, lua-api §8.
local skynet = require "skynet"
local service = require "skynet.service"
local check = require "check"

check.run("service", function()
    local upvalue = 1
    -- S1
    check.raises(
        "S1 upvalue",
        "assertion failed!",
        service.new,
        "with_upvalue",
        function() return upvalue end
    )
    local function failing() error "on purpose" end
    check.raises("S1 fails", "call failed", service.new, "failing", failing)
    check.raises("S1 fails again", "call failed", service.new, "failing", failing)
    check.raises("S1 query fails", "call failed", service.query, "failing")
    -- S2
    local function echo(...)
        local skynet = require "skynet"
        local args = table.pack(...)
        local started = false
        skynet.dispatch("lua", function(_, _, what)
            if what == "args" then
                skynet.retpack(table.unpack(args, 1, args.n))
            else
                skynet.retpack(started)
            end
        end)
        skynet.start(function()
            skynet.sleep(2)
            started = true
        end)
    end
    local handle = service.new("echo", echo, 1, nil, "x", { y = 1.5 }, nil)
    local args = table.pack(skynet.call(handle, "lua", "args"))
    check.eq("S2", args.n, 5)
    check.eq("S2", args[4].y, 1.5)
    args[4] = nil
    check.values("S2", args, 1, nil, "x", nil, nil)
    check.eq("S2 start", skynet.call(handle, "lua", "started"), true)
    check.eq("S1 again", service.new("echo", failing), handle)
    check.eq("query", service.query "echo", handle)
    -- Two at once.
    local both = {}
    local me = coroutine.running()
    for i = 1, 2 do
        skynet.fork(function()
            both[i] = service.new("both", echo)
            if both[1] and both[2] then skynet.wakeup(me) end
        end)
    end
    skynet.wait(me)
    check.eq("two at once", both[1], both[2])
    -- Without dispatch.
    local silent = service.new("silent", function() assert(type(_G) == "table") end)
    check.raises("no dispatch", "call failed", skynet.call, silent, "lua", "x")
    -- S3
    check.eq("S3", service.close "echo", true)
    check.eq("S3", service.close "echo", false)
    check.raises("S3 gone", "call to invalid address", skynet.call, handle, "lua", "args")
    -- query waits for a launch.
    local queried
    skynet.fork(function() queried = service.query "later" end)
    skynet.sleep(2)
    check.eq("query waits", queried, nil)
    local later = service.new("later", echo)
    skynet.sleep(1)
    check.eq("query", queried, later)
end)

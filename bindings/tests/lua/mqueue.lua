-- Messages one at a time: lua-api §7.3.
--! log: return something
--! log: throw an error :
local skynet = require "skynet"
local mqueue = require "skynet.mqueue"
local check = require "check"

if (...) == "peer" then
    local inside = 0
    skynet.start(function()
        mqueue.register(function(what, ...)
            inside = inside + 1
            assert(inside == 1, "two at once")
            skynet.sleep(1)
            inside = inside - 1
            if what == "raise" then
                error "on purpose"
            elseif what == "size" then
                return mqueue.size()
            elseif what == "echo" then
                return ...
            end
        end)
    end)
else
    check.run("mqueue", function()
        local peer = skynet.newservice("mqueue", "peer")
        check.values("call", table.pack(mqueue.call(peer, "echo", 1, "two", 3)), 1, "two", 3)
        check.raises("error", "on purpose", mqueue.call, peer, "raise")
        mqueue.send(peer, "nothing")
        mqueue.send(peer, "echo", "something")
        mqueue.send(peer, "raise")
        check.eq("goes on", mqueue.call(peer, "echo", "x"), "x")
        for _ = 1, 3 do
            mqueue.send(peer, "nothing")
        end
        check.eq("size", mqueue.call(peer, "size"), 0)
        check.eq("size here", mqueue.size(), 0)
    end)
end

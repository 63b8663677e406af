-- A tree of values for everybody: conformance D4.
local skynet = require "skynet"
local datacenter = require "skynet.datacenter"
local check = require "check"

check.run("datacenter", function()
    check.eq("absent", datacenter.get("d", "absent"), nil)
    check.values("set", table.pack(datacenter.set("d", "key", "value")))
    check.eq("set again", datacenter.set("d", "key", "value2"), "value")
    check.eq("get", datacenter.get("d", "key"), "value2")
    check.eq("branch", datacenter.get("d").key, "value2")
    check.raises("through a value", "call failed", datacenter.set, "d", "key", "deeper", 1)
    check.eq("below a string", datacenter.get("d", "key", "deeper"), nil)
    datacenter.set("d", "number", 5)
    check.raises("through a value", "call failed", datacenter.get, "d", "number", "deeper")
    check.eq("remove", datacenter.set("d", "key", nil), "value2")
    check.eq("removed", datacenter.get("d", "key"), nil)
    check.eq("top level", datacenter.set("top", 5), nil)
    check.eq("wait present", datacenter.wait "top", 5)
    check.eq("wait for a branch that is there", datacenter.wait("d").number, 5)
    local got = {}
    for i = 1, 2 do
        skynet.fork(function() got[i] = datacenter.wait("w", "x", "y") end)
    end
    local became_branch
    skynet.fork(function() became_branch = pcall(datacenter.wait, "w", "z") end)
    skynet.sleep(2)
    check.eq("wait", got[1], nil)
    check.raises("wait above a waiter", "call failed", datacenter.wait, "w", "x")
    check.raises("wait below a waiter", "call failed", datacenter.wait, "w", "z", "deeper")
    datacenter.set("w", "x", "other", 1)
    skynet.sleep(1)
    check.eq("wait exact path", got[1], nil)
    datacenter.set("w", "x", "y", "here")
    skynet.sleep(2)
    check.eq("woken", got[1], "here")
    check.eq("woken", got[2], "here")
    datacenter.set("w", "z", "below", 1)
    skynet.sleep(2)
    check.eq("became a branch", became_branch, false)
end)

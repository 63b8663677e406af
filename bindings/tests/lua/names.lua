-- Names, environment, identity: conformance N1 to N8, N12.
--! log: ] nil
--! log: 1 two 1.0 nil true
local skynet = require "skynet"
local check = require "check"
local harbor = require "skynet.harbor"

local role = ...

if role == "other" then
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, name)
            if name then skynet.register(name) end
            skynet.retpack(skynet.self())
        end)
    end)
    require "skynet.manager"
else
    -- In the main chunk: what never suspends works.
    local main_self = skynet.self()
    local main_key = skynet.getenv "extra_key"
    skynet.setenv("names_main", 1)

    check.run("names", function()
        local other = skynet.newservice("names", "other")
        check.eq("main chunk", main_self, skynet.self())
        check.eq("main chunk", main_key, "from config")
        check.eq("main chunk", skynet.getenv "names_main", "1")
        -- N1
        skynet.register ".foo"
        check.eq("N1", skynet.localname ".foo", skynet.self())
        skynet.call(other, "lua", ".foo")
        skynet.name(".foo", other)
        skynet.register ".foo"
        check.eq("N1 first owner", skynet.localname ".foo", skynet.self())
        skynet.name(".bar", other)
        check.eq("N1 name", skynet.localname ".bar", other)
        check.eq("call by name", skynet.call(".bar", "lua"), other)
        -- N2
        check.eq("N2", skynet.localname "foo", nil)
        check.eq("N2", skynet.localname ":8", nil)
        check.eq("N2 unknown", skynet.localname ".unknown", nil)
        -- N3
        check.raises("N3", "assertion failed!", skynet.register, "sixteen_bytes_xx")
        check.raises("N3", "assertion failed!", skynet.register, "1234")
        check.raises("N3", "assertion failed!", skynet.register, ":8")
        check.raises("N3", "assertion failed!", skynet.name, "sixteen_bytes_xx", other)
        -- N4
        skynet.name("GLOBAL_OTHER", other)
        check.eq("N4", skynet.call("GLOBAL_OTHER", "lua"), other)
        check.eq("N4 send", type(skynet.send("GLOBAL_OTHER", "lua")), "number")
        check.eq("queryname", harbor.queryname "GLOBAL_OTHER", other)
        check.eq("queryname local", harbor.queryname ".bar", other)
        local asked
        skynet.fork(function() asked = harbor.queryname "GLOBAL_LATE" end)
        local answered
        skynet.fork(function() answered = skynet.call("GLOBAL_LATE", "lua") end)
        skynet.sleep(2)
        check.eq("queryname waits", asked, nil)
        check.eq("call waits", answered, nil)
        harbor.globalname("GLOBAL_LATE", other)
        skynet.sleep(2)
        check.eq("queryname late", asked, other)
        check.eq("call late", answered, other)
        harbor.link(2)
        check.raises("linkmaster", "call failed", harbor.linkmaster)
        -- A name goes with its owner.
        local mortal = skynet.newservice("names", "other")
        skynet.name(".mortal", mortal)
        skynet.kill(mortal)
        check.eq("name of a dead service", skynet.localname ".mortal", nil)
        -- Kill by name.
        local named = skynet.newservice("names", "other")
        skynet.name(".named", named)
        skynet.kill ".named"
        check.raises("kill by name", "call to invalid address", skynet.call, named, "lua")
        local hexed = skynet.newservice("names", "other")
        skynet.kill(skynet.address(hexed))
        check.raises("kill by hex", "call to invalid address", skynet.call, hexed, "lua")
        -- N5
        skynet.setenv("names_key", "with  blanks ")
        check.eq("N5", skynet.getenv "names_key", "with  blanks ")
        check.raises("N5", "Can't setenv exist key : names_key", skynet.setenv, "names_key", 2)
        check.eq("getenv", skynet.getenv "no_such_key", nil)
        check.eq("getenv other service", skynet.getenv "standalone", "true")
        -- N6
        check.eq("N6", skynet.address(10), ":0000000a")
        check.eq("N6", skynet.address "foo", "foo")
        -- N7
        skynet.error()
        skynet.error(1, "two", 1.0, nil, true)
        -- N8
        check.eq("N8", skynet.stat "foo", 0)
        check.eq("stat", math.type(skynet.stat "message"), "integer")
        check.eq("stat", math.type(skynet.stat "mqlen"), "integer")
        check.eq("mqlen", math.type(skynet.mqlen()), "integer")
        check.eq("stat", type(skynet.stat "cpu"), "number")
        check.eq("endless", skynet.endless(), false)
        check.values("harbor", table.pack(skynet.harbor(skynet.self())), 0, false)
        -- N12
        skynet.fork(function()
            skynet.sleep(1)
            skynet.send(skynet.self(), "debug", "TERM", "NEVER_THERE")
        end)
        check.raises("N12", "call failed", skynet.call, "NEVER_THERE", "lua")
    end)
end

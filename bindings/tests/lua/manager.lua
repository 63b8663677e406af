-- Proxies: lua-api §4, forward_type and filter; unknown messages of §3.12.
--! log: filtered oops
local skynet = require "skynet"
local core = require "skynet.core"
local check = require "check"

local role, a = ...

skynet.register_protocol {
    name = "system",
    id = skynet.PTYPE_SYSTEM,
    pack = function(...) return ... end,
    unpack = function(...) return ... end,
}

if role == "proxy" then
    -- Passes requests on without looking at them, and answers with what came back.
    local target = math.tointeger(tonumber(a))
    local map = {
        [skynet.PTYPE_LUA] = skynet.PTYPE_SYSTEM,
        [skynet.PTYPE_RESPONSE] = skynet.PTYPE_RESPONSE,
    }
    skynet.forward_type(map, function()
        skynet.dispatch(
            "system",
            function(_, _, msg, sz) skynet.ret(skynet.rawcall(target, "lua", msg, sz)) end
        )
    end)
elseif role == "relay" then
    -- Hands requests over, answer and all.
    local target = math.tointeger(tonumber(a))
    skynet.forward_type({ [skynet.PTYPE_LUA] = skynet.PTYPE_SYSTEM }, function()
        skynet.dispatch("system", function(session, source, msg, sz)
            skynet.ignoreret()
            skynet.redirect(target, source, "lua", session, msg, sz)
        end)
    end)
elseif role == "filter" then
    skynet.filter(function(ptype, msg, sz, session, source)
        if ptype == skynet.PTYPE_LUA and sz > 100 then return skynet.PTYPE_TEXT, msg, sz, session, source end
        return ptype, msg, sz, session, source
    end, function()
        skynet.register_protocol {
            name = "text",
            id = skynet.PTYPE_TEXT,
            unpack = skynet.tostring,
            dispatch = function(_, _, text) skynet.retpack("big", #text) end,
        }
        skynet.dispatch("lua", function(_, _, ...)
            if ... == "oops" then error "filtered oops" end
            skynet.retpack(...)
        end)
    end)
elseif role == "unknown" then
    local seen = {}
    skynet.start(function()
        local default
        default = skynet.dispatch_unknown_request(
            function(session, address, msg, sz, what)
                seen[#seen + 1] = string.format("request %d %s %s", session, skynet.tostring(msg, sz), what)
            end
        )
        assert(type(default) == "function")
        default = skynet.dispatch_unknown_response(
            function(session, address, msg, sz)
                seen[#seen + 1] = string.format("response %d %s", session, skynet.tostring(msg, sz))
            end
        )
        assert(type(default) == "function")
        skynet.dispatch("lua", function() skynet.retpack(table.concat(seen, ", ")) end)
    end)
else
    check.run("manager", function()
        skynet.dispatch("lua", function(_, _, what, ...)
            if what == "raise" then error "filtered oops" end
            skynet.sleep(1)
            skynet.retpack(what, ...)
        end)
        local me = skynet.self()
        local proxy = skynet.newservice("manager", "proxy", me)
        check.values(
            "forward_type",
            table.pack(skynet.call(proxy, "lua", "x", nil, 2, nil)),
            "x",
            nil,
            2,
            nil
        )
        local long = string.rep("long", 10000)
        check.eq("forward_type long", skynet.call(proxy, "lua", long), long)
        check.raises("forward_type error", "call failed", skynet.call, proxy, "lua", "raise")
        check.values("forward_type other classes", table.pack(skynet.call(proxy, "debug", "PING")))
        local relay = skynet.newservice("manager", "relay", me)
        check.values("relay", table.pack(skynet.call(relay, "lua", "y", 1)), "y", 1)
        check.raises("relay error", "call failed", skynet.call, relay, "lua", "raise")
        local filter = skynet.newservice("manager", "filter")
        check.eq("filter", skynet.call(filter, "lua", "small"), "small")
        check.values("filter big", table.pack(skynet.call(filter, "lua", string.rep("b", 200))), "big", 203)
        check.raises("filter error", "call failed", skynet.call, filter, "lua", "oops")
        local unknown = skynet.newservice("manager", "unknown")
        core.send(unknown, 77, 0, "hello")
        core.send(unknown, skynet.PTYPE_RESPONSE, 999, "late")
        check.eq("unknown", skynet.call(unknown, "lua"), "request 0 hello 77, response 999 late")
        check.eq("launch", math.type(skynet.launch("snlua", "manager", "unknown")), "integer")
    end)
end

-- Trace lines: conformance N15, lua-api §3.13.
--! log: TRACE nil
--! log: > # trace begin
--! log: > # call : @
--! log: > # request
--! log: > # response
--! log: > # end
--! log: > # resume
--! log: > # error
--! log: tracecall begin
--! log: tracecall end
--! log: sleep : @
local skynet = require "skynet"
local check = require "check"

local role = ...

if role == "peer" then
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, what)
            if what == "raise" then error "on purpose" end
            if what == "sleep" then skynet.sleep(1) end
            local tag = skynet.tracetag()
            skynet.retpack(tag)
        end)
    end)
else
    check.run("trace", function()
        local peer = skynet.newservice("trace", "peer")
        check.eq("no tag", skynet.tracetag(), nil)
        skynet.trace "begin"
        local tag = string.format(":%08x-1", skynet.self())
        check.eq("tag", skynet.tracetag(), tag)
        check.eq("carried", skynet.call(peer, "lua"), tag)
        check.eq("carried again", skynet.call(peer, "lua", "sleep"), tag)
        check.raises("error", "call failed", skynet.call, peer, "lua", "raise")
        -- A send is not traced, a fork neither.
        skynet.fork(function()
            check.eq("fork", skynet.tracetag(), nil)
            check.eq("untraced", skynet.call(peer, "lua"), nil)
            local msg, sz = skynet.tracecall("by-hand", peer, "lua", skynet.pack())
            check.eq("tracecall", skynet.unpack(msg, sz), "by-hand")
            skynet.tracelog("by-hand", "a line")
        end)
        skynet.sleep(3)
        skynet.trace()
        check.eq("new tag", skynet.tracetag(), string.format(":%08x-2", skynet.self()))
        -- Forced off, forced on.
        skynet.dispatch("lua", function()
            skynet.trace "ignored when off"
            skynet.retpack(skynet.tracetag())
        end)
        skynet.traceproto("lua", false)
        check.eq("forced off", skynet.call(skynet.self(), "lua"), false)
        skynet.traceproto(skynet.PTYPE_LUA, true)
        skynet.fork(function()
            local mine = skynet.call(skynet.self(), "lua")
            check.ok("forced on", mine and mine:find("^:%x+%-%d+$"), tostring(mine))
        end)
        skynet.sleep(2)
        check.raises("traceproto", "assertion failed!", skynet.traceproto, "nosuch", true)
    end)
end

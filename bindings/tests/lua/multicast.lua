--- `skynet.multicast`: who receives what, in which order, and what becomes of it when somebody leaves.
local skynet = require "skynet"
local multicast = require "skynet.multicast"
local check = require "check"

local role, id = ...

--- Waits until `f()` holds: what others do takes its time.
local function eventually(name, f)
    for _ = 1, 500 do
        if f() then return end
        skynet.sleep(1)
    end
    check.ok(name, false, "never happened")
end

if role == "subscriber" then
    local got = {}
    skynet.start(function()
        local channel = multicast.new {
            channel = tonumber(id),
            dispatch = function(channel, source, ...)
                got[#got + 1] = { channel.channel, source, ... }
                if ... == "fail" then error "told to" end
            end,
        }
        channel:subscribe()
        channel:subscribe()
        skynet.dispatch("lua", function(_, _, command)
            if command == "got" then
                skynet.retpack(got)
            elseif command == "leave" then
                channel:unsubscribe()
                channel:unsubscribe()
                skynet.retpack()
            elseif command == "exit" then
                skynet.retpack()
                skynet.exit()
            end
        end)
    end)
    return
end

--! log: told to
check.raises("before init", "Init first", multicast.new)

check.run("multicast", function()
    local mine = {}
    local channel = multicast.new {
        dispatch = function(_, source, ...) mine[#mine + 1] = { source, ... } end,
    }
    check.eq("D5 first id", channel.channel, 0)
    check.eq("D5 name", tostring(channel), "[Multicast:0]")
    channel:publish "to nobody"
    local second = multicast.new()
    check.eq("second id", second.channel, 256)

    channel:subscribe()
    channel:publish("one", nil, { 2 })
    skynet.yield()
    check.eq("D5 delivered before publish returns", #mine, 1)
    check.values("values", table.pack(mine[1][1], mine[1][2], mine[1][3], mine[1][4][1]), skynet.self(), "one", nil, 2)

    local services = {}
    for i = 1, 10 do
        services[i] = skynet.newservice(SERVICE_NAME, "subscriber", channel.channel)
    end
    local long = string.rep("0123456789abcdef", 4096)
    for i = 1, 20 do
        channel:publish(i, long)
    end
    for _, service in ipairs(services) do
        local got = skynet.call(service, "lua", "got")
        check.eq("each message once", #got, 20)
        for i, message in ipairs(got) do
            check.ok("in order", message[3] == i and message[4] == long and message[2] == skynet.self())
        end
    end
    channel:publish "fail"
    check.eq("a handler that fails", #skynet.call(services[1], "lua", "got"), 21)

    skynet.call(services[1], "lua", "leave")
    skynet.call(services[2], "lua", "exit")
    skynet.kill(services[3])
    channel:publish "after"
    check.eq("who left hears nothing", #skynet.call(services[1], "lua", "got"), 21)
    check.eq("others do", #skynet.call(services[4], "lua", "got"), 22)

    -- Own bytes, and what they can't be read as.
    local raw = multicast.new {
        channel = second.channel,
        pack = function(text) return skynet.pack(text .. "!") end,
        unpack = function(message, size)
            local text = skynet.unpack(message, size)
            if text == "bad!" then error "unreadable" end
            return text, size
        end,
        dispatch = function(_, _, ...) mine[#mine + 1] = { ... } end,
    }
    raw:subscribe()
    mine = {}
    raw:publish "bad"
    raw:publish "good"
    eventually("own pack and unpack", function() return #mine == 1 and mine[1][1] == "good!" and mine[1][2] == 6 end)

    channel:unsubscribe()
    channel:unsubscribe()
    mine = {}
    channel:publish "unheard"
    skynet.yield()
    check.eq("unsubscribed", #mine, 0)
    -- A forgotten object that is not subscribed goes away quietly.
    collectgarbage()
    channel:delete()
    check.raises("publish after delete", "", channel.publish, channel, "x")
    check.raises("subscribe after delete", "", channel.subscribe, channel)

    if check.skein then
        -- Every block went back: what the dead and the deaf had in their queues too.
        for _, service in ipairs(services) do
            skynet.kill(service)
        end
        local memory = require "skynet.memory"
        local before
        eventually("nothing leaks", function()
            collectgarbage()
            before = memory.info()[0]
            return before < 64 << 10
        end)
    end
end)

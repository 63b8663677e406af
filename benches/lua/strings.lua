--- What does it cost to give another service a long Lua string? As an argument, packed; and as the whole message, raw.
local skynet = require "skynet"
local bench = require "bench"

local role = ...

local SLICE <const> = 8 -- strings on the way at most

skynet.register_protocol {
    name = "bytes",
    id = 20,
    pack = function(text)
        return text
    end,
    unpack = skynet.tostring,
}

local function receiver()
    local received = 0
    local function take(session, _, text)
        received = received + #text
        if session ~= 0 then
            skynet.retpack(received)
        end
    end
    skynet.start(function()
        skynet.dispatch("lua", take)
        skynet.dispatch("bytes", function(_, _, text)
            received = received + #text
        end)
    end)
end

local function main()
    local to = skynet.newservice(SERVICE_NAME, "receiver")
    local sent = 0
    for _, size in ipairs { 64, 1024 } do
        local text = string.rep("x", size * 1024)
        for _, protocol in ipairs { "lua", "bytes" } do
            local name = (size == 64 and "string_64k" or "string_1m") .. (protocol == "bytes" and "_raw" or "")
            bench.measure(name, SLICE, function(n)
                for i = 1, n do
                    skynet.send(to, protocol, text)
                    if i % SLICE == 0 then
                        skynet.call(to, "lua", "")
                    end
                end
                sent = sent + n * #text
            end)
        end
    end
    assert(skynet.call(to, "lua", "") == sent, "each byte arrived once")
end

if role == "receiver" then
    receiver()
else
    bench.start(main)
end

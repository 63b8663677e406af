--- What does it cost to hand a message on? Eight proxies in a ring pass eight blocks of one size round, and never look inside.
local skynet = require "skynet"
local bench = require "bench"

local role = ...

local PROXIES <const> = 8
local BLOCKS <const> = 8

skynet.register_protocol {
    name = "block",
    id = 20,
    unpack = function(message, size)
        return message, size
    end,
}

--- Passes blocks on; the first of the ring takes them off once they have been round often enough.
local function proxy()
    local next, done
    local left
    skynet.forward_type({ [20] = 20 }, function()
        skynet.dispatch("lua", function(_, _, ...)
            next, done, left = ...
            skynet.ret()
        end)
        skynet.dispatch("block", function(_, source, message, size)
            if left then
                left = left - 1
                if left < 0 then
                    skynet.trash(message, size)
                    skynet.send(done, "lua")
                    return
                end
            end
            skynet.redirect(next, source, "block", 0, message, size)
        end)
    end)
end

local function main()
    local proxies = bench.ring("proxy", PROXIES)
    local gather = bench.gather()
    local step = PROXIES * BLOCKS * 10
    for _, case in ipairs { { "forward_64", 64 }, { "forward_64k", 64 << 10 }, { "forward_1m", 1 << 20 } } do
        local name, size = table.unpack(case)
        local text = string.rep("x", size)
        bench.measure(name, step, function(n)
            skynet.call(proxies[1], "lua", proxies[2], skynet.self(), n // PROXIES)
            gather(BLOCKS, function()
                for _ = 1, BLOCKS do
                    skynet.rawsend(proxies[1], "block", text)
                end
            end)
        end)
    end
end

if role == "proxy" then
    proxy()
else
    bench.start(main)
end

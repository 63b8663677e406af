--- What do packing and unpacking cost? The nested state of a player (`workloads/game_state.lua`), and the arguments of a call.
local skynet = require "skynet"
local core = require "skynet.core"
local bench = require "bench"

local STEP <const> = 100

bench.start(function()
    local pack, unpack, trash = core.pack, core.unpack, core.trash
    local state = dofile(skynet.getenv "bench_workloads" .. "/game_state.lua")
    bench.measure("pack_state", STEP, function(n)
        for _ = 1, n do
            trash(pack(state))
        end
    end)
    bench.measure("pack_call", STEP, function(n)
        for _ = 1, n do
            trash(pack("command", 12345, "argument", 1.5, true))
        end
    end)
    local block, size = pack(state)
    bench.measure("unpack_state", STEP, function(n)
        for _ = 1, n do
            unpack(block, size)
        end
    end)
    trash(block, size)
    block, size = pack("command", 12345, "argument", 1.5, true)
    bench.measure("unpack_call", STEP, function(n)
        for _ = 1, n do
            unpack(block, size)
        end
    end)
    trash(block, size)
end)

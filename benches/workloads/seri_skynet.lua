--- The loops of `benches/seri.rs` as a service of skynet or skein: prints nanoseconds per operation, and ends the process.
--- Start it with `start = "seri_skynet"` and this directory in `luaservice`.

local skynet = require "skynet"
local core = require "skynet.core"
require "skynet.manager" -- for `abort`

local directory = skynet.getenv "workloads" or "."
local state = dofile(directory .. "/game_state.lua")
local pack, unpack, trash = core.pack, core.unpack, core.trash

local function best(name, count, f)
    local least = math.huge
    for _ = 1, 15 do
        local began = skynet.hpc()
        f(count)
        least = math.min(least, (skynet.hpc() - began) / count)
    end
    print(string.format("%-14s %8.1f ns", name, least))
end

skynet.start(function()
    local p, n = pack(state)
    local q, m = pack("command", 12345, "argument", 1.5, true)
    best("pack_state", 20000, function(count) for _ = 1, count do trash(pack(state)) end end)
    best("unpack_state", 20000, function(count) for _ = 1, count do unpack(p, n) end end)
    best("pack_call", 200000, function(count)
        for _ = 1, count do trash(pack("command", 12345, "argument", 1.5, true)) end
    end)
    best("unpack_call", 200000, function(count) for _ = 1, count do unpack(q, m) end end)
    trash(p, n)
    trash(q, m)
    skynet.abort()
end)

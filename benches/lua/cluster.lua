--- What do the frames of the cluster protocol cost? A small request, one at the limit of a frame, and one of many parts.
local skynet = require "skynet"
local core = require "skynet.core"
local cluster = require "skynet.cluster.core"
local bench = require "bench"

local STEP <const> = 16
local SIZES <const> = { small = 64, frame = 30000, parts = 256 << 10 }

bench.start(function()
    for name, size in pairs(SIZES) do
        local text = ("x"):rep(size)
        -- A message is taken by the request, so each round makes one; what that costs is measured beside it.
        bench.measure("cluster_message_" .. name, STEP, function(n)
            for _ = 1, n do
                core.trash(core.pack(text))
            end
        end)
        bench.measure("cluster_request_" .. name, STEP, function(n)
            for _ = 1, n do
                cluster.packrequest("@name", 1, core.pack(text))
            end
        end)
        bench.measure("cluster_response_" .. name, STEP, function(n)
            for _ = 1, n do
                cluster.packresponse(1, true, text)
            end
        end)
        local frame, _, parts = cluster.packrequest("@name", 1, core.pack(text))
        local bodies = { frame:sub(3) }
        for i, part in ipairs(parts or {}) do
            bodies[i + 1] = part:sub(3)
        end
        bench.measure("cluster_unpack_request_" .. name, STEP, function(n)
            for _ = 1, n do
                for i = 1, #bodies do
                    local _, _, message, length = cluster.unpackrequest(bodies[i])
                    if message then
                        core.trash(message, length)
                    end
                end
            end
        end)
        local answer = cluster.packresponse(1, true, text)
        local units = type(answer) == "table" and answer or { answer }
        for i, unit in ipairs(units) do
            units[i] = unit:sub(3)
        end
        bench.measure("cluster_unpack_response_" .. name, STEP, function(n)
            for _ = 1, n do
                for i = 1, #units do
                    cluster.unpackresponse(units[i])
                end
            end
        end)
    end
end)

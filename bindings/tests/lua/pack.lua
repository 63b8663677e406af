-- Packing and unpacking as a service sees it: conformance P1 to P3.
local skynet = require "skynet"
local check = require "check"

check.run("pack", function()
    -- P1
    check.eq("P1", skynet.packstring(), "")
    check.eq("P1 nil", select("#", skynet.unpack(nil)), 0)
    check.eq("P1 empty", select("#", skynet.unpack ""), 0)
    local msg, size = skynet.pack()
    check.eq("P1 size", size, 0)
    check.eq("P1 pointer", type(msg), "userdata")
    skynet.trash(msg, size)
    -- P2
    for name, value in pairs { ["function"] = print, thread = coroutine.create(print) } do
        local ok, err = pcall(skynet.packstring, value)
        check.eq("P2 " .. name, ok, false)
        check.eq("P2 " .. name, err, "Unsupport type " .. name .. " to serialize")
    end
    local deep = {}
    for _ = 1, 40 do
        deep = { deep }
    end
    local ok, err = pcall(skynet.pack, deep)
    check.eq("P2 depth", ok, false)
    check.contains("P2 depth", err, "serialize can't pack too depth table")
    local text = skynet.packstring("a text", 1 << 40)
    ok, err = pcall(skynet.unpack, text:sub(1, -2))
    check.eq("P2 truncated", ok, false)
    check.contains("P2 truncated", err, "Invalid serialize stream ")
    ok, err = pcall(skynet.unpack, "\22")
    check.contains("P2 truncated", err, "Invalid serialize stream 0 (line:")
    -- P3
    local pairs_of = setmetatable({ 1, 2, 3 }, {
        __pairs = function()
            return function(_, key) return not key and "only" or nil, "this" end
        end,
    })
    local back = skynet.unpack(skynet.packstring(pairs_of))
    check.eq("P3", back.only, "this")
    check.eq("P3 array part", #back, 0)
end)

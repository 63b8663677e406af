--- Asks the launcher something, prints the answer and ends: `dbg list`, `dbg stat`, …
local skynet = require "skynet"

local command = { ... }

skynet.start(function()
    local answer = skynet.call(".launcher", "lua", table.unpack(command))
    if type(answer) == "table" then
        local keys = {}
        for key in pairs(answer) do
            keys[#keys + 1] = key
        end
        table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
        for _, key in ipairs(keys) do
            local value = answer[key]
            if type(value) == "table" then
                local parts = {}
                for name, of_name in pairs(value) do
                    parts[#parts + 1] = string.format("%s:%s", name, of_name)
                end
                table.sort(parts)
                value = table.concat(parts, "\t")
            end
            print(key, value)
        end
    elseif answer ~= nil then
        print(answer)
    end
    skynet.exit()
end)

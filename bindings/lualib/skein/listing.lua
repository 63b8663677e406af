--- Values as text for a terminal: what `debug_console` and `dbg` print.
local listing = {}

local function sorted(t)
    local keys = {}
    for key in pairs(t) do
        keys[#keys + 1] = key
    end
    table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
    return keys
end

--- A table in one line: `key:value`, by key.
---@param t table
---@return string
function listing.line(t)
    local parts = {}
    for i, key in ipairs(sorted(t)) do
        parts[i] = string.format("%s:%s", key, t[key])
    end
    return table.concat(parts, "\t")
end

--- A table with a line for each key, by key; another value in a line of its own; nothing for nil.
---@param value any
---@return string
function listing.text(value)
    if type(value) ~= "table" then return value == nil and "" or tostring(value) .. "\n" end
    local lines = {}
    for i, key in ipairs(sorted(value)) do
        local of_key = value[key]
        if type(of_key) == "table" then of_key = listing.line(of_key) end
        lines[i] = string.format("%s\t%s\n", key, of_key)
    end
    return table.concat(lines)
end

return listing

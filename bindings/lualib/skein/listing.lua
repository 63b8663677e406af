--- Values as text for a terminal: what `debug_console` and `dbg` print.
local listing = {}

local function by_text(a, b) return tostring(a) < tostring(b) end

--- The keys in the order of their texts. There may be one for each service of the node: texts are compared without help of ours.
local function sorted(t)
    local keys, count, only_texts = {}, 0, true
    for key in pairs(t) do
        count = count + 1
        keys[count] = key
        only_texts = only_texts and type(key) == "string"
    end
    table.sort(keys, not only_texts and by_text or nil)
    return keys
end

--- A table in one line: `key:value`, by key.
---@param t table
---@return string
function listing.line(t)
    local parts = {}
    for i, key in ipairs(sorted(t)) do
        parts[i] = tostring(key) .. ":" .. tostring(t[key])
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
        lines[i] = tostring(key) .. "\t" .. tostring(of_key) .. "\n"
    end
    return table.concat(lines)
end

return listing

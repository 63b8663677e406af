--- Parts of a URL, and what its escapes mean.
local url = {}

local function unescape(hex) return string.char(tonumber(hex, 16)) end

--- A plus is a blank, also in a path: programs written for skynet count on it.
local function decode(text) return (text:gsub("+", " "):gsub("%%(%x%x)", unescape)) end

--- The path, decoded, and the query as it stands.
---@param text string
---@return string path
---@return string? query
function url.parse(text)
    local path, query = text:match "([^?]*)%??(.*)"
    return decode(path), query
end

--- The fields of a query. A name that stands there more than once has an array of its values.
---@param query string
---@return table<string, string|string[]>
function url.parse_query(query)
    local fields = {}
    for raw_name, raw_value in query:gmatch "([^=&]*)=([^&]*)" do
        local name, value = decode(raw_name), decode(raw_value)
        local before = fields[name]
        if before == nil then
            fields[name] = value
        elseif type(before) == "table" then
            before[#before + 1] = value
        else
            fields[name] = { before, value }
        end
    end
    return fields
end

return url

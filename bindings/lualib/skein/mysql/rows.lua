--- Values in packets of MySQL: columns, rows of both protocols, parameters. (MySQL internals, "Text resultset" and "Binary protocol".)
---
--- Functions take a text and a position in it, and answer where they stopped; a text that ends too early raises.
local rows = {}

local byte, sub, unpack = string.byte, string.sub, string.unpack

--- A length that stands before what it counts; nil is NULL.
---@param text string
---@param at integer
---@return integer? length
---@return integer at
local function length(text, at)
    local first = byte(text, at)
    if first < 251 then return first, at + 1 end
    if first == 251 then return nil, at + 1 end
    if first == 252 then return unpack("<I2", text, at + 1) end
    if first == 253 then return unpack("<I3", text, at + 1) end
    return unpack("<i8", text, at + 1)
end

rows.length = length

--- A string behind its length; nil is NULL.
local function counted(text, at)
    local size, from = length(text, at)
    if not size then return nil, from end
    if size < 0 or from + size - 1 > #text then error("a string of the server's ends beyond its packet", 0) end
    return sub(text, from, from + size - 1), from + size
end

rows.counted = counted

--- A string with its length before it.
---@param text string
---@return string
function rows.with_length(text)
    local size = #text
    if size < 251 then return string.pack("<s1", text) end
    if size < 1 << 16 then return string.pack("<BI2", 252, size) .. text end
    if size < 1 << 24 then return string.pack("<BI3", 253, size) .. text end
    return string.pack("<BI8", 254, size) .. text
end

---@class skein.mysql.Column
---@field name string
---@field type integer
---@field is_signed boolean

--- A definition of a column, or of a parameter.
---@param text string
---@param at integer
---@return skein.mysql.Column
function rows.column(text, at)
    local name
    -- Catalog, database, table, its name before it got another one, the column.
    for _ = 1, 5 do
        name, at = counted(text, at)
    end
    local _
    _, at = counted(text, at)
    -- The length of what follows; the character set and the width.
    local kind, flags = unpack("<I1I2", text, at + 1 + 2 + 4)
    return { name = name, type = kind, is_signed = flags & 0x20 == 0 }
end

--- Types that become numbers where they stand as texts: decimals, integers, floats, years.
local NUMERIC <const> = {
    [0] = true, [1] = true, [2] = true, [3] = true, [4] = true, [5] = true, [8] = true, [9] = true, [13] = true, [246] = true,
}

--- A row whose values are texts.
---@param text string
---@param at integer
---@param columns skein.mysql.Column[]
---@param compact boolean?  by number, and not by name
---@return table
function rows.text_row(text, at, columns, compact)
    local row = {}
    for index = 1, #columns do
        local column = columns[index]
        local size = byte(text, at)
        local value
        if size < 251 then
            value = sub(text, at + 1, at + size)
            at = at + 1 + size
        else
            value, at = counted(text, at)
        end
        if value and NUMERIC[column.type] then value = tonumber(value) end
        row[compact and index or column.name] = value
    end
    return row
end

------------------------------------------------------------------------------------------------------------------- binary values

local function fraction(micros) return micros ~= 0 and string.format(".%06d", micros) or "" end

local function date(text, at)
    local size = byte(text, at)
    local year, month, day = 0, 0, 0
    if size >= 4 then year, month, day = unpack("<I2I1I1", text, at + 1) end
    return string.format("%04d-%02d-%02d", year, month, day), at + 1 + size
end

local function datetime(text, at)
    local size = byte(text, at)
    local hour, minute, second, micros = 0, 0, 0, 0
    if size >= 7 then hour, minute, second = unpack("<I1I1I1", text, at + 5) end
    if size >= 11 then micros = unpack("<I4", text, at + 8) end
    local day, behind = date(text, at)
    return string.format("%s %02d:%02d:%02d%s", day, hour, minute, second, fraction(micros)), behind
end

local function time(text, at)
    local size = byte(text, at)
    local negative, days, hour, minute, second, micros = 0, 0, 0, 0, 0, 0
    if size >= 8 then negative, days, hour, minute, second = unpack("<I1I4I1I1I1", text, at + 1) end
    if size >= 12 then micros = unpack("<I4", text, at + 9) end
    local sign = negative ~= 0 and "-" or ""
    return string.format("%s%02d:%02d:%02d%s", sign, days * 24 + hour, minute, second, fraction(micros)), at + 1 + size
end

local function decimal(text, at)
    local value, behind = counted(text, at)
    return tonumber(value), behind
end

--- How a number of some bytes is read, with and without a sign.
local function fixed(signed, unsigned)
    return function(text, at, column) return unpack(column.is_signed and signed or unsigned, text, at) end
end

--- Readers of values, by type.
local READ <const> = {
    [0] = decimal,
    [1] = fixed("<i1", "<I1"),
    [2] = fixed("<i2", "<I2"),
    [3] = fixed("<i4", "<I4"),
    [4] = fixed("<f", "<f"),
    [5] = fixed("<d", "<d"),
    [7] = datetime,
    -- Those beyond the largest integer of Lua's are negative: the same bits.
    [8] = fixed("<i8", "<i8"),
    [9] = fixed("<i4", "<I4"),
    [10] = date,
    [11] = time,
    [12] = datetime,
    [13] = fixed("<I2", "<I2"),
    [246] = decimal,
}
-- VARCHAR, BIT, JSON, ENUM, SET, blobs of four sizes, VAR_STRING, STRING, GEOMETRY.
for _, kind in ipairs { 15, 16, 245, 247, 248, 249, 250, 251, 252, 253, 254, 255 } do
    READ[kind] = counted
end

--- A row whose values are binary; `at` is behind its first byte.
---@param text string
---@param at integer
---@param columns skein.mysql.Column[]
---@param compact boolean?
---@return table
function rows.binary_row(text, at, columns, compact)
    local row = {}
    local nulls = at
    at = at + (#columns + 9) // 8
    for index = 1, #columns do
        -- The first two bits are not used.
        local bit = index + 1
        if byte(text, nulls + bit // 8) >> bit % 8 & 1 == 0 then
            local column = columns[index]
            local read = READ[column.type]
            if not read then
                error("_parse_row_data_binary()error,unsupported field type " .. column.type)
            end
            local value
            value, at = read(text, at, column)
            row[compact and index or column.name] = value
        end
    end
    return row
end

--- The type of a parameter, and its bytes.
local function parameter(value)
    local kind = math.type(value) or type(value)
    if kind == "nil" then return 6, "" end
    if kind == "integer" then return 8, string.pack("<i8", value) end
    if kind == "float" then return 5, string.pack("<d", value) end
    if kind == "string" then return 15, rows.with_length(value) end
    if kind == "boolean" then return 1, value and "\1" or "\0" end
    error("invalid parameter type " .. kind, 3)
end

--- The parameters of a statement: which are NULL, the types of all, the values.
---@param values table
---@param count integer
---@return string
function rows.parameters(values, count)
    local nulls, kinds, parts = {}, {}, {}
    for at = 0, (count + 7) // 8 - 1 do
        nulls[at + 1] = 0
    end
    for index = 1, count do
        local kind, bytes = parameter(values[index])
        kinds[index] = string.pack("<I2", kind)
        parts[index] = bytes
        if kind == 6 then
            local at = (index - 1) // 8 + 1
            nulls[at] = nulls[at] | 1 << (index - 1) % 8
        end
    end
    return string.char(table.unpack(nulls)) .. "\1" .. table.concat(kinds) .. table.concat(parts)
end

return rows

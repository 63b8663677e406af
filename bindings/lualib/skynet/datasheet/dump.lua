--- Tables as binary sheets, and sheets whose tables have the numbers they had before.
---
--- The format is described in `skynet.datasheet.core`'s documentation: offsets, tables, strings, all little-endian.
local dump = {}

local INTEGER <const>, REAL <const>, BOOLEAN <const>, TABLE <const>, STRING <const> = 1, 2, 3, 4, 5
--- The offset of a table that is gone.
local GONE <const> = 0xffffffff

--- The numbers that Lua knows how to pack, by type.
local FORMATS <const> = { [INTEGER] = "<i4", [REAL] = "<f", [TABLE] = "<I4", [STRING] = "<I4" }

--- What a sheet consists of while it is made.
local function new_sheet()
    return { bodies = {}, strings = {}, offsets = {}, size = 0 }
end

--- The offset of a string among the strings; equal ones share it.
local function string_offset(sheet, text)
    local offset = sheet.offsets[text]
    if not offset then
        offset = sheet.size
        sheet.offsets[text] = offset
        sheet.strings[#sheet.strings + 1] = text
        sheet.size = offset + #text + 1
    end
    return offset
end

local add_table

--- Type and four bytes of a value.
local function encode(sheet, value)
    local kind = type(value)
    if kind == "number" then
        local integer = math.tointeger(value)
        if integer and integer >= -0x80000000 and integer <= 0x7fffffff then
            return INTEGER, string.pack("<i4", integer)
        end
        return REAL, string.pack("<f", value)
    elseif kind == "boolean" then
        return BOOLEAN, value and "\0\0\0\1" or "\0\0\0\0"
    elseif kind == "table" then
        return TABLE, string.pack("<I4", add_table(sheet, value))
    elseif kind == "string" then
        return STRING, string.pack("<I4", string_offset(sheet, value))
    end
    error("Unsupport value " .. tostring(value))
end

--- Adds a table and all below it; answers its index. Tables are numbered in the order in which they are met.
function add_table(sheet, t)
    local place = #sheet.bodies + 1
    sheet.bodies[place] = ""
    local types, values, count = {}, {}, 0
    for i, value in ipairs(t) do
        local kind, bytes = encode(sheet, value)
        count = i
        types[i], values[i] = string.char(kind), bytes
    end
    local fields = 0
    for key, value in pairs(t) do
        local is_item = math.type(key) == "integer" and key >= 1 and key <= count
        if not is_item then
            assert(type(key) == "string")
            fields = fields + 1
            local offset = string.pack("<I4", string_offset(sheet, key))
            local kind, bytes = encode(sheet, value)
            types[#types + 1], values[#values + 1] = string.char(kind), offset .. bytes
        end
    end
    local head = string.pack("<I4I4", count, fields) .. table.concat(types)
    sheet.bodies[place] = head .. ("\0"):rep(-#head % 4) .. table.concat(values)
    return place - 1
end

--- Offsets of the tables in front of their bodies, and the strings behind.
local function assemble(offsets, bodies, strings)
    local index = {}
    for i, offset in ipairs(offsets) do
        index[i] = string.pack("<I4", offset)
    end
    local tables = table.concat(index) .. table.concat(bodies)
    return string.pack("<I4I4", 8 + #tables, #offsets) .. tables .. strings
end

--- The sheet of a table.
---@param t table
---@return string
function dump.dump(t)
    local sheet = new_sheet()
    add_table(sheet, t)
    local offsets, size = {}, 0
    for i, body in ipairs(sheet.bodies) do
        offsets[i] = size
        size = size + #body
    end
    return assemble(offsets, sheet.bodies, table.concat(sheet.strings, "\0") .. "\0")
end

--- Calls `item(type, at, key)` for each value of table `index` in a sheet, `at` being where its four bytes are.
local function each(sheet, index, item)
    local strings, total = string.unpack("<I4I4", sheet)
    local at = 1 + 8 + 4 * total + string.unpack("<I4", sheet, 1 + 8 + 4 * index)
    local count, fields, types = string.unpack("<I4I4", sheet, at)
    local value = at + 8 + count + fields
    value = value + -(value - at) % 4
    for i = 1, count do
        item(sheet:byte(types + i - 1), value, i)
        value = value + 4
    end
    for i = 1, fields do
        local key = string.unpack("z", sheet, 1 + strings + string.unpack("<I4", sheet, value))
        item(sheet:byte(types + count + i - 1), value + 4, key)
        value = value + 8
    end
end

--- The table of a sheet, and the numbers of all tables in it.
---@param sheet string
---@return table root
---@return table<table, integer> index
function dump.undump(sheet)
    local strings = string.unpack("<I4I4", sheet)
    local tables, index = {}, {}
    local function load(number)
        local t = tables[number]
        if t then
            return t
        end
        t = {}
        tables[number], index[t] = t, number
        each(sheet, number, function(kind, at, key)
            if kind == BOOLEAN then
                t[key] = string.unpack("<I4", sheet, at) ~= 0
            elseif FORMATS[kind] then
                local value = string.unpack(FORMATS[kind], sheet, at)
                if kind == TABLE then
                    value = load(value)
                elseif kind == STRING then
                    value = string.unpack("z", sheet, 1 + strings + value)
                end
                t[key] = value
            end
        end)
        return t
    end
    return load(0), index
end

--- The sheet `current`, its tables numbered as in `last` where both have one at the same path; new ones get new numbers.
---@param last string
---@param current string
---@return string
function dump.diff(last, current)
    local old, old_index = dump.undump(last)
    local new, new_index = dump.undump(current)
    local number = {}
    local function match(before, now)
        number[new_index[now]] = old_index[before]
        for key, value in pairs(now) do
            if type(value) == "table" and type(before[key]) == "table" then
                match(before[key], value)
            end
        end
    end
    match(old, new)
    local _, total = string.unpack("<I4I4", last)
    local strings, count = string.unpack("<I4I4", current)
    for i = 0, count - 1 do
        if not number[i] then
            number[i] = total
            total = total + 1
        end
    end
    local offsets = {}
    for i = 1, total do
        offsets[i] = GONE
    end
    local first = 1 + 8 + 4 * count
    local bodies, done = {}, first
    for i = 0, count - 1 do
        offsets[number[i] + 1] = string.unpack("<I4", current, 1 + 8 + 4 * i)
        each(current, i, function(kind, at)
            if kind == TABLE then
                bodies[#bodies + 1] = current:sub(done, at - 1)
                bodies[#bodies + 1] = string.pack("<I4", number[string.unpack("<I4", current, at)])
                done = at + 4
            end
        end)
    end
    bodies[#bodies + 1] = current:sub(done, strings)
    return assemble(offsets, bodies, current:sub(strings + 1))
end

return dump

--- From the text of a schema to a bundle, the bytes that `sproto.core.newproto` reads.
---
--- A schema is read by descent: one function for each thing that has a name in the language. The bundle is itself a sproto message; its layout
--- stands in `bindings/src/sproto/schema.rs`.
local parser = {}

--- Numbers of the built-in types in a bundle.
local BUILTIN <const> = { integer = 0, boolean = 1, string = 2, binary = 2, double = 3 }
--- What a bundle says beside them.
local EXTRA <const> = { binary = 1 }

---@class sprotoparser.Field
---@field name string
---@field tag integer
---@field type string
---@field array boolean?
---@field argument string?  what stands in brackets: digits, a key, or nothing

---@class sprotoparser.Type
---@field name string  with those of the types around it
---@field fields sprotoparser.Field[]

---@class sprotoparser.Protocol
---@field name string
---@field tag integer
---@field request string?
---@field response string?
---@field confirm boolean?

---@class sprotoparser.Reader
---@field text string
---@field at integer
---@field file string
---@field types table<string, sprotoparser.Type>
---@field protocols table<string, sprotoparser.Protocol>
local Reader = {}
Reader.__index = Reader

--- Raises an error with the line that has been reached.
function Reader:fail()
    local _, breaks = self.text:sub(1, self.at - 1):gsub("\n", "")
    error(string.format("syntax error at [%s] line (%d)", self.file, breaks + 1))
end

--- Goes over blanks and comments.
function Reader:skip()
    local at = self.at
    repeat
        local before = at
        at = self.text:match("^%s*()", at)
        at = self.text:match("^#[^\n]*()", at) or at
    until at == before
    self.at = at
end

--- What `pattern` finds here, or nil.
---@param pattern string
---@return string?
function Reader:try(pattern)
    self:skip()
    local found, behind = self.text:match("^(" .. pattern .. ")()", self.at)
    if found then self.at = behind end
    return found
end

--- What `pattern` finds here.
---@param pattern string
---@return string
function Reader:expect(pattern) return self:try(pattern) or self:fail() end

local NAME <const> = "[%a_][%w_]*"

--- The name of a type, maybe inside others.
function Reader:type_name()
    local name = self:expect(NAME)
    while self.text:match("^%.[%a_]", self.at) do
        name = name .. self.text:match("^%." .. NAME, self.at)
        self.at = self.text:match("^%." .. NAME .. "()", self.at)
    end
    return name
end

--- A field, its name read already.
---@param name string
---@return sprotoparser.Field
function Reader:field(name)
    local tag = math.tointeger(self:expect "%d+")
    self:expect ":"
    local field = { name = name, tag = tag, array = self:try "%*" and true, type = self:type_name() }
    if self:try "%(" then
        field.argument = self:try "%w[%w_]*" or ""
        self:expect "%)"
    end
    return field
end

--- The fields and types between braces.
---@param name string  of the type that they belong to
function Reader:struct(name)
    if self.types[name] then error(string.format("redefined %s", name)) end
    local type = { name = name, fields = {} }
    local names, tags = {}, {}
    self.types[name] = type
    self:expect "{"
    while not self:try "}" do
        if self:try "%." then
            self:struct(name .. "." .. self:expect(NAME))
        else
            local field = self:field(self:expect(NAME))
            if names[field.name] then error(string.format("redefine %s in type %s", field.name, name)) end
            if tags[field.tag] then error(string.format("redefine tag %d in type %s", field.tag, name)) end
            names[field.name], tags[field.tag] = true, true
            table.insert(type.fields, field)
        end
    end
    table.sort(type.fields, function(a, b) return a.tag < b.tag end)
end

--- A protocol, its name read already.
---@param name string
function Reader:protocol(name)
    if self.protocols[name] then error(string.format("redefined %s", name)) end
    local protocol = { name = name, tag = math.tointeger(self:expect "%d+") }
    self.protocols[name] = protocol
    local seen = {}
    self:expect "{"
    while not self:try "}" do
        local part = self:expect(NAME)
        if part ~= "request" and part ~= "response" then self:fail() end
        if seen[part] then error(string.format("redefine %s in protocol %s", part, name)) end
        seen[part] = true
        self:skip()
        if self.text:match("^{", self.at) then
            protocol[part] = name .. "." .. part
            self:struct(protocol[part])
        else
            protocol[part] = self:type_name()
            if part == "response" and protocol.response == "nil" then
                protocol.response, protocol.confirm = nil, true
            end
        end
    end
end

--- Everything.
function Reader:all()
    self:skip()
    while self.at <= #self.text do
        if self:try "%." then
            self:struct(self:expect(NAME))
        else
            self:protocol(self:expect(NAME))
        end
        self:skip()
    end
end

----------------------------------------------------------------------------------------------------------------------- bundle

--- The whole name of a type that is called `name` inside of `scope`: what is further inside comes first.
local function find(types, scope, name)
    repeat
        local whole = scope == "" and name or scope .. "." .. name
        if types[whole] then return whole end
        local around = scope:match "^(.*)%.[^.]*$" or ""
        local was_outermost = scope == ""
        scope = around
    until was_outermost
end

--- The bytes of a struct: its name, then a word for each of `members`, up to `count`.
local function record(name, members, count)
    local words = {}
    for i = 1, count do
        local value = members[i]
        -- A word that skips nothing stands for what is missing.
        words[i] = value and string.pack("<I2", (value + 1) * 2) or "\1\0"
    end
    return string.pack("<I2I2", count + 1, 0) .. table.concat(words) .. string.pack("<s4", name)
end

--- The bytes of blocks with their sizes.
local function blocks(list)
    local all = {}
    for i, bytes in ipairs(list) do
        all[i] = string.pack("<s4", bytes)
    end
    return table.concat(all)
end

--- The main index of an array: a field of its structs, or, without a name, the first of two.
local function main_index(field, type)
    if field.argument == "" then
        if #type.fields ~= 2 then
            error(string.format("Invalid map definition: %s, must only have two fields", field.name))
        end
        return type.fields[1].tag, true
    end
    for _, candidate in ipairs(type.fields) do
        if candidate.name == field.argument then return candidate.tag end
    end
    error(string.format("Invalid map index :%s", field.argument))
end

local function field_record(field, type, types, indices)
    local members = { [3] = field.tag }
    local builtin = BUILTIN[field.type]
    if builtin then
        members[1], members[2] = builtin, EXTRA[field.type]
        if field.argument then
            assert(field.type == "integer", "only an integer has digits behind the point")
            members[2] = math.tointeger(field.argument)
        end
    else
        local name = find(types, type.name, field.type)
        if not name then error(string.format("Undefined type %s in type %s", field.type, type.name)) end
        members[2] = indices[name]
        if field.argument and field.array then
            local key, is_map = main_index(field, types[name])
            members[5], members[6] = key, is_map and 1 or nil
        end
    end
    if field.array then members[4] = 1 end
    return record(field.name, members, members[6] and 6 or members[5] and 5 or members[4] and 4 or 3)
end

local function type_record(type, types, indices)
    local fields = {}
    for i, field in ipairs(type.fields) do
        fields[i] = field_record(field, type, types, indices)
    end
    if #fields == 0 then return string.pack("<I2I2s4", 1, 0, type.name) end
    return string.pack("<I2I2I2s4s4", 2, 0, 0, type.name, blocks(fields))
end

local function protocol_record(protocol, types, indices)
    local members = { protocol.tag }
    for at, part in ipairs { "request", "response" } do
        local wanted = protocol[part]
        local name = wanted and find(types, protocol.name, wanted)
        if wanted and not name then
            error(string.format("Undefined %s type %s in protocol %s", part, wanted, protocol.name))
        end
        members[at + 1] = name and indices[name]
    end
    if protocol.confirm then members[4] = 1 end
    return record(protocol.name, members, members[4] and 4 or members[3] and 3 or members[2] and 2 or 1)
end

--- Keys of a table in the order of bytes.
local function sorted(t)
    local keys = {}
    for key in pairs(t) do
        keys[#keys + 1] = key
    end
    table.sort(keys)
    return keys
end

local function bundle(types, protocols)
    local names, indices, tags = sorted(types), {}, {}
    for i, name in ipairs(names) do
        indices[name] = i - 1
    end
    local by_tag = {}
    for _, name in ipairs(sorted(protocols)) do
        by_tag[#by_tag + 1] = protocols[name]
    end
    table.sort(by_tag, function(a, b) return a.tag < b.tag end)
    local last
    for _, protocol in ipairs(by_tag) do
        if last and last.tag == protocol.tag then
            error(string.format("redefined protocol tag %d at %s", protocol.tag, protocol.name))
        end
        last = protocol
    end
    for i, name in ipairs(names) do
        tags[i] = type_record(types[name], types, indices)
    end
    local requests = {}
    for i, protocol in ipairs(by_tag) do
        requests[i] = protocol_record(protocol, types, indices)
    end
    if #names == 0 then
        assert(#requests == 0, "protocols without any type")
        return "\0\0"
    end
    if #requests == 0 then return string.pack("<I2I2s4", 1, 0, blocks(tags)) end
    return string.pack("<I2I2I2s4s4", 2, 0, 0, blocks(tags), blocks(requests))
end

--- The bundle of a schema.
---@param text string
---@param name string?  what errors call the text
---@return string
function parser.parse(text, name)
    local reader = setmetatable({ text = text, at = 1, file = name or "=text", types = {}, protocols = {} }, Reader)
    reader:all()
    return bundle(reader.types, reader.protocols)
end

--- Prints bytes as hexadecimal, sixteen in a line.
---@param bytes string
function parser.dump(bytes)
    for at = 1, #bytes, 16 do
        print((bytes:sub(at, at + 15):gsub(".", function(byte) return string.format("%02x ", byte:byte()) end)))
    end
end

return parser

--- A table of one service that others see as it was when last committed: a sproto struct, sent around as one shared block.
local stm = require "skynet.stm"
local loader = require "sprotoloader"

local sharemap = {}

--- Where the schema is for everybody.
local SLOT <const> = 0

---@type sproto?
local schema
local function types()
    schema = schema or loader.load(SLOT)
    return schema
end

--- Makes the types of a schema file known to all services. One file for the process.
---@param file string
function sharemap.register(file)
    loader.register(file, SLOT)
    schema = nil
end

---@class skynet.sharemap.Writer
---@field private __typename string
---@field private __obj userdata
---@field private __data table
---@field [string] any  fields of the struct

--- Publishes the fields as they are now.
local function commit(self) self.__obj(types():encode(self.__typename, self.__data)) end

--- What `sharemap.reader` takes, once, in any service.
---@return lightuserdata
local function copy(self) return stm.copy(self.__obj) end

--- A table whose fields others see after `:commit()`; they are those of `data`.
---@param name string  of the type
---@param data table?
---@return skynet.sharemap.Writer
function sharemap.writer(name, data)
    data = data or {}
    local writer = {
        __typename = name,
        __obj = stm.new(types():encode(name, data)),
        __data = data,
        commit = commit,
        copy = copy,
    }
    return setmetatable(writer, { __index = data, __newindex = data })
end

---@class skynet.sharemap.Reader
---@field private __typename string
---@field private __obj userdata
---@field private __data table
---@field [string] any  fields of the struct

local function decode(message, size, name) return (types():decode(name, message, size)) end

local function read_only(_, key) error(string.format("a sharemap reader has no field to set: '%s'", tostring(key)), 2) end

--- Takes over what was committed; says whether there was anything new. Tables of before stay as they were.
---@return boolean
local function update(self)
    local is_new, data = self.__obj(decode, self.__typename)
    if is_new then
        rawset(self, "__data", data)
        getmetatable(self).__index = data
    end
    return is_new
end

--- The fields of a writer as they were committed. They can be read only.
---@param name string  of the type
---@param ticket lightuserdata  of the writer's `:copy()`
---@return skynet.sharemap.Reader
function sharemap.reader(name, ticket)
    local object = stm.newcopy(ticket)
    local _, data = object(decode, name)
    local reader = { __typename = name, __obj = object, __data = data, update = update }
    return setmetatable(reader, { __index = data, __newindex = read_only })
end

return sharemap

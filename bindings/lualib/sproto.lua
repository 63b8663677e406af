--- Messages by schema: `sproto.parse(text)`, and hosts that pair requests with their answers.
---
--- A schema is native (`sproto.core`). Objects look up its types once and keep them.
local core = require "sproto.core"
local encode, decode, pack, unpack = core.encode, core.decode, core.pack, core.unpack

local sproto = {}

---@class sproto
---@field private __cobj lightuserdata
---@field private __tcache table<string, lightuserdata>  types by name
---@field private __pcache table<string|integer, sproto.Protocol>  protocols by name and tag
local Sproto = {}
local OWNER <const> = { __index = Sproto }
--- Of a schema that this object does not own.
local SHARED <const> = { __index = Sproto }

---@class sproto.Protocol
---@field name string
---@field tag integer
---@field request lightuserdata?
---@field response lightuserdata?  a null pointer for an answer without content

function OWNER:__gc() core.deleteproto(self.__cobj) end

local function wrap(schema, metatable)
    return setmetatable({ __cobj = schema, __tcache = {}, __pcache = {} }, metatable)
end

--- The schema of a bundle.
---@param bundle string
---@return sproto
function sproto.new(bundle) return wrap(assert(core.newproto(bundle)), OWNER) end

--- An object for a schema that others own.
---@param schema lightuserdata
---@return sproto
function sproto.sharenew(schema) return wrap(schema, SHARED) end

--- The schema of a text.
---@param text string
---@return sproto
function sproto.parse(text) return sproto.new(require("sprotoparser").parse(text)) end

--- A type by its name, or nil.
local function type_of(self, name)
    local found = self.__tcache[name]
    if not found then
        found = core.querytype(self.__cobj, name)
        self.__tcache[name] = found
    end
    return found
end

local function check_type(self, name) return type_of(self, name) or error "type not found" end

--- A protocol by its name or tag, or nil.
---@return sproto.Protocol?
local function protocol_of(self, which)
    local found = self.__pcache[which]
    if not found then
        local other, request, response = core.protocol(self.__cobj, which)
        if not other then return nil end
        local name, tag = which, other
        if type(which) == "number" then
            name, tag = other, which
        end
        found = { name = name, tag = tag, request = request, response = response }
        self.__pcache[name], self.__pcache[tag] = found, found
    end
    return found
end

local function check_protocol(self, which)
    return protocol_of(self, which) or error(string.format("%s not found", which))
end

--- Whether there is a type of this name.
---@param name string
---@return boolean
function Sproto:exist_type(name) return type_of(self, name) ~= nil end

--- Whether there is a protocol of this name or tag.
---@param which string|integer
---@return boolean
function Sproto:exist_proto(which) return protocol_of(self, which) ~= nil end

--- Name, tag and types of a protocol.
---@param which string|integer
---@return sproto.Protocol
function Sproto:queryproto(which) return check_protocol(self, which) end

--- The bytes of a value.
---@param name string  of its type
---@param value table
---@return string
function Sproto:encode(name, value)
    -- Spelled out here and below: two calls of Lua functions cost a fifth of encoding a small value.
    return encode(self.__tcache[name] or check_type(self, name), value)
end

--- The value of bytes, and how many of them it took.
---@param name string  of its type
---@param ... any  a string, or a pointer and a size; and a table to fill
---@return table value
---@return integer size
function Sproto:decode(name, ...) return decode(self.__tcache[name] or check_type(self, name), ...) end

--- The packed bytes of a value.
---@param name string  of its type
---@param value table
---@return string
function Sproto:pencode(name, value) return pack(encode(self.__tcache[name] or check_type(self, name), value)) end

--- The value of packed bytes.
---@param name string  of its type
---@param ... any  a string, or a pointer and a size
---@return table value
---@return integer size
function Sproto:pdecode(name, ...) return decode(self.__tcache[name] or check_type(self, name), unpack(...)) end

--- The bytes of a request, and the tag of its protocol.
---@param which string|integer
---@param value table?
---@return string
---@return integer tag
function Sproto:request_encode(which, value)
    local protocol = check_protocol(self, which)
    return protocol.request and core.encode(protocol.request, value) or "", protocol.tag
end

--- The bytes of an answer.
---@param which string|integer
---@param value table?
---@return string
function Sproto:response_encode(which, value)
    local protocol = check_protocol(self, which)
    return protocol.response and core.encode(protocol.response, value) or ""
end

--- The value of a request, and the name of its protocol.
---@param which string|integer
---@param ... any  a string, or a pointer and a size
---@return table?
---@return string name
function Sproto:request_decode(which, ...)
    local protocol = check_protocol(self, which)
    return protocol.request and core.decode(protocol.request, ...) or nil, protocol.name
end

--- The value of an answer.
---@param which string|integer
---@param ... any  a string, or a pointer and a size
---@return table?
function Sproto:response_decode(which, ...)
    local protocol = check_protocol(self, which)
    return protocol.response and core.decode(protocol.response, ...) or nil
end

sproto.pack = core.pack
sproto.unpack = core.unpack
Sproto.pack = core.pack
Sproto.unpack = core.unpack

--- A value for each field of a type, or of a protocol's `"REQUEST"` or `"RESPONSE"`.
---@param name string|integer
---@param part string?
---@return table?
function Sproto:default(name, part)
    if part == nil then return core.default(check_type(self, name)) end
    local protocol = check_protocol(self, name)
    local type
    if part == "REQUEST" then
        type = protocol.request
    elseif part == "RESPONSE" then
        type = protocol.response
    else
        error "Invalid type"
    end
    return type and core.default(type)
end

-------------------------------------------------------------------------------------------------------------------------- hosts

---@class sproto.Host
---@field private __proto sproto
---@field private __package lightuserdata  the type of the header
---@field private __session table<any, any>  what is waited for: the type of the answer, or true
local Host = {}
Host.__index = Host

--- The header that is being written, reused.
local header = {}

--- Fills the header: fields that are not given are not sent.
local function fill(type, session, ud)
    header.type, header.session, header.ud = type, session, ud
    return header
end

--- An object that takes messages apart. `name` is the type of their header: `type`, `session` and, if you like, `ud`.
---@param name string?  `"package"` by default
---@return sproto.Host
function Sproto:host(name)
    name = name or "package"
    return setmetatable({
        __proto = self,
        __package = type_of(self, name) or error(string.format("type %s not found", name)),
        __session = {},
    }, Host)
end

--- A function that answers a request.
local function responder(self, protocol, session)
    return function(value, ud)
        local bytes = core.encode(self.__package, fill(nil, session, ud))
        if protocol.response then bytes = bytes .. core.encode(protocol.response, value) end
        return core.pack(bytes)
    end
end

--- Takes a message apart: `"REQUEST", name, value, respond, ud`, where `respond(value, ud)` makes the answer, or nil if none is wanted; or
--- `"RESPONSE", session, value, ud`.
---@param ... any  a string, or a pointer and a size
---@return string kind
---@return any ...
function Host:dispatch(...)
    local bytes = core.unpack(...)
    local head, size = core.decode(self.__package, bytes, fill())
    local content = bytes:sub(size + 1)
    local session, ud = head.session, head.ud
    if head.type then
        local protocol = check_protocol(self.__proto, head.type)
        local value = protocol.request and core.decode(protocol.request, content) or nil
        local respond = session and responder(self, protocol, session) or nil
        return "REQUEST", protocol.name, value, respond, ud
    end
    session = assert(session, "session not found")
    local wanted = assert(self.__session[session], "Unknown session")
    self.__session[session] = nil
    if wanted == true then return "RESPONSE", session, nil, ud end
    return "RESPONSE", session, (core.decode(wanted, content)), ud
end

--- A function that makes the requests of `peer`: `f(name, value, session, ud)`. With a session, an answer is waited for.
---@param peer sproto
---@return fun(name: string|integer, value: table?, session: any, ud: any): string
function Host:attach(peer)
    return function(name, value, session, ud)
        local protocol = check_protocol(peer, name)
        local bytes = core.encode(self.__package, fill(protocol.tag, session, ud))
        if session then self.__session[session] = protocol.response or true end
        if protocol.request then bytes = bytes .. core.encode(protocol.request, value) end
        return core.pack(bytes)
    end
end

return sproto

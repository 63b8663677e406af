---@meta bson

--- Documents of MongoDB. Values that Lua has no type for are strings of a NUL, a type and a payload; the functions make them.
local bson = {}

bson.null = "\0\10"
bson.minkey = "\0\255"
bson.maxkey = "\0\127"

--- A document: `#` and `tostring` give its size and its bytes; after `makeindex` fields of a fixed size can be set.
---@class bson.Document
local document = {}

--- The values of a document.
---@return table
function document:decode() end

--- Notes where the fields are, so that they can be set.
---@return bson.Document
function document:makeindex() end

--- A document with the fields of a table, in any order.
---@param fields table
---@return bson.Document
function bson.encode(fields) end

--- A document with fields in the order given.
---@param key string
---@param value any
---@param ... any
---@return bson.Document
function bson.encode_order(key, value, ...) end

--- The values of a document, which may be a message; nothing for what is no userdata.
---@param document bson.Document|lightuserdata
---@return table?
function bson.decode(document) end

--- The address of a document, good as long as that lives.
---@param document bson.Document
---@return lightuserdata
function bson.to_lightuserdata(document) end

--- A new id, or the one that 24 hexadecimal digits spell.
---@param hex string?
---@return string
function bson.objectid(hex) end

--- A time, in seconds since 1970.
---@param seconds integer
---@return string
function bson.date(seconds) end

--- A timestamp of MongoDB's own kind.
---@param seconds integer
---@param increment integer?
---@return string
function bson.timestamp(seconds, increment) end

--- A regular expression.
---@param pattern string
---@param options string?
---@return string
function bson.regex(pattern, options) end

--- Bytes that are no text.
---@param bytes string
---@return string
function bson.binary(bytes) end

--- An integer that takes eight bytes, however small.
---@param value integer
---@return string
function bson.int64(value) end

--- The name of a value's type, and what there is to know of it.
---@param value any
---@return string name
---@return any ...
function bson.type(value) end

return bson

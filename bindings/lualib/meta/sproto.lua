---@meta sproto.core

--- Messages by schema. Schemas and types are light userdata.
local core = {}

--- The schema of a bundle.
---@param bundle string
---@return lightuserdata?
function core.newproto(bundle) end

---@param schema lightuserdata
function core.deleteproto(schema) end

--- Prints a schema.
---@param schema lightuserdata
function core.dumpproto(schema) end

---@param schema lightuserdata
---@param name string
---@return lightuserdata?
function core.querytype(schema, name) end

--- A protocol by name, or name by tag; the types of request and answer, a null pointer for an answer without content.
---@param schema lightuserdata
---@param which string|integer
---@return integer|string? other
---@return lightuserdata? request
---@return lightuserdata? response
function core.protocol(schema, which) end

--- Keeps a schema in a slot of the process.
---@param schema lightuserdata
---@param slot integer?
function core.saveproto(schema, slot) end

---@param slot integer?
---@return lightuserdata
function core.loadproto(slot) end

---@param type lightuserdata?
---@param value table?
---@return string
function core.encode(type, value) end

--- The value of bytes, and how many of them it took.
---@param type lightuserdata?
---@param message string|lightuserdata
---@param size integer?
---@param result table?
---@return table? value
---@return integer? used
function core.decode(type, message, size, result) end

---@param message string|lightuserdata
---@param size integer?
---@return string
function core.pack(message, size) end

---@param packed string|lightuserdata
---@param size integer?
---@return string
function core.unpack(packed, size) end

--- A value for each field of a type.
---@param type lightuserdata
---@return table
function core.default(type) end

return core

---@meta skynet.sharetable.core

--- Shared tables, as the service `sharetable` makes them. Programs use `skynet.sharetable`.
local core = {}

---@class skynet.Matrix  one version of a shared table, held by its maker
local matrix = {}

--- Lets go of it. Services that opened the table keep it.
function matrix:close() end

--- What `clone` takes; nothing once it is closed.
---@return lightuserdata?
function matrix:getptr() end

--- Bytes; 0 once it is closed.
---@return integer
function matrix:size() end

--- Shares the table that a chunk returns: Lua text, or `@` and the name of a file.
---@param source string
---@param ... boolean|number|lightuserdata|function  arguments of the chunk; functions are in C, without upvalues
---@return skynet.Matrix
function core.matrix(source, ...) end

--- The table that a pointer names. Raises if it names none.
---@param pointer lightuserdata
---@return table
function core.clone(pointer) end

--- Whether a value is a shared table.
---@param value any
---@return boolean
function core.is_sharedtable(value) end

--- The values in the top frame of a suspended coroutine, into `t[1..n]`.
---@param co thread
---@param t table?  not needed for the coroutine that runs
---@return integer n
function core.stackvalues(co, t) end

return core

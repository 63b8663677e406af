---@meta skein.resp

--- The bytes of Redis' protocol, version 2.
local resp = {}

--- A request. The arguments are the rest (none if the first of them is nil), or the elements of the first if that is a table, whose `n`
--- counts if it is there. nil becomes null, what is no string is turned into one as `tostring` does.
---@param name string
---@param ... any
---@return string
function resp.command(name, ...) end

--- Requests one after the other, each an array that begins with its name.
---@param list any[][]
---@return string
function resp.commands(list) end

--- The reply that begins at a position: where the next one begins, whether this one is no error, and its value; of an array nil and how
--- many replies follow. If it is not whole: false, and how many bytes are missing at least.
---@param text string
---@param at integer
---@return integer|false next
---@return boolean|integer? fine
---@return any value
function resp.read(text, at) end

--- Stores replies as elements `first` to `last` of a table, with `both` as `{ ok =, out = }`, until an array begins or bytes are missing.
--- Where it stopped in the text and in the table, whether there was no error among them, whether an array begins there, and its count or
--- how many bytes are missing at least.
---@param text string
---@param at integer
---@param values table
---@param first integer
---@param last integer
---@param both boolean?
---@return integer next
---@return integer index
---@return boolean fine
---@return boolean nested
---@return integer count
function resp.fill(text, at, values, first, last, both) end

return resp

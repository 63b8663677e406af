---@meta skynet.stm

--- A blob that one service writes and others read, each version at most once.
local stm = {}

--- The side that writes. Called with a string or a block, it puts in the next version; a block is taken.
---@alias skynet.StmWriter fun(text: string|lightuserdata, size: integer?)

--- The side that reads: true and what `f(message, size, ud)` answers if there is something new. The message stays until the next
--- read that finds something.
---@alias skynet.StmReader fun(f: (fun(message: lightuserdata, size: integer, ud: any): ...), ud: any?): boolean, ...

--- A new blob. A block is taken.
---@param text string|lightuserdata
---@param size integer?
---@return skynet.StmWriter
function stm.new(text, size) end

--- What another service makes a reader of, once.
---@param writer skynet.StmWriter
---@return lightuserdata
function stm.copy(writer) end

--- The reader of a copy.
---@param copy lightuserdata
---@return skynet.StmReader
function stm.newcopy(copy) end

return stm

---@meta skynet.memory

--- Memory of the process beside what the Lua states use.
local memory = {}

--- Bytes in use.
---@return integer
function memory.total() end

--- Blocks in use.
---@return integer
function memory.block() end

--- Bytes charged to this service.
---@return integer
function memory.current() end

--- Bytes by handle.
---@return table<integer, integer>
function memory.info() end

--- Logs bytes by handle.
function memory.dump() end

--- The allocator's own report, to stderr.
---@param options string?
function memory.dumpinfo(options) end

--- The allocator's totals.
---@return table<string, integer>
function memory.jestat() end

--- One number of the allocator.
---@param name string
---@return integer
function memory.mallctl(name) end

--- Writes a heap profile.
function memory.dumpheap() end

--- Whether the heap is being profiled; sets it.
---@param on boolean?
---@return boolean
function memory.profactive(on) end

return memory

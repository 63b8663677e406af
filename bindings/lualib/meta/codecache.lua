---@meta skynet.codecache

--- Compiled files, kept for the whole process by their names.
local codecache = {}

--- Forgets all kept code. What runs goes on.
function codecache.clear() end

--- Sets, or tells, what this service does with the cache: use it, only read it, leave it alone.
---@param mode "ON"|"EXIST"|"OFF"?
---@return string?
function codecache.mode(mode) end

--- `loadfile` through the cache.
---@param file string
---@param mode string?
---@param env table?
---@return function? chunk
---@return string? err
function codecache.loadfile(file, mode, env) end

return codecache

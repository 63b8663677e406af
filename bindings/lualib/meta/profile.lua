---@meta skynet.profile

--- CPU time of coroutines.
local profile = {}

--- Begins to measure a coroutine, by default the running one.
---@param co thread?
function profile.start(co) end

--- Ends the measurement.
---@param co thread?
---@return number seconds  of CPU time it used, without the time it was suspended
function profile.stop(co) end

--- `coroutine.resume`, measured.
---@param co thread
---@param ... any
---@return boolean ok
---@return any ...
function profile.resume(co, ...) end

--- `coroutine.wrap`, measured.
---@param f async fun(...): ...
---@return async fun(...): ...
function profile.wrap(f) end

return profile

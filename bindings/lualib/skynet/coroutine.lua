--- The `coroutine` library for code that may also call functions which suspend the task.
---
--- When the body of such a coroutine blocks in the framework, the framework's word goes up to the task that drives it, and the
--- framework's answer comes back down, without the resumer in between noticing. Yields of the body's own carry `"USER"`.
local coroutine_create = coroutine.create
local coroutine_resume = coroutine.resume
local coroutine_running = coroutine.running
local coroutine_status = coroutine.status
local coroutine_yield = coroutine.yield
local select = select

local M = {
    isyieldable = coroutine.isyieldable,
    running = coroutine_running,
    close = coroutine.close,
}

--- Coroutine made here → the coroutine that resumed it last; itself until then.
local driver = setmetatable({}, { __mode = "k" })
--- Coroutines that are suspended inside the framework.
local blocked = setmetatable({}, { __mode = "k" })

--- What `coroutine.create` does.
---@param f async fun(...)
---@return thread
function M.create(f)
    local co = coroutine_create(f)
    driver[co] = co
    return co
end

local settle

--- Goes back down after the framework answered.
local function continue(co, ...)
    blocked[co] = nil
    return settle(co, coroutine_resume(co, ...))
end

function settle(co, ok, ...)
    if not ok or coroutine_status(co) == "dead" then
        return ok, ...
    elseif (...) == "USER" then
        return true, select(2, ...)
    end
    blocked[co] = true
    return continue(co, coroutine_yield(...))
end

--- What `coroutine.resume` does; suspends the task when the body blocks.
---@async
---@param co thread
---@param ... any
---@return boolean ok, any ...
function M.resume(co, ...)
    if not driver[co] then
        return false, "cannot resume none skynet coroutine"
    elseif blocked[co] then
        return false, "cannot resume a skynet coroutine suspend by skynet framework"
    end
    driver[co] = coroutine_running()
    return settle(co, coroutine_resume(co, ...))
end

--- What `coroutine.yield` does.
---@async
---@param ... any
---@return any ...
function M.yield(...) return coroutine_yield("USER", ...) end

--- What `coroutine.status` does, and `"blocked"` for a coroutine that is suspended inside the framework.
---@param co thread
---@return "running"|"suspended"|"normal"|"dead"|"blocked"
function M.status(co)
    local status = coroutine_status(co)
    if status == "suspended" and blocked[co] then return "blocked" end
    return status
end

local function raise_or_return(ok, ...)
    if ok then return ... end
    error((...), 0)
end

--- What `coroutine.wrap` does.
---@param f async fun(...)
---@return async fun(...): ...
function M.wrap(f)
    local co = M.create(f)
    return function(...) return raise_or_return(M.resume(co, ...)) end
end

--- The task that drives `co`, and whether that is `co` itself.
---@param co thread?  the running one by default
---@return thread task
---@return boolean is_task
function M.thread(co)
    co = co or coroutine_running()
    local from = driver[co]
    if not from then return co, true end
    while from and from ~= co do
        co, from = from, driver[from]
    end
    return co, false
end

return M

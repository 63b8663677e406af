--- A `require` that may suspend, and the functions that modules want run before the service starts.
---
--- A module registers such a function with `skynet.init`. Those of the main chunk (and of what it requires) are kept until the start
--- function; those of a module required later, inside a task, run before that `require` returns.
---
--- # Invariants
--- * **R1** `init_lists[co]` exists exactly while `co` loads something that may register: for the main thread until `init_all`.
--- * **R2** `loading[name]` exists exactly while one task runs that module's chunk and its init functions.
local coroutine_running = coroutine.running

local M = {}

local main_thread, is_main = coroutine_running()
assert(is_main, "skynet.require must be loaded in the main thread")

local loaded = package.loaded
local stock_require = require

--- Where built-in modules are, also when an application wrote a path of its own over `package.path`.
local BUILT_IN <const> = "skein:/lualib/?.lua;skein:/lualib/?/init.lua"

---@type table<thread, function[]>
local init_lists = { [main_thread] = {} }

---@class skynet.require.Loading
---@field task thread  who loads it
---@field waiters table[]  tokens of those who wait

---@type table<string, skynet.require.Loading>
local loading = {}

--- Waits for the task that loads `name`.
local function wait_for(skynet, name, other, task)
    -- The one who would have to finish first is the caller itself, several requires up.
    assert(other.task ~= task, "circular dependency")
    local token = {}
    other.waiters[#other.waiters + 1] = token
    skynet.wait(token)
    local module = loaded[name]
    if module == nil then error(string.format("require %s failed", name)) end
    return module
end

--- Runs the chunk of a module, then what it registered.
local function run_chunk(task, chunk, name, file)
    local outer = init_lists[task]
    local list = {}
    init_lists[task] = list
    local ok, result = xpcall(chunk, debug.traceback, name, file)
    init_lists[task] = outer
    if ok then
        ok, result = xpcall(function()
            for _, f in ipairs(list) do
                f()
            end
            return result
        end, debug.traceback)
    end
    return ok, result
end

--- The global `require` of a service.
---@async
---@param name string
---@return any
function M.require(name)
    local module = loaded[name]
    if module ~= nil then return module end
    local task, main = coroutine_running()
    if main then return stock_require(name) end

    local skynet = loaded.skynet
    local other = loading[name]
    if other then return wait_for(skynet, name, other, task) end

    local file
    if package.preload[name] == nil then
        file = package.searchpath(name, package.path)
            or not package.searchpath(name, package.cpath) and package.searchpath(name, BUILT_IN)
    end
    local chunk = file and loadfile(file)
    if not chunk then
        return stock_require(name) -- a native module, or the usual error text
    end

    local record = { task = task, waiters = {} }
    loading[name] = record
    local ok, result = run_chunk(task, chunk, name, file)
    loading[name] = nil
    if ok then
        if result ~= nil then
            loaded[name] = result
        elseif loaded[name] == nil then
            loaded[name] = true
        end
    end
    for _, token in ipairs(record.waiters) do
        skynet.wakeup(token)
    end
    if not ok then error(result, 0) end
    return loaded[name]
end

--- Runs the functions that the main chunk registered.
---@async
function M.init_all()
    local list = init_lists[main_thread]
    init_lists[main_thread] = nil
    for _, f in ipairs(list or {}) do
        f()
    end
end

--- Registers `f` to run before the service starts, or before the `require` that is under way returns.
---@param f async fun()
function M.init(f)
    assert(type(f) == "function")
    table.insert(init_lists[coroutine_running()], f)
end

return M

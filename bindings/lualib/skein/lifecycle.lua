--- A service's beginning and end.
local core = require "skynet.core"
local dispatch = require "skein.dispatch"
local initialisation = require "skynet.require"

---@class skein.lifecycle
---@field starting thread?  the task of the start function until it is through
local lifecycle = {}

--- Runs the init functions, then `func`, and reports to the launcher.
---@async
---@param func async fun()
function lifecycle.init_service(func)
    local function all()
        initialisation.init_all()
        func()
    end
    local ok, err = xpcall(all, debug.traceback)
    if ok then
        dispatch.send(".launcher", "lua", "LAUNCHOK")
    else
        core.error("init service failed: " .. tostring(err))
        dispatch.send(".launcher", "lua", "ERROR")
        lifecycle.exit()
    end
end

--- Runs `func` as the first task.
---@param func async fun()
local function begin(func)
    lifecycle.starting = dispatch.timeout(0, function()
        lifecycle.init_service(func)
        lifecycle.starting = nil
    end)
end

--- Begins to take messages with `callback`, and runs `func` as the first task.
---@param callback fun(ptype: integer, msg: lightuserdata, sz: integer, session: integer, source: integer)
---@param forward boolean?  the callback owns the blocks
---@param func async fun()
function lifecycle.start_with(callback, forward, func)
    core.callback(callback, forward)
    begin(func)
end

--- The last statement of a service script.
---@param func async fun()
function lifecycle.start(func)
    dispatch.start()
    begin(func)
end

--- Ends this service. Does not return.
---@async
function lifecycle.exit()
    dispatch.leave()
    dispatch.send(".launcher", "lua", "REMOVE", core.addresscommand "REG", false)
    dispatch.finish()
    core.command "EXIT"
    coroutine.yield "QUIT"
end

return lifecycle

--- A service's beginning and end, and the death of its peers.
local calls = require "skein.calls"
local core = require "skynet.core"
local dispatcher = require "skein.dispatcher"
local initialisation = require "skynet.require"
local state = require "skein.state"
local tasks = require "skein.tasks"

local core_send = core.send

local TOMBSTONE = state.TOMBSTONE
local PTYPE_RESPONSE <const> = state.PTYPE.RESPONSE
local PTYPE_ERROR <const> = state.PTYPE.ERROR

local lifecycle = {}

------------------------------------------------------------------------------------------------------------------------- start

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
        calls.send(".launcher", "lua", "LAUNCHOK")
    else
        core.error("init service failed: " .. tostring(err))
        calls.send(".launcher", "lua", "ERROR")
        lifecycle.exit()
    end
end

--- Begins to take messages with `callback`, and runs `func` as the first task.
---@param callback fun(ptype: integer, msg: lightuserdata, sz: integer, session: integer, source: integer)
---@param forward boolean?  the callback owns the blocks
---@param func async fun()
function lifecycle.start_with(callback, forward, func)
    core.callback(callback, forward)
    state.starting = tasks.timeout(0, function()
        lifecycle.init_service(func)
        state.starting = nil
    end)
end

--- The last statement of a service script.
---@param func async fun()
function lifecycle.start(func) lifecycle.start_with(dispatcher.dispatch_message, nil, func) end

------------------------------------------------------------------------------------------------------------------ death of peers

--- Behaves as if `address` had died: our calls to it fail, and it waits for no answer of ours.
---@param address skein.Address
function lifecycle.term(address)
    for reply, source in pairs(state.closures) do
        if source == address then state.closures[reply] = nil end
    end
    if state.forgotten then state.forgotten:drop(address) end
    local dead = {}
    for session, target in pairs(state.call_target) do
        if target == address then dead[#dead + 1] = session end
    end
    table.sort(dead)
    for _, session in ipairs(dead) do
        dispatcher.fail_session(session)
    end
end

--- An error message: the failure of one session, or, without a session, the death of its source.
---@param session integer
---@param source integer
function lifecycle.on_error(session, source)
    calls.ignoreret()
    if session == 0 then
        lifecycle.term(source)
    elseif state.call_target[session] then
        dispatcher.fail_session(session)
    elseif state.waiting[session] == TOMBSTONE then
        state.waiting[session] = nil -- the answer that nobody wanted
    end
end

-------------------------------------------------------------------------------------------------------------------------- exit

--- Sends an error to everybody who still waits for an answer of a task of ours.
local function fail_requests()
    for task, session in pairs(state.session_of) do
        state.session_of[task] = nil
        if session ~= 0 then core_send(state.source_of[task], PTYPE_ERROR, session, "") end
    end
end

--- The same for answers that were put aside, and for those that were forgotten.
local function fail_closures()
    for reply in pairs(state.closures) do
        reply(false)
    end
    if state.forgotten then
        state.forgotten:each(function(source, session) core_send(source, PTYPE_ERROR, session, "") end)
    end
end

--- A killed service runs no code of its own. But its state is closed while it can still send, and so those who wait for it hear of
--- its end, where skynet leaves them waiting. When even the launcher is gone the whole node goes down, and nobody needs to know.
state.last_words = setmetatable({}, {
    __gc = function()
        if core.addresscommand("QUERY", ".launcher") then
            fail_requests()
            fail_closures()
        end
    end,
})

--- Closes all suspended tasks but ours; their to-be-closed variables run.
local function close_tasks(current)
    local suspended = {}
    for session, task in pairs(state.waiting) do
        if task ~= current and task ~= TOMBSTONE then suspended[#suspended + 1] = session end
    end
    table.sort(suspended)
    for _, session in ipairs(suspended) do
        local task = state.waiting[session]
        if task and task ~= TOMBSTONE then
            state.waiting[session] = nil
            coroutine.close(task)
        end
    end
end

--- Tells everybody we wait for that we are gone.
local function notify_peers()
    local told = {}
    for _, address in pairs(state.call_target) do
        if not told[address] then
            told[address] = true
            core_send(address, PTYPE_ERROR, 0, "")
        end
    end
end

--- Refuses what comes between here and the end.
local function refuse(ptype, _, _, session, source)
    if session ~= 0 and source ~= 0 and ptype ~= PTYPE_RESPONSE and ptype ~= PTYPE_ERROR then
        core_send(source, PTYPE_ERROR, session, "")
    end
end

--- Ends this service. Does not return.
---@async
function lifecycle.exit()
    state.leaving = true
    dispatcher.drop_forks()
    calls.send(".launcher", "lua", "REMOVE", core.addresscommand "REG", false)
    fail_requests()
    close_tasks(state.running)
    fail_closures()
    notify_peers()
    core.callback(refuse)
    core.command "EXIT"
    coroutine.yield "QUIT"
end

--- A service that is killed runs no code of its own any more, but its state is closed while its sends still work: whoever waits
--- for an answer is told then. (skynet leaves them waiting.)
lifecycle.at_close = setmetatable({}, {
    __gc = function()
        answer_all_with_errors()
        for reply in pairs(state.closures) do
            reply(false)
        end
    end,
})

return lifecycle

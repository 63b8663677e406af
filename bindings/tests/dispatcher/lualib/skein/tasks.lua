--- Tasks of one service: fork, timers, sleeping and waking, killing.
local core = require "skynet.core"
local dispatcher = require "skein.dispatcher"
local state = require "skein.state"

-- The stock one: it never suspends.
local require = require
local coroutine_running = coroutine.running
local coroutine_yield = coroutine.yield
local core_intcommand = core.intcommand
local core_trace = core.trace

local TOMBSTONE = state.TOMBSTONE

local NEAR_END = state.NEAR_END
local waiting = state.waiting
local unticked = state.unticked
local sleeping = state.sleeping
local callbacks = state.callbacks
local tags = state.tags

local tasks = {}

tasks.fork = dispatcher.fork
tasks.wakeup = dispatcher.wakeup

local trace_timers = false

--- While on, `skynet.task` shows for each pending timer where it was made.
---@param on boolean?
function tasks.trace_timeout(on) trace_timers = on and true or false end

--- As `timeout`, and also returns the session of the timer.
---@param ti integer
---@param func async fun()
---@return thread task
---@return integer session
function tasks.arm(ti, func)
    if state.careful then require("skein.sessions").clear_way() end
    local session = core_intcommand("TIMEOUT", ti)
    if session > NEAR_END then state.careful = true end
    local task = dispatcher.take()
    callbacks[task] = func
    if trace_timers then
        state.timer_origin[task] = debug.traceback(string.format("TIMER %d+%s : ", core.now(), ti), 3)
    end
    waiting[session] = task
    return task, session
end

--- Runs `func()` in a task of its own after `ti` hundredths of a second.
---@param ti integer
---@param func async fun()
---@return thread task
function tasks.timeout(ti, func)
    local task = tasks.arm(ti, func)
    return task
end

-- Its own function, and called so, for the positions that a trace line shows.
local function suspend(session, token)
    local task = state.running
    local tag = tags[task]
    if tag then core_trace(tag, "sleep", 2) end
    if session > NEAR_END then state.careful = true end
    waiting[session] = task
    sleeping[token] = session
    return coroutine_yield "SUSPEND"
end

local function check_free(token)
    if sleeping[token] then error("token duplicative", 3) end
end

--- Suspends for `ti` hundredths of a second, or until `wakeup(token)`.
---@async
---@param ti integer
---@param token any  by default the running coroutine
---@return "BREAK"?  when it was woken
function tasks.sleep(ti, token)
    token = token == nil and coroutine_running() or token
    check_free(token)
    if state.careful then require("skein.sessions").clear_way() end
    local ok, why = suspend(core_intcommand("TIMEOUT", ti), token)
    sleeping[token] = nil
    if not ok then return why end
end

--- Lets everything that is queued run first.
---@async
function tasks.yield() return tasks.sleep(0) end

--- Suspends until `wakeup(token)`.
---@async
---@param token any  by default the running coroutine
function tasks.wait(token)
    token = token == nil and coroutine_running() or token
    check_free(token)
    if state.careful then require("skein.sessions").clear_way() end
    local session = core.genid()
    unticked[session] = true
    suspend(session, token)
    sleeping[token] = nil
    unticked[session] = nil
end

--- The suspended task that `thread` means, and the session it waits for.
local function find_suspended(thread)
    for session, task in pairs(waiting) do
        if
            task == thread
            or type(thread) == "string" and task ~= TOMBSTONE and tostring(task):find(thread)
        then
            return task, session
        end
    end
end

--- Ends a task that is suspended or has not begun. Its requester gets an error, its to-be-closed variables are closed.
---@param thread thread|string  the task, or a Lua pattern for its name
---@return thread?
function tasks.killthread(thread)
    local task = dispatcher.unfork(thread)
    if task then
        coroutine.close(task)
        return task
    end

    local session
    task, session = find_suspended(thread)
    if not task then return nil end
    local request = state.session_of[task]
    if request and request ~= 0 then core.send(state.source_of[task], state.PTYPE.ERROR, request, "") end
    state.session_of[task] = nil
    state.source_of[task] = nil
    state.call_target[session] = nil
    state.timer_origin[task] = nil
    callbacks[task] = nil
    tags[task] = nil
    if unticked[session] then
        unticked[session] = nil
        waiting[session] = nil
    else
        waiting[session] = TOMBSTONE
    end
    for token, slept in pairs(sleeping) do
        if slept == session then
            sleeping[token] = nil
            break
        end
    end
    coroutine.close(task)
    return task
end

return tasks

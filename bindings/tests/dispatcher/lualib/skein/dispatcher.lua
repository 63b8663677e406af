--- From a message to the task it concerns, and on until nothing is left to run.
---
--- # The suspend protocol
--- A task gives up control by yielding one word to whoever resumed it; coroutines in between pass it on.
--- * `"SUSPEND"`: waits for a message or a wake-up, or has ended and waits for more work.
--- * `"QUIT"`: the service is gone; close me.
--- * `"USER"`: a `skynet.coroutine` yield that no resume caught; a mistake.
--- * nothing: parked by its own wish; nobody will resume it.
--- A waiting task is resumed with `true, msg, sz` when its message came, with `false` when it failed and with `false, "BREAK"` when it was
--- woken. An idle coroutine is resumed with a function and its arguments; one that a timer or a select set aside gets its message
--- and finds its work in `callbacks` or `collectors`.
---
--- # Order
--- After each task that suspends: all woken tokens, then one failed session, then woken tokens again, until both are empty. After the message:
--- the forks, each with the same draining. Errors are collected, and raised as one at the end, so that no fork is lost.
local core = require "skynet.core"
local state = require "skein.state"

-- The stock one: it never suspends.
local require = require
local coroutine_create = coroutine.create
local coroutine_close = coroutine.close
local coroutine_resume = coroutine.resume
local coroutine_running = coroutine.running
local coroutine_yield = coroutine.yield
local table_pack = table.pack
local table_unpack = table.unpack
local traceback = debug.traceback
local string_format = string.format
local select = select
local tostring = tostring
local core_send = core.send
local core_trace = core.trace

local TOMBSTONE = state.TOMBSTONE
local PTYPE_RESPONSE <const> = state.PTYPE.RESPONSE
local PTYPE_ERROR <const> = state.PTYPE.ERROR
local PTYPE_TRACE <const> = state.PTYPE.TRACE

local waiting = state.waiting
local unticked = state.unticked
local session_of = state.session_of
local source_of = state.source_of
local sleeping = state.sleeping
local callbacks = state.callbacks
local collectors = state.collectors
local tags = state.tags
local incoming_tag = state.incoming_tag
local proto = state.proto

local dispatcher = {}

-- Coroutines without work. Weak, so that a burst does not keep its memory.
local idle = setmetatable({}, { __mode = "v" })
local idle_count = 0

-- Three queues; each is empty when its first is past its last.
local woken, woken_first, woken_last = {}, 1, 0
local failed, failed_first, failed_last = {}, 1, 0
local forks, fork_first, fork_last = {}, 1, 0
local fork_work, fork_args = {}, {}

---@type string[]?  texts of the errors of the current message
local errors

---------------------------------------------------------------------------------------------------- the life of a coroutine

--- A task whose coroutine was set aside starts: by a timer, or by the answer to one request of a select.
local function start_aside(task, ok, msg, sz)
    local callback = callbacks[task]
    if callback then
        callbacks[task] = nil
        state.timer_origin[task] = nil
        callback()
    else
        local collector = collectors[task]
        collectors[task] = nil
        collector:arrived(ok, msg, sz)
    end
end

local function perform(task, work, ...)
    if work == true or work == false then
        start_aside(task, work, ...)
    else
        work(...)
    end
    local tag = tags[task]
    if tag ~= nil then
        if tag then core_trace(tag, "end") end
        tags[task] = nil
    end
    source_of[task] = nil
    idle_count = idle_count + 1
    idle[idle_count] = task
end

local function live(...)
    local task = coroutine_running()
    perform(task, ...)
    while true do
        perform(task, coroutine_yield "SUSPEND")
    end
end

--- A coroutine without work.
---@return skein.Task
local function take()
    while idle_count > 0 do
        local task = idle[idle_count]
        idle[idle_count] = nil
        idle_count = idle_count - 1
        if task then -- the collector may have been faster
            return task
        end
    end
    return coroutine_create(live)
end
dispatcher.take = take

--- Takes back a coroutine that never got its work.
---@param task skein.Task
function dispatcher.give_back(task)
    idle_count = idle_count + 1
    idle[idle_count] = task
end

--- Serves a request. `unpack` runs here, inside the task: when it raises, the requester gets an error like for any other failure.
local function serve(class, session, source, msg, sz)
    local handler = class.dispatch
    handler(session, source, class.unpack(msg, sz))
    local task = state.running
    local left = session_of[task]
    if left then
        session_of[task] = nil
        if left ~= 0 then
            state.forgotten = state.forgotten or require "skein.forgotten"
            state.forgotten:add(source, left)
            local info = debug.getinfo(handler, "S")
            core.error(
                string_format(
                    "Maybe forgot response session %s from :%08x : %s:%d",
                    left,
                    source,
                    info.source,
                    info.linedefined
                )
            )
        end
    end
end

---------------------------------------------------------------------------------------------------------------- running tasks

--- Adds to what the current message will raise.
local function report(text)
    if errors then
        errors[#errors + 1] = text
    else
        errors = { text }
    end
    if woken_first <= woken_last or failed_first <= failed_last then
        -- What was woken before the failure still runs in this message, in the turn of an empty fork.
        fork_last = fork_last + 1
        forks[fork_last] = false
    end
end

--- The task ended with an error: tell its requester, close it, report it.
local function fail(task, err)
    local session = session_of[task]
    local tag = tags[task]
    if session then
        session_of[task] = nil
        if session ~= 0 then
            if tag then core_trace(tag, "error") end
            core_send(source_of[task], PTYPE_ERROR, session, "")
        end
    end
    source_of[task] = nil
    tags[task] = nil
    local text = traceback(task, tostring(err))
    coroutine_close(task)
    report(text)
end

--- What a yielded word means. True when the queues are to be drained now.
local function settle(task, ok, command)
    state.running = nil
    if command == "SUSPEND" and ok then
        return true
    elseif not ok then
        fail(task, command)
        return false
    elseif command == "QUIT" then
        coroutine_close(task)
        return false
    elseif command == nil then
        return true
    elseif command == "USER" then
        report(traceback(task, "Call skynet.coroutine.yield out of skynet.coroutine.resume"))
    else
        report(traceback(task, "Unknown command : " .. tostring(command)))
    end
    return false
end

--- Runs `task` until it suspends or ends.
local function run(task, ...)
    state.running = task
    return settle(task, coroutine_resume(task, ...))
end

local function drain()
    while true do
        if woken_first <= woken_last then
            local token = woken[woken_first]
            woken[woken_first] = nil
            if woken_first == woken_last then
                woken_first, woken_last = 1, 0
            else
                woken_first = woken_first + 1
            end
            local session = sleeping[token]
            local task = session and waiting[session]
            if task and task ~= TOMBSTONE then
                if unticked[session] then
                    unticked[session] = nil
                    waiting[session] = nil
                else
                    waiting[session] = TOMBSTONE -- its timer is still to come
                end
                local tag = tags[task]
                if tag then core_trace(tag, "resume") end
                if not run(task, false, "BREAK") then return end
            end
        elseif failed_first <= failed_last then
            local session = failed[failed_first]
            failed[failed_first] = nil
            if failed_first == failed_last then
                failed_first, failed_last = 1, 0
            else
                failed_first = failed_first + 1
            end
            local task = waiting[session]
            waiting[session] = nil
            if task and task ~= TOMBSTONE and not run(task, false) then return end
        else
            return
        end
    end
end

local function run_forks()
    while fork_first <= fork_last do
        local at = fork_first
        local task, work, args = forks[at], fork_work[at], fork_args[at]
        forks[at], fork_work[at], fork_args[at] = nil, nil, nil
        if at == fork_last then
            fork_first, fork_last = 1, 0
        else
            fork_first = at + 1
        end
        if task then -- nil: killed before its turn; false: nothing but the draining
            local suspended
            if args then
                suspended = run(task, work, table_unpack(args, 1, args.n))
            else
                suspended = run(task, work)
            end
            if suspended then drain() end
        elseif task == false then
            drain()
        end
    end
end

------------------------------------------------------------------------------------------------- what other modules put in line

--- `skynet.wakeup`: whoever sleeps on `token` continues when the current task suspends.
---@param token any
---@return true?
function dispatcher.wakeup(token)
    if sleeping[token] then
        woken_last = woken_last + 1
        woken[woken_last] = token
        return true
    end
end

--- The call that waits for `session` will fail.
---@param session integer
function dispatcher.fail_session(session)
    failed_last = failed_last + 1
    failed[failed_last] = session
end

--- `skynet.fork`: `func(...)` in a task of its own, after the current message.
---@param func async fun(...)
---@param ... any
---@return skein.Task
function dispatcher.fork(func, ...)
    local task = take()
    if state.leaving then return task end
    fork_last = fork_last + 1
    forks[fork_last] = task
    fork_work[fork_last] = func
    if select("#", ...) > 0 then fork_args[fork_last] = table_pack(...) end
    return task
end

--- Takes a fork that has not begun out of the line.
---@param thread skein.Task|string  the task, or a pattern for its name
---@return skein.Task?
function dispatcher.unfork(thread)
    for at = fork_first, fork_last do
        local task = forks[at]
        if task and (task == thread or type(thread) == "string" and tostring(task):find(thread)) then
            forks[at], fork_work[at], fork_args[at] = nil, nil, nil
            return task
        end
    end
end

--- Forgets all forks that have not begun.
function dispatcher.drop_forks()
    forks, fork_work, fork_args = {}, {}, {}
    fork_first, fork_last = 1, 0
end

------------------------------------------------------------------------------------------------------------------------ messages

--- Runs a handler that is not a task.
local function guarded(handler, ...)
    local ok, err = xpcall(handler, traceback, ...)
    if not ok then report(tostring(err)) end
end

--- A message no handler is there for.
local function refuse(ptype, class, msg, sz, session, source)
    if not class and ptype == PTYPE_TRACE then
        incoming_tag[source] = core.tostring(msg, sz)
    elseif session ~= 0 then
        guarded(core_send, source, PTYPE_ERROR, session, "")
    else
        guarded(require("skein.unknown").request, session, source, msg, sz, class and class.name or ptype)
    end
end

--- The message callback of a service.
---@param ptype integer
---@param msg lightuserdata
---@param sz integer
---@param session integer
---@param source integer
function dispatcher.dispatch_message(ptype, msg, sz, session, source)
    if ptype == PTYPE_RESPONSE then
        local task = waiting[session]
        if task == TOMBSTONE then
            waiting[session] = nil
        elseif task then
            waiting[session] = nil
            local tag = tags[task]
            if tag then core_trace(tag, "resume") end
            if run(task, true, msg, sz) then drain() end
        else
            guarded(require("skein.unknown").response, session, source, msg, sz)
        end
    else
        local class = proto[ptype]
        if class and class.dispatch then
            local task = take()
            state.running = task
            session_of[task] = session
            source_of[task] = source
            if class.trace ~= nil or incoming_tag[source] then
                require("skein.tracing").arrive(task, class, source)
            end
            if run(task, serve, class, session, source, msg, sz) then drain() end
        else
            refuse(ptype, class, msg, sz, session, source)
        end
    end
    if fork_first <= fork_last then run_forks() end
    if errors then
        local text = table.concat(errors, "\n")
        errors = nil
        error(text, 0)
    end
end

return dispatcher

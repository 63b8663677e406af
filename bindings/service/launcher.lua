--- `.launcher`: creates services, and answers their creators when they are ready.
---
--- A creator's request stays open until the new service reports: LAUNCHOK or ERROR from its start function (as text from native
--- services), REMOVE when it ends before that.
local skynet = require "skynet"
local core = require "skynet.core"
local dispatch = require "skein.dispatch"
require "skynet.manager"

---@class launcher.Pending
---@field reply fun(ok: boolean, ...)
---@field session integer  of the creator's request
---@field creator integer

---@type table<integer, string>  handle → "module arguments"
local services = {}
---@type table<integer, launcher.Pending>
local pending = {}

--- Commands return their answer, or this.
local NO_ANSWER <const> = {}

local command = {}

--- Words up to the first nil.
local function join(...)
    local words = {}
    for i = 1, select("#", ...) do
        local word = select(i, ...)
        if word == nil then break end
        words[i] = word
    end
    return table.concat(words, " ")
end

local function launch(module, ...)
    local args = join(...)
    local session, creator = skynet.context()
    local reply = skynet.response()
    local handle = skynet.launch(module, args)
    if not handle then
        reply(false)
        return nil
    end
    services[handle] = module .. " " .. args
    pending[handle] = { reply = reply, session = session, creator = creator }
    return handle
end

function command.LAUNCH(_, module, ...)
    launch(module, ...)
    return NO_ANSWER
end

function command.LOGLAUNCH(_, module, ...)
    local handle = launch(module, ...)
    if handle then core.command("LOGON", skynet.address(handle)) end
    return NO_ANSWER
end

--- Takes the open request of a service's creator.
local function settle(handle, ok, ...)
    local open = pending[handle]
    if open then
        pending[handle] = nil
        open.reply(ok, ...)
    end
end

function command.LAUNCHOK(address)
    settle(address, true, address)
    return NO_ANSWER
end

function command.ERROR(address)
    services[address] = nil
    settle(address, false)
    return NO_ANSWER
end

function command.REMOVE(_, handle, killed)
    services[handle] = nil
    settle(handle, not killed)
    return NO_ANSWER
end

function command.KILL(_, handle)
    if type(handle) == "string" then handle = tonumber(handle:match "^:(%x+)$", 16) or handle end
    local description = tostring(services[handle])
    skynet.kill(handle)
    services[handle] = nil
    return { [skynet.address(handle)] = description }
end

--- The service that is being started for the request `session` of the one who asks.
function command.QUERY(address, session)
    local other
    for handle, open in pairs(pending) do
        if open.session == session then
            if open.creator == address then return handle end
            other = handle
        end
    end
    return other
end

function command.LIST()
    local list = {}
    for handle, description in pairs(services) do
        list[skynet.address(handle)] = description
    end
    return list
end

--- What every service answers to a debug command. Those that have nothing to do are not woken for it; the others are asked at once.
---@async
---@param timeout integer?
---@param name string
---@param look fun(handle: integer): any  the answer, if it can be had from outside
---@param describe fun(handle: integer, answer: any): any  answer: the value, or "ERROR", or "TIMEOUT"
local function ask_all(timeout, name, look, describe)
    local requests = skynet.request()
    local result = {}
    local silent = {}
    for handle in pairs(services) do
        local answer = look(handle)
        if answer ~= nil then
            result[skynet.address(handle)] = describe(handle, answer)
        else
            requests:add { handle, "debug", name }
            silent[handle] = true
        end
    end
    for request, response in requests:select(timeout) do
        local handle = request[1]
        local answer = "ERROR"
        if response then answer = response[1] end
        silent[handle] = nil
        result[skynet.address(handle)] = describe(handle, answer)
    end
    for handle in pairs(silent) do
        result[skynet.address(handle)] = describe(handle, "TIMEOUT")
    end
    return result
end

local function look_stat(handle)
    local task, message, cpu, bound, refused = dispatch.look(handle)
    if not task then return nil end
    if bound > 0 then
        return { task = task, mqlen = 0, cpu = cpu, message = message, bound = bound, refused = refused }
    end
    return { task = task, mqlen = 0, cpu = cpu, message = message }
end

local function look_mem(handle) return (select(6, dispatch.look(handle))) end

function command.STAT(_, timeout)
    return ask_all(timeout, "STAT", look_stat, function(_, answer) return answer end)
end

function command.MEM(_, timeout)
    return ask_all(timeout, "MEM", look_mem, function(handle, answer)
        if type(answer) == "number" then answer = string.format("%.2f Kb", answer) end
        return string.format("%s (%s)", answer, services[handle])
    end)
end

function command.GC(address, timeout)
    for handle in pairs(services) do
        skynet.send(handle, "debug", "GC")
    end
    return command.MEM(address, timeout)
end

--- Native services report as text.
skynet.register_protocol {
    name = "text",
    id = skynet.PTYPE_TEXT,
    unpack = skynet.tostring,
    dispatch = function(_, address, text)
        if text == "" then
            command.LAUNCHOK(address)
        elseif text == "ERROR" then
            command.ERROR(address)
        else
            error("Invalid text command " .. text)
        end
    end,
}

skynet.dispatch("lua", function(_, address, name, ...)
    local f = command[string.upper(name)]
    if not f then
        skynet.retpack { "Unknown command" }
        return
    end
    local answer = f(address, ...)
    if answer ~= NO_ANSWER then skynet.retpack(answer) end
end)

skynet.start(function() end)

--- Ends the node in order. Started by the first `skein.on_stop` or `skein.stop`, one for the process.
---
--- On SIGTERM, SIGINT or `skein.stop()`: runs the hooks of all services, one service after the other, the latest to register first; then
--- waits until every service has handled what was sent to it before; then ends the process with status 0. All that has
--- `stop_deadline` seconds (10 by default); what is not done by then is logged and left undone. A second signal ends the process at once.
local skynet = require "skynet"
local core = require "skynet.core"
local skein = require "skein"
require "skynet.manager"

local PTYPE_SYSTEM <const> = 4
local DEADLINE <const> = math.floor(100 * (tonumber(skynet.getenv "stop_deadline") or 10))

---@type integer[]  services with hooks, in the order in which they came
local registered = {}
local stopping = false

--- Ticks that are left, at least one.
local function left(ends) return math.max(1, ends - skynet.now()) end

--- Has the services run their hooks.
---@async
local function hooks(ends)
    while #registered > 0 do
        local service = table.remove(registered)
        local ok, err = pcall(skein.call_timeout, left(ends), service, "debug", "STOP")
        -- One that has ended meanwhile had its chance.
        if not ok and not tostring(err):find("invalid address", 1, true) then
            core.error(string.format("stop: hooks of %s: %s", skynet.address(service), err))
        end
    end
end

--- Waits until all services have answered: by then they have seen what was sent before.
---@async
local function drain(ends)
    local ok, stats = pcall(skein.call_timeout, left(ends) + 100, ".launcher", "lua", "STAT", left(ends))
    local busy = 0
    for _, stat in pairs(ok and stats or {}) do
        if type(stat) ~= "table" then busy = busy + 1 end
    end
    if not ok or busy > 0 then core.error(string.format("stop: %d services were still busy", busy)) end
end

--- Takes a service in, until it ends.
---@async
local function register(service)
    table.insert(registered, service)
    skynet.fork(function()
        -- Never answered: it fails when the service ends.
        pcall(skynet.call, service, "debug", "LINK")
        for at, it in ipairs(registered) do
            if it == service then
                table.remove(registered, at)
                return
            end
        end
    end)
end

---@async
local function stop(why)
    if stopping then return end
    stopping = true
    local ends = skynet.now() + DEADLINE
    core.error(string.format("stop: %s, %d services have hooks", why, #registered))
    hooks(ends)
    drain(ends)
    core.error "stop: done"
    skynet.abort()
end

skynet.register_protocol {
    name = "system",
    id = PTYPE_SYSTEM,
    unpack = function() end,
    dispatch = function(signal)
        skynet.ignoreret()
        stop("signal " .. signal)
    end,
}

skynet.start(function()
    core.command "STOPPER"
    skynet.dispatch("lua", function(_, source, command)
        if command == "REGISTER" then
            register(source)
            skynet.retpack(true)
        elseif command == "STOP" then
            stop "asked to"
        else
            error("Unknown command " .. tostring(command))
        end
    end)
end)

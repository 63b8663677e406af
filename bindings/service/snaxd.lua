--- Hosts one snax service: finds its file, and serves its methods to the objects of `skynet.snax`.
---
--- A message of class `snax` is the number of a method and its arguments. Nothing is served before `init` is through, but a hotfix.
local skynet = require "skynet"
local hotfix = require "snax.hotfix"
local profile = require "skynet.profile"
local snax = require "skynet.snax"
local snax_interface = require "snax.interface"

local traceback = debug.traceback

local name = assert((...), "snaxd needs the name of a snax service")
local loader = skynet.getenv "snax_loader"
local methods, pattern = snax_interface(name, _G, loader and assert(dofile(loader)))

-- The service sees itself under its own name, and finds modules of its own in a directory of that name.
SERVICE_NAME = name
SERVICE_PATH = pattern:match "^[^?]*" .. name .. "/"
package.path = SERVICE_PATH .. "?.lua;" .. package.path

---@type "no"|"under way"|"done"
local initialised = "no"

---@type table<string, { count: integer, time: number }>
local statistics = {}

--- Books a run that ended.
local function book(method, ok, ...)
    local time = profile.stop()
    local entry = statistics[method]
    if not entry then
        entry = { count = 0, time = 0 }
        statistics[method] = entry
    end
    entry.count = entry.count + 1
    entry.time = entry.time + time
    if not ok then error((...), 0) end
    return ...
end

--- Runs a method on the clock. An error gets the traceback of where it was raised.
---@async
local function run(method, ...)
    profile.start()
    return book(method[3], xpcall(method[4], traceback, ...))
end

---@type table<string, async fun(func: function?, ...)>
local system = {}

function system.init(func, ...)
    assert(initialised == "no", "Already init")
    initialised = "under way"
    if func then
        local ok, err = xpcall(func, traceback, ...)
        if not ok then
            initialised = "no"
            error(err, 0)
        end
    end
    initialised = "done"
    skynet.info_func(function() return statistics end)
    skynet.ret()
end

function system.exit(func, ...)
    assert(initialised == "done", "Never init")
    if func then func(...) end
    skynet.ret()
    skynet.exit()
end

function system.hotfix(_, source, ...) skynet.retpack(hotfix(methods, source, ...)) end

function system.profile() skynet.retpack(statistics) end

---@async
local function serve(_, _, id, ...)
    local method = methods[id]
    if not method then error(string.format("%s has no method %s", name, id)) end
    local group = method[2]
    if group == "system" then
        system[method[3]](method[4], ...)
        return
    end
    assert(initialised == "done", "Init first")
    if group == "accept" then
        run(method, ...)
    else
        skynet.retpack(run(method, ...))
    end
end

--- For requests that come through a cluster, which are `lua` messages.
function snax.enablecluster() skynet.dispatch("lua", serve) end

skynet.dispatch("snax", serve)
skynet.start(function() end)

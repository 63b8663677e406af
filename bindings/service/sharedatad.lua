--- Keeps the current tree of each name of `skynet.sharedata`, and the old ones until nobody counts on them.
local skynet = require "skynet"
local cache = require "skynet.codecache"
local corelib = require "skynet.sharedata.corelib"

local host = corelib.host

--- Old trees are looked at a minute after an update, and every ten minutes.
local SOON <const>, LATE <const> = 60 * 100, 600 * 100

cache.mode "OFF" -- a file that was changed is read again

---@class Data
---@field obj lightuserdata
---@field watch function[]  answers to who waits for the next tree

---@type table<string, Data>
local pool = {}
---@type table<lightuserdata, boolean>  trees that are no longer current
local old = {}
---@type table<lightuserdata, integer>  how many answers with a tree were not confirmed yet
local on_the_way = {}

local function collect()
    for obj in pairs(old) do
        if host.getref(obj) <= 0 then
            old[obj] = nil
            host.delete(obj)
        end
    end
end

local soon = false
local function collect_soon()
    if soon then return end
    soon = true
    skynet.timeout(SOON, function()
        soon = false
        collect()
    end)
end

local function collect_always()
    collect()
    skynet.timeout(LATE, collect_always)
end

local loaders = {}

function loaders.table(_, value) return value end

loaders["nil"] = function() return {} end

--- Runs Lua text, which errors call by the name of the data, or a file: what it returns if that is a table, or else the globals it
--- defined.
function loaders.string(name, value, ...)
    local env = setmetatable({}, { __index = _ENV })
    local chunk
    if value:sub(1, 1) == "@" then
        chunk = assert(loadfile(value:sub(2), "bt", env))
    else
        chunk = assert(load(value, "=" .. name, "bt", env))
    end
    local _, result = assert(skynet.pcall(chunk, ...))
    setmetatable(env, nil)
    if type(result) == "table" then return result end
    return env
end

local function make(name, value, ...)
    local loader = loaders[type(value)]
    if not loader then error("Unknown data type " .. type(value)) end
    return host.new(loader(name, value, ...))
end

--- Counts on a tree for an answer that is on its way.
local function give(obj)
    host.incref(obj)
    on_the_way[obj] = (on_the_way[obj] or 0) + 1
    return obj
end

--- No longer current: nobody new gets it.
local function replace(data, obj)
    old[data.obj] = true
    host.markdirty(data.obj)
    for _, response in ipairs(data.watch) do
        if obj then
            response(true, give(obj))
        else
            response(true)
        end
    end
    data.watch = {}
    collect_soon()
end

local command = {}

function command.new(name, value, ...)
    assert(pool[name] == nil, name)
    pool[name] = { obj = make(name, value, ...), watch = {} }
end

function command.update(name, value, ...)
    local data = pool[name]
    local obj = make(name, value, ...)
    if data then
        local watched = { obj = data.obj, watch = data.watch }
        data.obj, data.watch = obj, {}
        replace(watched, obj)
    else
        pool[name] = { obj = obj, watch = {} }
    end
end

function command.delete(name)
    local data = assert(pool[name], name)
    pool[name] = nil
    replace(data, nil)
end

function command.query(name)
    local data = assert(pool[name], name)
    return give(data.obj)
end

function command.confirm(obj)
    local left = on_the_way[obj]
    -- Who confirms what was not given counts for nothing.
    if left then
        on_the_way[obj] = left > 1 and left - 1 or nil
        host.decref(obj)
    end
    return skynet.ignoreret()
end

local NORET = {}

function command.monitor(name, obj)
    local data = pool[name]
    if not data then return nil end
    if data.obj ~= obj then return give(data.obj) end
    table.insert(data.watch, skynet.response())
    return NORET
end

skynet.start(function()
    collect_always()
    skynet.dispatch("lua", function(_, _, what, ...)
        local f = assert(command[what], what)
        if what == "confirm" then return f(...) end
        local answer = f(...)
        if answer ~= NORET then skynet.retpack(answer) end
    end)
end)

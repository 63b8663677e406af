--- Services that are started again when they end: `require("skein.supervisor").start { … }`.
---
--- The supervisor is an object of the service that starts it. It keeps a request open at each child, which fails when the child
--- ends, however it ends: by `skynet.exit`, by a kill, by an error in its main chunk. (An error in a handler ends no service.)
local skynet = require "skynet"
local core = require "skynet.core"
local skein = require "skein"
require "skynet.manager"

---@class skein.Child
---@field name string  unique in its supervisor
---@field start async fun(): integer  starts the service, and returns its handle
---@field restart "permanent"|"temporary"|nil  whether it is started again when it ends; it is, by default
---@field shutdown integer?  ticks its stop hooks may take before it is killed, 500 by default

---@class skein.SupervisorOptions
---@field children skein.Child[]  in the order in which they are started
---@field strategy "one_for_one"|"one_for_all"|"rest_for_one"|nil  who is started anew with a child that ended: only itself by default
---@field max_restarts integer?  so many restarts, 3 by default,
---@field window integer?  within so many ticks, 500 by default; one more, and the supervisor gives up
---@field escalate async fun(supervisor: skein.Supervisor, name: string)?  what then happens; by default this service exits

---@class skein.Supervisor
---@field private children skein.Child[]
---@field private handles table<string, integer>  of the children that run
---@field private lives table<string, integer>  how often each was started
---@field private history integer[]  when there were restarts
---@field private ended string[]  children whose end is not dealt with
---@field private working boolean?
---@field private stopped boolean?
---@field private strategy string
---@field private max_restarts integer
---@field private window integer
---@field private escalate async fun(supervisor: skein.Supervisor, name: string)
local Supervisor = {}
Supervisor.__index = Supervisor

local STRATEGIES <const> = { one_for_one = true, one_for_all = true, rest_for_one = true }
local RESTARTS <const> = { permanent = true, temporary = true }

--- Starts a child and watches it.
---@async
---@private
function Supervisor:launch(child)
    local handle = child.start()
    assert(math.type(handle) == "integer", "the start function of a child returns its handle")
    local life = (self.lives[child.name] or 0) + 1
    self.handles[child.name], self.lives[child.name] = handle, life
    skynet.fork(function()
        -- Never answered: it fails when the child ends.
        pcall(skynet.call, handle, "debug", "LINK")
        -- A service that exits says so while its address and its names are still its own: this ends when they are free.
        pcall(skynet.call, handle, "debug", "PING")
        if self.handles[child.name] ~= handle or self.lives[child.name] ~= life then return end
        self.handles[child.name] = nil
        if not self.stopped then self:child_ended(child.name) end
    end)
end

--- Ends a child that runs: by its stop hooks, if it has any, and by force.
---@async
---@private
function Supervisor:halt(child)
    local handle = self.handles[child.name]
    if not handle then return end
    self.handles[child.name] = nil
    pcall(skein.call_timeout, child.shutdown or 500, handle, "debug", "STOP")
    skynet.kill(handle)
end

--- Counts a restart. `false`: there were too many of late.
---@private
function Supervisor:may_restart()
    local now, history = skynet.now(), self.history
    while history[1] and now - history[1] >= self.window do
        table.remove(history, 1)
    end
    table.insert(history, now)
    return #history <= self.max_restarts
end

--- The children that are started anew when the one at `place` has ended: from which place to which.
---@private
function Supervisor:concerned(place)
    if self.strategy == "one_for_one" then return place, place end
    return self.strategy == "rest_for_one" and place or 1, #self.children
end

---@private
function Supervisor:place_of(name)
    for place, child in ipairs(self.children) do
        if child.name == name then return place end
    end
    error("no child " .. tostring(name), 3)
end

--- Puts things in order after the end of a child. `false`: the supervisor gave up.
---@async
---@private
function Supervisor:restart(name)
    local place = self:place_of(name)
    if self.children[place].restart == "temporary" then return true end
    if not self:may_restart() then return false end
    local first, last = self:concerned(place)
    for at = last, first, -1 do
        self:halt(self.children[at])
    end
    for at = first, last do
        local child = self.children[at]
        if self.stopped then return false end
        if child.restart ~= "temporary" or at == place then
            core.error(string.format("supervisor: starts %s again", child.name))
            local ok, err = pcall(self.launch, self, child)
            while not ok do
                core.error(string.format("supervisor: %s: %s", child.name, err))
                if self.stopped or not self:may_restart() then return false end
                ok, err = pcall(self.launch, self, child)
            end
        end
    end
    return true
end

--- A child has ended. Ends are dealt with one after the other.
---@async
---@private
function Supervisor:child_ended(name)
    table.insert(self.ended, name)
    if self.working then return end
    self.working = true
    while not self.stopped and #self.ended > 0 do
        local next = table.remove(self.ended, 1)
        -- It may have been started anew with another one.
        if not self.handles[next] and not self:restart(next) and not self.stopped then
            core.error(string.format("supervisor: gives up, more than %d restarts", self.max_restarts))
            self:stop()
            self.escalate(self, next)
        end
    end
    self.working = nil
end

--- The handle of a child, while it runs.
---@param name string
---@return integer?
function Supervisor:child(name)
    self:place_of(name)
    return self.handles[name]
end

--- How often a child was started again.
---@param name string
---@return integer
function Supervisor:restarts(name)
    self:place_of(name)
    return (self.lives[name] or 1) - 1
end

--- Ends all children, the last one first, and watches no more.
---@async
function Supervisor:stop()
    self.stopped = true
    for place = #self.children, 1, -1 do
        self:halt(self.children[place])
    end
end

local function check(options)
    assert(type(options) == "table" and type(options.children) == "table", "a supervisor needs children")
    assert(STRATEGIES[options.strategy or "one_for_one"], "no such strategy")
    local names = {}
    for _, child in ipairs(options.children) do
        assert(type(child.name) == "string" and type(child.start) == "function", "a child has a name and a start function")
        assert(not names[child.name], "two children have the same name")
        assert(RESTARTS[child.restart or "permanent"], "a child is permanent or temporary")
        names[child.name] = true
    end
end

local supervisor = {}

--- Starts the children in their order, and sees to it that they stay. Raises what the start of one raises, when those before it have
--- been ended.
---@async
---@param options skein.SupervisorOptions
---@return skein.Supervisor
function supervisor.start(options)
    check(options)
    local self = setmetatable({
        children = table.move(options.children, 1, #options.children, 1, {}),
        handles = {},
        lives = {},
        history = {},
        ended = {},
        strategy = options.strategy or "one_for_one",
        max_restarts = options.max_restarts or 3,
        window = options.window or 500,
        escalate = options.escalate or function() skynet.exit() end,
    }, Supervisor)
    for _, child in ipairs(self.children) do
        local ok, err = pcall(self.launch, self, child)
        if not ok then
            self:stop()
            error(err, 0)
        end
    end
    return self
end

return supervisor

--- Critical sections: `local cs = queue()`, then `cs(f, ...)` runs `f(...)` while no other task is inside.
---
--- Tasks enter in the order they came; a task that is inside may enter again. The section is left in every way `f` can end, also when
--- the task is killed. A waiter that is killed loses its place.
local skynet = require "skynet"

local coroutine_running = coroutine.running
local traceback = debug.traceback
local xpcall = xpcall
local error = error

---@class skynet.queue.Section
---@field owner thread?
---@field depth integer  how often the owner entered
---@field line table[]  places of those who wait
---@field first integer
---@field last integer
local Section = {}
Section.__index = Section

--- Lets the next waiter in. One that was killed does not wake up.
function Section:pass_on()
    while self.first <= self.last do
        local place = self.line[self.first]
        self.line[self.first] = nil
        self.first = self.first + 1
        if skynet.wakeup(place) then
            self.owner = place.task
            self.depth = 1
            place.granted = true
            return
        end
    end
    self.first, self.last = 1, 0
    self.owner = nil
end

function Section:__close()
    self.depth = self.depth - 1
    if self.depth == 0 then self:pass_on() end
end

local Place = {}

--- A waiter that was let in and killed before it could run.
function Place:__close()
    if self.granted and not self.entered then self.section:__close() end
end

---@async
function Section:wait(task)
    local place <close> = setmetatable({ section = self, task = task }, Place)
    self.last = self.last + 1
    self.line[self.last] = place
    skynet.wait(place)
    place.entered = true
end

local function finish(ok, ...)
    if ok then return ... end
    error((...), 0)
end

local function explain(err)
    if type(err) == "string" then return traceback(err, 2) end
    return err
end

---@async
local function enter(section, f, ...)
    local task = coroutine_running()
    if section.owner == nil then
        section.owner = task
        section.depth = 1
    elseif section.owner == task then
        section.depth = section.depth + 1
    else
        section:wait(task) -- whoever leaves makes us the owner
    end
    local _ <close> = section
    return finish(xpcall(f, explain, ...))
end

--- A new critical section.
---@return async fun(f: async fun(...), ...): ...
function skynet.queue()
    ---@type skynet.queue.Section
    local section = setmetatable({ depth = 0, line = {}, first = 1, last = 0 }, Section)
    return function(f, ...) return enter(section, f, ...) end
end

return skynet.queue

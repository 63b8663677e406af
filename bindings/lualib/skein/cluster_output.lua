--- What one connection of a cluster has to send, and in which order.
---
--- A *source* sends units, each a frame or a large message: a first frame and its parts. What one source sends goes out in its order. A
--- small unit goes at once, in front of all parts, unless its source has something large in front of it. Parts of several sources take
--- turns, and so many of them lie in the socket at a time that it says when they are gone; the rest waits here.
local driver = require "skynet.socketdriver"
local native = require "skein.cluster"

local queued = native.queued

--- From so many bytes in the socket on nothing is added: its warning has been sent, so the word that all is gone will come.
local LIMIT <const> = 1 << 20

---@class skein.cluster.Unit
---@field frame string
---@field parts string[]?
---@field next integer  the first part that was not sent; the frame is sent when `begun`
---@field begun boolean?
---@field cancelled boolean?  nothing of it is to be sent, unless it was begun

---@class skein.cluster.Lane
---@field source any
---@field [integer] skein.cluster.Unit
---@field first integer
---@field last integer

---@class skein.cluster.Output
---@field fd integer
---@field lanes table<any, skein.cluster.Lane>  sources whose units must not pass what is in the socket
---@field ring skein.cluster.Lane[]  those with units, in the order of their turns
---@field first integer
---@field last integer
---@field refused boolean?  the socket did not take something: what follows makes no sense any more
local Output = {}
Output.__index = Output

---@param fd integer
---@return skein.cluster.Output
local function new(fd) return setmetatable({ fd = fd, lanes = {}, ring = {}, first = 1, last = 0 }, Output) end

--- Puts a lane behind those whose turn comes first.
local function enter(self, lane)
    self.last = self.last + 1
    self.ring[self.last] = lane
end

--- Takes out what a lane has next: a frame or a part. False: the lane is empty.
---@return string|false
local function take(lane)
    while lane.first <= lane.last do
        local unit = lane[lane.first]
        local data
        if not unit.begun then
            if not unit.cancelled then
                unit.begun = true
                data = unit.frame
            end
        else
            data = unit.parts[unit.next]
            unit.next = unit.next + 1
        end
        if unit.cancelled and not unit.begun or not unit.parts or unit.next > #unit.parts then
            lane[lane.first] = nil
            lane.first = lane.first + 1
        end
        if data then return data end
    end
    return false
end

--- Sends parts in turns until the socket has enough, or nothing is left.
function Output:pump()
    local ring, fd = self.ring, self.fd
    while self.first <= self.last do
        if (queued(fd) or 0) >= LIMIT then return end
        local lane = ring[self.first]
        ring[self.first] = nil
        self.first = self.first + 1
        local data = take(lane)
        if data then
            if not driver.lsend(fd, data) then self.refused = true end
            if lane.first <= lane.last then enter(self, lane) end
        end
    end
    if next(self.lanes) and queued(fd) == 0 then self.lanes = {} end
end

--- Sends a unit, now or later. `source` nil: its order does not matter.
---@param source any
---@param frame string
---@param parts string[]?
---@param from integer?  index of the first part
---@return skein.cluster.Unit?  if it may still be cancelled
function Output:send(source, frame, parts, from)
    local lane = self.lanes[source]
    if not parts then
        if lane and lane.first > lane.last and queued(self.fd) == 0 then
            -- What it must not pass is gone.
            self.lanes[source] = nil
            lane = nil
        end
        if not lane then
            if not driver.send(self.fd, frame) then self.refused = true end
            return nil
        end
    end
    if not lane then
        lane = { first = 1, last = 0 }
        if source ~= nil then self.lanes[source] = lane end
    end
    local unit = { frame = frame, parts = parts, next = from or 1 }
    lane.last = lane.last + 1
    lane[lane.last] = unit
    if lane.first == lane.last then enter(self, lane) end
    self:pump()
    if not unit.begun then return unit end
end

return new

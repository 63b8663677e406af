--- Several requests at once, answers as they come: `for req, resp in skynet.request{…}{…}:select(timeout) do … end`.
---
--- Each request has a task set aside that takes its answer; it runs only to put the answer in line and to wake the iterator.
--- Closing the set gives up on the answers, and on the timer, that are still to come.
local dispatch = require "skein.dispatch"

--- One request on its way.
---@class skein.Pending
---@field set skein.RequestSet
---@field req table
---@field session integer

---@class skein.RequestSet
---@field timeout boolean?  true when the timer ended the iteration
---@field private pending table<integer, table>?  session → request; nil before `select`
---@field private outstanding integer
---@field private unsent table[]
---@field private arrived table[]  requests and answers, in order of arrival
---@field private first integer
---@field private last integer
---@field private timer integer?  session
---@field private expired boolean?
local RequestSet = {}
RequestSet.__index = RequestSet

--- The values of a response, or why there are none.
---@return table?
---@return any failure
local function packed(ok, ...)
    if ok then return table.pack(...) end
    return nil, (...)
end

--- The answer to a request is here, or is known never to come.
---@param set skein.RequestSet
---@param pending skein.Pending
---@param ok boolean
---@param msg lightuserdata?
---@param sz integer?
local function arrived(set, pending, ok, msg, sz)
    set.pending[pending.session] = nil
    set.outstanding = set.outstanding - 1
    local resp, failure = false, nil
    if ok then
        local values
        values, failure = packed(pcall(dispatch.proto()[pending.req[2]].unpack, msg, sz))
        resp = values or false
    end
    set.last = set.last + 1
    set.arrived[set.last] = { pending.req, resp }
    dispatch.wakeup(set)
    if failure then error(failure, 0) end
end

--- Adds a request: `{ address, typename, arguments…, n = index of the last argument }`. Other fields are the caller's own.
---@param req table
---@return skein.RequestSet self
function RequestSet:add(req)
    assert(type(req) == "table")
    assert(not self.pending)
    self[#self + 1] = req
    return self
end
RequestSet.__call = RequestSet.add

---@private
function RequestSet:send(req)
    local pending = { req = req }
    local session = dispatch.ask(function(...)
        arrived(self, pending, ...)
    end, req[1], req[2], table.unpack(req, 3, req.n))
    if not session then
        table.insert(self.unsent, req)
        return
    end
    pending.session = session
    self.pending[session] = pending
    self.outstanding = self.outstanding + 1
end

---@private
function RequestSet:start_timer(timeout)
    self.expired = false
    local _
    _, self.timer = dispatch.arm(timeout, function()
        self.timer = nil
        self.expired = true
        dispatch.wakeup(self)
    end)
end

--- Next request and its answer; nothing when all are through, or the time is over.
---@async
---@private
function RequestSet:next()
    local req = table.remove(self.unsent)
    if req then return req, nil end
    while true do
        if self.first <= self.last then
            local answer = self.arrived[self.first]
            self.arrived[self.first] = nil
            self.first = self.first + 1
            return answer[1], answer[2]
        elseif self.outstanding == 0 then
            return nil
        elseif self.expired then
            self.timeout = true
            return nil
        end
        dispatch.wait(self)
    end
end

--- Sends all requests, and returns what a generic `for` wants.
---@param timeout integer?  in hundredths of a second; none: wait for all
---@return async fun(): table?, table|false|nil iterator
---@return nil
---@return nil
---@return skein.RequestSet set
function RequestSet:select(timeout)
    assert(not self.pending)
    self.pending = {}
    for _, req in ipairs(self) do
        self:send(req)
    end
    if timeout then self:start_timer(timeout) end
    return function()
        return self:next()
    end, nil, nil, self
end

--- Gives up on what has not come.
function RequestSet:close()
    for session in pairs(self.pending or {}) do
        dispatch.give_up(session)
    end
    self.pending = {}
    self.outstanding = 0
    if self.timer then
        dispatch.give_up(self.timer)
        self.timer = nil
    end
end
RequestSet.__close = RequestSet.close

--- A set of requests, with `req` as its first.
---@param req table?
---@return skein.RequestSet
return function(req)
    local set = setmetatable({ outstanding = 0, unsent = {}, arrived = {}, first = 1, last = 0 }, RequestSet)
    if req then set:add(req) end
    return set
end

--- Large requests of one connection while they come, part by part, and how much they may hold together.
---
--- The other side says how large a request will be, and may begin many at a time. What is kept for all of them is bounded by
--- `cluster_inbound_limit`: a request that finds no room is refused, and its parts are thrown away as they come; when there is no room to
--- remember even that, the connection has to go.
local skynet = require "skynet"
local native = require "skein.cluster"

--- Room for so many bytes is made at once; beyond that as bytes come.
local AT_ONCE <const> = 1 << 20
--- What a request costs that is only remembered.
local OVERHEAD <const> = 256

---@class skein.cluster.Request
---@field address integer|string|nil  nil: it was not announced
---@field push boolean?
---@field tag string?
---@field private message skein.cluster.Assembly?  nil: it is refused
---@field private came integer?
---@field private held integer?

---@class skein.cluster.Inbound
---@field limit integer
---@field held integer
---@field private requests table<integer, skein.cluster.Request>
local Inbound = {}
Inbound.__index = Inbound

---@private
function Inbound:hold(request, bytes)
    if self.held + bytes > self.limit then return false end
    self.held = self.held + bytes
    request.held = request.held + bytes
    return true
end

---@private
function Inbound:forget(session)
    local request = self.requests[session]
    if request then
        self.requests[session] = nil
        self.held = self.held - request.held
    end
    return request
end

--- A request of `size` bytes begins; it takes the place of another one of its session. False: it is refused; nil: the connection has
--- to go.
---@param session integer
---@param request skein.cluster.Request
---@param size integer
---@return boolean?
function Inbound:begin(session, request, size)
    self:forget(session)
    request.held, request.came = 0, 0
    if not self:hold(request, OVERHEAD) then return nil end
    self.requests[session] = request
    if not self:hold(request, math.min(size, AT_ONCE)) then return false end
    request.message = native.assembly(size)
    return true
end

--- A part comes, which is taken. With the last one: the request; its message and size, if it is whole; else why not. Without: a request
--- that is refused now, or false when the connection has to go.
---@param session integer
---@param message lightuserdata
---@param size integer
---@param more boolean
---@return skein.cluster.Request|false|nil request
---@return lightuserdata|nil message
---@return integer|string|nil size_or_why
function Inbound:part(session, message, size, more)
    local request = self.requests[session]
    if not request then
        if not more then
            skynet.trash(message, size)
            return {}, nil, "Invalid name"
        end
        -- It was not announced, and will not be whole.
        request = {}
        if not self:begin(session, request, 0) then
            skynet.trash(message, size)
            return false
        end
    end
    local refused
    if request.message then
        request.came = request.came + size
        local beyond = request.came - math.max(AT_ONCE, request.came - size)
        if beyond > 0 and not self:hold(request, beyond) then
            request.message, refused = nil, request
            self.held = self.held - request.held + OVERHEAD
            request.held = OVERHEAD
        end
    end
    if not request.message then
        skynet.trash(message, size)
    elseif size > 0 then
        native.add(request.message, message, size)
    end
    if more then return refused end
    self:forget(session)
    if not request.message then return refused end
    local whole, length = native.finish(request.message)
    if not whole then return request, nil, "Invalid large req" end
    return request, whole, length
end

--- What a connection holds.
---@return skein.cluster.Inbound
return function()
    -- The node has checked it, and put it into bytes.
    local limit = math.tointeger(skynet.getenv "cluster_inbound_limit")
    return setmetatable({ limit = limit, held = 0, requests = {} }, Inbound)
end

--- Messages handled one at a time, in the order they came. Kept for old programs; `skynet.queue` does the same for any handler.
local skynet = require "skynet"

local mqueue = {}

---@class skynet.mqueue.Item
---@field reply function?  nil for a send
---@field source integer
---@field args table  packed

---@type skynet.mqueue.Item[]
local items, first, last = {}, 1, 0

---@type (async fun(...): ...)?
local handler
local idle = false

--- Wakes the loop.
local TOKEN <const> = {}

local function push(item)
    last = last + 1
    items[last] = item
    if idle then
        idle = false
        skynet.wakeup(TOKEN)
    end
end

---@async
local function pop()
    while first > last do
        first, last = 1, 0
        idle = true
        skynet.wait(TOKEN)
    end
    local item = items[first]
    items[first] = nil
    first = first + 1
    return item
end

--- A send has nobody to tell.
local function complain(item, text)
    error(string.format("[:%x] send a message to [:%x] %s", item.source, skynet.self(), text))
end

local function answer(item, ok, ...)
    if item.reply then
        item.reply(true, ok, ...)
    elseif not ok then
        complain(item, "throw an error : " .. tostring((...)))
    elseif select("#", ...) > 0 then
        complain(item, "return something")
    end
end

---@async
local function loop()
    -- Whatever ends this task, the next one goes on.
    local _ <close> = setmetatable({}, {
        __close = function() skynet.fork(loop) end,
    })
    while true do
        local item = pop()
        answer(item, pcall(handler, table.unpack(item.args, 1, item.args.n)))
    end
end

skynet.register_protocol {
    name = "queue",
    id = skynet.PTYPE_QUEUE,
    pack = skynet.pack,
    unpack = skynet.unpack,
    dispatch = function(session, source, ...)
        push { reply = session ~= 0 and skynet.response() or nil, source = source, args = table.pack(...) }
    end,
}

--- The function that handles the messages. Once.
---@param f async fun(...): ...
function mqueue.register(f)
    assert(handler == nil)
    handler = f
    skynet.fork(loop)
end

local function results(ok, ...)
    if ok then return ... end
    error((...), 0)
end

--- What the handler of `address` returns, or raises.
---@async
---@param address integer|string
---@param ... any
---@return any ...
function mqueue.call(address, ...) return results(skynet.call(address, "queue", ...)) end

---@param address integer|string
---@param ... any
---@return integer|false?  as `skynet.send`
function mqueue.send(address, ...) return skynet.send(address, "queue", ...) end

--- How many messages wait.
---@return integer
function mqueue.size() return last - first + 1 end

return mqueue

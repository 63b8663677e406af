--- A client of Redis: one connection that many tasks share, requests of theirs on the way at the same time, replies in order.
---
--- Every command of Redis is a method, whatever its name. An error of the server's is raised with its text; a connection that failed is
--- `socketchannel.error`, and the next command makes a new one.
---
--- Replies are read from what has come, as much as there is, and taken apart in native code (`skein.resp`).
local resp = require "skein.resp"
local socketchannel = require "skynet.socketchannel"

local redis = {}

--- Arrays in arrays; a reply that has more is no reply.
local DEEPEST <const> = 100
--- What is missing of a string is waited for in one piece from this size on.
local LARGE <const> = 16 * 1024

------------------------------------------------------------------------------------------------------------------------- replies

---@class skein.redis.Input
---@field text string  what came and is not taken yet
---@field at integer   where the next reply begins in it

--- Waits for more bytes, at least one; raises if there are none to come.
---@async
local function more(sock, input, missing)
    local rest = input.text
    local at = input.at
    if at > 1 then rest = rest:sub(at) end
    local data = missing >= LARGE and sock:read(missing) or sock:read()
    input.text = rest == "" and data or rest .. data
    input.at = 1
end

--- Reads the replies that follow, as elements `index` to `last` of `values`; `both`: each as `{ ok =, out = }`. Whether none of them is
--- an error.
---@async
local function read_each(sock, input, values, index, last, depth, both)
    if depth > DEEPEST then error "a reply of Redis has too many arrays in arrays" end
    local fine = true
    while index <= last do
        local at, no_error, nested, amount
        at, index, no_error, nested, amount = resp.fill(input.text, input.at, values, index, last, both)
        input.at = at
        fine = fine and no_error
        if nested then
            local array = {}
            no_error = read_each(sock, input, array, 1, amount, depth + 1)
            fine = fine and no_error
            values[index] = both and { ok = no_error, out = array } or array
            index = index + 1
        elseif index <= last then
            more(sock, input, amount)
        end
    end
    return fine
end

--- What came on a connection and is not taken yet.
---@return skein.redis.Input
local function input_of(sock)
    local input = sock.input
    if not input then
        input = { text = "", at = 1 }
        sock.input = input
    end
    return input
end

--- What was taken is not kept until the next reply.
local function forget(input)
    if input.at > #input.text then
        input.text, input.at = "", 1
    end
end

--- The next reply of a connection, as a channel wants it: whether it is no error, and its value.
---@async
---@return boolean ok
---@return any value
local function read_reply(sock)
    local input = input_of(sock)
    local at, fine, value = resp.read(input.text, input.at)
    while not at do
        more(sock, input, fine)
        at, fine, value = resp.read(input.text, input.at)
    end
    input.at = at
    if fine == nil then
        local array = {}
        fine, value = read_each(sock, input, array, 1, value, 1), array
    end
    forget(input)
    return fine, value
end

local function read_boolean(sock)
    local ok, value = read_reply(sock)
    if not ok then return ok, value end
    return true, value ~= 0
end

--------------------------------------------------------------------------------------------------------------------- connections

---@class skynet.redis.Options
---@field host string
---@field port integer?      6379
---@field auth string?       the password
---@field username string?   of the password; Redis' default user without
---@field db integer?        the number of the database
---@field overload fun(is: boolean)?  called when much waits to be sent, and when nothing does any more

--- What a new connection says before others may use it, if there is anything.
local function login(options, also)
    if not (options.auth or options.db or also) then return nil end
    return function(channel)
        if options.auth then
            local request = options.username and resp.command("AUTH", options.username, options.auth)
                or resp.command("AUTH", options.auth)
            channel:request(request, read_reply)
        end
        if options.db then channel:request(resp.command("SELECT", options.db), read_reply) end
        if also then also(channel) end
    end
end

---@async
local function open(options, also)
    local channel = socketchannel.channel {
        host = options.host,
        port = options.port or 6379,
        auth = login(options, also),
        nodelay = true,
        overload = options.overload,
    }
    channel:connect(true)
    return channel
end

--- Closes an object's channel for good.
local function close(self, channel)
    channel:close()
    setmetatable(self, nil)
end

------------------------------------------------------------------------------------------------------------------------ commands

--- Every command is a method: `db:get(key)`, `db:zadd(key, score, member)`, `db:mset { "a", 1, "b", 2 }`.
---@class skynet.redis.Client
---@field [1] skynet.socketchannel.Channel
---@field [string] async fun(self: skynet.redis.Client, ...: any): any
local command = setmetatable({}, {
    __index = function(methods, name)
        local word = name:upper()
        local function run(self, ...) return self[1]:request(resp.command(word, ...), read_reply) end
        methods[name] = run
        return run
    end,
})

local client = { __index = command, __gc = function(self) self[1]:close() end }

--- Ends the connection; the object is of no use afterwards.
function command:disconnect() close(self, self[1]) end

--- Whether a key, or one of several, exists.
---@async
---@param ... any
---@return boolean
function command:exists(...) return self[1]:request(resp.command("EXISTS", ...), read_boolean) end

--- Whether a set has a member.
---@async
---@param ... any
---@return boolean
function command:sismember(...) return self[1]:request(resp.command("SISMEMBER", ...), read_boolean) end

--- Sends commands at once, each an array of its name and its arguments. The last one's reply, which raises if it is an error; with a
--- table, what came of each is appended to it, as `{ ok =, out = }`, and nothing raises.
---@async
---@param ops any[][]
---@param replies table?
---@return any
function command:pipeline(ops, replies)
    assert(ops and #ops > 0, "pipeline is null")
    local count = #ops
    return self[1]:request(resp.commands(ops), function(sock)
        if replies then
            local input = input_of(sock)
            local before = #replies
            read_each(sock, input, replies, before + 1, before + count, 0, true)
            forget(input)
            return true, replies
        end
        for _ = 2, count do
            read_reply(sock)
        end
        return read_reply(sock)
    end)
end

--- A client. Raises `socketchannel.error` if the server can't be reached, or refuses the password.
---@async
---@param options skynet.redis.Options
---@return skynet.redis.Client
function redis.connect(options) return setmetatable({ open(options) }, client) end

------------------------------------------------------------------------------------------------------------------- subscriptions

---@class skynet.redis.Watch
---@field private __sock skynet.socketchannel.Channel
---@field private __subscribe table<string, true>   channels
---@field private __psubscribe table<string, true>  patterns
---@field subscribe fun(self, ...: string)
---@field psubscribe fun(self, ...: string)
---@field unsubscribe fun(self, ...: string)
---@field punsubscribe fun(self, ...: string)
local watch = {}
local watcher = { __index = watch, __gc = function(self) self.__sock:close() end }

--- A method that asks for messages, or no longer does. The answers come between the messages.
local function subscription(word, list, wanted)
    return function(self, ...)
        local names = self[list]
        local is_all = not wanted and select("#", ...) == 0
        for _, name in ipairs(is_all and {} or { ... }) do
            names[tostring(name)] = wanted
            self.__sock:request(resp.command(word, name))
        end
        if is_all then
            self[list] = {}
            self.__sock:request(resp.command(word))
        end
    end
end

watch.subscribe = subscription("SUBSCRIBE", "__subscribe", true)
watch.psubscribe = subscription("PSUBSCRIBE", "__psubscribe", true)
watch.unsubscribe = subscription("UNSUBSCRIBE", "__subscribe", nil)
watch.punsubscribe = subscription("PUNSUBSCRIBE", "__psubscribe", nil)

--- Ends the connection; the object is of no use afterwards.
function watch:disconnect() close(self, self.__sock) end

--- Waits for the next message: its text, its channel, and the pattern if it came by one. Raises `socketchannel.error` when the
--- connection is lost; the next call makes a new one, with the same subscriptions.
---@async
---@return string data
---@return string channel
---@return string? pattern
function watch:message()
    while true do
        local reply = self.__sock:response(read_reply)
        local kind = reply[1]
        if kind == "message" then
            return reply[3], reply[2]
        elseif kind == "pmessage" then
            return reply[4], reply[3], reply[2]
        end
    end
end

--- A connection for messages that others publish.
---@async
---@param options skynet.redis.Options
---@return skynet.redis.Watch
function redis.watch(options)
    local self = { __subscribe = {}, __psubscribe = {} }
    self.__sock = open(options, function(channel)
        for name in pairs(self.__subscribe) do
            channel:request(resp.command("SUBSCRIBE", name))
        end
        for pattern in pairs(self.__psubscribe) do
            channel:request(resp.command("PSUBSCRIBE", pattern))
        end
    end)
    return setmetatable(self, watcher)
end

return redis

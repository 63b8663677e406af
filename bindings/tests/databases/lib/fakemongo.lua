--- A server that speaks OP_MSG and knows just enough of MongoDB's commands to test a client with: documents in memory that are found
--- by equal fields. Written from MongoDB's public protocol and command reference.
---
--- What it was told stands in `log`, a line for each command with its fields in the order they came.
local skynet = require "skynet"
local bson = require "bson"
local crypt = require "skynet.crypt"
local socket = require "skynet.socket"

---@class FakeMongo
---@field port integer
---@field log string[]      commands, but those of a connection's beginning
---@field began string[]    those
---@field answers table<string, fun(server, command: table, order: string): table?>  instead of the usual ones
---@field password string?  of the user `user`, by SCRAM-SHA-1
---@field primary string?   who the server says the primary is, if it is another one
local fake = {}
fake.__index = fake

---------------------------------------------------------------------------------------------------------- documents as texts

local show

local function show_value(bytes, kind, at)
    if kind == 1 then
        local value, behind = string.unpack("<d", bytes, at)
        return tostring(value), behind
    elseif kind == 2 then
        local value, behind = string.unpack("<s4", bytes, at)
        return string.format("%q", value:sub(1, -2)), behind
    elseif kind == 3 or kind == 4 then
        return show(bytes, at, kind == 4)
    elseif kind == 5 then
        local size = string.unpack("<I4", bytes, at)
        return "binary:" .. size, at + 5 + size
    elseif kind == 7 then
        return "id", at + 12
    elseif kind == 8 then
        return tostring(bytes:byte(at) == 1), at + 1
    elseif kind == 9 then
        return "date", at + 8
    elseif kind == 10 then
        return "null", at
    elseif kind == 16 then
        local value, behind = string.unpack("<i4", bytes, at)
        return tostring(value), behind
    elseif kind == 18 then
        local value, behind = string.unpack("<i8", bytes, at)
        return value .. "L", behind
    end
    error("type " .. kind)
end

--- A document with its fields in their order.
show = function(bytes, at, is_array)
    local size = string.unpack("<i4", bytes, at)
    local behind = at + size
    local parts = {}
    at = at + 4
    while at < behind - 1 do
        local kind, name, text
        kind, name, at = string.unpack("<Bz", bytes, at)
        text, at = show_value(bytes, kind, at)
        parts[#parts + 1] = is_array and text or name .. "=" .. text
    end
    return (is_array and "[" or "{") .. table.concat(parts, " ") .. (is_array and "]" or "}"), behind
end

----------------------------------------------------------------------------------------------------------------- what is kept

local function matches(document, query)
    for key, value in pairs(query or {}) do
        local its = document[key]
        if type(value) == "table" then
            if value["$gt"] and not (its and its > value["$gt"]) then return false end
        elseif its ~= value then
            return false
        end
    end
    return true
end

function fake:collection(command, name)
    local key = command["$db"] .. "." .. name
    self.data[key] = self.data[key] or {}
    return self.data[key], key
end

local function change(document, update)
    if update["$set"] or update["$inc"] then
        for key, value in pairs(update["$set"] or {}) do
            document[key] = value
        end
        for key, value in pairs(update["$inc"] or {}) do
            document[key] = (document[key] or 0) + value
        end
    else
        for key in pairs(document) do
            if key ~= "_id" then document[key] = nil end
        end
        for key, value in pairs(update) do
            document[key] = value
        end
    end
end

local commands = {}

function commands.insert(self, command)
    local list = self:collection(command, command.insert)
    local errors = {}
    local count = 0
    for index, document in ipairs(command.documents) do
        local double
        for _, it in ipairs(list) do
            double = double or it._id == document._id
        end
        if double then
            errors[#errors + 1] = { index = index - 1, code = 11000, errmsg = "E11000 duplicate key error" }
        else
            list[#list + 1] = document
            count = count + 1
        end
    end
    return { ok = 1, n = count, writeErrors = errors[1] and errors }
end

function commands.update(self, command)
    local list = self:collection(command, command.update)
    local count = 0
    for _, it in ipairs(command.updates) do
        local found
        for _, document in ipairs(list) do
            if matches(document, it.q) and not (found and not it.multi) then
                change(document, it.u)
                found = true
                count = count + 1
            end
        end
        if not found and it.upsert then
            local document = { _id = bson.objectid() }
            for key, value in pairs(it.q) do
                document[key] = value
            end
            change(document, it.u)
            list[#list + 1] = document
            count = count + 1
        end
    end
    return { ok = 1, n = count, nModified = count }
end

function commands.delete(self, command)
    local list = self:collection(command, command.delete)
    local count = 0
    for _, it in ipairs(command.deletes) do
        local at = 1
        while list[at] do
            if matches(list[at], it.q) then
                table.remove(list, at)
                count = count + 1
                if it.limit == 1 then break end
            else
                at = at + 1
            end
        end
    end
    return { ok = 1, n = count }
end

--- A first batch, and a cursor for the rest.
local function cursor(self, list, namespace, size)
    local batch = table.move(list, 1, math.min(size, #list), 1, {})
    local id = 0
    if #list > size then
        self.cursor = (self.cursor or 100) + 1
        id = self.cursor
        self.cursors[id] = { list = list, at = size, namespace = namespace }
    end
    return { ok = 1, cursor = { firstBatch = batch, id = bson.int64(id), ns = namespace } }
end

--- `order` is the command as a text, where the first of several keys to sort by can be seen.
local function found(_, command, list, order)
    local all = {}
    for _, document in ipairs(list) do
        if matches(document, command.filter or command.query) then all[#all + 1] = document end
    end
    local sort = type(command.sort) == "table" and command.sort or {}
    local key = order and order:match " sort={([%w_]+)=" or next(sort)
    local direction = sort[key]
    if key then
        table.sort(all, function(a, b)
            if direction == -1 then a, b = b, a end
            return a[key] < b[key]
        end)
    end
    all = table.move(all, 1 + (command.skip or 0), #all, 1, {})
    local limit = command.limit and command.limit ~= 0 and command.limit or #all
    return table.move(all, 1, math.min(limit, #all), 1, {})
end

function commands.find(self, command, order)
    local list, namespace = self:collection(command, command.find)
    local all = found(self, command, list, order)
    return cursor(self, all, namespace, command.singleBatch and #all or command.batchSize or 101)
end

function commands.aggregate(self, command)
    local list, namespace = self:collection(command, command.aggregate)
    local all = list
    for _, stage in ipairs(command.pipeline) do
        if stage["$match"] then
            all = found(self, { filter = stage["$match"] }, all)
        elseif stage["$sort"] then
            all = found(self, { sort = stage["$sort"] }, all)
        elseif stage["$skip"] then
            all = found(self, { skip = stage["$skip"] }, all)
        elseif stage["$limit"] then
            all = found(self, { limit = stage["$limit"] }, all)
        elseif stage["$count"] then
            all = { { [stage["$count"]] = #all } }
        elseif stage["$group"] then
            all = { { n = #all } }
        end
    end
    if not command.cursor then return { ok = 0, code = 9, errmsg = "The 'cursor' option is required" } end
    return cursor(self, all, namespace, command.cursor.batchSize or 101)
end

function commands.getMore(self, command)
    local id = command.getMore
    local it = self.cursors[id]
    if not it then return { ok = 0, code = 43, errmsg = "cursor id " .. id .. " not found" } end
    local size = command.batchSize or 101
    local batch = table.move(it.list, it.at + 1, math.min(it.at + size, #it.list), 1, {})
    it.at = it.at + #batch
    if it.at >= #it.list then
        self.cursors[id] = nil
        id = 0
    end
    return { ok = 1, cursor = { nextBatch = batch, id = bson.int64(id), ns = it.namespace } }
end

function commands.killCursors(self, command)
    for _, id in ipairs(command.cursors) do
        self.cursors[id] = nil
    end
    return { ok = 1, cursorsKilled = command.cursors }
end

function commands.count(self, command)
    local list = self:collection(command, command.count)
    return { ok = 1, n = #found(self, command, list) }
end

function commands.findAndModify(self, command)
    local list = self:collection(command, command.findAndModify)
    for at, document in ipairs(list) do
        if matches(document, command.query) then
            local before = {}
            for key, value in pairs(document) do
                before[key] = value
            end
            if command.remove then
                table.remove(list, at)
            else
                change(document, command.update)
            end
            return { ok = 1, value = command.new and document or before }
        end
    end
    return { ok = 1, value = bson.null }
end

function commands.drop(self, command)
    local _, key = self:collection(command, command.drop)
    self.data[key] = nil
    return { ok = 1 }
end

function commands.ping() return { ok = 1 } end
commands.createIndexes = commands.ping
commands.dropIndexes = commands.ping
commands.endSessions = commands.ping
commands.commitTransaction = commands.ping
commands.logout = commands.ping

function commands.abortTransaction(self)
    self.data = self.before
    return { ok = 1 }
end

function commands.startSession() return { ok = 1, id = { id = bson.binary(("s"):rep(16)) }, timeoutMinutes = 30 } end

function commands.isMaster(self)
    local me = "127.0.0.1:" .. self.port
    return {
        ok = 1,
        ismaster = self.primary == nil,
        secondary = self.primary ~= nil,
        setName = self.hosts and "set",
        hosts = self.hosts,
        primary = self.primary or me,
        me = me,
        maxWireVersion = 17,
    }
end
commands.ismaster, commands.hello = commands.isMaster, commands.isMaster

--------------------------------------------------------------------------------------------------------------------- passwords

local function xor(a, b)
    local out = {}
    for i = 1, #a do
        out[i] = string.char(a:byte(i) ~ b:byte(i))
    end
    return table.concat(out)
end

local SALT <const> = "salt of 16 bytes"
local ROUNDS <const> = 1000

--- PBKDF2 with HMAC-SHA-1 (RFC 2898).
local function salted(password)
    local last = crypt.hmac_sha1(password, SALT .. "\0\0\0\1")
    local sum = last
    for _ = 2, ROUNDS do
        last = crypt.hmac_sha1(password, last)
        sum = xor(sum, last)
    end
    return sum
end

local function payload(bytes) return bson.binary(bytes) end

local function text_of(binary) return (select(2, bson.type(binary))) end

--- RFC 5802, the server's half.
function commands.saslStart(self, command)
    local first = text_of(command.payload)
    local bare = assert(first:match "^n,,(n=user,r=(.+))$")
    local nonce = bare:match "r=(.+)$" .. "of the server"
    local answer = "r=" .. nonce .. ",s=" .. crypt.base64encode(SALT) .. ",i=" .. ROUNDS
    self.sasl = { bare = bare, nonce = nonce, answer = answer }
    return { ok = 1, conversationId = 1, done = false, payload = payload(answer) }
end

function commands.saslContinue(self, command)
    local sasl = self.sasl
    local last = text_of(command.payload)
    if last == "" then return { ok = 1, conversationId = 1, done = true, payload = payload "" } end
    local without, proof = last:match "^(c=biws,r=.+),p=(.+)$"
    assert(without == "c=biws,r=" .. sasl.nonce)
    local key = salted(crypt.hexencode(require("md5").sum("user:mongo:" .. self.password)))
    local client = crypt.hmac_sha1(key, "Client Key")
    local message = sasl.bare .. "," .. sasl.answer .. "," .. without
    if xor(crypt.base64decode(proof), crypt.hmac_sha1(crypt.sha1(client), message)) ~= client then
        return { ok = 0, code = 18, errmsg = "Authentication failed." }
    end
    local signature = crypt.hmac_sha1(crypt.hmac_sha1(key, "Server Key"), message)
    if self.liar then signature = ("x"):rep(20) end
    return { ok = 1, conversationId = 1, done = false, payload = payload("v=" .. crypt.base64encode(signature)) }
end

----------------------------------------------------------------------------------------------------------------------- messages

local BEGINNING <const> = { isMaster = true, ismaster = true, hello = true, saslStart = true, saslContinue = true }

local function copy(value)
    if type(value) ~= "table" then return value end
    local made = {}
    for key, its in pairs(value) do
        made[key] = copy(its)
    end
    return made
end

function fake:answer(command, order, name)
    if command.startTransaction then self.before = copy(self.data) end
    local handler = self.answers[name] or commands[name]
    if not handler then return { ok = 0, code = 59, errmsg = "no such command: '" .. name .. "'" } end
    return handler(self, command, order) or commands[name](self, command, order)
end

function fake:serve(fd)
    socket.start(fd)
    self.connections[fd] = true
    while true do
        local head = socket.read(fd, 16)
        if not head then break end
        local size, id, _, opcode = string.unpack("<i4i4i4i4", head)
        assert(opcode == 2013, opcode)
        local body = socket.read(fd, size - 16)
        if not body then break end
        local flags, section = string.unpack("<I4B", body)
        assert(section == 0)
        local order = show(body, 6)
        local name = order:match "^{([%w_]+)="
        -- The order of the fields is in the text; the values are the library's own to read.
        local document = body:sub(6)
        local reader = require("skynet.mongo.driver").reply
        local _, _, view = reader(string.pack("<i4i4i4I4B", 0, 0, 2013, 0, 0) .. document)
        local command = bson.decode(view)
        table.insert(BEGINNING[name] and self.began or self.log, (flags ~= 0 and flags .. " " or "") .. order)
        if flags & 2 == 0 then
            skynet.fork(function()
                local ran, answer = pcall(self.answer, self, command, order, name)
                if not ran then answer = { ok = 0, code = 8, errmsg = tostring(answer) } end
                if answer then
                    local bytes = tostring(bson.encode(answer))
                    if self.connections[fd] then
                        local message = string.pack("<i4i4i4i4I4B", 21 + #bytes, 1, id, 2013, 0, 0)
                        socket.write(fd, message .. bytes)
                    end
                end
            end)
        else
            self:answer(command, order, name)
        end
    end
    self.connections[fd] = nil
    socket.close(fd)
end

--- Drops all connections.
function fake:drop()
    for fd in pairs(self.connections) do
        self.connections[fd] = nil
        socket.shutdown(fd)
    end
end

--- What it was told since this was asked last.
function fake:told()
    local log = self.log
    self.log = {}
    return table.concat(log, "\n")
end

function fake:stop()
    socket.close(self.listener)
    self:drop()
end

--- A server, listening.
---@return FakeMongo
return function()
    local self = setmetatable({ log = {}, began = {}, answers = {}, data = {}, cursors = {}, connections = {} }, fake)
    if _G.FAKE_PORT then
        self.port = _G.FAKE_PORT
        self.listener = socket.listen("127.0.0.1", self.port)
        _G.FAKE_PORT = self.port + 1
    else
        self.listener, _, self.port = socket.listen("127.0.0.1", 0)
    end
    socket.start(self.listener, function(fd) self:serve(fd) end)
    return self
end

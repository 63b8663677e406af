--- Results of `find` and `aggregate`, fetched in batches as they are read. (MongoDB's commands `find`, `aggregate`, `getMore`,
--- `killCursors` and `count`.)
local bson = require "bson"

local cursors = {}

local function reply_of(reply)
    if reply.ok ~= 1 then error(reply.errmsg or "the command failed", 3) end
    return reply
end

--- A document with the given keys in their order: of `{ k = 1 }, { n = -1 }` both.
local function in_order(first, ...)
    local pairs_of = {}
    for _, part in ipairs { first, ... } do
        for key, value in pairs(part) do
            pairs_of[#pairs_of + 1] = key
            pairs_of[#pairs_of + 1] = value
        end
    end
    return bson.encode_order(table.unpack(pairs_of))
end

cursors.in_order = in_order

--------------------------------------------------------------------------------------------------------------------------- finding

---@class skynet.mongo.Cursor
---@field protected collection skynet.mongo.Collection
---@field protected query table
---@field protected projection table
---@field protected batch table[]?     documents that came
---@field protected at integer         how many of them were taken
---@field protected count_of integer   how many came in all
---@field protected id integer?        the server's, 0 when it has nothing more
---@field protected document table?    what `next` will give
---@field protected options table
local Cursor = {}

--- In which order documents come: by one key, or `{ k = 1 }, { n = -1 }`.
---@param key string|table
---@param ... table
---@return skynet.mongo.Cursor
function Cursor:sort(key, ...)
    if type(key) == "table" then
        self.options.sort = in_order(key, ...)
    else
        self.options.sort = bson.encode_order(key, 1)
    end
    return self
end

--- How many documents are left out before the first.
---@param amount integer
---@return skynet.mongo.Cursor
function Cursor:skip(amount)
    self.options.skip = amount
    return self
end

--- How many documents come at most.
---@param amount integer
---@return skynet.mongo.Cursor
function Cursor:limit(amount)
    self.options.limit = amount
    return self
end

--- Which index is used.
---@param index string|table
---@return skynet.mongo.Cursor
function Cursor:hint(index)
    self.options.hint = index
    return self
end

--- For how long the server may work on it, in milliseconds.
---@param ms integer
---@return skynet.mongo.Cursor
function Cursor:maxTimeMS(ms)
    self.options.maxTimeMS = ms
    return self
end

--- How many documents come at once.
---@param size integer
---@return skynet.mongo.Cursor
function Cursor:batchSize(size)
    self.options.batchSize = size
    return self
end

--- Adds options that are set to a command.
local function with(options, command, ...)
    for _, name in ipairs { ... } do
        local value = options[name]
        if value ~= nil then
            command[#command + 1] = name
            command[#command + 1] = value
        end
    end
    return command
end

--- How many documents there are, without `skip` and `limit` unless they are asked for.
---@async
---@param with_limit_and_skip boolean?
---@return integer
function Cursor:count(with_limit_and_skip)
    local command = { "query", self.query }
    if with_limit_and_skip then with(self.options, command, "skip", "limit") end
    with(self.options, command, "hint", "maxTimeMS")
    local collection = self.collection
    return reply_of(collection.database:runCommand("count", collection.name, table.unpack(command))).n
end

--- Has the server begin.
---@async
function Cursor:begin()
    local options = self.options
    local command = { "filter", self.query, "sort", options.sort or {}, "projection", self.projection }
    with(options, command, "skip", "limit", "hint", "maxTimeMS", "batchSize")
    local collection = self.collection
    return collection.database:runCommand("find", collection.name, table.unpack(command))
end

--- Takes a batch of documents over.
local function take(self, reply, batch)
    local cursor = reply.cursor
    self.batch = cursor[batch] or {}
    self.at = 0
    self.count_of = self.count_of + #self.batch
    self.id = cursor.id
    self.namespace = cursor.ns
end

--- Has the server forget the rest.
local function kill(self)
    local id = self.id
    self.id = 0
    if id and id ~= 0 then
        local collection = self.collection
        collection.database:send_command("killCursors", collection.name, "cursors", { bson.int64(id) })
    end
end

--- Whether there is another document; `next` gives it. Raises what the server says if it refuses.
---@async
---@return boolean
function Cursor:hasNext()
    if self.document ~= nil then return true end
    if not self.id then take(self, reply_of(self:begin()), "firstBatch") end
    local limit = self.options.limit
    while true do
        local document = self.batch[self.at + 1]
        if document ~= nil then
            self.batch[self.at + 1] = nil
            self.at = self.at + 1
            self.document = document
            return true
        end
        if limit and limit > 0 and self.count_of >= limit then kill(self) end
        if self.id == 0 then return false end
        local collection = self.collection
        local command = with(self.options, { "collection", collection.name }, "batchSize")
        local reply = collection.database:runCommand("getMore", bson.int64(self.id), table.unpack(command))
        -- The server has forgotten it in any case.
        if reply.ok ~= 1 then self.id = 0 end
        take(self, reply_of(reply), "nextBatch")
    end
end

--- The document that `hasNext` found.
---@return table
function Cursor:next()
    local document = self.document
    if document == nil then error "Call hasNext first" end
    self.document = nil
    return document
end

--- Ends it; nothing comes any more.
function Cursor:close()
    self.batch, self.at, self.document = {}, 0, nil
    kill(self)
end

local find_meta = { __index = Cursor }

local function new(collection, meta)
    return setmetatable({ collection = collection, at = 0, count_of = 0, options = {} }, meta)
end

---@param collection skynet.mongo.Collection
---@param query table?
---@param projection table?
---@return skynet.mongo.Cursor
function cursors.find(collection, query, projection)
    local self = new(collection, find_meta)
    self.query, self.projection = query or {}, projection or {}
    return self
end

----------------------------------------------------------------------------------------------------------------------- aggregating

---@class skynet.mongo.AggregateCursor: skynet.mongo.Cursor
---@field protected pipeline table[]
---@field protected given table   options of the caller's
local Aggregate = setmetatable({}, { __index = Cursor })

--- The stages of the pipeline, with those that the cursor was asked for.
local function stages(self, bounded)
    local all = table.move(self.pipeline, 1, #self.pipeline, 1, {})
    local options = self.options
    if bounded then
        if options.sort then all[#all + 1] = { ["$sort"] = options.sort } end
        if options.skip then all[#all + 1] = { ["$skip"] = options.skip } end
        if options.limit then all[#all + 1] = { ["$limit"] = options.limit } end
    end
    return all
end

--- Runs the command with options of the caller's and these.
---@async
local function aggregate(self, pipeline)
    local command = { "pipeline", pipeline }
    for name, value in pairs(self.given) do
        if name ~= "cursor" then
            command[#command + 1] = name
            command[#command + 1] = value
        end
    end
    with(self.options, command, "hint", "maxTimeMS")
    command[#command + 1] = "cursor"
    command[#command + 1] = self.given.cursor or { batchSize = self.options.batchSize }
    local collection = self.collection
    return collection.database:runCommand("aggregate", collection.name, table.unpack(command))
end

---@async
function Aggregate:begin() return aggregate(self, stages(self, true)) end

--- How many documents come out, without `skip` and `limit` unless they are asked for.
---@async
---@param with_limit_and_skip boolean?
---@return integer
function Aggregate:count(with_limit_and_skip)
    local pipeline = stages(self, with_limit_and_skip)
    pipeline[#pipeline + 1] = { ["$count"] = "__count" }
    local first = reply_of(aggregate(self, pipeline)).cursor.firstBatch[1]
    return first and first.__count or 0
end

local aggregate_meta = { __index = Aggregate }

---@param collection skynet.mongo.Collection
---@param pipeline table[]
---@param options table?
---@return skynet.mongo.AggregateCursor
function cursors.aggregate(collection, pipeline, options)
    local self = new(collection, aggregate_meta)
    self.pipeline = pipeline
    self.given = options or {}
    local cursor = self.given.cursor
    if cursor and cursor.batchSize then self.options.batchSize = cursor.batchSize end
    return self
end

return cursors

--- A client of MongoDB: one connection to the primary of a replica set, or to a single server, that many tasks share.
---
--- Commands are documents in messages of the kind OP_MSG, and a reply names the request that it answers, so that a slow command holds up
--- nobody else. `client.name` is a database, `db.name` a collection, and a collection's field another one with a dot in its name.
local bson = require "bson"
local cursors = require "skein.mongo.cursor"
local driver = require "skynet.mongo.driver"
local socketchannel = require "skynet.socketchannel"

local mongo = {
    null = bson.null,
    maxkey = bson.maxkey,
    minkey = bson.minkey,
    type = bson.type,
}

--- Says in a message that no reply is wanted.
local MORE_TO_COME <const> = 2
local LARGEST_ID <const> = 0x7fffffff
--- The largest message of MongoDB's.
local LARGEST_MESSAGE <const> = 48000000

--- A message from the server: whose it is, that it came, its document.
---@async
local function read_reply(sock)
    local size = driver.length(sock:read(4))
    if size < 0 or size > LARGEST_MESSAGE then error("a message of " .. size .. " bytes") end
    local ok, id, document = driver.reply(sock:read(size))
    if not ok then error "a message that is too short" end
    return id, true, bson.decode(document)
end

------------------------------------------------------------------------------------------------------------------------ collections

---@class skynet.mongo.Collection
---@field name string
---@field full_name string   with the database's
---@field database skynet.mongo.Database
---@field [string] skynet.mongo.Collection
local mongo_collection = {}

--- The collection whose name is this one's, a dot, and what is given.
---@param collection string
---@return skynet.mongo.Collection
function mongo_collection:getCollection(collection)
    local made = self.database:getCollection(self.name .. "." .. collection)
    rawset(self, collection, made)
    return made
end

local collection_meta = {
    __index = function(self, key) return mongo_collection[key] or mongo_collection.getCollection(self, key) end,
    __tostring = function(self) return "[mongo collection : " .. self.full_name .. "]" end,
}

--- What came of a command that writes: whether all is well, what is not, and the reply.
local function outcome(reply)
    local errors, concern = reply.writeErrors, reply.writeConcernError
    local text = reply.errmsg
    if concern then text = concern.errmsg or text end
    if errors and errors[1] then text = errors[1].errmsg end
    local ok = reply.ok == 1 and not (errors or concern or reply.errmsg)
    return ok, text, reply
end

local function with_id(doc)
    if type(doc) == "table" and doc._id == nil then doc._id = bson.objectid() end
    return doc
end

local function with_ids(docs)
    for _, doc in ipairs(docs) do
        with_id(doc)
    end
    return docs
end

--- Adds a document, and does not wait. It gets an `_id` if it has none.
---@param doc table
function mongo_collection:insert(doc) self.database:send_command("insert", self.name, "documents", { with_id(doc) }) end

--- Adds a document.
---@async
---@param doc table
---@return boolean ok
---@return string? err
---@return table reply
function mongo_collection:safe_insert(doc) return self:raw_safe_insert(with_id(doc)) end

--- Adds a document, which may be encoded already.
---@async
---@param doc table|userdata
---@return boolean ok
---@return string? err
---@return table reply
function mongo_collection:raw_safe_insert(doc)
    return outcome(self.database:runCommand("insert", self.name, "documents", { doc }))
end

--- Adds documents, and does not wait.
---@param docs table[]
function mongo_collection:batch_insert(docs) self.database:send_command("insert", self.name, "documents", with_ids(docs)) end

mongo_collection.insert_many = mongo_collection.batch_insert

--- Adds documents, up to the first that is refused.
---@async
---@param docs table[]
---@return boolean ok
---@return string? err
---@return table reply
function mongo_collection:safe_batch_insert(docs)
    return outcome(self.database:runCommand("insert", self.name, "documents", with_ids(docs)))
end

mongo_collection.safe_insert_many = mongo_collection.safe_batch_insert

local function update_of(query, update, upsert, multi) return { q = query, u = update, upsert = upsert, multi = multi } end

local function updates_of(list)
    local updates = {}
    for at, it in ipairs(list) do
        updates[at] = update_of(it.query, it.update, it.upsert, it.multi)
    end
    return updates
end

--- Changes the first document that fits, or all of them, and does not wait.
---@param query table
---@param update table
---@param upsert boolean?  adds a document if none fits
---@param multi boolean?   changes all that fit
function mongo_collection:update(query, update, upsert, multi)
    self.database:send_command("update", self.name, "updates", { update_of(query, update, upsert, multi) })
end

--- Changes the first document that fits, or all of them.
---@async
---@param query table
---@param update table
---@param upsert boolean?
---@param multi boolean?
---@return boolean ok
---@return string? err
---@return table reply
function mongo_collection:safe_update(query, update, upsert, multi)
    return self:raw_safe_update(update_of(query, update, upsert, multi))
end

--- Makes a change that is written as MongoDB wants it: `{ q =, u =, … }`.
---@async
---@param update table|userdata
---@return boolean ok
---@return string? err
---@return table reply
function mongo_collection:raw_safe_update(update)
    return outcome(self.database:runCommand("update", self.name, "updates", { update }))
end

--- Makes several changes, `{ query =, update =, upsert =, multi = }` each, and does not wait.
---@param updates table[]
function mongo_collection:batch_update(updates)
    self.database:send_command("update", self.name, "updates", updates_of(updates))
end

--- Makes several changes, up to the first that is refused.
---@async
---@param updates table[]
---@return boolean ok
---@return string? err
---@return table reply
function mongo_collection:safe_batch_update(updates)
    return outcome(self.database:runCommand("update", self.name, "updates", updates_of(updates)))
end

local function delete_of(query, single) return { q = query, limit = single and 1 or 0 } end

--- Removes what fits, or the first, and does not wait.
---@param query table
---@param single boolean?
function mongo_collection:delete(query, single)
    self.database:send_command("delete", self.name, "deletes", { delete_of(query, single) })
end

--- Removes what fits, or the first.
---@async
---@param query table
---@param single boolean?
---@return boolean ok
---@return string? err
---@return table reply
function mongo_collection:safe_delete(query, single) return self:raw_safe_delete(delete_of(query, single)) end

--- Removes as MongoDB wants it written: `{ q =, limit = }`.
---@async
---@param delete table|userdata
---@return boolean ok
---@return string? err
---@return table reply
function mongo_collection:raw_safe_delete(delete)
    return outcome(self.database:runCommand("delete", self.name, "deletes", { delete }))
end

--- Removes what fits any of the queries, or the first for each.
---@async
---@param deletes table[]
---@param single boolean?
---@return boolean ok
---@return string? err
---@return table reply
function mongo_collection:safe_batch_delete(deletes, single)
    local list = {}
    for at, query in ipairs(deletes) do
        list[at] = delete_of(query, single)
    end
    return outcome(self.database:runCommand("delete", self.name, "deletes", list))
end

--- The first document that fits. Raises what the server says if it refuses.
---@async
---@param query table?
---@param projection table?
---@return table?
function mongo_collection:findOne(query, projection)
    local reply = self.database:runCommand(
        "find", self.name, "filter", query or {}, "limit", 1, "projection", projection or {}
    )
    if reply.ok ~= 1 then error(reply.errmsg or "find failed") end
    return reply.cursor.firstBatch[1]
end

--- The documents that fit; nothing is asked before `hasNext`.
---@param query table?
---@param projection table?
---@return skynet.mongo.Cursor
function mongo_collection:find(query, projection) return cursors.find(self, query, projection) end

--- What comes out of a pipeline; nothing is asked before `hasNext`.
---@param pipeline table[]
---@param options table?  more fields of the command
---@return skynet.mongo.AggregateCursor
function mongo_collection:aggregate(pipeline, options) return cursors.aggregate(self, pipeline, options) end

--- An index as MongoDB wants it written. Keys may be `{ k = 1 }`, or a list of such with options beside them.
local function index_of(spec, options)
    local index, keys = {}, {}
    for key, value in pairs(options or {}) do
        index[key] = value
    end
    if spec[1] then
        for key, value in pairs(spec) do
            if math.type(key) == "integer" then
                keys[key] = value
            else
                index[key] = value
            end
        end
    else
        keys[1] = spec
    end
    local names = {}
    for _, part in ipairs(keys) do
        for key, value in pairs(part) do
            names[#names + 1] = key .. "_" .. tostring(value)
        end
    end
    index.name = index.name or table.concat(names, "_")
    index.key = cursors.in_order(table.unpack(keys))
    return index
end

--- Makes an index: `{ { a = 1 }, { b = -1 }, unique = true }`, or its keys and its options.
---@async
---@param spec table
---@param options table?
---@return table reply
function mongo_collection:createIndex(spec, options)
    return self.database:runCommand("createIndexes", self.name, "indexes", { index_of(spec, options) })
end

mongo_collection.ensureIndex = mongo_collection.createIndex

--- Makes several indexes.
---@async
---@param ... table
---@return table reply
function mongo_collection:createIndexes(...)
    local indexes = {}
    for at, spec in ipairs { ... } do
        indexes[at] = index_of(spec)
    end
    return self.database:runCommand("createIndexes", self.name, "indexes", indexes)
end

--- Removes an index, or all with "*".
---@async
---@param name string
---@return table reply
function mongo_collection:dropIndex(name) return self.database:runCommand("dropIndexes", self.name, "index", name) end

--- Removes the collection.
---@async
---@return table reply
function mongo_collection:drop() return self.database:runCommand("drop", self.name) end

--- Changes or removes one document, and has it in the reply's `value`, as it was or, with `new`, as it is.
---@async
---@param doc table  `{ query =, update = | remove =, sort =, new =, fields =, upsert = }`
---@return table reply
function mongo_collection:findAndModify(doc)
    assert(doc.query)
    assert(doc.update or doc.remove)
    local fields = {}
    for key, value in pairs(doc) do
        fields[#fields + 1] = key
        fields[#fields + 1] = value
    end
    return self.database:runCommand("findAndModify", self.name, table.unpack(fields))
end

-------------------------------------------------------------------------------------------------------------------------- databases

---@class skynet.mongo.Database
---@field name string
---@field connection skynet.mongo.Client
---@field [string] skynet.mongo.Collection
local mongo_db = {}

--- Runs a command, and gives the reply. Its fields come in the order given.
---@async
---@param cmd string
---@param cmd_v any       1 if nil
---@param ... any         more fields and their values
---@return table
function mongo_db:runCommand(cmd, cmd_v, ...)
    if cmd_v == nil then cmd_v = 1 end
    local client = self.connection
    local id = client:genId()
    local document = bson.encode_order(cmd, cmd_v, "$db", self.name, ...)
    return client.channel:request(driver.op_msg(id, 0, document), id)
end

--- Sends a command that nobody answers.
---@param cmd string
---@param cmd_v any
---@param ... any
---@return { ok: 1 }
function mongo_db:send_command(cmd, cmd_v, ...)
    if cmd_v == nil then cmd_v = 1 end
    local document = bson.encode_order(cmd, cmd_v, "$db", self.name, "writeConcern", { w = 0 }, ...)
    return self:send_document(document)
end

--- Sends a command that is encoded already, and that nobody answers.
---@param document userdata
---@return { ok: 1 }
function mongo_db:send_document(document)
    local client = self.connection
    client.channel:request(driver.op_msg(client:genId(), MORE_TO_COME, document))
    return { ok = 1 }
end

--- A collection; asking twice gives the same.
---@param collection string
---@return skynet.mongo.Collection
function mongo_db:getCollection(collection)
    local made = rawget(self, collection)
    if getmetatable(made) ~= collection_meta then
        made = setmetatable(
            { name = collection, full_name = self.name .. "." .. collection, database = self },
            collection_meta
        )
        -- Not in place of a field of ours.
        if rawget(self, collection) == nil then rawset(self, collection, made) end
    end
    return made
end

---@async
local function authenticate(db, method, username, password)
    local run = require("skein.mongo.login")[method]
    if not run then error("Invalid authmod", 0) end
    run(function(...) return db:runCommand(...) end, username, password)
end

--- Has the server know who we are, on this connection. Whether it believes it.
---@async
---@param username string
---@param password string
---@return boolean
function mongo_db:auth(username, password)
    local ok, err = pcall(authenticate, self, self.connection.authmod, username, password)
    if not ok and err == socketchannel.error then error(err, 0) end
    return ok
end

local db_meta = {
    __index = function(self, key) return mongo_db[key] or mongo_db.getCollection(self, key) end,
    __tostring = function(self) return "[mongo db : " .. self.name .. "]" end,
}

---------------------------------------------------------------------------------------------------------------------------- clients

---@class skynet.mongo.Options
---@field host string?
---@field port integer?      27017
---@field username string?
---@field password string?
---@field authmod "scram_sha1"|"mongodb_cr"|nil
---@field authdb string?     which database knows the user; "admin"
---@field rs { host: string, port: integer? }[]?  members of a replica set, in place of a host
---@field overload fun(is: boolean)?

---@class skynet.mongo.Client
---@field channel skynet.socketchannel.Channel
---@field authmod string
---@field private id integer
---@field [string] skynet.mongo.Database
local mongo_client = {}

--- A database; asking twice gives the same.
---@param dbname string
---@return skynet.mongo.Database
function mongo_client:getDB(dbname)
    local made = rawget(self, dbname)
    if getmetatable(made) ~= db_meta then
        made = setmetatable({ name = dbname, connection = self }, db_meta)
        if rawget(self, dbname) == nil then rawset(self, dbname, made) end
    end
    return made
end

--- Ends the connection; the object is of no use afterwards.
function mongo_client:disconnect()
    self.channel:close()
    setmetatable(self, nil)
end

--- The number of the next request.
---@return integer
function mongo_client:genId()
    local id = self.id < LARGEST_ID and self.id + 1 or 1
    self.id = id
    return id
end

--- Runs a command on the database `admin`.
---@async
---@param ... any
---@return table
function mongo_client:runCommand(...) return self:getDB("admin"):runCommand(...) end

--- Has the server forget who we are.
---@async
---@return boolean
function mongo_client:logout() return self:runCommand("logout").ok == 1 end

--- Copies fields that are set.
local function fields_of(item, into, ...)
    for _, name in ipairs { ... } do
        if item[name] ~= nil then
            into[#into + 1] = name
            into[#into + 1] = item[name]
        end
    end
    return bson.encode_order(table.unpack(into))
end

--- One operation of a bulk write, on the collection of this number.
local bulk = {}

function bulk.insert(item, number) return bson.encode_order("insert", number, "document", item.insert) end

function bulk.update(item, number)
    local fields = { "update", number, "filter", item.filter, "updateMods", item.update }
    return fields_of(item, fields, "multi", "upsert", "hint", "constants", "collation")
end

function bulk.delete(item, number)
    local fields = { "delete", number, "filter", item.filter, "multi", item.multi or false }
    return fields_of(item, fields, "hint", "collation")
end

--- Inserts, changes and removes in several collections with one command (of MongoDB 8). Each of `datas` has `op` (`"insert"`,
--- `"update"`, `"delete"`), `collection` with the database's name before it, and `insert` (a document), or `filter`, `update`, `multi`,
--- `upsert` and their kin. Whether it ran, the texts of what was refused, the reply, and the numbers of what was refused.
---@async
---@param datas table[]
---@param comment any
---@param ordered boolean?     ends with the first that is refused
---@param verify boolean?      passed on as `bypassDocumentValidation`
---@param errorsOnly boolean?  the reply has only what was refused
---@return boolean ok
---@return string? err
---@return table reply
---@return integer[]? failed
function mongo_client:bulkWrite(datas, comment, ordered, verify, errorsOnly)
    local ops, namespaces, numbers = {}, {}, {}
    for at, item in ipairs(datas) do
        local name = assert(item.collection, "no collection")
        if not numbers[name] then
            numbers[name] = #namespaces
            namespaces[#namespaces + 1] = { ns = name }
        end
        local make = bulk[item.op] or error("no operation is called " .. tostring(item.op))
        ops[at] = make(item, numbers[name])
    end
    local command = { "ops", ops, "nsInfo", namespaces }
    local options = { ordered = ordered, bypassDocumentValidation = verify, comment = comment, errorsOnly = errorsOnly }
    for _, name in ipairs { "ordered", "bypassDocumentValidation", "comment", "errorsOnly" } do
        if options[name] ~= nil then
            command[#command + 1] = name
            command[#command + 1] = options[name]
        end
    end
    local reply = self:runCommand("bulkWrite", 1, table.unpack(command))
    if reply.ok ~= 1 then return false, reply.errmsg, reply end
    if (reply.nErrors or 0) == 0 then return true, nil, reply end
    local texts, failed = {}, {}
    for _, it in ipairs(reply.cursor and reply.cursor.firstBatch or {}) do
        if it.ok ~= 1 then
            texts[#texts + 1] = tostring(it.errmsg) .. ";"
            failed[#failed + 1] = it.idx + 1
        end
    end
    return true, table.concat(texts), reply, failed
end

local client_meta = {
    __index = function(self, key) return mongo_client[key] or mongo_client.getDB(self, key) end,
    __tostring = function(self) return "[mongo client : " .. self.host .. "]" end,
    __gc = function(self) self.channel:close() end,
}

local function address(text)
    local host, port = text:match "^%[?(.-)%]?:(%d+)$"
    return host or text, tonumber(port)
end

--- What a new connection says before others may use it. One to a server that is not the primary goes over to the one that is.
local function begin(self, options)
    return function(channel)
        if options.username then
            local db = self:getDB(options.authdb or "admin")
            authenticate(db, self.authmod, options.username, options.password)
        end
        local state = self:runCommand "ismaster"
        if state.hosts then
            local others = {}
            for _, text in ipairs(state.hosts) do
                local host, port = address(text)
                others[#others + 1] = { host = host, port = port }
            end
            channel:changebackup(others)
        end
        if state.ok == 1 and not state.ismaster then
            -- Without a primary, or with one that is itself mistaken, the others are asked.
            if not state.primary or state.primary == state.me then error("no primary is known", 0) end
            local host, port = address(state.primary)
            channel:changehost(host, port)
        end
    end
end

--- A client. Raises `socketchannel.error` if no server can be reached, or does not believe us: the log says why.
---@async
---@param conf skynet.mongo.Options
---@return skynet.mongo.Client
function mongo.client(conf)
    local members = conf.rs
    local first = members and members[1] or conf
    local backup
    if members then
        backup = {}
        for at = 2, #members do
            backup[at - 1] = { host = members[at].host, port = members[at].port or 27017 }
        end
    end
    local self = { host = first.host, port = first.port or 27017, authmod = conf.authmod or "scram_sha1", id = 0 }
    self.channel = socketchannel.channel {
        host = self.host,
        port = self.port,
        backup = backup,
        response = read_reply,
        auth = begin(self, conf),
        nodelay = true,
        overload = conf.overload,
    }
    setmetatable(self, client_meta)
    self.channel:connect(true)
    return self
end

--- Adds what is not there from the beginning: `"transaction"`.
---@param feature string
function mongo.enable(feature)
    assert(feature == "transaction", "there is only the feature transaction")
    require("skynet.db.mongo.transaction").init(mongo_db)
end

return mongo

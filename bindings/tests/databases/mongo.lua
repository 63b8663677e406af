-- The client of MongoDB against a server written for this (`lib/fakemongo.lua`): what it sends, field by field, and what it makes of
-- replies; passwords, replica sets, lost connections, transactions. No real server is asked.
local skynet = require "skynet"
require "skynet.manager"
local bson = require "bson"
local check = require "check"
local fakemongo = require "fakemongo"
local mongo = require "skynet.db.mongo"
local socketchannel = require "skynet.socketchannel"

---@type FakeMongo
local server

local function connect(more)
    local options = { host = "127.0.0.1", port = server.port }
    for key, value in pairs(more or {}) do
        options[key] = value
    end
    return mongo.client(options)
end

--- What the server was told; what is not answered may be on its way.
local function told()
    for _ = 1, 1000 do
        if server.log[1] then break end
        skynet.sleep(1)
    end
    return server:told()
end

local function check_commands(client)
    local db = client.game
    check.ok("the same", db == client:getDB "game" and db.players == db:getCollection "players")
    check.eq("ok", db:runCommand("ping").ok, 1)
    check.eq("command", told(), '{ping=1 $db="game"}')
    db:runCommand("ping", 5, "z", 1, "a", { x = 1 }, "m", bson.int64(7))
    check.eq("in order", told(), '{ping=5 $db="game" z=1 a={x=1} m=7L}')
    client:runCommand "ping"
    check.eq("admin", told(), '{ping=1 $db="admin"}')
    check.eq("refused", db:runCommand("nonsense").errmsg, "no such command: 'nonsense'")
    told()
    db:send_command("ping", 1, "x", 2)
    check.eq("not answered", told(), '2 {ping=1 $db="game" writeConcern={w=0} x=2}')
    check.eq("logout", client:logout(), true)
    check.eq("logout", told(), '{logout=1 $db="admin"}')
    client.id = 0x7fffffff
    check.eq("numbers begin again", client:genId(), 1)
end

local function check_writing(players)
    local inserted, trouble = players:safe_insert { _id = 1, name = "ann" }
    check.values("insert", table.pack(inserted, trouble), true, nil)
    check.eq("insert", told():match '^{insert="players" %$db="game" documents=%[{.*}%]}$' ~= nil, true)
    local document = { name = "bob" }
    players:insert(document)
    check.eq("_id", bson.type(document._id), "objectid")
    check.eq("insert", told(), '2 {insert="players" $db="game" writeConcern={w=0} documents=[{' .. (next(document) == "_id" and '_id=id name="bob"' or 'name="bob" _id=id') .. "}]}")
    local ok, err, reply = players:safe_insert { _id = 1 }
    check.values("twice", table.pack(ok, err, reply.n, #reply.writeErrors), false, "E11000 duplicate key error", 0, 1)
    check.eq("many", players:safe_batch_insert { { _id = 2 }, { _id = 3 } }, true)
    check.eq("many", players:safe_insert_many { { _id = 4 }, { _id = 3 } }, false)
    check.eq("encoded", players:raw_safe_insert(bson.encode_order("_id", 5, "b", 1, "a", 2)), true)
    server:told()
    players:raw_safe_insert(bson.encode_order("_id", 6, "b", 1, "a", 2))
    check.eq("encoded", told(), '{insert="players" $db="game" documents=[{_id=6 b=1 a=2}]}')
    players:batch_insert { { _id = 7 } }
    check.eq("many", told(), '2 {insert="players" $db="game" writeConcern={w=0} documents=[{_id=7}]}')
    players:insert_many { { _id = 8 } }
    told()

    check.eq("update", players:safe_update({ _id = 1 }, { ["$set"] = { age = 5 } }), true)
    check.eq("update", players:findOne({ _id = 1 }).age, 5)
    check.eq("upsert", players:safe_update({ _id = 50 }, { ["$inc"] = { age = 2 } }, true), true)
    check.eq("upsert", players:findOne({ _id = 50 }).age, 2)
    check.eq("as it is sent", players:raw_safe_update(bson.encode_order("q", { _id = 50 }, "u", { ["$inc"] = { age = 2 } })), true)
    server:told()
    players:update({ _id = 50 }, { ["$inc"] = { age = 1 } }, false, true)
    check.contains("update", told(), '2 {update="players" $db="game" writeConcern={w=0} updates=[{')
    players:batch_update { { query = { _id = 50 }, update = { ["$inc"] = { age = 1 } } } }
    check.contains("update", told(), '2 {update="players" $db="game" writeConcern={w=0} updates=[{')
    reply = select(3, players:safe_batch_update { { query = { _id = 50 }, update = { age = 1 } }, { query = { _id = 1 }, update = { age = 1 } } })
    check.eq("several", reply.n, 2)

    players:delete({ _id = 8 }, true)
    check.contains("delete", server:told() .. told(), '2 {delete="players" $db="game" writeConcern={w=0} deletes=[{')
    check.eq("delete", select(3, players:safe_delete { age = 1 }).n, 2)
    check.eq("delete one", players:raw_safe_delete { q = { _id = 2 }, limit = 1 }, true)
    check.eq("delete several", select(3, players:safe_batch_delete({ { _id = 3 }, { _id = 4 }, { _id = 99 } }, true)).n, 2)
    -- Trouble is told in one of three places.
    for text, answer in pairs {
        first = { ok = 1, writeErrors = { { errmsg = "first" }, { errmsg = "second" } }, writeConcernError = { errmsg = "concern" } },
        concern = { ok = 1, writeConcernError = { errmsg = "concern" } },
        refused = { ok = 0, errmsg = "refused" },
    } do
        server.answers.insert = function() return answer end
        ok, err, reply = players:safe_insert { _id = 1000 }
        check.values(text, table.pack(ok, err, reply.ok), false, text, answer.ok)
    end
    server.answers.insert = nil
    server:told()
end

local function check_reading(players)
    for i = 1, 250 do
        server.data["game.players"][i] = { _id = i, n = i, kind = "k", nested = { list = { 1, "two", { three = 3 } } } }
    end
    check.eq("one", players:findOne({ n = 3 }).nested.list[3].three, 3)
    check.eq("one", told(), '{find="players" $db="game" filter={n=3} limit=1 projection={}}')
    check.eq("none", players:findOne { n = -1 }, nil)
    server:told()
    local cursor = players:find({ kind = "k" }, { n = 1 })
    check.raises("too early", "Call hasNext first", cursor.next, cursor)
    check.eq("nothing is asked yet", server:told(), "")
    local count, sum = 0, 0
    while cursor:hasNext() do
        check.ok("asking twice", cursor:hasNext())
        local document = cursor:next()
        count, sum = count + 1, sum + document.n
    end
    check.values("all", table.pack(count, sum, cursor:hasNext()), 250, 250 * 251 // 2, false)
    check.eq(
        "batches",
        told():gsub("10%dL", "ID"),
        '{find="players" $db="game" filter={kind="k"} sort={} projection={n=1}}\n'
            .. '{getMore=ID $db="game" collection="players"}\n{getMore=ID $db="game" collection="players"}'
    )
    cursor = players:find({ kind = "k" }):sort({ n = -1 }, { _id = 1 }):skip(5):limit(2):hint("k_1"):maxTimeMS(100):batchSize(10)
    local got = {}
    while cursor:hasNext() do
        got[#got + 1] = cursor:next().n
    end
    check.eq("in order", table.concat(got, ","), "245,244")
    check.eq(
        "options",
        told(),
        '{find="players" $db="game" filter={kind="k"} sort={n=-1 _id=1} projection={} skip=5 limit=2 hint="k_1" maxTimeMS=100 batchSize=10}'
    )
    cursor = players:find({}):sort("n"):batchSize(7)
    check.ok("by a key", cursor:hasNext() and cursor:next().n == 1)
    check.contains("by a key", told(), "sort={n=1}")
    cursor:close()
    check.eq("closed", cursor:hasNext(), false)
    check.contains("closed", told(), '2 {killCursors="players" $db="game" writeConcern={w=0} cursors=[')
    -- A server that gives more than the limit.
    server.answers.find = function(self, command)
        command.limit = nil
        return nil
    end
    cursor = players:find({}):batchSize(7):limit(7)
    count = 0
    while cursor:hasNext() do
        cursor:next()
        count = count + 1
    end
    check.eq("no more than asked for", count, 7)
    local lines = told()
    while not lines:find("killCursors", 1, true) do
        lines = lines .. told()
    end
    server.answers.find = function() return { ok = 0, errmsg = "not today" } end
    check.raises("refused", "not today", players.findOne, players, {})
    cursor = players:find {}
    check.raises("refused", "not today", cursor.hasNext, cursor)
    server.answers.find = nil
    cursor = players:find({}):batchSize(7)
    cursor:hasNext()
    server.cursors = {}
    check.raises("forgotten", "not found", function()
        while cursor:hasNext() do
            cursor:next()
        end
    end)
    server:told()
    check.eq("count", players:find({ kind = "k" }):skip(3):limit(5):count(), 250)
    check.eq("count", told(), '{count="players" $db="game" query={kind="k"}}')
    check.eq("count", players:find({ kind = "k" }):skip(3):limit(5):count(true), 5)
    check.eq("count", told(), '{count="players" $db="game" query={kind="k"} skip=3 limit=5}')

    cursor = players:aggregate({ { ["$match"] = { kind = "k" } } }, { cursor = { batchSize = 100 } }):sort({ n = -1 }):skip(1):limit(200)
    count = 0
    while cursor:hasNext() do
        check.eq("aggregated", cursor:next().n, 249 - count)
        count = count + 1
    end
    check.eq("aggregated", count, 200)
    check.contains(
        "aggregate",
        told(),
        '{aggregate="players" $db="game" pipeline=[{$match={kind="k"}} {$sort={n=-1}} {$skip=1} {$limit=200}] cursor={batchSize=100}}'
    )
    cursor = players:aggregate { { ["$match"] = { kind = "k" } } }
    check.eq("count", cursor:skip(2):limit(3):count(), 250)
    check.eq("count", cursor:count(true), 3)
    check.eq("count of none", players:aggregate({ { ["$match"] = { kind = "none" } } }):count(), 0)
    server:told()
end

local function check_the_rest(client, players)
    local reply = players:findAndModify { query = { _id = 1 }, update = { ["$set"] = { y = 1 } }, new = true }
    check.eq("findAndModify", reply.value.y, 1)
    check.eq("findAndModify", players:findAndModify({ query = { _id = 1 }, remove = true }).value.y, 1)
    check.eq("findAndModify", players:findAndModify({ query = { _id = 1 }, remove = true }).value, mongo.null)
    check.raises("findAndModify", "assertion failed", players.findAndModify, players, { query = {} })
    check.raises("findAndModify", "assertion failed", players.findAndModify, players, { update = {} })
    server:told()
    players:createIndex { { k = 1 }, { n = -1 }, unique = true }
    local line = told()
    check.contains("index", line, "key={k=1 n=-1}")
    check.contains("index", line, 'name="k_1_n_-1"')
    check.contains("index", line, "unique=true")
    players:ensureIndex({ k = 1 }, { unique = true })
    check.contains("index", told(), 'name="k_1"')
    players:createIndexes({ { a = 1 } }, { { b = 1 }, name = "own" })
    line = told()
    check.contains("indexes", line, 'name="a_1"')
    check.contains("indexes", line, 'name="own"')
    players:dropIndex "own"
    check.eq("dropIndex", told(), '{dropIndexes="players" $db="game" index="own"}')
    players:drop()
    check.eq("drop", told(), '{drop="players" $db="game"}')
    client.game.log.today:safe_insert { _id = 1 }
    check.eq("a dot", told(), '{insert="log.today" $db="game" documents=[{_id=1}]}')

    server.answers.bulkWrite = function()
        return { ok = 1, nErrors = 1, cursor = { id = 0, firstBatch = { { ok = 1, idx = 0 }, { ok = 0, idx = 1, errmsg = "dup" } } } }
    end
    local ok, err, _, failed = client:bulkWrite({
        { op = "insert", collection = "game.players", insert = { _id = 1 } },
        { op = "update", collection = "game.players", filter = { _id = 1 }, update = { x = 1 }, upsert = true },
        { op = "delete", collection = "game.other", filter = { _id = 2 }, multi = true },
    }, "why", true, false, true)
    check.values("bulk", table.pack(ok, err, failed[1], #failed), true, "dup;", 2, 1)
    check.eq(
        "bulk",
        told(),
        '{bulkWrite=1 $db="admin" ops=[{insert=0 document={_id=1}} {update=0 filter={_id=1} updateMods={x=1} upsert=true} '
            .. '{delete=1 filter={_id=2} multi=true}] nsInfo=[{ns="game.players"} {ns="game.other"}] ordered=true '
            .. 'bypassDocumentValidation=false comment="why" errorsOnly=true}'
    )
    server.answers.bulkWrite = function() return { ok = 0, errmsg = "no" } end
    ok, err = client:bulkWrite { { op = "insert", collection = "a.b", insert = { _id = 1 } } }
    check.values("bulk", table.pack(ok, err), false, "no")
    check.raises("bulk", "no operation is called nothing", client.bulkWrite, client, { { op = "nothing", collection = "a.b" } })
    server:told()
    check.values("values", table.pack(mongo.type(mongo.null), mongo.type(mongo.minkey), mongo.type(mongo.maxkey)), "nil", "minkey", "maxkey")
end

local function check_tasks(client)
    -- The last asked is answered first: the others wait for it.
    local waiting = {}
    server.answers.ping = function(_, command)
        if command.ping < 20 then
            local token = {}
            waiting[#waiting + 1] = token
            skynet.wait(token)
        else
            skynet.fork(function()
                for _, token in ipairs(waiting) do
                    skynet.wakeup(token)
                end
            end)
        end
        return { ok = 1, n = command.ping }
    end
    local left, order, wrong = 20, {}, 0
    for i = 1, left do
        skynet.fork(function()
            if client.game:runCommand("ping", i).n ~= i then wrong = wrong + 1 end
            order[#order + 1] = i
            left = left - 1
        end)
    end
    while left > 0 do
        skynet.sleep(1)
    end
    check.eq("each task its reply", wrong, 0)
    check.eq("nobody waits for another", order[1], 20)
    server.answers.ping = nil
    local large = ("x"):rep(16000000)
    local files = client.game.files
    check.eq("16 MB", files:safe_insert { _id = "large", bytes = large }, true)
    check.ok("16 MB", files:findOne({ _id = "large" }).bytes == large)
    files:drop()
    server:told()
end

local function check_passwords()
    server.password = "pw"
    server.began = {}
    local client = connect { username = "user", password = "pw", authdb = "game" }
    check.contains("begins", server.began[1], '{saslStart=1 $db="game" autoAuthorize=1 mechanism="SCRAM-SHA-1" payload=binary:')
    check.contains("then", server.began[2], '{saslContinue=1 $db="game" conversationId=1 payload=binary:')
    check.eq("ok", client.game:runCommand("ping").ok, 1)
    client:disconnect()
    check.ok("disconnected", not pcall(function() return client.game:runCommand "ping" end))
    local ok, err = pcall(connect, { username = "user", password = "wrong" })
    check.ok("wrong password", not ok and err == socketchannel.error)
    check.raises("unknown method", "[Error: socket]", connect, { username = "user", password = "pw", authmod = "none" })
    server.liar = true
    check.raises("a server that does not know it", "[Error: socket]", connect, { username = "user", password = "pw" })
    server.liar = nil
    client = connect()
    check.eq("auth", client.game:auth("user", "pw"), true)
    check.eq("auth", client.game:auth("user", "wrong"), false)
    client:disconnect()
    check.raises("nobody there", "[Error: socket]", mongo.client, { host = "127.0.0.1", port = 1 })
    -- RFC 5802's older kin: the digest of a nonce.
    local md5 = require "md5"
    server.answers.getnonce = function() return { ok = 1, nonce = "2375531c32080ae8" } end
    server.answers.authenticate = function(_, command)
        local key = md5.sumhexa("2375531c32080ae8user" .. md5.sumhexa "user:mongo:pw")
        return command.key == key and { ok = 1 } or { ok = 0, errmsg = "auth fails" }
    end
    connect({ username = "user", password = "pw", authmod = "mongodb_cr" }):disconnect()
    check.raises("wrong", "[Error: socket]", connect, { username = "user", password = "no", authmod = "mongodb_cr" })
    server:told()
end

local function check_faults()
    local client = connect()
    server.answers.ping = function(self)
        self:drop()
        return nil
    end
    local ok, err = pcall(function() return client.game:runCommand "ping" end)
    check.ok("lost", not ok and err == socketchannel.error)
    server.answers.ping = nil
    check.eq("again", client.game:runCommand("ping").ok, 1)

    -- Two members; the first one says that the other is the primary, and later it is the other way round.
    local other = fakemongo()
    local names = { "127.0.0.1:" .. server.port, "127.0.0.1:" .. other.port }
    server.hosts, other.hosts = names, names
    server.primary = names[2]
    local members = { { host = "127.0.0.1", port = server.port }, { host = "127.0.0.1", port = other.port } }
    local set = mongo.client { rs = members }
    server:told()
    check.eq("at the primary", set.game.x:safe_insert { _id = 1 }, true)
    check.eq("at the primary", other:told(), '{insert="x" $db="game" documents=[{_id=1}]}')
    check.eq("not elsewhere", server:told(), "")
    server.primary, other.primary = nil, names[1]
    other:drop()
    local there
    repeat
        there = pcall(function() return set.game.x:safe_insert { _id = 2 } end)
    until there
    check.eq("at the new one", server:told(), '{insert="x" $db="game" documents=[{_id=2}]}')
    -- The new primary's host is gone: the rest of the set is asked.
    other.primary = nil
    server:stop()
    repeat
        there = pcall(function() return set.game.x:safe_insert { _id = 3 } end)
    until there
    check.eq("at the one that is left", other:told(), '{insert="x" $db="game" documents=[{_id=3}]}')
    set:disconnect()
    server = other
end

local function check_transactions()
    mongo.enable "transaction"
    mongo.enable "transaction"
    local client = connect()
    local db = client.game
    local accounts = db.accounts
    accounts:safe_insert { _id = 1, n = 5 }
    server:told()
    check.eq("returns what the function does", db:run_transaction(function()
        accounts:safe_update({ _id = 1 }, { ["$inc"] = { n = 1 } })
        accounts:insert { _id = 2 }
        return "done"
    end), "done")
    local lines = {}
    for line in server:told():gmatch "[^\n]+" do
        lines[#lines + 1] = line
    end
    check.eq("session", lines[1], '{startSession=1 $db="game"}')
    check.contains("first", lines[2], "lsid={id=binary:16} txnNumber=1L autocommit=false startTransaction=true}")
    check.eq("second", lines[3], '2 {insert="accounts" $db="game" documents=[{_id=2}] lsid={id=binary:16} txnNumber=1L autocommit=false}')
    check.eq("commit", lines[4], '{commitTransaction=1 $db="admin" lsid={id=binary:16} txnNumber=1L autocommit=false}')
    check.eq("end", lines[5], '{endSessions=[{id=binary:16}] $db="game"}')
    local err = db:run_transaction(function()
        accounts:safe_update({ _id = 1 }, { ["$inc"] = { n = 10 } })
        check.eq("inside", accounts:findOne({ _id = 1 }).n, 16)
        error "no"
    end)
    check.contains("taken back", err, ": no")
    check.eq("taken back", accounts:findOne({ _id = 1 }).n, 6)
    check.contains("taken back", server:told(), '{abortTransaction=1 $db="admin" lsid={id=binary:16} txnNumber=2L autocommit=false}')
    -- Other tasks are not in it.
    db:run_transaction(function()
        accounts:findOne {}
        local token = {}
        skynet.fork(function()
            accounts:findOne { _id = 5 }
            skynet.wakeup(token)
        end)
        skynet.wait(token)
    end)
    check.contains("others", server:told(), '{find="accounts" $db="game" filter={_id=5} limit=1 projection={}}')
    check.eq("nothing was done", db:run_transaction(function() end), nil)
    check.eq("nothing was done", server:told(), '{startSession=1 $db="game"}\n{endSessions=[{id=binary:16}] $db="game"}')
    server.answers.commitTransaction = function() return { ok = 0, errmsg = "not committed" } end
    check.eq("commit fails", db:run_transaction(function() accounts:findOne {} end), "not committed")
    server.answers.commitTransaction = nil
    db:test_transaction_()
    client:disconnect()
end

check.run("mongo", function()
    server = fakemongo()
    local client = connect()
    check.eq("begins", server.began[1], '{ismaster=1 $db="admin"}')
    check_commands(client)
    check_writing(client.game.players)
    check_reading(client.game.players)
    check_the_rest(client, client.game.players)
    check_tasks(client)
    check_passwords()
    client:disconnect()
    check_faults()
    check_transactions()
end)

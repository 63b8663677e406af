--- Transactions of MongoDB: commands of one task that all count, or none of them. They need a replica set.
---
--- A task has one transaction at a time. Each of its commands, whatever database it goes to by its object, says which session it is of,
--- and the first one that the transaction begins. (MongoDB, "Driver sessions" and "Driver transactions".)
local bson = require "bson"

local M = {}

---@class skynet.mongo.Transaction
---@field lsid table         the session, as the server calls it
---@field number integer     of the transaction
---@field started boolean?   a command was sent in it

--- The transactions of tasks.
---@type table<thread, skynet.mongo.Transaction>
local running = setmetatable({}, { __mode = "k" })
local last_number = 0

--- What a command says in a transaction, and before it.
local function fields(transaction, ...)
    local all = table.pack(...)
    local n = all.n
    local function add(name, value)
        all[n + 1], all[n + 2] = name, value
        n = n + 2
    end
    add("lsid", transaction.lsid)
    add("txnNumber", bson.int64(transaction.number))
    add("autocommit", false)
    if not transaction.started then
        transaction.started = true
        add("startTransaction", true)
    end
    return table.unpack(all, 1, n)
end

--- Adds transactions to databases.
---@param mongo_db table  the methods of databases
function M.init(mongo_db)
    if mongo_db.run_transaction then return end
    local run, send = mongo_db.runCommand, mongo_db.send_command

    --- Runs a command, in the task's transaction if it has one.
    function mongo_db:runCommand(cmd, cmd_v, ...)
        local transaction = running[coroutine.running()]
        if not transaction then return run(self, cmd, cmd_v, ...) end
        return run(self, cmd, cmd_v, fields(transaction, ...))
    end

    --- Sends a command that nobody answers, in the task's transaction if it has one.
    function mongo_db:send_command(cmd, cmd_v, ...)
        local transaction = running[coroutine.running()]
        if not transaction then return send(self, cmd, cmd_v, ...) end
        if cmd_v == nil then cmd_v = 1 end
        -- Only the commit may say what counts as written.
        return self:send_document(bson.encode_order(cmd, cmd_v, "$db", self.name, fields(transaction, ...)))
    end

    --- Has the server make a session, and gives the reply, with its `id`.
    function mongo_db:startSession_() return run(self, "startSession") end

    --- Has the server forget a session; without one, that of the task's transaction.
    function mongo_db:endSessions_(lsid)
        local transaction = running[coroutine.running()]
        lsid = lsid or transaction and transaction.lsid
        assert(lsid, "there is no session")
        return run(self, "endSessions", { lsid })
    end

    --- Runs `commitTransaction` or `abortTransaction`, for the task's transaction if it has one.
    local function finish(db, cmd)
        local admin = db.connection:getDB "admin"
        local transaction = running[coroutine.running()]
        if not transaction then return run(admin, cmd) end
        return run(admin, cmd, 1, fields(transaction))
    end

    --- Makes what the task's transaction did count.
    function mongo_db:commit_transaction_() return finish(self, "commitTransaction") end

    --- Takes back what the task's transaction did.
    function mongo_db:abort_transaction_() return finish(self, "abortTransaction") end

    --- Calls `f()` with all commands of this task in a transaction, which counts when `f` returns and is taken back when it raises. What
    --- `f` returns, or nil; or the text of what went wrong: an error with its traceback, or what the server said to the commit.
    function mongo_db:run_transaction(f)
        local me = coroutine.running()
        assert(not running[me], "this task has a transaction already")
        local session = self:startSession_()
        if session.ok ~= 1 then return session.errmsg or "no session" end
        last_number = last_number + 1
        local transaction = { lsid = session.id, number = last_number }
        running[me] = transaction
        local ok, result = xpcall(f, debug.traceback)
        local closed, reply = true, nil
        -- The server knows nothing of it before its first command.
        if transaction.started then
            closed, reply = pcall(ok and self.commit_transaction_ or self.abort_transaction_, self)
        end
        running[me] = nil
        local ended, err = pcall(self.endSessions_, self, transaction.lsid)
        if not ok then return result end
        if not closed then error(reply, 0) end
        if reply and reply.ok ~= 1 then return reply.errmsg or "commitTransaction failed" end
        if not ended then error(err, 0) end
        return result or nil
    end

    --- Whether transactions work: makes some changes in the collection `tb_test` and looks. For a test against a server.
    function mongo_db:test_transaction_()
        local collection = self:getCollection "tb_test"
        collection:drop()
        local err = self:run_transaction(function()
            collection:safe_insert { key = 1 }
            collection:insert { key = 2 }
            assert(collection:findOne { key = 1 })
        end)
        assert(err == nil, err)
        err = self:run_transaction(function()
            collection:safe_insert { key = 3 }
            error "taken back"
        end)
        assert(err and err:find("taken back", 1, true))
        assert(collection:find():count() == 2)
    end
end

return M

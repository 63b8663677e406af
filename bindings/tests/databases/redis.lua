-- The client of Redis against a real server: all kinds of replies, many tasks, pipelines, large values, faults of the server.
local skynet = require "skynet"
require "skynet.manager"
local check = require "check"
local order = require "order"
local redis = require "skynet.db.redis"
local socket = require "skynet.socket"
local socketchannel = require "skynet.socketchannel"

local PORT <const> = tonumber(skynet.getenv "redis_port")
local options = { host = "127.0.0.1", port = PORT, db = 0 }

local function check_values(db)
    check.eq("status", db:set("a", 1), "OK")
    check.eq("bulk", db:get "a", "1")
    check.eq("integer", db:incr "a", 2)
    check.eq("null", db:get "none", nil)
    check.eq("upper case", db:GET "a", "2")
    check.eq("bytes", db:set("b", "\0\r\n$5\255"), "OK")
    check.eq("bytes", db:get "b", "\0\r\n$5\255")
    check.eq("empty", db:set("e", ""), "OK")
    check.eq("empty", db:get "e", "")
    check.eq("number", db:set("n", 1.5) and db:get "n", "1.5")
    check.eq("boolean", db:set("n", true) and db:get "n", "true")
    local named = setmetatable({}, { __tostring = function() return "by its name" end })
    check.eq("tostring", db:set("n", named) and db:get "n", "by its name")
end

local function check_refusals(db)
    check.raises("error", "ERR value is not an integer", db.incr, db, "b")
    check.raises("unknown", "ERR unknown command", db.nonsense, db)
    check.raises("arity", "wrong number of arguments", db.get, db)
    check.raises("arity", "wrong number of arguments", db.get, db, nil, "x")
    check.eq("goes on", db:get "a", "2")
end

local function check_arrays(db)
    db:del "list"
    check.eq("push", db:rpush("list", 1, 2, 3), 3)
    check.eq("array", table.concat(db:lrange("list", 0, -1), ","), "1,2,3")
    local got = db:mget("a", "none", "b")
    check.values("holes", table.pack(table.unpack(got, 1, 3)), "2", nil, "\0\r\n$5\255")
    check.eq("empty array", #db:lrange("none", 0, -1), 0)
    check.eq("a table of arguments", db:mset { "x", 1, "y", 2 }, "OK")
    check.eq("with n", db:del { "x", "y", "z", n = 2 }, 2)
    local nested = db:eval("return {1, {'a', {}, {2, {'deep'}}}, false, 'z'}", 0)
    check.eq("nested", nested[2][3][2][1], "deep")
    check.eq("nested", nested[2][1] .. #nested[2][2] .. nested[2][3][1], "a02")
    check.values("nested", table.pack(nested[1], nested[3], nested[4]), 1, nil, "z")
    local deep = ("{"):rep(60) .. "7" .. ("}"):rep(60)
    local it = db:eval("return " .. deep, 0)
    for _ = 1, 59 do
        it = it[1]
    end
    check.eq("deep", it[1], 7)
    -- An error inside of an array: the array is what is raised.
    db:multi()
    db:set("s", "text")
    db:incr "s"
    db:get "s"
    local ok, err = pcall(db.exec, db)
    check.ok("exec", not ok and type(err) == "table")
    check.eq("exec", err[1], "OK")
    check.contains("exec", err[2], "not an integer")
    check.eq("exec", err[3], "text")
    check.eq("exec of nothing", (db:multi() and #db:exec()), 0)
end

local function check_booleans(db)
    db:del "set"
    db:sadd("set", "m")
    check.eq("sismember", db:sismember("set", "m"), true)
    check.eq("sismember", db:sismember("set", "o"), false)
    check.eq("exists", db:exists "set", true)
    check.eq("exists", db:exists "none", false)
    if check.skein then
        check.raises("exists", "wrong number of arguments", db.exists, db)
        check.raises("sismember", "WRONGTYPE", db.sismember, db, "list", "m")
    end
end

local function check_pipelines(db)
    check.eq("last", db:pipeline { { "set", "p", 1 }, { "incr", "p" }, { "get", "p" } }, "2")
    local out = db:pipeline({ { "get", "p" }, { "incr", "b" }, { "nonsense" }, { "mget", "p", "none" } }, {})
    check.eq("each", #out, 4)
    check.ok("each", out[1].ok and out[1].out == "2")
    check.ok("each", not out[2].ok)
    check.contains("each", out[2].out, "not an integer")
    check.contains("each", out[3].out, "unknown command")
    check.ok("each", out[4].ok and out[4].out[1] == "2" and out[4].out[2] == nil)
    local kept = { "before" }
    check.ok("appended", db:pipeline({ { "get", "p" } }, kept) == kept and #kept == 2)
    check.raises("the last is an error", "unknown command", db.pipeline, db, { { "get", "p" }, { "nonsense" } })
    check.eq("one before is not", db:pipeline { { "nonsense" }, { "get", "p" } }, "2")
    check.raises("none", "pipeline is null", db.pipeline, db, nil)
    check.raises("empty", "pipeline is null", db.pipeline, db, {})
    local ops = {}
    for i = 1, 20000 do
        ops[i] = { "set", "many:" .. i, i }
    end
    check.eq("many", #db:pipeline(ops, {}), 20000)
    check.eq("many", db:get "many:20000", "20000")
end

local function check_tasks(db)
    local left, wrong = 500, 0
    for i = 1, left do
        skynet.fork(function()
            if db:echo("task " .. i) ~= "task " .. i then wrong = wrong + 1 end
            left = left - 1
        end)
    end
    while left > 0 do
        skynet.sleep(1)
    end
    check.eq("each task its reply", wrong, 0)
end

local function check_sizes(db)
    local large = ("0123456789abcdef"):rep(1 << 20)
    check.eq("16 MB", db:set("large", large), "OK")
    check.ok("16 MB", db:get "large" == large)
    local pair = db:mget("large", "a", "large")
    check.ok("in an array", pair[1] == large and pair[2] == "2" and pair[3] == large)
    db:del "large"
    -- Replies whose parts end at every place of a line and of a string.
    local sizes = {}
    for size = 60, 70 do
        sizes[#sizes + 1] = { "echo", ("s"):rep(size * 1024 + size) }
    end
    for index, it in ipairs(db:pipeline(sizes, {})) do
        check.ok("sizes", it.ok and it.out == sizes[index][2])
    end
    local rows = { "rows" }
    for i = 1, 100000 do
        rows[i + 1] = "row " .. i
    end
    db:del "rows"
    check.eq("100,000 arguments", db:rpush(rows), 100000)
    local got = db:lrange("rows", 0, -1)
    check.eq("100,000 rows", #got, 100000)
    check.eq("100,000 rows", got[1] .. got[50000] .. got[100000], "row 1row 50000row 100000")
    db:del "rows"
    local many = {}
    for i = 1, 500000 do
        many[i] = i
    end
    check.eq("500,000 arguments", db:sadd { "numbers", table.unpack(many, 1, 1000) }, 1000)
    table.insert(many, 1, "numbers")
    check.eq("500,000 arguments", db:sadd(many), 499000)
    check.eq("500,000 arguments", db:scard "numbers", 500000)
    db:del "numbers"
end

local function check_databases()
    local second = redis.connect { host = "127.0.0.1", port = PORT, db = 2 }
    second:set("only", "in 2")
    local first = redis.connect(options)
    check.eq("another database", first:get "only", nil)
    check.eq("another database", second:get "only", "in 2")
    second:disconnect()
    check.ok("disconnected", not pcall(function() return second:get "only" end))
    first:disconnect()
end

local function check_passwords()
    local db = redis.connect(options)
    db:acl("SETUSER", "reader", "on", ">secret", "~*", "+get", "+select")
    local reader = redis.connect { host = "127.0.0.1", port = PORT, username = "reader", auth = "secret" }
    check.eq("a user", reader:get "a", "2")
    check.raises("a user", "NOPERM", reader.set, reader, "a", 3)
    db:config("SET", "requirepass", "open")
    local own = redis.connect { host = "127.0.0.1", port = PORT, auth = "open", db = 1 }
    check.eq("a password", own:ping(), "PONG")
    local ok, err = pcall(redis.connect, { host = "127.0.0.1", port = PORT, auth = "wrong" })
    check.ok("a wrong password", not ok and err == socketchannel.error)
    local none = redis.connect { host = "127.0.0.1", port = PORT }
    check.raises("no password", "NOAUTH", none.get, none, "a")
    -- The same object after its connection was lost: it says the password again, and is in its database.
    own:set("here", "1")
    pcall(own.client, own, "KILL", "TYPE", "normal", "SKIPME", "no")
    -- The loss may show only now.
    local there, here
    repeat
        there, here = pcall(own.get, own, "here")
    until there
    check.eq("after a lost connection", here, "1")
    own:config("SET", "requirepass", "")
    check.raises("unreachable", "[Error: socket]", redis.connect, { host = "127.0.0.1", port = 1 })
end

local function check_transactions(db)
    db:multi()
    check.eq("queued", db:set("t", 1), "QUEUED")
    check.eq("queued", db:incr "t", "QUEUED")
    local results = db:exec()
    check.values("results", table.pack(table.unpack(results)), "OK", 2)
    db:watch "t"
    local other = redis.connect(options)
    other:set("t", 5)
    other:disconnect()
    db:multi()
    db:incr "t"
    check.eq("optimistic", db:exec(), nil)
end

local function check_messages(db)
    local w = redis.watch(options)
    w:subscribe("news", "sports")
    w:psubscribe "weather.*"
    local heard = {}
    local done
    skynet.fork(function()
        for i = 1, 5 do
            heard[i] = table.pack(w:message())
        end
        done = true
    end)
    -- A publisher is told how many heard it: then the subscription is there.
    local function publish(channel, text)
        while db:publish(channel, text) == 0 do
            skynet.sleep(1)
        end
    end
    publish("news", "one")
    publish("sports", "two")
    publish("weather.today", "rain")
    w:unsubscribe "sports"
    while db:publish("sports", "lost") > 0 do
        skynet.sleep(1)
    end
    -- Some of them may have come before it was gone.
    publish("news", "three")
    publish("news", "four")
    publish("news", "five")
    while not done do
        skynet.sleep(1)
    end
    check.values("message", heard[1], "one", "news")
    check.values("message", heard[2], "two", "sports")
    check.values("by a pattern", heard[3], "rain", "weather.today", "weather.*")
    check.ok("goes on", heard[4][2] == "news" or heard[4][1] == "lost")
    w:disconnect()
    check.ok("disconnected", not pcall(function() w:message() end))
end

--- A server that says the next of these texts to each connection, when something came on it, and closes it if told to.
local function scripted(replies)
    local listener, _, port = socket.listen("127.0.0.1", 0)
    socket.start(listener, function(fd)
        socket.start(fd)
        while socket.read(fd) do
            local it = table.remove(replies, 1)
            if it then
                -- In two pieces, cut anywhere.
                local cut = it.cut or #it[1]
                socket.write(fd, it[1]:sub(1, cut))
                skynet.sleep(1)
                socket.write(fd, it[1]:sub(cut + 1))
                if it.close then break end
            end
        end
        socket.close(fd)
    end)
    return redis.connect { host = "127.0.0.1", port = port }, listener
end

local function check_strange_servers()
    local deep = ("*1\r\n"):rep(200) .. ":1\r\n"
    local db, listener = scripted {
        { "$5\r\nhello\r\n", cut = 7 },
        { "*2\r\n$1\r\na\r\n*1\r\n:7\r\n", cut = 9 },
        { "nonsense\r\n" },
        { "$99999999999\r\n" },
        { deep },
        { "$10\r\nhalf", close = true },
        { "*2\r\n:1\r\n", close = true },
        { "+fine\r\n", cut = 1 },
    }
    check.eq("cut", db:get "a", "hello")
    check.eq("cut", db:get("a")[2][1], 7)
    if check.skein then
        check.raises("no reply", "no reply of Redis begins with byte 110", db.get, db, "a")
        check.raises("too long", "says", db.get, db, "a")
        check.raises("too deep", "too many arrays in arrays", db.get, db, "a")
        for _ = 1, 2 do
            local ok, err = pcall(db.get, db, "a")
            check.ok("cut off", not ok and err == socketchannel.error)
        end
        check.eq("the next connection", db:get "a", "fine")
    end
    db:disconnect()
    socket.close(listener)
    -- Nothing is answered: who waits is told when somebody else ends it.
    db, listener = scripted {}
    local waited
    skynet.fork(function() waited = table.pack(pcall(db.get, db, "a")) end)
    skynet.sleep(2)
    check.eq("waits", waited, nil)
    db:disconnect()
    while not waited do
        skynet.sleep(1)
    end
    check.ok("told", not waited[1])
    socket.close(listener)
end

local function check_faults(db)
    local slow = redis.connect(options)
    local w = redis.watch(options)
    w:subscribe "kept"
    w:psubscribe "also.*"
    local failed = {}
    for i = 1, 3 do
        skynet.fork(function() failed[i] = table.pack(pcall(slow.blpop, slow, "nothing", 0)) end)
    end
    local last
    skynet.fork(function()
        repeat
            local ok, err = pcall(w.message, w)
            check.ok("told of the loss", ok or err == socketchannel.error)
            last = ok and err
        until ok
    end)
    -- They wait in the server by then.
    while not db:client "list":find "cmd=blpop" do
        skynet.sleep(1)
    end
    order "kill redis"
    while not failed[3] do
        skynet.sleep(1)
    end
    for i = 1, 3 do
        check.ok("killed", not failed[i][1] and failed[i][2] == socketchannel.error)
    end
    check.raises("down", "[Error: socket]", slow.get, slow, "a")
    order "start redis"
    check.eq("up again", slow:set("a", 1), "OK")
    check.eq("up again", db:get "a", "1")
    while db:publish("kept", "subscribed again") == 0 do
        skynet.sleep(1)
    end
    while not last do
        skynet.sleep(1)
    end
    check.eq("subscriptions", last, "subscribed again")
    check.eq("patterns too", db:pubsub "NUMPAT", 1)
    w:disconnect()
    slow:disconnect()
end

check.run("redis", function()
    local db = redis.connect(options)
    check_values(db)
    check_refusals(db)
    check_arrays(db)
    check_booleans(db)
    check_pipelines(db)
    check_tasks(db)
    check_sizes(db)
    check_databases()
    check_passwords()
    check_transactions(db)
    check_messages(db)
    check_strange_servers()
    check_faults(db)
    db:disconnect()
end)

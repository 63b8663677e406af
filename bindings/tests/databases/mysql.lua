-- The client of MySQL against a real MariaDB: results of all kinds, all types in both protocols, many tasks, large values, faults.
--! log: socket: auth failed
local skynet = require "skynet"
require "skynet.manager"
local check = require "check"
local order = require "order"
local mysql = require "skynet.db.mysql"
local socketchannel = require "skynet.socketchannel"

local PORT <const> = tonumber(skynet.getenv "mysql_port")

local function connect(more)
    local options = {
        host = "127.0.0.1",
        port = PORT,
        user = "app",
        password = "secret",
        database = "t",
        charset = "utf8mb4",
        max_packet_size = 64 << 20,
    }
    for key, value in pairs(more or {}) do
        options[key] = value
    end
    return mysql.connect(options)
end

local function check_results(db)
    check.contains("version", db:server_ver(), "MariaDB")
    check.eq("ping", db:ping().affected_rows, 0)
    local made = db:query "create table r (id int auto_increment primary key, v varchar(100), n int)"
    check.values("create", table.pack(made.affected_rows, made.insert_id, made.warning_count, made.message), 0, 0, 0, nil)
    local put = db:query "insert into r (v, n) values ('a', 1), ('b', null), ('', 3)"
    check.values("insert", table.pack(put.affected_rows, put.insert_id), 3, 1)
    local got = db:query "select * from r order by id"
    check.eq("rows", #got, 3)
    check.values("row", table.pack(got[1].id, got[1].v, got[1].n), 1, "a", 1)
    check.values("null", table.pack(got[2].id, got[2].v, got[2].n), 2, "b", nil)
    check.eq("empty text", got[3].v, "")
    check.eq("no rows", #db:query "select * from r where id < 0", 0)
    local changed = db:query "update r set n = 1"
    check.eq("rows that were found", changed.affected_rows, 3)
    if check.skein then check.contains("message", changed.message, "Rows matched: 3") end
    check.eq("unicode", db:query("select 'käse €' as v")[1].v, "käse €")
    local twice = db:query "select 1 as a, 2 as a"
    check.eq("the last of a name", twice[1].a, 2)
end

local function check_errors(db)
    local bad = db:query "nonsense"
    check.values("syntax", table.pack(bad.badresult, bad.errno, bad.sqlstate), true, 1064, "42000")
    check.contains("syntax", bad.err, "SQL syntax")
    local double = db:query "insert into r (id) values (1)"
    check.values("duplicate", table.pack(double.badresult, double.errno, double.sqlstate), true, 1062, "23000")
    check.eq("goes on", db:query("select 1 as a")[1].a, 1)
end

local function check_several(db)
    local all = db:query "select 1 as a; insert into r (n) values (9); select 2 as b, null as c"
    check.eq("several", all.multiresultset, true)
    check.values("several", table.pack(#all, all[1][1].a, all[2].affected_rows, all[3][1].b, all[3][1].c), 3, 1, 1, 2, nil)
    local partly = db:query "select 1 as a; nonsense; select 2"
    check.values("one fails", table.pack(#partly, partly.multiresultset, partly.badresult, partly.errno), 1, true, true, 1064)
    db:query "create procedure two(in x int) begin select x as a; select 2 as b; end"
    local called = db:query "call two(5)"
    check.values("procedure", table.pack(#called, called[1][1].a, called[2][1].b), 3, 5, 2)
    local statement = db:prepare "call two(?)"
    called = db:execute(statement, 7)
    check.eq("prepared procedure", called.mulitresultset, true)
    check.values("prepared procedure", table.pack(called[1][1].a, called[2][1].b), 7, 2)
end

local function check_compact(db)
    db:set_compact_arrays(true)
    check.values("compact", table.pack(table.unpack(db:query("select 1, null, 'x'")[1], 1, 3)), 1, nil, "x")
    local statement = db:prepare "select 1, null, 'x'"
    check.values("compact", table.pack(table.unpack(db:execute(statement)[1], 1, 3)), 1, nil, "x")
    db:set_compact_arrays(false)
    local compact = connect { compact_arrays = true }
    check.eq("compact from the beginning", compact:query("select 5")[1][1], 5)
    compact:disconnect()
end

--- Columns of all types: definition, literal, as text and as binary value.
local TYPES <const> = {
    { "tinyint", "-128", -128 },
    { "tinyint unsigned", "255", 255 },
    { "smallint", "-32768", -32768 },
    { "smallint unsigned", "65535", 65535 },
    { "mediumint", "-8388608", -8388608 },
    { "mediumint unsigned", "16777215", 16777215 },
    { "int", "-2147483648", -2147483648 },
    { "int unsigned", "4294967295", 4294967295 },
    { "bigint", "-9223372036854775808", math.mininteger },
    { "bigint unsigned", "18446744073709551615", 18446744073709551615.0, -1 },
    { "float", "1.5", 1.5 },
    { "double", "-2.25e100", -2.25e100 },
    { "decimal(10,3)", "12.345", 12.345 },
    { "date", "'2020-02-29'", "2020-02-29" },
    { "date", "'0000-00-00'", "0000-00-00" },
    { "datetime", "'2020-01-02 03:04:05'", "2020-01-02 03:04:05" },
    { "datetime", "'2020-01-02'", "2020-01-02 00:00:00" },
    { "datetime(6)", "'2020-01-02 03:04:05.678901'", "2020-01-02 03:04:05.678901" },
    { "timestamp null", "'2020-01-02 03:04:05'", "2020-01-02 03:04:05" },
    { "time", "'-12:34:56'", "-12:34:56" },
    { "time", "'838:59:59'", "838:59:59" },
    { "time", "'00:00:00'", "00:00:00" },
    { "year", "2020", 2020 },
    { "char(3)", "'ab'", "ab" },
    { "varchar(300)", "repeat('x', 300)", ("x"):rep(300) },
    { "binary(3)", "'ab'", "ab\0" },
    { "blob", "x'00ff27'", "\0\255'" },
    { "mediumblob", "repeat('x', 70000)", ("x"):rep(70000) },
    { "text", "'text'", "text" },
    { "enum('a','b')", "'b'", "b" },
    { "set('p','q')", "'p,q'", "p,q" },
    { "bit(10)", "5", "\0\5" },
    { "json", [['{"a": 1}']], '{"a": 1}' },
    { "int", "null", nil },
    { "text", "null", nil },
}

local function check_types(db)
    db:query "set sql_mode = ''"
    for index, it in ipairs(TYPES) do
        local kind, literal, expected, binary = table.unpack(it, 1, 4)
        local name = "types" .. index
        db:query("create table " .. name .. " (v " .. kind .. ")")
        local put = db:query("insert into " .. name .. " values (" .. literal .. ")")
        check.eq(kind, put.err, nil)
        check.eq(kind .. " as text", db:query("select v from " .. name)[1].v, expected)
        local got = db:execute(db:prepare("select v from " .. name))
        if check.skein then check.eq(kind .. " as binary", got[1].v, binary or expected) end
    end
end

local function check_statements(db)
    db:query "create table s (i bigint, d double, v longblob, b bool)"
    local put = db:prepare "insert into s values (?, ?, ?, ?)"
    check.values("statement", table.pack(put.param_count, put.field_count, #put.params, #put.fields), 4, 0, 4, 0)
    check.eq("put", db:execute(put, math.mininteger, -0.5, "\0'\\\255", true).affected_rows, 1)
    db:execute(put, nil, nil, nil, nil)
    db:execute(put, 1, 2.5, ("z"):rep(300), false)
    db:execute(put, 2, 1 / 3, ("y"):rep(70000), false)
    local get = db:prepare "select i, d, v, b from s where i = ? or i is null and ? is null"
    check.values("statement", table.pack(get.fields[1].name, get.fields[3].name), "i", "v")
    local row = db:execute(get, math.mininteger, 0)[1]
    check.values("values", table.pack(row.i, row.d, row.v, row.b), math.mininteger, -0.5, "\0'\\\255", 1)
    row = db:execute(get, 5, nil)[1]
    check.values("nulls", table.pack(row.i, row.d, row.v, row.b), nil, nil, nil, nil)
    check.eq("300", db:execute(get, 1, 0)[1].v, ("z"):rep(300))
    check.eq("70000", db:execute(get, 2, 0)[1].v, ("y"):rep(70000))
    check.eq("1/3", db:execute(get, "2", 0)[1].d, 1 / 3)
    check.eq("none", #db:execute(get, 99, 0), 0)
    check.raises("too few", "require stmt.param_count 2 get arg_num 1", db.execute, db, get, 1)
    check.raises("too many", "require stmt.param_count 2 get arg_num 3", db.execute, db, get, 1, 2, 3)
    check.raises("a table", "invalid parameter type table", db.execute, db, get, {}, 1)
    local wide = {}
    for i = 1, 100 do
        wide[i] = "? as c" .. i
    end
    local many = db:prepare("select " .. table.concat(wide, ", "))
    local values = table.pack(table.unpack({}, 1, 100))
    for i = 1, 100, 3 do
        values[i] = i
    end
    row = db:execute(many, table.unpack(values, 1, 100))[1]
    for i = 1, 100 do
        check.eq("column " .. i, row["c" .. i], values[i])
    end
    check.eq("reset", db:stmt_reset(get).affected_rows, 0)
    db:stmt_close(get)
    local gone = db:execute(get, 1, 1)
    check.values("closed", table.pack(gone.badresult, gone.errno), true, 1243)
    local bad = db:prepare "nonsense ?"
    check.values("bad", table.pack(bad.badresult, bad.errno), true, 1064)
end

local function check_quotes(db)
    local all = {}
    for code = 0, 127 do
        all[#all + 1] = string.char(code)
    end
    local text = table.concat(all) .. "käse"
    check.eq("quoted", db:query("select " .. mysql.quote_sql_str(text) .. " as v")[1].v, text)
    check.eq("quoted", mysql.quote_sql_str "\0\b\n\r\t\26\\'\"x", [['\0\b\n\r\t\Z\\\'\"x']])
end

local function check_tasks(db)
    local left, wrong = 200, 0
    local statement = db:prepare "select ? + 1 as v"
    for i = 1, left do
        skynet.fork(function()
            local v = i % 2 == 0 and db:query("select " .. i .. " + 1 as v")[1].v or db:execute(statement, i)[1].v
            if v ~= i + 1 then wrong = wrong + 1 end
            left = left - 1
        end)
    end
    while left > 0 do
        skynet.sleep(1)
    end
    check.eq("each task its result", wrong, 0)
end

local function check_sizes(db)
    check.eq("2 MB", #db:query("select repeat('x', 2000000) as v")[1].v, 2000000)
    local rows = db:query "select seq, concat('row ', seq) as v, null as n from seq_1_to_100000"
    check.eq("100,000 rows", #rows, 100000)
    check.values("100,000 rows", table.pack(rows[1].v, rows[50000].seq, rows[100000].v, rows[7].n), "row 1", 50000, "row 100000", nil)
    local prepared = db:execute(db:prepare "select seq, concat('row ', seq) as v from seq_1_to_100000")
    check.values("100,000 rows", table.pack(#prepared, prepared[50000].seq, prepared[100000].v), 100000, 50000, "row 100000")
    if check.skein then
        -- Larger than a packet: parts, both ways; also exactly one.
        for _, size in ipairs { 16 << 20, 0xffffff - 1, 0xffffff, 20000001 } do
            local text = ("0123456789abcdef"):rep(size // 16) .. ("x"):rep(size % 16)
            check.eq(size .. " bytes", db:query("select length('" .. text .. "') as v")[1].v, size)
            local got = db:execute(db:prepare "select ? as v", text)[1].v
            check.ok(size .. " bytes back", got == text)
            check.ok(size .. " bytes made", db:query("select repeat('y', " .. size .. ") as v")[1].v == ("y"):rep(size))
        end
    end
end

local function check_logins()
    local ok, err = pcall(connect, { password = "wrong" })
    check.ok("wrong password", not ok and err == socketchannel.error)
    ok, err = pcall(connect, { database = "none" })
    check.ok("no database", not ok and err == socketchannel.error)
    ok, err = pcall(connect, { charset = "klingon" })
    check.ok("no character set", not ok and err == socketchannel.error)
    ok, err = pcall(mysql.connect, { host = "127.0.0.1", port = 1, user = "app" })
    check.ok("nobody there", not ok and err == socketchannel.error)
    local plain = connect { user = "open", password = "" }
    check.eq("without a password", plain:query("select current_user() as v")[1].v, "open@%")
    plain:disconnect()
    local latin = connect { charset = "latin1" }
    check.eq("charset", latin:query("select 'k\228se' as v")[1].v, "k\228se")
    latin:disconnect()
    check.ok("disconnected", not pcall(function() latin:query "select 1" end))
end

local function check_faults(db)
    local connected = 0
    local other = connect {
        on_connect = function(it)
            connected = connected + 1
            it:query "set @mark = 5"
        end,
    }
    check.values("on_connect", table.pack(connected, other:query("select @mark as v")[1].v), 1, 5)
    local id = other:query("select connection_id() as v")[1].v

    -- A statement that is killed is an error; a connection that is killed fails whoever waits, and the next one makes another.
    local result
    skynet.fork(function() result = table.pack(pcall(other.query, other, "select sleep(1000) as v")) end)
    local function running()
        local list = db:query("select info from information_schema.processlist where id = " .. id)
        return list[1] and list[1].info == "select sleep(1000) as v"
    end
    while not running() do
        skynet.sleep(1)
    end
    db:query("kill query " .. id)
    while not result do
        skynet.sleep(1)
    end
    check.ok("query killed", result[1] and (result[2].badresult or result[2][1].v == 1))
    result = nil
    skynet.fork(function() result = table.pack(pcall(other.query, other, "select sleep(1000) as v")) end)
    while not running() do
        skynet.sleep(1)
    end
    db:query("kill " .. id)
    while not result do
        skynet.sleep(1)
    end
    check.ok("connection killed", not result[1] and result[2] == socketchannel.error or result[2].badresult)
    local there, rows
    repeat
        there, rows = pcall(other.query, other, "select @mark as v")
    until there and not rows.badresult
    check.values("on_connect again", table.pack(connected, rows[1].v), 2, 5)

    -- The server dies in the middle of three statements, and comes back.
    local failed = {}
    for i = 1, 3 do
        skynet.fork(function() failed[i] = table.pack(pcall(other.query, other, "select sleep(1000) as v")) end)
    end
    id = other and db:query("select id from information_schema.processlist where info = 'select sleep(1000) as v'")[1]
    while not id do
        skynet.sleep(1)
        id = db:query("select id from information_schema.processlist where info = 'select sleep(1000) as v'")[1]
    end
    order "kill mysql"
    while not failed[1] or not failed[2] or not failed[3] do
        skynet.sleep(1)
    end
    for i = 1, 3 do
        check.ok("server killed", not failed[i][1] and failed[i][2] == socketchannel.error)
    end
    check.raises("down", "[Error: socket]", other.query, other, "select 1")
    order "start mysql"
    check.eq("up again", other:query("select @mark as v")[1].v, 5)
    check.eq("up again", db:query("select count(*) as v from r")[1].v, 4)
    other:disconnect()
end

check.run("mysql", function()
    local db = connect()
    check_results(db)
    check_errors(db)
    check_several(db)
    check_compact(db)
    check_types(db)
    check_statements(db)
    check_quotes(db)
    check_tasks(db)
    check_sizes(db)
    check_logins()
    check_faults(db)
    db:disconnect()
end)

-- Tables that all services read: conformance D3, lua-api §11.2, services §9, native-modules §7.
--! log: config.items[2].on_use: a function with upvalues cannot be shared (Invalid function with upvalue)
--! log: Can't share metatable
--! log: Not a table, it's a number.
local skynet = require "skynet"
local sharetable = require "skynet.sharetable"
local core = require "skynet.sharetable.core"
local check = require "check"

local SOURCE <const> = [[
local first, second = ...
return {
    n = 1, first = first, second = second, list = { 10, 20, 30, nil, 50 },
    items = { { name = "sword" }, { name = "axe" }, { name = "bow" } },
    deep = { a = { b = { c = 1 } } }, ["not an identifier"] = true, [-5] = "minus", [2.5] = "float",
    add = function(a, b) return a + b end,
}]]

local function check_values()
    sharetable.loadstring("config", SOURCE, 7, true)
    local t = sharetable.query "config"
    check.eq("D3 type", type(t), "table")
    check.ok("D3 same", rawequal(t, sharetable.query "config"))
    check.eq("D3 undefined", sharetable.query "no such", nil)
    check.eq("arguments", t.first, 7)
    check.eq("arguments", t.second, true)
    check.eq("D3 call", t.add(1, 2), 3)
    check.eq("length", #t.items, 3)
    check.eq("hole", t.list[5], 50)
    check.eq("key", t["not an identifier"], true)
    check.eq("key", t[2.5], "float")
    check.eq("concat", table.concat(t.items[1].name:rep(2) and { t.items[1].name, t.items[3].name }, " "), "sword bow")
    local count = 0
    for k, v in pairs(t) do
        count = count + 1
        check.ok("pairs", rawequal(t[k], v))
    end
    check.eq("pairs", count, 10)
    local copy = skynet.unpack(skynet.packstring(t.items))
    check.eq("pack", copy[2].name, "axe")
    check.ok("pack", not core.is_sharedtable(copy) and core.is_sharedtable(t.items))

    -- Other kinds of sources.
    sharetable.loadtable("plain", { x = 1, y = { "hello", true }, ["1"] = 2, [3] = 4 })
    local plain = sharetable.query "plain"
    check.eq("loadtable", plain.y[1], "hello")
    check.eq("loadtable", plain["1"], 2)
    check.eq("loadtable", plain[3], 4)
    check.raises("loadtable", "assertion failed!", sharetable.loadtable, "x", "text")
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write "return { from = 'file', argument = ... }"
    file:flush()
    sharetable.loadfile(path, 99)
    check.eq("loadfile", sharetable.query(path).argument, 99)
    os.remove(path)

    local all = sharetable.queryall()
    check.ok("queryall", rawequal(all.config, t) and rawequal(all.plain, plain) and all[path].from == "file")
    local some = sharetable.queryall { "plain", "nothing" }
    check.ok("queryall list", rawequal(some.plain, plain) and next(some, next(some)) == nil)
    check.eq("address", math.type(sharetable.address), "integer")
end

local function check_refusals()
    local bad <const> = {
        "return 1",
        "return setmetatable({}, {})",
        "return { deep = setmetatable({}, {}) }",
        "syntax error here",
        "error 'told'",
        "return { f = function() return print end }",
        "return { coroutine.create(function() end) }",
        "local n = 1 return { items = { 1, { on_use = function() return n end } } }",
    }
    for _, source in ipairs(bad) do
        check.raises("D3 " .. source, "call failed", sharetable.loadstring, "config", source)
    end
    check.raises("string argument", "call failed", sharetable.loadstring, "config", "return {}", "text")
    check.raises("no file", "call failed", sharetable.loadfile, "./no such file")
end

local function check_writes()
    local t = sharetable.query "config"
    local text <const> = check.skein and "attempt to modify a shared (read-only) table" or ""
    local function refused(what, f, ...) check.raises("D3 " .. what, text, f, ...) end
    refused("field", function() t.n = 2 end)
    refused("new field", function() t.other = 1 end)
    refused("nil", function() t.n = nil end)
    refused("deep", function() t.deep.a.b.c = 2 end)
    refused("element", function() t.items[1] = nil end)
    refused("insert", table.insert, t.items, {})
    refused("remove", table.remove, t.items)
    refused("sort", table.sort, t.items, function(a, b) return a.name < b.name end)
    refused("move", table.move, { 1 }, 1, 1, 1, t.items)
    refused("setmetatable", setmetatable, t, {})
    refused("debug.setmetatable", debug.setmetatable, t, {})
    refused("newindex", function() setmetatable({}, { __newindex = t }).n = 2 end)
    refused("global", load("n = 2", "=load", "t", t))
    check.eq("unchanged", t.n, 1)
    if check.skein then
        -- In skynet these write.
        refused("rawset", rawset, t, "n", 2)
        refused("rawset new", rawset, t, "fresh", 2)
        check.eq("unchanged", t.n, 1)
        check.raises("field name", "(field 'deep')", function() t.deep.n = 1 end)
    end
end

local held_global

local function check_update()
    sharetable.loadstring("config", SOURCE, 1)
    sharetable.update "config"
    local t = sharetable.query "config"
    local items, sword, bow = t.items, t.items[1], t.items[3]
    held_global = t
    local in_table = { t.deep, inner = { deep = t.deep.a }, [sword] = "the sword", [bow] = "the bow" }
    local in_upvalue = function() return t.deep.a.b end
    local waiting = coroutine.wrap(function(own)
        local mine = own.deep
        coroutine.yield()
        return mine.a.b.c
    end)
    waiting(t)
    local with_meta = setmetatable({}, { __index = t })
    local other = sharetable.query "plain"
    local called = skynet.newservice("sharetable_reader", "config")
    check.eq("reader", skynet.call(called, "lua", "n"), 1)

    sharetable.loadstring("config", [[
        return { n = 2, items = { { name = "sabre" }, { name = "club" } }, deep = { a = { b = { c = 2 } } } }]])
    check.eq("D3 not yet", t.n, 1)
    check.eq("D3 not yet", sharetable.query("config").n, 2)
    sharetable.update "config"
    check.eq("D3 local", t.n, 2)
    check.ok("D3 same", rawequal(t, sharetable.query "config"))
    check.eq("D3 sub-table", items[1].name, "sabre")
    check.eq("D3 sub-table", sword.name, "sabre")
    check.eq("D3 vanished", bow, nil)
    check.ok("D3 upvalue of a file", rawequal(held_global, t))
    check.eq("D3 in a table", in_table[1].a.b.c, 2)
    check.eq("D3 in a table", in_table.inner.deep.b.c, 2)
    check.eq("D3 key", in_table[sword], "the sword")
    local keys = 0
    for _ in pairs(in_table) do keys = keys + 1 end
    check.eq("D3 vanished key", keys, 3)
    check.eq("D3 closure", in_upvalue().c, 2)
    check.eq("D3 coroutine", waiting(), 2)
    check.eq("D3 metatable", with_meta.n, 2)
    check.eq("D3 others stay", other.x, 1)
    check.eq("reader keeps its own", skynet.call(called, "lua", "n"), 1)
    skynet.call(called, "lua", "update")
    check.eq("reader", skynet.call(called, "lua", "n"), 2)
    sharetable.update("config", "no such", "plain")
    check.eq("again", t.n, 2)
    skynet.kill(called)
end

local function check_pointers()
    for _, bytes in ipairs { "\0\0\0\0\0\0", "\16\1\0\0\0\40", "\0\0\0\0\0\32", "\1\2\3\4\5\6" } do
        local pointer = skynet.unpack("\3" .. bytes .. "\0\0")
        check.eq("pointer", type(pointer), "userdata")
        check.raises("clone", "Not a shared table", core.clone, pointer)
    end
end

local function check_matrix()
    local matrix = core.matrix("local f, a, b = ... return { f(a, b), f = f }", select, 1, 3.5)
    local ptr = matrix:getptr()
    check.eq("type", type(ptr), "userdata")
    local t = core.clone(ptr)
    check.ok("clone", rawequal(t, core.clone(ptr)) and core.is_sharedtable(t) and t[1] == 3.5 and t.f == select)
    check.ok("size", matrix:size() > 0 and math.type(matrix:size()) == "integer")
    matrix:close()
    matrix:close()
    check.eq("closed", select("#", matrix:getptr()), 0)
    check.eq("closed", matrix:size(), 0)
    if check.skein then check.eq("still there", t[1], 3.5) end
    check.ok("not shared", not core.is_sharedtable {} and not core.is_sharedtable(1))
    -- Pointers that crash skynet.
    if check.skein then check_pointers() end
    check.raises("argument", "Type invalid", core.matrix, "return {}", nil)
    check.raises("argument", "Type invalid", core.matrix, "return {}", "text")
    check.raises("argument", "Only support light C function", core.matrix, "return {}", function() end)
    check.raises("argument", "Only support light C function", core.matrix, "return {}", ("x"):gmatch "x")
    check.raises("file", "cannot open", core.matrix, "@./nofile")
    check.raises("error", "[string \"error 'told'\"]:1: told", core.matrix, "error 'told'")
    check.raises("result", "Not a table, it's a nil.", core.matrix, "return nil")
    local values = {}
    check.eq("stackvalues", core.stackvalues(coroutine.create(print), values), 1)
    check.ok("stackvalues", values[1] == print)
    check.eq("stackvalues", core.stackvalues(coroutine.running()), 0)
    check.raises("stackvalues", "thread expected", core.stackvalues, 1)
end

local function check_info()
    local info = skynet.call(sharetable.address, "debug", "INFO")
    check.eq("info", type(info.config.current), "userdata")
    check.ok("info", info.config.size > 0 and info.plain.size > 0)
end

check.run("sharetable", function()
    check_values()
    check_refusals()
    check_writes()
    check_update()
    check_matrix()
    check_info()
end)

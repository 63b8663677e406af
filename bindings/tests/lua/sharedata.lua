-- Configuration behind proxies: conformance D1, D2, lua-api §11.1, services §8, native-modules §6.
--! log: Unknown data type boolean
--! log: broken_text:2: told by its name
local skynet = require "skynet"
local sharedata = require "skynet.sharedata"
local core = require "skynet.sharedata.core"
local check = require "check"

local function check_proxies()
    sharedata.new("data", { "a", "b", "c", x = 1, deep = { k = { v = 2 } }, f = 1.5, no = false, list = { { id = 1 }, { id = 2 } } })
    local data = sharedata.query "data"
    check.eq("D1 #", #data, 3)
    check.eq("D1 field", data.x, 1)
    check.eq("D1 field", data.f, 1.5)
    check.eq("D1 false", data.no, false)
    check.eq("D1 absent", data.nothing, nil)
    check.eq("D1 element", data[2], "b")
    check.eq("D1 deep", data.deep.k.v, 2)
    check.ok("D1 same", rawequal(data, sharedata.query "data") and rawequal(data.deep, data.deep))
    check.raises("D1 write", "Error newindex, the key []", function() data.x = 2 end)
    check.raises("D1 write", "Error newindex, the key [.deep.k]", function() data.deep.k.v = 2 end)
    check.raises("float", "Invalid key 1.5", function() return data[1.5] end)
    local keys = {}
    for k, v in pairs(data) do
        keys[#keys + 1] = tostring(k)
        check.ok("pairs", data[k] == v)
    end
    table.sort(keys)
    check.eq("pairs", table.concat(keys, " "), "1 2 3 deep f list no x")
    local sum = 0
    for _, item in ipairs(data.list) do sum = sum + item.id end
    check.eq("ipairs", sum, 3)
    local copy = skynet.unpack(skynet.packstring(data))
    check.eq("pack", copy.deep.k.v, 2)
    check.eq("pack", #copy, 3)
    check.raises("D1 again", "call failed", sharedata.new, "data", {})
    check.raises("unknown", "call failed", sharedata.query, "no such")
    check.raises("unknown", "call failed", sharedata.delete, "no such")
    check.raises("type", "call failed", sharedata.new, "bad", true)
    if check.skein then check.raises("value", "call failed", sharedata.new, "bad", { [{}] = 1 }) end
end

local function check_updates()
    local data = sharedata.query "data"
    local deep, k, list = data.deep, data.deep.k, data.list
    sharedata.update("data", { x = 2, deep = { other = 1 }, list = { { id = 7 } } })
    skynet.sleep(1)
    check.eq("D1 follows", data.x, 2)
    check.eq("D1 follows", deep.other, 1)
    check.eq("D1 follows", list[1].id, 7)
    check.eq("D1 follows", #data, 0)
    check.ok("D1 same", rawequal(data, sharedata.query "data") and rawequal(deep, data.deep))
    check.raises("D1 vanished", "The key [.deep.k] doesn't exist after update", function() return k.v end)
    sharedata.update("data", { x = 3 })
    sharedata.update("data", { x = 4, deep = { k = { v = 9 } } })
    skynet.sleep(1)
    check.eq("D1 twice", data.x, 4)
    -- In skynet a proxy whose place was gone once stays broken.
    if check.skein then check.eq("D1 back", k.v, 9) end
    sharedata.flush()
    check.eq("flush", data.deep.k.v, 9)
    sharedata.update("fresh", { 1 })
    check.eq("D1 creates", sharedata.query("fresh")[1], 1)
    sharedata.delete "fresh"
    sharedata.delete "data"
    skynet.sleep(1)
    check.eq("D1 deleted", data.x, 4)
    check.eq("D1 deleted", data.deep.k.v, 9)
    check.raises("D1 deleted", "call failed", sharedata.query, "data")
end

local function check_sources()
    check.raises("broken text", "call failed", sharedata.new, "broken_text", "a = 1\nerror 'told by its name'")
    sharedata.new("globals", "a = 1 b = { ... } local c = 2", 5, 6)
    local globals = sharedata.query "globals"
    check.eq("D2 globals", globals.a, 1)
    check.eq("D2 arguments", globals.b[2], 6)
    check.eq("D2 local", globals.c, nil)
    sharedata.new("returned", "return { x = math.max(...), y = { z = 'deep' } }", 3, 9)
    check.eq("D2 return", sharedata.query("returned").x, 9)
    local path = os.tmpname()
    local function write(text)
        local file <close> = assert(io.open(path, "w"))
        file:write(text)
    end
    write "return { v = 1 }"
    sharedata.new("file", "@" .. path)
    check.eq("D2 file", sharedata.query("file").v, 1)
    write "return { v = 2 }"
    sharedata.update("file", "@" .. path)
    skynet.sleep(1)
    check.eq("D2 file again", sharedata.query("file").v, 2)
    os.remove(path)
    check.raises("D2 no file", "call failed", sharedata.new, "none", "@./no such file")
    check.raises("D2 error", "call failed", sharedata.new, "none", "error 'told'")
    sharedata.new "empty"
    check.eq("nothing", next(sharedata.deepcopy "empty"), nil)
    check.eq("D2 deepcopy", sharedata.deepcopy("returned").y.z, "deep")
    check.eq("D2 deepcopy", sharedata.deepcopy("returned", "y").z, "deep")
    check.eq("D2 deepcopy", sharedata.deepcopy("returned", "y", "z"), "deep")
    check.eq("D2 deepcopy", sharedata.deepcopy("returned", "no", "z"), nil)
    local copy = sharedata.deepcopy "returned"
    copy.x = 1
    check.eq("D2 deepcopy", copy.x, 1)
end

local function check_core()
    local t = core.new { 1, 2, 3, a = 1, b = "x", c = { d = true }, [100] = 5 }
    check.eq("len", core.len(t), 3)
    check.eq("hashlen", core.hashlen(t), 4)
    local inner = core.index(t, "c")
    check.ok("inner", type(inner) == "userdata" and inner == core.index(t, "c") and core.index(inner, "d"))
    check.eq("index nil", select("#", core.index(t, nil)), 0)
    check.eq("nextkey", select("#", core.nextkey(t, "no such")), 0)
    check.eq("nextkey", select("#", core.nextkey(t, 1.5)), 0)
    local keys, key = {}, core.nextkey(t)
    while key ~= nil do
        keys[#keys + 1] = tostring(key)
        key = core.nextkey(t, key)
    end
    check.eq("nextkey", table.concat(keys, " ", 1, 3), "1 2 3")
    check.eq("nextkey", #keys, 7)
    check.eq("count", core.getref(t), 0)
    check.eq("count", core.incref(inner), 1)
    -- skynet frees what is counted on.
    if check.skein then core.delete(t) end
    check.eq("delete refused", core.decref(t), 0)
    local box = core.box(t)
    check.eq("box", core.getref(t), 1)
    check.raises("update", "You should update a new object", core.update, box, t, {})
    check.eq("needupdate", select("#", core.needupdate(box)), 0)
    local other, value = core.new {}, {}
    core.update(box, other, value)
    local newer, same = core.needupdate(box)
    check.ok("needupdate", newer == other and same == value)
    check.ok("dirty", not core.isdirty(inner))
    core.markdirty(inner)
    check.ok("dirty", core.isdirty(t))
    box = nil
    collectgarbage()
    collectgarbage()
    check.eq("box collected", core.getref(t), 0)
    core.delete(t)
    if check.skein then check.raises("deleted", "Need a conf object", core.index, t, "a") end
    check.raises("nothing", "Need a conf object", core.len)
    check.raises("key", "Invalid key 1.5", core.new, { [1.5] = 1 })
    check.raises("key", "Invalid key type boolean", core.new, { [true] = 1 })
    if check.skein then check.raises("key", "Invalid key type table", core.new, { [{}] = 1 }) end
    check.raises("value", "Unsupport value type function", core.new, { print })
    local cycle = {}
    cycle.cycle = cycle
    check.raises("cycle", "C stack overflow", core.new, cycle)
end

local function check_blobs()
    local blob = core.new "some bytes"
    local ptr, size = core.ptr(blob)
    check.ok("blob", type(ptr) == "userdata" and size == 10)
    check.eq("blob", core.addref(blob), 2)
    check.eq("blob", core.release(blob), 1)
    check.eq("blob", core.release(blob), 0)
    check.raises("blob", "the data was released", core.ptr, blob)
    check.raises("blob", "the data was released", core.release, blob)
    local msg, sz = skynet.pack("from a message")
    local copy = core.new(msg, sz)
    skynet.trash(msg, sz)
    check.eq("blob", select(2, core.ptr(copy)), sz)
end

check.run("sharedata", function()
    check_proxies()
    check_updates()
    check_sources()
    check_core()
    if check.skein then check_blobs() end
end)

--- Calls native functions in any order with any values, also with those that earlier calls answered: pointers that may be used up,
--- objects of every module, threads that are dead. `bad_args.lua` goes through single calls; here it is what calls leave behind that
--- the next ones meet. Each call runs in a coroutine of its own, and one that suspends is left alone.
---
--- As `main` it starts services that do so, by a seed each, and has them go on in turns.
local skynet = require "skynet"
local core = require "skynet.core"
local lpeg = require "lpeg"

local SEED <const> = math.tointeger(skynet.getenv "seed") or 1
local TURNS <const> = math.tointeger(skynet.getenv "turns") or 10
local SERVICES <const> = 3
local CALLS <const> = 300
local POOL <const> = 96

local own_seed = ...

if not own_seed then
    skynet.start(function()
        local calls, services = 0, {}
        local function finish()
            print(("\nCALLED %d"):format(calls))
            core.command "ABORT"
        end
        -- A service that does not answer any more has done that to itself: forgotten who asked, or who it is.
        skynet.timeout(2000 + TURNS * 10, finish)
        for i = 1, SERVICES do
            services[i] = skynet.newservice("main", SEED * SERVICES + i)
        end
        local left = SERVICES
        for i = 1, SERVICES do
            skynet.fork(function()
                for _ = 1, TURNS do
                    local ok, count = pcall(skynet.call, services[i], "lua", services)
                    if not ok then break end
                    calls = calls + count
                end
                left = left - 1
                if left == 0 then finish() end
            end)
        end
    end)
    return
end

local natives = dofile "natives.lua"
local random = natives.random(math.tointeger(own_seed) * 2654435761 + 88172645463325252)

------------------------------------------------------------------------------------------------------------------------ functions

-- What ends or stops the service, prints, fills memory, sleeps (`skynet.debugchannel` does, and is no module of the list), looks up
-- hosts, or is meant for descriptors of the process.
local LEFT_OUT <const> = {
    ["skynet.core.callback"] = true,
    ["skynet.core.command"] = true,
    ["skynet.core.intcommand"] = true,
    ["skynet.core.addresscommand"] = true,
    ["skynet.core.error"] = true,
    ["skynet.memory.dump"] = true,
    ["skynet.memory.dumpinfo"] = true,
    ["skynet.memory.jestat"] = true,
    ["skynet.socketdriver.bind"] = true,
    ["skynet.socketdriver.resolve"] = true,
    ["coroutine.yield"] = true,
    ["coroutine.close"] = true,
    ["string.rep"] = true,
    ["string.dump"] = true,
}

local functions = {}
local function add(module, members)
    local names = {}
    for name, f in pairs(members) do
        if type(name) == "string" and type(f) == "function" and not LEFT_OUT[module .. "." .. name] then
            names[#names + 1] = name
        end
    end
    table.sort(names)
    for _, name in ipairs(names) do
        functions[#functions + 1] = members[name]
    end
end

for _, module in ipairs(natives.modules) do
    add(module, require(module))
end
require("ltls.init.c").constructor()
add("ltls", require "ltls.c")
add("string", string)
add("utf8", utf8)
add("coroutine", coroutine)

-- Nothing leaves the machine, and no port is taken that others could want.
local driver = {}
for name, f in pairs(require "skynet.socketdriver") do
    driver[name] = f
end
for name, place in pairs { connect = 1, listen = 1, udp = 1, udp_listen = 1, udp_dial = 1, udp_connect = 2 } do
    local f = driver[name]
    driver[name] = function(...)
        local arguments = table.pack(...)
        arguments[place], arguments[place + 1] = "127.0.0.1", 0
        return f(table.unpack(arguments, 1, math.max(arguments.n, place + 1)))
    end
end
add("skynet.socketdriver", driver)

--------------------------------------------------------------------------------------------------------------------------- values

local function pointer(address) return (core.unpack("\3" .. string.pack("<I8", address))) end

local SCHEMA <const> =
    require("sprotoparser").parse ".T { i 0 : integer s 1 : *string t 2 : T } p 1 { request T response T }"
local TEXTS <const> = {
    "", "text", "a\0b", "T", "p", "GETENV", ".logger", "client", "server", "\n", "*a", "<I4", "%s", "(.)", ":8", "0x7b", SCHEMA,
}
local NUMBERS <const> = {
    0, 1, -1, 1.5, 0 / 0, math.huge, 1 << 31, 1 << 32, math.maxinteger, math.mininteger,
}

local makers = {
    function() return nil end,
    function() return true end,
    function() return random(300) end,
    function() return NUMBERS[random(#NUMBERS)] end,
    function() return TEXTS[random(#TEXTS)] end,
    function() return ("x"):rep(random(3000)) end,
    function() return ("block "):rep(random(20000)) end,
    function() return string.char(random(256) - 1, random(256) - 1, random(256) - 1, random(256) - 1) end,
    function() return { 1, 2, 3, "x", { y = 1 } } end,
    function() return { i = 1, s = { "x", "y" }, t = { i = 2 } } end,
    function() return setmetatable({}, { __gc = function() core.trash(core.pack(1)) end }) end,
    function() return setmetatable({}, { __index = error, __tostring = function() return {} end, __pairs = 5 }) end,
    function() return setmetatable({}, { __mode = "kv" }) end,
    function() return function(...) return ... end end,
    function() return function(...) return functions[random(#functions)](...) end end,
    function() return function() coroutine.yield(1) end end,
    function() return coroutine.create(function(...) return coroutine.yield(...) end) end,
    function() return (core.pack("b", random(100))) end,
    function() return (core.pack(("z"):rep(random(70000)))) end,
    function() return core.packstring("a", { random(100), x = "y" }) end,
    function() return pointer(random(1 << 40)) end,
    function() return pointer(0x200000001000 + random(1 << 20) * 16) end,
    function() return lpeg.P(random(3)) ^ 0 end,
}

local pool = {}
local function keep(value)
    if value ~= nil then pool[random(POOL)] = value end
end

local function any()
    if random(2) == 1 then return pool[random(POOL)] end
    return makers[random(#makers)]()
end

---------------------------------------------------------------------------------------------------------------------------- calls

--- A function, or a method of an object that there is; and the object.
local function choose()
    local object = pool[random(POOL)]
    local meta = type(object) == "userdata" and debug.getmetatable(object)
    if meta and random(4) == 1 then
        local methods, names = type(meta.__index) == "table" and meta.__index or meta, {}
        for name, f in pairs(methods) do
            if type(name) == "string" and type(f) == "function" then names[#names + 1] = name end
        end
        table.sort(names)
        if #names > 0 then return methods[names[random(#names)]], object end
    end
    return functions[random(#functions)], any()
end

local function call()
    local arguments, count = {}, random(6) - 1
    local f, first = choose()
    arguments[1] = first
    for place = 2, count do
        arguments[place] = any()
    end
    local result = table.pack(coroutine.resume(coroutine.create(f), table.unpack(arguments, 1, count)))
    for i = 2, math.min(result.n, 6) do
        keep(result[i])
    end
    if random(60) == 1 then collectgarbage(random(2) == 1 and "step" or "collect") end
end

--- Takes what a message brings.
local function take(...)
    for i = 1, select("#", ...) do
        keep((select(i, ...)))
    end
end

skynet.memlimit(256 << 20)
skynet.start(function()
    skynet.register_protocol {
        name = "client",
        id = skynet.PTYPE_CLIENT,
        pack = core.pack,
        unpack = function(message, size) return message, size end,
        dispatch = function(_, _, ...) take(...) end,
    }
    skynet.dispatch("lua", function(session, _, others, ...)
        if session == 0 or type(others) ~= "table" then return take(others, ...) end
        for _ = 1, CALLS do
            call()
        end
        for _ = 1, 10 do
            pcall(skynet.send, others[random(#others)], random(2) == 1 and "lua" or "client", any(), any())
        end
        for i = 1, POOL do
            if random(8) == 1 then pool[i] = nil end
        end
        skynet.retpack(CALLS)
    end)
end)

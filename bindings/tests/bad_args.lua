--- Calls every function of the native modules with every bad value in every place. A call may answer or raise a string;
--- it may not end the process, and the service works as before afterwards.

local core = require "skynet.core"

local natives = dofile "natives.lua"
local modules = {}
for _, name in ipairs(natives.modules) do
    modules[name] = require(name)
end

-- A copy: descriptors of this process are not the walk's to play with.
local driver = require "skynet.socketdriver"
modules["skynet.socketdriver"] = {}
for name, f in pairs(driver) do
    if name ~= "bind" then modules["skynet.socketdriver"][name] = f end
end

-- What ends the process or sleeps as long as it is told is not walked.
modules["client.socket"] = {}
for name, f in pairs(require "client.socket") do
    if name ~= "readstdin" and name ~= "usleep" then modules["client.socket"][name] = f end
end

-- Methods stand under the names of their objects.
require("ltls.init.c").constructor()
local ltls = require "ltls.c"
modules["ltls.c"] = ltls
modules["ltls.context"] = debug.getmetatable(ltls.newctx()).__index
modules["ltls.session"] = debug.getmetatable(ltls.newtls("client", ltls.newctx(), "localhost")).__index

-- Commands whose purpose is the end of something are not called with what could be meant seriously.
local commands = {
    "TIMEOUT", "REG", "QUERY", "NAME", "KILL", "LAUNCH", "GETENV", "SETENV", "STARTTIME", "MONITOR", "STAT", "LOGON",
    "LOGOFF", "SIGNAL", "", "nosuch", "stat",
}

--- A light userdata of any address.
local function pointer(address)
    return (core.unpack("\3" .. string.pack("<I8", address)))
end

local function address_of(p)
    return (string.unpack("<I8", core.packstring(p), 2))
end

local live = {}
--- A block in hand, and its size.
local function block()
    local p, n = core.pack("a block", { 1, 2, 3 })
    live[#live + 1] = { p, n }
    return p, n
end

local function stale()
    local p, n = core.pack("gone")
    core.trash(p, n)
    return p
end

local function doubled()
    local p, n = core.pack("doubled")
    core.send(core.addresscommand "REG", 10, 0, p, n)
    return p
end

-- Functions, so that a value that is used up is made again.
local packages = require "skynet.multicast.core"
--- A package pointer.
local function package_pointer()
    local p, n = packages.pack(core.pack "a package")
    live[#live + 1] = { p, n }
    return p, n
end

local lpeg = require "lpeg"
local sproto = require "sproto.core"
local SCHEMA <const> = require("sprotoparser").parse ".T { i 0 : integer s 1 : *string t 2 : T } p 1 { request T response nil }"
local schema = sproto.newproto(SCHEMA)
local record = sproto.querytype(schema, "T")

local values = {
    ["nil"] = function() end,
    ["true"] = function() return true end,
    ["-1"] = function() return -1 end,
    ["0"] = function() return 0 end,
    ["3"] = function() return 3 end,
    ["1.5"] = function() return 1.5 end,
    ["2^31"] = function() return 1 << 31 end,
    ["2^32"] = function() return 1 << 32 end,
    ["max"] = function() return math.maxinteger end,
    ["min"] = function() return math.mininteger end,
    ["nan"] = function() return 0 / 0 end,
    ["inf"] = function() return math.huge end,
    ["1e300"] = function() return 1e300 end,
    ["empty"] = function() return "" end,
    ["text"] = function() return "text" end,
    ["digits"] = function() return "0x7b" end,
    ["nul"] = function() return "a\0b" end,
    ["percent"] = function() return "%s%n%d" end,
    [":0"] = function() return ":0" end,
    [":ffffffffff"] = function() return ":ffffffffff" end,
    [".name"] = function() return ".nobody" end,
    ["long"] = function() return ("x"):rep(2000) end,
    ["showing a block"] = function()
        local p, n = core.pack(("y"):rep(5000))
        live[#live + 1] = { p, n }
        return core.tostring(p, n)
    end,
    ["showing a block of its own"] = function()
        local p, n = core.pack(("z"):rep(5000))
        local shown = core.tostring(p, n)
        core.trash(p, n)
        return shown
    end,
    ["stream"] = function() return "\x06\x06\x06" end,
    ["table"] = function() return {} end,
    ["cycle"] = function() local t = {} t.t = t return t end,
    ["liar"] = function() return setmetatable({}, { __pairs = 5, __tostring = function() return {} end, __index = error }) end,
    ["raiser"] = function() return setmetatable({}, { __pairs = error, __tostring = error, __name = 7, __len = error }) end,
    ["function"] = function() return print end,
    ["thread"] = function() return coroutine.create(print) end,
    ["this thread"] = function() return (coroutine.running()) end,
    ["file"] = function() return io.stdout end,
    ["null"] = function() return pointer(0) end,
    ["pointer 1"] = function() return pointer(1) end,
    ["pointer -1"] = function() return pointer(-1) end,
    ["foreign"] = function() return pointer(0x7fff12345678) end,
    ["in the arena"] = function() return pointer(0x200000001000) end,
    ["block"] = function() return (block()) end,
    ["inside"] = function() return pointer(address_of((block())) + 16) end,
    ["header"] = function() return pointer(address_of((block())) - 32) end,
    ["stale"] = stale,
    ["doubled"] = doubled,
    ["schema"] = function() return schema end,
    ["type"] = function() return record end,
    ["pattern"] = function() return lpeg.Ct(lpeg.C(1) ^ 0) end,
    ["called while matching"] = function() return lpeg.Cmt(lpeg.Cg(1, "k") ^ 0, function(...) return ... end) end,
    ["rule"] = function() return lpeg.V "text" end,
    ["package pointer"] = function() return (package_pointer()) end,
    ["package"] = function() return packages.bind(package_pointer(), 1) end,
}

local names = {}
for name in pairs(values) do names[#names + 1] = name end
table.sort(names)

local calls, raised = 0, 0

local function call(label, f, arguments, count)
    local result = table.pack(pcall(f, table.unpack(arguments, 1, count)))
    calls = calls + 1
    if not result[1] then
        raised = raised + 1
        local what = math.type(result[2]) or type(result[2])
        -- What a metamethod raised passes through as it is; here that is always the object itself, or a string.
        if what ~= "string" and what ~= "table" then
            error(("%s raised a %s"):format(label, what), 0)
        end
    end
    -- Blocks that were not taken.
    for i = #live, 1, -1 do
        pcall(core.trash, live[i][1], live[i][2])
        live[i] = nil
    end
end

local random = natives.random(88172645463325252)

local own = core.addresscommand "REG"
-- What a call would look like, so that each place is reached behind good values.
local good = {
    send = function() local p, n = block() return { own, 10, 0, p, n } end,
    redirect = function() local p, n = block() return { own, 7, 10, 0, p, n } end,
    unpack = function() local p, n = block() return { p, n } end,
    tostring = function() local p, n = block() return { p, n } end,
    trash = function() local p, n = block() return { p, n } end,
    command = function() return { "GETENV", "thread" } end,
    intcommand = function() return { "GETENV", "thread" } end,
    addresscommand = function() return { "QUERY", ".logger" } end,
    trace = function() return { "tag", "user", coroutine.running(), 1 } end,
    newproto = function() return { SCHEMA } end,
    deleteproto = function() return { (sproto.newproto(SCHEMA)) } end,
    dumpproto = function() return { schema } end,
    querytype = function() return { schema, "T" } end,
    protocol = function() return { schema, "p" } end,
    saveproto = function() return { schema, 3 } end,
    loadproto = function() return { 3 } end,
    encode = function() return { record, { i = 1, s = { "x" }, t = {} } } end,
    decode = function() return { record, "\1\0\4\0" } end,
    ["sproto.core.pack"] = function() return { "text" } end,
    ["sproto.core.unpack"] = function() return { "\1x" } end,
    default = function() return { record } end,
    packrequest = function() local p, n = block() return { 1, 1, p, n } end,
    packpush = function() local p, n = block() return { "@name", 1, p, n } end,
    packtrace = function() return { "tag" } end,
    unpackrequest = function() local p, n = block() return { p, n } end,
    packresponse = function() local p, n = block() return { 1, true, p, n } end,
    unpackresponse = function() local p, n = block() return { p, n } end,
    match = function() return { lpeg.Ct(lpeg.C(1) ^ 0 * lpeg.Carg(1)), "text", 1, "extra" } end,
    ["lpeg.type"] = function() return { lpeg.P(1) } end,
    __div = function() return { lpeg.C(1), "%1" } end,
    __mod = function() return { lpeg.C(1), print } end,
    append = function() local p, n = block() return { { 0 }, p, n } end,
    concat = function() return { { 3, "abc" } } end,
    isname = function() return { "@name" } end,
    newtls = function() return { "client", ltls.newctx(), "localhost" } end,
    set_cert = function() return { ltls.newctx(), "nosuch", "nosuch" } end,
    set_verify = function() return { ltls.newctx(), true } end,
    set_authorities = function() return { ltls.newctx(), "nosuch" } end,
    ["ltls.session.handshake"] = function() return { ltls.newtls("client", ltls.newctx()), "" } end,
    ["ltls.session.read"] = function() return { ltls.newtls("client", ltls.newctx()), "" } end,
    ["ltls.session.write"] = function() return { ltls.newtls("client", ltls.newctx()), "text" } end,
    set_ext_host_name = function() return { ltls.newtls("client", ltls.newctx()), "localhost" } end,
    ["skynet.multicast.core.pack"] = function() return { block() } end,
    packremote = function() return { block() } end,
    ["skynet.multicast.core.unpack"] = function() return { package_pointer() } end,
    bind = function() return { (package_pointer()), 1 } end,
    ["skynet.multicast.core.close"] = function() return { packages.bind(package_pointer(), 1) } end,
    remote = function() return { package_pointer() } end,
    nextid = function() return { 256 } end,
    deliver = function() local p, n = package_pointer() return { p, n, 256, 7, { [own] = true } } end,
}

-- The operators of patterns are functions too. What a pattern calls or yields may be anything.
modules["lpeg.pattern"] = {}
for name, f in pairs(debug.getmetatable(lpeg.P(1))) do
    if name:find "^__" and type(f) == "function" then modules["lpeg.pattern"][name] = f end
end

-- What a function of ours trusts is out of reach.
for _, functions in pairs(modules) do
    for name, f in pairs(functions) do
        if type(f) == "function" and f ~= loadfile then
            assert(debug.setupvalue(f, 1, nil) == nil, name)
            assert(debug.setupvalue(f, 2, 0) == nil, name)
        end
    end
end
assert(debug.setupvalue(("x"):gmatch "x", 1, nil) == nil)

-- A name of a host that nobody has costs seconds where the resolver does not answer, so the walk has one address only.
for name, place in pairs { resolve = 1, connect = 1, listen = 1, udp = 1, udp_listen = 1, udp_dial = 1, udp_connect = 2 } do
    local f = driver[name]
    modules["skynet.socketdriver"][name] = function(...)
        local arguments = table.pack(...)
        local host = arguments[place]
        if math.type(host) or type(host) == "string" and not host:find ":" then arguments[place] = "127.0.0.1" end
        return f(table.unpack(arguments, 1, arguments.n))
    end
end

for module, functions in pairs(modules) do
    for name, f in pairs(functions) do
        if type(f) == "function" then
            local label = module .. "." .. name
            call(label, f, {}, 0)
            -- One bad value among good ones, and alone.
            for _, bad in ipairs(names) do
                for place = 1, 6 do
                    local make = good[label] or good[name]
                    local arguments = make and make() or {}
                    local count = math.max(#arguments, place)
                    arguments[place] = values[bad]()
                    call(label, f, arguments, count)
                    call(label, f, arguments, place)
                end
            end
            -- Any values.
            for _ = 1, 2000 do
                local count = random(6)
                local arguments = {}
                for place = 1, count do
                    arguments[place] = values[names[random(#names)]]()
                end
                call(label, f, arguments, count)
            end
            collectgarbage "step"
        end
    end
end

for _, command in ipairs(commands) do
    for _, bad in ipairs(names) do
        for _, f in ipairs { core.command, core.intcommand, core.addresscommand } do
            call(command, f, { command, values[bad]() }, 2)
            call(command, f, { command }, 1)
            call(command, f, { command, values[bad](), 1 }, 3)
        end
    end
end

collectgarbage()
collectgarbage()
local p, n = core.pack("still", { "here" })
local a, b = core.unpack(p, n)
core.trash(p, n)
assert(a == "still" and b[1] == "here")
-- A `print` that raised may have left half a line.
print(("\nWALKED %d calls, %d raised"):format(calls, raised))
core.command "ABORT"

--- A console over TCP: a line is a command, what it answers comes back as text, then `<CMD OK>` or `<CMD Error>`.
---
--- Arguments: `[address,] port`; without an address 127.0.0.1. Whoever reaches the port rules the node. A first line that is an HTTP
--- request line makes it one command over HTTP: of a GET the path, with blanks for slashes, of a POST the body.
local skynet = require "skynet"
local core = require "skynet.core"
local socket = require "skynet.socket"
local listing = require "skein.listing"
require "skynet.manager"

--- What `stat`, `mem` and `gc` wait for, in 1/100 s.
local DEFAULT_TIMEOUT <const> = 300
local GREETING <const> = "Welcome to skynet console\n"
--- Who says nothing for so long is greeted, in 1/100 s.
local SILENCE <const> = 10
local LARGEST_BODY <const> = 8192
local LONGEST_HEAD <const> = 65536

---@type table<string, string>
local descriptions = {}
--- By this name, code that is injected into the console finds them, to add its own.
---@type table<string, async fun(...)>
local COMMAND = {}
--- Commands that want the whole line, or the connection.
local wants_line = { call = true, debug = true }

--- Defines a command: its name, its line in `help`, its function. What that returns is printed.
local function define(name, description, f)
    descriptions[name] = description
    COMMAND[name] = f
end

--- The handle of `.name`, `:hex` or `hex`.
local function address_of(text)
    if type(text) == "string" and text:sub(1, 1) == "." then
        return skynet.localname(text) or error "Not a valid name"
    end
    local handle = tonumber((text or ""):match "^:?(%x+)$" or "", 16) or error "Need an address"
    if handle >> 24 == 0 then handle = handle | skynet.harbor(skynet.self()) << 24 end
    return handle
end

local function timeout_of(text)
    local ti = text and (tonumber(text) or error "Need a number of 1/100 s") or DEFAULT_TIMEOUT
    if ti > 0 then return ti // 1 | 0 end
end

define("help", "This help message", function() return descriptions end)

define("list", "List all the service", function() return skynet.call(".launcher", "lua", "LIST") end)

define(
    "stat",
    "stat [ti] : Dump all stats",
    function(ti) return skynet.call(".launcher", "lua", "STAT", timeout_of(ti)) end
)

define(
    "mem",
    "mem [ti] : Show memory status",
    function(ti) return skynet.call(".launcher", "lua", "MEM", timeout_of(ti)) end
)

define(
    "gc",
    "gc [ti] : Force every Lua service to collect garbage",
    function(ti) return skynet.call(".launcher", "lua", "GC", timeout_of(ti)) end
)

define(
    "info",
    "info address : Get the values of the service's info function",
    function(address, ...) return skynet.call(address_of(address), "debug", "INFO", ...) end
)

define("exit", "exit address : Let a Lua service exit", function(address)
    skynet.send(address_of(address), "debug", "EXIT")
end)

define(
    "kill",
    "kill address : Kill a service",
    function(address) return skynet.call(".launcher", "lua", "KILL", address_of(address)) end
)

--- What the launch of a service came to.
local function launched(name, ok, address)
    if not ok then return "Failed" end
    return address and { [skynet.address(address)] = name } or "Exit"
end

define(
    "start",
    "start script ... : Launch a Lua service",
    function(...) return launched((...), pcall(skynet.newservice, ...)) end
)

define("log", "log script ... : Launch a Lua service with a message log", function(...)
    return launched((...), pcall(skynet.call, ".launcher", "lua", "LOGLAUNCH", "snlua", ...))
end)

define(
    "snax",
    "snax name ... : Launch a snax service",
    function(...)
        local ok, object = pcall(require("skynet.snax").newservice, ...)
        return ok and { [skynet.address(object.handle)] = (...) } or "Failed"
    end
)

define("clearcache", "clearcache : Forget compiled Lua files", function() require("skynet.codecache").clear() end)

define("service", "List unique services", function() return skynet.call("SERVICE", "lua", "LIST") end)

define("task", "task address : Show the tasks of a service", function(address)
    return skynet.call(address_of(address), "debug", "TASK")
end)

define("uniqtask", "uniqtask address : Show its tasks, equal ones once", function(address)
    return skynet.call(address_of(address), "debug", "UNIQTASK")
end)

define("killtask", "killtask address pattern : Kill a task", function(address, pattern)
    return skynet.call(address_of(address), "debug", "KILLTASK", pattern)
end)

define("inject", "inject address file ... : Run a Lua file inside a service", function(address, filename, ...)
    address = address_of(address)
    local file = io.open(filename or "", "rb")
    if not file then return "Can't open " .. tostring(filename) end
    local source = file:read "a"
    file:close()
    local ok, output = skynet.call(address, "debug", "RUN", source, filename, ...)
    if not ok then error(output, 0) end
    return output
end)

define("dbgcmd", "dbgcmd address command ... : Run a debug command", function(address, name, ...)
    return skynet.call(address_of(address), "debug", name, ...)
end)

define("call", "call address expressions : Call a Lua service", function(line)
    local address, text = line:match "^%s*%S+%s+(%S+)%s*(.*)$"
    address = address_of(address)
    if text == "" then error "need arguments" end
    local f = load("return " .. text, "=(console)", "t", {}) or error "Invalid arguments"
    local args = table.pack(pcall(f))
    if not args[1] then error(args[2], 0) end
    return table.pack(skynet.call(address, "lua", table.unpack(args, 2, args.n)))
end)

define("ping", "ping address : Time of a round trip, in 1/100 s", function(address)
    address = address_of(address)
    local begin = skynet.now()
    skynet.call(address, "debug", "PING")
    return tostring(skynet.now() - begin)
end)

define("trace", "trace address [proto] [on|off] : Trace the requests of a class", function(address, proto, flag)
    address = address_of(address)
    if flag == nil and (proto == "on" or proto == "off") then
        proto, flag = nil, proto
    end
    local on
    if flag then on = flag == "on" end
    skynet.call(address, "debug", "TRACELOG", proto or "lua", on)
end)

define("logon", "logon address : Begin a message log", function(address)
    core.command("LOGON", skynet.address(address_of(address)))
end)

define("logoff", "logoff address : End it", function(address)
    core.command("LOGOFF", skynet.address(address_of(address)))
end)

define("signal", "signal address [n] : Send a signal to a service", function(address, n)
    address = skynet.address(address_of(address))
    core.command("SIGNAL", n and string.format("%s %d", address, tonumber(n) or error "Need a number") or address)
end)

define("debug", "debug address : Debug a Lua service, until `cont`", function(line, connection)
    local address = address_of(line:match "^%s*%S+%s+(%S+)")
    assert(connection.id, "no debugger over HTTP")
    local agent = skynet.newservice "debug_agent"
    local done = false
    local result
    skynet.fork(function()
        result = table.pack(pcall(skynet.call, agent, "lua", "start", address, connection.id))
        done = true
        -- The console waits for a line that may never come.
        connection.wake()
    end)
    while not done do
        local command = connection.line(function() return done end)
        if not command then
            -- The console left: so does the debugger.
            if not done then skynet.send(agent, "lua", "cmd", "cont") end
            return nil
        end
        if done then
            connection.unread(command)
            break
        end
        skynet.send(agent, "lua", "cmd", command)
    end
    if not (result[1] and result[2]) then error(result[3] or result[2] or "Debugger attach failed", 0) end
end)

define("cmem", "cmem : Show native memory", function()
    local memory = require "skynet.memory"
    local all = {}
    for handle, bytes in pairs(memory.info()) do
        all[skynet.address(handle)] = bytes
    end
    all.total, all.block = memory.total(), memory.block()
    return all
end)

define("jmem", "jmem : Show what the allocator says", function()
    local all = {}
    for name, bytes in pairs(require("skynet.memory").jestat()) do
        all[name] = string.format("%11d  %8.2f Mb", bytes, bytes / 1048576)
    end
    return all
end)

define("dumpheap", "dumpheap : Dump a heap profile", function() require("skynet.memory").dumpheap() end)

define("profactive", "profactive [on|off] : Show or switch heap profiling", function(flag)
    local on
    if flag then on = flag == "on" or flag == "true" end
    local active = require("skynet.memory").profactive(on)
    return "heap profilling is " .. (active and "active" or "deactive")
end)

--- A size with its unit; nothing for 0.
local function size_text(bytes)
    if not bytes or bytes == 0 then return nil end
    if bytes < 1024 then return tostring(bytes) end
    if bytes < 1024 * 1024 then return string.format("%.1fK", bytes / 1024) end
    return string.format("%.1fM", bytes / 1048576)
end

--- How long ago something was, of a time in 1/100 s.
local function age_text(now, time)
    if not time or time == 0 then return nil end
    local ti = now - time
    if ti < 6000 then return string.format("%.1fs", ti / 100) end
    local seconds = ti // 100
    if seconds < 3600 then return string.format("%d:%02d", seconds // 60, seconds % 60) end
    return string.format("%d:%02d:%02d", seconds // 3600, seconds // 60 % 60, seconds % 60)
end

define("netstat", "netstat : Show sockets", function()
    local now = skynet.now()
    local lines = {}
    for i, info in ipairs(socket.netstat()) do
        info.address = skynet.address(info.address)
        info.read, info.write, info.wbuffer = size_text(info.read), size_text(info.write), size_text(info.wbuffer)
        info.rtime, info.wtime = age_text(now, info.rtime), age_text(now, info.wtime)
        lines[i] = listing.line(info) .. "\n"
    end
    return table.concat(lines):sub(1, -2)
end)

--- A line for each node: the state first, counters behind it.
define("cluster", "cluster : Show the connections of the cluster", function()
    if not skynet.localname ".clusterd" then return "no cluster" end
    local to, from = skynet.call(".clusterd", "lua", "links")
    local lines = {}
    for node, link in pairs(to) do
        link.bytes_in, link.bytes_out = size_text(link.bytes_in), size_text(link.bytes_out)
        link.queued, link.host, link.port = size_text(link.queued), nil, nil
        lines[node] = link
    end
    for fd, peer in pairs(from) do
        lines["from " .. peer] = { fd = fd }
    end
    return lines
end)

define("getenv", "getenv name : Show a value of the environment", function(name)
    return string.format("%s\t%s", name, skynet.getenv(name or error "Need a name"))
end)

define("setenv", "setenv name value : Set a value of the environment", function(name, value)
    skynet.setenv(name or error "Need a name", value or error "Need a value")
end)

--- Runs a line; answers the text for the console.
---@async
local function run(line, connection)
    local words = {}
    for word in line:gmatch "%S+" do
        words[#words + 1] = word
    end
    local name = words[1]
    if not name then return "" end
    local command = COMMAND[name]
    if not command then return "Invalid command, type help for command list\n\n<CMD Error>\n" end
    local ok, value
    if wants_line[name] then
        ok, value = pcall(command, line, connection)
    else
        ok, value = pcall(command, table.unpack(words, 2))
    end
    if ok then return listing.text(value) .. "<CMD OK>\n" end
    return tostring(value) .. "\n<CMD Error>\n"
end

--- Reads the rest of a request whose first line is `line`; answers the command in it.
---@async
local function http_command(id, method, path)
    local length, head = 0, 0
    while true do
        local line = socket.readline(id, "\r\n")
        if not line then return nil end
        head = head + #line
        if head > LONGEST_HEAD then return nil end
        if line == "" then break end
        local name, value = line:match "^([^:]+):%s*(.-)%s*$"
        if name and name:lower() == "content-length" then length = tonumber(value) or -1 end
    end
    if method == "GET" then return (path:gsub("^/", ""):gsub("/", " ")) end
    if math.type(length) ~= "integer" or length < 0 or length > LARGEST_BODY then return nil end
    return length == 0 and "" or socket.read(id, length) or nil
end

local HEAD <const> = "HTTP/1.1 %s\r\ncontent-type: text/plain; charset=utf-8\r\n"
    .. "content-length: %d\r\nconnection: close\r\n\r\n"

--- Answers one request. One that was greeted already gets no head, as in skynet.
---@async
local function serve_http(id, method, path, with_head)
    local command = http_command(id, method, path)
    local status, text = "200 OK", nil
    if command then
        text = (with_head and GREETING or "") .. run(command, {})
    else
        status, text = "400 Bad Request", "the request cannot be read\n"
    end
    if with_head then text = HEAD:format(status, #text) .. text end
    socket.write(id, text)
end

--- The lines of a connection. Its reader is a task of its own, so that whoever waits for a line can be woken by other things.
local function lines_of(id)
    local queue, waiting, ended = {}, nil, false
    local connection = { id = id }

    function connection.wake()
        if waiting then
            local co = waiting
            waiting = nil
            skynet.wakeup(co)
        end
    end

    --- The next line; nil at the end, or when `enough()` says so.
    function connection.line(enough)
        while #queue == 0 and not ended and not (enough and enough()) do
            waiting = coroutine.running()
            skynet.wait(waiting)
        end
        return table.remove(queue, 1)
    end

    function connection.unread(line) table.insert(queue, 1, line) end

    skynet.fork(function()
        while true do
            local line = socket.readline(id, "\n")
            if not line then break end
            queue[#queue + 1] = line
            connection.wake()
        end
        ended = true
        connection.wake()
    end)
    return connection
end

---@async
local function serve(id)
    socket.start(id)
    -- Who speaks HTTP speaks first, and does not expect a greeting in front of the answer.
    local greeted, open = false, true
    local function greet()
        if open and not greeted then
            greeted = true
            socket.write(id, GREETING)
        end
    end
    skynet.timeout(SILENCE, greet)
    local first = socket.readline(id, "\n")
    if not first then
        open = false
        return
    end
    local method, path = first:match "^(%u+) (%S+)"
    if method == "GET" or method == "POST" then
        open = false
        return serve_http(id, method, path, not greeted)
    end
    greet()
    local connection = lines_of(id)
    connection.unread(first)
    while true do
        local line = connection.line()
        if not line then return end
        local text = run(line, connection)
        if text ~= "" then socket.write(id, text) end
    end
end

local arguments = table.pack(...)
assert(arguments.n <= 2, "debug_console: [address,] port")
local ip, port = "127.0.0.1", arguments[1]
if arguments.n == 2 then
    ip, port = arguments[1], arguments[2]
end

skynet.start(function()
    local listener, host, bound = socket.listen(ip, port)
    skynet.error(string.format("Start debug console at %s:%s", host or ip, bound or port))
    socket.start(listener, function(id, peer)
        skynet.error(peer .. " connected")
        local ok, why = pcall(serve, id)
        if not ok then skynet.error(why) end
        skynet.error(peer .. " disconnect")
        socket.close(id)
    end)
end)

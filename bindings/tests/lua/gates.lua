-- The gate: packets cut anywhere, who gets them, how connections end, and how many there may be; then logins and users of a msgserver.
--! log: Drop message from fd
local skynet = require "skynet"
require "skynet.manager"
local check = require "check"
local socket = require "skynet.socket"
local crypt = require "skynet.crypt"

skynet.register_protocol {
    name = "client",
    id = skynet.PTYPE_CLIENT,
    unpack = skynet.tostring,
    pack = function(...) return ... end,
}

local events = {}
local function settle()
    skynet.sleep(5)
    local text = table.concat(events, "; ")
    events = {}
    return text
end

local opened
local command = {}
function command.socket(kind, fd, ...)
    local rest = ...
    if kind == "open" then opened, rest = fd, "-" end
    if type(rest) == "string" and #rest > 40 then rest = #rest end
    events[#events + 1] = kind .. (rest and " " .. tostring(rest) or "")
end

local function packet(text) return string.pack(">s2", text) end

local function check_gate()
    local gate = skynet.newservice "gate"
    local ip, port = skynet.call(gate, "lua", "open", { address = "127.0.0.1", port = 0, maxclient = 3, nodelay = true })
    check.eq("K14 ip", ip, "127.0.0.1")
    check.ok("K14 port", math.type(port) == "integer" and port > 0)
    check.ok("K14 open twice", not pcall(skynet.call, gate, "lua", "open", { port = 0 }))
    check.ok("K14 an unknown connection", not pcall(skynet.call, gate, "lua", "forward", 12345))

    local client = socket.open("127.0.0.1", port)
    check.eq("open", settle(), "open -")
    local fd = opened
    socket.write(client, packet "before")
    check.eq("K14 nothing is read before accept", settle(), "")
    skynet.call(gate, "lua", "accept", fd)
    check.eq("then it is", settle(), "data before")
    socket.write(client, packet "one" .. packet "" .. packet "three")
    check.eq("together", settle(), "data one; data ; data three")
    local stream = packet(("x"):rep(300)) .. packet "end"
    for i = 1, #stream, 7 do
        socket.write(client, stream:sub(i, i + 6))
        if i % 10 == 0 then skynet.yield() end
    end
    check.eq("in pieces", settle(), "data 300; data end")
    socket.write(client, packet(("y"):rep(65535)))
    skynet.sleep(5)
    check.eq("the longest", settle(), "data 65535")

    -- Forwarded: to us, as class client.
    skynet.dispatch("client", function(session, source, text)
        skynet.ignoreret()
        events[#events + 1] = ("client %s %s %d"):format(source == gate, text, session - fd)
        socket.write(fd, packet(text .. "!"))
    end)
    skynet.call(gate, "lua", "forward", fd)
    socket.write(client, packet "hello")
    check.eq("answer", socket.read(client, 8), packet "hello!")
    check.eq("forwarded", settle(), "client true hello 0")
    local source = skynet.self()
    skynet.call(gate, "lua", "forward", fd, source, source)
    socket.write(client, packet "again")
    check.eq("answer", socket.read(client, 8), packet "again!")
    check.eq("with a source", settle(), "client false again 0")

    local second = socket.open("127.0.0.1", port)
    check.eq("second", settle(), "open -")
    local refused = socket.open("127.0.0.1", port)
    check.eq("K14 the third is refused", socket.read(refused), false)
    check.eq("K14 a close only", settle(), "close")
    socket.close(refused)
    skynet.call(gate, "lua", "kick", opened)
    check.eq("kicked", socket.read(second), false)
    check.eq("kicked", settle(), "close")
    skynet.call(gate, "lua", "kick", opened)
    skynet.call(gate, "lua", "kick", 12345)
    check.eq("again", settle(), "")
    socket.close(second)

    socket.close(client)
    check.eq("the client leaves", settle(), "close")
    check.ok("forward after close", not pcall(skynet.call, gate, "lua", "forward", fd))
    skynet.call(gate, "lua", "kick", fd)
    -- Half a packet is forgotten.
    client = socket.open("127.0.0.1", port)
    settle()
    skynet.call(gate, "lua", "accept", opened)
    socket.write(client, "\0\10half")
    skynet.sleep(2)
    socket.close(client)
    check.eq("half a packet", settle(), "close")
    skynet.call(gate, "lua", "kick", opened)
    skynet.call(gate, "lua", "close")
    check.eq("closed", socket.open("127.0.0.1", port), nil)
    if check.skein then
        -- skynet's leaks the new listener then.
        ip, port = skynet.call(gate, "lua", "open", { address = "127.0.0.1:0" })
        client = socket.open("127.0.0.1", port)
        check.eq("open again", settle(), "open -")
        socket.close(client)
        settle()
    end
    skynet.kill(gate)
end

--- The drop of packets that nobody wants any more is logged.
local function check_dropped()
    local gate = skynet.newservice("dropping_gate")
    local _, port = skynet.call(gate, "lua", "open", { address = "127.0.0.1", port = 0 })
    local client = socket.open("127.0.0.1", port)
    socket.write(client, packet "last" .. packet "dropped")
    skynet.sleep(10)
    check.eq("heard", skynet.call(gate, "lua", "heard"), "last")
    check.eq("counts", skynet.call(gate, "lua", "counts"), "1 1")
    socket.close(client)
    skynet.kill(gate)
end

-------------------------------------------------------------------------------------------------------------- logins and users

--- What a client does to log in; `wrong` bends one step.
local function log_in(port, token, wrong)
    local fd = socket.open("127.0.0.1", port)
    local challenge = crypt.base64decode(socket.readline(fd))
    local key = crypt.randomkey()
    socket.write(fd, (wrong == "key" and crypt.base64encode "short" or crypt.base64encode(crypt.dhexchange(key))) .. "\n")
    local secret
    if wrong ~= "key" then
        secret = crypt.dhsecret(crypt.base64decode(socket.readline(fd)), key)
        local proof = crypt.hmac64(challenge, wrong == "proof" and crypt.randomkey() or secret)
        socket.write(fd, crypt.base64encode(proof) .. "\n")
        socket.write(fd, crypt.base64encode(crypt.desencode(secret, token)) .. "\n")
    end
    local result = socket.readline(fd)
    check.eq("closed after the result", socket.read(fd), false)
    socket.close(fd)
    return result, secret
end

local function shake(port, username, secret, index)
    local fd = socket.open("127.0.0.1", port)
    local text = username .. ":" .. index
    socket.write(fd, packet(text .. ":" .. crypt.base64encode(crypt.hmac_hash(secret, text))))
    local size = socket.header(socket.read(fd, 2))
    return socket.read(fd, size), fd
end

local function send(fd, content, session) socket.write(fd, packet(content .. string.pack(">I4", session))) end

local function receive(fd)
    local head = socket.read(fd, 2)
    if not head then return "closed" end
    local text = socket.read(fd, socket.header(head))
    local ok, session = string.unpack(">BI4", text, -5)
    return ("%s %d %d"):format(text:sub(1, -6), ok, session)
end

local function check_login()
    local users = skynet.newservice "users_server"
    local _, gate_port = skynet.call(users, "lua", "open", { address = "127.0.0.1", port = 0, servername = "sample" })
    local login = skynet.newservice "login_server"
    skynet.call(login, "lua", "gate", users)
    local port = tonumber(skynet.getenv "login_port")
    local result, secret = log_in(port, "ann@sample:password")
    check.eq("logged in", result, "200 " .. crypt.base64encode "1")
    check.eq("wrong password", (log_in(port, "ann@sample:guess")), "401 Unauthorized")
    check.eq("wrong proof", (log_in(port, "ann@sample:password", "proof")), "401 Unauthorized")
    check.eq("wrong key", (log_in(port, "ann@sample:password", "key")), "401 Unauthorized")
    -- A line that never ends is cut off, and hears nothing.
    local endless = socket.open("127.0.0.1", port)
    socket.readline(endless)
    socket.write(endless, ("x"):rep(9000))
    check.values("a line that never ends", table.pack(socket.read(endless)), false, "")
    socket.close(endless)
    check.eq("unwanted", (log_in(port, "bad@sample:password")), "403 Forbidden")
    local slow
    skynet.fork(function() slow = log_in(port, "slow@sample:password") end)
    repeat
        skynet.sleep(1)
    until skynet.call(login, "lua", "waits")
    check.eq("busy", (log_in(port, "slow@sample:password")), "406 Not Acceptable")
    skynet.call(login, "lua", "go")
    repeat
        skynet.sleep(1)
    until slow
    check.contains("slow", slow, "200 ")

    local function b64(text) return crypt.base64encode(text) end
    local username = b64 "ann" .. "@" .. b64 "sample" .. "#" .. b64 "1"
    local answer, fd = shake(gate_port, username, secret, 1)
    check.eq("hello", answer, "200 OK")
    send(fd, "echo", 1)
    check.eq("request", receive(fd), "ANN:echo 1 1")
    send(fd, "raise", 2)
    check.eq("failed", receive(fd), " 0 2")
    send(fd, "echo", 1)
    check.eq("the session again", receive(fd), "ANN:echo 1 1")
    check.eq("calls", skynet.call(users, "lua", "kick", "count"), 3)
    -- On another connection an old session brings the old response.
    socket.close(fd)
    skynet.sleep(5)
    answer = shake(gate_port, username, secret, 1)
    check.eq("index", answer, "403 Index Expired")
    answer, fd = shake(gate_port, username, secret, 2)
    check.eq("back", answer, "200 OK")
    send(fd, "something else", 1)
    check.eq("replayed", receive(fd), "ANN:echo 1 1")
    check.eq("not called", skynet.call(users, "lua", "kick", "count"), 3)
    check.eq("who left", skynet.call(users, "lua", "kick", "gone"), "ann")
    send(fd, "agent", 4)
    check.eq("by an agent", receive(fd), "passed on: agent 1 4")
    -- A response that is still to come goes to the new connection.
    send(fd, "slow", 5)
    skynet.sleep(2)
    socket.close(fd)
    skynet.sleep(2)
    answer, fd = shake(gate_port, username, secret, 3)
    check.eq("back again", answer, "200 OK")
    send(fd, "slow", 5)
    check.eq("late", receive(fd), "ANN:slow 1 5")
    send(fd, "slow", 6)
    send(fd, "slow", 6)
    check.eq("conflict", receive(fd), "closed")
    socket.close(fd)
    -- Old responses go, once there are enough of new ones.
    answer, fd = shake(gate_port, username, secret, 4)
    check.eq("back for more", answer, "200 OK")
    for session = 100, 120 do
        send(fd, "echo", session)
        check.eq("many", receive(fd), ("ANN:echo 1 %d"):format(session))
    end
    socket.close(fd)
    skynet.sleep(5)
    answer, fd = shake(gate_port, username, secret, 5)
    check.eq("and again", answer, "200 OK")
    local calls = skynet.call(users, "lua", "kick", "count")
    send(fd, "echo", 120)
    check.eq("a new response is kept", receive(fd), "ANN:echo 1 120")
    check.eq("a new response is kept", skynet.call(users, "lua", "kick", "count"), calls)
    send(fd, "anew", 1)
    check.eq("an old one is not", receive(fd), "ANN:anew 1 1")
    -- Who comes back before the old connection has ended is told of as one who left it; the new one stays.
    local old, left = fd, skynet.call(users, "lua", "kick", "gone")
    answer, fd = shake(gate_port, username, secret, 6)
    check.eq("replaced", answer, "200 OK")
    check.eq("replaced", receive(old), "closed")
    check.eq("replaced", skynet.call(users, "lua", "kick", "gone"), left .. ",ann")
    send(fd, "still here", 1)
    check.eq("replaced", receive(fd), "ANN:anew 1 1")
    socket.close(old)
    socket.close(fd)
    check.eq("nobody", (shake(gate_port, b64 "eve" .. "@" .. b64 "sample" .. "#" .. b64 "1", secret, 9)), "404 User Not Found")
    check.eq("no secret", (shake(gate_port, username, "12345678", 9)), "401 Unauthorized")
    check.eq("no number", (shake(gate_port, username, secret, "x")), "403 Index Expired")
    fd = socket.open("127.0.0.1", gate_port)
    socket.write(fd, packet "nonsense")
    check.eq("nonsense names no user", socket.read(fd, 2 + 18), packet "404 User Not Found")
    check.eq("nonsense", socket.read(fd), false)
    socket.close(fd)
    skynet.call(users, "lua", "logout", username)
    check.eq("logged out", (shake(gate_port, username, secret, 10)), "404 User Not Found")
end

check.run("gates", function()
    skynet.dispatch("lua", function(_, _, name, ...)
        skynet.ignoreret()
        command[name](...)
    end)
    check_gate()
    check_dropped()
    check_login()
end)

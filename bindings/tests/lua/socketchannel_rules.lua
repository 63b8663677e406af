--! log: socket: connect Connection refused
--! log: socket: connect to 127.0.0.1
--! log: socket: disconnect detected 127.0.0.1
--! log: socket closed by peer : 127.0.0.1
--! log: no more backup host
-- Rules of shared connections that `socketchannel.lua` is not about: connecting for as long as it takes, what is noticed when, who reads.
local skynet = require "skynet"
require "skynet.manager"
local check = require "check"
local socket = require "skynet.socket"
local socketchannel = require "skynet.socketchannel"

local function line(sock) return true, sock:readline "\n" end

--- Waits until `f` says something.
local function eventually(id, f)
    for _ = 1, 2000 do
        local found = f()
        if found then return found end
        skynet.sleep(1)
    end
    check.ok(id, false, "never")
end

--- A server of lines: `serve(fd, line)` for each. `server.count` and `server.ended` count connections, `server.fd` is the last one.
local function listen(serve, port)
    local server = { count = 0, ended = 0 }
    local id, _, its = socket.listen("127.0.0.1", port or 0)
    server.port = its
    socket.start(id, function(fd)
        socket.start(fd)
        server.fd = fd
        server.count = server.count + 1
        while true do
            local text = socket.readline(fd)
            if not text or serve(fd, text) == false then break end
        end
        socket.close(fd)
        server.ended = server.ended + 1
    end)
    return server
end

local function echo(fd, text)
    if text == "drop" then return false end
    socket.write(fd, text .. "\n")
end

--- Many ask a channel that cannot connect: each hears of it, and nobody tries again for himself.
local function check_refused()
    local c = socketchannel.channel { host = "127.0.0.1", port = 1 }
    local failed = 0
    for _ = 1, 3 do
        skynet.fork(function()
            local ok, err = pcall(c.request, c, "x\n", line)
            if not ok and err == socketchannel.error then failed = failed + 1 end
        end)
    end
    eventually("refused", function() return failed == 3 end)
    check.eq("each hears of it", failed, 3)
end

--- `connect` goes on until there is somebody. Requests wait for it.
local function check_patience()
    local port = check.free_port()
    local c = socketchannel.channel { host = "127.0.0.1", port = port }
    local connected, answer
    skynet.fork(function() connected = c:connect() end)
    skynet.sleep(5)
    check.eq("not yet", connected, nil)
    skynet.fork(function() answer = c:request("patient\n", line) end)
    skynet.sleep(5)
    check.eq("nor the request", answer, nil)
    local server = listen(echo, port)
    eventually("connects", function() return connected and answer end)
    check.eq("connects", connected, true)
    check.eq("and is used", answer, "patient")
    check.eq("once", server.count, 1)
    c:close()
    eventually("closed", function() return server.ended == 1 end)
end

--- Lines that nobody asked for, and readers of one's own.
local function check_responses()
    local server = listen(echo)
    local c = socketchannel.channel { host = "127.0.0.1", port = server.port }
    check.eq("connect", c:connect(true), true)
    eventually("accepted", function() return server.fd end)
    local pushed
    skynet.fork(function() pushed = c:response(line) end)
    skynet.sleep(1)
    socket.write(server.fd, "news\n")
    eventually("pushed", function() return pushed end)
    check.eq("pushed", pushed, "news")
    -- In the order of who asked.
    local order = {}
    local function note(what, answer) order[#order + 1] = what .. answer end
    skynet.fork(function() note("response ", c:response(line)) end)
    skynet.fork(function() note("request ", c:request("second\nthird\n", line)) end)
    eventually("in order", function() return #order == 2 end)
    check.eq("in order", table.concat(order, ","), "response second,request third")
    -- Several values, and a failure behind them.
    local number = 0
    local ok, err = pcall(c.request, c, "a\nb\n", function(sock)
        number = number + 1
        if number == 2 then
            sock:readline()
            return false, "no"
        end
        return true, sock:readline(), true
    end)
    check.eq("a failure replaces what came", ok, false)
    check.contains("a failure replaces what came", tostring(err), "no")
    check.eq("and the connection stays", c:request("c\n", line), "c")
    check.eq("one connection", server.count, 1)
    c:close()

    local kinds = {}
    c = socketchannel.channel {
        host = "127.0.0.1",
        port = server.port,
        socket_readline = function(...)
            kinds[#kinds + 1] = type((...)) .. select("#", ...)
            return "replaced"
        end,
    }
    check.eq("a readline of one's own", c:request("x\n", function(sock) return true, sock:readline "\n" end), "replaced")
    check.eq("what it gets", kinds[1], "table2")
    c:close()
end

--- A connection that is lost while its reader is busy with something else is noticed by the next request.
local function check_detected()
    local server = listen(echo)
    local c = socketchannel.channel { host = "127.0.0.1", port = server.port }
    local first
    skynet.fork(function()
        first = table.pack(pcall(c.request, c, "a\n", function(sock)
            local text = sock:readline()
            skynet.sleep(30)
            return true, text
        end))
    end)
    eventually("asked", function() return server.fd end)
    skynet.sleep(3)
    c:request "drop\n"
    skynet.sleep(5)
    local answer
    skynet.fork(function() answer = c:request("b\n", line) end)
    eventually("the first ends", function() return first end)
    eventually("the next connects", function() return answer end)
    check.eq("the next connects", answer, "b")
    check.eq("a second connection", server.count, 2)
    -- One that nobody uses.
    c:request "drop\n"
    eventually("gone", function() return server.ended == 2 end)
    skynet.sleep(2)
    check.eq("a third connection", c:request("c\n", line), "c")
    check.eq("a third connection", server.count, 3)
    c:close()
end

--- What auth throws, where it is tried next, and whom nobody uses any more.
local function check_others()
    local server, other = listen(echo), listen(echo)
    local c = socketchannel.channel { host = "127.0.0.1", port = server.port, auth = function() error "not for you" end }
    local ok, err = pcall(c.request, c, "x\n", line)
    check.ok("refused by auth", not ok and err == socketchannel.error)
    eventually("closed", function() return server.ended == 1 end)
    -- Other addresses are used from the next connection on.
    c = socketchannel.channel { host = "127.0.0.1", port = 1 }
    check.eq("no other", pcall(c.request, c, "x\n", line), false)
    c:changebackup { { host = "127.0.0.1", port = 2 }, { host = "127.0.0.1", port = other.port } }
    check.eq("the second of two others", c:request("x\n", line), "x")
    check.eq("the second of two others", other.count, 1)
    -- Who changes the host while a request waits loses it.
    local waits
    skynet.fork(function() waits = table.pack(pcall(c.response, c, line)) end)
    skynet.sleep(1)
    c:changehost("127.0.0.1", server.port)
    eventually("waits no more", function() return waits end)
    check.eq("waits no more", waits[1], false)
    check.eq("the new host", c:request("y\n", line), "y")
    -- A channel that everybody forgot closes its connection. skynet's reader remembers it.
    local before = server.ended
    c = nil
    if check.skein then
        eventually("forgotten", function()
            collectgarbage()
            return server.ended > before
        end)
    end
end

--- Session mode: a value behind parts is one of them, a failure stands for itself.
local function check_sessions()
    local server = listen(function(fd, text)
        local session = text:match "^%d+"
        socket.write(fd, session .. " one+\n" .. session .. " two+\n" .. session .. (text:find "fail" and " no-\n" or " end\n"))
    end)
    local c = socketchannel.channel {
        host = "127.0.0.1",
        port = server.port,
        response = function(sock)
            local session, value, kind = sock:readline():match "^(%d+) (%a+)(.?)$"
            return tonumber(session), kind ~= "-", value, kind == "+"
        end,
    }
    check.eq("a value behind parts", table.concat(c:request("1 all\n", 1), ","), "one,two,end")
    local ok, err = pcall(c.request, c, "2 fail\n", 2)
    check.ok("a failure behind parts", not ok and tostring(err):find "no", tostring(err))
    local waits
    skynet.fork(function() waits = table.pack(pcall(c.response, c, 9)) end)
    skynet.sleep(1)
    socket.write(server.fd, "9 pushed\n")
    eventually("pushed", function() return waits end)
    check.values("pushed", waits, true, "pushed")
    c:close()
end

check.run("socketchannel_rules", function()
    check_refused()
    check_patience()
    check_responses()
    check_detected()
    check_others()
    check_sessions()
end)

-- Connections that many tasks share: responses in order and by session, what a lost connection does to them, auth, other hosts.
--! log: Connect failed Connection refused 127.0.0.1 1
--! log: socket: unknown session : 77
--! log: socket: auth failed
local skynet = require "skynet"
require "skynet.manager"
local check = require "check"
local socket = require "skynet.socket"
local socketchannel = require "skynet.socketchannel"

--- Serves lines: `serve(fd, line)` for each.
local function listen(serve)
    local id, _, port = socket.listen("127.0.0.1", 0)
    local count = 0
    socket.start(id, function(fd)
        count = count + 1
        socket.start(fd)
        while true do
            local line = socket.readline(fd)
            if not line or serve(fd, line, count) == false then break end
        end
        socket.close(fd)
    end)
    return port, function() return count end, id
end

local function line(sock) return true, sock:readline "\n" end

local function check_order()
    local port, count = listen(function(fd, text)
        if text == "drop" then return false end
        if text == "many" then
            socket.write(fd, "1\n2\n3\n")
        elseif text ~= "quiet" then
            socket.write(fd, text .. "!\n")
        end
    end)
    local c = socketchannel.channel { host = "127.0.0.1", port = port }
    check.eq("one", c:request("a\n", line), "a!")
    check.eq("nothing awaited", c:request "quiet\n", nil)
    local out, left = {}, 50
    for i = 1, left do
        skynet.fork(function()
            out[i] = c:request("n" .. i .. "\n", line)
            left = left - 1
        end)
    end
    while left > 0 do
        skynet.sleep(1)
    end
    for i = 1, 50 do
        check.eq("K15 pipelined", out[i], "n" .. i .. "!")
    end
    check.eq("one connection", count(), 1)
    check.eq("padding", c:request("pad", line, { "d", "ing\n" }), "padding!")
    local number = 0
    local values = c:request("many\n", function(sock)
        number = number + 1
        return true, sock:readline(), number < 3
    end)
    check.eq("more", table.concat(values, ","), "1,2,3")
    check.raises("K15 ok = false", "refused: a!", c.request, c, "a\n", function(sock)
        return false, "refused: " .. sock:readline()
    end)
    local object = {}
    local ok, err = pcall(c.request, c, "a\n", function(sock)
        sock:readline()
        return false, object
    end)
    check.ok("an object", not ok and err == object)
    check.eq("still one connection", count(), 1)

    -- A reader that throws: the connection goes, all who wait fail, the next request connects.
    local function throw(sock)
        sock:readline()
        error "reader throws"
    end
    local first, second
    skynet.fork(function() first = table.pack(pcall(c.request, c, "a\n", throw)) end)
    skynet.fork(function() second = table.pack(pcall(c.request, c, "b\n", line)) end)
    skynet.sleep(10)
    check.contains("K15 thrower", tostring(first[2]), "reader throws")
    check.contains("K15 others", tostring(second[2]), "reader throws")
    check.eq("K15 again", c:request("c\n", line), "c!")
    check.eq("K15 a second connection", count(), 2)

    -- The peer closes.
    ok, err = pcall(c.request, c, "drop\n", line)
    check.ok("K16 lost", not ok and err == socketchannel.error)
    check.eq("K16 lost", tostring(err), "[Error: socket]")
    check.eq("third", c:request("d\n", line), "d!")
    c:request "drop\n"
    skynet.sleep(10)
    check.eq("an idle loss is no failure of the next", c:request("e\n", line), "e!")
    check.eq("four", count(), 4)

    skynet.fork(function() first = table.pack(pcall(c.request, c, "quiet\n", line)) end)
    skynet.sleep(5)
    c:close()
    skynet.sleep(5)
    check.eq("closed while waiting", first[1], false)
    -- It was a text, so that who compares with the error object took it for another failure.
    check.eq("closed while waiting for an answer", first[2], socketchannel.error)
    check.ok("K16 request on a closed channel", not pcall(c.request, c, "x\n", line))
    check.eq("open again", c:connect(true), true)
    check.eq("open again", c:request("f\n", line), "f!")
    c:close()
end

local function check_session()
    local held = {}
    local port, count = listen(function(fd, text)
        local session, what = text:match "^(%d+) (%a+)$"
        if what == "hold" then
            held[#held + 1] = session
        elseif what == "release" then
            for i = #held, 1, -1 do
                socket.write(fd, held[i] .. " held\n")
            end
            socket.write(fd, "77 nobody\n" .. session .. " released\n")
        elseif what == "parts" then
            socket.write(fd, session .. " one+\n" .. session .. " two+\n" .. session .. " three\n")
        elseif what == "fail" then
            socket.write(fd, session .. " no-\n")
        elseif what == "garbage" then
            socket.write(fd, "garbage\n")
        elseif what == "throw" then
            socket.write(fd, "throw\n")
        end
    end)
    local c = socketchannel.channel {
        host = "127.0.0.1",
        port = port,
        nodelay = true,
        response = function(sock)
            local text = sock:readline()
            if text == "throw" then error "response throws" end
            local session, value, mark = text:match "^(%d+) (%a+)(%p?)$"
            return tonumber(session), mark ~= "-", value, mark == "+"
        end,
    }
    local out, left = {}, 3
    for i = 1, 3 do
        skynet.fork(function()
            out[i] = c:request(i .. " hold\n", i)
            left = left - 1
        end)
    end
    skynet.sleep(5)
    check.eq("release", c:request("9 release\n", 9), "released")
    skynet.sleep(5)
    check.eq("by session", table.concat(out, ","), "held,held,held")
    check.eq("parts", table.concat(c:request("4 parts\n", 4), ","), "one,two,three")
    check.raises("failure", "no", c.request, c, "5 fail\n", 5)
    local one, two
    skynet.fork(function() one = table.pack(pcall(c.request, c, "6 hold\n", 6)) end)
    skynet.sleep(2)
    two = table.pack(pcall(c.request, c, "7 garbage\n", 7))
    skynet.sleep(2)
    check.ok("no session", not two[1] and two[2] == socketchannel.error)
    check.ok("and all who wait", not one[1] and one[2] == socketchannel.error)
    two = table.pack(pcall(c.request, c, "8 throw\n", 8))
    check.contains("throws", tostring(two[2]), "response throws")
    check.eq("again", table.concat(c:request("4 parts\n", 4), ","), "one,two,three")
    check.eq("connections", count(), 3)
    skynet.fork(function() one = table.pack(pcall(c.request, c, "6 hold\n", 6)) end)
    skynet.sleep(2)
    c:close()
    skynet.sleep(2)
    check.eq("closed", one[1], false)
end

local function check_hosts()
    local c = socketchannel.channel { host = "127.0.0.1", port = 1 }
    local ok, err = pcall(c.connect, c, true)
    check.ok("K17 refused", not ok and err == socketchannel.error)
    ok, err = pcall(c.request, c, "x\n", line)
    check.ok("K17 refused", not ok and err == socketchannel.error)

    local function echo(fd, text) socket.write(fd, text .. "\n") end
    local port = listen(echo)
    local other, others = listen(echo)
    c = socketchannel.channel { host = "127.0.0.1", port = 1, backup = { { host = "127.0.0.1", port = port } } }
    check.eq("backup", c:request("a\n", line), "a")
    c:changehost("127.0.0.1", other)
    check.eq("changehost", c:request("b\n", line), "b")
    check.eq("changehost", others(), 1)
    c:close()

    -- Requests that come while somebody connects wait for him, and for his auth.
    local steps = {}
    c = socketchannel.channel {
        host = "127.0.0.1",
        port = port,
        auth = function(channel)
            local answer = channel:request("hello\n", line)
            steps[#steps + 1] = "auth " .. answer
            skynet.sleep(5)
            steps[#steps + 1] = "done"
        end,
    }
    local left = 3
    for i = 1, 3 do
        skynet.fork(function()
            local answer = c:request("r" .. i .. "\n", line)
            steps[#steps + 1] = answer
            left = left - 1
        end)
    end
    while left > 0 do
        skynet.sleep(1)
    end
    check.eq("auth first", table.concat(steps, " ", 1, 3), "auth hello done r1")
    check.eq("once", #steps, 5)
    c:close()

    -- An auth that fails takes the next address; one that changes the host goes there.
    local tries = 0
    c = socketchannel.channel {
        host = "127.0.0.1",
        port = port,
        backup = { { host = "127.0.0.1", port = other } },
        auth = function()
            tries = tries + 1
            if tries == 1 then error "not here" end
        end,
    }
    check.eq("auth failed once", c:request("x\n", line), "x")
    check.eq("auth failed once", tries, 2)
    c:close()
    tries = 0
    local before = others()
    c = socketchannel.channel {
        host = "127.0.0.1",
        port = port,
        auth = function(channel)
            tries = tries + 1
            if tries == 1 then channel:changehost("127.0.0.1", other) end
        end,
    }
    check.eq("sent elsewhere", c:request("y\n", line), "y")
    check.eq("sent elsewhere", others(), before + 1)
    c:close()
end

local function check_overload()
    local id, _, port = socket.listen("127.0.0.1", 0)
    local peer
    socket.start(id, function(fd) peer = fd end)
    local states = {}
    local c = socketchannel.channel {
        host = "127.0.0.1",
        port = port,
        overload = function(on) states[#states + 1] = tostring(on) end,
    }
    local chunk = ("x"):rep(1 << 20)
    for _ = 1, 8 do
        c:request(chunk)
    end
    skynet.sleep(10)
    check.eq("overloaded", states[1], "true")
    socket.start(peer)
    local total = 0
    while total < 8 << 20 do
        local text = socket.read(peer)
        if not text then break end
        total = total + #text
    end
    skynet.sleep(10)
    check.eq("all of it", total, 8 << 20)
    check.eq("drained", table.concat(states, ","), "true,false")
    c:close()
    socket.close(peer)
end

--- Applications read these, though skynet never documented them: to hear of the end of a connection, say.
local function check_fields()
    local port, _, id = listen(function(fd, text) return socket.write(fd, text .. "\n") end)
    local c = socketchannel.channel { host = "127.0.0.1", port = port }
    check.eq("no socket yet", c.__sock, false)
    check.eq("not closed", c.__closed, false)
    local seen
    c:request("a\n", function(sock)
        seen = sock
        return true, sock:readline()
    end)
    check.ok("the socket that responses read from", rawequal(seen, c.__sock))
    check.eq("its number", math.type(c.__sock[1]), "integer")
    check.eq("host", c.__host, "127.0.0.1")
    check.eq("port", c.__port, port)
    check.eq("overload", c.__overload, false)
    c:close()
    check.eq("none any more", c.__sock, false)
    check.eq("closed", c.__closed, true)
    socket.close(id)
end

check.run("socketchannel", function()
    check_fields()
    check_order()
    check_session()
    check_hosts()
    check_overload()
end)

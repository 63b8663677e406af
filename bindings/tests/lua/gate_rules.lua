--! log: gateserver accept error: text of an error
--! log: Listen on 127.0.0.1
-- The framework of gates: in which order its handlers are called, whatever ends a connection.
local skynet = require "skynet"
require "skynet.manager"
local core = require "skynet.core"
local socket = require "skynet.socket"
local check = require "check"

local gate, port

local function ask(...) return skynet.call(gate, "lua", ...) end

local function packet(text) return string.pack(">s2", text) end

local heard = ""
--- Waits until the gate was told so; warnings count only where one is expected.
local function told(id, expected)
    for _ = 1, 3000 do
        local more = ask "told"
        for one in more:gmatch "[^; ][^;]*" do
            if one ~= "warning much" or one == expected and heard == "" then heard = heard == "" and one or heard .. "; " .. one end
        end
        if #heard >= #expected then break end
        skynet.sleep(1)
    end
    check.eq(id, heard, expected)
    heard = ""
end

--- A client, and its id at the gate.
local function client()
    local fd = assert(socket.open("127.0.0.1", port))
    told("connect", "connect 127.0.0.1")
    return fd, ask "last"
end

--- An event of a socket, made up: kind, id, and a text.
local function event(kind, id, text)
    core.send(gate, skynet.PTYPE_SOCKET or 6, 0, string.pack("=i4i4i4i4I8", kind, id, 0, 0, 0) .. (text or ""))
end

local function ends()
    local fd, its = client()
    ask("openclient", its)
    socket.write(fd, packet "one" .. packet "two")
    told("messages", "message one; message two")
    -- The peer closes. Releasing the id is no second end, and neither is doing so again.
    socket.close(fd)
    told("the peer closes", "disconnect")
    ask("closeclient", its)
    ask("closeclient", its)
    -- We close.
    fd, its = client()
    ask("openclient", its)
    ask("closeclient", its)
    told("we close", "disconnect")
    check.eq("the peer sees it", socket.read(fd), false)
    socket.close(fd)
    -- Also one that was never opened.
    fd, its = client()
    ask("closeclient", its)
    told("we close what was not opened", "disconnect")
    check.eq("the peer sees that, too", socket.read(fd), false)
    socket.close(fd)
    -- A reset is an error, and then the end.
    fd, its = client()
    ask("openclient", its)
    socket.pause(fd)
    -- So much that it has arrived where nobody reads it.
    for _ = 1, 16 do
        check.eq("send", ask("send", its, ("x"):rep(1 << 20)), true)
    end
    told("send", "warning much")
    socket.close(fd)
    told("a reset", "error Connection reset by peer; disconnect")
    ask("closeclient", its)
    -- An error after the end comes alone.
    fd, its = client()
    ask("openclient", its)
    socket.close(fd)
    told("the end", "disconnect")
    event(5, its, "late")
    told("an error behind it", "error late")
    ask("closeclient", its)
    -- Part of a packet is forgotten with its connection.
    fd, its = client()
    ask("openclient", its)
    socket.write(fd, "\0\5ab")
    skynet.sleep(2)
    socket.close(fd)
    told("half a packet", "disconnect")
    ask("closeclient", its)
    skynet.sleep(1)
    told("nothing more", "")
end

local function suspended()
    local fd, its = client()
    ask("openclient", its)
    socket.write(fd, packet "wait" .. packet "after")
    told("a handler that waits holds up nobody", "message wait; message after; waited")
    socket.close(fd)
    told("end", "disconnect")
    ask("closeclient", its)
end

local function full()
    local fd, its = client()
    ask("openclient", its)
    socket.pause(fd)
    for _ = 1, 12 do
        ask("send", its, ("x"):rep(1 << 20))
    end
    local left = 12 << 20
    while left > 0 do
        local text = socket.read(fd)
        if not text then break end
        left = left - #text
    end
    check.eq("all of it", left, 0)
    local all = ""
    repeat
        all = all .. ask "told"
    until all:find "0$"
    check.ok("warned and drained", all:find "^warning much.*warning 0$", all)
    socket.close(fd)
    told("end", "disconnect")
    ask("closeclient", its)
end

check.run("gate_rules", function()
    gate = skynet.newservice "recording_gate"
    told("embedded", "started")
    port = ask("open", { address = "127.0.0.1", port = check.free_port() })
    told("open", "open 127.0.0.1 integer")
    check.eq("unknown command", pcall(ask, "nonsense"), false)
    -- Small packets wait for nobody; in skynet they do unless it is asked for.
    local fd, its = client()
    check.eq("nodelay", ask "hurried", check.skein and 1 or 0)
    ask("closeclient", its)
    told("end", "disconnect")
    socket.close(fd)
    ends()
    suspended()
    full()
    -- The listener's errors are not the handler's.
    local listener
    for _, it in ipairs(socket.netstat()) do
        if it.type == "LISTEN" and it.address == gate then listener = it.id end
    end
    event(5, listener, "text of an error")
    fd, its = client()
    ask("openclient", its)
    -- Without its listener, connections stay.
    ask "close"
    skynet.sleep(2)
    check.eq("closed", socket.open("127.0.0.1", port), nil)
    socket.write(fd, packet "still")
    told("connections stay", "message still")
    socket.close(fd)
    told("end", "disconnect")
end)

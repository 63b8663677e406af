-- WebSocket: a client and a server of the same node, frames by hand, and what breaks the protocol.
local skynet = require "skynet"
require "skynet.manager"
local check = require "check"
local socket = require "skynet.socket"
local crypt = require "skynet.crypt"
local websocket = require "http.websocket"

local seen = {}
local function note(...) seen[#seen + 1] = table.concat({ ... }, " ") end

local handle = {
    connect = function() note "connect" end,
    handshake = function(_, header, url) note("handshake", url, header["x-mine"] or "-") end,
    ping = function() note "ping" end,
    pong = function() note "pong" end,
    close = function(_, code, reason) note("close", tostring(code), tostring(reason)) end,
    error = function() note "error" end,
}
function handle.message(id, data, format)
    note(format, #data > 40 and #data or data)
    if data == "leave" then
        websocket.close(id, 1001, "bye")
    elseif data == "raise" then
        error "raised in message"
    elseif data == "ping" then
        websocket.ping(id)
    else
        websocket.write(id, data, format)
    end
end

local results = {}
local function serve(fd, addr)
    local ok, err = websocket.accept(fd, handle, "ws", addr)
    results[#results + 1] = tostring(ok) .. (err and " " .. tostring(err) or "")
end

local function settle()
    skynet.sleep(5)
    local text = table.concat(seen, "; ")
    seen = {}
    return text
end

local port, strict_port

local function check_client()
    local id = websocket.connect("ws://127.0.0.1:" .. port .. "/room?x=1", { ["X-Mine"] = "yes" })
    check.contains("addr", websocket.addrinfo(id), "127.0.0.1")
    for _, size in ipairs { 0, 1, 125, 126, 127, 65535, 65536, 200000 } do
        local data = ("x"):rep(size)
        websocket.write(id, data, "binary")
        check.ok("echo of " .. size, websocket.read(id) == data)
    end
    websocket.write(id, "text")
    check.eq("text", websocket.read(id), "text")
    websocket.write(id, nil)
    check.eq("nothing is a message", websocket.read(id), "")
    websocket.write(id, "masked by hand", "text", 0x11223344)
    check.eq("mask", websocket.read(id), "masked by hand")
    websocket.ping(id)
    websocket.write(id, "ping")
    websocket.write(id, "after")
    check.eq("behind pings", websocket.read(id), "after")
    websocket.write(id, "leave")
    local data, payload = websocket.read(id)
    check.eq("closed", data, false)
    check.eq("reason", payload, "\3\xe9bye")
    check.ok("is_close", websocket.is_close(id))
    check.raises("write to a closed one", "closed", websocket.write, id, "x")
    local text = settle()
    check.contains("events", text, "connect; handshake /room?x=1 yes; binary ; binary x;")
    check.contains("events", text, "ping; text ping;")
    check.contains("events", text, "text leave; close nil nil")
    check.eq("accept", results[#results], "true")

    id = websocket.connect("ws://127.0.0.1:" .. port)
    websocket.close(id, 4000, "enough")
    check.contains("closed by the client", settle(), "close 4000 enough")
    id = websocket.connect("ws://127.0.0.1:" .. port)
    websocket.write(id, "raise")
    data, payload = websocket.read(id)
    check.eq("a handler that raises", data, false)
    check.eq("a handler that raises", payload, "\3\xf3")
    settle()
    check.contains("a handler that raises", results[#results], "raised in message")
end

local HANDSHAKE <const> = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    .. "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

--- A connection after its handshake, spoken by hand.
local function raw(its_port)
    local fd = socket.open("127.0.0.1", its_port or port)
    socket.write(fd, HANDSHAKE)
    local header = socket.readline(fd, "\r\n\r\n")
    -- The example of RFC 6455.
    check.contains("accept key", header, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    return fd
end

local function masked(first, payload)
    local key = "\1\2\3\4"
    return string.char(first, 0x80 | #payload) .. key .. (payload == "" and "" or crypt.xor_str(payload, key))
end

local function check_frames()
    local fd = raw()
    -- Byte by byte, in fragments, with a ping in between.
    local stream = masked(0x01, "Hel") .. masked(0x89, "p") .. masked(0x00, "lo") .. masked(0x80, "!") .. masked(0x81, "x")
    for i = 1, #stream do
        socket.write(fd, stream:sub(i, i))
        if i % 5 == 0 then skynet.sleep(1) end
    end
    check.eq("pong", socket.read(fd, 3), "\x8a\1p")
    check.eq("fragments", socket.read(fd, 8), "\x81\6Hello!")
    check.eq("next", socket.read(fd, 3), "\x81\1x")
    -- Two messages and a half in one write.
    socket.write(fd, masked(0x81, "a") .. masked(0x81, "b") .. masked(0x81, "c"):sub(1, 3))
    check.eq("together", socket.read(fd, 6), "\x81\1a\x81\1b")
    socket.write(fd, masked(0x81, "c"):sub(4))
    check.eq("the rest", socket.read(fd, 3), "\x81\1c")
    socket.write(fd, "\x81\1u")
    check.eq("unmasked", socket.read(fd, 3), "\x81\1u")
    socket.write(fd, masked(0x88, "\3\xe8done"))
    check.eq("close is answered", socket.read(fd, 2), "\x88\0")
    check.eq("and the end", socket.read(fd), false)
    socket.close(fd)
    check.contains("close", settle(), "close 1000 done")
end

--- Frames that break the protocol: a close frame with its status, the end, and the server goes on.
local function check_violations()
    local function violates(what, status, bytes, its_port)
        local fd = raw(its_port)
        socket.write(fd, bytes)
        local all = socket.readall(fd) or ""
        check.eq(what, all:sub(1, 1), "\x88")
        check.eq(what, #all >= 4 and string.unpack(">I2", all, 3), status)
        socket.close(fd)
    end
    violates("reserved bit", 1002, masked(0xc1, "x"))
    violates("unknown opcode", 1002, masked(0x83, "x"))
    violates("unknown control", 1002, masked(0x8b, "x"))
    violates("continuation of nothing", 1002, masked(0x80, "x"))
    violates("message inside of a message", 1002, masked(0x01, "x") .. masked(0x81, "y"))
    violates("fragmented ping", 1002, masked(0x09, "x"))
    violates("long ping", 1002, "\x89\xfe\0\x7e1234")
    violates("too long", 1009, "\x82\xff" .. string.pack(">I8", 256 * 1024 + 1) .. "1234")
    violates("length without end", 1009, "\x82\xff" .. ("\xff"):rep(8) .. "1234")
    violates("two needless bytes of length", 1002, "\x82\xfe\0\x7d1234")
    violates("eight needless bytes of length", 1002, "\x82\xff" .. string.pack(">I8", 65535) .. "1234")
    violates("no mask", 1002, "\x81\1u", strict_port)
    violates("no UTF-8", 1007, masked(0x81, "\xc3\x28"), strict_port)
    violates("half a letter", 1007, masked(0x01, "a\xc3") .. masked(0x80, "b"), strict_port)
    violates("a surrogate", 1007, masked(0x81, "\xed\xa0\x80"), strict_port)
    -- A letter may lie in two fragments, and bytes are no text.
    local split = raw(strict_port)
    socket.write(split, masked(0x01, "\xc3") .. masked(0x80, "\xa4") .. masked(0x82, "\xff"))
    check.eq("a letter in two fragments", socket.read(split, 4), "\x81\2ä")
    check.eq("bytes are no text", socket.read(split, 3), "\x82\1\xff")
    socket.close(split)
    settle()
    -- Close frames that none may send: the callback gets them as they are, and the answer says what is wrong.
    for _, case in ipairs {
        { "x", 1002, "close nil nil" },
        { "\0\0", 1002, "close nil nil" },
        { "\3\xe7r", 1002, "close 999 r" },
        { "\3\xecr", 1002, "close 1004 r" },
        { "\3\xedr", 1002, "close 1005 r" },
        { "\3\xeer", 1002, "close 1006 r" },
        { "\3\xf7r", 1002, "close 1015 r" },
        { "\x0b\xb7r", 1002, "close 2999 r" },
        { "\x13\x88r", 1002, "close 5000 r" },
        { "\3\xe8\xc3(", 1007, "close 1000 \xc3(" },
    } do
        violates("close frame", case[2], masked(0x88, case[1]))
        check.contains("close frame", settle(), case[3])
    end
    local part = ("x"):rep(100)
    local many = { masked(0x02, part) }
    for i = 2, 2700 do
        many[i] = masked(0x00, part)
    end
    violates("too long in parts", 1009, table.concat(many))
    settle()

    local function refused(what, status, text, its_port)
        local fd = socket.open("127.0.0.1", its_port or port)
        socket.write(fd, text)
        local answer = socket.readall(fd) or ""
        check.contains(what, answer, "HTTP/1.1 " .. status)
        check.eq(what, answer:find("sec-websocket-version: 13", 1, true) ~= nil, status == 426)
        socket.close(fd)
    end
    refused("no host", 400, (HANDSHAKE:gsub("Host: x\r\n", "")), strict_port)
    refused("method", 400, (HANDSHAKE:gsub("GET", "PUT")))
    refused("upgrade", 426, (HANDSHAKE:gsub("Upgrade: websocket", "Upgrade: h2c")))
    refused("connection", 426, (HANDSHAKE:gsub("keep%-alive, Upgrade", "close")))
    refused("version", 426, (HANDSHAKE:gsub("Version: 13", "Version: 8")))
    refused("key", 400, (HANDSHAKE:gsub("dGhlIHNhbXBsZSBub25jZQ==", "short")))
    refused("no key", 400, (HANDSHAKE:gsub("Sec%-WebSocket%-Key: %S+\r\n", "")))
    refused("http version", 505, (HANDSHAKE:gsub("HTTP/1.1", "HTTP/1.0")))
    refused("protocol", 400, (HANDSHAKE:gsub("\r\n\r\n", "\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")))
    -- Whoever counts connections hears of the end of those that were refused.
    settle()
    refused("counted", 400, (HANDSHAKE:gsub("GET", "PUT")))
    check.eq("counted", settle(), "connect; close nil nil")
    refused("header", 413, HANDSHAKE:sub(1, -3) .. "A: " .. ("x"):rep(9000) .. "\r\n\r\n")
    -- Gone at each byte.
    local text = HANDSHAKE .. masked(0x81, "cut")
    for len = 0, #text, 3 do
        local cut = socket.open("127.0.0.1", port)
        socket.write(cut, text:sub(1, len))
        if len % 2 == 0 then socket.shutdown(cut) end
        socket.close(cut)
    end
    settle()
    -- Gone in the middle of a frame.
    local fd = raw()
    socket.write(fd, "\x81\x85")
    socket.close(fd)
    check.contains("gone", settle(), "error")
    check.eq("gone", results[#results], "true")
    fd = raw()
    socket.write(fd, masked(0x81, "still"))
    check.eq("others go on", socket.read(fd, 7), "\x81\5still")
    socket.close(fd)
end

check.run("websocket", function()
    local listener
    listener, _, port = socket.listen("127.0.0.1", 0)
    socket.start(listener, serve)
    listener, _, strict_port = socket.listen("127.0.0.1", 0)
    socket.start(listener, function(fd, addr) websocket.accept(fd, handle, "ws", addr, { strict = true }) end)
    check_client()
    if check.skein then
        check_frames()
        check_violations()
    end
end)

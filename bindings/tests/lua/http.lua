-- HTTP without and with sockets: URLs, requests byte by byte, what is refused, the client against a server of the same node.
local skynet = require "skynet"
require "skynet.manager"
local check = require "check"
local socket = require "skynet.socket"
local url = require "http.url"
local httpd = require "http.httpd"
local httpc = require "http.httpc"
local internal = require "http.internal"
local sockethelper = require "http.sockethelper"

local function check_urls()
    check.values("parse", table.pack(url.parse "/a%20b?x=1&y=2"), "/a b", "x=1&y=2")
    check.eq("no query", (url.parse "/plain"), "/plain")
    check.eq("plus in a path", (url.parse "/a+b"), "/a b")
    local fields = url.parse_query "name=J%C3%B6rg&a=1&b=x+y&a=2&a=3&empty="
    check.eq("escape", fields.name, "Jörg")
    check.eq("blank", fields.b, "x y")
    check.eq("empty", fields.empty, "")
    check.eq("repeated", table.concat(fields.a, ","), "1,2,3")
    check.eq("plain", url.parse_query("%zz=%41")["%zz"], "A")
end

--- A `read` over a string, in pieces of `size` bytes, that ends as a socket does.
local function reader(text, size)
    local at = 1
    return function(count)
        if at > #text then error(sockethelper.socket_error) end
        local to = count and at + count - 1 or at + size - 1
        if count and to > #text then error(sockethelper.socket_error) end
        local piece = text:sub(at, to)
        at = to + 1
        return piece
    end
end

local function request(text, limit, size) return httpd.read_request(reader(text, size or 4096), limit) end

local function check_requests()
    local text = "POST /where?x=1 HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nx-two:  2 \r\nContent-Length: 5\r\n\r\nhello"
    for _, size in ipairs { 1, 2, 3, 7, 64, 4096 } do
        local code, where, method, header, body = request(text, nil, size)
        check.eq("code", code, 200)
        check.eq("url", where, "/where?x=1")
        check.eq("method", method, "POST")
        check.eq("host", header.host, "a")
        check.eq("two", table.concat(header["x-two"], ","), "1,2")
        check.eq("body", body, "hello")
    end
    local chunked = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-After: yes\r\n\r\n"
    for _, size in ipairs { 1, 3, 4096 } do
        local code, _, _, header, body = request(chunked, nil, size)
        check.eq("chunked", code, 200)
        check.eq("chunks", body, "hello world")
        check.eq("trailer", header["x-after"], "yes")
    end
    local _, _, _, header = request "GET / HTTP/1.0\r\nA: one\r\n\ttwo\r\n\r\n"
    check.eq("continued", header.a, "onetwo")
end

--- Requests that could be read in two ways, or are too long: a status, or nil, and never a request.
local function check_refused()
    local function refused(what, code, text, limit)
        for _, size in ipairs { 1, 5, 100000 } do
            check.eq(what, (request(text, limit, size)), code)
        end
    end
    local head = "POST / HTTP/1.1\r\nHost: a\r\n"
    refused("two lengths", 400, head .. "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
    refused("the same length twice", 400, head .. "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello")
    refused("length and chunks", 400, head .. "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    refused("two encodings", 400, head .. "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n")
    refused("an encoding nobody knows", 501, head .. "Transfer-Encoding: gzip\r\n\r\n")
    refused("encodings in a list", 501, head .. "Transfer-Encoding: gzip, chunked\r\n\r\n")
    refused("an encoding in disguise", 501, head .. "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")
    refused("a vertical tab in front of an encoding", 501, head .. "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n")
    refused("a form feed behind an encoding", 501, head .. "Transfer-Encoding: chunked\f\r\n\r\n0\r\n\r\n")
    refused("an encoding in quotes", 501, head .. 'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n')
    refused("chunks in chunks", 501, head .. "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n")
    refused("an encoding that is empty", 501, head .. "Transfer-Encoding:\r\nContent-Length: 5\r\n\r\nhello")
    refused("a length that is empty", 400, head .. "Content-Length:\r\n\r\nhello")
    refused("a length with a tab in it", 400, head .. "Content-Length: 1\t2\r\n\r\nhello")
    refused("a vertical tab in front of a length", 400, head .. "Content-Length: \v5\r\n\r\nhello")
    refused("a blank before the colon", 400, head .. "Content-Length : 5\r\n\r\nhello")
    refused("a signed length", 400, head .. "Content-Length: +5\r\n\r\nhello")
    refused("a negative length", 400, head .. "Content-Length: -5\r\n\r\nhello")
    refused("a hexadecimal length", 400, head .. "Content-Length: 0x5\r\n\r\nhello")
    refused("a real length", 400, head .. "Content-Length: 5.0\r\n\r\nhello")
    refused("a list of lengths", 400, head .. "Content-Length: 5, 5\r\n\r\nhello")
    refused("a length without end", 400, head .. "Content-Length: " .. ("9"):rep(40) .. "\r\n\r\n")
    refused("a continued length", 400, head .. "Content-Length: 5\r\n\t0\r\n\r\nhello" .. ("x"):rep(45), 20)
    refused("a lone line feed", 400, head .. "A: b\nContent-Length: 5\r\n\r\nhello")
    refused("a lone carriage return", 400, head .. "A: b\rC: d\r\n\r\n")
    refused("a NUL", 400, head .. "A: b\0c\r\n\r\n")
    refused("a line that begins with a blank", 400, head .. " Folded: x\r\n\r\n")
    refused("a name without colon", 400, head .. "nonsense\r\n\r\n")
    refused("two hosts", 400, head .. "Host: b\r\n\r\n")
    refused("a blank in the URL", 400, "GET /a HTTP/1.1 HTTP/1.1\r\n\r\n")
    refused("version 2", 505, "GET / HTTP/2.0\r\n\r\n")
    refused("version 0.9", 505, "GET / HTTP/0.9\r\n\r\n")
    refused("no request", nil, "nonsense\r\n\r\n")
    refused("a header that never ends", 413, head .. "A: " .. ("x"):rep(9000) .. "\r\n\r\n")
    refused("a long body", 413, head .. "Content-Length: 11\r\n\r\nhello world", 10)
    local chunked = head .. "Transfer-Encoding: chunked\r\n\r\n"
    refused("long chunks", 413, chunked .. "6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n", 10)
    refused("a chunk that says it is huge", 413, chunked .. "ffffffff\r\n", 10)
    refused("a lone line feed behind a size", 413, chunked .. "5\nhello\r\n0\r\n\r\n")
    refused("a lone line feed in an extension", 413, chunked .. "5;a\nb\r\nhello\r\n0\r\n\r\n")
    refused("a lone carriage return in an extension", 413, chunked .. "5;a\rb\r\nhello\r\n0\r\n\r\n")
    refused("a lone line feed behind a chunk", 413, chunked .. "5\r\nhello\n0\r\n\r\n")
    refused("a trailer with a blank before the colon", 413, chunked .. "0\r\nA : b\r\n\r\n")
    for _, size in ipairs { "", "x", "-5", "5\v", "0x5", "5 5", "+5", ("f"):rep(20), ("0"):rep(200) .. "5" } do
        refused("chunk size " .. size, 413, chunked .. size .. "\r\nhello\r\n0\r\n\r\n")
    end
    refused("a chunk without end", 413, chunked .. "5\r\nhelloXX0\r\n\r\n")
    -- Cut off anywhere, it is an error of the socket and nothing else.
    local text = head .. "Content-Length: 5\r\n\r\nhello"
    for len = 0, #text - 1 do
        local code, err = request(text:sub(1, len), nil, 1)
        check.eq("cut", code, nil)
        check.ok("cut", err == sockethelper.socket_error, tostring(err))
    end
end

local function check_responses()
    local function written(...)
        local out = {}
        local ok, err = httpd.write_response(function(text) out[#out + 1] = text end, ...)
        check.ok("written", ok, err)
        return table.concat(out)
    end
    check.eq("nothing", written(204), "HTTP/1.1 204 No Content\r\n\r\n")
    check.eq("text", written(200, "hi"), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
    check.eq(
        "header",
        written(404, "", { ["x-a"] = { "1", 2 } }),
        "HTTP/1.1 404 Not Found\r\nx-a: 1\r\nx-a: 2\r\ncontent-length: 0\r\n\r\n"
    )
    check.eq("unknown", written(299), "HTTP/1.1 299 \r\n\r\n")
    local parts = { "one", "", "two" }
    local at = 0
    check.eq(
        "chunks",
        written(200, function()
            at = at + 1
            return parts[at]
        end),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    )
    for _, name in ipairs { "a\r\nb", "a\nb", "a\0" } do
        check.eq("header injection", (httpd.write_response(print, 200, "", { [name] = 1 })), false)
        check.eq("header injection", (httpd.write_response(print, 200, "", { x = name })), false)
    end
end

--- A server that tells what it was asked. Paths choose how it answers.
local function serve(fd, addr)
    socket.start(fd)
    local read, write = sockethelper.readfunc(fd), sockethelper.writefunc(fd)
    local code, where, method, header, body = httpd.read_request(read, 8192)
    if code and code ~= 200 then
        httpd.write_response(write, code)
    elseif code then
        local path, query = url.parse(where)
        if path == "/slow" then skynet.sleep(100) end
        if path == "/chunks" then
            local left = 3
            httpd.write_response(write, 200, function()
                left = left - 1
                return left >= 0 and ("part" .. left) or nil
            end)
        elseif path == "/close" then
            write "HTTP/1.1 200 OK\r\n\r\nuntil the end"
        elseif path == "/bad" then
            write "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!"
        elseif path == "/none" then
            write "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n"
        elseif path == "/cut" then
            write "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello"
        elseif path == "/continue" then
            write "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        else
            local text = table.concat({ method, path, query or "", header.host or "", body }, "|")
            httpd.write_response(write, 200, text, { ["x-from"] = addr and "there" })
        end
    end
    socket.close(fd)
end

--- A server that keeps connections, and counts them.
local accepted = 0
local function serve_many(fd)
    accepted = accepted + 1
    socket.start(fd)
    while true do
        local lines = {}
        local ok, rest = pcall(internal.recvheader, sockethelper.readfunc(fd), lines, "")
        if not ok or not rest then break end
        local last = lines[1]:find("/last", 1, true) ~= nil
        socket.write(fd, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        if last then break end
    end
    socket.close(fd)
end

local function check_client()
    local id, _, port = socket.listen("127.0.0.1", 0)
    socket.start(id, serve)
    local host = "127.0.0.1:" .. port
    local received = {}
    local status, body = httpc.get(host, "/path?q=1", received)
    check.eq("status", status, 200)
    check.eq("body", body, "GET|/path|q=1|" .. host .. "|")
    check.eq("received", received["x-from"], "there")
    check.eq("scheme", select(2, httpc.get("HTTP://" .. host, "/")), "GET|/||" .. host .. "|")
    status, body = httpc.post(host, "/form", { ["a b"] = "c&d" })
    check.eq("post", body, "POST|/form||" .. host .. "|a%20b=c%26d")
    check.eq("head", httpc.head(host, "/path"), 200)
    check.eq("chunks", select(2, httpc.get(host, "/chunks")), "part2part1part0")
    check.eq("close", select(2, httpc.get(host, "/close")), "until the end")
    check.eq("none", select(2, httpc.get(host, "/none")), "")
    check.eq("interim", select(2, httpc.get(host, "/continue")), "ok")
    check.ok("two lengths", not pcall(httpc.get, host, "/bad"))
    if check.skein then
        -- Fields of the caller's, in any case, stand there once: a server refuses two hosts, or a length beside chunks.
        check.eq("own host", select(2, httpc.get(host, "/", nil, { host = "other" })), "GET|/||other|")
        check.eq("own length", select(2, httpc.request("PUT", host, "/", nil, { ["content-length"] = 9 }, "abc")), "PUT|/||" .. host .. "|abc")
        local chunked = { ["Transfer-Encoding"] = "chunked" }
        check.eq("own chunks", select(2, httpc.request("PUT", host, "/", nil, chunked, "3\r\nabc\r\n0\r\n\r\n")), "PUT|/||" .. host .. "|abc")
    end
    check.ok("cut", not pcall(httpc.get, host, "/cut"))
    -- Clients that are gone at each byte, politely or not, and the server goes on.
    local text = "POST /cut HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc"
    for len = 0, #text do
        local fd = socket.open("127.0.0.1", port)
        socket.write(fd, text:sub(1, len))
        if len % 2 == 0 then socket.shutdown(fd) end
        socket.close(fd)
    end
    check.eq("after cuts", httpc.head(host, "/path"), 200)
    check.eq("body limit", (httpc.request("POST", host, "/", nil, nil, ("x"):rep(9000))), 413)
    local parts = {}
    local stream = httpc.request_stream("GET", host, "/chunks")
    check.eq("stream status", stream.status, 200)
    for part, its_stream in stream do
        parts[#parts + 1] = part
        check.ok("stream", its_stream == stream and stream.connected)
    end
    check.eq("stream", table.concat(parts, ","), "part2,part1,part0")
    check.eq("stream end", stream.connected, nil)
    parts = {}
    for part in httpc.request_stream("GET", host, "/close") do
        parts[#parts + 1] = part
    end
    check.eq("stream until close", table.concat(parts), "until the end")
    stream = httpc.request_stream("GET", host, "/cut")
    check.eq("stream cut", stream:padding(), "hello")
    check.ok("stream cut", not pcall(stream.padding, stream))
    check.eq("stream cut", stream.connected, false)
    stream:close()

    check.raises("protocol", "Invalid protocol: ftp", httpc.get, "ftp://" .. host, "/")
    check.raises("bare IPv6", "Invalid host: bare IPv6 address '::1', use '[::1]' instead", httpc.get, "::1", "/")
    check.raises("line end in a URL", "line end", httpc.get, host, "/ HTTP/1.1\r\nEvil: 1")
    check.raises("line end in a header", "line end", httpc.get, host, "/", nil, { a = "b\r\nEvil: 1" })
    local ok, err = pcall(httpc.get, "127.0.0.1:1", "/")
    check.ok("refused", not ok and err == sockethelper.socket_error)
    check.contains("refused", tostring(err), "[Socket Error] : connect failed host = 127.0.0.1 port = 1")
    check.eq("told once", tostring(err), "[Socket Error]")
    local gone = socket.open("127.0.0.1", port)
    socket.shutdown(gone)
    ok, err = pcall(sockethelper.readfunc(gone))
    check.ok("read failed", not ok and tostring(err) == "[Socket Error] : read failed fd = " .. gone, tostring(err))
    socket.close(gone)
    ok, err = pcall(sockethelper.writefunc(gone), "x")
    check.ok("write failed", not ok and tostring(err) == "[Socket Error] : write failed fd = " .. gone, tostring(err))

    httpc.timeout = 20
    ok, err = pcall(httpc.get, host, "/slow")
    check.ok("timeout", not ok and err == sockethelper.socket_error, tostring(err))
    if check.skein then
        -- A server that says nothing to a handshake.
        local mute, _, mute_port = socket.listen("127.0.0.1", 0)
        socket.start(mute, function(fd) socket.start(fd) end)
        require("ltls.init.c").constructor()
        ok, err = pcall(httpc.get, "https://127.0.0.1:" .. mute_port, "/")
        check.ok("no handshake", not ok and err == sockethelper.socket_error, tostring(err))
        socket.close(mute)
    end
    httpc.timeout = nil
    socket.close(id)
end

local function check_keepalive()
    local id, _, port = socket.listen("127.0.0.1", 0)
    socket.start(id, serve_many)
    local host = "127.0.0.1:" .. port
    httpc.keepalive = 4
    for _ = 1, 5 do
        check.eq("kept", select(2, httpc.get(host, "/")), "ok")
    end
    check.eq("one connection", accepted, 1)
    check.eq("last", select(2, httpc.get(host, "/last")), "ok")
    skynet.sleep(5)
    check.eq("a new one", select(2, httpc.get(host, "/")), "ok")
    check.eq("two connections", accepted, 2)
    local left = 3
    for _ = 1, 3 do
        skynet.fork(function()
            check.eq("at once", select(2, httpc.get(host, "/")), "ok")
            left = left - 1
        end)
    end
    while left > 0 do
        skynet.sleep(1)
    end
    check.ok("more at once", accepted > 2)
    httpc.keepalive = nil
    socket.close(id)
end

check.run("http", function()
    check_urls()
    check_requests()
    check_responses()
    check_client()
    if check.skein then
        check_refused()
        check_keepalive()
    end
end)

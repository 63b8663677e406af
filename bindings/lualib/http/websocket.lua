--- WebSocket (RFC 6455) over sockets of skynet: servers by callbacks, clients by `read` and `write`.
---
--- Client frames are masked. Frames that break the protocol (reserved bits, unknown kinds, fragments out of order, long control
--- frames, lengths with needless bytes) end the connection with status 1002, messages that are too long with 1009; a close frame that says
--- what none may say is answered with 1002 or 1007, and its callback gets it as it is. What skynet's own client does is accepted unless
--- `strict` is asked for: frames without a mask, texts that are no UTF-8, a request without a host.
local skynet = require "skynet"
local crypt = require "skynet.crypt"
local socket = require "skynet.socket"
local httpd = require "http.httpd"
local internal = require "http.internal"
local sockethelper = require "http.sockethelper"

local socket_error = sockethelper.socket_error
local xor_str = crypt.xor_str
local pack, unpack = string.pack, string.unpack
local sub = string.sub

local GUID <const> = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
--- Longest message, in bytes.
local MOST <const> = 256 * 1024

local CONTINUATION <const>, TEXT <const>, BINARY <const> = 0, 1, 2
local CLOSE <const>, PING <const>, PONG <const> = 8, 9, 10
local OPCODE <const> = { text = TEXT, binary = BINARY }
local FORMAT <const> = { [TEXT] = "text", [BINARY] = "binary" }

local PROTOCOL_ERROR <const>, NO_UTF8 <const>, TOO_LONG <const>, INTERNAL_ERROR <const> = 1002, 1007, 1009, 1011

local websocket = {}

---@class http.websocket.Side
---@field fd integer
---@field mode "client"|"server"
---@field read async fun(size: integer?): string
---@field write fun(data: string)
---@field close_tls fun()?
---@field buffer string    what came and was not used
---@field at integer       where in it the next frame begins
---@field handle table?
---@field addr string?
---@field real_ip string?
---@field strict boolean?  what skynet's client does wrong is refused, too
---@field closed boolean?  we sent a close frame

---@type table<integer, http.websocket.Side>
local sides = {}

local function assert_side(id) return assert(sides[id], "websocket is closed") end

------------------------------------------------------------------------------------------------------------------------- frames

--- Sends a frame.
---@param side http.websocket.Side
---@param opcode integer
---@param payload string
---@param mask integer|string|boolean|nil  nil: clients mask with a random key
local function write_frame(side, opcode, payload, mask)
    local size = #payload
    if mask == nil then mask = side.mode == "client" end
    local masked = 0
    if mask then
        masked = 0x80
        if mask == true then
            mask = sub(crypt.randomkey(), 1, 4)
        elseif type(mask) == "number" then
            mask = pack(">I4", mask & 0xffffffff)
        end
        -- Nothing to be masked has no bytes to combine.
        if size > 0 then payload = xor_str(payload, mask) end
        payload = mask .. payload
    end
    local head
    if size < 126 then
        head = pack("BB", 0x80 | opcode, masked | size)
    elseif size < 0x10000 then
        head = pack(">BBI2", 0x80 | opcode, masked | 126, size)
    else
        head = pack(">BBI8", 0x80 | opcode, masked | 127, size)
    end
    side.write(head .. payload)
end

--- Ends a connection that broke the rules, and raises why.
local function violation(side, status, text)
    if not side.closed then
        side.closed = true
        pcall(write_frame, side, CLOSE, pack(">I2", status) .. text)
    end
    error(text, 0)
end

--- Makes sure that `size` bytes from `side.at` on are there. Returns the buffer and where to begin.
---@async
local function need(side, size)
    local buffer, at = side.buffer, side.at
    local have = #buffer - at + 1
    if have < size then
        if at > 1 then
            buffer = sub(buffer, at)
            at = 1
            -- Should reading raise, nothing is lost.
            side.buffer, side.at = buffer, at
        end
        if size - have > 4096 then
            buffer = buffer .. side.read(size - have)
        else
            repeat
                buffer = buffer .. side.read()
            until #buffer >= size
        end
        side.buffer, side.at = buffer, at
    end
    return buffer, at
end

--- Reads a frame.
---@async
---@param side http.websocket.Side
---@param room integer  how much the message may still grow
---@return boolean final
---@return integer opcode
---@return string payload
local function read_frame(side, room)
    local buffer, at = need(side, 2)
    local first, second = buffer:byte(at, at + 1)
    local opcode, size, masked = first & 0xf, second & 0x7f, second & 0x80 ~= 0
    if first & 0x70 ~= 0 then violation(side, PROTOCOL_ERROR, "reserved bits are set") end
    if opcode > PONG or (opcode > BINARY and opcode < CLOSE) then
        violation(side, PROTOCOL_ERROR, "unknown opcode")
    end
    if opcode >= CLOSE and (size > 125 or first & 0x80 == 0) then
        violation(side, PROTOCOL_ERROR, "control frame is too long or in parts")
    end
    if masked then
        if side.mode == "client" then violation(side, PROTOCOL_ERROR, "server frame is masked") end
    elseif side.strict then
        violation(side, PROTOCOL_ERROR, "client frame is not masked")
    end
    local head, least = 2, 0
    if size == 126 then
        buffer, at = need(side, 4)
        size = unpack(">I2", buffer, at + 2)
        head, least = 4, 126
    elseif size == 127 then
        buffer, at = need(side, 10)
        size = unpack(">i8", buffer, at + 2)
        head, least = 10, 0x10000
    end
    if size >= 0 and size < least then violation(side, PROTOCOL_ERROR, "payload_len has needless bytes") end
    if size < 0 or (opcode < CLOSE and size > room) then
        violation(side, TOO_LONG, "payload_len is too large")
    end
    if masked then head = head + 4 end
    buffer, at = need(side, head + size)
    local from = at + head
    local payload = sub(buffer, from, from + size - 1)
    if masked and size > 0 then payload = xor_str(payload, sub(buffer, from - 4, from - 1)) end
    at = from + size
    if at > #buffer then
        side.buffer, side.at = "", 1
    else
        side.at = at
    end
    return first & 0x80 ~= 0, opcode, payload
end

--- Code and reason of a close frame.
local function close_reason(payload)
    if #payload > 2 then
        local code = unpack(">I2", payload)
        return code, sub(payload, 3)
    end
end

--- Whether a close frame may say so: RFC 6455 §7.4, and the codes registered since.
local function may_be_sent(code)
    return code >= 3000 and code < 5000 or code >= 1000 and code < 1015 and code ~= 1004 and code ~= 1005 and code ~= 1006
end

--- What answers a close frame: nothing, or the status of what is wrong with it.
local function close_answer(payload)
    if payload == "" then return "" end
    if #payload == 1 or not may_be_sent((unpack(">I2", payload))) then return pack(">I2", PROTOCOL_ERROR) end
    return utf8.len(payload, 3) and "" or pack(">I2", NO_UTF8)
end

--- A whole message, if its kind lets it be.
local function message_of(side, payload, kind)
    if kind == TEXT and side.strict and not utf8.len(payload) then violation(side, NO_UTF8, "text is no UTF-8") end
    return payload, kind
end

--- Reads until a message is complete. Control frames go to `control`, which may say that it is over.
---@async
---@param side http.websocket.Side
---@param control fun(opcode: integer, payload: string): boolean?
---@return string? message  nil: over
---@return integer opcode
local function read_message(side, control)
    local parts, total, kind
    while true do
        local final, opcode, payload = read_frame(side, MOST - (total or 0))
        if opcode >= CLOSE then
            if control(opcode, payload) then return nil, opcode end
        elseif opcode == CONTINUATION then
            if not parts then violation(side, PROTOCOL_ERROR, "continuation of nothing") end
            total = total + #payload
            parts[#parts + 1] = payload
            if final then return message_of(side, table.concat(parts), kind) end
        else
            if parts then violation(side, PROTOCOL_ERROR, "message inside of a message") end
            if final then return message_of(side, payload, opcode) end
            parts, total, kind = { payload }, #payload, opcode
        end
    end
end

---------------------------------------------------------------------------------------------------------------------- the socket

---@async
local function close_side(side)
    sides[side.fd] = nil
    if side.close_tls then side.close_tls() end
    socket.close(side.fd)
end

--- Functions of a plain socket or of TLS over it.
---@async
local function open_side(mode, fd, protocol, addr, hostname)
    local side = { fd = fd, mode = mode, addr = addr, buffer = "", at = 1 }
    if protocol == "ws" then
        side.read = sockethelper.readfunc(fd)
        side.write = sockethelper.writefunc(fd)
    elseif protocol == "wss" then
        local tlshelper = require "http.tlshelper"
        local tls
        if mode == "server" then
            tls = tlshelper.newtls("server", websocket.server_context())
            tlshelper.init_responsefunc(fd, tls)()
        else
            tls = tlshelper.newtls("client", tlshelper.clientctx(), hostname)
            tlshelper.init_requestfunc(fd, tls)()
        end
        side.read = tlshelper.readfunc(fd, tls)
        side.write = tlshelper.writefunc(fd, tls)
        side.close_tls = tlshelper.closefunc(tls)
    else
        error("invalid websocket protocol:" .. tostring(protocol))
    end
    return side
end

---@type ltls.Context?
local server_context

--- The context of `wss` servers, with the certificate of the config.
---@return ltls.Context
function websocket.server_context()
    if not server_context then
        local ctx = require("http.tlshelper").newctx()
        ctx:set_cert(
            skynet.getenv "certfile" or "./server-cert.pem",
            skynet.getenv "keyfile" or "./server-key.pem"
        )
        server_context = ctx
    end
    return server_context
end

-------------------------------------------------------------------------------------------------------------------- the handshake

--- Whether a field that is a list has this word, in whatever case.
local function has_word(field, word)
    if type(field) == "table" then field = table.concat(field, ",") end
    for one in (field or ""):gmatch "[^%s,]+" do
        if one:lower() == word then return true end
    end
    return false
end

local function accept_key(key) return crypt.base64encode(crypt.sha1(key .. GUID)) end

--- What a request to upgrade lacks: the status and text of the refusal, or nothing.
local function refusal(side, method, header)
    if method ~= "GET" then return 400, "need GET method" end
    if side.strict and type(header.host) ~= "string" then return 400, "need one Host" end
    if not has_word(header.connection, "upgrade") then return 426, "need upgrade connection" end
    if not has_word(header.upgrade, "websocket") then return 426, "need websocket upgrade" end
    if header["sec-websocket-version"] ~= "13" then return 426, "need websocket version 13" end
    local key = header["sec-websocket-key"]
    if type(key) ~= "string" then return 400, "need Sec-WebSocket-Key" end
    local ok, raw = pcall(crypt.base64decode, key)
    if not ok or #raw ~= 16 then return 400, "invalid Sec-WebSocket-Key" end
    local protocols = header["sec-websocket-protocol"]
    if protocols and not has_word(protocols, "chat") then return 400, "unknown Sec-WebSocket-Protocol" end
end

--- Serves the handshake. Returns header and URL of the request, or a status and a text.
---@async
local function answer_handshake(side, upgrade)
    local method, url, header
    if upgrade then
        method, url, header = upgrade.method, upgrade.url, upgrade.header
    else
        local lines = {}
        local rest = internal.recvheader(side.read, lines, "")
        if not rest then return nil, 413, "header is too long" end
        side.buffer = rest
        local version
        method, url, version = (lines[1] or ""):match "^(%a+)%s+(%S+)%s+HTTP/([%d%.]+)$"
        if not method then return nil, 400, "invalid request" end
        version = tonumber(version)
        if not version or version < 1.1 then return nil, 505, "need HTTP/1.1" end
        header = internal.parseheader(lines, 2, {})
        if not header then return nil, 400, "invalid header" end
    end
    local status, text = refusal(side, method, header)
    if status then return nil, status, text end
    local fields = {
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        accept_key(header["sec-websocket-key"]),
        "\r\n",
    }
    if header["sec-websocket-protocol"] then fields[#fields + 1] = "Sec-WebSocket-Protocol: chat\r\n" end
    fields[#fields + 1] = "\r\n"
    side.write(table.concat(fields))
    return header, url
end

------------------------------------------------------------------------------------------------------------------------- servers

local function call(side, name, ...)
    local f = side.handle[name]
    if f then f(side.fd, ...) end
end

--- As `call`, while the connection is served: a callback may have closed it.
local function notify(side, name, ...)
    call(side, name, ...)
    if sides[side.fd] ~= side then error(socket_error) end
end

--- Serves messages until the connection ends.
---@async
local function serve(side)
    local code, reason
    local function control(opcode, payload)
        if opcode == PING then
            write_frame(side, PONG, payload)
            notify(side, "ping")
        elseif opcode == PONG then
            notify(side, "pong")
        else
            code, reason = close_reason(payload)
            -- Answered once; to our own close frame this is the answer.
            if not side.closed then
                side.closed = true
                write_frame(side, CLOSE, close_answer(payload))
            end
            return true
        end
    end
    while true do
        local message, opcode = read_message(side, control)
        if not message then break end
        notify(side, "message", message, FORMAT[opcode])
    end
    call(side, "close", code, reason)
end

--- The whole life of a server's connection.
---@async
local function run_server(side, upgrade)
    notify(side, "connect")
    local header, url, text = answer_handshake(side, upgrade)
    if not header then
        httpd.write_response(side.write, url, text, url == 426 and { ["sec-websocket-version"] = "13" } or nil)
        -- Whoever counts connections has been told of this one.
        call(side, "close")
        return
    end
    local ip = header["x-real-ip"]
    side.real_ip = type(ip) == "string" and ip or nil
    notify(side, "handshake", header, url)
    serve(side)
end

--- Serves a connection until it ends. `handle` may have the functions `connect(id)`, `handshake(id, header, url)`,
--- `message(id, data, "text"|"binary")`, `ping(id)`, `pong(id)`, `close(id, code, reason)`, `error(id, err)` and
--- `warning(ws, kib)`.
---@async
---@param id integer          an accepted socket
---@param handle table
---@param protocol ("ws"|"wss")?
---@param addr string?        where it came from, for `addrinfo`
---@param options { upgrade: { header: table, method: string, url: string }?, strict: boolean? }?  `upgrade`: the request was read by
---somebody else; `strict`: what skynet's own client does wrong is refused as well
---@return boolean ok         false: something else than the connection failed
---@return string? err
function websocket.accept(id, handle, protocol, addr, options)
    local upgrade = options and options.upgrade
    if not upgrade then
        local ok, why = socket.start(id)
        if not ok then return false, why end
    end
    local opened, side = xpcall(open_side, debug.traceback, "server", id, protocol or "ws", addr)
    if not opened then
        socket.close(id)
        return false, side
    end
    side.handle, side.strict = handle, options and options.strict
    if handle.warning then
        socket.warning(id, function(_, kib) handle.warning(side, kib) end)
    end
    sides[id] = side
    local ok, err = xpcall(run_server, function(err)
        if err == socket_error then return err end
        return debug.traceback(err)
    end, side, upgrade)
    if not ok and err == socket_error then
        ok, err = true, nil
        -- The traceback is that of a handler, should it fail as well.
        if side.closed then
            ok, err = xpcall(call, debug.traceback, side, "close")
        else
            ok, err = xpcall(call, debug.traceback, side, "error", socket_error)
        end
    end
    if sides[id] == side then
        if not ok and not side.closed then
            side.closed = true
            pcall(write_frame, side, CLOSE, pack(">I2", INTERNAL_ERROR))
        end
        close_side(side)
    end
    if ok then return true end
    return false, err
end

------------------------------------------------------------------------------------------------------------------------- clients

--- Asks the server to upgrade.
---@async
local function ask_handshake(side, host, url, header)
    local key = crypt.base64encode(crypt.randomkey() .. crypt.randomkey())
    local request = {
        Upgrade = "websocket",
        Connection = "Upgrade",
        ["Sec-WebSocket-Version"] = "13",
        ["Sec-WebSocket-Key"] = key,
    }
    for name, value in pairs(header or {}) do
        request[name] = value
    end
    local received = {}
    local status, rest = internal.request(side, "GET", host, url, received, request)
    if status ~= 101 then error(string.format("websocket handshake error: code[%s] info:%s", status, rest)) end
    side.buffer = rest
    local answer = received["sec-websocket-accept"]
    if not has_word(received.upgrade, "websocket") or not has_word(received.connection, "upgrade") then
        error "websocket handshake upgrade must websocket"
    end
    if answer ~= accept_key(key) then error "websocket handshake invalid Sec-WebSocket-Accept" end
end

--- Connects to `ws://host[:port]/uri` or `wss://…`. Raises if that fails.
---@async
---@param url string
---@param header table?     more fields of the request
---@param timeout integer?  for connecting, in hundredths of a second
---@return integer id
function websocket.connect(url, header, timeout)
    local protocol, host, uri = url:match "^(wss?)://([^/]+)(.*)$"
    if not protocol then error(string.format("invalid url: %s", url)) end
    local name, port = host:match "^%[([^%]]+)%]:?(%d*)$"
    if not name then
        name, port = host:match "^([^:]+):?(%d*)$"
    end
    if not name then error(string.format("invalid host: %s", host)) end
    port = tonumber(port) or (protocol == "ws" and 80 or 443)
    local fd = sockethelper.connect(name, port, timeout)
    local ok, side = pcall(function()
        local side = open_side("client", fd, protocol, name .. ":" .. port, name)
        ask_handshake(side, host, uri == "" and "/" or uri, header)
        return side
    end)
    if not ok then
        socket.close(fd)
        error(side, 0)
    end
    sides[fd] = side
    return fd
end

--- The next message of the server.
---@async
---@param id integer
---@return string|false data  false: it was closed
---@return string? payload    of the close frame
function websocket.read(id)
    local side = assert_side(id)
    assert(side.mode == "client", "only clients read")
    local reason
    local message = read_message(side, function(opcode, payload)
        if opcode == PING then
            write_frame(side, PONG, payload)
        elseif opcode == CLOSE then
            reason = payload
            return true
        end
    end)
    if message then return message end
    if not side.closed then
        side.closed = true
        pcall(write_frame, side, CLOSE, close_answer(reason))
    end
    close_side(side)
    return false, reason
end

--------------------------------------------------------------------------------------------------------------------------- both

--- Sends a message.
---@param id integer
---@param data string?  nil: a message without bytes
---@param format ("text"|"binary")?
---@param mask integer|boolean|nil  the key of the mask; clients choose one if it is nil, and false sends as it is
function websocket.write(id, data, format, mask)
    local opcode = assert(OPCODE[format or "text"], format)
    write_frame(assert_side(id), opcode, data or "", mask)
end

--- Asks whether the other side is there.
---@param id integer
function websocket.ping(id) write_frame(assert_side(id), PING, "") end

--- Where the other side is, as it was given to `accept` or `connect`.
---@param id integer
---@return string
function websocket.addrinfo(id)
    local side = assert_side(id)
    return side.addr or ""
end

--- What the field `X-Real-IP` of the request said.
---@param id integer
---@return string?
function websocket.real_ip(id) return assert_side(id).real_ip end

--- Sends a close frame and closes the socket. Nothing happens if it is closed.
---@async
---@param id integer
---@param code integer?
---@param reason string?
function websocket.close(id, code, reason)
    local side = sides[id]
    if not side then return end
    if not side.closed then
        side.closed = true
        local payload = ""
        if code or reason then payload = pack(">I2", code or 1000) .. (reason or "") end
        pcall(write_frame, side, CLOSE, payload)
    end
    close_side(side)
end

--- Whether nothing can be sent any more.
---@param id integer
---@return boolean
function websocket.is_close(id) return sides[id] == nil end

return websocket

--- A gate for users who logged in elsewhere: they prove who they are with the secret of their login, and may come back on a new
--- connection and ask again for what they asked before.
---
--- Requests are a content and four bytes of session; responses a content, a byte that says whether it went well, and the session.
local skynet = require "skynet"
local crypt = require "skynet.crypt"
local netpack = require "skynet.netpack"
local socketdriver = require "skynet.socketdriver"
local gateserver = require "snax.gateserver"

local b64encode, b64decode = crypt.base64encode, crypt.base64decode

-- Handlers pass requests on to agents as messages of this class, and rely on it being here.
skynet.register_protocol {
    name = "client",
    id = skynet.PTYPE_CLIENT,
}

local msgserver = {}

---@class snax.msgserver.User
---@field name string
---@field secret string
---@field version integer   index of its last handshake
---@field fd integer?
---@field addr string?
---@field responses table<integer, snax.msgserver.Response>  by session
---@field completed integer  how many requests were answered
---@field swept integer      the same, when old responses were last dropped

---@class snax.msgserver.Response
---@field version integer   of the connection that asked last
---@field packet string?    nil: not answered yet
---@field at integer?       the user's `completed` when it was

---@type table<string, snax.msgserver.User>
local online = {}
--- Who is at the other end, after the handshake.
---@type table<integer, snax.msgserver.User>
local users = {}
--- Who was there before they came back over another connection, until that is over.
---@type table<integer, snax.msgserver.User>
local replaced = {}
--- Addresses of connections before it.
---@type table<integer, string>
local handshakes = {}

--- Parts of a user's name.
---@param username string
---@return string uid
---@return string subid
---@return string servername
function msgserver.userid(username)
    local uid, servername, subid = username:match "([^@]*)@([^#]*)#(.*)"
    return b64decode(uid), b64decode(subid), b64decode(servername)
end

--- A user's name.
---@param uid string
---@param subid string
---@param servername string
---@return string
function msgserver.username(uid, subid, servername)
    return string.format("%s@%s#%s", b64encode(uid), b64encode(servername), b64encode(tostring(subid)))
end

--- Ends a user's session, and the connection if there is one.
---@param username string
function msgserver.logout(username)
    local user = online[username]
    online[username] = nil
    local fd = user and user.fd
    if fd and users[fd] == user then
        users[fd] = nil
        user.fd = nil
        gateserver.closeclient(fd)
    end
end

--- Lets a user in who has this secret.
---@param username string
---@param secret string
function msgserver.login(username, secret)
    assert(online[username] == nil, "user is online")
    online[username] = { name = username, secret = secret, version = 0, responses = {}, completed = 0, swept = 0 }
end

--- Where a user's last connection came from.
---@param username string
---@return string?
function msgserver.ip(username)
    local user = online[username]
    return user and user.addr
end

--- Checks the first packet of a connection. Returns what is wrong with it.
local function authenticate(fd, addr, text)
    local username, index, hmac = text:match "^([^:]*):([^:]*):([^:]*)$"
    -- What is no handshake names no user.
    local user = username and online[username]
    if not user then return "404 User Not Found" end
    local number = math.tointeger(tonumber(index))
    hmac = b64decode(hmac)
    if not number or number <= user.version then return "403 Index Expired" end
    if crypt.hmac_hash(user.secret, username .. ":" .. index) ~= hmac then return "401 Unauthorized" end
    local before = user.fd
    if before then
        -- The user came back before we heard that the old connection is dead.
        users[before] = nil
        replaced[before] = user
        gateserver.closeclient(before)
    end
    user.version, user.fd, user.addr = number, fd, addr
    users[fd] = user
end

--- Forgets responses that nobody asked for again for long.
local function sweep(user, most)
    if user.completed - user.swept < most then return end
    local oldest = user.swept
    user.swept = user.completed
    for session, response in pairs(user.responses) do
        if response.at and response.at <= oldest then user.responses[session] = nil end
    end
end

--- Serves messages of users. `conf` has `login_handler`, `logout_handler` and `kick_handler` for the commands of these names,
--- `request_handler(username, content)` that returns the response, `register_handler(servername)` for `open`; and may have
--- `disconnect_handler(username)` and `expired_number`, how many later requests a response outlives.
---@param conf table
function msgserver.start(conf)
    local most = conf.expired_number or 128
    local request_handler = assert(conf.request_handler)

    local command = {
        login = assert(conf.login_handler),
        logout = assert(conf.logout_handler),
        kick = assert(conf.kick_handler),
    }

    local handler = {}

    function handler.command(cmd, _, ...)
        local f = assert(command[cmd], cmd)
        return f(...)
    end

    function handler.open(_, gate)
        local servername = assert(gate.servername, "servername is missing")
        return conf.register_handler(servername)
    end

    function handler.connect(fd, addr)
        handshakes[fd] = addr
        gateserver.openclient(fd)
    end

    function handler.disconnect(fd)
        handshakes[fd] = nil
        local user = users[fd]
        if user then
            users[fd] = nil
            user.fd = nil
        else
            user = replaced[fd]
            replaced[fd] = nil
        end
        if user and conf.disconnect_handler then conf.disconnect_handler(user.name) end
        -- Releases the number.
        gateserver.closeclient(fd)
    end

    handler.error = handler.disconnect

    local function shake_hands(fd, addr, text)
        local ok, refusal = pcall(authenticate, fd, addr, text)
        if not ok then
            skynet.error(refusal)
            refusal = "400 Bad Request"
        end
        socketdriver.send(fd, string.pack(">s2", refusal or "200 OK"))
        if refusal then gateserver.closeclient(fd) end
    end

    local function answer(user, session, content)
        local ok, result = pcall(request_handler, user.name, content)
        result = result or ""
        if not ok then
            skynet.error(result)
        elseif #result > 0xffff - 5 then
            skynet.error(string.format("response of %d bytes is too long for a packet", #result))
            ok = false
        end
        local tail = string.pack(">BI4", ok and 1 or 0, session)
        return string.pack(">s2", ok and result .. tail or tail)
    end

    local function request(fd, text)
        local user = assert(users[fd], "no user")
        local session = string.unpack(">I4", text, -4)
        local response = user.responses[session]
        if response and response.version == user.version then
            if not response.packet then
                error(string.format("Conflict session %d from %s", session, user.name))
            end
            -- The same number again, for another request.
            response = nil
        end
        if response then
            response.version = user.version
        else
            response = { version = user.version }
            user.responses[session] = response
            response.packet = answer(user, session, text:sub(1, -5))
        end
        if not response.packet then return end -- whoever asked first tells
        user.completed = user.completed + 1
        response.at = user.completed
        if user.fd then socketdriver.send(user.fd, response.packet) end
        sweep(user, most)
    end

    function handler.message(fd, packet, size)
        local text = netpack.tostring(packet, size)
        local addr = handshakes[fd]
        if addr then
            handshakes[fd] = nil
            shake_hands(fd, addr, text)
            return
        end
        local ok, err = pcall(request, fd, text)
        if not ok then
            skynet.error(string.format("Invalid package %s : %s", err, text))
            if users[fd] then gateserver.closeclient(fd) end
        end
    end

    gateserver.start(handler)
end

return msgserver

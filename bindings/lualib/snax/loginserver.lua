--- A server that users log in at: `login(conf)` is the whole service.
---
--- The first instance is the master: it has a name, accepts, and keeps who is logging in. It starts more of the same script, which
--- find the name taken and do the handshakes. Lines end in `\n`, fields are base64:
---
--- | from | line |
--- |---|---|
--- | server | a challenge of 8 bytes |
--- | client, then server | its part of a Diffie-Hellman exchange; both have a secret then |
--- | client | `hmac64(challenge, secret)` |
--- | client | `desencode(secret, token)` |
--- | server | `200 ` and the subid, or a refusal |
local skynet = require "skynet"
require "skynet.manager"
local crypt = require "skynet.crypt"
local socket = require "skynet.socket"

local b64encode, b64decode = crypt.base64encode, crypt.base64decode

--- Longest input of a handshake.
local INPUT_LIMIT <const> = 8192

--- Raised when the connection ended: nobody is there to be answered.
local SOCKET_CLOSED <const> = {}

local function check_socket(step, ok, fd)
    if ok then return ok end
    skynet.error(string.format("%s failed: socket (fd = %d) closed", step, fd))
    error(SOCKET_CLOSED)
end

local function write(step, fd, text) check_socket(step, socket.write(fd, text), fd) end

-------------------------------------------------------------------------------------------------------------------- handshakes

---@async
---@return boolean ok   what the auth handler did
---@return any server   or its error
---@return any uid
---@return string? secret
local function shake_hands(conf, fd)
    local challenge = crypt.randomkey()
    write("auth", fd, b64encode(challenge) .. "\n")
    local clientkey = b64decode(check_socket("auth", socket.readline(fd), fd))
    if #clientkey ~= 8 then error "Invalid client key" end
    local serverkey = crypt.randomkey()
    write("auth", fd, b64encode(crypt.dhexchange(serverkey)) .. "\n")
    local secret = crypt.dhsecret(clientkey, serverkey)
    local response = b64decode(check_socket("auth", socket.readline(fd), fd))
    if crypt.hmac64(challenge, secret) ~= response then error "challenge failed" end
    local token = crypt.desdecode(secret, b64decode(check_socket("auth", socket.readline(fd), fd)))
    local ok, server, uid = pcall(conf.auth_handler, token)
    return ok, server, uid, secret
end

--- An instance that does handshakes: answers whether it went well and what came of it, nothing if the connection ended.
local function start_slave(conf)
    ---@async
    local function serve(fd, addr)
        skynet.error(string.format("connect from %s (fd = %d)", addr, fd))
        local ok, err = socket.start(fd)
        if not ok then
            skynet.error(string.format("auth failed: socket (fd = %d) %s", fd, err))
            return
        end
        socket.limit(fd, INPUT_LIMIT)
        local result = table.pack(pcall(shake_hands, conf, fd))
        -- The master answers and closes.
        socket.abandon(fd)
        if result[1] then return table.unpack(result, 2, result.n) end
        if result[2] ~= SOCKET_CLOSED then return false, result[2] end
    end
    skynet.dispatch("lua", function(_, _, fd, addr) skynet.ret(skynet.pack(serve(fd, addr))) end)
end

------------------------------------------------------------------------------------------------------------------------ the master

--- Users who are logging in.
local busy = {}

---@async
local function accept(conf, slave, fd, addr)
    local ok, server, uid, secret = skynet.call(slave, "lua", fd, addr)
    if not ok then
        if ok ~= nil then write("response 401", fd, "401 Unauthorized\n") end
        error(server or SOCKET_CLOSED, 0)
    end
    if not conf.multilogin then
        if busy[uid] then
            write("response 406", fd, "406 Not Acceptable\n")
            error(string.format("User %s is already login", uid))
        end
        busy[uid] = true
    end
    local logged_in, subid = pcall(conf.login_handler, server, uid, secret)
    busy[uid] = nil
    if not logged_in then
        write("response 403", fd, "403 Forbidden\n")
        error(subid, 0)
    end
    write("response 200", fd, "200 " .. b64encode(tostring(subid or "")) .. "\n")
end

local function start_master(conf)
    local slaves, turn = {}, 0
    skynet.dispatch("lua", function(_, _, cmd, ...) skynet.ret(skynet.pack(conf.command_handler(cmd, ...))) end)
    for i = 1, conf.instance or 8 do
        slaves[i] = skynet.newservice(SERVICE_NAME)
    end
    local host = conf.host or "0.0.0.0"
    local port = assert(tonumber(conf.port), "no port")
    local listener, its_host, its_port = socket.listen(host, port)
    skynet.error("login server listen at :", its_host or host, its_port or port)
    socket.start(listener, function(fd, addr)
        turn = turn % #slaves + 1
        local ok, err = pcall(accept, conf, slaves[turn], fd, addr)
        if not ok and err ~= SOCKET_CLOSED then
            skynet.error(string.format("invalid client (fd = %d) error = %s", fd, err))
        end
        socket.close_fd(fd)
    end)
end

--- Serves logins. `conf` has `port`, `auth_handler(token)` that returns server and uid, `login_handler(server, uid, secret)` that
--- returns a subid, and `command_handler(cmd, ...)` for messages; and may have `host`, `name` ("login"), `multilogin` (a user may log in
--- several times at once) and `instance`, how many do handshakes (8).
---@param conf table
return function(conf)
    local name = "." .. (conf.name or "login")
    skynet.start(function()
        if skynet.localname(name) then
            start_slave(conf)
        else
            assert(conf.login_handler)
            assert(conf.command_handler)
            skynet.register(name)
            start_master(conf)
        end
    end)
end

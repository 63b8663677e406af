-- A client, step by step: the handshake of the login server, then that of the message server, requests, and both again.
local skynet = require "skynet"
local crypt = require "client.crypt"
local socket = require "skynet.socket"

local function b64(text) return crypt.base64encode(text) end

--- Logs in. Returns subid and secret, or the refusal.
local function log_in(port, user, password)
    local fd = assert(socket.open("127.0.0.1", port))
    local challenge = crypt.base64decode(socket.readline(fd))
    local key = crypt.randomkey()
    socket.write(fd, b64(crypt.dhexchange(key)) .. "\n")
    local secret = crypt.dhsecret(crypt.base64decode(socket.readline(fd)), key)
    socket.write(fd, b64(crypt.hmac64(challenge, secret)) .. "\n")
    local token = ("%s@%s:%s"):format(b64(user), b64 "sample", b64(password))
    socket.write(fd, b64(crypt.desencode(secret, token)) .. "\n")
    local result = socket.readline(fd)
    socket.close(fd)
    local subid = result:match "^200 (.*)"
    return subid and crypt.base64decode(subid), subid and secret or result
end

local function read_packet(fd)
    local head = socket.read(fd, 2)
    return head and socket.read(fd, socket.header(head))
end

--- Connects as a user who is logged in. `index` is greater each time.
local function enter(port, user, subid, secret, index)
    local fd = assert(socket.open("127.0.0.1", port))
    local text = ("%s@%s#%s:%d"):format(b64(user), b64 "sample", b64(subid), index)
    socket.write(fd, string.pack(">s2", text .. ":" .. b64(crypt.hmac_hash(secret, text))))
    return fd, read_packet(fd)
end

local function request(fd, text, session)
    socket.write(fd, string.pack(">s2", text .. string.pack(">I4", session)))
    return (read_packet(fd):sub(1, -6))
end

local function run(login_port, game_port)
    local _, refusal = log_in(login_port, "hello", "guess")
    print("wrong password:", refusal)
    local subid, secret = log_in(login_port, "hello", "password")
    print("logged in, subid", subid)
    local fd, answer = enter(game_port, "hello", subid, secret, 1)
    print("entered:", answer)
    print(request(fd, "fire", 1))
    print(request(fd, "water", 2))
    socket.close(fd)
    _, answer = enter(game_port, "hello", subid, secret, 1)
    print("an old index:", answer)
    fd, answer = enter(game_port, "hello", subid, secret, 2)
    print("came back:", answer)
    -- Was the second request heard? It is asked again, and not done again.
    print(request(fd, "water", 2))
    print(request(fd, "earth", 3))
    local again = log_in(login_port, "hello", "password")
    print("logged in elsewhere, subid", again)
    print("the first connection ended:", tostring(read_packet(fd) == false))
    socket.close(fd)
end

skynet.start(function()
    skynet.dispatch("lua", function(_, _, login_port, game_port)
        run(tonumber(login_port), game_port)
        skynet.retpack()
    end)
end)

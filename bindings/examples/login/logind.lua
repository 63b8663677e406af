-- Who users are, and which server they may use. A user is online at one server at a time: a second login ends the first.
local skynet = require "skynet"
local crypt = require "skynet.crypt"
local login = require "snax.loginserver"

---@type table<string, integer>  servers by name
local servers = {}
---@type table<string, { server: integer, uid: string, subid: string }>
local online = {}

local conf = {
    host = "127.0.0.1",
    port = tonumber(skynet.getenv "login_port"),
    multilogin = false,
    name = "login_master",
    instance = 2,
}

--- Runs in the instances that do handshakes. A token is `base64(user)@base64(server):base64(password)`.
function conf.auth_handler(token)
    local user, server, password = token:match "([^@]+)@([^:]+):(.+)"
    user, server, password = crypt.base64decode(user), crypt.base64decode(server), crypt.base64decode(password)
    assert(password == "password", "wrong password")
    return server, user
end

function conf.login_handler(server, uid, secret)
    local handle = assert(servers[server], "no such server")
    local before = online[uid]
    if before then skynet.call(before.server, "lua", "kick", before.uid, before.subid) end
    local subid = tostring(skynet.call(handle, "lua", "login", uid, secret))
    online[uid] = { server = handle, uid = uid, subid = subid }
    return subid
end

local command = {}

function command.register(server, handle) servers[server] = handle end

function command.logout(uid) online[uid] = nil end

function conf.command_handler(name, ...) return command[name](...) end

login(conf)

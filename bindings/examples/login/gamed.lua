-- The server where users work: their requests go to an agent each.
local skynet = require "skynet"
local msgserver = require "snax.msgserver"

local login = tonumber((...))
local name
local last = 0
---@type table<string, { uid: string, subid: string, agent: integer }>
local users = {}

local conf = {}

function conf.login_handler(uid, secret)
    last = last + 1
    local subid = tostring(last)
    local username = msgserver.username(uid, subid, name)
    users[username] = { uid = uid, subid = subid, agent = skynet.newservice("msgagent", uid) }
    msgserver.login(username, secret)
    return subid
end

local function log_out(username)
    local user = users[username]
    if not user then return end
    users[username] = nil
    msgserver.logout(username)
    skynet.call(login, "lua", "logout", user.uid)
    skynet.send(user.agent, "lua", "exit")
end

function conf.logout_handler(uid, subid) log_out(msgserver.username(uid, subid, name)) end

function conf.kick_handler(uid, subid) log_out(msgserver.username(uid, subid, name)) end

function conf.disconnect_handler(username) skynet.error(username, "may come back") end

function conf.request_handler(username, text)
    return skynet.tostring(skynet.rawcall(users[username].agent, "client", text))
end

function conf.register_handler(servername)
    name = servername
    skynet.call(login, "lua", "register", servername, skynet.self())
end

msgserver.start(conf)

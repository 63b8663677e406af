-- A login server whose users all have the same password.
local skynet = require "skynet"
local login = require "snax.loginserver"
local socket = require "skynet.socket"

local users
local waiting
local port = tonumber(skynet.getenv "login_port")
if not port then
    -- A port that was free a moment ago, and that the system gives to nobody by itself.
    local driver = require "skynet.socketdriver"
    for _ = 1, 100 do
        port = 10000 + math.random(20000)
        local free, id = pcall(driver.listen, "127.0.0.1", port)
        if free then
            driver.close(id)
            break
        end
    end
    skynet.setenv("login_port", port)
end

login {
    host = "127.0.0.1",
    port = port,
    name = "test_login",
    instance = 2,
    auth_handler = function(token)
        local user, server, password = token:match "^([^@]+)@([^:]+):(.+)$"
        assert(password == "password", "wrong password")
        assert(socket)
        return server, user
    end,
    login_handler = function(_, uid, secret)
        if uid == "bad" then error "not wanted" end
        if uid == "slow" then
            waiting = true
            skynet.wait "slow"
        end
        return skynet.call(users, "lua", "login", uid, secret)
    end,
    command_handler = function(what, address)
        if what == "gate" then users = address end
        if what == "go" then skynet.wakeup "slow" end
        return waiting
    end,
}

-- Starts both servers, and a client that tries them.
local skynet = require "skynet"
require "skynet.manager" -- for abort

skynet.start(function()
    local login = skynet.newservice "logind"
    local game = skynet.newservice("gamed", tostring(login))
    local port = tonumber(skynet.getenv "game_port")
    skynet.call(game, "lua", "open", {
        address = "127.0.0.1",
        port = port,
        maxclient = 64,
        servername = "sample",
    })
    local client = skynet.newservice "client"
    skynet.call(client, "lua", skynet.getenv "login_port", port)
    skynet.abort()
end)

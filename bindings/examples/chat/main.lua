-- Starts the room and the watchdog; then robots that talk, unless people are to do that.
local skynet = require "skynet"
require "skynet.manager" -- for abort

skynet.start(function()
    local serve = os.getenv "CHAT_SERVE"
    local room = skynet.newservice "room"
    local watchdog = skynet.newservice("watchdog", tostring(room))
    -- Robots need no port that anybody knows.
    local port = serve and tonumber(skynet.getenv "chat_port") or 0
    local address, bound = skynet.call(watchdog, "lua", "start", { address = "127.0.0.1", port = port, maxclient = 64, nodelay = true })
    print("chat at " .. address .. (serve and ":" .. bound or ""))
    if serve then return end
    local robots = {}
    for i, name in ipairs { "ann", "bob", "eve" } do
        robots[i] = skynet.newservice("robot", name, tostring(bound))
    end
    for _, robot in ipairs(robots) do
        skynet.call(robot, "lua", "talk")
    end
    for _, robot in ipairs(robots) do
        print(skynet.call(robot, "lua", "leave"))
    end
    -- The agents are gone when their connections are.
    repeat
        skynet.sleep(1)
    until skynet.call(room, "lua", "count") == 0
    print "the room is empty"
    skynet.abort()
end)

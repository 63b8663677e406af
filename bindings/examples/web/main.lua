-- Accepts connections and gives them to agents in turns; then looks at the page, unless people are to do that.
local skynet = require "skynet"
local socket = require "skynet.socket"
local httpc = require "http.httpc"
local websocket = require "http.websocket"
require "skynet.manager" -- for abort

local AGENTS <const> = 4

local function look(port)
    local host = "127.0.0.1:" .. port
    local header = {}
    local status, page = httpc.get(host, "/", header)
    print(("the page: %d, %s, has a canvas: %s"):format(status, header["content-type"], tostring(page:find "<canvas" ~= nil)))
    print(("another page: %d"):format((httpc.get(host, "/nosuch"))))
    local status2, text = httpc.get(host, "/population")
    print(("population: %d, %s"):format(status2, text))
    local id = websocket.connect("ws://" .. host .. "/live")
    local first, last
    for _ = 1, 5 do
        last = assert(websocket.read(id))
        first = first or last
    end
    websocket.close(id)
    local dots = select(2, first:gsub(";", ";"))
    print(("five pictures of the world: %d dots, and they move: %s"):format(dots, tostring(first ~= last)))
end

skynet.start(function()
    local serve = os.getenv "WEB_SERVE" or skynet.getenv "web_serve"
    local world = skynet.uniqueservice "world"
    local agents = {}
    for i = 1, AGENTS do
        agents[i] = skynet.newservice("agent", tostring(world))
    end
    local id, address, port = socket.listen("127.0.0.1", serve and tonumber(skynet.getenv "web_port") or 0)
    local turn = 0
    socket.start(id, function(fd, addr)
        turn = turn % AGENTS + 1
        skynet.send(agents[turn], "lua", "serve", fd, addr)
    end)
    if serve then
        print(("open http://%s:%d/"):format(address, port))
        return
    end
    look(port)
    skynet.abort()
end)

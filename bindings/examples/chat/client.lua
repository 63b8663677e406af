-- The terminal's side of the chat.
local skynet = require "skynet"
local socket = require "skynet.socket"
require "skynet.manager" -- for abort

skynet.start(function()
    local host, port = os.getenv "CHAT_HOST" or "127.0.0.1", tonumber(skynet.getenv "chat_port")
    local fd, problem = socket.open(host, port)
    if not fd then
        print(("no chat at %s:%d: %s"):format(host, port, problem))
        return skynet.abort()
    end
    skynet.fork(function()
        while true do
            local head = socket.read(fd, 2)
            local text = head and socket.read(fd, socket.header(head))
            if not text then break end
            print(text)
        end
        print "the chat is over"
        skynet.abort()
    end)
    local input = socket.stdin()
    while true do
        local line = socket.readline(input)
        if not line or line == "/quit" then return skynet.abort() end
        if line ~= "" then socket.write(fd, string.pack(">s2", line:sub(1, 60000))) end
    end
end)

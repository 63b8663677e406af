-- Starts an id that another service accepted, and answers its lines.
local skynet = require "skynet"
local socket = require "skynet.socket"

skynet.start(function()
    skynet.dispatch("lua", function(_, _, what, id)
        if what == "exit" then skynet.exit() end
        skynet.retpack((socket.start(id)))
        skynet.fork(function()
            while true do
                local line = socket.readline(id)
                if not line then break end
                socket.write(id, "agent: " .. line .. "\n")
            end
        end)
    end)
end)

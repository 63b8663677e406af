--- Carries the lines of a console to the service that is being debugged. One for each session; ends with it.
local skynet = require "skynet"
local channels = require "skynet.debugchannel"

local channel

local commands = {}

--- Debugs `address`; its output goes to the socket `fd`. Answers when the session is over.
function commands.start(address, fd)
    assert(channel == nil, "Already debugging")
    skynet.error(string.format("Attach to :%08x", address))
    local handle
    channel, handle = channels.create()
    local ok, why = pcall(skynet.call, address, "debug", "REMOTEDEBUG", fd, handle)
    if ok then
        skynet.ret(skynet.pack(true))
    else
        skynet.error(why)
        skynet.ret(skynet.pack(false, "Debugger attach failed"))
    end
    skynet.exit()
end

--- A line of the console.
function commands.cmd(line)
    if channel then channel:write(line) end
end

function commands.ping() skynet.ret() end

skynet.start(function()
    skynet.dispatch("lua", function(_, _, name, ...) commands[name](...) end)
end)

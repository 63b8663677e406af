--- Starts what the lines of the standard input say: a service and its arguments, or `snax` and a snax service.
local skynet = require "skynet"
local snax = require "skynet.snax"
local socket = require "skynet.socket"

--- One line; what fails is the launcher's to log.
local function start(line)
    local words = {}
    for word in line:gmatch "%S+" do
        words[#words + 1] = word
    end
    if words[1] == "snax" then
        pcall(snax.newservice, table.unpack(words, 2))
    elseif #words > 0 then
        pcall(skynet.newservice, line)
    end
end

local function read()
    local stdin = assert(socket.stdin())
    while true do
        local line = socket.readline(stdin)
        if not line then break end
        start(line)
    end
    skynet.error "console: end of input"
    socket.close(stdin)
    skynet.exit()
end

skynet.start(function() skynet.fork(read) end)

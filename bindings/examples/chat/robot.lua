-- A client that says three things, and counts what it hears.
local skynet = require "skynet"
local socket = require "skynet.socket"

local name, port = ...
local fd
local heard = 0

local function send(text) socket.write(fd, string.pack(">s2", text)) end

local function receive()
    local head = socket.read(fd, 2)
    return head and socket.read(fd, socket.header(head))
end

--- Reads until `text` comes.
local function wait_for(text)
    repeat
        local line = assert(receive(), "the connection ended")
        if line:find "^%w+: " then heard = heard + 1 end
    until line == text
end

local command = {}

function command.talk()
    fd = assert(socket.open("127.0.0.1", tonumber(port)))
    wait_for "* what is your name?"
    send(name)
    wait_for("* " .. name .. " is here")
    for i = 1, 3 do
        send("line " .. i)
        wait_for(name .. ": line " .. i)
    end
end

function command.leave()
    socket.close(fd)
    return ("%s said 3 lines and heard %d so far"):format(name, heard)
end

skynet.start(function()
    skynet.dispatch("lua", function(_, _, what) skynet.retpack(command[what]()) end)
end)

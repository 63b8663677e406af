--- What does a socket cost? Lines and blocks that are sent back, and one text to many; the other end is a process of its own.
local skynet = require "skynet"
local socket = require "skynet.socket"
local bench = require "bench"

local LINE <const> = 64
local BLOCK <const> = 64 << 10
local TEXT <const> = 1 << 10
local RECEIVERS <const> = 200

--- Where the other end is, by this file's own name.
local PEER <const> = debug.getinfo(1, "S").source:match "^@(.*)lua/socket%.lua$" .. "driver/peer.py"

local control
local receivers = {}

--- Sends lines back.
local function lines(id)
    while true do
        local line = socket.readline(id)
        if not line then break end
        socket.write(id, line .. "\n")
    end
    socket.close(id)
end

--- Sends blocks back.
local function blocks(id)
    while true do
        local block = socket.read(id, BLOCK)
        if not block then break end
        socket.write(id, block)
    end
    socket.close(id)
end

local function serve(id)
    socket.start(id)
    local what = socket.readline(id)
    if what == "control" then
        control = id
    elseif what == "take" then
        receivers[#receivers + 1] = id
    elseif what == "echo " .. LINE then
        lines(id)
    else
        blocks(id)
    end
end

--- Has the other end do something, and waits until it has.
local function peer(...)
    socket.write(control, table.concat({ ... }, " ") .. "\n")
    assert(socket.readline(control) == "done")
end

local function echo(name, connections, size)
    peer("open", connections, size)
    bench.measure(name, connections, function(n) peer("echo", n // connections, size) end)
    peer "close"
end

local function broadcast(name)
    peer("take", RECEIVERS)
    while #receivers < RECEIVERS do
        skynet.sleep(1)
    end
    local text = ("x"):rep(TEXT)
    -- A tick at a time, and not more of them than the other end has room for.
    local TICKS <const> = 16
    bench.measure(name, RECEIVERS * TICKS, function(n)
        for _ = 1, n // (RECEIVERS * TICKS) do
            for _ = 1, TICKS do
                for _, id in ipairs(receivers) do
                    socket.write(id, text)
                end
                skynet.yield()
            end
            peer("expect", TEXT * TICKS)
        end
    end)
    peer "close"
end

bench.start(function()
    local listener, _, port = socket.listen("127.0.0.1", 0, 1024)
    socket.start(listener, serve)
    os.execute(string.format("python3 %s %d &", PEER, port))
    while not control do
        skynet.sleep(1)
    end
    echo("socket_echo_1", 1, LINE)
    echo("socket_echo_64", 64, LINE)
    echo("socket_blocks", 8, BLOCK)
    broadcast "socket_broadcast"
end)

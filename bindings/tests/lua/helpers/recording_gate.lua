-- A gate that writes down what it is told, in order; its starter asks for that, and has it do things.
local skynet = require "skynet"
local netpack = require "skynet.netpack"
local socketdriver = require "skynet.socketdriver"
local gateserver = require "snax.gateserver"

local told = {}
local last
local hurried = 0

local nodelay = socketdriver.nodelay
function socketdriver.nodelay(fd)
    hurried = hurried + 1
    nodelay(fd)
end
local handler = { embed = true }

local function tell(...) told[#told + 1] = table.concat({ ... }, " ") end

function handler.open(_, conf)
    tell("open", conf.address, math.type(conf.port))
    return conf.port
end

function handler.connect(fd, addr)
    last = fd
    tell("connect", addr:match "^[%d.]+")
end

function handler.message(fd, packet, size)
    local text = netpack.tostring(packet, size)
    tell("message", fd == last and text or "of another")
    if text == "wait" then
        skynet.sleep(10)
        tell "waited"
    end
end

function handler.disconnect() tell "disconnect" end

function handler.error(_, text) tell("error", text) end

function handler.warning(_, kib) tell("warning", kib == 0 and 0 or "much") end

local command = {}

function command.told()
    local text = table.concat(told, "; ")
    told = {}
    return text
end

function command.last() return last end

function command.hurried() return hurried end

function command.openclient(fd) gateserver.openclient(fd) end

function command.closeclient(fd) gateserver.closeclient(fd) end

function command.send(fd, text) return socketdriver.send(fd, text) end

function handler.command(cmd, source, ...)
    assert(source ~= skynet.self())
    return command[cmd](...)
end

gateserver.start(handler)
-- What `embed` leaves to us.
skynet.start(function() tell "started" end)

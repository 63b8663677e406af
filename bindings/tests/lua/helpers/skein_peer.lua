-- A service that answers when it is told to, for tests of deadlines, bounds and supervisors.
local skynet = require "skynet"
local skein = require "skein"

local held = {}
local command = {}

function command.echo(...) skynet.retpack(...) end

function command.fail() error "as asked" end

--- Answers when `release` comes.
function command.hold() table.insert(held, skynet.response()) end

function command.release()
    for _, answer in ipairs(held) do
        answer(true, "late")
    end
    held = {}
    skynet.retpack(true)
end

function command.leave() skynet.exit() end

--- From now on at most `count` messages may wait.
function command.bound(count)
    skein.set_mailbox(count)
    skynet.retpack(true)
end

--- Holds the whole service until `count` messages wait for it or were refused.
function command.block(count)
    while skynet.mqlen() + skynet.stat "refused" < count do
    end
    skynet.retpack(true)
end

function command.stat() skynet.retpack(skein.stat()) end

skynet.dispatch("lua", function(_, _, name, ...) command[name](...) end)
skynet.start(function() end)

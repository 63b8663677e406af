-- A snax service that counts, and says what it sees.
local skynet = require "skynet"
local snax = require "skynet.snax"

local count = 0
local step = 1
local calls_of_init = 0

shared = "a global of the service"

local function grow() return step * 2 end

local function add(n)
    count = count + n
    return tostring(count)
end

function init(...)
    calls_of_init = calls_of_init + 1
    skynet.error("tally begins with", ...)
end

function exit(...) skynet.error("tally ends with", ...) end

function accept.add(n) add(n) end

function accept.fail() error "on purpose in accept" end

function accept.leave(...) snax.exit(...) end

function response.echo(...) return ... end

function response.get() return count, calls_of_init end

function response.add(n) return add(n) end

function response.grow() return grow() end

function response.fail() error "on purpose in response" end

function response.fail_with_table() error { code = 5 } end

--- Globals, and what is left of the names that only mean something while the file is read.
function response.globals()
    written = "later"
    return _ENV == _G, rawget(_G, "shared"), rawget(_G, "written"), accept, response, init
end

function response.names() return SERVICE_NAME, SERVICE_PATH:match "/snax/tally/$", require("part").name end

function response.me()
    local me = snax.self()
    return me.handle, me.type, me == snax.bind(skynet.self(), "tally"), tostring(me)
end

function response.cluster() snax.enablecluster() end

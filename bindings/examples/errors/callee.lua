-- What `main` calls: a service that fails in every way it is asked for.
local skynet = require "skynet"

local CMD = {}

function CMD.echo(...) return ... end

function CMD.raise(what) error(what) end

function CMD.sleep(ti) skynet.sleep(ti) end

function CMD.exit() skynet.exit() end

--- Nobody else gets a turn here for `ti` hundredths of a second.
function CMD.busy(ti)
    local stop = skynet.now() + ti
    while skynet.now() < stop do
    end
end

function CMD.call(address, ...) return skynet.call(address, "lua", ...) end

--- What went wrong in the handler of `misuse`.
local misused

local misuses = {
    ["answer twice"] = function()
        skynet.retpack(1)
        skynet.retpack(2)
    end,
    ["take a response after the answer"] = function()
        skynet.retpack(1)
        skynet.response()
    end,
    ["answer after taking the response"] = function()
        local respond = skynet.response()
        respond(true, 1)
        skynet.retpack(2)
    end,
    ["use a response twice"] = function()
        local respond = skynet.response()
        respond(true, 1)
        respond(true, 2)
    end,
}

function CMD.misused() return misused end

local told

function CMD.told() return told end

--- Commands that answer by themselves.
local SELF = {}

function SELF.misuse(how)
    local _, err = pcall(misuses[how])
    misused = err
end

--- Logs `Maybe forgot response session`.
function SELF.forget() end

function SELF.sleep_and_tell(ti)
    skynet.sleep(ti)
    told = skynet.retpack() -- whether somebody was there to take it
end

skynet.register_protocol {
    name = "strict",
    id = 20,
    pack = skynet.pack,
    unpack = function() error "cannot read this request" end,
    dispatch = function() skynet.retpack() end,
}

skynet.register_protocol {
    name = "broken",
    id = 22,
    pack = skynet.pack,
    unpack = skynet.unpack,
    dispatch = function() skynet.retpack() end,
}

skynet.dispatch("lua", function(session, _, name, ...)
    if SELF[name] then
        SELF[name](...)
    elseif session == 0 then
        CMD[name](...)
    else
        skynet.retpack(CMD[name](...))
    end
end)

skynet.start(function() end)

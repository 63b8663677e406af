--- A cache and a worker under a supervisor; the worker needs the cache, so it is started anew with it.
local skynet = require "skynet"
local skein = require "skein"
local supervisor = require "skein.supervisor"

--- A child that is a service of this name.
local function child(name)
    return { name = name, start = function() return skynet.newservice(name) end }
end

skynet.start(function()
    local services
    services = supervisor.start {
        strategy = "rest_for_one",
        children = { child "cache", child "worker" },
    }
    skein.on_stop(function()
        services:stop()
        skynet.error "all children are ended"
    end)

    skynet.error("the worker says " .. skynet.call(services:child "worker", "lua", "work", 20))

    -- An answer that does not come is waited for no longer than this.
    local ok, err = pcall(skein.call_timeout, 5, services:child "worker", "lua", "never")
    skynet.error(ok, err)

    -- The cache ends by a mistake: both are started again.
    skynet.send(services:child "cache", "lua", "crash")
    while services:restarts "worker" == 0 or not services:child "worker" do
        skynet.sleep(1)
    end
    skynet.error("the worker says " .. skynet.call(services:child "worker", "lua", "work", 21))

    -- What SIGTERM does.
    skein.stop()
end)

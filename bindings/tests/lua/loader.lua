-- What the loader sets up: conformance L11, L12, lua-api §1.
local preloaded = PRELOADED
local skynet = require "skynet"
local check = require "check"

if (...) == "words" then
    skynet.start(function()
        skynet.dispatch("lua", function() skynet.retpack(preloaded.words) end)
    end)
else
    check.run("loader", function()
        local dir = skynet.newservice "dirservice"
        local name, path, first = skynet.call(dir, "lua")
        check.eq("L11", name, "sibling of dirservice")
        check.ok("L11 path", path:find "dirs/dirservice/$", path)
        check.eq("L11 first", first, path .. "?.lua")
        -- L12
        check.eq("L12", preloaded.name, "loader")
        check.eq("L12 once", preloaded.order, 1)
        local words = skynet.call(skynet.newservice("loader", "words", 1, "x"), "lua")
        check.values("L12 words", words, "loader", "words", "1", "x")
        check.eq("gone", LUA_PRELOAD, nil)
        -- The code cache: the same file is the same code until it is cleared.
        check.eq("cache", skynet.cache.mode(), "ON")
        -- A state's library.
        check.eq("version", _VERSION, "Lua 5.5")
        for _, module in ipairs {
            "skynet",
            "skynet.core",
            "skynet.codecache",
            "skynet.profile",
            "skynet.require",
            "skynet.debug",
        } do
            check.ok("loaded", package.loaded[module] ~= nil, module)
        end
    end)
end

-- The stubs for editors name what the native modules have, all of it and nothing else.
local skynet = require "skynet"
local check = require "check"

check.run("meta", function()
    for name, stub in pairs {
        ["skynet.core"] = "core",
        ["skynet.codecache"] = "codecache",
        ["skynet.profile"] = "profile",
        ["skynet.memory"] = "memory",
        ["skein.dispatch"] = "dispatch",
    } do
        local native = require(name)
        local described = assert(loadfile(skynet.getenv "meta" .. "/" .. stub .. ".lua"))()
        for key in pairs(native) do
            check.ok(name, described[key] ~= nil, key .. " has no stub")
        end
        for key in pairs(described) do
            check.ok(name, native[key] ~= nil, key .. " is only a stub")
        end
    end
end)

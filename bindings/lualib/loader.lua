--- What a new Lua state runs first: finds the script of the service, sets up its environment, and runs it.
---
--- In: the launch text, `"<script> <arg>…"`, and the globals LUA_PATH, LUA_CPATH, LUA_SERVICE and LUA_PRELOAD, which are gone when
--- the script begins. Runs on the main thread of the state, which `skynet.require` needs.
local words = {}
for word in string.gmatch(..., "%S+") do
    words[#words + 1] = word
end

SERVICE_NAME = words[1]

--- The script as a chunk, and the pattern that found it. The first that compiles wins.
local function find(name)
    local failures = {}
    for pattern in string.gmatch(LUA_SERVICE, "[^;]+") do
        -- A function, so that a `%` in the name is only itself.
        local file = pattern:gsub("%?", function() return name end)
        local chunk, err = loadfile(file)
        if chunk then return chunk, pattern end
        failures[#failures + 1] = err
    end
    error(table.concat(failures, "\n"))
end

local main, pattern = find(SERVICE_NAME)

package.path, LUA_PATH = LUA_PATH, nil
package.cpath, LUA_CPATH = LUA_CPATH, nil
LUA_SERVICE = nil

local directory, file = pattern:match "^(.*/)([^/]*)$"
if directory and not file:find("?", 1, true) then
    -- A directory per service: its own modules come first.
    SERVICE_PATH = directory:gsub("%?", function() return SERVICE_NAME end)
    package.path = SERVICE_PATH .. "?.lua;" .. package.path
else
    SERVICE_PATH = directory
end

if LUA_PRELOAD then
    local preload = assert(loadfile(LUA_PRELOAD))
    preload(table.unpack(words))
    LUA_PRELOAD = nil
end

_G.require = (require "skynet.require").require

main(select(2, table.unpack(words)))

--- Runs in a state that becomes the image of all services: loads what nearly every service requires, if it is ours.
---
--- In: what `lualib/loader.lua` finds, which stays as it is.
local modules <const> = { "skynet.require", "skein.calls", "skein.lifecycle", "skynet.debug", "skynet" }

local path = package.path
package.path = LUA_PATH

local ours = true
for _, name in ipairs(modules) do
    local file = package.searchpath(name, LUA_PATH)
    ours = ours and file == "skein:/lualib/" .. name:gsub("%.", "/") .. ".lua"
end

if ours then
    for _, name in ipairs(modules) do
        require(name)
    end
end

package.path = path

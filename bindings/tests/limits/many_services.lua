local skynet = require "skynet"
require "skynet.manager"

skynet.start(function()
    local handles, seen = {}, {}
    for at = 1, 10000 do
        local handle = skynet.newservice "idle"
        assert(not seen[handle], "a handle was given twice")
        seen[handle] = true
        handles[at] = handle
    end
    print("alive " .. #handles)
    local answered = 0
    for at, handle in ipairs(handles) do
        if skynet.call(handle, "lua", at) == at then
            answered = answered + 1
        end
    end
    print("answered " .. answered)
    skynet.abort()
end)

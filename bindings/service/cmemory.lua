--- Prints the native memory of every service, and ends.
local skynet = require "skynet"
local memory = require "skynet.memory"

skynet.start(function()
    memory.dumpinfo()
    local handles = {}
    local all = memory.info()
    for handle in pairs(all) do
        handles[#handles + 1] = handle
    end
    table.sort(handles)
    for _, handle in ipairs(handles) do
        print(string.format("%s\t%d", skynet.address(handle), all[handle]))
    end
    print("total", memory.total())
    skynet.exit()
end)

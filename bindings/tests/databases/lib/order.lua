--- Has the test that started this node kill and start servers.
local skynet = require "skynet"

--- Tells the test to do something, such as `kill redis`, and waits until it is done.
---@async
---@param what string
return function(what)
    local file = assert(io.open("order.new", "w"))
    file:write(what)
    file:close()
    assert(os.rename("order.new", "order"))
    while true do
        file = io.open "order"
        if not file then break end
        file:close()
        skynet.sleep(2)
    end
end

--- Asks the launcher something, prints the answer and ends: `dbg list`, `dbg stat`, …
local skynet = require "skynet"
local listing = require "skein.listing"

local command = { ... }

skynet.start(function()
    io.write(listing.text(skynet.call(".launcher", "lua", table.unpack(command))))
    io.flush()
    skynet.exit()
end)

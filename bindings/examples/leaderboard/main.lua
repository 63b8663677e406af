-- Players in Lua, a leaderboard in Rust.
local skynet = require "skynet"
require "skynet.manager"

skynet.start(function()
    local board = assert(skynet.launch "leaderboard", "the leaderboard does not run")
    for _, round in ipairs { { "ann", 30 }, { "bob", 20 }, { "eve", 45 }, { "bob", 20 } } do
        print(("%s has %d"):format(round[1], skynet.call(board, "lua", "add", table.unpack(round))))
    end
    for place, entry in ipairs(skynet.call(".leaderboard", "lua", "top", 2)) do
        print(place, entry.name, entry.points)
    end
    -- What makes no sense is an error for the caller, and a line in the log.
    print("a wrong request:", pcall(skynet.call, board, "lua", "add", "ann", "many"))
    skynet.abort()
end)

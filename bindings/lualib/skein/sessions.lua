--- Session numbers after the counter has come round.
---
--- Numbers run 1, 2, … 2147483647, 1, … per service, and the runtime hands them out. After the first round a number may be one that a
--- very old wait still holds. So once the counter gets near its end, whoever is about to take a number first burns those before a taken one.
local core = require "skynet.core"
local state = require "skein.state"

local waiting = state.waiting

--- From here on the counter may wrap before we look again.
local NEAR_END <const> = 0x70000000
local LAST <const> = 0x7fffffff

local sessions = {}

local careful = false

--- To be called before the runtime allocates a session for us.
function sessions.clear_way()
    if careful then
        local taken
        repeat
            local burnt = core.genid()
            taken = waiting[burnt == LAST and 1 or burnt + 1]
        until not taken
    end
end

--- To be called with each session that something will wait for.
---@param session integer
function sessions.seen(session)
    if session > NEAR_END then careful = true end
end

return sessions

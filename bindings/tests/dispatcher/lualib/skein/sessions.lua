--- Session numbers after the counter has come round.
---
--- Numbers run 1, 2, … 2147483647, 1, … per service, and the runtime hands them out. After the first round a number may be one that a
--- very old wait still holds. So once the counter gets near its end (`state.NEAR_END`, far enough from it for somebody to look
--- before it wraps) `state.careful` is set, and whoever is about to take a number first burns those before a taken one.
local core = require "skynet.core"
local state = require "skein.state"

local waiting = state.waiting

local LAST <const> = 0x7fffffff

local sessions = {}

--- To be called before the runtime allocates a session for us, if `state.careful`.
function sessions.clear_way()
    local taken
    repeat
        local burnt = core.genid()
        taken = waiting[burnt == LAST and 1 or burnt + 1]
    until not taken
end

return sessions

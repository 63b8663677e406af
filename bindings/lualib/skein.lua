--- What skein has beside skynet's interface: `local skein = require "skein"`. Nothing here changes what other functions do.
---
--- Calls with a deadline, timers that can be taken back, mailboxes with a bound, and an orderly end of the node. Supervisors
--- are in `skein.supervisor`. docs/supervision.md tells how they go together.
local skynet = require "skynet"
local core = require "skynet.core"
local dispatch = require "skein.dispatch"

local skein = {}

local timeouts = 0

------------------------------------------------------------------------------------------------------------------------- timers

--- A timer that has not run.
---@class skein.Timer
---@field private session integer?  nil when it is over
local Timer = {}
Timer.__index = Timer

--- Takes the timer back. `false`: it ran, or was taken back before.
---@return boolean
function Timer:cancel()
    local session = self.session
    if not session then return false end
    self.session = nil
    dispatch.give_up(session)
    return true
end

--- Whether the timer is still to run.
---@return boolean
function Timer:pending() return self.session ~= nil end

--- Runs `f()` in a task of its own after `ti` hundredths of a second, unless the timer is cancelled before.
---@param ti integer
---@param f async fun()
---@return skein.Timer
function skein.timeout(ti, f)
    local timer = setmetatable({}, Timer)
    local _
    _, timer.session = dispatch.arm(ti, function()
        -- It was cancelled when its message was under way already.
        if not timer.session then return end
        timer.session = nil
        f()
    end)
    return timer
end

-------------------------------------------------------------------------------------------------------------------------- calls

--- `skynet.call` that waits for `ti` hundredths of a second at most. Then it raises `call timeout`; a late answer is dropped and counted.
--- Whatever else makes `skynet.call` fail makes it raise as well. The request itself is not taken back.
---@async
---@param ti integer
---@param address skein.Address
---@param typename string
---@param ... any
---@return any ...
function skein.call_timeout(ti, address, typename, ...)
    local class = assert(dispatch.proto()[typename], "unknown type")
    local token = {}
    local answer
    local session = dispatch.ask(function(ok, msg, sz)
        -- The message is good in this task only.
        answer = ok and table.pack(pcall(class.unpack, msg, sz)) or { false, "call failed", n = 2 }
        dispatch.wakeup(token)
    end, address, typename, ...)
    if session == false then error("the request is too large", 2) end
    if not session then error("call to invalid address " .. skynet.address(address), 2) end
    local expired = false
    local timer = skein.timeout(ti, function()
        expired = true
        dispatch.wakeup(token)
    end)
    -- When the task is killed meanwhile, neither stays behind.
    local _ <close> = setmetatable({}, {
        __close = function()
            timer:cancel()
            if not answer then dispatch.give_up(session) end
        end,
    })
    while not (answer or expired) do
        dispatch.wait(token)
    end
    if not answer then
        timeouts = timeouts + 1
        error(string.format("call timeout: no answer from %s in %d ticks", skynet.address(address), ti), 2)
    end
    if not answer[1] then error(answer[2], 2) end
    return table.unpack(answer, 2, answer.n)
end

---------------------------------------------------------------------------------------------------------------------- mailboxes

--- Lets at most `bound` messages wait for this service; 0 for no bound, as in the beginning. Beyond it a request fails at its caller,
--- and a send is dropped. What comes always: answers, timers, errors, sockets, debug commands and the system's messages.
---@param bound integer
function skein.set_mailbox(bound)
    assert(math.type(bound) == "integer" and bound >= 0 and bound < 2 ^ 32, "a bound is an integer from 0 on")
    core.command("MAILBOX", tostring(bound))
end

---@class skein.Stat
---@field mqlen integer  messages that wait
---@field bound integer  how many may; 0: any number
---@field refused integer  messages that found no room
---@field timeouts integer  calls that were given up by `call_timeout`
---@field late integer  answers that came after that, or after the end of a `skynet.request`

--- What the functions of this module have seen in this service.
---@return skein.Stat
function skein.stat()
    return {
        mqlen = core.intcommand("STAT", "mqlen"),
        bound = core.intcommand("STAT", "bound"),
        refused = core.intcommand("STAT", "refused"),
        timeouts = timeouts,
        late = dispatch.late(),
    }
end

------------------------------------------------------------------------------------------------------------------- an orderly end

---@type (async fun())[]?
local hooks

--- Runs the hooks, last one first. What one raises is logged, and the others run.
---@async
local function run_hooks()
    while hooks and #hooks > 0 do
        local hook = table.remove(hooks)
        local ok, err = xpcall(hook, debug.traceback)
        if not ok then core.error("stop hook failed: " .. tostring(err)) end
    end
end

--- Has `hook()` run before the node stops: on SIGTERM, SIGINT or `skein.stop()`. Services stop one after the other, the one that asked
--- last is the first; the hooks of one service likewise. From the first hook of a node on those signals no longer kill the process.
---@async
---@param hook async fun()  may suspend
function skein.on_stop(hook)
    if not hooks then
        hooks = {}
        require("skynet.debug").reg_debugcmd("STOP", function()
            run_hooks()
            skynet.retpack(true)
        end)
        skynet.call(skynet.uniqueservice "skein_stopd", "lua", "REGISTER")
    end
    table.insert(hooks, hook)
end

--- Stops the node as SIGTERM does: hooks, drain, end with status 0. Does not wait for that.
---@async
function skein.stop() skynet.send(skynet.uniqueservice "skein_stopd", "lua", "STOP") end

return skein

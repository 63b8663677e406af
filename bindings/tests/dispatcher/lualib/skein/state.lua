--- What one service remembers about its tasks. Every table lives here, so that a debugger, or a dispatcher in native code, finds
--- all of it in one place; the modules that share them take the tables as locals when they load.
---
--- A *task* is the coroutine that serves one request, timer or fork. A *session* is the number under which an answer will come.
---
--- # Invariants
--- * **S1** `waiting[s]` is a task exactly as long as something may still resume it under `s`. A tombstone in its place means:
---   the message for `s` is still to come, and nobody wants it any more.
--- * **S2** A task has a `session_of` only while its request is unanswered; whoever answers takes it away first.
--- * **S3** `call_target[s]` implies `waiting[s]`: a call that may still fail because its peer dies.
--- * **S4** `sleeping[token]` implies a `waiting` session; it is dropped by the sleeper itself when it continues.

---@alias skein.Task thread
---@alias skein.Address integer|string

---@class skein.State
---@field running skein.Task?  the task that runs now; nil between tasks
---@field starting skein.Task?  the task of the start function until it is through
---@field leaving boolean  `skynet.exit` was called: nothing new starts
---@field waiting table<integer, skein.Task|string>  session → who waits for it, or the tombstone
---@field unticked table<integer, boolean>  sessions of `wait`: no message will ever come for them
---@field session_of table<skein.Task, integer>  the unanswered request of a task; 0 for a send
---@field source_of table<skein.Task, integer>  who sent that request; stays when it is answered
---@field call_target table<integer, skein.Address>  session → whom we asked, exactly as the caller named it
---@field closures table<function, integer>  unused `response` closures → who waits for them
---@field sleeping table<any, integer>  token → session
---@field callbacks table<skein.Task, function>  what a timer's task will run
---@field timer_origin table<skein.Task, string>  where a timer was made, while `trace_timeout` is on
---@field collectors table<skein.Task, table>  requests of a `select` whose answer is still to come
---@field tags table<skein.Task, string|false>  trace tag of a task; false when its class is never traced
---@field incoming_tag table<integer, string>  source → tag that its next request carries
---@field last_words table  its finaliser answers what is open when the service is killed
---@field proto table<string|integer, table>  message classes, by name and by number
---@field careful boolean  session numbers may be in use again, see `skein.sessions`
---@field forgotten skein.Forgotten?  requests nobody answered; there from the first of them on
local state = {
    leaving = false,
    careful = false,
    waiting = {},
    unticked = {},
    session_of = {},
    source_of = {},
    call_target = {},
    closures = {},
    sleeping = {},
    callbacks = {},
    timer_origin = {},
    collectors = {},
    tags = {},
    incoming_tag = {},
    proto = {},
}

--- Stands in `waiting` for a task that gave up. Part of the interface: `skynet.task` shows it under this name.
state.TOMBSTONE = "BREAK"

--- Sessions from here on are near the end of their numbers.
state.NEAR_END = 0x70000000

state.PTYPE = {
    TEXT = 0,
    RESPONSE = 1,
    MULTICAST = 2,
    CLIENT = 3,
    SYSTEM = 4,
    HARBOR = 5,
    SOCKET = 6,
    ERROR = 7,
    QUEUE = 8,
    DEBUG = 9,
    LUA = 10,
    SNAX = 11,
    TRACE = 12,
}

return state

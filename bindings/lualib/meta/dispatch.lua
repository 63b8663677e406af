---@meta skein.dispatch

--- The native dispatcher. Programs use it through `skynet`; what has the same name there is described there.
local dispatch = {}

--- Message classes by name and number, `skynet._proto`.
---@return table<string|integer, table>
function dispatch.proto() end

--- Handles one message, as a callback does. Raises all errors of it as one.
---@param ptype integer
---@param msg lightuserdata
---@param sz integer
---@param session integer
---@param source integer
function dispatch.message(ptype, msg, sz, session, source) end

--- From the next message on, messages are dispatched natively.
function dispatch.start() end

--- Replaces what happens to a send that no class or handler takes; returns the handler before.
---@param handler fun(session: integer, source: integer, msg: lightuserdata, sz: integer, class: string|integer)
---@return function
function dispatch.unknown_request(handler) end

--- Replaces what happens to a response nobody waits for; returns the handler before.
---@param handler fun(session: integer, source: integer, msg: lightuserdata, sz: integer)
---@return function
function dispatch.unknown_response(handler) end

--- Sends a message that wants no answer.
---@param address integer|string
---@param typename string
---@param ... any
---@return integer|false|nil  0 when delivered; nothing when nobody is there; false when it is too large
function dispatch.send(address, typename, ...) end

--- Sends a request and waits for its answer.
---@async
---@param address integer|string
---@param typename string
---@param ... any
---@return any ...
function dispatch.call(address, typename, ...) end

--- `call` without packing and unpacking.
---@async
---@param address integer|string
---@param typename string
---@param msg string|lightuserdata
---@param sz integer?
---@return lightuserdata msg, integer sz  valid until the task suspends
function dispatch.rawcall(address, typename, msg, sz) end

--- `rawcall` that sends no trace tag.
---@async
---@param address integer|string
---@param typename string
---@param msg string|lightuserdata
---@param sz integer?
---@return lightuserdata msg, integer sz
function dispatch.silentcall(address, typename, msg, sz) end

--- Sends a request whose answer goes to `collector`, in a task of its own.
---@param collector fun(ok: boolean, msg: lightuserdata?, sz: integer?)
---@param address integer|string
---@param typename string
---@param ... any
---@return integer|false|nil session
function dispatch.ask(collector, address, typename, ...) end

--- Answers the request that the running task serves.
---@param msg string|lightuserdata|nil
---@param sz integer?
---@return boolean delivered
function dispatch.ret(msg, sz) end

--- `ret(pack(...))`.
---@param ... any
---@return boolean delivered
function dispatch.retpack(...) end

--- Takes the answer out of the task: whoever calls the result answers the request, at any time, once.
---@param pack (fun(...): string|lightuserdata, integer?)?
---@return fun(ok: boolean|"TEST", ...): boolean?
function dispatch.response(pack) end

--- Session and source of the request that the running task serves.
---@return integer? session  nil once it is answered
---@return integer? source
function dispatch.context() end

--- The request of the running task will not be answered.
function dispatch.ignoreret() end

--- Somebody else got the request of the running task, if it is this one, and answers it.
---@param source integer
---@param session integer
function dispatch.handed_on(source, session) end

--- A request that was forgotten was answered by hand.
---@param source integer
---@param session integer
function dispatch.answered(source, session) end

--- Suspends for `ti` hundredths of a second, or until `wakeup(token)`.
---@async
---@param ti integer
---@param token any  by default the running coroutine
---@return "BREAK"?  when it was woken
function dispatch.sleep(ti, token) end

--- Suspends until `wakeup(token)`.
---@async
---@param token any  by default the running coroutine
function dispatch.wait(token) end

--- Lets everything that is queued run first.
---@async
function dispatch.yield() end

--- Whoever sleeps on `token` continues when the running task suspends.
---@param token any
---@return true?
function dispatch.wakeup(token) end

--- `func(...)` in a task of its own, after the current message.
---@param func async fun(...)
---@param ... any
---@return thread
function dispatch.fork(func, ...) end

--- Runs `func()` in a task of its own after `ti` hundredths of a second.
---@param ti integer
---@param func async fun()
---@return thread
function dispatch.timeout(ti, func) end

--- As `timeout`, and also returns the session of the timer.
---@param ti integer
---@param func async fun()
---@return thread task
---@return integer session
function dispatch.arm(ti, func) end

--- While on, `waiting` tells for each timer where it was made.
---@param on boolean?
function dispatch.trace_timeout(on) end

--- Nobody waits for `session` any more.
---@param session integer
function dispatch.give_up(session) end

--- How many answers came when nobody waited for them any more, since `give_up`.
---@return integer
function dispatch.late() end

--- Handler of the class `error`.
---@param session integer
---@param source integer
function dispatch.on_error(session, source) end

--- Behaves as if `address` had died.
---@param address integer|string
function dispatch.term(address) end

--- Nothing new starts from now on, and forks that have not begun never do.
function dispatch.leave() end

--- The service is about to end: requests are answered with errors, tasks are closed, peers are told.
function dispatch.finish() end

--- Tasks that have not begun, in their order.
---@return thread[]
function dispatch.forks() end

--- Takes a fork that has not begun out of the line, and closes it.
---@param task thread
---@return boolean
function dispatch.unfork(task) end

--- Ends the task that waits for `session`.
---@param session integer
---@return thread?
function dispatch.kill(session) end

--- Who waits, by session, and where timers were made.
---@return table<integer, thread|"BREAK"> waiting
---@return table<integer, string> origins
function dispatch.waiting() end

--- How many tasks wait.
---@return integer
function dispatch.count() end

--- Of a service that has nothing to do: how many tasks wait, how many messages it handled, seconds of CPU, the bound of its mailbox, how
--- many messages that refused, KiB of memory. Nil: it is to be asked.
---@param handle integer
---@return integer? tasks
---@return integer messages
---@return number cpu
---@return integer bound
---@return integer refused
---@return number kib
function dispatch.look(handle) end

--- This service has its own way to answer consoles; it is never looked at from outside.
function dispatch.own_answers() end

--- How many requests are not answered yet, those of `response` too.
---@return integer
function dispatch.open_requests() end

--- Starts to trace the running task.
---@param info string?
function dispatch.trace(info) end

--- The tag of the running task; false when its class is never traced.
---@return string|false|nil
function dispatch.tracetag() end

return dispatch

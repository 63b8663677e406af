---@meta skynet.debugchannel

--- Bytes between a debugger and a service that it stopped, and hooks that may suspend.
local debugchannel = {}

---@class skynet.debugchannel
local channel = {}

--- Gives bytes to the other end.
---@param bytes string
function channel:write(bytes) end

--- What the other end gave. Blocks the thread while there is nothing, for `timeout` tenths of a second at most.
---@param timeout number?  0 by default
---@return string?
function channel:read(timeout) end

--- As `debugchannel.release`.
function channel:close() end

--- A queue inside the process and the pointer that its other end is found by; or, with host and port, a TCP connection to a
--- debugger, nil if there is none.
---@param host string?
---@param port integer?
---@return skynet.debugchannel?
---@return lightuserdata?
function debugchannel.create(host, port) end

--- The other end of a queue. There is one.
---@param pointer lightuserdata
---@return skynet.debugchannel
function debugchannel.connect(pointer) end

--- Ends the use of a channel.
---@param channel skynet.debugchannel
function debugchannel.release(channel) end

--- As `debug.sethook`; when `f(event, line)` returns true the coroutine yields there, without values.
---@param co thread?  the running one by default
---@param f (fun(event: string, line: integer?): boolean?)?  nil ends it
---@param mask string?
---@param count integer?
function debugchannel.sethook(co, f, mask, count) end

return debugchannel

---@meta skynet.core

--- The native heart of a service. Programs use it through `skynet`; a library that does without says so.
---
--- A *blob* is a pointer and a size. GIVE: the caller owns the fresh block, and must pass it on once. TAKE: the block is gone
--- afterwards, whatever happens.
local core = {}

--- Sends a message from this service. TAKEs a blob, copies a string.
---@param address integer|string  handle, `":hex"`, `".local"` or a global name
---@param ptype integer
---@param session integer?  nil: a new one
---@param msg string|lightuserdata
---@param sz integer?
---@return integer|false|nil session  false: too large; nothing: nobody is there
function core.send(address, ptype, session, msg, sz) end

--- `send` in the name of another service.
---@param address integer|string
---@param source integer  0: this service
---@param ptype integer
---@param session integer?
---@param msg string|lightuserdata
---@param sz integer?
---@return integer|false|nil session
function core.redirect(address, source, ptype, session, msg, sz) end

--- The next session number of this service.
---@return integer
function core.genid() end

--- Runs a command of the runtime.
---@param name string
---@param param string?
---@return string?
function core.command(name, param) end

--- As `command`; an integer parameter, a number back.
---@param name string
---@param param integer|string?
---@return number?
function core.intcommand(name, param) end

--- As `command`; a handle back.
---@param name string
---@param param string?
---@return integer?
function core.addresscommand(name, param) end

--- Logs one line: the arguments as text, with blanks between.
---@param ... any
function core.error(...) end

--- The harbor of a handle, and whether it is another one.
---@param handle integer
---@return integer id
---@return boolean remote
function core.harbor(handle) end

--- Installs the function that gets the messages of this service. With `forward` it owns their blocks.
---@param func fun(ptype: integer, msg: lightuserdata, sz: integer, session: integer, source: integer)
---@param forward boolean?
function core.callback(func, forward) end

--- Logs a line of a trace, with up to three positions of the stack when a thread or a level is given.
---@param tag string
---@param text string
---@param co_or_level thread|integer?
---@param level integer?
function core.trace(tag, text, co_or_level, level) end

--- The bytes of a blob.
---@param msg lightuserdata?
---@param sz integer?
---@return string?
function core.tostring(msg, sz) end

--- GIVEs the values as bytes.
---@param ... any
---@return lightuserdata msg
---@return integer sz
function core.pack(...) end

--- The values as a string.
---@param ... any
---@return string
function core.packstring(...) end

--- The values in a blob or a string.
---@param msg lightuserdata|string?
---@param sz integer?
---@return any ...
function core.unpack(msg, sz) end

--- TAKEs a block nobody wants; a string is left alone.
---@param msg lightuserdata|string
---@param sz integer?
function core.trash(msg, sz) end

--- Hundredths of a second since the process began.
---@return integer
function core.now() end

--- Nanoseconds of a clock that only goes forward.
---@return integer
function core.hpc() end

return core

---@meta skynet.cluster.core

--- Requests and responses between nodes, as frames for a socket and back.
local cluster = {}

--- A frame, the session after this one, and the parts of a large message. Takes the message. With strings alone (`address` and `session`
--- both strings, or one string): all of them in one block, as pointer and size.
---@param address integer|string
---@param session integer|string
---@param message lightuserdata|string
---@param size integer|string
---@return string|lightuserdata frame
---@return integer next
---@return string[]? parts
function cluster.packrequest(address, session, message, size) end

--- As `packrequest`, for a request without an answer.
---@param address integer|string
---@param session integer
---@param message lightuserdata
---@param size integer
---@return string frame
---@return integer next
---@return string[]? parts
function cluster.packpush(address, session, message, size) end

--- The frame in front of a traced request.
---@param tag string
---@return string
function cluster.packtrace(tag) end

--- What the body of a request's frame holds; a payload as a block and its size.
---@param message string|lightuserdata
---@param size integer?
---@return any ...
function cluster.unpackrequest(message, size) end

--- A response's frame, or the frames of a large one.
---@param session integer
---@param ok boolean
---@param message string|lightuserdata
---@param size integer?
---@return string|string[]
function cluster.packresponse(session, ok, message, size) end

--- Session, whether it went well, the data, and whether more follows. With a pointer and a size: the strings in the block.
---@param message string|lightuserdata
---@param size integer?
---@return any ...
function cluster.unpackresponse(message, size) end

--- Puts a message at the end of a list, as a string, and takes it; `nil` puts `size` there.
---@param parts table
---@param message lightuserdata?
---@param size any
function cluster.append(parts, message, size) end

--- The strings of a list in one block, if they have as many bytes as its first element says.
---@param parts table
---@return lightuserdata? message
---@return integer? size
function cluster.concat(parts) end

--- Whether it is a name to be looked up: a string that begins with `@`.
---@param value any
---@return true?
function cluster.isname(value) end

--- The name by which this process presents itself.
---@return string
function cluster.nodename() end

return cluster

---@meta skein.cluster

--- What the services of the cluster need so that payloads stay blocks.
local cluster = {}

---@class skein.cluster.Assembly: userdata

--- Bytes of a socket that wait to be written; nothing for one that is not there.
---@param id integer
---@return integer?
function cluster.queued(id) end

--- The frame in front of a large request, or, without an address, of a large response.
---@param address integer|string|nil
---@param session integer
---@param size integer
---@param push boolean?
---@return string
function cluster.announce(address, session, size, push) end

--- The frame of the part of a message that begins at `from`. The message stays where it is.
---@param message lightuserdata
---@param size integer
---@param from integer
---@param session integer
---@param response boolean
---@return lightuserdata
---@return integer
function cluster.part(message, size, from, session, response) end

--- What the body of a frame holds; takes it. Session, and 0 with a text, 1 with a block and its size, 2 with the size of a large
--- response, 3 or 4 with a block and its size for a part or the last one; no bytes are an empty text. Nothing for bytes that are no response.
---@param packet lightuserdata
---@param size integer
---@return integer? session
---@return integer? kind
---@return string|lightuserdata|integer|nil
---@return integer?
function cluster.response(packet, size) end

--- The message, in hand also when its handling is over.
---@param message lightuserdata
---@param size integer
---@return lightuserdata
---@return integer
function cluster.keep(message, size) end

--- Room for a large message while it comes.
---@param total integer
---@return skein.cluster.Assembly
function cluster.assembly(total) end

--- Appends a part, which is taken. False: there are more bytes than were announced, and the message will not be whole.
---@param assembly skein.cluster.Assembly
---@param part lightuserdata
---@param size integer
---@return boolean
function cluster.add(assembly, part, size) end

--- The message, if all of it came.
---@param assembly skein.cluster.Assembly
---@return lightuserdata?
---@return integer?
function cluster.finish(assembly) end

return cluster

---@meta skynet.netpack

--- Packets with a length of two bytes in front, out of the messages of sockets.
local netpack = {}

---@class skynet.netpack.Queue: userdata

--- What the message of a socket amounts to; takes its payload. After the queue: nothing; `"data"`, socket, packet, size; `"more"`;
--- `"open"`, new socket, address; `"init"`, socket, address, port; `"close"`, socket; `"error"`, socket, text; `"warning"`,
--- socket, KiB.
---@param queue skynet.netpack.Queue?  what the last call returned
---@param message lightuserdata
---@param size integer
---@return skynet.netpack.Queue? queue
---@return string? kind
---@return any ...
function netpack.filter(queue, message, size) end

--- The packet that waits longest.
---@param queue skynet.netpack.Queue?
---@return integer? socket
---@return lightuserdata packet
---@return integer size
function netpack.pop(queue) end

--- A packet with its length in front.
---@param body string|lightuserdata  a block stays where it is
---@param size integer?  of a block
---@return lightuserdata packet
---@return integer size
function netpack.pack(body, size) end

--- The body of the first packet in a block, and how many bytes are behind it. The block stays where it is.
---@param packets lightuserdata?
---@param size integer
---@return string body
---@return integer? rest
function netpack.unpack(packets, size) end

--- Forgets all packets.
---@param queue skynet.netpack.Queue?
function netpack.clear(queue) end

--- The bytes of a block, which is taken.
---@param block lightuserdata?
---@param size integer
---@return string
function netpack.tostring(block, size) end

return netpack

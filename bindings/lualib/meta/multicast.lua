---@meta skynet.multicast.core

--- Packages: one block of bytes for many receivers.
local multicast = {}

--- A package pointer for `data`, which is taken.
---@param data lightuserdata
---@param size integer
---@return lightuserdata pointer
---@return integer size
function multicast.pack(data, size) end

--- A package pointer for a copy of `data`.
---@param data lightuserdata
---@param size integer
---@return lightuserdata pointer
---@return integer size
function multicast.packremote(data, size) end

--- The package of a message, and its data, good until the package is closed.
---@param message lightuserdata
---@param size integer
---@return lightuserdata package
---@return lightuserdata data
---@return integer size
function multicast.unpack(message, size) end

--- Says for how many receivers a package is. Takes the pointer.
---@param pointer lightuserdata
---@param times integer
---@return lightuserdata package
function multicast.bind(pointer, times) end

--- One receiver is through with a package.
---@param package lightuserdata
function multicast.close(package) end

--- The data of a package, for another node. Takes the pointer.
---@param pointer lightuserdata
---@return lightuserdata data
---@return integer size
function multicast.remote(pointer) end

--- The channel id after `id`, of the same node.
---@param id integer
---@return integer
function multicast.nextid(id) end

return multicast

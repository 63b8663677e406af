---@meta skein.multicast

--- How `multicastd` gives a package to the subscribers of a channel.
local delivery = {}

--- Sends the package to each key of `subscribers`; nothing is copied. Takes the pointer.
---@param pointer lightuserdata
---@param size integer
---@param channel integer
---@param source integer  the publisher
---@param subscribers table<integer, any>
function delivery.deliver(pointer, size, channel, source, subscribers) end

return delivery

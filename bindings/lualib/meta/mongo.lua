---@meta skynet.mongo.driver

--- The framing of MongoDB's protocol.
local driver = {}

--- A request with one document.
---@param request integer
---@param flags integer
---@param document userdata
---@return string
function driver.op_msg(request, flags, document) end

--- How many bytes follow the first four of a reply.
---@param head string
---@return integer
function driver.length(head) end

--- Takes a reply apart, without its first four bytes; false if it is too short. The document keeps the string.
---@param message string
---@return boolean
---@return integer? response_to
---@return userdata? document
function driver.reply(message) end

return driver

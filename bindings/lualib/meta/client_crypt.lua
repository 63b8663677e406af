---@meta client.crypt

--- The functions of `skynet.crypt`, under the name that clients ask for.
local crypt = require "skynet.crypt"

return crypt

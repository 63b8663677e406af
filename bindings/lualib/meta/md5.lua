---@meta md5.core

--- MD5, and a stream cipher made of it. `md5` is this table with `sumhexa` and `hmacmd5`.
local md5 = {}

md5._COPYRIGHT = ""
md5._DESCRIPTION = ""
md5._VERSION = ""

--- MD5, 16 bytes.
---@param text string
---@return string
function md5.sum(text) end

--- Exclusive or of two strings of one length.
---@param a string
---@param b string
---@return string
function md5.exor(a, b) end

--- Encrypts a text.
---@param text string
---@param key string  at most 256 bytes
---@param seed string?  at most 16 bytes; the time by default
---@return string
function md5.crypt(text, key, seed) end

--- The inverse of `crypt`.
---@param cipher string
---@param key string
---@return string
function md5.decrypt(cipher, key) end

return md5

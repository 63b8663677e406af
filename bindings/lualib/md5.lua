--- MD5: `md5.core`, with what is easily said in Lua.
local md5 = require "md5.core"

--- Bytes of a block of the hash.
local BLOCK <const> = 64

--- MD5 in hexadecimal.
---@param text string
---@return string
function md5.sumhexa(text)
    return (md5.sum(text):gsub(".", function(byte)
        return string.format("%02x", byte:byte())
    end))
end

--- A key brought to the length of a block, each byte mixed with `with`.
local function padded(key, with)
    return md5.exor(key .. ("\0"):rep(BLOCK - #key), with:rep(BLOCK))
end

--- HMAC-MD5 (RFC 2104), in hexadecimal.
---@param data string
---@param key string
---@return string
function md5.hmacmd5(data, key)
    if #key > BLOCK then
        key = md5.sum(key)
    end
    return md5.sumhexa(padded(key, "\x5c") .. md5.sum(padded(key, "\x36") .. data))
end

return md5

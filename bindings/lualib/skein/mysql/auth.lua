--- How a client of MySQL proves that it knows a password. (MySQL internals, "Authentication methods".)
---
--- `mysql_native_password` sends a digest over the server's challenge. `caching_sha2_password` does, too, and if the server has not seen the
--- password lately it wants the password itself, encrypted with its public key since the connection is not.
local skynet_crypt = require "skynet.crypt"
local crypt = require "skein.crypt"

local auth = {}

local sha1, sha256 = skynet_crypt.sha1, crypt.sha256

local function xor(a, b)
    local bytes = {}
    for at = 1, #a do
        bytes[at] = string.char(a:byte(at) ~ b:byte((at - 1) % #b + 1))
    end
    return table.concat(bytes)
end

local answers = {}

function answers.mysql_native_password(password, challenge)
    local once = sha1(password)
    return xor(once, sha1(challenge .. sha1(once)))
end

function answers.caching_sha2_password(password, challenge)
    local once = sha256(password)
    return xor(once, sha256(sha256(once) .. challenge))
end

--- What answers a challenge; nothing for a method that is not known.
---@param method string
---@param password string
---@param challenge string  20 bytes
---@return string?
function auth.answer(method, password, challenge)
    local answer = answers[method]
    if not answer then return nil end
    return password == "" and "" or answer(password, challenge)
end

--- The password for a server that wants all of it.
---@param pem string  the server's public key
---@param password string
---@param challenge string
---@return string
function auth.sealed(pem, password, challenge)
    -- Nothing else needs it.
    local rsa = require "skein.rsa"
    return rsa.encrypt(pem, xor(password .. "\0", challenge))
end

return auth

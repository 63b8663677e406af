---@meta skein.crypt

--- Cryptography for new programs. Texts are strings of any bytes.
local crypt = {}

--- SHA-256, 32 bytes.
---@param text string
---@return string
function crypt.sha256(text) end

--- SHA-512, 64 bytes.
---@param text string
---@return string
function crypt.sha512(text) end

--- HMAC-SHA256, 32 bytes.
---@param key string
---@param text string
---@return string
function crypt.hmac_sha256(key, text) end

--- HMAC-SHA512, 64 bytes.
---@param key string
---@param text string
---@return string
function crypt.hmac_sha512(key, text) end

--- Random bytes, for keys and nonces; at most 1 MiB at once.
---@param count integer
---@return string
function crypt.random(count) end

--- Whether two strings are the same, in a time that does not depend on where they differ.
---@param a string
---@param b string
---@return boolean
function crypt.equal(a, b) end

--- Encrypts and authenticates a text with ChaCha20-Poly1305: 16 bytes longer.
---@param key string  32 bytes
---@param nonce string  12 bytes, never the same twice with one key
---@param text string
---@param beside string?  authenticated too, and not part of the result
---@return string
function crypt.seal(key, nonce, text, beside) end

--- The inverse of `seal`; nil if anything is not what it was.
---@param key string
---@param nonce string
---@param sealed string
---@param beside string?
---@return string? text
---@return string? err
function crypt.open(key, nonce, sealed, beside) end

return crypt

---@meta skynet.crypt

--- Hashes, codings and the key exchange of skynet's login. `client.crypt` is the same. Texts are strings of any bytes.
local crypt = {}

--- How DES brings a text to whole blocks.
crypt.padding = { iso7816_4 = 0, pkcs7 = 1 }

--- SHA-1, 20 bytes.
---@param text string
---@return string
function crypt.sha1(text) end

--- HMAC-SHA1, 20 bytes.
---@param key string
---@param text string
---@return string
function crypt.hmac_sha1(key, text) end

--- A hash of 8 bytes. Not for secrets.
---@param text string
---@return string
function crypt.hashkey(text) end

--- 8 random bytes.
---@return string
function crypt.randomkey() end

--- skynet's authentication code of 8 bytes over two strings of 8 bytes.
---@param x string
---@param y string
---@return string
function crypt.hmac64(x, y) end

--- The same over MD5 as it is usually computed.
---@param x string
---@param y string
---@return string
function crypt.hmac64_md5(x, y) end

--- `hmac64` of a text's `hashkey`.
---@param key string  8 bytes
---@param text string
---@return string
function crypt.hmac_hash(key, text) end

--- DES in ECB mode, padded to the next multiple of 8.
---@param key string  8 bytes
---@param text string
---@param padding integer?  one of `crypt.padding`; `iso7816_4` by default
---@return string
function crypt.desencode(key, text, padding) end

--- The inverse of `desencode`.
---@param key string  8 bytes
---@param text string
---@param padding integer?
---@return string
function crypt.desdecode(key, text, padding) end

--- What to send for a secret of 8 bytes (skynet's exchange) or of 32 bytes (X25519).
---@param secret string
---@return string
function crypt.dhexchange(secret) end

--- The common secret. Of 8 bytes: what the other side sent, and our secret. Of 32 bytes: our secret, and what the other side sent.
---@param x string
---@param y string
---@return string
function crypt.dhsecret(x, y) end

--- Hexadecimal, in lower case.
---@param bytes string
---@return string
function crypt.hexencode(bytes) end

--- The inverse of `hexencode`.
---@param text string
---@return string
function crypt.hexdecode(text) end

--- Base64 of the standard alphabet, with `=`.
---@param bytes string
---@return string
function crypt.base64encode(bytes) end

--- The inverse of `base64encode`. Bytes that are no letters are skipped; `=` may be missing.
---@param text string
---@return string
function crypt.base64decode(text) end

--- Exclusive or with a key that is repeated.
---@param text string
---@param key string
---@return string
function crypt.xor_str(text, key) end

return crypt

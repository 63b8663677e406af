---@meta ltls.c

--- TLS over bytes that somebody else sends and receives.
local ltls = {}

---@class ltls.Context: userdata
local context = {}

--- A server's certificate, with those that lead to it, and its key.
---@param certfile string  PEM
---@param keyfile string   PEM
function context:set_cert(certfile, keyfile) end

--- Accepted, and without effect.
---@param list string
function context:set_ciphers(list) end

--- Whether clients that name their server check its certificate.
---@param on boolean
function context:set_verify(on) end

--- Authorities that are trusted beside those of the system.
---@param file string  PEM
function context:set_authorities(file) end

---@class ltls.Connection: userdata
local connection = {}

--- Takes bytes of the other side; returns bytes to send, or nothing when the handshake is over: `write` has what is left then.
---@param data string?
---@return string?
function connection:handshake(data) end

--- Whether the handshake is over.
---@return boolean
function connection:finished() end

--- Takes bytes of the other side; returns what they say, and true if nothing comes behind it.
---@param data string?
---@return string text
---@return true? over
function connection:read(data) end

--- Bytes to send for a text.
---@param text string?
---@return string
function connection:write(text) end

--- The server's name, before a client's handshake.
---@param host string
---@return integer
function connection:set_ext_host_name(host) end

--- Ends it; more than once is harmless.
function connection:close() end

--- A context without a certificate. Clients that name their server check it.
---@return ltls.Context
function ltls.newctx() end

--- One side of a connection.
---@param method "client"|"server"
---@param ctx ltls.Context
---@param hostname string?  a client's: who the server has to be
---@return ltls.Connection
function ltls.newtls(method, ctx, hostname) end

return ltls

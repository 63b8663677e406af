--- How a client of MongoDB proves that it knows a password: SCRAM-SHA-1 (RFC 5802) in the commands `saslStart` and `saslContinue`, and
--- the digest of servers that are long gone, MONGODB-CR.
local bson = require "bson"
local crypt = require "skynet.crypt"
local md5 = require "md5"
local secure = require "skein.crypt"

---@alias skein.mongo.Run async fun(...: any): table  runs a command on the database that knows the user

local login = {}

local hmac = crypt.hmac_sha1
--- A server that asks for fewer rounds wants the password guessed, and one that asks for more wants us busy.
local FEWEST <const>, MOST <const> = 1000, 10000000

local function xor(a, b)
    local bytes = {}
    for at = 1, #a do
        bytes[at] = string.char(a:byte(at) ~ b:byte(at))
    end
    return table.concat(bytes)
end

--- PBKDF2 of one block with HMAC-SHA-1 (RFC 8018).
local function stretch(password, salt, rounds)
    local last = hmac(password, salt .. "\0\0\0\1")
    local a, b, c = string.unpack("<I8I8I4", last)
    for _ = 2, rounds do
        last = hmac(password, last)
        local x, y, z = string.unpack("<I8I8I4", last)
        a, b, c = a ~ x, b ~ y, c ~ z
    end
    return string.pack("<I8I8I4", a, b, c)
end

--- What users are known by, beside their names.
local function digest(username, password) return md5.sumhexa(username .. ":mongo:" .. password) end

--- The text of a payload, which old servers send in base64.
local function text_of(payload)
    local kind, bytes = bson.type(payload)
    if kind == "binary" then return bytes end
    return crypt.base64decode(payload)
end

local function failed(reply, where)
    if reply.ok ~= 1 then error(string.format("%s: %s", where, reply.errmsg or "refused"), 0) end
    return reply
end

---@async
---@param run skein.mongo.Run
---@param username string
---@param password string
function login.scram_sha1(run, username, password)
    local nonce = crypt.base64encode(secure.random(18))
    local bare = "n=" .. username:gsub("=", "=3D"):gsub(",", "=2C") .. ",r=" .. nonce
    local reply = failed(
        run("saslStart", 1, "autoAuthorize", 1, "mechanism", "SCRAM-SHA-1", "payload", bson.binary("n,," .. bare)),
        "saslStart"
    )
    local first = text_of(reply.payload)
    local both, salt, rounds = first:match "^r=([^,]+),s=([^,]+),i=(%d+)"
    rounds = tonumber(rounds)
    if not both or both:sub(1, #nonce) ~= nonce then error("saslStart: the server's answer is to somebody else", 0) end
    if rounds < FEWEST or rounds > MOST then error("saslStart: the server asks for " .. rounds .. " rounds", 0) end
    local key = stretch(digest(username, password), crypt.base64decode(salt), rounds)
    local client = hmac(key, "Client Key")
    local without = "c=biws,r=" .. both
    local message = bare .. "," .. first .. "," .. without
    local proof = xor(client, hmac(crypt.sha1(client), message))
    local last = without .. ",p=" .. crypt.base64encode(proof)
    local id = reply.conversationId
    reply = failed(run("saslContinue", 1, "conversationId", id, "payload", bson.binary(last)), "saslContinue")
    -- The server has to know the password as well.
    local signature = text_of(reply.payload):match "^v=([^,]+)"
    local expected = hmac(hmac(key, "Server Key"), message)
    if not signature or not secure.equal(crypt.base64decode(signature), expected) then
        error("saslContinue: the server does not know the password", 0)
    end
    while not reply.done do
        reply = failed(run("saslContinue", 1, "conversationId", id, "payload", bson.binary ""), "saslContinue")
    end
end

---@async
---@param run skein.mongo.Run
---@param username string
---@param password string
function login.mongodb_cr(run, username, password)
    local nonce = failed(run("getnonce", 1), "getnonce").nonce
    local key = md5.sumhexa(nonce .. username .. digest(username, password))
    failed(run("authenticate", 1, "user", username, "nonce", nonce, "key", key), "authenticate")
end

return login

--- RSA encryption with a public key, OAEP with SHA-1 (RFC 8017, section 7.1.1): what MySQL wants a password sent with.
---
--- Numbers are arrays of digits of 24 bits, the least first. The exponent is small and the text is short, so plain Lua will do.
local skynet_crypt = require "skynet.crypt"
local crypt = require "skein.crypt"

local rsa = {}

local BITS <const> = 24
local BASE <const> = 1 << BITS
local MASK <const> = BASE - 1
--- Bytes of a digest of SHA-1.
local DIGEST <const> = 20

local function number(bytes)
    local digits = {}
    for at = #bytes, 1, -3 do
        digits[#digits + 1] = (string.unpack(">I3", ("\0\0" .. bytes):sub(at, at + 2)))
    end
    return digits
end

--- `size` bytes, the highest first.
local function text(digits, size)
    local parts = {}
    for at = #digits, 1, -1 do
        parts[#parts + 1] = string.pack(">I3", digits[at])
    end
    local bytes = table.concat(parts)
    if #bytes < size then return ("\0"):rep(size - #bytes) .. bytes end
    return bytes:sub(-size)
end

--- Whether `a` is less than `n`; both have `size` digits.
local function less(a, n, size)
    for at = size, 1, -1 do
        if a[at] ~= n[at] then return a[at] < n[at] end
    end
    return false
end

--- a * b % n. The first two have as many digits as `n`, whose highest one is not 0.
local function multiply(a, b, n)
    local size = #n
    local r = {}
    for at = 1, size + 1 do
        r[at] = 0
    end
    local high = n[size] * BASE + (n[size - 1] or 0)
    for i = size, 1, -1 do
        -- r = r * BASE + a[i] * b
        local digit, carry = a[i], 0
        for at = size + 1, 2, -1 do
            r[at] = r[at - 1]
        end
        r[1] = 0
        for at = 1, size do
            local sum = r[at] + digit * b[at] + carry
            r[at] = sum & MASK
            carry = sum >> BITS
        end
        r[size + 1] = r[size + 1] + carry
        -- The quotient by its highest digits, never too large and too small by little.
        while true do
            local top = r[size + 1] * BASE + r[size]
            local quotient = (top * (BASE + 0.0) + (size > 1 and r[size - 1] or 0)) / (high + 1)
            local q = math.floor(quotient)
            if q <= 0 then break end
            local borrow = 0
            for at = 1, size do
                local difference = r[at] - q * n[at] + borrow
                r[at] = difference & MASK
                borrow = difference >> BITS
                -- An arithmetic shift: the sign stays.
                if difference < 0 then borrow = borrow | ~((1 << (64 - BITS)) - 1) end
            end
            r[size + 1] = r[size + 1] + borrow
        end
        while r[size + 1] > 0 or not less(r, n, size) do
            local borrow = 0
            for at = 1, size do
                local difference = r[at] - n[at] + borrow
                r[at] = difference & MASK
                borrow = difference < 0 and -1 or 0
            end
            r[size + 1] = r[size + 1] + borrow
        end
    end
    r[size + 1] = nil
    return r
end

--- base ^ exponent % n.
local function power(base, exponent, n)
    local result
    for bit = 63, 0, -1 do
        if result then result = multiply(result, result, n) end
        if exponent >> bit & 1 == 1 then result = result and multiply(result, base, n) or base end
    end
    return result
end

--- The value of the next element of DER, and what is behind it. (ITU-T X.690.)
local function element(der, at, tag)
    local its, length = der:byte(at, at + 1)
    if its ~= tag or not length then error("the public key is not what it should be", 0) end
    at = at + 2
    if length >= 0x80 then
        local count = length & 0x7f
        if count == 0 or count > 4 or at + count > #der then error("the public key is cut off", 0) end
        length = string.unpack(">I" .. count, der, at)
        at = at + count
    end
    if at + length - 1 > #der then error("the public key is cut off", 0) end
    return der:sub(at, at + length - 1), at + length
end

--- Modulus and exponent of a key in PEM, `PUBLIC KEY` or `RSA PUBLIC KEY`.
---@param pem string
---@return string modulus  bytes, the highest first
---@return integer exponent
function rsa.public_key(pem)
    local kind, body = pem:match "%-%-%-%-%-BEGIN ([%u ]+)%-%-%-%-%-%s*(.-)%s*%-%-%-%-%-END"
    if not kind then error("no public key came", 0) end
    local der = skynet_crypt.base64decode((body:gsub("%s", "")))
    local sequence = element(der, 1, 0x30)
    if kind == "PUBLIC KEY" then
        local _, behind = element(sequence, 1, 0x30)
        -- The first byte of a string of bits says how many of the last one are not used.
        sequence = element(element(sequence, behind, 0x03):sub(2), 1, 0x30)
    end
    local modulus, behind = element(sequence, 1, 0x02)
    local exponent = element(sequence, behind, 0x02)
    modulus = modulus:gsub("^\0+", "")
    if #exponent > 7 or #modulus < 64 then error("the public key is not what it should be", 0) end
    return modulus, (string.unpack(">I" .. #exponent, exponent))
end

--- As many bytes as asked for, all made of `seed`.
local function mask(seed, size)
    local parts = {}
    for counter = 0, (size - 1) // DIGEST do
        parts[#parts + 1] = skynet_crypt.sha1(seed .. string.pack(">I4", counter))
    end
    return table.concat(parts):sub(1, size)
end

local function xor(a, b)
    local bytes = {}
    for at = 1, #a do
        bytes[at] = string.char(a:byte(at) ~ b:byte(at))
    end
    return table.concat(bytes)
end

--- Encrypts a short text.
---@param pem string  the public key
---@param message string
---@param seed string?  20 bytes, for tests; random ones otherwise
---@return string
function rsa.encrypt(pem, message, seed)
    local modulus, exponent = rsa.public_key(pem)
    local size = #modulus
    if #message > size - 2 * DIGEST - 2 then error("the text is too long for the public key", 0) end
    seed = seed or crypt.random(DIGEST)
    local data = skynet_crypt.sha1 "" .. ("\0"):rep(size - #message - 2 * DIGEST - 2) .. "\1" .. message
    local masked = xor(data, mask(seed, #data))
    local encoded = "\0" .. xor(seed, mask(masked, DIGEST)) .. masked
    local n = number(modulus)
    while n[#n] == 0 do
        n[#n] = nil
    end
    local base = number(encoded)
    for at = 1, #n do
        base[at] = base[at] or 0
    end
    for at = #base, #n + 1, -1 do
        base[at] = nil
    end
    return text(power(base, exponent, n), size)
end

return rsa

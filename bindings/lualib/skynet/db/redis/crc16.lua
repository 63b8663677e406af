--- CRC-16/XMODEM (polynomial 0x1021, begins with 0), of which Redis takes the slot of a key.

--- What a byte does to the sum, for each of the 256.
local step = {}
for byte = 0, 255 do
    local sum = byte << 8
    for _ = 1, 8 do
        sum = sum & 0x8000 ~= 0 and sum << 1 ~ 0x1021 or sum << 1
    end
    step[byte] = sum & 0xffff
end

--- The checksum of these bytes.
---@param bytes string
---@return integer
return function(bytes)
    local sum = 0
    for at = 1, #bytes do
        sum = sum << 8 & 0xffff ~ step[sum >> 8 ~ bytes:byte(at)]
    end
    return sum
end

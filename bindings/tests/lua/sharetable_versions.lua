-- Memory of shared tables follows what is in use: versions are published and published, to services that go over, that ask again, that
-- keep old tables in odd places, that are killed; three versions at most are mapped, and no more memory is resident than for those.
-- Small for every day; SKEIN_FULL=1 publishes 1,000 versions of 20 MB to 100 services.
local skynet = require "skynet"
require "skynet.manager"
local sharetable = require "skynet.sharetable"
local share = require "skein.share"
local check = require "check"

local FULL <const> = os.getenv "SKEIN_FULL" == "1"
local VERSIONS <const> = FULL and 1000 or 40
local SERVICES <const> = FULL and 100 or 12
local ITEMS <const> = FULL and 75000 or 4000

local SOURCE <const> = [[
local version, count = ...
local items = {}
for i = 1, count do
    items[i] = { id = i, name = "item" .. i, price = i * version, tags = { i % 7, i % 11 } }
end
return { version = version, items = items }]]

local function resident()
    local file <close> = assert(io.open "/proc/self/statm")
    return math.tointeger(file:read("n") and file:read "n") * 4096
end

local function publish(version) sharetable.loadstring("big", SOURCE, version, ITEMS) end

check.run("sharetable_versions", function()
    publish(1)
    local size = skynet.call(sharetable.address, "debug", "INFO").big.size
    local readers = {}
    for i = 1, SERVICES do
        readers[i] = skynet.newservice("sharetable_holder", "big", i)
    end
    local most, base = 0, nil
    for version = 2, VERSIONS do
        publish(version)
        for i, reader in ipairs(readers) do
            if i % 6 == 0 and version % 3 == 0 then
                -- Killed with everything it had.
                skynet.kill(reader)
                readers[i] = skynet.newservice("sharetable_holder", "big", i)
            else
                skynet.call(reader, "lua", "next", version)
            end
        end
        local count, bytes = share.stats()
        check.ok("versions", count <= 3, count .. " versions are mapped")
        check.ok("bytes", bytes <= 3 * size + (1 << 20), bytes .. " bytes are mapped")
        if version == 4 then base = resident() end
        if base then most = math.max(most, resident()) end
    end
    -- What builds a version is garbage afterwards; the allocator may keep some of that, but not more with each version.
    check.ok("resident", most - base <= 3 * size + (32 << 20), string.format("%d bytes more", most - base))
    local info = skynet.call(sharetable.address, "debug", "INFO").big
    check.eq("size", info.size, size)
    for _, reader in ipairs(readers) do
        skynet.kill(reader)
    end
    publish(VERSIONS + 1)
    local count = share.stats()
    check.ok("in the end", count <= 2, count .. " versions are mapped")
end)

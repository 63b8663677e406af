-- Holds a shared table in a way that depends on its number, and takes the next version when told.
local skynet = require "skynet"
local sharetable = require "skynet.sharetable"

local name <const>, number <const> = ...
local kind = math.tointeger(number) % 6
local root
local cache = setmetatable({}, { __mode = "k" })
local by_name = {}

--- A coroutine that keeps a part of the table in a local, and tells about it.
local function keeper(items)
    local mine = items[7]
    while true do
        coroutine.yield(mine)
    end
end

local kept

local function hold()
    root = sharetable.query(name)
    if kind == 1 then
        kept = kept or coroutine.wrap(keeper)
        kept(root.items)
    elseif kind == 2 then
        cache[root.items[1]] = { root.items[1] }
        by_name[root.items[2].name] = root.items[2]
    end
end

local command = {}

function command.next(version)
    if kind == 3 then
        -- Never goes over: lets go, and asks again.
        root = nil
        root = sharetable.query(name)
    elseif kind == 4 then
        -- Asks for the new one first, and has both for a moment.
        local new = sharetable.query(name)
        assert(new.version == version and root.version < version)
        sharetable.update(name)
    else
        sharetable.update(name)
    end
    assert(root.version == version and root.items[3].price == 3 * version)
    if kind == 1 then assert(kept().price == 7 * version) end
    if kind == 2 then
        assert(by_name.item2.price == 2 * version and cache[root.items[1]][1] == root.items[1])
    end
end

skynet.start(function()
    hold()
    skynet.dispatch("lua", function(_, _, what, ...)
        command[what](...)
        skynet.retpack()
    end)
end)

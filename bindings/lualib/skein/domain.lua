--- Tables that the processes of a domain share, beyond what `skynet.sharetable` has: waiting for a table, hearing of versions, removing.
---
--- The config key `domain` names the domain. Without it there is one process, and the same functions work on its own tables, but for
--- `names` and `remove`.
local skynet = require "skynet"
local share = require "skein.share"
local sharetable = require "skynet.sharetable"

local domain = {}

--- What the domain is called; nil if this process is in none.
---@return string?
function domain.name() return share.domain() end

--- Which version is the current one of each table, by name.
---@return table<string, integer>
function domain.names() return share.names() end

--- The table, once somebody in the domain has published it.
---@async
---@param name string
---@return table
function domain.wait(name)
    while true do
        local found = sharetable.query(name)
        if found then return found end
        skynet.call(sharetable.address, "lua", "wait", name)
    end
end

--- Calls `f(table)` with each version of a table from now on, the current one first, if there is one. A version that is replaced while
--- `f` runs may be left out. nil when the table was removed. Ends when `f` answers false.
---@param name string
---@param f async fun(table: table?): boolean?
function domain.watch(name, f)
    skynet.fork(function()
        local known
        while true do
            local ok, number = pcall(skynet.call, sharetable.address, "lua", "wait", name, known)
            -- The node ends.
            if not ok then return end
            known = number
            local found = known and sharetable.query(name)
            if found then sharetable.update(name) end
            if f(found or nil) == false then return end
        end
    end)
end

--- Takes a table out of the domain. Who reads it keeps it. Whether there was one.
---@async
---@param name string
---@return boolean
function domain.remove(name) return skynet.call(sharetable.address, "lua", "remove", name) end

return domain

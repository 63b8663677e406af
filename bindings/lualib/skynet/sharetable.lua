--- Tables that all services of the process read and nobody copies.
---
--- A service named `sharetable` keeps the current version of each table. Its answers are pointers; opening one (`skein.share`) takes
--- a lease, so a version stays as long as this service may refer to it. `update` goes over to new versions wherever this service refers
--- to old ones.
---
--- In a domain (config key `domain`) the tables are the domain's: what one process loads, all others find. The service of each process
--- looks at the domain at each question, and when it is told that something was published. `skein.domain` has what goes beyond
--- skynet's functions.
local skynet = require "skynet"
local service = require "skynet.service"
local share = require "skein.share"

--- The main function of the service. It travels as bytecode, so it can't use locals of this file.
local function main()
    local skynet = require "skynet"
    local share = require "skein.share"

    --- Who has not gone over to the current version by now is asked to look whether it still refers to an old one: first after
    --- a second, then every minute.
    local FIRST <const>, NEXT <const> = 100, 6000

    ---@class Version
    ---@field ptr lightuserdata
    ---@field size integer

    local domain = share.domain()
    ---@type table<string, userdata>  matrices
    local current = {}
    ---@type table<string, integer>  which versions they are; in a domain, which segments
    local numbers = {}
    ---@type table<string, function[]>  answers to who waits for another version
    local waiting = {}
    ---@type table<string, Version[]>  versions that may still be read
    local history = {}
    local reminding = false

    --- Forgets versions that nobody reads any more. True if there are others.
    local function forget()
        local left = false
        for name, versions in pairs(history) do
            for i = #versions, 1, -1 do
                if share.holders(versions[i].ptr) then
                    left = true
                else
                    skynet.error(string.format("Delete a version (%s) of %s", versions[i].ptr, name))
                    table.remove(versions, i)
                end
            end
            if #versions == 0 then history[name] = nil end
        end
        return left
    end

    local function remind()
        if not forget() then
            reminding = false
            return
        end
        local told = {}
        for _, versions in pairs(history) do
            for _, version in ipairs(versions) do
                for _, holder in ipairs(share.holders(version.ptr) or {}) do
                    if not told[holder] then skynet.send(holder, "debug", "SHARESCAN") end
                    told[holder] = true
                end
            end
        end
        skynet.timeout(NEXT, remind)
    end

    local function tell(name)
        local answers = waiting[name]
        waiting[name] = nil
        for _, answer in ipairs(answers or {}) do
            answer(true, numbers[name])
        end
    end

    --- Makes `matrix` the current version; without one the name is gone.
    local function adopt(name, matrix, number)
        local before = current[name]
        current[name], numbers[name] = matrix, number
        if before then
            if matrix then share.succeed(before:getptr(), matrix:getptr()) end
            local versions = history[name] or {}
            history[name] = versions
            versions[#versions + 1] = { ptr = before:getptr(), size = before:size() }
            before:close()
            forget()
            if not reminding then
                reminding = true
                skynet.timeout(FIRST, remind)
            end
        end
        tell(name)
    end

    --- Looks what the domain has under a name.
    local function refresh(name)
        if not domain then return end
        local number, matrix = share.attach(name, numbers[name])
        if number ~= numbers[name] then adopt(name, matrix, number) end
    end

    local function publish(name, ...)
        if domain then
            -- Held until it is current here, too: it stays mapped.
            local made = share.publish(name, ...)
            local ok, why = pcall(refresh, name)
            made:close()
            if not ok then error(why, 0) end
        else
            adopt(name, share.build(name, ...), (numbers[name] or 0) + 1)
        end
    end

    --- Follows the domain: a new version makes those before it old here, too, whoever asks for it.
    local function follow()
        local socket = require "skynet.socket"
        local id = socket.bind(share.watch())
        while socket.read(id) do
            for name in pairs(current) do
                local ok, why = pcall(refresh, name)
                if not ok then skynet.error(why) end
            end
            for name in pairs(waiting) do
                local ok, why = pcall(refresh, name)
                if not ok then skynet.error(why) end
            end
        end
    end

    local command = {}

    function command.loadfile(filename, ...)
        publish(filename, "@" .. filename, ...)
        skynet.ret()
    end

    function command.loadstring(name, source, ...)
        publish(name, source, ...)
        skynet.ret()
    end

    function command.loadtable(name, ptr, size)
        local ok, why = pcall(publish, name, "local unpack, ptr, size = ... return unpack(ptr, size)", skynet.unpack, ptr, size)
        skynet.trash(ptr, size)
        assert(ok, why)
        skynet.ret()
    end

    function command.query(name)
        refresh(name)
        local matrix = current[name]
        skynet.retpack(matrix and matrix:getptr())
    end

    function command.queryall(names)
        local found = {}
        if domain then
            for _, name in pairs(names or {}) do
                refresh(name)
            end
            for name in pairs(names and {} or share.names()) do
                refresh(name)
            end
        end
        if names then
            for _, name in pairs(names) do
                found[name] = current[name] and current[name]:getptr()
            end
        else
            for name, matrix in pairs(current) do
                found[name] = matrix:getptr()
            end
        end
        skynet.retpack(found)
    end

    --- Answers when the version of `name` is another than `known`: its number.
    function command.wait(name, known)
        refresh(name)
        if numbers[name] ~= known then return skynet.retpack(numbers[name]) end
        local answers = waiting[name] or {}
        waiting[name] = answers
        answers[#answers + 1] = skynet.response()
    end

    function command.remove(name)
        local removed = share.remove(name)
        refresh(name)
        skynet.retpack(removed)
    end

    --- A reader has gone; its leases ended with its state.
    function command.close()
        forget()
        skynet.ignoreret()
    end

    skynet.dispatch("lua", function(_, _, name, ...) command[name](...) end)
    if domain then skynet.fork(follow) end

    skynet.info_func(function()
        forget()
        local info = {}
        for name, matrix in pairs(current) do
            local lines = {}
            for _, version in ipairs(history[name] or {}) do
                local holders = share.holders(version.ptr) or {}
                for i, holder in ipairs(holders) do
                    holders[i] = skynet.address(holder)
                end
                lines[#lines + 1] = string.format("%s [%d]: (%s)", version.ptr, version.size, table.concat(holders, ","))
            end
            info[name] = {
                current = matrix:getptr(),
                size = matrix:size(),
                history = #lines > 0 and table.concat(lines, "\n\t") or nil,
            }
        end
        return info
    end)
end

--- `address` is the service, which begins when somebody asks for it, and not with the module.
---@class sharetable
---@field address integer
local sharetable = setmetatable({}, {
    __index = function(self, key)
        if key ~= "address" then return nil end
        local address = service.new("sharetable", main)
        self.address = address
        return address
    end,
})

---@type table<string, boolean>  tables this service has asked for
local known = {}

--- Defines the table `filename`: what the file returns.
---@async
---@param filename string
---@param ... boolean|number|lightuserdata  arguments of the file
function sharetable.loadfile(filename, ...)
    assert(filename)
    skynet.call(sharetable.address, "lua", "loadfile", filename, ...)
end

--- Defines a table: what the Lua text returns.
---@async
---@param name string
---@param source string
---@param ... boolean|number|lightuserdata  arguments of the text
function sharetable.loadstring(name, source, ...)
    assert(name)
    skynet.call(sharetable.address, "lua", "loadstring", name, source, ...)
end

--- Defines a table: a copy of `tbl`.
---@async
---@param name string
---@param tbl table
function sharetable.loadtable(name, tbl)
    assert(type(tbl) == "table")
    skynet.call(sharetable.address, "lua", "loadtable", name, skynet.pack(tbl))
end

--- The table, or nil if there is none of this name. The same one until this service calls `update`, or asks again.
---@async
---@param name string
---@return table?
function sharetable.query(name)
    -- A version may be replaced and gone while its pointer is on the way.
    while true do
        local ptr = skynet.call(sharetable.address, "lua", "query", name)
        if not ptr then return end
        local found, old = share.open(ptr)
        if found then
            known[name] = true
            -- Who asks again and again instead of going over must not keep all versions until somebody reminds it.
            if old > 1 then share.scan() end
            return found
        end
    end
end

--- Tables by name: all there are, or those of the list.
---@async
---@param names string[]?
---@return table<string, table>
function sharetable.queryall(names)
    local found = {}
    local pointers = skynet.call(sharetable.address, "lua", "queryall", names)
    for name, ptr in pairs(pointers) do
        found[name] = (share.open(ptr)) or sharetable.query(name)
        known[name] = true
    end
    return found
end

--- Goes over to the current versions of these tables, as far as this service has asked for them: every reference to an old
--- table becomes one to the table at the same place in the new version, or nil.
---@async
---@param ... string  names
function sharetable.update(...)
    local names = {}
    for _, name in ipairs { ... } do
        if known[name] then names[#names + 1] = name end
    end
    while #names > 0 do
        local pointers = {}
        for _, ptr in pairs(skynet.call(sharetable.address, "lua", "queryall", names)) do
            pointers[#pointers + 1] = ptr
        end
        -- Unless one of them was replaced meanwhile.
        if share.renew(table.unpack(pointers)) then break end
    end
end

--- Forgets what this service has asked for, and lets go of tables that it no longer refers to.
function sharetable.close()
    known = {}
    share.scan()
    local address = rawget(sharetable, "address")
    if address then skynet.send(address, "lua", "close") end
end

return sharetable

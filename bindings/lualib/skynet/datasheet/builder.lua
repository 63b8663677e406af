--- Builds sheets of data for readers in any service (`skynet.datasheet`). One service of a node does it.
local skynet = require "skynet"
local service = require "skynet.service"
local core = require "skynet.datasheet.core"
local dump = require "skynet.datasheet.dump"

local builder = {}

--- Name → the sheet it has now: its bytes, as `dump` made them, and its handle.
local sheets = {}

--- Sheets are told apart by their addresses: no two have the same bytes.
local unique = 0
local function publish(sheet)
    unique = unique + 1
    return core.stringpointer(sheet .. tostring(unique))
end

local server

--- The bytes of a sheet.
---@param v table
---@return string
function builder.compile(v)
    return dump.dump(v)
end

local function compiled(v)
    return type(v) == "string" and v or dump.dump(v)
end

--- Makes a sheet.
---@param name string
---@param v table|string  a table, or what `compile` made of one
function builder.new(name, v)
    assert(sheets[name] == nil)
    local sheet = compiled(v)
    local handle = publish(sheet)
    sheets[name] = { bytes = sheet, handle = handle }
    skynet.call(server, "lua", "update", name, handle)
end

--- Frees a sheet when nobody reads it any more.
---@async
local function collect(handle)
    skynet.call(server, "lua", "collect", handle)
    core.release(handle)
end

--- Replaces a sheet. Readers hear of it at once; their tables are the same, with new contents.
---@async
---@param name string
---@param v table|string
function builder.update(name, v)
    local sheet = assert(sheets[name])
    local bytes = compiled(v)
    if bytes == sheet.bytes then
        return
    end
    -- The numbers of tables go on from those of the last version.
    bytes = dump.diff(sheet.bytes, bytes)
    local before = sheet.handle
    sheet.bytes, sheet.handle = bytes, publish(bytes)
    skynet.call(server, "lua", "update", name, sheet.handle)
    skynet.fork(collect, before)
end

--- The service that knows who reads what. It is sent there as code, so it brings nothing along.
local function serve()
    local skynet = require "skynet" ---@diagnostic disable-line: redefined-local
    --- Name → { handle, monitors = { response, … } }.
    local names = {}
    --- Handle → { name, count = references, collect = response }.
    local handles = {}
    --- Service → handle → how often it holds it.
    local holders = {}

    local function hold(source, handle)
        local held = holders[source] or {}
        holders[source] = held
        held[handle] = (held[handle] or 0) + 1
        handles[handle].count = handles[handle].count + 1
    end

    local function let_go(handle, count)
        local entry = handles[handle]
        if entry then
            entry.count = entry.count - count
            if entry.count == 0 and entry.collect then
                handles[handle] = nil
                entry.collect(true)
            end
        end
    end

    local command = {}

    function command.update(_, name, handle)
        local sheet = names[name] or { monitors = {} }
        names[name] = sheet
        sheet.handle = handle
        handles[handle] = { name = name, count = 0 }
        local monitors = sheet.monitors
        sheet.monitors = {}
        for _, monitor in ipairs(monitors) do
            hold(monitor.source, handle)
            monitor.response(true, handle)
        end
        skynet.ret()
    end

    function command.query(source, name)
        local sheet = names[name]
        if not sheet then
            error "create data first"
        end
        hold(source, sheet.handle)
        skynet.ret(skynet.pack(sheet.handle))
    end

    function command.monitor(source, handle)
        local entry = handles[handle]
        if not entry then
            error "Invalid data handle"
        end
        local sheet = names[entry.name]
        if sheet.handle ~= handle then
            hold(source, sheet.handle)
            skynet.ret(skynet.pack(sheet.handle))
        else
            table.insert(sheet.monitors, { source = source, response = skynet.response() })
        end
    end

    function command.release(source, handle)
        local held = holders[source]
        if held and held[handle] then
            held[handle] = held[handle] > 1 and held[handle] - 1 or nil
            let_go(handle, 1)
        end
        skynet.ignoreret()
    end

    function command.close(source)
        local held = holders[source]
        holders[source] = nil
        for _, sheet in pairs(names) do
            for at = #sheet.monitors, 1, -1 do
                local monitor = sheet.monitors[at]
                if monitor.source == source then
                    table.remove(sheet.monitors, at)
                    -- Nobody hears it; the response is not left open.
                    monitor.response(false)
                end
            end
        end
        for handle, count in pairs(held or {}) do
            let_go(handle, count)
        end
        skynet.ignoreret()
    end

    function command.collect(_, handle)
        local entry = handles[handle]
        if not entry or entry.count == 0 then
            handles[handle] = nil
            skynet.ret()
        elseif entry.collect then
            error "Only one collect allows"
        else
            entry.collect = skynet.response()
        end
    end

    skynet.info_func(function()
        local info = {}
        for name, sheet in pairs(names) do
            info[name] = { handle = sheet.handle, monitors = #sheet.monitors }
        end
        for handle, entry in pairs(handles) do
            if names[entry.name].handle ~= handle then
                info[handle] = entry.count
            end
        end
        return info
    end)

    skynet.start(function()
        skynet.dispatch("lua", function(_, source, name, ...)
            local f = command[name]
            if not f then
                error("Unknown command " .. tostring(name))
            end
            f(source, ...)
        end)
    end)
end

skynet.init(function()
    server = service.new("datasheet", serve)
end)

return builder

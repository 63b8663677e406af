--- Keeps the services of `skynet.service` by name, and starts them.
local skynet = require "skynet"

---@class service_provider.Entry
---@field handle integer?  when it is up
---@field failure string?  kept for ever
---@field waiting function[]?  replies, as long as neither is known
---@field args string  for INFO
---@field time number  for INFO: when its launch began

---@type table<string, service_provider.Entry>
local services = {}

local command = {}

local function settled(entry)
    if entry.failure then error(entry.failure, 0) end
    return entry.handle
end

local function finish(entry, handle, failure)
    entry.handle, entry.failure = handle, failure
    local waiting = entry.waiting or {}
    entry.waiting = nil
    for _, reply in ipairs(waiting) do
        reply(handle ~= nil, handle)
    end
end

--- The handle; or nil and true while it is starting; or nothing.
function command.test(name)
    local entry = services[name]
    if not entry then
        skynet.ret()
    elseif entry.waiting then
        skynet.retpack(nil, entry.args ~= nil)
    else
        skynet.retpack(settled(entry))
    end
end

function command.query(name)
    local entry = services[name]
    if not entry then
        entry = { waiting = {} } -- nobody launched it yet
        services[name] = entry
    end
    if entry.waiting then
        table.insert(entry.waiting, skynet.response())
    else
        skynet.retpack(settled(entry))
    end
end

--- A cell that runs `code`. One whose start fails is told to leave.
---@async
local function start(name, code, ...)
    local cell = skynet.newservice("service_cell", name)
    local ok, err = pcall(skynet.call, cell, "lua", "init", code, ...)
    if not ok then
        skynet.send(cell, "debug", "EXIT")
        error(err, 0)
    end
    return cell
end

local function describe(...)
    local args = table.pack(...)
    for i = 1, args.n do
        args[i] = tostring(args[i])
    end
    return table.concat(args, ",")
end

function command.launch(name, code, ...)
    local entry = services[name] or { waiting = {} }
    services[name] = entry
    if not entry.waiting then
        skynet.retpack(settled(entry))
        return
    elseif entry.args then
        table.insert(entry.waiting, skynet.response()) -- somebody else starts it
        return
    end
    entry.args = describe(...)
    entry.time = skynet.time()
    local ok, result = pcall(start, name, code, ...)
    if ok then
        finish(entry, result)
    else
        finish(entry, nil, tostring(result))
    end
    skynet.retpack(settled(entry))
end

function command.close(name)
    local entry = services[name]
    if entry and entry.handle then
        services[name] = nil
        skynet.retpack(entry.handle)
    else
        skynet.retpack(nil)
    end
end

skynet.info_func(function()
    local info = {}
    for name, entry in pairs(services) do
        local status
        if entry.handle then
            status = skynet.address(entry.handle)
        elseif entry.failure then
            status = "failed"
        elseif entry.args then
            status = "booting"
        else
            status = string.format("waiting(%d)", #entry.waiting)
        end
        info[name] = {
            name = name,
            init = entry.args,
            time = entry.time and os.date("%Y-%m-%d %H:%M:%S", math.floor(entry.time)),
            status = status,
        }
    end
    return info
end)

skynet.start(function()
    skynet.dispatch("lua", function(_, _, name, ...)
        local f = assert(command[name], name)
        f(...)
    end)
end)

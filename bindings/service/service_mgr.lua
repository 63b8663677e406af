--- `.service`: services that exist once, in this process or in the whole network.
---
--- A key is the name of the service; `snaxd.<name>` for snax services; with `@` in front when it is network-wide. The standalone node
--- keeps the network's keys; the others ask it, under its global name `SERVICE`, and remember the handles.
local skynet = require "skynet"
require "skynet.manager"

--- A launch under way, or a query for a key nobody launched yet.
---@class service_mgr.Pending
---@field task thread?  runs the launch
---@field session integer?  of the request that began it
---@field source integer?
---@field waiters { session: integer, source: integer, token: table }[]

--- Key → handle, text of a failure (kept for ever), or what is under way.
---@type table<string, integer|string|service_mgr.Pending>
local services = {}

local command = {}

local function pending(key)
    local entry = services[key]
    if entry == nil then
        entry = { waiters = {} }
        services[key] = entry
    end
    return entry
end

--- Stores how a launch ended, and wakes everybody.
local function finish(key, entry, result)
    services[key] = result
    for _, waiter in ipairs(entry.waiters) do
        waiter.result = result
        skynet.wakeup(waiter.token)
    end
end

--- The handle under a key that is settled; raises its failure.
local function settled(result)
    if type(result) == "string" then error(result, 0) end
    return assert(result)
end

---@async
local function wait_for(entry)
    local session, source = skynet.context()
    local waiter = { session = session, source = source, token = {} }
    table.insert(entry.waiters, waiter)
    skynet.wait(waiter.token)
    return settled(waiter.result)
end

--- The handle under `key`; the first to ask launches it.
---@async
---@param key string
---@param start async fun(...): integer?
local function launch(key, start, ...)
    local entry = pending(key)
    if type(entry) ~= "table" then
        return settled(entry)
    elseif entry.task then
        return wait_for(entry)
    end
    entry.task = coroutine.running()
    entry.session, entry.source = skynet.context()
    local ok, handle = pcall(start, ...)
    if ok then
        finish(key, entry, handle) -- nil when it exited during its start: the next one tries again
    else
        handle = tostring(handle)
        finish(key, entry, handle)
    end
    return settled(handle)
end

--- The handle under `key`, as soon as somebody launched it.
---@async
local function query(key)
    local entry = pending(key)
    if type(entry) ~= "table" then return settled(entry) end
    return wait_for(entry)
end

--- Key, start function and arguments for a request. A leading `@` belongs to the key only.
local function resolve(name, sub, ...)
    local global, script = name:match "^(@?)(.*)$"
    if script == "snaxd" then
        local snax = require "skynet.snax"
        return global .. "snaxd." .. sub, snax.rawnewservice, sub, ...
    end
    return global .. script, skynet.newservice, script, sub, ...
end

local function key_of(name, sub)
    if name:match "^@?snaxd$" then return name .. "." .. sub end
    return name
end

function command.LAUNCH(_, ...) return launch(resolve(...)) end

function command.QUERY(_, name, sub) return query(key_of(name, sub)) end

--- Who launches it, who waits for it, and where they are in their code.
local function describe_pending(entry)
    local lines = {}
    local function add(line) lines[#lines + 1] = tostring(line) end
    if entry.task then
        -- The number under which our own task waits is the one the launcher was called with.
        local session = skynet.task(entry.task)
        local handle = session and skynet.call(".launcher", "lua", "QUERY", session)
        if handle then
            add("Init as " .. skynet.address(handle))
            add(skynet.call(handle, "debug", "TASK", "init"))
        end
        add("Launching from " .. skynet.address(entry.source))
        add(skynet.call(entry.source, "debug", "TASK", entry.session))
    end
    if #entry.waiters > 0 then
        add "Querying:"
        for _, waiter in ipairs(entry.waiters) do
            add(
                skynet.address(waiter.source)
                    .. " "
                    .. tostring(skynet.call(waiter.source, "debug", "TASK", waiter.session))
            )
        end
    end
    return table.concat(lines, "\n")
end

function command.LIST()
    local list = {}
    for key, entry in pairs(services) do
        local text
        if type(entry) == "number" then
            text = skynet.address(entry)
        elseif type(entry) == "string" then
            text = "Error: " .. entry
        else
            local ok, description = pcall(describe_pending, entry)
            text = ok and description or "Error: " .. tostring(description)
        end
        list[key] = text
    end
    return list
end

--- The keeper of the network's keys.
local function serve_network()
    ---@type table<integer, integer>  harbor → manager
    local managers = {}

    function command.GLAUNCH(_, name, ...) return launch(resolve("@" .. name, ...)) end

    function command.GQUERY(_, name, sub) return query(key_of("@" .. name, sub)) end

    function command.REPORT(_, handle) managers[skynet.harbor(handle)] = handle end

    local list_own = command.LIST
    function command.LIST(...)
        local list = list_own(...)
        for harbor, manager in pairs(managers) do
            for key, text in pairs(skynet.call(manager, "lua", "LIST")) do
                list[key .. "@" .. harbor] = text
            end
        end
        return list
    end

    skynet.register "SERVICE"
end

--- What the keeper answers.
---@async
local function ask_keeper(what, ...)
    local handle, err = skynet.call("SERVICE", "lua", what, ...)
    if not handle then error(err, 0) end
    return handle
end

--- A node that asks the keeper, and remembers what it said.
---@async
local function serve_node()
    function command.GLAUNCH(_, name, ...)
        local global = "@" .. name
        return launch(key_of(global, ...), ask_keeper, "LAUNCH", global, ...)
    end

    function command.GQUERY(_, name, sub)
        local global = "@" .. name
        local key = key_of(global, sub)
        if services[key] ~= nil and type(services[key]) ~= "table" then return settled(services[key]) end
        -- Not noted as under way here: a launch of this node must not wait for it.
        local handle = ask_keeper("QUERY", global, sub)
        if services[key] == nil then services[key] = handle end
        return handle
    end

    skynet.call("SERVICE", "lua", "REPORT", skynet.self())
end

skynet.start(function()
    skynet.dispatch("lua", function(_, address, name, ...)
        local f = command[name]
        if not f then
            skynet.retpack(nil, "Invalid command " .. tostring(name))
            return
        end
        local ok, result = pcall(f, address, ...)
        if ok then
            skynet.retpack(result)
        else
            skynet.retpack(nil, result)
        end
    end)
    local other = skynet.localname ".service"
    if other then
        skynet.error(".service is already register by ", skynet.address(other))
        skynet.exit()
    end
    skynet.register ".service"
    if skynet.getenv "standalone" then
        serve_network()
    else
        serve_node()
    end
end)

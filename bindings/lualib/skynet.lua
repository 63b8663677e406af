--- The module every service begins with: `local skynet = require "skynet"`.
---
--- This file is the interface. Most of it is native (`skein.dispatch`: from a message to a task, and what tasks may do); the rest is
--- in `skein.calls` and `skein.lifecycle`, and, loaded when they are first needed, for there may be many services: `skein.select`,
--- `skein.tasks`, `skein.inspect` and the debug commands.
--- Functions marked `@async` may suspend the calling task.
local core = require "skynet.core"
local dispatch = require "skein.dispatch"
local initialisation = require "skynet.require"
local calls = require "skein.calls"
local lifecycle = require "skein.lifecycle"

-- The stock one: it never suspends.
local require = require

---@alias skein.Address integer|string

local proto = dispatch.proto()

---@class skynet
---@field _proto table<string|integer, table>  message classes, for debuggers
local skynet = {
    cache = require "skynet.codecache",
    _proto = proto,
    pcall = pcall, -- kept for old programs

    PTYPE_TEXT = 0,
    PTYPE_RESPONSE = 1,
    PTYPE_MULTICAST = 2,
    PTYPE_CLIENT = 3,
    PTYPE_SYSTEM = 4,
    PTYPE_HARBOR = 5,
    PTYPE_SOCKET = 6,
    PTYPE_ERROR = 7,
    PTYPE_QUEUE = 8,
    PTYPE_DEBUG = 9,
    PTYPE_LUA = 10,
    PTYPE_SNAX = 11,
    PTYPE_TRACE = 12,

    init = initialisation.init,
    init_service = lifecycle.init_service,
    start = lifecycle.start,
    exit = lifecycle.exit,
    term = dispatch.term,

    dispatch_message = dispatch.message,
    dispatch_unknown_request = dispatch.unknown_request,
    dispatch_unknown_response = dispatch.unknown_response,

    send = dispatch.send,
    rawsend = calls.rawsend,
    redirect = calls.redirect,
    call = dispatch.call,
    rawcall = dispatch.rawcall,
    tracecall = calls.tracecall,
    ret = dispatch.ret,
    retpack = dispatch.retpack,
    response = dispatch.response,
    ignoreret = dispatch.ignoreret,
    context = dispatch.context,
    address = calls.address,

    fork = dispatch.fork,
    timeout = dispatch.timeout,
    sleep = dispatch.sleep,
    yield = dispatch.yield,
    wait = dispatch.wait,
    wakeup = dispatch.wakeup,
    trace_timeout = dispatch.trace_timeout,

    trace = dispatch.trace,
    tracetag = dispatch.tracetag,

    pack = core.pack,
    packstring = core.packstring,
    unpack = core.unpack,
    tostring = core.tostring,
    trash = core.trash,
    genid = core.genid,
    now = core.now,
    hpc = core.hpc,
    error = core.error,
    harbor = core.harbor,
    tracelog = core.trace,
}

---------------------------------------------------------------------------------------------------------------- message classes

--- Adds a class of messages. The table is kept, so its fields may change later.
---@param class { name: string, id: integer, pack: function?, unpack: function?, dispatch: function?, trace: boolean? }
function skynet.register_protocol(class)
    local name, id = class.name, class.id
    assert(proto[name] == nil and proto[id] == nil)
    assert(type(name) == "string" and math.type(id) == "integer" and id >= 0 and id <= 255)
    proto[name] = class
    proto[id] = class
end

--- Sets the handler of a class, and returns the one before; without `handler`: returns the one that is set.
---@param typename string
---@param handler async fun(session: integer, source: integer, ...)?
---@return function?
function skynet.dispatch(typename, handler)
    local p = proto[typename]
    if handler then
        local previous = p.dispatch
        p.dispatch = handler
        if p.id == skynet.PTYPE_DEBUG then dispatch.own_answers() end
        return previous
    end
    return p and p.dispatch
end

--- true: trace each request of this class; false: none; nil: those whose sender is traced.
---@param typename string|integer
---@param flag boolean?
function skynet.traceproto(typename, flag)
    local p = assert(proto[typename])
    p.trace = flag
end

skynet.register_protocol {
    name = "lua",
    id = skynet.PTYPE_LUA,
    pack = core.pack,
    unpack = core.unpack,
}

skynet.register_protocol {
    name = "response",
    id = skynet.PTYPE_RESPONSE,
}

skynet.register_protocol {
    name = "error",
    id = skynet.PTYPE_ERROR,
    pack = function(...) return ... end,
    unpack = function(...) return ... end,
    dispatch = dispatch.on_error,
}

------------------------------------------------------------------------------------------------------- what most services never use

--- Several requests at once: `for req, resp in skynet.request{…}{…}:select(timeout) do … end`.
---@param req table?  `{ address, typename, arguments…, n = index of the last }`
---@return skein.RequestSet
function skynet.request(req) return require "skein.select"(req) end

--- Ends a task that is suspended or has not begun. Its requester gets an error, its to-be-closed variables are closed.
---@param thread thread|string  the task, or a Lua pattern for its name
---@return thread?
function skynet.killthread(thread) return require("skein.tasks").killthread(thread) end

--- Suspended tasks: how many; with a table: it is filled with their tracebacks; with a session or a task: that one.
---@param what nil|table|integer|thread|"init"
---@return integer|string|nil
function skynet.task(what) return require("skein.inspect").task(what) end

--- Suspended tasks, those at the same place counted together.
---@return table<string, string>
function skynet.uniqtask() return require("skein.inspect").uniqtask() end

----------------------------------------------------------------------------------------------------------- identity, time, settings

local self
--- The handle of this service.
---@return integer
function skynet.self()
    self = self or core.addresscommand "REG"
    return self
end

--- The handle behind a local name.
---@param name string  with its dot
---@return integer?
function skynet.localname(name) return core.addresscommand("QUERY", name) end

local start_time
--- Seconds since 1970 when the process began.
---@return integer
function skynet.starttime()
    start_time = start_time or core.intcommand "STARTTIME"
    return start_time
end

--- Seconds since 1970, with hundredths.
---@return number
function skynet.time() return core.now() / 100 + skynet.starttime() end

--- A setting of the configuration, or of `setenv`.
---@param key string
---@return string?
function skynet.getenv(key)
    return (core.command("GETENV", key)) -- nil, and not nothing
end

--- Adds a setting for the whole process. The key must be new.
---@param key string
---@param value string|number
function skynet.setenv(key, value)
    if core.command("GETENV", key) ~= nil then error("Can't setenv exist key : " .. key, 2) end
    core.command("SETENV", key .. " " .. value)
end

--- A counter of this service: `"mqlen"`, `"message"`, `"cpu"`, `"time"` or `"endless"`.
---@param what string
---@return number
function skynet.stat(what) return core.intcommand("STAT", what) end

--- How many messages wait for this service.
---@return integer
function skynet.mqlen() return core.intcommand("STAT", "mqlen") end

--- Whether the monitor found this service stuck in one message since the last time it was asked.
---@return boolean
function skynet.endless() return core.intcommand("STAT", "endless") == 1 end

--- Limits the memory of this service. Only in the main chunk, and once: the host applies it when the chunk is through.
---@param bytes integer
function skynet.memlimit(bytes)
    debug.getregistry().memlimit = bytes
    skynet.memlimit = nil
end

----------------------------------------------------------------------------------------------------------------------- services

--- Starts a Lua service, and waits until its start function is through.
---@async
---@param name string
---@param ... string|number
---@return integer? handle  none when it exited during its start
function skynet.newservice(name, ...) return skynet.call(".launcher", "lua", "LAUNCH", "snlua", name, ...) end

--- The one instance of a service in this process (or, with `true` in front, in the whole network). Starts it when it is not there.
---@async
---@param global true|string
---@param ... string|number
---@return integer handle
function skynet.uniqueservice(global, ...)
    if global == true then return assert(skynet.call(".service", "lua", "GLAUNCH", ...)) end
    return assert(skynet.call(".service", "lua", "LAUNCH", global, ...))
end

--- As `uniqueservice`, but waits until somebody else starts it.
---@async
---@param global true|string
---@param ... string
---@return integer handle
function skynet.queryservice(global, ...)
    if global == true then return assert(skynet.call(".service", "lua", "GQUERY", ...)) end
    return assert(skynet.call(".service", "lua", "QUERY", global, ...))
end

require("skynet.debug").init(skynet)

return skynet

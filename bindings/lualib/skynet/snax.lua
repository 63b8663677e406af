--- Services with methods: `obj.post.m(...)` sends, `obj.req.m(...)` calls, and both sides know from the service's file which there are.
local skynet = require "skynet"
local snax_interface = require "snax.interface"

---@class snax.Object
---@field handle integer
---@field type string  name of the service file
---@field post table<string, fun(...)>  one-way methods, `accept.<m>` in the file
---@field req table<string, async fun(...): ...>  request and answer, `response.<m>` in the file

---@class snax.Interface
---@field name string
---@field accept table<string, integer>  method → number
---@field response table<string, integer>
---@field system table<string, integer>

---@class snax
---@field enablecluster fun()?  inside a snax service: takes requests as `lua` messages, too
local snax = {}

skynet.register_protocol {
    name = "snax",
    id = skynet.PTYPE_SNAX,
    pack = skynet.pack,
    unpack = skynet.unpack,
}

------------------------------------------------------------------------------------------------------------------------ interfaces

---@type table<string, snax.Interface>
local interfaces = {}

--- What a service file may see when it is only read for its methods.
---@return table
local function visible_globals()
    local module = skynet.getenv "snax_interface_g"
    if module then return require(module) end
    return { require = function() end }
end

--- The methods of a snax service, learnt from its file (the setting `snax_loader` is for the service itself).
---@param name string
---@return snax.Interface
function snax.interface(name)
    local known = interfaces[name]
    if known then return known end
    -- What the file sets goes into a table of its own, not into that of the module.
    local methods = snax_interface(name, setmetatable({}, { __index = visible_globals() }))
    known = { name = name, accept = {}, response = {}, system = {} }
    for _, method in ipairs(methods) do
        local id, group, method_name = method[1], method[2], method[3]
        known[group][method_name] = id
    end
    interfaces[name] = known
    return known
end

--------------------------------------------------------------------------------------------------------------------------- objects

--- A table that makes the function of a method when it is first asked for.
local function methods(kind, type_name, ids, make)
    return setmetatable({}, {
        __index = function(self, name)
            local id = ids[name]
            if not id then error(string.format("%s %s:%s no exist", kind, type_name, tostring(name)), 2) end
            local method = make(id)
            self[name] = method
            return method
        end,
    })
end

local object = {}

function object:__tostring() return string.format("[%s:%x]", self.type, self.handle) end

--- Those that are in use, by handle.
---@type table<integer, snax.Object>
local objects = setmetatable({}, { __mode = "v" })

--- The object for a service that runs.
---@param handle integer
---@param name string  of its file
---@return snax.Object
function snax.bind(handle, name)
    local known = objects[handle]
    if known then
        assert(known.type == name)
        return known
    end
    local interface = snax.interface(name)
    known = setmetatable({
        handle = handle,
        type = name,
        post = methods("post", name, interface.accept, function(id)
            return function(...) skynet.send(handle, "snax", id, ...) end
        end),
        req = methods("request", name, interface.response, function(id)
            return function(...) return skynet.call(handle, "snax", id, ...) end
        end),
    }, object)
    objects[handle] = known
    return known
end

-------------------------------------------------------------------------------------------------------------------------- services

--- Starts a snax service, and runs its `init(...)`.
---@async
---@param name string
---@param ... any
---@return integer handle
function snax.rawnewservice(name, ...)
    local interface = snax.interface(name)
    local handle = assert(skynet.newservice("snaxd", name))
    skynet.call(handle, "snax", interface.system.init, ...)
    return handle
end

--- As `rawnewservice`, but gives the object.
---@async
---@param name string
---@param ... any
---@return snax.Object
function snax.newservice(name, ...) return snax.bind(snax.rawnewservice(name, ...), name) end

--- Asks the manager of unique services.
---@async
local function ask_manager(command, name, ...)
    return snax.bind(assert(skynet.call(".service", "lua", command, "snaxd", name, ...)), name)
end

--- The one instance in this process. Starts it when it is not there.
---@async
---@param name string
---@param ... any
---@return snax.Object
function snax.uniqueservice(name, ...) return ask_manager("LAUNCH", name, ...) end

--- The one instance in the whole network. Starts it when it is not there.
---@async
---@param name string
---@param ... any
---@return snax.Object
function snax.globalservice(name, ...) return ask_manager("GLAUNCH", name, ...) end

--- As `uniqueservice`, but waits until somebody else starts it.
---@async
---@param name string
---@return snax.Object
function snax.queryservice(name) return ask_manager("QUERY", name) end

--- As `globalservice`, but waits until somebody else starts it.
---@async
---@param name string
---@return snax.Object
function snax.queryglobal(name) return ask_manager("GQUERY", name) end

--- Calls a system method.
---@async
local function system(obj, method, ...)
    return skynet.call(obj.handle, "snax", snax.interface(obj.type).system[method], ...)
end

--- Runs `exit(...)` there, then the service ends.
---@async
---@param obj snax.Object
---@param ... any
function snax.kill(obj, ...) system(obj, "exit", ...) end

--- The object of the snax service this runs in.
---@return snax.Object
function snax.self() return snax.bind(skynet.self(), SERVICE_NAME) end

--- Ends the snax service this runs in.
---@async
---@param ... any  for its `exit`
function snax.exit(...) snax.kill(snax.self(), ...) end

local function check_patched(ok, ...)
    if not ok then error((...)) end
    return ...
end

--- Replaces methods of a running service, see `snax.hotfix`.
---@async
---@param obj snax.Object
---@param source string  the patch
---@param ... any  for the patch's `hotfix`
---@return any ...  what that returned
function snax.hotfix(obj, source, ...) return check_patched(system(obj, "hotfix", source, ...)) end

--- Logs a formatted line.
---@param fmt string
---@param ... any
function snax.printf(fmt, ...) skynet.error(string.format(fmt, ...)) end

--- How often each method ran, and how much time it took.
---@async
---@param obj snax.Object
---@return table<string, { count: integer, time: number }>  in seconds of CPU
function snax.profile_info(obj) return system(obj, "profile") end

return snax

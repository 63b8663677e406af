--- The `debug` class of messages, which every service understands: what a console asks.
local core = require "skynet.core"
local dispatch = require "skein.dispatch"

local M = {}

---@type table<string, fun(...)>
local commands = {}

---@type fun(...)?  gives the values of INFO
local info_source

--- Adds a debug command.
---@param name string
---@param handler async fun(...)
function M.reg_debugcmd(name, handler)
    commands[name] = handler
    if name == "STAT" or name == "MEM" then dispatch.own_answers() end
end

local commands_loaded = false

--- Adds the usual commands; those the service has under their names stay.
local function load_commands(skynet)
    local usual = require "skein.commands"(skynet, function() return info_source end)
    for name, handler in pairs(usual) do
        commands[name] = commands[name] or handler
    end
end

--- Registers the class; called once, by `skynet`.
---@param skynet table
function M.init(skynet)
    --- Sets the function that answers the debug command INFO.
    ---@param f fun(...): ...
    function skynet.info_func(f) info_source = f end

    skynet.register_protocol {
        name = "debug",
        id = skynet.PTYPE_DEBUG,
        pack = assert(core.pack),
        unpack = assert(core.unpack),
        dispatch = function(_, _, name, ...)
            if not commands_loaded then
                commands_loaded = true
                load_commands(skynet)
            end
            local command = commands[name]
            assert(command, name)
            command(...)
        end,
    }
end

return M

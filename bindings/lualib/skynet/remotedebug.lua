--- A debugger inside a service: what the debug command REMOTEDEBUG starts, and `debug_agent` feeds with lines.
---
--- A line is evaluated as an expression, else as statements. `watch(proto [, condition])` stops the next request of that class (for
--- which `condition(...)` holds) at each line of its handler; there `s` steps into calls, `n` over them, `c` goes on, and anything
--- else is evaluated in the stopped frame. `cont` ends the session. Other requests are served meanwhile.
local skynet = require "skynet"
local channels = require "skynet.debugchannel"
local driver = require "skynet.socketdriver"
local injectcode = require "skynet.injectcode"

local M = {}

--- How often a command is looked for, in 1/100 s.
local POLL <const> = 10

---@type table?  the channel of the session
local channel
---@type integer?  where the output goes
local out
--- A stopped request has the debugger's ear.
local talking = false
--- Classes that are watched, with their handlers.
local watched = {}

local function write(text)
    if out then driver.send(out, text) end
end

local function prompt() write(string.format(":%08x>", skynet.self())) end

local function print_values(...)
    local values = table.pack(...)
    for i = 1, values.n do
        values[i] = tostring(values[i]) .. "\t"
    end
    write(table.concat(values, "", 1, values.n) .. "\n")
end

--- The next command, without its end of line; nil when the session is over. While a request is stopped its commands are its own.
---@async
---@param stopped boolean?
local function read_line(stopped)
    while channel do
        local line = (stopped or not talking) and channel:read()
        if line then return (line:gsub("[\r\n]+$", "")) end
        skynet.sleep(POLL)
    end
end

local function show(ok, ...)
    if not ok then
        write(tostring((...)) .. "\n")
    elseif select("#", ...) > 0 then
        print_values(...)
    end
end

--- How many frames the coroutine has from `level` on.
local function depth_of(level)
    local depth = 0
    while debug.getinfo(level + depth + 1, "l") do
        depth = depth + 1
    end
    return depth
end

--- Runs the handler of a request under the eyes of the debugger; the framework's words pass through.
---@async
local function stepwise(handler, ...)
    local stopped = false
    local file, line, depth, limit = "?", 0, 0, nil

    local function hook(event, at)
        if event ~= "line" then return false end
        depth = depth_of(2)
        if limit and depth > limit then return false end
        file, line, stopped = debug.getinfo(2, "S").short_src, at, true
        return true
    end

    --- Talks until the handler may go on.
    local function talk(co)
        talking = true
        while true do
            write(string.format("%s(%d)>", file, line))
            local command = read_line(true)
            if command == nil or command == "c" then
                channels.sethook(co)
                talking = false
                return prompt()
            elseif command == "s" or command == "n" then
                limit = command == "n" and depth or nil
                return
            elseif command ~= "" then
                local expression = "return " .. command
                local source = load(expression) and expression or command
                show(injectcode(source, co, 0, { print = print_values, _CO = co }))
            end
        end
    end

    local co = coroutine.create(handler)
    local continue
    local function settle(ok, ...)
        if coroutine.status(co) == "dead" then
            if talking then prompt() end
            talking = false
            if not ok then error((...), 0) end
            return ...
        elseif stopped then
            stopped = false
            talk(co)
            return settle(coroutine.resume(co))
        end
        return continue(coroutine.yield(...))
    end
    function continue(...) return settle(coroutine.resume(co, ...)) end

    channels.sethook(co, hook, "l")
    return continue(...)
end

local function unwatch(proto)
    local handler = watched[proto]
    if handler then
        watched[proto] = nil
        skynet.dispatch(proto, handler)
    end
end

--- Stops the next request of a class.
---@param proto string
---@param condition (fun(...): any)?
---@return string?  why not
local function watch(proto, condition)
    local class = skynet._proto[proto]
    if type(proto) ~= "string" or class == nil then return "No " .. tostring(proto) end
    local handler = watched[proto] or class.dispatch
    if handler == nil then return "No dispatch" end
    watched[proto] = handler
    skynet.dispatch(proto, function(session, source, ...)
        if condition and not condition(...) then return handler(session, source, ...) end
        unwatch(proto)
        return stepwise(handler, session, source, ...)
    end)
end

local function evaluate(line, env)
    local chunk = load("return " .. line, "=(debug)", "t", env)
    if not chunk then
        local why
        chunk, why = load(line, "=(debug)", "t", env)
        if not chunk then return write(why .. "\n") end
    end
    show(xpcall(chunk, debug.traceback))
end

--- Ends debug mode.
local function stop()
    assert(channel, "Not in debug mode")
    channels.release(channel)
    channel, out = nil, nil
    skynet.error "Leave debug mode"
end

--- Puts the service into debug mode until `cont`.
---@async
---@param fd integer  the socket that output goes to
---@param handle lightuserdata  the other end of the channel
function M.start(_, fd, handle)
    assert(channel == nil, "Already in debug mode")
    channel = channels.connect(handle)
    out = fd
    skynet.error "Enter debug mode"
    local env = setmetatable({ print = print_values, watch = watch, _CO = coroutine.running() }, { __index = _G })
    prompt()
    while true do
        local line = read_line()
        if line == nil or line == "cont" then break end
        if line ~= "" then evaluate(line, env) end
        prompt()
    end
    while next(watched) do
        unwatch((next(watched)))
    end
    stop()
end

return M

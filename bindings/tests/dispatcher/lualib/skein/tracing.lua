--- Trace tags: log lines that follow one request through several services.
---
--- A traced task sends its tag (a message of type TRACE) just before each call; the callee keeps it under the source until that
--- source's next request arrives, and continues it there.
local core = require "skynet.core"
local state = require "skein.state"

local string_format = string.format
local tags = state.tags
local trace = core.trace

local tracing = {}

local counter = 0
local prefix

--- Begins a new trace in `task`, which must be the running one.
---@param task skein.Task
---@param info string?
function tracing.begin(task, info)
    local old = tags[task]
    core.error("TRACE", old)
    if old == false then return end
    prefix = prefix or string_format(":%08x", core.addresscommand "REG")
    counter = counter + 1
    local tag = string_format("%s-%d", prefix, counter)
    tags[task] = tag
    if info then
        trace(tag, "trace " .. info)
    else
        trace(tag, "trace")
    end
end

--- Decides, when a request arrives, whether its task is traced.
---@param task skein.Task
---@param class table  message class of the request
---@param source integer
function tracing.arrive(task, class, source)
    local incoming = state.incoming_tag
    local tag = incoming[source]
    incoming[source] = nil
    if class.trace == false then
        tags[task] = false
    elseif tag then
        trace(tag, "request")
        tags[task] = tag
    elseif class.trace then
        tracing.begin(task)
    end
end

return tracing

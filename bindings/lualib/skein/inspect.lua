--- What the tasks of this service wait for, for consoles and debuggers.
local dispatch = require "skein.dispatch"
local lifecycle = require "skein.lifecycle"

--- Stands for a task that gave up, while the message it waited for is still to come.
local TOMBSTONE <const> = "BREAK"

local inspect = {}

--- Who waits, by session, and a function that describes each.
local function snapshot()
    local waiting, origins = dispatch.waiting()
    return waiting, function(session)
        local task = waiting[session]
        if task == TOMBSTONE then return TOMBSTONE end
        return origins[session] or debug.traceback(task)
    end
end

--- * nothing: how many tasks are suspended
--- * a table: filled with `"<task> session: <n>"` → traceback
--- * a session: the traceback of who waits for it, or `"No session"`
--- * a task: the session it waits for
--- * `"init"`: the traceback of the start function while it is running
---@param what nil|table|integer|thread|"init"
---@return integer|string|nil
function inspect.task(what)
    if what == nil then return dispatch.count() end
    local kind = type(what)
    local waiting, describe = snapshot()
    if kind == "table" then
        for session, task in pairs(waiting) do
            what[string.format("%s session: %d", task, session)] = describe(session)
        end
    elseif kind == "number" then
        if waiting[what] then return describe(what) end
        return "No session"
    elseif kind == "thread" then
        for session, task in pairs(waiting) do
            if task == what then return session end
        end
    elseif what == "init" and lifecycle.starting then
        return debug.traceback(lifecycle.starting)
    end
end

--- Sessions named in one line of `uniqtask`.
local NAMED <const> = 9
--- From more than this many on the line ends in dots.
local DOTTED <const> = 10

--- Suspended tasks, those at the same place counted together: `"<n>\tsessions:[…]\n"` → traceback.
---@return table<string, string>
function inspect.uniqtask()
    local waiting, describe = snapshot()
    local groups = {}
    for session in pairs(waiting) do
        local text = describe(session)
        local group = groups[text]
        if group then
            group[#group + 1] = session
        else
            groups[text] = { session }
        end
    end
    local result = {}
    for text, group in pairs(groups) do
        table.sort(group)
        local shown = table.concat(group, ",", 1, math.min(#group, NAMED))
        if #group > DOTTED then shown = shown .. "..." end
        result[string.format("%d\tsessions:[%s]\n", #group, shown)] = text
    end
    return result
end

return inspect

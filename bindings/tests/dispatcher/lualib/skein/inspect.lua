--- What the tasks of this service wait for, for consoles and debuggers.
local state = require "skein.state"

local TOMBSTONE = state.TOMBSTONE

local inspect = {}

local function describe(task)
    if task == TOMBSTONE then return TOMBSTONE end
    return state.timer_origin[task] or debug.traceback(task)
end

local function count()
    local n = 0
    for _, task in pairs(state.waiting) do
        if task ~= TOMBSTONE then n = n + 1 end
    end
    return n
end

--- * nothing: how many tasks are suspended
--- * a table: filled with `"<task> session: <n>"` → traceback
--- * a session: the traceback of who waits for it, or `"No session"`
--- * a task: the session it waits for
--- * `"init"`: the traceback of the start function while it is running
---@param what nil|table|integer|thread|"init"
---@return integer|string|nil
function inspect.task(what)
    if what == nil then return count() end
    local kind = type(what)
    if kind == "table" then
        for session, task in pairs(state.waiting) do
            what[string.format("%s session: %d", task, session)] = describe(task)
        end
    elseif kind == "number" then
        local task = state.waiting[what]
        if task then return describe(task) end
        return "No session"
    elseif kind == "thread" then
        for session, task in pairs(state.waiting) do
            if task == what then return session end
        end
    elseif what == "init" and state.starting then
        return debug.traceback(state.starting)
    end
end

--- Sessions named in one line of `uniqtask`.
local NAMED <const> = 9
--- From more than this many on the line ends in dots.
local DOTTED <const> = 10

--- Suspended tasks, those at the same place counted together: `"<n>\tsessions:[…]\n"` → traceback.
---@return table<string, string>
function inspect.uniqtask()
    local groups = {}
    for session, task in pairs(state.waiting) do
        local text = describe(task)
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

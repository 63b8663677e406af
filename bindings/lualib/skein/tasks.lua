--- Ending tasks from outside.
local dispatch = require "skein.dispatch"

local tasks = {}

--- Whether `task` is what `thread`, a task or a Lua pattern, means.
local function is_meant(task, thread)
    return task == thread or type(thread) == "string" and type(task) == "thread" and tostring(task):find(thread)
end

--- Ends a task that is suspended or has not begun. Its requester gets an error, its to-be-closed variables are closed.
---@param thread thread|string  the task, or a Lua pattern for its name
---@return thread?
function tasks.killthread(thread)
    for _, task in ipairs(dispatch.forks()) do
        if is_meant(task, thread) and dispatch.unfork(task) then return task end
    end
    for session, task in pairs((dispatch.waiting())) do
        if is_meant(task, thread) then return dispatch.kill(session) end
    end
end

return tasks

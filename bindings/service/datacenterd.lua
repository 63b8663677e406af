--- `DATACENTER`: a tree of values by path, and those who wait for one.
local skynet = require "skynet"

---@type table<any, any>  inner tables are branches
local tree = {}

--- Waiters by path, beside the tree.
---@class datacenterd.Node
---@field children table<any, datacenterd.Node>
---@field replies function[]
local function new_node()
    return { children = {}, replies = {} }
end

local waiters = new_node()

local command = {}

--- The value at a path; raises when it leads through a value that is no branch.
local function find(path, first, last)
    local value = tree
    for i = first, last do
        if value == nil then
            return nil
        end
        assert(type(value) == "table", "path through a value")
        value = value[path[i]]
    end
    return value
end

function command.QUERY(...)
    local path = table.pack(...)
    local value = find(path, 1, path.n)
    if value == nil then
        skynet.ret()
    else
        skynet.retpack(value)
    end
end

--- Answers those who wait for exactly this path.
local function wake(node, ok, value)
    local replies = node.replies
    node.replies = {}
    for _, reply in ipairs(replies) do
        reply(ok, value)
    end
end

--- The last argument is the value, those before it the path.
function command.UPDATE(...)
    local path = table.pack(...)
    local last = path.n - 1
    local value = path[path.n]
    assert(last >= 1, "no path")
    local parent = find(path, 1, last - 1)
    if parent ~= nil then
        assert(type(parent) == "table", "path through a value")
    end

    local branch, node = tree, waiters
    for i = 1, last - 1 do
        local key = path[i]
        if branch[key] == nil then
            branch[key] = {}
        end
        branch = branch[key]
        node = node and node.children[key]
        if node then
            wake(node, false) -- what they wait for is a branch now
        end
    end
    local key = path[last]
    local old = branch[key]
    branch[key] = value
    skynet.retpack(old)

    node = node and node.children[key]
    if node and old == nil and value ~= nil then
        wake(node, true, value)
    end
end

function command.WAIT(...)
    local path = table.pack(...)
    local value = find(path, 1, path.n)
    if value ~= nil then
        assert(type(value) ~= "table", "can't wait for a branch")
        skynet.retpack(value)
        return
    end
    local node = waiters
    for i = 1, path.n do
        local child = node.children[path[i]]
        if not child then
            child = new_node()
            node.children[path[i]] = child
        end
        node = child
    end
    node.replies[#node.replies + 1] = skynet.response()
end

skynet.start(function()
    skynet.dispatch("lua", function(_, _, name, ...)
        local f = assert(command[name], name)
        f(...)
    end)
end)

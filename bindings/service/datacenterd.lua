--- `DATACENTER`: a tree of values by path, and those who wait for one.
---
--- Waiters form a tree of their own. A key is waited for, or keys below it are, never both: a wait that would mix them is refused, and
--- one that an update overtakes, by making its key a branch, fails.
local skynet = require "skynet"

---@type table<any, any>  inner tables are branches
local tree = {}

---@class datacenterd.Node
---@field replies function[]?  a key that is waited for
---@field children table<any, datacenterd.Node>?  keys below it are
local waiters = { children = {} }

local command = {}

--- The value at a path. A string has nothing below it; other values can't be asked.
local function find(path)
    local value = tree
    for i = 1, path.n do
        if value == nil or type(value) == "string" then return nil end
        assert(type(value) == "table", "path through a value")
        value = value[path[i]]
    end
    return value
end

function command.QUERY(...)
    local value = find(table.pack(...))
    if value == nil then
        skynet.ret()
    else
        skynet.retpack(value)
    end
end

--- Takes the waiters of key `path[i]` below `node` out of the tree, if they are not all further down. `last` is the key to be set:
--- only there a value has come; on the way the key became a branch.
local function overtake(node, path, i, last, value)
    local key = path[i]
    local child = node.children and node.children[key]
    if not child then
        return
    elseif child.replies then
        node.children[key] = nil
        for _, reply in ipairs(child.replies) do
            reply(i == last, value)
        end
    elseif i < last then
        overtake(child, path, i + 1, last, value)
        if next(child.children) == nil then node.children[key] = nil end
    end
end

--- The last argument is the value, those before it the path.
function command.UPDATE(...)
    local path = table.pack(...)
    local last, value = path.n - 1, path[path.n]
    assert(last >= 1, "no path")
    local branch = tree
    for i = 1, last - 1 do
        local below = branch[path[i]]
        if below == nil then
            below = {}
            branch[path[i]] = below
        end
        assert(type(below) == "table", "path through a value")
        branch = below
    end
    local old = branch[path[last]]
    branch[path[last]] = value
    if old == nil and value ~= nil then overtake(waiters, path, 1, last, value) end
    if old == nil then
        skynet.ret()
    else
        skynet.retpack(old)
    end
end

function command.WAIT(...)
    local path = table.pack(...)
    local value = find(path)
    if value ~= nil then
        skynet.retpack(value)
        return
    end
    local node = waiters
    for i = 1, path.n do
        assert(node.children, "somebody waits for a key above")
        local child = node.children[path[i]]
        if not child then
            child = i < path.n and { children = {} } or { replies = {} }
            node.children[path[i]] = child
        end
        node = child
    end
    assert(node.replies, "somebody waits for a key below")
    table.insert(node.replies, skynet.response())
end

skynet.start(function()
    skynet.dispatch("lua", function(_, _, name, ...)
        local f = assert(command[name], name)
        f(...)
    end)
end)

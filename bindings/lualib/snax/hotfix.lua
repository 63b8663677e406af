--- Replaces methods of a running snax service by those of a patch.
---
--- A patch is written like a service file. Where one of its functions uses a local without a value (`local count`) and the service has
--- a local of that name, it gets that very variable: it goes on with the value, and sees later changes. Everything is checked before the
--- first method is replaced.
local interface = require "snax.interface"

local PATCH <const> = "=patch"

---@class snax.Variable
---@field func function  one that has it as an upvalue
---@field at integer  which
---@field id lightuserdata
---@field ambiguous boolean?  the service has two of that name

--- Calls `f(at, name, value)` for each upvalue of `func` but `_ENV`; returns the value of that.
local function each_upvalue(func, f)
    local env
    local at = 1
    while true do
        local name, value = debug.getupvalue(func, at)
        if not name then return env end
        if name == "_ENV" then
            env = value
        elseif name ~= "" then
            f(at, name, value)
        end
        at = at + 1
    end
end

local function nothing() end

local function source_of(func) return debug.getinfo(func, "S").source end

--- The variables of the service by name: upvalues of its methods, of the functions among those, and so on. Functions of other files are
--- not looked into, unless they have the same environment as the method.
---@param methods snax.Method[]
---@return table<string, snax.Variable>
local function collect(methods)
    local variables, seen, sources = {}, {}, {}
    for _, method in ipairs(methods) do
        if method[4] then sources[source_of(method[4])] = true end
    end
    local function visit(func, root_env)
        if seen[func] then return end
        seen[func] = true
        each_upvalue(func, function(at, name, value)
            local id = debug.upvalueid(func, at)
            local known = variables[name]
            if not known then
                variables[name] = { func = func, at = at, id = id }
            elseif known.id ~= id then
                known.ambiguous = true
            end
            if type(value) == "function" then
                if sources[source_of(value)] or each_upvalue(value, nothing) == root_env then
                    visit(value, root_env)
                end
            end
        end)
    end
    for _, method in ipairs(methods) do
        if method[4] then visit(method[4], each_upvalue(method[4], nothing)) end
    end
    return variables
end

--- What to join in `func`, and in the functions of the patch that it uses.
local function plan(func, variables, seen, joins)
    if seen[func] then return end
    seen[func] = true
    each_upvalue(func, function(at, name, value)
        local variable = value == nil and variables[name]
        if variable then
            if variable.ambiguous then error("ambiguity local value " .. name) end
            joins[#joins + 1] = { func = func, at = at, variable = variable }
        elseif type(value) == "function" and source_of(value) == PATCH then
            plan(value, variables, seen, joins)
        end
    end)
end

---@param methods snax.Method[]
---@return table<string, table<string, snax.Method>>  group → name → method
local function by_name(methods)
    local groups = { system = {}, accept = {}, response = {} }
    for _, method in ipairs(methods) do
        groups[method[2]][method[3]] = method
    end
    return groups
end

--- Replaces the methods.
---@param methods snax.Method[]
---@param source string
---@return function?  the patch's `hotfix`
local function apply(methods, source)
    -- The patch's own globals are its own while it loads; its functions then live in those of the service.
    local chunk
    local patch = interface(nil, setmetatable({}, { __index = _G }), function(_, _, env)
        local err
        chunk, err = load(source, PATCH, "bt", env)
        return chunk, err or PATCH
    end)
    debug.setupvalue(chunk, 1, _G) -- the one upvalue of a chunk is its environment

    local variables = collect(methods)
    local groups = by_name(methods)
    local seen, joins, replacements = {}, {}, {}
    local hotfix
    for _, new in ipairs(patch) do
        local _, group, name, func = table.unpack(new, 1, 4)
        if func then
            local old = groups[group][name]
            if not old then error(string.format("Patch mismatch %s.%s", group, name)) end
            plan(func, variables, seen, joins)
            if group == "system" and name == "hotfix" then
                hotfix = func
            else
                replacements[#replacements + 1] = { method = old, func = func }
            end
        end
    end

    for _, join in ipairs(joins) do
        debug.upvaluejoin(join.func, join.at, join.variable.func, join.variable.at)
    end
    for _, it in ipairs(replacements) do
        it.method[4] = it.func
    end
    return hotfix
end

--- Applies a patch, then runs its `hotfix(...)`, if it has one.
---@async
---@param methods snax.Method[]  of the service; changed
---@param source string
---@param ... any
---@return boolean ok
---@return any ...  what `hotfix` returned, or the error
return function(methods, source, ...)
    local ok, result = pcall(apply, methods, source)
    if not ok then return false, result end
    if result then return pcall(result, ...) end
    return true
end

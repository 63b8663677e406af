--- Reads a snax service file: which methods it defines, and under which numbers they are called.
---
--- The file runs once, in an environment that notes what is assigned: `init`, `exit`, `hotfix` and `profile` have the numbers 1 to 4,
--- `accept.<m>` and `response.<m>` are counted from 5 in the order of their definitions. All else is a global of `G`. When the file is
--- through, its functions see `G` itself as their environment.

---@class snax.Method
---@field [1] integer  number
---@field [2] "system"|"accept"|"response"
---@field [3] string  name
---@field [4] function?  what the file defined; a system method may be without

--- What the file may define beside its methods.
local SYSTEM <const> = { "init", "exit", "hotfix", "profile" }

--- Finds the file on the path. The first that compiles wins.
---@param path string  patterns with `?`, and `;` in between
---@param name string
---@param G table  environment of the chunk
---@return function chunk
---@return string pattern  that found it
local function load_file(path, name, G)
    local failures = {}
    for pattern in string.gmatch(path, "[^;]+") do
        -- A function, so that a `%` in the name is only itself.
        local file = pattern:gsub("%?", function() return name end)
        local chunk, err = loadfile(file, "bt", G)
        if chunk then return chunk, pattern end
        failures[#failures + 1] = err
    end
    error(table.concat(failures, "\n"))
end

--- The table that `accept` or `response` is while the file runs.
local function group(name, methods)
    local defined = {}
    local function define(_, method, func)
        if type(method) ~= "string" then error(string.format("%s method only support string", name), 2) end
        if type(func) ~= "function" then error(string.format("%s.%s must be function", name, method), 2) end
        if defined[method] then error(string.format("%s.%s duplicate definition", name, method), 2) end
        defined[method] = func
        methods[#methods + 1] = { #methods + 1, name, method, func }
    end
    return setmetatable({}, { __index = defined, __newindex = define })
end

--- Lets the functions of `chunk` that have `from` as their environment use `to`.
local function change_environment(chunk, from, to)
    local at = 1
    while true do
        local name, value = debug.getupvalue(chunk, at)
        if not name then return end
        if name == "_ENV" then
            if rawequal(value, from) then debug.setupvalue(chunk, at, to) end
            return
        end
        at = at + 1
    end
end

---@param name string
---@param G table  globals that the file sees, and where its own go
---@param loader (fun(path: string, name: string, G: table): function, string)?  instead of looking for a file
---@return snax.Method[]
---@return string pattern  that found the file
return function(name, G, loader)
    local path = assert(require("skynet").getenv "snax", "please set snax in config file")

    ---@type snax.Method[]
    local methods, system = {}, {}
    for id, method in ipairs(SYSTEM) do
        methods[id] = { id, "system", method }
        system[method] = methods[id]
    end
    local groups = { accept = group("accept", methods), response = group("response", methods) }

    local meta = { __index = setmetatable(groups, { __index = G }) }
    function meta:__newindex(key, value)
        local method = system[key]
        if not method then
            G[key] = value
        elseif type(value) ~= "function" then
            error(string.format("%s must be a function", key), 2)
        else
            method[4] = value
        end
    end
    local env = setmetatable({}, meta)

    local chunk, pattern = (loader or load_file)(path, name, env)
    if not chunk then error(pattern, 0) end
    change_environment(chunk, G, env) -- of a loader that did without what it was given
    local ok, err = xpcall(chunk, debug.traceback)
    if not ok then error(err, 0) end

    -- For whoever kept `env` in a way of its own.
    meta.__index, meta.__newindex = G, G
    change_environment(chunk, env, G)
    return methods, pattern
end

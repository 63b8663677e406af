--- Runs a chunk inside a living service: what the debug command RUN does.
---
--- The chunk sees the service's globals (its own new ones vanish with it), and
--- * `print`, which collects lines for the answer;
--- * `_U`: the tables that the given functions (and the functions they use) hold as upvalues, by name;
--- * `_P`: per message class, the same for its handler, functions included: `_P.lua.CMD` is the local `CMD` of the service.

--- Collects upvalues of `f`, and of the functions among them, into `found`.
local function collect(f, found, want, seen)
    if seen[f] then return end
    seen[f] = true
    local at = 1
    while true do
        local name, value = debug.getupvalue(f, at)
        if not name then return end
        local kind = type(value)
        if name ~= "_ENV" and name ~= "" and want[kind] and found[name] == nil then found[name] = value end
        if kind == "function" then collect(value, found, want, seen) end
        at = at + 1
    end
end

local TABLES <const> = { table = true }
local TABLES_AND_FUNCTIONS <const> = { table = true, ["function"] = true }

--- Upvalues of the handler of each message class, by the name of the class.
local function of_handlers(skynet)
    local all = {}
    for name, class in pairs(skynet._proto) do
        if type(name) == "string" and class.dispatch then
            local found = {}
            collect(class.dispatch, found, TABLES_AND_FUNCTIONS, {})
            all[name] = found
        end
    end
    return all
end

--- Runs `source`. It may suspend.
---@async
---@param skynet table
---@param source string
---@param filename string?
---@param args table  packed
---@param ... function  whose upvalues make `_U`
---@return boolean ok
---@return string[] output  what was printed; the error as the last line
return function(skynet, source, filename, args, ...)
    local output = {}
    local function print(...)
        local line = table.pack(...)
        for i = 1, line.n do
            line[i] = tostring(line[i])
        end
        output[#output + 1] = table.concat(line, "\t")
    end

    local upvalues, seen = {}, {}
    for _, f in ipairs { ... } do
        collect(f, upvalues, TABLES, seen)
    end
    local env = setmetatable({ print = print, _U = upvalues, _P = of_handlers(skynet) }, { __index = _ENV })

    local chunk, err = load(source, filename and "@" .. filename or "=(load)", "bt", env)
    if not chunk then
        output[#output + 1] = err
        return false, output
    end
    local ok, why = pcall(chunk, table.unpack(args, 1, args.n))
    if not ok then output[#output + 1] = tostring(why) end
    return ok, output
end

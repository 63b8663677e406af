--- Evaluates code in the scope of a running function: its locals, upvalues and varargs are visible, and changed locals are written back.

--- Names of the locals of a frame, the innermost of each name, with their slots; and its varargs.
local function read_locals(co, level, depth)
    local names, slots = {}, {}
    local function get(i)
        if co then return debug.getlocal(co, level, i) end
        return debug.getlocal(level + depth + 2, i) -- `get` and `read_locals` lie in between
    end
    local i = 1
    while true do
        local name = get(i)
        if not name then break end
        if name:byte() ~= 40 then -- "(": a temporary
            if not slots[name] then names[#names + 1] = name end
            slots[name] = i
        end
        i = i + 1
    end
    local varargs = { n = 0 }
    while true do
        local name, value = get(-(varargs.n + 1))
        if not name then break end
        varargs.n = varargs.n + 1
        varargs[varargs.n] = value
    end
    return names, slots, varargs
end

--- Upvalues of the function that are not hidden by locals.
local function read_upvalues(func, slots)
    local names, at = {}, {}
    local i = 1
    while true do
        local name = debug.getupvalue(func, i)
        if not name then return names, at end
        if name ~= "" and name ~= "_ENV" and not slots[name] then
            names[#names + 1] = name
            at[name] = i
        end
        i = i + 1
    end
end

--- Compiles `source` as a function whose upvalues are the given names: first as a chunk, with the names as locals around it.
local function compile(source, names)
    local head = ""
    if #names > 0 then head = "local " .. table.concat(names, ",") .. ";" end
    -- One line of head, so that line numbers in messages are those of the source.
    local text = head
        .. "return function(...) "
        .. source
        .. "\nend,function() return "
        .. (names[1] and table.concat(names, ",") or "")
        .. " end"
    return load(text, "=(debug)")
end

---@param source string
---@param co thread?  the running one by default
---@param level integer?  0: the innermost function of `co`, or the caller of this one
---@param ext_funcs table<string, any>?  further names
---@return boolean ok
---@return any ...  the results, or a message
return function(source, co, level, ext_funcs)
    level = level or 0
    local depth = 2
    local info
    if co then
        info = debug.getinfo(co, level, "f")
    else
        info = debug.getinfo(level + depth, "f")
    end
    if not info then return false, "Invalid level" end

    local local_names, slots, varargs = read_locals(co, level, depth)
    local upvalue_names, upvalue_at = read_upvalues(info.func, slots)
    local names, seen = {}, {}
    for _, list in ipairs { local_names, upvalue_names } do
        for _, name in ipairs(list) do
            names[#names + 1] = name
            seen[name] = true
        end
    end
    for name in pairs(ext_funcs or {}) do
        if not seen[name] then names[#names + 1] = name end
    end

    local maker, err = compile(source, names)
    if not maker then return false, err end
    local func, peek = maker()

    --- The upvalue slot of each name, in a function of ours.
    local function slots_of(f)
        local at, i = {}, 1
        while true do
            local name = debug.getupvalue(f, i)
            if not name then return at end
            at[name] = i
            i = i + 1
        end
    end
    local ours = slots_of(peek)
    for name, slot in pairs(upvalue_at) do
        -- The very upvalue: an assignment reaches the function itself.
        local mine = slots_of(func)[name]
        if mine then debug.upvaluejoin(func, mine, info.func, slot) end
    end
    for name, slot in pairs(slots) do
        local _, value
        if co then
            _, value = debug.getlocal(co, level, slot)
        else
            _, value = debug.getlocal(level + depth, slot)
        end
        debug.setupvalue(peek, ours[name], value)
    end
    for name, value in pairs(ext_funcs or {}) do
        if not seen[name] then debug.setupvalue(peek, ours[name], value) end
    end
    local env = slots_of(func)._ENV
    if env then
        for i = 1, math.huge do
            local name, value = debug.getupvalue(info.func, i)
            if not name then
                break
            elseif name == "_ENV" then
                debug.setupvalue(func, env, value)
                break
            end
        end
    end

    local results = table.pack(pcall(func, table.unpack(varargs, 1, varargs.n)))

    for name, slot in pairs(slots) do
        local _, value = debug.getupvalue(peek, ours[name])
        if co then
            debug.setlocal(co, level, slot, value)
        else
            debug.setlocal(level + depth, slot, value)
        end
    end
    return table.unpack(results, 1, results.n)
end

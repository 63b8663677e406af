local lines = {}
local function tell(...)
    local parts = table.pack(...)
    for i = 1, parts.n do parts[i] = tostring(parts[i]):gsub("0x%x+", "ADDRESS") end
    lines[#lines + 1] = table.concat(parts, " ")
end

local main = loadfile(NAME)
local M = main()
local names = {}
for name in pairs(M) do names[#names + 1] = name end
table.sort(names)

local function about(name, f)
    local info = debug.getinfo(f, "SutL")
    tell(name, info.source, info.short_src, info.linedefined, info.lastlinedefined, info.what, info.nups,
        info.nparams, info.isvararg)
    local active = {}
    for line in pairs(info.activelines) do active[#active + 1] = line end
    table.sort(active)
    tell(table.concat(active, ","))
    for i = 1, info.nups do tell("upvalue", (debug.getupvalue(f, i))) end
    for i = 1, 5 do tell("parameter", (debug.getlocal(f, i))) end
    for _, strip in ipairs { false, true } do
        local dump = string.dump(f, strip)
        local sum = #dump
        for i = 1, #dump do sum = (sum * 31 + dump:byte(i)) % 2147483647 end
        tell("dump", #dump, sum, string.dump(load(dump, NAME, "b"), strip) == dump)
    end
end

about("main", main)
for _, name in ipairs(names) do
    local f = M[name]
    if type(f) == "function" then
        about(name, f)
        for _, argument in ipairs { 1, {}, "text" } do
            tell(name, xpcall(f, debug.traceback, argument))
            tell(name, select(2, pcall(f, argument)))
        end
    else
        tell(name, f)
    end
end
about("inner", M.vararg(1, 2, 3))
about("nested", M.nested()())

-- Lines, calls and counts as a hook sees them, and locals while it runs.
local function hooked(mask, count)
    local seen = {}
    debug.sethook(function(event, line)
        local info = debug.getinfo(2, "Sl")
        if info.source:find("program", 1, true) then
            seen[#seen + 1] = event .. (line or info.currentline)
            for i = 1, 4 do seen[#seen + 1] = debug.getlocal(2, i) end
        end
    end, mask, count)
    pcall(M.tail, 4)
    M.vararg(1, 2, 3)
    debug.sethook()
    tell(mask, table.concat(seen, " "))
end
hooked("l")
hooked("cr")
hooked("", 1)

local thread = coroutine.create(function() return M.deep(3) end)
tell(coroutine.resume(thread))
tell(debug.traceback(thread))
return table.concat(lines, "\n")

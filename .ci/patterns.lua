-- Random patterns over random subjects, in two modules that should do the same: `return function(one, other, seeds)`.
-- What the manual leaves open is left out: whether captures that nobody sees are evaluated, and what a fold without values is.

--- Everything that is random comes from here, so both get the same.
local function generator(seed)
    local x = seed * 2654435761 % 2147483648
    return function(n)
        x = (x * 1103515245 + 12345) % 2147483648
        return (x >> 8) % n + 1
    end
end

local LETTERS <const> = { "a", "b", "c" }
local FORMATS <const> = { "[%0]", "%1", "%1-%2", "x%%" }

local function shown(value)
    if type(value) ~= "table" then return (tostring(value):gsub("0x%x+", "")) end
    local parts = {}
    for key, inner in pairs(value) do parts[#parts + 1] = tostring(key) .. "=" .. shown(inner) end
    table.sort(parts)
    return "{" .. table.concat(parts, ",") .. "}"
end

local function joined(...)
    local values = table.pack(...)
    for i = 1, values.n do values[i] = shown(values[i]) end
    return "<" .. table.concat(values, ",") .. ">"
end

--- The function of match-time captures.
local function decide(subject, at, ...)
    local which = (at + #joined(...)) % 5
    if which == 0 then return false end
    if which == 1 then return at, joined(...) end
    if which == 2 then return true end
    if which == 3 then return math.min(at + 1, #subject + 1), 1, joined(...) end
    return at, ...
end

--- Makes the pattern of a seed with `m`; each piece is a function of the generator and of how deep it may be.
local function pattern(m, random)
    local rules
    local make

    local function letter() return LETTERS[random(3)] end
    local function word()
        local letters = {}
        for i = 1, random(3) do letters[i] = letter() end
        return table.concat(letters)
    end
    local function leaf()
        local which = random(10)
        if which == 1 then return m.P(word()) end
        if which == 2 then return m.P(random(2)) end
        if which == 3 then return m.S(word()) end
        if which == 4 then return m.R("a" .. letter()) end
        if which == 5 then return m.P(-random(2)) end
        if which == 6 then return m.P(random(4) ~= 1) end
        if which == 7 then return m.Cp() end
        if which == 8 then return m.Cc(letter(), random(2) == 1 and 5 or nil) end
        if which == 9 and rules then return m.V(rules[random(#rules)]) end
        return m.P(letter())
    end
    local pieces = {
        function(d) return make(d) ^ (random(4) - 3) end,
        function(d) return make(d) ^ 0 end,
        function(d) return make(d) - make(d - 1) end,
        function(d) return #make(d) end,
        function(d) return -make(d) end,
        function(d) return m.C(make(d)) end,
        function(d) return m.Ct(make(d)) end,
        function(d) return m.Cg(make(d), random(2) == 1 and letter() or nil) end,
        function() return m.Cb(letter()) end,
        function(d) return m.Cs(make(d)) end,
        function(d) return make(d) / joined end,
        function(d) return make(d) / FORMATS[random(#FORMATS)] end,
        function(d) return make(d) / (random(3) - 1) end,
        function(d) return m.Cmt(make(d), decide) end,
        function(d) return m.Cf(m.Cc(letter()) * make(d), joined) end,
        function(d) return make(d) / { a = 1, b = "z" } end,
        function(d) return m.B(make(d)) end,
    }
    function make(depth)
        if depth <= 0 then return leaf() end
        local which = random(27)
        if which <= 5 then return make(depth - 1) * make(depth - 1) end
        if which <= 10 then return make(depth - 1) + make(depth - 1) end
        return pieces[which - 10](depth - 1)
    end

    if random(3) > 1 then return make(random(6)) end
    rules = { "A", "B", "C" }
    local grammar = { "A" }
    for _, name in ipairs(rules) do grammar[name] = make(random(4)) end
    return m.P(grammar)
end

--- An error without its position and without names: which of several is told depends on the order of a table, or of evaluation.
local function reason(why)
    why = tostring(why):gsub("^[^:]*:%d+: ", ""):gsub("rule '%u'", "rule"):gsub("reference '%l'", "reference")
    return (why:gsub("to 'B' %b()", "to 'B'"))
end

--- What a module makes of a seed, as lines.
local function outcome(m, seed)
    local random = generator(seed)
    local ok, p = pcall(pattern, m, random)
    if not ok then return { "refused: " .. reason(p) } end
    local lines = {}
    -- The same subjects, however much the pattern took of the generator.
    random = generator(seed + 1)
    for i = 1, 4 do
        local letters = {}
        for at = 1, random(10) - 1 do letters[at] = LETTERS[random(3)] end
        local subject = table.concat(letters)
        local results = table.pack(pcall(m.match, p, subject, random(4) - 2))
        if not results[1] then results[2] = reason(results[2]) end
        lines[i] = subject .. " -> " .. joined(table.unpack(results, 1, results.n))
    end
    return lines
end

return function(one, other, seeds)
    local same, different = 0, {}
    for seed = 1, seeds do
        local a, b = outcome(one, seed), outcome(other, seed)
        local x, y = table.concat(a, "\n"), table.concat(b, "\n")
        if x == y then
            same = same + 1
        else
            different[#different + 1] = ("seed %d\n%s\n-- and --\n%s"):format(seed, x, y)
        end
    end
    return same, different
end

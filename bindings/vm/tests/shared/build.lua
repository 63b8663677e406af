-- A table of every shape that the freezer has to copy.
local t = { a = { b = { 10, 20, 30 } }, name = "config", pi = 3.14159, ok = true, [2.5] = "f",
  long = string.rep("long string ", 20), [string.rep("K", 100)] = "longkey", empty = {}, list = {}, [-5] = "neg",
  ["end"] = "reserved", deep = {} }
for i = 1, 1000 do t.list[i] = { id = i, name = "item" .. i, tags = { "x" .. i % 7, "y" .. i % 11 } } end
local d = t.deep for i = 1, 200 do d.next = { level = i }; d = d.next end
t.self = t                                    -- cycle
t.sparse = { [1] = 1, [2] = 2, [4] = 4, [1000000] = "m" }
t.rev = {} for i = 100, 1, -1 do t.rev[i] = i end   -- filled backwards
t.hole = { 1, 2, nil, 4, nil, nil, 7 }
t.derived = setmetatable({ own = 1 }, { __index = { inherited = "yes" }, __name = "Cfg" })
t[t.a] = "table as key"
return t

-- Reads a frozen table in every way, and tries to write it in every way.
local t = ...
assert(type(t) == "table" and t.a.b[3] == 30 and #t.a.b == 3 and #t.list == 1000)
assert(t.name == "config" and t.pi == 3.14159 and t.ok == true and t[2.5] == "f" and t[-5] == "neg")
assert(t["na" .. "me"] == "config" and t["end"] == "reserved")
assert(#t.long == 240 and t.long:sub(1, 4) == "long" and t.long == string.rep("long string ", 20))
assert(t[string.rep("K", 100)] == "longkey")
assert(t.self == t and rawequal(t.self.self, t) and next(t.empty) == nil and #t.empty == 0)
assert(t.missing == nil and t.list[1001] == nil and t.list[0] == nil)
assert(#t.rev == 100 and t.rev[50] == 50 and t.sparse[1000000] == "m" and #t.sparse == 4 or #t.sparse == 2)
assert(t.hole[7] == 7 and t.hole[3] == nil)
assert(t.derived.inherited == "yes" and t.derived.own == 1 and t.derived.none == nil)
assert(t[t.a] == "table as key")
local n = 0 for k, v in pairs(t) do n = n + 1; assert(t[k] == v) end
assert(n == 18, n)
n = 0 for i, v in ipairs(t.list) do n = n + v.id; assert(v.name == "item" .. i) end
assert(n == 500500)
n = 0 for k in next, t.list do n = n + 1 end assert(n == 1000)
local k1 = next(t) ; assert(next(t, k1) ~= nil)
for k in pairs(t) do if type(k) == "string" and #k <= 40 then
   local copy = table.concat { k }             -- a string made by this state
   local a, b = next(t, copy); local c, d = next(t, k); assert(a == c and b == d)
end end
-- shared strings as ordinary values and keys
local l = { [t.name] = 1 } ; assert(l.config == 1 and l["con" .. "fig"] == 1)
l.config = 2 ; assert(l[t.name] == 2) ; local c = 0 for k in pairs(l) do c = c + 1 end assert(c == 1)
l.config = nil ; assert(next(l) == nil and l[t.name] == nil)
assert(t.name .. "!" == "config!" and ("x" .. t.list[7].name):upper() == "XITEM7")
assert(table.concat(t.list[3].tags, ",") == "x3,y3" and select("#", table.unpack(t.a.b)) == 3)
assert(math.type(t.a.b[1]) == "integer" and tostring(t):match("^table: 0x2"))
local w = setmetatable({}, { __mode = "k" }) w[t.a] = 1 collectgarbage() assert(w[t.a] == 1)
local inh = setmetatable({}, { __index = t }) assert(inh.name == "config" and inh.zzz == nil)
local inh2 = setmetatable({}, t.derived) assert(getmetatable(inh2) == t.derived)  -- shared metatable
-- every way to write
local function refused(f, ...)
  local ok, e = pcall(f, ...) assert(not ok and e:find("shared %(read%-only%) table"), e) return e
end
local msgs = {}
msgs[#msgs+1] = refused(function() t.name = 1 end)
msgs[#msgs+1] = refused(function() t.a.b[3] = 1 end)
msgs[#msgs+1] = refused(function() t.a.b[4] = 1 end)
refused(function() t.new = 1 end) refused(function() t.new = nil end) refused(function() t[2.5] = nil end)
refused(function() t[nil] = 1 end) refused(function() t[t.long] = 1 end) refused(function() t.name = nil end)
refused(rawset, t, "name", 1) refused(rawset, t, "zz", 1) refused(rawset, t.a.b, 1, 1)
refused(table.insert, t.a.b, 4) refused(table.remove, t.a.b) refused(table.sort, t.a.b, function(a, b) return a > b end)
refused(table.move, { 1 }, 1, 1, 1, t.a.b) refused(setmetatable, t, {}) refused(debug.setmetatable, t, {})
refused(debug.setmetatable, t, nil)
refused(function() setmetatable({}, { __newindex = t }).name = 1 end)
refused(function() setmetatable({}, { __newindex = t.a.b })[1] = 1 end)
refused(function() t.derived.own = 2 end) refused(function() t.derived.x = 2 end)
refused(load("name = 5", "x", "t", t)) refused(load("qq = 5", "x", "t", t))
refused(function() for i = 1, 3 do t.list[i] = nil end end)
assert(t.name == "config" and t.a.b[3] == 30)
return msgs[1], msgs[2]

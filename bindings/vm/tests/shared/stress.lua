-- Makes garbage and old objects that point into a frozen table, while the collector runs.
local t, mode, rounds = ...
if mode ~= "full" then collectgarbage(mode) end
if mode == "incremental" then collectgarbage("param", "pause", 100) collectgarbage("param", "stepmul", 400) end
local keep, sum = setmetatable({}, { __mode = "v" }), 0
local old = {}
for r = 1, rounds do
  for i = 1, #t.list do
    local it = t.list[i]
    sum = sum + it.id + #it.name + #it.tags
    keep[i] = { ref = it, [it.name] = it.tags, s = it.name .. r }      -- garbage that points into the segment
    old[it.name] = it ; old[it] = it.tags                              -- old objects that point there
  end
  local n = 0 for k, v in pairs(t) do n = n + 1 ; old[k] = v end
  if r % 3 == 0 then old = {} end
  if mode == "full" or r % 10 == 0 then collectgarbage() end
  assert(t.list[r].name == "item" .. r and t["na" .. "me"] == "config")
end
return sum

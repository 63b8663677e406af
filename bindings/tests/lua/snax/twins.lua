-- Two variables of one name, for a patch that cannot know which one is meant.
local function first()
    local value = 1
    return function() return value end
end
local function second()
    local value = 2
    return function() return value end
end

response.first = first()
response.second = second()

local own = 5
function response.own() return own end

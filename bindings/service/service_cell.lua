--- What runs a function given to `skynet.service`: `init code …` makes it the main chunk of this service, once.
local skynet = require "skynet"

local name = ...

---@async
local function init(_, _, what, code, ...)
    assert(what == "init")
    skynet.dispatch("lua", function() error "No dispatch function" end)
    -- `skynet.start` in the chunk only says what to run: this service has started already.
    local start = skynet.start
    local main
    function skynet.start(func) main = func end
    local chunk = assert(load(code, "=" .. name, "b"))
    chunk(...)
    skynet.start = start
    if main then main() end
    skynet.ret()
end

skynet.start(function() skynet.dispatch("lua", init) end)

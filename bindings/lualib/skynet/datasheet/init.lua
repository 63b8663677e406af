--- Sheets of data that another service builds: ordinary tables that follow each update.
local skynet = require "skynet"
local service = require "skynet.service"
local core = require "skynet.datasheet.core"

local datasheet = {}

--- The service that knows who reads what; asked for when the first sheet is, for it is there only once something was built.
local server

--- Name → the outermost table, or why there is none.
local sheets = setmetatable({}, {
    -- A state that ends holds nothing any more.
    __gc = function()
        if server then
            skynet.send(server, "lua", "close")
        end
    end,
})

--- Follows the updates of a sheet.
---@async
local function follow(sheet, handle)
    while true do
        local next_handle = skynet.call(server, "lua", "monitor", handle)
        core.update(sheet, next_handle)
        skynet.send(server, "lua", "release", handle)
        handle = next_handle
    end
end

--- Tasks that wait for the first answer, by name.
local waiting = {}

---@async
local function load(name)
    waiting[name] = {}
    server = server or service.query "datasheet"
    local ok, handle = pcall(skynet.call, server, "lua", "query", name)
    local entry = {}
    if ok then
        ok, entry.sheet = pcall(core.new, handle)
    else
        entry.sheet = handle
    end
    if ok then
        skynet.fork(follow, entry.sheet, handle)
    else
        entry.error, entry.sheet = entry.sheet, nil
    end
    sheets[name] = entry
    for _, task in ipairs(waiting[name]) do
        skynet.wakeup(task)
    end
    waiting[name] = nil
    return entry
end

--- The sheet `name`. Its tables are filled when they are first looked at, and again after each update; what is written into them
--- is lost then.
---@async
---@param name string
---@return table
function datasheet.query(name)
    while waiting[name] do
        local task = coroutine.running()
        table.insert(waiting[name], task)
        skynet.wait(task)
    end
    local entry = sheets[name] or load(name)
    if entry.error then
        error(entry.error)
    end
    return entry.sheet
end

return datasheet

-- Goes through all that can go wrong, and logs one line for each: what was tried → what came of it. What the callee logs, with the
-- tracebacks, stands beside it.
local skynet = require "skynet"
require "skynet.manager" -- for kill and abort
local snax = require "skynet.snax"

--- Classes of messages: `strict` is one that the callee cannot unpack, `foreign` one that it does not know, `broken` one whose
--- answers we cannot unpack.
skynet.register_protocol { name = "strict", id = 20, pack = skynet.pack, unpack = skynet.unpack }
skynet.register_protocol { name = "foreign", id = 21, pack = skynet.pack, unpack = skynet.unpack }
skynet.register_protocol {
    name = "broken",
    id = 22,
    pack = skynet.pack,
    unpack = function() error "cannot read this answer" end,
}

local NOBODY <const> = 0xffffff

--- Values as they would be written; or the first line of the error, without the positions (`main.lua:58: `) that it begins with.
local function outcome(ok, ...)
    if not ok then
        local text = tostring((...)):match "^[^\n]*"
        local found
        repeat
            text, found = text:gsub("^[^ ]+:%d+: ", "")
        until found == 0
        return "raises " .. text:gsub("0x%x+", "0x…")
    end
    local values = table.pack(...)
    if values.n == 0 then return "returns nothing" end
    for i = 1, values.n do
        local value = values[i]
        values[i] = type(value) == "string" and string.format("%q", value) or tostring(value)
    end
    return "returns " .. table.concat(values, ", ")
end

---@async
---@param what string
---@param f async fun(...): ...
local function try(what, f, ...)
    skynet.error(string.format("%-57s → %s", what, outcome(pcall(f, ...))))
end

--- A fresh callee, for those cases that it does not survive.
---@async
local function callee() return assert(skynet.newservice "callee") end

--- Kills a service in a while, so that a call can be under way.
local function kill_soon(address)
    skynet.fork(function()
        skynet.sleep(5)
        skynet.kill(address)
    end)
end

---@async
local function callees_that_fail()
    local there = callee()
    try("the handler raises", skynet.call, there, "lua", "raise", "the handler's own words")
    try("the handler raises a table", skynet.call, there, "lua", "raise", { code = 5 })
    try("the service goes on", skynet.call, there, "lua", "echo", "still here")
    try("a send to a handler that raises", skynet.send, there, "lua", "raise", "nobody hears this")
    try("the callee exits while it serves us", skynet.call, there, "lua", "exit")

    there = callee()
    kill_soon(there)
    try("the callee is killed while it serves us", skynet.call, there, "lua", "sleep", 1000)

    there = callee()
    skynet.send(there, "lua", "busy", 60)
    kill_soon(there)
    try("the callee is killed while our request is in its line", skynet.call, there, "lua", "echo", 1)

    there = callee()
    skynet.fork(function()
        skynet.sleep(5)
        skynet.send(there, "lua", "exit")
    end)
    try("the callee forgets to answer, and exits later", skynet.call, there, "lua", "forget")

    there = callee()
    skynet.fork(function()
        skynet.sleep(5)
        skynet.call(there, "debug", "KILLTASK", "thread")
    end)
    try("the task that serves us is killed", skynet.call, there, "lua", "sleep", 1000)

    try("three requests: an answer, a failure, none in time", function()
        local came = {}
        local set = skynet.request { there, "lua", "echo" }
        set { there, "lua", "raise", "one of three" }
        set { there, "lua", "sleep", 200 }
        for request, answer in set:select(50) do
            came[#came + 1] = request[3] .. (answer and " answered" or " failed")
        end
        table.sort(came)
        return table.concat(came, ", "), "timeout " .. tostring(set.timeout)
    end)
end

---@async
local function addresses()
    try("call a handle that nobody has", skynet.call, NOBODY, "lua", "echo")
    try("send to a handle that nobody has", skynet.send, NOBODY, "lua", "echo")
    try("call a name that nobody has", skynet.call, ".nobody", "lua", "echo")
    try("send to a name that nobody has", skynet.send, ".nobody", "lua", "echo")
    try("call address 0", skynet.call, 0, "lua", "echo")
    try("call nil", skynet.call, nil, "lua", "echo")
end

---@async
local function messages()
    local there = callee()
    try("the callee cannot unpack the request", skynet.call, there, "strict", "echo")
    try("we cannot unpack the answer", skynet.call, there, "broken", "echo")
    try("pack a function", skynet.call, there, "lua", "echo", print)
    local deep = {}
    for _ = 1, 40 do
        deep = { deep }
    end
    try("pack 40 tables, each inside the next", skynet.call, there, "lua", "echo", deep)
    try("a class of messages that we do not know", skynet.call, there, "unheard", "echo")
    try("a class of messages that the callee does not know", skynet.call, there, "foreign", "echo")
    try("a message larger than the arena", skynet.call, there, "lua", "echo", string.rep("x", 100 << 20))
    try("the callee can still be called", skynet.call, there, "lua", "echo", "still here")
end

---@async
local function starting_services()
    try("start a script that is not there", skynet.newservice, "absent")
    try("start a script that raises", skynet.newservice, "raises")
    try("start a service whose start function raises", skynet.newservice, "start_raises")
    try("start a service whose start function exits", skynet.newservice, "start_exits")
    try("a unique service that is not there", skynet.uniqueservice, "absent")
    try("the same again: the failure is remembered", skynet.uniqueservice, "absent")
    try("a unique service whose start function exits", skynet.uniqueservice, "start_exits")
    try("launch a native module that is not there", skynet.launch, "absent")
end

---@async
local function answering_wrongly()
    local there = callee()
    for _, how in ipairs {
        "answer twice",
        "take a response after the answer",
        "answer after taking the response",
        "use a response twice",
    } do
        skynet.call(there, "lua", "misuse", how)
        try(how, function() error(skynet.call(there, "lua", "misused"), 0) end)
    end
    -- The caller is gone when the answer comes.
    local caller = callee()
    skynet.send(caller, "lua", "call", there, "sleep_and_tell", 10)
    skynet.sleep(5)
    skynet.kill(caller)
    skynet.sleep(10)
    try("answer a caller who is gone", skynet.call, there, "lua", "told")
end

---@async
local function limits()
    local hungry = skynet.newservice "hungry"
    try("a service reaches its memory limit", skynet.call, hungry, "lua", "eat")
    try("it catches that itself", skynet.call, hungry, "lua", "eat_carefully")
end

---@async
local function pointers()
    local msg, sz = skynet.pack "a message"
    skynet.trash(msg, sz)
    try("trash a message twice", skynet.trash, msg, sz)
    try("read a message that is gone", skynet.tostring, msg, sz)
    try("send a message that is gone", skynet.rawsend, skynet.self(), "lua", msg, sz)
    local there = callee()
    local answer, size = skynet.rawcall(there, "lua", skynet.pack("echo", "x"))
    skynet.sleep(1)
    try("keep the pointer of an answer too long", skynet.tostring, answer, size)
end

---@async
local function tasks()
    try("sleep twice on one token", function()
        skynet.fork(skynet.sleep, 10, "a token")
        skynet.sleep(1)
        skynet.sleep(1, "a token")
    end)
    try("set a setting that is there", skynet.setenv, "thread", "8")
end

---@async
local function methods()
    local door = snax.newservice "door"
    try("a snax method that raises", door.req.knock)
    try("a snax method that is not there", function() return door.req.ring() end)
    try("a patch with a method that is not there", snax.hotfix, door, "function response.ring() end")
    try("a patch that does not compile", snax.hotfix, door, "function response.knock(")
    try("a snax service that is not there", snax.newservice, "window")
    snax.kill(door)
    skynet.sleep(1)
    try("a method of a snax service that is gone", door.req.knock)
end

skynet.start(function()
    callees_that_fail()
    addresses()
    messages()
    starting_services()
    answering_wrongly()
    limits()
    pointers()
    tasks()
    methods()
    skynet.sleep(5) -- the log is a service, too: let it write all of that
    skynet.abort()
end)

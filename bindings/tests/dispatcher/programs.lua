--- Random programs over what tasks can do, for the test that two dispatchers do the same with them.
---
--- `programs <first> <last>` runs one service per seed, one after the other. Everything a program does concerns its own service, and all its timers
--- are either 0 or never seen to fire, so the trace of a seed is always the same.
local skynet = require "skynet"
require "skynet.manager"
local core = require "skynet.core"
local skynet_coroutine = require "skynet.coroutine"

local what, first, last = ...

if what ~= "run" then
    first, last = math.tointeger(tonumber(what)), math.tointeger(tonumber(first))
    skynet.start(function()
        skynet.dispatch("lua", function() end)
        for seed = first, last do
            skynet.newservice("programs", "run", seed, skynet.self())
            skynet.wait "ended"
        end
        skynet.sleep(5)
        print "TRACE> all ended"
        io.stdout:flush()
        skynet.abort()
    end)
    skynet.register_protocol {
        name = "text",
        id = skynet.PTYPE_TEXT,
        unpack = function() end,
        dispatch = function()
            skynet.wakeup "ended"
        end,
    }
    return
end

local seed, master = math.tointeger(tonumber(first)), math.tointeger(tonumber(last))

local state = seed * 7919 + 12345
local function random(n)
    state = (state * 1103515245 + 12345) & 0x7fffffff
    return (state >> 12) % n + 1
end

local function trace(...)
    local words = table.pack(...)
    for i = 1, words.n do
        local word = words[i]
        if type(word) == "thread" then
            word = "thread"
        elseif type(word) == "string" then
            -- Addresses differ, and so do places in the library.
            word = word:gsub("0x%x+", "0x"):gsub("%S*lualib/%S+:%d+: ", ""):match "^[^\n]*"
        end
        words[i] = tostring(word)
    end
    print("TRACE> " .. seed .. ": " .. table.concat(words, " ", 1, words.n))
end

local tasks, tokens, closures = {}, { "a", "b", 3, 4.5, true, {}, ("long"):rep(20) }, {}
local steps = 400
local ids = 0

local function closing(id)
    return setmetatable({}, {
        __close = function(_, err)
            trace(id, "closed", err and "by error" or "")
            if random(4) == 1 then
                trace(id, "ret in close", pcall(skynet.ret))
            end
        end,
    })
end

local act

--- Coroutines are used again, and which one is next is nobody's business: only those of tasks that have not ended are looked at.
local alive = {}
local function ending(co)
    return setmetatable({}, {
        __close = function()
            alive[co] = nil
        end,
    })
end

local function body(id, depth)
    local _ <close> = ending(coroutine.running())
    local _ <close> = random(3) == 1 and closing(id) or nil
    for _ = 1, random(5) do
        if steps <= 0 then
            return
        end
        steps = steps - 1
        act(id, depth)
    end
    trace(id, "end")
end

local function spawn(how, depth)
    ids = ids + 1
    local id = how .. ids
    local co
    if how == "timer" then
        co = skynet.timeout(0, function()
            body(id, depth + 1)
        end)
    else
        co = skynet.fork(body, id, depth + 1)
    end
    for i = #tasks, 1, -1 do
        if tasks[i] == co then
            table.remove(tasks, i)
        end
    end
    tasks[#tasks + 1] = co
    alive[co] = true
    return id
end

local function any_task()
    local at = random(1000)
    for i = #tasks, 1, -1 do
        if not alive[tasks[i]] then
            table.remove(tasks, i)
        end
    end
    return tasks[at % math.max(#tasks, 1) + 1]
end

local function token()
    return tokens[random(#tokens)]
end

local REQUESTS <const> = { "echo", "fail", "forget", "later", "deep", "twice", "context", "ignore", "table", "unpackable", "pass" }

local function request()
    return REQUESTS[random(#REQUESTS)]
end

local acts = {}

function acts.fork(id, depth)
    trace(id, "fork", spawn("fork", depth))
end

function acts.timer(id, depth)
    trace(id, "timer", spawn("timer", depth))
end

function acts.yield(id)
    skynet.yield()
    trace(id, "yielded")
end

function acts.sleep(id)
    trace(id, "slept", pcall(skynet.sleep, random(2) == 1 and 0 or 360000, token()))
end

function acts.wait(id)
    trace(id, "waited", pcall(skynet.wait, token()))
end

function acts.wakeup(id)
    trace(id, "wakeup", skynet.wakeup(token()))
end
acts.wakeup2, acts.wakeup3, acts.wakeup4 = acts.wakeup, acts.wakeup, acts.wakeup

function acts.wake_task(id)
    local co = any_task()
    if co then
        trace(id, "wake task", skynet.wakeup(co))
    end
end

function acts.call(id)
    local name = request()
    trace(id, "call", name)
    trace(id, "called", name, pcall(skynet.call, skynet.self(), "lua", name, id, nil, 1.5, nil))
end
acts.call2, acts.call3 = acts.call, acts.call

function acts.bare_call(id)
    trace(id, "bare call", skynet.call(skynet.self(), "lua", request(), id))
end

function acts.send(id)
    trace(id, "send", skynet.send(skynet.self(), "lua", request(), id))
end

function acts.bad_call(id)
    trace(id, "bad call", pcall(skynet.call, random(2) == 1 and ".nobody" or 0xffffff, "lua"))
    trace(id, "bad send", skynet.send(".nobody", "lua"))
    trace(id, "bad class", pcall(skynet.call, skynet.self(), "text " .. random(2)))
end

function acts.raw(id)
    local ok, msg, sz = pcall(skynet.rawcall, skynet.self(), "lua", skynet.pack("echo", id))
    trace(id, "raw", ok, type(msg), ok and sz)
    if ok then
        trace(id, "raw values", skynet.unpack(msg, sz))
    end
end

function acts.other_class(id)
    trace(id, "upper", pcall(skynet.call, skynet.self(), "upper", random(3) == 1 and "raise" or "text"))
    trace(id, "silent", pcall(skynet.call, skynet.self(), "silent", "x"))
end

function acts.unknown(id)
    skynet.redirect(skynet.self(), skynet.self(), "response", 100000 + random(5), "stray")
    skynet.redirect(skynet.self(), skynet.self(), "error", 100000 + random(5), "stray")
    skynet.send(skynet.self(), "silent", "nobody " .. id)
end

function acts.raise(id)
    trace(id, "raise")
    error(random(2) == 1 and "raised by " .. id or {})
end

function acts.protected(id)
    trace(id, "pcall", pcall(function()
        local _ <close> = closing(id .. " inner")
        skynet.yield()
        error("inner of " .. id)
    end))
end

function acts.kill(id)
    local co = any_task()
    if co and co ~= coroutine.running() and coroutine.status(co) == "suspended" then
        local killed = skynet.killthread(co)
        trace(id, "kill", killed and killed == co)
        if killed then
            trace(id, "status", coroutine.status(co))
        end
        if killed then
            alive[co] = nil
        end
    end
end

function acts.reply(id)
    local reply = table.remove(closures, random(math.max(#closures, 1)))
    if reply then
        trace(id, "test", reply "TEST")
        local with = random(5)
        if with == 1 then
            trace(id, "reply with what does not pack", pcall(reply, true, print))
        end
        trace(id, "reply", pcall(reply, with > 2, id, nil))
        trace(id, "reply again", pcall(reply, true))
        trace(id, "test again", reply "TEST")
    end
end
acts.reply2 = acts.reply

function acts.select(id)
    local set = skynet.request()
    for i = 1, random(4) do
        set:add { random(5) == 1 and ".nobody" or skynet.self(), "lua", request(), id .. "." .. i, n = 5 }
    end
    local leave = random(4)
    for req, resp in set:select(random(3) == 1 and 0 or nil) do
        trace(id, "selected", req[3], type(resp), resp and resp.n)
        leave = leave - 1
        if leave == 0 then
            break
        end
    end
    trace(id, "select ends", set.timeout)
end

function acts.nested(id)
    local f = skynet_coroutine.wrap(function(...)
        trace(id, "nested", ...)
        skynet.yield()
        trace(id, "got", skynet_coroutine.yield "one")
        trace(id, "nested call", pcall(skynet.call, skynet.self(), "lua", "echo", id))
        skynet.sleep(0)
        return "two"
    end)
    trace(id, "out", f "in")
    trace(id, "out", f "again")
    trace(id, "out", pcall(f))
end

function acts.plain(id)
    local f = coroutine.wrap(function()
        trace(id, "plain", skynet.sleep(0))
        trace(id, "plain call", pcall(skynet.call, skynet.self(), "lua", "echo", id))
        return "done"
    end)
    local word = f()
    while word == "SUSPEND" do
        word = f(coroutine.yield(word))
    end
    trace(id, "plain ends", word)
end

function acts.count(id)
    local all = {}
    skynet.task(all)
    local keys = {}
    for key in pairs(all) do
        keys[#keys + 1] = key:gsub("^thread: 0x%x+", "thread")
    end
    table.sort(keys)
    trace(id, "tasks", skynet.task(), table.concat(keys, ","))
end

function acts.context(id)
    local session, source = skynet.context()
    trace(id, "context", session, source == skynet.self())
    trace(id, "ret", pcall(skynet.ret, skynet.pack "by accident"))
end

function acts.term(id)
    if random(4) == 1 then
        trace(id, "term")
        skynet.term(skynet.self())
    end
end

function acts.collect()
    if random(3) == 1 then
        collectgarbage()
    end
end

function acts.words(id)
    skynet.fork(coroutine.yield, random(2) == 1 and "USER" or "word of " .. id)
end

local names = {}
for name in pairs(acts) do
    names[#names + 1] = name
end
table.sort(names)

function act(id, depth)
    local name = names[random(#names)]
    if depth > 6 and (name == "fork" or name == "timer") then
        name = "yield"
    end
    return acts[name](id, depth)
end

local handlers = {}

function handlers.echo(...)
    skynet.retpack(...)
end

function handlers.fail(id)
    error("handler of " .. id)
end

function handlers.forget(id)
    trace("forgets", id)
end

function handlers.later()
    closures[#closures + 1] = skynet.response(random(3) == 1 and function(...)
        return skynet.packstring("packed", ...)
    end or nil)
    trace("ret after response", pcall(skynet.ret))
end

function handlers.deep(id)
    skynet.yield()
    body("deep in " .. tostring(id), 5)
    trace("answers", id, pcall(skynet.retpack, id))
end

function handlers.twice(id)
    trace("ret", skynet.ret(skynet.packstring(id)))
    trace("again", pcall(skynet.ret))
    skynet.yield()
    error "after the answer"
end

function handlers.context(id)
    local session, source = skynet.context()
    trace("context", type(session), source == skynet.self())
    coroutine.wrap(function()
        skynet.retpack(id)
    end)()
    trace("context", skynet.context() == nil)
end

function handlers.ignore()
    skynet.ignoreret()
    trace("ignored", pcall(skynet.ret))
end

function handlers.table(id)
    error(setmetatable({}, {
        __tostring = function()
            return "table of " .. tostring(id)
        end,
    }))
end

function handlers.unpackable()
    skynet.retpack(print)
end

function handlers.pass(...)
    local session, source = skynet.context()
    if session == 0 then
        return
    end
    skynet.redirect(skynet.self(), source, "lua", session, skynet.packstring("echo", ...))
end

skynet.register_protocol {
    name = "upper",
    id = 77,
    pack = function(text)
        return text:upper()
    end,
    unpack = function(msg, sz)
        local text = skynet.tostring(msg, sz)
        if text == "RAISE" then
            error "unpack raises"
        end
        return text
    end,
    dispatch = function(_, _, text)
        skynet.ret(text .. "!")
    end,
}
skynet.register_protocol { name = "silent", id = 78, pack = skynet.packstring, unpack = skynet.unpack }

skynet.start(function()
    skynet.dispatch("lua", function(session, source, name, ...)
        trace("request", name, session == 0, source == skynet.self())
        handlers[name](...)
    end)
    for _ = 1, 6 do
        spawn("fork", 0)
    end
    skynet.fork(function()
        local quiet = 0
        while quiet < 30 do
            local before = steps
            skynet.yield()
            quiet = before == steps and quiet + 1 or 0
            if quiet > 3 and steps > 0 then
                spawn("fork", 0)
            end
        end
        acts.count "last"
        for _, reply in ipairs(closures) do
            trace("unused", reply "TEST")
        end
        skynet.fork(trace, "never")
        local _ <close> = setmetatable({}, {
            __close = function()
                trace "gone"
                core.send(master, skynet.PTYPE_TEXT, 0, "")
            end,
        })
        skynet.exit()
    end)
end)

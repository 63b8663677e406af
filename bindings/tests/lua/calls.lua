-- Calls and replies: conformance C1 to C24.
--! log: in handler
--! log: Maybe forgot response session
--! log: Unknown request (lonely):
--! log: Unknown request (77): hello
--! log: Unknown session : 0 from
--! log: Response message : xyz
--! log: Unknown session : 12345 from
local skynet = require "skynet"
local core = require "skynet.core"
local check = require "check"

local role = ...

skynet.register_protocol { name = "lonely", id = 71, pack = skynet.pack, unpack = skynet.unpack }
skynet.register_protocol {
    name = "text",
    id = skynet.PTYPE_TEXT,
    pack = function(line) return line end,
    unpack = skynet.tostring,
}
skynet.register_protocol {
    name = "broken",
    id = 72,
    pack = skynet.pack,
    unpack = function() error "no unpack" end,
    dispatch = function() skynet.retpack "never" end,
}

if role == "peer" then
    local CMD = {}
    local kept = {}
    local order = {}

    function CMD.echo(...) skynet.retpack(...) end
    function CMD.raise(what) error(what == "table" and {} or "in handler") end
    function CMD.twice()
        skynet.ret()
        local ok, err = pcall(skynet.ret)
        order.twice = not ok and err
    end
    function CMD.after_response()
        local r = skynet.response()
        local ok, err = pcall(skynet.ret)
        r(true, not ok and err)
    end
    function CMD.nothing() skynet.ret() end
    function CMD.keep() kept[#kept + 1] = skynet.response() end
    function CMD.kept()
        local r = table.remove(kept)
        local before = r "TEST"
        local sent = r(true, 1, nil, 3)
        local _, err = pcall(r, true)
        skynet.retpack(before, sent, err, r "TEST")
    end
    function CMD.get(key) skynet.retpack(order[key]) end
    function CMD.leave() skynet.exit() end
    function CMD.forget() end
    function CMD.pass_on(to)
        local session, source = skynet.context()
        local passed = skynet.redirect(to, source, "lua", session, skynet.pack "note")
        skynet.retpack(passed) -- to nobody: the request is still ours to answer
    end
    function CMD.late_ret(ti)
        skynet.sleep(ti)
        order.late = tostring(skynet.ret(skynet.pack(1)))
    end
    function CMD.send_then_ret(to)
        skynet.send(to, "lua", "note", "sent")
        skynet.retpack "returned"
    end
    function CMD.note(what) order[#order + 1] = what end
    function CMD.fail_response()
        local r = skynet.response()
        skynet.fork(function() r(false) end)
    end
    function CMD.pack_fails()
        local r = skynet.response(function(x)
            if x == "bad" then error "pack" end
            return skynet.pack(x)
        end)
        local ok = pcall(r, true, "bad")
        check.ok("pack of response", not ok)
        r(true, "good")
    end
    function CMD.context()
        local s1, a1 = skynet.context()
        local none, a2
        skynet.retpack(s1 > 0, a1)
        none, a2 = skynet.context()
        order.context = none == nil and a2 == a1
        local wrapped = coroutine.wrap(function() return skynet.context() end)
        order.wrapped = select(2, wrapped()) == a1
    end
    function CMD.ignore()
        skynet.ignoreret()
        order.ignored = skynet.context() == nil
    end
    function CMD.call_back(source) skynet.retpack(skynet.call(source, "lua", "echo", "back")) end
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, name, ...) assert(CMD[name], name)(...) end)
        skynet.dispatch("text", function(_, _, text) skynet.ret("<" .. text .. ">") end)
    end)
elseif role == "caller" then
    -- Waits for an answer of `peer`, until it is told otherwise.
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, what, peer)
            if what == "keep" then
                skynet.call(peer, "lua", "keep")
            elseif what == "late" then
                skynet.call(peer, "lua", "late_ret", 5)
            else
                skynet.exit()
            end
        end)
    end)
else
    check.run("calls", function()
        local notes = {}
        skynet.dispatch("lua", function(_, _, name, ...)
            if name == "note" then
                notes[#notes + 1] = (...)
            else
                skynet.retpack(...)
            end
        end)
        local function new() return skynet.newservice("calls", "peer") end
        local peer = new()
        local function call(...) return skynet.call(peer, "lua", ...) end
        -- C1
        check.raises("C1", "call failed", call, "raise")
        check.raises("C1", "call failed", call, "raise", "table")
        -- C2
        check.values("C2", table.pack(call "twice"))
        check.contains("C2", call("get", "twice"), "No session")
        check.contains("C2", call "after_response", "No session")
        check.raises("C2 outside", "No session", skynet.ret)
        check.raises("C2 outside", "no session", skynet.response)
        -- C3
        check.values("C3", table.pack(call "nothing"))
        -- C4 C5
        local answer
        skynet.fork(function() answer = table.pack(call "keep") end)
        skynet.yield()
        local before, sent, err, after = call "kept"
        check.eq("C4 TEST", before, true)
        check.eq("C4", sent, true)
        check.contains("C4", err, "Can't response more than once")
        check.eq("C4 TEST after", after, false)
        skynet.sleep(1)
        check.values("C5", answer, 1, nil, 3)
        -- C6
        local caller = skynet.newservice("calls", "caller")
        skynet.send(caller, "lua", "keep", peer)
        skynet.sleep(2)
        skynet.send(caller, "lua", "exit")
        skynet.sleep(2)
        before, sent = call "kept"
        check.eq("C6 TEST", before, false)
        check.eq("C6", sent, false)
        -- C7
        caller = skynet.newservice("calls", "caller")
        skynet.send(caller, "lua", "keep", peer)
        skynet.sleep(2)
        skynet.kill(caller)
        skynet.sleep(2)
        before, sent = call "kept"
        check.eq("C7 TEST", before, true)
        check.eq("C7", sent, false)
        -- The caller left: `ret` knows.
        caller = skynet.newservice("calls", "caller")
        skynet.send(caller, "lua", "late", peer)
        skynet.sleep(1)
        skynet.send(caller, "lua", "exit")
        skynet.sleep(10)
        check.eq("late ret", call("get", "late"), "false")
        -- C8
        local leaving = new()
        local failed
        skynet.fork(function()
            local ok, why = pcall(skynet.call, leaving, "lua", "keep")
            failed = not ok and why
        end)
        skynet.sleep(2)
        check.raises("C8", "call failed", skynet.call, leaving, "lua", "leave")
        skynet.sleep(1)
        check.contains("C8", failed, "call failed")
        check.raises(
            "C8 gone",
            "call to invalid address " .. skynet.address(leaving),
            skynet.call,
            leaving,
            "lua",
            "echo"
        )
        -- C10
        local killed = new()
        failed = nil
        skynet.fork(function()
            local ok, why = pcall(skynet.call, killed, "lua", "keep")
            failed = not ok and why
        end)
        skynet.sleep(2)
        -- C11: forgotten by the handler. On skein the caller hears of it when the service leaves.
        local forgetful = new()
        local forgotten
        local waiter = skynet.fork(function()
            local ok, why = pcall(skynet.call, forgetful, "lua", "forget")
            forgotten = not ok and why
        end)
        skynet.sleep(2)
        check.eq("C11", forgotten, nil)
        pcall(skynet.call, forgetful, "lua", "leave")
        skynet.sleep(2)
        if check.skein then
            check.contains("C11 exit", forgotten, "call failed")
        else
            skynet.killthread(waiter)
        end
        -- C12
        if check.skein then check.raises("C12", "call failed", skynet.call, peer, "broken", 1) end
        -- C13 C14 C15
        check.values("C13", table.pack(skynet.send(0xffffff, "lua", 1)))
        check.values("C13", table.pack(skynet.send(".nobody", "lua", 1)))
        check.raises("C13", "call to invalid address :00ffffff", skynet.call, 0xffffff, "lua")
        check.raises("C13", "call to invalid address .nobody", skynet.call, ".nobody", "lua")
        local _, text = pcall(skynet.rawcall, 0xffffff, "lua", "")
        check.ok("C14", text:find "call to invalid address$", text)
        check.raises("C15", "Invalid service address 0", skynet.send, 0, "lua")
        check.raises("C15", "dest address type (nil) must be a string or number.", skynet.send, nil, "lua")
        check.raises("class", "attempt to index a nil value", skynet.send, peer, "nosuch")
        check.eq("send", skynet.send(peer, "lua", "note", 1), 0)
        check.eq("send text", skynet.send(skynet.address(peer), "lua", "note", 1), 0)
        -- C16
        check.values("C16", table.pack(skynet.call(skynet.self(), "lua", "echo", 1, 2)), 1, 2)
        check.eq("C16 nested", call("call_back", skynet.self()), "back")
        -- C17
        check.raises("C17", "call failed", skynet.call, peer, "lonely", 1)
        skynet.send(peer, "lonely", "text")
        -- C18 C19
        core.send(peer, 77, 0, "hello")
        core.send(peer, skynet.PTYPE_RESPONSE, 12345, "xyz")
        -- C20 C21
        check.raises("C20", "assertion failed!", skynet.register_protocol, { name = "lua", id = 99 })
        check.raises("C20", "assertion failed!", skynet.register_protocol, { name = "lua2", id = 10 })
        check.raises("C20", "assertion failed!", skynet.register_protocol, { name = "big", id = 300 })
        check.eq("C21", skynet.dispatch "nosuch", nil)
        check.raises("C21", "attempt to index a nil value", skynet.dispatch, "nosuch", print)
        local previous = skynet.dispatch "lua"
        check.eq("C21", skynet.dispatch("lua", previous), previous)
        -- C22
        check.eq("C22", skynet.call(peer, "text", "hi"), "<hi>")
        local msg, sz = skynet.rawcall(peer, "text", "hi")
        check.eq("C22", type(msg), "userdata")
        check.eq("C22", skynet.tostring(msg, sz), "<hi>")
        msg, sz = skynet.rawcall(peer, "lua", skynet.pack("echo", 5))
        check.eq("C22 lua", skynet.unpack(msg, sz), 5)
        -- C23
        check.eq("C23", call("send_then_ret", skynet.self()), "returned")
        check.eq("C23", notes[1], "sent")
        -- C24
        local many = {}
        for i = 1, 255 do
            many[i] = i
        end
        check.values("C24", table.pack(call("echo", table.unpack(many, 1, 254))), table.unpack(many, 1, 254))
        local back =
            table.pack(call("echo", nil, "", 1.0, math.maxinteger, math.mininteger, 1 / 0, -1 / 0, nil, nil))
        check.values("C24", back, nil, "", 1.0, math.maxinteger, math.mininteger, 1 / 0, -1 / 0, nil, nil)
        local nan = call("echo", 0 / 0)
        check.ok("C24", nan ~= nan)
        -- More of §3.5.
        check.raises("response false", "call failed", call, "fail_response")
        check.eq("response pack", call "pack_fails", "good")
        local positive, source = call "context"
        check.eq("context", positive, true)
        check.eq("context", source, skynet.self())
        check.eq("context after", call("get", "context"), true)
        check.eq("context in wrap", call("get", "wrapped"), true)
        check.eq("context here", skynet.context(), nil)
        skynet.send(peer, "lua", "ignore")
        check.eq("ignoreret", call("get", "ignored"), true)
        -- §3.2: pack fails before anything is sent.
        check.raises("pack", "Unsupport type function to serialize", skynet.call, peer, "lua", print)
        -- redirect: an answer in another's name.
        local session = skynet.genid()
        check.ok("genid", math.type(session) == "integer" and skynet.genid() == session + 1)
        check.eq("redirect", skynet.redirect(peer, skynet.self(), "lua", 0, skynet.pack("note", 2)), 0)
        check.eq("redirect to nobody", call("pass_on", 0xfffff), nil)
        check.eq("rawsend", skynet.rawsend(peer, "lua", skynet.pack("note", 3)), 0)
        check.raises("rawsend", "invalid param", skynet.rawsend, peer, "lua", print)
        -- C10, the end: what is queued when the peer is killed comes back as its death.
        skynet.send(killed, "lua", "note", "queued")
        skynet.kill(killed)
        skynet.sleep(5)
        if failed == nil then
            -- The send was served before the kill: nothing was queued.
            skynet.term(killed)
            skynet.sleep(0)
        end
        check.contains("C10", failed, "call failed")
    end)
end

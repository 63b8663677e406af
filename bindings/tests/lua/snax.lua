-- Snax services: lua-api §12.1 to §12.3, services §14, and the idioms of snax.
--! log: tally begins with 1 nil x nil
--! log: tally ends with the end 2
--! log: on purpose in accept
--! log: on purpose in response
--! log: in function <
--! log: Already init
--! log: Never init
--! log: Init first
--! log: init on purpose
--! log: exit on purpose
--! log: printed 5 x
--! log: Maybe forgot response session
local skynet = require "skynet"
local snax = require "skynet.snax"
local check = require "check"

local function objects_and_methods()
    local tally = snax.newservice("tally", 1, nil, "x", nil)
    check.eq("type", tally.type, "tally")
    check.eq("tostring", tostring(tally), string.format("[tally:%x]", tally.handle))
    check.eq("bind again", snax.bind(tally.handle, "tally"), tally)
    check.raises("bind otherwise", "assertion failed!", snax.bind, tally.handle, "slow")

    check.values("echo", table.pack(tally.req.echo(1, nil, "x", nil)), 1, nil, "x", nil)
    check.values("post", table.pack(tally.post.add(3)))
    check.values("in order", table.pack(tally.req.get()), 3, 1)
    check.eq("response", tally.req.add(2), "5")
    check.raises("no such post", "post tally:get no exist", function() return tally.post.get end)
    check.raises(
        "no such request",
        "request tally:nothing no exist",
        function() return tally.req.nothing() end
    )
    check.raises("response fails", "call failed", tally.req.fail)
    check.raises("response fails with a table", "call failed", tally.req.fail_with_table)
    tally.post.fail()
    check.eq("goes on", tally.req.add(0), "5")

    check.values(
        "globals",
        table.pack(tally.req.globals()),
        true,
        "a global of the service",
        "later",
        nil,
        nil,
        nil
    )
    check.values("names", table.pack(tally.req.names()), "tally", "/snax/tally/", "a module of tally")
    local me = tostring(tally)
    check.values("self", table.pack(tally.req.me()), tally.handle, "tally", true, me)

    -- Objects do not travel, handles do.
    local again = snax.bind(tally.req.me(), "tally")
    check.eq("bound", again.req.add(0), "5")

    check.raises("init again", "call failed", skynet.call, tally.handle, "snax", 1)
    check.raises("no such method", "call failed", skynet.call, tally.handle, "snax", 99)

    local profile = snax.profile_info(tally)
    check.eq("profile", profile.get.count, 1)
    check.eq("profile of both groups", profile.add.count, 4)
    check.eq("profile of a failure", profile.fail.count, 2)
    check.eq("profile time", math.type(profile.get.time), "float")
    check.eq("INFO", skynet.call(tally.handle, "debug", "INFO").get.count, 1)

    -- A call of a one-way method is served, and not answered.
    local outcome
    skynet.fork(function() outcome = pcall(skynet.call, tally.handle, "snax", 5, 7) end)
    skynet.sleep(2)
    check.eq("call of accept", outcome, nil)
    check.eq("call of accept", tally.req.add(0), "12")

    check.values("kill", table.pack(snax.kill(tally, "the end", 2)))
    skynet.sleep(1)
    if check.skein then check.eq("told at the end", outcome, false) end
    check.raises("gone", "call to invalid address", tally.req.echo)
    tally.post.add(1) -- nothing happens
    check.raises("gone", "call to invalid address", snax.kill, tally)

    local other = snax.newservice "tally"
    other.post.leave "by itself"
    skynet.sleep(2)
    check.raises("exit", "call to invalid address", other.req.echo)
end

local function beginning_and_end()
    local handle = skynet.newservice("snaxd", "slow")
    local slow = snax.bind(handle, "slow")
    check.eq("no INFO yet", skynet.call(handle, "debug", "INFO"), nil)
    check.raises("Init first", "call failed", slow.req.inits)
    check.raises("Never init", "call failed", snax.kill, slow)
    check.eq("hotfix before init", snax.hotfix(slow, "function hotfix(x) return x end", 5), 5)
    check.raises("init fails", "call failed", skynet.call, handle, "snax", 1, true)
    local me = coroutine.running()
    local first
    skynet.fork(function()
        first = pcall(skynet.call, handle, "snax", 1)
        skynet.wakeup(me)
    end)
    skynet.sleep(2)
    check.raises("during init", "call failed", slow.req.inits)
    if check.skein then check.raises("init in init", "call failed", skynet.call, handle, "snax", 1) end
    skynet.wait(me)
    check.eq("init after a failure", first, true)
    check.eq("inits", slow.req.inits(), 1)
    check.raises("exit fails", "call failed", snax.kill, slow, true)
    check.eq("goes on", slow.req.inits(), 1)
    snax.kill(slow)
    skynet.sleep(1)
    check.raises("gone", "call to invalid address", slow.req.inits)

    check.raises("newservice with init that fails", "call failed", snax.newservice, "slow", true)
    check.eq("rawnewservice", math.type(snax.rawnewservice "slow"), "integer")
    snax.printf("printed %d %s", 5, "x")
    check.raises("printf", "number expected, got string", snax.printf, "%d", "x")
    check.raises("self elsewhere", "cannot open", snax.self)
    check.raises("newservice without name", "call failed", skynet.newservice, "snaxd")
    check.eq("enablecluster elsewhere", snax.enablecluster, nil)
end

local function through_lua_messages()
    local tally = snax.newservice "tally"
    local echo = snax.interface("tally").response.echo
    check.raises("not yet", "call failed", skynet.call, tally.handle, "lua", echo, 5)
    tally.req.cluster()
    check.values("lua", table.pack(skynet.call(tally.handle, "lua", echo, 5, nil)), 5, nil)
    snax.kill(tally)
end

local function interfaces()
    local tally = snax.interface "tally"
    check.eq("name", tally.name, "tally")
    check.eq("cached", snax.interface "tally", tally)
    for id, name in ipairs { "init", "exit", "hotfix", "profile" } do
        check.eq("system " .. name, tally.system[name], id)
    end
    check.eq("first", tally.accept.add, 5)
    check.eq("second", tally.accept.fail, 6)
    check.eq("one sequence", tally.response.echo, 8)
    local alike = snax.newservice "alike"
    check.eq("same name", snax.interface("alike").accept.same, 5)
    check.eq("same name", snax.interface("alike").response.same, 6)
    check.eq("same name", alike.req.same(), "answer")
    for name, text in pairs {
        bad_name = "accept method only support string",
        bad_method = "accept.method must be function",
        bad_twice = "response.twice duplicate definition",
        bad_system = "init must be a function",
        bad_syntax = "syntax error",
        bad_global = "attempt to call a nil value (global 'print')",
        absent = "cannot open ",
    } do
        check.raises(name, text, snax.interface, name)
        check.raises(name, text, snax.newservice, name)
        -- A service has all globals.
        if name ~= "bad_global" then
            check.raises(name, "call failed", skynet.newservice, "snaxd", name)
        end
    end

    local read = require "snax.interface"
    local globals = { require = function() end }
    local methods, pattern = read("tally", globals)
    check.contains("pattern", pattern, "/snax/?.lua")
    check.values("init", { n = 3, table.unpack(methods[1], 1, 3) }, 1, "system", "init")
    check.eq("init", type(methods[1][4]), "function")
    check.eq("profile", methods[4][4], nil)
    check.values("method", { n = 3, table.unpack(methods[5], 1, 3) }, 5, "accept", "add")
    check.eq("global", globals.shared, "a global of the service")
    local seen = {}
    methods, pattern = read("from nowhere", {}, function(path, name, G)
        seen = { path, name }
        return load("x = 1; function accept.made() return x end", "=made", "t", G), "here"
    end)
    check.contains("loader", seen[1], "/snax/?.lua")
    check.eq("loader", seen[2], "from nowhere")
    check.eq("loader", pattern, "here")
    check.eq("loader", methods[5][3], "made")
    check.eq("loader", methods[5][4](), 1)
end

local function unique()
    local found
    skynet.fork(function() found = snax.queryservice "tally" end)
    skynet.sleep(2)
    check.eq("query waits", found, nil)
    local one = snax.uniqueservice("tally", "first")
    check.eq("unique", snax.uniqueservice("tally", "second"), one)
    skynet.sleep(1)
    check.eq("query", found, one)
    check.values("one init", table.pack(one.req.get()), 0, 1)
    local global = snax.globalservice "tally"
    check.ok("another one", global ~= one)
    check.eq("global", snax.queryglobal "tally", global)
    check.eq("global", snax.globalservice "tally", global)
    local list = skynet.call(".service", "lua", "LIST")
    check.eq("key", list["snaxd.tally"], skynet.address(one.handle))
    check.eq("global key", list["@snaxd.tally"], skynet.address(global.handle))
    check.raises("fails", "call failed", snax.uniqueservice, "slow", true)
    check.raises("fails for ever", "call failed", snax.uniqueservice, "slow")
    check.raises("fails for ever", "call failed", snax.queryservice, "slow")
    check.raises("absent", "cannot open ", snax.uniqueservice, "absent")
    check.raises("absent", "cannot open ", snax.globalservice, "absent")
end

local function patches()
    local tally = snax.newservice "tally"
    local function fix(...) return snax.hotfix(tally, ...) end
    tally.post.add(5)
    check.values(
        "joined",
        table.pack(snax.hotfix(
            tally,
            [[
                local count
                local fresh = 100
                function accept.add(n) count = count + n * fresh end
                function hotfix(...)
                    local before = count
                    count = count + 1
                    return before, ...
                end
            ]],
            "x",
            nil
        )),
        5,
        "x",
        nil
    )
    tally.post.add(2)
    check.eq("the same variable", tally.req.get(), 206)
    check.values("no hotfix function", table.pack(fix("function response.grow() end")))
    check.eq("replaced", tally.req.grow(), nil)
    check.values("nothing", table.pack(fix("")))
    check.eq(
        "globals",
        (fix "function hotfix() return shared, _ENV == _G end"),
        "a global of the service"
    )
    -- The patch's own globals are gone when it is through.
    check.eq("globals of a patch", fix("temporary = 1; function hotfix() return temporary end"), nil)
    check.eq("may suspend", fix("function hotfix() require('skynet').sleep(1) return 1 end"), 1)

    check.raises("no such method", "Patch mismatch accept.fresh", fix, "function accept.fresh() end")
    check.raises("other group", "Patch mismatch accept.get", fix, "function accept.get() end")
    check.raises("raises", "patch:1: on purpose", fix, "error 'on purpose'")
    check.raises("hotfix raises", "patch:1: on purpose", fix, "function hotfix() error 'on purpose' end")
    check.raises(
        "twice",
        "response.get duplicate definition",
        fix,
        "function response.get() end function response.get() end"
    )
    check.eq("exit", fix("function exit() end"), nil)
    if check.skein then
        check.raises("syntax", "patch:1: ", fix, "function")
        -- All or nothing.
        check.raises(
            "half",
            "Patch mismatch response.nothing",
            fix,
            "function response.get() return 'half' end function response.nothing() end"
        )
        check.eq("half", tally.req.get(), 206)
        -- Variables of functions that only functions use; and in functions that only the patch uses.
        check.eq(
            "deep",
            snax.hotfix(
                tally,
                [[
                    local count
                    local function peek() return tostring(count) end
                    function response.grow() return peek() end
                    function hotfix() return peek() end
                ]]
            ),
            "206"
        )
        check.eq("deep", tally.req.grow(), "206")
    end
    snax.kill(tally)

    local deep = snax.newservice "tally"
    check.eq(
        "through functions",
        snax.hotfix(
            deep,
            "local step; function response.grow() return step end function hotfix() return step end"
        ),
        1
    )
    snax.kill(deep)

    local twins = snax.newservice "twins"
    check.raises(
        "ambiguous",
        "ambiguity local value value",
        snax.hotfix,
        twins,
        "local value; function response.first() return value end"
    )
    check.eq("untouched", twins.req.first(), 1)
    if check.skein then
        -- Only what the patch asks for matters: in skynet it fails, too, and so does each patch after one with a local of its own
        -- that has the name of one of the service.
        check.eq("own", snax.hotfix(twins, "local own; function hotfix() return own end"), 5)
    end
end

local function taking_turns()
    local lists = snax.newservice "lists"
    for i = 1, 4 do
        lists.post.locked(5 - i, "l" .. i)
        lists.post.free(i * 4, "f" .. i)
    end
    local order
    repeat
        skynet.sleep(5)
        order = lists.req.order()
    until select(2, order:gsub("%d", "")) == 8
    local locked = order:gsub("f%d ?", ""):gsub(" $", "")
    check.eq("one after the other", locked, "l1 l2 l3 l4")
    local free = order:gsub("l%d ?", ""):gsub(" $", "")
    check.eq("side by side", free, "f1 f2 f3 f4")
end

check.run("snax", function()
    interfaces()
    objects_and_methods()
    beginning_and_end()
    through_lua_messages()
    unique()
    patches()
    taking_turns()
end)

//! `SIGNAL` with 0, as a node of many services meets it.

mod common;

use common::Site;

/// A service over nothing but `skynet.core`: breaks hit its own code only.
const WORKER: &str = r#"
local core = require "skynet.core"
local works = {
    function() for i = 1, 20000 do local _ = i % 7 end end,
    function() for i = 1, 100 do coroutine.wrap(function(a) coroutine.yield(a) end)(i) end end,
    function() local t = {} for i = 1, 500 do t[i] = -i end table.sort(t, function(a, b) return a < b end) end,
    function() for i = 1, 500 do pcall(error, i) end end,
    function() local _ = ("x"):rep(1000):gsub("x", function(x) return x .. x end) end,
    function()
        local co = coroutine.create(function()
            local t <close> = setmetatable({}, { __close = function() for i = 1, 10000 do end end })
            coroutine.yield()
        end)
        coroutine.resume(co)
        coroutine.close(co)
    end,
    function() setmetatable({}, { __gc = function() for i = 1, 1000 do end end }) collectgarbage "step" end,
}
local turn = 0
core.callback(function(type, msg, size, session, source)
    if type == 10 then
        return core.send(source, 1, session, core.pack "alive")
    end
    local what = core.tostring(msg, size)
    if what == "long" then
        local till = core.now() + 50
        while core.now() < till do end
    elseif what == "work" then
        turn = turn % #works + 1
        works[turn]()
    end
end)
"#;

#[test]
fn a_storm_of_signals_breaks_code_and_nothing_else() {
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        require "skynet.manager"
        local core = require "skynet.core"
        skynet.start(function()
            local workers, rounds = {}, 0
            local function launched()
                local worker = skynet.launch("snlua", "worker")
                skynet.call(worker, "lua") -- a service that is broken while it starts does not start
                return worker
            end
            for i = 1, 50 do workers[i] = launched() end
            local function signal(i) core.command("SIGNAL", skynet.address(workers[i]) .. " 0") end
            local till = skynet.now() + 400
            while skynet.now() < till do
                rounds = rounds + 1
                for i, worker in ipairs(workers) do
                    local what = i > 2 and "work" or rounds % 60 == 0 and "long" or "nothing"
                    core.send(worker, 0, 0, what)
                end
                for _ = 1, 100 do signal(math.random(50)) end
                signal(1)
                if rounds % 10 == 0 then
                    -- One that may be running, signalled while it ends.
                    local i = math.random(3, 50)
                    local old = workers[i]
                    workers[i] = launched()
                    core.send(old, 0, 0, "work")
                    skynet.kill(old)
                    core.command("SIGNAL", skynet.address(old) .. " 0")
                end
                skynet.sleep(1)
            end
            -- What waits goes to a message that nobody misses.
            for _, worker in ipairs(workers) do core.send(worker, 0, 0, "nothing") end
            local alive = 0
            for _, worker in ipairs(workers) do
                if skynet.call(worker, "lua") == "alive" then alive = alive + 1 end
            end
            print("alive", alive, rounds > 20)
            skynet.abort()
        end)
        "#,
    );
    site.config("thread = 4");
    site.write("worker.lua", WORKER);
    let ended = site.run();
    let broken = ended.stdout.matches(": signal 0\n").count();
    let last = &ended.stdout[ended.stdout.len().saturating_sub(2000)..];
    assert!(ended.stdout.contains("alive\t50\ttrue\n"), "{:?} {last}\n{}", ended.status, ended.stderr);
    assert!(broken > 500, "{broken}");
    assert!(ended.status.success(), "{:?}", ended.status);
}

#[test]
fn an_idle_service_breaks_at_its_next_message_and_serves_the_one_behind() {
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        require "skynet.manager"
        local core = require "skynet.core"
        skynet.start(function()
            local worker = skynet.launch("snlua", "worker")
            skynet.call(worker, "lua")
            core.command("SIGNAL", skynet.address(worker) .. " 0")
            core.command("SIGNAL", skynet.address(worker) .. " 0")
            core.send(worker, 0, 0, "work")
            print("and then", skynet.call(worker, "lua"))
            skynet.abort()
        end)
        "#,
    );
    site.write("worker.lua", WORKER);
    let ended = site.run();
    assert!(ended.stdout.contains("and then\talive\n"), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches(": signal 0\n").count(), 1, "{}", ended.stdout);
    assert!(ended.stdout.contains("worker.lua:21: signal 0\n"), "{}", ended.stdout);
}

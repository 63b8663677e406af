//! The life of a Lua service: what it finds when it starts, what its failures look like, signals, memory, its end.

mod common;

use common::{Site, fine};

/// A loader without any library: runs `<name>.lua` with the words behind the name.
const LOADER: &str = r##"
local words = {}
for word in (...):gmatch "%S+" do words[#words + 1] = word end
core = require "skynet.core"
assert(loadfile("./" .. words[1] .. ".lua"))(table.unpack(words, 2))
"##;

/// A node whose first service is `main one two`, over nothing but `skynet.core`.
fn bare(main: &str) -> Site {
    let site = Site::empty();
    site.config("lualoader = './load.lua' bootstrap = 'snlua main one two'");
    site.write("load.lua", LOADER);
    site.write("main.lua", main);
    site
}

#[test]
fn a_service_loads_talks_and_ends() {
    let site = bare(
        r##"
        core.error("words", ...)
        core.callback(function(type, msg, size, session, source)
            core.error("message", type, core.tostring(msg, size), session, source)
            core.command("ABORT")
        end)
        core.send(tonumber(core.command("REG"):sub(2), 16), 10, 7, "to myself")
        "##,
    );
    let ended = site.run();
    assert!(ended.status.success());
    let log: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(
        log[..3],
        [
            "[:00000002] LAUNCH snlua main one two",
            "[:00000002] words one two",
            "[:00000002] message 10 to myself 7 2"
        ]
    );
}

#[test]
fn what_the_loader_finds() {
    let site = bare(
        r##"
        assert(_VERSION == "Lua 5.5")
        assert(LUA_PATH == "./mine/?.lua;skein:/lualib/?.lua;skein:/lualib/?/init.lua", LUA_PATH)
        assert(LUA_CPATH == "./luaclib/?.so" and LUA_PRELOAD == "./before.lua")
        assert(LUA_SERVICE == "./?.lua;skein:/service/?.lua", LUA_SERVICE)
        assert(debug.getregistry().LUA_NOENV == true and not package.path:find "outside")
        assert(package.loaded["skynet.profile"] and package.loaded["skynet.codecache"])
        assert(package.preload["skynet.core"] and package.preload["skynet.memory"])
        assert(coroutine.resume == require "skynet.profile".resume)
        assert(coroutine.wrap == require "skynet.profile".wrap)
        assert(require "skynet.codecache".loadfile == loadfile)
        assert(collectgarbage "incremental" == "generational")
        assert(not collectgarbage "isrunning")
        core.error "all there"
        core.command "ABORT"
        "##,
    );
    site.config(
        "lualoader = './load.lua' bootstrap = 'snlua main' lua_path = './mine/?.lua' preload = './before.lua'",
    );
    let ended = site.run();
    assert!(ended.stdout.contains("[:00000002] all there\n"), "{}", ended.stdout);
}

#[test]
fn a_service_that_does_not_start_says_why_and_goes() {
    for (loader, told) in [
        (
            "error 'broken'",
            "lua loader error : ./load.lua:1: broken\nstack traceback:\n\t[C]: in global 'error'\n\t./load.lua:1: in main chunk\n[:00000002] KILL self\n",
        ),
        (
            "error(setmetatable({}, { __tostring = function() return 'an object' end }))",
            "lua loader error : (no error message)\n[:00000002] KILL self\n",
        ),
        ("error()", "lua loader error : (no error message)\n[:00000002] KILL self\n"),
        (
            "x = = 1",
            "Can't load ./load.lua : ./load.lua:1: unexpected symbol near '='\n[:00000002] KILL self\n",
        ),
        ("while true do end", ""),
    ] {
        let site = bare("");
        site.write("load.lua", loader);
        let mut running = site.start(&["config"]);
        if told.is_empty() {
            // A loader that never ends is not in anybody's way.
            running.wait_for("stdout", "LAUNCH snlua main one two");
            continue;
        }
        let log = running.wait_for("stdout", "KILL self\n");
        assert_eq!(log, format!("[:00000002] LAUNCH snlua main one two\n[:00000002] {told}"), "{loader}");
    }
    let site = bare("");
    site.config("lualoader = './nope.lua' bootstrap = 'snlua main'");
    site.start(&["config"]).wait_for(
        "stdout",
        "[:00000002] Can't load ./nope.lua : cannot open ./nope.lua: No such file or directory\n[:00000002] KILL self\n",
    );
}

#[test]
fn a_config_that_names_a_skynet_tree_which_is_gone_runs() {
    let site = Site::with_main(
        "local skynet = require 'skynet' require 'skynet.manager'
        skynet.start(function() print('all there') skynet.abort() end)",
    );
    site.config(
        "root = './skynet/' lualoader = root .. 'lualib/loader.lua' lua_path = root .. 'lualib/?.lua'
        luaservice = './?.lua;' .. root .. 'service/?.lua' lua_cpath = root .. 'luaclib/?.so'
        cpath = root .. 'cservice/?.so'",
    );
    let ended = site.run();
    assert!(ended.stdout.contains("all there\n"), "{}", ended.stdout);
}

#[test]
fn a_log_service_in_lua_is_ready_before_anybody_talks_to_it() {
    let site = Site::with_main(
        "local skynet = require 'skynet' require 'skynet.manager'
        skynet.send('.logger', 'lua', 'hello')
        skynet.start(function() skynet.call('.logger', 'lua', 'end') skynet.abort() end)",
    );
    // Slower than all of the others together.
    site.write(
        "slowlog.lua",
        "local skynet = require 'skynet' require 'skynet.manager'
        skynet.register_protocol { name = 'text', id = 0, unpack = skynet.tostring, dispatch = function(_, _, line) print(line) end }
        local from = os.clock()
        while os.clock() - from < 0.2 do end
        skynet.start(function()
            skynet.dispatch('lua', function(session, _, what)
                print('heard', what)
                if session ~= 0 then skynet.retpack() end
            end)
        end)",
    );
    site.config("logservice = 'snlua' logger = 'slowlog'");
    let ended = site.run();
    assert!(ended.stdout.contains("LAUNCH snlua main\nheard\thello\nheard\tend\n"), "{}", ended.stdout);
}

#[test]
fn a_failed_launch_is_an_error_for_whoever_asked() {
    let ended = fine(
        "local ok, why = pcall(skynet.newservice, 'no-such-script')
        assert(not ok, 'launched')
        ok = pcall(skynet.newservice, 'broken')
        assert(not ok, 'launched')",
    );
    assert!(ended.stdout.contains("cannot open ./no-such-script.lua: No such file or directory\n"));
    assert!(
        ended.stdout.contains("cannot open skein:/service/no-such-script.lua: No such file or directory\n")
    );
}

#[test]
fn an_application_that_writes_over_package_path_still_finds_the_library() {
    let site = Site::with_main(
        r#"
        package.path = "./own/?.lua;../skynet/lualib/?.lua"
        local skynet = require "skynet"
        require "skynet.manager"
        skynet.start(function()
            -- It wants a function run before this returns.
            local sharedata = require "skynet.sharedata"
            sharedata.new("prices", { sword = 12 })
            print("a sword costs", sharedata.query "prices".sword)
            print(select(2, pcall(require, "own.nothing")))
            skynet.abort()
        end)
        "#,
    );
    let ended = site.run();
    assert!(ended.stdout.contains("a sword costs\t12\n"), "{ended:?}");
    assert!(
        ended.stdout.contains(
            "module 'own.nothing' not found:\n\tno field package.preload['own.nothing']\n\t\
             no file './own/own/nothing.lua'\n"
        ),
        "{ended:?}"
    );
}

#[test]
fn the_service_of_shared_tables_begins_when_somebody_asks_it() {
    let site = Site::with_main(
        r#"
        local skynet = require "skynet"
        require "skynet.manager"
        local sharetable = require "skynet.sharetable"
        skynet.start(function()
            sharetable.close()
            skynet.error "not yet"
            skynet.error("nothing", sharetable.query "nothing")
            skynet.abort()
        end)
        "#,
    );
    let ended = site.run();
    let log: Vec<&str> = ended.stdout.lines().skip_while(|it| !it.contains("snlua main")).skip(1).collect();
    assert_eq!(
        log,
        [
            "[:00000008] not yet",
            "[:00000009] LAUNCH snlua service_provider",
            "[:0000000a] LAUNCH snlua service_cell sharetable",
            "[:00000008] nothing",
        ]
    );
}

#[test]
fn a_memory_limit_is_set_once_the_script_ran() {
    let site = bare(
        r##"
        debug.getregistry().memlimit = 8 << 20
        local big = string.rep("x", 10 << 20)
        big = nil
        core.callback(function(type, msg, size, session, source)
            assert(debug.getregistry().memlimit == nil)
            local ok, why = pcall(string.rep, "x", 10 << 20)
            core.error(why, collectgarbage "isrunning")
            ok, why = pcall(function() local t = {} while true do t[#t + 1] = {} end end)
            core.error(why)
            t = nil
            collectgarbage()
            core.error(#string.rep("x", 2 << 20))
            core.command "ABORT"
        end)
        core.timeout = core.intcommand("TIMEOUT", 0)
        "##,
    );
    let ended = site.run();
    let told = "[:00000002] Set memory limit to 8.00 M\n[:00000002] not enough memory true\n\
        [:00000002] not enough memory\n[:00000002] 2097152\n";
    assert!(ended.stdout.contains(told), "{}", ended.stdout);
}

#[test]
fn memory_is_warned_about_as_it_doubles() {
    let ended = fine("t = {} for i = 1, 70 do t[i] = string.rep('x', 1 << 20) .. i end");
    let warned: Vec<&str> =
        ended.stdout.lines().filter_map(|line| line.split_once("Memory warning ")).map(|it| it.1).collect();
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(warned[0].starts_with("3") && warned[1].starts_with("6"), "{warned:?}");
}

#[test]
fn signals_break_loops_and_tell_the_memory() {
    let site = Site::with_main(
        "local skynet = require 'skynet' require 'skynet.manager'
        skynet.start(function()
            local stuck = skynet.newservice 'stuck'
            skynet.fork(function()
                local ok, why = pcall(skynet.call, stuck, 'lua', 'loop')
                print('the call failed', ok)
                print('and then', skynet.call(stuck, 'lua', 'answer'))
                skynet.abort()
            end)
            skynet.sleep(20)
            local core = require 'skynet.core'
            for _, signal in ipairs { 1, 5, 0 } do core.command('SIGNAL', skynet.address(stuck) .. ' ' .. signal) end
        end)",
    );
    site.write(
        "stuck.lua",
        "local skynet = require 'skynet'
        skynet.start(function()
            skynet.dispatch('lua', function(_, _, what)
                if what == 'loop' then while true do end end
                skynet.ret(skynet.pack 'alive')
            end)
        end)",
    );
    let ended = site.run();
    // What is printed comes between the lines of the log anywhere.
    let lines = |of_the_log| {
        let chosen = ended.stdout.lines().filter(move |line| line.starts_with("[:") == of_the_log);
        chosen.map(|line| format!("{line}\n")).collect::<String>()
    };
    for told in [
        "[:00000009] recv a signal 1\n[:00000009] Current Memory ",
        "K\n[:00000009] recv a signal 5\n",
        "[:00000009] recv a signal 0\n",
        "./stuck.lua:4: signal 0",
    ] {
        assert!(lines(true).contains(told), "{told}\n{}", ended.stdout);
    }
    for told in ["the call failed\tfalse\n", "and then\talive\n"] {
        assert!(lines(false).contains(told), "{told}\n{}", ended.stdout);
    }
}

#[test]
fn finalizers_send_when_a_service_ends() {
    let site = Site::with_main(
        "local skynet = require 'skynet' require 'skynet.manager'
        skynet.start(function()
            skynet.register '.main'
            skynet.dispatch('lua', function(_, _, ...) print('told', ...) skynet.abort() end)
            skynet.newservice 'short'
        end)",
    );
    site.write(
        "short.lua",
        "local skynet = require 'skynet'
        setmetatable({}, { __gc = function() skynet.send('.main', 'lua', 'from the grave', skynet.self()) end })
        last = setmetatable({}, { __gc = function() error 'nobody hears this' end })
        skynet.start(function() skynet.exit() end)",
    );
    let ended = site.run();
    assert!(ended.stdout.contains("told\tfrom the grave\t9\n"), "{}", ended.stdout);
}

#[test]
fn files_of_the_users_own_win_unless_the_config_says_otherwise() {
    let main = "local skynet = require 'skynet'
        skynet.start(function() print('mark', skynet.mark) require 'skynet.manager' skynet.abort() end)";
    let own =
        "local skynet = assert(loadfile 'skein:/lualib/skynet.lua')(...) skynet.mark = 'mine' return skynet";
    for (key, mark, notice) in [("", "mine", true), ("skein_library = true", "nil", false)] {
        let site = Site::with_main(main);
        std::fs::create_dir(site.path("own")).expect("a folder of the site");
        site.write("own/skynet.lua", own);
        site.config(&format!("lua_path = './own/?.lua' {key}"));
        let ended = site.run();
        assert!(ended.stdout.contains(&format!("mark\t{mark}\n")), "{}", ended.stdout);
        let line = "using ./own/skynet.lua; skein_library = true uses the built-in one\n";
        assert_eq!(ended.stdout.matches(line).count(), usize::from(notice), "{}", ended.stdout);
    }
}

//! Services begin as copies of one state that was set up: what they can see of that, and what they must not.

mod common;

use common::Site;

/// Runs a node whose service `main` calls `report` on services `probe`, and what it printed.
fn run(main: &str) -> Vec<String> {
    let site = Site::empty();
    std::fs::create_dir(site.path("lualib")).unwrap();
    site.write("main.lua", main);
    site.write(
        "probe.lua",
        "local before = package.loaded.skynet ~= nil\n\
         local skynet = require 'skynet'\n\
         skynet.start(function()\n\
             skynet.dispatch('lua', function(_, _, name)\n\
                 if name == 'random' then return skynet.retpack(math.random(0)) end\n\
                 if name == 'before' then return skynet.retpack(before) end\n\
                 local old = skynet[name]\n\
                 skynet[name], string[name], _G[name] = 'changed', 'changed', 'changed'\n\
                 skynet.retpack(old, string[name])\n\
             end)\n\
         end)\n",
    );
    site.config("");
    let ended = site.run();
    assert!(ended.stdout.contains("end\n"), "{ended:?}");
    ended.stdout.lines().map(str::to_owned).collect()
}

const BEGIN: &str = "local skynet = require 'skynet.manager'\n\
    local function ask(name, probe)\n\
        probe = probe or skynet.newservice 'probe'\n\
        return skynet.call(probe, 'lua', name), probe\n\
    end\n\
    skynet.start(function()\n";
const END: &str = "print 'end' skynet.abort() end)\n";

#[test]
fn services_begin_as_copies_that_share_nothing() {
    let said = run(&format!(
        "{BEGIN} print('copy', (ask 'before'))\n\
         local seen = {{}}\n\
         for i = 1, 20 do\n\
             local n = ask 'random'\n\
             assert(not seen[n], 'two generators are alike')\n\
             seen[n] = true\n\
         end\n\
         local first = ask 'extra'\n\
         local second, probe = ask 'extra'\n\
         print('fresh', first, second, (ask('extra', probe)))\n {END}"
    ));
    assert!(said.contains(&"copy\ttrue".to_owned()), "{said:?}");
    assert!(said.contains(&"fresh\tnil\tnil\tchanged".to_owned()), "{said:?}");
}

#[test]
fn a_library_file_of_the_applications_counts_from_the_next_clear_on() {
    let said = run(&format!(
        "{BEGIN} print('ours', (ask 'mine'))\n\
         local file = assert(io.open('lualib/skynet.lua', 'w'))\n\
         file:write(\"local skynet = dofile 'skein:/lualib/skynet.lua' skynet.mine = 'mine' return skynet\")\n\
         file:close()\n\
         skynet.cache.clear()\n\
         print('theirs', (ask 'mine'))\n {END}"
    ));
    assert!(said.contains(&"ours\tnil".to_owned()), "{said:?}");
    assert!(said.contains(&"theirs\tmine".to_owned()), "{said:?}");
}

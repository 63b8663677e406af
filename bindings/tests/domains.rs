//! Tables between processes, by the config key `domain`: what one node publishes, another one reads.

mod common;

use std::path::PathBuf;

use common::Site;

/// A domain for one test, removed at its end.
struct Domain(tempfile::TempDir);

impl Domain {
    fn new() -> Domain {
        Domain(tempfile::Builder::new().prefix("skein-test-").tempdir_in("/dev/shm").expect("memory"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("domain")
    }

    /// A node of it that runs `main` in a service that has the usual modules at hand.
    fn site(&self, main: &str) -> Site {
        let site = Site::with_main(&format!(
            "local skynet = require 'skynet' require 'skynet.manager'
            local sharetable, domain = require 'skynet.sharetable', require 'skein.domain'
            local share = require 'skein.share'
            skynet.start(function()
                local ok, why = xpcall(function() {main} end, debug.traceback)
                print(ok and 'fine' or why)
                skynet.abort()
            end)"
        ));
        site.config(&format!("domain = {:?}", self.path()));
        site
    }
}

#[test]
fn a_node_that_started_first_sees_the_table_appear_and_goes_over_to_what_comes_next() {
    let domain = Domain::new();
    let reader = domain.site(
        "assert(sharetable.query 'items' == nil)
        print 'waiting'
        local t = domain.wait 'items'
        local deep = t.list[3]
        assert(t.n == 1 and deep.x == 'deep' and #t.list == 3 and #t.long == 100000)
        assert(not pcall(function() t.n = 2 end))
        print 'found'
        local this = coroutine.running()
        domain.watch('items', function()
            if t.n == 1 then return end
            assert(t.n == 2 and deep.x == 'deeper' and domain.names().items == 2)
            skynet.wakeup(this)
            return false
        end)
        skynet.wait(this)
        local gone
        repeat skynet.sleep(5) gone = io.open('gone', 'r') until gone
        -- Who publishes has gone; the table stays, and can be published from here.
        sharetable.loadtable('items', { n = 3 })
        sharetable.update 'items'
        assert(t.n == 3 and domain.names().items == 3 and share.stats() == 1)
        assert(domain.remove 'items' and not domain.remove 'items')
        assert(sharetable.query 'items' == nil and t.n == 3)",
    );
    let publisher = domain.site(
        "sharetable.loadstring('items', \"return { n = 1, list = { 1, 2, { x = 'deep' } }, long = ('x'):rep(100000) }\")
        assert(sharetable.query('items').n == 1)
        local file = io.open('found', 'r')
        while not file do skynet.sleep(5) file = io.open('found', 'r') end
        sharetable.loadstring('items', \"return { n = 2, list = { 1, 2, { x = 'deeper' } } }\")
        assert(sharetable.query('items').n == 2)",
    );
    let mut reading = reader.start(&["config"]);
    reading.wait_for("stdout", "waiting\n");
    let publishing = publisher.start(&["config"]);
    reading.wait_for("stdout", "found\n");
    publisher.write("found", "");
    let published = publishing.wait();
    reader.write("gone", "");
    for ended in [published, reading.wait()] {
        assert!(ended.stdout.contains("\nfine\n"), "{}\n{}", ended.stdout, ended.stderr);
    }
}

/// As docs/shared-tables.md says.
#[test]
fn proxies_of_sharedata_follow_a_domain_when_a_service_hands_on_what_comes() {
    let domain = Domain::new();
    let reader = domain.site(
        "local sharedata = require 'skynet.sharedata'
        local this = coroutine.running()
        domain.wait 'prices'
        domain.watch('prices', function(now)
            if now then sharedata.update('prices', now) skynet.wakeup(this) end
        end)
        skynet.wait(this)
        local prices = sharedata.query 'prices'
        assert(prices.sword.price == 10)
        print 'found'
        skynet.wait(this)
        sharedata.flush()
        while prices.sword.price ~= 12 do skynet.yield() end",
    );
    let publisher = domain.site(
        "sharetable.loadstring('prices', 'return { sword = { price = 10 } }')
        local file = io.open('found', 'r')
        while not file do skynet.sleep(5) file = io.open('found', 'r') end
        sharetable.loadtable('prices', { sword = { price = 12 } })",
    );
    let (mut reading, publishing) = (reader.start(&["config"]), publisher.start(&["config"]));
    reading.wait_for("stdout", "found\n");
    publisher.write("found", "");
    for ended in [publishing.wait(), reading.wait()] {
        assert!(ended.stdout.contains("\nfine\n"), "{}\n{}", ended.stdout, ended.stderr);
    }
}

#[test]
fn pointers_mean_nothing_elsewhere_and_are_refused_by_their_path() {
    let domain = Domain::new();
    let ended = domain
        .site(
            "local function why(source)
                local ok, text = pcall(share.publish, 'items', source)
                assert(not ok)
                return text
            end
            print(why 'return { list = { 1, { write = print } } }')
            print(why 'return 1')
            sharetable.loadstring('items', 'return { twice = function(n) return 2 * n end }')
            assert(sharetable.query('items').twice(4) == 8)",
        )
        .run();
    assert!(ended.stdout.contains("\nfine\n"), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("items.list[2].write: a function cannot be shared"), "{}", ended.stdout);
}

#[test]
fn a_domain_that_cannot_be_joined_is_one_line_that_names_the_key() {
    let site = Site::with_main("");
    for (value, expected) in [
        ("/nonexistent/domain", "key domain: could not make /nonexistent/domain: No such file or directory"),
        (".hidden", "key domain: a domain cannot be called \".hidden\": 1 to 64 of"),
    ] {
        site.config(&format!("domain = {value:?}"));
        let ended = site.run();
        assert_eq!(ended.status.code(), Some(1));
        assert!(ended.stderr.starts_with(&format!("config: {expected}")), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1);
    }
}

#[test]
fn without_a_domain_its_functions_say_so() {
    let ended = common::fine(
        "local share, domain = require 'skein.share', require 'skein.domain'
        assert(share.domain() == nil and domain.name() == nil)
        for _, f in ipairs { share.names, share.watch } do
            local ok, why = pcall(f)
            assert(not ok and why:find('this process is in no domain (config key `domain`)', 1, true), why)
        end
        for _, f in ipairs { share.attach, share.remove } do
            local ok, why = pcall(f, 'items')
            assert(not ok and why:find('in no domain', 1, true), why)
        end
        require('skynet.sharetable').loadtable('items', { 7 })
        assert(domain.wait('items')[1] == 7)",
    );
    assert!(ended.status.success());
}

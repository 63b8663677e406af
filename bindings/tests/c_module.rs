//! C modules load through `lua_cpath` and find the Lua API in the binary, as they do in skynet.

mod common;

use std::process::Command;

use common::Site;

/// A module that allocates, keeps state, calls back, raises, and yields.
const MODULE: &str = r#"
#include <string.h>
#include "lua.h"
#include "lauxlib.h"
#include "lualib.h"

typedef struct { lua_Integer sum; } Counter;

static int add (lua_State *L) {
  Counter *c = (Counter *)luaL_checkudata(L, 1, "counter");
  c->sum += luaL_checkinteger(L, 2);
  lua_pushinteger(L, c->sum);
  return 1;
}

static int new (lua_State *L) {
  Counter *c = (Counter *)lua_newuserdatauv(L, sizeof(Counter), 0);
  c->sum = luaL_optinteger(L, 1, 0);
  luaL_setmetatable(L, "counter");
  return 1;
}

static int join (lua_State *L) {
  luaL_Buffer b;
  int i, n = lua_gettop(L);
  luaL_buffinit(L, &b);
  for (i = 1; i <= n; i++) {
    luaL_addstring(&b, luaL_tolstring(L, i, NULL));
    lua_pop(L, 1);
    luaL_addchar(&b, ';');
  }
  luaL_pushresult(&b);
  return 1;
}

static int resumed (lua_State *L, int status, lua_KContext context) {
  (void)status;
  lua_pushfstring(L, "%d %s", (int)context, lua_tostring(L, -1));
  return 1;
}

static int pause_ (lua_State *L) {
  return lua_yieldk(L, 0, 7, resumed);
}

int luaopen_probe_inner (lua_State *L) {
  static const luaL_Reg functions[] = {
    { "new", new }, { "add", add }, { "join", join }, { "pause", pause_ }, { NULL, NULL }
  };
  luaL_checkversion(L);
  luaL_newmetatable(L, "counter");
  luaL_newlib(L, functions);
  return 1;
}
"#;

/// `probe.inner` lies in `probe.so` or in `probe/inner.so`; the module's name picks the function.
const MAIN: &str = r#"
local skynet = require "skynet"
require "skynet.manager"
skynet.start(function()
    local ok, why = pcall(function()
        local probe = require "probe.inner"
        local counter = probe.new(40)
        assert(probe.add(counter, 2) == 42)
        assert(probe.join(1, "a", true, 1.5) == "1;a;true;1.5;")
        local ok, why = pcall(probe.add, counter, "x")
        assert(not ok and why:find("bad argument #2", 1, true), why)
        local co = coroutine.create(probe.pause)
        assert(coroutine.resume(co))
        assert(select(2, coroutine.resume(co, "again")) == "7 again")
        assert(package.loaded["skynet.core"] and package.searchpath("probe.inner", package.cpath))
    end)
    print(ok and "the module works" or why)
    skynet.abort()
end)
"#;

#[test]
fn a_c_module_works_in_a_service() {
    let site = Site::with_main(MAIN);
    site.config("lua_cpath = './?.so'");
    site.write("probe.c", MODULE);
    std::fs::create_dir(site.path("probe")).expect("a folder of the site");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-I", env!("SKEIN_LUA_INCLUDE"), "-o", "probe/inner.so", "probe.c"])
        .current_dir(site.dir())
        .output()
        .expect("a C compiler");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let ended = site.run();
    assert!(ended.stdout.contains("the module works\n"), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.status.success(), "{:?}", ended.status);
}

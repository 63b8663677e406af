//! The machine as Lua programs see it.
use skein_vm::mlua::Lua;

#[test]
fn is_lua_5_5() {
    let version: String = Lua::new().load("return _VERSION").eval().unwrap();
    assert_eq!(version, "Lua 5.5");
}

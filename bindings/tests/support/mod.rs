//! A Lua state as a service has it, without the service: `skynet.core` over a real node, and messages handed over by
//! hand.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::ffi::c_void;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use skein_bindings::{SERVICE_KEY, ServiceState};
use skein_runtime::{Handle, InitError, Message, MessageType, Node, Service, ServiceContext, Settings};
use skein_vm::ffi;
use skein_vm::mlua::{self, FromLuaMulti, LightUserData, Lua, MultiValue, Table, Value};

/// What tests begin with: the module's functions under short names.
const PRELUDE: &str = "
    core = require 'skynet.core'
    pack, unpack, packstring, trash = core.pack, core.unpack, core.packstring, core.trash
    rep = string.rep
    function T(n, f) local t = {} for i = 1, n do t[i] = f and f(i) or i end return t end
";

/// A Lua state, and the service behind it.
pub(crate) struct Probe {
    // In this order: finalizers still need the service.
    pub(crate) lua: Lua,
    /// Where chunks have their globals. The real ones stay clean: error texts name a function by where it is found.
    pub(crate) globals: Table,
    pub(crate) state: Box<ServiceState>,
}

impl Probe {
    /// A state of a service of its own.
    pub(crate) fn new() -> Probe {
        Probe::of(context())
    }

    /// A state of the service `ctx`.
    pub(crate) fn of(ctx: Arc<ServiceContext>) -> Probe {
        let state = ServiceState::new(ctx);
        // SAFETY: the tests use `debug`, which `Lua::new` leaves out.
        let lua = unsafe { Lua::unsafe_new() };
        let address = (&raw const *state).cast_mut().cast::<c_void>();
        // SAFETY: the state outlives the Lua state (field order), which is what the module asks for.
        unsafe {
            lua.exec_raw::<()>((), |l| {
                ffi::lua_pushlightuserdata(l, address);
                ffi::lua_setfield(l, ffi::LUA_REGISTRYINDEX, SERVICE_KEY.as_ptr());
                ffi::luaL_requiref(l, c"skynet.core".as_ptr(), skein_bindings::core::open_core, 0);
                ffi::luaL_getsubtable(l, ffi::LUA_REGISTRYINDEX, c"_PRELOAD".as_ptr());
                for &(name, open) in skein_bindings::PRELOADED {
                    ffi::lua_pushcfunction(l, open);
                    ffi::lua_setfield(l, -2, name.as_ptr());
                }
                ffi::lua_settop(l, 0);
            })
            .expect("skynet.core opens");
        }
        let pointer = lua.create_function(|_, address: i64| Ok(light(address as usize))).unwrap();
        let globals = lua.create_table().unwrap();
        let outer = lua.create_table().unwrap();
        outer.set("__index", lua.globals()).unwrap();
        globals.set_metatable(Some(outer)).unwrap();
        globals.set("pointer", pointer).unwrap();
        let address = lua.create_function(|_, LightUserData(at): LightUserData| Ok(at as i64)).unwrap();
        globals.set("address", address).unwrap();
        lua.load(PRELUDE).set_name("=prelude").set_environment(globals.clone()).exec().unwrap();
        Probe { lua, globals, state }
    }

    /// Runs a chunk; its lines are named `test:1`.
    #[track_caller]
    pub(crate) fn eval<T: FromLuaMulti>(&self, chunk: impl AsRef<[u8]>) -> T {
        let source = chunk.as_ref();
        match self.lua.load(source).set_name("=test").set_environment(self.globals.clone()).eval::<T>() {
            Ok(values) => values,
            Err(error) => panic!("{}: {error}", String::from_utf8_lossy(source)),
        }
    }

    /// Runs a chunk that raises, and gives what it raised, as a text.
    #[track_caller]
    pub(crate) fn error(&self, chunk: &str) -> String {
        self.eval::<String>(format!(
            "local ok, e = pcall(load([==[{chunk}]==], '=test', 't', _ENV)) assert(not ok, 'nothing was raised') return tostring(e)"
        ))
    }

    /// Gives a message to the callback, as the worker does.
    pub(crate) fn deliver(&self, message: Message) {
        // SAFETY: no Lua function of the state runs.
        unsafe { self.state.deliver(message) }
    }

    /// A message with these bytes, from `:00000007`, session 5, type 10.
    pub(crate) fn message(&self, bytes: &[u8]) -> Message {
        let arena = self.state.context().node().arena();
        Message::new(arena.copy_from(bytes).unwrap(), Handle(7), 5, MessageType::LUA)
    }
}

/// A light userdata.
pub(crate) fn light(address: usize) -> LightUserData {
    LightUserData(address as *mut c_void)
}

/// A value in the form of the golden vectors.
pub(crate) fn describe(value: &Value) -> Json {
    match value {
        Value::Nil => json!({"t": "nil"}),
        Value::Boolean(v) => json!({"t": "bool", "v": v}),
        Value::Integer(v) => json!({"t": "int", "v": v.to_string()}),
        Value::Number(v) => json!({"t": "float", "le": hex(&v.to_le_bytes())}),
        Value::String(v) => json!({"t": "str", "hex": hex(&v.as_bytes())}),
        Value::LightUserData(LightUserData(at)) if at.is_null() => {
            json!({"t": "lightuserdata", "v": "(null)"})
        }
        Value::LightUserData(LightUserData(at)) => json!({"t": "lightuserdata", "v": format!("{:p}", *at)}),
        Value::Table(table) => {
            let mut pairs: Vec<Json> = table
                .pairs::<Value, Value>()
                .map(|pair| pair.map(|(key, value)| json!([describe(&key), describe(&value)])).unwrap())
                .collect();
            pairs.sort_by_key(|pair| pair[0].to_string());
            json!({"t": "table", "kv": pairs})
        }
        other => json!({"t": other.type_name()}),
    }
}

/// Brings recorded values into the form that [`describe_all`] gives: without the decimals of reals, pairs in our order.
pub(crate) fn normal(value: &Json) -> Json {
    match value {
        Json::Array(values) => Json::Array(values.iter().map(normal).collect()),
        Json::Object(it) if it["t"] == "float" => json!({"t": "float", "le": it["le"]}),
        Json::Object(it) if it["t"] == "table" && it.contains_key("kv") => {
            let mut pairs: Vec<Json> = it["kv"].as_array().unwrap().iter().map(normal).collect();
            pairs.sort_by_key(|pair| pair[0].to_string());
            json!({"t": "table", "kv": pairs})
        }
        other => other.clone(),
    }
}

/// Several values in that form.
pub(crate) fn describe_all(values: &MultiValue) -> Json {
    Json::Array(values.iter().map(describe).collect())
}

/// The bytes of a recorded Lua text: the golden files spell them as characters.
pub(crate) fn source(text: &str) -> Vec<u8> {
    text.chars().map(|it| u8::try_from(u32::from(it)).expect("the vectors keep to one byte")).collect()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that hexadecimal spells.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub(crate) fn string(lua: &Lua, bytes: &[u8]) -> mlua::LuaString {
    lua.create_string(bytes).unwrap()
}

/// A node that runs only what the test launches.
pub(crate) fn node(settings: impl FnOnce(&mut Settings)) -> Arc<Node> {
    let mut chosen = Settings::new();
    chosen.set("bootstrap", "").set("thread", "1").set("harbor", "0").set("logservice", "probe");
    settings(&mut chosen);
    let node = Node::new(chosen).unwrap();
    node.register("probe", Arc::new(|_| Box::new(Seat)));
    node
}

/// A service that does nothing but give its context, and what it is sent, to the test.
struct Seat;

/// What services of the module `probe` were sent, and the contexts of those launched since somebody asked.
static ARRIVED: Mutex<Vec<(Arc<Node>, Handle, Message)>> = Mutex::new(Vec::new());
static LAUNCHED: Mutex<Vec<Arc<ServiceContext>>> = Mutex::new(Vec::new());

impl Service for Seat {
    fn init(&mut self, ctx: &Arc<ServiceContext>, _: Option<&[u8]>) -> Result<(), InitError> {
        LAUNCHED.lock().unwrap().push(Arc::clone(ctx));
        Ok(())
    }

    fn dispatch(&mut self, ctx: &Arc<ServiceContext>, message: Message) {
        ARRIVED.lock().unwrap().push((Arc::clone(ctx.node()), ctx.handle(), message));
    }
}

/// A new service of `node`.
pub(crate) fn seat(node: &Arc<Node>) -> Arc<ServiceContext> {
    let handle = node.launch("probe", None).unwrap();
    let mut launched = LAUNCHED.lock().unwrap();
    let of_it = |it: &Arc<ServiceContext>| it.handle() == handle && Arc::ptr_eq(it.node(), node);
    let index = launched.iter().position(of_it).expect("it was launched");
    launched.swap_remove(index)
}

/// A service of a node of its own, that has not been started: what it sends stays in mailboxes.
fn context() -> Arc<ServiceContext> {
    seat(&node(|_| ()))
}

/// The next message that arrived at service `handle` of the node of `of`.
pub(crate) fn receive(of: &Probe, handle: Handle) -> Message {
    let node = of.state.context().node();
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let mut arrived = ARRIVED.lock().unwrap();
        if let Some(index) = arrived.iter().position(|(at, to, _)| Arc::ptr_eq(at, node) && *to == handle) {
            return arrived.remove(index).2;
        }
        drop(arrived);
        assert!(Instant::now() < patience, "no message for {handle} came");
        thread::sleep(Duration::from_millis(1));
    }
}

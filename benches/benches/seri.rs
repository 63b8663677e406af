//! What a message costs: a player's state (see `workloads/game_state.lua`) and small calls, packed and unpacked.
//!
//! The rival is skynet: the same loops are in `lua/seri.lua`, which runs on both. Guards against regressions;
//! claims are in `report/`.

use std::ffi::c_void;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skein_bindings::{SERVICE_KEY, ServiceState};
use skein_runtime::{InitError, Message, Node, Service, ServiceContext, Settings};
use skein_vm::ffi;
use skein_vm::mlua::{Function, Lua};

/// Hands the context of the only service out.
struct Seat(Arc<Mutex<Option<Arc<ServiceContext>>>>);

impl Service for Seat {
    fn init(&mut self, ctx: &Arc<ServiceContext>, _: Option<&[u8]>) -> Result<(), InitError> {
        *self.0.lock().unwrap() = Some(Arc::clone(ctx));
        Ok(())
    }

    fn dispatch(&mut self, _: &Arc<ServiceContext>, _: Message) {}
}

fn service() -> Box<ServiceState> {
    let mut settings = Settings::new();
    settings.set("bootstrap", "").set("thread", "1");
    let node = Node::new(settings).unwrap();
    let place = Arc::new(Mutex::new(None));
    let seat = Arc::clone(&place);
    node.register("seat", Arc::new(move |_| Box::new(Seat(Arc::clone(&seat)))));
    node.launch("seat", None).unwrap();
    let ctx = place.lock().unwrap().take().unwrap();
    ServiceState::new(ctx)
}

/// Loops in Lua, so that what is measured is what a service pays: `n -> ()`.
const LOOPS: &str = "
    local core, state = ...
    local pack, unpack, trash = core.pack, core.unpack, core.trash
    local p, n = pack(state)
    local q, m = pack('command', 12345, 'argument', 1.5, true)
    return n, m, {
        pack_state = function(count) for _ = 1, count do trash(pack(state)) end end,
        unpack_state = function(count) for _ = 1, count do unpack(p, n) end end,
        pack_call = function(count) for _ = 1, count do trash(pack('command', 12345, 'argument', 1.5, true)) end end,
        unpack_call = function(count) for _ = 1, count do unpack(q, m) end end,
    }
";

fn seri(c: &mut Criterion) {
    let service = service();
    // SAFETY: nothing but this file runs in it.
    let lua = unsafe { Lua::unsafe_new() };
    let address = (&raw const *service).cast_mut().cast::<c_void>();
    // SAFETY: the service outlives the Lua state: locals are dropped in reverse.
    unsafe {
        lua.exec_raw::<()>((), |state| {
            ffi::lua_pushlightuserdata(state, address);
            ffi::lua_setfield(state, ffi::LUA_REGISTRYINDEX, SERVICE_KEY.as_ptr());
            ffi::luaL_requiref(state, c"skynet.core".as_ptr(), skein_bindings::core::open_core, 1);
            ffi::lua_setglobal(state, c"core".as_ptr());
            ffi::lua_settop(state, 0);
        })
        .unwrap();
    }
    let state: skein_vm::mlua::Value = lua.load(include_str!("../workloads/game_state.lua")).eval().unwrap();
    let core: skein_vm::mlua::Value = lua.globals().get("core").unwrap();
    let (state_size, call_size, loops): (u64, u64, skein_vm::mlua::Table) =
        lua.load(LOOPS).call((core, state)).unwrap();

    let mut group = c.benchmark_group("seri");
    for (name, size) in [
        ("pack_state", state_size),
        ("unpack_state", state_size),
        ("pack_call", call_size),
        ("unpack_call", call_size),
    ] {
        let run: Function = loops.get(name).unwrap();
        group.throughput(Throughput::Bytes(size));
        group.bench_function(name, |b| b.iter_custom(|count| time(&run, count)));
    }
    group.finish();
}

fn time(run: &Function, count: u64) -> Duration {
    let began = Instant::now();
    run.call::<()>(black_box(count)).unwrap();
    began.elapsed()
}

criterion_group!(benches, seri);
criterion_main!(benches);

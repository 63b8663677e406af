//! What the dispatcher costs beside the handler: a request, and a request that makes a call, without scheduler and worker.
//!
//! Messages are handed to a Lua service by a service around it, on its worker; what it sends to itself is dropped between the
//! measurements. The figures include making the blocks, packing and unpacking one number, and the runtime's part of a send. The
//! rival is the dispatcher in Lua that the tests compare with, on the same `skynet.core`. For fork, wakeup, yield and call inside
//! a node there is `lua/tasks.lua`, which runs on skynet as well.

use std::ffi::{CStr, c_void};
use std::hint::black_box;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use skein_bindings::{SERVICE_KEY, ServiceState, library};
use skein_runtime::{Handle, InitError, Message, MessageType, Node, Service, ServiceContext, Settings};
use skein_vm::ffi;
use skein_vm::mlua::Lua;

/// What is measured.
#[derive(Clone, Copy)]
enum What {
    /// A request that is answered at once.
    Request,
    /// A request that makes a call, and the response to that.
    CallAndResponse,
    /// The four messages of that, made, sent and dropped without a dispatcher and without Lua: what is not its cost.
    BlocksAndSends,
}

/// Who the requests come from: nobody, so that answers go no further.
const CALLER: Handle = Handle(0x00ff_fff0);

/// How many in a row: what the service sends to itself meanwhile waits in its mailbox.
const BATCH: u64 = 512;

/// The service around a Lua service.
struct Player {
    lua: Option<Bench>,
    path: String,
    order: Arc<Mutex<(What, u64)>>,
    spent: Duration,
    done: Sender<Duration>,
}

// SAFETY: one worker at a time runs a service, and nobody else has its Lua state.
unsafe impl Send for Player {}

impl Service for Player {
    fn init(&mut self, ctx: &Arc<ServiceContext>, _: Option<&[u8]>) -> Result<(), InitError> {
        self.lua = Some(Bench::new(&self.path, ctx));
        Ok(())
    }

    fn dispatch(&mut self, ctx: &Arc<ServiceContext>, message: Message) {
        if message.ty() != MessageType::TEXT {
            return;
        }
        let mut order = self.order.lock().unwrap();
        let count = order.1.min(BATCH);
        let lua = self.lua.as_ref().unwrap();
        // The session after the one that the runtime gives now is that of the first call.
        let mut session = ctx.new_session() + 1;
        let began = Instant::now();
        for _ in 0..count {
            match order.0 {
                What::Request => lua.request(),
                What::CallAndResponse => lua.request_and_response(&mut session),
                What::BlocksAndSends => lua.blocks_and_sends(),
            }
        }
        self.spent += began.elapsed();
        order.1 -= count;
        if order.1 == 0 {
            self.done.send(std::mem::take(&mut self.spent)).unwrap();
        } else {
            go(ctx);
        }
    }
}

fn go(ctx: &ServiceContext) {
    ctx.send(ctx.handle(), None, MessageType::TEXT, Some(0), None).unwrap();
}

/// A node with a player, from outside.
struct Stage {
    ctx: Arc<ServiceContext>,
    player: Handle,
    order: Arc<Mutex<(What, u64)>>,
    spent: Receiver<Duration>,
}

impl Stage {
    fn new(path: &str) -> Stage {
        let mut settings = Settings::new();
        settings.set("bootstrap", "").set("thread", "1");
        let node = Node::new(settings).unwrap();
        let order = Arc::new(Mutex::new((What::Request, 0)));
        let (done, spent) = mpsc::channel();
        let player = {
            let (path, order) = (path.to_owned(), Arc::clone(&order));
            move |_: &Arc<Node>| -> Box<dyn Service> {
                let (path, order, done) = (path.clone(), Arc::clone(&order), done.clone());
                Box::new(Player { lua: None, path, order, spent: Duration::ZERO, done })
            }
        };
        node.register("player", Arc::new(player));
        let place = Arc::new(Mutex::new(None));
        let seat = Arc::clone(&place);
        node.register("seat", Arc::new(move |_| Box::new(Seat(Arc::clone(&seat)))));
        node.launch("seat", None).unwrap();
        let player = node.launch("player", None).unwrap();
        let seat = place.lock().unwrap().take().unwrap();
        thread::spawn(move || node.run());
        Stage { ctx: seat, player, order, spent }
    }

    fn run(&self, what: What, count: u64) -> Duration {
        *self.order.lock().unwrap() = (what, count);
        self.ctx.send(self.player, None, MessageType::TEXT, Some(0), None).unwrap();
        self.spent.recv().unwrap()
    }
}

/// A service that only has an address: who sends from outside.
struct Seat(Arc<Mutex<Option<Arc<ServiceContext>>>>);

impl Service for Seat {
    fn init(&mut self, ctx: &Arc<ServiceContext>, _: Option<&[u8]>) -> Result<(), InitError> {
        *self.0.lock().unwrap() = Some(Arc::clone(ctx));
        Ok(())
    }

    fn dispatch(&mut self, _: &Arc<ServiceContext>, _: Message) {}
}

/// The service: `"call"` makes it call itself, anything else comes back.
const SERVICE: &str = "
    package.path = ...
    package.preload['skynet.codecache'] = function() return {} end
    package.preload['skynet.profile'] = function() return {} end
    local skynet = require 'skynet'
    local peer = skynet.self()
    skynet.start(function() end)
    skynet.dispatch('lua', function(_, _, what)
        if what == 1 then
            assert(skynet.call(peer, 'lua', 2) == 2)
        end
        skynet.retpack(what)
    end)
";

/// A Lua state and the service behind it, with the library found along `path`.
struct Bench {
    // In this order: finalizers still need the service.
    _lua: Lua,
    state: Box<ServiceState>,
    /// What `pack(1)` and `pack(2)` give.
    packed: [Vec<u8>; 2],
}

impl Bench {
    fn new(path: &str, ctx: &Arc<ServiceContext>) -> Bench {
        library::install();
        let state = ServiceState::new(Arc::clone(ctx));
        // SAFETY: nothing but this file runs in it.
        let lua = unsafe { Lua::unsafe_new() };
        let address = (&raw const *state).cast_mut().cast::<c_void>();
        let modules: [(&CStr, ffi::lua_CFunction); 2] = [
            (c"skynet.core", skein_bindings::core::open_core),
            (c"skein.dispatch", skein_bindings::dispatch::open),
        ];
        // SAFETY: the service outlives the Lua state (field order); the modules find it in the registry.
        unsafe {
            lua.exec_raw::<()>((), |l| {
                ffi::lua_pushlightuserdata(l, address);
                ffi::lua_setfield(l, ffi::LUA_REGISTRYINDEX, SERVICE_KEY.as_ptr());
                ffi::luaL_getsubtable(l, ffi::LUA_REGISTRYINDEX, c"_PRELOAD".as_ptr());
                for (name, open) in modules {
                    ffi::lua_pushcfunction(l, open);
                    ffi::lua_setfield(l, -2, name.as_ptr());
                }
                ffi::lua_settop(l, 0);
            })
            .unwrap();
        }
        lua.load(SERVICE).call::<()>(path).unwrap();
        let packed = [1, 2].map(|n| {
            let text: skein_vm::mlua::LuaString =
                lua.load("return require('skynet.core').packstring(...)").call(n).unwrap();
            text.as_bytes().to_vec()
        });
        let bench = Bench { _lua: lua, state, packed };
        // The start function waits for its timer.
        bench.deliver(1, MessageType::RESPONSE, &[]);
        bench
    }

    fn message(&self, session: i32, ty: MessageType, bytes: &[u8]) -> Message {
        let arena = self.state.context().node().arena();
        Message::new(arena.copy_from(bytes).unwrap(), CALLER, session, ty)
    }

    fn deliver(&self, session: i32, ty: MessageType, bytes: &[u8]) {
        let message = self.message(session, ty, bytes);
        // SAFETY: no Lua function of the state runs.
        unsafe { self.state.deliver(message) };
    }

    /// A request that is answered at once.
    fn request(&self) {
        self.deliver(77, MessageType::LUA, &self.packed[1]);
    }

    /// A request that makes a call, and the response to that. `session` is the one the call will have.
    fn request_and_response(&self, session: &mut i32) {
        self.deliver(77, MessageType::LUA, &self.packed[0]);
        self.deliver(*session, MessageType::RESPONSE, &self.packed[1]);
        *session += 1;
    }

    /// The same blocks, and the same ways of the two that are sent: one to ourselves, one to a caller that is not there.
    fn blocks_and_sends(&self) {
        let ctx = self.state.context();
        let block = |at: usize| ctx.node().arena().copy_from(&self.packed[at]).unwrap();
        drop(black_box(self.message(77, MessageType::LUA, &self.packed[0])));
        ctx.send(ctx.handle(), None, MessageType::LUA, None, Some(block(1))).unwrap();
        drop(black_box(self.message(1, MessageType::RESPONSE, &self.packed[1])));
        ctx.send(CALLER, None, MessageType::RESPONSE, Some(77), Some(block(0))).unwrap_err();
    }
}

fn dispatch(c: &mut Criterion) {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../bindings/tests/dispatcher/lualib/?.lua");
    let rivals =
        [("skein", library::LUALIB.to_owned()), ("in_lua", format!("{fixture};{}", library::LUALIB))];
    let stages = rivals.map(|(name, path)| (name, Stage::new(&path)));
    for (id, what) in [("request", What::Request), ("call_and_response", What::CallAndResponse)] {
        let mut group = c.benchmark_group(format!("dispatch/{id}"));
        for (name, stage) in &stages {
            group.bench_function(*name, |b| b.iter_custom(|count| stage.run(what, count)));
        }
        if let What::CallAndResponse = what {
            let stage = &stages[0].1;
            group.bench_function("blocks_and_sends", |b| {
                b.iter_custom(|count| stage.run(What::BlocksAndSends, count));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, dispatch);
criterion_main!(benches);

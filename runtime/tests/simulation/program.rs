//! A service that does random things.

use std::sync::Arc;

use skein_runtime::{Handle, InitError, Message, MessageType, Service, ServiceContext, timer::TimeoutKey};

use crate::world::{World, world};

type Context = Arc<ServiceContext>;

/// What it keeps: requests to answer later, and timeouts it may take back.
#[derive(Default)]
pub(crate) struct Program {
    owed: Vec<(Handle, i32)>,
    keys: Vec<(i32, TimeoutKey)>,
}

impl Service for Program {
    fn init(&mut self, ctx: &Context, _: Option<&[u8]>) -> Result<(), InitError> {
        let world = world();
        world.born(ctx);
        self.act(ctx, &world);
        let refuses = world.random.one_in(10);
        // From here on others see it wait; a launch that fails is over before anybody looks.
        world.life(ctx.handle()).busy.set(refuses);
        if refuses { Err(InitError("it would rather not".to_owned())) } else { Ok(()) }
    }

    fn dispatch(&mut self, ctx: &Context, message: Message) {
        let world = world();
        let life = world.life(ctx.handle());
        world.begin(&life);
        let (source, session, ty) = (message.source(), message.session(), message.ty());
        match ty {
            MessageType::RESPONSE if source.is_none() => {
                if session > 0 {
                    world.expired(&life, session);
                    self.keys.retain(|it| it.0 != session);
                }
                self.pay(ctx, &world);
            }
            MessageType::RESPONSE => {
                world.received(ctx.handle(), &message);
                world.answered(&life, session);
            }
            // Of a message that wanted no answer one hears without a session.
            MessageType::ERROR if session == 0 => {}
            MessageType::ERROR => world.answered(&life, session),
            _ => {
                world.received(ctx.handle(), &message);
                self.request(ctx, &world, source, session, &message[8..]);
            }
        }
        drop(message);
        self.act(ctx, &world);
        life.busy.set(false);
    }

    fn release(&mut self, ctx: &Context) {
        let world = world();
        let life = world.life(ctx.handle());
        life.busy.set(true);
        for (to, session) in self.owed.drain(..) {
            let _ = ctx.send(to, None, MessageType::ERROR, Some(session), None);
        }
        if world.fuel.get() > 0 && world.random.one_in(4) {
            world.others_step();
        }
        assert!(!life.gone.replace(true), "{} was released twice", ctx.handle());
    }
}

impl Program {
    /// A request: answered now, or later, or a ball that goes back.
    fn request(&mut self, ctx: &Context, world: &World, source: Handle, session: i32, rest: &[u8]) {
        if let Ok(hops) = <[u8; 2]>::try_from(rest)
            && let Some(left) = u16::from_le_bytes(hops).checked_sub(1)
        {
            world.send(ctx, source, None, &left.to_le_bytes());
        }
        if session == 0 {
        } else if world.random.one_in(4) {
            let later = ctx.timeout(1).unwrap();
            world.set_timeout(&world.life(ctx.handle()), later, 1);
            self.owed.push((source, session));
        } else {
            world.send(ctx, source, Some(session), &[]);
        }
    }

    /// Answers all that is owed.
    fn pay(&mut self, ctx: &Context, world: &World) {
        for (to, session) in self.owed.drain(..) {
            world.send(ctx, to, Some(session), &[]);
        }
    }

    /// A few random things.
    fn act(&mut self, ctx: &Context, world: &World) {
        let random = &world.random;
        world.pass(1_000 + random.below(4_000));
        for _ in 0..random.below(4) {
            let fuel = world.fuel.get();
            if fuel == 0 {
                return;
            }
            world.fuel.set(fuel - 1);
            let mut peers = world.alive();
            peers.push(Handle(77));
            match random.below(40) {
                0..=8 => drop(world.send(ctx, world.any(&peers), None, &[])),
                9..=16 => world.call(ctx, world.any(&peers)),
                17..=18 => {
                    // Seldom one that goes on until others would starve.
                    let hops = if random.one_in(60) { 6_000 } else { random.below(200) as u16 };
                    world.send(ctx, world.any(&peers), None, &hops.to_le_bytes());
                }
                19..=22 => self.set_timeout(ctx, world, 1 + random.below(6) as i32),
                23 if random.one_in(4) => {
                    // More than expire in a batch.
                    let ticks = 1 + random.below(20) as i32;
                    for _ in 0..100 + random.below(200) {
                        self.set_timeout(ctx, world, ticks);
                    }
                }
                23 => self.set_timeout(ctx, world, 1 + random.below(3000) as i32),
                24 => drop(ctx.node().timeout(ctx.handle(), -1, 0)),
                25..=26 => self.take_back(ctx, world),
                27..=29 => drop(world.launch()),
                30 => drop(ctx.node().retire(world.any(&peers))),
                31 if random.one_in(3) => drop(ctx.node().retire(ctx.handle())),
                32 => world.pass(random.below(3_000_000)),
                33 => {
                    // Many at once, for whoever comes to take them.
                    let to = world.any(&peers);
                    for _ in 0..random.below(150) {
                        world.send(ctx, to, None, &[]);
                    }
                }
                34..=36 => world.others_step(),
                _ => world.pass(random.below(30_000)),
            }
        }
    }

    fn set_timeout(&mut self, ctx: &Context, world: &World, ticks: i32) {
        let session = ctx.new_session();
        let key = ctx.node().timeout(ctx.handle(), session, ticks).unwrap().unwrap();
        world.set_timeout(&world.life(ctx.handle()), session, ticks);
        self.keys.push((session, key));
    }

    /// Takes a timeout back, if it has not expired; the message may be in the mailbox already.
    fn take_back(&mut self, ctx: &Context, world: &World) {
        if self.keys.is_empty() {
            return;
        }
        let (session, key) = self.keys.swap_remove(world.random.below(self.keys.len() as u64) as usize);
        if ctx.node().cancel_timeout(key) {
            world.cancelled(&world.life(ctx.handle()), session);
        }
        assert!(!ctx.node().cancel_timeout(key), "taken back twice");
    }
}

/// Keeps a node from ending when all others are dead.
pub(crate) struct Keeper;

impl Service for Keeper {
    fn init(&mut self, _: &Context, _: Option<&[u8]>) -> Result<(), InitError> {
        Ok(())
    }

    fn dispatch(&mut self, _: &Context, _: Message) {}
}

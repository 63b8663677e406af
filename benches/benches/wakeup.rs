//! What it costs to have a service run: the decisions alone, a message between two services, and one to a node at rest.
//!
//! Questions: what do the scheduler's own steps take; what do a request and its answer between two services in Rust, which is what
//! Lua services pay besides their dispatcher; how soon does a node at rest answer a thread, beside a thread that waits at a
//! channel? Guards against regressions; claims are in `report/`.

use std::{
    hint::black_box,
    ptr::NonNull,
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skein_runtime::{
    Handle, InitError, Message, MessageType, Node, Service, ServiceContext, Settings,
    sched::{Next, Pool, Scheduled, Wake, Worker},
};

/// How long a node is left alone before each request, so that all its threads sleep.
const REST: Duration = Duration::from_millis(2);

fn service() -> Scheduled {
    Scheduled::from_raw(NonNull::dangling())
}

fn run(worker: &Worker, now: u64) -> Scheduled {
    match worker.step(now).next {
        Next::Run(scheduled) => scheduled,
        next => panic!("nothing to run, but {next:?}"),
    }
}

/// A worker alone: from one service to the next.
fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("wakeup/decisions");
    group.throughput(Throughput::Elements(1));
    let (pool, workers) = Pool::new(2);
    let (worker, mut now) = (&workers[0], 0);
    group.bench_function("through_the_slot", |b| {
        b.iter(|| {
            now += 100;
            assert_eq!(worker.wake(service()), Wake::NOBODY);
            black_box(worker.spend(now));
            black_box(run(worker, now))
        });
    });
    group.bench_function("through_the_deque", |b| {
        b.iter(|| {
            now += 100;
            assert_eq!(worker.again(service()), Wake::NOBODY);
            black_box(run(worker, now))
        });
    });
    group.bench_function("through_the_injector", |b| {
        b.iter(|| {
            now += 100;
            assert_eq!(pool.inject(service()), Wake::NOBODY);
            black_box(run(worker, now))
        });
    });
    group.finish();
}

/// Answers requests; on a text it calls its peer as often as that says, one call after the other.
struct Caller {
    peer: Handle,
    left: u64,
    done: Sender<()>,
}

impl Caller {
    fn call(&mut self, ctx: &Arc<ServiceContext>) {
        if self.left == 0 {
            return self.done.send(()).expect("somebody waits");
        }
        self.left -= 1;
        let body = ctx.node().arena().copy_from(&[0; 16]).expect("there is room");
        ctx.send(self.peer, None, MessageType::LUA, None, Some(body)).expect("the peer lives");
    }
}

impl Service for Caller {
    fn init(&mut self, _: &Arc<ServiceContext>, _: Option<&[u8]>) -> Result<(), InitError> {
        Ok(())
    }

    fn dispatch(&mut self, ctx: &Arc<ServiceContext>, message: Message) {
        match message.ty() {
            MessageType::LUA => {
                let (to, session) = (message.source(), message.session());
                let body = ctx.node().arena().copy_from(&message).expect("there is room");
                ctx.send(to, None, MessageType::RESPONSE, Some(session), Some(body))
                    .expect("the caller lives");
            }
            MessageType::TEXT => {
                self.left = u64::from_le_bytes(message[..].try_into().expect("a number"));
                drop(message);
                self.call(ctx);
            }
            _ => {
                drop(message);
                self.call(ctx);
            }
        }
    }
}

/// A node with two callers, of which the second only answers.
struct Pair {
    node: Arc<Node>,
    caller: Handle,
    done: mpsc::Receiver<()>,
}

impl Pair {
    fn new(profile: bool) -> Self {
        let mut settings = Settings::new();
        settings.set("thread", "2").set("harbor", "0").set("bootstrap", "").set("logger", "/dev/null");
        settings.set("profile", if profile { "true" } else { "false" });
        let node = Node::new(settings).expect("the settings are right");
        let (done, waits) = mpsc::channel();
        let launch = |peer| {
            let done = done.clone();
            let once = move |_: &Arc<Node>| -> Box<dyn Service> {
                Box::new(Caller { peer, left: 0, done: done.clone() })
            };
            node.register("caller", Arc::new(once));
            node.launch("caller", None).expect("it starts")
        };
        let peer = launch(Handle::NONE);
        let caller = launch(peer);
        node.start().expect("threads can be made");
        Self { node, caller, done: waits }
    }

    /// Has the caller make so many calls, and waits.
    fn calls(&self, count: u64) {
        let body = self.node.arena().copy_from(&count.to_le_bytes()).expect("there is room");
        let sent = self.node.with_service(self.caller, |ctx| {
            ctx.send(self.caller, None, MessageType::TEXT, Some(0), Some(body)).expect("it lives");
        });
        sent.expect("it lives");
        self.done.recv().expect("the caller lives");
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.node.with_service(self.caller, |ctx| ctx.command("ABORT", b""));
        self.node.wait();
    }
}

/// A request and its answer, between two services of one node.
fn call(c: &mut Criterion) {
    let mut group = c.benchmark_group("wakeup/call");
    group.throughput(Throughput::Elements(1));
    for (name, profile) in [("skein", true), ("skein_without_profile", false)] {
        let pair = Pair::new(profile);
        group.bench_function(name, |b| {
            b.iter_custom(|count| {
                let began = Instant::now();
                pair.calls(count);
                began.elapsed()
            });
        });
    }
    group.finish();
}

/// What a thread outside waits for an answer of a node, or of a thread, that was at rest.
fn at_rest(c: &mut Criterion) {
    let mut group = c.benchmark_group("wakeup/at_rest");
    group.sample_size(10);
    let rested = |count: u64, ask: &dyn Fn()| {
        (0..count).fold(Duration::ZERO, |sum, _| {
            thread::sleep(REST);
            let began = Instant::now();
            ask();
            sum + began.elapsed()
        })
    };
    let pair = Pair::new(true);
    group.bench_function("skein", |b| b.iter_custom(|count| rested(count, &|| pair.calls(0))));
    group.bench_function("skein_and_a_call", |b| b.iter_custom(|count| rested(count, &|| pair.calls(1))));
    let (question, questions) = mpsc::channel::<()>();
    let (answer, answers) = mpsc::channel::<()>();
    let echo = thread::spawn(move || questions.iter().try_for_each(|()| answer.send(())));
    group.bench_function("std_thread", |b| {
        b.iter_custom(|count| {
            rested(count, &|| {
                question.send(()).expect("the thread lives");
                answers.recv().expect("the thread lives");
            })
        });
    });
    drop(question);
    let _ = echo.join();
    group.finish();
}

criterion_group!(benches, decisions, call, at_rest);
criterion_main!(benches);

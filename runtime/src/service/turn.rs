//! A turn: what one worker does for one service before it looks at the others.
//!
//! It ends when the mailbox is empty, when the budget of messages or of time is spent and another service waits, or when the
//! service was retired; then it is the last.
//!
//! # From skynet
//! skynet_context_message_dispatch → [`Turn::run`]; dispatch_message → [`Turn::dispatch`]; dispatchall →
//! [`Service::drains`](crate::Service::drains).

use std::{
    any::Any,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::NonNull,
    sync::Arc,
};

use skein_arena::{
    Block, Header, epoch,
    sync::atomic::Ordering::{Acquire, Relaxed},
};

use super::{ServiceContext, context::add};
use crate::{
    Handle, Message,
    mailbox::{Held, LetGo, Pop},
    monitor::Watch,
    sched::{Scheduled, Worker, cpu::CpuMeter},
};

/// Messages between two looks at the length of the mailbox.
const OVERLOAD_EVERY: u32 = 16;

/// What a worker brings along for its turns.
pub(crate) struct Turn<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) watch: &'a Watch,
    pub(crate) meter: &'a mut CpuMeter,
}

/// What became of the service's hold.
#[must_use]
pub(crate) enum After {
    /// Let go: its next message schedules it.
    Idle,
    /// The budget is spent: it goes behind those that wait.
    Again(Scheduled),
    /// It was its last turn.
    Ended,
}

impl Turn<'_> {
    /// Serves a mailbox that the worker took from the run queue.
    pub(crate) fn run(&mut self, scheduled: Scheduled) -> After {
        // SAFETY: C2: the table's count is given up by `end` only, so this borrowed `Arc` is counted meanwhile.
        let ctx = ManuallyDrop::new(unsafe { Arc::from_raw(scheduled.context()) });
        // SAFETY: the hold came with the run queue's entry.
        let mut held = unsafe { ctx.mailbox.hold() };
        let mut handled = 0;
        loop {
            // Acquire pairs with the Release in `retire`: the mailbox is closing by then.
            if ctx.retired.load(Acquire) {
                // SAFETY: the hold is ours, and the service is retired.
                unsafe { end(&ctx) };
                return After::Ended;
            }
            // Before the first, the second, and then now and then: the length is a word that all senders write.
            if handled % OVERLOAD_EVERY <= 1
                && let Some(len) = held.overload()
            {
                ctx.log(format!("error: May overload, message queue length = {len}"));
            }
            let message = match held.pop() {
                Pop::Message(message) => message,
                Pop::Empty | Pop::Busy => {
                    held.calm();
                    match held.let_go() {
                        // Behind this point the context is another's, and may be freed.
                        LetGo::Idle => return After::Idle,
                        LetGo::Message(again, message) => {
                            held = again;
                            message
                        }
                        LetGo::Closing(_) => {
                            // SAFETY: as above.
                            unsafe { end(&ctx) };
                            return After::Ended;
                        }
                    }
                }
            };
            // SAFETY: the mailbox gave us the message, and what is pushed is a block.
            self.dispatch(&ctx, Message::from_block(unsafe { Block::from_raw(message) }));
            handled += 1;
            if self.worker.spend(self.meter.last()) {
                return After::Again(scheduled);
            }
        }
    }

    /// Calls the service with one message.
    fn dispatch(&mut self, ctx: &Arc<ServiceContext>, message: Message) {
        let (source, session, ty, len) = (message.source(), message.session(), message.ty(), message.len());
        add(&ctx.work.messages, 1);
        ctx.message_log.record(ctx.node(), &message);
        self.watch.begin(source, ctx.handle());
        ctx.work.began.store(self.meter.message_begins(), Relaxed);
        // SAFETY: C1, the hold is ours; borrowed for this call only.
        let instance = unsafe { ctx.instance() };
        let outcome = match instance {
            Some(service) => catch_unwind(AssertUnwindSafe(|| service.dispatch(ctx, message))),
            None => Ok(()),
        };
        ctx.work.began.store(0, Relaxed);
        add(&ctx.work.cpu_nanos, self.meter.message_ends());
        self.watch.end();
        if let Err(panic) = outcome {
            panicked(ctx, source, session, len, &*panic);
            ctx.node().fail_request(ctx.handle(), source, session, ty);
        }
    }
}

/// The last turn of a retired service.
///
/// # Safety
/// The caller has the hold of the mailbox, and the service is retired. Afterwards both are gone.
pub(super) unsafe fn end(ctx: &Arc<ServiceContext>) {
    let node = Arc::clone(ctx.node());
    let handle = ctx.handle();
    // SAFETY: C1.
    let instance = unsafe { ctx.instance() }.take();
    // SAFETY: the hold is ours.
    let mut held = unsafe { ctx.mailbox.hold() };
    if let Some(mut service) = instance {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            if service.drains() {
                drain(&mut held, |message| service.dispatch(ctx, message));
            }
            ctx.message_log.close_silently();
            service.release(ctx);
            drop(service);
        }));
        if let Err(panic) = ended {
            panicked(ctx, Handle::NONE, 0, 0, &*panic);
        }
    }
    wait_for_close(ctx);
    held.die(|message| {
        // SAFETY: as in `run`.
        node.undelivered(handle, unsafe { Block::from_raw(message) });
    });
    let reserved = ctx.reserved.load(Relaxed);
    // SAFETY: the service was retired, and has one last turn (T2).
    unsafe { node.handles.forget(Arc::as_ptr(ctx), &epoch::pin()) };
    node.quiet.service_ended();
    if !reserved {
        node.one_less();
    }
}

/// A mailbox may be dying before the thread that retires the service has closed it: `init` failed while another killed it.
fn wait_for_close(ctx: &ServiceContext) {
    while !ctx.retired.load(Acquire) {
        skein_arena::sync::thread::yield_now();
    }
}

fn drain(held: &mut Held<'_>, mut dispatch: impl FnMut(Message)) {
    while let Pop::Message(message) = held.pop() {
        dispatch(Message::from_block(own(message)));
    }
}

fn own(message: NonNull<Header>) -> Block {
    // SAFETY: the mailbox gave us the message, and what is pushed is a block.
    unsafe { Block::from_raw(message) }
}

fn panicked(ctx: &ServiceContext, source: Handle, session: i32, len: usize, panic: &(dyn Any + Send)) {
    let text = panic_text(panic);
    let (source, handle) = (source.0, ctx.handle().0);
    ctx.log(format!("rust call [{source:x} to :{handle:x} : {session} msgsz = {len}] error : {text}"));
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text").to_owned()
}

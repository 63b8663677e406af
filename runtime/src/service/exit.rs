//! The end of a service: out of reach at once, gone when its last holder lets go.
//!
//! 1. `retire`: the handle and the names vanish; sends fail from now on.
//! 2. The mailbox is closed: whoever holds it, or the next worker, sees that after the running message.
//! 3. The last turn: `release`, the instance is dropped, every queued request goes back as an error, the context is freed
//!    after a grace period.
//!
//! # From skynet
//! skynet_handle_retire → [`Node::retire`]; delete_context, skynet_mq_release and drop_message → `turn::end`. Differs: a
//! killed service stops after the running message; dropped responses and errors are not answered.

use std::sync::Arc;

use skein_arena::{
    Block, epoch,
    sync::atomic::Ordering::{Release, SeqCst},
};

use crate::{Handle, Message, MessageType, Node, counters::Dropped, mailbox::Pushed, sched::Scheduled};

impl Node {
    /// Takes a service out of reach. `false`: nobody has this handle.
    pub fn retire(self: &Arc<Self>, handle: Handle) -> bool {
        let guard = epoch::pin();
        // First the names: who finds the handle dead may give them to the next service at once. And again for one that was bound
        // meanwhile.
        self.names.release(handle);
        let Some(ctx) = self.handles.retire(handle, &guard) else { return false };
        self.names.release(handle);
        let closed = ctx.mailbox.close();
        // After the close: who sees the flag finds the mailbox closing.
        ctx.retired.store(true, Release);
        match closed {
            // SAFETY: C2, its count is given up at the end of its last turn.
            Pushed::Schedule => self.schedule(unsafe { Scheduled::new(ctx.as_ptr()) }),
            Pushed::Queued => {}
            Pushed::Retired => unreachable!("the handle table retires a service once"),
        }
        true
    }

    /// Retires every service; the node ends when the last one is gone. The log service goes last, with what the others
    /// still had to say.
    pub fn abort(self: &Arc<Self>) {
        self.aborting.store(true, SeqCst);
        let logger = self.logger();
        for handle in self.handles.handles() {
            if Some(handle) != logger {
                self.retire(handle);
            }
        }
        self.end_logger();
    }

    /// Retires the log service if an abort waits for it to be the last.
    pub(crate) fn end_logger(self: &Arc<Self>) {
        if self.aborting.load(SeqCst)
            && self.live.load(SeqCst) <= 1
            && let Some(logger) = self.logger()
        {
            self.retire(logger);
        }
    }

    /// Tells the sender of a message that nobody will read it; if it may be waiting for an answer.
    pub(crate) fn undelivered(self: &Arc<Self>, dead: Handle, block: Block) {
        let message = Message::from_block(block);
        let (source, session, ty) = (message.source(), message.session(), message.ty());
        if ty == MessageType::TEXT && self.logger() == Some(dead) {
            self.orphaned(source, &message);
        }
        if source.is_none() {
            return self.counters.dropped(Dropped::NoSource);
        }
        if !ty.is_request() {
            return self.counters.dropped(Dropped::Answer);
        }
        self.counters.dropped(Dropped::Request);
        // The request becomes its own error reply: this works when the arena is full, too.
        let reply = message.into_block().become_empty();
        let _ = self.deliver(source, dead, MessageType::ERROR, session, Some(reply));
    }

    /// Tells the sender of a message that there was no room for it; if it waits for an answer.
    #[cold]
    pub(crate) fn refused(self: &Arc<Self>, by: Handle, block: Block) {
        let message = Message::from_block(block);
        let (source, session) = (message.source(), message.session());
        // Without a session it would say that `by` is dead.
        if session != 0 && !source.is_none() {
            let reply = message.into_block().become_empty();
            let _ = self.deliver(source, by, MessageType::ERROR, session, Some(reply));
        }
    }

    /// Answers a request whose handling failed.
    pub(crate) fn fail_request(self: &Arc<Self>, by: Handle, source: Handle, session: i32, ty: MessageType) {
        if session != 0 && ty.is_request() && !source.is_none() {
            let _ = self.deliver(source, by, MessageType::ERROR, session, None);
        }
    }
}

//! Session numbers after the counter has come round.
//!
//! Numbers run 1, 2, … 2147483647, 1, … per service, and the runtime hands them out. After the first round a number may be
//! one that a very old wait still holds. So once the counter gets near its end, far enough from it for somebody to look
//! before it wraps, taken numbers are passed over.

use super::Dispatcher;

/// From here on the counter may wrap before we look again.
const NEAR_END: i32 = 0x7000_0000;

impl Dispatcher {
    /// A session that nobody waits for.
    #[inline]
    pub(super) fn new_session(&self) -> i32 {
        loop {
            let session = self.ctx.new_session();
            self.seen(session);
            // After the first round a number may be one that a very old wait still holds.
            if !self.careful.get() || !self.book.borrow().waiting.contains_key(&session) {
                return session;
            }
        }
    }

    /// The session of a message: 0 if it wants no answer; none leaves the choice to the runtime.
    #[inline]
    pub(super) fn session_to_send(&self, wants_answer: bool) -> Option<i32> {
        if !wants_answer {
            Some(0)
        } else if self.careful.get() {
            Some(self.new_session())
        } else {
            None
        }
    }

    /// Sees to it that the next session that the runtime makes by itself is free.
    #[inline]
    pub(super) fn clear_way(&self) {
        while self.careful.get() {
            let burnt = self.ctx.new_session();
            let next = if burnt == i32::MAX { 1 } else { burnt + 1 };
            if !self.book.borrow().waiting.contains_key(&next) {
                return;
            }
        }
    }

    #[inline]
    pub(super) fn seen(&self, session: i32) {
        if session > NEAR_END {
            self.careful.set(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use skein_runtime::{InitError, Message, Node, Service, ServiceContext, Settings};

    use super::super::book::{Target, Waiter};
    use super::super::task::TaskId;
    use super::*;

    static CONTEXT: Mutex<Option<Arc<ServiceContext>>> = Mutex::new(None);

    struct Seat;

    impl Service for Seat {
        fn init(&mut self, ctx: &Arc<ServiceContext>, _: Option<&[u8]>) -> Result<(), InitError> {
            *CONTEXT.lock().unwrap() = Some(Arc::clone(ctx));
            Ok(())
        }

        fn dispatch(&mut self, _: &Arc<ServiceContext>, _: Message) {}
    }

    fn dispatcher() -> Dispatcher {
        let mut settings = Settings::new();
        settings.set("bootstrap", "").set("thread", "1").set("harbor", "0").set("logservice", "seat");
        let node = Node::new(settings).unwrap();
        node.register("seat", Arc::new(|_| Box::new(Seat)));
        node.launch("seat", None).unwrap();
        let ctx = CONTEXT.lock().unwrap().take().unwrap();
        Dispatcher::new(ctx)
    }

    fn occupy(dispatcher: &Dispatcher, session: i32) {
        let waiter = Waiter::Task { task: TaskId::NONE, target: Target::None, ticks: true };
        dispatcher.book.borrow_mut().waiting.insert(session, waiter);
    }

    #[test]
    fn numbers_that_are_waited_on_are_passed_over_once_the_counter_is_near_its_end() {
        let dispatcher = dispatcher();
        let first = dispatcher.new_session();
        occupy(&dispatcher, first + 1);
        assert_eq!(dispatcher.new_session(), first + 1, "far from the end nobody looks");
        assert_eq!(dispatcher.session_to_send(true), None);

        dispatcher.seen(NEAR_END);
        assert!(!dispatcher.careful.get());
        dispatcher.seen(NEAR_END + 1);
        for taken in [first + 2, first + 3, first + 5] {
            occupy(&dispatcher, taken);
        }
        assert_eq!(dispatcher.new_session(), first + 4);
        assert_eq!(dispatcher.session_to_send(true), Some(first + 6));
        assert_eq!(dispatcher.session_to_send(false), Some(0));
        // What the runtime takes by itself is free, too.
        occupy(&dispatcher, first + 8);
        dispatcher.clear_way();
        let next = dispatcher.ctx.new_session();
        assert!(!dispatcher.book.borrow().waiting.contains_key(&next));
    }
}

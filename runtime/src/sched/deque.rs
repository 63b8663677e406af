//! The queues themselves: crossbeam's, and under loom, which crossbeam-deque does not know, a stand-in behind a lock. The models
//! are about what we add (`slot`, `idle`), not about these.

#[cfg(not(loom))]
pub(super) use crossbeam_deque::{Injector, Steal, Stealer, Worker as Deque};

#[cfg(loom)]
pub(super) use stand_in::{Deque, Injector, Steal, Stealer};

#[cfg(loom)]
mod stand_in {
    use std::collections::VecDeque;

    use skein_arena::sync::{Arc, Mutex, MutexGuard};

    /// As crossbeam's, without the need to try again.
    pub(crate) enum Steal<T> {
        Empty,
        Success(T),
        #[allow(dead_code, reason = "the face of the real one")]
        Retry,
    }

    /// All three of them.
    pub(crate) struct Queue<T>(Arc<Mutex<VecDeque<T>>>);

    pub(crate) type Deque<T> = Queue<T>;
    pub(crate) type Injector<T> = Queue<T>;
    pub(crate) type Stealer<T> = Queue<T>;

    impl<T> Queue<T> {
        pub(crate) fn new() -> Self {
            Self(Arc::new(Mutex::new(VecDeque::new())))
        }

        pub(crate) fn new_fifo() -> Self {
            Self::new()
        }

        pub(crate) fn stealer(&self) -> Self {
            Self(Arc::clone(&self.0))
        }

        pub(crate) fn push(&self, it: T) {
            self.lock().push_back(it);
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.lock().pop_front()
        }

        pub(crate) fn steal_batch_and_pop(&self, _: &Self) -> Steal<T> {
            match self.pop() {
                Some(it) => Steal::Success(it),
                None => Steal::Empty,
            }
        }

        pub(crate) fn len(&self) -> usize {
            self.lock().len()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.len() == 0
        }

        fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
            self.0.lock().unwrap_or_else(|it| it.into_inner())
        }
    }
}

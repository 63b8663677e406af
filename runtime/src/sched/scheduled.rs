//! What travels through the run queues.

use core::ptr::NonNull;

/// The hold of a mailbox, on its way to a worker: whoever has it serves that mailbox, and nobody else does (`mailbox`, M2).
///
/// A plain word for the queues, which never look behind it: a simulation may put there what it likes.
#[derive(Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Scheduled(NonNull<()>);

// SAFETY: the queues pass the word on. What it points to is shared by all workers, and the one who takes the word out of a
// queue is the only one who has it.
unsafe impl Send for Scheduled {}

impl Scheduled {
    /// Names whatever the maker will know by this address.
    pub fn from_raw(what: NonNull<()>) -> Self {
        Self(what)
    }

    /// The address again.
    pub fn into_raw(self) -> NonNull<()> {
        self.0
    }
}

#[cfg(not(loom))]
mod of_service {
    use super::{NonNull, Scheduled};
    use crate::service::ServiceContext;

    impl Scheduled {
        /// # Safety
        /// The caller gives up the hold of the context's mailbox, and the handle table counts the context until its last turn.
        pub(crate) unsafe fn new(ctx: *const ServiceContext) -> Self {
            // SAFETY: comes from a reference or an `Arc`.
            Self(unsafe { NonNull::new_unchecked(ctx.cast_mut().cast()) })
        }

        /// The context. Meant for what [`Self::new`] made.
        pub(crate) fn context(&self) -> *const ServiceContext {
            self.0.as_ptr().cast()
        }
    }
}

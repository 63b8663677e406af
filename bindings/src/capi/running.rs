//! Who runs on this thread: a C service, a Lua service whose C modules call us, or nobody.
//!
//! # Invariants
//! * **R1** What a thread's `RUNNING` points to outlives the call that set it; [`Scope`] puts back what was there before.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ptr;

use skein_arena::{Arena, Block};
use skein_runtime::{Handle, ServiceContext};

use super::held;
use super::service::Callback;
use crate::hand::{Refused, Taken};
use crate::state::ServiceState;

thread_local! {
    static RUNNING: Cell<Running> = const { Cell::new(Running::Nobody) };
}

#[derive(Clone, Copy)]
enum Running {
    Nobody,
    Lua(*const ServiceState),
    Native(*const Call),
}

/// A call into a C service.
pub(super) struct Call {
    pub(super) context: *const ServiceContext,
    /// Where the service keeps its callback.
    pub(super) callback: *const Cell<Callback>,
    /// The message being handled, until the callback gave it away.
    pub(super) message: RefCell<Option<Block>>,
}

/// Until it is dropped, the thread runs what it was made for.
pub(crate) struct Scope<'a> {
    before: Running,
    /// R1.
    _of: PhantomData<&'a ()>,
}

impl<'a> Scope<'a> {
    /// A Lua service.
    #[inline]
    pub(crate) fn lua(service: &'a ServiceState) -> Scope<'a> {
        Self::of(Running::Lua(service))
    }

    /// A C service.
    pub(super) fn native(call: &'a Call) -> Scope<'a> {
        Self::of(Running::Native(call))
    }

    #[inline]
    fn of(running: Running) -> Scope<'a> {
        Scope { before: RUNNING.replace(running), _of: PhantomData }
    }
}

impl Drop for Scope<'_> {
    #[inline]
    fn drop(&mut self) {
        RUNNING.set(self.before);
    }
}

/// The service that runs on this thread.
pub(super) fn handle() -> Option<Handle> {
    // SAFETY: R1.
    unsafe {
        match RUNNING.get() {
            Running::Nobody => None,
            Running::Lua(service) => Some((*service).context().handle()),
            Running::Native(call) => Some((*(*call).context).handle()),
        }
    }
}

/// Changes the callback of the C service that runs on this thread, if that is the one of `context`.
pub(super) fn set_callback(context: *const ServiceContext, callback: Callback) -> bool {
    match RUNNING.get() {
        // SAFETY: R1; the cell is the service's, which this thread runs.
        Running::Native(call) => unsafe {
            let own = ptr::eq((*call).context, context);
            if own {
                (*(*call).callback).set(callback);
            }
            own
        },
        _ => false,
    }
}

/// Takes the block at `address`, cut to `size` bytes, from whoever runs here or from what C code keeps.
///
/// # Errors
/// Nobody has it, or it is shorter.
pub(super) fn take(arena: Arena, address: usize, size: usize) -> Result<Block, Taken> {
    let shown = i64::try_from(size).unwrap_or(i64::MAX);
    match RUNNING.get() {
        // SAFETY: R1, and the hand is used by the thread that runs the service.
        Running::Lua(service) => match unsafe { (*service).hand().take(arena, address, shown) } {
            Err(Taken::Refused(Refused::NotHeld(_))) => {}
            other => return other,
        },
        Running::Native(call) => {
            // SAFETY: R1.
            let mut message = unsafe { (*call).message.borrow_mut() };
            if let Some(mut block) = message.take_if(|it| it.as_ptr().addr() == address) {
                let len = block.len();
                if size > len {
                    *message = Some(block);
                    return Err(Refused::Size { address, size: shown, len }.into());
                }
                block.truncate(size);
                return Ok(block);
            }
        }
        Running::Nobody => {}
    }
    let mut block = held::take(address).ok_or(Refused::NotHeld(address))?;
    let len = block.len();
    if size > len {
        held::keep(block);
        return Err(Refused::Size { address, size: shown, len }.into());
    }
    block.truncate(size);
    Ok(block)
}

/// Frees the block at `address`, as [`take`] finds it. Whether there was one.
pub(super) fn discard(address: usize) -> bool {
    let own = match RUNNING.get() {
        // SAFETY: as in `take`.
        Running::Lua(service) => unsafe { (*service).hand().discard(address).is_ok() },
        // SAFETY: R1.
        Running::Native(call) => unsafe {
            (*call).message.borrow_mut().take_if(|it| it.as_ptr().addr() == address).is_some()
        },
        Running::Nobody => false,
    };
    own || held::take(address).is_some()
}

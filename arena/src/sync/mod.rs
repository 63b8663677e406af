//! The one door to atomics, cells, locks and threads.
//!
//! Every crate of the workspace takes them from here, so that one switch, `cfg(loom)`, puts a whole protocol under loom's
//! scheduler. The models live in `loom-tests`, for which this crate is a plain dependency: hence `cfg(loom)` alone and not
//! `all(test, loom)`.
//!
//! Under loom an atomic is a handle into the model and not so many bytes. A protocol is therefore a type that does not care
//! where it lies; only what places things in mapped memory knows their addresses.
//!
//! A second switch, `cfg(skein_tsan)`, puts locks and fences there that ThreadSanitizer can follow.

#[cfg(skein_tsan)]
mod tsan;

#[cfg(not(loom))]
mod imp {
    /// Atomic integers and pointers.
    ///
    /// Aliases, not re-exports: `clippy.toml` bars the originals, and sees through a `pub use`.
    #[allow(clippy::disallowed_types)]
    pub mod atomic {
        #[cfg(skein_tsan)]
        pub use super::super::tsan::fence;
        #[cfg(not(skein_tsan))]
        pub use core::sync::atomic::fence;
        pub use core::sync::atomic::{Ordering, compiler_fence};

        /// An 8-bit atomic.
        pub type AtomicU8 = core::sync::atomic::AtomicU8;
        /// A 16-bit atomic.
        pub type AtomicU16 = core::sync::atomic::AtomicU16;
        /// A 32-bit atomic.
        pub type AtomicU32 = core::sync::atomic::AtomicU32;
        /// A 64-bit atomic.
        pub type AtomicU64 = core::sync::atomic::AtomicU64;
        /// A pointer-sized atomic.
        pub type AtomicUsize = core::sync::atomic::AtomicUsize;
        /// A signed 32-bit atomic.
        pub type AtomicI32 = core::sync::atomic::AtomicI32;
        /// A signed 64-bit atomic.
        pub type AtomicI64 = core::sync::atomic::AtomicI64;
        /// An atomic flag.
        pub type AtomicBool = core::sync::atomic::AtomicBool;
        /// An atomic pointer.
        pub type AtomicPtr<T> = core::sync::atomic::AtomicPtr<T>;
    }

    /// Cells whose accesses loom can watch.
    pub mod cell {
        /// `core::cell::UnsafeCell` with loom's two accessors: what happens inside the closure is the access.
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub struct UnsafeCell<T: ?Sized>(core::cell::UnsafeCell<T>);

        impl<T> UnsafeCell<T> {
            /// Wraps a value.
            pub const fn new(value: T) -> Self {
                Self(core::cell::UnsafeCell::new(value))
            }

            /// Takes the value out.
            pub fn into_inner(self) -> T {
                self.0.into_inner()
            }
        }

        impl<T: ?Sized> UnsafeCell<T> {
            /// A read: nobody writes until the closure returns.
            #[inline(always)]
            pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
                f(self.0.get())
            }

            /// A write: nobody else reads or writes until the closure returns.
            #[inline(always)]
            pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
                f(self.0.get())
            }
        }
    }

    #[cfg(skein_tsan)]
    pub use super::tsan::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
    #[cfg(not(skein_tsan))]
    pub use std::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
    pub use std::{hint, sync::Arc, thread};
}

#[cfg(loom)]
mod imp {
    pub use loom::{
        cell, hint,
        sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic},
        thread,
    };
}

pub use imp::*;

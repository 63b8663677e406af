//! The header in front of every block, and the count of its owners.
//!
//! A payload is named by its address, the same in every process of a domain (docs/arena-layout.md). Its header lies in the 32
//! bytes before it; the NUL behind it is not counted in `size`.
//!
//! # State
//! `owners`: how many references exist; none means free. `generation`: which life of the block this is, for checks and tools.
//! They are two words, so that beginning a life is a store and needs nothing that the thread before may have in its cache.
//!
//! # Invariants
//! * **H1** `size` and `kind` are written before the header is reachable, later only by a sole owner, and the payload they
//!   tell of lies inside the block.
//! * **H2** The last owner to leave, and nobody else, bumps the generation and hands the block back.
//! * **H3** The bytes, the envelope and the link are written only by a sole owner.
//! * **H4** Only an owner makes another owner. So a sole owner stays one for as long as it likes, and may count with plain
//!   loads and stores.
//!
//! # When a process dies
//! Its references stay counted until somebody sweeps them. Memory is then late, never wrong.

mod body;
mod grow;
mod handle;
mod view;
mod writer;

use std::fmt;

pub(crate) use body::{FOREIGN_BODY, FORWARD_BODY, REMOTE_BODY, RemoteBody};
pub(crate) use handle::size_of_payload;
pub use handle::{Block, Payload};
pub use view::ViewError;
pub use writer::BlockWriter;

use crate::sync::{
    atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering::*},
    cell::UnsafeCell,
};

/// The largest payload: its size is a 32-bit number, and header and NUL have to fit as well.
pub const MAX_PAYLOAD: usize = (1 << 32) - 64;

/// The most owners that are no mistake.
const MOST_OWNERS: u32 = i32::MAX as u32;

/// What a block's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The bytes behind the header.
    Bytes = 0,
    /// Memory that an allocator outside of the arena gave out; the block frees it at zero.
    Foreign = 1,
    /// A payload that others own too: this block is one receiver's envelope around it.
    Forward = 2,
    /// None at all: the NULL message.
    Empty = 3,
    /// Bytes of another process's heap: the last owner to go gives them back to that process ([`crate::transfer`]).
    Remote = 4,
}

/// How many kinds there are.
#[cfg(not(loom))]
pub(crate) const KINDS: u8 = Kind::Remote as u8 + 1;

impl Kind {
    #[inline]
    fn from_bits(bits: u8) -> Kind {
        match bits {
            0 => Kind::Bytes,
            1 => Kind::Foreign,
            2 => Kind::Forward,
            3 => Kind::Empty,
            4 => Kind::Remote,
            // Only this module writes the field: something else wrote over the header.
            other => panic!("a block header says its body is of kind {other}: memory was overwritten"),
        }
    }
}

/// Who sent a message, as which of its requests, and of which type. It travels in the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// Handle of the sender.
    pub source: u32,
    /// Number that pairs a request with its response.
    pub session: i32,
    /// Message type (`PTYPE_*`).
    pub ty: u8,
}

/// What an owner finds out by leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Left {
    /// Others still own the block.
    Others,
    /// Nobody does: whoever gets this hands the block back.
    Nobody,
}

/// The first 32 bytes of a block. See the module for the protocol.
///
/// The header does not care where it lies: in a mapping, in a `Box` under loom, or inside a mailbox as its stub.
#[repr(C, align(16))]
pub struct Header {
    owners: AtomicU32,
    generation: AtomicU32,
    /// A [`Shape`], as one number: `Arena::find` looks at it without being an owner.
    shape: AtomicU64,
    link: AtomicPtr<Header>,
    address: UnsafeCell<Address>,
}

#[derive(Clone, Copy)]
struct Shape {
    size: u32,
    /// Which size class the block came from; [`Header::LARGE`] for a run of pages.
    class: u16,
    /// Low byte: [`Kind`]. High byte: message type.
    kind: u16,
}

impl Shape {
    #[inline]
    const fn to_bits(self) -> u64 {
        self.size as u64 | (self.class as u64) << 32 | (self.kind as u64) << 48
    }

    #[inline]
    const fn from_bits(bits: u64) -> Shape {
        Shape { size: bits as u32, class: (bits >> 32) as u16, kind: (bits >> 48) as u16 }
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Address {
    source: u32,
    session: i32,
}

#[cfg(not(loom))] // Under loom an atomic is a handle into the model, not eight bytes.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Header>() == 32);
    assert!(offset_of!(Header, shape) == 8);
    assert!(offset_of!(Header, link) == 16);
    assert!(offset_of!(Header, address) == 24);
};

// SAFETY: a header goes where its block goes; the cell in it belongs to a sole owner (H3), whichever thread that is on.
unsafe impl Send for Header {}
// SAFETY: while a header is shared, its cell is only read (H3); the rest is atomic.
unsafe impl Sync for Header {}

impl Header {
    /// Bytes of a header, and how far a payload is behind its header.
    pub const SIZE: usize = size_of::<Header>();
    /// Bytes of the smallest block there is: a header and nothing else.
    pub(crate) const SMALLEST: usize = Header::SIZE;
    /// Class of a block that is a run of pages of its own.
    pub(crate) const LARGE: u16 = u16::MAX;
    /// Class of a header that belongs to no arena.
    const STUB: u16 = u16::MAX - 1;

    /// A header that belongs to no arena and has one owner: the stub of a mailbox, or a subject for models.
    ///
    /// It must not be made into a [`Block`]: nobody could free that.
    pub fn stub() -> Header {
        let header = Header::free(Self::STUB, 0);
        header.begin(0, Self::STUB, Kind::Empty);
        header
    }

    /// A header without owners, as the allocator keeps it.
    pub(crate) fn free(class: u16, generation: u32) -> Header {
        Header {
            owners: AtomicU32::new(0),
            generation: AtomicU32::new(generation),
            shape: AtomicU64::new(Shape { size: 0, class, kind: Kind::Empty as u16 }.to_bits()),
            link: AtomicPtr::new(std::ptr::null_mut()),
            address: UnsafeCell::new(Address { source: 0, session: 0 }),
        }
    }

    /// Writes a header without owners to where a block begins. Somebody may be looking, who was told of a block here that is no
    /// more: what others than owners read is written atomically.
    ///
    /// # Safety
    /// The memory is mapped, is the caller's, and begins no block that has owners.
    pub(crate) unsafe fn place(at: *mut Header, class: u16, generation: u32) {
        #[cfg(loom)]
        // SAFETY: passed on. Under loom an atomic has to be made before it is used, and nobody looks at stale addresses.
        unsafe {
            at.write(Header::free(class, generation));
        }
        #[cfg(not(loom))]
        {
            // SAFETY: passed on; any bytes are valid atomics.
            let header = unsafe { &*at };
            header.owners.store(0, Relaxed);
            header.generation.store(generation, Relaxed);
            header.set_shape(Shape { size: 0, class, kind: Kind::Empty as u16 });
        }
    }

    /// Begins a life: one owner, a clean envelope; the link is whatever it was. The caller took the block from where free blocks are kept.
    #[inline]
    pub(crate) fn begin(&self, size: u32, class: u16, kind: Kind) {
        debug_assert_eq!(self.owners(), 0, "a block was handed out that has owners (H2)");
        debug_assert_eq!(self.class(), class, "a block was handed out that is of another class");
        // Relaxed: whoever gets to know the block does so through something that publishes it.
        self.owners.store(1, Relaxed);
        self.set_shape(Shape { size, class, kind: kind as u16 });
        self.address.with_mut(|it| {
            // SAFETY: the block is not reachable yet (H3).
            unsafe { *it = Address { source: 0, session: 0 } }
        });
    }

    /// Counts one more owner. The caller is one (H4).
    #[inline]
    pub fn acquire(&self) {
        // Relaxed: the caller's own reference already orders what the new owner may read.
        let before = self.owners.fetch_add(1, Relaxed);
        debug_assert_ne!(before, 0, "a reference was taken to a block that has none (H4)");
        // So many owners are a leak in a loop, or one released too often; more threads than there can be fit between this count
        // and the largest number.
        if before > MOST_OWNERS {
            broken("a reference was taken to a block that has too many");
        }
    }

    /// Counts one owner less. On [`Left::Nobody`] the caller frees the body and hands the block back.
    ///
    /// # Safety
    /// The caller is an owner and from now on behaves as if it were none.
    #[inline]
    pub unsafe fn release(&self) -> Left {
        // Release pairs with the load below, in whoever turns out to be last, and with the Acquire in `is_sole`.
        let before = self.owners.fetch_sub(1, Release);
        debug_assert_ne!(before, 0, "a block without owners was released");
        if before != 1 {
            return Left::Others;
        }
        // A load and not a fence: ThreadSanitizer follows it, and the line is ours by now anyway.
        self.owners.load(Acquire);
        self.end();
        Left::Nobody
    }

    /// Counts the only owner off: as [`release`](Header::release), without a locked instruction.
    ///
    /// # Safety
    /// The caller is the only owner, has seen all that others did while they were owners, and from now on behaves as if it were
    /// none. (H4)
    #[inline]
    pub unsafe fn release_sole(&self) {
        if self.owners.load(Relaxed) != 1 {
            broken("a block that has other owners, or none, was dropped as the only one's");
        }
        self.owners.store(0, Relaxed);
        self.end();
    }

    /// Ends a life. Nobody owns the block, so nobody else writes the generation (H2).
    #[inline]
    fn end(&self) {
        self.generation.store(self.generation().wrapping_add(1), Relaxed);
    }

    /// Whether the caller, an owner, is the only one. If so, all that former owners did has happened.
    #[inline]
    pub fn is_sole(&self) -> bool {
        // Acquire pairs with the Release in `release`: the others have done their reading.
        self.owners.load(Acquire) == 1
    }

    /// How many references exist: a snapshot, for checks and tools.
    #[inline]
    pub fn owners(&self) -> u32 {
        self.owners.load(Relaxed)
    }

    /// Which life of the block this is.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.generation.load(Relaxed)
    }

    /// Where a queue keeps what comes after this block. Only the sole owner, or the queue it gave the block to, touches it.
    #[inline]
    pub fn link(&self) -> &AtomicPtr<Header> {
        &self.link
    }

    #[inline]
    fn shape(&self) -> Shape {
        // Relaxed: an owner knows it from where it got its reference (H1); for others it is a snapshot.
        Shape::from_bits(self.shape.load(Relaxed))
    }

    /// Only before the block is reachable, or by a sole owner (H1).
    #[inline]
    fn set_shape(&self, shape: Shape) {
        self.shape.store(shape.to_bits(), Relaxed);
    }

    /// Payload bytes.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.shape().size as usize
    }

    /// Size class.
    #[inline]
    pub(crate) fn class(&self) -> u16 {
        self.shape().class
    }

    /// Size, owners and generation as they are now, if the block has owners and its body is its own bytes. For somebody who
    /// is no owner and so cannot rely on any of it.
    #[inline]
    pub(crate) fn peek(&self) -> Option<(usize, u32, u32)> {
        let (shape, owners, generation) = (self.shape(), self.owners(), self.generation());
        (owners > 0 && shape.kind as u8 == Kind::Bytes as u8).then_some((
            shape.size as usize,
            owners,
            generation,
        ))
    }

    /// Whether the body is bytes or nothing, so that freeing the block frees all of it; and the class.
    #[inline]
    fn is_plain_and_class(&self) -> (bool, u16) {
        let Shape { kind, class, .. } = self.shape();
        (kind as u8 == Kind::Bytes as u8 || kind as u8 == Kind::Empty as u8, class)
    }

    #[inline]
    fn kind(&self) -> Kind {
        Kind::from_bits(self.shape().kind as u8)
    }

    /// # Safety
    /// The caller is the sole owner.
    #[inline]
    unsafe fn set_size(&self, size: u32) {
        self.set_shape(Shape { size, ..self.shape() });
    }

    /// # Safety
    /// The caller is the sole owner, and the body already is what `kind` says.
    #[inline]
    unsafe fn set_kind(&self, kind: Kind) {
        let shape = self.shape();
        // The message type in the high byte stays.
        self.set_shape(Shape { kind: shape.kind & 0xff00 | kind as u16, ..shape });
    }

    #[inline]
    fn envelope(&self) -> Envelope {
        // SAFETY: the envelope is written by a sole owner only (H3), and the caller is an owner.
        let Address { source, session } = self.address.with(|it| unsafe { *it });
        Envelope { source, session, ty: (self.shape().kind >> 8) as u8 }
    }

    /// # Safety
    /// The caller is the sole owner.
    #[inline]
    unsafe fn set_envelope(&self, envelope: Envelope) {
        let Envelope { source, session, ty } = envelope;
        // SAFETY: a sole owner writes (H3).
        self.address.with_mut(|it| unsafe { *it = Address { source, session } });
        let shape = self.shape();
        self.set_shape(Shape { kind: shape.kind & 0xff | u16::from(ty) << 8, ..shape });
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("owners", &self.owners())
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

/// Counting went wrong. Memory is about to be used after it was freed: no destructor may run any more.
#[cold]
#[inline(never)]
fn broken(what: &str) -> ! {
    eprintln!("skein: {what}; memory was overwritten, or unsafe code broke its promise");
    std::process::abort()
}

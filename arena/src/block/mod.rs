//! The header in front of every block, and the count of its owners.
//!
//! A payload is named by its address, the same in every process of a domain (docs/arena-layout.md). Its header lies in the 32
//! bytes before it; the NUL behind it is not counted in `size`.
//!
//! # State
//! `OWNERS` (low 32 bits): how many references exist; none means free. `GENERATION` (high 32 bits): which life of the block
//! this is, for checks and tools.
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

mod handle;
mod writer;

use std::fmt;

pub use handle::{Block, Payload};
pub(crate) use handle::{FOREIGN_BODY, FORWARD_BODY, size_of_payload};
pub use writer::BlockWriter;

use crate::sync::{
    atomic::{AtomicPtr, AtomicU64, Ordering::*, fence},
    cell::UnsafeCell,
};

/// The largest payload: its size is a 32-bit number, and header and NUL have to fit as well.
pub const MAX_PAYLOAD: usize = (1 << 32) - 64;

const OWNERS: u64 = 0xffff_ffff;
const ONE_LIFE: u64 = 1 << 32;
/// More owners than this is a leak in a loop. The distance to `OWNERS` is more than there can be threads between a count
/// and the check of it.
const MOST_OWNERS: u64 = 1 << 31;

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
}

impl Kind {
    fn from_bits(bits: u8) -> Kind {
        match bits {
            0 => Kind::Bytes,
            1 => Kind::Foreign,
            2 => Kind::Forward,
            3 => Kind::Empty,
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
    state: AtomicU64,
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
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) const LARGE: u16 = u16::MAX;
    /// Class of a header that belongs to no arena.
    const STUB: u16 = u16::MAX - 1;

    /// A header that belongs to no arena and has one owner: the stub of a mailbox, or a subject for models.
    ///
    /// It must not be made into a [`Block`]: nobody could free that.
    pub fn stub() -> Header {
        let header = Header::free(Self::STUB, 0);
        header.begin(0, Kind::Empty);
        header
    }

    /// A header without owners, as the allocator keeps it.
    pub(crate) fn free(class: u16, generation: u32) -> Header {
        Header {
            state: AtomicU64::new(u64::from(generation) << 32),
            shape: AtomicU64::new(Shape { size: 0, class, kind: Kind::Empty as u16 }.to_bits()),
            link: AtomicPtr::new(std::ptr::null_mut()),
            address: UnsafeCell::new(Address { source: 0, session: 0 }),
        }
    }

    /// Begins a life: one owner, a clean envelope. The caller took the block from where free blocks are kept.
    #[inline]
    pub(crate) fn begin(&self, size: u32, kind: Kind) {
        let state = self.state.load(Relaxed);
        debug_assert_eq!(state & OWNERS, 0, "a block was handed out that has owners (H2)");
        // Relaxed: whoever gets to know the block does so through something that publishes it.
        self.state.store(state | 1, Relaxed);
        self.set_shape(Shape { size, kind: kind as u16, ..self.shape() });
        self.address.with_mut(|it| {
            // SAFETY: the block is not reachable yet (H3).
            unsafe { *it = Address { source: 0, session: 0 } }
        });
        self.link.store(std::ptr::null_mut(), Relaxed);
    }

    /// Counts one more owner. The caller is one (H4).
    #[inline]
    pub fn acquire(&self) {
        // Relaxed: the caller's own reference already orders what the new owner may read.
        let before = self.state.fetch_add(1, Relaxed) & OWNERS;
        if before == 0 || before >= MOST_OWNERS {
            broken("a reference was taken to a block that has none, or too many");
        }
    }

    /// Counts one owner less. On [`Left::Nobody`] the caller frees the body and hands the block back.
    ///
    /// # Safety
    /// The caller is an owner and from now on behaves as if it were none.
    #[inline]
    pub unsafe fn release(&self) -> Left {
        // Acquire pairs with the Release below, in the owners that left: what they read, they have read before we rewrite it.
        let state = self.state.load(Acquire);
        if state & OWNERS == 1 {
            // A sole owner needs no locked instruction (H4).
            self.state.store((state & !OWNERS).wrapping_add(ONE_LIFE), Relaxed);
            return Left::Nobody;
        }
        // Release pairs with the Acquire above and with the fence below, in whoever turns out to be last.
        let before = self.state.fetch_sub(1, Release);
        match before & OWNERS {
            0 => broken("a block without owners was released"),
            1 => {
                fence(Acquire);
                // Nobody owns the block, so nobody else writes the state (H2, H4).
                self.state.store((before & !OWNERS).wrapping_add(ONE_LIFE), Relaxed);
                Left::Nobody
            }
            _ => Left::Others,
        }
    }

    /// Whether the caller, an owner, is the only one. If so, all that former owners did has happened.
    #[inline]
    pub fn is_sole(&self) -> bool {
        // Acquire pairs with the Release in `release`: the others have done their reading.
        self.state.load(Acquire) & OWNERS == 1
    }

    /// How many references exist: a snapshot, for checks and tools.
    #[inline]
    pub fn owners(&self) -> u32 {
        self.state.load(Relaxed) as u32
    }

    /// Which life of the block this is.
    #[inline]
    pub fn generation(&self) -> u32 {
        (self.state.load(Relaxed) >> 32) as u32
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
    #[cfg_attr(loom, allow(dead_code))]
    #[inline]
    pub(crate) fn class(&self) -> u16 {
        self.shape().class
    }

    /// Size, owners and generation as they are now, if the block has owners and its body is its own bytes. For somebody who
    /// is no owner and so cannot rely on any of it.
    pub(crate) fn peek(&self) -> Option<(usize, u32, u32)> {
        let (shape, owners, generation) = (self.shape(), self.owners(), self.generation());
        (owners > 0 && shape.kind as u8 == Kind::Bytes as u8).then_some((
            shape.size as usize,
            owners,
            generation,
        ))
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

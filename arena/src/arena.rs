//! An arena: where blocks come from.

use std::{fmt, ptr::NonNull};

use crate::{
    Block, BlockWriter, Error, Payload, Stats,
    alloc::{self, Heap},
    block::{FOREIGN_BODY, FORWARD_BODY, Header, REMOTE_BODY, RemoteBody, size_of_payload},
    copy, range, stats,
};

/// How to open an arena.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// At most this many bytes in spans and large blocks; without it, as many as a heap has addresses: 32 GiB.
    pub limit: Option<u64>,
}

/// A heap that lives as long as the process.
///
/// The arena is a handle: copying it is copying a pointer, and dropping it does nothing. Blocks do not refer to it.
///
/// ```
/// use skein_arena::{Arena, Envelope, Options};
///
/// let arena = Arena::private(&Options::default())?;
/// let mut block = arena.copy_from(b"move 3 4")?;
/// block.set_envelope(Envelope { source: 10, session: 1, ty: 10 });
///
/// // The block travels as one pointer; whoever takes it out owns it.
/// let received = std::thread::spawn(move || block).join().unwrap();
/// assert_eq!(&received[..4], b"move");
///
/// // Shared, it is read by many and copied by none.
/// let everybody = received.share();
/// let another = everybody.clone().into_bytes();
/// assert_eq!(another.as_ptr(), everybody.as_ptr());
/// # Ok::<(), skein_arena::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Arena(&'static Heap);

/// A live block, found by the address of its payload. See [`Arena::find`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Found {
    /// Its header, for `Block::from_raw` by whoever knows to be its owner.
    pub header: NonNull<Header>,
    /// Which heap it lies in.
    pub heap: usize,
    /// Bytes of its payload.
    pub size: usize,
    /// Owners at the time of asking.
    pub owners: u32,
    /// Which life of the block this is.
    pub generation: u32,
}

impl Arena {
    /// Opens a heap in memory of this process's own.
    ///
    /// # Errors
    /// The address range is taken or cannot be reserved; no heap is left; the limit is too small to work under.
    pub fn private(options: &Options) -> Result<Arena, Error> {
        Heap::open(options.limit).map(Arena)
    }

    /// The arena of a heap that a domain opened.
    #[cfg(not(loom))]
    pub(crate) fn of_heap(heap: &'static Heap) -> Arena {
        Arena(heap)
    }

    /// A block of `size` bytes. They have some value or other: whatever was last there.
    ///
    /// # Errors
    /// [`Error::Full`] at the limit, [`Error::TooLarge`], [`Error::Map`] if the system has no memory.
    #[inline]
    pub fn alloc(self, size: usize) -> Result<Block, Error> {
        let fits = size_of_payload(size)?;
        Ok(Block::of_bytes(self.0.allocate(Header::SIZE + size + 1, size, false)?, fits))
    }

    /// A block that begins as a copy of `bytes`, which are counted as copied in.
    ///
    /// # Errors
    /// As [`alloc`](Arena::alloc).
    #[inline]
    pub fn copy_from(self, bytes: &[u8]) -> Result<Block, Error> {
        let mut block = self.alloc(bytes.len())?;
        copy(block.bytes_mut().expect("a new block has bytes"), bytes);
        stats::count_copied_in(bytes.len());
        Ok(block)
    }

    /// A block that grows while it is written, with room for `hint` bytes to begin with.
    ///
    /// # Errors
    /// As [`alloc`](Arena::alloc).
    pub fn writer(self, hint: usize) -> Result<BlockWriter, Error> {
        BlockWriter::new(self, hint)
    }

    /// A block without a body: the NULL message. One hundredth of the limit is kept for these.
    ///
    /// # Errors
    /// As [`alloc`](Arena::alloc), when that hundredth is used up too.
    pub fn envelope(self) -> Result<Block, Error> {
        Ok(Block::of_nothing(self.0.allocate(Header::SIZE, 0, true)?))
    }

    /// A block whose body is memory of another allocator: an envelope that calls `free(ptr, len)` once, when the last owner
    /// has gone.
    ///
    /// # Errors
    /// As [`alloc`](Arena::alloc). `ptr` then still belongs to the caller.
    ///
    /// # Safety
    /// `ptr` is the caller's to give away, readable and writable for `len` bytes and initialised; `free` accepts it on any
    /// thread, and does not unwind.
    pub unsafe fn foreign(
        self,
        ptr: NonNull<u8>,
        len: usize,
        free: unsafe fn(NonNull<u8>, usize),
    ) -> Result<Block, Error> {
        let fits = size_of_payload(len)?;
        let header = self.0.allocate(Header::SIZE + FOREIGN_BODY, len, true)?;
        // SAFETY: the block has room for the body, and the caller promises the rest.
        Ok(unsafe { Block::of_foreign(header, ptr, fits, free) })
    }

    /// A block whose body is a payload that others own too: one receiver's envelope around it.
    ///
    /// # Errors
    /// As [`envelope`](Arena::envelope).
    pub fn forward(self, payload: Payload) -> Result<Block, Error> {
        let len = payload.len();
        self.forward_part(payload, 0, len)
    }

    /// As [`forward`](Arena::forward), of `len` bytes from `start` on.
    ///
    /// # Errors
    /// As [`envelope`](Arena::envelope).
    ///
    /// # Panics
    /// If the payload is shorter.
    pub fn forward_part(self, payload: Payload, start: usize, len: usize) -> Result<Block, Error> {
        assert!(start <= payload.len() && len <= payload.len() - start, "a part is inside of its payload");
        let header = self.0.allocate(Header::SIZE + FORWARD_BODY, 0, true)?;
        Ok(Block::of_payload(header, payload, start, len))
    }

    /// A block whose body is bytes of another process's heap.
    ///
    /// # Errors
    /// As [`envelope`](Arena::envelope).
    ///
    /// # Safety
    /// The bytes stay readable until `give_back` has been called, which may happen once, on any thread.
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) unsafe fn remote(self, body: RemoteBody, len: u32) -> Result<Block, Error> {
        let header = self.0.allocate(Header::SIZE + REMOTE_BODY, 0, true)?;
        // SAFETY: the block has the room, and the caller promises the rest.
        Ok(unsafe { Block::of_remote(header, body, len) })
    }

    /// Whether `ptr` is the payload address of a live block, of any arena of this process.
    ///
    /// It never touches memory that is not an arena's, so `ptr` may be anything. The answer is a snapshot, a second line of
    /// defence: who is allowed to take the block is decided by whose hand it is in.
    #[inline]
    pub fn find(ptr: *const u8) -> Option<Found> {
        let header = alloc::find(ptr)?;
        // SAFETY: `find` says that a header of ours is there. It may be freed by the time we look, but not unmapped.
        let (size, owners, generation) = unsafe { header.as_ref() }.peek()?;
        Some(Found { header, heap: range::heap_of(ptr)?, size, owners, generation })
    }

    /// What the arena holds, and what this process has copied.
    pub fn stats(self) -> Stats {
        let [copied_in, copied_out, moved] = stats::copied();
        Stats { copied_in, copied_out, moved, ..self.0.stats() }
    }

    /// Gives back to the system what is free and only kept for speed: free pages, empty spans, and the blocks that the calling
    /// thread has at hand.
    ///
    /// An arena does this by itself at its limit, and in part when much is free. It is for whoever wants the last few megabytes.
    pub fn trim(self) {
        self.0.trim();
    }

    /// Gives back the blocks that the calling thread has at hand, and those that wait for any thread. For a thread that goes to
    /// sleep: a few such blocks may pin spans, which others could use or the system have back.
    ///
    /// Nothing else has to be done for memory to follow what is alive: what the arena keeps beyond it is bounded at any time
    /// (docs/arena-layout.md).
    pub fn flush(self) {
        self.0.flush();
    }

    /// The limit the arena was opened with.
    pub fn limit(self) -> Option<u64> {
        self.0.limit()
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("limit", &self.limit()).finish_non_exhaustive()
    }
}

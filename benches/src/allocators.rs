//! Blocks of an arena beside the memory of other allocators, behind one face.
//!
//! The rivals are called directly, not as the program's allocator: what the program does meanwhile stays out of it.

use std::ptr::NonNull;

use skein_arena::{Arena, Block, Header, Options};

/// Gives out memory of `size` bytes, and takes it back.
pub trait Allocator: Copy + Send + 'static {
    /// As tables name it.
    const NAME: &'static str;
    /// What a message takes beside its payload, if the allocator does not bring it along: a header, and a NUL behind.
    const BESIDE: usize;

    /// Memory of at least `size` bytes, 16-aligned.
    fn alloc(self, size: usize) -> NonNull<u8>;

    /// Takes it back, on any thread.
    ///
    /// # Safety
    /// `at` came from `alloc` of the same allocator and was not taken back since.
    unsafe fn free(self, at: NonNull<u8>);
}

/// Blocks: what is given out is the payload.
#[derive(Clone, Copy)]
pub struct Skein(pub Arena);

impl Skein {
    /// A heap of its own.
    ///
    /// # Panics
    /// If the address range is taken.
    pub fn new() -> Skein {
        Skein(Arena::private(&Options::default()).expect("benches have the range to themselves"))
    }
}

impl Default for Skein {
    fn default() -> Self {
        Skein::new()
    }
}

impl Allocator for Skein {
    const NAME: &'static str = "skein";
    const BESIDE: usize = 0;

    #[inline]
    fn alloc(self, size: usize) -> NonNull<u8> {
        let header = self.0.alloc(size).expect("there is no limit").into_raw();
        // SAFETY: the payload is right behind the header.
        unsafe { header.add(1).cast() }
    }

    #[inline]
    unsafe fn free(self, at: NonNull<u8>) {
        // SAFETY: `alloc` gave the block away at this address.
        drop(unsafe { Block::from_raw(at.cast::<Header>().sub(1)) });
    }
}

/// mimalloc.
#[derive(Clone, Copy)]
pub struct Mimalloc;

impl Allocator for Mimalloc {
    const NAME: &'static str = "mimalloc";
    const BESIDE: usize = Header::SIZE + 1;

    #[inline]
    fn alloc(self, size: usize) -> NonNull<u8> {
        // SAFETY: any size will do.
        NonNull::new(unsafe { libmimalloc_sys::mi_malloc(size) }.cast()).expect("there is memory")
    }

    #[inline]
    unsafe fn free(self, at: NonNull<u8>) {
        // SAFETY: passed on.
        unsafe { libmimalloc_sys::mi_free(at.as_ptr().cast()) }
    }
}

/// jemalloc.
#[derive(Clone, Copy)]
pub struct Jemalloc;

impl Allocator for Jemalloc {
    const NAME: &'static str = "jemalloc";
    const BESIDE: usize = Header::SIZE + 1;

    #[inline]
    fn alloc(self, size: usize) -> NonNull<u8> {
        // SAFETY: any size will do.
        NonNull::new(unsafe { tikv_jemalloc_sys::malloc(size) }.cast()).expect("there is memory")
    }

    #[inline]
    unsafe fn free(self, at: NonNull<u8>) {
        // SAFETY: passed on.
        unsafe { tikv_jemalloc_sys::free(at.as_ptr().cast()) }
    }
}

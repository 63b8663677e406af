//! The fixed range of addresses: heaps, segments, and "is it ours?".
//!
//! ```text
//! BASE                                                                              BASE + 16 TiB
//! ├─ heap 0 ─┼─ heap 1 ─┼ … ┼─ heap 254 ─┼─ kept ─┼─ segments of frozen tables … ─┼── code ───┤
//!    32 GiB each                                                                       32 GiB
//! ```
//!
//! The whole of it is reserved once per process, without access and without a claim on memory; a heap makes its part
//! readable as it grows. Because the addresses are build constants, a pointer means the same in every process of a domain,
//! and "is this pointer ours?" is a subtraction and a comparison.
//!
//! # A smaller one
//! ThreadSanitizer keeps the large range for itself. Built with `--cfg skein_tsan` the range is 64 GiB at 2³⁶, with heaps of
//! 128 MiB; everything else is the same. Processes with different ranges refuse each other's domains.
//!
//! # When the range does not fit
//! Under a limit on address space (`ulimit -v`) a smaller range is reserved at the same base: at most half of what the limit
//! allows, then half of that until the system agrees. [`reserved`] says how much it became; a heap that does not lie in it
//! cannot be opened, and the one that lies across its end is shorter.

/// Where the range begins: low in the half that no allocator of Linux, no AddressSanitizer and not valgrind uses.
pub const BASE: usize = if SMALL { 0x10_0000_0000 } else { 0x2000_0000_0000 };
/// The range has two to this power of bytes: 16 TiB.
pub const BITS: u32 = if SMALL { 36 } else { 44 };
/// A heap has two to this power of bytes: 32 GiB.
pub const HEAP_BITS: u32 = BITS - 9;
/// Whether this build has the smaller range.
pub const SMALL: bool = cfg!(skein_tsan);
/// Heaps of the range: one per process of a domain. A process alone uses the first.
pub const HEAPS: usize = 255;
/// Where the segments of frozen tables begin.
pub const SEGMENTS: usize = BASE + (256 << HEAP_BITS);

/// Where the frozen code of this process lies: as long as a heap, at the end of the range. Whoever runs the code maps it, after [`reserve()`].
pub const CODE: usize = BASE + (1 << BITS) - (1 << HEAP_BITS);

/// Whether an address lies in the range, mapped or not.
///
/// This is the cheap first question. [`Arena::find`](crate::Arena::find) answers whether a live block is there.
#[inline]
pub fn contains(ptr: *const u8) -> bool {
    ptr.addr().wrapping_sub(BASE) >> BITS == 0
}

/// Which heap an address belongs to, whether that heap is open or not.
#[inline]
pub fn heap_of(ptr: *const u8) -> Option<usize> {
    let heap = ptr.addr().wrapping_sub(BASE) >> HEAP_BITS;
    (heap < HEAPS).then_some(heap)
}

/// Where heap `index` begins.
#[inline]
pub const fn heap_base(index: usize) -> usize {
    BASE + (index << HEAP_BITS)
}

#[cfg(not(loom))]
pub(crate) use claim::{claim, claim_private, room, unclaim};
#[cfg(not(loom))]
pub use reserve::{commit, expect_writes, map_file, reserve, reserved, seal, unmap};
#[cfg(not(loom))]
pub(crate) use reserve::{discard, ensure_reserved, remove};

#[cfg(not(loom))]
mod claim;

#[cfg(not(loom))]
mod reserve {
    use std::{ffi::c_void, fs::File, io, ptr, sync::OnceLock};

    use rustix::{
        io::Errno,
        mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, munmap},
        process::{Resource, getrlimit},
    };

    use super::{BASE, BITS};
    use crate::Error;

    /// Below this a heap is of no use, and the limit on address space is the operator's mistake.
    const LEAST: usize = 64 << 20;

    static RESERVED: OnceLock<Result<usize, Refusal>> = OnceLock::new();

    /// Why there is no range; kept so that every later attempt says the same.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Refusal {
        Taken { size: usize },
        System { size: usize, errno: Errno },
    }

    impl From<Refusal> for Error {
        fn from(refusal: Refusal) -> Self {
            match refusal {
                Refusal::Taken { size } => Error::AddressTaken { base: BASE, size },
                Refusal::System { size, errno } => Error::Reserve { base: BASE, size, source: errno.into() },
            }
        }
    }

    /// Reserves the range if that has not happened yet; its size.
    pub(crate) fn ensure_reserved() -> Result<usize, Error> {
        RESERVED.get_or_init(|| take(BASE, first_try(getrlimit(Resource::As).current))).map_err(Error::from)
    }

    /// Reserves the range if that has not happened yet, for those who map pages of it themselves: bytes that are reserved.
    ///
    /// # Errors
    ///
    /// [`Error::AddressTaken`] and [`Error::Reserve`], as when an arena is opened.
    pub fn reserve() -> Result<usize, Error> {
        ensure_reserved()
    }

    /// Bytes of the range that this process could reserve; zero before the first arena.
    pub fn reserved() -> usize {
        RESERVED.get().and_then(|it| it.ok()).unwrap_or(0)
    }

    /// The size to begin with under a limit on address space: the program needs some of it for everything else.
    fn first_try(limit: Option<u64>) -> usize {
        let whole = 1 << BITS;
        match limit {
            Some(limit) if limit / 2 < whole as u64 => match (limit / 2) as usize {
                0 => LEAST,
                half => (1 << half.ilog2()).max(LEAST),
            },
            _ => whole,
        }
    }

    /// Reserves `size` bytes at `base`, or half as many, and so on.
    fn take(base: usize, mut size: usize) -> Result<usize, Refusal> {
        let at = ptr::with_exposed_provenance_mut::<c_void>(base);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
        loop {
            // SAFETY: `FIXED_NOREPLACE` maps nothing over an existing mapping, so no memory changes under anybody.
            match unsafe { mmap_anonymous(at, size, ProtFlags::empty(), flags) } {
                Ok(got) if got == at => return Ok(size),
                Ok(got) => {
                    // A kernel before 4.17 takes the address as a hint only.
                    // SAFETY: we have just made this mapping, and nobody knows of it.
                    let _ = unsafe { munmap(got, size) };
                    return Err(Refusal::Taken { size });
                }
                Err(Errno::EXIST) => return Err(Refusal::Taken { size }),
                Err(Errno::NOMEM) if size / 2 >= LEAST => size /= 2,
                Err(errno) => return Err(Refusal::System { size, errno }),
            }
        }
    }

    /// Makes reserved addresses readable and writable.
    ///
    /// # Errors
    /// The system refuses.
    ///
    /// # Safety
    /// The bytes belong to the caller's heap, or to a segment of its, and lie in the reserved range.
    pub unsafe fn commit(at: *mut u8, size: usize) -> Result<(), Error> {
        debug_assert!(super::contains(at) && at.addr() + size <= BASE + reserved());
        // SAFETY: the range is ours, and granting more access breaks no reference into it.
        unsafe { mprotect(at.cast(), size, MprotectFlags::READ | MprotectFlags::WRITE) }
            .map_err(|errno| Error::Map { size, source: io::Error::from(errno) })
    }

    /// Says that committed addresses will be written soon, one behind the other: the system may give them memory in large
    /// pieces. Nothing is lost if it does not. `file`: they show one, whose memory is there.
    ///
    /// # Safety
    /// As for [`commit`].
    pub unsafe fn expect_writes(at: *mut u8, size: usize, file: bool) {
        let advice = if file { Advice::LinuxPopulateWrite } else { Advice::LinuxHugepage };
        // SAFETY: by the caller's promise the bytes are theirs; neither advice changes what is in them.
        let _ = unsafe { madvise(at.cast(), size, advice) };
    }

    /// Gives the memory behind committed addresses back; they read as zeros afterwards, and stay usable.
    ///
    /// # Safety
    /// No live block has a byte in there.
    pub(crate) unsafe fn discard(at: *mut u8, size: usize) {
        // Only whole pages of the system can go; ours are smaller than its pages on some machines.
        let page = page_size();
        let first = at.map_addr(|it| it.next_multiple_of(page));
        let end = (at.addr() + size) & !(page - 1);
        if end > first.addr() {
            // SAFETY: by the caller's promise nobody needs these bytes.
            let done = unsafe { madvise(first.cast(), end - first.addr(), Advice::LinuxDontNeed) };
            // It fails for addresses that are not mapped or that are locked: the first cannot be, the second is harmless.
            debug_assert_eq!(done, Ok(()));
        }
    }

    /// Makes addresses read-only.
    ///
    /// # Errors
    /// The system refuses.
    ///
    /// # Safety
    /// The bytes are the caller's, and nobody writes them from here on.
    pub unsafe fn seal(at: *mut u8, size: usize) -> Result<(), Error> {
        debug_assert!(super::contains(at) && at.addr() + size <= BASE + reserved());
        // SAFETY: readers keep their right, and by the caller's promise there are no writers.
        unsafe { mprotect(at.cast(), size, MprotectFlags::READ) }
            .map_err(|errno| Error::Map { size, source: io::Error::from(errno) })
    }

    /// Maps part of a file over reserved addresses, to read or also to write; what was mapped there is gone.
    ///
    /// # Errors
    /// The system refuses.
    ///
    /// # Safety
    /// The bytes belong to the caller's heap or to its view of another's and lie in the reserved range, and nobody uses what
    /// is mapped there.
    pub unsafe fn map_file(
        at: *mut u8,
        size: usize,
        file: &File,
        offset: usize,
        write: bool,
    ) -> Result<(), Error> {
        debug_assert!(super::contains(at) && at.addr() + size <= BASE + reserved());
        let access = if write { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let flags = MapFlags::SHARED | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: the addresses are reserved, and nobody uses them, by the caller's promise.
        match unsafe { mmap(at.cast(), size, access, flags, file, offset as u64) } {
            Ok(_) => Ok(()),
            Err(errno) => Err(Error::Map { size, source: io::Error::from(errno) }),
        }
    }

    /// Makes addresses reserved again and no more.
    ///
    /// # Errors
    /// The system refuses.
    ///
    /// # Safety
    /// As for [`map_file`].
    pub unsafe fn unmap(at: *mut u8, size: usize) -> Result<(), Error> {
        debug_assert!(super::contains(at) && at.addr() + size <= BASE + reserved());
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: the addresses are ours, and nobody uses them, by the caller's promise.
        match unsafe { mmap_anonymous(at.cast(), size, ProtFlags::empty(), flags) } {
            Ok(_) => Ok(()),
            Err(errno) => Err(Error::Map { size, source: io::Error::from(errno) }),
        }
    }

    /// Gives the pages of a mapped file back to its file system; they read as zeros afterwards.
    ///
    /// # Safety
    /// No live block has a byte in there.
    pub(crate) unsafe fn remove(at: *mut u8, size: usize) {
        // SAFETY: by the caller's promise nobody needs these bytes.
        let done = unsafe { madvise(at.cast(), size, Advice::LinuxRemove) };
        // A file system that has no holes keeps the pages; they are promised and stay usable.
        debug_assert!(matches!(done, Ok(()) | Err(Errno::OPNOTSUPP)), "{done:?}");
    }

    /// The system's page size.
    fn page_size() -> usize {
        rustix::param::page_size()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// Away from the real range, so that the tests of this crate do not meet.
        const ELSEWHERE: usize = BASE + (3 << (BITS - 1));

        #[test]
        fn a_taken_address_is_an_error_that_says_so() {
            assert_eq!(take(ELSEWHERE, LEAST), Ok(LEAST));
            assert_eq!(take(ELSEWHERE + LEAST / 2, LEAST), Err(Refusal::Taken { size: LEAST }));
            let error = Error::from(Refusal::Taken { size: LEAST });
            assert_eq!(
                error.to_string(),
                format!("the address range at {BASE:#x}, 67108864 bytes, is taken by something else")
            );
        }

        #[test]
        fn a_limit_on_address_space_leaves_half_of_it_to_others() {
            assert_eq!(first_try(None), 1 << BITS);
            assert_eq!(first_try(Some(u64::MAX - 1)), 1 << BITS);
            assert_eq!(first_try(Some(8 << 30)), 4 << 30);
            assert_eq!(first_try(Some((8 << 30) + 1000)), 4 << 30);
            assert_eq!(first_try(Some((8 << 30) - 1000)), 2 << 30);
            assert_eq!(first_try(Some(0)), LEAST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(addr: usize) -> *const u8 {
        std::ptr::without_provenance(addr)
    }

    #[test]
    fn the_range_ends_where_it_says() {
        assert!(!contains(at(0)) && !contains(at(BASE - 1)) && !contains(at(usize::MAX)));
        assert!(contains(at(BASE)) && contains(at(BASE + (1 << BITS) - 1)));
        assert!(!contains(at(BASE + (1 << BITS))));
    }

    #[test]
    fn an_address_names_its_heap() {
        assert_eq!(heap_of(at(BASE)), Some(0));
        assert_eq!(heap_of(at(BASE + (1 << HEAP_BITS) - 1)), Some(0));
        assert_eq!(heap_of(at(heap_base(254))), Some(254));
        assert_eq!(heap_of(at(heap_base(255))), None);
        assert_eq!(heap_of(at(SEGMENTS)), None);
        assert_eq!(heap_of(at(BASE - 1)), None);
    }
}

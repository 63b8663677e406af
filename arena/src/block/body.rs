//! What lies behind a block's header: the bytes, or what a block of another kind stands for, and how each is freed.

use std::{
    ptr::{self, NonNull},
    slice,
};

use super::{Header, Kind, Left, Payload};
use crate::alloc;

/// What a block of [`Kind::Foreign`] keeps behind its header.
pub(super) struct ForeignBody {
    pub(super) at: NonNull<u8>,
    pub(super) len: usize,
    pub(super) free: unsafe fn(NonNull<u8>, usize),
}

/// What a block of [`Kind::Forward`] keeps behind its header.
pub(super) struct ForwardBody {
    /// One of its owners is this block. It is not a forward itself.
    pub(super) payload: Payload,
    /// Where in it the forwarded bytes begin; null if it has none.
    pub(super) at: *mut u8,
}

/// What a block of [`Kind::Remote`] keeps behind its header.
#[derive(Clone, Copy)]
pub(crate) struct RemoteBody {
    /// Where the bytes are: read-only, and there until they are given back.
    pub(crate) at: NonNull<u8>,
    /// Which lane they came through, and under which ticket of it.
    pub(crate) lane: *const (),
    pub(crate) ticket: u16,
    /// Takes lane and ticket back, once.
    pub(crate) give_back: unsafe fn(*const (), u16),
}

/// Bytes a body of each indirect kind takes behind the header.
pub(crate) const FOREIGN_BODY: usize = size_of::<ForeignBody>();
pub(crate) const FORWARD_BODY: usize = size_of::<ForwardBody>();
pub(crate) const REMOTE_BODY: usize = size_of::<RemoteBody>();

/// The first byte behind a header.
///
/// # Safety
/// `header` is the start of a block, and may be used for the whole of it.
#[inline]
pub(super) unsafe fn behind(header: NonNull<Header>) -> NonNull<u8> {
    // SAFETY: a block is at least a header long.
    unsafe { header.cast::<u8>().byte_add(Header::SIZE) }
}

/// Where the bytes of a block's body are; null for an empty one.
///
/// # Safety
/// The caller is an owner.
#[inline]
pub(super) unsafe fn body(header: NonNull<Header>) -> *mut u8 {
    // SAFETY: an owner may look at the header.
    match unsafe { header.as_ref() }.kind() {
        // SAFETY: the header starts a block.
        Kind::Bytes => unsafe { behind(header) }.as_ptr(),
        Kind::Empty => ptr::null_mut(),
        // SAFETY: a foreign block keeps its `ForeignBody` behind the header (H1).
        Kind::Foreign => unsafe { behind(header).cast::<ForeignBody>().as_ref() }.at.as_ptr(),
        // SAFETY: a forwarding block keeps its `ForwardBody` there (H1).
        Kind::Forward => unsafe { behind(header).cast::<ForwardBody>().as_ref() }.at,
        // SAFETY: a remote block keeps its `RemoteBody` there (H1).
        Kind::Remote => unsafe { behind(header).cast::<RemoteBody>().as_ref() }.at.as_ptr(),
    }
}

/// The bytes of a block's body.
///
/// # Safety
/// The caller is an owner for as long as `'a`, and nobody writes during it.
#[inline]
pub(super) unsafe fn bytes<'a>(header: NonNull<Header>) -> &'a [u8] {
    // SAFETY: passed on.
    let first = unsafe { body(header) };
    if first.is_null() {
        return &[];
    }
    // SAFETY:
    // * `first` is the first of `size` bytes inside the block (H1), or inside what it stands for;
    // * the caller is an owner, so the block stays in this life while the slice is borrowed (H2);
    // * nobody writes it meanwhile, by the caller's promise (H3).
    unsafe { slice::from_raw_parts(first, header.as_ref().size()) }
}

/// Frees what the body stands for; the block itself stays.
///
/// # Safety
/// The caller is the sole owner or the one who left last, and gives the block an other body or frees it.
pub(super) unsafe fn drop_body(header: NonNull<Header>) {
    // SAFETY: nobody but the caller knows the block.
    match unsafe { header.as_ref() }.kind() {
        Kind::Bytes | Kind::Empty => {}
        Kind::Foreign => {
            // SAFETY: a foreign block keeps its `ForeignBody` there.
            let ForeignBody { at, len, free } = unsafe { behind(header).cast::<ForeignBody>().read() };
            // SAFETY: who made the block promised that `free` takes exactly this, and nobody reads it any more (H2).
            unsafe { free(at, len) };
        }
        // SAFETY: a forwarding block keeps its `ForwardBody` there, and we take the owner in it over.
        Kind::Forward => drop(unsafe { behind(header).cast::<ForwardBody>().read() }),
        Kind::Remote => {
            // SAFETY: a remote block keeps its `RemoteBody` there.
            let RemoteBody { lane, ticket, give_back, .. } =
                unsafe { behind(header).cast::<RemoteBody>().read() };
            // SAFETY: who made the block promised that this may be called once, and nobody reads the bytes any more (H2).
            unsafe { give_back(lane, ticket) };
        }
    }
}

/// One owner leaves; the last one frees everything.
///
/// # Safety
/// The caller is an owner, and none afterwards.
#[inline]
pub(super) unsafe fn leave(header: NonNull<Header>) {
    // SAFETY: the caller is an owner.
    match unsafe { header.as_ref().release() } {
        Left::Others => {}
        // SAFETY: nobody owns the block, and we are the ones who were told (H2).
        Left::Nobody => unsafe { free(header) },
    }
}

/// The only owner leaves and frees everything.
///
/// # Safety
/// The caller is the only owner, and none afterwards.
#[inline]
pub(super) unsafe fn leave_sole(header: NonNull<Header>) {
    // SAFETY: passed on; then nobody owns the block (H2).
    unsafe {
        header.as_ref().release_sole();
        free(header);
    }
}

/// Frees the body and hands the block back.
///
/// # Safety
/// Nobody owns the block, and the caller was told so.
#[inline]
unsafe fn free(header: NonNull<Header>) {
    // SAFETY: passed on.
    unsafe {
        let (plain, class) = header.as_ref().is_plain_and_class();
        // Nothing is left to do after either call, so the common way through here saves no registers.
        if plain { alloc::free(header, class) } else { free_with_body(header) }
    }
}

/// As [`free`], for a body that stands for something.
///
/// # Safety
/// As there.
#[cold]
unsafe fn free_with_body(header: NonNull<Header>) {
    // SAFETY: passed on.
    unsafe {
        drop_body(header);
        alloc::free(header, header.as_ref().class());
    }
}

//! `Block` and `Payload`: owners of a block as types.
//!
//! A [`Block`] is a sole owner and may write. [`Block::share`] makes it a [`Payload`], which anybody may read and nobody may
//! write; each clone is one more owner. [`Payload::try_unique`] is the way back for whoever is left alone with it.
//!
//! Both are one pointer wide. They carry no reference to an arena: the address says which heap a block belongs to.
//!
//! # From skynet
//! `void *msg, size_t sz` → `Block` · `PTYPE_TAG_DONTCOPY` → passing a `Block` by value · `skynet_free(msg)` → `drop` ·
//! multicast's `struct mc_package` with its count → `Payload` and one [`Kind::Forward`] block per receiver.

use std::{
    fmt,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::{self, NonNull},
    slice,
};

use super::{
    Envelope, Header, Kind,
    body::{ForeignBody, ForwardBody, RemoteBody, behind, body, bytes, drop_body, leave, leave_sole},
};
use crate::{
    Error,
    alloc::{self, Fresh},
};

/// The only owner of a block: reads, writes, and frees it when dropped.
///
/// Dereferences to the bytes of the body, whatever its [`Kind`].
#[repr(transparent)]
pub struct Block(NonNull<Header>);

/// One of several owners of a block: reads. The last one to go frees it.
#[repr(transparent)]
pub struct Payload(NonNull<Header>);

// SAFETY: a block's memory belongs to no thread, and a `Block` is its only owner. Foreign memory: `Arena::foreign` demands it.
unsafe impl Send for Block {}
// SAFETY: through `&Block` one can only read.
unsafe impl Sync for Block {}
// SAFETY: owners only read, and the count is atomic; the last one frees, on whichever thread.
unsafe impl Send for Payload {}
// SAFETY: as above; cloning through a shared reference is an atomic addition.
unsafe impl Sync for Payload {}

impl Block {
    /// Takes a block over from the allocator, its NUL written.
    #[inline]
    pub(crate) fn of_bytes(Fresh { header, class }: Fresh, size: u32) -> Block {
        // SAFETY: the allocator gave us the block, with room for `size` bytes and the NUL.
        unsafe {
            header.as_ref().begin(size, class, Kind::Bytes);
            behind(header).byte_add(size as usize).write(0);
        }
        Block(header)
    }

    /// Takes a block over from the allocator as an envelope.
    pub(crate) fn of_nothing(Fresh { header, class }: Fresh) -> Block {
        // SAFETY: the allocator gave us the block.
        unsafe { header.as_ref() }.begin(0, class, Kind::Empty);
        Block(header)
    }

    /// Makes an empty block own foreign memory.
    ///
    /// # Safety
    /// As for `Arena::foreign`, and the block has room for [`FOREIGN_BODY`](super::FOREIGN_BODY).
    pub(crate) unsafe fn of_foreign(
        Fresh { header, class }: Fresh,
        at: NonNull<u8>,
        len: u32,
        free: unsafe fn(NonNull<u8>, usize),
    ) -> Block {
        // SAFETY: the allocator gave us the block, and it has the room.
        unsafe {
            header.as_ref().begin(len, class, Kind::Foreign);
            behind(header).cast().write(ForeignBody { at, len: len as usize, free });
        }
        Block(header)
    }

    /// Makes an empty block forward `len` bytes of a payload, from `start` on: they are there, and the block has
    /// room for [`FORWARD_BODY`](super::FORWARD_BODY).
    pub(crate) fn of_payload(
        Fresh { header, class }: Fresh,
        payload: Payload,
        start: usize,
        len: usize,
    ) -> Block {
        // Of a null pointer the part is empty, and begins at 0.
        let at = payload.as_ptr().cast_mut().wrapping_add(start);
        // SAFETY: the allocator gave us `header` with the room.
        unsafe {
            header.as_ref().begin(len as u32, class, Kind::Forward);
            behind(header).cast().write(ForwardBody { payload, at });
        }
        Block(header)
    }

    /// Makes an empty block hold bytes of another process.
    ///
    /// # Safety
    /// The block has room for [`REMOTE_BODY`](super::REMOTE_BODY); the bytes stay readable, and `give_back` may be called once.
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) unsafe fn of_remote(Fresh { header, class }: Fresh, body: RemoteBody, len: u32) -> Block {
        // SAFETY: the allocator gave us the block, and it has the room.
        unsafe {
            header.as_ref().begin(len, class, Kind::Remote);
            behind(header).cast().write(body);
        }
        Block(header)
    }

    /// Of which process's bytes this block is, if it is of [`Kind::Remote`].
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn remote(&self) -> Option<RemoteBody> {
        // SAFETY: a remote block keeps its `RemoteBody` there, as long as it lives (H1).
        (self.kind() == Kind::Remote).then(|| unsafe { behind(self.0).cast::<RemoteBody>().read() })
    }

    /// Frees a remote block without giving its bytes back: the caller does that.
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn into_remote(self) -> RemoteBody {
        let body = self.remote().expect("only of a remote block");
        // SAFETY: a `Block` is a sole owner; afterwards the body is empty, as the header says.
        unsafe { self.header().set_kind(Kind::Empty) };
        body
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: an owner may look at the header.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(super) fn header_ptr(&self) -> NonNull<Header> {
        self.0
    }

    /// Where the body is, and what Lua gets as `msg`; null for an [`Empty`](Kind::Empty) one.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        // SAFETY: we are an owner.
        unsafe { body(self.0) }
    }

    /// Bytes of the body.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // `Deref` brings one along.
    pub fn len(&self) -> usize {
        self.header().size()
    }

    /// What the body is.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.header().kind()
    }

    /// Which life of its memory this block is.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.header().generation()
    }

    /// Source, session and type.
    #[inline]
    pub fn envelope(&self) -> Envelope {
        self.header().envelope()
    }

    /// Addresses the block.
    #[inline]
    pub fn set_envelope(&mut self, envelope: Envelope) {
        // SAFETY: a `Block` is a sole owner.
        unsafe { self.header().set_envelope(envelope) }
    }

    /// The bytes, to write; none if others own the body too ([`Kind::Forward`], [`Kind::Remote`]).
    #[inline]
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match self.kind() {
            Kind::Forward | Kind::Remote => None,
            Kind::Empty => Some(&mut []),
            Kind::Bytes | Kind::Foreign => {
                // SAFETY: as in `bytes`, and the borrow of the only owner is exclusive.
                Some(unsafe { slice::from_raw_parts_mut(body(self.0), self.len()) })
            }
        }
    }

    /// Makes the body shorter. A `len` that is not shorter changes nothing.
    ///
    /// Bytes of the arena get their NUL behind the new end; pages of a large block that become free are given back.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        // SAFETY: a `Block` is a sole owner, and the body is longer than `len`.
        unsafe {
            self.header().set_size(len as u32);
            if self.kind() == Kind::Bytes {
                behind(self.0).byte_add(len).write(0);
                alloc::shrink(self.0, len);
            }
        }
    }

    /// Whether the body is foreign memory that `free` takes back: who made the block with a function of its own can tell.
    pub fn frees_with(&self, free: unsafe fn(NonNull<u8>, usize)) -> bool {
        // SAFETY: a foreign block keeps its `ForeignBody` behind the header (H1).
        self.kind() == Kind::Foreign
            && ptr::fn_addr_eq(unsafe { behind(self.0).cast::<ForeignBody>().as_ref() }.free, free)
    }

    /// What this block forwards, in full length; none unless it is of [`Kind::Forward`].
    #[inline]
    pub fn forwarded(&self) -> Option<&Payload> {
        // SAFETY: a forwarding block keeps its `ForwardBody` there, as long as it lives (H1).
        (self.kind() == Kind::Forward)
            .then(|| unsafe { &behind(self.0).cast::<ForwardBody>().as_ref().payload })
    }

    /// Bytes of memory that the block takes, header and what is unused included.
    pub fn footprint(&self) -> usize {
        // SAFETY: we are an owner.
        unsafe { alloc::footprint(self.0) }
    }

    /// Lets others own the body too. For a forwarding block this is the payload it forwards, in full length.
    pub fn share(self) -> Payload {
        let header = self.into_raw();
        // SAFETY: `into_raw` gave us the only owner.
        unsafe {
            if header.as_ref().kind() != Kind::Forward {
                return Payload(header);
            }
            let ForwardBody { payload, .. } = behind(header).cast().read();
            // Its owner is ours now, so the envelope must not drop it.
            header.as_ref().set_kind(Kind::Empty);
            leave_sole(header);
            payload
        }
    }

    /// Takes memory of another allocator out of its envelope, which is freed: it is the caller's to free, and has this many
    /// bytes.
    ///
    /// # Errors
    /// The block, if it is not of [`Kind::Foreign`].
    pub fn into_foreign(self) -> Result<(NonNull<u8>, usize), Block> {
        if self.kind() != Kind::Foreign {
            return Err(self);
        }
        let header = self.into_raw();
        // SAFETY: `into_raw` gave us the only owner, and a foreign block keeps its `ForeignBody` there. The memory is the
        // caller's now, so the envelope must not free it.
        unsafe {
            let ForeignBody { at, len, .. } = behind(header).cast().read();
            header.as_ref().set_kind(Kind::Empty);
            leave_sole(header);
            Ok((at, len))
        }
    }

    /// Drops the body and keeps the envelope: a dropped request becomes its own error reply, without an allocation.
    pub fn become_empty(self) -> Block {
        // SAFETY: a `Block` is a sole owner; afterwards the body is empty, as the header says.
        unsafe {
            drop_body(self.0);
            self.header().set_kind(Kind::Empty);
            self.header().set_size(0);
            alloc::shrink(self.0, 0);
        }
        self
    }

    /// Gives the ownership to whoever holds the pointer: a queue, or a Lua state.
    #[inline]
    pub fn into_raw(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    /// Takes back what [`into_raw`](Block::into_raw) gave away.
    ///
    /// # Safety
    /// `header` came from `into_raw`, and nobody has taken it back since.
    #[inline]
    pub unsafe fn from_raw(header: NonNull<Header>) -> Block {
        Block(header)
    }
}

impl Payload {
    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: an owner may look at the header.
        unsafe { self.0.as_ref() }
    }

    /// Where the bytes are; null for an [`Empty`](Kind::Empty) body.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        // SAFETY: we are an owner.
        unsafe { body(self.0) }
    }

    /// Bytes of the body.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // `Deref` brings one along.
    pub fn len(&self) -> usize {
        self.header().size()
    }

    /// What the body is; never [`Forward`](Kind::Forward).
    #[inline]
    pub fn kind(&self) -> Kind {
        self.header().kind()
    }

    /// Which life of its memory this payload is.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.header().generation()
    }

    /// Of which process's bytes this payload is, if it is of [`Kind::Remote`].
    #[cfg_attr(loom, allow(dead_code))]
    pub(crate) fn remote(&self) -> Option<RemoteBody> {
        // SAFETY: a remote block keeps its `RemoteBody` there, as long as it lives (H1).
        (self.kind() == Kind::Remote).then(|| unsafe { behind(self.0).cast::<RemoteBody>().read() })
    }

    /// How many owners there are: a snapshot, for tools.
    pub fn owners(&self) -> u32 {
        self.header().owners()
    }

    /// Bytes of memory that the block takes, header and what is unused included.
    pub fn footprint(&self) -> usize {
        // SAFETY: we are an owner.
        unsafe { alloc::footprint(self.0) }
    }

    /// Its header, which is good as long as the payload has an owner: to count one more, for somebody who keeps the pointer.
    #[inline]
    pub fn as_raw(&self) -> NonNull<Header> {
        self.0
    }

    /// The same bytes for code that speaks [`bytes::Bytes`]. Nothing is copied: the `Bytes` is an owner.
    pub fn into_bytes(self) -> bytes::Bytes {
        bytes::Bytes::from_owner(self)
    }

    /// The block again, if no other owner is left.
    ///
    /// # Errors
    /// Gives the payload back if there are others.
    pub fn try_unique(self) -> Result<Block, Payload> {
        if self.header().is_sole() { Ok(Block(self.into_raw())) } else { Err(self) }
    }

    /// Gives the reference to whoever holds the pointer.
    #[inline]
    pub fn into_raw(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    /// Takes back what [`into_raw`](Payload::into_raw) gave away.
    ///
    /// # Safety
    /// `header` came from `into_raw` of a payload, and this reference has not been taken back since.
    #[inline]
    pub unsafe fn from_raw(header: NonNull<Header>) -> Payload {
        Payload(header)
    }
}

impl Clone for Payload {
    #[inline]
    fn clone(&self) -> Self {
        self.header().acquire();
        Payload(self.0)
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: we are the only owner, and gone afterwards.
        unsafe { leave_sole(self.0) }
    }
}

impl Drop for Payload {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { leave(self.0) }
    }
}

impl Deref for Block {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: we are an owner, and writing takes `&mut self`.
        unsafe { bytes(self.0) }
    }
}

impl Deref for Payload {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: we are an owner. Writing needs a sole one, which `try_unique` makes only by taking a `Payload` by value.
        unsafe { bytes(self.0) }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Envelope { source, session, ty } = self.envelope();
        write!(f, "Block({:p}, {:?}, {} bytes, from {source:#x}", self.as_ptr(), self.kind(), self.len())?;
        write!(f, ", session {session}, type {ty})")
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Payload({:p}, {:?}, {} bytes, {} owners)",
            self.as_ptr(),
            self.kind(),
            self.len(),
            self.owners()
        )
    }
}

impl From<Payload> for bytes::Bytes {
    fn from(payload: Payload) -> Self {
        payload.into_bytes()
    }
}

/// The size of a payload as the header keeps it.
///
/// # Errors
/// [`Error::TooLarge`].
pub(crate) fn size_of_payload(size: usize) -> Result<u32, Error> {
    match u32::try_from(size) {
        Ok(fits) if size <= super::MAX_PAYLOAD => Ok(fits),
        _ => Err(Error::TooLarge { size, max: super::MAX_PAYLOAD }),
    }
}

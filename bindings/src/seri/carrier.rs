//! Blocks in transit: pointers that were packed into a message, and belong to it (S3).
//!
//! A service that packs a pointer to a block in its hand gives the block away with the message. The receiver's unpack
//! claims it; if nobody does, it is freed with the message. (skynet leaks it then.)
//!
//! Such a message is a *carrier*: a foreign payload whose memory is an arena block. That block holds the stream, and at its
//! very end the address of the [`Cargo`].
//!
//! # Invariants
//! * **C1** A foreign payload inside the arena's range is a carrier: nothing else makes one.
//! * **C2** Only the sole owner of a message claims. One with several owners keeps its blocks, and frees them at the end.

use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use skein_arena::{Arena, Block, Error, Header, Kind, range};

use super::out::Out;

/// What a carrier owns.
struct Cargo {
    /// The bytes that the receiver sees, and the address of this behind them.
    stream: Block,
    /// Blocks that nobody has claimed.
    blocks: Vec<Block>,
}

const WORD: usize = size_of::<u64>();

/// Makes the message of a stream that carries `blocks`.
///
/// # Errors
/// The arena has no room. The blocks come back.
pub(crate) fn seal(arena: Arena, out: Out, blocks: Vec<Block>) -> Result<Block, (Error, Vec<Block>)> {
    let mut writer = out.into_writer();
    let len = writer.len();
    // NULs behind the stream, as behind every payload; the last eight become the address.
    if let Err(error) = writer.put_slice(&[0; 2 * WORD]) {
        return Err((error, blocks));
    }
    let mut cargo = Box::new(Cargo { stream: writer.finish(), blocks });
    let address = (&raw mut *cargo).expose_provenance() as u64;
    let stream = cargo.stream.bytes_mut().expect("a written block has bytes of its own");
    let payload = NonNull::from(&mut *stream).cast::<u8>();
    let tail = stream.len() - WORD;
    stream[tail..].copy_from_slice(&address.to_ne_bytes());

    // SAFETY: the stream is ours to give away, its `len` bytes are written, and `free` takes it on any thread.
    match unsafe { arena.foreign(payload, len, free) } {
        Ok(carrier) => {
            // From here on `free` owns it, through the address in the stream.
            let _ = Box::into_raw(cargo);
            Ok(carrier)
        }
        Err(error) => Err((error, cargo.blocks)),
    }
}

/// Takes the block at `address` out of `message`, if the message carries it.
pub(crate) fn claim(message: &Block, address: usize) -> Option<Block> {
    let mut cargo = cargo_of(message)?;
    // SAFETY: `message` is the sole owner of the carrier (C2: a shared one is behind a `Forward`), and nobody else looks
    // at the cargo while we are in here.
    let blocks = unsafe { &mut cargo.as_mut().blocks };
    let index = blocks.iter().position(|it| it.as_ptr().addr() == address)?;
    Some(blocks.swap_remove(index))
}

/// The addresses of the blocks that `message` still carries.
pub(crate) fn carried(message: &Block) -> Vec<usize> {
    // SAFETY: as in `claim`.
    let cargo = cargo_of(message).map(|cargo| unsafe { &*cargo.as_ptr() });
    cargo.map(|it| it.blocks.iter().map(|block| block.as_ptr().addr()).collect()).unwrap_or_default()
}

/// Whether `message` carries blocks, claimed or not.
#[inline]
pub(crate) fn is_carrier(message: &Block) -> bool {
    message.kind() == Kind::Foreign && range::contains(message.as_ptr())
}

fn cargo_of(message: &Block) -> Option<NonNull<Cargo>> {
    if !is_carrier(message) {
        return None;
    }
    let payload = NonNull::new(message.as_ptr().cast_mut())?;
    // SAFETY: foreign memory inside the range is a stream that `seal` wrote (C1), and it lives as long as its message.
    Some(unsafe { cargo_at(payload) })
}

/// # Safety
/// `payload` is what `seal` gave to a carrier that has not been freed.
unsafe fn cargo_at(payload: NonNull<u8>) -> NonNull<Cargo> {
    // SAFETY: the payload of an arena block lies one header behind the block's start. The cargo owns the block; this is
    // a second look at it, never dropped.
    let stream = ManuallyDrop::new(unsafe { Block::from_raw(payload.byte_sub(Header::SIZE).cast()) });
    let tail = stream.last_chunk::<WORD>().expect("a carrier's stream ends in an address");
    let address = u64::from_ne_bytes(*tail) as usize;
    NonNull::new(ptr::with_exposed_provenance_mut(address)).expect("a carrier's cargo is somewhere")
}

/// What a carrier does with its memory when its last owner has gone.
///
/// # Safety
/// As [`cargo_at`]; called once.
unsafe fn free(payload: NonNull<u8>, _len: usize) {
    // SAFETY: `seal` leaked the box for us, and the message that could claim from it is gone.
    drop(unsafe { Box::from_raw(cargo_at(payload).as_ptr()) });
}

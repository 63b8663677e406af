//! Bytes whose number is known: read straight into one block of that size, and told of when it is full.
//!
//! A reader that waits for so many bytes says so ([`Network::expect`]). What it has of them already goes in front; the rest is read
//! behind it, whatever the number of packets, with one event for all of it, and no copy.
//!
//! # Invariants
//! * **W1** Bytes in a socket's [`Whole`] came after all that its owner was told of, and are told of before an end or a failure is.
//! * **W2** The owner has taken in all that it was told of when it begins a `Whole`: else its count of what is missing would be wrong,
//!   and the block would wait for bytes that nobody sends.
//! * **W3** All `Whole`s of a node together have no more than [`PROMISED`] bytes: who opens many connections and begins something large on
//!   each has it put together as its bytes come.

use std::{
    io::{self, IoSliceMut},
    sync::Arc,
};

use skein_arena::{
    Block, Error, MAX_PAYLOAD,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::{
    EventKind, Network,
    read::Read,
    record::{Kind, Socket, State},
};
use crate::Handle;

/// From this size on, what a peer only announces is not believed: a fourth of it has to be there.
const ANNOUNCED: usize = 256 << 10;

/// So many bytes may be waited for at once, on all sockets.
const PROMISED: usize = 32 << 20;

/// So many bytes that are waited for.
pub(crate) struct Whole {
    size: usize,
    filled: usize,
    /// Made when the first of them is there.
    block: Option<Block>,
    /// What all sockets wait for (W3).
    promised: Arc<AtomicUsize>,
}

impl Whole {
    /// `None`: enough is waited for already.
    fn new(promised: &Arc<AtomicUsize>, size: usize, filled: usize) -> Option<Self> {
        let whole = Self { size, filled, block: None, promised: Arc::clone(promised) };
        // Too much is taken back by the drop.
        (promised.fetch_add(size, Relaxed) + size <= PROMISED).then_some(whole)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.promised.fetch_sub(self.size, Relaxed);
    }
}

impl Network<'_> {
    /// Has the next bytes of a stream come as one block of `size`, whose first `begun` bytes `copy` puts there; they are told of again.
    /// `told` is how many bytes the owner has taken in since it started the socket. `false`: not now, or not for so many.
    ///
    /// # Errors
    /// The arena has no room.
    pub fn expect(
        self,
        owner: Handle,
        id: i32,
        told: u64,
        size: usize,
        begun: usize,
        copy: impl FnOnce(&mut [u8]),
    ) -> Result<bool, Error> {
        let Some(mut locked) = self.lock(id) else { return Ok(false) };
        let socket = &mut *locked;
        let open = matches!(socket.state, State::Connected | State::HalfWrite) && !socket.closing;
        let ours = open && socket.owner == owner && socket.kind == Kind::Stream;
        // W2.
        let agreed = ours && socket.told == told && socket.whole.is_none();
        if !agreed || size > MAX_PAYLOAD || begun >= size || size > ANNOUNCED.max(begun.saturating_mul(4)) {
            return Ok(false);
        }
        let Some(mut whole) = Whole::new(&self.sockets().promised, size, begun) else { return Ok(false) };
        if begun > 0 {
            let mut block = self.node.arena().alloc(size)?;
            copy(&mut block.bytes_mut().expect("a new block has bytes")[..begun]);
            self.sockets().counters.copied.fetch_add(begun as u64, Relaxed);
            whole.block = Some(block);
        }
        socket.told -= begun as u64;
        socket.whole = Some(Box::new(whole));
        Ok(true)
    }

    /// What has come of a block that was expected is told of now, and the rest comes as anything else.
    pub fn expect_nothing(self, owner: Handle, id: i32) {
        if let Some(mut socket) = self.lock(id)
            && socket.owner == owner
        {
            self.give_up_whole(&mut socket);
        }
    }

    /// Tells of what has come (W1).
    pub(super) fn give_up_whole(self, socket: &mut Socket) {
        let Some(mut whole) = socket.whole.take() else { return };
        if let Some(mut block) = whole.block.take() {
            block.truncate(whole.filled);
            self.tell_data(socket, block);
        }
    }

    /// Tells the owner of bytes.
    pub(super) fn tell_data(self, socket: &mut Socket, block: Block) {
        let size = block.len();
        socket.told += size as u64;
        self.send_event(socket.owner, EventKind::Data, socket.id, size as i32, Some(block), b"");
    }

    /// Reads what is missing of a block, and what is behind it.
    pub(super) fn read_whole(self, socket: &mut Socket, mut whole: Box<Whole>, spill: &mut [u8]) -> Read {
        let arena = self.node.arena();
        let mut block = match whole.block.take().map_or_else(|| arena.alloc(whole.size), Ok) {
            Ok(block) => block,
            Err(error) => return Read::NoRoom(error),
        };
        let rest = &mut block.bytes_mut().expect("nobody else has it")[whole.filled..];
        let missing = rest.len();
        let outcome =
            self.system().read(socket.fd, socket.carrier(), &mut [IoSliceMut::new(rest), IoSliceMut::new(spill)]);
        let count = outcome.as_ref().map_or(0, |it| *it);
        if count < missing {
            whole.filled += count;
            // Nobody's block is kept for a peer that has sent nothing.
            whole.block = (whole.filled > 0).then_some(block);
            socket.whole = Some(whole);
            return match outcome {
                Ok(0) => Read::End,
                Ok(count) => Read::Blocks { count, drained: true, first: None, more: None },
                Err(error) => Read::of(error),
            };
        }
        let drained = count < missing + spill.len();
        match self.spilled(&spill[..count - missing]) {
            Ok(more) => Read::Blocks { count, drained, first: Some(block), more },
            Err(error) => Read::NoRoom(error),
        }
    }
}

impl Read {
    /// What a failure of a read means.
    pub(super) fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Self::Later,
            _ => Self::Failed(error),
        }
    }
}

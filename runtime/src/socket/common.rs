//! What many sockets were told alike, in one piece.
//!
//! Who tells many the same, in several writes, has the same list of payloads held for each of them. The system takes an eighth less time
//! for one piece than for sixteen, so such a list is put together once, when the second socket comes that has it.
//!
//! # Invariants
//! * **K1** A list is known by the addresses of its payloads. It owns them, so that none of these is another's meanwhile.

use skein_arena::{Block, Payload, sync::atomic::Ordering::Relaxed};

use super::{Network, record::Outbox};

/// Lists that are shorter are not worth it.
const LEAST: usize = 4;
/// The largest that is put together.
const MOST: usize = 64 << 10;

/// The list of the socket before, while a row of sockets is served.
#[derive(Default)]
pub(super) struct Common {
    pieces: Vec<(Payload, usize, usize)>,
    joined: Option<Block>,
}

impl Common {
    /// What waits in `outbox`, in one piece, if the socket before had the same.
    pub(super) fn joined(&mut self, network: Network<'_>, outbox: &Outbox) -> Option<&Block> {
        let all = outbox.shared(LEAST).filter(|_| outbox.size <= MOST)?;
        if !self.is(all) {
            self.pieces = outbox.shared(LEAST)?.map(|(it, start, len)| (it.clone(), start, len)).collect();
            self.joined = None;
            return None;
        }
        if self.joined.is_none() {
            // Without room for it the pieces go one by one.
            let mut block = network.node.arena().alloc(outbox.size).ok()?;
            let mut rest = block.bytes_mut().expect("a new block has bytes");
            for (payload, start, len) in &self.pieces {
                let (here, behind) = rest.split_at_mut(*len);
                skein_arena::copy(here, &payload[*start..*start + *len]);
                rest = behind;
            }
            network.sockets().counters.copied.fetch_add(outbox.size as u64, Relaxed);
            self.joined = Some(block);
        }
        self.joined.as_ref()
    }

    /// Whether these are the pieces of the socket before.
    fn is<'a>(&self, all: impl ExactSizeIterator<Item = (&'a Payload, usize, usize)>) -> bool {
        all.len() == self.pieces.len()
            && self.pieces.iter().zip(all).all(|((mine, from, size), (it, start, len))| {
                (mine.as_ptr(), *from, *size) == (it.as_ptr(), start, len)
            })
    }
}

//! What a service may give back: the blocks in its hand.
//!
//! Lua names a payload by its address, a light userdata, and may keep that number for ever. So an address alone proves
//! nothing. It is good while the block is *in the hand* of the service that shows it: the message being handled, or a block
//! that a native function gave to this state and that has not been taken since. Anything else (freed, sent, given twice,
//! made up) is refused, whatever lies at the address by now.
//!
//! # Invariants
//! * **N1** A block in the hand is owned by the hand, and by nobody else.
//! * **N2** What Lua code can reach takes blocks only through [`Hand::take`], [`Hand::discard`] and [`Hand::take_packed`].
//! * **N3** While somebody reads a block ([`Hand::begin_reading`]), no block leaves: it is copied for whoever takes it, and
//!   freed when the reading is over. For unpacking makes Lua values, that may run finalizers, and those are Lua code.
//!
//! # From skynet
//! Nothing: there every pointer is believed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use skein_arena::{Arena, Block};

use crate::seri::carrier;

/// Why a pointer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Not in the hand.
    #[error(
        "pointer {0:#x} is not held by this service: it was sent or freed before, or never was a message"
    )]
    NotHeld(usize),
    /// The block has fewer bytes than the caller says.
    #[error("size {size} is out of range: the block at {address:#x} has {len} bytes")]
    Size {
        /// The address shown.
        address: usize,
        /// The size given with it.
        size: i64,
        /// The size of the block.
        len: usize,
    },
}

/// The blocks a service may name. One per Lua state.
pub(crate) struct Hand {
    held: RefCell<Held>,
    /// Readings under way. A memory error may leave it too high until the message is done, which costs copies and nothing else.
    reading: Cell<u32>,
}

#[derive(Default)]
struct Held {
    /// The message being handled, unless the callback was installed in forward mode: then it is given like others.
    message: Option<At>,
    /// Given last: the usual one to be taken next.
    last: Option<At>,
    /// Given before that. Several blocks at one address: envelopes around the same shared payload.
    others: HashMap<usize, (Block, Vec<Block>), BuildHasherDefault<AddressHasher>>,
    /// Taken during a reading.
    doomed: Vec<Block>,
}

struct At {
    address: usize,
    block: Block,
}

impl Hand {
    pub(crate) fn new() -> Hand {
        Hand { held: RefCell::default(), reading: Cell::new(0) }
    }

    /// Takes `block` into the hand and says how Lua is to name it. A block without a body has no name, and is dropped.
    #[inline]
    pub(crate) fn give(&self, block: Block) -> *const u8 {
        let at = block.as_ptr();
        if at.is_null() {
            return at;
        }
        let mut held = self.held.borrow_mut();
        if let Some(before) = held.last.replace(At { address: at.addr(), block }) {
            held.push(before);
        }
        at
    }

    /// Begins the handling of a message that the callback does not own.
    #[inline]
    pub(crate) fn begin_message(&self, block: Block) {
        let address = block.as_ptr().addr();
        self.held.borrow_mut().message = Some(At { address, block });
    }

    /// Ends it, and every reading that an error cut short.
    #[inline]
    pub(crate) fn end_message(&self) {
        self.reading.set(0);
        let mut held = self.held.borrow_mut();
        let message = held.message.take();
        let doomed = std::mem::take(&mut held.doomed);
        // Dropped with the borrow over: a block may carry others.
        drop(held);
        drop((message, doomed));
    }

    /// Takes the block at `address` out of the hand, cut to `size` bytes.
    ///
    /// # Errors
    /// It is not held, or shorter than `size`; it stays where it is.
    #[inline]
    pub(crate) fn take(&self, arena: Arena, address: usize, size: i64) -> Result<Block, Taken> {
        let mut held = self.held.borrow_mut();
        let len = held.find(address).ok_or(Refused::NotHeld(address))?.len();
        let size = match usize::try_from(size) {
            Ok(size) if size <= len => size,
            _ => return Err(Refused::Size { address, size, len }.into()),
        };
        let mut block = held.remove(address).ok_or(Refused::NotHeld(address))?;
        if self.reading.get() > 0 {
            let copy = arena.copy_from(&block[..size]);
            held.doomed.push(block);
            return Ok(copy?);
        }
        block.truncate(size);
        Ok(block)
    }

    /// Frees the block at `address`.
    ///
    /// # Errors
    /// It is not held.
    #[inline]
    pub(crate) fn discard(&self, address: usize) -> Result<(), Refused> {
        let mut held = self.held.borrow_mut();
        let block = held.remove(address).ok_or(Refused::NotHeld(address))?;
        if self.reading.get() > 0 {
            held.doomed.push(block);
            return Ok(());
        }
        drop(held);
        drop(block);
        Ok(())
    }

    /// Whether a pointer to `address` that is packed gives its block away. The message being handled is not the
    /// callback's to give, and a block that is being read stays.
    pub(crate) fn is_own(&self, address: usize) -> bool {
        let held = self.held.borrow();
        self.reading.get() == 0
            && (held.last.as_ref().is_some_and(|it| it.address == address)
                || held.others.contains_key(&address))
    }

    /// Takes a block for a message that was packed with a pointer to it. None: somebody was faster, or it is being read.
    pub(crate) fn take_packed(&self, address: usize) -> Option<Block> {
        if !self.is_own(address) {
            return None;
        }
        self.held.borrow_mut().remove(address)
    }

    /// Where the block at `address` is, if it is held and has `size` bytes.
    ///
    /// # Errors
    /// It is not held, or shorter.
    #[inline]
    pub(crate) fn look(&self, address: usize, size: i64) -> Result<(*const u8, usize), Refused> {
        let held = self.held.borrow();
        let block = held.find(address).ok_or(Refused::NotHeld(address))?;
        match usize::try_from(size) {
            Ok(size) if size <= block.len() => Ok((block.as_ptr(), size)),
            _ => Err(Refused::Size { address, size, len: block.len() }),
        }
    }

    /// Whether the block at `address` carries others in transit.
    #[inline]
    pub(crate) fn is_carrier(&self, address: usize) -> bool {
        self.held.borrow().find(address).is_some_and(carrier::is_carrier)
    }

    /// The addresses of the blocks that are in transit inside the block at `address`.
    pub(crate) fn carried(&self, address: usize) -> Vec<usize> {
        self.held.borrow().find(address).map(carrier::carried).unwrap_or_default()
    }

    /// Claims the block at `packed`, in transit inside the block at `address`, and gives it.
    pub(crate) fn claim(&self, address: usize, packed: usize) {
        let claimed = self.held.borrow().find(address).and_then(|carrier| carrier::claim(carrier, packed));
        if let Some(block) = claimed {
            self.give(block);
        }
    }

    /// Keeps every block where it is until [`Hand::end_reading`] is called with what this returned.
    #[inline]
    pub(crate) fn begin_reading(&self) -> u32 {
        let before = self.reading.get();
        self.reading.set(before + 1);
        before
    }

    /// The reading that began at `before` is over, and those inside of it that an error cut short.
    #[inline]
    pub(crate) fn end_reading(&self, before: u32) {
        self.reading.set(before);
        if before == 0 {
            let mut held = self.held.borrow_mut();
            if !held.doomed.is_empty() {
                let doomed = std::mem::take(&mut held.doomed);
                drop(held);
                drop(doomed);
            }
        }
    }

    /// How many blocks were given and not taken.
    pub(crate) fn given(&self) -> usize {
        let held = self.held.borrow();
        usize::from(held.last.is_some()) + held.others.values().map(|(_, more)| 1 + more.len()).sum::<usize>()
    }
}

impl Held {
    #[inline]
    fn find(&self, address: usize) -> Option<&Block> {
        let is_it = |it: &&At| it.address == address && address != 0;
        if let Some(at) = self.last.as_ref().filter(is_it).or(self.message.as_ref().filter(is_it)) {
            return Some(&at.block);
        }
        if self.others.is_empty() {
            return None;
        }
        self.others.get(&address).map(|(block, _)| block)
    }

    #[inline]
    fn remove(&mut self, address: usize) -> Option<Block> {
        if address == 0 {
            return None;
        }
        for slot in [&mut self.last, &mut self.message] {
            if slot.as_ref().is_some_and(|it| it.address == address) {
                return slot.take().map(|it| it.block);
            }
        }
        let (_, more) = self.others.get_mut(&address)?;
        match more.pop() {
            Some(block) => Some(block),
            None => self.others.remove(&address).map(|(block, _)| block),
        }
    }

    fn push(&mut self, At { address, block }: At) {
        use std::collections::hash_map::Entry;
        match self.others.entry(address) {
            Entry::Vacant(free) => {
                free.insert((block, Vec::new()));
            }
            Entry::Occupied(taken) => taken.into_mut().1.push(block),
        }
    }
}

/// Why a block was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Taken {
    /// The pointer is no good.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The block is being read, and there is no room for a copy.
    #[error(transparent)]
    Arena(#[from] skein_arena::Error),
}

/// Payload addresses are 16 apart and nobody's choice: a multiplication spreads them well enough.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_usize(usize::from(byte));
        }
    }

    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.0 = (self.0 ^ value as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    }
}

//! What a service may give back: the blocks in its hand.
//!
//! Lua names a payload by its address, a light userdata, and may keep that number for ever. So an address alone proves
//! nothing. It is good while the block is *in the hand* of the service that shows it: the message being handled, or a block
//! that a native function gave to this state and that has not been taken since. Anything else (freed, sent, given twice,
//! made up) is refused, whatever lies at the address by now.
//!
//! # Invariants
//! * **N1** A block in the hand is owned by the hand, and by nobody else but strings of this state that show its end.
//! * **N2** What Lua code can reach takes blocks only through [`Hand::take`], [`Hand::discard`] and [`Hand::take_packed`].
//! * **N3** While somebody reads a block ([`Hand::begin_reading`]), no block leaves: it is copied for whoever takes it, and
//!   freed when the reading is over. For unpacking makes Lua values, that may run finalizers, and those are Lua code.
//!
//! A block that a string shows too has no sole owner any more. If it is taken while the string lives, what travels is an
//! envelope around it.
//!
//! # From skynet
//! Nothing: there every pointer is believed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;
use std::ptr::{self, NonNull};

use skein_arena::{Arena, Block, Header, Kind, Payload};
use skein_vm::external;

use crate::capi::foreign;
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
    others: HashMap<usize, (Item, Vec<Item>), BuildHasherDefault<AddressHasher>>,
    /// Taken during a reading.
    doomed: Vec<Item>,
}

struct At {
    address: usize,
    block: Item,
}

/// A block in the hand.
enum Item {
    /// The hand is its only owner.
    Sole(Block),
    /// Strings own it too, or did.
    Shared(Payload),
}

/// A payload becomes a string without a copy from this size on, unless others own it already: then always.
const WORTHWHILE: usize = 1024;

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
        if let Some(before) = held.last.replace(At { address: at.addr(), block: Item::Sole(block) }) {
            held.push(before);
        }
        at
    }

    /// Begins the handling of a message that the callback does not own.
    #[inline]
    pub(crate) fn begin_message(&self, block: Block) {
        let address = block.as_ptr().addr();
        self.held.borrow_mut().message = Some(At { address, block: Item::Sole(block) });
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
        let Some(len) = held.find(address).map(|it| it.len()) else {
            let size = usize::try_from(size).ok();
            let foreign = size.and_then(|size| foreign::take(arena, address, size));
            return Ok(foreign.ok_or(Refused::NotHeld(address))?);
        };
        let size = match usize::try_from(size) {
            Ok(size) if size <= len => size,
            _ => return Err(Refused::Size { address, size, len }.into()),
        };
        let item = held.remove(address).ok_or(Refused::NotHeld(address))?;
        if self.reading.get() > 0 {
            let copy = arena.copy_from(&item[..size]);
            held.doomed.push(item);
            return Ok(copy?);
        }
        let mut block = match item.unshare(arena) {
            Ok(block) => block,
            Err((error, item)) => {
                held.push(At { address, block: item });
                return Err(error.into());
            }
        };
        block.truncate(size);
        Ok(block)
    }

    /// The payload whose last bytes the `len` bytes at `at` are, if they should become a string without a copy. They belong
    /// to the block at `address`. The header has an owner as long as the block is held.
    #[inline]
    pub(crate) fn lend(&self, address: usize, at: *const u8, len: usize) -> Option<NonNull<Header>> {
        if len <= external::SHORT {
            return None;
        }
        self.held.borrow_mut().lend(address, at, len)
    }

    /// Frees the block at `address`.
    ///
    /// # Errors
    /// It is not held.
    #[inline]
    pub(crate) fn discard(&self, address: usize) -> Result<(), Refused> {
        let mut held = self.held.borrow_mut();
        let Some(block) = held.remove(address) else {
            return if foreign::discard(address) { Ok(()) } else { Err(Refused::NotHeld(address)) };
        };
        if self.reading.get() > 0 {
            held.doomed.push(block);
            return Ok(());
        }
        drop(held);
        drop(block);
        Ok(())
    }

    /// Shows `size` bytes of the block at `address` to `work`, which does not call Lua, and frees the block. None, and nothing was done, if
    /// it is not held or shorter, or cannot be freed at once.
    #[inline]
    pub(crate) fn spend<R>(&self, address: usize, size: usize, work: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let mut held = self.held.borrow_mut();
        // Usually it is the one that was given last.
        let last = held.last.as_ref().filter(|it| it.address == address)?;
        if self.reading.get() > 0 {
            return None;
        }
        let done = work(last.block.get(..size)?);
        let spent = held.last.take();
        drop(held);
        drop(spent);
        Some(done)
    }

    /// Whether a pointer to `address` that is packed gives its block away. The message being handled is not the
    /// callback's to give, and a block that is being read stays.
    pub(crate) fn is_own(&self, address: usize) -> bool {
        let held = self.held.borrow();
        self.reading.get() == 0
            && (held.last.as_ref().is_some_and(|it| it.address == address)
                || held.others.contains_key(&address))
    }

    /// Takes a block for a message that was packed with a pointer to it. None: somebody was faster, it is being read, or a
    /// string shows it and the arena has no room for an envelope.
    pub(crate) fn take_packed(&self, arena: Arena, address: usize) -> Option<Block> {
        if !self.is_own(address) {
            return None;
        }
        let mut held = self.held.borrow_mut();
        match held.remove(address)?.unshare(arena) {
            Ok(block) => Some(block),
            Err((_, block)) => {
                held.push(At { address, block });
                None
            }
        }
    }

    /// Where the block at `address` is, if it is held and has `size` bytes.
    ///
    /// # Errors
    /// It is not held, or shorter.
    #[inline]
    pub(crate) fn look(&self, address: usize, size: i64) -> Result<(*const u8, usize), Refused> {
        let held = self.held.borrow();
        let Some(block) = held.find(address) else {
            return match usize::try_from(size) {
                Ok(size) if foreign::is_foreign(address, size) => {
                    Ok((ptr::with_exposed_provenance(address), size))
                }
                _ => Err(Refused::NotHeld(address)),
            };
        };
        match usize::try_from(size) {
            Ok(size) if size <= block.len() => Ok((block.as_ptr(), size)),
            _ => Err(Refused::Size { address, size, len: block.len() }),
        }
    }

    /// Whether the block at `address` is one receiver's envelope around a payload that others have too.
    pub(crate) fn is_forward(&self, address: usize) -> bool {
        self.held.borrow().find(address).and_then(Item::sole).is_some_and(|it| it.kind() == Kind::Forward)
    }

    /// Lets `work` at the block at `address`, if it is held and no string shows it.
    pub(crate) fn with_block<R>(&self, address: usize, work: impl FnOnce(&mut Block) -> R) -> Option<R> {
        match self.held.borrow_mut().find_mut(address)? {
            Item::Sole(block) => Some(work(block)),
            Item::Shared(_) => None,
        }
    }

    /// Where the block at `address` is, and all of its bytes, if it is held.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn whole(&self, address: usize) -> Result<(*const u8, usize), Refused> {
        let held = self.held.borrow();
        held.find(address).map(|block| (block.as_ptr(), block.len())).ok_or(Refused::NotHeld(address))
    }

    /// Whether the block at `address` carries others in transit.
    #[inline]
    pub(crate) fn is_carrier(&self, address: usize) -> bool {
        self.held.borrow().find(address).and_then(Item::sole).is_some_and(carrier::is_carrier)
    }

    /// The addresses of the blocks that are in transit inside the block at `address`.
    pub(crate) fn carried(&self, address: usize) -> Vec<usize> {
        self.held.borrow().find(address).and_then(Item::sole).map(carrier::carried).unwrap_or_default()
    }

    /// Claims the block at `packed`, in transit inside the block at `address`, and gives it.
    pub(crate) fn claim(&self, address: usize, packed: usize) {
        let held = self.held.borrow();
        let claimed =
            held.find(address).and_then(Item::sole).and_then(|carrier| carrier::claim(carrier, packed));
        drop(held);
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
    fn find(&self, address: usize) -> Option<&Item> {
        if address == 0 {
            return None;
        }
        for slot in [&self.last, &self.message] {
            if let Some(at) = slot
                && at.address == address
            {
                return Some(&at.block);
            }
        }
        if self.others.is_empty() {
            return None;
        }
        self.others.get(&address).map(|(block, _)| block)
    }

    fn find_mut(&mut self, address: usize) -> Option<&mut Item> {
        let slot = [&mut self.last, &mut self.message].into_iter().flatten().find(|it| it.address == address);
        Some(match slot {
            Some(it) => &mut it.block,
            None => &mut self.others.get_mut(&address)?.0,
        })
    }

    /// See [`Hand::lend`].
    fn lend(&mut self, address: usize, at: *const u8, len: usize) -> Option<NonNull<Header>> {
        let item = self.find_mut(address)?;
        let ends = |first: *const u8, size: usize, memory: usize| {
            first.addr() + size == at.addr() + len && len >= memory / 2
        };
        match item {
            Item::Sole(block) if block.kind() == Kind::Bytes => {
                if len < WORTHWHILE || !ends(block.as_ptr(), block.len(), block.footprint()) {
                    return None;
                }
                // SAFETY: read and written at once: a block becomes a payload, and nothing in between can fail.
                let block = unsafe { std::ptr::read(block) };
                let payload = block.share();
                let header = payload.as_raw();
                // SAFETY: the block that was here has moved into the payload.
                unsafe { std::ptr::write(item, Item::Shared(payload)) };
                Some(header)
            }
            Item::Sole(block) => {
                let payload = block.forwarded().filter(|it| it.kind() == Kind::Bytes)?;
                ends(payload.as_ptr(), payload.len(), payload.footprint()).then(|| payload.as_raw())
            }
            Item::Shared(payload) => {
                let fits = len >= WORTHWHILE && ends(payload.as_ptr(), payload.len(), payload.footprint());
                fits.then(|| payload.as_raw())
            }
        }
    }

    #[inline]
    fn remove(&mut self, address: usize) -> Option<Item> {
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

impl Item {
    /// The block, if nobody else ever owned it.
    fn sole(&self) -> Option<&Block> {
        match self {
            Item::Sole(block) => Some(block),
            Item::Shared(_) => None,
        }
    }

    #[inline]
    fn as_ptr(&self) -> *const u8 {
        match self {
            Item::Sole(block) => block.as_ptr(),
            Item::Shared(payload) => payload.as_ptr(),
        }
    }

    /// A block that can be sent: an envelope around it while strings show it.
    #[inline]
    fn unshare(self, arena: Arena) -> Result<Block, (skein_arena::Error, Item)> {
        match self {
            Item::Sole(block) => Ok(block),
            Item::Shared(payload) => payload.try_unique().or_else(|payload| {
                arena.forward(payload.clone()).map_err(|error| (error, Item::Shared(payload)))
            }),
        }
    }
}

impl Deref for Item {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Item::Sole(block) => block,
            Item::Shared(payload) => payload,
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

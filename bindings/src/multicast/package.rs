//! Packages: payloads that wait for their receivers, or are on the way to them, named by a number.
//!
//! A package is one arena payload with the number of deliveries that are still to be closed. What Lua passes around is its number,
//! as a light userdata, and a *package pointer*: a block of 8 bytes that holds the number and can be sent like any block. Nothing in
//! here follows an address that came from Lua: a number that names no package is refused.
//!
//! # Invariants
//! * **M1** A package that was not bound belongs to its package pointer, and is gone when that is freed.
//! * **M2** A bound package belongs to the process until it has been closed as often as it was bound for.
//!
//! # From skynet
//! lua-multicast.c: `struct mc_package` → [`Package`]; its `reference` → `open`; `mc_package **` → [`pointer()`].

use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::LazyLock;

use skein_arena::sync::Mutex;
use skein_arena::{Arena, Block, Error, Payload};

/// Bytes of a package pointer.
pub(super) const POINTER: usize = 8;

/// The bytes of a block, shared by everybody who gets them.
#[derive(Clone)]
pub(crate) struct Package {
    payload: Payload,
    /// Where in the payload the bytes begin: a block that showed a part of another one is shared as that part.
    start: usize,
    len: usize,
}

/// Why a number or a pointer names no package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Nothing has this number.
    #[error("there is no multicast package {0:#x}")]
    Unknown(u64),
    /// The package pointer has another size.
    #[error("Invalid multicast package size {0}")]
    Size(i64),
    /// Somebody has said already for how many it is.
    #[error("Can't bind a multicast package more than once")]
    Bound,
    /// Closed more often than it was bound for.
    #[error("Invalid multicast package reference {0}")]
    Reference(i32),
}

impl Package {
    /// A package of a block.
    pub(crate) fn new(block: Block) -> Package {
        let (at, len) = (block.as_ptr(), block.len());
        let payload = block.share();
        // Of an empty body both are null.
        let start = at.addr() - payload.as_ptr().addr();
        Package { payload, start, len }
    }

    /// One receiver's envelope around the bytes.
    ///
    /// # Errors
    /// The arena is full.
    pub(crate) fn envelope(&self, arena: Arena) -> Result<Block, Error> {
        arena.forward_part(self.payload.clone(), self.start, self.len)
    }

    /// The bytes as a block, which is the old one if nobody else has them.
    ///
    /// # Errors
    /// The arena is full.
    pub(super) fn into_block(self, arena: Arena) -> Result<Block, Error> {
        if self.start > 0 || self.len < self.payload.len() {
            return arena.forward_part(self.payload, self.start, self.len);
        }
        self.payload.try_unique().or_else(|payload| arena.forward(payload))
    }

    /// Where the bytes are.
    pub(super) fn as_ptr(&self) -> *const u8 {
        self.payload.as_ptr().wrapping_add(self.start)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

struct Entry {
    package: Package,
    /// Deliveries to be closed; 0 as long as nobody has bound it.
    open: i32,
}

struct Packages {
    by_number: HashMap<u64, Entry>,
    last: u64,
}

static PACKAGES: LazyLock<Mutex<Packages>> =
    LazyLock::new(|| Mutex::new(Packages { by_number: HashMap::new(), last: 0 }));

/// Does something to all packages. Blocks are freed by who gets them back, not under the lock.
fn with<R>(work: impl FnOnce(&mut Packages) -> R) -> R {
    // What a panic interrupted is whole: every change is one operation of the map.
    work(&mut PACKAGES.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// A package pointer for a new package.
///
/// # Errors
/// The arena is full.
pub(super) fn pointer(arena: Arena, package: Package) -> Result<Block, Error> {
    let number = with(|all| {
        // Even numbers, as addresses are, so that nobody takes them for flags.
        all.last += 16;
        all.by_number.insert(all.last, Entry { package, open: 0 });
        all.last
    });
    let bytes = NonNull::from(Box::leak(Box::new(number.to_ne_bytes())));
    // SAFETY: the box is ours to give away, and `free` takes it back on any thread.
    unsafe { arena.foreign(bytes.cast(), POINTER, free) }.inspect_err(|_| {
        // SAFETY: the arena has not taken it.
        unsafe { free(bytes.cast(), POINTER) }
    })
}

/// Frees a package pointer, and the package with it unless it was bound (M1).
///
/// # Safety
/// `bytes` came from [`pointer()`]; called once.
unsafe fn free(bytes: NonNull<u8>, _len: usize) {
    // SAFETY: by the caller's promise.
    let number = u64::from_ne_bytes(*unsafe { Box::from_raw(bytes.cast::<[u8; POINTER]>().as_ptr()) });
    let entry = with(|all| match all.by_number.get(&number) {
        Some(entry) if entry.open == 0 => all.by_number.remove(&number),
        _ => None,
    });
    drop(entry);
}

/// The number that a package pointer's bytes spell.
pub(super) fn number(bytes: &[u8]) -> Result<u64, Refused> {
    let bytes = bytes.try_into().map_err(|_| Refused::Size(bytes.len() as i64))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// The package of a number.
pub(super) fn find(number: u64) -> Result<Package, Refused> {
    with(|all| all.by_number.get(&number).map(|it| it.package.clone())).ok_or(Refused::Unknown(number))
}

/// Takes a package that is not bound out of the list.
pub(super) fn take(number: u64) -> Result<Package, Refused> {
    with(|all| match all.by_number.get(&number) {
        Some(entry) if entry.open != 0 => Err(Refused::Bound),
        Some(_) => Ok(all.by_number.remove(&number)),
        None => Ok(None),
    })?
    .map(|it| it.package)
    .ok_or(Refused::Unknown(number))
}

/// Says that a package is to be closed `times`.
pub(super) fn bind(number: u64, times: i32) -> Result<(), Refused> {
    with(|all| {
        let entry = all.by_number.get_mut(&number).ok_or(Refused::Unknown(number))?;
        if entry.open != 0 {
            return Err(Refused::Bound);
        }
        entry.open = times;
        Ok(())
    })
}

/// Closes a package once, and says where its bytes were.
pub(super) fn close(number: u64) -> Result<*const u8, Refused> {
    let (at, left, entry) = with(|all| {
        let entry = all.by_number.get_mut(&number).ok_or(Refused::Unknown(number))?;
        entry.open = entry.open.wrapping_sub(1);
        let (at, left) = (entry.package.as_ptr(), entry.open);
        Ok((at, left, if left <= 0 { all.by_number.remove(&number) } else { None }))
    })?;
    drop(entry);
    if left < 0 { Err(Refused::Reference(left)) } else { Ok(at) }
}

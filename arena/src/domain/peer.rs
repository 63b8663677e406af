//! Another process of the domain, as far as this one has mapped it.
//!
//! The view of a peer's heap begins with nothing and grows to what the peer says it has committed, whenever an address beyond
//! the view is asked for. It never shrinks: holes that the peer makes read as zeros, or as what it has put there since.

use std::{collections::BTreeMap, fmt, fs::File, ptr::NonNull, sync::PoisonError, time::Duration};

use memmap2::{Mmap, MmapOptions};

use super::{
    Access, CONTROL_SIZE, Directory, DomainBlock, DomainError, Part, Slot, is_locked,
    open::{Own, check_length, control_file},
    superblock::HeapBlock,
};
use crate::{
    Error, Found, Header, Stats,
    alloc::class::{self, BLOCK},
    layout::{Entry, PAGE},
    map::Tables,
    range,
    step::step,
    sync::{Arc, Mutex, atomic::Ordering::*},
};

/// A process that has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Living {
    /// Its slot.
    pub slot: Slot,
    /// Its process id, by its own account.
    pub pid: u32,
    /// When it took the slot, in nanoseconds since 1970.
    pub taken_ns: u64,
}

/// The files of another process, mapped read-only. Cloning is one more user of the same mapping; while there is one, the
/// mapping stays, also after the process has died.
#[derive(Clone)]
pub struct Peer(Arc<View>);

struct View {
    slot: Slot,
    block: HeapBlock,
    lock: File,
    heap: File,
    heap_path: std::path::PathBuf,
    tables: Tables,
    control: Mmap,
    /// Pages of the heap that are mapped.
    mapped: Mutex<usize>,
}

impl Peer {
    /// Its slot.
    pub fn slot(&self) -> Slot {
        self.0.slot
    }

    /// Its process id, by its own account.
    pub fn pid(&self) -> u32 {
        self.0.block.pid
    }

    /// Which taking of the slot this is. Never zero.
    pub fn life(&self) -> u64 {
        self.0.block.life
    }

    /// Whether the process lives.
    pub fn is_alive(&self) -> bool {
        // The lock's file is open, so asking cannot fail but for a lack of kernel memory: then nobody is declared dead.
        is_locked(&self.0.lock).unwrap_or(true)
    }

    /// What its heap holds, or held when it died.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.0.tables)
    }

    /// The bytes of its control file. They are read-only, change at any time, and were written by another process.
    pub(crate) fn control_area(&self) -> NonNull<[u8]> {
        let start = NonNull::new(self.0.control.as_ptr().cast_mut()).expect("a mapping is not at zero");
        NonNull::slice_from_raw_parts(start, CONTROL_SIZE)
    }

    /// The live block of its heap whose payload is at this address.
    ///
    /// Nothing that the peer's memory says is believed before it was checked. The answer is a snapshot like that of
    /// [`Arena::find`](crate::Arena::find): that the block stays in this life is up to whoever holds it. The header must not be
    /// made into a block or payload here: it is the peer's.
    ///
    /// # Errors
    /// [`DomainError::NoBlock`]; the view could not be made longer.
    pub fn find(&self, payload: u64) -> Result<Found, DomainError> {
        let slot = self.0.slot;
        let no = |why| DomainError::NoBlock { slot, at: payload, why };
        let heap = slot.heap();
        let ptr = std::ptr::with_exposed_provenance::<u8>(usize::try_from(payload).unwrap_or(0));
        if range::heap_of(ptr) != Some(heap) {
            return Err(no("an address of another heap"));
        }
        let offset = (ptr.addr() - range::heap_base(heap))
            .checked_sub(Header::SIZE)
            .ok_or_else(|| no("no room for a header"))?;
        if offset % align_of::<Header>() != 0 {
            return Err(no("not aligned"));
        }
        let (start, end) = self.0.bounds(offset).map_err(no)?;
        if start != offset {
            return Err(no("the inside of a block"));
        }
        self.0.ensure(end.div_ceil(PAGE))?;
        let header = std::ptr::with_exposed_provenance_mut::<Header>(range::heap_base(heap) + offset);
        let header = NonNull::new(header).expect("the range is not at zero");
        // SAFETY: the pages up to the end of the block are mapped, and headers are atomics but for a part that `peek` does
        // not look at.
        let (size, owners, generation) =
            unsafe { header.as_ref() }.peek().ok_or_else(|| no("a block that is free, or has no bytes"))?;
        if Header::SIZE + size + 1 > end - start {
            return Err(no("a block shorter than its payload"));
        }
        Ok(Found { header, heap, size, owners, generation })
    }
}

impl View {
    /// Where the block at an offset begins and ends, by the tables.
    fn bounds(&self, offset: usize) -> Result<(usize, usize), &'static str> {
        let page = offset / PAGE;
        let committed = self.tables.committed().min(self.block.shape.pages);
        if page >= committed {
            return Err("a page that is not usable");
        }
        let (start, end) = match self.tables.entry(page) {
            Entry::Nothing => return Err("a free page, or the inside of a large block"),
            Entry::Large(pages) => (page * PAGE, (page + pages as usize) * PAGE),
            Entry::Span(number) => {
                let span = self.tables.try_span(number).ok_or("a page of a span that cannot be")?;
                let carved = span.carved.load(Acquire);
                let class = span.class.load(Relaxed) as usize;
                let block = *BLOCK.get(class).ok_or("a span of no class")? as usize;
                let first = span.first.load(Relaxed) as usize * PAGE;
                let inside = offset.checked_sub(first).ok_or("a page that its span does not have")?;
                let index = inside / block;
                if index >= class::blocks_per_span(class) as usize || index >= carved as usize {
                    return Err("behind the blocks of a span");
                }
                (first + index * block, first + (index + 1) * block)
            }
        };
        if end > committed * PAGE {
            return Err("a block that reaches beyond the usable pages");
        }
        Ok((start, end))
    }

    /// Maps at least the first `pages` pages, which the tables say are usable.
    fn ensure(&self, pages: usize) -> Result<(), DomainError> {
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        if pages <= *mapped {
            return Ok(());
        }
        let committed = self.tables.committed().min(self.block.shape.pages).max(pages);
        check_length(&self.heap, &self.heap_path, (committed * PAGE) as u64)?;
        let at = std::ptr::with_exposed_provenance_mut(range::heap_base(self.slot.heap()) + *mapped * PAGE);
        // SAFETY: the addresses are claimed for this view, and nothing of it is mapped from `mapped` on.
        unsafe { range::map_file(at, (committed - *mapped) * PAGE, &self.heap, *mapped * PAGE, false)? };
        *mapped = committed;
        step("peer/grown");
        Ok(())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mapped = *self.mapped.get_mut().unwrap_or_else(PoisonError::into_inner);
        let at = std::ptr::with_exposed_provenance_mut(range::heap_base(self.slot.heap()));
        // SAFETY: the addresses are this view's, and nobody uses it any more.
        let unmapped = mapped == 0 || unsafe { range::unmap(at, mapped * PAGE) }.is_ok();
        // What could not be unmapped stays claimed: the slot cannot be mapped here again, and nothing worse.
        if unmapped {
            range::unclaim(self.slot.heap());
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("slot", &self.slot()).field("pid", &self.pid()).finish_non_exhaustive()
    }
}

type Peers<'a> = crate::sync::MutexGuard<'a, BTreeMap<Slot, Peer>>;

fn peers(own: &Own) -> Peers<'_> {
    own.peers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The peer in a slot: the view that is there already, as long as its process lives or nobody has taken the slot since.
pub(super) fn open(own: &'static Own, slot: Slot) -> Result<Peer, DomainError> {
    if slot == own.slot {
        return Err(DomainError::AddressesInUse { slot });
    }
    let mut peers = peers(own);
    if let Some(peer) = peers.get(&slot)
        && peer.is_alive()
    {
        return Ok(peer.clone());
    }
    // Nobody takes, sweeps or replaces a slot meanwhile (D1).
    let lock = own.directory.lock(Access::Read, own.patience)?;
    let Some(lock_file) = own.directory.try_open_file(&Part::Lock.of(slot), Access::Read)? else {
        return Err(DomainError::NoPeer { path: own.directory.path().to_owned(), slot });
    };
    let file =
        |part: Part| -> Result<File, DomainError> { own.directory.open_file(&part.of(slot), Access::Read) };
    let path = |part: Part| own.directory.file(&part.of(slot));
    let tables_file = file(Part::Tables)?;
    let block = HeapBlock::read(&tables_file, &path(Part::Tables), slot, &own.block)?;
    if let Some(peer) = peers.get(&slot) {
        if peer.life() == block.life {
            return Ok(peer.clone());
        }
        // Another process has the slot now. Its addresses are those of the one before.
        release(own, &mut peers, slot)?;
    }
    let (control, heap) = (control_file(&own.directory, slot)?, file(Part::Heap)?);
    if !range::claim(slot.heap()) {
        return Err(DomainError::AddressesInUse { slot });
    }
    own.attach(slot, block.life);
    step("peer/attached");
    let view = || {
        let refused = |size| move |source| Error::Map { size, source };
        let tables = Tables::of_peer(&tables_file, block.shape).map_err(refused(block.shape.size))?;
        // SAFETY: whoever reads it, does so through atomics; that nobody truncates the file is a rule of the domain.
        let control = unsafe { MmapOptions::new().len(CONTROL_SIZE).map(&control) };
        let control = control.map_err(refused(CONTROL_SIZE))?;
        let whole = (1 << range::HEAP_BITS).min(block.shape.pages * PAGE);
        if range::room(slot.heap())? < whole {
            return Err(DomainError::AddressesInUse { slot });
        }
        Ok((tables, control))
    };
    let (tables, control) = match view() {
        Ok(view) => view,
        Err(error) => {
            own.attach(slot, 0);
            range::unclaim(slot.heap());
            return Err(error);
        }
    };
    drop(lock);
    let heap_path = path(Part::Heap);
    let mapped = Mutex::new(0);
    let view = View { slot, block, lock: lock_file, heap, heap_path, tables, control, mapped };
    let peer = Peer(Arc::new(view));
    peers.insert(slot, peer.clone());
    Ok(peer)
}

/// Unmaps a peer, if nobody uses it.
fn release(own: &Own, peers: &mut Peers<'_>, slot: Slot) -> Result<(), DomainError> {
    match peers.remove(&slot).map(|it| Arc::try_unwrap(it.0)) {
        None => {}
        Some(Ok(view)) => {
            drop(view);
            step("peer/unmapped");
            own.attach(slot, 0);
        }
        Some(Err(used)) => {
            peers.insert(slot, Peer(used));
            return Err(DomainError::AddressesInUse { slot });
        }
    }
    Ok(())
}

/// Unmaps the peers that are dead and that nobody uses.
pub(super) fn let_go(own: &Own) {
    let mut peers = peers(own);
    let dead: Vec<Slot> = peers.iter().filter(|(_, it)| !it.is_alive()).map(|(&slot, _)| slot).collect();
    for slot in dead {
        // One that is used stays, and is looked at again the next time.
        let _ = release(own, &mut peers, slot);
    }
}

/// Everybody who lives, but those whose tables are not what they have to be: nobody can map them.
pub(super) fn living(directory: &Directory) -> Result<Vec<Living>, DomainError> {
    let _lock = directory.lock(Access::Read, Duration::from_secs(10))?;
    let block = DomainBlock::read(directory, None)?;
    let mut living = Vec::new();
    for slot in Slot::all() {
        let Some(lock) = directory.try_open_file(&Part::Lock.of(slot), Access::Read)? else { continue };
        let path = directory.file(&Part::Lock.of(slot));
        if !is_locked(&lock).map_err(|source| DomainError::Io { action: "lock", path, source })? {
            continue;
        }
        let path = directory.file(&Part::Tables.of(slot));
        let read = |tables| HeapBlock::read(&tables, &path, slot, &block);
        match directory.open_file(&Part::Tables.of(slot), Access::Read).and_then(read) {
            Ok(HeapBlock { pid, taken_ns, .. }) => living.push(Living { slot, pid, taken_ns }),
            Err(error) if error.is_of_file() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(living)
}

//! A run of frozen objects at its fixed address: made once, read by many, unmapped when the last reader is done.
//!
//! A [`Draft`] is writable memory that grows while a freezer fills it; [`Draft::seal`] makes it read-only and gives it a
//! [`Header`]. A [`Segment`] is held by `Arc`: what is current holds it, each state that reads it (`lease.rs`), and whoever in
//! Rust likes to.
//!
//! # Invariants
//! * **S1** Bytes of a sealed segment are never written again, and are mapped read-only.
//! * **S2** While an `Arc` of a segment lives, its addresses are mapped and in no other segment.
//! * **S3** A segment refers to nothing outside of itself.

use std::collections::BTreeMap;
use std::ptr::{self, NonNull};
use std::sync::{MutexGuard, Weak};

use skein_arena::range;
use skein_arena::sync::atomic::{AtomicBool, Ordering};
use skein_arena::sync::{Arc, Mutex};

use crate::error::Error;
use crate::space::{self, GRAIN, Space};

/// First bytes of a segment.
pub const MAGIC: [u8; 8] = *b"skeinseg";
/// Version of the layout of [`Header`] and of what follows it.
pub const LAYOUT: u32 = 1;
/// Bytes before the first object.
pub const HEADER: usize = 256;
/// Longest name of a table.
pub const NAME: usize = 128;

/// Memory that a draft begins with, and grows by at least.
const STEP: usize = 1 << 20;

/// What stands at the beginning of a segment (docs/share-layout.md). Zeros follow the name.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`LAYOUT`].
    pub layout: u32,
    /// The seed that strings are hashed with.
    pub seed: u32,
    /// A number of the build of the virtual machine: what lies behind the header is its objects.
    pub machine: u64,
    /// Address of this header.
    pub base: u64,
    /// Bytes of the segment, header included.
    pub size: u64,
    /// Address of the table that is shared.
    pub root: u64,
    /// Tables in it. Each has its number, from 0, in its first word.
    pub tables: u64,
    /// Strings in it.
    pub strings: u64,
    /// Which version of its name it is, from 1; 0 outside of a domain.
    pub version: u64,
    /// A sum over everything behind the header; 0 outside of a domain.
    pub sum: u64,
    /// The table's name.
    pub name: [u8; NAME],
}

const _: () = assert!(size_of::<Header>() <= HEADER);

/// What a freezer has laid down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Contents {
    /// Bytes from the beginning of the draft.
    pub used: usize,
    /// Address of the root.
    pub root: usize,
    /// Number of tables.
    pub tables: usize,
    /// Number of strings.
    pub strings: usize,
}

/// A segment that is being filled.
#[derive(Debug)]
pub struct Draft {
    space: &'static Space,
    base: usize,
    window: usize,
    mapped: usize,
}

impl Draft {
    /// An empty draft for this process.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Full`], or the system refused memory.
    pub fn new() -> Result<Draft, Error> {
        Draft::within(&space::OWN, |size| space::OWN.take(size))
    }

    /// An empty draft in a window that `take` gets.
    fn within(space: &'static Space, take: impl Fn(usize) -> Option<usize>) -> Result<Draft, Error> {
        let largest = space.largest();
        if range::reserve()? < 1 << range::BITS {
            return Err(Error::NoSpace);
        }
        let (base, window) = [largest, largest / 16, largest / 256]
            .into_iter()
            .map(|size| size.next_multiple_of(GRAIN))
            .find_map(|size| Some((take(size)?, size)))
            .ok_or(Error::Full { size: largest / 256 })?;
        let mut draft = Draft { space, base, window, mapped: 0 };
        draft.grow(STEP)?;
        Ok(draft)
    }

    /// First byte for the freezer: the header's place is left free.
    pub fn start(&self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.base + HEADER)
    }

    /// Bytes for the freezer, from [`start`](Draft::start).
    pub fn room(&self) -> usize {
        self.mapped - HEADER
    }

    /// Makes room for at least `more` bytes behind what there is.
    ///
    /// # Errors
    /// [`Error::Full`], or the system refused memory.
    pub fn grow(&mut self, more: usize) -> Result<(), Error> {
        let step = more.max(self.mapped / 2).max(STEP).next_multiple_of(GRAIN);
        let step = step.min(self.window - self.mapped);
        if step < more {
            return Err(Error::Full { size: self.mapped + more });
        }
        let at = ptr::with_exposed_provenance_mut(self.base + self.mapped);
        // SAFETY: the window is ours (A1) and lies in the reserved range.
        unsafe { range::commit(at, step)? };
        self.mapped += step;
        Ok(())
    }

    /// Makes it a segment. `header` has the seed and the machine; the rest of it comes from `contents`.
    ///
    /// # Errors
    /// The system refused.
    pub fn seal(self, name: &str, contents: Contents, header: Origin) -> Result<Arc<Segment>, Error> {
        let header = self.write_header(name, contents, header, 0);
        let size = (header.size as usize).next_multiple_of(GRAIN);
        // SAFETY: the pages are ours, and nobody writes them from here on (S1).
        unsafe {
            range::seal(ptr::with_exposed_provenance_mut(self.base), size)?;
            if self.mapped > size {
                range::unmap(ptr::with_exposed_provenance_mut(self.base + size), self.mapped - size)?;
            }
        }
        self.space.trim(self.base, size);
        let segment = Segment::publish(self.space, self.base, size, header);
        std::mem::forget(self);
        Ok(segment)
    }

    /// Writes the header into its place.
    fn write_header(&self, name: &str, contents: Contents, origin: Origin, version: u64) -> Header {
        let mut header = Header {
            magic: MAGIC,
            layout: LAYOUT,
            seed: origin.seed,
            machine: origin.machine,
            base: self.base as u64,
            size: (HEADER + contents.used) as u64,
            root: contents.root as u64,
            tables: contents.tables as u64,
            strings: contents.strings as u64,
            version,
            sum: 0,
            name: [0; NAME],
        };
        let len = name.floor_char_boundary(NAME - 1);
        header.name[..len].copy_from_slice(&name.as_bytes()[..len]);
        // SAFETY: the first page of the draft is mapped and writable, and aligned.
        unsafe { ptr::with_exposed_provenance_mut::<Header>(self.base).write(header) };
        header
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // SAFETY: nobody but the draft knows the pages.
        let unmapped = unsafe { range::unmap(ptr::with_exposed_provenance_mut(self.base), self.mapped) };
        // Addresses that cannot be unmapped are never used again.
        if unmapped.is_ok() {
            self.space.give(self.base);
        }
    }
}

/// Who laid a segment down: states of another origin cannot read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The seed of the process's hashes.
    pub seed: u32,
    /// The number of the machine's build.
    pub machine: u64,
}

/// A sealed segment, mapped.
#[derive(Debug)]
pub struct Segment {
    space: &'static Space,
    base: usize,
    /// Bytes mapped.
    mapped: usize,
    header: Header,
    retired: AtomicBool,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    /// The way to the version that is current now.
    forward: Option<Arc<Forward>>,
    /// Versions before this one that may still be read.
    before: Vec<Weak<Segment>>,
    /// Services that have a lease.
    holders: Vec<u32>,
}

/// From the tables of a version to those of a later one, by path.
#[derive(Debug)]
pub struct Forward {
    /// The later version.
    pub to: Weak<Segment>,
    /// Its first address.
    pub base: usize,
    /// For each table of the older version, by number: 16ths of an offset in the later one, 0 if it is gone.
    pub map: Vec<u32>,
}

/// Segments that are mapped, by first address.
static LIVE: Mutex<BTreeMap<usize, Weak<Segment>>> = Mutex::new(BTreeMap::new());

fn live() -> MutexGuard<'static, BTreeMap<usize, Weak<Segment>>> {
    LIVE.lock().unwrap_or_else(|broken| broken.into_inner())
}

impl Segment {
    fn publish(space: &'static Space, base: usize, mapped: usize, header: Header) -> Arc<Segment> {
        let segment = Arc::new(Segment {
            space,
            base,
            mapped,
            header,
            retired: AtomicBool::new(false),
            history: Mutex::default(),
        });
        live().insert(base, Arc::downgrade(&segment));
        segment
    }

    /// The segment that an address lies in, if that is mapped and held by somebody.
    pub fn find(address: usize) -> Option<Arc<Segment>> {
        let live = live();
        let (_, segment) = live.range(..=address).next_back()?;
        segment.upgrade().filter(|it| it.contains(address))
    }

    /// The segment whose root is at an address.
    pub fn of_root(address: usize) -> Option<Arc<Segment>> {
        Segment::find(address).filter(|it| it.root() == address)
    }

    /// How many segments are mapped, and their bytes.
    pub fn totals() -> (usize, usize) {
        let live = live();
        live.values().filter_map(Weak::upgrade).fold((0, 0), |(n, bytes), it| (n + 1, bytes + it.mapped))
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.base) < self.mapped
    }

    /// First address, and the one behind the last.
    pub fn span(&self) -> (usize, usize) {
        (self.base, self.base + self.mapped)
    }

    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The name it was frozen under.
    pub fn name(&self) -> &str {
        let name = self.header.name.split(|&byte| byte == 0).next().unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }

    /// Address of the shared table.
    pub fn root(&self) -> usize {
        self.header.root as usize
    }

    /// The shared table, for the virtual machine.
    pub fn root_ptr(&self) -> NonNull<u8> {
        NonNull::new(ptr::with_exposed_provenance_mut(self.root())).expect("segments do not begin at 0")
    }

    /// Bytes of memory it takes.
    pub fn size(&self) -> usize {
        self.mapped
    }

    /// Says that it is no longer current.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Whether it is no longer current: nobody will ask for it again.
    pub fn is_retired(&self) -> bool {
        // Acquire pairs with the Release of `retire`: who sees it also sees the version that came instead.
        self.retired.load(Ordering::Acquire)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Services that have a lease, in order.
    pub fn holders(&self) -> Vec<u32> {
        let mut holders = self.history().holders.clone();
        holders.sort_unstable();
        holders
    }

    pub(crate) fn add_holder(&self, holder: u32) {
        self.history().holders.push(holder);
    }

    pub(crate) fn remove_holder(&self, holder: u32) {
        let holders = &mut self.history().holders;
        if let Some(at) = holders.iter().position(|it| *it == holder) {
            holders.swap_remove(at);
        }
    }

    /// The way to the current version, if this is an old one.
    pub fn forward(&self) -> Option<Arc<Forward>> {
        self.history().forward.clone()
    }

    /// Makes `self` the version after `old`, for which `map` is the way (see [`Forward::map`]); versions before that, which are still
    /// read, get theirs from it.
    pub fn succeed(self: &Arc<Segment>, old: &Arc<Segment>, map: Vec<u32>) {
        let before: Vec<Arc<Segment>> =
            std::mem::take(&mut old.history().before).iter().filter_map(Weak::upgrade).collect();
        for older in &before {
            let Some(step) = older.forward() else { continue };
            let way = step.map.iter().map(|&at| if at == 0 { 0 } else { map[old.number_at(at)] });
            older.go_to(self, way.collect());
        }
        old.go_to(self, map);
        old.retire();
        let mut history = self.history();
        history.before = before.iter().map(Arc::downgrade).collect();
        history.before.push(Arc::downgrade(old));
    }

    fn go_to(&self, new: &Arc<Segment>, map: Vec<u32>) {
        self.history().forward = Some(Arc::new(Forward { to: Arc::downgrade(new), base: new.base, map }));
    }

    /// The number of the table that lies 16 × `at` bytes behind the beginning.
    fn number_at(&self, at: u32) -> usize {
        let table = ptr::with_exposed_provenance::<u64>(self.base + at as usize * 16);
        // SAFETY: the offset came from a map of ours: a table of this segment, which is mapped (S2); its first word is its
        // number (`Header::tables`).
        unsafe { table.read() as usize }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        live().remove(&self.base);
        // SAFETY: the last holder is gone (S2).
        let unmapped = unsafe { range::unmap(ptr::with_exposed_provenance_mut(self.base), self.mapped) };
        // Addresses that cannot be unmapped are never used again.
        if unmapped.is_ok() {
            self.space.give(self.base);
        }
    }
}

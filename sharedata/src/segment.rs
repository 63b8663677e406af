//! A run of frozen objects at its fixed address: made once, read by many, unmapped when the last reader is done.
//!
//! A [`Draft`](crate::Draft) becomes one when it is sealed or published, and gets a [`Header`]. A [`Segment`] is held by `Arc`: what is current holds it, each state that reads it (`lease.rs`), and whoever in
//! Rust likes to.
//!
//! # Invariants
//! * **S1** Bytes of a sealed segment are never written again, and are mapped read-only.
//! * **S2** While an `Arc` of a segment lives, its addresses are mapped and in no other segment.
//! * **S3** A segment refers to nothing outside of itself.

use std::collections::BTreeMap;
use std::ptr::{self, NonNull};
use std::sync::Weak;

use skein_arena::range;
use skein_arena::sync::atomic::{AtomicBool, Ordering};
use skein_arena::sync::{Arc, Mutex, MutexGuard};

use crate::domain::Lease;
use crate::space;

/// First bytes of a segment.
pub const MAGIC: [u8; 8] = *b"skeinseg";
/// Version of the layout of [`Header`] and of what follows it.
pub const LAYOUT: u32 = 1;
/// Bytes before the first object.
pub const HEADER: usize = 256;
/// Longest name of a table.
pub const NAME: usize = 128;

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
    /// A sum over the header with, in this place, the sum over everything behind it; 0 outside of a domain.
    pub sum: u64,
    /// The table's name.
    pub name: [u8; NAME],
    /// Which segment of its domain it is, from 1; 0 outside of a domain.
    pub number: u64,
    /// Which domain; 0 outside of one.
    pub domain: u64,
}

const _: () = assert!(size_of::<Header>() == 224 && std::mem::offset_of!(Header, number) == 208);

impl Header {
    /// The header of what a freezer has laid down at `base`. A name that is too long loses its end.
    pub(crate) fn new(name: &str, base: usize, contents: Contents, origin: Origin) -> Header {
        let mut header = Header {
            magic: MAGIC,
            layout: LAYOUT,
            seed: origin.seed,
            machine: origin.machine,
            base: base as u64,
            size: (HEADER + contents.used) as u64,
            root: contents.root as u64,
            tables: contents.tables as u64,
            strings: contents.strings as u64,
            version: 0,
            sum: 0,
            name: [0; NAME],
            number: 0,
            domain: 0,
        };
        let len = name.floor_char_boundary(NAME - 1);
        header.name[..len].copy_from_slice(&name.as_bytes()[..len]);
        header
    }

    /// Its bytes as they stand in the segment.
    pub(crate) fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        // SAFETY: plain numbers and bytes without padding, which fit.
        unsafe { bytes.as_mut_ptr().cast::<Header>().write_unaligned(*self) };
        bytes
    }

    /// The name it was frozen under.
    pub fn name(&self) -> &str {
        let name = self.name.split(|&byte| byte == 0).next().unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }
}

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
    place: Place,
    base: usize,
    /// Bytes mapped.
    mapped: usize,
    header: Header,
    retired: AtomicBool,
    history: Mutex<History>,
}

/// Whose memory a segment is.
#[derive(Debug)]
pub(crate) enum Place {
    /// This process's own.
    Own,
    /// A file of a domain, which this process holds.
    File(Lease),
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

/// A segment that is mapped.
#[derive(Debug)]
struct Live {
    mapped: usize,
    /// Domain and number; zeros outside of a domain.
    identity: (u64, u64),
    segment: Weak<Segment>,
}

/// Segments that are mapped, by first address.
static LIVE: Mutex<BTreeMap<usize, Live>> = Mutex::new(BTreeMap::new());

/// Nobody drops an `Arc` while they have this: the last one would ask for it again.
fn live() -> MutexGuard<'static, BTreeMap<usize, Live>> {
    LIVE.lock().unwrap_or_else(|broken| broken.into_inner())
}

impl Segment {
    /// Makes known what is mapped and sealed at `base`.
    pub(crate) fn publish(place: Place, base: usize, mapped: usize, header: Header) -> Arc<Segment> {
        let segment = Arc::new(Segment {
            place,
            base,
            mapped,
            header,
            retired: AtomicBool::new(false),
            history: Mutex::default(),
        });
        let identity = (header.domain, header.number);
        live().insert(base, Live { mapped, identity, segment: Arc::downgrade(&segment) });
        segment
    }

    /// The segment that an address lies in, if that is mapped and held by somebody.
    pub fn find(address: usize) -> Option<Arc<Segment>> {
        let found = live().range(..=address).next_back().and_then(|(_, it)| it.segment.upgrade());
        found.filter(|it| it.contains(address))
    }

    /// The segment whose root is at an address.
    pub fn of_root(address: usize) -> Option<Arc<Segment>> {
        Segment::find(address).filter(|it| it.root() == address)
    }

    /// The segment of a domain that has a number, if it is mapped where it has to be. An error: its last holder is just leaving.
    pub(crate) fn of_number(base: usize, domain: u64, number: u64) -> Result<Option<Arc<Segment>>, Leaving> {
        match live().get(&base) {
            Some(it) if it.identity == (domain, number) => it.segment.upgrade().ok_or(Leaving).map(Some),
            _ => Ok(None),
        }
    }

    /// How many segments are mapped, and their bytes.
    pub fn totals() -> (usize, usize) {
        let live = live();
        let held = live.values().filter(|it| it.segment.strong_count() > 0);
        held.fold((0, 0), |(n, bytes), it| (n + 1, bytes + it.mapped))
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
        self.header.name()
    }

    /// Which version of its name it is, from 1; 0 outside of a domain.
    pub fn version(&self) -> u64 {
        self.header.version
    }

    /// Which segment of its domain it is, from 1; 0 outside of a domain.
    pub fn number(&self) -> u64 {
        self.header.number
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

    /// Says that it is current again: a table of a domain may be let go of and asked for anew.
    pub fn revive(&self) {
        self.retired.store(false, Ordering::Release);
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

/// See [`Segment::of_number`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving;

impl Drop for Segment {
    fn drop(&mut self) {
        let unmap = || {
            // SAFETY: the last holder is gone (S2).
            let done = unsafe { range::unmap(ptr::with_exposed_provenance_mut(self.base), self.mapped) };
            // Addresses that cannot be unmapped are never used again.
            done.is_ok() && live().remove(&self.base).is_some()
        };
        match &self.place {
            Place::Own if unmap() => space::OWN.give(self.base),
            Place::Own => {}
            Place::File(lease) => lease.end(|| {
                unmap() && {
                    space::DOMAIN.give(self.base);
                    true
                }
            }),
        }
    }
}

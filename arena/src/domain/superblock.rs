//! The file `domain`, and what the first page of a slot's tables has to say.

use std::{
    fs::File,
    mem::offset_of,
    os::unix::fs::FileExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    io::Errno,
    process::{geteuid, getpid},
    rand::{GetRandomFlags, getrandom},
};

use super::{
    CONTROL_SIZE, DomainError, Field, Slot,
    field::{self, Expected, u32_at, u64_at},
    files::{Directory, io_error, length},
};
use crate::{
    layout::{self, MAGAZINE_SLOTS, PAGE, READY, Shape, Superblock},
    range,
};

/// Begins the file `domain`.
const MAGIC: [u8; 8] = *b"skein\0dm";

/// Where what stands in the file. Bytes after the last field are zeros.
pub(super) mod at {
    pub(in crate::domain) const MAGIC: usize = 0;
    pub(in crate::domain) const VERSION: usize = 8;
    pub(in crate::domain) const SLOTS: usize = 12;
    pub(in crate::domain) const BASE: usize = 16;
    pub(in crate::domain) const BITS: usize = 24;
    pub(in crate::domain) const BUILD: usize = 32;
    pub(in crate::domain) const CONTROL: usize = 40;
    pub(in crate::domain) const ID: usize = 48;
    pub(in crate::domain) const SEED: usize = 56;
    pub(in crate::domain) const MADE_NS: usize = 64;
    pub(in crate::domain) const PID: usize = 72;
    pub(in crate::domain) const UID: usize = 76;
}

/// What the file `domain` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DomainBlock {
    /// [`layout::BUILD`], mixed with what the embedder adds.
    pub(crate) build: u64,
    /// A random number, not zero.
    pub(crate) id: u64,
    /// A random number for hashes.
    pub(crate) seed: u64,
    /// When it was made, in nanoseconds since 1970.
    pub(crate) made_ns: u64,
    /// Who made it.
    pub(crate) pid: u32,
    pub(crate) uid: u32,
}

impl DomainBlock {
    /// What the file is called.
    pub(crate) const NAME: &'static str = "domain";

    /// A new domain.
    pub(crate) fn draw(path: &Path, build: u64) -> Result<DomainBlock, DomainError> {
        Ok(DomainBlock {
            build,
            id: random(path)?,
            seed: random(path)?,
            made_ns: now_ns(),
            pid: getpid().as_raw_nonzero().get().cast_unsigned(),
            uid: geteuid().as_raw(),
        })
    }

    /// The first page of the file.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; PAGE];
        for it in fixed(self.build) {
            bytes[it.offset..it.offset + it.width].copy_from_slice(&it.value.to_le_bytes()[..it.width]);
        }
        for (offset, value) in [(at::ID, self.id), (at::SEED, self.seed), (at::MADE_NS, self.made_ns)] {
            bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        }
        for (offset, value) in [(at::PID, self.pid), (at::UID, self.uid)] {
            bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// Reads the file and compares it with what this process would have written; without a `build`, any will do.
    pub(crate) fn read(directory: &Directory, build: Option<u64>) -> Result<DomainBlock, DomainError> {
        let path = directory.file(Self::NAME);
        let file = directory.open_file(Self::NAME, super::Access::Read)?;
        let bytes = first_page(&file, &path)?;
        let found = u64_at(&bytes, at::BUILD);
        field::check(&path, &bytes, &fixed(build.unwrap_or(found)))?;
        Ok(DomainBlock {
            build: found,
            id: u64_at(&bytes, at::ID),
            seed: u64_at(&bytes, at::SEED),
            made_ns: u64_at(&bytes, at::MADE_NS),
            pid: u32_at(&bytes, at::PID),
            uid: u32_at(&bytes, at::UID),
        })
    }
}

/// What `domain` says, whoever made it.
fn fixed(build: u64) -> Vec<Expected> {
    vec![
        Expected::u64(Field::Magic, at::MAGIC, u64::from_le_bytes(MAGIC)),
        Expected::u32(Field::Version, at::VERSION, layout::VERSION),
        Expected::u32(Field::Slots, at::SLOTS, u32::from(Slot::MOST)),
        Expected::u64(Field::Base, at::BASE, range::BASE as u64),
        Expected::u64(Field::Bits, at::BITS, u64::from(range::BITS) << 32 | u64::from(range::HEAP_BITS)),
        Expected::u64(Field::Build, at::BUILD, build),
        Expected::u64(Field::Control, at::CONTROL, CONTROL_SIZE as u64),
    ]
}

/// What the superblock of a slot's tables says, once it is complete.
pub(crate) fn heap_fields(slot: Slot, domain: &DomainBlock, shape: &Shape) -> Vec<Expected> {
    macro_rules! here {
        ($field:ident) => {
            offset_of!(Superblock, $field)
        };
    }
    vec![
        Expected::u64(Field::Magic, here!(magic), u64::from_le_bytes(layout::MAGIC)),
        Expected::u32(Field::Version, here!(version), layout::VERSION),
        Expected::u32(Field::State, here!(state), READY),
        Expected::u32(Field::Heap, here!(heap), slot.heap() as u32),
        Expected::u64(Field::Base, here!(base), range::heap_base(slot.heap()) as u64),
        Expected::u64(Field::Build, here!(build), domain.build),
        Expected::u64(Field::Domain, here!(domain), domain.id),
        Expected::u32(Field::Pages, here!(pages), shape.pages as u32),
        Expected::u32(Field::Spans, here!(spans), shape.spans as u32),
        Expected::u64(Field::PageTable, here!(page_table), shape.page_table as u64),
        Expected::u64(Field::SpanTable, here!(span_table), shape.span_table as u64),
        Expected::u64(Field::MagazineTable, here!(magazine_table), shape.magazine_table as u64),
        Expected::u32(Field::Magazines, here!(magazines), MAGAZINE_SLOTS as u32),
        Expected::u32(Field::Classes, here!(classes), crate::alloc::class::CLASSES as u32),
    ]
}

/// What the first page of a slot's tables says, compared with what it has to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeapBlock {
    pub(crate) shape: Shape,
    pub(crate) life: u64,
    pub(crate) pid: u32,
    pub(crate) taken_ns: u64,
}

impl HeapBlock {
    /// Whether these are tables that were never completed.
    pub(crate) fn is_unfinished(file: &File) -> bool {
        let mut state = [0; 4];
        match file.read_exact_at(&mut state, offset_of!(Superblock, state) as u64) {
            Ok(()) => state == [0; 4],
            // Too short to say.
            Err(_) => true,
        }
    }

    /// Reads it; the file is as long as it says (D3).
    pub(crate) fn read(
        file: &File,
        path: &Path,
        slot: Slot,
        domain: &DomainBlock,
    ) -> Result<HeapBlock, DomainError> {
        let bytes = first_page(file, path)?;
        let most = (1 << range::HEAP_BITS) / PAGE;
        // A heap is shorter than the others only at the end of a short range; a larger one there is not.
        let shape = Shape::of((u32_at(&bytes, offset_of!(Superblock, pages)) as usize).clamp(1, most));
        field::check(path, &bytes, &heap_fields(slot, domain, &shape))?;
        let (found, expected) = (length(file, path)?, shape.size as u64);
        if found < expected {
            return Err(DomainError::Length { file: path.to_owned(), found, expected });
        }
        let committed = u32_at(&bytes, offset_of!(Superblock, committed));
        if committed as usize > shape.pages {
            let (field, expected) = (Field::Committed, shape.pages as u64);
            return Err(DomainError::Mismatch {
                file: path.to_owned(),
                field,
                found: u64::from(committed),
                expected,
            });
        }
        Ok(HeapBlock {
            shape,
            life: u64_at(&bytes, offset_of!(Superblock, incarnation)),
            pid: u32_at(&bytes, offset_of!(Superblock, pid)),
            taken_ns: u64_at(&bytes, offset_of!(Superblock, taken_ns)),
        })
    }
}

/// The first page of a file, which has to be that long.
pub(crate) fn first_page(file: &File, path: &Path) -> Result<Vec<u8>, DomainError> {
    let (found, expected) = (length(file, path)?, PAGE as u64);
    if found < expected {
        return Err(DomainError::Length { file: path.to_owned(), found, expected });
    }
    let mut bytes = vec![0; PAGE];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(bytes),
        Err(source) => Err(DomainError::Io { action: "read", path: path.to_owned(), source }),
    }
}

/// A random number that is not zero.
pub(crate) fn random(path: &Path) -> Result<u64, DomainError> {
    loop {
        let mut bytes = [0; 8];
        match getrandom(&mut bytes, GetRandomFlags::empty()) {
            Ok(8) if bytes != [0; 8] => return Ok(u64::from_ne_bytes(bytes)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(io_error("draw random numbers for", path, errno)),
        }
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_nanos() as u64)
}

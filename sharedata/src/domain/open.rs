//! From a name to the segment that is its current version.

use std::collections::BTreeMap;
use std::fs::File;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr;

use skein_arena::range;
use skein_arena::sync::Arc;

use super::catalogue::{self, Catalogue, Entry};
use super::{FileName, Lease, OneFile, Sum, Tables, sum};
use crate::draft::require_range;
use crate::error::Error;
use crate::root::{self, Root};
use crate::segment::{HEADER, Header, LAYOUT, Leaving, MAGIC, Place, Segment};
use crate::shelf;
use crate::space::{self, GRAIN};

/// Bytes that are read at a time for the sum, on the stack: nothing is mapped or allocated for that.
const CHUNK: usize = 1 << 12;
/// Where the sum stands.
const SUM: usize = offset_of!(Header, sum);

impl Tables {
    /// The current version of a table, mapped; none if there is no table of this name.
    ///
    /// # Errors
    /// The folder or the segment is not what it has to be; the addresses are in use.
    pub fn current(self: &Arc<Tables>, name: &str) -> Result<Option<Arc<Segment>>, Error> {
        let mut missing = None;
        loop {
            let catalogue = self.catalogue()?;
            let Some(entry) = catalogue.find(name) else { return Ok(None) };
            if let Some(segment) = self.mapped_or_opened(entry)? {
                return Ok(Some(segment));
            }
            // It was replaced since we read the catalogue, or is being dropped by another thread here; unless somebody removed
            // its file by hand.
            let file = self.folder.file(&entry.file_name().to_string());
            if missing.replace(entry.number) == Some(entry.number) && !file.exists() {
                return Err(Error::Damaged { file, what: "it is gone".to_owned() });
            }
            std::thread::yield_now();
        }
    }

    /// The number of the segment that is the current version of a name; none if there is no table of this name.
    ///
    /// # Errors
    /// The catalogue cannot be read.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        Ok(self.catalogue()?.find(name).map(|it| it.number))
    }

    /// The version of each table, by name.
    ///
    /// # Errors
    /// The catalogue cannot be read.
    pub fn names(&self) -> Result<BTreeMap<String, u64>, Error> {
        Ok(self.catalogue()?.entries.iter().map(|it| (it.name.clone(), it.version)).collect())
    }

    /// The catalogue as it is now; read only if it was replaced since.
    pub(super) fn catalogue(&self) -> Result<root::Lease<Catalogue>, Error> {
        let Some(file) = self.folder.open_file(catalogue::FILE)? else {
            return Ok(Root::new(Catalogue::default()).lease());
        };
        let mut serial = [0; 8];
        let known = self.catalogue.lease();
        let read = file.read_exact_at(&mut serial, catalogue::SERIAL.start as u64);
        if read.is_ok() && known.domain == self.folder.id() && known.serial == u64::from_le_bytes(serial) {
            return Ok(known);
        }
        let read = self.parse_catalogue(&file)?;
        // Another thread may have read a later one by now.
        self.catalogue.update(|known| (known.serial < read.serial).then(|| read.clone()));
        Ok(Root::new(read).lease())
    }

    /// The catalogue, read anew.
    pub(super) fn read_catalogue(&self) -> Result<Catalogue, Error> {
        match self.folder.open_file(catalogue::FILE)? {
            Some(file) => self.parse_catalogue(&file),
            None => Ok(Catalogue::default()),
        }
    }

    fn parse_catalogue(&self, file: &File) -> Result<Catalogue, Error> {
        let path = self.folder.file(catalogue::FILE);
        let mut bytes = vec![0; self.folder.length(catalogue::FILE, file)? as usize];
        let failed = |source| Error::Io { action: "read", path: path.clone(), source };
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        Catalogue::of_bytes(&path, self.folder.id(), &bytes)
    }

    /// The segment of an entry. None if it is no longer there, or is being unmapped here.
    fn mapped_or_opened(self: &Arc<Tables>, entry: &Entry) -> Result<Option<Arc<Segment>>, Error> {
        let _one = self.opening();
        match Segment::of_number(entry.base as usize, self.folder.id(), entry.number) {
            Ok(Some(segment)) => Ok(Some(segment)),
            Ok(None) => self.open_entry(entry),
            Err(Leaving) => Ok(None),
        }
    }

    /// Holds a segment and maps it. None if it is no longer there.
    fn open_entry(self: &Arc<Tables>, entry: &Entry) -> Result<Option<Arc<Segment>>, Error> {
        require_range()?;
        let name = entry.file_name();
        let header = shelf::open(&OneFile { tables: self, name })?;
        let lease = || Lease { tables: Arc::clone(self), name };
        Ok(header.map(|header| Segment::publish(Place::File(lease()), name.base, name.size, header)))
    }

    /// Maps a segment that we hold (T4): its header. None if its file is gone.
    pub(super) fn map(&self, name: &FileName) -> Result<Option<Header>, Error> {
        let Some(file) = self.folder.open_sealed(&name.to_string())? else { return Ok(None) };
        let header = self.verify(name, &file)?;
        let path = self.folder.file(&name.to_string());
        if name.base.checked_add(name.size).is_none_or(|it| it > space::SHARED.1) {
            let what = "its addresses are not for segments".to_owned();
            return Err(Error::Damaged { file: path, what });
        }
        if !space::DOMAIN.claim(name.base, name.size) {
            return Err(Error::AddressesInUse { file: path });
        }
        let at = ptr::with_exposed_provenance_mut(name.base);
        // SAFETY: the addresses are the file's (T1), and nothing of ours is there: we have claimed them.
        let mapped = unsafe { range::map_file(at, name.size, &file, 0, false) };
        mapped.inspect_err(|_| space::DOMAIN.give(name.base))?;
        Ok(Some(header))
    }

    /// Compares a segment's file with what it has to be; its header.
    pub(super) fn verify(&self, name: &FileName, file: &File) -> Result<Header, Error> {
        let shown = name.to_string();
        let path = self.folder.file(&shown);
        let damaged = |what: String| Error::Damaged { file: path.clone(), what };
        let foreign = |what, found: u64, expected: u64| {
            if found == expected {
                Ok(())
            } else {
                Err(Error::Foreign { file: path.clone(), what, found, expected })
            }
        };
        let failed = |source| Error::Io { action: "read", path: path.clone(), source };
        let length = self.folder.length(&shown, file)?;
        if length != name.size as u64 {
            return Err(damaged(format!("it has {length} bytes, not {}", name.size)));
        }
        let mut bytes = [0; HEADER];
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        // SAFETY: the header is plain numbers and bytes, of which any will do.
        let header = unsafe { bytes.as_ptr().cast::<Header>().read_unaligned() };
        if header.magic != MAGIC {
            return Err(damaged("it does not begin as a segment".to_owned()));
        }
        foreign("the layout", u64::from(header.layout), u64::from(LAYOUT))?;
        foreign("the virtual machine", header.machine, self.origin.machine)?;
        foreign("the seed", u64::from(header.seed), u64::from(self.origin.seed))?;
        foreign("the domain", header.domain, self.folder.id())?;
        let expected =
            [("number", header.number, name.number), ("first address", header.base, name.base as u64)];
        for (what, found, expected) in expected {
            if found != expected {
                return Err(damaged(format!("its {what} is {found:#x}, not {expected:#x}")));
            }
        }
        let size = (header.size as usize).checked_next_multiple_of(GRAIN);
        if size != Some(name.size) || header.size < HEADER as u64 {
            return Err(damaged(format!("it has {} bytes, and says {}", name.size, header.size)));
        }
        let root = header.root.checked_sub(header.base + HEADER as u64);
        if !root.is_some_and(|at| at % 16 == 0 && at + 48 <= header.size - HEADER as u64) {
            return Err(damaged("its root lies outside of it".to_owned()));
        }
        let contents = self.sum_of(file, &path, header.size)?;
        bytes[SUM..SUM + 8].copy_from_slice(&contents.to_le_bytes());
        if sum(&bytes) != header.sum {
            return Err(damaged("its sum is wrong: it was altered".to_owned()));
        }
        Ok(header)
    }

    /// The sum over what follows the header of a segment of `size` bytes.
    fn sum_of(&self, file: &File, path: &Path, size: u64) -> Result<u64, Error> {
        let mut sum = Sum::new();
        let mut chunk = [0; CHUNK];
        let mut at = HEADER as u64;
        while at < size {
            let part = &mut chunk[..CHUNK.min((size - at) as usize)];
            let read = file.read_exact_at(part, at);
            read.map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
            sum.add(part);
            at += part.len() as u64;
        }
        Ok(sum.end())
    }
}

impl Entry {
    pub(super) fn file_name(&self) -> FileName {
        FileName { number: self.number, base: self.base as usize, size: self.size as usize, finished: true }
    }
}

//! From an empty file to the current version of a name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use skein_arena::domain::{Folder, promise_file};
use skein_arena::sync::Arc;
use skein_arena::{range, step};

use super::catalogue::{self, Catalogue, Entry, u32_at, u64_at};
use super::{FileName, Lease, Tables, now_ns, sum};
use crate::error::Error;
use crate::segment::{Header, NAME};
use crate::space;

/// What the file is called that says what was handed out.
pub(super) const LEASES: &str = "leases";
const MAGIC: [u8; 8] = *b"skeinlea";
const LAYOUT: u32 = 1;
/// Where in it the next number stands, and behind that the next address, in eight bytes each.
const NEXT: u64 = 16;

/// A segment that this process fills: its file, and its addresses.
#[derive(Debug)]
pub(crate) struct Reserved {
    tables: Arc<Tables>,
    file: File,
    /// As it is while the segment is not complete.
    name: FileName,
    /// As it is then.
    finished: Option<FileName>,
}

impl Reserved {
    pub(crate) fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// Maps `size` bytes of the file from `offset` on, to be written.
    ///
    /// # Safety
    /// `at` is where they belong, and nobody uses what is mapped there.
    pub(crate) unsafe fn map(&self, at: *mut u8, offset: usize, size: usize) -> Result<(), Error> {
        promise_file(&self.file, offset as u64, size)?;
        step("publish/promised");
        // SAFETY: promised by the caller; the addresses are reserved, and of this file (T1).
        unsafe { range::map_file(at, size, &self.file, offset, true)? };
        Ok(())
    }

    /// It is complete, and mapped here.
    pub(crate) fn into_lease(self) -> Lease {
        Lease { tables: self.tables, name: self.finished.unwrap_or(self.name) }
    }

    /// It will never be.
    pub(crate) fn forget(self) {
        // Numbers are given out once, so the names are of this file. What cannot be removed is swept.
        for name in [Some(self.name), self.finished].into_iter().flatten() {
            let _ = self.tables.folder.remove(&name.to_string());
        }
        self.tables.let_go(self.name.number);
    }
}

impl Tables {
    /// Takes a number, addresses, and makes the file: what is there, and first address and bytes to fill.
    pub(crate) fn reserve(self: &Arc<Tables>) -> Result<(Reserved, usize, usize), Error> {
        let lock = self.folder.lock()?;
        let catalogue = self.read_catalogue()?;
        self.sweep_locked(&lock, &catalogue)?;
        let (first, end) = space::SHARED;
        let taken: BTreeMap<usize, usize> =
            self.files()?.into_iter().map(|file| (file.base, file.size)).collect();
        let (number, address) = self.next()?;
        let from = (address as usize).clamp(first, end);
        let (base, size) = space::windows(first, end)
            .find_map(|size| Some((space::DOMAIN.take_beside(&taken, from, size)?, size)))
            .ok_or(Error::Full { size: 0 })?;
        let reserved = self.make_file(number, base, size).inspect_err(|_| space::DOMAIN.give(base))?;
        Ok((reserved, base, size))
    }

    /// Makes the file for a number and a window. The caller has the folder's lock.
    fn make_file(self: &Arc<Tables>, number: u64, base: usize, size: usize) -> Result<Reserved, Error> {
        // The circle goes on at once: what the segment does not need in the end is left out in this round.
        self.set_next(number + 1, (base + size) as u64)?;
        step("publish/drawn");
        let name = FileName { number, base, size, finished: false };
        let held = self.hold(number)?;
        assert!(held, "a new number is nobody's (T1)");
        step("publish/held");
        let file = self.folder.create(&name.to_string()).inspect_err(|_| self.let_go(number))?;
        step("publish/made");
        Ok(Reserved { tables: Arc::clone(self), file, name, finished: None })
    }

    /// Makes what is in the file the current version of `name`; the sum of `header` is that over the contents. `close` writes the header, and says how long the file is then.
    pub(crate) fn publish(
        &self,
        reserved: &mut Reserved,
        name: &str,
        header: Header,
        close: impl FnOnce(&Header) -> Result<usize, Error>,
    ) -> Result<Header, Error> {
        if name.is_empty() || name.len() >= NAME || name.contains('\0') {
            return Err(Error::Name { name: name.to_owned() });
        }
        step("publish/filled");
        let lock = self.folder.lock()?;
        let mut catalogue = self.read_catalogue()?;
        let version = catalogue.find(name).map_or(1, |it| it.version + 1);
        let number = reserved.name.number;
        let header = Header { version, number, domain: self.folder.id(), ..header };
        let header = Header { sum: sum(&header.bytes()), ..header };
        let size = close(&header)?;
        step("publish/closed");
        let shown = reserved.name.to_string();
        let failed = |source| Error::Io { action: "shorten", path: self.folder.file(&shown), source };
        reserved.file.set_len(size as u64).map_err(failed)?;
        step("publish/shortened");
        self.folder.seal(&shown, &reserved.file)?;
        let finished = FileName { size, finished: true, ..reserved.name };
        step("publish/sealed");
        self.folder.rename(&shown, &finished.to_string())?;
        reserved.finished = Some(finished);
        step("publish/named");
        catalogue.set(Entry {
            name: name.to_owned(),
            number,
            base: header.base,
            size: size as u64,
            version,
            published_ns: now_ns(),
            pid: u64::from(std::process::id()),
        });
        self.write_catalogue(&mut catalogue)?;
        // The version before may be nobody's. What cannot be removed now is removed by the next one.
        let _ = self.sweep_locked(&lock, &catalogue);
        step("publish/swept");
        Ok(header)
    }

    /// Replaces the catalogue. The caller has the folder's lock.
    pub(super) fn write_catalogue(&self, catalogue: &mut Catalogue) -> Result<(), Error> {
        catalogue.domain = self.folder.id();
        catalogue.serial += 1;
        self.folder.remove(catalogue::UNFINISHED)?;
        let file = self.folder.create(catalogue::UNFINISHED)?;
        step("catalogue/made");
        let failed =
            |source| Error::Io { action: "write", path: self.folder.file(catalogue::UNFINISHED), source };
        file.write_all_at(&catalogue.to_bytes(), 0).map_err(failed)?;
        step("catalogue/written");
        self.folder.rename(catalogue::UNFINISHED, catalogue::FILE)?;
        step("catalogue/renamed");
        Ok(())
    }

    /// The next number and address. The caller has the folder's lock.
    fn next(&self) -> Result<(u64, u64), Error> {
        let mut bytes = [0; 32];
        self.others
            .file()
            .read_exact_at(&mut bytes, 0)
            .map_err(|source| self.leases_failed("read", source))?;
        check_leases(&self.folder, &bytes)?;
        Ok((u64_at(&bytes, NEXT as usize), u64_at(&bytes, NEXT as usize + 8)))
    }

    fn set_next(&self, number: u64, address: u64) -> Result<(), Error> {
        let bytes = [number.to_le_bytes(), address.to_le_bytes()].concat();
        let written = self.others.file().write_all_at(&bytes, NEXT);
        written.map_err(|source| self.leases_failed("write", source))
    }

    fn leases_failed(&self, action: &'static str, source: io::Error) -> Error {
        Error::Io { action, path: self.folder.file(LEASES), source }
    }
}

/// Makes the file `leases` if there is none. The caller has the folder's lock.
pub(super) fn make_leases(folder: &Folder) -> Result<(), Error> {
    if folder.open_file(LEASES)?.is_some() {
        return Ok(());
    }
    const UNFINISHED: &str = "leases.new";
    folder.remove(UNFINISHED)?;
    let file = folder.create(UNFINISHED)?;
    step("leases/made");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&LAYOUT.to_le_bytes());
    bytes[16..24].copy_from_slice(&1_u64.to_le_bytes());
    bytes[24..].copy_from_slice(&(space::SHARED.0 as u64).to_le_bytes());
    let failed = |source| Error::Io { action: "write", path: folder.file(UNFINISHED), source };
    file.write_all_at(&bytes, 0).map_err(failed)?;
    step("leases/written");
    folder.rename(UNFINISHED, LEASES)?;
    step("leases/renamed");
    Ok(())
}

/// Opens the file `leases`, which has to be one.
pub(super) fn leases(folder: &Folder) -> Result<File, Error> {
    let damaged = |what: &str| Error::Damaged { file: folder.file(LEASES), what: what.to_owned() };
    let file = folder.open_file(LEASES)?.ok_or_else(|| damaged("it is gone"))?;
    let mut bytes = [0; 32];
    file.read_exact_at(&mut bytes, 0).map_err(|_| damaged("it was cut off"))?;
    check_leases(folder, &bytes)?;
    Ok(file)
}

fn check_leases(folder: &Folder, bytes: &[u8]) -> Result<(), Error> {
    let file = || folder.file(LEASES);
    if bytes[..8] != MAGIC {
        return Err(Error::Damaged { file: file(), what: "it does not begin as one".to_owned() });
    }
    match u32_at(bytes, 8) {
        LAYOUT => Ok(()),
        found => Err(Error::Damaged { file: file(), what: format!("its layout is {found}, not {LAYOUT}") }),
    }
}

//! The file `catalogue` of a domain: which segment is the current version of which name.
//!
//! It is replaced as a whole, by a file that is complete before it gets the name: whoever opens it reads the tables as they were
//! before a change or after it. All numbers are little-endian (docs/share-layout.md).

use std::path::Path;

use super::sum;
use crate::error::Error;
use crate::segment::NAME;

/// What the file is called.
pub(crate) const FILE: &str = "catalogue";
/// What it is called until it is complete.
pub(crate) const UNFINISHED: &str = "catalogue.new";

const MAGIC: [u8; 8] = *b"skeincat";
const LAYOUT: u32 = 1;
/// Bytes in front of the entries.
pub(crate) const HEAD: usize = 64;
const ENTRY: usize = 192;
/// Bytes of the head that tell one catalogue from the next.
pub(crate) const SERIAL: std::ops::Range<usize> = 24..32;

/// The tables of a domain, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Catalogue {
    /// Which domain.
    pub(crate) domain: u64,
    /// How often it was replaced.
    pub(crate) serial: u64,
    /// In order of names.
    pub(crate) entries: Vec<Entry>,
}

/// The current version of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Of the segment.
    pub(crate) number: u64,
    /// First address.
    pub(crate) base: u64,
    /// Bytes of the file.
    pub(crate) size: u64,
    /// Which version of the name this is, from 1.
    pub(crate) version: u64,
    /// When it was published, in nanoseconds since 1970.
    pub(crate) published_ns: u64,
    /// By which process.
    pub(crate) pid: u64,
}

impl Catalogue {
    /// The entry of a name, or where it would be.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|it| it.name.as_str().cmp(name))
    }

    /// The entry of a name.
    pub(crate) fn find(&self, name: &str) -> Option<&Entry> {
        self.place(name).ok().map(|at| &self.entries[at])
    }

    /// Whether a segment is current.
    pub(crate) fn has(&self, number: u64) -> bool {
        self.entries.iter().any(|it| it.number == number)
    }

    /// Makes an entry the one of its name.
    pub(crate) fn set(&mut self, entry: Entry) {
        match self.place(&entry.name) {
            Ok(at) => self.entries[at] = entry,
            Err(at) => self.entries.insert(at, entry),
        }
    }

    /// Takes the entry of a name out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Entry> {
        self.place(name).ok().map(|at| self.entries.remove(at))
    }

    /// The bytes of the file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut entries = Vec::with_capacity(self.entries.len() * ENTRY);
        for it in &self.entries {
            let mut name = [0; NAME];
            name[..it.name.len()].copy_from_slice(it.name.as_bytes());
            entries.extend(name);
            for number in [it.number, it.base, it.size, it.version, it.published_ns, it.pid, 0, 0] {
                entries.extend(number.to_le_bytes());
            }
        }
        let mut bytes = Vec::with_capacity(HEAD + entries.len());
        bytes.extend(MAGIC);
        bytes.extend(LAYOUT.to_le_bytes());
        bytes.extend((self.entries.len() as u32).to_le_bytes());
        for number in [self.domain, self.serial, sum(&entries), 0, 0, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(entries);
        bytes
    }

    /// Reads the bytes of the file.
    ///
    /// # Errors
    /// [`Error::Damaged`], with what is wrong.
    pub(crate) fn of_bytes(file: &Path, domain: u64, bytes: &[u8]) -> Result<Catalogue, Error> {
        let damaged = |what: String| Error::Damaged { file: file.to_owned(), what };
        if bytes.len() < HEAD {
            return Err(damaged(format!("it has {} bytes, less than its head", bytes.len())));
        }
        if bytes[..8] != MAGIC {
            return Err(damaged("it does not begin as a catalogue".to_owned()));
        }
        let (head, body) = bytes.split_at(HEAD);
        let layout = u32_at(head, 8);
        if layout != LAYOUT {
            return Err(damaged(format!("its layout is {layout}, not {LAYOUT}")));
        }
        if u64_at(head, 16) != domain {
            return Err(damaged("it is of another domain".to_owned()));
        }
        let count = u32_at(head, 12) as usize;
        if body.len() != count * ENTRY {
            return Err(damaged(format!("it has {} bytes, not {}", bytes.len(), HEAD + count * ENTRY)));
        }
        if u64_at(head, 32) != sum(body) {
            return Err(damaged("its sum is wrong: it was altered".to_owned()));
        }
        let entries: Option<Vec<Entry>> = body.chunks_exact(ENTRY).map(Entry::of_bytes).collect();
        let entries = entries.ok_or_else(|| damaged("a name is none".to_owned()))?;
        Ok(Catalogue { domain, serial: u64_at(head, SERIAL.start), entries })
    }
}

impl Entry {
    fn of_bytes(bytes: &[u8]) -> Option<Entry> {
        let (name, rest) = bytes.split_at(NAME);
        let len = name.iter().position(|&it| it == 0)?;
        Some(Entry {
            name: String::from_utf8(name[..len].to_vec()).ok()?,
            number: u64_at(rest, 0),
            base: u64_at(rest, 8),
            size: u64_at(rest, 16),
            version: u64_at(rest, 24),
            published_ns: u64_at(rest, 32),
            pid: u64_at(rest, 40),
        })
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, number: u64) -> Entry {
        Entry {
            name: name.to_owned(),
            number,
            base: 1 << 40,
            size: 65536,
            version: 3,
            published_ns: 4,
            pid: 5,
        }
    }

    #[test]
    fn what_is_written_is_read_and_any_altered_byte_is_noticed() {
        let mut catalogue = Catalogue { domain: 9, serial: 7, entries: Vec::new() };
        for (at, name) in ["prices", "", "items", "é", &"x".repeat(NAME - 1)].into_iter().enumerate() {
            catalogue.set(entry(name, at as u64 + 1));
        }
        catalogue.set(entry("items", 17));
        assert_eq!(catalogue.find("items").map(|it| it.number), Some(17));
        assert!(catalogue.has(1) && !catalogue.has(3));
        let bytes = catalogue.to_bytes();
        let file = Path::new("catalogue");
        assert_eq!(Catalogue::of_bytes(file, 9, &bytes).unwrap(), catalogue);
        // The serial, and the zeros of the head, may be anything.
        for at in (0..24).chain(32..40).chain(HEAD..bytes.len()) {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert!(Catalogue::of_bytes(file, 9, &altered).is_err(), "byte {at}");
        }
        for len in 0..bytes.len() {
            assert!(Catalogue::of_bytes(file, 9, &bytes[..len]).is_err(), "{len} bytes");
        }
        assert_eq!(catalogue.take("items").map(|it| it.number), Some(17));
        assert_eq!(catalogue.take("items"), None);
    }
}

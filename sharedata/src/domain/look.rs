//! What is in the folder: for lists and checks.

use super::{FileName, Tables, bytes_of, catalogue, publish::LEASES};
use crate::error::Error;

/// The current version of a table, as the catalogue has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Which version of the name it is, from 1.
    pub version: u64,
    /// Bytes of memory.
    pub size: u64,
    /// When it was published, in nanoseconds since 1970.
    pub published_ns: u64,
    /// Process that published it.
    pub pid: u64,
    /// Processes that read it.
    pub readers: Vec<u32>,
}

/// A segment that is no longer current, and that somebody reads, or that somebody fills.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldVersion {
    /// Name of its file.
    pub file: String,
    /// Bytes of addresses.
    pub size: u64,
    /// It is complete.
    pub finished: bool,
    /// Processes that hold it.
    pub readers: Vec<u32>,
}

impl Tables {
    /// All tables, in order of names.
    ///
    /// # Errors
    /// The catalogue cannot be read.
    pub fn list(&self) -> Result<Vec<Table>, Error> {
        let catalogue = self.catalogue()?;
        let table = |it: &catalogue::Entry| {
            Ok(Table {
                name: it.name.clone(),
                version: it.version,
                size: it.size,
                published_ns: it.published_ns,
                pid: it.pid,
                readers: self.readers(it.number)?,
            })
        };
        catalogue.entries.iter().map(table).collect()
    }

    /// Segments that are not current: old versions that are still read, and new ones that are being made.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn others(&self) -> Result<Vec<OldVersion>, Error> {
        let catalogue = self.catalogue()?;
        let files = self.files()?.into_iter().filter(|it| !it.finished || !catalogue.has(it.number));
        let version = |it: FileName| {
            let readers = self.readers(it.number)?;
            Ok(OldVersion { file: it.to_string(), size: it.size as u64, finished: it.finished, readers })
        };
        files.map(version).collect()
    }

    /// Compares each table with what it has to be: what is wrong, and how many tables there are.
    ///
    /// # Errors
    /// The folder or the catalogue cannot be read.
    pub fn check(&self) -> Result<(Vec<Error>, usize), Error> {
        let _lock = self.folder.lock()?;
        let catalogue = self.read_catalogue()?;
        let mut problems = Vec::new();
        for entry in &catalogue.entries {
            let name = entry.file_name();
            let checked = match self.folder.open_sealed(&name.to_string()) {
                Ok(Some(file)) => self.verify(&name, &file).map(|header| header.name() == entry.name),
                Ok(None) => Ok(false),
                Err(error) => Err(error.into()),
            };
            match checked {
                Ok(true) => {}
                Ok(false) => problems.push(Error::Damaged {
                    file: self.folder.file(&name.to_string()),
                    what: format!("it is not there, or not the table {:?}", entry.name),
                }),
                Err(error) => problems.push(error),
            }
        }
        for name in self.folder.names()? {
            if FileName::parse(&name).is_none()
                && ![catalogue::FILE, catalogue::UNFINISHED, LEASES].contains(&name.as_str())
            {
                let file = self.folder.file(&name);
                problems.push(Error::Damaged { file, what: "it is no file of tables".to_owned() });
            }
        }
        Ok((problems, catalogue.entries.len()))
    }

    /// The processes that hold a segment, in order.
    fn readers(&self, number: u64) -> Result<Vec<u32>, Error> {
        let all = bytes_of(number);
        let (mut from, mut readers) = (all.start, Vec::new());
        while from < all.end {
            let found = self.others.first_held(from, all.end - from);
            let found = found.map_err(|source| Error::Io {
                action: "ask for locks of",
                path: self.folder.file(LEASES),
                source,
            })?;
            let Some(at) = found else { break };
            readers.push((at - all.start) as u32);
            from = at + 1;
        }
        Ok(readers)
    }
}

//! A segment that is being filled: writable memory at its final address, which grows while a freezer lays objects down.
//!
//! Its memory is the process's own, or a file of a domain. What is half done is undone when the draft is dropped; when its
//! process dies over it, whoever comes next removes the file.

use std::ptr;
use std::slice;

use skein_arena::range;
use skein_arena::sync::Arc;

use crate::domain::{self, Reserved, Tables};
use crate::error::Error;
use crate::segment::{Contents, HEADER, Header, Origin, Place, Segment};
use crate::space::{self, GRAIN};

/// Memory that a draft begins with, and grows by at least.
const STEP: usize = 1 << 20;

/// A segment that is being filled.
#[derive(Debug)]
pub struct Draft {
    base: usize,
    window: usize,
    mapped: usize,
    /// In a domain.
    reserved: Option<Reserved>,
}

impl Draft {
    /// An empty draft in memory of this process.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Full`], or the system refused memory.
    pub fn new() -> Result<Draft, Error> {
        require_range()?;
        let (base, window) = space::OWN
            .windows()
            .find_map(|size| Some((space::OWN.take(size)?, size)))
            .ok_or(Error::Full { size: STEP })?;
        Draft { base, window, mapped: 0, reserved: None }.begun()
    }

    /// An empty draft in a file of a domain.
    pub(crate) fn of_domain(reserved: Reserved, base: usize, window: usize) -> Result<Draft, Error> {
        Draft { base, window, mapped: 0, reserved: Some(reserved) }.begun()
    }

    fn begun(mut self) -> Result<Draft, Error> {
        self.grow(STEP)?;
        Ok(self)
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
        match &self.reserved {
            // SAFETY: the window is ours (A1) and lies in the reserved range.
            None => unsafe { range::commit(at, step)? },
            // SAFETY: as above: no other file of the domain has these addresses, and nothing is mapped there.
            Some(reserved) => unsafe { reserved.map(at, self.mapped, step)? },
        }
        // SAFETY: as above.
        unsafe { range::expect_writes(at, step, self.reserved.is_some()) };
        self.mapped += step;
        Ok(())
    }

    /// Makes it a segment of this process. `origin` has the seed and the machine; the rest of the header comes from `contents`.
    ///
    /// # Errors
    /// The system refused.
    pub fn seal(mut self, name: &str, contents: Contents, origin: Origin) -> Result<Arc<Segment>, Error> {
        assert!(self.reserved.is_none(), "a draft of a domain is published");
        let header = Header::new(name, self.base, contents, origin);
        self.close(&header)?;
        space::OWN.trim(self.base, self.mapped);
        let segment = Segment::publish(Place::Own, self.base, self.mapped, header);
        std::mem::forget(self);
        Ok(segment)
    }

    /// Makes it the current version of `name` in its domain, for all processes at once. The versions before it stay as long as
    /// somebody reads them.
    ///
    /// # Errors
    /// [`Error::Name`]; the domain refused: then the version before is still the current one.
    pub fn publish(mut self, name: &str, contents: Contents) -> Result<Arc<Segment>, Error> {
        let mut reserved = self.reserved.take().expect("a draft of this process is sealed");
        let tables = Arc::clone(reserved.tables());
        let header = Header::new(name, self.base, contents, tables.origin());
        // SAFETY: all of it is mapped; the freezer has returned.
        let bytes = unsafe { slice::from_raw_parts(self.start(), header.size as usize - HEADER) };
        let sum = domain::sum(bytes);
        let published = tables.publish(&mut reserved, name, Header { sum, ..header }, |header| {
            self.close(header)?;
            Ok(self.mapped)
        });
        match published {
            Ok(header) => {
                let segment =
                    Segment::publish(Place::File(reserved.into_lease()), self.base, self.mapped, header);
                std::mem::forget(self);
                Ok(segment)
            }
            Err(error) => {
                self.reserved = Some(reserved);
                Err(error)
            }
        }
    }

    /// Writes the header, gives back what is too much, and lets nobody write any more.
    fn close(&mut self, header: &Header) -> Result<(), Error> {
        let size = (header.size as usize).next_multiple_of(GRAIN);
        let at = ptr::with_exposed_provenance_mut::<u8>(self.base);
        // SAFETY: the first page is mapped, writable and aligned; nobody but the draft knows the pages, and nobody writes them from
        // here on (S1).
        unsafe {
            at.cast::<[u8; HEADER]>().write(header.bytes());
            range::seal(at, size)?;
            if self.mapped > size {
                range::unmap(at.add(size), self.mapped - size)?;
            }
        }
        self.mapped = size;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // SAFETY: nobody but the draft knows the pages.
        let unmapped = unsafe { range::unmap(ptr::with_exposed_provenance_mut(self.base), self.mapped) };
        // Addresses that cannot be unmapped are never used again.
        let space = if self.reserved.is_some() { &space::DOMAIN } else { &space::OWN };
        if unmapped.is_ok() {
            space.give(self.base);
        }
        if let Some(reserved) = self.reserved.take() {
            reserved.forget();
        }
    }
}

/// Segments need all of the range.
pub(crate) fn require_range() -> Result<(), Error> {
    if range::reserve()? < 1 << range::BITS { Err(Error::NoSpace) } else { Ok(()) }
}

impl Tables {
    /// An empty draft for a table of this domain.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Full`]; the domain cannot be used; its file system is full.
    pub fn draft(self: &Arc<Tables>) -> Result<Draft, Error> {
        require_range()?;
        let (reserved, base, window) = self.reserve()?;
        Draft::of_domain(reserved, base, window)
    }
}

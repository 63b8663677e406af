//! Local names: `.logger` and its like. A name belongs to one handle until that is retired; a handle may have several.
//!
//! # From skynet
//! skynet_handle.c: handle_name's sorted array → [`Names`]. Names are kept without their dot.

use std::collections::{BTreeMap, HashMap};

use skein_arena::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Handle;

/// Local names of a node.
#[derive(Default)]
pub struct Names(RwLock<Maps>);

#[derive(Default)]
struct Maps {
    handles: BTreeMap<Box<[u8]>, Handle>,
    /// The way back, so that a death costs as much as the names it frees.
    names: HashMap<Handle, Vec<Box<[u8]>>>,
}

impl Names {
    /// Who has this name (without its dot).
    pub fn find(&self, name: &[u8]) -> Option<Handle> {
        self.read().handles.get(name).copied()
    }

    /// Binds a free name. `false`: it is taken, be it by the same handle.
    pub fn bind(&self, name: &[u8], handle: Handle) -> bool {
        let mut maps = self.write();
        if maps.handles.contains_key(name) {
            return false;
        }
        maps.handles.insert(name.into(), handle);
        maps.names.entry(handle).or_default().push(name.into());
        true
    }

    /// Frees all names of a handle.
    pub fn release(&self, handle: Handle) {
        if !self.read().names.contains_key(&handle) {
            return;
        }
        let mut maps = self.write();
        for name in maps.names.remove(&handle).unwrap_or_default() {
            maps.handles.remove(&name);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_bound_once_and_freed_with_its_handle() {
        let names = Names::default();
        assert!(names.bind(b"db", Handle(5)));
        assert!(names.bind(b"store", Handle(5)));
        assert!(!names.bind(b"db", Handle(6)), "taken");
        assert_eq!(names.find(b"db"), Some(Handle(5)));
        assert_eq!(names.find(b".db"), None, "kept without the dot");
        names.release(Handle(5));
        assert_eq!(names.find(b"db"), None);
        assert_eq!(names.find(b"store"), None);
        assert!(names.bind(b"db", Handle(6)));
    }
}

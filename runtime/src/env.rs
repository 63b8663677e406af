//! The environment of a node: its configuration and what services added, each key written once.
//!
//! # From skynet
//! skynet_env.c: the Lua state behind a lock → [`Env`]. Differs: setting an existing key is refused; skynet aborts.

use std::collections::BTreeMap;

use skein_arena::sync::{RwLock, RwLockWriteGuard};

use crate::Settings;

/// Keys and values, both any bytes.
pub struct Env(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Env {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self(RwLock::new(settings.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()))
    }

    /// The value of a key.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        self.0.read().unwrap_or_else(|it| it.into_inner()).get(key.as_ref()).cloned()
    }

    /// Writes a new key. `false`: it exists, and keeps its value.
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> bool {
        let mut entries: RwLockWriteGuard<'_, _> = self.0.write().unwrap_or_else(|it| it.into_inner());
        if entries.contains_key(key.as_ref()) {
            return false;
        }
        entries.insert(key.as_ref().to_vec(), value.as_ref().to_vec());
        true
    }
}

//! One hash seed for all states of the process.
//!
//! Shared objects carry the hashes of their strings, so every state that reads them must hash alike. The seed is drawn
//! once, when the first state is made, or given before that by whoever joins a group of processes.

use std::sync::OnceLock;

static SEED: OnceLock<u32> = OnceLock::new();

/// The seed of this process.
///
/// # Panics
///
/// Panics if the system has no random numbers to give.
pub fn get() -> u32 {
    *SEED.get_or_init(|| getrandom::u32().expect("the system gives random numbers"))
}

/// A random number, the same all the time; not the seed.
///
/// # Panics
///
/// As [`get`].
pub fn noise() -> u64 {
    static NOISE: OnceLock<u64> = OnceLock::new();
    *NOISE.get_or_init(|| getrandom::u64().expect("the system gives random numbers"))
}

/// Takes `seed` instead of a random one.
///
/// # Errors
///
/// Returns the seed in force if a state was made already and hashes with another.
pub fn set(seed: u32) -> Result<(), u32> {
    let found = *SEED.get_or_init(|| seed);
    if found == seed { Ok(()) } else { Err(found) }
}

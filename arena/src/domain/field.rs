//! Numbers in the bytes of a file, and what they have to be.

use std::path::Path;

use super::{DomainError, Field};

/// A number that has to stand at an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) field: Field,
    pub(crate) offset: usize,
    /// Bytes: 4 or 8.
    pub(crate) width: usize,
    pub(crate) value: u64,
}

impl Expected {
    pub(crate) fn u32(field: Field, offset: usize, value: u32) -> Expected {
        Expected { field, offset, width: 4, value: u64::from(value) }
    }

    pub(crate) fn u64(field: Field, offset: usize, value: u64) -> Expected {
        Expected { field, offset, width: 8, value }
    }

    /// What stands there instead, if it is something else.
    pub(crate) fn other(&self, bytes: &[u8]) -> Option<u64> {
        let found = match self.width {
            4 => u64::from(u32_at(bytes, self.offset)),
            _ => u64_at(bytes, self.offset),
        };
        (found != self.value).then_some(found)
    }
}

/// Compares all of them, in this order.
pub(crate) fn check(file: &Path, bytes: &[u8], expected: &[Expected]) -> Result<(), DomainError> {
    for it in expected {
        if let Some(found) = it.other(bytes) {
            let file = file.to_owned();
            return Err(DomainError::Mismatch { file, field: it.field, found, expected: it.value });
        }
    }
    Ok(())
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

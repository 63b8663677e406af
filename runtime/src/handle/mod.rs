//! Addresses of services, and the table that leads from an address to its service.

use std::fmt;

pub mod names;
pub mod table;

/// The address of a service: the harbor it lives in (top 8 bits) and its number there. 0 is nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Handle(pub u32);

impl Handle {
    /// Nobody: the source of what the runtime itself says.
    pub const NONE: Self = Self(0);
    /// The largest local number.
    pub const LOCAL_MAX: u32 = 0x00FF_FFFF;

    /// The node it lives in.
    pub const fn harbor(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// Its number within its node.
    pub const fn local(self) -> u32 {
        self.0 & Self::LOCAL_MAX
    }

    /// Whether it is nobody's.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Reads hex digits up to the first byte that is none, as the commands do: C's `strtoul` in base 16, whose low 32
    /// bits count.
    pub fn parse_hex(text: &[u8]) -> Self {
        let digits = text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X")).unwrap_or(text);
        let mut value = 0_u64;
        for digit in digits.iter().map_while(|byte| char::from(*byte).to_digit(16)) {
            value = value.checked_mul(16).map_or(u64::MAX, |it| it | u64::from(digit));
        }
        Self(value as u32)
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ":{:08x}", self.0)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

//! Values as bytes: the writer's half of the format.

use super::out::Out;
use super::pack::Refused;
use super::{BOOLEAN, COOKIE_MAX, LONG_STRING, NIL, NUMBER, POINTER, SHORT_STRING, TABLE, head, number};

/// Writes values, and notes the pointers that give a block away.
pub(super) struct Write<'a> {
    pub(super) out: &'a mut Out,
    pub(super) pointers: &'a mut Vec<usize>,
    pub(super) owned: &'a dyn Fn(usize) -> bool,
}

impl Write<'_> {
    #[inline(always)]
    fn scalar(&mut self, tag: u8, value: u64, width: usize) -> Result<(), Refused> {
        Ok(self.out.scalar(tag, value, width)?)
    }

    /// `nil`, or the end of a table.
    #[inline(always)]
    pub(super) fn nil(&mut self) -> Result<(), Refused> {
        self.scalar(NIL, 0, 1)
    }

    #[inline(always)]
    pub(super) fn boolean(&mut self, value: bool) -> Result<(), Refused> {
        self.scalar(head(BOOLEAN, u8::from(value)), 0, 1)
    }

    #[inline(always)]
    pub(super) fn integer(&mut self, value: i64) -> Result<(), Refused> {
        let (cookie, width) = match value {
            0 => (number::ZERO, 1),
            1..=0xff => (number::BYTE, 2),
            0x100..=0xffff => (number::WORD, 3),
            -0x8000_0000..=0x7fff_ffff => (number::DWORD, 5),
            _ => (number::QWORD, 9),
        };
        self.scalar(head(NUMBER, cookie), value as u64, width)
    }

    #[inline(always)]
    pub(super) fn real(&mut self, value: f64) -> Result<(), Refused> {
        self.scalar(head(NUMBER, number::REAL), value.to_bits(), 9)
    }

    #[inline(always)]
    pub(super) fn string(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let (cookie, kind, width) = match bytes.len() {
            len @ 0..32 => (len as u8, SHORT_STRING, 1),
            32..0x1_0000 => (2, LONG_STRING, 3),
            0x1_0000..0x8000_0000 => (4, LONG_STRING, 5),
            _ => return Err(Refused::LongString),
        };
        Ok(self.out.text(head(kind, cookie), width, bytes)?)
    }

    pub(super) fn pointer(&mut self, address: usize) -> Result<(), Refused> {
        if (self.owned)(address) && !self.pointers.contains(&address) {
            self.pointers.push(address);
        }
        self.scalar(head(POINTER, 0), address as u64, 9)
    }

    /// The beginning of a table with `items` array items.
    #[inline(always)]
    pub(super) fn table(&mut self, items: i64) -> Result<(), Refused> {
        if items < i64::from(COOKIE_MAX) {
            return self.scalar(head(TABLE, items as u8), 0, 1);
        }
        self.scalar(head(TABLE, COOKIE_MAX), 0, 1)?;
        self.integer(items)
    }
}

//! Names of segments' files: `segment.NUMBER.BASE.SIZE`, all three in hexadecimal.

/// What the name of a segment's file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileName {
    /// Of the segment.
    pub(crate) number: u64,
    /// First address.
    pub(crate) base: usize,
    /// Bytes of addresses from there on that are this segment's.
    pub(crate) size: usize,
    /// It is complete.
    pub(crate) finished: bool,
}

impl FileName {
    /// Reads a name; none if it is that of another file.
    pub(crate) fn parse(name: &str) -> Option<FileName> {
        let rest = name.strip_prefix("segment.")?;
        let (rest, finished) = match rest.strip_suffix(".new") {
            Some(rest) => (rest, false),
            None => (rest, true),
        };
        let mut parts = rest.split('.');
        let mut next = || u64::from_str_radix(parts.next()?, 16).ok();
        let found = FileName { number: next()?, base: next()? as usize, size: next()? as usize, finished };
        (parts.next().is_none() && found.to_string() == name).then_some(found)
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = if self.finished { "" } else { ".new" };
        write!(f, "segment.{:x}.{:x}.{:x}{end}", self.number, self.base, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_no_others() {
        let name = FileName { number: 26, base: 0x2c00_0001_0000, size: 1 << 16, finished: false };
        assert_eq!(name.to_string(), "segment.1a.2c0000010000.10000.new");
        assert_eq!(FileName::parse("segment.1a.2c0000010000.10000.new"), Some(name));
        let done = FileName { finished: true, ..name };
        assert_eq!(FileName::parse(&done.to_string()), Some(done));
        for other in [
            "catalogue",
            "segment.1.2",
            "segment.1.2.3.4",
            "segment.01.2.3",
            "segment.1A.2.3",
            "segment.+1.2.3",
        ] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }
}

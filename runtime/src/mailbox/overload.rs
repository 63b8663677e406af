//! The warning that doubles: a mailbox that grows is named at 1024 messages, then at 2048, 4096, …

/// The first limit.
const FIRST: usize = 1024;

/// When to warn next.
pub(super) struct Overload {
    limit: usize,
}

impl Overload {
    pub(super) fn new() -> Self {
        Self { limit: FIRST }
    }

    /// The length to warn of, if it passed the limit; the limit is doubled beyond it.
    pub(super) fn check(&mut self, len: usize) -> Option<usize> {
        if len <= self.limit {
            return None;
        }
        while len > self.limit {
            self.limit *= 2;
        }
        Some(len)
    }

    /// The mailbox was empty: begin again.
    pub(super) fn reset(&mut self) {
        self.limit = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_once_per_doubling_and_again_after_calm() {
        let mut overload = Overload::new();
        let warned: Vec<_> = (0..10_000).filter_map(|len| overload.check(len)).collect();
        assert_eq!(warned, [1025, 2049, 4097, 8193]);
        assert_eq!(overload.check(3000), None);
        overload.reset();
        assert_eq!(overload.check(5000), Some(5000));
        assert_eq!(overload.check(8192), None);
    }
}

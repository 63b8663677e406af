//! A queue of chunks, and how bytes and lines are taken from its front.
//!
//! Nothing is copied when a chunk comes in. What is taken out of one chunk is shown where it is; what spans several is first put
//! into a chunk of its own, once.

use std::collections::VecDeque;

use memchr::memchr;
use skein_arena::{Arena, Error, Kind, Payload, count_copied_in};

/// Bytes that came, and that nobody has taken.
struct Chunk {
    payload: Payload,
    at: usize,
}

impl Chunk {
    fn rest(&self) -> &[u8] {
        &self.payload[self.at..]
    }
}

/// The bytes of a stream that are not taken yet.
#[derive(Default)]
pub(super) struct Stream {
    chunks: VecDeque<Chunk>,
    size: usize,
    /// Bytes that came in all.
    pushed: u64,
    /// Where the next search for `wanted` begins: it does not begin before.
    searched: usize,
    wanted: Vec<u8>,
    /// Changes with every change, so that who was interrupted can tell.
    stamp: u64,
}

impl Stream {
    pub(super) fn len(&self) -> usize {
        self.size
    }

    pub(super) fn stamp(&self) -> u64 {
        self.stamp
    }

    pub(super) fn push(&mut self, payload: Payload) {
        self.stamp += 1;
        self.size += payload.len();
        self.pushed += payload.len() as u64;
        if !payload.is_empty() {
            self.chunks.push_back(Chunk { payload, at: 0 });
        }
    }

    /// The first `len` bytes, which there are, side by side.
    ///
    /// # Errors
    /// The arena has no room to put them together; nothing has changed.
    pub(super) fn front(&mut self, arena: Arena, len: usize) -> Result<&[u8], Error> {
        if self.chunks.front().is_some_and(|it| it.rest().len() < len) {
            self.join(arena, len)?;
        }
        Ok(self.chunks.front().map_or(&[], |it| &it.rest()[..len]))
    }

    #[cold]
    fn join(&mut self, arena: Arena, len: usize) -> Result<(), Error> {
        let mut whole = arena.alloc(len)?;
        let bytes = whole.bytes_mut().expect("a new block has bytes");
        count_copied_in(len);
        self.stamp += 1;
        let mut filled = 0;
        while filled < len {
            let chunk = self.chunks.front_mut().expect("there are that many bytes");
            let part = chunk.rest();
            let take = part.len().min(len - filled);
            bytes[filled..filled + take].copy_from_slice(&part[..take]);
            filled += take;
            chunk.at += take;
            if chunk.rest().is_empty() {
                self.chunks.pop_front();
            }
        }
        self.chunks.push_front(Chunk { payload: whole.share(), at: 0 });
        Ok(())
    }

    /// The payload that the first `len` bytes end, when they are much of it: then a string can show them where they are.
    pub(super) fn owner(&self, len: usize) -> Option<&Payload> {
        let chunk = self.chunks.front()?;
        let payload = &chunk.payload;
        let fits = payload.kind() == Kind::Bytes
            && chunk.at + len == payload.len()
            && len >= payload.footprint() / 2;
        fits.then_some(payload)
    }

    /// Takes `len` bytes off the front, which there are. Says how many chunks are gone with them.
    pub(super) fn skip(&mut self, mut len: usize) -> usize {
        self.stamp += 1;
        self.size -= len;
        self.searched = self.searched.saturating_sub(len);
        let before = self.chunks.len();
        while let Some(first) = self.chunks.front_mut() {
            let rest = first.rest().len();
            if rest > len {
                first.at += len;
                break;
            }
            len -= rest;
            self.chunks.pop_front();
        }
        before - self.chunks.len()
    }

    /// Bytes that came in all.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Copies all that is here to where it will come from again.
    pub(super) fn copy_to(&self, mut into: &mut [u8]) {
        for chunk in &self.chunks {
            let (here, rest) = into.split_at_mut(chunk.rest().len());
            here.copy_from_slice(chunk.rest());
            into = rest;
        }
    }

    /// Drops all that is here, as if it had never come. Says how many chunks that were.
    pub(super) fn take_back(&mut self) -> usize {
        self.pushed -= self.size as u64;
        self.skip(self.size)
    }

    /// How many chunks there are.
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Where `separator` first begins. What was searched in vain is not searched again.
    pub(super) fn find(&mut self, separator: &[u8]) -> Option<usize> {
        let Some((&first, more)) = separator.split_first() else {
            return (self.size > 0).then_some(0);
        };
        if self.wanted != separator {
            self.searched = 0;
            self.wanted.clear();
            self.wanted.extend_from_slice(separator);
        }
        let mut begins = 0;
        for (index, chunk) in self.chunks.iter().enumerate() {
            let bytes = chunk.rest();
            let mut from = self.searched.saturating_sub(begins).min(bytes.len());
            while let Some(found) = memchr(first, &bytes[from..]) {
                let at = from + found;
                if begins + at + separator.len() > self.size {
                    // The rest may come with the next chunk.
                    self.searched = begins + at;
                    return None;
                }
                if self.follows(index, at + 1, more) {
                    self.searched = begins + at;
                    return Some(begins + at);
                }
                from = at + 1;
            }
            begins += bytes.len();
        }
        self.searched = begins;
        None
    }

    /// Whether `expected` stands from byte `at` of chunk `index` on.
    fn follows(&self, index: usize, at: usize, expected: &[u8]) -> bool {
        let mut expected = expected;
        let mut at = at;
        for chunk in self.chunks.iter().skip(index) {
            let bytes = &chunk.rest()[at..];
            let part = bytes.len().min(expected.len());
            if bytes[..part] != expected[..part] {
                return false;
            }
            expected = &expected[part..];
            if expected.is_empty() {
                return true;
            }
            at = 0;
        }
        expected.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::iter::zip;

    use proptest::prelude::*;
    use skein_arena::Options;

    use super::*;

    fn arena() -> Arena {
        thread_local!(static ARENA: Arena = Arena::private(&Options::default()).unwrap());
        ARENA.with(|it| *it)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(Vec<u8>),
        Take(usize),
        Line(Vec<u8>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let few = || prop::collection::vec(0_u8..3, 0..6);
        prop_oneof![few().prop_map(Step::Push), (0_usize..9).prop_map(Step::Take), few().prop_map(Step::Line),]
    }

    proptest! {
        #[test]
        fn any_program_takes_what_a_plain_vector_would_give(steps in prop::collection::vec(step(), 0..60)) {
            let (mut stream, mut model) = (Stream::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Push(bytes) => {
                        stream.push(arena().copy_from(&bytes).unwrap().share());
                        model.extend_from_slice(&bytes);
                    }
                    Step::Take(len) if len <= model.len() => {
                        prop_assert_eq!(stream.front(arena(), len).unwrap(), &model[..len]);
                        stream.skip(len);
                        model.drain(..len);
                    }
                    Step::Take(_) => {}
                    Step::Line(separator) => {
                        let expected = if separator.is_empty() {
                            (!model.is_empty()).then_some(0)
                        } else {
                            model.windows(separator.len()).position(|it| it == &separator[..])
                        };
                        let found = stream.find(&separator);
                        prop_assert_eq!(found, expected);
                        if let Some(at) = found {
                            prop_assert_eq!(stream.front(arena(), at).unwrap(), &model[..at]);
                            stream.skip(at + separator.len());
                            model.drain(..at + separator.len());
                        }
                    }
                }
                prop_assert_eq!(stream.len(), model.len());
            }
        }
    }

    #[test]
    fn a_line_that_comes_byte_by_byte_is_searched_once() {
        let mut stream = Stream::default();
        for (count, byte) in zip(1.., [b'x'; 1000]) {
            stream.push(arena().copy_from(&[byte]).unwrap().share());
            assert_eq!(stream.find(b"\r\n"), None);
            assert_eq!(stream.searched, count);
        }
        stream.push(arena().copy_from(b"\r").unwrap().share());
        assert_eq!(stream.find(b"\r\n"), None);
        assert_eq!(stream.searched, 1000);
        stream.push(arena().copy_from(b"\n").unwrap().share());
        assert_eq!(stream.find(b"\r\n"), Some(1000));
    }
}

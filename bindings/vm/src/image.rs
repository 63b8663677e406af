//! Images of states: a state that was set up once is copied for each service that begins the same way.
//!
//! A state whose memory lies in one run of pages of its own [heap](crate::heap) is moved by adding the distance to every word that
//! is a pointer into the run. Which words those are nobody needs to know from the machine's structures: the same steps are
//! done twice, in two runs of pages that were blank, and the two are compared word by word. What is equal is data; what differs
//! by the distance of the runs is a pointer into them; and a few words are told beforehand: pointers to what each state has of its
//! own outside. Anything else, and there is no image.
//!
//! # Invariants
//! * **I1** A word that is a pointer into the run differs between the two by exactly their distance, and no other word does.
//! * **I2** Nothing in a state depends on the value of a pointer into it (`csrc/image.c` looks for keys of tables).
//! * **I3** The state is at rest: no function runs, no collection is under way, free blocks contain nothing.
//!
//! # From skynet
//! Nothing: there each service opens its libraries and loads the code of skynet.lua.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;

use skein_arena::sync::atomic::{AtomicU64, Ordering};

use crate::code;
use crate::ffi::lua_State;
use crate::heap::{Heap, Picture};
use crate::seed;
use crate::state::{Memory, State};

unsafe extern "C-unwind" {
    fn skein_ismovable(state: *mut lua_State, outside: *const *const c_void, count: usize) -> c_int;
}

const WORD: usize = size_of::<usize>();

/// A state that can be had again.
#[derive(Debug)]
pub struct Image {
    /// What it looked like, and the same without the holes: a word that is a pointer has a distance from the beginning.
    first: Picture,
    words: Box<[usize]>,
    /// Words that are pointers into the run.
    moves: Box<[u32]>,
    /// Words that are the addresses given beforehand, and which; 0 is the `Memory`.
    outside: Box<[(u32, u32)]>,
    /// Where the main thread is.
    main: usize,
    used: usize,
}

/// Where something is, in every copy of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// So many bytes from the main thread of the state.
    Inside(isize),
    /// At one address for all.
    Outside(usize),
}

/// Gives the strings of a state to all states to come, so that an image that is made next has none of its own.
///
/// # Safety
///
/// Nobody runs the state meanwhile.
pub unsafe fn share_names(of: &State) {
    // SAFETY: promised by the caller.
    unsafe { code::freeze_names(of.as_ptr()) }
}

impl Image {
    /// The image of two states that were made by the same steps, one after the other, in memory of
    /// [`Memory::for_image`]. `outside` are addresses of what each has for itself elsewhere, of the first and of the second;
    /// they may be equal. `None`: they are not as alike as that, or not at rest.
    ///
    /// # Safety
    ///
    /// Nobody runs the states meanwhile.
    pub unsafe fn of(first: &State, second: &State, outside: &[(usize, usize)]) -> Option<Self> {
        let memories = (Arc::as_ptr(first.memory()).addr(), Arc::as_ptr(second.memory()).addr());
        let outside: Vec<_> = [memories].into_iter().chain(outside.iter().copied()).collect();
        // SAFETY: promised by the caller.
        let (movable, a, b) = unsafe {
            let movable = |it: &State, addresses: &mut dyn Iterator<Item = usize>| {
                let addresses: Vec<_> = addresses.map(ptr::with_exposed_provenance::<c_void>).collect();
                skein_ismovable(it.as_ptr(), addresses.as_ptr(), addresses.len()) != 0
            };
            let movable = movable(first, &mut outside.iter().map(|it| it.0))
                && movable(second, &mut outside.iter().map(|it| it.1));
            (movable, first.memory().picture()?, second.memory().picture()?)
        };
        let main = first.as_ptr().expose_provenance() - a.base;
        let alike = first.memory().used() == second.memory().used()
            && a.holes == b.holes
            && main == second.as_ptr().expose_provenance() - b.base;
        if !movable || !alike {
            return None;
        }
        let length = a.closed(a.room) / WORD;
        let (mut words, mut moves, mut told) = (vec![0; length], Vec::new(), Vec::new());
        for (at, (&x, &y)) in a.words.iter().zip(&b.words).enumerate() {
            let at = a.closed(at * WORD) / WORD;
            let inside = x.wrapping_sub(a.base);
            if let Some(which) = outside.iter().position(|it| *it == (x, y)) {
                told.push((at as u32, which as u32));
            } else if x != y {
                // What is left over in places that nobody reads may point into holes.
                if inside != y.wrapping_sub(b.base) || inside > a.room {
                    return None;
                }
                words[at] = a.closed(inside);
                moves.push(at as u32);
            } else if x != 0 {
                words[at] = x;
            }
        }
        let (main, used) = (a.closed(main), first.memory().used());
        Some(Self { first: a, words: words.into(), moves: moves.into(), outside: told.into(), main, used })
    }

    /// A copy, with `outside` in the place of what [`Image::of`] was told, and a beginning of its own for `math.random`. `None`: there
    /// is no room.
    ///
    /// # Safety
    ///
    /// `memory` was made by [`Memory::new`] and never used. Whatever the image's functions do with the addresses `outside` is right
    /// for these.
    pub unsafe fn state(&self, memory: Arc<Memory>, outside: &[usize]) -> Option<State> {
        let heap = Heap::filled(&self.words)?;
        let base = heap.base();
        let words: *mut usize = ptr::with_exposed_provenance_mut(base);
        let own = Arc::as_ptr(&memory).expose_provenance();
        memory.seed_random(randoms());
        // SAFETY: the run is as long as the image, all places are inside of it, and nobody has seen it yet.
        unsafe {
            for &at in &self.moves {
                *words.add(at as usize) += base;
            }
            for &(at, which) in &self.outside {
                *words.add(at as usize) = if which == 0 { own } else { outside[which as usize - 1] };
            }
            Some(State::adopt(words.byte_add(self.main).cast(), memory, heap, self.used))
        }
    }

    /// Where an object of the first of the two states, or something outside, is in every copy.
    pub fn place(&self, address: usize) -> Place {
        let inside = address.wrapping_sub(self.first.base);
        if inside < self.first.room {
            Place::Inside(self.first.closed(inside).wrapping_sub(self.main) as isize)
        } else {
            Place::Outside(address)
        }
    }

    /// Bytes that each copy begins with.
    pub fn size(&self) -> usize {
        self.words.len() * WORD
    }
}

/// Where a generator begins, another one each time (splitmix64, a step for each word).
fn randoms() -> [u64; 4] {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let first = NEXT.fetch_add(STEP.wrapping_mul(4), Ordering::Relaxed).wrapping_add(seed::noise());
    [1, 2, 3, 4].map(|step: u64| {
        let mut word = first.wrapping_add(STEP.wrapping_mul(step));
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    })
}

impl Place {
    /// The address in a copy.
    pub fn of<T>(self, state: &State) -> *mut T {
        match self {
            Self::Inside(distance) => state.as_ptr().wrapping_byte_offset(distance).cast(),
            Self::Outside(address) => ptr::with_exposed_provenance_mut(address),
        }
    }
}

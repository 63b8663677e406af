//! The floor for whoever sleeps: two words that both processes map, and the system's sleep on them. It carries a number and
//! nothing else, so what it takes is what this machine takes to wake a process and to put one to sleep.

use std::{
    fs::{OpenOptions, remove_file},
    ptr::null_mut,
};

use rustix::{
    mm::{MapFlags, ProtFlags, mmap},
    thread::futex,
};
use skein_arena::sync::atomic::{AtomicU32, Ordering::*};

use super::{Ends, Rival};

const BYTES: usize = 4096;

struct Words {
    /// Written by the near side, and by the far one.
    both: &'static [AtomicU32; 2],
    /// What the far side saw last.
    seen: u32,
}

pub(super) fn make(path: &str, answers: bool, _: Ends) -> Box<dyn Rival> {
    let path = format!("/dev/shm/{path}");
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(!answers)
        .truncate(false)
        .open(&path)
        .expect("memory that is a file");
    if answers {
        // Both have it.
        remove_file(&path).expect("a file of ours");
    } else {
        file.set_len(BYTES as u64).expect("room for a page");
    }
    // SAFETY: a mapping where there is none.
    let at = unsafe {
        mmap(null_mut(), BYTES, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)
            .expect("addresses")
    };
    // SAFETY: it stays mapped, is aligned, and any bytes are atomics.
    let both = unsafe { &*at.cast::<[AtomicU32; 2]>() };
    Box::new(Words { both, seen: 0 })
}

/// Sleeps while a word has this value; which it has then.
fn wait_while(word: &AtomicU32, old: u32) -> u32 {
    loop {
        let now = word.load(Acquire);
        if now != old {
            return now;
        }
        // Whatever ends it, we look again.
        let _ = futex::wait(word, futex::Flags::empty(), old, None);
    }
}

fn say(word: &AtomicU32, what: u32) {
    word.store(what, Release);
    futex::wake(word, futex::Flags::empty(), 1).expect("a word");
}

impl Rival for Words {
    fn ping(&mut self, _: usize, _: usize, number: u64) {
        let number = number as u32;
        say(&self.both[0], number);
        assert_eq!(wait_while(&self.both[1], number.wrapping_sub(1)), number);
    }

    fn pong(&mut self, _: usize, _: usize) {
        self.seen = wait_while(&self.both[0], self.seen);
        say(&self.both[1], self.seen);
    }
}

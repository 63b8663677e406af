//! Who opens a segment's file beside who publishes the next version and removes the last; and those who die over it.
//!
//! The kernel is a lock around what it knows; each step is one system call. A process that dies stops after some of its calls, and the
//! kernel drops what it had.
//!
//! Broken by hand and caught: mapping before holding; removing without the hold alone; letting go before the file is removed.
#![cfg(loom)]

use std::collections::BTreeSet;

use loom::sync::{Arc, Mutex};
use loom::thread;
use skein_sharedata::shelf::{self, Shelf};

/// Number of a segment, and of a process.
type Number = u32;

#[derive(Default)]
struct Files {
    /// The segment that the catalogue names.
    current: Number,
    there: BTreeSet<Number>,
    /// Who holds what together with others.
    held: BTreeSet<(Number, Number)>,
    /// Who has what alone.
    alone: BTreeSet<(Number, Number)>,
    mapped: BTreeSet<(Number, Number)>,
}

impl Files {
    fn none(of: &BTreeSet<(Number, Number)>, segment: Number) -> bool {
        of.iter().all(|it| it.0 != segment)
    }

    /// L1, after each step.
    fn check(&self) {
        for (segment, process) in &self.mapped {
            assert!(self.there.contains(segment), "{process} has mapped {segment}, which is gone");
        }
        assert!(self.there.contains(&self.current));
    }

    /// What the kernel does when a process dies.
    fn died(&mut self, process: Number) {
        for of in [&mut self.held, &mut self.alone, &mut self.mapped] {
            of.retain(|it| it.1 != process);
        }
    }
}

#[derive(Default)]
struct Kernel(Mutex<Files>);

impl Kernel {
    fn call<T>(&self, call: impl FnOnce(&mut Files) -> T) -> T {
        let mut files = self.0.lock().unwrap();
        let answer = call(&mut files);
        files.check();
        answer
    }
}

/// A process that stops after some calls.
struct Process {
    kernel: Arc<Kernel>,
    number: Number,
    calls_left: std::cell::Cell<usize>,
}

/// It died.
#[derive(Debug)]
struct Died;

impl Process {
    fn call<T>(&self, call: impl FnOnce(&mut Files) -> T) -> Result<T, Died> {
        match self.calls_left.get() {
            0 => {
                self.kernel.call(|files| files.died(self.number));
                Err(Died)
            }
            left => {
                self.calls_left.set(left - 1);
                Ok(self.kernel.call(call))
            }
        }
    }

    fn file(&self, segment: Number) -> File<'_> {
        File { process: self, segment }
    }

    /// Maps what is current, reads it, and is done with it: its number.
    fn read(&self) -> Result<Number, Died> {
        loop {
            let current = self.call(|files| files.current)?;
            if shelf::open(&self.file(current))?.is_some() {
                self.call(|files| files.mapped.remove(&(current, self.number)))?;
                self.file(current).let_go();
                return Ok(current);
            }
        }
    }

    /// Makes the next version, and removes the one before it.
    fn publish(&self, segment: Number) -> Result<(), Died> {
        self.call(|files| files.held.insert((segment, self.number)))?;
        self.call(|files| files.there.insert(segment))?;
        let before = self.call(|files| std::mem::replace(&mut files.current, segment))?;
        shelf::remove(&self.file(before))?;
        self.file(segment).let_go();
        Ok(())
    }
}

struct File<'a> {
    process: &'a Process,
    segment: Number,
}

impl File<'_> {
    fn mine(&self) -> (Number, Number) {
        (self.segment, self.process.number)
    }
}

impl Shelf for File<'_> {
    type Error = Died;
    type Mapped = ();

    fn hold(&self) -> Result<bool, Died> {
        self.process.call(|files| Files::none(&files.alone, self.segment) && files.held.insert(self.mine()))
    }

    fn let_go(&self) {
        // Who is dead has nothing to let go of.
        let _ = self.process.call(|files| files.held.remove(&self.mine()));
    }

    fn map(&self) -> Result<Option<()>, Died> {
        self.process.call(|files| {
            files.there.contains(&self.segment).then(|| {
                files.mapped.insert(self.mine());
            })
        })
    }

    fn hold_alone(&self) -> Result<bool, Died> {
        self.process.call(|files| {
            let free = Files::none(&files.held, self.segment) && Files::none(&files.alone, self.segment);
            free && files.alone.insert(self.mine())
        })
    }

    fn let_go_alone(&self) -> Result<(), Died> {
        self.process.call(|files| {
            files.alone.remove(&self.mine());
        })
    }

    fn remove(&self) -> Result<(), Died> {
        self.process.call(|files| {
            files.there.remove(&self.segment);
        })
    }
}

/// Segment 1 is current, and nobody has it.
fn kernel() -> Arc<Kernel> {
    let files = Files { current: 1, there: BTreeSet::from([1]), ..Files::default() };
    Arc::new(Kernel(Mutex::new(files)))
}

fn process(kernel: &Arc<Kernel>, number: Number, calls: usize) -> Process {
    Process { kernel: Arc::clone(kernel), number, calls_left: std::cell::Cell::new(calls) }
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

/// More calls than anybody makes.
const LIVES: usize = 100;

#[test]
fn what_is_mapped_is_there_and_the_last_one_takes_it_along() {
    model(|| {
        let kernel = kernel();
        let reader = process(&kernel, 1, LIVES);
        let reading = thread::spawn(move || reader.read().unwrap());
        process(&kernel, 2, LIVES).publish(2).unwrap();
        assert!(matches!(reading.join().unwrap(), 1 | 2));
        // Whoever sweeps next finds nobody.
        let sweeper = process(&kernel, 3, LIVES);
        shelf::remove(&sweeper.file(1)).unwrap();
        kernel.call(|files| assert_eq!((files.there.clone(), files.held.len()), (BTreeSet::from([2]), 0)));
    });
}

#[test]
fn a_reader_may_die_at_each_step() {
    for calls in 0..6 {
        model(move || {
            let kernel = kernel();
            let reader = process(&kernel, 1, calls);
            let reading = thread::spawn(move || drop(reader.read()));
            process(&kernel, 2, LIVES).publish(2).unwrap();
            reading.join().unwrap();
            let sweeper = process(&kernel, 3, LIVES);
            assert!(shelf::remove(&sweeper.file(1)).unwrap(), "nobody is left who holds it");
            kernel
                .call(|files| assert_eq!((files.there.clone(), files.held.len()), (BTreeSet::from([2]), 0)));
        });
    }
}

#[test]
fn a_publisher_may_die_at_each_step() {
    for calls in 0..7 {
        model(move || {
            let kernel = kernel();
            let publisher = process(&kernel, 2, calls);
            let publishing = thread::spawn(move || drop(publisher.publish(2)));
            let found = process(&kernel, 1, LIVES).read().unwrap();
            publishing.join().unwrap();
            kernel.call(|files| assert!(found <= files.current, "what is current does not go back"));
            // The next one has all it needs.
            process(&kernel, 3, LIVES).publish(3).unwrap();
            assert_eq!(process(&kernel, 1, LIVES).read().unwrap(), 3);
        });
    }
}

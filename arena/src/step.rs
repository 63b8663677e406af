//! Named steps of the protocols that cross processes: a test may have the process killed at one of them.
//!
//! With the feature `steps`, which only tests switch on, the environment variable `SKEIN_DIE_AT=send/booked:3` makes
//! the process kill itself with SIGKILL when it comes by that step for the third time. Nothing is unwound or flushed: what
//! others see is what a crash between two instructions leaves. `SKEIN_STEPS=FILE` writes the name of each step to the end of a file
//! when it is passed for the first time, so that a test finds out which there are. Without the feature a step is no code at all.

/// Passes the step `name`.
#[cfg(not(feature = "steps"))]
#[inline(always)]
pub fn step(_name: &'static str) {}

#[cfg(feature = "steps")]
pub use armed::step;

#[cfg(feature = "steps")]
mod armed {
    use std::{collections::HashSet, fs::File, io::Write, sync::OnceLock};

    use crate::sync::{
        Mutex,
        atomic::{AtomicU32, Ordering::*},
    };

    /// The variable that names a step, and at which coming-by it is deadly.
    const DIE_AT: &str = "SKEIN_DIE_AT";
    /// The variable that names the file to write steps to.
    const STEPS: &str = "SKEIN_STEPS";

    static ARMED: OnceLock<Armed> = OnceLock::new();

    struct Armed {
        deadly: Option<Deadly>,
        log: Option<Mutex<Log>>,
    }

    struct Deadly {
        name: String,
        left: AtomicU32,
    }

    struct Log {
        file: File,
        passed: HashSet<&'static str>,
    }

    /// Passes the step `name`, or does not.
    pub fn step(name: &'static str) {
        let armed = ARMED.get_or_init(|| Armed { deadly: named(), log: log() });
        if let Some(log) = &armed.log {
            let mut log = log.lock().expect("nothing panics under it");
            if log.passed.insert(name) {
                writeln!(log.file, "{name}").expect("SKEIN_STEPS is a file that can be written");
            }
        }
        if let Some(deadly) = &armed.deadly
            && deadly.name == name
            && deadly.left.fetch_sub(1, Relaxed) == 1
        {
            let me = rustix::process::getpid();
            // Of ourselves: it cannot fail, and does not return.
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }

    fn named() -> Option<Deadly> {
        let value = std::env::var(DIE_AT).ok()?;
        let (name, count) = value.rsplit_once(':').unwrap_or((&value, "1"));
        let left = count.parse().expect("SKEIN_DIE_AT is a step and at which coming-by it is deadly");
        Some(Deadly { name: name.to_owned(), left: AtomicU32::new(left) })
    }

    fn log() -> Option<Mutex<Log>> {
        let path = std::env::var_os(STEPS)?;
        let file = File::options().create(true).append(true).open(path).expect("SKEIN_STEPS is a file");
        Some(Mutex::new(Log { file, passed: HashSet::new() }))
    }
}

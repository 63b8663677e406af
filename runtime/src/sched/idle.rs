//! Who sleeps and who searches; whom a push wakes, and when somebody has to keep watch.
//!
//! A worker is *running*, or *searching* (awake without work), or *asleep* (until woken). At most one searches. While some sleep
//! and others do not, the pool is *watched*: [`super::Pool::look`] is called every so often. Changes are made under a lock: they
//! come with a sleep or a wake-up, which cost far more. A summary of them is one word, which whoever makes work reads without
//! the lock.
//!
//! # Why nothing is left lying
//! Who makes work that should not wait puts it in its place first and reads the word then. Who gives up a role changes the word
//! first and looks at every place then (`Worker::step`). All of it is `SeqCst`, so one of the two sees the other: the maker that
//! nobody is about, and wakes somebody; or the one who leaves, the work. Therefore:
//!
//! * **I1** While somebody sleeps, work in the injector has a searcher, or will be seen by one who is about to leave that role.
//! * **I2** While somebody sleeps and somebody does not, the pool is watched: each change that makes it so says that the watch
//!   begins, under the lock, and the watch ends under the lock when it is not so. Who wakes a service through its slot does not
//!   look at the word at all.
//! * **I3** While all sleep nobody keeps watch: the next look ends it. Slots and deques are empty then (W1).
//!
//! A worker that is woken was made the searcher by its waker, under the lock: so what it is told by its bed may come late, or
//! twice, and says only that it should look here.

use skein_arena::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, Ordering::SeqCst, fence},
};

const SLEEPERS: u32 = 0xffff;
const SEARCHER: u32 = 1 << 16;

/// What the caller has to do for others.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wake {
    /// Wake the worker with this number, from the sleep that [`super::Step`] asked for.
    pub worker: Option<usize>,
    /// Then see to it that somebody calls [`super::Pool::look`], [`super::policy::LOOK_EVERY`] from now.
    pub watch: bool,
}

impl Wake {
    /// Nothing is to be done.
    pub const NOBODY: Self = Self { worker: None, watch: false };
}

pub(super) struct Idle {
    word: AtomicU32,
    roles: Mutex<Roles>,
}

struct Roles {
    workers: usize,
    /// The one that went to sleep last is the first to be woken: its caches are warm.
    asleep: Vec<usize>,
    searcher: Option<usize>,
    watched: bool,
}

impl Roles {
    fn needs_watch(&self) -> bool {
        !self.asleep.is_empty() && self.asleep.len() < self.workers
    }

    /// Somebody went to sleep or rose. `true`: the watch begins (I2).
    fn begin_watch(&mut self) -> bool {
        let begins = !self.watched && self.needs_watch();
        self.watched |= begins;
        begins
    }
}

impl Idle {
    /// All workers are running.
    pub(super) fn new(workers: usize) -> Self {
        let roles = Roles { workers, asleep: Vec::with_capacity(workers), searcher: None, watched: false };
        Self { word: AtomicU32::new(0), roles: Mutex::new(roles) }
    }

    /// Work was made that should not wait: wakes somebody to search, unless one does already.
    #[inline]
    pub(super) fn help(&self) -> Wake {
        let word = self.word.load(SeqCst);
        if word & SLEEPERS == 0 || word & SEARCHER != 0 { Wake::NOBODY } else { self.appoint() }
    }

    #[cold]
    fn appoint(&self) -> Wake {
        let mut roles = self.lock();
        if roles.searcher.is_some() {
            return Wake::NOBODY;
        }
        let Some(chosen) = roles.asleep.pop() else { return Wake::NOBODY };
        roles.searcher = Some(chosen);
        self.publish(&roles);
        Wake { worker: Some(chosen), watch: roles.begin_watch() }
    }

    /// A running worker has nothing left. `false`: another searches, and will see to everything.
    pub(super) fn search(&self, me: usize) -> bool {
        let mut roles = self.lock();
        if roles.searcher.is_some() {
            return false;
        }
        roles.searcher = Some(me);
        self.publish(&roles);
        true
    }

    /// The searcher found work and runs. It has to look at what else there is.
    pub(super) fn found(&self, me: usize) {
        let mut roles = self.lock();
        assert_eq!(roles.searcher, Some(me), "only the searcher finds");
        roles.searcher = None;
        self.publish(&roles);
    }

    /// A worker without work, the searcher or not, goes to sleep. A searcher has to look at everything once more. `true`: the
    /// watch begins.
    pub(super) fn rest(&self, me: usize) -> bool {
        let mut roles = self.lock();
        if roles.searcher == Some(me) {
            roles.searcher = None;
        }
        roles.asleep.push(me);
        self.publish(&roles);
        roles.begin_watch()
    }

    /// Whether a worker that slept was made the searcher.
    pub(super) fn is_searcher(&self, me: usize) -> bool {
        self.lock().searcher == Some(me)
    }

    /// One who went to sleep saw work: it is the searcher, and says whether the watch begins. `None`: another searches, and will
    /// see it too.
    pub(super) fn rise(&self, me: usize) -> Option<bool> {
        let mut roles = self.lock();
        if roles.searcher.is_some() {
            return (roles.searcher == Some(me)).then_some(false);
        }
        roles.asleep.retain(|it| *it != me);
        roles.searcher = Some(me);
        self.publish(&roles);
        Some(roles.begin_watch())
    }

    /// A look begins. `false`: the watch has ended (I3).
    pub(super) fn goes_on_watching(&self) -> bool {
        let mut roles = self.lock();
        roles.watched = roles.needs_watch();
        roles.watched
    }

    fn publish(&self, roles: &Roles) {
        let searcher = if roles.searcher.is_some() { SEARCHER } else { 0 };
        self.word.swap(roles.asleep.len() as u32 | searcher, SeqCst);
        // What the caller looks at next is not all `SeqCst`.
        fence(SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Roles> {
        self.roles.lock().unwrap_or_else(|it| it.into_inner())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_watch_lasts_while_some_sleep_and_some_do_not() {
        let idle = Idle::new(3);
        assert!(idle.rest(0), "the first to sleep");
        assert!(!idle.rest(1), "it has begun");
        assert!(idle.goes_on_watching());
        assert!(!idle.rest(2));
        assert!(!idle.goes_on_watching(), "all sleep (I3)");
        assert_eq!(idle.help(), Wake { worker: Some(2), watch: true }, "the last is the first");
        assert_eq!(idle.help(), Wake::NOBODY, "one searches");
        idle.found(2);
        assert_eq!(idle.help(), Wake { worker: Some(1), watch: false });
        idle.found(1);
        assert_eq!(idle.help().worker, Some(0));
        idle.found(0);
        assert!(!idle.goes_on_watching(), "none sleeps");
        assert_eq!(idle.help(), Wake::NOBODY);
    }

    #[test]
    fn a_lone_worker_is_never_watched() {
        let idle = Idle::new(1);
        assert!(!idle.rest(0));
        assert_eq!(idle.help(), Wake { worker: Some(0), watch: false });
    }

    #[test]
    fn who_rises_from_a_node_at_rest_begins_the_watch() {
        let idle = Idle::new(2);
        assert!(idle.rest(0));
        assert!(!idle.rest(1));
        assert!(!idle.goes_on_watching());
        assert_eq!(idle.rise(1), Some(true));
        assert_eq!(idle.rise(0), None, "another searches");
        assert_eq!(idle.rise(1), Some(false), "it is that one");
    }
}

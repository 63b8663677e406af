//! Who sleeps, who searches, who is on watch; and whom a push wakes.
//!
//! A worker is *running*, or *searching* (awake without work), or *on watch* (sleeping for a while), or *asleep* (until woken).
//! At most one searches and at most one is on watch. Changes are made under a lock: they come with a sleep or a wake-up, which
//! cost far more. A summary of them is one word, which whoever makes work reads without the lock.
//!
//! # Why nothing is left lying
//! Who makes work puts it in its place first and reads the word then. Who gives up a role changes the word first and looks at
//! every place then (`Worker::step`). All of it is `SeqCst`, so one of the two sees the other: the maker that nobody is about, and
//! wakes somebody; or the one who leaves, the work. Therefore:
//!
//! * **I1** While somebody sleeps or is on watch, work in the injector has a searcher, or will be seen by one who is about to
//!   leave that role.
//! * **I2** While somebody sleeps, work in a slot or a deque has a searcher or a watcher, or is seen by one who is about to leave.
//! * **I3** Nobody is on watch while all others sleep: the watcher goes to sleep at its next look.
//!
//! A worker that is woken was made the searcher by its waker, under the lock: so what it is told by its bed may come late, or
//! twice, and says only that it should look here.

use skein_arena::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, Ordering::SeqCst, fence},
};

const SLEEPERS: u32 = 0xffff;
const WATCHER: u32 = 1 << 16;
const SEARCHER: u32 = 1 << 17;

/// Whom the caller has to wake, from the sleep that [`super::Step`] asked for.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// No wake-up is needed.
    Nobody,
    /// The worker with this number.
    Worker(usize),
}

/// What a worker is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Asleep,
    OnWatch,
    Searching,
}

pub(super) struct Idle {
    word: AtomicU32,
    roles: Mutex<Roles>,
}

struct Roles {
    workers: usize,
    /// The one that went to sleep last is the first to be woken: its caches are warm.
    asleep: Vec<usize>,
    watcher: Option<usize>,
    searcher: Option<usize>,
}

impl Idle {
    /// All workers are running.
    pub(super) fn new(workers: usize) -> Self {
        let roles = Roles { workers, asleep: Vec::with_capacity(workers), watcher: None, searcher: None };
        Self { word: AtomicU32::new(0), roles: Mutex::new(roles) }
    }

    /// Work was made that should not wait: wakes somebody to search, unless one does already.
    #[inline]
    pub(super) fn help(&self) -> Wake {
        let word = self.word.load(SeqCst);
        if word & (SLEEPERS | WATCHER) == 0 || word & SEARCHER != 0 {
            Wake::Nobody
        } else {
            self.appoint(true)
        }
    }

    /// Work was made that its maker will come to: sees to it that somebody keeps an eye on that.
    #[inline]
    pub(super) fn guard(&self) -> Wake {
        let word = self.word.load(SeqCst);
        if word & SLEEPERS == 0 || word & (WATCHER | SEARCHER) != 0 {
            Wake::Nobody
        } else {
            self.appoint(false)
        }
    }

    #[cold]
    fn appoint(&self, at_once: bool) -> Wake {
        let mut roles = self.lock();
        if roles.searcher.is_some() || (roles.watcher.is_some() && !at_once) {
            return Wake::Nobody;
        }
        let Some(chosen) = roles.asleep.pop().or_else(|| roles.watcher.take()) else { return Wake::Nobody };
        roles.searcher = Some(chosen);
        self.publish(&roles);
        Wake::Worker(chosen)
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

    /// A worker without work, the searcher or not, goes on watch or to sleep. A searcher has to look at everything once more.
    pub(super) fn rest(&self, me: usize) -> Role {
        let mut roles = self.lock();
        if roles.searcher == Some(me) {
            roles.searcher = None;
        }
        if roles.watcher == Some(me) {
            roles.watcher = None;
        }
        let role = if roles.watcher.is_none() && roles.asleep.len() + 1 < roles.workers {
            roles.watcher = Some(me);
            Role::OnWatch
        } else {
            roles.asleep.push(me);
            Role::Asleep
        };
        self.publish(&roles);
        role
    }

    /// What became of a worker that sleeps or is on watch.
    pub(super) fn role(&self, me: usize) -> Role {
        let roles = self.lock();
        if roles.searcher == Some(me) {
            Role::Searching
        } else if roles.watcher == Some(me) {
            Role::OnWatch
        } else {
            Role::Asleep
        }
    }

    /// One who sleeps or is on watch saw work. `false`: another searches, and will see it too.
    pub(super) fn rise(&self, me: usize) -> bool {
        let mut roles = self.lock();
        if roles.searcher.is_some() {
            return roles.searcher == Some(me);
        }
        if roles.watcher == Some(me) {
            roles.watcher = None;
        } else {
            roles.asleep.retain(|it| *it != me);
        }
        roles.searcher = Some(me);
        self.publish(&roles);
        true
    }

    /// Whether every other worker sleeps, seen by the one on watch.
    pub(super) fn is_alone(&self) -> bool {
        let roles = self.lock();
        roles.asleep.len() + 1 >= roles.workers
    }

    fn publish(&self, roles: &Roles) {
        let watcher = if roles.watcher.is_some() { WATCHER } else { 0 };
        let searcher = if roles.searcher.is_some() { SEARCHER } else { 0 };
        self.word.swap(roles.asleep.len() as u32 | watcher | searcher, SeqCst);
        // What the caller looks at next is not all `SeqCst`.
        fence(SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Roles> {
        self.roles.lock().unwrap_or_else(|it| it.into_inner())
    }
}

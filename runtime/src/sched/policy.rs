//! The numbers of the scheduler, all in one place. Times are in ns.

/// Messages of a chain of turns, while others wait: those of one service, and of those that it wakes through the slot.
pub const BUDGET: u32 = 64;

/// Time of such a chain, while others wait.
pub const BUDGET_NANOS: u64 = 500_000;

/// How long a worker that is busy may leave the injector alone, and those that wait behind a long turn of another.
pub const INJECTOR_EVERY: u64 = 200_000;

/// Between two looks at a pool that is watched.
pub const LOOK_EVERY: u64 = 200_000;

/// The same, when the first of them found that nothing waits.
pub const LOOK_SELDOM: u64 = 350_000;

/// A look comes no sooner after another, though something becomes old.
pub const LOOK_SOON: u64 = 20_000;

/// A turn that has been running for so long is not waited for.
pub const OLD: u64 = 160_000;

/// Waiting work for which a sleeper is woken at once: what waking one costs, in all, and some.
pub const WORTH: u64 = 30_000;

/// What a turn is taken to cost before there was one.
pub const FIRST_MEAN: u64 = 10_000;

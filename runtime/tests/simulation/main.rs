//! Random services on random schedules, from one seed: the real mailboxes, scheduler, handles, turns and timeouts, on a clock that
//! is simulated (`skein_runtime::sim`).
//!
//! A seed is a node of one to four workers, with services that send, call, answer late, set timeouts and take them back, launch
//! others and fail to, kill others and themselves, play ball through the next-slot, and loop for milliseconds; while they do, other
//! workers step, in an order that is random too. `world.rs` says what must hold, and looks after every step.
//!
//! A failure names its seed: `SKEIN_SEED=17 cargo test -p skein-runtime --test simulation` does it again, step by step.
//! `SKEIN_SEEDS=100000` tries more.
//!
//! # Broken by hand, and caught
//! * wake-ups dropped: of a push from outside, of a push by a worker, of a step, of a turn that was cut short (V5);
//! * a turn that was cut short is not scheduled again; what was in the slot is lost; a service that is retired while idle is not
//!   scheduled for its last turn (V5); every push schedules (V3);
//! * two messages change places in a turn (V2);
//! * requests queued at a death are not answered, or not given back at all (V4); the context is never freed (V7);
//! * nobody keeps watch; a look never finds a slot; who finds work does not see to the rest (V5); the watch never ends (the run does
//!   not); the budget is never spent; the busy never look at the injector (V5);
//! * timer: an earlier timeout does not wake it, it sleeps though a batch is left, expires a ms early or late (V6);
//! * wheel: new entries at the front of a slot, cancelling loses what is behind, a key of an earlier life cancels (V6).
//!
//! Not caught, because a step of a worker is one piece but for what services do: a push between the last pop and `let_go`, and
//! one to a mailbox that has just died (the models of the mailbox stop senders at every step); an entry set while its slot moves
//! (`timer/wheel.rs` has a test); a chain that ignores its budget when it takes from the slot, as turns do end by it; workers
//! that are busy and never look at long turns of others, as it takes more of these than a run has (`sched/tests.rs` has a test).

mod program;
mod world;

use std::{env, panic, panic::AssertUnwindSafe};

use skein_arena::{Arena, Options};

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|it| it.parse().unwrap_or_else(|_| panic!("{name} is to be a number")))
}

/// One test: another thread with a run of its own could hold up the freeing of memory, which is waited for.
#[test]
fn whatever_the_seed_nothing_is_lost_doubled_late_or_left_behind() {
    let arena = Arena::private(&Options::default()).unwrap();
    if let Some(seed) = number("SKEIN_SEED") {
        println!("{}", world::run(seed, arena));
        return;
    }
    for seed in 0..number("SKEIN_SEEDS").unwrap_or(2000) {
        let run = AssertUnwindSafe(|| {
            let told = world::run(seed, arena);
            // A seed is a schedule only as long as nothing else has a say.
            if seed % 64 == 0 {
                assert_eq!(world::run(seed, arena), told, "the same seed went another way");
            }
        });
        if let Err(panic) = panic::catch_unwind(run) {
            eprintln!("SKEIN_SEED={seed} fails, and does so again with that in the environment");
            panic::resume_unwind(panic);
        }
    }
}

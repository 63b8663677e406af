//! Rivals in short rounds, one after the other and over again: whatever else the machine does meets all of them alike.

use std::time::Duration;

use rustix::{
    thread::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

/// CPU time of the calling thread so far.
pub fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Keeps the calling thread on one processor, if there is such a one: two threads that pass something on may otherwise run in turn
/// on the same, and find it in its cache.
pub fn stay_on(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    let _ = sched_setaffinity(None, &set);
}

/// Lets the calling thread run wherever the system wants it.
pub fn go_anywhere() {
    let mut set = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|processor| set.set(processor));
    let _ = sched_setaffinity(None, &set);
}

/// Runs one round, and says how many nanoseconds an operation took.
pub type Round<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// Runs `rounds` rounds of each and prints, for each, the least and the median nanoseconds per operation, and how many times
/// each rival's the first one's are: the least ones, and the median of what single rounds say. So a machine that has fast and slow
/// minutes does not give the one to us and the other to the rival.
pub fn compare(what: &str, rounds: usize, mut rivals: Vec<(&str, Round<'_>)>) {
    let mut times = vec![Vec::with_capacity(rounds); rivals.len()];
    for _ in 0..rounds {
        for ((_, run), times) in rivals.iter_mut().zip(&mut times) {
            times.push(run());
        }
    }
    let least = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    print!("{what:<34}");
    for (at, ((name, _), theirs)) in rivals.iter().zip(&times).enumerate() {
        print!("  {name} {:6.2} {:6.2}", least(theirs), median(theirs.clone()));
        if at > 0 {
            let of_rounds = times[0].iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
            print!(" ({:.2}, {:.2}×)", least(&times[0]) / least(theirs), median(of_rounds));
        }
    }
    println!();
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

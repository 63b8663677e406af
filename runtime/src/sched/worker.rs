//! The loop of a worker.

use std::sync::Arc;

use super::cpu::CpuMeter;
use crate::{
    Node,
    monitor::Watch,
    service::{After, Turn},
};

/// Serves mailboxes until the node ends. Runs on its own thread; `index` is that of its watch.
pub(crate) fn run(node: &Arc<Node>, index: usize) {
    let mut meter = CpuMeter::new(node.profile);
    let arena = node.arena();
    // A worker that sleeps keeps no blocks at hand: near a limit the others may need what those pin.
    while let Some(scheduled) = node.run_queue.next(|| {
        arena.flush();
        meter.rest();
    }) {
        let mut turn = Turn { watch: &node.watches[index], meter: &mut meter };
        match turn.run(scheduled) {
            After::Again(scheduled) => node.run_queue.push(scheduled),
            After::Idle | After::Ended => {}
        }
    }
}

/// Serves what waits on the calling thread, and returns. For the end of a start that failed, when no worker exists.
pub(crate) fn drain(node: &Arc<Node>) {
    let mut meter = CpuMeter::new(false);
    let watch = Watch::default();
    while let Some(scheduled) = node.run_queue.take() {
        if let After::Again(scheduled) = (Turn { watch: &watch, meter: &mut meter }).run(scheduled) {
            node.run_queue.push(scheduled);
        }
    }
}

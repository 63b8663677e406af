//! Blocks that C code keeps: a callback that answered 1 owns the body of its message until it gives it to `skynet_send`
//! or to `free`.
//!
//! C knows a block by the address of its body. Here are the blocks for these addresses, so that an address is good once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use skein_arena::{Block, range};

/// Several at one address: envelopes around one shared payload.
static HELD: Mutex<Option<HashMap<usize, Vec<Block>>>> = Mutex::new(None);

/// Keeps `block` for C code. One without a body has no address, and is dropped; memory that came from `malloc` needs nobody
/// to keep it, and goes back to being that.
pub(super) fn keep(block: Block) {
    let at = block.as_ptr();
    let block = if range::contains(at) {
        block
    } else {
        match block.into_foreign() {
            Ok(_) => return,
            Err(block) => block,
        }
    };
    let address = at.addr();
    if address != 0 {
        held().get_or_insert_default().entry(address).or_default().push(block);
    }
}

/// Takes the block at `address` back.
pub(super) fn take(address: usize) -> Option<Block> {
    let mut held = held();
    let blocks = held.as_mut()?;
    let at_address = blocks.get_mut(&address)?;
    let block = at_address.pop();
    if at_address.is_empty() {
        blocks.remove(&address);
    }
    block
}

fn held() -> MutexGuard<'static, Option<HashMap<usize, Vec<Block>>>> {
    // Nothing between lock and unlock can leave the map half changed.
    HELD.lock().unwrap_or_else(|it| it.into_inner())
}

//! The memory of Lua services: what it says in the log, and who has how much.
//!
//! Counting and limits are the virtual machine's ([`skein_vm::state`]). Here each service's memory gets its voice, and
//! is listed by node and address for `skynet.memory`.
//!
//! # From skynet
//! service_snlua.c: `lalloc` → [`skein_vm::state`], its `Memory warning` → [`memory_of`]. malloc_hook.c:
//! `mem_stats` → [`by_service`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use skein_runtime::{Handle, Node, ServiceContext};
use skein_vm::state::Memory;

/// Lua memory of every service of this process, by node and address. A service that ended leaves at the next look.
static SERVICES: Mutex<BTreeMap<(usize, u32), Weak<Memory>>> = Mutex::new(BTreeMap::new());

const MIB: f64 = 1048576.0;

/// Memory for the state of a service, which warns in that service's name.
pub(crate) fn memory_of(ctx: &Arc<ServiceContext>) -> Arc<Memory> {
    let service = Arc::downgrade(ctx);
    let memory = Memory::new(move |used| {
        if let Some(service) = service.upgrade() {
            service.log(format!("Memory warning {:.2} M", used as f64 / MIB));
        }
    });
    let key = (Arc::as_ptr(ctx.node()).addr(), ctx.handle().0);
    services().insert(key, Arc::downgrade(&memory));
    memory
}

/// Takes a service off the list.
pub(crate) fn forget(ctx: &Arc<ServiceContext>) {
    services().remove(&(Arc::as_ptr(ctx.node()).addr(), ctx.handle().0));
}

/// Bytes that the Lua state of each service of a node holds.
pub(crate) fn by_service(node: &Arc<Node>) -> Vec<(u32, usize)> {
    let node = Arc::as_ptr(node).addr();
    services()
        .range((node, 0)..=(node, u32::MAX))
        .filter_map(|((_, handle), memory)| Some((*handle, memory.upgrade()?.used())))
        .collect()
}

/// Bytes that the Lua state of a service holds; none if it is no Lua service.
pub(crate) fn of_service(node: &Arc<Node>, service: Handle) -> Option<usize> {
    let key = (Arc::as_ptr(node).addr(), service.0);
    Some(services().get(&key)?.upgrade()?.used())
}

fn services() -> std::sync::MutexGuard<'static, BTreeMap<(usize, u32), Weak<Memory>>> {
    // Nothing between lock and unlock can leave the map half changed.
    SERVICES.lock().unwrap_or_else(|broken| broken.into_inner())
}

//! What a target keeps from one input to the next.

use std::cell::OnceCell;

use skein_vm::mlua::Function;

use crate::support::Probe;

thread_local! {
    /// Never dropped: at the end of the process what modules keep for this thread may be gone before it.
    static STATE: OnceCell<&'static (Probe, Function)> = const { OnceCell::new() };
}

/// This thread's state, which `make` makes at the first input.
pub(crate) fn kept(make: fn() -> (Probe, Function)) -> &'static (Probe, Function) {
    STATE.with(|it| *it.get_or_init(|| Box::leak(Box::new(make()))))
}

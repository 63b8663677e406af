//! The segments that one Lua state may read.
//!
//! A state takes a lease when it asks for a table. While it has one, every pointer it may have kept is good. A lease ends when the
//! state is closed, or when somebody has proved that the state refers to nothing in there any more.
//!
//! # Invariants
//! * **E1** A state has at most one lease on a segment.
//! * **E2** A lease that was taken or asked for again since a proof began outlives that proof: a finalizer may have run meanwhile.

use skein_arena::sync::Arc;

use crate::segment::Segment;

/// The leases of a state. For the thread that runs the state only.
#[derive(Debug, Default)]
pub struct Leases {
    holder: u32,
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    segment: Arc<Segment>,
    /// Asked for since [`Leases::begin`].
    fresh: bool,
}

impl Leases {
    /// None yet. `holder` names the service in lists.
    pub fn new(holder: u32) -> Leases {
        Leases { holder, held: Vec::new() }
    }

    /// Takes a lease, if there is none.
    pub fn take(&mut self, segment: &Arc<Segment>) {
        match self.held.iter_mut().find(|it| Arc::ptr_eq(&it.segment, segment)) {
            Some(held) => held.fresh = true,
            None => {
                segment.add_holder(self.holder);
                self.held.push(Held { segment: Arc::clone(segment), fresh: true });
            }
        }
    }

    /// The segments.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.held.iter().map(|it| &it.segment)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Begins a proof: what is asked for from here on is kept (E2).
    pub fn begin(&mut self) {
        self.held.iter_mut().for_each(|it| it.fresh = false);
    }

    /// Ends the lease on the segment at `base`: the proof found nothing that refers to it. What was [taken](Leases::take) since
    /// [`begin`](Leases::begin) stays.
    pub fn end(&mut self, base: usize) {
        let found = self.held.iter().position(|it| it.segment.span().0 == base && !it.fresh);
        if let Some(at) = found {
            self.held.swap_remove(at).segment.remove_holder(self.holder);
        }
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        for held in &self.held {
            held.segment.remove_holder(self.holder);
        }
    }
}

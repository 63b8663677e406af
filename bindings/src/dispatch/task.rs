//! The tasks of a service: coroutines with work, in slots that are used again and again.

use crate::raw::lua_State;

/// One life of a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TaskId {
    pub(super) slot: u32,
    pub(super) life: u32,
}

impl TaskId {
    /// Nobody.
    pub(super) const NONE: TaskId = TaskId { slot: u32::MAX, life: 0 };
}

/// Whether a task is traced.
#[derive(Debug, Default)]
pub(super) enum Tag {
    /// Not so far.
    #[default]
    None,
    /// Its class forbids it.
    Off,
    /// Under this tag.
    On(Box<[u8]>),
}

/// A slot: a coroutine and, if it has any, its work.
#[derive(Debug)]
pub(super) struct Task {
    /// Null in a free slot. The coroutine is anchored as long as it is here.
    pub(super) co: *mut lua_State,
    pub(super) life: u32,
    /// It is being resumed, and not by itself.
    pub(super) active: bool,
    /// Its function wants what woke it: the answer to a request of a select.
    pub(super) wants_message: bool,
    /// The session of the request it serves; 0 for a send.
    pub(super) session: Option<i32>,
    /// Who sent that request. Stays when it is answered.
    pub(super) source: Option<u32>,
    pub(super) tag: Tag,
    /// Where a timer was made, while somebody wants to know.
    pub(super) origin: Option<Box<[u8]>>,
}

impl Task {
    /// A coroutine that is anchored already, without work, in its first life.
    pub(super) fn new(co: *mut lua_State) -> Task {
        Task {
            co,
            life: 1,
            active: false,
            wants_message: false,
            session: None,
            source: None,
            tag: Tag::None,
            origin: None,
        }
    }

    /// Its work is done: what belonged to that is forgotten, and another life begins.
    #[inline]
    pub(super) fn end_life(&mut self) {
        self.life = self.life.wrapping_add(1);
        self.active = false;
        self.wants_message = false;
        self.session = None;
        self.source = None;
        // Dropping either costs a branch that most tasks need not take.
        if !matches!(self.tag, Tag::None) {
            self.tag = Tag::None;
        }
        if self.origin.is_some() {
            self.origin = None;
        }
    }
}

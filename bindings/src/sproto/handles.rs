//! What Lua calls a schema, a type or a protocol's type: light userdata that are numbers, not addresses.
//!
//! A handle names a place in the list of all schemas of the process, which life of that place is meant, and a type. A handle that names
//! nothing is refused. Each Lua state keeps the schemas it has used, so that a look-up takes no lock, and a schema that another
//! service deletes stays for those who are reading it.
//!
//! # Invariants
//! * **P1** A schema that a function of this state uses is owned by the state's [`Cache`] until the function is done: what `deleteproto`
//!   takes out goes to `gone`, which is emptied only when nobody has a [`Place`](super::desk::Place) on this thread.

use std::cell::RefCell;
use std::sync::Arc;

use skein_arena::sync::Mutex;

use super::schema::Schema;
use super::walk::Name;

/// Slots of `saveproto`.
pub(super) const SLOTS: usize = 16;

/// What a handle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    place: u32,
    life: u32,
    /// A type of the schema, or the schema itself.
    pub(super) ty: Option<u16>,
}

const PLACES: u32 = 1 << 20;
const LIVES: u32 = 1 << 24;

impl Handle {
    /// As a light userdata; never null.
    pub(super) fn to_bits(self) -> usize {
        let kind = if self.ty.is_some() { 2 } else { 1 };
        kind << 60
            | (self.life as usize) << 36
            | (self.place as usize) << 16
            | usize::from(self.ty.unwrap_or(0))
    }

    /// Reads a light userdata.
    pub(super) fn from_bits(bits: usize) -> Option<Handle> {
        let ty = match bits >> 60 {
            1 if bits as u16 == 0 => None,
            2 => Some(bits as u16),
            _ => return None,
        };
        Some(Handle { place: (bits >> 16) as u32 % PLACES, life: (bits >> 36) as u32 % LIVES, ty })
    }

    /// The handle of a type of the same schema.
    pub(super) fn of_type(self, ty: u16) -> Handle {
        Handle { ty: Some(ty), ..self }
    }

    /// Where the state has what belongs to the schema.
    pub(super) fn place(self) -> usize {
        self.place as usize
    }
}

#[derive(Default)]
struct Place {
    life: u32,
    schema: Option<Arc<Schema>>,
}

struct All {
    places: Vec<Place>,
    free: Vec<u32>,
    saved: [Option<Handle>; SLOTS],
}

static ALL: Mutex<All> = Mutex::new(All { places: Vec::new(), free: Vec::new(), saved: [None; SLOTS] });

fn with<R>(work: impl FnOnce(&mut All) -> R) -> R {
    // Every change is one step: what a panic interrupted is whole.
    work(&mut ALL.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// A schema, and in which life of its place it is one.
type Used = (u32, Arc<Schema>);

/// The names of the fields of a schema, and in which life of its place it has them.
type Named = (u32, Box<[Name]>);

/// What a Lua state has used.
#[derive(Default)]
pub(super) struct Cache {
    places: RefCell<Vec<Option<Used>>>,
    gone: RefCell<Vec<Arc<Schema>>>,
    /// Of which life of a place the state has the names of fields, and where they are.
    named: RefCell<Vec<Option<Named>>>,
}

/// A new schema: none if there are a million already.
pub(super) fn add(schema: Schema) -> Option<Handle> {
    let schema = Arc::new(schema);
    with(|all| {
        let place = match all.free.pop() {
            Some(place) => place,
            None if all.places.len() < PLACES as usize => {
                all.places.push(Place::default());
                all.places.len() as u32 - 1
            }
            None => return None,
        };
        let it = &mut all.places[place as usize];
        it.schema = Some(schema);
        Some(Handle { place, life: it.life, ty: None })
    })
}

impl Cache {
    /// The schema of a handle.
    pub(super) fn find(&self, handle: Handle) -> Option<*const Schema> {
        let place = handle.place();
        if let Some(Some((life, schema))) = self.places.borrow().get(place)
            && *life == handle.life
        {
            return Some(Arc::as_ptr(schema));
        }
        self.fetch(handle)
    }

    #[cold]
    fn fetch(&self, handle: Handle) -> Option<*const Schema> {
        let schema = with(|all| {
            let place = all.places.get(handle.place()).filter(|it| it.life == handle.life)?;
            place.schema.clone()
        })?;
        let mut places = self.places.borrow_mut();
        if places.len() <= handle.place() {
            places.resize_with(handle.place() + 1, || None);
        }
        let found = Arc::as_ptr(&schema);
        let before = places[handle.place()].replace((handle.life, schema));
        self.gone.borrow_mut().extend(before.map(|it| it.1));
        Some(found)
    }

    /// The names of the fields of a schema, if the state has them; good until the next schema is named or the cache is cleared.
    #[inline]
    pub(super) fn names(&self, handle: Handle) -> Option<*const [Name]> {
        match self.named.borrow().get(handle.place()) {
            Some(Some((life, names))) if *life == handle.life => Some(&raw const **names),
            _ => None,
        }
    }

    /// From now on it has.
    pub(super) fn set_names(&self, handle: Handle, names: Box<[Name]>) {
        let mut named = self.named.borrow_mut();
        if named.len() <= handle.place() {
            named.resize_with(handle.place() + 1, || None);
        }
        named[handle.place()] = Some((handle.life, names));
    }

    /// Deletes a schema, unless it is saved. Whoever uses it keeps it.
    pub(super) fn delete(&self, handle: Handle) {
        let deleted = with(|all| {
            if all.saved.contains(&Some(handle)) {
                return None;
            }
            let place = all.places.get_mut(handle.place()).filter(|it| it.life == handle.life)?;
            let schema = place.schema.take()?;
            place.life = (place.life + 1) % LIVES;
            all.free.push(handle.place);
            Some(schema)
        });
        let Some(schema) = deleted else { return };
        let own = self.places.borrow_mut().get_mut(handle.place()).and_then(Option::take);
        let mut gone = self.gone.borrow_mut();
        gone.extend(own.map(|it| it.1));
        gone.push(schema);
    }

    /// Drops everything: the state is being closed.
    pub(super) fn clear(&self) {
        self.places.take();
        self.gone.take();
        self.named.take();
    }

    /// No other function of ours is under way: what was deleted may go.
    #[inline]
    pub(super) fn sweep(&self) {
        if !self.gone.borrow().is_empty() {
            self.gone.take();
        }
    }
}

/// Keeps a schema in a slot of the process, for ever or until the next one.
pub(super) fn save(slot: usize, handle: Handle) {
    with(|all| all.saved[slot] = Some(handle));
}

/// What a slot has.
pub(super) fn load(slot: usize) -> Option<Handle> {
    with(|all| all.saved[slot])
}

//! Doubly linked lists that run through the entries of a slab: every operation is O(1) and none allocates.

use crate::WorkerId;
use slab::Slab;

/// An entry's neighbours in one list.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Links {
    before: Option<usize>,
    after: Option<usize>,
}

/// An entry that can be in the list of all and in the list of its worker, in both or in none.
pub(crate) trait Node {
    fn worker(&self) -> WorkerId;
    fn links(&self, lane: Lane) -> &Links;
    fn links_mut(&mut self, lane: Lane) -> &mut Links;
}

/// Which of an entry's two lists is meant.
#[derive(Clone, Copy)]
pub(crate) enum Lane {
    All,
    Worker,
}

/// The ends of one list.
#[derive(Clone, Copy, Default)]
struct List {
    front: Option<usize>,
    back: Option<usize>,
}

impl List {
    /// Inserts `key` before `place`, at the back when there is none.
    fn insert<N: Node>(&mut self, slab: &mut Slab<N>, lane: Lane, key: usize, place: Option<usize>) {
        let before = match place {
            Some(place) => slab[place].links(lane).before,
            None => self.back,
        };
        *slab[key].links_mut(lane) = Links { before, after: place };
        match before {
            Some(before) => slab[before].links_mut(lane).after = Some(key),
            None => self.front = Some(key),
        }
        match place {
            Some(place) => slab[place].links_mut(lane).before = Some(key),
            None => self.back = Some(key),
        }
    }

    fn remove<N: Node>(&mut self, slab: &mut Slab<N>, lane: Lane, key: usize) {
        let Links { before, after } = std::mem::take(slab[key].links_mut(lane));
        match before {
            Some(before) => slab[before].links_mut(lane).after = after,
            None => self.front = after,
        }
        match after {
            Some(after) => slab[after].links_mut(lane).before = before,
            None => self.back = before,
        }
    }
}

/// One list of all entries, and one per worker, in step with each other.
#[derive(Default)]
pub(crate) struct Lanes {
    all: List,
    /// Indexed by worker; grows when a worker is first seen, and then never again.
    workers: Vec<List>,
    len: usize,
}

impl Lanes {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn front(&self) -> Option<usize> {
        self.all.front
    }

    pub(crate) fn back(&self) -> Option<usize> {
        self.all.back
    }

    pub(crate) fn front_of(&self, worker: WorkerId) -> Option<usize> {
        self.workers.get(usize::from(worker.0))?.front
    }

    pub(crate) fn back_of(&self, worker: WorkerId) -> Option<usize> {
        self.workers.get(usize::from(worker.0))?.back
    }

    /// The entry after `key` in the list of all.
    pub(crate) fn after<N: Node>(&self, slab: &Slab<N>, key: usize) -> Option<usize> {
        slab[key].links(Lane::All).after
    }

    pub(crate) fn push_back<N: Node>(&mut self, slab: &mut Slab<N>, key: usize) {
        self.all.insert(slab, Lane::All, key, None);
        self.worker_list(slab[key].worker()).insert(slab, Lane::Worker, key, None);
        self.len += 1;
    }

    /// Inserts `key` before the first entry that `follows` it. Walks the lists: for rare events only.
    pub(crate) fn insert_sorted<N: Node>(&mut self, slab: &mut Slab<N>, key: usize, follows: impl Fn(&N) -> bool) {
        let find = |slab: &Slab<N>, mut place: Option<usize>, lane: Lane| {
            while let Some(at) = place.filter(|at| !follows(&slab[*at])) {
                place = slab[at].links(lane).after;
            }
            place
        };
        let place = find(slab, self.all.front, Lane::All);
        self.all.insert(slab, Lane::All, key, place);
        let worker = slab[key].worker();
        let place = find(slab, self.worker_list(worker).front, Lane::Worker);
        self.worker_list(worker).insert(slab, Lane::Worker, key, place);
        self.len += 1;
    }

    pub(crate) fn remove<N: Node>(&mut self, slab: &mut Slab<N>, key: usize) {
        self.all.remove(slab, Lane::All, key);
        self.worker_list(slab[key].worker()).remove(slab, Lane::Worker, key);
        self.len -= 1;
    }

    fn worker_list(&mut self, worker: WorkerId) -> &mut List {
        let index = usize::from(worker.0);
        if index >= self.workers.len() {
            self.workers.resize_with(index + 1, List::default);
        }
        &mut self.workers[index]
    }
}

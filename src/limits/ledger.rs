//! A bounded map from keys to what a limiter knows of them: when it is full, the key that is nearest to rest makes room.
//!
//! governor's own keyed map grows with every key it has ever seen. This one holds a fixed number, so that a flood of fresh keys
//! drives out fresh keys and never one under attack (R68, R69). It is laid out to be small, since an attacker decides how full it
//! is: one vector of entries that is a heap ordered by when each comes to rest, and an index of 4 bytes an entry. Decides
//! nothing about limits; used by every limiter here.

use hashbrown::HashTable;

use super::keys::{Fingerprint, Tick};

/// The children of each entry in the heap: four are on one or two cache lines, and the way down is half as long as with two.
const ARITY: usize = 4;

struct Entry<S> {
    key: Fingerprint,
    rest: Tick,
    slate: S,
}

impl<S> Entry<S> {
    fn order(&self) -> (Tick, Fingerprint) {
        (self.rest, self.key)
    }
}

/// A bounded map. `S` is what is known of a key, beside the tick at which it comes to rest.
pub(super) struct Ledger<S> {
    /// A heap: no entry comes to rest before its parent.
    heap: Vec<Entry<S>>,
    /// Where in the heap each key is.
    places: HashTable<u32>,
    capacity: usize,
}

impl<S: Copy> Ledger<S> {
    pub(super) fn new(capacity: usize) -> Self {
        // Places are 32 bits; a ledger of four thousand million entries would not fit a machine anyway.
        let capacity = capacity.clamp(1, u32::MAX as usize);
        Self { heap: Vec::new(), places: HashTable::new(), capacity }
    }

    /// When a key comes to rest and what is known of it.
    pub(super) fn find(&self, key: Fingerprint) -> Option<(Tick, S)> {
        let entry = self.heap.get(self.place(key)?)?;
        Some((entry.rest, entry.slate))
    }

    /// The entry that would make room for a key which is not here; none while there is room.
    pub(super) fn predecessor(&self) -> Option<(Tick, S)> {
        let full = self.heap.len() >= self.capacity;
        self.heap.first().filter(|_| full).map(|entry| (entry.rest, entry.slate))
    }

    /// Writes down what is known of a key now. If there is no room for it, the one nearest to rest makes some.
    pub(super) fn set(&mut self, key: Fingerprint, rest: Tick, slate: S) {
        if let Some(place) = self.place(key) {
            if let Some(entry) = self.heap.get_mut(place) {
                (entry.rest, entry.slate) = (rest, slate);
            }
            self.settle(place);
            return;
        }
        if self.heap.len() >= self.capacity {
            self.remove_first();
        } else if self.heap.len() == self.heap.capacity() {
            // As much again, but never more than will be used.
            self.heap.reserve_exact(self.heap.len().max(16).min(self.capacity - self.heap.len()));
        }
        let place = self.heap.len();
        self.heap.push(Entry { key, rest, slate });
        let (heap, index) = (&self.heap, u32::try_from(place).expect("the capacity was held to 32 bits"));
        self.places
            .insert_unique(key.bits(), index, |place| heap.get(*place as usize).map_or(0, |entry| entry.key.bits()));
        self.settle(place);
    }

    /// The same, but only if nobody further from rest would have to make room. `false` if so.
    pub(super) fn set_if_room(&mut self, key: Fingerprint, rest: Tick, slate: S) -> bool {
        let taken = self.place(key).is_none() && self.predecessor().is_some_and(|(other, _)| other > rest);
        if !taken {
            self.set(key, rest, slate);
        }
        !taken
    }

    /// The bytes that the entries and their index take, used or reserved.
    pub(super) fn bytes(&self) -> usize {
        self.heap.capacity() * size_of::<Entry<S>>() + self.places.allocation_size()
    }

    fn place(&self, key: Fingerprint) -> Option<usize> {
        let is_it = |place: &u32| self.heap.get(*place as usize).is_some_and(|entry| entry.key == key);
        self.places.find(key.bits(), is_it).map(|place| *place as usize)
    }

    fn remove_first(&mut self) {
        let Some(last) = self.heap.len().checked_sub(1) else { return };
        self.swap(0, last);
        if let Some(gone) = self.heap.pop()
            && let Ok(index) = self.places.find_entry(gone.key.bits(), |place| *place as usize == last)
        {
            index.remove();
        }
        self.settle(0);
    }

    /// Moves an entry to where it belongs.
    fn settle(&mut self, place: usize) {
        let place = self.sift_up(place);
        self.sift_down(place);
    }

    fn sift_up(&mut self, mut place: usize) -> usize {
        while let Some(before) = place.checked_sub(1) {
            let parent = before / ARITY;
            match (self.heap.get(place), self.heap.get(parent)) {
                (Some(entry), Some(above)) if entry.order() < above.order() => self.swap(place, parent),
                (Some(_) | None, Some(_) | None) => break,
            }
            place = parent;
        }
        place
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let first = place * ARITY + 1;
            let children = self.heap.get(first..(first + ARITY).min(self.heap.len())).unwrap_or_default();
            let least = children.iter().enumerate().min_by_key(|(_, child)| child.order());
            match (self.heap.get(place), least) {
                (Some(entry), Some((offset, child))) if child.order() < entry.order() => {
                    self.swap(place, first + offset);
                    place = first + offset;
                }
                (Some(_) | None, Some(_) | None) => break,
            }
        }
    }

    /// Swaps two entries, and their places in the index.
    fn swap(&mut self, one: usize, other: usize) {
        let (Some(first), Some(second)) = (self.heap.get(one), self.heap.get(other)) else { return };
        if one == other {
            return;
        }
        let (hashes, at) = ([first.key.bits(), second.key.bits()], [one, other]);
        let is_at = |which: usize, place: &u32| at.get(which).is_some_and(|at| *place as usize == *at);
        if let [Some(first), Some(second)] = self.places.get_disjoint_mut(hashes, is_at) {
            std::mem::swap(first, second);
        }
        self.heap.swap(one, other);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.heap.len(), self.places.len(), "two views of the same keys");
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::keys::Fingerprints;
    use super::*;

    fn key(number: u64) -> Fingerprint {
        Fingerprint::from_bits(number)
    }

    #[test]
    fn r69_the_one_nearest_to_rest_makes_room() {
        let mut ledger = Ledger::new(3);
        for (number, rest) in [(1, 300), (2, 200), (3, 400)] {
            ledger.set(key(number), rest, number);
        }
        assert_eq!(ledger.predecessor(), Some((200, 2)));
        ledger.set(key(4), 250, 4);
        assert_eq!(
            [1, 2, 3, 4].map(|number| ledger.find(key(number)).map(|(_, slate)| slate)),
            [Some(1), None, Some(3), Some(4)]
        );
    }

    #[test]
    fn a_key_that_is_known_drives_nobody_out() {
        let mut ledger = Ledger::new(2);
        ledger.set(key(1), 100, ());
        ledger.set(key(2), 200, ());
        ledger.set(key(1), 300, ());
        assert_eq!((ledger.find(key(1)), ledger.find(key(2))), (Some((300, ())), Some((200, ()))));
    }

    #[test]
    fn who_asks_politely_drives_out_only_those_nearer_to_rest() {
        let mut ledger = Ledger::new(2);
        ledger.set(key(1), 300, ());
        ledger.set(key(2), 400, ());
        assert!(!ledger.set_if_room(key(3), 200, ()));
        assert_eq!(ledger.find(key(3)), None);
        assert!(ledger.set_if_room(key(3), 350, ()));
        assert_eq!((ledger.find(key(1)), ledger.find(key(3))), (None, Some((350, ()))));
        assert!(ledger.set_if_room(key(3), 10, ()), "a known key needs no room");
    }

    #[test]
    fn r68_memory_stops_growing_when_it_is_full() {
        let (mut ledger, fingerprints) = (Ledger::new(12_500), Fingerprints::default());
        for number in 0..12_500_u64 {
            ledger.set(fingerprints.of(number), number, [0_u32; 6]);
        }
        assert!(ledger.bytes() <= 12_500 * 47, "{} bytes", ledger.bytes());
        // Keys that come and go leave gaps in the index, which grows once to twice its size to live with them.
        for number in 12_500..50_000_u64 {
            ledger.set(fingerprints.of(number), number, [0_u32; 6]);
            assert!(ledger.bytes() <= 12_500 * 54, "{} bytes", ledger.bytes());
        }
        assert_eq!(ledger.len(), 12_500);
    }

    proptest! {
        /// Against the plainest model: a list that is searched.
        #[test]
        fn it_does_what_a_searched_list_does(
            capacity in 1_usize..9,
            sets in prop::collection::vec((0_u64..16, 0_u64..1_000), 0..300),
        ) {
            let mut ledger = Ledger::new(capacity);
            let mut list: Vec<(Tick, Fingerprint, usize)> = Vec::new();
            for (at, (number, rest)) in sets.into_iter().enumerate() {
                ledger.set(key(number), rest, at);
                list.retain(|(_, known, _)| *known != key(number));
                if list.len() == capacity {
                    list.sort_unstable();
                    list.remove(0);
                }
                list.push((rest, key(number), at));
                for number in 0..16 {
                    let listed = list.iter().find(|(_, known, _)| *known == key(number));
                    prop_assert_eq!(ledger.find(key(number)), listed.map(|(rest, _, slate)| (*rest, *slate)));
                }
                let first = list.iter().min().filter(|_| list.len() == capacity);
                prop_assert_eq!(ledger.predecessor(), first.map(|(rest, _, slate)| (*rest, *slate)));
                prop_assert_eq!(ledger.len(), list.len());
            }
        }
    }
}

//! What limiters remember, in bounded memory: for each key one instant, the "theoretical arrival time" of GCRA, until which the
//! key is in debt.
//!
//! governor's own keyed map grows with every key it has ever seen. This one holds a fixed number. When it is full the key that
//! is nearest to rest makes room, so that a flood of fresh keys drives out fresh keys and never one under attack (R68, R69).
//! Keys are kept as fingerprints under a secret of this process: a long name costs what a short one costs, and nobody can
//! choose names that collide.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;

/// Nanoseconds since the limiter was made.
pub(super) type Tick = u64;

/// 64 bits that stand for a key. That any two among a million meet happens once in tens of millions of processes, and then they
/// share a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Fingerprint(u64);

/// The process's secret.
#[derive(Default)]
pub(super) struct Fingerprints(RandomState);

impl Fingerprints {
    pub(super) fn of(&self, key: impl Hash) -> Fingerprint {
        Fingerprint(self.0.hash_one(key))
    }
}

/// What a key finds that takes the room of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Newcomer {
    /// A clean slate. For addresses: whoever can fill the map with addresses is not held up by a limit on each of them,
    /// and everybody else must not be.
    AtRest,
    /// The debt of the one who made room. For accounts: none may get more attempts than its quota because it was forgotten.
    /// Nobody notices it before more accounts than fit are in debt at once.
    InheritsDebt,
}

/// A bounded map from keys to the instants until which they are in debt.
pub(super) struct Debts {
    until: HashMap<Fingerprint, Tick>,
    nearest_to_rest: BTreeSet<(Tick, Fingerprint)>,
    capacity: usize,
    newcomer: Newcomer,
}

impl Debts {
    fn new(capacity: usize, newcomer: Newcomer) -> Self {
        Self { until: HashMap::new(), nearest_to_rest: BTreeSet::new(), capacity, newcomer }
    }

    /// Until when a key is in debt: its own, or what it would inherit. None for a clean slate.
    pub(super) fn until(&self, key: Fingerprint) -> Option<Tick> {
        self.until.get(&key).copied().or_else(|| match self.newcomer {
            Newcomer::AtRest => None,
            Newcomer::InheritsDebt if self.until.len() < self.capacity => None,
            Newcomer::InheritsDebt => self.nearest_to_rest.first().map(|(until, _)| *until),
        })
    }

    /// Sets a key's debt. If there is no room for it, the one nearest to rest makes some.
    pub(super) fn set(&mut self, key: Fingerprint, until: Tick) {
        if let Some(before) = self.until.get_mut(&key) {
            self.nearest_to_rest.remove(&(*before, key));
            *before = until;
        } else {
            if self.until.len() >= self.capacity
                && let Some((_, makes_room)) = self.nearest_to_rest.pop_first()
            {
                self.until.remove(&makes_room);
            }
            self.until.insert(key, until);
        }
        self.nearest_to_rest.insert((until, key));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.until.len(), self.nearest_to_rest.len(), "two views of the same keys");
        self.until.len()
    }
}

/// Enough that two threads hardly ever meet on one lock.
const SHARDS: usize = 16;

/// Below this many keys one lock does: a shard of a few keys would drive out keys for want of room that others have.
const WORTH_SHARDING: usize = SHARDS * 64;

/// Values behind several locks, found by fingerprint.
pub(super) struct Sharded<T>(Box<[Mutex<T>]>);

impl<T> Sharded<T> {
    /// Makes the shards; `make` is told how many keys each may hold, `max_keys` in all.
    pub(super) fn new(max_keys: NonZeroUsize, make: impl Fn(usize) -> T) -> Self {
        let shards = if max_keys.get() < WORTH_SHARDING { 1 } else { SHARDS };
        Self((0..shards).map(|_| Mutex::new(make(max_keys.get() / shards))).collect())
    }

    /// No code that can panic runs under these locks.
    pub(super) fn lock(&self, key: Fingerprint) -> MutexGuard<'_, T> {
        let index = usize::try_from(key.0 % self.0.len() as u64).unwrap_or_default();
        let shard = self.0.get(index).expect("the remainder is less than the number of shards");
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn sum(&self, of: impl Fn(&T) -> usize) -> usize {
        self.0.iter().map(|shard| of(&shard.lock().expect("not poisoned"))).sum()
    }
}

/// The store that governor's arithmetic works on.
#[derive(Clone)]
pub(super) struct States(Arc<Sharded<Debts>>);

impl States {
    pub(super) fn new(max_keys: NonZeroUsize, newcomer: Newcomer) -> Self {
        Self(Arc::new(Sharded::new(max_keys, |capacity| Debts::new(capacity, newcomer))))
    }

    /// Takes `less` off a key's debt: one attempt that shall not have been.
    pub(super) fn give_back(&self, key: Fingerprint, less: Tick) {
        let mut debts = self.0.lock(key);
        if let Some(until) = debts.until(key) {
            debts.set(key, until.saturating_sub(less));
        }
    }
}

impl StateStore for States {
    type Key = Fingerprint;

    fn measure_and_replace<T, F, E>(&self, key: &Fingerprint, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut debts = self.0.lock(*key);
        let (outcome, until) = f(debts.until(*key).map(Nanos::new))?;
        debts.set(*key, until.as_u64());
        Ok(outcome)
    }
}

/// The same map for a limiter that keeps more than one thing a key.
pub(super) fn account_debts(capacity: usize) -> Debts {
    Debts::new(capacity, Newcomer::InheritsDebt)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u64) -> Fingerprint {
        Fingerprint(number)
    }

    fn flood(debts: &mut Debts, keys: u64, until: Tick) {
        (1_000..1_000 + keys).for_each(|number| debts.set(key(number), until));
    }

    #[test]
    fn r68_there_are_never_more_keys_than_allowed() {
        let states = States::new(NonZeroUsize::new(2_000).expect("not zero"), Newcomer::AtRest);
        let fingerprints = Fingerprints::default();
        for number in 0..50_000_u64 {
            let _: Result<(), ()> =
                states.measure_and_replace(&fingerprints.of(number), |_| Ok(((), Nanos::new(number))));
        }
        let keys = states.0.sum(Debts::len);
        assert!((1_900..=2_000).contains(&keys), "{keys} keys");
    }

    #[test]
    fn r69_a_flood_of_fresh_keys_drives_out_fresh_keys_alone() {
        for newcomer in [Newcomer::AtRest, Newcomer::InheritsDebt] {
            let mut debts = Debts::new(10, newcomer);
            debts.set(key(1), 500);
            flood(&mut debts, 10_000, 100);
            assert_eq!(debts.until(key(1)), Some(500));
            assert_eq!(debts.len(), 10);
        }
    }

    #[test]
    fn r69_when_all_are_in_debt_the_one_nearest_to_rest_makes_room() {
        let mut debts = Debts::new(3, Newcomer::AtRest);
        for (number, until) in [(1, 300), (2, 200), (3, 400)] {
            debts.set(key(number), until);
        }
        debts.set(key(4), 250);
        assert_eq!([1, 2, 3, 4].map(|number| debts.until(key(number))), [Some(300), None, Some(400), Some(250)]);
    }

    #[test]
    fn r69_an_account_that_was_forgotten_comes_back_with_no_less_debt_than_it_left() {
        let mut debts = Debts::new(3, Newcomer::InheritsDebt);
        for (number, until) in [(1, 300), (2, 200), (3, 400)] {
            debts.set(key(number), until);
        }
        assert_eq!(debts.until(key(4)), Some(200), "the newcomer takes over what its predecessor owed");
        debts.set(key(4), 290);
        assert_eq!(debts.until(key(2)), Some(290), "and who comes back owes at least what it did");
    }

    #[test]
    fn a_key_that_is_known_drives_nobody_out() {
        let mut debts = Debts::new(2, Newcomer::InheritsDebt);
        debts.set(key(1), 100);
        debts.set(key(2), 200);
        debts.set(key(1), 300);
        assert_eq!((debts.until(key(1)), debts.until(key(2))), (Some(300), Some(200)));
    }

    #[test]
    fn equal_keys_have_equal_fingerprints_and_other_processes_have_others() {
        let (ours, theirs) = (Fingerprints::default(), Fingerprints::default());
        assert_eq!(ours.of("alice"), ours.of("alice"));
        assert_ne!(ours.of("alice"), ours.of("bob"));
        assert_ne!(ours.of("alice"), theirs.of("alice"));
    }

    proptest! {
        /// Against the plainest model: a list that is searched.
        #[test]
        fn the_map_does_what_a_searched_list_does(sets in prop::collection::vec((0_u64..12, 0_u64..1_000), 0..200)) {
            let mut debts = Debts::new(5, Newcomer::AtRest);
            let mut list: Vec<(Tick, Fingerprint)> = Vec::new();
            for (number, until) in sets {
                debts.set(key(number), until);
                list.retain(|(_, known)| *known != key(number));
                if list.len() == 5 {
                    list.sort_unstable();
                    list.remove(0);
                }
                list.push((until, key(number)));
                for number in 0..12 {
                    let listed = list.iter().find(|(_, known)| *known == key(number)).map(|(until, _)| *until);
                    prop_assert_eq!(debts.until(key(number)), listed);
                }
                prop_assert_eq!(debts.len(), list.len());
            }
        }
    }
}

//! What limits are kept for: fingerprints of keys, in bounded ledgers behind several locks, and the store that governor's
//! arithmetic works on.
//!
//! Keys are kept as fingerprints under a secret of this process: a long name costs what a short one costs, and nobody can
//! choose names that collide.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;

use super::ledger::Ledger;

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

impl Fingerprint {
    /// The bits, evenly spread.
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// Half of the bits, where what is told apart is few; never zero, which is free to mean nobody.
    pub(super) fn short(self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or_default() | 1
    }

    #[cfg(test)]
    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
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
        // Neither the lowest nor the highest bits, by which a ledger finds its keys.
        let index = usize::try_from((key.0 >> 40) % self.0.len() as u64).unwrap_or_default();
        let shard = self.0.get(index).expect("the remainder is less than the number of shards");
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sum over all shards.
    pub(super) fn sum(&self, of: impl Fn(&T) -> usize) -> usize {
        self.0.iter().map(|shard| of(&shard.lock().unwrap_or_else(PoisonError::into_inner))).sum()
    }
}

/// The store that governor's arithmetic works on: for each key the "theoretical arrival time" of GCRA, until which it is in debt.
#[derive(Clone)]
pub(super) struct States {
    debts: Arc<Sharded<Ledger<()>>>,
    newcomer: Newcomer,
}

impl States {
    pub(super) fn new(max_keys: NonZeroUsize, newcomer: Newcomer) -> Self {
        Self { debts: Arc::new(Sharded::new(max_keys, Ledger::new)), newcomer }
    }

    /// Takes `less` off a key's debt: one attempt that shall not have been.
    pub(super) fn give_back(&self, key: Fingerprint, less: Tick) {
        let mut debts = self.debts.lock(key);
        if let Some(until) = self.until(&debts, key) {
            debts.set(key, until.saturating_sub(less), ());
        }
    }

    /// Until when a key is in debt, if it is.
    pub(super) fn debt(&self, key: Fingerprint) -> Option<Tick> {
        self.until(&self.debts.lock(key), key)
    }

    /// The bytes that are taken.
    pub(super) fn bytes(&self) -> usize {
        self.debts.sum(Ledger::bytes)
    }

    /// Until when a key is in debt: its own, or what it would inherit. None for a clean slate.
    fn until(&self, debts: &Ledger<()>, key: Fingerprint) -> Option<Tick> {
        let own = debts.find(key).map(|(until, ())| until);
        own.or_else(|| match self.newcomer {
            Newcomer::AtRest => None,
            Newcomer::InheritsDebt => debts.predecessor().map(|(until, ())| until),
        })
    }
}

impl StateStore for States {
    type Key = Fingerprint;

    fn measure_and_replace<T, F, E>(&self, key: &Fingerprint, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut debts = self.debts.lock(*key);
        let (outcome, until) = f(self.until(&debts, *key).map(Nanos::new))?;
        debts.set(*key, until.as_u64(), ());
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owes(states: &States, key: Fingerprint, until: Tick) {
        let _: Result<(), ()> = states.measure_and_replace(&key, |_| Ok(((), Nanos::new(until))));
    }

    fn three(newcomer: Newcomer) -> States {
        let states = States::new(NonZeroUsize::new(3).expect("not zero"), newcomer);
        for (number, until) in [(1, 300), (2, 200), (3, 400)] {
            owes(&states, Fingerprint(number), until);
        }
        states
    }

    #[test]
    fn r68_there_are_never_more_keys_than_allowed() {
        let states = States::new(NonZeroUsize::new(2_000).expect("not zero"), Newcomer::AtRest);
        let fingerprints = Fingerprints::default();
        for number in 0..50_000_u64 {
            owes(&states, fingerprints.of(number), number);
        }
        let keys = states.debts.sum(Ledger::len);
        assert!((1_900..=2_000).contains(&keys), "{keys} keys");
    }

    #[test]
    fn r69_a_flood_of_fresh_keys_drives_out_fresh_keys_alone() {
        for newcomer in [Newcomer::AtRest, Newcomer::InheritsDebt] {
            let states = three(newcomer);
            (1_000..11_000).for_each(|number| owes(&states, Fingerprint(number), 250));
            assert_eq!([1, 3].map(|number| states.debt(Fingerprint(number))), [Some(300), Some(400)]);
        }
    }

    #[test]
    fn r69_an_account_that_was_forgotten_comes_back_with_no_less_debt_than_it_left() {
        let states = three(Newcomer::InheritsDebt);
        assert_eq!(states.debt(Fingerprint(4)), Some(200), "the newcomer takes over what its predecessor owed");
        owes(&states, Fingerprint(4), 290);
        assert_eq!(states.debt(Fingerprint(2)), Some(290), "and who comes back owes at least what it did");
    }

    #[test]
    fn an_address_that_was_forgotten_begins_anew() {
        assert_eq!(three(Newcomer::AtRest).debt(Fingerprint(4)), None);
    }

    #[test]
    fn equal_keys_have_equal_fingerprints_and_other_processes_have_others() {
        let (ours, theirs) = (Fingerprints::default(), Fingerprints::default());
        assert_eq!(ours.of("alice"), ours.of("alice"));
        assert_ne!(ours.of("alice"), ours.of("bob"));
        assert_ne!(ours.of("alice"), theirs.of("alice"));
    }
}

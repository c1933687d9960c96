//! Signs of credential stuffing, in bounded memory (R76): many users tried from one network, many networks at one account, and few
//! successes on the whole.
//!
//! Counts and warns; refuses nobody. What is counted are different users, or networks, among the *failed* attempts of ten minutes,
//! and the share that succeeded: an office behind one address makes as many failures as an attacker, and ten times as many
//! successes. Distinct ones are counted by linear counting over 64 bits (Whang et al., 1990): exact enough below a
//! hundred, and nobody's name is kept.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::keys::{Fingerprint, Sharded, Tick};
use super::ledger::Ledger;
use super::ticks::nanos;
use crate::domain::client_addr::ClientAddr;
use crate::service::ports::AttemptOutcome;
use crate::telemetry::Metrics;

/// The time in which attempts are seen together.
const WINDOW: Duration = Duration::from_secs(10 * 60);

/// How long a log says nothing more of a kind of sign.
const QUIET: Duration = Duration::from_secs(60);

/// So many different users that failed from one network are a spray, unless most attempts from there succeed.
const SPRAYED_USERS: u32 = 15;

/// So many different networks that failed at one account are an attack on it, unless most attempts there succeed.
const NETWORKS_OF_ONE: u32 = 10;

/// So many verdicts tell whether the whole process is attacked.
const ENOUGH: u32 = 200;

/// Fewer successes than this in a hundred verdicts are no people at keyboards.
const FEW_PERCENT: u64 = 20;

/// A sign of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    /// Many users from one network.
    Spray,
    /// Many networks at one account.
    Distributed,
    /// Few successes among all attempts.
    FewSuccesses,
}

impl Signal {
    const ALL: [Self; 3] = [Self::Spray, Self::Distributed, Self::FewSuccesses];

    fn as_str(self) -> &'static str {
        match self {
            Self::Spray => "many_users_from_one_network",
            Self::Distributed => "many_networks_at_one_account",
            Self::FewSuccesses => "few_successes",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Spray => 0,
            Self::Distributed => 1,
            Self::FewSuccesses => 2,
        }
    }
}

/// One judged attempt.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) account: Fingerprint,
    pub(super) network: Fingerprint,
    pub(super) client: ClientAddr,
}

/// What was seen of one key in a window.
#[derive(Clone, Copy, Default)]
struct Sketch {
    since: Tick,
    failed_with: u64,
    failed: u32,
    succeeded: u32,
}

/// What was seen of everybody in a window.
#[derive(Default)]
struct Whole {
    since: Tick,
    failed: u32,
    succeeded: u32,
}

/// A sketch needs less room than a limit, and a sign is one among few.
const SHARE_OF_KEYS: usize = 8;

pub(super) struct Signals {
    networks: Sharded<Ledger<Sketch>>,
    accounts: Sharded<Ledger<Sketch>>,
    whole: Mutex<Whole>,
    /// When the log may speak of each kind again, and how often it has held its tongue.
    quiet: Mutex<[(Tick, u64); Signal::ALL.len()]>,
    metrics: Arc<Metrics>,
}

impl Signals {
    pub(super) fn new(max_keys: NonZeroUsize, metrics: Arc<Metrics>) -> Self {
        let keys = NonZeroUsize::new(max_keys.get() / SHARE_OF_KEYS).unwrap_or(NonZeroUsize::MIN);
        Self {
            networks: Sharded::new(keys, Ledger::new),
            accounts: Sharded::new(keys, Ledger::new),
            whole: Mutex::default(),
            quiet: Mutex::default(),
            metrics,
        }
    }

    /// Looks at one attempt that was judged.
    pub(super) fn note(&self, seen: Seen, outcome: AttemptOutcome, now: Tick) {
        self.metrics.attempt(outcome_word(outcome));
        if outcome == AttemptOutcome::NoVerdict {
            return;
        }
        if note(&self.networks, seen.network, seen.account, outcome, now, SPRAYED_USERS) {
            self.raise(Signal::Spray, Some(seen.client), now);
        }
        if note(&self.accounts, seen.account, seen.network, outcome, now, NETWORKS_OF_ONE) {
            self.raise(Signal::Distributed, None, now);
        }
        if self.note_whole(outcome, now) {
            self.raise(Signal::FewSuccesses, None, now);
        }
    }

    /// The bytes that are taken.
    pub(super) fn bytes(&self) -> usize {
        self.networks.sum(Ledger::bytes) + self.accounts.sum(Ledger::bytes)
    }

    /// Whether this attempt is the one that makes the whole look like an attack: once in a window.
    fn note_whole(&self, outcome: AttemptOutcome, now: Tick) -> bool {
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= whole.since.saturating_add(nanos(WINDOW)) {
            *whole = Whole { since: now, ..Whole::default() };
        }
        match outcome {
            AttemptOutcome::Failed => whole.failed = whole.failed.saturating_add(1),
            AttemptOutcome::Succeeded => whole.succeeded = whole.succeeded.saturating_add(1),
            AttemptOutcome::NoVerdict => {}
        }
        let verdicts = whole.failed.saturating_add(whole.succeeded);
        verdicts.is_multiple_of(ENOUGH) && u64::from(whole.succeeded) * 100 < u64::from(verdicts) * FEW_PERCENT
    }

    /// Counts a sign, and says so in the log, but not all day long.
    fn raise(&self, signal: Signal, client: Option<ClientAddr>, now: Tick) {
        self.metrics.attack_signal(signal.as_str());
        let held_back = {
            let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((until, held_back)) = quiet.get_mut(signal.index()) else { return };
            if now < *until {
                *held_back += 1;
                return;
            }
            *until = now.saturating_add(nanos(QUIET));
            std::mem::take(held_back)
        };
        let client = client.map(tracing::field::display);
        tracing::warn!(signal = signal.as_str(), client, held_back, "the attempts to log in look like an attack");
    }
}

fn outcome_word(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Succeeded => "succeeded",
        AttemptOutcome::Failed => "failed",
        AttemptOutcome::NoVerdict => "no_verdict",
    }
}

/// Notes one attempt of a key with another. Whether it is the one by which so many different others have failed: once in a window.
fn note(
    sketches: &Sharded<Ledger<Sketch>>,
    key: Fingerprint,
    other: Fingerprint,
    outcome: AttemptOutcome,
    now: Tick,
    most: u32,
) -> bool {
    let mut ledger = sketches.lock(key);
    let found =
        ledger.find(key).map(|(_, sketch)| sketch).filter(|sketch| now < sketch.since.saturating_add(nanos(WINDOW)));
    let mut sketch = found.unwrap_or(Sketch { since: now, ..Sketch::default() });
    let before = sketch.is_suspicious(most);
    match outcome {
        AttemptOutcome::Failed => {
            sketch.failed = sketch.failed.saturating_add(1);
            sketch.failed_with |= 1 << (other.bits() % 64);
        }
        AttemptOutcome::Succeeded => sketch.succeeded = sketch.succeeded.saturating_add(1),
        AttemptOutcome::NoVerdict => {}
    }
    // Whoever has tried many is remembered before those who tried one.
    let weight = nanos(Duration::from_secs(60 * u64::from(sketch.failed_with.count_ones())));
    ledger.set(key, now.saturating_add(weight), sketch);
    !before && sketch.is_suspicious(most)
}

impl Sketch {
    /// More failed than succeeded, with so many different others.
    fn is_suspicious(self, most: u32) -> bool {
        self.failed > self.succeeded && self.distinct() >= f64::from(most)
    }

    /// About how many different others failed.
    fn distinct(self) -> f64 {
        match self.failed_with.count_zeros() {
            0 => f64::INFINITY,
            zeros => -64.0 * (f64::from(zeros) / 64.0).ln(),
        }
    }
}

#[cfg(test)]
mod tests;

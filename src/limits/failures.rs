//! The limit on wrong passwords of one key: an account, or an account together with a network.
//!
//! An attempt must be counted before it is known whether it is wrong (R63), and right ones must not be refused for coming
//! together (R64). So an attempt under way holds a place. A wrong one uses it up; a right one, or one that nobody could judge,
//! gives it back. While all places are held by attempts under way, further ones wait for them in order; once the places are
//! used up, they and all who wait are refused.
//!
//! How many places there are is for [`Rules`] to say: governor counts an attempt once and for all in one step, and has neither a way
//! to ask without counting nor one to take a count back; hence a limiter of our own. Used by [`super::accounts`] alone.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::keys::{Fingerprint, Newcomer, Sharded, Tick};
use super::ledger::Ledger;
use super::rules::{Rules, SEVERAL, Slate};
use super::ticks::Ticks;
use crate::service::ports::{AttemptOutcome, ClientStanding};

/// How many attempts at one account may wait for those under way. Nobody logs in so often at once by himself.
pub(super) const MAX_WAITERS_PER_ACCOUNT: usize = 512;

/// How many attempts may wait at all accounts together; of those from unknown networks half as many.
pub(super) const MAX_WAITERS: usize = 8_192;

/// How long an attempt waits for those under way, which take a hash or a question to legacy each.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(10);

/// When to try again where it is not the account's debt that stands in the way.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// Whose attempt it is, as far as that matters to a limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comer {
    /// Whom it is aimed at, among those who share the key.
    pub(super) aimed_at: u32,
    /// Whether its network is known to the account.
    pub(super) standing: ClientStanding,
}

/// Limits wrong passwords. Cheap to clone.
#[derive(Clone)]
pub(super) struct FailureLimit(Arc<Shared>);

struct Shared {
    ticks: Ticks,
    rules: Rules,
    newcomer: Newcomer,
    max_wait: Duration,
    waiters: AtomicUsize,
    keys: Sharded<Keys>,
}

struct Keys {
    slates: Ledger<Slate>,
    /// Keys with attempts under way. Nobody waits at a key without any.
    busy: HashMap<Fingerprint, Busy>,
    max_busy: usize,
}

#[derive(Default)]
struct Busy {
    held: u32,
    waiting: VecDeque<Waiting>,
}

/// The end that wakes one who waits: with a place, or with how long he would have to wait for the next.
type Waiting = oneshot::Sender<Result<Place, Duration>>;

enum Entry {
    Admitted(Place),
    Waits(Waiter),
}

impl FailureLimit {
    /// A limit that remembers so many keys.
    pub(super) fn new(
        rules: Rules,
        newcomer: Newcomer,
        max_keys: NonZeroUsize,
        max_wait: Duration,
        ticks: Ticks,
    ) -> Self {
        let keys = Sharded::new(max_keys, |capacity| Keys {
            slates: Ledger::new(capacity),
            busy: HashMap::new(),
            max_busy: capacity,
        });
        Self(Arc::new(Shared { ticks, rules, newcomer, max_wait, waiters: AtomicUsize::new(0), keys }))
    }

    /// Admits an attempt, at once or when one under way has ended well; otherwise says when trying again makes sense.
    pub(super) async fn admit(&self, key: Fingerprint, comer: Comer) -> Result<Place, Duration> {
        match self.enter(key, comer)? {
            Entry::Admitted(place) => Ok(place),
            Entry::Waits(mut waiter) => match tokio::time::timeout(self.0.max_wait, &mut waiter.answer).await {
                Ok(Ok(granted)) => granted.map(|place| place.aimed_at(comer.aimed_at)),
                // Nobody drops the other end unanswered; who waited too long may try again soon.
                Ok(Err(_)) | Err(_) => Err(SOON),
            },
        }
    }

    /// How long a key takes no attempts, if it does not; those under way left out.
    pub(super) fn peek(&self, key: Fingerprint) -> Option<Duration> {
        let now = self.0.ticks.tick();
        let slate = self.0.keys.lock(key).slate(key, self.0.newcomer);
        self.0.rules.admit(slate, now, 0).err()
    }

    /// Takes a success that held no place here for what it is: the end of a row of failures.
    pub(super) fn forgive(&self, key: Fingerprint, aimed_at: u32) {
        self.0.keys.lock(key).forgive(self.0.rules, key, aimed_at);
    }

    /// The bytes that are taken by what is remembered.
    pub(super) fn bytes(&self) -> usize {
        self.0.keys.sum(|keys| keys.slates.bytes())
    }

    fn enter(&self, key: Fingerprint, comer: Comer) -> Result<Entry, Duration> {
        let (now, rules) = (self.0.ticks.tick(), self.0.rules);
        let mut keys = self.0.keys.lock(key);
        self.serve_waiting(&mut keys, key, now);
        let slate = keys.slate(key, self.0.newcomer);
        rules.admit(slate, now, 0)?;
        if !keys.busy.contains_key(&key) && keys.busy.len() >= keys.max_busy {
            return Err(SOON);
        }
        let busy = keys.busy.entry(key).or_default();
        // Whoever waited longer was served above: where somebody still waits, there is no place.
        if rules.admit(slate, now, busy.held).is_ok() {
            busy.held += 1;
            keys.admitted(rules, key, slate, now);
            return Ok(Entry::Admitted(self.place(key).aimed_at(comer.aimed_at)));
        }
        if busy.waiting.len() >= MAX_WAITERS_PER_ACCOUNT {
            return Err(SOON);
        }
        let ticket = Ticket::take(self, key, comer.standing).ok_or(SOON)?;
        let (grant, answer) = oneshot::channel();
        busy.waiting.push_back(grant);
        Ok(Entry::Waits(Waiter { answer, _ticket: ticket }))
    }

    /// Ends an attempt. Says how many have failed in a row, if this one did.
    fn settle(&self, key: Fingerprint, aimed_at: u32, outcome: AttemptOutcome) -> Option<Streak> {
        let (now, rules) = (self.0.ticks.tick(), self.0.rules);
        let mut keys = self.0.keys.lock(key);
        let streak = match outcome {
            AttemptOutcome::Failed => {
                let slate = rules.failed(keys.slate(key, self.0.newcomer), now, aimed_at);
                keys.slates.set(key, rules.rest(slate), slate);
                Some(if rules.gives_up(slate.streak) { Streak::TooLong } else { Streak::Goes })
            }
            AttemptOutcome::Succeeded => {
                keys.forgive(rules, key, aimed_at);
                None
            }
            AttemptOutcome::NoVerdict => None,
        };
        if let Some(busy) = keys.busy.get_mut(&key) {
            busy.held = busy.held.saturating_sub(1);
        }
        self.serve_waiting(&mut keys, key, now);
        streak
    }

    /// Gives places to those who wait, in order, as far as there are any; refuses all of them once none can come back.
    fn serve_waiting(&self, keys: &mut Keys, key: Fingerprint, now: Tick) {
        let rules = self.0.rules;
        loop {
            let slate = keys.slate(key, self.0.newcomer);
            let Some(busy) = keys.busy.get_mut(&key) else { return };
            if let Err(wait) = rules.admit(slate, now, 0) {
                // A client that went away meanwhile needs no answer.
                busy.waiting.drain(..).for_each(|waiting| drop(waiting.send(Err(wait))));
                break;
            }
            if rules.admit(slate, now, busy.held).is_err() {
                break;
            }
            let Some(waiting) = busy.waiting.pop_front() else { break };
            match waiting.send(Ok(self.place(key))) {
                Ok(()) => {
                    busy.held += 1;
                    keys.admitted(rules, key, slate, now);
                }
                Err(back) => back.into_iter().for_each(Place::was_never_taken),
            }
        }
        if keys.busy.get(&key).is_some_and(|busy| busy.held == 0 && busy.waiting.is_empty()) {
            keys.busy.remove(&key);
        }
    }

    fn place(&self, key: Fingerprint) -> Place {
        Place { limit: Some(self.clone()), key, aimed_at: SEVERAL }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.0.keys.sum(|keys| keys.slates.len())
    }

    #[cfg(test)]
    fn under_way(&self) -> usize {
        self.0.keys.sum(|keys| keys.busy.len())
    }
}

impl Keys {
    /// What is known of a key: its own, or what it would inherit. A row of failures is nobody's inheritance: newcomers would carry it
    /// on to each other until theirs were longer than that of an account under attack.
    fn slate(&self, key: Fingerprint, newcomer: Newcomer) -> Slate {
        let own = self.slates.find(key).map(|(_, slate)| slate);
        let slate = own.or_else(|| match newcomer {
            Newcomer::AtRest => None,
            Newcomer::InheritsDebt => {
                self.slates.predecessor().map(|(_, slate)| Slate { debt: slate.debt, ..Slate::default() })
            }
        });
        slate.unwrap_or_default()
    }

    fn admitted(&mut self, rules: Rules, key: Fingerprint, slate: Slate, now: Tick) {
        if let Some(slate) = rules.admitted(slate, now) {
            self.slates.set(key, rules.rest(slate), slate);
        }
    }

    fn forgive(&mut self, rules: Rules, key: Fingerprint, aimed_at: u32) {
        let own = self.slates.find(key);
        if let Some(slate) = own.and_then(|(_, slate)| Rules::succeeded(slate, aimed_at)) {
            self.slates.set(key, rules.rest(slate), slate);
        }
    }
}

/// Failures in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streak {
    /// It may go on.
    Goes,
    /// As long as any may be.
    TooLong,
}

/// A place that an attempt holds. Dropped unsettled it is given back.
pub(super) struct Place {
    limit: Option<FailureLimit>,
    key: Fingerprint,
    aimed_at: u32,
}

impl Place {
    /// Ends the attempt. Says how many have failed in a row, if this one did.
    pub(super) fn settle(mut self, outcome: AttemptOutcome) -> Option<Streak> {
        self.limit.take().and_then(|limit| limit.settle(self.key, self.aimed_at, outcome))
    }

    fn aimed_at(mut self, aimed_at: u32) -> Self {
        self.aimed_at = aimed_at;
        self
    }

    /// Nobody took it, so that nothing is given back. (It is under the lock that giving back would need.)
    fn was_never_taken(mut self) {
        self.limit = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(limit) = self.limit.take() {
            limit.settle(self.key, self.aimed_at, AttemptOutcome::NoVerdict);
        }
    }
}

/// An attempt that waits. The order of the fields is the order in which they are dropped: the answer's end is closed before the
/// ticket looks for closed ones.
struct Waiter {
    answer: oneshot::Receiver<Result<Place, Duration>>,
    _ticket: Ticket,
}

/// One of the [`MAX_WAITERS`]. Who stops waiting leaves nothing behind.
struct Ticket {
    limit: FailureLimit,
    key: Fingerprint,
}

impl Ticket {
    fn take(limit: &FailureLimit, key: Fingerprint, standing: ClientStanding) -> Option<Self> {
        let most = match standing {
            ClientStanding::Known => MAX_WAITERS,
            ClientStanding::Unknown => MAX_WAITERS / 2,
        };
        let one_more = |waiters| (waiters < most).then_some(waiters + 1);
        let taken = limit.0.waiters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Self { limit: limit.clone(), key })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.limit.0.waiters.fetch_sub(1, Ordering::Relaxed);
        let mut keys = self.limit.0.keys.lock(self.key);
        if let Some(busy) = keys.busy.get_mut(&self.key) {
            busy.waiting.retain(|waiting| !waiting.is_closed());
        }
    }
}

#[cfg(test)]
mod tests;

//! The limit on wrong passwords of one account.
//!
//! An attempt must be counted before it is known whether it is wrong (R63), and right ones must not be refused for coming
//! together (R64). So an attempt under way holds a place. A wrong one uses it up; a right one, or one that nobody could judge,
//! gives it back. While all places are held by attempts under way, further ones wait for them in order; once the places are
//! used up, they and all who wait are refused.
//!
//! The arithmetic is governor's GCRA, and the tests hold it to that. governor itself counts an attempt once and for all in one
//! step, and has neither a way to ask without counting nor one to take a count back; hence the few lines of our own.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::keys::{Debts, Fingerprint, Sharded, Tick, account_debts};
use super::ticks::{Pace, Ticks};
use crate::service::ports::{AccountPermit, AttemptOutcome, ClientStanding, Limited};

/// How many attempts at one account may wait for those under way. Nobody logs in so often at once by himself.
pub(super) const MAX_WAITERS_PER_ACCOUNT: usize = 512;

/// How many attempts may wait at all accounts together.
pub(super) const MAX_WAITERS: usize = 8_192;

/// How long an attempt waits for those under way, which take a hash or a question to legacy each.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(10);

/// When to try again where it is not the account's debt that stands in the way.
const SOON: Limited = Limited { retry_after: Duration::from_secs(1) };

/// Limits wrong passwords. Cheap to clone.
#[derive(Clone)]
pub(super) struct FailureLimit(Arc<Shared>);

struct Shared {
    ticks: Ticks,
    pace: Pace,
    max_wait: Duration,
    waiters: AtomicUsize,
    accounts: Sharded<Accounts>,
}

struct Accounts {
    debts: Debts,
    /// Accounts with attempts under way. Nobody waits at an account without any.
    busy: HashMap<Fingerprint, Busy>,
    max_busy: usize,
}

#[derive(Default)]
struct Busy {
    held: u32,
    waiting: VecDeque<oneshot::Sender<Result<Place, Limited>>>,
}

enum Entry {
    Admitted(Place),
    Waits(Waiter),
}

impl FailureLimit {
    /// A limit that remembers so many accounts.
    pub(super) fn new(pace: Pace, max_keys: NonZeroUsize, max_wait: Duration, ticks: Ticks) -> Self {
        let accounts = Sharded::new(max_keys, |capacity| Accounts {
            debts: account_debts(capacity),
            busy: HashMap::new(),
            max_busy: capacity,
        });
        Self(Arc::new(Shared { ticks, pace, max_wait, waiters: AtomicUsize::new(0), accounts }))
    }

    /// Admits an attempt, at once or when one under way has ended well.
    pub(super) async fn admit(&self, account: Fingerprint) -> Result<AccountPermit, Limited> {
        match self.enter(account)? {
            Entry::Admitted(place) => Ok(place.into_permit()),
            Entry::Waits(mut waiter) => match tokio::time::timeout(self.0.max_wait, &mut waiter.answer).await {
                Ok(Ok(granted)) => granted.map(Place::into_permit),
                // Nobody drops the other end unanswered; who waited too long may try again soon.
                Ok(Err(_)) | Err(_) => Err(SOON),
            },
        }
    }

    fn enter(&self, account: Fingerprint) -> Result<Entry, Limited> {
        let now = self.0.ticks.tick();
        let mut accounts = self.0.accounts.lock(account);
        self.serve_waiting(&mut accounts, account, now);
        self.0.pace.admit(accounts.debts.until(account), now, 0)?;
        if !accounts.busy.contains_key(&account) && accounts.busy.len() >= accounts.max_busy {
            return Err(SOON);
        }
        let until = accounts.debts.until(account);
        let busy = accounts.busy.entry(account).or_default();
        // Whoever waited longer was served above: where somebody still waits, there is no place.
        if self.0.pace.admit(until, now, busy.held).is_ok() {
            busy.held += 1;
            return Ok(Entry::Admitted(self.place(account)));
        }
        if busy.waiting.len() >= MAX_WAITERS_PER_ACCOUNT {
            return Err(SOON);
        }
        let ticket = Ticket::take(self, account).ok_or(SOON)?;
        let (grant, answer) = oneshot::channel();
        busy.waiting.push_back(grant);
        Ok(Entry::Waits(Waiter { answer, _ticket: ticket }))
    }

    fn settle(&self, account: Fingerprint, outcome: AttemptOutcome) {
        let now = self.0.ticks.tick();
        let mut accounts = self.0.accounts.lock(account);
        match outcome {
            AttemptOutcome::Failed => {
                let until = self.0.pace.charge(accounts.debts.until(account), now);
                accounts.debts.set(account, until);
            }
            AttemptOutcome::Succeeded | AttemptOutcome::NoVerdict => {}
        }
        if let Some(busy) = accounts.busy.get_mut(&account) {
            busy.held = busy.held.saturating_sub(1);
        }
        self.serve_waiting(&mut accounts, account, now);
    }

    /// Gives places to those who wait, in order, as far as there are any; refuses all of them once none can come back.
    fn serve_waiting(&self, accounts: &mut Accounts, account: Fingerprint, now: Tick) {
        let until = accounts.debts.until(account);
        let Some(busy) = accounts.busy.get_mut(&account) else { return };
        loop {
            if let Err(limited) = self.0.pace.admit(until, now, 0) {
                // A client that went away meanwhile needs no answer.
                busy.waiting.drain(..).for_each(|waiting| drop(waiting.send(Err(limited))));
                break;
            }
            if self.0.pace.admit(until, now, busy.held).is_err() {
                break;
            }
            let Some(waiting) = busy.waiting.pop_front() else { break };
            match waiting.send(Ok(self.place(account))) {
                Ok(()) => busy.held += 1,
                Err(back) => back.into_iter().for_each(Place::was_never_taken),
            }
        }
        if busy.held == 0 && busy.waiting.is_empty() {
            accounts.busy.remove(&account);
        }
    }

    fn place(&self, account: Fingerprint) -> Place {
        Place { limit: Some(self.clone()), account }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.0.accounts.sum(|accounts| accounts.debts.len())
    }

    #[cfg(test)]
    fn under_way(&self) -> usize {
        self.0.accounts.sum(|accounts| accounts.busy.len())
    }
}

impl Pace {
    /// Whether one more attempt conforms while so many are under way, each taken for one that will fail.
    fn admit(self, until: Option<Tick>, now: Tick, held: u32) -> Result<(), Limited> {
        let debt = until.unwrap_or(now).max(now).saturating_add(self.interval.saturating_mul(u64::from(held)));
        let tolerated = self.interval.saturating_mul(u64::from(self.burst.saturating_sub(1)));
        match debt.saturating_sub(tolerated) {
            earliest if earliest <= now => Ok(()),
            earliest => Err(Limited { retry_after: Duration::from_nanos(earliest - now) }),
        }
    }

    /// Until when an account is in debt after one more failure.
    fn charge(self, until: Option<Tick>, now: Tick) -> Tick {
        until.unwrap_or(now).max(now).saturating_add(self.interval)
    }
}

/// A place that an attempt holds. Given back if it is dropped before anybody made a permit of it.
struct Place {
    limit: Option<FailureLimit>,
    account: Fingerprint,
}

impl Place {
    fn into_permit(mut self) -> AccountPermit {
        let (limit, account) = (self.limit.take(), self.account);
        AccountPermit::new(ClientStanding::Unknown, move |outcome| {
            if let Some(limit) = limit {
                limit.settle(account, outcome);
            }
        })
    }

    /// Nobody took it, so that nothing is given back. (It is under the lock that giving back would need.)
    fn was_never_taken(mut self) {
        self.limit = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(limit) = self.limit.take() {
            limit.settle(self.account, AttemptOutcome::NoVerdict);
        }
    }
}

/// An attempt that waits. The order of the fields is the order in which they are dropped: the answer's end is closed before the
/// ticket looks for closed ones.
struct Waiter {
    answer: oneshot::Receiver<Result<Place, Limited>>,
    _ticket: Ticket,
}

/// One of the [`MAX_WAITERS`]. Who stops waiting leaves nothing behind.
struct Ticket {
    limit: FailureLimit,
    account: Fingerprint,
}

impl Ticket {
    fn take(limit: &FailureLimit, account: Fingerprint) -> Option<Self> {
        let one_more = |waiters| (waiters < MAX_WAITERS).then_some(waiters + 1);
        let taken = limit.0.waiters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Self { limit: limit.clone(), account })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.limit.0.waiters.fetch_sub(1, Ordering::Relaxed);
        let mut accounts = self.limit.0.accounts.lock(self.account);
        if let Some(busy) = accounts.busy.get_mut(&self.account) {
            busy.waiting.retain(|waiting| !waiting.is_closed());
        }
    }
}

#[cfg(test)]
mod tests;

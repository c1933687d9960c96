//! When users last logged in. A login must not cost a durable commit, so its time waits in memory and is written with a commit
//! a few seconds later, many at once; a crash loses the logins of these seconds and nothing else.
//!
//! ```text
//! note -> map, user to time, bounded -> due: writer adds one operation to its next batch -> on disk: struck off the map
//!                                       failed: stays, and is tried again
//! ```
//!
//! Called by [`super::RedbStore`], which notes, and by [`super::writer`], which writes. Never decides about a login.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::redb::ReadableTable as _;

use super::fault::Fault;
use super::record;
use super::schema::{Snapshot, Tables};
use crate::domain::clock::{Clock, UnixSeconds};
use crate::domain::user::{Standing, UserId};
use crate::telemetry::Metrics;

/// A login's time is on its way to disk after so long. A crash loses no more than this and one commit.
pub(super) const WRITTEN_AFTER: Duration = Duration::from_secs(5);

/// As many users' times are written in one commit: each may touch a page of its own.
const MAX_WRITTEN: usize = 4_096;

/// As many users' times wait. There are more only while the store takes no writes; then some are not kept.
const MAX_WAITING: usize = 65_536;

/// The times that wait.
pub(super) struct Activity {
    waiting: Mutex<Waiting>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Waiting {
    times: HashMap<UserId, UnixSeconds>,
    /// Since when the one that waits longest does, at the latest.
    since: Option<Instant>,
}

/// What a noted login asks of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// Nothing: the writer knows that some wait.
    Waits,
    /// The writer has to be woken.
    Wake,
}

/// Some of the times, as they were when a commit took them.
pub(super) struct Taken {
    times: Vec<(UserId, UnixSeconds)>,
    at: Instant,
    are_all: bool,
}

impl Activity {
    pub(super) fn new(clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { waiting: Mutex::default(), clock, metrics }
    }

    /// Notes a login. A clock that was set back moves no time back.
    pub(super) fn note(&self, id: UserId, at: UnixSeconds) -> Noted {
        let mut waiting = self.waiting();
        if let Some(time) = waiting.times.get_mut(&id) {
            *time = at.max(*time);
            return Noted::Waits;
        }
        if waiting.times.len() >= MAX_WAITING {
            drop(waiting);
            self.metrics.login_time_dropped();
            return Noted::Waits;
        }
        waiting.times.insert(id, at);
        let is_first = waiting.since.is_none();
        waiting.since.get_or_insert_with(|| self.clock.monotonic());
        if is_first || waiting.times.len() == MAX_WRITTEN { Noted::Wake } else { Noted::Waits }
    }

    /// The time that waits for each of these users.
    pub(super) fn of(&self, ids: &[UserId]) -> Vec<Option<UnixSeconds>> {
        let waiting = self.waiting();
        ids.iter().map(|id| waiting.times.get(id).copied()).collect()
    }

    /// When the writer has to write; none while nothing waits.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let waiting = self.waiting();
        let since = waiting.since?;
        Some(if waiting.times.len() >= MAX_WRITTEN { since } else { since + WRITTEN_AFTER })
    }

    /// Whether it has to write now.
    pub(super) fn is_due(&self) -> bool {
        self.due_at().is_some_and(|due| due <= self.clock.monotonic())
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting().times.is_empty()
    }

    /// Copies as many as one commit writes, in the order of the table.
    pub(super) fn take(&self) -> Taken {
        let at = self.clock.monotonic();
        let waiting = self.waiting();
        let mut times: Vec<_> = waiting.times.iter().take(MAX_WRITTEN).map(|(id, time)| (*id, *time)).collect();
        let are_all = times.len() == waiting.times.len();
        drop(waiting);
        times.sort_unstable();
        Taken { times, at, are_all }
    }

    /// Strikes off what is on disk, but for those who have logged in again since.
    pub(super) fn written(&self, taken: &Taken) {
        let mut waiting = self.waiting();
        for (id, time) in &taken.times {
            if waiting.times.get(id) == Some(time) {
                waiting.times.remove(id);
            }
        }
        if waiting.times.is_empty() {
            waiting.since = None;
        } else if taken.are_all {
            // Whoever is left was noted after the copy was made.
            waiting.since = Some(taken.at);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics halfway through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the times of those who are still here, and says whether there were any: a tombstone keeps nothing of a person, and a
/// record that cannot be read is left alone.
pub(super) fn write(tables: &mut Tables<'_>, taken: &Taken, mut about_to_write: impl FnMut()) -> Result<(), Fault> {
    for (id, time) in &taken.times {
        let id = id.0.as_bytes();
        let standing = tables.users.get(id)?.and_then(|bytes| record::standing_of(bytes.value()).ok());
        let is_here = match standing {
            Some(Standing::Active | Standing::Disabled) => true,
            Some(Standing::Deleted) | None => false,
        };
        let known = tables.logins.get(id)?.is_some_and(|known| known.value() >= time.0);
        if is_here && !known {
            about_to_write();
            tables.logins.insert(id, time.0)?;
        }
    }
    Ok(())
}

/// When each of these users last logged in, as far as it is on disk.
pub(super) fn last_login(snapshot: &Snapshot, ids: &[UserId]) -> Result<Vec<Option<UnixSeconds>>, Fault> {
    let time = |id: &UserId| Ok(snapshot.logins.get(id.0.as_bytes())?.map(|time| UnixSeconds(time.value())));
    ids.iter().map(time).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::clock::testing::ManualClock;

    struct Fixture {
        activity: Activity,
        clock: Arc<ManualClock>,
        metrics: Arc<Metrics>,
    }

    fn fixture() -> Fixture {
        let (clock, metrics) = (Arc::new(ManualClock::at(1_000)), Arc::new(Metrics::new()));
        Fixture { activity: Activity::new(clock.clone(), Arc::clone(&metrics)), clock, metrics }
    }

    fn id(number: usize) -> UserId {
        UserId(Uuid::from_u128(number as u128))
    }

    #[test]
    fn logins_of_one_user_are_one_time_the_latest() {
        let Fixture { activity, .. } = fixture();
        assert_eq!(activity.note(id(1), UnixSeconds(7)), Noted::Wake);
        assert_eq!(activity.note(id(1), UnixSeconds(9)), Noted::Waits);
        assert_eq!(activity.note(id(1), UnixSeconds(8)), Noted::Waits, "the clock was set back");
        assert_eq!(activity.of(&[id(1), id(2)]), [Some(UnixSeconds(9)), None]);
    }

    #[test]
    fn what_waits_is_due_a_few_seconds_after_the_first() {
        let Fixture { activity, clock, .. } = fixture();
        assert_eq!(activity.due_at(), None);
        activity.note(id(1), UnixSeconds(7));
        clock.advance(WRITTEN_AFTER - Duration::from_millis(1));
        activity.note(id(2), UnixSeconds(7));
        assert!(!activity.is_due());
        clock.advance(Duration::from_millis(1));
        assert!(activity.is_due());
        activity.written(&activity.take());
        assert!(activity.is_empty() && activity.due_at().is_none());
        assert_eq!(activity.note(id(1), UnixSeconds(8)), Noted::Wake);
    }

    #[test]
    fn a_login_during_the_commit_is_written_with_the_next() {
        let Fixture { activity, clock, .. } = fixture();
        activity.note(id(1), UnixSeconds(7));
        activity.note(id(2), UnixSeconds(7));
        let taken = activity.take();
        activity.note(id(1), UnixSeconds(8));
        activity.note(id(3), UnixSeconds(8));
        clock.advance(Duration::from_secs(1));
        activity.written(&taken);
        assert_eq!(activity.of(&[id(1), id(2), id(3)]), [Some(UnixSeconds(8)), None, Some(UnixSeconds(8))]);
        clock.advance(WRITTEN_AFTER - Duration::from_secs(1));
        assert!(activity.is_due(), "at the latest so long after the copy");
    }

    #[test]
    fn what_was_not_written_stays_and_is_still_due() {
        let Fixture { activity, clock, .. } = fixture();
        activity.note(id(1), UnixSeconds(7));
        clock.advance(WRITTEN_AFTER);
        drop(activity.take());
        assert!(activity.is_due());
        assert_eq!(activity.take().times, [(id(1), UnixSeconds(7))]);
    }

    #[test]
    fn many_are_written_at_once_and_in_parts() {
        let Fixture { activity, .. } = fixture();
        let wakes = (0..MAX_WRITTEN + 10).filter(|number| activity.note(id(*number), UnixSeconds(7)) == Noted::Wake);
        assert_eq!(wakes.count(), 2, "the first, and when a commit is full");
        assert!(activity.is_due());
        let taken = activity.take();
        assert_eq!(taken.times.len(), MAX_WRITTEN);
        assert!(taken.times.is_sorted());
        activity.written(&taken);
        assert_eq!(activity.take().times.len(), 10);
    }

    #[test]
    fn memory_is_bounded_and_what_is_dropped_is_counted() {
        let Fixture { activity, metrics, .. } = fixture();
        for number in 0..MAX_WAITING + 3 {
            activity.note(id(number), UnixSeconds(7));
        }
        activity.note(id(0), UnixSeconds(9));
        assert_eq!(activity.of(&[id(0), id(MAX_WAITING)]), [Some(UnixSeconds(9)), None]);
        assert_eq!(metrics.login_times_dropped_so_far(), 3);
    }
}

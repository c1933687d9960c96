//! When users last logged in. A login must not cost a durable commit, so its time waits in memory and is written with a commit
//! a few seconds later, many at once; a crash loses the logins of these seconds and nothing else.
//!
//! ```text
//! note -> map, user to time, bounded -> due: sifted by reading -> one operation of the writer's next batch -> on disk: struck off
//!                                                                                                   failed: waits again
//! ```
//!
//! Called by [`super::RedbStore`], which notes, and by [`super::writer`], which writes. Never decides about a login.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::redb::{Database, ReadableDatabase as _, ReadableTable};

use super::checked::isolated;
use super::fault::Fault;
use super::record;
use super::schema::{IdBytes, LOGINS, Snapshot, Tables, USERS};
use crate::domain::clock::{Clock, UnixSeconds};
use crate::domain::user::{Standing, UserId};
use crate::telemetry::Metrics;

/// A login's time is on its way to disk after so long. A crash loses no more than this and one commit.
pub(super) const WRITTEN_AFTER: Duration = Duration::from_secs(5);

/// As many users' times are written in one commit: each may touch a page of its own.
const MAX_WRITTEN: usize = 4_096;

/// As many users' times wait. There are more only while the store takes no writes; then some are not kept.
const MAX_WAITING: usize = 65_536;

/// As many commits write all that can wait.
pub(super) const COMMITS_FOR_ALL: usize = MAX_WAITING.div_ceil(MAX_WRITTEN);

/// The times that wait.
pub(super) struct Activity {
    waiting: Mutex<Waiting>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Waiting {
    times: HashMap<UserId, UnixSeconds>,
    /// When the writer has to write; none while nothing waits.
    due: Option<Instant>,
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
    /// Those of them that have to be written.
    needed: Vec<(UserId, UnixSeconds)>,
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
        let now = self.clock.monotonic();
        if waiting.times.len() == MAX_WRITTEN {
            waiting.due = Some(now);
            return Noted::Wake;
        }
        if waiting.due.is_none() {
            waiting.due = Some(now + WRITTEN_AFTER);
            return Noted::Wake;
        }
        Noted::Waits
    }

    /// The time that waits for each of these users.
    pub(super) fn of(&self, ids: &[UserId]) -> Vec<Option<UnixSeconds>> {
        let waiting = self.waiting();
        ids.iter().map(|id| waiting.times.get(id).copied()).collect()
    }

    /// When the writer has to write; none while nothing waits.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.waiting().due
    }

    /// Whether it has to write now.
    pub(super) fn is_due(&self) -> bool {
        self.due_at().is_some_and(|due| due <= self.clock.monotonic())
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting().times.is_empty()
    }

    /// Copies as many as one commit writes, in the order of the table, and finds out which of them have to be written.
    ///
    /// That is done by reading, before there is a transaction: where a page that a time needs is damaged, the time is dropped and
    /// counted. In the transaction it would spoil what everybody else saves, again and again.
    pub(super) fn take(&self, database: Option<&Database>) -> Taken {
        let mut taken = self.copy();
        let sifted = database.map(|database| catch_unwind(AssertUnwindSafe(|| self.sift(database, &mut taken))));
        match sifted {
            None | Some(Ok(Ok(()))) => taken,
            // Nothing is known of any, so all wait on. The transaction is about to meet the same.
            Some(Ok(Err(_)) | Err(_)) => Taken { times: Vec::new(), needed: Vec::new(), are_all: true, ..taken },
        }
    }

    fn sift(&self, database: &Database, taken: &mut Taken) -> Result<(), Fault> {
        let transaction = database.begin_read()?;
        let (users, logins) = (transaction.open_table(USERS)?, transaction.open_table(LOGINS)?);
        for (id, time) in &taken.times {
            match isolated(|| has_to_be_written(&users, &logins, *id, *time)) {
                Ok(Ok(true)) => taken.needed.push((*id, *time)),
                Ok(Ok(false)) => {}
                Ok(Err(_)) | Err(_) => self.metrics.login_time_dropped(),
            }
        }
        Ok(())
    }

    fn copy(&self) -> Taken {
        let at = self.clock.monotonic();
        let waiting = self.waiting();
        let mut times: Vec<_> = waiting.times.iter().take(MAX_WRITTEN).map(|(id, time)| (*id, *time)).collect();
        let are_all = times.len() == waiting.times.len();
        drop(waiting);
        times.sort_unstable();
        Taken { times, needed: Vec::new(), at, are_all }
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
            waiting.due = None;
        } else if taken.are_all {
            // Whoever is left was noted after the copy was made.
            waiting.due = Some(taken.at + WRITTEN_AFTER);
        }
    }

    /// Lets them wait again: the commit failed.
    pub(super) fn postpone(&self) {
        let now = self.clock.monotonic();
        let mut waiting = self.waiting();
        waiting.due = (!waiting.times.is_empty()).then_some(now + WRITTEN_AFTER);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics halfway through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tombstone keeps nothing of a person, and no time goes back.
fn has_to_be_written(
    users: &impl ReadableTable<&'static IdBytes, &'static [u8]>,
    logins: &impl ReadableTable<&'static IdBytes, u64>,
    id: UserId,
    time: UnixSeconds,
) -> Result<bool, Fault> {
    let id = id.0.as_bytes();
    let Some(record) = users.get(id)? else { return Ok(false) };
    let is_here = match record::standing_of(record.value())? {
        Standing::Active | Standing::Disabled => true,
        Standing::Deleted => false,
    };
    Ok(is_here && logins.get(id)?.is_none_or(|known| known.value() < time.0))
}

/// Writes the times that have to be written. Whoever was deleted by an earlier operation of the same commit has no record of a
/// living user any more.
pub(super) fn write(tables: &mut Tables<'_>, taken: &Taken, mut about_to_write: impl FnMut()) -> Result<(), Fault> {
    for (id, time) in &taken.needed {
        if has_to_be_written(&*tables.users, &tables.logins, *id, *time)? {
            about_to_write();
            tables.logins.insert(id.0.as_bytes(), time.0)?;
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
    use ::redb::Builder;
    use ::redb::backends::InMemoryBackend;
    use serde_json::json;
    use uuid::Uuid;

    use super::super::record::Codec;
    use super::super::schema::{View as _, initialise};
    use super::super::writer::begin;
    use super::*;
    use crate::domain::clock::testing::ManualClock;
    use crate::domain::credential::{AbsentBecause, Credential};
    use crate::domain::user::{Origin, User, Version};

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
        activity.written(&activity.copy());
        assert!(activity.is_empty() && activity.due_at().is_none());
        assert_eq!(activity.note(id(1), UnixSeconds(8)), Noted::Wake);
    }

    #[test]
    fn a_login_during_the_commit_is_written_with_the_next() {
        let Fixture { activity, clock, .. } = fixture();
        activity.note(id(1), UnixSeconds(7));
        activity.note(id(2), UnixSeconds(7));
        let taken = activity.copy();
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
        drop(activity.copy());
        assert!(activity.is_due());
        activity.postpone();
        assert!(!activity.is_due(), "not at once: whatever failed may fail again");
        clock.advance(WRITTEN_AFTER);
        assert!(activity.is_due());
        assert_eq!(activity.copy().times, [(id(1), UnixSeconds(7))]);
    }

    #[test]
    fn many_are_written_at_once_and_in_parts() {
        let Fixture { activity, .. } = fixture();
        let wakes = (0..MAX_WRITTEN + 10).filter(|number| activity.note(id(*number), UnixSeconds(7)) == Noted::Wake);
        assert_eq!(wakes.count(), 2, "the first, and when a commit is full");
        assert!(activity.is_due());
        let taken = activity.copy();
        assert_eq!(taken.times.len(), MAX_WRITTEN);
        assert!(taken.times.is_sorted());
        activity.written(&taken);
        assert_eq!(activity.copy().times.len(), 10);
    }

    fn record(number: usize, standing: Standing) -> Vec<u8> {
        let user = User {
            id: id(number),
            legacy_id: None,
            identifiers: Vec::new(),
            profile: json!({}),
            credential: Credential::Absent(AbsentBecause::Roster),
            standing,
            origin: Origin::Roster,
            created_at: UnixSeconds(1),
            updated_at: UnixSeconds(1),
            legacy_vouched_at: None,
            roster: None,
            normalization_version: 1,
            version: Version(1),
        };
        Codec::default().encode(&user).expect("small enough")
    }

    #[test]
    fn whoever_is_gone_or_cannot_be_read_costs_his_own_time_and_nobody_elses() {
        let Fixture { activity, metrics, .. } = fixture();
        let database = Builder::new().create_with_backend(InMemoryBackend::new()).expect("a database");
        let transaction = begin(Some(&database)).expect("a transaction");
        initialise(&transaction).expect("made");
        {
            let mut users = transaction.open_table(USERS).expect("a table");
            let (here, gone) = (record(1, Standing::Disabled), record(2, Standing::Deleted));
            for (number, bytes) in [(1, here.as_slice()), (2, gone.as_slice()), (3, &b"not a record"[..])] {
                users.insert(id(number).0.as_bytes(), bytes).expect("written");
            }
        }
        transaction.commit().expect("committed");
        for number in 1..=4 {
            activity.note(id(number), UnixSeconds(7));
        }
        let taken = activity.take(Some(&database));
        assert_eq!(taken.needed, [(id(1), UnixSeconds(7))]);
        assert_eq!(metrics.login_times_dropped_so_far(), 1, "the one who cannot be read");

        let transaction = begin(Some(&database)).expect("a transaction");
        let mut written = 0;
        {
            let mut tables = Tables::of(&transaction, &Codec::default()).expect("tables");
            write(&mut tables, &taken, || written += 1).expect("written");
            write(&mut tables, &taken, || written += 1).expect("known already");
        }
        transaction.commit().expect("committed");
        assert_eq!(written, 1);
        activity.written(&taken);
        assert!(activity.is_empty());
        let transaction = database.begin_read().expect("a transaction");
        let snapshot = Snapshot::of(&transaction, &Codec::default()).expect("a snapshot");
        let told = last_login(&snapshot, &[id(1), id(2), id(3), id(4)]).expect("an answer");
        assert_eq!(told, [Some(UnixSeconds(7)), None, None, None]);
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

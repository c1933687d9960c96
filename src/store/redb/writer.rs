//! The one thread that writes: group commit, and what happens when a commit fails.
//!
//! ```text
//! queue -> drain -> one transaction: apply each -> commit, two phases, synced -> answer each
//!                                                  failed -> everyone: outcome unknown
//!                                                         -> close the file, open it again, read it again
//!                                                         -> write again, or refuse writes and try again later
//! ```
//!
//! A failed sync is never repeated and taken for a success: the kernel may have dropped what it could not write (R95). Opening
//! the file again makes redb choose its last whole commit, and write and sync the header that names it before any page is
//! reused; whatever the failed commit left in memory is gone. No caller is told that his write happened: he asks again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ::redb::{Database, Durability, WriteTransaction};

use super::activity::{Activity, COMMITS_FOR_ALL};
use super::fault::{Fault, SharedCause, panic_cause};
use super::medium::{Check, Medium, Opener};
use super::operation::{Applied, Fate, OnDisk, Operation, Outcome};
use super::schema::{Ledger, Tables};
use super::slot::{Open, Slot};
use super::writes::{Batch, Workshop};
use crate::domain::user::Origin;
use crate::service::ports::{Cause, StoreHealth};
use crate::telemetry::Metrics;

/// As many writes share one commit.
pub(super) const MAX_BATCH: usize = 128;

/// The longest wait for those whom the last commit answered to ask again.
const LONGEST_GATHERING: Duration = Duration::from_millis(1);

/// As many writes as a commit waits for while passwords wait to be hashed, and how long at most. Processors are short then and a commit costs the
/// same for one write as for a few, so that whoever waits for a hash gains more than is lost by who waits for the disk.
const WHILE_BUSY: Gathering = Gathering { wanted: 8, at_most: Duration::from_millis(5) };

/// The first wait before a failed file is tried again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the writer owns.
pub(super) struct Writer<M: Medium> {
    pub(super) queue: Receiver<Operation>,
    pub(super) slot: Arc<Slot>,
    pub(super) opener: Opener<M>,
    pub(super) workshop: Workshop,
    pub(super) logins: Arc<Activity>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) failures: u32,
    pub(super) last: LastCommit,
}

/// The commit before: how many shared it, and how long it took. Whoever was answered by it and asks again at once would miss the next
/// one by a moment, were it begun for the first of them alone, and all of them would wait for twice as many commits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LastCommit {
    shared_by: usize,
    took: Duration,
}

impl LastCommit {
    /// What the next commit waits for: as many again, and little against the commit itself. Who writes alone is kept waiting by nothing but
    /// a queue of passwords.
    fn gathering(self, hashes_wait: bool) -> Gathering {
        let at_most = if self.shared_by > 1 { (self.took / 4).min(LONGEST_GATHERING) } else { Duration::ZERO };
        let again = Gathering { wanted: self.shared_by.min(MAX_BATCH), at_most };
        if hashes_wait && again.wanted < WHILE_BUSY.wanted { WHILE_BUSY } else { again }
    }
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gathering {
    /// So many writes,
    wanted: usize,
    /// and no longer than this.
    at_most: Duration,
}

/// What a transaction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Committed {
    Something,
    /// No operation of it wrote anything.
    Nothing,
}

/// Why writing is interrupted.
enum Interrupted {
    /// The transaction was given up before its commit.
    NotWritten(SharedCause),
    /// The commit failed.
    Unknown(SharedCause),
    /// A reader asked for it.
    Asked,
}

impl<M: Medium> Writer<M> {
    /// Runs until every handle is dropped, then closes the file.
    pub(super) fn run(mut self) {
        let slot = Arc::clone(&self.slot);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.serve())) {
            // Callers in the queue are told that the outcome is unknown, later ones that the store is unavailable.
            tracing::error!(cause = %panic_cause(panic), "the store's writer has stopped; restart the proxy");
            slot.set_health(StoreHealth::Down);
            return;
        }
        Slot::close(&mut slot.exclusive());
    }

    fn serve(&mut self) {
        while let Some(operations) = self.gather() {
            let (shared_by, begun) = (operations.len(), self.workshop.clock.monotonic());
            let committed = self.commit_together(operations);
            self.last =
                LastCommit { shared_by, took: self.workshop.clock.monotonic().saturating_duration_since(begun) };
            match committed {
                Ok(Committed::Something) => self.failures = 0,
                Ok(Committed::Nothing) => {}
                Err(interrupted) => {
                    self.report(&interrupted);
                    if self.recover(&interrupted).is_err() {
                        return;
                    }
                }
            }
        }
        // The last logins; what cannot be written now is lost as in a crash.
        for _ in 0..COMMITS_FOR_ALL {
            if self.logins.is_empty() || self.commit_together(vec![self.write_logins()]).is_err() {
                return;
            }
        }
    }

    /// What the next commit is made of: the writes that wait, and the times of logins once they are due. `None` when every
    /// handle is gone.
    fn gather(&self) -> Option<Vec<Operation>> {
        let first = match self.logins.due_at() {
            None => Some(self.queue.recv().ok()?),
            Some(due) => match self.queue.recv_timeout(self.left(due)) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return None,
            },
        };
        let mut operations: Vec<Operation> = first.into_iter().chain(self.queue.try_iter()).take(MAX_BATCH).collect();
        let gathering = self.last.gathering(self.metrics.queue_depth().get() > 0);
        let until = self.workshop.clock.monotonic() + gathering.at_most;
        while (1..gathering.wanted).contains(&operations.len())
            && let Ok(operation) = self.queue.recv_timeout(self.left(until))
        {
            operations.push(operation);
        }
        if self.logins.is_due() {
            operations.push(self.write_logins());
        }
        Some(operations)
    }

    fn write_logins(&self) -> Operation {
        let taken = self.logins.take(self.slot.shared().as_ref().map(Open::database));
        Operation::WriteLogins(Arc::clone(&self.logins), taken)
    }

    /// Applies all operations in one transaction and answers them once it is on disk.
    fn commit_together(&mut self, operations: Vec<Operation>) -> Result<Committed, Interrupted> {
        let mut waiting = Vec::with_capacity(operations.len());
        let result = {
            let place = self.slot.shared();
            let open = place.as_ref();
            catch_unwind(AssertUnwindSafe(|| self.apply_and_commit(open, operations, &mut waiting)))
        };
        // A panic is a bug in an operation, or damage that redb met; it may have struck in the middle of the commit.
        let result = result.unwrap_or_else(|panic| Err(Interrupted::Unknown(panic_cause(panic).into())));
        if result.is_err() {
            // Before anybody is told of the failure, so that whoever was told finds no store that claims to be well.
            self.slot.set_health(StoreHealth::ReadOnly);
        }
        let fate = match &result {
            Ok(Committed::Something | Committed::Nothing) => Fate::OnDisk(OnDisk::assert_after_commit()),
            Err(Interrupted::NotWritten(cause)) => Fate::NotWritten(cause.clone()),
            Err(Interrupted::Unknown(cause)) => Fate::Unknown(cause.clone()),
            Err(Interrupted::Asked) => Fate::NotWritten(Cause::from("the store's file is being opened again").into()),
        };
        for applied in waiting {
            applied.settle(&fate);
        }
        result
    }

    fn apply_and_commit(
        &self,
        open: Option<&Open>,
        operations: Vec<Operation>,
        waiting: &mut Vec<Applied>,
    ) -> Result<Committed, Interrupted> {
        let mut operations = operations.into_iter();
        let refuse_rest = |operations: std::vec::IntoIter<Operation>, cause: SharedCause| {
            // Before they are told, as below.
            self.slot.set_health(StoreHealth::ReadOnly);
            operations.for_each(|operation| operation.refuse(&cause));
            Interrupted::NotWritten(cause)
        };
        let transaction = match begin(open.map(Open::database)) {
            Ok(transaction) => transaction,
            Err(fault) => return Err(refuse_rest(operations, fault.shared().1)),
        };
        let tables = Tables::of(&transaction, self.slot.codec());
        let mut batch = match tables.and_then(|tables| Batch::new(tables, &self.workshop)) {
            Ok(batch) => batch,
            Err(fault) => return Err(refuse_rest(operations, fault.shared().1)),
        };
        while let Some(operation) = operations.next() {
            match operation.apply(&mut batch) {
                Outcome::Applied(applied) => waiting.push(applied),
                Outcome::FailedAlone => {}
                Outcome::Spoiled(cause, failed) => {
                    waiting.extend(failed);
                    return Err(refuse_rest(operations, cause));
                }
                Outcome::Reopen(generation) if generation != self.slot.generation() => {}
                Outcome::Reopen(_) => {
                    let cause = Cause::from("the store's file is being opened again").into();
                    let _cause = refuse_rest(operations, cause);
                    return Err(Interrupted::Asked);
                }
            }
        }
        if !batch.changed() {
            // Answers that wrote nothing rest on what is on disk already.
            return Ok(Committed::Nothing);
        }
        if batch.is_large {
            open.inspect(|open| open.let_go());
        }
        let ledger = batch.finish().map_err(|fault| Interrupted::NotWritten(fault.shared().1))?;
        let started = self.workshop.clock.monotonic();
        transaction.commit().map_err(|error| Interrupted::Unknown(Fault::from(error).shared().1))?;
        open.inspect(|open| open.show_last_commit());
        self.metrics.store_commit(self.workshop.clock.monotonic().saturating_duration_since(started));
        show_counts(&self.metrics, &ledger);
        Ok(Committed::Something)
    }

    fn report(&self, interrupted: &Interrupted) {
        self.metrics.alarm("store");
        match interrupted {
            Interrupted::NotWritten(cause) => {
                tracing::error!(%cause, "a write to the store failed before its commit; the file is opened again");
            }
            Interrupted::Unknown(cause) => tracing::error!(
                %cause,
                "a commit of the store failed; whether it happened is unknown, and the file is opened and read again"
            ),
            Interrupted::Asked => tracing::error!("the store's file cannot be read; it is opened again"),
        }
    }

    /// Brings the store back: the file is opened again, at once the first time, and after growing pauses while that or the
    /// writes after it keep failing. Meanwhile writes are refused, and reads go on if the file can be read at all. An error
    /// means that every handle is gone.
    ///
    /// Damage of one block is a failure of those who want that block, not of the device: pauses do not grow by it.
    fn recover(&mut self, after: &Interrupted) -> Result<(), AllHandlesDropped> {
        let is_damage = match after {
            Interrupted::NotWritten(cause) | Interrupted::Unknown(cause) => cause.is_damage(),
            Interrupted::Asked => false,
        };
        loop {
            let opened = self.reopen();
            self.failures = if is_damage && opened.is_ok() { 1 } else { self.failures.saturating_add(1) };
            let pause = match (&opened, self.failures) {
                (Ok(()), 1) => None,
                (Ok(()) | Err(_), failures) => Some(pause_after(failures)),
            };
            if let Err(cause) = &opened {
                tracing::error!(%cause, health = ?self.slot.health(), "the store's file cannot be opened for writing");
            }
            if let Some(pause) = pause {
                self.refuse_for(pause)?;
            }
            if opened.is_ok() {
                self.slot.set_health(StoreHealth::Ready);
                tracing::info!("the store takes writes again");
                return Ok(());
            }
        }
    }

    /// Closes the file and opens it again. If that fails, opens it for reading alone.
    fn reopen(&self) -> Result<(), SharedCause> {
        let mut place = self.slot.exclusive();
        Slot::close(&mut place);
        match self.opener.reopen() {
            Ok((database, ledger)) => {
                show_counts(&self.metrics, &ledger);
                self.slot.set_health(StoreHealth::ReadOnly);
                self.slot.fill(&mut place, database);
                Ok(())
            }
            Err(cause) => {
                let view = self.opener.open_view(Check::Header).map(|(database, _ledger)| database);
                self.slot.set_health(if view.is_ok() { StoreHealth::ReadOnly } else { StoreHealth::Down });
                if let Ok(view) = view {
                    self.slot.fill(&mut place, view);
                }
                Err(cause.into())
            }
        }
    }

    /// Refuses every write for a while.
    fn refuse_for(&self, pause: Duration) -> Result<(), AllHandlesDropped> {
        let until = self.workshop.clock.monotonic() + pause;
        let cause = SharedCause::from(Cause::from("the store takes no writes after a failure; it will try again"));
        loop {
            match self.queue.recv_timeout(self.left(until)) {
                Ok(operation) => operation.refuse(&cause),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => return Err(AllHandlesDropped),
            }
        }
    }

    fn left(&self, until: Instant) -> Duration {
        until.saturating_duration_since(self.workshop.clock.monotonic())
    }
}

/// Nobody can ask any more.
struct AllHandlesDropped;

fn pause_after(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)).min(LONGEST_PAUSE)
}

/// Begins a transaction whose commit is on disk when it returns. Two phases and quick repair, since names are chosen by
/// attackers: a commit that is believed for its checksums alone could be forged by who controls its bytes, and a repair that
/// walks the whole file would make a crash cost minutes.
pub(super) fn begin(database: Option<&Database>) -> Result<WriteTransaction, Fault> {
    let database = database.ok_or_else(|| Fault::Storage("the store's file is closed after a failure".into()))?;
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate).map_err(|error| Fault::Storage(error.into()))?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Shows how many users there are.
pub(super) fn show_counts(metrics: &Metrics, ledger: &Ledger) {
    for origin in Origin::ALL {
        metrics.users(origin.as_str(), ledger.counts.of(origin));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(shared_by: usize, millis: u64) -> LastCommit {
        LastCommit { shared_by, took: Duration::from_millis(millis) }
    }

    #[test]
    fn a_commit_waits_a_moment_for_as_many_as_shared_the_last_one_and_never_for_one_alone() {
        let gathering = |last: LastCommit| last.gathering(false);
        assert_eq!(gathering(last(1, 100)).at_most, Duration::ZERO);
        assert_eq!(gathering(last(2, 2)), Gathering { wanted: 2, at_most: Duration::from_micros(500) });
        assert_eq!(gathering(last(64, 100)), Gathering { wanted: 64, at_most: LONGEST_GATHERING });
        assert_eq!(gathering(last(1_000, 100)).wanted, MAX_BATCH);
        assert_eq!(gathering(LastCommit::default()).at_most, Duration::ZERO);
    }

    #[test]
    fn while_passwords_wait_a_few_writes_share_a_commit() {
        for few in [LastCommit::default(), last(1, 100), last(3, 1)] {
            assert_eq!(few.gathering(true), WHILE_BUSY);
        }
        assert_eq!(last(64, 100).gathering(true), last(64, 100).gathering(false), "many share one already");
    }

    #[test]
    fn r95_pauses_grow_and_stay_bounded() {
        assert_eq!(pause_after(1), FIRST_PAUSE);
        assert_eq!(pause_after(2), FIRST_PAUSE * 2);
        for failures in [9, 10, 31, 32, 33, 1_000, u32::MAX] {
            assert_eq!(pause_after(failures), LONGEST_PAUSE.min(pause_after(failures)));
            assert!(pause_after(failures) >= Duration::from_secs(25));
        }
    }
}

//! Saving what was proven: hash, one durable commit, a bounded wait. A failed save never fails or delays the login that it
//! belongs to (R90): it is counted, logged, and tried at the next login.

use std::sync::Arc;
use std::time::Duration;

use super::Service;
use super::ports::{ClientStanding, HashUnavailable, ProvenUser, Saved, StoreError, Updated, UserChange};
use crate::domain::identifier::{Candidates, NormalizedIdentifier};
use crate::domain::password::Password;
use crate::domain::proof::LegacyAccepted;
use crate::domain::user::{Origin, UserId, Version};
use crate::telemetry::WithCauses;

/// How long an answer waits for the save it reports. A healthy save takes a hash and a commit; a sick disk must not hold logins.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a password came to be saved; the label of `authferry_migrations_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SaveReason {
    /// The first login here.
    Login,
    /// Legacy accepted what our store did not match: the password had changed there.
    Recheck,
    /// Legacy vouched for an unusable or imported hash anew.
    Replace,
    /// A registration that legacy proved.
    Registration,
    /// A change or reset that legacy carried out.
    Change,
}

impl SaveReason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Recheck => "recheck",
            Self::Replace => "replace",
            Self::Registration => "registration",
            Self::Change => "change",
        }
    }

    /// Whether the user has just logged in.
    fn is_login(self) -> bool {
        match self {
            Self::Login | Self::Recheck | Self::Replace => true,
            Self::Registration | Self::Change => false,
        }
    }
}

impl Service {
    /// Saves a proven user, waiting no longer than [`PATIENCE`]; the save itself goes on. What became of it, if that is known.
    pub(crate) async fn save_proven(
        self: &Arc<Self>,
        accepted: LegacyAccepted,
        password: Arc<Password>,
        asked: &Candidates,
        based_on: Version,
        reason: SaveReason,
    ) -> Option<Saved> {
        let asked = asked.keys().to_vec();
        let service = Arc::clone(self);
        let work = async move { service.save_now(accepted, password, asked, based_on, reason).await };
        self.with_patience(work).await.flatten()
    }

    async fn save_now(
        &self,
        accepted: LegacyAccepted,
        password: Arc<Password>,
        asked: Vec<NormalizedIdentifier>,
        based_on: Version,
        reason: SaveReason,
    ) -> Option<Saved> {
        let hash = match self.hasher.hash(ClientStanding::Known, password).await {
            Ok(hash) => hash,
            Err(error) => {
                self.hash_failed(error);
                return None;
            }
        };
        let at = self.clock.wall();
        let public_id = accepted.identity().id.as_key().to_owned();
        let proven = ProvenUser { accepted, hash, origin: Origin::Migrated, asked, based_on, at };
        let saved = match self.store.save_proven(proven).await {
            Ok(saved) => saved,
            Err(error) => {
                self.store_failed("a proven user was not saved", &error);
                return None;
            }
        };
        match saved {
            Saved::Created(migrated) | Saved::Updated(migrated) => {
                self.metrics.migration(reason.as_str());
                if reason.is_login() {
                    self.store.note_login(migrated.id(), at);
                }
                tracing::info!(
                    target: "authferry::audit",
                    user = public_id, id = %migrated.id(), reason = reason.as_str(), "migrated"
                );
            }
            Saved::Conflict { with } => {
                self.metrics.migration_failure("conflict");
                self.metrics.alarm("conflict");
                tracing::warn!(user = %with, "legacy vouches for a user one of whose names belongs to another one here");
            }
            Saved::Settled { with } => {
                self.metrics.migration_failure("conflict_decided");
                tracing::info!(user = %with, "legacy vouches for a user under a name that an operator left with another one");
            }
            // Somebody saved him in the same moment; what he saved is as good.
            Saved::Stale => self.metrics.migration_failure("stale"),
            Saved::Closed => self.metrics.migration_failure("closed"),
        }
        Some(saved)
    }

    /// Changes one record, counting what became of it. Returns whether the change is on disk.
    pub(crate) async fn change_record(&self, id: UserId, based_on: Version, change: UserChange) -> Updated {
        match self.store.update(id, based_on, change).await {
            Ok(updated) => updated,
            Err(error) => {
                self.store_failed("a record was not changed", &error);
                Updated::Stale
            }
        }
    }

    /// The same password under today's parameters.
    pub(crate) async fn rehash(self: &Arc<Self>, id: UserId, based_on: Version, password: Arc<Password>) {
        let service = Arc::clone(self);
        self.with_patience(async move {
            match service.hasher.hash(ClientStanding::Known, password).await {
                Ok(hash) => {
                    if let Updated::Done(_) = service.change_record(id, based_on, UserChange::Rehash(hash)).await {
                        service.metrics.migration("rehash");
                    }
                }
                Err(error) => service.hash_failed(error),
            }
        })
        .await;
    }

    /// Runs work to its end, but waits for it no longer than a client should.
    async fn with_patience<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let Some(task) = self.background.run(work) else {
            self.metrics.migration_failure("no_room");
            return None;
        };
        match tokio::time::timeout(PATIENCE, task).await {
            Ok(Ok(ended)) => Some(ended),
            Ok(Err(_died)) => {
                self.metrics.panic();
                None
            }
            Err(_elapsed) => {
                self.metrics.migration_failure("slow");
                None
            }
        }
    }

    fn hash_failed(&self, error: HashUnavailable) {
        let reason = match error {
            HashUnavailable::QueueFull => "hash_queue_full",
            HashUnavailable::Overloaded => "hash_overloaded",
            HashUnavailable::Late => "hash_late",
            HashUnavailable::OutOfMemory => "hash_memory",
            HashUnavailable::Failed => "hash_failed",
            HashUnavailable::Stopped => "hash_stopped",
        };
        self.metrics.migration_failure(reason);
    }

    pub(crate) fn store_failed(&self, what: &'static str, error: &StoreError) {
        let reason = match error {
            StoreError::Unavailable(_) => "store_unavailable",
            StoreError::Busy => "store_busy",
            StoreError::Corrupt(_) => "store_corrupt",
            StoreError::OutcomeUnknown(_) => "store_outcome_unknown",
        };
        self.metrics.migration_failure(reason);
        if !matches!(error, StoreError::Busy) {
            self.metrics.alarm("store");
        }
        tracing::error!(error = %WithCauses(error), "{what}");
    }
}

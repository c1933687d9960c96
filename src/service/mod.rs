//! The use cases: each one a straight line from a request's meaning to its reply, over the ports in [`ports`].
//!
//! Decisions are taken by the pure functions of `domain`; what stands here is the order of the effects. Knows nothing of HTTP
//! routes, templates, files or sockets; the adapters behind the ports do. Called by `http::intercept` and by `admin`.

pub mod account_key;
pub mod background;
pub mod backup;
pub mod changes;
pub mod explain;
pub mod legacy_word;
pub mod login;
pub mod mode;
pub mod people;
pub mod ports;
pub mod registration;
pub mod reply;
pub mod saving;
pub mod shared_calls;
pub mod whoami;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use self::background::Background;
use self::mode::ModeCell;
use self::ports::{AccountKey, AccountLimits, Found, LegacyBackend, PasswordHasher, StoreError, UserStore};
use self::shared_calls::SharedCalls;
use crate::domain::clock::Clock;
use crate::domain::credential::Credential;
use crate::domain::identifier::{Candidates, IdentifierRules};
use crate::domain::login::{Known, Recheck};
use crate::domain::mode::{Answerer, LocalShare, Mode, StickyBucket, answerer};
use crate::domain::password::PasswordPolicy;
use crate::domain::user::{Standing, User};
use crate::telemetry::Metrics;

/// What the operator decided, resolved once at start.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Percent of users answered locally in `migrate`.
    pub local_share: LocalShare,
    /// What a local mismatch comes to.
    pub on_mismatch: OnMismatch,
    /// Ask legacy again when its last word on a user is older.
    pub revalidate_after: Option<Duration>,
    /// How names are normalized.
    pub identifiers: IdentifierRules,
    /// What new passwords have to satisfy.
    pub passwords: PasswordPolicy,
    /// What a client is told to wait when nobody could answer.
    pub retry_after: Duration,
}

/// What a local mismatch comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnMismatch {
    /// Legacy is asked, within a budget per account.
    Recheck,
    /// Denied.
    Deny,
}

/// Everything that the use cases share. One for the process.
pub struct Service {
    pub(crate) store: Arc<dyn UserStore>,
    pub(crate) legacy: Arc<dyn LegacyBackend>,
    pub(crate) hasher: Arc<dyn PasswordHasher>,
    pub(crate) accounts: Arc<dyn AccountLimits>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) mode: Arc<ModeCell>,
    pub(crate) policy: Policy,
    pub(crate) background: Background,
    pub(crate) shared_calls: SharedCalls,
    intercepted: TaskTracker,
}

/// The parts of a [`Service`].
pub struct Parts {
    /// Where users are kept.
    pub store: Arc<dyn UserStore>,
    /// Who is to be retired.
    pub legacy: Arc<dyn LegacyBackend>,
    /// Who hashes.
    pub hasher: Arc<dyn PasswordHasher>,
    /// Who counts attempts.
    pub accounts: Arc<dyn AccountLimits>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The mode in force.
    pub mode: Arc<ModeCell>,
    /// What the operator decided.
    pub policy: Policy,
}

impl Service {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { store, legacy, hasher, accounts, clock, metrics, mode, policy } = parts;
        let (background, shared_calls) = (Background::new(), SharedCalls::new());
        let intercepted = TaskTracker::new();
        Self { store, legacy, hasher, accounts, clock, metrics, mode, policy, background, shared_calls, intercepted }
    }

    /// Held for as long as an intercepted request may still need the store.
    pub fn intercepts(&self) -> TaskTrackerToken {
        self.intercepted.token()
    }

    /// Waits until no intercepted request is under way, and none of its saves.
    pub async fn settle(&self) {
        self.intercepted.close();
        self.intercepted.wait().await;
        self.drain().await;
    }

    /// Waits for saves that outlive their requests, at shutdown.
    pub async fn drain(&self) {
        self.background.drain().await;
    }

    /// The mode in force.
    #[must_use]
    pub fn mode(&self) -> &Arc<ModeCell> {
        &self.mode
    }

    /// Who answers whoever is meant by a typed name; `None` in passthrough.
    async fn answerer_of(&self, names: &Candidates) -> Option<Answerer> {
        let (mode, share) = (self.mode.current(), self.policy.local_share);
        if !goes_by_the_user(mode, share) {
            return answerer_for(mode, share, None, names);
        }
        let found = self.store.find(names).await.map(|lookup| lookup.found);
        answerer_for(mode, share, found.as_ref().ok(), names)
    }

    /// Whether a name is anybody's here. One that is only kept from others finds nobody, and is taken all the same: legacy must not be asked
    /// to create a user who could then not be written here.
    async fn is_taken(&self, names: &Candidates) -> Result<bool, StoreError> {
        Ok(self.store.holders(names.keys()).await?.iter().any(Option::is_some))
    }
}

/// What the decisions need to know of a lookup.
fn known(found: &Found) -> Known {
    match found {
        Found::Nobody => Known::Nobody,
        Found::Ambiguous => Known::Ambiguous,
        Found::One(user) => match (user.standing, &user.credential) {
            (Standing::Deleted, _) => Known::Deleted,
            (Standing::Disabled, _) => Known::Disabled,
            (Standing::Active, Credential::Absent(_)) => Known::WithoutPassword,
            (Standing::Active, Credential::Argon2id(_) | Credential::Imported(_)) => Known::Active,
        },
    }
}

/// The names under which attempts at whoever was found are counted.
fn account_key(found: &Found, typed: &Candidates) -> AccountKey {
    match found {
        Found::One(user) => AccountKey::of_user(user, typed),
        Found::Nobody | Found::Ambiguous => AccountKey::of_name(typed),
    }
}

/// Whether a local mismatch may be put to legacy; `take` takes from the account's budget.
fn recheck(on_mismatch: OnMismatch, take: impl FnOnce() -> bool) -> Recheck {
    match on_mismatch {
        OnMismatch::Recheck if take() => Recheck::Allowed,
        OnMismatch::Recheck => Recheck::Spent,
        OnMismatch::Deny => Recheck::Off,
    }
}

/// Whether who answers depends on who is meant.
fn goes_by_the_user(mode: Mode, share: LocalShare) -> bool {
    mode == Mode::Migrate && share != LocalShare::ALL
}

/// Who answers whoever was found under a typed name; `None` in passthrough. A share of the users is sticky by the user himself once
/// he is known, whichever of his names he types; and somebody of whom legacy knows nothing is never left to it.
fn answerer_for(mode: Mode, share: LocalShare, found: Option<&Found>, names: &Candidates) -> Option<Answerer> {
    match found {
        Some(Found::One(user)) if goes_by_the_user(mode, share) => answerer_of_user(mode, share, user),
        Some(Found::One(_) | Found::Nobody | Found::Ambiguous) | None => {
            answerer(mode, share, StickyBucket::of(names.primary().as_bytes()))
        }
    }
}

/// Who answers a user who is known; `None` in passthrough.
fn answerer_of_user(mode: Mode, share: LocalShare, user: &User) -> Option<Answerer> {
    if goes_by_the_user(mode, share) && user.is_unknown_to_legacy() {
        return Some(Answerer::LocalFirst);
    }
    answerer(mode, share, StickyBucket::of(user.id.to_string().as_bytes()))
}

//! How often an address and an account may try: asked before the work, told how it ended.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::AccountKey;
use crate::domain::client_addr::ClientAddr;

/// Too many attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// When trying again makes sense.
    pub retry_after: Duration,
    /// What is allowed, as clients are told. The same whether there is such an account or not (R74).
    pub policy: LimitPolicy,
}

/// What a limit allows, as clients are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitPolicy {
    /// A word for it.
    pub name: &'static str,
    /// How many in the window.
    pub quota: u32,
    /// The window.
    pub window: Duration,
}

/// Limits by client address, asked before a body is read.
pub trait AddressLimits: Send + Sync {
    /// Counts one request of this address.
    fn admit(&self, client: ClientAddr, what: AddressBucket) -> Result<(), Limited>;
}

/// Which limit an address is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressBucket {
    /// Any intercepted request.
    Intercepted,
    /// A registration, on top.
    Registration,
}

/// Limits by account, counted before any hashing, atomically (R63).
pub trait AccountLimits: Send + Sync {
    /// Takes one attempt that comes from a client, to be settled with its outcome. Attempts from networks that the account does not
    /// know never hold up those from networks that it knows (R67). With `count = "failures"` an attempt that may still turn out right
    /// holds a place rather than using it up, and more than the limit wait for a place instead of being refused (R64): the
    /// future is bounded by a deadline.
    fn admit(&self, account: AccountKey, client: ClientAddr) -> BoxFuture<'_, Result<AccountPermit, Limited>>;

    /// Notes a login that succeeded without a permit, where legacy had the word: the account knows its network from now on.
    fn welcome(&self, account: &AccountKey, client: ClientAddr);

    /// Takes one question to legacy about an account whose local password did not match. `false` when its budget is used up.
    fn take_recheck(&self, account: &AccountKey) -> bool;

    /// Gives one such question back: legacy could not be asked.
    fn give_recheck_back(&self, account: &AccountKey);

    /// How an account stands, counting nothing: for operators. With an address, also how an attempt from there would be met.
    fn peek(&self, account: &AccountKey, from: Option<ClientAddr>) -> AccountState;
}

/// How an account stands with the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountState {
    /// How long it takes no attempts from networks that it does not know; none if it does.
    pub closed_for: Option<Duration>,
    /// Whether a local mismatch may still be put to legacy.
    pub may_recheck: bool,
    /// How an attempt from the address that was asked about would be met.
    pub there: Option<There>,
}

/// How an attempt from one address would be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct There {
    /// Whether the account knows the network.
    pub standing: ClientStanding,
    /// The first limit that would refuse it, by the name that metrics have for it, and for how long; none if it would be admitted.
    pub refused: Option<(&'static str, Duration)>,
}

/// What an account has had to do before with the network that an attempt comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientStanding {
    /// Somebody logged in to this account from there, successfully.
    Known,
    /// Nobody did, or it is forgotten.
    Unknown,
}

/// One admitted attempt. Hashing asks for it. Dropped unsettled it counts as a failure unless said otherwise: a client that hangs up early learns
/// nothing cheaper.
pub struct AccountPermit {
    settle: Option<Box<dyn FnOnce(AttemptOutcome) + Send + Sync>>,
    if_dropped: AttemptOutcome,
    standing: ClientStanding,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The password was right.
    Succeeded,
    /// It was wrong.
    Failed,
    /// Nobody could tell (R82): not counted.
    NoVerdict,
}

impl AccountPermit {
    /// Made by a limiter; `settle` is called exactly once.
    #[must_use]
    pub fn new(standing: ClientStanding, settle: impl FnOnce(AttemptOutcome) + Send + Sync + 'static) -> Self {
        Self { settle: Some(Box::new(settle)), if_dropped: AttemptOutcome::Failed, standing }
    }

    /// Where the attempt comes from, seen from the account: under overload known networks are served first.
    #[must_use]
    pub fn standing(&self) -> ClientStanding {
        self.standing
    }

    /// Ends the attempt.
    pub fn settle(mut self, outcome: AttemptOutcome) {
        if let Some(settle) = self.settle.take() {
            settle(outcome);
        }
    }

    /// What it counts as if nobody settles it from here on.
    pub fn count_if_dropped(&mut self, outcome: AttemptOutcome) {
        self.if_dropped = outcome;
    }
}

impl Drop for AccountPermit {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle(self.if_dropped);
        }
    }
}

//! The bounded pool that all hashing goes through, and what it says.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{AccountPermit, ClientStanding};
use crate::domain::credential::Credential;
use crate::domain::password::Password;
use crate::domain::proof::{FreshHash, VerifiedUser};
use crate::domain::user::User;

/// The bounded pool that all hashing goes through. Where not everybody can be served, known clients go first.
pub trait PasswordHasher: Send + Sync {
    /// Checks a password against a user's stored credential, which is consumed.
    fn verify<'a>(
        &'a self,
        permit: &'a AccountPermit,
        user: Box<User>,
        password: Arc<Password>,
    ) -> BoxFuture<'a, Result<Verification, HashUnavailable>>;

    /// Does the work of a check for nobody, so that unknown users cost what wrong passwords cost (R60).
    fn equalize<'a>(
        &'a self,
        permit: &'a AccountPermit,
        password: Arc<Password>,
    ) -> BoxFuture<'a, Result<(), HashUnavailable>>;

    /// Hashes a password under today's parameters. Whoever has proven who he is, here or to legacy, is known.
    fn hash(
        &self,
        standing: ClientStanding,
        password: Arc<Password>,
    ) -> BoxFuture<'_, Result<FreshHash, HashUnavailable>>;

    /// Whether a credential that verified should be hashed again: other parameters, or not of our making.
    fn is_outdated(&self, credential: &Credential) -> bool;

    /// When somebody who got [`HashUnavailable`] should come again: by what waits now, and different for each who asks, so that those
    /// who were refused together do not return together. Bounded.
    fn retry_after(&self) -> Duration;
}

/// Looks at stored credentials without any password: for operators.
pub trait HashReader: Send + Sync {
    /// What a credential is. Never the hash.
    fn look(&self, credential: &Credential) -> HashLook;
}

/// What a stored credential is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashLook {
    /// There is none.
    Absent,
    /// A password can be checked against it.
    Usable {
        /// The name of its format.
        format: String,
        /// Whether it is hashed again when it verifies.
        outdated: bool,
    },
    /// Nothing can be checked against it.
    Unusable {
        /// Why.
        why: String,
    },
}

/// What a check said. The user comes back, but for a match, which is its own proof.
pub enum Verification {
    /// The password is right.
    Match(VerifiedUser),
    /// It is not the one we hold.
    Mismatch(Box<User>),
    /// The stored hash cannot be used: unreadable, or with parameters over the bounds (R53).
    Unusable(Box<User>),
}

/// No hash could be computed now. Always 503, never "wrong password".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashUnavailable {
    /// As many wait as may wait.
    #[error("the hash queue is full")]
    QueueFull,
    /// What waits already takes longer than anybody should wait.
    #[error("the hash could not be computed in time")]
    Overloaded,
    /// It waited longer than anybody should.
    #[error("the hash was not computed in time")]
    Late,
    /// The memory for it could not be had (R55).
    #[error("there is no memory for a hash")]
    OutOfMemory,
    /// A bug, or no randomness for a salt. Counted where it happened.
    #[error("the hash could not be computed")]
    Failed,
    /// The pool is shutting down.
    #[error("the hash pool has stopped")]
    Stopped,
}

impl HashUnavailable {
    /// The word for it in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Overloaded => "overloaded",
            Self::Late => "late",
            Self::OutOfMemory => "memory",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

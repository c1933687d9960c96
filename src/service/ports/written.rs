//! What is asked of the store to be written, and what became of it.

use serde_json::Value;

use crate::domain::clock::UnixSeconds;
use crate::domain::identifier::{Identifier, NormalizedIdentifier};
use crate::domain::proof::{FreshHash, LegacyAccepted, Migrated};
use crate::domain::user::{Origin, Standing, User, UserId, Version};

/// A user whom legacy proved at a login, ready to be saved.
pub struct ProvenUser {
    /// Legacy's word.
    pub accepted: LegacyAccepted,
    /// The password that legacy accepted, hashed.
    pub hash: FreshHash,
    /// What a new record says of its origin.
    pub origin: Origin,
    /// The names that were typed and that legacy's answer confirmed: only by one of these may a record without a legacy id become
    /// his.
    pub asked: Vec<NormalizedIdentifier>,
    /// The revision that was read before legacy was asked.
    pub based_on: Version,
    /// Now.
    pub at: UnixSeconds,
}

/// What became of a proven user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// A new record is on disk.
    Created(Migrated),
    /// His record was brought up to date and is on disk.
    Updated(Migrated),
    /// A name belongs to another user here; recorded for an operator, nothing saved.
    Conflict {
        /// Who holds the name.
        with: UserId,
    },
    /// The same, and an operator has decided that the name stays where it is; nothing saved.
    Settled {
        /// Who holds the name.
        with: UserId,
    },
    /// The record changed after legacy was asked; nothing saved.
    Stale,
    /// The user was disabled or deleted meanwhile; nothing saved.
    Closed,
}

/// A registration, ready to be inserted.
pub struct NewUser {
    /// All its names.
    pub identifiers: Vec<Identifier>,
    /// Further keys that must be free: an email may not be another user's username.
    pub must_be_free: Vec<NormalizedIdentifier>,
    /// What the registration said, less the password.
    pub profile: Value,
    /// The hashed password.
    pub hash: FreshHash,
    /// Set when legacy created the user too.
    pub legacy: Option<LegacySide>,
    /// Now.
    pub at: UnixSeconds,
}

/// Legacy's side of a user who was registered at both.
pub struct LegacySide {
    /// His id there, if legacy's answer told it.
    pub id: Option<crate::domain::user::LegacyId>,
}

/// What became of a registration.
pub enum Inserted {
    /// On disk.
    Inserted(Migrated, Box<User>),
    /// A name, or the legacy id, is taken.
    Exists,
}

/// A change of one record.
pub enum UserChange {
    /// The same password under today's parameters.
    Rehash(FreshHash),
    /// A new password.
    SetPassword(FreshHash),
    /// No password: legacy is asked at the next login.
    DropPassword,
    /// Active, disabled or deleted.
    SetStanding(Standing),
    /// Legacy vouched for the user again.
    Vouched,
    /// A deleted user is active again. What the tombstone dropped does not come back: he has no password here and no profile.
    Undelete,
    /// One more name, by an operator's word.
    AddAlias {
        /// The name.
        alias: Identifier,
        /// Everything that it may be typed for, which must be nobody else's either.
        must_be_free: Vec<NormalizedIdentifier>,
    },
    /// One name less.
    RemoveAlias {
        /// The name.
        name: NormalizedIdentifier,
        /// What becomes of it.
        then: AfterRemoval,
    },
}

/// What becomes of a name that an operator takes from a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterRemoval {
    /// It finds nobody, and nobody else gets it: whoever had it next would get the mail, and the password resets, that are meant for
    /// the one before.
    Reserved,
    /// Whoever comes first gets it.
    Free,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    /// On disk.
    Done(Migrated),
    /// The record changed meanwhile; nothing was written.
    Stale,
    /// There is no such record, or a tombstone that this does not change.
    Missing,
    /// It cannot be; nothing was written.
    Refused(NotChanged),
}

/// Why a change cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotChanged {
    /// The name, or another that it may be typed for, is somebody else's.
    NameTaken {
        /// Whose.
        by: UserId,
    },
    /// It is his already.
    AlreadyHis,
    /// It is none of his.
    NotHis,
    /// It is his only one: he could not be found any more.
    LastName,
    /// He has as many as one may have.
    TooManyNames,
    /// He is not deleted.
    NotDeleted,
    /// The names of this conflict were given away: there is nothing left to choose.
    GivenAlready,
}

/// Who holds a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameHolder {
    /// Whose it is.
    pub id: UserId,
    /// Whether he can log in by it; otherwise it is only kept from others.
    pub bears: bool,
}

/// What became of a resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// On disk.
    Done {
        /// Who has the names now that were given; none if they were not, or if legacy's user is not here yet.
        given_to: Option<UserId>,
    },
    /// There is no such conflict, or none any more.
    Missing,
    /// It cannot be; nothing was written.
    Refused(NotChanged),
}

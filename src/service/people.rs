//! What an operator does to users and to conflicts: each a use case over the store alone, so that the offline commands do the same as
//! the running proxy. Every one of them is audited, the refused ones too; no secret is ever part of it (R115, R116).
//!
//! A change names the version of the record that the operator saw, and loses against any later change. Called by `admin`.

use std::sync::Arc;

use super::answerer_of_user;
use super::ports::{
    AfterRemoval, ConflictQuery, ModeSwitch, NameHolder, NotChanged, Resolved, StoreError, Updated, UserChange,
    UserStore,
};
use crate::domain::conflict::{Conflict, Resolution};
use crate::domain::credential::Credential;
use crate::domain::identifier::{IdentifierKind, IdentifierRules, InvalidIdentifier, RawIdentifier};
use crate::domain::mode::{Answerer, LocalShare, Mode};
use crate::domain::user::{Origin, Standing, User, UserId, Version};

/// The door through which an operator came, for the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The API of the running proxy, by its token; so does the command line while a proxy runs.
    Api,
    /// The command line, in the store itself: whoever may write the file.
    Cli,
    /// The console, by a session.
    Console,
}

impl Door {
    /// The word for it in the audit log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Cli => "cli",
            Self::Console => "console",
        }
    }
}

/// What an operator can do to one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorChange {
    /// He may no longer log in.
    Disable,
    /// He may again.
    Enable,
    /// A tombstone: names and ids stay reserved, everything else is dropped.
    Delete,
    /// The tombstone becomes a user again, without a password and a profile.
    Undelete,
    /// One more name to log in by.
    AddAlias {
        /// Of which kind.
        kind: IdentifierKind,
        /// As it is written.
        value: String,
    },
    /// One name less.
    RemoveAlias {
        /// Of which kind.
        kind: IdentifierKind,
        /// In any spelling that logs in.
        value: String,
        /// What becomes of it.
        then: AfterRemoval,
    },
    /// The password here is dropped, so that legacy is asked for the new one.
    ResetPassword(LockOut),
}

impl OperatorChange {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Delete => "delete",
            Self::Undelete => "undelete",
            Self::AddAlias { .. } => "add_alias",
            Self::RemoveAlias { then: AfterRemoval::Reserved, .. } => "remove_alias",
            Self::RemoveAlias { then: AfterRemoval::Free, .. } => "remove_alias_and_free_it",
            Self::ResetPassword(_) => "reset_password",
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::AddAlias { value, .. } | Self::RemoveAlias { value, .. } => Some(value),
            Self::Disable | Self::Enable | Self::Delete | Self::Undelete | Self::ResetPassword(_) => None,
        }
    }
}

/// Whether a user may be left with no way to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockOut {
    /// No: it is refused.
    Refuse,
    /// The operator knows and means it.
    Accept,
}

/// A user after a change, and what the operator should know.
pub struct Changed {
    /// As he is on disk.
    pub user: User,
    /// What follows that is not plain from the record.
    pub notes: Vec<Note>,
}

/// What an operator should know after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// It was so before; nothing was written.
    AsBefore,
    /// He has no password here, and legacy is asked at his next login.
    LegacyIsAsked,
    /// He has no password here, and nobody can be asked: he cannot log in.
    NobodyCanBeAsked,
    /// The name is kept from others; freeing it lets whoever comes first have it.
    NameStaysReserved,
    /// The name is anybody's now.
    NameIsFree,
    /// Tokens that were minted for him are good until they expire.
    TokensLiveOn,
    /// He may not log in here, but in this mode it is legacy that answers him.
    LegacyLetsHimIn,
    /// He has no name by which he could be found.
    HasNoName,
}

impl Note {
    /// Every note.
    pub const ALL: [Self; 8] = [
        Self::AsBefore,
        Self::LegacyIsAsked,
        Self::NobodyCanBeAsked,
        Self::NameStaysReserved,
        Self::NameIsFree,
        Self::TokensLiveOn,
        Self::LegacyLetsHimIn,
        Self::HasNoName,
    ];

    /// In a sentence.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AsBefore => "It was so before; nothing was changed.",
            Self::LegacyIsAsked => {
                "He has no password here: legacy is asked at his next login, and its answer is kept."
            }
            Self::NobodyCanBeAsked => {
                "He has no password here and there is nobody to ask for one: he cannot log in. Delete him and free his names, and \
                 he can register again."
            }
            Self::NameStaysReserved => {
                "The name finds nobody now, and stays reserved for him: nobody else can take it."
            }
            Self::NameIsFree => "The name is free: whoever comes first may have it.",
            Self::TokensLiveOn => {
                "Tokens that he has are good until they expire; through get_user and refresh they end now."
            }
            Self::LegacyLetsHimIn => {
                "As things are it is legacy that answers him, and it lets him in as long as it knows him: close him there too. Here it \
                 holds as soon as we answer him."
            }
            Self::HasNoName => "He has no name, and nobody is found without one: add one, or let legacy bring it.",
        }
    }
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// There is no such user.
    #[error("there is no such user")]
    NoSuchUser,
    /// There is no such conflict.
    #[error("there is no such conflict")]
    NoSuchConflict,
    /// The record changed since the operator looked at it.
    #[error("the user has changed meanwhile: look at him again")]
    Stale,
    /// He is deleted.
    #[error("the user is deleted: undelete him first")]
    IsDeleted,
    /// It can be nobody's name.
    #[error("this can be nobody's name")]
    BadName(#[source] InvalidIdentifier),
    /// The store's own constraints.
    #[error("{}", refused(*.0))]
    Refused(NotChanged),
    /// He would have no way to log in.
    #[error(
        "he could not log in any more: his password is nowhere but here, and no legacy can be asked for another. Disable him instead, \
         or say that you mean it: --anyway on the command line, `anyway` to the API"
    )]
    WouldLockOut,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Why the store refused, in a sentence.
fn refused(why: NotChanged) -> String {
    match why {
        NotChanged::NameTaken { by } => format!("the name, or one that it may be typed for, belongs to the user {by}"),
        NotChanged::AlreadyHis => "he has this name already".to_owned(),
        NotChanged::NotHis => "he does not have this name".to_owned(),
        NotChanged::LastName => {
            "it is his only name, and nobody is found without one: give him another first, or delete him".to_owned()
        }
        NotChanged::TooManyNames => "he has as many names as one may have: remove one first".to_owned(),
        NotChanged::NotDeleted => "he is not deleted".to_owned(),
        NotChanged::GivenAlready => {
            "its names were given to legacy's user: it is over, and names are given back by `users alias`".to_owned()
        }
    }
}

/// A conflict with both of its sides.
pub struct BothSides {
    /// What came up.
    pub conflict: Conflict,
    /// Who holds the names here.
    pub holder: Option<User>,
    /// Legacy's user, if he is here under another name.
    pub claimant: Option<User>,
    /// For each name of the conflict, who has it now.
    pub holders: Vec<Option<NameHolder>>,
    /// To whom its names were just given; none if they are free, or stayed.
    pub given_to: Option<UserId>,
}

/// The use cases of operators.
pub struct People {
    store: Arc<dyn UserStore>,
    mode: Arc<dyn ModeSwitch>,
    share: LocalShare,
    identifiers: IdentifierRules,
}

impl People {
    /// Over a store. `share` is the part of the users whom we answer in `migrate`.
    #[must_use]
    pub fn new(
        store: Arc<dyn UserStore>,
        mode: Arc<dyn ModeSwitch>,
        share: LocalShare,
        identifiers: IdentifierRules,
    ) -> Self {
        Self { store, mode, share, identifiers }
    }

    /// Changes one user, by legacy's id or ours, if he is still as the operator saw him.
    pub async fn change(&self, by: Door, id: &str, seen: Version, change: OperatorChange) -> Result<Changed, NotDone> {
        let (what, name) = (change.as_str(), change.name().map(str::to_owned));
        let done = self.make(id, seen, change).await;
        let (user, outcome) = match &done {
            Ok(changed) => (changed.user.id.to_string(), "done"),
            Err(error) => (id.to_owned(), outcome(error)),
        };
        tracing::info!(
            target: "authferry::audit",
            by = "operator", via = by.as_str(), user, change = what, name, outcome, "user changed"
        );
        done
    }

    async fn make(&self, id: &str, seen: Version, change: OperatorChange) -> Result<Changed, NotDone> {
        let user = self.store.find_public(id).await?.ok_or(NotDone::NoSuchUser)?;
        if user.version != seen {
            return Err(NotDone::Stale);
        }
        let planned = match self.plan(&user, change)? {
            Plan::Nothing => {
                let notes = std::iter::once(Note::AsBefore).chain(still(self.mode.current(), self.share, &user));
                return Ok(Changed { notes: notes.collect(), user });
            }
            Plan::Write(planned) => planned,
        };
        let about_name = match &planned {
            UserChange::RemoveAlias { then: AfterRemoval::Reserved, .. } => Some(Note::NameStaysReserved),
            UserChange::RemoveAlias { then: AfterRemoval::Free, .. } => Some(Note::NameIsFree),
            UserChange::Rehash(_)
            | UserChange::SetPassword(_)
            | UserChange::DropPassword
            | UserChange::SetStanding(_)
            | UserChange::Vouched
            | UserChange::Undelete
            | UserChange::AddAlias { .. } => None,
        };
        match self.store.update(user.id, seen, planned).await? {
            Updated::Done(_) => {}
            Updated::Stale => return Err(NotDone::Stale),
            Updated::Missing => return Err(NotDone::NoSuchUser),
            Updated::Refused(why) => return Err(NotDone::Refused(why)),
        }
        let after = self.store.user(user.id).await?.ok_or(NotDone::NoSuchUser)?;
        let notes = about_name.into_iter().chain(follows(self.mode.current(), self.share, &user, &after)).collect();
        Ok(Changed { user: after, notes })
    }

    /// What has to be written, if it is anything.
    fn plan(&self, user: &User, change: OperatorChange) -> Result<Plan, NotDone> {
        let stand = |standing| {
            if user.standing == standing { Plan::Nothing } else { Plan::Write(UserChange::SetStanding(standing)) }
        };
        match (change, user.standing) {
            (OperatorChange::Delete, _) => Ok(stand(Standing::Deleted)),
            (OperatorChange::Undelete, _) => Ok(Plan::Write(UserChange::Undelete)),
            (OperatorChange::RemoveAlias { kind, value, then }, _) => {
                let name = self.identifiers.identifier(kind, &value, None).map_err(NotDone::BadName)?.normalized;
                Ok(Plan::Write(UserChange::RemoveAlias { name, then }))
            }
            (
                OperatorChange::Disable
                | OperatorChange::Enable
                | OperatorChange::AddAlias { .. }
                | OperatorChange::ResetPassword(_),
                Standing::Deleted,
            ) => Err(NotDone::IsDeleted),
            (OperatorChange::Disable, Standing::Active | Standing::Disabled) => Ok(stand(Standing::Disabled)),
            (OperatorChange::Enable, Standing::Active | Standing::Disabled) => Ok(stand(Standing::Active)),
            (OperatorChange::AddAlias { kind, value }, Standing::Active | Standing::Disabled) => {
                let alias = self.identifiers.identifier(kind, &value, None).map_err(NotDone::BadName)?;
                let typed = RawIdentifier::new(&value).map_err(NotDone::BadName)?;
                let must_be_free = self.identifiers.candidates(&typed).keys().to_vec();
                Ok(Plan::Write(UserChange::AddAlias { alias, must_be_free }))
            }
            (OperatorChange::ResetPassword(lock_out), Standing::Active | Standing::Disabled) => {
                let nobody_else = self.mode.current() == Mode::Retired || user.is_unknown_to_legacy();
                match (&user.credential, lock_out) {
                    (Credential::Absent(_), _) => Ok(Plan::Nothing),
                    (Credential::Argon2id(_) | Credential::Imported(_), LockOut::Refuse) if nobody_else => {
                        Err(NotDone::WouldLockOut)
                    }
                    (Credential::Argon2id(_) | Credential::Imported(_), LockOut::Refuse | LockOut::Accept) => {
                        Ok(Plan::Write(UserChange::DropPassword))
                    }
                }
            }
        }
    }

    /// Conflicts with both sides, the newest first.
    pub async fn conflicts(&self, query: ConflictQuery) -> Result<Vec<BothSides>, StoreError> {
        let mut sides = Vec::new();
        for conflict in self.store.conflicts(query).await? {
            sides.push(self.sides(conflict).await?);
        }
        Ok(sides)
    }

    /// One conflict with both sides.
    pub async fn conflict(&self, number: u64) -> Result<BothSides, NotDone> {
        let conflict = self.store.conflict(number).await?.ok_or(NotDone::NoSuchConflict)?;
        Ok(self.sides(conflict).await?)
    }

    async fn sides(&self, conflict: Conflict) -> Result<BothSides, StoreError> {
        let holder = self.store.user(conflict.with).await?;
        let claimant = self.store.find_public(&conflict.legacy_id).await?;
        // Where legacy's id reads as our own id of somebody, he is not whom legacy means.
        let is_legacys = |user: &User| user.legacy_id.as_ref().is_some_and(|id| id.as_key() == &*conflict.legacy_id);
        let claimant = claimant.filter(|user| user.id != conflict.with && is_legacys(user));
        let holders = self.store.holders(&conflict.names).await?;
        Ok(BothSides { conflict, holder, claimant, holders, given_to: None })
    }

    /// Does what an operator chose about a conflict, and says who has the names now.
    pub async fn resolve(&self, by: Door, number: u64, resolution: Resolution) -> Result<BothSides, NotDone> {
        let choice = match &resolution {
            Resolution::Keep => "keep",
            Resolution::Give(_) => "give",
            Resolution::DisableHolder => "disable_holder",
        };
        let done = self.settle(number, resolution).await;
        let (user, outcome) = match &done {
            Ok(sides) => (Some(sides.conflict.with.to_string()), "done"),
            Err(error) => (None, outcome(error)),
        };
        tracing::info!(
            target: "authferry::audit",
            by = "operator", via = by.as_str(), conflict = number, user, choice, outcome, "conflict resolved"
        );
        done
    }

    async fn settle(&self, number: u64, resolution: Resolution) -> Result<BothSides, NotDone> {
        let before = self.store.conflict(number).await?.ok_or(NotDone::NoSuchConflict)?;
        match self.store.resolve(number, resolution).await? {
            Resolved::Done { given_to } => {
                // With ten thousand later ones it is forgotten: what it was about is still worth showing.
                let now = self.store.conflict(number).await?.unwrap_or(before);
                Ok(BothSides { given_to, ..self.sides(now).await? })
            }
            Resolved::Missing => Err(NotDone::NoSuchConflict),
            Resolved::Refused(why) => Err(NotDone::Refused(why)),
        }
    }
}

/// What is to be done to a record.
enum Plan {
    /// It is as it should be.
    Nothing,
    /// This.
    Write(UserChange),
}

/// What the operator should know that the record does not say by itself.
fn follows(mode: Mode, share: LocalShare, before: &User, after: &User) -> Vec<Note> {
    let lost_password = !matches!(before.credential, Credential::Absent(_));
    let came_back = before.standing == Standing::Deleted && after.standing == Standing::Active;
    let can_be_asked = match mode {
        Mode::Retired => false,
        Mode::Passthrough | Mode::Observe | Mode::Migrate => {
            after.legacy_id.is_some() || after.legacy_vouched_at.is_some() || after.origin != Origin::Registered
        }
    };
    let mut notes = Vec::new();
    if matches!(after.credential, Credential::Absent(_))
        && after.standing == Standing::Active
        && (lost_password || came_back)
    {
        notes.push(if can_be_asked { Note::LegacyIsAsked } else { Note::NobodyCanBeAsked });
    }
    if came_back && after.identifiers.is_empty() {
        notes.push(Note::HasNoName);
    }
    if before.standing == Standing::Active && after.standing != Standing::Active {
        notes.push(Note::TokensLiveOn);
    }
    if before.standing != after.standing {
        notes.extend(still(mode, share, after));
    }
    notes
}

/// What holds of a user whatever was just done to him: that he is closed here counts for nothing where legacy answers.
fn still(mode: Mode, share: LocalShare, user: &User) -> Option<Note> {
    let legacy_answers = match answerer_of_user(mode, share, user) {
        None | Some(Answerer::Legacy) => true,
        Some(Answerer::LocalFirst | Answerer::LocalOnly) => false,
    };
    (user.standing != Standing::Active && legacy_answers).then_some(Note::LegacyLetsHimIn)
}

fn outcome(error: &NotDone) -> &'static str {
    match error {
        NotDone::NoSuchUser => "no_such_user",
        NotDone::NoSuchConflict => "no_such_conflict",
        NotDone::Stale => "stale",
        NotDone::IsDeleted => "is_deleted",
        NotDone::BadName(_) => "bad_name",
        NotDone::Refused(NotChanged::NameTaken { .. }) => "name_taken",
        NotDone::Refused(NotChanged::AlreadyHis) => "already_his",
        NotDone::Refused(NotChanged::NotHis) => "not_his",
        NotDone::Refused(NotChanged::LastName) => "last_name",
        NotDone::Refused(NotChanged::TooManyNames) => "too_many_names",
        NotDone::Refused(NotChanged::NotDeleted) => "not_deleted",
        NotDone::Refused(NotChanged::GivenAlready) => "given_already",
        NotDone::WouldLockOut => "would_lock_out",
        NotDone::Store(_) => "store_failed",
    }
}

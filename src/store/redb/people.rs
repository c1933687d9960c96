//! What an operator does to a record beyond what a login does: a name more or less, a tombstone opened again, a conflict
//! resolved. Called by [`super::writes`] and [`super::operation`], inside the transaction, where alone it is known whose a name is.
//!
//! A name that is taken from a user and stays reserved for him keeps its row in the table of names, while his record does not list
//! it: it finds nobody, and whatever else looks for a free name finds it taken.

use ::redb::ReadableTable;
use uuid::Uuid;

use super::conflicts;
use super::fault::Fault;
use super::schema::{Snapshot, find_user, user_of};
use super::writes::{Batch, MAX_ALIASES, copy_of};
use crate::domain::conflict::{Conflict, Decision, Resolution};
use crate::domain::identifier::{Identifier, NormalizedIdentifier};
use crate::domain::user::{Standing, User, UserId};
use crate::service::ports::{AfterRemoval, NotChanged, UserChange};

/// What a resolution came to, before it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResolveWritten {
    Done { given_to: Option<UserId> },
    Missing,
    Refused(NotChanged),
}

/// What becomes of the row of a name that the record no longer lists, or never did.
pub(super) struct Row {
    name: NormalizedIdentifier,
    then: AfterRemoval,
}

impl Row {
    /// The row that a change is about.
    pub(super) fn of(change: &UserChange) -> Option<Self> {
        match change {
            UserChange::RemoveAlias { name, then } => Some(Self { name: name.clone(), then: *then }),
            UserChange::Rehash(_)
            | UserChange::SetPassword(_)
            | UserChange::DropPassword
            | UserChange::SetStanding(_)
            | UserChange::Vouched
            | UserChange::Undelete
            | UserChange::AddAlias { .. } => None,
        }
    }
}

/// Whether a tombstone may change so: an operator can bring a user back, and let go of the names that a deleted one keeps.
pub(super) fn may_change_a_tombstone(change: &UserChange) -> bool {
    match change {
        UserChange::Undelete | UserChange::RemoveAlias { .. } => true,
        UserChange::Rehash(_)
        | UserChange::SetPassword(_)
        | UserChange::DropPassword
        | UserChange::SetStanding(_)
        | UserChange::Vouched
        | UserChange::AddAlias { .. } => false,
    }
}

impl Batch<'_> {
    /// Why a change of this record cannot be, if it cannot.
    pub(super) fn refusal(&self, current: &User, change: &UserChange) -> Result<Option<NotChanged>, Fault> {
        match change {
            UserChange::Rehash(_)
            | UserChange::SetPassword(_)
            | UserChange::DropPassword
            | UserChange::SetStanding(_)
            | UserChange::Vouched => Ok(None),
            UserChange::Undelete => Ok((current.standing != Standing::Deleted).then_some(NotChanged::NotDeleted)),
            UserChange::AddAlias { alias, must_be_free } => {
                if current.bears(&alias.normalized) {
                    return Ok(Some(NotChanged::AlreadyHis));
                }
                if current.identifiers.len() >= MAX_ALIASES {
                    return Ok(Some(NotChanged::TooManyNames));
                }
                for name in std::iter::once(&alias.normalized).chain(must_be_free) {
                    match self.holder_of(name)? {
                        Some(by) if by != current.id => return Ok(Some(NotChanged::NameTaken { by })),
                        Some(_) | None => {}
                    }
                }
                Ok(None)
            }
            UserChange::RemoveAlias { name, then } => Ok(match (current.bears(name), then) {
                (true, _) if would_be_nameless(current, std::slice::from_ref(name)) => Some(NotChanged::LastName),
                (true, AfterRemoval::Reserved | AfterRemoval::Free) => None,
                // It was taken from him before, and is only reserved.
                (false, AfterRemoval::Free) if self.holder_of(name)? == Some(current.id) => None,
                (false, AfterRemoval::Reserved | AfterRemoval::Free) => Some(NotChanged::NotHis),
            }),
        }
    }

    /// Brings the table of names in line with what an operator said of a name; after the record was put.
    pub(super) fn settle_row(&mut self, user: &User, row: &Row) -> Result<(), Fault> {
        match row.then {
            AfterRemoval::Reserved => self.reserve(&row.name, user.id),
            AfterRemoval::Free => {
                self.tables.aliases.remove(row.name.as_key())?;
                self.tables.reserved.remove(reserved_key(user.id, row.name.as_key()).as_slice())?;
                conflicts::remove_moot(&mut self.tables, &mut self.ledger, user, std::slice::from_ref(&row.name))
            }
        }
    }

    /// Keeps a name from others for a user whose record does not list it.
    pub(super) fn reserve(&mut self, name: &NormalizedIdentifier, user: UserId) -> Result<(), Fault> {
        self.tables.aliases.insert(name.as_key(), user.0.as_bytes())?;
        self.tables.reserved.insert(reserved_key(user, name.as_key()).as_slice(), ())?;
        Ok(())
    }

    /// Frees the names that are kept from others for somebody who is about to be forgotten. Rows of names that he has borne again since, or
    /// that went to others, are of no account.
    pub(super) fn let_go_of_reserved(&mut self, user: UserId) -> Result<(), Fault> {
        let first = reserved_key(user, "");
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for row in self.tables.reserved.range(first.as_slice()..)? {
            let (key, _unit) = row?;
            if !key.value().starts_with(&first) {
                break;
            }
            keys.push(key.value().to_vec());
        }
        for key in keys {
            self.tables.reserved.remove(key.as_slice())?;
            let name = key.get(first.len()..).and_then(|name| str::from_utf8(name).ok());
            let name = name.ok_or_else(|| Fault::damage("a reserved name is none that was ever written"))?;
            let holder = self.tables.aliases.get(name)?.map(|holder| *holder.value());
            if holder == Some(user.0.into_bytes()) {
                self.tables.aliases.remove(name)?;
            }
        }
        Ok(())
    }

    /// Does what an operator chose about a conflict.
    pub(super) fn resolve(&mut self, number: u64, resolution: Resolution) -> Result<ResolveWritten, Fault> {
        let Some(conflict) = conflicts::find(&self.tables.conflicts, number)? else {
            return Ok(ResolveWritten::Missing);
        };
        if conflict.decided.is_some_and(|decided| !decided.decision.is_standing()) {
            return Ok(ResolveWritten::Refused(NotChanged::GivenAlready));
        }
        let holder = user_of(&self.tables.users, conflict.with.0.as_bytes())?;
        match resolution {
            Resolution::Keep => self.decide(conflict, Decision::Kept),
            Resolution::DisableHolder => match holder.standing {
                Standing::Active => {
                    let mut next = User { updated_at: self.now(), ..copy_of(&holder) };
                    next.standing = Standing::Disabled;
                    self.put(Some(&holder), next)?;
                    self.decide(conflict, Decision::HolderDisabled)
                }
                Standing::Disabled => self.decide(conflict, Decision::HolderDisabled),
                // He may not log in as it is.
                Standing::Deleted => self.decide(conflict, Decision::Kept),
            },
            Resolution::Give(names) => self.give(conflict, &holder, &names),
        }
    }

    fn decide(&mut self, conflict: Conflict, decision: Decision) -> Result<ResolveWritten, Fault> {
        let now = self.now();
        self.about_to_write();
        conflicts::decide(&mut self.tables, &mut self.ledger, conflict, decision, now)?;
        Ok(ResolveWritten::Done { given_to: None })
    }

    fn give(
        &mut self,
        mut conflict: Conflict,
        holder: &User,
        chosen: &[NormalizedIdentifier],
    ) -> Result<ResolveWritten, Fault> {
        let mut given: Vec<NormalizedIdentifier> = Vec::new();
        for name in chosen {
            // What the operator did not see in this conflict, or what its holder has lost since, is not his to give.
            if !conflict.names.contains(name) || self.holder_of(name)? != Some(holder.id) {
                return Ok(ResolveWritten::Refused(NotChanged::NotHis));
            }
            if !given.contains(name) {
                given.push(name.clone());
            }
        }
        if given.is_empty() {
            return Ok(ResolveWritten::Refused(NotChanged::NotHis));
        }
        if would_be_nameless(holder, &given) {
            return Ok(ResolveWritten::Refused(NotChanged::LastName));
        }
        let claimant = self.claimant(&conflict)?;
        if let Some(claimant) = &claimant
            && claimant.identifiers.len() + given.len() > MAX_ALIASES
        {
            return Ok(ResolveWritten::Refused(NotChanged::TooManyNames));
        }
        let now = self.now();
        let mut left = User { updated_at: now, ..copy_of(holder) };
        left.identifiers.retain(|alias| !given.contains(&alias.normalized));
        let left = self.put(Some(holder), left)?;
        for name in &given {
            // Those that were only reserved are in no record.
            self.tables.aliases.remove(name.as_key())?;
        }
        if let Some(claimant) = &claimant {
            let mut next = User { updated_at: now, ..copy_of(claimant) };
            next.identifiers.extend(given.iter().map(|name| {
                // Legacy gave him the name; how it writes it, the next login tells.
                Identifier { value: name.text().into(), normalized: name.clone(), verified: None }
            }));
            self.put(Some(claimant), next)?;
        }
        conflict.names.clone_from(&given);
        conflicts::decide(&mut self.tables, &mut self.ledger, conflict, Decision::Given, now)?;
        conflicts::remove_moot(&mut self.tables, &mut self.ledger, &left, &given)?;
        Ok(ResolveWritten::Done { given_to: claimant.map(|claimant| claimant.id) })
    }

    /// Legacy's side of a conflict, if he is here and not deleted.
    fn claimant(&self, conflict: &Conflict) -> Result<Option<User>, Fault> {
        let Some(id) = self.tables.legacy_ids.get(&*conflict.legacy_id)?.map(|id| *id.value()) else {
            return Ok(None);
        };
        let user = find_user(&self.tables.users, &id)?;
        Ok(user.filter(|user| user.standing != Standing::Deleted && user.id != conflict.with))
    }
}

/// Every name that is kept from others for a user who does not bear it, in the order of the users.
pub(super) fn reserved(snapshot: &Snapshot) -> Result<Vec<(UserId, NormalizedIdentifier)>, Fault> {
    let mut reserved = Vec::new();
    for row in snapshot.reserved.iter()? {
        let (key, _unit) = row?;
        let bad = || Fault::damage("a reserved name is none that was ever written");
        let (id, name) = key.value().split_first_chunk::<16>().ok_or_else(bad)?;
        let name = str::from_utf8(name).ok().and_then(NormalizedIdentifier::from_key).ok_or_else(bad)?;
        // He may bear it again since, or it may have gone to somebody else.
        let is_held = snapshot.aliases.get(name.as_key())?.is_some_and(|holder| holder.value() == id);
        if is_held && !user_of(&snapshot.users, id)?.bears(&name) {
            reserved.push((UserId(Uuid::from_bytes(*id)), name));
        }
    }
    Ok(reserved)
}

fn reserved_key(user: UserId, name: &str) -> Vec<u8> {
    [user.0.as_bytes().as_slice(), name.as_bytes()].concat()
}

/// Whether a user without these names could not be found by any. A tombstone need not be.
fn would_be_nameless(user: &User, without: &[NormalizedIdentifier]) -> bool {
    let takes_any = without.iter().any(|name| user.bears(name));
    let keeps_any = user.identifiers.iter().any(|alias| !without.contains(&alias.normalized));
    user.standing != Standing::Deleted && takes_any && !keeps_any
}

//! What each write does inside the transaction: the constraints that no caller can keep, since only the transaction sees them
//! hold. Called by [`super::writer`] alone; knows nothing of threads, commits or answers.
//!
//! Each function reads and decides first and writes last, so that a record which cannot be read spoils its own operation and
//! no other one of the batch.

use std::sync::Arc;

use ::redb::ReadableTable;
use serde_json::Value;
use uuid::{ContextV7, Timestamp, Uuid};

use super::activity;
use super::conflicts;
use super::fault::Fault;
use super::people::{self, Row};
use super::renew::{self, Renewed};
use super::roster::Pending;
use super::schema::{Ledger, Tables, find_user, keep_mode, own_id, user_of};
use crate::domain::clock::{Clock, UnixSeconds};
use crate::domain::credential::{AbsentBecause, Credential};
use crate::domain::identifier::{Identifier, NORMALIZATION_VERSION, NormalizedIdentifier};
use crate::domain::login::{Holder, SaveDecision, decide_save};
use crate::domain::mode::Mode;
use crate::domain::roster::{Day, is_only_listed, place, step};
use crate::domain::user::{LegacyId, Origin, Standing, User, UserId, Version};
use crate::service::ports::{NewUser, NotChanged, ProvenUser, UserChange};

/// As many names one user keeps. A user renamed more often at legacy loses his oldest former names, which others may then
/// take; otherwise one of them could reserve names, and grow his record, without end.
pub const MAX_ALIASES: usize = 64;

/// What a save came to, before it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SaveWritten {
    Created(UserId, Version),
    Updated(UserId, Version),
    Conflict(UserId),
    Settled(UserId),
    Stale,
    Closed,
}

/// A name, or the legacy id, is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken;

/// What a change came to, before it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UpdateWritten {
    Done(UserId, Version),
    Stale,
    Missing,
    Refused(NotChanged),
}

/// What makes keys and tells the time; lives as long as the writer.
pub(super) struct Workshop {
    pub(super) clock: Arc<dyn Clock>,
    /// Keeps keys that are made within one second in order.
    pub(super) keys: ContextV7,
}

/// One write transaction at work.
pub(super) struct Batch<'txn> {
    pub(super) tables: Tables<'txn>,
    pub(super) ledger: Ledger,
    pub(super) roster: Pending,
    pub(super) workshop: &'txn Workshop,
    /// Whether it replaces a large part of the file.
    pub(super) is_large: bool,
    changed: bool,
    operation_wrote: bool,
}

impl<'txn> Batch<'txn> {
    pub(super) fn new(tables: Tables<'txn>, workshop: &'txn Workshop) -> Result<Self, Fault> {
        let ledger = Ledger::load(&tables.meta)?;
        let roster = Pending::default();
        Ok(Self { tables, ledger, roster, workshop, is_large: false, changed: false, operation_wrote: false })
    }

    /// Whether there is anything to commit.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// From here on [`Self::operation_wrote`] speaks of the next operation.
    pub(super) fn start_operation(&mut self) {
        self.operation_wrote = false;
    }

    /// Whether this operation wrote anything: if so, its failure spoils the whole transaction.
    pub(super) fn operation_wrote(&self) -> bool {
        self.operation_wrote
    }

    pub(super) fn about_to_write(&mut self) {
        self.changed = true;
        self.operation_wrote = true;
    }

    /// Writes what is kept beside the records, the last thing before the commit.
    pub(super) fn finish(mut self) -> Result<Ledger, Fault> {
        self.roster.store(&mut self.tables.roster, Day::of(self.workshop.clock.wall()))?;
        self.ledger.store(&mut self.tables.meta)?;
        Ok(self.ledger)
    }

    pub(super) fn save_proven(&mut self, proven: ProvenUser) -> Result<SaveWritten, Fault> {
        let identity = proven.accepted.identity();
        let by_id = match self.id_of_legacy(&identity.id)? {
            Some(id) => Some(user_of(&self.tables.users, id.0.as_bytes())?),
            None => None,
        };
        let mut by_name: Vec<User> = Vec::new();
        for alias in &identity.identifiers {
            if let Some(id) = self.holder_of(&alias.normalized)?
                && by_name.iter().all(|holder| holder.id != id)
            {
                by_name.push(user_of(&self.tables.users, id.0.as_bytes())?);
            }
        }
        if let Some(holder) = self.bearer_of(&identity.id)?
            && by_name.iter().all(|other| other.id != holder.id)
        {
            by_name.push(holder);
        }
        let confirmed = |user: &User| user.identifiers.iter().any(|alias| proven.asked.contains(&alias.normalized));
        let holders: Vec<Holder> = by_name
            .iter()
            .map(|user| Holder { may_adopt_id: holder(user).may_adopt_id && confirmed(user), ..holder(user) })
            .collect();
        match decide_save(by_id.as_ref().map(holder), &holders, proven.based_on) {
            SaveDecision::Create => {
                let user = self.new_user(
                    Some(identity.id.clone()),
                    &identity.identifiers,
                    identity.profile.clone(),
                    Credential::Argon2id(proven.hash.into_stored()),
                    proven.origin,
                    proven.at,
                );
                let user = self.put(None, user)?;
                Ok(SaveWritten::Created(user.id, user.version))
            }
            SaveDecision::Update(id) => {
                let current = by_id.into_iter().chain(by_name).find(|user| user.id == id);
                let current = current.ok_or_else(|| Fault::damage("a save was decided for a user who is not there"))?;
                let next = refreshed(&current, proven);
                let user = self.put(Some(&current), next)?;
                Ok(SaveWritten::Updated(user.id, user.version))
            }
            SaveDecision::Conflict(with) => {
                self.about_to_write();
                let (tables, ledger) = (&mut self.tables, &mut self.ledger);
                Ok(match conflicts::record(tables, ledger, with, identity, proven.at)? {
                    conflicts::State::Open => SaveWritten::Conflict(with),
                    conflicts::State::Decided => SaveWritten::Settled(with),
                })
            }
            SaveDecision::Stale(_) => Ok(SaveWritten::Stale),
            SaveDecision::Closed(_) => Ok(SaveWritten::Closed),
        }
    }

    /// The record comes back with the answer, so that a registration need not be read again.
    pub(super) fn insert_new(&mut self, new: NewUser) -> Result<Result<User, Taken>, Fault> {
        let legacy_id = new.legacy.as_ref().and_then(|side| side.id.clone());
        let names = new.identifiers.iter().map(|alias| &alias.normalized).chain(&new.must_be_free);
        for name in names {
            if self.holder_of(name)?.is_some() {
                return Ok(Err(Taken));
            }
        }
        if let Some(id) = &legacy_id
            && (self.id_of_legacy(id)?.is_some() || self.bearer_of(id)?.is_some())
        {
            return Ok(Err(Taken));
        }
        let mut user = self.new_user(
            legacy_id,
            &new.identifiers,
            new.profile,
            Credential::Argon2id(new.hash.into_stored()),
            Origin::Registered,
            new.at,
        );
        user.legacy_vouched_at = new.legacy.map(|_side| new.at);
        Ok(Ok(self.put(None, user)?))
    }

    pub(super) fn update(&mut self, id: UserId, based_on: Version, change: UserChange) -> Result<UpdateWritten, Fault> {
        let Some(current) = find_user(&self.tables.users, id.0.as_bytes())? else {
            return Ok(UpdateWritten::Missing);
        };
        if current.standing == Standing::Deleted && !people::may_change_a_tombstone(&change) {
            // Nothing but an operator's own word opens a grave; burying twice is what was asked for.
            return Ok(match change {
                UserChange::SetStanding(Standing::Deleted) => UpdateWritten::Done(id, current.version),
                UserChange::SetStanding(Standing::Active | Standing::Disabled)
                | UserChange::Rehash(_)
                | UserChange::SetPassword(_)
                | UserChange::DropPassword
                | UserChange::Vouched
                | UserChange::Undelete
                | UserChange::AddAlias { .. }
                | UserChange::RemoveAlias { .. } => UpdateWritten::Missing,
            });
        }
        if current.version != based_on {
            return Ok(UpdateWritten::Stale);
        }
        if let Some(why) = self.refusal(&current, &change)? {
            return Ok(UpdateWritten::Refused(why));
        }
        let row = Row::of(&change);
        let next = changed(&current, change, self.now());
        let user = self.put(Some(&current), next)?;
        if let Some(row) = row {
            self.settle_row(&user, &row)?;
        }
        Ok(UpdateWritten::Done(user.id, user.version))
    }

    pub(super) fn now(&self) -> UnixSeconds {
        self.workshop.clock.wall()
    }

    pub(super) fn renew(&mut self, after: Option<UserId>) -> Result<Renewed, Fault> {
        let (changed, wrote) = (&mut self.changed, &mut self.operation_wrote);
        renew::step(&mut self.tables, after, || (*changed, *wrote) = (true, true))
    }

    pub(super) fn write_logins(&mut self, taken: &activity::Taken) -> Result<(), Fault> {
        let (changed, wrote) = (&mut self.changed, &mut self.operation_wrote);
        activity::write(&mut self.tables, &mut self.roster, taken, || (*changed, *wrote) = (true, true))
    }

    pub(super) fn keep_mode(&mut self, mode: Mode) -> Result<(), Fault> {
        self.about_to_write();
        keep_mode(&mut self.tables.meta, mode)
    }

    pub(super) fn holder_of(&self, name: &NormalizedIdentifier) -> Result<Option<UserId>, Fault> {
        Ok(self.tables.aliases.get(name.as_key())?.map(|id| UserId(Uuid::from_bytes(*id.value()))))
    }

    fn id_of_legacy(&self, id: &LegacyId) -> Result<Option<UserId>, Fault> {
        Ok(self.tables.legacy_ids.get(id.as_key())?.map(|id| UserId(Uuid::from_bytes(*id.value()))))
    }

    /// Who bears this legacy id as his public id already, having none of legacy's: it reads as our own id of his. Where legacy
    /// lets people choose their ids, one of them could otherwise become the subject of another's tokens.
    fn bearer_of(&self, id: &LegacyId) -> Result<Option<User>, Fault> {
        let Some(own) = own_id(id.as_key()) else { return Ok(None) };
        Ok(find_user(&self.tables.users, &own)?.filter(|user| user.legacy_id.is_none()))
    }

    /// A record that is not there yet. Its version is given when it is put.
    fn new_user(
        &self,
        legacy_id: Option<LegacyId>,
        identifiers: &[Identifier],
        profile: Value,
        credential: Credential,
        origin: Origin,
        at: UnixSeconds,
    ) -> User {
        let stamp = Timestamp::from_unix(&self.workshop.keys, at.0, 0);
        User {
            id: UserId(Uuid::new_v7(stamp)),
            legacy_vouched_at: legacy_id.is_some().then_some(at),
            roster: None,
            legacy_id,
            identifiers: merged(identifiers, &[]),
            profile,
            credential,
            standing: Standing::Active,
            origin,
            created_at: at,
            updated_at: at,
            normalization_version: NORMALIZATION_VERSION,
            version: Version(0),
        }
    }

    /// Writes a record, its names and its legacy id, and counts it: the only place that does. Gives it back with its version.
    pub(super) fn put(&mut self, before: Option<&User>, mut after: User) -> Result<User, Fault> {
        let mut ledger = self.ledger;
        after.version = ledger.next_version();
        before.inspect(|before| ledger.count_out(before));
        ledger.count_in(&after);
        let bytes = self.tables.users.encode(&after)?;
        let id = after.id.0.as_bytes();

        let last_login = match before {
            Some(_) => self.tables.logins.get(id)?.map(|at| UnixSeconds(at.value())),
            None => None,
        };

        self.about_to_write();
        self.tables.users.insert(id, bytes.as_slice())?;
        let kept_before = before.map_or(&[][..], |before| &before.identifiers);
        let has = |names: &[Identifier], name: &Identifier| names.iter().any(|n| n.normalized == name.normalized);
        for gained in after.identifiers.iter().filter(|name| !has(kept_before, name)) {
            self.tables.aliases.insert(gained.normalized.as_key(), id)?;
        }
        for lost in kept_before.iter().filter(|name| !has(&after.identifiers, name)) {
            self.tables.aliases.remove(lost.normalized.as_key())?;
        }
        if after.standing == Standing::Deleted {
            self.tables.logins.remove(id)?;
        }
        let gained_id = after.legacy_id.as_ref().filter(|_| before.is_none_or(|before| before.legacy_id.is_none()));
        if let Some(gained) = gained_id {
            self.tables.legacy_ids.insert(gained.as_key(), id)?;
        }
        self.ledger = ledger;
        self.note_place(before, &after, last_login);
        Ok(after)
    }

    /// Notes where somebody stands now, and whether he has just come over.
    fn note_place(&mut self, before: Option<&User>, after: &User, last_login: Option<UnixSeconds>) {
        let was = before.map(|before| place(before, last_login));
        self.roster.moved(after.id, was.flatten(), place(after, last_login));
        if let Some(step) = step(was, after, Day::of(self.workshop.clock.wall())) {
            self.roster.stepped(step);
        }
    }

    pub(super) fn forget_listed(&mut self, users: &[(UserId, Version)]) -> Result<u64, Fault> {
        let mut forgotten = 0;
        for (id, version) in users {
            let Some(user) = find_user(&self.tables.users, id.0.as_bytes())? else { continue };
            let living = match user.standing {
                Standing::Active | Standing::Disabled => true,
                Standing::Deleted => false,
            };
            if user.version == *version && living && is_only_listed(&user) {
                self.remove(&user)?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    /// Takes a record out with all that leads to it, as if it had never been.
    fn remove(&mut self, user: &User) -> Result<(), Fault> {
        self.about_to_write();
        let last_login = self.tables.logins.remove(user.id.0.as_bytes())?.map(|at| UnixSeconds(at.value()));
        self.tables.users.remove(user.id.0.as_bytes())?;
        for name in &user.identifiers {
            self.tables.aliases.remove(name.normalized.as_key())?;
        }
        if let Some(id) = &user.legacy_id {
            self.tables.legacy_ids.remove(id.as_key())?;
        }
        self.let_go_of_reserved(user.id)?;
        conflicts::remove_all(&mut self.tables, &mut self.ledger, user.id)?;
        self.ledger.count_out(user);
        self.roster.moved(user.id, place(user, last_login), None);
        Ok(())
    }
}

fn holder(user: &User) -> Holder {
    // A list told of him: legacy knows him, whatever an operator has done to his record since.
    let listed = user.origin == Origin::Roster
        || matches!(user.credential, Credential::Absent(AbsentBecause::Roster | AbsentBecause::LeftWithLegacy));
    let known_to_legacy = user.legacy_vouched_at.is_some() || listed;
    Holder {
        id: user.id,
        version: user.version,
        standing: user.standing,
        may_adopt_id: user.legacy_id.is_none() && known_to_legacy,
    }
}

/// The record after legacy vouched for it: legacy's names and profile, the password it accepted, and the names he had before.
fn refreshed(current: &User, proven: ProvenUser) -> User {
    let identity = proven.accepted.identity();
    User {
        id: current.id,
        legacy_id: Some(identity.id.clone()),
        identifiers: merged(&identity.identifiers, &current.identifiers),
        profile: identity.profile.clone(),
        credential: Credential::Argon2id(proven.hash.into_stored()),
        standing: current.standing,
        origin: proven_origin(current.origin),
        created_at: current.created_at,
        updated_at: proven.at,
        legacy_vouched_at: Some(proven.at),
        roster: current.roster,
        normalization_version: NORMALIZATION_VERSION,
        version: current.version,
    }
}

/// Where a user comes from once a password of his was proven.
fn proven_origin(before: Origin) -> Origin {
    match before {
        Origin::Roster | Origin::Migrated => Origin::Migrated,
        Origin::Registered => Origin::Registered,
        Origin::Imported => Origin::Imported,
    }
}

/// The record after a change.
fn changed(current: &User, change: UserChange, now: UnixSeconds) -> User {
    let mut next = User { updated_at: now, ..copy_of(current) };
    match change {
        UserChange::Rehash(hash) => next.credential = Credential::Argon2id(hash.into_stored()),
        UserChange::SetPassword(hash) => {
            next.credential = Credential::Argon2id(hash.into_stored());
            next.origin = proven_origin(current.origin);
        }
        UserChange::DropPassword => {
            next.credential = Credential::Absent(match current.credential {
                Credential::Absent(because) => because,
                Credential::Argon2id(_) | Credential::Imported(_) => AbsentBecause::ResetAtLegacy,
            });
        }
        UserChange::SetStanding(Standing::Deleted) => bury(&mut next),
        UserChange::SetStanding(standing @ (Standing::Active | Standing::Disabled)) => next.standing = standing,
        UserChange::Vouched => next.legacy_vouched_at = Some(now),
        UserChange::Undelete => next.standing = Standing::Active,
        UserChange::AddAlias { alias, must_be_free: _ } => next.identifiers.push(alias),
        UserChange::RemoveAlias { name, then: _ } => next.identifiers.retain(|alias| alias.normalized != name),
    }
    next
}

/// Makes a tombstone: what may identify him is kept reserved in its canonical form, everything else is dropped.
fn bury(user: &mut User) {
    user.standing = Standing::Deleted;
    user.credential = Credential::Absent(AbsentBecause::ResetAtLegacy);
    user.profile = Value::Null;
    user.roster = None;
    for alias in &mut user.identifiers {
        alias.value = alias.normalized.text().into();
        alias.verified = None;
    }
}

pub(super) fn copy_of(user: &User) -> User {
    User {
        id: user.id,
        legacy_id: user.legacy_id.clone(),
        identifiers: user.identifiers.clone(),
        profile: user.profile.clone(),
        credential: match &user.credential {
            Credential::Argon2id(hash) => Credential::Argon2id(hash.clone()),
            Credential::Imported(hash) => Credential::Imported(hash.clone()),
            Credential::Absent(because) => Credential::Absent(*because),
        },
        standing: user.standing,
        origin: user.origin,
        created_at: user.created_at,
        updated_at: user.updated_at,
        legacy_vouched_at: user.legacy_vouched_at,
        roster: user.roster,
        normalization_version: user.normalization_version,
        version: user.version,
    }
}

/// Today's names, then the former ones, each once and at most [`MAX_ALIASES`].
fn merged(today: &[Identifier], former: &[Identifier]) -> Vec<Identifier> {
    let mut all: Vec<Identifier> = Vec::with_capacity(today.len() + former.len());
    for alias in today.iter().chain(former) {
        if all.len() < MAX_ALIASES && all.iter().all(|kept| kept.normalized != alias.normalized) {
            all.push(alias.clone());
        }
    }
    all
}

//! The store as its rules say it, in maps and without a file: what every history is compared with. Written from the rules alone
//! and for being read; it shares no decision with the store.
//!
//! 1. A user is who has legacy's stable id. Only where nobody has it may somebody without one become its user: one whom legacy
//!    knows, under a name that was typed and confirmed.
//! 2. A name belongs to one user, former names and those of the deleted included. Whoever comes with somebody else's is a
//!    conflict and changes nothing.
//! 3. A write that is based on an older state than the record it would change loses.
//! 4. A deleted user keeps his names and ids, and nothing else; an operator alone brings him back.
//! 5. A name that an operator takes from a user finds nobody, and stays reserved for him unless it is let go.
//! 6. Who is known from lists alone can be forgotten, with everything that leads to him: names that are reserved for him, conflicts.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use authferry::domain::clock::UnixSeconds;
use authferry::domain::conflict::{Conflict, Decided, Decision, Resolution};
use authferry::domain::credential::{AbsentBecause, Credential, StoredHash};
use authferry::domain::identifier::{
    Candidates, Identifier, IdentifierKind, NORMALIZATION_VERSION, NormalizedIdentifier,
};
use authferry::domain::import::{self, Bearers, ImportDecision, Imported, Incoming, OnConflict, Skip, own_id};
use authferry::domain::mode::Mode;
use authferry::domain::password::PasswordNormalization;
use authferry::domain::portable::PortableRoster;
use authferry::domain::proof::Migrated;
use authferry::domain::user::{LegacyId, Origin, Standing, User, UserId, Version};
use authferry::service::ports::{AfterRemoval, NotChanged, Resolved, Saved, Updated, UserCounts};
use authferry::store::redb::MAX_ALIASES;
use serde_json::Value;

/// Everything that can be seen of a user.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) id: UserId,
    pub(super) legacy_id: Option<Value>,
    pub(super) names: Vec<Identifier>,
    pub(super) profile: Value,
    pub(super) secret: Secret,
    pub(super) standing: Standing,
    pub(super) origin: Origin,
    pub(super) created_at: UnixSeconds,
    pub(super) updated_at: UnixSeconds,
    pub(super) vouched_at: Option<UnixSeconds>,
    pub(super) roster: Option<PortableRoster>,
    pub(super) version: Version,
}

/// What a password is checked against; the hash is told by its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Secret {
    Argon2id(String),
    Imported(String),
    None(AbsentBecause),
}

/// The store.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) users: BTreeMap<UserId, Record>,
    /// Whose a name is, by its key; those that are only reserved for somebody included.
    names: BTreeMap<String, UserId>,
    legacy_ids: BTreeMap<String, UserId>,
    /// In the order in which they came up first.
    pub(super) conflicts: Vec<Conflict>,
    last_conflict: u64,
    /// Who was changed by an import, and which versions it gave: it takes its rows in an order of its own where that makes no
    /// difference, so which of them is whose is told by the store.
    unordered: BTreeMap<UserId, RangeInclusive<u64>>,
    revision: u64,
    mode: Option<Mode>,
}

/// Somebody whom legacy proved.
#[derive(Debug, Clone)]
pub(super) struct Migration {
    pub(super) id: LegacyId,
    pub(super) names: Vec<Identifier>,
    pub(super) asked: Vec<NormalizedIdentifier>,
    pub(super) profile: Value,
    pub(super) password: String,
    pub(super) based_on: Version,
    pub(super) at: UnixSeconds,
}

/// Somebody who registers.
#[derive(Debug, Clone)]
pub(super) struct Registration {
    pub(super) names: Vec<Identifier>,
    pub(super) must_be_free: Vec<NormalizedIdentifier>,
    /// Registered at legacy too, with the id that it told, if it told one.
    pub(super) at_legacy: Option<Option<LegacyId>>,
    pub(super) profile: Value,
    pub(super) password: String,
    pub(super) at: UnixSeconds,
}

/// A row of an import.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Our own key, as our own export has it.
    pub(super) id: Option<UserId>,
    pub(super) legacy_id: Option<LegacyId>,
    pub(super) names: Vec<Identifier>,
    pub(super) profile: Value,
    pub(super) secret: Secret,
    pub(super) standing: Standing,
    pub(super) origin: Origin,
    pub(super) created_at: Option<UnixSeconds>,
    pub(super) vouched_at: Option<UnixSeconds>,
    pub(super) roster: Option<PortableRoster>,
}

/// A change of one record.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Rehash(String),
    SetPassword(String),
    DropPassword,
    Stand(Standing),
    Vouched,
    Undelete,
    AddAlias(Identifier, Vec<NormalizedIdentifier>),
    RemoveAlias(NormalizedIdentifier, AfterRemoval),
}

impl Record {
    fn bears(&self, name: &NormalizedIdentifier) -> bool {
        self.names.iter().any(|own| own.normalized == *name)
    }

    fn is_only_listed(&self) -> bool {
        let listed = [AbsentBecause::Roster, AbsentBecause::LeftWithLegacy].map(Secret::None);
        listed.contains(&self.secret) && self.origin == Origin::Roster
    }
}

impl Model {
    pub(super) fn revision(&self) -> Version {
        Version(self.revision)
    }

    /// A migration, its user to be known as `fresh` if he is new.
    pub(super) fn migrate(&mut self, asked: &Migration, fresh: UserId) -> Saved {
        let holders = self.holders(asked.names.iter().map(|name| &name.normalized), Some(&asked.id));
        let owner = match self.legacy_ids.get(asked.id.as_key()) {
            Some(owner) => Some(*owner),
            None => holders.iter().copied().find(|id| may_become(&self.users[id], &asked.asked)),
        };
        if let Some(stranger) = holders.iter().find(|id| Some(**id) != owner) {
            return self.conflict(*stranger, asked);
        }
        let Some(owner) = owner else {
            let done = self.put(Record {
                id: fresh,
                legacy_id: Some(asked.id.to_json()),
                names: each_once(&asked.names, &[]),
                profile: asked.profile.clone(),
                secret: Secret::Argon2id(asked.password.clone()),
                standing: Standing::Active,
                origin: Origin::Migrated,
                created_at: asked.at,
                updated_at: asked.at,
                vouched_at: Some(asked.at),
                roster: None,
                version: Version(0),
            });
            return Saved::Created(done);
        };
        let before = self.users[&owner].clone();
        if before.standing != Standing::Active {
            return Saved::Closed;
        }
        if before.version > asked.based_on {
            return Saved::Stale;
        }
        Saved::Updated(self.put(Record {
            legacy_id: Some(asked.id.to_json()),
            names: each_once(&asked.names, &before.names),
            profile: asked.profile.clone(),
            secret: Secret::Argon2id(asked.password.clone()),
            origin: once_proven(before.origin),
            updated_at: asked.at,
            vouched_at: Some(asked.at),
            ..before
        }))
    }

    /// A registration; none if a name or the id is taken.
    pub(super) fn register(&mut self, asked: &Registration, fresh: UserId) -> Option<Migrated> {
        let legacy_id = asked.at_legacy.clone().flatten();
        let names = asked.names.iter().map(|name| &name.normalized).chain(&asked.must_be_free);
        let known = legacy_id.as_ref().is_some_and(|id| self.legacy_ids.contains_key(id.as_key()));
        if known || !self.holders(names, legacy_id.as_ref()).is_empty() {
            return None;
        }
        Some(self.put(Record {
            id: fresh,
            legacy_id: legacy_id.as_ref().map(LegacyId::to_json),
            names: each_once(&asked.names, &[]),
            profile: asked.profile.clone(),
            secret: Secret::Argon2id(asked.password.clone()),
            standing: Standing::Active,
            origin: Origin::Registered,
            created_at: asked.at,
            updated_at: asked.at,
            vouched_at: asked.at_legacy.is_some().then_some(asked.at),
            roster: None,
            version: Version(0),
        }))
    }

    /// A change of one record.
    pub(super) fn change(&mut self, id: UserId, based_on: Version, change: &Change, now: UnixSeconds) -> Updated {
        let Some(before) = self.users.get(&id).cloned() else { return Updated::Missing };
        if before.standing == Standing::Deleted {
            match change {
                Change::Undelete | Change::RemoveAlias(..) => {}
                Change::Stand(Standing::Deleted) => {
                    return Updated::Done(Migrated::assert_after_commit(id, before.version));
                }
                _ => return Updated::Missing,
            }
        }
        if before.version != based_on {
            return Updated::Stale;
        }
        if let Some(why) = self.refusal(&before, change) {
            return Updated::Refused(why);
        }
        let mut after = Record { updated_at: now, ..before };
        match change {
            Change::Rehash(password) => after.secret = Secret::Argon2id(password.clone()),
            Change::SetPassword(password) => {
                after.secret = Secret::Argon2id(password.clone());
                after.origin = once_proven(after.origin);
            }
            Change::DropPassword => {
                if !matches!(after.secret, Secret::None(_)) {
                    after.secret = Secret::None(AbsentBecause::ResetAtLegacy);
                }
            }
            Change::Stand(Standing::Deleted) => {
                after.standing = Standing::Deleted;
                after.secret = Secret::None(AbsentBecause::ResetAtLegacy);
                after.profile = Value::Null;
                after.roster = None;
                for name in &mut after.names {
                    name.value = name.normalized.text().into();
                    name.verified = None;
                }
            }
            Change::Stand(standing) => after.standing = *standing,
            Change::Vouched => after.vouched_at = Some(now),
            Change::Undelete => after.standing = Standing::Active,
            Change::AddAlias(name, _) => after.names.push(name.clone()),
            Change::RemoveAlias(name, _) => after.names.retain(|own| own.normalized != *name),
        }
        let done = self.put(after);
        match change {
            Change::RemoveAlias(name, AfterRemoval::Reserved) => {
                self.names.insert(name.as_key().to_owned(), id);
            }
            Change::RemoveAlias(name, AfterRemoval::Free) => {
                self.names.remove(name.as_key());
                self.forget_moot(id, std::slice::from_ref(name));
            }
            _ => {}
        }
        Updated::Done(done)
    }

    /// Why an operator's change cannot be.
    fn refusal(&self, user: &Record, change: &Change) -> Option<NotChanged> {
        match change {
            Change::Undelete if user.standing != Standing::Deleted => Some(NotChanged::NotDeleted),
            Change::AddAlias(name, _) if user.bears(&name.normalized) => Some(NotChanged::AlreadyHis),
            Change::AddAlias(..) if user.names.len() >= MAX_ALIASES => Some(NotChanged::TooManyNames),
            Change::AddAlias(name, must_be_free) => {
                let mut names = std::iter::once(&name.normalized).chain(must_be_free);
                let taken = names.find_map(|name| self.names.get(name.as_key()).filter(|holder| **holder != user.id));
                taken.map(|by| NotChanged::NameTaken { by: *by })
            }
            Change::RemoveAlias(name, then) => {
                let reserved = !user.bears(name) && self.names.get(name.as_key()) == Some(&user.id);
                match (user.bears(name), then) {
                    (true, _) if left_nameless(user, std::slice::from_ref(name)) => Some(NotChanged::LastName),
                    (true, _) => None,
                    (false, AfterRemoval::Free) if reserved => None,
                    (false, _) => Some(NotChanged::NotHis),
                }
            }
            _ => None,
        }
    }

    /// What an operator chose about a conflict.
    pub(super) fn resolve(&mut self, number: u64, resolution: &Resolution, now: UnixSeconds) -> Resolved {
        let Some(conflict) = self.conflicts.iter().find(|row| row.number == number).cloned() else {
            return Resolved::Missing;
        };
        if conflict.decided.is_some_and(|decided| decided.decision == Decision::Given) {
            return Resolved::Refused(NotChanged::GivenAlready);
        }
        let holder = self.users[&conflict.with].clone();
        let decision = match resolution {
            Resolution::Keep => Decision::Kept,
            Resolution::DisableHolder if holder.standing == Standing::Deleted => Decision::Kept,
            Resolution::DisableHolder => {
                if holder.standing == Standing::Active {
                    self.put(Record { standing: Standing::Disabled, updated_at: now, ..holder });
                }
                Decision::HolderDisabled
            }
            Resolution::Give(names) => return self.give(&conflict, holder, names, now),
        };
        for row in self.conflicts.iter_mut().filter(|row| row.number == number) {
            row.decided = Some(Decided { decision, at: now });
        }
        Resolved::Done { given_to: None }
    }

    /// Takes names from the holder of a conflict and gives them to legacy's user, or lets them go if he is not here.
    fn give(
        &mut self,
        conflict: &Conflict,
        holder: Record,
        names: &[NormalizedIdentifier],
        now: UnixSeconds,
    ) -> Resolved {
        let his = |name: &NormalizedIdentifier| self.names.get(name.as_key()) == Some(&holder.id);
        if names.is_empty() || !names.iter().all(|name| conflict.names.contains(name) && his(name)) {
            return Resolved::Refused(NotChanged::NotHis);
        }
        let mut seen = BTreeSet::new();
        let names: Vec<_> = names.iter().filter(|name| seen.insert(*name)).cloned().collect();
        if left_nameless(&holder, &names) {
            return Resolved::Refused(NotChanged::LastName);
        }
        let claimant = self.legacy_ids.get(&*conflict.legacy_id).map(|id| self.users[id].clone());
        let claimant = claimant.filter(|user| user.standing != Standing::Deleted && user.id != holder.id);
        if claimant.as_ref().is_some_and(|claimant| claimant.names.len() + names.len() > MAX_ALIASES) {
            return Resolved::Refused(NotChanged::TooManyNames);
        }
        let mut left = Record { updated_at: now, ..holder };
        left.names.retain(|own| !names.contains(&own.normalized));
        let holder = left.id;
        self.put(left);
        for name in &names {
            self.names.remove(name.as_key());
        }
        let given_to = claimant.as_ref().map(|claimant| claimant.id);
        if let Some(claimant) = claimant {
            let mut next = Record { updated_at: now, ..claimant };
            next.names.extend(names.iter().map(|name| Identifier {
                value: name.text().into(),
                normalized: name.clone(),
                verified: None,
            }));
            self.put(next);
        }
        for row in self.conflicts.iter_mut().filter(|row| row.number == conflict.number) {
            row.names.clone_from(&names);
            row.decided = Some(Decided { decision: Decision::Given, at: now });
        }
        self.forget_moot(holder, &names);
        Resolved::Done { given_to }
    }

    /// A conflict over names that have gone from its holder is over.
    fn forget_moot(&mut self, holder: UserId, gone: &[NormalizedIdentifier]) {
        let holder = self.users[&holder].clone();
        self.conflicts.retain(|row| {
            let was_about = row.with == holder.id && row.names.iter().any(|name| gone.contains(name));
            let is_kept = row.decided.is_some_and(|decided| decided.decision == Decision::Given);
            is_kept || !was_about || row.names.iter().any(|name| holder.bears(name))
        });
    }

    /// Forgets those of whom nothing but lists told, if they are as they were.
    pub(super) fn forget(&mut self, who: &[(UserId, Version)]) -> u64 {
        let before = self.users.len();
        for (id, version) in who {
            let Some(user) = self.users.get(id) else { continue };
            if user.version != *version || user.standing == Standing::Deleted || !user.is_only_listed() {
                continue;
            }
            self.users.remove(id);
            self.names.retain(|_, holder| holder != id);
            self.legacy_ids.retain(|_, holder| holder != id);
            self.conflicts.retain(|row| row.with != *id);
            self.unordered.remove(id);
        }
        (before - self.users.len()) as u64
    }

    /// Rows of an import, one after the other: whatever the store makes of many at once has to be the same. What becomes of each is
    /// decided by the rules that have a table of their own (`domain::import`); here it is what they are asked about.
    pub(super) fn import(
        &mut self,
        rows: &[Row],
        on_conflict: OnConflict,
        at: UnixSeconds,
        results: &[Imported],
    ) -> Vec<Imported> {
        assert_eq!(rows.len(), results.len(), "one result a row");
        let before = self.revision;
        let taken =
            rows.iter().zip(results).map(|(row, result)| self.import_row(row, on_conflict, at, result)).collect();
        let touched = self.users.values().filter(|user| user.version.0 > before).map(|user| user.id);
        self.unordered.extend(touched.map(|id| (id, before + 1..=self.revision)));
        taken
    }

    /// Burying who is buried tells the version of the tombstone, which an import of the same moment may have made.
    pub(super) fn settle_grave(&mut self, told: Migrated) {
        let Some(user) = self.users.get_mut(&told.id()) else { return };
        let may_be = self.unordered.get(&told.id()).is_some_and(|range| range.contains(&told.version().0));
        if user.standing == Standing::Deleted && may_be {
            user.version = told.version();
        }
    }

    /// Takes the store's word for the order in which an import took its rows, as far as it is an order.
    pub(super) fn settle(&mut self, found: &Whole) {
        let unordered = std::mem::take(&mut self.unordered);
        let versions: BTreeMap<UserId, Version> = found.users.iter().map(|user| (user.id, user.version)).collect();
        let mut given = BTreeSet::new();
        for (id, range) in unordered {
            let Some(version) = versions.get(&id).filter(|version| range.contains(&version.0)) else { continue };
            if let Some(user) = self.users.get_mut(&id)
                && given.insert(*version)
            {
                user.version = *version;
            }
        }
    }

    fn import_row(&mut self, row: &Row, on_conflict: OnConflict, at: UnixSeconds, result: &Imported) -> Imported {
        let users: BTreeMap<UserId, User> = self.users.iter().map(|(id, record)| (*id, record.as_user())).collect();
        let as_ours = row.legacy_id.as_ref().and_then(|id| users.get(&own_id(id.as_key())?));
        let as_legacys = row.id.filter(|_| row.legacy_id.is_none());
        let bearers = Bearers {
            of_legacy_id: row.legacy_id.as_ref().and_then(|id| users.get(self.legacy_ids.get(id.as_key())?)),
            of_id: row.id.and_then(|id| users.get(&id)),
            of_legacy_id_as_ours: as_ours.filter(|user| user.legacy_id.is_none()),
            of_id_as_legacys: as_legacys.and_then(|id| self.legacy_ids.get(&id.to_string()).copied()),
            of_names: row
                .names
                .iter()
                .filter_map(|name| Some((name.normalized.kind(), &users[self.names.get(name.normalized.as_key())?])))
                .collect(),
        };
        let decision = import::decide(&row.incoming(), &bearers, on_conflict);
        let leaves_hash =
            matches!(decision, ImportDecision::Merge(id) if import::leaves_hash(&users[&id], &row.incoming()));
        let next = match decision {
            ImportDecision::Reject(why) => return Imported::Rejected(why),
            ImportDecision::Skip(id, why) => return Imported::Skipped(id, why),
            ImportDecision::Merge(id) => match import::merged(&users[&id], row.incoming(), at) {
                Err(why) => return Imported::Rejected(why),
                Ok(None) => return Imported::unchanged(id, leaves_hash),
                Ok(Some(next)) => next,
            },
            ImportDecision::List(id) => match import::listed(&users[&id], row.incoming(), at) {
                Err(why) => return Imported::Rejected(why),
                Ok(None) => return Imported::Skipped(id, Skip::Unchanged),
                Ok(Some(next)) => next,
            },
            ImportDecision::Replace(id) => match import::replaced(&users[&id], row.incoming(), at) {
                Err(why) => return Imported::Rejected(why),
                Ok(next) => next,
            },
            ImportDecision::Create => {
                let id = match (row.id, result) {
                    (Some(own), _) => own,
                    (None, Imported::Created(id)) => *id,
                    (None, other) => panic!("{row:?} is somebody new, and the store says {other:?}"),
                };
                assert!(!users.contains_key(&id), "a new user has somebody else's key");
                row.incoming().into_user(id, at)
            }
        };
        let known = users.contains_key(&next.id);
        let id = next.id;
        self.put(seen(&next));
        if known { Imported::updated(id, leaves_hash) } else { Imported::Created(id) }
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = Some(mode);
    }

    /// Who is found under typed text: nobody, one, or several between whom nobody can choose.
    pub(super) fn find(&self, typed: &Candidates) -> BTreeSet<UserId> {
        let mut found = BTreeSet::new();
        for key in typed.keys() {
            found.extend(self.names.get(key.as_key()).filter(|holder| self.users[*holder].bears(key)));
            // Whose address it is goes before who chose it for a name.
            if key.kind() == IdentifierKind::Email && !found.is_empty() {
                break;
            }
        }
        found
    }

    /// Whose a name is, and whether he is found by it.
    pub(super) fn holder(&self, name: &NormalizedIdentifier) -> Option<(UserId, bool)> {
        self.names.get(name.as_key()).map(|holder| (*holder, self.users[holder].bears(name)))
    }

    /// Who bears this id in tokens.
    pub(super) fn find_public(&self, id: &str) -> Option<UserId> {
        self.legacy_ids.get(id).copied().or_else(|| self.users.keys().find(|own| own.to_string() == id).copied())
    }

    /// Who has a name of this prefix, in the order of the first of those names: by its text, then by its kind.
    pub(super) fn with_prefix(&self, prefix: &str) -> Vec<UserId> {
        let mut first: BTreeMap<(&str, IdentifierKind), UserId> = BTreeMap::new();
        for user in self.users.values() {
            let names = user.names.iter().map(|name| (name.normalized.text(), name.normalized.kind()));
            first.extend(names.filter(|(text, _)| text.starts_with(prefix)).min().map(|name| (name, user.id)));
        }
        first.into_values().collect()
    }

    /// What can be seen of the whole.
    pub(super) fn whole(&self) -> Whole {
        let open = self.conflicts.iter().filter(|row| row.decided.is_none()).count();
        let mut counts = UserCounts { conflicts: open as u64, ..UserCounts::default() };
        for user in self.users.values() {
            if user.standing == Standing::Deleted {
                counts.deleted += 1;
                continue;
            }
            match user.origin {
                Origin::Migrated => counts.migrated += 1,
                Origin::Registered => counts.registered += 1,
                Origin::Imported => counts.imported += 1,
                Origin::Roster => counts.roster += 1,
            }
            counts.disabled += u64::from(user.standing == Standing::Disabled);
            counts.without_password += u64::from(matches!(user.secret, Secret::None(_)));
        }
        Whole {
            users: self.users.values().cloned().collect(),
            counts,
            revision: self.revision(),
            mode: self.mode,
            conflicts: self.conflicts.iter().rev().cloned().collect(),
        }
    }

    /// Who has one of these names, or bears this id as his own, each once.
    fn holders<'a>(&self, names: impl Iterator<Item = &'a NormalizedIdentifier>, id: Option<&LegacyId>) -> Vec<UserId> {
        let by_name = names.filter_map(|name| self.names.get(name.as_key()).copied());
        // Who has no id of legacy's bears ours in his tokens; nobody else may come by it.
        let bearer = id.and_then(|id| self.users.values().find(|user| user.id.to_string() == id.as_key()));
        let bearer = bearer.filter(|user| user.legacy_id.is_none()).map(|user| user.id);
        let mut holders = Vec::new();
        for id in by_name.chain(bearer) {
            if !holders.contains(&id) {
                holders.push(id);
            }
        }
        holders
    }

    fn conflict(&mut self, with: UserId, asked: &Migration) -> Saved {
        let names: Vec<_> = asked.names.iter().map(|name| name.normalized.clone()).collect();
        let known = self.conflicts.iter_mut().find(|row| row.with == with && *row.legacy_id == *asked.id.as_key());
        match known {
            Some(row) => {
                row.names = names;
                row.last_at = asked.at;
                row.times += 1;
                row.decided = row.decided.filter(|decided| decided.decision != Decision::Given);
                if row.decided.is_some() {
                    return Saved::Settled { with };
                }
            }
            None => {
                self.last_conflict += 1;
                self.conflicts.push(Conflict {
                    number: self.last_conflict,
                    decided: None,
                    with,
                    legacy_id: asked.id.as_key().into(),
                    names,
                    first_at: asked.at,
                    last_at: asked.at,
                    times: 1,
                });
            }
        }
        Saved::Conflict { with }
    }

    /// Keeps a record in its next version, with everything that leads to it.
    fn put(&mut self, mut record: Record) -> Migrated {
        self.revision += 1;
        record.version = Version(self.revision);
        let former = self.users.get(&record.id).map_or(&[][..], |before| &before.names);
        for lost in former.iter().filter(|name| !record.bears(&name.normalized)) {
            self.names.remove(lost.normalized.as_key());
        }
        for name in &record.names {
            let holder = *self.names.entry(name.normalized.as_key().to_owned()).or_insert(record.id);
            assert_eq!(holder, record.id, "the model gives {name:?} to two users");
        }
        if let Some(id) = record.legacy_id.as_ref().and_then(LegacyId::from_json) {
            let holder = *self.legacy_ids.entry(id.as_key().to_owned()).or_insert(record.id);
            assert_eq!(holder, record.id, "the model gives an id to two users");
        }
        self.unordered.remove(&record.id);
        let done = Migrated::assert_after_commit(record.id, record.version);
        self.users.insert(record.id, record);
        done
    }
}

impl Record {
    /// The user that this is seen of.
    fn as_user(&self) -> User {
        User {
            id: self.id,
            legacy_id: self.legacy_id.as_ref().and_then(LegacyId::from_json),
            identifiers: self.names.clone(),
            profile: self.profile.clone(),
            credential: self.secret.credential(),
            standing: self.standing,
            origin: self.origin,
            created_at: self.created_at,
            updated_at: self.updated_at,
            legacy_vouched_at: self.vouched_at,
            roster: self.roster,
            normalization_version: NORMALIZATION_VERSION,
            version: self.version,
        }
    }
}

impl Secret {
    fn credential(&self) -> Credential {
        let stored = |text: &str| StoredHash::new(encoded(text), PasswordNormalization::None);
        match self {
            Self::Argon2id(text) => Credential::Argon2id(stored(text)),
            Self::Imported(text) => Credential::Imported(stored(text)),
            Self::None(because) => Credential::Absent(*because),
        }
    }
}

/// A hash that is told by its text.
fn encoded(text: &str) -> String {
    format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA${text}")
}

impl Row {
    /// The row as a store takes it.
    pub(super) fn incoming(&self) -> Incoming {
        Incoming {
            id: self.id,
            legacy_id: self.legacy_id.clone(),
            identifiers: self.names.clone(),
            reserved: Vec::new(),
            profile: self.profile.clone(),
            credential: self.secret.credential(),
            standing: self.standing,
            origin: self.origin,
            created_at: self.created_at,
            updated_at: None,
            legacy_vouched_at: self.vouched_at,
            last_login_at: None,
            roster: self.roster,
        }
    }
}

/// Whether a user without an id of legacy's is the one whom legacy proved under the names that were asked about.
fn may_become(user: &Record, asked: &[NormalizedIdentifier]) -> bool {
    let told = [AbsentBecause::Roster, AbsentBecause::LeftWithLegacy].map(Secret::None);
    let listed = user.origin == Origin::Roster || told.contains(&user.secret);
    let known_to_legacy = user.vouched_at.is_some() || listed;
    let named = user.names.iter().any(|name| asked.contains(&name.normalized));
    user.legacy_id.is_none() && known_to_legacy && named
}

/// Whether nothing would find a living user any more.
fn left_nameless(user: &Record, without: &[NormalizedIdentifier]) -> bool {
    let (gone, kept): (Vec<_>, Vec<_>) = user.names.iter().partition(|own| without.contains(&own.normalized));
    user.standing != Standing::Deleted && !gone.is_empty() && kept.is_empty()
}

fn once_proven(origin: Origin) -> Origin {
    match origin {
        Origin::Roster | Origin::Migrated => Origin::Migrated,
        Origin::Registered => Origin::Registered,
        Origin::Imported => Origin::Imported,
    }
}

/// Today's names and then the former ones; of too many, the oldest are given up.
fn each_once(today: &[Identifier], former: &[Identifier]) -> Vec<Identifier> {
    let mut seen = BTreeSet::new();
    let all = today.iter().chain(former).filter(|name| seen.insert(name.normalized.clone()));
    all.take(MAX_ALIASES).cloned().collect()
}

/// What can be seen of a store but for looking somebody up.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Whole {
    pub(super) users: Vec<Record>,
    pub(super) counts: UserCounts,
    pub(super) revision: Version,
    pub(super) mode: Option<Mode>,
    pub(super) conflicts: Vec<Conflict>,
}

/// A user of the store's as the model has him.
pub(super) fn seen(user: &User) -> Record {
    let text = |hash: &str| hash.rsplit('$').next().unwrap_or_default().to_owned();
    Record {
        id: user.id,
        legacy_id: user.legacy_id.as_ref().map(LegacyId::to_json),
        names: user.identifiers.clone(),
        profile: user.profile.clone(),
        secret: match &user.credential {
            Credential::Argon2id(hash) => Secret::Argon2id(text(hash.expose())),
            Credential::Imported(hash) => Secret::Imported(text(hash.expose())),
            Credential::Absent(because) => Secret::None(*because),
        },
        standing: user.standing,
        origin: user.origin,
        created_at: user.created_at,
        updated_at: user.updated_at,
        vouched_at: user.legacy_vouched_at,
        roster: user.roster,
        version: user.version,
    }
}

//! A small, real [`UserStore`] in memory: the same decisions and constraints as a store on disk, without the disk. For tests
//! of everything above the store; it passes for durable, so never for tests of durability.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use authferry::domain::clock::UnixSeconds;
use authferry::domain::conflict::{Conflict, Decided, Decision, Resolution};
use authferry::domain::credential::{AbsentBecause, Credential};
use authferry::domain::identifier::{
    Candidates, Identifier, IdentifierKind, NORMALIZATION_VERSION, NormalizedIdentifier,
};
use authferry::domain::import::{self, Bearers, ImportDecision, Imported, Incoming, OnConflict, Skip};
use authferry::domain::login::{Holder, SaveDecision, decide_save};
use authferry::domain::mode::Mode;
use authferry::domain::proof::Migrated;
use authferry::domain::roster::{Day, Pace, Place, RosterCounts, Side, Tally, is_only_listed, place, step};
use authferry::domain::user::{LegacyId, Origin, Standing, User, UserId, Version};
use authferry::service::ports::{
    AfterRemoval, ConflictQuery, Found, ImportBatch, ImportKey, Inserted, Lookup, NameHolder, NewUser, NotChanged,
    ProvenUser, Resolved, Saved, SavedCheckpoint, StoreError, StoreHealth, StragglerQuery, Updated, UserChange,
    UserCounts, UserPage, UserQuery, UserStore,
};
use authferry::store::redb::MAX_ALIASES;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use uuid::Uuid;

/// Users in memory. `Default` is empty and well.
#[derive(Default)]
pub(crate) struct MemoryStore(Mutex<State>);

struct State {
    users: BTreeMap<UserId, User>,
    /// Every key that is taken, those that a user no longer bears included.
    taken: BTreeMap<String, UserId>,
    by_legacy_id: BTreeMap<String, UserId>,
    conflicts: BTreeMap<u64, Conflict>,
    last_conflict: u64,
    logins: BTreeMap<UserId, UnixSeconds>,
    imports: BTreeMap<[u8; 32], SavedCheckpoint>,
    /// Where everybody stands, as it was when he last changed.
    places: BTreeMap<UserId, Option<Place>>,
    pace: BTreeMap<Day, Pace>,
    revision: u64,
    mode: Option<Mode>,
    health: StoreHealth,
    last_write: UnixSeconds,
}

impl Default for State {
    fn default() -> Self {
        Self {
            users: BTreeMap::new(),
            taken: BTreeMap::new(),
            by_legacy_id: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            last_conflict: 0,
            logins: BTreeMap::new(),
            imports: BTreeMap::new(),
            places: BTreeMap::new(),
            pace: BTreeMap::new(),
            revision: 0,
            mode: None,
            health: StoreHealth::Ready,
            last_write: UnixSeconds(0),
        }
    }
}

impl MemoryStore {
    /// How the store is from now on. `ReadOnly` refuses writes, `Down` everything.
    pub(crate) fn set_health(&self, health: StoreHealth) {
        self.state().health = health;
    }

    /// Puts a record in as it is, as an import or a roster would; its names and legacy id have to be free.
    pub(crate) fn put(&self, mut user: User) {
        let mut state = self.state();
        user.version = state.next_version();
        state.keep(user);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no holder of the lock panics")
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T, StoreError> {
        let state = self.state();
        match state.health {
            StoreHealth::Ready | StoreHealth::ReadOnly => Ok(look(&state)),
            StoreHealth::Down => Err(StoreError::Unavailable("the memory store was told to be down".into())),
        }
    }

    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        let mut state = self.state();
        match state.health {
            StoreHealth::Ready => Ok(change(&mut state)),
            StoreHealth::ReadOnly | StoreHealth::Down => {
                Err(StoreError::Unavailable("the memory store was told not to write".into()))
            }
        }
    }
}

impl State {
    /// Writes a record and its keys. The caller has counted the revision up and put it into the record.
    fn keep(&mut self, user: User) -> Migrated {
        for alias in &user.identifiers {
            let before = self.taken.insert(alias.normalized.as_key().to_owned(), user.id);
            assert!(before.is_none_or(|holder| holder == user.id), "a name has two holders");
        }
        if let Some(id) = &user.legacy_id {
            let before = self.by_legacy_id.insert(id.as_key().to_owned(), user.id);
            assert!(before.is_none_or(|holder| holder == user.id), "a legacy id has two holders");
        }
        self.last_write = self.last_write.max(user.updated_at);
        let done = Migrated::assert_after_commit(user.id, user.version);
        if user.standing == Standing::Deleted {
            self.logins.remove(&user.id);
        }
        self.note_place(&user);
        self.users.insert(user.id, user);
        done
    }

    fn note_place(&mut self, user: &User) {
        let today = Day::of(self.last_write);
        let now = place(user, self.logins.get(&user.id).copied());
        let before = self.places.insert(user.id, now);
        if let Some(step) = step(before, user, today) {
            self.pace.entry(today).or_default().count(step);
        }
        if self.pace.is_empty() && now.is_some_and(|place| place.side == Side::Straggler) {
            self.pace.insert(today, Pace::default());
        }
    }

    fn roster(&self) -> RosterCounts {
        let mut counts = RosterCounts { pace: self.pace.clone(), ..RosterCounts::default() };
        for place in self.places.values().flatten() {
            let row = counts.days.entry(place.day).or_default();
            let value = u128::from(place.value);
            let (stragglers, over) = if place.side == Side::Over { (0, 1) } else { (1, 0) };
            let one = Tally {
                stragglers,
                straggler_value: value * u128::from(stragglers),
                over,
                over_value: value * u128::from(over),
                listed: u64::from(place.listed),
            };
            *row = row.and(one);
        }
        counts
    }

    fn stragglers(&self, query: &StragglerQuery) -> UserPage {
        let key = |id: &UserId, place: &Place| format!("{:05}-{id}", place.day.number());
        let stands = |place: &&Place| place.side == Side::Straggler && query.days.contains(&place.day);
        let places = self.places.iter().filter_map(|(id, place)| Some((*id, place.as_ref().filter(stands)?)));
        let mut keys: Vec<(String, UserId)> = places.map(|(id, place)| (key(&id, place), id)).collect();
        keys.sort_by(|one, other| other.cmp(one));
        let after = |key: &str| query.after.as_deref().is_none_or(|after| key < after);
        let worth = |id: &UserId| self.users[id].roster.and_then(|roster| roster.value).unwrap_or(0);
        let mut rest = keys.into_iter().filter(|(key, id)| after(key) && worth(id) >= query.min_value).peekable();
        let page: Vec<_> = rest.by_ref().take(query.limit.clamp(1, 1_000)).collect();
        let next = rest.peek().and(page.last()).map(|(key, _)| key.clone());
        UserPage { users: page.iter().map(|(_, id)| copy(&self.users[id])).collect(), next, ..UserPage::default() }
    }

    fn forget_listed(&mut self, users: &[(UserId, Version)]) -> u64 {
        let before = self.users.len();
        for (id, version) in users {
            let known = self.users.get(id).filter(|user| user.version == *version && is_only_listed(user));
            if known.is_some_and(|user| user.standing != Standing::Deleted) {
                self.users.remove(id);
                self.places.remove(id);
                self.taken.retain(|_, holder| holder != id);
                self.by_legacy_id.retain(|_, holder| holder != id);
                self.conflicts.retain(|_, conflict| conflict.with != *id);
            }
        }
        (before - self.users.len()) as u64
    }

    fn next_version(&mut self) -> Version {
        self.revision += 1;
        Version(self.revision)
    }

    fn holder(&self, id: UserId) -> Holder {
        let user = &self.users[&id];
        // A roster entry, or a registration that legacy took too, may learn its id; one that legacy never knew may not.
        let at_legacy = user.origin == Origin::Roster || user.legacy_vouched_at.is_some();
        Holder {
            id,
            version: user.version,
            standing: user.standing,
            may_adopt_id: user.legacy_id.is_none() && at_legacy,
        }
    }

    fn save_proven(&mut self, proven: ProvenUser) -> Saved {
        let identity = proven.accepted.identity().clone();
        let by_id = self.by_legacy_id.get(identity.id.as_key()).map(|id| self.holder(*id));
        let names: BTreeSet<UserId> = holders(&self.taken, &identity.identifiers);
        let confirmed =
            |id: UserId| self.users[&id].identifiers.iter().any(|alias| proven.asked.contains(&alias.normalized));
        let by_name: Vec<Holder> = names
            .into_iter()
            .map(|id| Holder { may_adopt_id: self.holder(id).may_adopt_id && confirmed(id), ..self.holder(id) })
            .collect();
        let credential = Credential::Argon2id(proven.hash.into_stored());
        match decide_save(by_id, &by_name, proven.based_on) {
            SaveDecision::Create => {
                let version = self.next_version();
                let user = User {
                    id: new_id(version),
                    legacy_id: Some(identity.id),
                    identifiers: identity.identifiers,
                    profile: identity.profile,
                    credential,
                    standing: Standing::Active,
                    origin: proven.origin,
                    created_at: proven.at,
                    updated_at: proven.at,
                    legacy_vouched_at: Some(proven.at),
                    roster: None,
                    normalization_version: NORMALIZATION_VERSION,
                    version,
                };
                Saved::Created(self.keep(user))
            }
            SaveDecision::Update(id) => {
                let version = self.next_version();
                let mut user = self.users.remove(&id).expect("decide_save names a user of this store");
                // A user known from a list only came over now.
                if user.origin == Origin::Roster {
                    user.origin = proven.origin;
                }
                user.legacy_id = Some(identity.id);
                user.identifiers = identity.identifiers;
                user.profile = identity.profile;
                user.credential = credential;
                user.updated_at = proven.at;
                user.legacy_vouched_at = Some(proven.at);
                user.version = version;
                Saved::Updated(self.keep(user))
            }
            SaveDecision::Conflict(with) => {
                match self.note_conflict(with, identity.id.as_key(), &identity.identifiers, proven.at) {
                    None => Saved::Conflict { with },
                    Some(_) => Saved::Settled { with },
                }
            }
            SaveDecision::Stale(_) => Saved::Stale,
            SaveDecision::Closed(_) => Saved::Closed,
        }
    }

    fn insert_new(&mut self, new: NewUser) -> Inserted {
        let legacy_id = new.legacy.as_ref().and_then(|side| side.id.clone());
        let taken = !holders(&self.taken, &new.identifiers).is_empty()
            || new.must_be_free.iter().any(|key| self.taken.contains_key(key.as_key()))
            || legacy_id.as_ref().is_some_and(|id| self.by_legacy_id.contains_key(id.as_key()));
        if taken {
            return Inserted::Exists;
        }
        let version = self.next_version();
        let user = User {
            id: new_id(version),
            legacy_id,
            identifiers: new.identifiers,
            profile: new.profile,
            credential: Credential::Argon2id(new.hash.into_stored()),
            standing: Standing::Active,
            origin: Origin::Registered,
            created_at: new.at,
            updated_at: new.at,
            legacy_vouched_at: new.legacy.map(|_| new.at),
            roster: None,
            normalization_version: NORMALIZATION_VERSION,
            version,
        };
        let copy = Box::new(copy(&user));
        Inserted::Inserted(self.keep(user), copy)
    }

    fn update(&mut self, id: UserId, based_on: Version, change: UserChange) -> Updated {
        let Some(current) = self.users.get(&id) else { return Updated::Missing };
        let opens_graves = matches!(change, UserChange::Undelete | UserChange::RemoveAlias { .. });
        if current.standing == Standing::Deleted && !opens_graves {
            return match change {
                UserChange::SetStanding(Standing::Deleted) => {
                    Updated::Done(Migrated::assert_after_commit(id, current.version))
                }
                _ => Updated::Missing,
            };
        }
        if current.version != based_on {
            return Updated::Stale;
        }
        if let Some(why) = self.refusal(current, &change) {
            return Updated::Refused(why);
        }
        let version = self.next_version();
        let now = self.last_write;
        let mut user = self.users.remove(&id).expect("it was there a moment ago, under the same lock");
        match change {
            UserChange::Rehash(hash) | UserChange::SetPassword(hash) => {
                user.credential = Credential::Argon2id(hash.into_stored());
            }
            UserChange::DropPassword => user.credential = Credential::Absent(AbsentBecause::ResetAtLegacy),
            UserChange::SetStanding(Standing::Deleted) => {
                user.standing = Standing::Deleted;
                user.credential = Credential::Absent(AbsentBecause::ResetAtLegacy);
                user.profile = Value::Null;
                user.roster = None;
                self.logins.remove(&id);
            }
            UserChange::SetStanding(standing) => user.standing = standing,
            UserChange::Vouched => user.legacy_vouched_at = Some(now),
            UserChange::Undelete => user.standing = Standing::Active,
            UserChange::AddAlias { alias, .. } => user.identifiers.push(alias),
            UserChange::RemoveAlias { name, then } => {
                user.identifiers.retain(|alias| alias.normalized != name);
                if then == AfterRemoval::Free {
                    self.taken.remove(name.as_key());
                    self.forget_moot(&user, &[name]);
                }
            }
        }
        user.version = version;
        Updated::Done(self.keep(user))
    }

    fn refusal(&self, current: &User, change: &UserChange) -> Option<NotChanged> {
        let holder = |name: &NormalizedIdentifier| self.taken.get(name.as_key()).copied();
        match change {
            UserChange::Undelete => (current.standing != Standing::Deleted).then_some(NotChanged::NotDeleted),
            UserChange::AddAlias { alias, .. } if current.bears(&alias.normalized) => Some(NotChanged::AlreadyHis),
            UserChange::AddAlias { .. } if current.identifiers.len() >= MAX_ALIASES => Some(NotChanged::TooManyNames),
            UserChange::AddAlias { alias, must_be_free } => {
                let mut names = std::iter::once(&alias.normalized).chain(must_be_free);
                let by = names.find_map(|name| holder(name).filter(|by| *by != current.id));
                by.map(|by| NotChanged::NameTaken { by })
            }
            UserChange::RemoveAlias { name, then } => match (current.bears(name), then) {
                (true, _) if is_nameless_without(current, std::slice::from_ref(name)) => Some(NotChanged::LastName),
                (true, _) => None,
                (false, AfterRemoval::Free) if holder(name) == Some(current.id) => None,
                (false, _) => Some(NotChanged::NotHis),
            },
            _ => None,
        }
    }

    /// Tells what was decided about it.
    fn note_conflict(
        &mut self,
        with: UserId,
        legacy_id: &str,
        names: &[Identifier],
        at: UnixSeconds,
    ) -> Option<Decided> {
        let names = names.iter().map(|name| name.normalized.clone()).collect();
        let known = self.conflicts.values_mut().find(|known| known.with == with && *known.legacy_id == *legacy_id);
        if let Some(known) = known {
            (known.names, known.last_at, known.times) = (names, at, known.times + 1);
            known.decided = known.decided.filter(|decided| decided.decision != Decision::Given);
            return known.decided;
        }
        self.last_conflict += 1;
        let number = self.last_conflict;
        let legacy_id = legacy_id.into();
        let conflict = Conflict { number, with, legacy_id, names, first_at: at, last_at: at, times: 1, decided: None };
        self.conflicts.insert(number, conflict);
        None
    }

    fn forget_moot(&mut self, holder: &User, gone: &[NormalizedIdentifier]) {
        self.conflicts.retain(|_, conflict| {
            let was_about = conflict.names.iter().any(|name| gone.contains(name));
            let is_kept = conflict.decided.is_some_and(|decided| decided.decision == Decision::Given);
            is_kept || conflict.with != holder.id || !was_about || conflict.names.iter().any(|name| holder.bears(name))
        });
    }

    fn resolve(&mut self, number: u64, resolution: Resolution) -> Resolved {
        let Some(conflict) = self.conflicts.get(&number).cloned() else { return Resolved::Missing };
        if conflict.decided.is_some_and(|decided| decided.decision == Decision::Given) {
            return Resolved::Refused(NotChanged::GivenAlready);
        }
        let at = self.last_write;
        let mut decision = Decision::Kept;
        match resolution {
            Resolution::Keep => {}
            Resolution::DisableHolder => {
                let version = self.next_version();
                let holder = self.users.get_mut(&conflict.with).expect("a conflict is with somebody");
                if holder.standing != Standing::Deleted {
                    (holder.standing, holder.version) = (Standing::Disabled, version);
                    decision = Decision::HolderDisabled;
                }
            }
            Resolution::Give(names) => return self.give(&conflict, &names),
        }
        self.conflicts.get_mut(&number).expect("it was there").decided = Some(Decided { decision, at });
        Resolved::Done { given_to: None }
    }

    fn give(&mut self, conflict: &Conflict, names: &[NormalizedIdentifier]) -> Resolved {
        let is_his = |name: &NormalizedIdentifier| {
            conflict.names.contains(name) && self.taken.get(name.as_key()) == Some(&conflict.with)
        };
        if names.is_empty() || !names.iter().all(is_his) {
            return Resolved::Refused(NotChanged::NotHis);
        }
        if is_nameless_without(&self.users[&conflict.with], names) {
            return Resolved::Refused(NotChanged::LastName);
        }
        let claimant = self.by_legacy_id.get(&*conflict.legacy_id).copied();
        let claimant = claimant.filter(|id| self.users[id].standing != Standing::Deleted);
        if claimant.is_some_and(|id| self.users[&id].identifiers.len() + names.len() > MAX_ALIASES) {
            return Resolved::Refused(NotChanged::TooManyNames);
        }
        let version = self.next_version();
        let mut holder = self.users.remove(&conflict.with).expect("a conflict is with somebody");
        holder.identifiers.retain(|alias| !names.contains(&alias.normalized));
        holder.version = version;
        for name in names {
            self.taken.remove(name.as_key());
        }
        let row = self.conflicts.get_mut(&conflict.number).expect("it was there");
        row.names = names.to_vec();
        row.decided = Some(Decided { decision: Decision::Given, at: self.last_write });
        self.forget_moot(&holder, names);
        self.keep(holder);
        if let Some(id) = claimant {
            let version = self.next_version();
            let mut user = self.users.remove(&id).expect("legacy ids lead to users");
            user.identifiers.extend(names.iter().map(|name| Identifier {
                value: name.text().into(),
                normalized: name.clone(),
                verified: None,
            }));
            user.version = version;
            self.keep(user);
        }
        Resolved::Done { given_to: claimant }
    }

    fn import(&mut self, batch: ImportBatch) -> Vec<Imported> {
        let ImportBatch { rows, on_conflict, checkpoint, at } = batch;
        let results: Vec<Imported> = rows.into_iter().map(|row| self.import_row(row, on_conflict, at)).collect();
        if let Some(checkpoint) = checkpoint {
            let saved = SavedCheckpoint { state: checkpoint.state, results: results.clone(), at };
            self.imports.insert(checkpoint.key.0, saved);
        }
        results
    }

    fn import_row(&mut self, mut row: Incoming, on_conflict: OnConflict, at: UnixSeconds) -> Imported {
        let known = |id: Option<&UserId>| id.and_then(|id| self.users.get(id));
        let legacy = row.legacy_id.as_ref().map(|id| id.as_key().to_owned());
        let as_ours = legacy.as_deref().and_then(import::own_id);
        let names = row.identifiers.iter().map(|alias| &alias.normalized).chain(&row.reserved).filter_map(|name| {
            let holder = known(self.taken.get(name.as_key()))?;
            Some((name.kind(), holder))
        });
        let bearers = Bearers {
            of_legacy_id: known(legacy.as_ref().and_then(|id| self.by_legacy_id.get(id))),
            of_id: known(row.id.as_ref()),
            of_legacy_id_as_ours: known(as_ours.as_ref()).filter(|user| user.legacy_id.is_none()),
            of_id_as_legacys: row
                .id
                .filter(|_| legacy.is_none())
                .and_then(|id| self.by_legacy_id.get(&id.to_string()).copied()),
            of_names: names.collect(),
        };
        let decision = import::decide(&row, &bearers, on_conflict);
        let mut reserved = std::mem::take(&mut row.reserved);
        reserved.retain(|name| !self.taken.contains_key(name.as_key()));
        let leaves_hash = matches!(decision, ImportDecision::Merge(id) if import::leaves_hash(&self.users[&id], &row));
        let next = match decision {
            ImportDecision::Reject(rejection) => return Imported::Rejected(rejection),
            ImportDecision::Skip(id, why) => return Imported::Skipped(id, why),
            ImportDecision::Create => {
                let id = row.id.unwrap_or_else(|| new_id(Version(self.revision + 1)));
                row.into_user(id, at)
            }
            ImportDecision::Merge(id) => match import::merged(&self.users[&id], row, at) {
                Err(rejection) => return Imported::Rejected(rejection),
                Ok(None) if reserved.is_empty() => return Imported::unchanged(id, leaves_hash),
                Ok(None) => User { updated_at: at, ..copy(&self.users[&id]) },
                Ok(Some(next)) => next,
            },
            ImportDecision::List(id) => match import::listed(&self.users[&id], row, at) {
                Err(rejection) => return Imported::Rejected(rejection),
                Ok(None) => return Imported::Skipped(id, Skip::Unchanged),
                Ok(Some(next)) => next,
            },
            ImportDecision::Replace(id) => match import::replaced(&self.users[&id], row, at) {
                Err(rejection) => return Imported::Rejected(rejection),
                Ok(next) => next,
            },
        };
        let id = next.id;
        let is_new = !self.users.contains_key(&id);
        let version = self.next_version();
        // What an import does is nobody's step.
        let pace = self.pace.clone();
        self.keep(User { version, ..next });
        self.pace = if pace.is_empty() { self.pace.keys().map(|day| (*day, Pace::default())).collect() } else { pace };
        self.taken.extend(reserved.into_iter().map(|name| (name.as_key().to_owned(), id)));
        if is_new { Imported::Created(id) } else { Imported::updated(id, leaves_hash) }
    }

    fn find(&self, candidates: &Candidates) -> Lookup {
        let mut found = BTreeSet::new();
        for key in candidates.keys() {
            let bearer = self.taken.get(key.as_key()).map(|id| &self.users[id]);
            found.extend(
                bearer.filter(|user| user.identifiers.iter().any(|alias| alias.normalized == *key)).map(|user| user.id),
            );
            if key.kind() == IdentifierKind::Email && !found.is_empty() {
                break;
            }
        }
        let found = match (found.pop_first(), found.is_empty()) {
            (None, _) => Found::Nobody,
            (Some(only), true) => Found::One(Box::new(copy(&self.users[&only]))),
            (Some(_), false) => Found::Ambiguous,
        };
        Lookup { found, revision: Version(self.revision) }
    }

    fn find_public(&self, id: &str) -> Option<User> {
        let ours = || id.parse().ok().filter(|own: &Uuid| own.to_string() == id).map(UserId);
        let user = self.by_legacy_id.get(id).copied().or_else(ours).and_then(|id| self.users.get(&id));
        user.map(copy)
    }

    /// Keys of a listing: our id, or every canonical identifier with the prefix, followed by the id.
    fn list(&self, query: &UserQuery) -> UserPage {
        let limit = query.limit.clamp(1, 1_000);
        let keys: BTreeMap<String, UserId> = match &query.prefix {
            None => self.users.keys().map(|id| (id.to_string(), *id)).collect(),
            Some(prefix) => {
                let mut first = BTreeMap::new();
                for user in self.users.values() {
                    let texts = user.identifiers.iter().map(|alias| alias.normalized.text());
                    let smallest = texts.filter(|text| text.starts_with(prefix.as_str())).min();
                    first.extend(smallest.map(|text| (format!("{text}\u{0}{}", user.id), user.id)));
                }
                first
            }
        };
        let after = query.after.as_deref().unwrap_or_default();
        let mut rest = keys.iter().filter(|(key, _)| key.as_str() > after);
        let page: Vec<_> = rest.by_ref().take(limit).collect();
        let next = rest.next().and(page.last()).map(|(key, _)| (*key).clone());
        UserPage { users: page.into_iter().map(|(_, id)| copy(&self.users[id])).collect(), next, ..UserPage::default() }
    }

    fn counts(&self) -> UserCounts {
        let mut counts = UserCounts {
            conflicts: self.conflicts.values().filter(|conflict| conflict.decided.is_none()).count() as u64,
            ..UserCounts::default()
        };
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
            counts.without_password += u64::from(matches!(user.credential, Credential::Absent(_)));
        }
        counts
    }
}

impl UserStore for MemoryStore {
    fn find<'a>(&'a self, candidates: &'a Candidates) -> BoxFuture<'a, Result<Lookup, StoreError>> {
        async { self.read(|state| state.find(candidates)) }.boxed()
    }

    fn find_public<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<User>, StoreError>> {
        async { self.read(|state| state.find_public(id)) }.boxed()
    }

    fn user(&self, id: UserId) -> BoxFuture<'_, Result<Option<User>, StoreError>> {
        async move { self.read(|state| state.users.get(&id).map(copy)) }.boxed()
    }

    fn save_proven(&self, proven: ProvenUser) -> BoxFuture<'_, Result<Saved, StoreError>> {
        async { self.write(|state| state.save_proven(proven)) }.boxed()
    }

    fn insert_new(&self, new: NewUser) -> BoxFuture<'_, Result<Inserted, StoreError>> {
        async { self.write(|state| state.insert_new(new)) }.boxed()
    }

    fn update(&self, id: UserId, based_on: Version, change: UserChange) -> BoxFuture<'_, Result<Updated, StoreError>> {
        async move { self.write(|state| state.update(id, based_on, change)) }.boxed()
    }

    fn holders<'a>(
        &'a self,
        names: &'a [NormalizedIdentifier],
    ) -> BoxFuture<'a, Result<Vec<Option<NameHolder>>, StoreError>> {
        let look = move |state: &State| {
            let holder = |name: &NormalizedIdentifier| {
                let id = *state.taken.get(name.as_key())?;
                Some(NameHolder { id, bears: state.users[&id].bears(name) })
            };
            names.iter().map(holder).collect()
        };
        async move { self.read(look) }.boxed()
    }

    fn reserved(&self) -> BoxFuture<'_, Result<Vec<(UserId, NormalizedIdentifier)>, StoreError>> {
        let look = |state: &State| {
            let names = state.taken.iter().filter_map(|(key, id)| Some((*id, NormalizedIdentifier::from_key(key)?)));
            names.filter(|(id, name)| !state.users[id].bears(name)).collect()
        };
        async move { self.read(look) }.boxed()
    }

    fn conflicts(&self, query: ConflictQuery) -> BoxFuture<'_, Result<Vec<Conflict>, StoreError>> {
        let look = move |state: &State| {
            let newest = state.conflicts.values().rev();
            let meant = newest.filter(|conflict| {
                query.with.is_none_or(|with| conflict.with == with)
                    && query.before.is_none_or(|before| conflict.number < before)
                    && (query.decided_too || conflict.decided.is_none())
            });
            meant.take(query.limit).cloned().collect()
        };
        async move { self.read(look) }.boxed()
    }

    fn conflict(&self, number: u64) -> BoxFuture<'_, Result<Option<Conflict>, StoreError>> {
        async move { self.read(|state| state.conflicts.get(&number).cloned()) }.boxed()
    }

    fn resolve(&self, number: u64, resolution: Resolution) -> BoxFuture<'_, Result<Resolved, StoreError>> {
        async move { self.write(|state| state.resolve(number, resolution)) }.boxed()
    }

    fn import(&self, batch: ImportBatch) -> BoxFuture<'_, Result<Vec<Imported>, StoreError>> {
        async move { self.write(|state| state.import(batch)) }.boxed()
    }

    fn import_checkpoint(&self, key: ImportKey) -> BoxFuture<'_, Result<Option<SavedCheckpoint>, StoreError>> {
        async move { self.read(|state| state.imports.get(&key.0).cloned()) }.boxed()
    }

    fn list(&self, query: UserQuery) -> BoxFuture<'_, Result<UserPage, StoreError>> {
        async move { self.read(|state| state.list(&query)) }.boxed()
    }

    fn counts(&self) -> BoxFuture<'_, Result<UserCounts, StoreError>> {
        async { self.read(State::counts) }.boxed()
    }

    fn note_login(&self, id: UserId, at: UnixSeconds) {
        let mut state = self.state();
        let is_here = state.users.get(&id).is_some_and(|user| user.standing != Standing::Deleted);
        if is_here {
            let last = state.logins.entry(id).or_insert(at);
            *last = at.max(*last);
            let place = place(&state.users[&id], state.logins.get(&id).copied());
            state.places.insert(id, place);
        }
    }

    fn roster(&self) -> BoxFuture<'_, Result<RosterCounts, StoreError>> {
        async { self.read(State::roster) }.boxed()
    }

    fn stragglers(&self, query: StragglerQuery) -> BoxFuture<'_, Result<UserPage, StoreError>> {
        async move { self.read(|state| state.stragglers(&query)) }.boxed()
    }

    fn forget_listed(&self, users: Vec<(UserId, Version)>) -> BoxFuture<'_, Result<u64, StoreError>> {
        async move { self.write(|state| state.forget_listed(&users)) }.boxed()
    }

    fn last_login<'a>(&'a self, ids: &'a [UserId]) -> BoxFuture<'a, Result<Vec<Option<UnixSeconds>>, StoreError>> {
        async move { self.read(|state| ids.iter().map(|id| state.logins.get(id).copied()).collect()) }.boxed()
    }

    fn mode(&self) -> BoxFuture<'_, Result<Option<Mode>, StoreError>> {
        async { self.read(|state| state.mode) }.boxed()
    }

    fn set_mode(&self, mode: Mode) -> BoxFuture<'_, Result<(), StoreError>> {
        async move { self.write(|state| state.mode = Some(mode)) }.boxed()
    }

    fn health(&self) -> StoreHealth {
        self.state().health
    }
}

fn is_nameless_without(user: &User, names: &[NormalizedIdentifier]) -> bool {
    let takes_any = names.iter().any(|name| user.bears(name));
    let keeps_any = user.identifiers.iter().any(|alias| !names.contains(&alias.normalized));
    user.standing != Standing::Deleted && takes_any && !keeps_any
}

fn holders(taken: &BTreeMap<String, UserId>, names: &[Identifier]) -> BTreeSet<UserId> {
    names.iter().filter_map(|alias| taken.get(alias.normalized.as_key()).copied()).collect()
}

/// Ids in the order of insertion, the same in every run.
fn new_id(version: Version) -> UserId {
    UserId(Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0000 | u128::from(version.0)))
}

fn copy(user: &User) -> User {
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

/// A record to put in: active, migrated, with the names given, every other field a plain value.
pub(crate) fn user(number: u64, identifiers: Vec<Identifier>, credential: Credential, profile: Value) -> User {
    let at = UnixSeconds(1_700_000_000 + number);
    User {
        id: UserId(Uuid::from_u128(0x0180_0000_0000_7000_8000_0000_0000_0000 | u128::from(number))),
        legacy_id: LegacyId::from_json(&Value::from(number)),
        identifiers,
        profile,
        credential,
        standing: Standing::Active,
        origin: Origin::Migrated,
        created_at: at,
        updated_at: at,
        legacy_vouched_at: Some(at),
        roster: None,
        normalization_version: NORMALIZATION_VERSION,
        version: Version(0),
    }
}

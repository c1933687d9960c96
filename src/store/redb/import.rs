//! Rows of an import, many in one transaction: who is concerned is found in the order of the keys, each row is decided by
//! [`crate::domain::import`], and new users are written table by table, again in the order of the keys, so that each page of the file is
//! touched once a batch. Called by [`super::operation`]; knows nothing of files and formats.
//!
//! ```text
//! ready   rows made ready ahead, on other threads     keys        their keys, sorted; which rows share one
//! fill    keys and records into their tables          ids         keys of ours for new users
//! checkpoint  how far an import came
//!
//! rows -> keys, sorted -> bearers of each row -> rows that concern nobody else: decided, new ones written in bulk
//!                                             -> rows that share a key or a user with another row: one after the other
//! ```
//!
//! The result is that of taking the rows one by one. Rows that share nothing cannot change what becomes of each other, so that
//! their order does not matter; those that do are left to the end, and there each meets what the one before it wrote.
//!
//! Most imports bring users of whom few or none are known. So bearers are looked up for a sample of the rows, and for all of them only
//! if somebody in it is known. Otherwise whoever is known after all is met when the keys are written: his key is given back to him, what
//! was written of that row is taken back, and the row is left to the end too.

mod checkpoint;
mod fill;
mod ids;
mod keys;
mod ready;

use std::collections::HashMap;

use ::redb::{ReadableTable as _, TableDefinition};
use uuid::Uuid;

pub(super) use self::checkpoint::checkpoint;
use self::ids::NextIds;
use self::keys::Keys;
use self::ready::At;
pub(super) use self::ready::Ready;
use super::fault::Fault;
use super::record::BadRecord;
use super::schema::{IdBytes, find_user, user_of};
use super::writes::{Batch, copy_of};
use crate::domain::clock::UnixSeconds;
use crate::domain::identifier::{IdentifierKind, NormalizedIdentifier};
use crate::domain::import::{
    self, Bearers, ImportDecision, Imported, Incoming, MAX_NAMES, OnConflict, Rejection, Skip, own_id,
};
use crate::domain::roster;
use crate::domain::user::{Standing, User, UserId};
use crate::service::ports::{ImportBatch, MAX_IMPORT_ROWS};

/// Key of an import -> its checkpoint.
pub(super) const IMPORTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("imports");

const _: () = assert!(MAX_NAMES == super::writes::MAX_ALIASES, "a row has as many names as a record keeps");

/// The rows of a batch.
pub(super) enum Rows {
    /// As they came.
    Plain(Vec<Incoming>),
    /// Made ready ahead.
    Ready(Vec<Ready>),
}

impl Rows {
    /// Rows that several threads made ready, in their order.
    pub(super) fn of_ready(ready: Vec<Vec<Ready>>) -> Self {
        Self::Ready(ready.into_iter().flatten().collect())
    }
}

/// Who bears the keys of one row. Most rows have none.
#[derive(Default)]
struct Found {
    of_legacy_id: Option<IdBytes>,
    of_id: Option<IdBytes>,
    of_legacy_id_as_ours: Option<IdBytes>,
    of_id_as_legacys: Option<IdBytes>,
    of_names: Vec<(IdentifierKind, IdBytes)>,
}

impl Found {
    fn bearers(&self) -> impl Iterator<Item = IdBytes> {
        let single = [self.of_legacy_id, self.of_id, self.of_legacy_id_as_ours, self.of_id_as_legacys];
        single.into_iter().flatten().chain(self.of_names.iter().map(|(_, id)| *id))
    }
}

/// What is known of the rows of a batch before anything is written.
struct Survey {
    /// Whoever bears a key of a row, where that was looked up.
    found: HashMap<u32, Found>,
    /// Rows that are taken by themselves, in their order, at the end: each shares a key or a user with another, or may do.
    apart: Vec<bool>,
}

impl Batch<'_> {
    /// Takes the rows in, and keeps the checkpoint.
    pub(super) fn import(&mut self, batch: ImportBatch<Rows>) -> Result<Vec<Imported>, Fault> {
        let ImportBatch { rows, on_conflict, checkpoint, at } = batch;
        let ready = match rows {
            Rows::Ready(ready) => ready,
            Rows::Plain(rows) => Ready::of(rows, self.tables.users.codec(), at),
        };
        let mut rows: Vec<At<'_>> = Vec::with_capacity(ready.iter().map(Ready::len).sum());
        rows.extend(ready.iter().flat_map(Ready::rows));
        if rows.len() > MAX_IMPORT_ROWS {
            return Err(Fault::Refused("a batch of an import has too many rows".into()));
        }
        self.is_large |= rows.len() >= MANY;
        let (keys, mut ids) = (Keys::of(&rows), NextIds::default());
        let Survey { found, mut apart } = self.survey(&rows, &keys)?;
        let mut results: Vec<Option<Imported>> = vec![None; rows.len()];
        let mut new: Vec<Option<IdBytes>> = vec![None; rows.len()];
        for ((number, row), ((result, new), apart)) in
            (0_u32..).zip(&rows).zip(results.iter_mut().zip(&mut new).zip(&apart))
        {
            match found.get(&number) {
                _ if *apart => {}
                None => *new = Some(row.given().unwrap_or_else(|| ids.next(&self.workshop.keys, at).0.into_bytes())),
                Some(found) => {
                    let row = row.incoming(self.tables.users.codec())?;
                    *result = Some(self.take(row, found, on_conflict, at)?);
                }
            }
        }
        self.write_new(&rows, &keys, &new, &mut apart, &mut results)?;
        for ((row, result), _) in rows.iter().zip(&mut results).zip(&apart).filter(|(_, apart)| **apart) {
            let row = row.incoming(self.tables.users.codec())?;
            let found = self.find_bearers(&row)?;
            *result = Some(self.take(row, &found, on_conflict, at)?);
        }
        let results: Vec<Imported> = results.into_iter().flatten().collect();
        if let Some(checkpoint) = checkpoint {
            self.keep_checkpoint(&checkpoint, &results, at)?;
        }
        Ok(results)
    }

    /// Finds the rows that concern each other, and who is known.
    fn survey(&self, rows: &[At<'_>], keys: &Keys<'_>) -> Result<Survey, Fault> {
        let mut apart: Vec<bool> = rows.iter().map(|row| row.facts().is_none()).collect();
        keys.entangle(&mut apart);
        let mut found: HashMap<u32, Found> = HashMap::new();
        self.look_up_ids(rows, keys, &mut found)?;
        if self.is_anybody_known(keys)? {
            self.look_up_all(rows, keys, &mut found)?;
            found.retain(|_, found| found.bearers().next().is_some());
            let mut bearers: Vec<(IdBytes, u32)> =
                found.iter().flat_map(|(row, found)| found.bearers().map(|id| (id, *row))).collect();
            bearers.sort_unstable();
            keys::entangle(&mut apart, bearers.iter().copied());
        } else {
            // Whom else they concern is not known.
            for (row, found) in found.drain() {
                if let Some(apart) = apart.get_mut(row as usize) {
                    *apart |= found.bearers().next().is_some();
                }
            }
        }
        Ok(Survey { found, apart })
    }

    fn look_up_ids(&self, rows: &[At<'_>], keys: &Keys<'_>, found: &mut HashMap<u32, Found>) -> Result<(), Fault> {
        let last = self.tables.users.last()?.map(|(id, _)| *id.value());
        let last_legacy = self.tables.legacy_ids.last()?.map(|(id, _)| id.value().to_owned());
        for (id, row) in &keys.ids {
            let Some(at) = rows.get(*row as usize) else { continue };
            let may_be_ours = last.is_some_and(|last| *id <= last);
            let may_be_legacys =
                || last_legacy.as_deref().is_some_and(|last| Uuid::from_bytes(*id).to_string().as_str() <= last);
            if may_be_ours || (at.legacy_id().is_none() && may_be_legacys()) {
                self.find_by_ids(at.given(), at.legacy_id(), id, found.entry(*row).or_default())?;
            }
        }
        Ok(())
    }

    /// Looks a sample of the keys up.
    fn is_anybody_known(&self, keys: &Keys<'_>) -> Result<bool, Fault> {
        for (table, keys) in [(&self.tables.aliases, &keys.names), (&self.tables.legacy_ids, &keys.legacy_ids)] {
            let lookup = fill::Lookup::of(table)?;
            for key in keys.iter().step_by((keys.len() / SAMPLE).max(1)) {
                if lookup.get(key.text)?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn look_up_all(&self, rows: &[At<'_>], keys: &Keys<'_>, found: &mut HashMap<u32, Found>) -> Result<(), Fault> {
        let lookup = fill::Lookup::of(&self.tables.aliases)?;
        let mut known: Vec<(u32, usize, IdentifierKind, IdBytes)> = Vec::new();
        for key in &keys.names {
            let Some(id) = lookup.get(key.text)? else { continue };
            // In the order of the row's own names: the first that is somebody else's is what it is rejected for.
            let place = rows.get(key.row as usize).and_then(|row| row.names().position(|name| name == key.text));
            let kind = NormalizedIdentifier::from_key(key.text).map_or(IdentifierKind::Username, |name| name.kind());
            known.push((key.row, place.unwrap_or(usize::MAX), kind, id));
        }
        known.sort_unstable();
        for (row, _, kind, id) in known {
            found.entry(row).or_default().of_names.push((kind, id));
        }
        let lookup = fill::Lookup::of(&self.tables.legacy_ids)?;
        for key in &keys.legacy_ids {
            if let Some(id) = lookup.get(key.text)? {
                found.entry(key.row).or_default().of_legacy_id = Some(id);
            }
        }
        Ok(())
    }

    /// Whoever one of a row's ids, read as our own, leads to.
    fn find_by_ids(
        &self,
        given: Option<IdBytes>,
        legacy_id: Option<&str>,
        id: &IdBytes,
        found: &mut Found,
    ) -> Result<(), Fault> {
        let known = find_user(&self.tables.users, id)?;
        if given.is_some_and(|own| own == *id) {
            found.of_id = known.as_ref().map(|user| user.id.0.into_bytes());
            if legacy_id.is_none() {
                let text = Uuid::from_bytes(*id).to_string();
                found.of_id_as_legacys = self.tables.legacy_ids.get(text.as_str())?.map(|holder| *holder.value());
            }
        }
        if legacy_id.and_then(own_id).is_some_and(|as_legacys| as_legacys.0.as_bytes() == id) {
            let bearer = known.filter(|user| user.legacy_id.is_none());
            found.of_legacy_id_as_ours = bearer.map(|user| user.id.0.into_bytes());
        }
        Ok(())
    }

    /// Whoever bears a key of one row now.
    fn find_bearers(&self, row: &Incoming) -> Result<Found, Fault> {
        let mut found = Found::default();
        for name in row.identifiers.iter().map(|name| &name.normalized).chain(&row.reserved) {
            if let Some(id) = self.tables.aliases.get(name.as_key())? {
                found.of_names.push((name.kind(), *id.value()));
            }
        }
        if let Some(id) = &row.legacy_id {
            found.of_legacy_id = self.tables.legacy_ids.get(id.as_key())?.map(|id| *id.value());
        }
        let as_ours = row.legacy_id.as_ref().and_then(|id| own_id(id.as_key()));
        for id in row.id.into_iter().chain(as_ours) {
            let legacy_id = row.legacy_id.as_ref().map(|id| id.as_key());
            self.find_by_ids(row.id.map(|id| id.0.into_bytes()), legacy_id, id.0.as_bytes(), &mut found)?;
        }
        Ok(found)
    }

    /// Decides one row against whoever bears its keys, and writes what follows.
    fn take(
        &mut self,
        mut row: Incoming,
        found: &Found,
        on_conflict: OnConflict,
        at: UnixSeconds,
    ) -> Result<Imported, Fault> {
        let mut users: Vec<User> = Vec::new();
        for id in found.bearers() {
            if users.iter().all(|user| *user.id.0.as_bytes() != id) {
                users.push(user_of(&self.tables.users, &id)?);
            }
        }
        let user = |id: Option<IdBytes>| users.iter().find(|user| Some(*user.id.0.as_bytes()) == id);
        let bearers = Bearers {
            of_legacy_id: user(found.of_legacy_id),
            of_id: user(found.of_id),
            of_legacy_id_as_ours: user(found.of_legacy_id_as_ours),
            of_id_as_legacys: found.of_id_as_legacys.map(|id| UserId(Uuid::from_bytes(id))),
            of_names: found.of_names.iter().filter_map(|(kind, id)| Some((*kind, user(Some(*id))?))).collect(),
        };
        let decision = import::decide(&row, &bearers, on_conflict);
        let last_login = row.last_login_at;
        let reserved = self.not_held(std::mem::take(&mut row.reserved))?;
        let known = |id: UserId| users.iter().find(|user| user.id == id);
        let mut leaves_hash = false;
        let (before, next) = match decision {
            ImportDecision::Reject(rejection) => return Ok(Imported::Rejected(rejection)),
            ImportDecision::Skip(id, why) => return Ok(Imported::Skipped(id, why)),
            ImportDecision::Create => {
                let id = row.id.unwrap_or_else(|| NextIds::default().next(&self.workshop.keys, at));
                (None, row.into_user(id, at))
            }
            ImportDecision::Merge(id) => {
                let known = known(id).ok_or_else(|| Fault::damage("a row was decided for a user who is not there"))?;
                leaves_hash = import::leaves_hash(known, &row);
                match import::merged(known, row, at) {
                    Err(rejection) => return Ok(Imported::Rejected(rejection)),
                    Ok(None) if reserved.is_empty() => return Ok(Imported::unchanged(id, leaves_hash)),
                    Ok(None) => (Some(known), User { updated_at: at, ..copy_of(known) }),
                    Ok(Some(next)) => (Some(known), next),
                }
            }
            ImportDecision::List(id) => {
                let known = known(id).ok_or_else(|| Fault::damage("a row was decided for a user who is not there"))?;
                match import::listed(known, row, at) {
                    Err(rejection) => return Ok(Imported::Rejected(rejection)),
                    Ok(None) => return Ok(Imported::Skipped(id, Skip::Unchanged)),
                    Ok(Some(next)) => (Some(known), next),
                }
            }
            ImportDecision::Replace(id) => {
                let known = known(id).ok_or_else(|| Fault::damage("a row was decided for a user who is not there"))?;
                match import::replaced(known, row, at) {
                    Err(rejection) => return Ok(Imported::Rejected(rejection)),
                    Ok(next) => (Some(known), next),
                }
            }
        };
        // A record that is too large is found before anything of it is written.
        match self.tables.users.encode(&next) {
            Ok(_) => {}
            Err(BadRecord::TooLarge(_)) => return Ok(Imported::Rejected(Rejection::TooLarge)),
            Err(other) => return Err(other.into()),
        }
        let result =
            if before.is_some() { Imported::updated(next.id, leaves_hash) } else { Imported::Created(next.id) };
        let steps = self.roster.steps();
        let user = self.put(before, next)?;
        self.roster.back_to(steps);
        for name in &reserved {
            self.reserve(name, user.id)?;
        }
        match (last_login, user.standing) {
            (Some(login), Standing::Active | Standing::Disabled) => {
                let id = user.id.0.into_bytes();
                let known = self.tables.logins.get(&id)?.map(|known| UnixSeconds(known.value()));
                let later = known.max(Some(login));
                self.roster.moved(user.id, roster::place(&user, known), roster::place(&user, later));
                self.note_logins(&[(id, login)])?;
            }
            (None, _) | (_, Standing::Deleted) => {}
        }
        Ok(result)
    }

    /// Those of these names that nobody holds.
    fn not_held(&self, mut names: Vec<NormalizedIdentifier>) -> Result<Vec<NormalizedIdentifier>, Fault> {
        let mut held = Vec::with_capacity(names.len());
        for name in &names {
            held.push(self.holder_of(name)?.is_some());
        }
        let mut held = held.into_iter();
        names.retain(|_| !held.next().unwrap_or(true));
        Ok(names)
    }
}

/// As many rows change pages all over the file.
const MANY: usize = 10_000;

/// As many keys of each kind are looked up to tell whether anybody is known.
const SAMPLE: usize = 256;

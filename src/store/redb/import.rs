//! Rows of an import, many in one transaction: who is concerned is looked up in the order of the keys, each row is decided by
//! [`crate::domain::import`], and new users are written table by table, again in the order of the keys, so that each page of the file is
//! touched once a batch. Called by [`super::operation`]; knows nothing of files and formats.
//!
//! ```text
//! rows -> keys, sorted -> bearers of each row -> rows that concern nobody else: decided, new ones written in bulk
//!                                             -> rows that share a key or a user with another row: one after the other
//! ```
//!
//! The result is that of taking the rows one by one. Rows that share nothing cannot change what becomes of each other, so that
//! their order does not matter; those that do are left to the end, and there each meets what the one before it wrote.

use std::collections::HashMap;
use std::ops::Bound;

use ::redb::{CursorError, ReadableTable, ReadableTableMetadata as _, Table, TableDefinition};
use uuid::{Timestamp, Uuid};

use super::fault::Fault;
use super::record::{BadRecord, Decoder, Encoder};
use super::schema::{IdBytes, Snapshot, find_user, user_of};
use super::writes::{Batch, copy_of};
use crate::domain::clock::UnixSeconds;
use crate::domain::identifier::{IdentifierKind, NormalizedIdentifier};
use crate::domain::import::{
    self, Bearers, ImportDecision, Imported, Incoming, MAX_NAMES, OnConflict, Rejection, Skip, own_id,
};
use crate::domain::roster;
use crate::domain::user::{Standing, User, UserId};
use crate::service::ports::{
    Checkpoint, ImportBatch, ImportKey, MAX_CHECKPOINT_BYTES, MAX_CHECKPOINTS, MAX_IMPORT_ROWS, SavedCheckpoint,
};

/// Key of an import -> its checkpoint.
pub(super) const IMPORTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("imports");

const _: () = assert!(MAX_NAMES == super::writes::MAX_ALIASES, "a row has as many names as a record keeps");

/// A table of names, or of legacy ids.
type Names<'txn> = Table<'txn, &'static str, &'static IdBytes>;

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

/// A user who is about to be written.
struct New {
    user: User,
    last_login_at: Option<UnixSeconds>,
}

/// What sorting the keys of a batch shows.
struct Survey {
    /// Rows and their names, in the order of the names' keys.
    names: Vec<(u32, u32)>,
    /// Rows, in the order of their legacy ids.
    legacy_ids: Vec<u32>,
    /// Whoever bears a key of a row.
    found: HashMap<u32, Found>,
    /// Rows that share a key, or a user, with another.
    entangled: Vec<bool>,
}

impl Batch<'_> {
    /// Takes the rows in, and keeps the checkpoint.
    pub(super) fn import(&mut self, batch: ImportBatch) -> Result<Vec<Imported>, Fault> {
        let ImportBatch { rows, on_conflict, checkpoint, at } = batch;
        if rows.len() > MAX_IMPORT_ROWS {
            return Err(Fault::Refused("a batch of an import has too many rows".into()));
        }
        let survey = self.survey(&rows)?;
        let mut results: Vec<Option<Imported>> = vec![None; rows.len()];
        let mut new: Vec<Option<New>> = Vec::with_capacity(rows.len());
        let mut last: Vec<(usize, Incoming)> = Vec::new();
        for ((index, row), result) in rows.into_iter().enumerate().zip(&mut results) {
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            let mut made = None;
            match survey.found.get(&number) {
                _ if survey.entangled.get(index).is_some_and(|entangled| *entangled) => last.push((index, row)),
                None => made = Some(New { last_login_at: row.last_login_at, user: self.new_record(row, at) }),
                Some(found) => *result = Some(self.take(row, found, on_conflict, at)?),
            }
            new.push(made);
        }
        self.write_new(&mut new, &mut results, &survey)?;
        for (index, row) in last {
            let found = self.find_bearers(&row)?;
            let result = self.take(row, &found, on_conflict, at)?;
            if let Some(place) = results.get_mut(index) {
                *place = Some(result);
            }
        }
        let results: Vec<Imported> = results.into_iter().flatten().collect();
        if let Some(checkpoint) = checkpoint {
            self.keep_checkpoint(&checkpoint, &results, at)?;
        }
        Ok(results)
    }

    /// Sorts the keys of all rows, looks each up, and finds the rows that concern each other.
    fn survey(&self, rows: &[Incoming]) -> Result<Survey, Fault> {
        let mut entangled = vec![false; rows.len()];
        let mut found: HashMap<u32, Found> = HashMap::new();
        let mut names: Vec<(&str, u32, u32)> = Vec::with_capacity(rows.len() * 2);
        let mut legacy_ids: Vec<(&str, u32)> = Vec::with_capacity(rows.len());
        let mut ids: Vec<(IdBytes, u32)> = Vec::new();
        for ((row, incoming), entangled) in (0_u32..).zip(rows).zip(&mut entangled) {
            names.extend((0_u32..).zip(&incoming.identifiers).map(|(at, name)| (name.normalized.as_key(), row, at)));
            // They have no place in a record, and so few rows have any that these are written one after the other.
            *entangled |= !incoming.reserved.is_empty();
            names.extend(incoming.reserved.iter().map(|name| (name.as_key(), row, u32::MAX)));
            if let Some(id) = &incoming.legacy_id {
                legacy_ids.push((id.as_key(), row));
                // It would be this user's public id, and may be another's already.
                ids.extend(own_id(id.as_key()).map(|id| (id.0.into_bytes(), row)));
            }
            ids.extend(incoming.id.map(|id| (id.0.into_bytes(), row)));
        }
        names.sort_unstable();
        legacy_ids.sort_unstable();
        ids.sort_unstable();
        entangle(&mut entangled, names.iter().map(|(key, row, _)| (*key, *row)));
        entangle(&mut entangled, legacy_ids.iter().copied());
        entangle(&mut entangled, ids.iter().copied());

        let lookup = Lookup::of(&self.tables.aliases)?;
        let mut known: Vec<(u32, u32, IdBytes)> = Vec::new();
        for (key, row, at) in &names {
            known.extend(lookup.get(key)?.map(|id| (*row, *at, id)));
        }
        // In the order of the row's own names: the first that is somebody else's is what it is rejected for.
        known.sort_unstable();
        for (row, at, id) in known {
            let name = rows.get(row as usize).and_then(|incoming| incoming.identifiers.get(at as usize));
            let kind = name.map_or(IdentifierKind::Username, |name| name.normalized.kind());
            found.entry(row).or_default().of_names.push((kind, id));
        }
        let lookup = Lookup::of(&self.tables.legacy_ids)?;
        for (key, row) in &legacy_ids {
            if let Some(id) = lookup.get(key)? {
                found.entry(*row).or_default().of_legacy_id = Some(id);
            }
        }
        for (id, row) in &ids {
            let Some(incoming) = rows.get(*row as usize) else { continue };
            self.find_by_ids(incoming, id, found.entry(*row).or_default())?;
        }
        found.retain(|_, found| found.bearers().next().is_some());

        let mut bearers: Vec<(IdBytes, u32)> =
            found.iter().flat_map(|(row, found)| found.bearers().map(|id| (id, *row))).collect();
        bearers.sort_unstable();
        entangle(&mut entangled, bearers.iter().copied());
        Ok(Survey {
            names: names.into_iter().map(|(_, row, at)| (row, at)).collect(),
            legacy_ids: legacy_ids.into_iter().map(|(_, row)| row).collect(),
            found,
            entangled,
        })
    }

    /// Whoever one of a row's ids, read as our own, leads to.
    fn find_by_ids(&self, row: &Incoming, id: &IdBytes, found: &mut Found) -> Result<(), Fault> {
        let own = row.id.is_some_and(|own| own.0.as_bytes() == id);
        let known = find_user(&self.tables.users, id)?;
        if own {
            found.of_id = known.as_ref().map(|user| user.id.0.into_bytes());
            if row.legacy_id.is_none() {
                let text = Uuid::from_bytes(*id).to_string();
                found.of_id_as_legacys = self.tables.legacy_ids.get(text.as_str())?.map(|holder| *holder.value());
            }
        }
        let as_legacys = row.legacy_id.as_ref().and_then(|legacy| own_id(legacy.as_key()));
        if as_legacys.is_some_and(|as_legacys| as_legacys.0.as_bytes() == id) {
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
            self.find_by_ids(row, id.0.as_bytes(), &mut found)?;
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
        let (before, next) = match decision {
            ImportDecision::Reject(rejection) => return Ok(Imported::Rejected(rejection)),
            ImportDecision::Skip(id, why) => return Ok(Imported::Skipped(id, why)),
            ImportDecision::Create => {
                let user = self.new_record(row, at);
                (None, user)
            }
            ImportDecision::Merge(id) => {
                let known = known(id).ok_or_else(|| Fault::damage("a row was decided for a user who is not there"))?;
                match import::merged(known, row, at) {
                    Err(rejection) => return Ok(Imported::Rejected(rejection)),
                    Ok(None) if reserved.is_empty() => return Ok(Imported::Skipped(id, Skip::Unchanged)),
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
        let result = if before.is_some() { Imported::Updated(next.id) } else { Imported::Created(next.id) };
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

    /// The record of a user who is new here, with our own key that he had elsewhere, or the next one.
    fn new_record(&self, row: Incoming, at: UnixSeconds) -> User {
        let id = row.id.unwrap_or_else(|| UserId(Uuid::new_v7(Timestamp::from_unix(&self.workshop.keys, at.0, 0))));
        row.into_user(id, at)
    }

    /// Writes users who are new and share nothing with each other, table by table.
    fn write_new(
        &mut self,
        new: &mut [Option<New>],
        results: &mut [Option<Imported>],
        survey: &Survey,
    ) -> Result<(), Fault> {
        let mut ledger = self.ledger;
        let mut records: Vec<(IdBytes, Vec<u8>)> = Vec::with_capacity(new.len());
        let mut logins: Vec<(IdBytes, UnixSeconds)> = Vec::new();
        for (place, result) in new.iter_mut().zip(results) {
            let Some(New { user, last_login_at }) = place else { continue };
            user.version = ledger.next_version();
            match self.tables.users.encode(user) {
                Ok(bytes) => {
                    ledger.count_in(user);
                    let id = user.id.0.into_bytes();
                    records.push((id, bytes));
                    logins.extend(last_login_at.filter(|_| user.standing != Standing::Deleted).map(|at| (id, at)));
                    *result = Some(Imported::Created(user.id));
                }
                Err(BadRecord::TooLarge(_)) => {
                    *result = Some(Imported::Rejected(Rejection::TooLarge));
                    *place = None;
                }
                Err(other) => return Err(other.into()),
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        self.about_to_write();
        // Not before: what is noted here is written with the transaction, whatever becomes of this operation.
        for New { user, last_login_at } in new.iter().flatten() {
            self.roster.moved(user.id, None, roster::place(user, *last_login_at));
        }
        // In order already, but for users who keep the keys that they had elsewhere.
        records.sort_unstable_by_key(|(id, _)| *id);
        logins.sort_unstable();
        insert_records(&mut self.tables.users, &records)?;
        self.note_logins(&logins)?;
        let user = |row: u32| new.get(row as usize).and_then(Option::as_ref).map(|new| &new.user);
        let names = survey.names.iter().filter_map(|(row, at)| {
            let user = user(*row)?;
            Some((user.identifiers.get(*at as usize)?.normalized.as_key(), user.id.0.as_bytes()))
        });
        insert_names(&mut self.tables.aliases, names)?;
        let legacy_ids = survey.legacy_ids.iter().filter_map(|row| {
            let user = user(*row)?;
            Some((user.legacy_id.as_ref()?.as_key(), user.id.0.as_bytes()))
        });
        insert_names(&mut self.tables.legacy_ids, legacy_ids)?;
        self.ledger = ledger;
        Ok(())
    }

    /// Keeps when users last logged in, unless something later is known. In the order of the keys where there are many.
    fn note_logins(&mut self, logins: &[(IdBytes, UnixSeconds)]) -> Result<(), Fault> {
        for (id, at) in logins {
            if self.tables.logins.get(id)?.is_none_or(|known| known.value() < at.0) {
                self.tables.logins.insert(id, at.0)?;
            }
        }
        Ok(())
    }

    fn keep_checkpoint(&mut self, checkpoint: &Checkpoint, results: &[Imported], at: UnixSeconds) -> Result<(), Fault> {
        if checkpoint.state.len() > MAX_CHECKPOINT_BYTES {
            return Err(Fault::Refused("the checkpoint of an import is too large".into()));
        }
        let bytes = encode_checkpoint(checkpoint, results, at);
        self.about_to_write();
        let key = checkpoint.key.0.as_slice();
        if self.tables.imports.get(key)?.is_none() && self.tables.imports.len()? >= MAX_CHECKPOINTS {
            let mut oldest: Option<(UnixSeconds, Vec<u8>)> = None;
            for row in self.tables.imports.iter()? {
                let (key, bytes) = row?;
                let at = decode_checkpoint(bytes.value()).map(|saved| saved.at)?;
                if oldest.as_ref().is_none_or(|(earliest, _)| at < *earliest) {
                    oldest = Some((at, key.value().to_vec()));
                }
            }
            if let Some((_, key)) = oldest {
                self.tables.imports.remove(key.as_slice())?;
            }
        }
        self.tables.imports.insert(key, bytes.as_slice())?;
        Ok(())
    }
}

/// Marks the rows of neighbours with equal keys, of a sorted list.
fn entangle<K: PartialEq>(entangled: &mut [bool], keys: impl Iterator<Item = (K, u32)>) {
    let mut before: Option<(K, u32)> = None;
    for (key, row) in keys {
        if let Some((same, other)) = &before
            && *same == key
            && *other != row
        {
            for row in [*other, row] {
                if let Some(entangled) = entangled.get_mut(row as usize) {
                    *entangled = true;
                }
            }
        }
        before = Some((key, row));
    }
}

/// Lookups in one table, without going into it where its last key is smaller: while a store is filled in order, that is all of them.
struct Lookup<'a, 'txn> {
    table: &'a Names<'txn>,
    last: Option<String>,
}

impl<'a, 'txn> Lookup<'a, 'txn> {
    fn of(table: &'a Names<'txn>) -> Result<Self, Fault> {
        let last = table.last()?.map(|(key, _)| key.value().to_owned());
        Ok(Self { table, last })
    }

    fn get(&self, key: &str) -> Result<Option<IdBytes>, Fault> {
        match &self.last {
            Some(last) if key <= last.as_str() => Ok(self.table.get(key)?.map(|id| *id.value())),
            Some(_) | None => Ok(None),
        }
    }
}

/// Inserts keys in ascending order that are not in the table. Runs that fall between the same two neighbours are written page by page.
fn insert_names<'k>(table: &mut Names<'_>, pairs: impl Iterator<Item = (&'k str, &'k IdBytes)>) -> Result<(), Fault> {
    let mut pairs = pairs.peekable();
    while let Some((first, _)) = pairs.peek() {
        let mut cursor = table.lower_bound_mut(Bound::Included(*first))?;
        let mut inserted = false;
        while let Some((key, id)) = pairs.peek() {
            match cursor.insert_before(*key, *id) {
                Ok(()) => {
                    inserted = true;
                    pairs.next();
                }
                // It belongs behind the next key that the table has.
                Err(CursorError::UnorderedKey) if inserted => break,
                Err(CursorError::UnorderedKey) => {
                    return Err(Fault::damage("a name is in the table that was not found there"));
                }
                Err(CursorError::Storage(error)) => return Err(error.into()),
                Err(other) => return Err(Fault::Storage(other.into())),
            }
        }
        cursor.close()?;
    }
    Ok(())
}

/// The same for records.
fn insert_records(
    table: &mut Table<'_, &'static IdBytes, &'static [u8]>,
    records: &[(IdBytes, Vec<u8>)],
) -> Result<(), Fault> {
    let mut records = records.iter().peekable();
    while let Some((first, _)) = records.peek() {
        let mut cursor = table.lower_bound_mut(Bound::Included(first))?;
        let mut inserted = false;
        while let Some((key, bytes)) = records.peek() {
            match cursor.insert_before(key, bytes.as_slice()) {
                Ok(()) => {
                    inserted = true;
                    records.next();
                }
                Err(CursorError::UnorderedKey) if inserted => break,
                Err(CursorError::UnorderedKey) => {
                    return Err(Fault::damage("a record is in the table that was not found there"));
                }
                Err(CursorError::Storage(error)) => return Err(error.into()),
                Err(other) => return Err(Fault::Storage(other.into())),
            }
        }
        cursor.close()?;
    }
    Ok(())
}

/// How far an import came.
pub(super) fn checkpoint(snapshot: &Snapshot, key: ImportKey) -> Result<Option<SavedCheckpoint>, Fault> {
    let bytes = snapshot.imports.get(key.0.as_slice())?;
    bytes.map(|bytes| decode_checkpoint(bytes.value()).map_err(Fault::from)).transpose()
}

const FORMAT: u8 = 1;

fn encode_checkpoint(checkpoint: &Checkpoint, results: &[Imported], at: UnixSeconds) -> Vec<u8> {
    let mut out = Encoder(Vec::with_capacity(64 + checkpoint.state.len() + results.len() * 17));
    out.byte(FORMAT);
    out.number(at.0);
    out.number(checkpoint.state.len() as u64);
    out.0.extend_from_slice(&checkpoint.state);
    out.number(results.len() as u64);
    for result in results {
        let (code, id) = match result {
            Imported::Created(id) => (0, Some(id)),
            Imported::Updated(id) => (1, Some(id)),
            Imported::Skipped(id, Skip::Exists) => (2, Some(id)),
            Imported::Skipped(id, Skip::Unchanged) => (3, Some(id)),
            Imported::Rejected(Rejection::NameTaken { kind: IdentifierKind::Email, by }) => (4, Some(by)),
            Imported::Rejected(Rejection::NameTaken { kind: IdentifierKind::Username, by }) => (5, Some(by)),
            Imported::Rejected(Rejection::NameTaken { kind: IdentifierKind::Phone, by }) => (6, Some(by)),
            Imported::Rejected(Rejection::LegacyIdTaken { by }) => (7, Some(by)),
            Imported::Rejected(Rejection::IdTaken { by }) => (8, Some(by)),
            Imported::Rejected(Rejection::Tombstone { by }) => (9, Some(by)),
            Imported::Rejected(Rejection::TooManyNames { of }) => (10, Some(of)),
            Imported::Rejected(Rejection::TooLarge) => (11, None),
        };
        out.byte(code);
        if let Some(id) = id {
            out.0.extend_from_slice(id.0.as_bytes());
        }
    }
    out.0
}

fn decode_checkpoint(bytes: &[u8]) -> Result<SavedCheckpoint, BadRecord> {
    let mut input = Decoder(bytes);
    match input.byte("format")? {
        FORMAT => {}
        other => return Err(BadRecord::UnknownFormat(other)),
    }
    let at = UnixSeconds(input.number("time")?);
    let length = usize::try_from(input.number("state")?).map_err(|_| BadRecord::Length("state"))?;
    let (state, rest) = input.0.split_at_checked(length).ok_or(BadRecord::Length("state"))?;
    input.0 = rest;
    let count = input.number("number of results")?;
    let mut results = Vec::new();
    for _ in 0..count {
        results.push(decode_result(&mut input)?);
    }
    if !input.0.is_empty() {
        return Err(BadRecord::Length("end"));
    }
    Ok(SavedCheckpoint { state: state.to_vec(), results, at })
}

fn decode_result(input: &mut Decoder<'_>) -> Result<Imported, BadRecord> {
    let code = input.byte("result")?;
    if code == 11 {
        return Ok(Imported::Rejected(Rejection::TooLarge));
    }
    let (id, rest) = input.0.split_first_chunk::<16>().ok_or(BadRecord::Length("result"))?;
    input.0 = rest;
    let id = UserId(Uuid::from_bytes(*id));
    let taken = |kind| Imported::Rejected(Rejection::NameTaken { kind, by: id });
    Ok(match code {
        0 => Imported::Created(id),
        1 => Imported::Updated(id),
        2 => Imported::Skipped(id, Skip::Exists),
        3 => Imported::Skipped(id, Skip::Unchanged),
        4 => taken(IdentifierKind::Email),
        5 => taken(IdentifierKind::Username),
        6 => taken(IdentifierKind::Phone),
        7 => Imported::Rejected(Rejection::LegacyIdTaken { by: id }),
        8 => Imported::Rejected(Rejection::IdTaken { by: id }),
        9 => Imported::Rejected(Rejection::Tombstone { by: id }),
        10 => Imported::Rejected(Rejection::TooManyNames { of: id }),
        _ => return Err(BadRecord::Value("result")),
    })
}

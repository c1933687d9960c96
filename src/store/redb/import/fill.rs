//! New users into their tables, in the order of the keys. Called by [`super`]; decides nothing.

use std::ops::Bound;

use ::redb::{CursorError, ReadableTable as _, ReadableTableMetadata as _, Table};
use uuid::Uuid;

use super::super::fault::Fault;
use super::super::schema::{IdBytes, Ledger};
use super::super::writes::Batch;
use super::keys::{Key, Keys};
use super::ready::At;
use crate::domain::clock::UnixSeconds;
use crate::domain::import::Imported;
use crate::domain::user::UserId;

/// A table of names, or of legacy ids.
pub(super) type Names<'txn> = Table<'txn, &'static str, &'static IdBytes>;

impl Batch<'_> {
    /// Writes users who are new and share nothing with each other, table by table. `new` are their ids. A row with a key that somebody
    /// bears already is put `apart`, and nothing of it is written.
    pub(super) fn write_new(
        &mut self,
        rows: &[At<'_>],
        keys: &Keys<'_>,
        new: &[Option<IdBytes>],
        apart: &mut [bool],
        results: &mut [Option<Imported>],
    ) -> Result<(), Fault> {
        if new.iter().all(Option::is_none) {
            return Ok(());
        }
        self.about_to_write();
        insert_keys(&mut self.tables.aliases, &keys.names, new, apart)?;
        insert_keys(&mut self.tables.legacy_ids, &keys.legacy_ids, new, apart)?;
        let mut order: Vec<(IdBytes, u32)> = Vec::with_capacity(rows.len());
        for (((number, row), id), apart) in (0..).zip(rows).zip(new).zip(&*apart) {
            match id {
                Some(id) if *apart => self.take_back(*row, id)?,
                Some(id) => order.push((*id, number)),
                None => {}
            }
        }
        // In order already, but for users who keep the keys that they had elsewhere.
        order.sort_unstable();
        self.insert_records(rows, &order, results)
    }

    /// Removes the keys that were written of a row.
    fn take_back(&mut self, row: At<'_>, id: &IdBytes) -> Result<(), Fault> {
        let names = row.names().map(|name| (name, true)).chain(row.legacy_id().map(|id| (id, false)));
        for (key, is_name) in names {
            let table = if is_name { &mut self.tables.aliases } else { &mut self.tables.legacy_ids };
            let is_his = table.get(key)?.is_some_and(|holder| holder.value() == id);
            if is_his {
                table.remove(key)?;
            }
        }
        Ok(())
    }

    fn insert_records(
        &mut self,
        rows: &[At<'_>],
        order: &[(IdBytes, u32)],
        results: &mut [Option<Imported>],
    ) -> Result<(), Fault> {
        let mut ledger: Ledger = self.ledger;
        let mut logins: Vec<(IdBytes, UnixSeconds)> = Vec::new();
        let codec = self.tables.users.codec().clone();
        let mut record = Vec::new();
        for (id, number) in order {
            let row = rows.get(*number as usize).ok_or_else(|| Fault::damage("a row is not there"))?;
            row.record(*id, ledger.next_version(), &codec, &mut record)?;
            // Most come behind all others, where the table fills one page after the other.
            if self.tables.users.insert(id, record.as_slice())?.is_some() {
                return Err(Fault::damage("a record is in the table that was not found there"));
            }
            let user = UserId(Uuid::from_bytes(*id));
            if let Some(facts) = row.facts() {
                ledger.count_in_as(facts.counted);
                self.roster.moved(user, None, facts.place);
            }
            logins.extend(row.last_login_at().map(|at| (*id, at)));
            if let Some(result) = results.get_mut(*number as usize) {
                *result = Some(Imported::Created(user));
            }
        }
        self.ledger = ledger;
        self.note_logins(&logins)
    }

    /// Keeps when users last logged in, unless something later is known. In the order of the keys where there are many.
    pub(super) fn note_logins(&mut self, logins: &[(IdBytes, UnixSeconds)]) -> Result<(), Fault> {
        for (id, at) in logins {
            if self.tables.logins.get(id)?.is_none_or(|known| known.value() < at.0) {
                self.tables.logins.insert(id, at.0)?;
            }
        }
        Ok(())
    }
}

/// Lookups in one table, without going into it where its last key is smaller: while a store is filled in order, that is all of them.
pub(super) struct Lookup<'a, 'txn> {
    table: &'a Names<'txn>,
    last: Option<String>,
}

impl<'a, 'txn> Lookup<'a, 'txn> {
    pub(super) fn of(table: &'a Names<'txn>) -> Result<Self, Fault> {
        let last = table.last()?.map(|(key, _)| key.value().to_owned());
        Ok(Self { table, last })
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<IdBytes>, Fault> {
        match &self.last {
            Some(last) if key <= last.as_str() => Ok(self.table.get(key)?.map(|id| *id.value())),
            Some(_) | None => Ok(None),
        }
    }
}

/// Inserts the keys of rows that have an id in `new` and are not `apart`. One that the table has stays as it is, and its row is put apart.
fn insert_keys(
    table: &mut Names<'_>,
    keys: &[Key<'_>],
    new: &[Option<IdBytes>],
    apart: &mut [bool],
) -> Result<(), Fault> {
    let known = table.len()?;
    let last = table.last()?.map(|(key, _)| key.value().to_owned());
    let are_behind = keys.first().zip(last).is_none_or(|(first, last)| first.text > last.as_str());
    if are_behind || known < keys.len() as u64 / FEW {
        insert_runs(table, keys, new, apart)
    } else {
        insert_each(table, keys, new, apart)
    }
}

/// Where the table has one key or fewer for so many new ones, these are written in runs: each page once, and full.
const FEW: u64 = 8;

fn id_of<'a>(key: &Key<'_>, new: &'a [Option<IdBytes>], apart: &[bool]) -> Option<&'a IdBytes> {
    let row = key.row as usize;
    new.get(row).and_then(Option::as_ref).filter(|_| apart.get(row).is_some_and(|apart| !apart))
}

fn insert_each(
    table: &mut Names<'_>,
    keys: &[Key<'_>],
    new: &[Option<IdBytes>],
    apart: &mut [bool],
) -> Result<(), Fault> {
    for key in keys {
        let Some(id) = id_of(key, new, apart) else { continue };
        let before = table.insert(key.text, id)?.map(|before| *before.value());
        if let Some(before) = before {
            table.insert(key.text, &before)?;
            put_apart(key, apart);
        }
    }
    Ok(())
}

/// Runs that fall between the same two neighbours are written page by page.
fn insert_runs(
    table: &mut Names<'_>,
    keys: &[Key<'_>],
    new: &[Option<IdBytes>],
    apart: &mut [bool],
) -> Result<(), Fault> {
    let mut keys = keys.iter().peekable();
    while let Some(first) = keys.peek().map(|key| key.text) {
        let mut cursor = table.lower_bound_mut(Bound::Included(first))?;
        let mut inserted = false;
        while let Some(key) = keys.peek() {
            let Some(id) = id_of(key, new, apart) else {
                keys.next();
                continue;
            };
            match cursor.insert_before(key.text, id) {
                Ok(()) => {
                    inserted = true;
                    keys.next();
                }
                // It belongs behind the next key that the table has.
                Err(CursorError::UnorderedKey) if inserted || key.text != first => break,
                // It is there.
                Err(CursorError::UnorderedKey) => {
                    put_apart(key, apart);
                    keys.next();
                    break;
                }
                Err(CursorError::Storage(error)) => return Err(error.into()),
                Err(other) => return Err(Fault::Storage(other.into())),
            }
        }
        cursor.close()?;
    }
    Ok(())
}

fn put_apart(key: &Key<'_>, apart: &mut [bool]) {
    if let Some(apart) = apart.get_mut(key.row as usize) {
        *apart = true;
    }
}

//! SQLite, as its users set it up when they mean it: WAL, synced at every commit, prepared statements, tables that are clustered on
//! their keys.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction};

use super::rows::{self, Row, decode};
use super::{By, Engine};
use crate::Outcome;
use crate::measure::Rate;

pub struct Sqlite(Connection);

impl Sqlite {
    pub fn open(path: &Path, cache: usize) -> Outcome<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -(i64::try_from(cache)? / 1024))?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS users (id BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS aliases (name TEXT PRIMARY KEY, user BLOB NOT NULL) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS legacy_ids (id TEXT PRIMARY KEY, user BLOB NOT NULL) WITHOUT ROWID;",
        )?;
        Ok(Self(connection))
    }

    fn save(&mut self, chunk: &[Row]) -> Outcome<()> {
        let transaction = self.0.transaction()?;
        insert(&transaction, chunk)?;
        Ok(transaction.commit()?)
    }
}

/// A name or id that is taken fails: the keys are unique.
fn insert(transaction: &Transaction<'_>, chunk: &[Row]) -> Outcome<()> {
    let (names, ids) = rows::sorted(chunk);
    let mut user = transaction.prepare_cached("INSERT INTO users VALUES (?1, ?2)")?;
    for row in chunk {
        user.execute((row.key.as_slice(), row.record.as_slice()))?;
    }
    let mut alias = transaction.prepare_cached("INSERT INTO aliases VALUES (?1, ?2)")?;
    for (name, key) in names {
        alias.execute((name, key.as_slice()))?;
    }
    let mut legacy_id = transaction.prepare_cached("INSERT INTO legacy_ids VALUES (?1, ?2)")?;
    for (id, key) in ids {
        legacy_id.execute((id, key.as_slice()))?;
    }
    Ok(())
}

impl Engine for Sqlite {
    fn load(&mut self, input: &Path) -> Outcome<u64> {
        let loaded = rows::load(input, |chunk| self.save(chunk))?;
        self.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(loaded)
    }

    fn read(&mut self, by: By, users: u64, seed: u64, _at_once: usize, lasting: Duration) -> Outcome<Rate> {
        let sql = match by {
            By::Email | By::Unknown => {
                "SELECT record FROM aliases JOIN users ON users.id = aliases.user WHERE name = ?1"
            }
            By::LegacyId => {
                "SELECT record FROM legacy_ids JOIN users ON users.id = legacy_ids.user WHERE legacy_ids.id = ?1"
            }
        };
        let mut statement = self.0.prepare(sql)?;
        rows::read(by, users, seed, lasting, |key| {
            let prefixed;
            let key = match by {
                By::Email | By::Unknown => {
                    prefixed = format!("e:{key}");
                    prefixed.as_str()
                }
                By::LegacyId => key,
            };
            let found =
                statement.query_row([key], |row| Ok(decode(row.get_ref(0)?.as_blob()?).is_some())).optional()?;
            Ok(found == Some(true))
        })
    }

    fn write(&mut self, first: u64, at_once: usize, lasting: Duration) -> Outcome<(Rate, u64)> {
        rows::write(first, at_once, lasting, |rows| self.save(rows))
    }
}

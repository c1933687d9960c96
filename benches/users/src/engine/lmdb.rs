//! LMDB with its safe defaults: every commit synced. Its cache is the system's own.

use std::path::Path;
use std::time::Duration;

use heed::types::{Bytes, Str};
use heed::{Database, Env, EnvFlags, EnvOpenOptions, PutFlags};

use super::rows::{self, Row, decode};
use super::{By, Engine};
use crate::Outcome;
use crate::measure::Rate;

/// Room in the address space, not on the disk.
const MAP_BYTES: usize = 64 << 30;

pub struct Lmdb {
    env: Env,
    users: Database<Bytes, Bytes>,
    aliases: Database<Str, Bytes>,
    legacy_ids: Database<Str, Bytes>,
}

impl Lmdb {
    #[expect(unsafe_code, reason = "LMDB maps the file, which nobody else changes here")]
    pub fn open(path: &Path) -> Outcome<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES).max_dbs(3);
        // SAFETY: the file lies in a directory of this run's own, and one process at a time has it open.
        let env = unsafe {
            options.flags(EnvFlags::NO_SUB_DIR);
            options.open(path)?
        };
        let mut writing = env.write_txn()?;
        let users = env.create_database(&mut writing, Some("users"))?;
        let aliases = env.create_database(&mut writing, Some("aliases"))?;
        let legacy_ids = env.create_database(&mut writing, Some("legacy_ids"))?;
        writing.commit()?;
        Ok(Self { env, users, aliases, legacy_ids })
    }

    fn save(&mut self, chunk: &[Row]) -> Outcome<()> {
        let (names, ids) = rows::sorted(chunk);
        let mut writing = self.env.write_txn()?;
        for row in chunk {
            self.users.put_with_flags(&mut writing, PutFlags::APPEND, &row.key, &row.record)?;
        }
        // A name or id that is taken fails.
        for (name, key) in names {
            self.aliases.put_with_flags(&mut writing, PutFlags::NO_OVERWRITE, name, key)?;
        }
        for (id, key) in ids {
            self.legacy_ids.put_with_flags(&mut writing, PutFlags::NO_OVERWRITE, id, key)?;
        }
        Ok(writing.commit()?)
    }

    fn find(&self, by: By, key: &str) -> Outcome<bool> {
        let reading = self.env.read_txn()?;
        let holder = match by {
            By::Email | By::Unknown => self.aliases.get(&reading, &format!("e:{key}"))?,
            By::LegacyId => self.legacy_ids.get(&reading, key)?,
        };
        let Some(holder) = holder else { return Ok(false) };
        Ok(self.users.get(&reading, holder)?.and_then(decode).is_some())
    }
}

impl Engine for Lmdb {
    fn load(&mut self, input: &Path) -> Outcome<u64> {
        rows::load(input, |chunk| self.save(chunk))
    }

    fn read(&mut self, by: By, users: u64, seed: u64, _at_once: usize, lasting: Duration) -> Outcome<Rate> {
        rows::read(by, users, seed, lasting, |key| self.find(by, key))
    }

    fn write(&mut self, first: u64, at_once: usize, lasting: Duration) -> Outcome<(Rate, u64)> {
        rows::write(first, at_once, lasting, |rows| self.save(rows))
    }
}

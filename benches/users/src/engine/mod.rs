//! The three stores behind one trait. SQLite and LMDB do the same work as authferry's store on the same records: a table of users
//! by key, one of names, one of legacy's ids, checked for names that are taken, each write on disk before it is answered.

mod lmdb;
mod ours;
mod rows;
mod sqlite;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::measure::Rate;
use crate::people;

pub use ours::{command_if_asked, import};

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Authferry,
    Sqlite,
    Lmdb,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Authferry, Self::Sqlite, Self::Lmdb];

    pub fn name(self) -> &'static str {
        match self {
            Self::Authferry => "authferry",
            Self::Sqlite => "SQLite",
            Self::Lmdb => "LMDB",
        }
    }

    /// Its file in a directory.
    pub fn path(self, directory: &Path) -> PathBuf {
        directory.join(match self {
            Self::Authferry => "users.redb",
            Self::Sqlite => "users.sqlite",
            Self::Lmdb => "users.lmdb",
        })
    }

    /// Opens it, making it if it is not there.
    pub fn open(self, path: &Path, cache: usize) -> Outcome<Box<dyn Engine>> {
        Ok(match self {
            Self::Authferry => Box::new(ours::Ours::open(path, cache)?),
            Self::Sqlite => Box::new(sqlite::Sqlite::open(path, cache)?),
            Self::Lmdb => Box::new(lmdb::Lmdb::open(path)?),
        })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Authferry => "authferry",
            Self::Sqlite => "sqlite",
            Self::Lmdb => "lmdb",
        })
    }
}

/// What somebody is looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    Email,
    LegacyId,
    /// An address that nobody has.
    Unknown,
}

impl By {
    pub const ALL: [Self; 3] = [Self::Email, Self::LegacyId, Self::Unknown];

    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "by email",
            Self::LegacyId => "by legacy id",
            Self::Unknown => "unknown",
        }
    }

    /// What is typed to find a user so.
    pub fn key(self, number: u64) -> String {
        match self {
            Self::Email => people::email(number),
            Self::LegacyId => people::legacy_id(number).to_string(),
            Self::Unknown => people::nobody(number),
        }
    }
}

/// An open store.
pub trait Engine {
    /// Takes in every line of a file. Gives how many users there are then.
    fn load(&mut self, input: &Path) -> Outcome<u64>;

    /// Looks users up at random for a while, so many questions at once.
    fn read(&mut self, by: By, users: u64, seed: u64, at_once: usize, lasting: Duration) -> Outcome<Rate>;

    /// Saves new users for a while, so many at once, the first of this number; each is on disk before it counts. Gives the number
    /// of the next user too.
    fn write(&mut self, first: u64, at_once: usize, lasting: Duration) -> Outcome<(Rate, u64)>;
}

//! The tables, what each maps to what, and the few numbers that every commit keeps up to date. Called by the other files of
//! this store; decides nothing.
//!
//! | table | defined in | maps |
//! | --- | --- | --- |
//! | `users`, `aliases`, `legacy_ids`, `authferry` | here | records, names, legacy ids, numbers |
//! | `logins` | here, kept by [`super::activity`] | user to when he last logged in |
//! | `keys` | here, kept by [`super::keys`] | use and id of a key to its check value |
//! | `roster_days`, `stragglers`, `pace` | [`super::roster`] | who has come over and who has not, by day |
//! | `conflicts`, `conflict_pairs` | here, kept by [`super::conflicts`] | what an operator has to look at |
//! | `reserved` | here, kept by [`super::people`] | names that an operator took from their users and did not free |
//! | `imports` | [`super::import`] | an import to how far it came |
//!
//! A file that needs a table of its own defines it, adds its row here, and has [`Tables::of`] open it, so that every store has
//! every table from the first commit of a new schema on.

use std::ops::{Deref, DerefMut};

use ::redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};
use uuid::Uuid;

use super::fault::Fault;
use super::import::IMPORTS;
use super::record::{BadRecord, Codec};
use super::roster;
use crate::domain::credential::Credential;
use crate::domain::mode::Mode;
use crate::domain::user::{Origin, Standing, User, UserId, Version};
use crate::service::ports::UserCounts;

/// The schema that this version writes. An older authferry refuses a store with a later one (R101).
///
/// Schema 1 has neither `logins` nor `keys`, and its records are of format 1.
pub(super) const SCHEMA: u64 = 2;

/// The oldest schema that [`upgrade`] knows.
pub(super) const OLDEST_SCHEMA: u64 = 1;

/// A user's own key, as bytes: UUIDs of version 7 sort by age.
pub(super) type IdBytes = [u8; 16];

/// [`UserId`] -> record, as [`super::record`] encodes it. Deleted users stay, as tombstones.
pub(super) const USERS: TableDefinition<'_, &IdBytes, &[u8]> = TableDefinition::new("users");
/// Key of a normalized identifier -> whose it is. Not even a deletion lets go of it: only an operator does. Where the record does not
/// list the name, he took it from the user and keeps it from others.
pub(super) const ALIASES: TableDefinition<'_, &str, &IdBytes> = TableDefinition::new("aliases");
/// [`UserId`] and key of a name -> that it was ever taken from him and kept from others: so that his names can be found without looking at
/// everybody's. Whether it still is, [`ALIASES`] says.
pub(super) const RESERVED: TableDefinition<'_, &[u8], ()> = TableDefinition::new("reserved");
/// Key of a legacy id -> whose it is. Never reassigned either.
pub(super) const LEGACY_IDS: TableDefinition<'_, &str, &IdBytes> = TableDefinition::new("legacy_ids");
/// Running number -> conflict, as [`super::conflicts`] encodes it; the oldest gives way.
pub(super) const CONFLICTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("conflicts");
/// Holder and legacy id of a conflict -> its running number, so that one that comes up daily is one row.
pub(super) const CONFLICT_PAIRS: TableDefinition<'_, &[u8], u64> = TableDefinition::new("conflict_pairs");
/// [`UserId`] -> when he last logged in, seconds since the epoch. Kept apart from the record: a login changes nothing else.
pub(super) const LOGINS: TableDefinition<'_, &IdBytes, u64> = TableDefinition::new("logins");
/// Use and id of a key, as `seal/2026` -> its check value, as long as records may need it.
pub(super) const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");
/// Name -> number: the [`Ledger`], the schema and the mode.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("authferry");

const SCHEMA_KEY: &str = "schema";
const MODE_KEY: &str = "mode";
const REVISION_KEY: &str = "revision";

/// The table of users, and what it takes to read and write its records.
pub(super) struct Users<T> {
    rows: T,
    codec: Codec,
}

impl<T> Users<T> {
    pub(super) fn new(rows: T, codec: &Codec) -> Self {
        Self { rows, codec: codec.clone() }
    }

    /// What reads and writes its records.
    pub(super) fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Reads a record.
    pub(super) fn decode(&self, id: UserId, bytes: &[u8]) -> Result<User, BadRecord> {
        self.codec.decode(id, bytes)
    }

    /// A record as it would be written today; `None` if it is that already.
    pub(super) fn renewed(&self, id: UserId, bytes: &[u8]) -> Result<Option<Vec<u8>>, BadRecord> {
        self.codec.renewed(id, bytes)
    }

    /// Makes the bytes of a record.
    pub(super) fn encode(&self, user: &User) -> Result<Vec<u8>, BadRecord> {
        self.codec.encode(user)
    }
}

impl<T> Deref for Users<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.rows
    }
}

impl<T> DerefMut for Users<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.rows
    }
}

/// One committed state.
pub(super) struct Snapshot {
    pub(super) users: Users<ReadOnlyTable<&'static IdBytes, &'static [u8]>>,
    pub(super) aliases: ReadOnlyTable<&'static str, &'static IdBytes>,
    pub(super) legacy_ids: ReadOnlyTable<&'static str, &'static IdBytes>,
    pub(super) logins: ReadOnlyTable<&'static IdBytes, u64>,
    pub(super) conflicts: ReadOnlyTable<u64, &'static [u8]>,
    pub(super) reserved: ReadOnlyTable<&'static [u8], ()>,
    pub(super) imports: ReadOnlyTable<&'static [u8], &'static [u8]>,
    pub(super) meta: ReadOnlyTable<&'static str, u64>,
    pub(super) roster: roster::View,
}

/// What a read sees of one committed state.
pub(super) trait View: Sized {
    /// Opens the tables.
    fn of(transaction: &ReadTransaction, codec: &Codec) -> Result<Self, Fault>;
}

/// As much of one committed state as a login looks at: opening a table costs a lookup too.
pub(super) struct Lookups {
    pub(super) users: Users<ReadOnlyTable<&'static IdBytes, &'static [u8]>>,
    pub(super) aliases: ReadOnlyTable<&'static str, &'static IdBytes>,
    pub(super) legacy_ids: ReadOnlyTable<&'static str, &'static IdBytes>,
    /// Of that state: what a save after a lookup is held to.
    pub(super) revision: Version,
}

impl View for Lookups {
    fn of(transaction: &ReadTransaction, codec: &Codec) -> Result<Self, Fault> {
        Ok(Self {
            users: Users::new(transaction.open_table(USERS)?, codec),
            aliases: transaction.open_table(ALIASES)?,
            legacy_ids: transaction.open_table(LEGACY_IDS)?,
            revision: Ledger::revision(&transaction.open_table(META)?)?,
        })
    }
}

impl View for Snapshot {
    fn of(transaction: &ReadTransaction, codec: &Codec) -> Result<Self, Fault> {
        Ok(Self {
            users: Users::new(transaction.open_table(USERS)?, codec),
            aliases: transaction.open_table(ALIASES)?,
            legacy_ids: transaction.open_table(LEGACY_IDS)?,
            logins: transaction.open_table(LOGINS)?,
            conflicts: transaction.open_table(CONFLICTS)?,
            reserved: transaction.open_table(RESERVED)?,
            imports: transaction.open_table(IMPORTS)?,
            meta: transaction.open_table(META)?,
            roster: roster::View::of(transaction)?,
        })
    }
}

/// Every table, opened for writing.
pub(super) struct Tables<'txn> {
    pub(super) users: Users<Table<'txn, &'static IdBytes, &'static [u8]>>,
    pub(super) aliases: Table<'txn, &'static str, &'static IdBytes>,
    pub(super) legacy_ids: Table<'txn, &'static str, &'static IdBytes>,
    pub(super) logins: Table<'txn, &'static IdBytes, u64>,
    pub(super) keys: Table<'txn, &'static str, &'static [u8]>,
    pub(super) conflicts: Table<'txn, u64, &'static [u8]>,
    pub(super) conflict_pairs: Table<'txn, &'static [u8], u64>,
    pub(super) reserved: Table<'txn, &'static [u8], ()>,
    pub(super) imports: Table<'txn, &'static [u8], &'static [u8]>,
    pub(super) meta: Table<'txn, &'static str, u64>,
    pub(super) roster: roster::Tables<'txn>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn of(transaction: &'txn WriteTransaction, codec: &Codec) -> Result<Self, Fault> {
        Ok(Self {
            users: Users::new(transaction.open_table(USERS)?, codec),
            aliases: transaction.open_table(ALIASES)?,
            legacy_ids: transaction.open_table(LEGACY_IDS)?,
            logins: transaction.open_table(LOGINS)?,
            keys: transaction.open_table(KEYS)?,
            conflicts: transaction.open_table(CONFLICTS)?,
            conflict_pairs: transaction.open_table(CONFLICT_PAIRS)?,
            reserved: transaction.open_table(RESERVED)?,
            imports: transaction.open_table(IMPORTS)?,
            meta: transaction.open_table(META)?,
            roster: roster::Tables::of(transaction)?,
        })
    }
}

/// Makes all tables of an empty database and writes down its schema.
pub(super) fn initialise(transaction: &WriteTransaction) -> Result<(), Fault> {
    let mut tables = Tables::of(transaction, &Codec::default())?;
    tables.meta.insert(SCHEMA_KEY, SCHEMA)?;
    Ledger::default().store(&mut tables.meta)
}

/// Brings a database of an older schema to this one, within one transaction: the tables that it lacks are made, users are counted by
/// the day on which they were last seen, and its number is raised (R101). Records stay as they are; each is written in today's format when it changes next.
pub(super) fn upgrade(transaction: &WriteTransaction) -> Result<(), Fault> {
    let mut tables = Tables::of(transaction, &Codec::default())?;
    roster::count_everybody(&mut tables.roster, &tables.users)?;
    tables.meta.insert(SCHEMA_KEY, SCHEMA)?;
    Ok(())
}

/// The schema of a database. `None` if it is none of ours.
pub(super) fn schema_of(transaction: &ReadTransaction) -> Result<Option<u64>, Fault> {
    match transaction.open_table(META) {
        Ok(meta) => Ok(meta.get(SCHEMA_KEY)?.map(|schema| schema.value())),
        // Whatever else may be wrong with this table: it is not the one that we made.
        Err(TableError::Storage(error)) => Err(error.into()),
        Err(_other) => Ok(None),
    }
}

/// What a record counts as.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    standing: Standing,
    origin: Origin,
    without_password: bool,
}

impl Counted {
    pub(super) fn of(user: &User) -> Self {
        let without_password = match user.credential {
            Credential::Absent(_) => true,
            Credential::Argon2id(_) | Credential::Imported(_) => false,
        };
        Self { standing: user.standing, origin: user.origin, without_password }
    }
}

/// What each commit keeps up to date beside the records, so that it never has to be counted by walking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// The version that was last given to a record: one count for the whole store.
    pub(super) revision: u64,
    /// The running number of the next conflict.
    pub(super) next_conflict: u64,
    /// Of users, tombstones and conflicts.
    pub(super) counts: UserCounts,
}

impl Ledger {
    /// Reads it. A number that is missing is damage: all were written when the store was made.
    pub(super) fn load(meta: &impl ReadableTable<&'static str, u64>) -> Result<Self, Fault> {
        let mut ledger = Self::default();
        for (key, number) in ledger.numbers() {
            *number = number_of(meta, key)?;
        }
        Ok(ledger)
    }

    /// Reads the revision alone.
    pub(super) fn revision(meta: &impl ReadableTable<&'static str, u64>) -> Result<Version, Fault> {
        Ok(Version(number_of(meta, REVISION_KEY)?))
    }

    /// Writes it.
    pub(super) fn store(mut self, meta: &mut Table<'_, &'static str, u64>) -> Result<(), Fault> {
        for (key, number) in self.numbers() {
            meta.insert(key, *number)?;
        }
        Ok(())
    }

    fn numbers(&mut self) -> [(&'static str, &mut u64); 10] {
        let counts = &mut self.counts;
        [
            (REVISION_KEY, &mut self.revision),
            ("next_conflict", &mut self.next_conflict),
            ("count.migrated", &mut counts.migrated),
            ("count.registered", &mut counts.registered),
            ("count.imported", &mut counts.imported),
            ("count.roster", &mut counts.roster),
            ("count.disabled", &mut counts.disabled),
            ("count.without_password", &mut counts.without_password),
            ("count.deleted", &mut counts.deleted),
            ("count.conflicts", &mut counts.conflicts),
        ]
    }

    /// The version of the record that is about to change.
    pub(super) fn next_version(&mut self) -> Version {
        self.revision += 1;
        Version(self.revision)
    }

    /// Takes a record into the counts.
    pub(super) fn count_in(&mut self, user: &User) {
        self.count_in_as(Counted::of(user));
    }

    /// The same, of a record that is not at hand.
    pub(super) fn count_in_as(&mut self, counted: Counted) {
        for number in self.numbers_of(counted).into_iter().flatten() {
            *number += 1;
        }
    }

    /// Takes a record, as it was, out of the counts.
    pub(super) fn count_out(&mut self, user: &User) {
        for number in self.numbers_of(Counted::of(user)).into_iter().flatten() {
            *number = number.saturating_sub(1);
        }
    }

    /// The counts that a record is in.
    fn numbers_of(&mut self, counted: Counted) -> [Option<&mut u64>; 3] {
        let counts = &mut self.counts;
        if counted.standing == Standing::Deleted {
            return [Some(&mut counts.deleted), None, None];
        }
        let origin = match counted.origin {
            Origin::Migrated => &mut counts.migrated,
            Origin::Registered => &mut counts.registered,
            Origin::Imported => &mut counts.imported,
            Origin::Roster => &mut counts.roster,
        };
        let disabled = (counted.standing == Standing::Disabled).then_some(&mut counts.disabled);
        let without_password = counted.without_password.then_some(&mut counts.without_password);
        [Some(origin), disabled, without_password]
    }
}

fn number_of(meta: &impl ReadableTable<&'static str, u64>, key: &str) -> Result<u64, Fault> {
    let number = meta.get(key)?.ok_or_else(|| Fault::damage("one of the store's own counts is missing"))?;
    Ok(number.value())
}

/// The mode that was last kept.
pub(super) fn mode_of(meta: &impl ReadableTable<&'static str, u64>) -> Result<Option<Mode>, Fault> {
    match meta.get(MODE_KEY)?.map(|mode| mode.value()) {
        None => Ok(None),
        Some(0) => Ok(Some(Mode::Passthrough)),
        Some(1) => Ok(Some(Mode::Observe)),
        Some(2) => Ok(Some(Mode::Migrate)),
        Some(3) => Ok(Some(Mode::Retired)),
        Some(_) => Err(Fault::damage("the mode that was kept is none")),
    }
}

/// Keeps a mode.
pub(super) fn keep_mode(meta: &mut Table<'_, &'static str, u64>, mode: Mode) -> Result<(), Fault> {
    let number = match mode {
        Mode::Passthrough => 0,
        Mode::Observe => 1,
        Mode::Migrate => 2,
        Mode::Retired => 3,
    };
    meta.insert(MODE_KEY, number)?;
    Ok(())
}

/// Our own ids in the one form in which we write them: two spellings of an id must not be two subjects to an app.
pub(super) fn own_id(text: &str) -> Option<IdBytes> {
    let id = Uuid::try_parse(text).ok()?;
    (id.to_string() == text).then(|| id.into_bytes())
}

/// Reads the record of a key that another table points at. Its absence is damage.
pub(super) fn user_of<T: ReadableTable<&'static IdBytes, &'static [u8]>>(
    users: &Users<T>,
    id: &IdBytes,
) -> Result<User, Fault> {
    find_user(users, id)?.ok_or_else(|| Fault::damage("a name leads to no record"))
}

/// Reads a record, if there is one.
pub(super) fn find_user<T: ReadableTable<&'static IdBytes, &'static [u8]>>(
    users: &Users<T>,
    id: &IdBytes,
) -> Result<Option<User>, Fault> {
    let Some(bytes) = users.get(id)? else { return Ok(None) };
    Ok(Some(users.decode(UserId(Uuid::from_bytes(*id)), bytes.value())?))
}

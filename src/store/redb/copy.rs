//! One committed state of the store, copied into a new file, table by table and in order, so that the copy is as small as it
//! can be; and compared with what was copied.
//!
//! What backup, restore and compaction have in common. Reads in bounded batches and holds nothing between them but the snapshot.
//! Nothing is copied that is not understood: a table that is not listed here ends the copy.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ::redb::{
    Database, Durability, Key, ReadTransaction, ReadableTable as _, TableDefinition, TableHandle as _, Value,
};
use twox_hash::XxHash3_128;

use super::checked::isolated;
use super::fault::Fault;
use super::import::IMPORTS;
use super::schema::{ALIASES, CONFLICT_PAIRS, CONFLICTS, KEYS, LEGACY_IDS, LOGINS, META, RESERVED, USERS};
use super::writer::begin;
use crate::service::ports::Cause;

/// As many rows are read before they are written, at most.
const BATCH_ROWS: usize = 16_384;

/// As many bytes are read before they are written; the last row may be over it.
const BATCH_BYTES: usize = 8 << 20;

/// How far a copy is, for whoever watches, and whether it should go on.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Rows that were copied or compared.
    pub(super) done: AtomicU64,
    /// Rows that there are to copy and to compare.
    pub(super) total: AtomicU64,
    /// Set by whoever does not want the copy any more.
    pub(super) cancelled: AtomicBool,
}

/// What a state holds, in a few bytes: equal states have equal ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest {
    rows: u64,
    hash: u128,
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyFault {
    /// The source holds what was never written, or cannot be read.
    #[error("what should be copied cannot be read")]
    Source(#[source] Cause),
    /// The copy cannot be written.
    #[error("the copy cannot be written")]
    Target(#[source] Cause),
    /// The source has more than we know how to copy.
    #[error("the store has a table `{0}`, which this version does not know how to copy")]
    UnknownTable(String),
    /// The copy cannot be read.
    #[error("the copy cannot be read back")]
    Unreadable(#[source] Cause),
    /// The copy does not hold what was copied.
    #[error("the copy is not what was copied; the disk it is on cannot be trusted")]
    Differs,
    /// Nobody wants it any more.
    #[error("the copy was given up: the store is being closed")]
    Cancelled,
}

impl CopyFault {
    pub(super) fn target(cause: impl Into<Cause>) -> Self {
        Self::Target(cause.into())
    }

    fn source(fault: Fault) -> Self {
        match fault {
            Fault::Damage(cause) | Fault::Storage(cause) | Fault::Refused(cause) => Self::Source(cause),
        }
    }
}

impl From<io::Error> for CopyFault {
    fn from(error: io::Error) -> Self {
        Self::target(error)
    }
}

/// Copies everything into a database that holds nothing. The last commit makes it a store: what was interrupted is none.
pub(super) fn copy(from: &ReadTransaction, into: &Database, progress: &Progress) -> Result<Digest, CopyFault> {
    expect_known_tables(from)?;
    let mut copy = Walk { from, into: Some(into), progress, hash: XxHash3_128::new(), rows: 0 };
    every_table(&mut copy)?;
    Ok(copy.digest())
}

/// Reads everything, for the sake of its [`Digest`].
pub(super) fn digest(of: &ReadTransaction, progress: &Progress) -> Result<Digest, CopyFault> {
    let mut walk = Walk { from: of, into: None, progress, hash: XxHash3_128::new(), rows: 0 };
    every_table(&mut walk)?;
    Ok(walk.digest())
}

/// How many rows there are.
pub(super) fn count(of: &ReadTransaction) -> Result<u64, CopyFault> {
    let mut count = Count { of, rows: 0 };
    every_table(&mut count)?;
    Ok(count.rows)
}

/// Something that is done with each table.
trait Each {
    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        definition: TableDefinition<'static, K, V>,
    ) -> Result<(), CopyFault>;
}

/// Every table there is. That of the schema comes last: a file without it is no store.
fn every_table(each: &mut impl Each) -> Result<(), CopyFault> {
    each.table(USERS)?;
    each.table(ALIASES)?;
    each.table(LEGACY_IDS)?;
    each.table(LOGINS)?;
    each.table(CONFLICTS)?;
    each.table(CONFLICT_PAIRS)?;
    each.table(RESERVED)?;
    each.table(KEYS)?;
    each.table(super::roster::DAYS)?;
    each.table(super::roster::STRAGGLERS)?;
    each.table(super::roster::PACE)?;
    each.table(IMPORTS)?;
    each.table(META)
}

fn expect_known_tables(of: &ReadTransaction) -> Result<(), CopyFault> {
    struct Names(Vec<String>);
    impl Each for Names {
        fn table<K: Key + 'static, V: Value + 'static>(
            &mut self,
            definition: TableDefinition<'static, K, V>,
        ) -> Result<(), CopyFault> {
            self.0.push(definition.name().to_owned());
            Ok(())
        }
    }
    let mut known = Names(Vec::new());
    every_table(&mut known)?;
    let tables = reading(|| Ok(of.list_tables()?.map(|table| table.name().to_owned()).collect::<Vec<_>>()))?;
    match tables.into_iter().find(|table| !known.0.contains(table)) {
        None => Ok(()),
        Some(unknown) => Err(CopyFault::UnknownTable(unknown)),
    }
}

/// Runs what only reads the source, so that damage of it ends the copy and nothing else.
fn reading<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, CopyFault> {
    match isolated(work) {
        Ok(read) => read.map_err(CopyFault::source),
        Err(damage) => Err(CopyFault::Source(damage.into())),
    }
}

struct Count<'txn> {
    of: &'txn ReadTransaction,
    rows: u64,
}

impl Each for Count<'_> {
    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        definition: TableDefinition<'static, K, V>,
    ) -> Result<(), CopyFault> {
        use ::redb::ReadableTableMetadata as _;
        self.rows += reading(|| Ok(self.of.open_table(definition)?.len()?))?;
        Ok(())
    }
}

/// Goes through every row, and copies it where it is told to.
struct Walk<'txn> {
    from: &'txn ReadTransaction,
    into: Option<&'txn Database>,
    progress: &'txn Progress,
    hash: XxHash3_128,
    rows: u64,
}

/// Some rows of one table, one behind the other.
#[derive(Default)]
struct Rows {
    bytes: Vec<u8>,
    /// Where the key and where the value of each end.
    ends: Vec<(usize, usize)>,
}

impl Rows {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    fn are_many(&self) -> bool {
        self.ends.len() >= BATCH_ROWS || self.bytes.len() >= BATCH_BYTES
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(key_end, end)| {
            let (key, value) = (self.bytes.get(start..key_end), self.bytes.get(key_end..end));
            start = end;
            (key.unwrap_or_default(), value.unwrap_or_default())
        })
    }
}

impl Each for Walk<'_> {
    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        definition: TableDefinition<'static, K, V>,
    ) -> Result<(), CopyFault> {
        let table = reading(|| Ok(self.from.open_table(definition)?))?;
        let mut source = reading(|| Ok(table.iter()?))?;
        let mut rows = Rows::default();
        self.hash.write(definition.name().as_bytes());
        // Once more than there are rows, so that a table without any is made too.
        loop {
            rows.clear();
            reading(|| {
                while !rows.are_many()
                    && let Some(row) = source.next()
                {
                    let (key, value) = row?;
                    rows.push(K::as_bytes(&key.value()).as_ref(), V::as_bytes(&value.value()).as_ref());
                }
                Ok(())
            })?;
            self.take_in(&rows);
            if let Some(into) = self.into {
                let is_last = definition.name() == META.name();
                insert(into, definition, &rows, is_last).map_err(CopyFault::Target)?;
            }
            self.progress.done.fetch_add(rows.ends.len() as u64, Ordering::Relaxed);
            if self.progress.cancelled.load(Ordering::Relaxed) {
                return Err(CopyFault::Cancelled);
            }
            if rows.ends.is_empty() {
                return Ok(());
            }
        }
    }
}

impl Walk<'_> {
    fn take_in(&mut self, rows: &Rows) {
        for (key, value) in rows.iter() {
            for bytes in [key, value] {
                self.hash.write(&(bytes.len() as u64).to_le_bytes());
                self.hash.write(bytes);
            }
        }
        self.rows += rows.ends.len() as u64;
    }

    fn digest(&self) -> Digest {
        Digest { rows: self.rows, hash: self.hash.finish_128() }
    }
}

fn insert<K: Key + 'static, V: Value + 'static>(
    into: &Database,
    definition: TableDefinition<'static, K, V>,
    rows: &Rows,
    is_last: bool,
) -> Result<(), Cause> {
    let transaction = if is_last {
        begin(Some(into)).map_err(|fault| Cause::from(fault.shared().1))?
    } else {
        // Each is synced, so that what waits to be written stays small; nothing depends on it yet.
        let mut transaction = into.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction
    };
    {
        let mut table = transaction.open_table(definition)?;
        for (key, value) in rows.iter() {
            table.insert(K::from_bytes(key), V::from_bytes(value))?;
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::redb::backends::InMemoryBackend;
    use ::redb::{Builder, ReadableDatabase as _};

    use super::*;
    use crate::store::redb::schema::initialise;

    fn database() -> Database {
        Builder::new().create_with_backend(InMemoryBackend::new()).expect("memory")
    }

    /// A store with so many names.
    fn store(names: u32) -> Database {
        let database = database();
        fill(&database, names);
        database
    }

    fn fill(database: &Database, names: u32) {
        let transaction = begin(Some(database)).expect("a transaction");
        initialise(&transaction).expect("tables");
        {
            let mut aliases = transaction.open_table(ALIASES).expect("a table");
            for n in 0..names {
                aliases.insert(format!("e:user{n}@x.y").as_str(), &[(n % 251) as u8; 16]).expect("a row");
            }
        }
        transaction.commit().expect("a commit");
    }

    #[test]
    fn a_copy_holds_what_was_copied_and_is_known_by_its_digest() {
        let (source, target, progress) = (store(40_000), database(), Progress::default());
        let from = source.begin_read().expect("a snapshot");
        let copied = copy(&from, &target, &progress).expect("a copy");
        assert_eq!(copied.rows, count(&from).expect("a count"));
        assert_eq!(progress.done.load(Ordering::Relaxed), copied.rows);
        let to = target.begin_read().expect("a snapshot");
        assert_eq!(digest(&to, &progress).expect("a digest"), copied);
        for other in [store(39_999), store(40_001)] {
            let other = other.begin_read().expect("a snapshot");
            assert_ne!(digest(&other, &progress).expect("a digest"), copied);
        }
    }

    #[test]
    fn every_table_of_a_store_is_copied() {
        let (source, target) = (store(1), database());
        let from = source.begin_read().expect("a snapshot");
        copy(&from, &target, &Progress::default()).expect("no table is unknown");
        let names = |of: &ReadTransaction| {
            let mut names: Vec<_> = of.list_tables().expect("names").map(|table| table.name().to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&target.begin_read().expect("a snapshot")), names(&from));
    }

    #[test]
    fn what_is_not_understood_is_not_copied_in_part() {
        const OTHER: TableDefinition<'_, u64, u64> = TableDefinition::new("of a later version");
        let source = store(1);
        let transaction = source.begin_write().expect("a transaction");
        transaction.open_table(OTHER).expect("a table");
        transaction.commit().expect("a commit");
        let copied = copy(&source.begin_read().expect("a snapshot"), &database(), &Progress::default());
        assert!(matches!(copied, Err(CopyFault::UnknownTable(name)) if name == "of a later version"));
    }

    #[test]
    fn r95_a_state_whose_file_is_opened_again_meanwhile_is_not_copied_wrongly() {
        let disk = Arc::new(InMemoryBackend::new());
        let open = || Builder::new().set_cache_size(0).create_with_backend(Shared(Arc::clone(&disk))).expect("memory");
        let source = open();
        fill(&source, 40_000);
        let from = source.begin_read().expect("a snapshot");
        drop(source);
        // Whoever opens it again knows nothing of the snapshot, and uses its pages.
        let again = open();
        for _ in 0..3 {
            let transaction = again.begin_write().expect("a transaction");
            transaction.delete_table(ALIASES).expect("a table");
            transaction.commit().expect("a commit");
            fill(&again, 40_000);
        }
        let copied = copy(&from, &database(), &Progress::default());
        assert!(matches!(copied, Err(CopyFault::Source(_))), "{copied:?}");
    }

    /// One disk, opened more than once.
    #[derive(Debug)]
    struct Shared(Arc<InMemoryBackend>);

    impl ::redb::StorageBackend for Shared {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.0.write(offset, data)
        }
    }

    #[test]
    fn a_copy_that_nobody_wants_any_more_ends() {
        let progress = Arc::new(Progress::default());
        progress.cancelled.store(true, Ordering::Relaxed);
        let source = store(1);
        let copied = copy(&source.begin_read().expect("a snapshot"), &database(), &progress);
        assert!(matches!(copied, Err(CopyFault::Cancelled)));
    }
}

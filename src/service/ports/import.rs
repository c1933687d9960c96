//! Rows of an import on their way into the store, many in one commit, and how far an import came.

use std::any::Any;

use crate::domain::clock::UnixSeconds;
use crate::domain::import::{Imported, Incoming, OnConflict};

/// Makes rows of an import ready for a store.
pub trait Readier: Send {
    /// Adds a row behind the others.
    fn push(&mut self, row: Incoming);

    /// The rows so far; what is pushed next is the first of others.
    fn take(&mut self) -> ReadyRows;
}

/// For a store that makes nothing of rows ahead.
impl Readier for Vec<Incoming> {
    fn push(&mut self, row: Incoming) {
        Self::push(self, row);
    }

    fn take(&mut self) -> ReadyRows {
        ReadyRows::new(self.len(), std::mem::take(self))
    }
}

/// Rows that were made ready. What is in them concerns the store alone that made them. No `Debug`: it holds hashes and profiles.
pub struct ReadyRows {
    count: usize,
    made: Box<dyn Any + Send>,
}

impl ReadyRows {
    /// So many rows.
    #[must_use]
    pub fn new(count: usize, made: impl Any + Send) -> Self {
        Self { count, made: Box::new(made) }
    }

    /// How many rows there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

/// Rows of an import.
pub struct ImportBatch<R = Vec<Incoming>> {
    /// At most [`MAX_IMPORT_ROWS`]; more are refused whole.
    pub rows: R,
    /// What becomes of rows whose user is known.
    pub on_conflict: OnConflict,
    /// What to remember with them.
    pub checkpoint: Option<Checkpoint>,
    /// Now.
    pub at: UnixSeconds,
}

impl<R> ImportBatch<R> {
    /// The same with other rows.
    pub fn map<S>(self, rows: impl FnOnce(R) -> S) -> ImportBatch<S> {
        let Self { rows: before, on_conflict, checkpoint, at } = self;
        ImportBatch { rows: rows(before), on_conflict, checkpoint, at }
    }
}

impl ImportBatch<Vec<ReadyRows>> {
    /// What is in the rows; none if any of it is something else.
    #[must_use]
    pub fn unpacked<T: Any>(self) -> Option<ImportBatch<Vec<T>>> {
        let unpacked = |rows: ReadyRows| rows.made.downcast::<T>().ok().map(|made| *made);
        let batch = self.map(|rows| rows.into_iter().map(unpacked).collect::<Option<Vec<T>>>());
        let ImportBatch { rows, on_conflict, checkpoint, at } = batch;
        Some(ImportBatch { rows: rows?, on_conflict, checkpoint, at })
    }
}

/// The most rows of one [`ImportBatch`].
pub const MAX_IMPORT_ROWS: usize = 2_000_000;

/// What an import is known by: a digest of its file's beginning and of how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportKey(pub [u8; 32]);

/// How far an import has come once its batch is on disk.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Of which import. The store keeps the last [`MAX_CHECKPOINTS`] imports.
    pub key: ImportKey,
    /// What the importer needs to go on, at most [`MAX_CHECKPOINT_BYTES`]; the store does not look into it.
    pub state: Vec<u8>,
}

/// The largest [`Checkpoint::state`], in bytes.
pub const MAX_CHECKPOINT_BYTES: usize = 64 * 1024;

/// As many imports are remembered; of more, the oldest is forgotten.
pub const MAX_CHECKPOINTS: u64 = 64;

/// A checkpoint as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedCheckpoint {
    /// What the importer gave.
    pub state: Vec<u8>,
    /// What became of each row of the batch that it came with: whoever goes on has perhaps not heard.
    pub results: Vec<Imported>,
    /// When.
    pub at: UnixSeconds,
}

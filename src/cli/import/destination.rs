//! Where rows go: the store itself, when no proxy runs, or the running proxy's admin API. Both take a batch in one durable commit, with
//! the checkpoint, and answer a result a row.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::super::failure::Failure;
use super::super::operator::{Operator, Unanswered};
use super::memory::Room;
use super::pipeline::ChunkSize;
use crate::admin::import::{CheckpointView, MAX_BYTES, MAX_ROWS, RowResult, Wanted};
use crate::domain::clock::{Clock as _, SystemClock};
use crate::domain::identifier::IdentifierRules;
use crate::domain::import::{Imported, Incoming, OnConflict};
use crate::exchange::{Hashes, PortableUser, RowFault, jsonl};
use crate::service::ports::{
    Checkpoint, ImportBatch, ImportKey, MAX_IMPORT_ROWS, Readier, ReadyRows, SavedCheckpoint, StoreError, UserStore,
};

/// How often a proxy that is too busy is asked again, and how long is waited between.
const RETRIES: u32 = 30;
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Where rows go.
pub(super) enum Destination {
    /// A store that this process has open, or a view of it.
    Store { store: Arc<dyn UserStore>, rules: IdentifierRules },
    /// A running proxy, and how it normalizes names.
    Proxy { operator: Operator, rules: IdentifierRules },
}

/// Rows that are ready to go there.
pub(super) enum Prepared {
    /// To a store.
    Rows(ReadyRows),
    /// To a proxy, as lines of ours.
    Lines { text: Vec<u8>, count: usize },
}

impl Prepared {
    /// What they take in a request, in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Rows(_) => 0,
            Self::Lines { text, .. } => text.len(),
        }
    }

    /// How many they are.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.count(),
            Self::Lines { count, .. } => *count,
        }
    }
}

/// How much goes into one batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    pub(super) rows: usize,
    /// Of the file.
    pub(super) bytes: usize,
    /// Of a request.
    pub(super) request: usize,
    /// What it is put together from.
    pub(super) chunk: ChunkSize,
}

/// How rows are made ready, on any thread.
#[derive(Clone)]
pub(super) enum Preparing {
    ForStore(Arc<dyn UserStore>, IdentifierRules),
    ForProxy(IdentifierRules),
}

impl Preparing {
    /// For the rows of one thread.
    pub(super) fn preparer(&self) -> Preparer {
        match self {
            Self::ForStore(store, rules) => Preparer::ForStore(store.readier(SystemClock.wall()), *rules),
            Self::ForProxy(rules) => Preparer::ForProxy { text: Vec::new(), count: 0, rules: *rules },
        }
    }
}

/// Makes rows ready on one thread.
pub(super) enum Preparer {
    ForStore(Box<dyn Readier>, IdentifierRules),
    ForProxy { text: Vec<u8>, count: usize, rules: IdentifierRules },
}

impl Preparer {
    /// Adds a user, with his names in canonical form; finds what no store would take.
    pub(super) fn add(&mut self, user: PortableUser) -> Result<(), RowFault> {
        let incoming = |user, rules| Incoming::new(user, rules).map_err(|bad| fault_of(&bad.to_string()));
        match self {
            Self::ForStore(readier, rules) => readier.push(incoming(user, *rules)?),
            Self::ForProxy { text, count, rules } => {
                let mut line = Vec::new();
                jsonl::append(&user, Hashes::Included, &mut line);
                if line.len() > MAX_BYTES / 2 {
                    return Err(RowFault::new("record", "it is too large to be sent to the running proxy"));
                }
                incoming(user, *rules)?;
                text.extend_from_slice(&line);
                *count += 1;
            }
        }
        Ok(())
    }

    /// The rows so far.
    pub(super) fn take(&mut self) -> Prepared {
        match self {
            Self::ForStore(readier, _) => Prepared::Rows(readier.take()),
            Self::ForProxy { text, count, .. } => {
                Prepared::Lines { text: std::mem::take(text), count: std::mem::take(count) }
            }
        }
    }
}

/// `field: problem`, taken apart again.
fn fault_of(text: &str) -> RowFault {
    match text.split_once(": ") {
        Some((field, problem)) => RowFault::new(field.to_owned(), problem.to_owned()),
        None => RowFault::new("record", text.to_owned()),
    }
}

/// Why rows could not be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("the store did not take the rows; run the same command again, and it goes on where it was")]
    Store(#[source] StoreError),
    #[error("the running proxy did not take the rows; run the same command again, and it goes on where it was")]
    Proxy(#[source] Unanswered),
    #[error("the view of the store did not take the rows; nothing of them is in the store, and a dry run begins anew")]
    View(#[source] StoreError),
    #[error("the running proxy answered something that is no result of an import; is it of another version?")]
    Foreign,
}

impl Destination {
    /// How names are normalized there.
    pub(super) fn rules(&self) -> IdentifierRules {
        match self {
            Self::Store { rules, .. } | Self::Proxy { rules, .. } => *rules,
        }
    }

    /// How rows are made ready for it.
    pub(super) fn preparing(&self) -> Preparing {
        match self {
            Self::Store { store, rules } => Preparing::ForStore(Arc::clone(store), *rules),
            Self::Proxy { rules, .. } => Preparing::ForProxy(*rules),
        }
    }

    /// How much it takes at once, at most so many rows. `keeps_bytes` says that rows stay in memory as they are in the file too.
    pub(super) fn measure(&self, rows: Option<usize>, keeps_bytes: bool) -> Measure {
        match self {
            Self::Store { .. } => {
                // The larger a commit, the fewer times each page of the tables by name is written: names come in no order.
                let rows = rows.unwrap_or_else(|| Room::here().rows).min(MAX_IMPORT_ROWS);
                // Lines are seldom longer. Who asks for more rows than usual has the memory for it.
                let bytes = if keeps_bytes { 48 << 20 } else { (96 << 20).max(rows * 400) };
                let chunk = ChunkSize { records: rows.clamp(1, 512), bytes: 512 * 1024 };
                Measure { rows, bytes, request: usize::MAX, chunk }
            }
            Self::Proxy { .. } => {
                // Room for the first line, whose checkpoint may be as long as it may be.
                let request = MAX_BYTES - 128 * 1024;
                let rows = rows.unwrap_or(MAX_ROWS).clamp(1, MAX_ROWS);
                // Twice this and a line of the largest size still fit into one request.
                let chunk = ChunkSize { records: rows.min(MAX_ROWS / 2), bytes: 128 * 1024 };
                Measure { rows, bytes: usize::MAX, request, chunk }
            }
        }
    }

    /// How far an import of this key came.
    pub(super) async fn checkpoint(&self, key: ImportKey) -> Result<Option<SavedCheckpoint>, Failure> {
        match self {
            Self::Store { store, .. } => {
                store.import_checkpoint(key).await.map_err(|error| Failure::of(NotTaken::Store(error)))
            }
            Self::Proxy { operator, .. } => {
                let terms = operator.import_terms(key).await.map_err(|error| Failure::of(NotTaken::Proxy(error)))?;
                let Some(saved) = terms.checkpoint else { return Ok(None) };
                let foreign = || Failure::of(NotTaken::Foreign);
                Ok(Some(SavedCheckpoint {
                    state: STANDARD.decode(&saved.state).map_err(|_no_base64| foreign())?,
                    results: results_of(saved.results).ok_or_else(foreign)?,
                    at: crate::domain::clock::UnixSeconds(saved.at),
                }))
            }
        }
    }

    /// Takes a batch, and waits until it is on disk.
    pub(super) async fn take(
        &self,
        rows: Vec<Prepared>,
        on_conflict: OnConflict,
        checkpoint: Option<Checkpoint>,
    ) -> Result<Vec<Imported>, NotTaken> {
        match self {
            Self::Store { store, .. } => {
                let rows = rows.into_iter().filter_map(|rows| match rows {
                    Prepared::Rows(rows) => Some(rows),
                    Prepared::Lines { .. } => None,
                });
                let at = SystemClock.wall();
                let batch = ImportBatch { rows: rows.collect(), on_conflict, checkpoint, at };
                store.import_ready(batch).await.map_err(NotTaken::Store)
            }
            Self::Proxy { operator, .. } => {
                let body = request(&rows, on_conflict, checkpoint.as_ref());
                let mut tries = 0;
                let results = loop {
                    match operator.import(body.clone()).await {
                        Ok(results) => break results.results,
                        // It was too busy, or too slow with its answer: then the rows are in, and its checkpoint says so.
                        Err(Unanswered::Refused { status: 503, .. }) if tries < RETRIES => {
                            tries += 1;
                            tokio::time::sleep(RETRY_PAUSE).await;
                            if let Some(results) = taken_already(operator, checkpoint.as_ref()).await? {
                                break results;
                            }
                        }
                        Err(error) => return Err(NotTaken::Proxy(error)),
                    }
                };
                let count = results.len();
                let expected: usize = rows.iter().map(Prepared::count).sum();
                results_of(results).filter(|_| count == expected).ok_or(NotTaken::Foreign)
            }
        }
    }
}

/// The results of a batch whose answer did not come, if it is on disk.
async fn taken_already(
    operator: &Operator,
    checkpoint: Option<&Checkpoint>,
) -> Result<Option<Vec<RowResult>>, NotTaken> {
    let Some(checkpoint) = checkpoint else { return Ok(None) };
    let terms = match operator.import_terms(checkpoint.key).await {
        Ok(terms) => terms,
        // It still cannot answer; the batch is sent again.
        Err(Unanswered::Refused { status: 503, .. }) => return Ok(None),
        Err(error) => return Err(NotTaken::Proxy(error)),
    };
    let state = STANDARD.encode(&checkpoint.state);
    Ok(terms.checkpoint.filter(|saved| saved.state == state).map(|saved| saved.results))
}

fn request(rows: &[Prepared], on_conflict: OnConflict, checkpoint: Option<&Checkpoint>) -> Bytes {
    let checkpoint = checkpoint
        .map(|checkpoint| CheckpointView { key: hex(&checkpoint.key.0), state: STANDARD.encode(&checkpoint.state) });
    let wanted = Wanted { on_conflict, checkpoint };
    let mut body = serde_json::json!(wanted).to_string().into_bytes();
    body.push(b'\n');
    for rows in rows {
        match rows {
            Prepared::Lines { text, .. } => body.extend_from_slice(text),
            Prepared::Rows(_) => {}
        }
    }
    body.into()
}

fn results_of(results: Vec<RowResult>) -> Option<Vec<Imported>> {
    results.into_iter().map(RowResult::imported).collect()
}

/// Two lower-case digits a byte.
pub(in crate::cli) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! What the store keeps of an import, to go on after an interruption: the place in the file, the counts, and how long the files beside
//! it were. A later version reads what an earlier one wrote, or refuses it.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Journal;
use super::counts::Counts;
use crate::admin::import::import_key;
use crate::cli::import::destination::hex;
use crate::cli::import::pipeline::Mark;
use crate::exchange::Place;

/// What the store keeps for an import: how things stood before the batch that it came with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli::import) struct State {
    version: u8,
    byte: u64,
    line: u64,
    records: u64,
    /// Of everything before `byte`, in hexadecimal.
    fingerprint: String,
    /// Rows of the batch, unreadable ones included.
    pub(in crate::cli::import) rows: u64,
    /// Before the batch.
    pub(in crate::cli::import) counts: Counts,
    /// Of the files beside the import - rejects, reasons, results -; none for one that was not wanted.
    pub(super) lengths: [Option<u64>; 3],
    /// Whether the file is read through; the batch is empty then.
    pub(in crate::cli::import) done: bool,
}

impl State {
    pub(in crate::cli::import) fn new(mark: Mark, rows: u64, journal: &Journal, done: bool) -> Self {
        Self {
            version: 1,
            byte: mark.place.byte,
            line: mark.place.line,
            records: mark.place.records,
            fingerprint: hex(&mark.fingerprint),
            rows,
            counts: journal.counts,
            lengths: journal.lengths(),
            done,
        }
    }

    pub(in crate::cli::import) fn encode(&self) -> Vec<u8> {
        json!(self).to_string().into_bytes()
    }

    /// None for one that this version did not write.
    pub(in crate::cli::import) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|state: &Self| state.version == 1)
    }

    /// Whether rejected rows were not kept up to here.
    pub(in crate::cli::import) fn kept_no_rejects(&self) -> bool {
        self.records > 0 && self.lengths.first().is_none_or(Option::is_none)
    }

    /// Which files beside the store there were: of rejected rows, of results.
    pub(in crate::cli::import) fn kept(&self) -> (bool, bool) {
        let [rejects, _, results] = self.lengths;
        (rejects.is_some(), results.is_some())
    }

    pub(in crate::cli::import) fn mark(&self) -> Option<Mark> {
        let fingerprint = import_key(&self.fingerprint)?.0;
        let place = Place { byte: self.byte, line: self.line, records: self.records };
        Some(Mark { place, fingerprint })
    }
}

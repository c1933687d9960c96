//! What an import leaves beside the store: the rejected rows in the bytes they came in, why each was rejected, and a result for every
//! row if that is wanted. And what is kept in the store to go on after an interruption.
//!
//! A batch is written down here after it is on disk. The checkpoint that comes with it says how long these files were before it, and the
//! store keeps the batch's results: whoever goes on cuts the files back to that length, reads the rows of that batch once more, and
//! writes down what the store said of them. So each row is in them once, wherever the process was killed.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::terminal::inert;
use super::pipeline::Mark;
use crate::domain::import::{Imported, Rejection, Skip};
use crate::domain::user::UserId;
use crate::exchange::{Framing, HashFate, Notes, Place, RowFault};

/// What became of all rows so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) created: u64,
    pub(super) updated: u64,
    pub(super) exists: u64,
    pub(super) unchanged: u64,
    pub(super) rejected: u64,
    /// Of those created, who came without a password.
    #[serde(default)]
    pub(super) without_password: u64,
    /// Of the users who were created or updated, those of whom there is something to know.
    #[serde(default)]
    pub(super) noted: Noted,
}

/// How many users there is something to know of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    pub(super) second_factor: u64,
    pub(super) pending_action: u64,
    pub(super) left_with_legacy: u64,
    pub(super) dropped: u64,
}

impl Noted {
    fn count(&mut self, notes: Notes) {
        self.second_factor += u64::from(notes.second_factor);
        self.pending_action += u64::from(notes.pending_action);
        match notes.hash {
            HashFate::Taken => {}
            HashFate::LeftWithLegacy => self.left_with_legacy += 1,
            HashFate::Dropped => self.dropped += 1,
        }
    }
}

/// What there is to know of a row's user, once the store has said what became of it.
fn noted(imported: &Imported, notes: Notes) -> Notes {
    match imported {
        Imported::UpdatedWithoutHash(_) | Imported::Skipped(_, Skip::HashLeft) => {
            Notes { hash: HashFate::LeftWithLegacy, ..notes }
        }
        Imported::Created(_) | Imported::Updated(_) | Imported::Skipped(_, Skip::Exists | Skip::Unchanged) => notes,
        Imported::Rejected(_) => Notes::default(),
    }
}

/// The same of one row, in words.
fn words_of(notes: Notes) -> Vec<&'static str> {
    let hash = match notes.hash {
        HashFate::Taken => None,
        HashFate::LeftWithLegacy => Some("hash_left_with_legacy"),
        HashFate::Dropped => Some("hash_dropped"),
    };
    let second_factor = notes.second_factor.then_some("second_factor");
    let pending_action = notes.pending_action.then_some("pending_action");
    [second_factor, pending_action, hash].into_iter().flatten().collect()
}

impl Counts {
    /// All rows.
    pub(super) fn total(&self) -> u64 {
        self.created + self.updated + self.exists + self.unchanged + self.rejected
    }

    fn count(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Store(Imported::Created(_), _) => &mut self.created,
            Outcome::Store(Imported::Updated(_) | Imported::UpdatedWithoutHash(_), _) => &mut self.updated,
            Outcome::Store(Imported::Skipped(_, Skip::Exists), _) => &mut self.exists,
            Outcome::Store(Imported::Skipped(_, Skip::Unchanged | Skip::HashLeft), _) => &mut self.unchanged,
            Outcome::Store(Imported::Rejected(_), _) | Outcome::Unreadable(_) => &mut self.rejected,
        } += 1;
        match outcome {
            Outcome::Store(
                imported @ (Imported::Created(_)
                | Imported::Updated(_)
                | Imported::UpdatedWithoutHash(_)
                | Imported::Skipped(_, Skip::HashLeft)),
                notes,
            ) => self.noted.count(noted(imported, *notes)),
            Outcome::Store(Imported::Skipped(_, Skip::Exists | Skip::Unchanged) | Imported::Rejected(_), _)
            | Outcome::Unreadable(_) => {}
        }
    }
}

/// How a row ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The store's word, and what there is to know of the user beside it.
    Store(Imported, Notes),
    /// It never got there.
    Unreadable(RowFault),
}

/// What the store keeps for an import: how things stood before the batch that it came with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    version: u8,
    byte: u64,
    line: u64,
    records: u64,
    /// Of everything before `byte`, in hexadecimal.
    fingerprint: String,
    /// Rows of the batch, unreadable ones included.
    pub(super) rows: u64,
    /// Before the batch.
    pub(super) counts: Counts,
    /// Of the files beside the import; none for one that was not wanted.
    lengths: [Option<u64>; 3],
    /// Whether the file is read through; the batch is empty then.
    pub(super) done: bool,
}

impl State {
    pub(super) fn new(mark: Mark, rows: u64, journal: &Journal, done: bool) -> Self {
        Self {
            version: 1,
            byte: mark.place.byte,
            line: mark.place.line,
            records: mark.place.records,
            fingerprint: super::destination::hex(&mark.fingerprint),
            rows,
            counts: journal.counts,
            lengths: journal.lengths(),
            done,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        json!(self).to_string().into_bytes()
    }

    /// None for one that this version did not write.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|state: &Self| state.version == 1)
    }

    /// Whether rejected rows were not kept up to here.
    pub(super) fn kept_no_rejects(&self) -> bool {
        self.records > 0 && self.lengths.first().is_none_or(Option::is_none)
    }

    /// Which files beside the store there were: of rejected rows, of results.
    pub(super) fn kept(&self) -> (bool, bool) {
        let [rejects, _, results] = self.lengths;
        (rejects.is_some(), results.is_some())
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        let fingerprint = crate::admin::import::import_key(&self.fingerprint)?.0;
        let place = Place { byte: self.byte, line: self.line, records: self.records };
        Some(Mark { place, fingerprint })
    }
}

/// The files, and the counts.
pub(super) struct Journal {
    pub(super) counts: Counts,
    rejects: Option<SideFile>,
    reasons: Option<SideFile>,
    results: Option<SideFile>,
    wrapping: Wrapping,
    /// Why the first rows were rejected that this process read, a line each.
    first_reasons: Vec<String>,
}

/// As many reasons are shown at the end; all of them go beside `--rejects`.
const REASONS_SHOWN: usize = 5;

/// What stands around records in a file of their framing.
struct Wrapping {
    before: Vec<u8>,
    between: &'static [u8],
    after: Vec<u8>,
}

impl Wrapping {
    fn of(framing: Framing, header: &[u8]) -> Self {
        match framing {
            Framing::Lines | Framing::CsvWithoutHeader => {
                Self { before: Vec::new(), between: b"\n", after: b"\n".to_vec() }
            }
            Framing::Csv => Self { before: [header, b"\n"].concat(), between: b"\n", after: b"\n".to_vec() },
            Framing::JsonItems { path: "" } => {
                Self { before: b"[\n".to_vec(), between: b",\n", after: b"\n]\n".to_vec() }
            }
            Framing::JsonItems { path } => Self {
                before: format!("{{{}:[\n", json!(path)).into_bytes(),
                between: b",\n",
                after: b"\n]}\n".to_vec(),
            },
        }
    }
}

/// Why a file beside an import cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    #[error("{} exists already; name another file, or remove it", .0.display())]
    Exists(PathBuf),
    #[error("{} is named twice, and each of the files beside an import has to be another one", .0.display())]
    Same(PathBuf),
    #[error("{} is shorter than when the import was interrupted; start over with --restart", .0.display())]
    Cut(PathBuf),
    #[error("{} cannot be written", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl Journal {
    /// Of a new import; a file that is there already is refused, it may be somebody's work.
    pub(super) fn begin(
        rejects: Option<&Path>,
        results: Option<&Path>,
        framing: Framing,
        header: &[u8],
    ) -> Result<Self, JournalError> {
        Self::at(rejects, results, framing, header, [None; 3], Counts::default())
    }

    /// Of an import that goes on.
    pub(super) fn go_on(
        rejects: Option<&Path>,
        results: Option<&Path>,
        framing: Framing,
        header: &[u8],
        state: &State,
    ) -> Result<Self, JournalError> {
        Self::at(rejects, results, framing, header, state.lengths, state.counts)
    }

    fn at(
        rejects: Option<&Path>,
        results: Option<&Path>,
        framing: Framing,
        header: &[u8],
        lengths: [Option<u64>; 3],
        counts: Counts,
    ) -> Result<Self, JournalError> {
        let paths = [rejects.map(Path::to_owned), rejects.map(reasons_beside), results.map(Path::to_owned)];
        for (index, path) in paths.iter().enumerate() {
            if let Some(path) = path.as_ref().filter(|_| paths.iter().take(index).any(|before| before == path)) {
                return Err(JournalError::Same(path.clone()));
            }
        }
        // One that the interrupted import knew nothing of is a new one, and must not be somebody's work.
        let open = |path: Option<PathBuf>, length: Option<u64>| match (path, length) {
            (None, _) => Ok(None),
            (Some(path), None) => SideFile::begin(path).map(Some),
            (Some(path), Some(length)) => SideFile::go_on(path, length).map(Some),
        };
        let [rejects, reasons, results] = paths;
        let [rejects_length, reasons_length, results_length] = lengths;
        Ok(Self {
            counts,
            rejects: open(rejects, rejects_length)?,
            reasons: open(reasons, reasons_length)?,
            results: open(results, results_length)?,
            wrapping: Wrapping::of(framing, header),
            first_reasons: Vec::new(),
        })
    }

    /// How long the files are.
    fn lengths(&self) -> [Option<u64>; 3] {
        [&self.rejects, &self.reasons, &self.results].map(|file| file.as_ref().map(|file| file.length))
    }

    /// Writes one row's end down.
    pub(super) fn row(
        &mut self,
        number: u64,
        line: u64,
        raw: Option<&[u8]>,
        outcome: &Outcome,
    ) -> Result<(), JournalError> {
        self.counts.count(outcome);
        if let Some(results) = &mut self.results {
            results.line(&told(number, line, outcome))?;
        }
        let reason = match outcome {
            Outcome::Store(Imported::Rejected(rejection), _) => Some(format!("{}: {rejection}", field_of(rejection))),
            Outcome::Unreadable(fault) => Some(fault.to_string()),
            Outcome::Store(
                Imported::Created(_) | Imported::Updated(_) | Imported::UpdatedWithoutHash(_) | Imported::Skipped(..),
                _,
            ) => None,
        };
        if let Some(reason) = reason {
            if self.first_reasons.len() < REASONS_SHOWN {
                self.first_reasons.push(format!("line {line}: {}", inert(&reason)));
            }
            if let Some(reasons) = &mut self.reasons {
                reasons.line(&told(number, line, outcome))?;
            }
            if let (Some(rejects), Some(raw)) = (&mut self.rejects, raw) {
                let before = if rejects.length == 0 { &self.wrapping.before } else { self.wrapping.between };
                rejects.append(before)?;
                rejects.append(raw)?;
            }
        }
        Ok(())
    }

    /// Why rows were rejected: of the first few that this process read. Never what is in them.
    pub(super) fn first_reasons(&self) -> &[String] {
        &self.first_reasons
    }

    /// Has everything on disk: what a checkpoint says of these files must hold after a power failure too.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        for file in [&mut self.rejects, &mut self.reasons, &mut self.results].into_iter().flatten() {
            file.sync()?;
        }
        Ok(())
    }

    /// Ends the rejects file as its framing wants it; gives its path if there is anything in it.
    pub(super) fn finish(&mut self) -> Result<Option<PathBuf>, JournalError> {
        let mut told = None;
        if let Some(rejects) = &mut self.rejects
            && rejects.length > 0
        {
            rejects.append(&self.wrapping.after)?;
            told = Some(rejects.path.clone());
        }
        self.sync()?;
        Ok(told)
    }
}

pub(super) fn reasons_beside(rejects: &Path) -> PathBuf {
    let mut name = OsString::from(rejects);
    name.push(".reasons.jsonl");
    name.into()
}

/// A line about a row. Never what is in it.
fn told(number: u64, line: u64, outcome: &Outcome) -> String {
    let by = |id: &UserId| id.to_string();
    let (row, notes) = match outcome {
        Outcome::Store(Imported::Created(id), notes) => (json!({"result": "created", "id": by(id)}), *notes),
        Outcome::Store(imported @ (Imported::Updated(id) | Imported::UpdatedWithoutHash(id)), notes) => {
            (json!({"result": "updated", "id": by(id)}), noted(imported, *notes))
        }
        Outcome::Store(Imported::Skipped(id, Skip::Exists), notes) => {
            (json!({"result": "exists", "id": by(id)}), *notes)
        }
        Outcome::Store(imported @ Imported::Skipped(id, Skip::Unchanged | Skip::HashLeft), notes) => {
            (json!({"result": "unchanged", "id": by(id)}), noted(imported, *notes))
        }
        Outcome::Store(Imported::Rejected(rejection), _) => {
            let (field, problem) = (field_of(rejection), rejection.to_string());
            (json!({"result": "rejected", "field": field, "problem": problem}), Notes::default())
        }
        Outcome::Unreadable(fault) => {
            (json!({"result": "rejected", "field": fault.field, "problem": fault.problem}), Notes::default())
        }
    };
    let mut told = json!({"record": number, "line": line});
    let words = words_of(notes);
    if let (Some(told), serde_json::Value::Object(row)) = (told.as_object_mut(), row) {
        told.extend(row);
        if !words.is_empty() {
            told.insert("notes".to_owned(), words.into());
        }
    }
    told.to_string()
}

fn field_of(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::NameTaken { kind, .. } => kind.as_str(),
        Rejection::LegacyIdTaken { .. } => "legacy_id",
        Rejection::IdTaken { .. } => "id",
        Rejection::Tombstone { .. } | Rejection::TooLarge => "record",
        Rejection::TooManyNames { .. } | Rejection::Nameless => "names",
    }
}

/// One file, made when the first line of it is written. Read by its owner alone: rejected rows have their hashes in them.
struct SideFile {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    length: u64,
    is_dirty: bool,
}

impl SideFile {
    fn begin(path: PathBuf) -> Result<Self, JournalError> {
        match path.try_exists() {
            Ok(true) => Err(JournalError::Exists(path)),
            Ok(false) => Ok(Self { path, file: None, length: 0, is_dirty: false }),
            Err(cause) => Err(JournalError::Io { path, cause }),
        }
    }

    /// As it was at this length; what was written after is cut off.
    fn go_on(path: PathBuf, length: u64) -> Result<Self, JournalError> {
        let failed = |cause| JournalError::Io { path: path.clone(), cause };
        let there = path.try_exists().map_err(failed)?;
        if !there && length == 0 {
            return Ok(Self { path, file: None, length, is_dirty: false });
        }
        if !there {
            return Err(JournalError::Cut(path));
        }
        let mut file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() < length {
            return Err(JournalError::Cut(path));
        }
        file.set_len(length).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { path, file: Some(BufWriter::new(file)), length, is_dirty: true })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |cause| JournalError::Io { path, cause }
        };
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path);
                let made = made.map_err(failed(&self.path))?;
                // Its name has to outlive a power failure too: the checkpoint will speak of it.
                let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let synced = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
                synced.map_err(failed(&self.path))?;
                self.file.insert(BufWriter::new(made))
            }
        };
        file.write_all(bytes).map_err(failed(&self.path))?;
        self.length += bytes.len() as u64;
        self.is_dirty = true;
        Ok(())
    }

    fn line(&mut self, text: &str) -> Result<(), JournalError> {
        self.append(text.as_bytes())?;
        self.append(b"\n")
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        let Some(file) = self.file.as_mut().filter(|_| self.is_dirty) else { return Ok(()) };
        let synced = file.flush().and_then(|()| file.get_ref().sync_data());
        synced.map_err(|cause| JournalError::Io { path: self.path.clone(), cause })?;
        self.is_dirty = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn rejected() -> Outcome {
        Outcome::Unreadable(RowFault::new("email", "it is empty"))
    }

    fn created(notes: Notes) -> Outcome {
        Outcome::Store(Imported::Created(UserId(Uuid::nil())), notes)
    }

    fn mark() -> Mark {
        Mark { place: Place { byte: 10, line: 2, records: 1 }, fingerprint: [7; 32] }
    }

    #[test]
    fn rejected_rows_make_a_file_of_the_same_framing() {
        for (framing, header, rows, expected) in [
            (Framing::Lines, "", ["{}", "{\"a\":1}"], "{}\n{\"a\":1}\n"),
            (Framing::JsonItems { path: "" }, "", ["{}", "1"], "[\n{},\n1\n]\n"),
            (Framing::JsonItems { path: "users" }, "", ["{}", "1"], "{\"users\":[\n{},\n1\n]}\n"),
            (Framing::Csv, "id,mail", ["1,a", "2,\"b\nc\""], "id,mail\n1,a\n2,\"b\nc\"\n"),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("rejects");
            let mut journal = Journal::begin(Some(&path), None, framing, header.as_bytes()).expect("free");
            journal.row(1, 1, Some(b"fine"), &created(Notes::default())).expect("written");
            for (number, row) in (2..).zip(rows) {
                journal.row(number, number, Some(row.as_bytes()), &rejected()).expect("written");
            }
            assert_eq!(journal.finish().expect("written"), Some(path.clone()));
            assert_eq!(std::fs::read_to_string(&path).expect("there"), expected);
            let reasons = std::fs::read_to_string(folder.path().join("rejects.reasons.jsonl")).expect("there");
            assert!(reasons.lines().count() == 2 && reasons.contains("\"record\":3"), "{reasons}");
            assert_eq!((journal.counts.created, journal.counts.rejected, journal.counts.total()), (1, 2, 3));
            assert!(matches!(Journal::begin(Some(&path), None, framing, b"").err(), Some(JournalError::Exists(_))));
        }
    }

    #[test]
    fn what_was_written_after_a_checkpoint_is_cut_off_when_it_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let (rejects, results) = (folder.path().join("rejects"), folder.path().join("results"));
        let mut journal = Journal::begin(Some(&rejects), Some(&results), Framing::Lines, b"").expect("free");
        assert!(!rejects.exists(), "made with its first row");
        journal.row(1, 1, Some(b"one"), &rejected()).expect("written");
        journal.sync().expect("written");
        let state = State::new(mark(), 5, &journal, false);
        let state = State::decode(&state.encode()).expect("our own");
        assert_eq!(state.mark(), Some(mark()));
        journal.row(2, 2, Some(b"two"), &rejected()).expect("written");
        journal.sync().expect("written");
        let mut journal =
            Journal::go_on(Some(&rejects), Some(&results), Framing::Lines, b"", &state).expect("long enough");
        journal.row(2, 2, Some(b"zwei"), &rejected()).expect("written");
        journal.finish().expect("written");
        assert_eq!(std::fs::read_to_string(&rejects).expect("there"), "one\nzwei\n");
        assert_eq!(std::fs::read_to_string(&results).expect("there").lines().count(), 2);
        std::fs::write(&rejects, "o").expect("writable");
        let cut = Journal::go_on(Some(&rejects), None, Framing::Lines, b"", &state).err();
        assert!(matches!(cut, Some(JournalError::Cut(_))));
    }

    #[test]
    fn a_file_that_the_interrupted_import_knew_nothing_of_is_not_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let precious = folder.path().join("precious");
        std::fs::write(&precious, "somebody's work").expect("writable");
        let journal = Journal::begin(None, None, Framing::Lines, b"").expect("nothing to open");
        let state = State::new(mark(), 5, &journal, false);
        let refused = Journal::go_on(Some(&precious), None, Framing::Lines, b"", &state).err();
        assert!(matches!(refused, Some(JournalError::Exists(_))));
        assert_eq!(std::fs::read_to_string(&precious).expect("there"), "somebody's work");
        let other = folder.path().join("other");
        assert!(Journal::go_on(Some(&other), None, Framing::Lines, b"", &state).is_ok() && state.kept_no_rejects());
        let same = Journal::begin(Some(&other), Some(&other), Framing::Lines, b"").err();
        assert!(matches!(same, Some(JournalError::Same(_))));
    }

    #[test]
    fn what_there_is_to_know_of_a_user_is_told_beside_his_result_and_counted() {
        let notes = Notes { second_factor: true, hash: HashFate::LeftWithLegacy, ..Notes::default() };
        let line = told(3, 4, &created(notes));
        let expected = r#"{"record":3,"line":4,"result":"created","id":"00000000-0000-0000-0000-000000000000","notes":["second_factor","hash_left_with_legacy"]}"#;
        assert_eq!(line, expected);
        assert!(!told(3, 4, &created(Notes::default())).contains("notes"));
        let mut counts = Counts::default();
        counts.count(&created(notes));
        counts.count(&Outcome::Store(Imported::Skipped(UserId(Uuid::nil()), Skip::Exists), notes));
        assert_eq!((counts.noted.second_factor, counts.noted.left_with_legacy, counts.total()), (1, 1, 2));
    }
}

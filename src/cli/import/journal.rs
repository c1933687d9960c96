//! What an import leaves beside the store: the rejected rows in the bytes they came in, why each was rejected, and a result for every
//! row if that is wanted. And what is kept in the store to go on after an interruption.
//!
//! A batch is written down here after it is on disk. The checkpoint that comes with it says how long these files were before it, and the
//! store keeps the batch's results: whoever goes on cuts the files back to that length, reads the rows of that batch once more, and
//! writes down what the store said of them. So each row is in them once, wherever the process was killed.

mod counts;
mod outcome;
mod side_file;
mod state;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

pub(super) use self::counts::{Counts, Noted};
pub(super) use self::outcome::Outcome;
use self::side_file::SideFile;
pub(super) use self::state::State;
use super::super::terminal::inert;
use super::pipeline::Record;
use crate::exchange::Framing;

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

/// Which files are wanted beside an import.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Beside<'a> {
    /// For rejected rows, with their reasons beside them.
    pub(super) rejects: Option<&'a Path>,
    /// For what became of every row.
    pub(super) results: Option<&'a Path>,
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
    pub(super) fn begin(beside: Beside<'_>, framing: Framing, header: &[u8]) -> Result<Self, JournalError> {
        Self::at(beside, Wrapping::of(framing, header), [None; 3], Counts::default())
    }

    /// Of an import that goes on.
    pub(super) fn go_on(
        beside: Beside<'_>,
        framing: Framing,
        header: &[u8],
        state: &State,
    ) -> Result<Self, JournalError> {
        Self::at(beside, Wrapping::of(framing, header), state.lengths, state.counts)
    }

    fn at(
        beside: Beside<'_>,
        wrapping: Wrapping,
        lengths: [Option<u64>; 3],
        counts: Counts,
    ) -> Result<Self, JournalError> {
        let Beside { rejects, results } = beside;
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
            wrapping,
            first_reasons: Vec::new(),
        })
    }

    /// How long the files are.
    fn lengths(&self) -> [Option<u64>; 3] {
        [&self.rejects, &self.reasons, &self.results].map(|file| file.as_ref().map(SideFile::length))
    }

    /// Writes one row's end down.
    pub(super) fn row(&mut self, row: &Record<'_>, outcome: &Outcome) -> Result<(), JournalError> {
        let Record { number, line, bytes } = row;
        self.counts.count(outcome);
        if let Some(results) = &mut self.results {
            results.line(&outcome.told(*number, *line))?;
        }
        let Some(reason) = outcome.reason() else { return Ok(()) };
        if self.first_reasons.len() < REASONS_SHOWN {
            self.first_reasons.push(format!("line {line}: {}", inert(&reason)));
        }
        if let Some(reasons) = &mut self.reasons {
            reasons.line(&outcome.told(*number, *line))?;
        }
        if let (Some(rejects), Some(bytes)) = (&mut self.rejects, bytes) {
            let before = if rejects.length() == 0 { &self.wrapping.before } else { self.wrapping.between };
            rejects.append(before)?;
            rejects.append(bytes)?;
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
            && rejects.length() > 0
        {
            rejects.append(&self.wrapping.after)?;
            told = Some(rejects.path().to_owned());
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::cli::import::pipeline::Mark;
    use crate::domain::import::Imported;
    use crate::domain::user::UserId;
    use crate::exchange::{Notes, Place, RowFault};

    fn to<'a>(rejects: Option<&'a PathBuf>, results: Option<&'a PathBuf>) -> Beside<'a> {
        Beside { rejects: rejects.map(PathBuf::as_path), results: results.map(PathBuf::as_path) }
    }

    fn row(number: u64, bytes: &[u8]) -> Record<'_> {
        Record { number, line: number, bytes: Some(bytes) }
    }

    fn rejected() -> Outcome {
        Outcome::Unreadable(RowFault::new("email", "it is empty"))
    }

    fn created() -> Outcome {
        Outcome::Store(Imported::Created(UserId(Uuid::nil())), Notes::default())
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
            let mut journal = Journal::begin(to(Some(&path), None), framing, header.as_bytes()).expect("free");
            journal.row(&row(1, b"fine"), &created()).expect("written");
            for (number, bytes) in (2..).zip(rows) {
                journal.row(&row(number, bytes.as_bytes()), &rejected()).expect("written");
            }
            assert_eq!(journal.finish().expect("written"), Some(path.clone()));
            assert_eq!(std::fs::read_to_string(&path).expect("there"), expected);
            let reasons = std::fs::read_to_string(folder.path().join("rejects.reasons.jsonl")).expect("there");
            assert!(reasons.lines().count() == 2 && reasons.contains("\"record\":3"), "{reasons}");
            assert_eq!((journal.counts.created, journal.counts.rejected, journal.counts.total()), (1, 2, 3));
            assert!(matches!(Journal::begin(to(Some(&path), None), framing, b"").err(), Some(JournalError::Exists(_))));
        }
    }

    #[test]
    fn what_was_written_after_a_checkpoint_is_cut_off_when_it_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let (rejects, results) = (folder.path().join("rejects"), folder.path().join("results"));
        let mut journal = Journal::begin(to(Some(&rejects), Some(&results)), Framing::Lines, b"").expect("free");
        assert!(!rejects.exists(), "made with its first row");
        journal.row(&row(1, b"one"), &rejected()).expect("written");
        journal.sync().expect("written");
        let state = State::new(mark(), 5, &journal, false);
        let state = State::decode(&state.encode()).expect("our own");
        assert_eq!(state.mark(), Some(mark()));
        journal.row(&row(2, b"two"), &rejected()).expect("written");
        journal.sync().expect("written");
        let mut journal =
            Journal::go_on(to(Some(&rejects), Some(&results)), Framing::Lines, b"", &state).expect("long enough");
        journal.row(&row(2, b"zwei"), &rejected()).expect("written");
        journal.finish().expect("written");
        assert_eq!(std::fs::read_to_string(&rejects).expect("there"), "one\nzwei\n");
        assert_eq!(std::fs::read_to_string(&results).expect("there").lines().count(), 2);
        std::fs::write(&rejects, "o").expect("writable");
        let cut = Journal::go_on(to(Some(&rejects), None), Framing::Lines, b"", &state).err();
        assert!(matches!(cut, Some(JournalError::Cut(_))));
    }

    #[test]
    fn a_file_that_the_interrupted_import_knew_nothing_of_is_not_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let precious = folder.path().join("precious");
        std::fs::write(&precious, "somebody's work").expect("writable");
        let journal = Journal::begin(to(None, None), Framing::Lines, b"").expect("nothing to open");
        let state = State::new(mark(), 5, &journal, false);
        let refused = Journal::go_on(to(Some(&precious), None), Framing::Lines, b"", &state).err();
        assert!(matches!(refused, Some(JournalError::Exists(_))));
        assert_eq!(std::fs::read_to_string(&precious).expect("there"), "somebody's work");
        let other = folder.path().join("other");
        assert!(Journal::go_on(to(Some(&other), None), Framing::Lines, b"", &state).is_ok() && state.kept_no_rejects());
        let same = Journal::begin(to(Some(&other), Some(&other)), Framing::Lines, b"").err();
        assert!(matches!(same, Some(JournalError::Same(_))));
    }
}

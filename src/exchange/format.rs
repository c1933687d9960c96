//! What a file format is: one row of the table [`super::FORMATS`], and the types that its functions speak.
//!
//! ```text
//! reading   head of the file -> Sample, once for each framing -> `detect`
//!           file -> framing -> raw record -> `parse(raw, &Context)` -> PortableUser, or a RowFault
//! writing   `write.open(&WriteOptions)` -> RecordWriter: start, record after record, finish -> bytes
//! ```
//!
//! `parse` is pure and runs on several threads at once: it sees the bytes of one record and the [`Context`], which is the same for all
//! records of a file. Never opens a file, never normalizes a name, never judges whether a hash verifies.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::PortableUser;
use super::fields::counted;
use super::mapping::Mapping;
use crate::domain::password::PasswordNormalization;

/// The largest raw record, in bytes. A record over it is rejected, and the file is read on after it.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// As much of a file's beginning is looked at to tell its format, in bytes.
pub const HEAD_BYTES: usize = 64 * 1024;

/// One format.
pub struct Format {
    /// The word for it on the command line.
    pub name: &'static str,
    /// What it is, to a person: "Auth0, users export".
    pub title: &'static str,
    /// How its files are cut into records. The first is the one that [`Format::write`] makes.
    pub framings: &'static [Framing],
    /// Whether the beginning of a file looks like this format. Asked once for each of `framings` under which records were found.
    pub detect: fn(&Sample<'_>) -> bool,
    /// Reads one record.
    pub parse: fn(&[u8], &Context) -> Result<PortableUser, RowFault>,
    /// How it is written; none for one that is only read.
    pub write: Option<WriteFormat>,
    /// What may be told with `--set NAME=VALUE`; any other name is refused.
    pub settings: &'static [Setting],
}

/// How a file is cut into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// One JSON value a line (NDJSON). A raw record is the line without its end.
    Lines,
    /// The items of one JSON array. A raw record is the text of one item.
    JsonItems {
        /// The key of the array in the object that the file holds; empty if the file is the array itself.
        path: &'static str,
    },
    /// RFC 4180 with a header line. A raw record is one record without its line end, quotes and all; [`Context::fields`] reads it.
    Csv,
    /// The same without a header line.
    CsvWithoutHeader,
}

/// The beginning of a file as one framing reads it.
pub struct Sample<'a> {
    /// The framing.
    pub framing: Framing,
    /// The beginning itself, at most [`HEAD_BYTES`], without a byte order mark.
    pub head: &'a [u8],
    /// The first few records that are whole, as JSON; empty for CSV, and where the array begins beyond the head.
    pub items: Vec<Value>,
    /// The keys of the object that the file holds, as far as they are in the head: for [`Framing::JsonItems`] with a path.
    pub keys: Vec<String>,
    /// The header of a CSV file, or the first record where there is none.
    pub header: Vec<String>,
}

impl Sample<'_> {
    /// Whether the first item is an object with this key.
    #[must_use]
    pub fn first_has(&self, key: &str) -> bool {
        self.items.first().is_some_and(|item| item.get(key).is_some())
    }

    /// Whether any item is an object with this key: for keys that not every record has.
    #[must_use]
    pub fn any_has(&self, key: &str) -> bool {
        self.items.iter().any(|item| item.get(key).is_some())
    }

    /// Whether the CSV header has this column, in any case.
    #[must_use]
    pub fn has_column(&self, name: &str) -> bool {
        self.header.iter().any(|column| column.trim().eq_ignore_ascii_case(name))
    }

    /// Whether the file's object has this key.
    #[must_use]
    pub fn has_key(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key == name)
    }
}

/// A thing about a whole file that its records do not say: `--set signer-key=…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in half a sentence.
    pub help: &'static str,
}

/// What is the same for all records of a file. No `Debug`: a setting may be a key.
pub struct Context {
    /// How the file is cut: a format with several framings may have to know.
    pub framing: Framing,
    /// The header of a CSV file.
    pub header: Vec<String>,
    /// What `--map` and `--hash-template` said; used by `csv` and `jsonl`.
    pub mapping: Mapping,
    /// What the product did to passwords before it hashed them.
    pub normalization: PasswordNormalization,
    /// What `--set` said.
    pub settings: Settings,
}

impl Context {
    /// A context that says nothing beyond the framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            header: Vec::new(),
            mapping: Mapping::default(),
            normalization: PasswordNormalization::None,
            settings: Settings::default(),
        }
    }

    /// The fields of a raw CSV record, in order. As many as the header has; another number is a fault.
    pub fn fields(&self, raw: &[u8]) -> Result<Vec<String>, RowFault> {
        let fields = super::framing::csv_fields(raw)?;
        match (self.header.len(), fields.len()) {
            (0, _) => Ok(fields),
            (expected, found) if expected == found => Ok(fields),
            (expected, found) => {
                Err(RowFault::new("record", format!("it has {}, and the header has {expected}", counted(found))))
            }
        }
    }

    /// Where a column is, by its name in any case.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column.trim().eq_ignore_ascii_case(name))
    }
}

/// What `--set` said. No `Debug`: a setting may be a key.
#[derive(Default, Clone)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// These, each once.
    #[must_use]
    pub fn new(settings: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(settings.into_iter().collect())
    }

    /// Adds one that another option says in its own words.
    pub fn add(&mut self, (name, value): (&str, &str)) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// One of them.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names of those that were said.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Why a record cannot be read, or a user cannot be written. Says the field and what is wrong with it; never a hash, never a
/// password, never the value of a field that may be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct RowFault {
    /// The field, as the format names it; `record` for the whole.
    pub field: Cow<'static, str>,
    /// What is wrong with it.
    pub problem: Cow<'static, str>,
}

impl RowFault {
    /// A record in another encoding.
    pub const NOT_UTF8: Self = Self { field: Cow::Borrowed("record"), problem: Cow::Borrowed("it is not UTF-8") };

    /// A fault of one field.
    pub fn new(field: impl Into<Cow<'static, str>>, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// Whether it is one of what was said of the whole file (`--set`), and so the same for every record that comes to it.
    #[must_use]
    pub fn is_of_a_setting(&self) -> bool {
        self.field.starts_with("--set ")
    }

    /// A record that is no JSON of the expected shape. Of `serde_json`'s message only the kind and the place are kept, and the names of
    /// fields that are our own: the rest may quote a value.
    #[must_use]
    pub fn json(error: &serde_json::Error) -> Self {
        let kind = match error.classify() {
            serde_json::error::Category::Io | serde_json::error::Category::Syntax => "no valid JSON".to_owned(),
            serde_json::error::Category::Data => Self::of_data(&error.to_string()),
            serde_json::error::Category::Eof => "the JSON ends too early".to_owned(),
        };
        Self::new("record", format!("{kind}, at column {}", error.column()))
    }

    /// What serde says of a value that does not fit, without what it quotes of it.
    fn of_data(said: &str) -> String {
        let named = |start: &str| said.strip_prefix(start)?.split_once('`').map(|(name, _)| name.to_owned());
        if let Some(name) = named("missing field `") {
            return format!("the field `{name}` is missing");
        }
        if let Some(name) = named("duplicate field `") {
            return format!("the field `{name}` appears twice");
        }
        for (start, problem) in [
            ("unknown field", "there is a field in it that is not known"),
            ("unknown variant", "a word is none of those that may stand there"),
        ] {
            if said.starts_with(start) {
                return problem.to_owned();
            }
        }
        "a field is of an unexpected type".to_owned()
    }
}

/// How a format is written.
#[derive(Clone, Copy)]
pub struct WriteFormat {
    /// Begins a file.
    pub open: fn(&WriteOptions) -> Box<dyn RecordWriter>,
    /// What the product takes in one file at most; none where it does not matter.
    pub limit: Option<FileLimit>,
    /// Whether it can carry a hash at all.
    pub hashes: CarriesHashes,
}

/// The largest file that a product takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimit {
    /// In bytes.
    pub bytes: u64,
    /// In users.
    pub users: u64,
}

/// Whether a format has a place for a stored hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarriesHashes {
    /// It has, for the kinds that the product knows.
    Yes,
    /// It has none.
    No,
}

/// What the operator wants of a file that is written. No `Debug`: a setting may be a key.
#[derive(Clone)]
pub struct WriteOptions {
    /// Whether hashes are written at all.
    pub hashes: Hashes,
    /// What `--set` said.
    pub settings: Settings,
    /// How wide a table is: for formats whose columns are known before the first user.
    pub columns: Vec<String>,
}

/// Whether hashes go into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashes {
    /// They do, where the product takes them.
    Included,
    /// They do not.
    LeftOut,
}

/// Writes one file. What it makes is appended to `out`, and the caller empties `out` whenever it likes.
pub trait RecordWriter: Send {
    /// What goes before the first user: a bracket, a header line.
    fn start(&mut self, out: &mut Vec<u8>);

    /// One user, with whatever separates him from the one before. On an error `out` is as it was.
    fn user(&mut self, user: &PortableUser, out: &mut Vec<u8>) -> Result<Carried, RowFault>;

    /// What goes after the last user.
    fn finish(&mut self, out: &mut Vec<u8>);

    /// What the operator has to know to use the file: how its product is told to read it. Asked after [`Self::finish`].
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}

/// How much of a user a format could carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// All that the format has a place for, his password included if he has one.
    Whole,
    /// He has a password, and the product takes no hash of its kind: he will have to reset it, or log in through us first.
    WithoutPassword,
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Format").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Framing {
    /// What it is, to a person.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Lines => "JSON lines",
            Self::JsonItems { path: "" } => "a JSON array",
            Self::JsonItems { .. } => "an array in a JSON object",
            Self::Csv => "CSV",
            Self::CsvWithoutHeader => "CSV without a header",
        }
    }

    /// Whether it is a kind of CSV.
    #[must_use]
    pub fn is_csv(self) -> bool {
        match self {
            Self::Csv | Self::CsvWithoutHeader => true,
            Self::Lines | Self::JsonItems { .. } => false,
        }
    }
}

//! The file that is imported: its beginning, what it was taken for, and how its records are read. Opens nothing else.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context as Digest, SHA256};

use super::super::failure::Failure;
use super::pipeline::Mark;
use crate::domain::import::OnConflict;
use crate::domain::password::PasswordNormalization;
use crate::exchange::{
    BadMapping, Broken, Context, FORMATS, Format, HEAD_BYTES, HashReader, Head, Mapping, Place, Recognised, Settings,
    Splitter, Unrecognised, detect, detect_mapped, fields_of, format_named, framing_of, header_fields,
};
use crate::password::formats::{Declaration, DeclarationError, declare, is_bare_digest};
use crate::service::ports::ImportKey;

/// How a file is to be read.
#[derive(Clone, clap::Args)]
pub(in crate::cli) struct Reading {
    /// What the file is [default: told from its beginning]
    #[arg(long, value_name = "FORMAT", value_parser = clap::builder::PossibleValuesParser::new(FORMATS.iter().map(|format| format.name)))]
    format: Option<String>,
    /// In csv and jsonl: what a column or key is, as email=mail, password=pw_hash, profile.name=full_name; may come several times
    #[arg(long = "map", value_name = "WHAT=FIELD")]
    map: Vec<String>,
    /// In csv and jsonl: how bare digests were made of passwords, as {SALT}{PASSWORD}, md5,it=1000:{PASSWORD}{SALT} or a product's name
    #[arg(long, value_name = "TEMPLATE")]
    hash_template: Option<String>,
    /// What the format wants to know of the whole file; a value @PATH is read from that file
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// What that product does to passwords before it hashes them [default: password.normalize of the configuration]
    #[arg(long, value_name = "FORM", value_parser = ["none", "nfc", "nfkc"])]
    normalize: Option<String>,
}

/// The largest value that `--set NAME=@PATH` reads, in bytes.
const MAX_SETTING_BYTES: u64 = 64 * 1024;

/// What packed files begin with, and what unpacks them.
const PACKED: [(&[u8], &str); 5] = [
    (b"\x1f\x8b", "zcat"),
    (b"PK\x03\x04", "unzip -p"),
    (b"\x28\xb5\x2f\xfd", "zstdcat"),
    (b"BZh", "bzcat"),
    (b"\xfd7zXZ\x00", "xzcat"),
];

/// A file whose beginning was read.
pub(super) struct Source {
    /// None for standard input.
    pub(super) path: Option<PathBuf>,
    /// In bytes, where it is known.
    pub(super) length: Option<u64>,
    head: Vec<u8>,
    is_whole: bool,
    rest: Box<dyn Read + Send>,
}

/// A stream of records.
pub(super) type Records = Splitter<Box<dyn Read + Send>>;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Unreadable {
    #[error("{} cannot be read", path.display())]
    Open {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("{}: {cause}", path.display())]
    Broken { path: PathBuf, cause: Broken },
    #[error("{}: {why}", path.display())]
    Unrecognised { path: PathBuf, why: Unrecognised },
    #[error("{0} is compressed; unpack it first, as in `{with} {0} | authferry import -`", path.display())]
    Compressed { path: PathBuf, with: &'static str },
    #[error("{0} is in UTF-16; make it UTF-8 first, as in `iconv -f UTF-16 -t UTF-8 {0} | authferry import -`", path.display())]
    Utf16 { path: PathBuf },
    #[error("the header of {}: {fault}", path.display())]
    Header { path: PathBuf, fault: crate::exchange::RowFault },
}

impl From<Unreadable> for Failure {
    /// What is found in the beginning of a file is found before anything is written: the file is not what the command is for.
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Unrecognised { .. }
            | Unreadable::Compressed { .. }
            | Unreadable::Utf16 { .. }
            | Unreadable::Header { .. } => Self::Usage(unreadable.to_string()),
            Unreadable::Open { .. } | Unreadable::Broken { .. } => Self::stopped(unreadable),
        }
    }
}

impl Source {
    /// Opens a file, or standard input for `-`, and reads its beginning.
    pub(super) fn open(path: &Path) -> Result<Self, Unreadable> {
        let failed = |cause| Unreadable::Open { path: path.to_owned(), cause };
        let (mut rest, length): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            if metadata.is_dir() {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            (Box::new(file), metadata.is_file().then_some(metadata.len()))
        };
        let mut head = Vec::new();
        rest.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(failed)?;
        if let Some((_, with)) = PACKED.iter().find(|(mark, _)| head.starts_with(mark)) {
            return Err(Unreadable::Compressed { path: path.to_owned(), with });
        }
        // As spreadsheets save "Unicode text"; without a mark too, if it begins as the formats do.
        let is_utf16 = match head.as_slice() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
            [first, second, ..] => (*first == 0) != (*second == 0),
            [_] | [] => false,
        };
        if is_utf16 {
            return Err(Unreadable::Utf16 { path: path.to_owned() });
        }
        let is_whole = head.len() < HEAD_BYTES;
        let named = path != Path::new("-");
        Ok(Self { path: named.then(|| path.to_owned()), length, head, is_whole, rest })
    }

    /// What messages call it.
    pub(super) fn name(&self) -> PathBuf {
        self.path.clone().unwrap_or_else(|| PathBuf::from("standard input"))
    }

    /// What the file is.
    pub(super) fn recognise(&self, reading: &Reading) -> Result<Recognised, Unreadable> {
        let head = Head { bytes: &self.head, whole: self.is_whole };
        let recognised = match reading.format() {
            None if reading.map.is_empty() => detect(head),
            None => detect_mapped(head),
            Some(format) => framing_of(format, head).map(|framing| Recognised { format, framing }),
        };
        recognised.map_err(|why| Unreadable::Unrecognised { path: self.name(), why })
    }

    /// The names of its columns, or the keys of its first records, where it may have any.
    pub(super) fn fields(&self, recognised: Recognised) -> Vec<String> {
        fields_of(Head { bytes: &self.head, whole: self.is_whole }, recognised)
    }

    /// Whether this is, to the byte, what an import came to the end of.
    pub(super) fn was_read_to(self, recognised: Recognised, end: Mark) -> Result<bool, Unreadable> {
        if self.length.is_some_and(|length| length != end.place.byte) {
            return Ok(false);
        }
        let path = self.name();
        match self.records(recognised, Some((end.place, end.fingerprint))) {
            Ok(mut records) => records.is_at_end().map_err(|cause| Unreadable::Broken { path, cause }),
            Err(Unreadable::Broken { cause: Broken::Changed(_), .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// What the import of this file, read in this way, is known by. Files that begin alike share it.
    pub(super) fn key(&self, told: &[&[u8]]) -> ImportKey {
        let mut digest = Digest::new(&SHA256);
        digest.update(b"authferry import 1");
        for part in told.iter().chain(&[self.head.as_slice()]) {
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let mut key = [0; 32];
        key.copy_from_slice(digest.finish().as_ref());
        ImportKey(key)
    }

    /// The header of a CSV file.
    pub(super) fn header(&self, recognised: Recognised) -> Result<Vec<u8>, Unreadable> {
        let mut first = Splitter::new(Cursor::new(self.head.as_slice()), recognised.framing);
        first.header().map_err(|cause| Unreadable::Broken { path: self.name(), cause })
    }

    /// Its records from a place on: the first, or one that an import came to.
    pub(super) fn records(
        self,
        recognised: Recognised,
        from: Option<(Place, [u8; 32])>,
    ) -> Result<Records, Unreadable> {
        let path = self.name();
        let broken = |cause| Unreadable::Broken { path: path.clone(), cause };
        let whole: Box<dyn Read + Send> = Box::new(Cursor::new(self.head).chain(self.rest));
        let records = match from {
            None => {
                let mut records = Splitter::new(whole, recognised.framing);
                records.header().map_err(broken)?;
                records
            }
            Some((place, fingerprint)) => {
                Splitter::resume(whole, recognised.framing, place, fingerprint).map_err(broken)?
            }
        };
        Ok(records)
    }
}

impl Reading {
    /// The format that was named.
    pub(super) fn format(&self) -> Option<&'static Format> {
        self.format.as_deref().and_then(format_named)
    }

    /// Everything that was said and matters to what is made of a record, for telling one import from another.
    pub(super) fn told(&self, normalization: PasswordNormalization, on_conflict: OnConflict, more: &str) -> String {
        format!("{:?} {:?} {:?} {normalization:?} {on_conflict:?} {more}", self.map, self.hash_template, self.set)
    }

    /// What that product does to passwords, if it was said.
    pub(super) fn normalization(&self) -> Option<PasswordNormalization> {
        self.normalize.as_deref().map(|form| match form {
            "nfc" => PasswordNormalization::Nfc,
            "nfkc" => PasswordNormalization::Nfkc,
            _ => PasswordNormalization::None,
        })
    }

    /// What all records of the file share.
    pub(super) fn context(
        &self,
        recognised: Recognised,
        header: &[u8],
        normalization: PasswordNormalization,
        path: &Path,
    ) -> Result<Context, Failure> {
        let usage = |error: BadMapping| Failure::Usage(error.to_string());
        let hashes = self.hash_template.as_deref().map(hash_reader).transpose();
        let hashes = hashes.map_err(|error| Failure::Usage(format!("--hash-template: {error}")))?;
        let mapping = Mapping::new(&self.map, hashes).map_err(usage)?;
        let name = recognised.format.name;
        let takes_mapping = matches!(name, "csv" | "jsonl");
        if !mapping.is_empty() && !takes_mapping {
            return Err(Failure::Usage(format!(
                "--map and --hash-template are for csv and jsonl, and the file is {name}"
            )));
        }
        let mut context = Context::new(recognised.framing);
        if !header.is_empty() {
            let fault = |fault| Failure::from(Unreadable::Header { path: path.to_owned(), fault });
            context.header = header_fields(header).map_err(fault)?;
            if takes_mapping && context.column("authferry_id").is_none() {
                mapping.check(&context.header).map_err(usage)?;
            }
        }
        context.mapping = mapping;
        context.normalization = normalization;
        context.settings = settings(&self.set, recognised.format)?;
        Ok(context)
    }
}

/// Reads bare hashes as the operator declared them. Others, as in a file that has both, say themselves what they are.
fn hash_reader(template: &str) -> Result<HashReader, DeclarationError> {
    let declaration = Declaration::new(template)?;
    let all_are = template == "aspnet";
    Ok(Arc::new(move |hash, salt| {
        if !all_are && !is_bare_digest(hash) {
            return Ok(hash.to_owned());
        }
        let encoded = declare(hash, salt.map(str::as_bytes), &declaration).map_err(|error| error.to_string())?;
        Ok(encoded.as_str().to_owned())
    }))
}

/// What `--set` said, if the format wants to know it.
pub(in crate::cli) fn settings(said: &[String], format: &Format) -> Result<Settings, Failure> {
    let mut settings = Vec::with_capacity(said.len());
    for pair in said {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| Failure::Usage("--set is written NAME=VALUE".to_owned()))?;
        if !format.settings.iter().any(|known| known.name == name) {
            let known: Vec<String> =
                format.settings.iter().map(|known| format!("{} ({})", known.name, known.help)).collect();
            let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
            return Err(Failure::Usage(format!("{} wants no `{name}`; it wants {known}", format.name)));
        }
        let value = match value.strip_prefix('@') {
            None => value.to_owned(),
            Some(path) => {
                let mut text = String::new();
                let read = File::open(path).and_then(|file| file.take(MAX_SETTING_BYTES).read_to_string(&mut text));
                read.map_err(|cause| Failure::of(Unreadable::Open { path: path.into(), cause }))?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
        };
        settings.push((name.to_owned(), value));
    }
    Ok(Settings::new(settings))
}

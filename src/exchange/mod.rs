//! Users in files: what other products write, and what they read. Bytes in, [`PortableUser`]s out, and the other way round; knows
//! of no store, no config and no terminal. Called by the CLI.
//!
//! ```text
//! file -> framing (raw records, each bounded) -> a format's `parse`, in parallel -> PortableUser -> the store's import
//!                                                                                <- PortableUser <- export
//! ```
//!
//! A record is a pure function of its own bytes, so that records are read in parallel, and one that cannot be read is one line
//! of the rejects file, in the very bytes it came in.

mod auth0;
mod clerk;
mod cognito;
mod csv;
mod detect;
mod django;
mod fields;
mod firebase;
pub mod format;
mod framing;
mod fusionauth;
mod giving;
pub mod jsonl;
mod keycloak;
mod kratos;
pub mod mapping;
mod stored_hash;
mod supertokens;
mod taking;

pub(crate) use self::csv::append_cell as append_csv_cell;
pub use self::detect::{Head, Recognised, Unrecognised, detect, detect_mapped, fields_of, framing_of};
pub use self::format::{
    Carried, CarriesHashes, Context, FileLimit, Format, Framing, HEAD_BYTES, Hashes, MAX_RECORD_BYTES, RecordWriter,
    RowFault, Sample, Setting, Settings, WriteFormat, WriteOptions,
};
pub use self::framing::{Broken, Piece, Place, Problem, Splitter};
pub use self::mapping::{BadMapping, HashReader, Mapping, Taken};
pub use self::taking::DROP_UNUSABLE_HASHES;
pub use crate::domain::portable::{
    HashFate, Made, Notes, PortableName, PortablePassword, PortableRoster, PortableUser,
};

/// Every format, one a line. A format is a file of its own with a `pub const FORMAT: Format`.
pub static FORMATS: &[Format] = &[
    auth0::FORMAT,
    keycloak::FORMAT,
    kratos::FORMAT,
    fusionauth::FORMAT,
    firebase::FORMAT,
    cognito::FORMAT,
    clerk::FORMAT,
    supertokens::FORMAT,
    django::FORMAT,
    csv::FORMAT,
    jsonl::FORMAT,
];

/// The header of a CSV file as fields. A name that appears twice is a fault, as it is in JSON: of `select users.*, accounts.*` nobody can say
/// whose `id` is meant. A column without a name is given one, so that what is in it is kept.
pub fn header_fields(raw: &[u8]) -> Result<Vec<String>, RowFault> {
    let mut names = framing::csv_fields(raw)?;
    let mut seen = std::collections::BTreeSet::new();
    for (number, name) in (1_usize..).zip(&mut names) {
        if name.trim().is_empty() {
            *name = format!("column {number}");
        }
        if !seen.insert(name.trim().to_ascii_lowercase()) {
            return Err(RowFault::new("record", format!("the column {} appears twice", fields::quoted(name.trim()))));
        }
    }
    Ok(names)
}

/// The format of a name.
#[must_use]
pub fn format_named(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

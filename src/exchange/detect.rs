//! What a file is, told from its beginning: each format is shown the beginning as each of its framings reads it, and claims it or does not.
//! The two that take any fields, `csv` and `jsonl`, give way to one that knows them. Never guesses between two claims.

use std::io::Cursor;

use serde_json::Value;

use super::FORMATS;
use super::format::{Format, Framing, HEAD_BYTES, Sample};
use super::framing::{Broken, Problem, Splitter, csv_fields, json_keys};
use super::mapping::{other_separator, with_commas};
use crate::domain::json;

/// As many records are looked at.
const SAMPLE_ITEMS: usize = 16;

/// The beginning of a file.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// At most [`HEAD_BYTES`] of it.
    pub bytes: &'a [u8],
    /// Whether that is all of it.
    pub whole: bool,
}

/// What a file was taken for.
#[derive(Debug, Clone, Copy)]
pub struct Recognised {
    /// The format.
    pub format: &'static Format,
    /// How it is cut into records.
    pub framing: Framing,
}

/// Why a file was taken for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unrecognised {
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// No format knows it.
    #[error("the file is none that is known; say what it is with --format ({})", .0.join(", "))]
    Unknown(Vec<&'static str>),
    /// It would be a table, if commas parted its columns.
    #[error("the file looks like a table whose columns are parted by {0:?}; {how}", how = with_commas(*.0))]
    Separator(char),
    /// More than one does.
    #[error("the file may be {}; say which with --format", .0.join(" or "))]
    Ambiguous(Vec<&'static str>),
    /// It is not what it was said to be.
    #[error("the file is not of the format {name}: that comes as {}", expected.join(", or "))]
    OtherFraming {
        /// What it was said to be.
        name: &'static str,
        /// How that comes.
        expected: Vec<&'static str>,
    },
}

/// Finds the format of a file that nothing was said about.
pub fn detect(head: Head<'_>) -> Result<Recognised, Unrecognised> {
    if text_of(head.bytes).trim_ascii().is_empty() {
        return Err(Unrecognised::Empty);
    }
    let mut claims: Vec<Recognised> = Vec::new();
    for format in FORMATS {
        let claimed = format.framings.iter().find(|framing| {
            let sample = sample(head, **framing);
            sample.is_some_and(|sample| (format.detect)(&sample))
        });
        claims.extend(claimed.map(|framing| Recognised { format, framing: *framing }));
    }
    if claims.iter().any(|claim| !takes_anything(claim.format)) {
        claims.retain(|claim| !takes_anything(claim.format));
    }
    match claims.as_slice() {
        [only] => Ok(*only),
        [] => Err(match separator_of(head) {
            Some(separator) => Unrecognised::Separator(separator),
            None => Unrecognised::Unknown(FORMATS.iter().map(|format| format.name).collect()),
        }),
        several => Err(Unrecognised::Ambiguous(several.iter().map(|claim| claim.format.name).collect())),
    }
}

/// The same where it was said what columns or keys are: JSON objects are `jsonl` then, whatever their keys, and a table is `csv`.
pub fn detect_mapped(head: Head<'_>) -> Result<Recognised, Unrecognised> {
    let unknown = match detect(head) {
        Err(unknown @ Unrecognised::Unknown(_)) => unknown,
        other => return other,
    };
    let takes = |format: &&Format| takes_anything(format);
    let readable = FORMATS.iter().filter(takes).find_map(|format| {
        let framing = format.framings.iter().find(|framing| sample(head, **framing).is_some())?;
        Some(Recognised { format, framing: *framing })
    });
    readable.ok_or(unknown)
}

/// The names of a file's columns, or the keys of its first records, in their order: for formats that take any. None of what is our own.
#[must_use]
pub fn fields_of(head: Head<'_>, recognised: Recognised) -> Vec<String> {
    if !takes_anything(recognised.format) {
        return Vec::new();
    }
    let Some(sample) = sample(head, recognised.framing) else { return Vec::new() };
    if sample.first_has("authferry") || sample.has_column("authferry_id") {
        return Vec::new();
    }
    let mut fields = sample.header;
    for key in sample.items.iter().filter_map(Value::as_object).flat_map(|item| item.keys()) {
        if !fields.contains(key) {
            fields.push(key.clone());
        }
    }
    fields
}

/// Finds how a file of this format is cut: the first of its framings that the beginning claims, else that it can be read in.
pub fn framing_of(format: &'static Format, head: Head<'_>) -> Result<Framing, Unrecognised> {
    if text_of(head.bytes).trim_ascii().is_empty() {
        return Err(Unrecognised::Empty);
    }
    let samples: Vec<Sample<'_>> = format.framings.iter().filter_map(|framing| sample(head, *framing)).collect();
    let claimed = samples.iter().find(|sample| (format.detect)(sample));
    claimed.or(samples.first()).map(|sample| sample.framing).ok_or_else(|| Unrecognised::OtherFraming {
        name: format.name,
        expected: format.framings.iter().map(|framing| framing.title()).collect(),
    })
}

/// What parts the columns of a file that is no table to a reader of commas.
fn separator_of(head: Head<'_>) -> Option<char> {
    sample(head, Framing::Csv).and_then(|sample| other_separator(&sample.header))
}

fn takes_anything(format: &Format) -> bool {
    matches!(format.name, "csv" | "jsonl")
}

fn text_of(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head)
}

/// The beginning as a framing reads it; none if it is not of that framing.
fn sample(head: Head<'_>, framing: Framing) -> Option<Sample<'_>> {
    let text = text_of(head.bytes);
    let text = text.get(..HEAD_BYTES).unwrap_or(text);
    let empty = Sample { framing, head: text, items: Vec::new(), keys: Vec::new(), header: Vec::new() };
    let begins_with = |byte| text.trim_ascii_start().first() == Some(&byte);
    match framing {
        Framing::Lines => lines_of(text, head.whole).map(|items| Sample { items, ..empty }),
        Framing::JsonItems { path: "" } if begins_with(b'[') => {
            items_of(text, framing).map(|items| Sample { items, ..empty })
        }
        Framing::JsonItems { path } if !path.is_empty() && begins_with(b'{') => {
            let keys = json_keys(text);
            items_of(text, framing).map(|items| Sample { items, keys, ..empty })
        }
        Framing::JsonItems { .. } => None,
        Framing::Csv | Framing::CsvWithoutHeader if begins_with(b'{') || begins_with(b'[') => None,
        Framing::Csv | Framing::CsvWithoutHeader => {
            let mut splitter = Splitter::new(Cursor::new(text), Framing::CsvWithoutHeader);
            let header = csv_fields(splitter.next_piece().ok()??.bytes?).ok()?;
            Some(Sample { header, ..empty })
        }
    }
}

/// The first lines that are whole and JSON objects. None if the very first is none; a later one that is broken is its own affair.
fn lines_of(text: &[u8], whole: bool) -> Option<Vec<Value>> {
    let end = if whole { text.len() } else { memchr::memrchr(b'\n', text).map_or(0, |end| end + 1) };
    let mut splitter = Splitter::new(Cursor::new(text.get(..end)?), Framing::Lines);
    let mut items: Vec<Value> = Vec::new();
    while let Some(piece) = splitter.next_piece().ok()?.filter(|_| items.len() < SAMPLE_ITEMS) {
        match piece.bytes.and_then(|line| json::from_slice(line).ok()).filter(Value::is_object) {
            Some(item) => items.push(item),
            None if items.is_empty() => return None,
            None => {}
        }
    }
    // A record of more than the head has no line that is whole.
    (!items.is_empty() || (!whole && text.trim_ascii_start().first() == Some(&b'{'))).then_some(items)
}

/// The first items that are whole; perhaps none, where the array begins behind the head. None if the file is of another shape.
fn items_of(text: &[u8], framing: Framing) -> Option<Vec<Value>> {
    let mut splitter = Splitter::new(Cursor::new(text), framing);
    let mut items = Vec::new();
    while items.len() < SAMPLE_ITEMS {
        match splitter.next_piece() {
            Ok(Some(piece)) => items.extend(piece.bytes.and_then(|bytes| json::from_slice(bytes).ok())),
            Ok(None) | Err(Broken::At { problem: Problem::Truncated, .. }) => break,
            Err(Broken::At { .. }) if !items.is_empty() => break,
            Err(Broken::At { .. } | Broken::Read(_) | Broken::Changed(_)) => return None,
        }
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_for(text: &str) -> Result<(&'static str, Framing), Unrecognised> {
        detect(Head { bytes: text.as_bytes(), whole: true }).map(|found| (found.format.name, found.framing))
    }

    #[test]
    fn our_own_formats_and_plain_ones_are_told() {
        let own = r#"{"authferry":1,"names":[{"kind":"email","value":"a@x.y"}],"standing":"active"}"#;
        assert_eq!(taken_for(own), Ok(("jsonl", Framing::Lines)));
        assert_eq!(taken_for(&format!("\u{feff}\n{own}\r\n{own}\n")), Ok(("jsonl", Framing::Lines)));
        assert_eq!(taken_for("mail;x\n"), Err(Unrecognised::Separator(';')));
        assert_eq!(taken_for("id\temail\n1\ta@x.y\n"), Err(Unrecognised::Separator('\t')));
        assert_eq!(taken_for("Kunden-Nr;Name, Vorname;E-Mail Adresse\n"), Err(Unrecognised::Separator(';')));
        assert_eq!(taken_for("id,email,pw_hash\n1,a@x.y,$2b$04$x\n"), Ok(("csv", Framing::Csv)));
        assert_eq!(taken_for("{\"mail\":\"a@x.y\",\"pw\":\"x\"}\n"), Ok(("jsonl", Framing::Lines)));
    }

    #[test]
    fn what_nobody_knows_is_refused_with_the_names_to_choose_from() {
        assert_eq!(taken_for(""), Err(Unrecognised::Empty));
        assert!(taken_for(" \n\u{feff}").is_err());
        for text in ["<users/>", "{\"a\":1", "[1,2]", "{\"colour\":\"red\"}\n", "colour,shape\nred,round\n"] {
            match taken_for(text) {
                Err(Unrecognised::Unknown(names)) => assert!(names.contains(&"csv"), "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn where_it_was_said_what_its_fields_are_a_file_may_have_any() {
        for (text, name, fields) in [
            ("Kunde,Adresse\n1,a@x.y\n", "csv", &["Kunde", "Adresse"][..]),
            ("Adresse\na@x.y\n", "csv", &["Adresse"]),
            ("{\"Kunde\":1}\n{\"Adresse\":\"a@x.y\",\"Kunde\":2}\n", "jsonl", &["Kunde", "Adresse"]),
        ] {
            let head = Head { bytes: text.as_bytes(), whole: true };
            let found = detect_mapped(head).expect(text);
            assert_eq!(
                (found.format.name, fields_of(head, found)),
                (name, fields.iter().map(ToString::to_string).collect())
            );
        }
        let refused = |text: &'static str| detect_mapped(Head { bytes: text.as_bytes(), whole: true }).err();
        assert_eq!(refused("Kunde;Adresse\n"), Some(Unrecognised::Separator(';')));
        assert!(matches!(refused("[1,2]"), Some(Unrecognised::Unknown(_))));
        let own = "authferry_id,email\n";
        let head = Head { bytes: own.as_bytes(), whole: true };
        assert!(fields_of(head, detect(head).expect("our own")).is_empty());
    }

    #[test]
    fn the_beginning_alone_is_enough() {
        let line = r#"{"authferry":1,"names":[{"kind":"email","value":"a@x.y"}],"standing":"active"}"#;
        let cut = format!("{line}\n{}", &line[..20]);
        let found = detect(Head { bytes: cut.as_bytes(), whole: false }).map(|found| found.format.name);
        assert_eq!(found.ok(), Some("jsonl"));
        let broken_first = format!("{}\n{line}\n", &line[..20]);
        assert!(detect(Head { bytes: broken_first.as_bytes(), whole: true }).is_err());
    }

    #[test]
    fn a_format_that_is_named_still_has_to_come_in_one_of_its_shapes() {
        let jsonl = crate::exchange::format_named("jsonl").expect("in the table");
        let head = |text: &'static str| Head { bytes: text.as_bytes(), whole: true };
        assert_eq!(framing_of(jsonl, head("{\"colour\":1}\n")), Ok(Framing::Lines));
        assert!(matches!(framing_of(jsonl, head("colour\n")), Err(Unrecognised::OtherFraming { name: "jsonl", .. })));
    }
}

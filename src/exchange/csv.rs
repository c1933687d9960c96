//! CSV: our own, whose columns hold a whole user, and anybody's, whose columns are mapped or guessed.
//!
//! Ours is told by its column `authferry_id`. A cell that a spreadsheet would take for a formula is made inert with an apostrophe before it
//! (OWASP, "CSV Injection"; R112), as is one that begins with an apostrophe; reading our own CSV takes that apostrophe away again,
//! so that nothing is lost. Somebody else's cells are read as they are.

use serde_json::{Map, Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::format::{
    Carried, CarriesHashes, Context, Format, Framing, Hashes, RecordWriter, RowFault, Sample, WriteFormat, WriteOptions,
};
use super::mapping::{self, Typing};
use super::{Made, PortableName, PortablePassword, PortableRoster, PortableUser};
use crate::domain::clock::UnixSeconds;
use crate::domain::credential::AbsentBecause;
use crate::domain::identifier::IdentifierKind;
use crate::domain::json;
use crate::domain::password::PasswordNormalization;
use crate::domain::user::{LegacyId, Origin, Standing};

/// The row of the table.
pub(super) const FORMAT: Format = Format {
    name: "csv",
    title: "CSV: our own, or any with --map",
    framings: &[Framing::Csv],
    detect,
    parse,
    write: Some(WriteFormat { open, limit: None, hashes: CarriesHashes::Yes }),
    settings: &[],
};

/// The column that tells our own files.
const MARK: &str = "authferry_id";

/// The columns of our own files, but for those of the password.
const COLUMNS: [&str; 20] = [
    MARK,
    "legacy_id",
    "legacy_id_type",
    "email",
    "email_verified",
    "username",
    "username_verified",
    "phone",
    "phone_verified",
    "more_names",
    "reserved_names",
    "standing",
    "origin",
    "created_at",
    "updated_at",
    "legacy_vouched_at",
    "last_login_at",
    "last_seen",
    "value",
    "profile",
];

/// The columns of the password.
const PASSWORD_COLUMNS: [&str; 4] = ["password", "password_normalization", "password_made", "without_password"];

fn detect(sample: &Sample<'_>) -> bool {
    sample.has_column(MARK) || mapping::is_telling(sample.header.iter().map(String::as_str))
}

fn parse(raw: &[u8], context: &Context) -> Result<PortableUser, RowFault> {
    let fields = context.fields(raw)?;
    if context.column(MARK).is_some() {
        return parse_ours(&fields, context);
    }
    let fields: Map<String, Value> = context
        .header
        .iter()
        .zip(fields)
        // As databases write what is not there.
        .filter(|(_, value)| !value.is_empty() && value != "\\N")
        .map(|(name, value)| (name.trim().to_owned(), Value::String(value)))
        .collect();
    context.mapping.read(fields, Typing::AllText, context.normalization)
}

// ------------------------------------------------------------------------------------------------------------ our own

fn parse_ours(fields: &[String], context: &Context) -> Result<PortableUser, RowFault> {
    let cell = |name: &'static str| {
        let text = context.column(name).and_then(|at| fields.get(at)).map(|text| bare(text));
        text.filter(|text| !text.is_empty())
    };
    let id = cell(MARK).map(|text| Uuid::try_parse(text).map_err(|_| RowFault::new(MARK, "it is no UUID")));
    let mut user = PortableUser {
        id: id.transpose()?,
        legacy_id: own_legacy_id(cell("legacy_id"), cell("legacy_id_type"))?,
        names: own_names(&cell)?,
        reserved: listed_names("reserved_names", cell("reserved_names"))?,
        profile: match cell("profile") {
            None => Value::Null,
            Some(text) => json::from_slice(text.as_bytes()).map_err(|_| RowFault::new("profile", "it is no JSON"))?,
        },
        standing: word("standing", cell("standing"))?.unwrap_or(Standing::Active),
        origin: word::<Origin>("origin", cell("origin"))?,
        without_password: word::<AbsentBecause>("without_password", cell("without_password"))?,
        created_at: own_time("created_at", cell("created_at"))?,
        updated_at: own_time("updated_at", cell("updated_at"))?,
        legacy_vouched_at: own_time("legacy_vouched_at", cell("legacy_vouched_at"))?,
        last_login_at: own_time("last_login_at", cell("last_login_at"))?,
        ..PortableUser::default()
    };
    let last_seen = own_time("last_seen", cell("last_seen"))?;
    let value = cell("value").map(|text| text.parse().map_err(|_| RowFault::new("value", "it is no number")));
    let value = value.transpose()?;
    if last_seen.is_some() || value.is_some() {
        user.roster = Some(PortableRoster { last_seen, value });
    }
    if let Some(hash) = cell("password") {
        let normalization = word::<PasswordNormalization>("password_normalization", cell("password_normalization"))?;
        let made = match cell("password_made") {
            None | Some("elsewhere") => Made::Elsewhere,
            Some("here") => Made::Here,
            Some(_) => return Err(RowFault::new("password_made", "it is neither `here` nor `elsewhere`")),
        };
        let encoded = Zeroizing::new(hash.to_owned());
        user.password = Some(PortablePassword { encoded, normalization: normalization.unwrap_or_default(), made });
    }
    Ok(user)
}

fn own_legacy_id(text: Option<&str>, kind: Option<&str>) -> Result<Option<LegacyId>, RowFault> {
    let Some(text) = text else { return Ok(None) };
    let json = match kind {
        Some("number") => serde_json::from_str::<serde_json::Number>(text).ok().map(Value::Number),
        Some(_) | None => Some(Value::String(text.to_owned())),
    };
    let id = json.as_ref().and_then(LegacyId::from_json);
    id.map(Some).ok_or_else(|| RowFault::new("legacy_id", "it is no text of up to 255 bytes, and no whole number"))
}

fn own_names<'a>(cell: &impl Fn(&'static str) -> Option<&'a str>) -> Result<Vec<PortableName>, RowFault> {
    let mut names = Vec::new();
    for (kind, column, verified) in [
        (IdentifierKind::Email, "email", "email_verified"),
        (IdentifierKind::Username, "username", "username_verified"),
        (IdentifierKind::Phone, "phone", "phone_verified"),
    ] {
        if let Some(value) = cell(column) {
            names.push(PortableName { kind, value: value.to_owned(), verified: own_flag(verified, cell(verified))? });
        }
    }
    names.extend(listed_names("more_names", cell("more_names"))?);
    Ok(names)
}

/// Names in one cell, as JSON.
fn listed_names(field: &'static str, text: Option<&str>) -> Result<Vec<PortableName>, RowFault> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let bad = || RowFault::new(field, "it is no list of kind, value and verified");
    let list = json::from_slice(text.as_bytes()).map_err(|_| bad())?;
    let mut names = Vec::new();
    for name in list.as_array().ok_or_else(bad)? {
        let kind = name.get("kind").and_then(Value::as_str).ok_or_else(bad)?;
        names.push(PortableName {
            kind: IdentifierKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(bad)?,
            value: name.get("value").and_then(Value::as_str).ok_or_else(bad)?.to_owned(),
            verified: name.get("verified").and_then(Value::as_bool),
        });
    }
    Ok(names)
}

/// The same, written.
fn list_of_names<'a>(names: impl Iterator<Item = &'a PortableName>) -> String {
    let names: Vec<Value> =
        names.map(|name| json!({"kind": name.kind.as_str(), "value": name.value, "verified": name.verified})).collect();
    if names.is_empty() { String::new() } else { Value::Array(names).to_string() }
}

fn own_flag(field: &'static str, text: Option<&str>) -> Result<Option<bool>, RowFault> {
    match text {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(RowFault::new(field, "it is neither `true` nor `false`")),
    }
}

fn own_time(field: &'static str, text: Option<&str>) -> Result<Option<UnixSeconds>, RowFault> {
    match text.map(str::parse) {
        // As our own writer puts down what no calendar has.
        Some(Ok(seconds)) => Ok(Some(UnixSeconds(seconds))),
        Some(Err(_)) => mapping::time(field, &Value::String(text.unwrap_or_default().to_owned())),
        None => Ok(None),
    }
}

/// One of a few words, as JSON has them too.
fn word<T: serde::de::DeserializeOwned>(field: &'static str, text: Option<&str>) -> Result<Option<T>, RowFault> {
    let Some(text) = text else { return Ok(None) };
    let known = serde_json::from_value(Value::String(text.to_owned())).ok();
    known.map(Some).ok_or_else(|| RowFault::new(field, "it is none of the words that stand there"))
}

fn open(options: &WriteOptions) -> Box<dyn RecordWriter> {
    Box::new(Writer { hashes: options.hashes })
}

/// Writes our own files.
struct Writer {
    hashes: Hashes,
}

impl RecordWriter for Writer {
    fn start(&mut self, out: &mut Vec<u8>) {
        let password: &[&str] = match self.hashes {
            Hashes::Included => &PASSWORD_COLUMNS,
            Hashes::LeftOut => &[],
        };
        out.extend_from_slice([&COLUMNS, password].concat().join(",").as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn user(&mut self, user: &PortableUser, out: &mut Vec<u8>) -> Result<Carried, RowFault> {
        let mut row = Row { out, begun: false };
        row.cell(&user.id.map(|id| id.to_string()).unwrap_or_default());
        row.cell(user.legacy_id.as_ref().map_or("", LegacyId::as_key));
        row.cell(match user.legacy_id.as_ref().map(LegacyId::to_json) {
            Some(Value::Number(_)) => "number",
            Some(_) => "text",
            None => "",
        });
        let mut rest: Vec<&PortableName> = user.names.iter().collect();
        for kind in IdentifierKind::ALL {
            let first = rest.iter().position(|name| name.kind == kind).map(|at| rest.remove(at));
            row.cell(first.map_or("", |name| &name.value));
            row.cell(match first.and_then(|name| name.verified) {
                Some(true) => "true",
                Some(false) => "false",
                None => "",
            });
        }
        row.cell(&list_of_names(rest.into_iter()));
        row.cell(&list_of_names(user.reserved.iter()));
        row.cell(&word_of(&user.standing));
        row.cell(&user.origin.map(|origin| word_of(&origin)).unwrap_or_default());
        for at in [user.created_at, user.updated_at, user.legacy_vouched_at, user.last_login_at] {
            row.cell(&time_of(at));
        }
        row.cell(&time_of(user.roster.and_then(|roster| roster.last_seen)));
        row.cell(&user.roster.and_then(|roster| roster.value).map(|value| value.to_string()).unwrap_or_default());
        row.cell(&if user.profile.is_null() { String::new() } else { user.profile.to_string() });
        let carried = match (self.hashes, &user.password) {
            (Hashes::LeftOut, Some(_)) => Carried::WithoutPassword,
            (Hashes::LeftOut, None) | (Hashes::Included, _) => Carried::Whole,
        };
        if self.hashes == Hashes::Included {
            let password = user.password.as_ref();
            row.cell(password.map_or("", |password| password.encoded.as_str()));
            row.cell(&password.map(|password| word_of(&password.normalization)).unwrap_or_default());
            row.cell(match password.map(|password| password.made) {
                Some(Made::Here) => "here",
                Some(Made::Elsewhere) => "elsewhere",
                None => "",
            });
            row.cell(&user.without_password.map(|because| word_of(&because)).unwrap_or_default());
        }
        out.extend_from_slice(b"\r\n");
        Ok(carried)
    }

    fn finish(&mut self, _out: &mut Vec<u8>) {}
}

fn word_of(word: &impl serde::Serialize) -> String {
    match serde_json::to_value(word) {
        Ok(Value::String(text)) => text,
        Ok(_) | Err(_) => String::new(),
    }
}

/// As people read it; a second that no calendar has is written as its number.
fn time_of(at: Option<UnixSeconds>) -> String {
    let Some(at) = at else { return String::new() };
    let stamp = i64::try_from(at.0).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    stamp.map_or_else(|| at.0.to_string(), |stamp| stamp.to_string())
}

/// One record as it is written.
struct Row<'a> {
    out: &'a mut Vec<u8>,
    begun: bool,
}

impl Row<'_> {
    fn cell(&mut self, text: &str) {
        if std::mem::replace(&mut self.begun, true) {
            self.out.push(b',');
        }
        append_cell(text, self.out);
    }
}

/// Appends a cell: inert, and quoted where it has to be.
pub(crate) fn append_cell(text: &str, out: &mut Vec<u8>) {
    let apostrophe = if is_active(text) { "'" } else { "" };
    // The last three part columns for some readers, who would else begin a column, and perhaps a formula, in the middle of this one.
    if !text.contains([',', '"', '\n', '\r', ';', '\t', '|']) && text.trim() == text {
        out.extend_from_slice(apostrophe.as_bytes());
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(apostrophe.as_bytes());
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

/// Whether a spreadsheet may take a cell for a formula, or it looks like one that was made inert.
fn is_active(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\'', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
}

/// A cell as it was before it was made inert.
fn bare(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| is_active(rest)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exchange::framing::{Splitter, csv_fields};

    fn written(users: &[PortableUser], hashes: Hashes) -> Vec<u8> {
        let options = WriteOptions { hashes, settings: super::super::Settings::default(), columns: Vec::new() };
        let (mut writer, mut out) = (open(&options), Vec::new());
        writer.start(&mut out);
        for user in users {
            writer.user(user, &mut out).expect("a CSV takes anybody");
        }
        writer.finish(&mut out);
        out
    }

    fn read(file: &[u8]) -> Vec<PortableUser> {
        let mut splitter = Splitter::new(file, Framing::Csv);
        let mut context = Context::new(Framing::Csv);
        context.header = csv_fields(&splitter.header().expect("readable")).expect("a header");
        let mut users = Vec::new();
        while let Some(piece) = splitter.next_piece().expect("readable") {
            users.push(parse(piece.bytes.expect("small"), &context).expect("our own"));
        }
        users
    }

    fn as_line(user: &PortableUser) -> String {
        let mut line = Vec::new();
        crate::exchange::jsonl::append(user, Hashes::Included, &mut line);
        String::from_utf8(line).expect("JSON is UTF-8")
    }

    fn user(email: &str, profile: Value) -> PortableUser {
        PortableUser {
            id: Some(Uuid::from_u128(7)),
            legacy_id: LegacyId::from_json(&json!(-5)),
            names: vec![
                PortableName { kind: IdentifierKind::Email, value: email.to_owned(), verified: Some(false) },
                PortableName { kind: IdentifierKind::Phone, value: "+49 151".to_owned(), verified: None },
                PortableName { kind: IdentifierKind::Email, value: "=second@x.y".to_owned(), verified: Some(true) },
            ],
            reserved: vec![PortableName {
                kind: IdentifierKind::Username,
                value: "+former".to_owned(),
                verified: None,
            }],
            profile,
            password: Some(PortablePassword {
                encoded: Zeroizing::new("$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA".to_owned()),
                normalization: PasswordNormalization::Nfc,
                made: Made::Here,
            }),
            standing: Standing::Disabled,
            origin: Some(Origin::Imported),
            created_at: Some(UnixSeconds(0)),
            updated_at: Some(UnixSeconds(1_706_933_106)),
            last_login_at: Some(UnixSeconds(2)),
            roster: Some(PortableRoster { last_seen: Some(UnixSeconds(3)), value: Some(0) }),
            ..PortableUser::default()
        }
    }

    #[test]
    fn r112_a_formula_in_a_cell_is_inert_and_comes_back_as_it_was() {
        for text in ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=1", "'", "''", "\u{ff1d}1", "it's"]
        {
            let mut cell = Vec::new();
            append_cell(text, &mut cell);
            let shown = csv_fields(&cell).expect("one cell").concat();
            assert!(!shown.starts_with(['=', '+', '-', '@', '\t', '\r', '\u{ff1d}']), "{shown:?}");
            assert_eq!(bare(&shown), text);
        }
        let file = written(&[user("=HYPERLINK(\"http://evil\")@x.y", json!({"a": "b"}))], Hashes::Included);
        let text = String::from_utf8(file.clone()).expect("UTF-8");
        assert!(text.contains("\"'=HYPERLINK(\"\"http://evil\"\")@x.y\""), "{text}");
        assert_eq!(read(&file)[0].names[0].value, "=HYPERLINK(\"http://evil\")@x.y");
    }

    #[test]
    fn somebody_elses_cells_are_read_as_they_are() {
        let users = read(b"email,password,user_id\n'=x@x.y,$2b$04$x,007\n");
        assert_eq!(users[0].names[0].value, "'=x@x.y");
        assert_eq!(users[0].legacy_id.as_ref().map(LegacyId::to_json), Some(json!("007")));
    }

    #[test]
    fn a_row_with_another_number_of_fields_than_the_header_is_a_fault() {
        let mut context = Context::new(Framing::Csv);
        context.header = vec!["email".to_owned(), "name".to_owned()];
        for row in ["a@x.y", "a@x.y,Ann,3"] {
            assert!(parse(row.as_bytes(), &context).is_err(), "{row}");
        }
        assert!(parse(b"a@x.y,Ann", &context).is_ok());
    }

    #[test]
    fn our_own_file_is_refused_where_it_was_mended_badly() {
        let mut context = Context::new(Framing::Csv);
        context.header = [MARK, "email", "standing", "created_at", "profile", "value"].map(str::to_owned).to_vec();
        for (row, field) in [
            ("x,a@x.y,active,,,", MARK),
            (",a@x.y,aktive,,,", "standing"),
            (",a@x.y,active,soon,,", "created_at"),
            (",a@x.y,active,,{,", "profile"),
            (",a@x.y,active,,,much", "value"),
        ] {
            assert_eq!(
                parse(row.as_bytes(), &context).err().map(|fault| fault.field.into_owned()),
                Some(field.to_owned())
            );
        }
    }

    #[test]
    fn without_hashes_there_is_no_column_for_them() {
        let file = written(&[user("a@x.y", json!(null))], Hashes::LeftOut);
        let text = String::from_utf8(file).expect("UTF-8");
        assert!(!text.contains("argon2") && !text.contains("password"), "{text}");
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(
            email in "[=+@'\",\r\n -]{0,3}\\PC{1,20}", key in "\\PC{0,10}", text in "(?s).{0,20}"
        ) {
            let users = [user(&email, json!({key: text})), user("b@x.y", Value::Null)];
            let back = read(&written(&users, Hashes::Included));
            prop_assert_eq!(back.len(), 2);
            for (user, back) in users.iter().zip(&back) {
                // Names of the other kinds come before further ones of the same kind.
                prop_assert_eq!(as_line(user), as_line(back));
            }
        }
    }
}

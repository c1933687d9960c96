//! JSON lines: our own, which carry everything of a user and lose nothing, and anybody's, whose keys are mapped or guessed.
//!
//! A line of ours begins with `"authferry":1`, the version of this format. Every field of a record is in it, the hash, the standing,
//! tombstones and times included, so that an export read into an empty store makes the same users again. A field that this version does
//! not know is refused rather than lost.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::fields::object;
use super::format::{
    Carried, CarriesHashes, Context, Format, Framing, Hashes, RecordWriter, RowFault, Sample, WriteFormat, WriteOptions,
};
use super::mapping::{self, Typing};
use super::{Made, Notes, PortableName, PortablePassword, PortableRoster, PortableUser};
use crate::domain::clock::UnixSeconds;
use crate::domain::credential::AbsentBecause;
use crate::domain::identifier::IdentifierKind;
use crate::domain::json;
use crate::domain::password::PasswordNormalization;
use crate::domain::user::{LegacyId, Origin, Standing};

/// The row of the table.
pub(super) const FORMAT: Format = Format {
    name: "jsonl",
    title: "JSON lines: our own, or any with --map",
    framings: &[Framing::Lines],
    detect,
    parse,
    write: Some(WriteFormat { open, limit: None, hashes: CarriesHashes::Yes }),
    settings: &[],
};

/// The version of our own lines.
const VERSION: u8 = 1;

/// The key that tells our own lines.
const MARK: &str = "authferry";

fn detect(sample: &Sample<'_>) -> bool {
    let names =
        |item: &Value| item.as_object().is_some_and(|fields| mapping::is_telling(fields.keys().map(String::as_str)));
    sample.first_has(MARK) || sample.items.iter().any(names)
}

/// A line of ours.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    authferry: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    legacy_id: Option<Value>,
    #[serde(borrow, default)]
    names: Vec<Name<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    reserved: Vec<Name<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    password: Option<Password<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    without_password: Option<AbsentBecause>,
    standing: Standing,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<UnixSeconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<UnixSeconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    legacy_vouched_at: Option<UnixSeconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_login_at: Option<UnixSeconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    roster: Option<Roster>,
    #[serde(default, deserialize_with = "json::deserialize", skip_serializing_if = "Value::is_null")]
    profile: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Name<'a> {
    kind: IdentifierKind,
    #[serde(borrow)]
    value: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
}

impl<'a> Name<'a> {
    fn of(name: &'a PortableName) -> Self {
        Self { kind: name.kind, value: Cow::Borrowed(&name.value), verified: name.verified }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Password<'a> {
    #[serde(borrow)]
    hash: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "is_none")]
    normalization: PasswordNormalization,
    #[serde(default, skip_serializing_if = "is_elsewhere")]
    made: MadeWord,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MadeWord {
    #[default]
    Elsewhere,
    Here,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Roster {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_seen: Option<UnixSeconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(normalization: &PasswordNormalization) -> bool {
    *normalization == PasswordNormalization::None
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_elsewhere(made: &MadeWord) -> bool {
    *made == MadeWord::Elsewhere
}

fn parse(raw: &[u8], context: &Context) -> Result<PortableUser, RowFault> {
    if is_ours(raw) {
        return parse_ours(raw);
    }
    let fields = object(raw)?;
    if fields.contains_key(MARK) {
        return parse_ours(raw);
    }
    context.mapping.read(fields, Typing::Typed, context.normalization)
}

/// Whether the mark comes first, where our own writer puts it: such a line need not be read twice.
fn is_ours(raw: &[u8]) -> bool {
    raw.trim_ascii_start().starts_with(b"{\"authferry\":")
}

/// Reads a line of ours, and nothing else.
pub fn parse_ours(raw: &[u8]) -> Result<PortableUser, RowFault> {
    let line: Line<'_> = serde_json::from_slice(raw).map_err(|error| RowFault::json(&error))?;
    if line.authferry != VERSION {
        return Err(RowFault::new(
            MARK,
            "the line is of a later version of this format; import it with a newer authferry",
        ));
    }
    let legacy_id = match line.legacy_id {
        None => None,
        Some(id) => {
            let id = LegacyId::from_json(&id);
            Some(id.ok_or_else(|| RowFault::new("legacy_id", "it is no text of 1 to 255 bytes, and no whole number"))?)
        }
    };
    let names = |names: Vec<Name<'_>>| {
        let name =
            |name: Name<'_>| PortableName { kind: name.kind, value: name.value.into_owned(), verified: name.verified };
        names.into_iter().map(name).collect()
    };
    Ok(PortableUser {
        id: line.id,
        legacy_id,
        names: names(line.names),
        reserved: names(line.reserved),
        profile: line.profile,
        password: line.password.map(|password| PortablePassword {
            encoded: Zeroizing::new(password.hash.into_owned()),
            normalization: password.normalization,
            made: match password.made {
                MadeWord::Elsewhere => Made::Elsewhere,
                MadeWord::Here => Made::Here,
            },
        }),
        without_password: line.without_password,
        standing: line.standing,
        origin: line.origin,
        created_at: line.created_at,
        updated_at: line.updated_at,
        legacy_vouched_at: line.legacy_vouched_at,
        last_login_at: line.last_login_at,
        roster: line.roster.map(|roster| PortableRoster { last_seen: roster.last_seen, value: roster.value }),
        notes: Notes::default(),
    })
}

fn open(options: &WriteOptions) -> Box<dyn RecordWriter> {
    Box::new(Writer { hashes: options.hashes })
}

/// Writes lines of ours.
struct Writer {
    hashes: Hashes,
}

impl RecordWriter for Writer {
    fn start(&mut self, _out: &mut Vec<u8>) {}

    fn user(&mut self, user: &PortableUser, out: &mut Vec<u8>) -> Result<Carried, RowFault> {
        append(user, self.hashes, out);
        Ok(match (self.hashes, &user.password) {
            (Hashes::LeftOut, Some(_)) => Carried::WithoutPassword,
            (Hashes::LeftOut, None) | (Hashes::Included, _) => Carried::Whole,
        })
    }

    fn finish(&mut self, _out: &mut Vec<u8>) {}
}

/// Appends a user as a line of ours.
pub fn append(user: &PortableUser, hashes: Hashes, out: &mut Vec<u8>) {
    let password = user.password.as_ref().filter(|_| hashes == Hashes::Included).map(|password| Password {
        hash: Cow::Borrowed(password.encoded.as_str()),
        normalization: password.normalization,
        made: match password.made {
            Made::Elsewhere => MadeWord::Elsewhere,
            Made::Here => MadeWord::Here,
        },
    });
    let line = Line {
        authferry: VERSION,
        id: user.id,
        legacy_id: user.legacy_id.as_ref().map(LegacyId::to_json),
        names: user.names.iter().map(Name::of).collect(),
        reserved: user.reserved.iter().map(Name::of).collect(),
        password,
        without_password: user.without_password,
        standing: user.standing,
        origin: user.origin,
        created_at: user.created_at,
        updated_at: user.updated_at,
        legacy_vouched_at: user.legacy_vouched_at,
        last_login_at: user.last_login_at,
        roster: user.roster.map(|roster| Roster { last_seen: roster.last_seen, value: roster.value }),
        // Copied, since a value cannot be lent to a struct that is also read; a profile is small.
        profile: user.profile.clone(),
    };
    let before = out.len();
    // A line has string keys only, and a buffer takes everything.
    if serde_json::to_writer(&mut *out, &line).is_err() {
        out.truncate(before);
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn written(user: &PortableUser, hashes: Hashes) -> String {
        let mut out = Vec::new();
        append(user, hashes, &mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    fn read(line: &str) -> Result<PortableUser, RowFault> {
        parse(line.as_bytes(), &Context::new(Framing::Lines))
    }

    fn whole() -> PortableUser {
        PortableUser {
            id: Some(Uuid::from_u128(7)),
            legacy_id: LegacyId::from_json(&json!(4_711)),
            names: vec![
                PortableName { kind: IdentifierKind::Email, value: "Ann@x.y".into(), verified: Some(true) },
                PortableName { kind: IdentifierKind::Phone, value: "+49 151".into(), verified: None },
            ],
            reserved: vec![PortableName { kind: IdentifierKind::Email, value: "old@x.y".into(), verified: None }],
            profile: json!({"name": "Ann", "$serde_json::private::RawValue": "x", "n": [1.5, null]}),
            password: Some(PortablePassword {
                encoded: Zeroizing::new("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA".into()),
                normalization: PasswordNormalization::Nfkc,
                made: Made::Here,
            }),
            without_password: None,
            standing: Standing::Disabled,
            origin: Some(Origin::Registered),
            created_at: Some(UnixSeconds(1)),
            updated_at: Some(UnixSeconds(2)),
            legacy_vouched_at: Some(UnixSeconds(3)),
            last_login_at: Some(UnixSeconds(4)),
            roster: Some(PortableRoster { last_seen: Some(UnixSeconds(5)), value: Some(6) }),
            notes: Notes::default(),
        }
    }

    #[test]
    fn a_line_of_ours_loses_nothing() {
        let line = written(&whole(), Hashes::Included);
        assert_eq!(written(&read(&line).expect("our own"), Hashes::Included), line);
        for field in [
            "\"id\"",
            "4711",
            "Ann@x.y",
            "$argon2id$",
            "nfkc",
            "here",
            "disabled",
            "registered",
            "\"roster\":{\"last_seen\":5,\"value\":6}",
            "\"reserved\":[{\"kind\":\"email\",\"value\":\"old@x.y\"}]",
        ] {
            assert!(line.contains(field), "{field} is not in {line}");
        }
        let gone = PortableUser {
            password: None,
            without_password: Some(AbsentBecause::ResetAtLegacy),
            standing: Standing::Deleted,
            ..PortableUser::default()
        };
        let line = written(&gone, Hashes::Included);
        assert_eq!(written(&read(&line).expect("our own"), Hashes::Included), line);
    }

    #[test]
    fn without_hashes_there_is_none_in_it() {
        let line = written(&whole(), Hashes::LeftOut);
        assert!(!line.contains("argon2") && !line.contains("password"), "{line}");
    }

    #[test]
    fn a_line_of_another_version_or_with_an_unknown_field_is_refused_without_showing_it() {
        let later = written(&whole(), Hashes::Included).replace("{\"authferry\":1", "{\"authferry\":2");
        assert_eq!(read(&later).err().map(|fault| fault.field), Some(Cow::Borrowed(MARK)));
        for bad in [
            r#"{"authferry":1,"standing":"active","secret":"$2b$04$hash"}"#,
            r#"{"authferry":1,"standing":"$2b$04$hash"}"#,
            r#"{"authferry":1,"standing":"active","legacy_id":{"x":"$2b$04$hash"}}"#,
            r#"{"standing":"active","authferry":1,"password":{"hash":["$2b$04$hash"]}}"#,
            "[\"$2b$04$hash\"]",
            "{\"email\":\"$2b$04$hash",
        ] {
            let fault = read(bad).err().expect("a fault").to_string();
            assert!(!fault.contains("$2b"), "{fault}");
        }
    }

    #[test]
    fn any_object_is_read_by_its_keys() {
        let user = read(r#"{"mail":"a@x.y","pw_hash":"$2b$04$x","id":"5","name":"Ann"}"#).expect("a good row");
        assert_eq!(user.names.first().map(|name| name.value.as_str()), Some("a@x.y"));
        assert_eq!(user.legacy_id.map(|id| id.to_json()), Some(json!("5")), "JSON tells text from numbers");
        assert_eq!(user.profile, json!({"mail": "a@x.y", "id": "5", "name": "Ann"}));
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(value in "\\PC{0,40}", hash in "\\PC{0,40}", key in "\\PC{0,10}", id: i64) {
            let mut user = whole();
            user.names[0].value = value.clone();
            user.legacy_id = LegacyId::from_json(&json!(id));
            user.profile = json!({key: [value]});
            if let Some(password) = &mut user.password {
                password.encoded = Zeroizing::new(hash);
            }
            let line = written(&user, Hashes::Included);
            prop_assert_eq!(written(&read(&line).expect("our own"), Hashes::Included), line);
        }
    }
}

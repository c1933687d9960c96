//! Firebase Authentication: what `firebase auth:export` writes, as JSON and as CSV without a header, and what `firebase auth:import` reads.
//!
//! Its scrypt needs four parameters of the project that are in no file: the operator says them. Follows the documentation of
//! `auth:import` and `auth:export` and the columns that firebase-tools writes. Never called but through [`FORMAT`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::fields::{Names, Node, base64_bytes, object};
use super::giving::{self, JsonFile, Person, put};
use super::stored_hash::Stored;
use super::taking::{self, Beyond, Found};
use super::{
    Carried, CarriesHashes, Context, Format, Framing, PortableUser, RecordWriter, RowFault, Sample, Setting, Settings,
    WriteFormat, WriteOptions,
};
use crate::domain::clock::UnixSeconds;
use crate::domain::identifier::IdentifierKind;
use crate::domain::user::Standing;

/// The row for it.
pub(super) const FORMAT: Format = Format {
    name: "firebase",
    title: "Firebase Authentication, auth:export",
    framings: &[Framing::JsonItems { path: "users" }, Framing::CsvWithoutHeader],
    detect,
    parse,
    write: Some(WriteFormat { open, limit: None, hashes: CarriesHashes::Yes }),
    settings: &[taking::UNUSABLE_HASH, taking::SECOND_FACTOR, SIGNER_KEY, SALT_SEPARATOR, ROUNDS, MEM_COST, ALGORITHM],
};

const SIGNER_KEY: Setting =
    Setting { name: "signer-key", help: "`base64_signer_key` of the project's password hash parameters" };
const SALT_SEPARATOR: Setting =
    Setting { name: "salt-separator", help: "`base64_salt_separator` of the project's password hash parameters" };
const ROUNDS: Setting =
    Setting { name: "rounds", help: "`rounds` of the project's password hash parameters; usually 8" };
const MEM_COST: Setting =
    Setting { name: "mem-cost", help: "`mem_cost` of the project's password hash parameters; usually 14" };
const ALGORITHM: Setting = Setting {
    name: "hash-algo",
    help: "`SCRYPT` (if not said) or `BCRYPT`: Firebase takes hashes of one kind in a file",
};

/// The columns of the CSV, by place. Newer versions of the tool write one more for custom attributes, and all end in a comma.
const COLUMNS: [(usize, &str); 12] = [
    (0, "localId"),
    (1, "email"),
    (2, "emailVerified"),
    (3, "passwordHash"),
    (4, "salt"),
    (5, "displayName"),
    (6, "photoUrl"),
    (23, "createdAt"),
    (24, "lastSignedInAt"),
    (25, "phoneNumber"),
    (26, "disabled"),
    (27, "customAttributes"),
];
const PROVIDERS: [(usize, &str); 4] =
    [(7, "google.com"), (11, "facebook.com"), (15, "twitter.com"), (19, "github.com")];
const FEWEST_COLUMNS: usize = 26;
const MOST_COLUMNS: usize = 29;

fn detect(sample: &Sample<'_>) -> bool {
    if sample.framing.is_csv() {
        let is_flag = |at: usize| sample.header.get(at).is_some_and(|field| matches!(field.as_str(), "true" | "false"));
        return (FEWEST_COLUMNS..=MOST_COLUMNS).contains(&sample.header.len()) && is_flag(2);
    }
    sample.any_has("localId")
}

fn parse(raw: &[u8], context: &Context) -> Result<PortableUser, RowFault> {
    let mut record = if context.framing.is_csv() { columns(&context.fields(raw)?)? } else { object(raw)? };
    let mut user = read(&Node::root(&record), context)?;
    for secret in ["passwordHash", "salt"] {
        record.shift_remove(secret);
    }
    user.profile = Value::Object(record);
    Ok(user)
}

/// A line of the CSV as the object that the JSON would have for it.
fn columns(fields: &[String]) -> Result<Map<String, Value>, RowFault> {
    if !(FEWEST_COLUMNS..=MOST_COLUMNS).contains(&fields.len()) {
        let found = super::fields::counted(fields.len());
        let problem = format!("it has {found}, and auth:export writes {FEWEST_COLUMNS} to {MOST_COLUMNS}");
        return Err(RowFault::new("record", problem));
    }
    let field = |at: usize| fields.get(at).filter(|field| !field.is_empty()).cloned();
    let mut record = Map::new();
    for (at, name) in COLUMNS {
        let value = field(at).map(|text| match (name, text.as_str()) {
            ("emailVerified" | "disabled", "true") => Value::Bool(true),
            ("emailVerified" | "disabled", "false") => Value::Bool(false),
            _text => Value::String(text),
        });
        put(&mut record, name, value);
    }
    let mut providers = Vec::new();
    for (at, provider) in PROVIDERS {
        let Some(id) = field(at) else { continue };
        let mut info = Map::new();
        put(&mut info, "providerId", Some(provider));
        put(&mut info, "rawId", Some(id));
        put(&mut info, "email", field(at + 1));
        put(&mut info, "displayName", field(at + 2));
        put(&mut info, "photoUrl", field(at + 3));
        providers.push(Value::Object(info));
    }
    put(&mut record, "providerUserInfo", (!providers.is_empty()).then_some(providers));
    Ok(record)
}

fn read(record: &Node<'_>, context: &Context) -> Result<PortableUser, RowFault> {
    let mut names = Names::default();
    names.add(IdentifierKind::Email, record.text("email")?, record.flag("emailVerified")?);
    names.add(IdentifierKind::Phone, record.text("phoneNumber")?, None);
    let beyond = Beyond { second_factor: !record.list("mfaInfo")?.is_empty(), ..Beyond::NOTHING };
    Ok(PortableUser {
        legacy_id: Some(record.id("localId")?.ok_or_else(|| record.fault("localId", "is missing"))?),
        names: names.or_fault("email", "is missing, and so is `phoneNumber`: he is anonymous")?,
        standing: if record.flag("disabled")? == Some(true) { Standing::Disabled } else { Standing::Active },
        created_at: record.millis("createdAt")?,
        last_login_at: record.millis("lastSignedInAt")?.filter(|at| *at != UnixSeconds(0)),
        ..taking::with_password(context, hash(record, &context.settings), beyond)?
    })
}

fn hash(record: &Node<'_>, settings: &Settings) -> Found {
    let Some(text) = record.text("passwordHash")? else { return Ok(None) };
    let hash = base64_bytes(text).ok_or_else(|| record.fault("passwordHash", "is not base64"))?;
    match settings.of(ALGORITHM.name).unwrap_or("SCRYPT") {
        "SCRYPT" => {
            let salt =
                base64_bytes(record.needed_text("salt")?).ok_or_else(|| record.fault("salt", "is not base64"))?;
            scrypt(salt, hash, settings).map(|stored| Some(stored.encoded()))
        }
        "BCRYPT" => match String::from_utf8(hash).map(|text| Stored::read(&text)) {
            Ok(stored @ Stored::Bcrypt { .. }) => Ok(Some(stored.encoded())),
            Ok(_) | Err(_) => Err(record.fault("passwordHash", "is no bcrypt hash")),
        },
        _another => Err(RowFault::new("--set hash-algo", "must be `SCRYPT` or `BCRYPT`")),
    }
}

fn scrypt(salt: Vec<u8>, hash: Vec<u8>, settings: &Settings) -> Result<Stored, RowFault> {
    // First what was said of the whole file, which concerns every row.
    let signer_key = base64_setting(settings, SIGNER_KEY)?;
    let separator = base64_setting(settings, SALT_SEPARATOR)?;
    let (rounds, mem_cost) = (number_setting(settings, ROUNDS, 8)?, number_setting(settings, MEM_COST, 14)?);
    if signer_key.len() != hash.len() {
        return Err(RowFault::new("passwordHash", "is not as long as the signer key, as Firebase's are"));
    }
    Ok(Stored::Firescrypt { mem_cost, rounds, salt, hash, separator, signer_key })
}

fn said(settings: &Settings, setting: Setting) -> Result<&str, RowFault> {
    settings.of(setting.name).ok_or_else(|| {
        let problem = "is not said; it is in the console under Authentication, Users, Password hash parameters";
        RowFault::new(format!("--set {}", setting.name), problem)
    })
}

fn base64_setting(settings: &Settings, setting: Setting) -> Result<Vec<u8>, RowFault> {
    let bytes = base64_bytes(said(settings, setting)?);
    bytes.ok_or_else(|| RowFault::new(format!("--set {}", setting.name), "is not base64"))
}

/// Within the bounds that firebase-tools itself has for it.
fn number_setting(settings: &Settings, setting: Setting, most: u32) -> Result<u32, RowFault> {
    let number = said(settings, setting)?.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| RowFault::new(format!("--set {}", setting.name), format!("must be a number from 1 to {most}")))
}

fn open(options: &WriteOptions) -> Box<dyn RecordWriter> {
    let (algorithm, parameters) = match options.settings.of(ALGORITHM.name) {
        Some("BCRYPT") => ("BCRYPT", ""),
        Some(_) | None => (
            "SCRYPT",
            " --hash-key=… --salt-separator=… --rounds=… --mem-cost=…, those of the project that the hashes come from",
        ),
    };
    let command = format!("Firebase: run `firebase auth:import FILE --hash-algo={algorithm}`");
    let remark = if parameters.is_empty() { command } else { format!("{command}, with{parameters}") };
    Box::new(JsonFile::new("{\"users\":[".into(), "\n]}\n", item, options).remark(remark))
}

/// The longest id that Firebase takes.
const MAX_ID_CHARS: usize = 128;

fn item(user: &PortableUser, options: &WriteOptions) -> Result<(Value, Carried), RowFault> {
    giving::refuse_deleted(user)?;
    let mut names = giving::Names::of(user);
    let (email, phone) = (names.take(IdentifierKind::Email), names.take_e164());
    if email.is_none() && phone.is_none() {
        return Err(RowFault::new("email", "Firebase takes no user without an email or a phone number in E.164"));
    }
    let id = user.legacy_id.as_ref().map(|id| id.as_key().to_owned()).or(user.id.map(|id| id.to_string()));
    let id = id.ok_or_else(|| RowFault::new("localId", "Firebase takes no user without an id"))?;
    if id.chars().count() > MAX_ID_CHARS {
        return Err(RowFault::new("localId", format!("is longer than {MAX_ID_CHARS} characters")));
    }
    let person = Person::of(user);
    let millis = |at: UnixSeconds| at.0.saturating_mul(1_000).to_string();
    let mut item = Map::new();
    put(&mut item, "localId", Some(id));
    put(&mut item, "email", email.map(|name| name.value.as_str()));
    put(&mut item, "emailVerified", email.and_then(|name| name.verified));
    put(&mut item, "phoneNumber", phone.map(|name| name.value.as_str()));
    put(&mut item, "displayName", person.text(giving::FULL_NAME));
    put(&mut item, "photoUrl", person.text(giving::PICTURE));
    put(&mut item, "createdAt", user.created_at.map(millis));
    put(&mut item, "lastSignedInAt", user.last_login_at.map(millis));
    put(&mut item, "disabled", Some(user.standing == Standing::Disabled));
    for key in ["customAttributes", "providerUserInfo"] {
        put(&mut item, key, person.own(key).cloned());
    }
    let hash = giving::encoded(user, options).and_then(|encoded| password_fields(encoded, options));
    let carried = giving::carried(user, hash.is_some());
    item.extend(hash.unwrap_or_default());
    Ok((Value::Object(item), carried))
}

/// Of the one kind that the file is for. Which parameters the hashes were made with is said to the tool, once for all: where the
/// operator has said them, a hash with others stays behind.
fn password_fields(encoded: &str, options: &WriteOptions) -> Option<Map<String, Value>> {
    let mut fields = Map::new();
    match (options.settings.of(ALGORITHM.name).unwrap_or("SCRYPT"), Stored::read(encoded)) {
        ("SCRYPT", stored @ Stored::Firescrypt { .. }) => {
            let Stored::Firescrypt { salt, hash, .. } = &stored else { return None };
            let is_theirs = match scrypt(salt.clone(), hash.clone(), &options.settings) {
                Ok(expected) => expected == stored,
                Err(_parameters_not_said) => options.settings.of(SIGNER_KEY.name).is_none(),
            };
            if !is_theirs {
                return None;
            }
            put(&mut fields, "passwordHash", Some(STANDARD.encode(hash)));
            put(&mut fields, "salt", Some(STANDARD.encode(salt)));
            Some(fields)
        }
        ("BCRYPT", stored @ Stored::Bcrypt { .. }) => {
            put(&mut fields, "passwordHash", Some(STANDARD.encode(stored.encoded().as_bytes())));
            Some(fields)
        }
        _another_kind => None,
    }
}

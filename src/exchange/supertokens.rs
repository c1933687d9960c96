//! SuperTokens: the users of its bulk import (`POST /bulk-import/users`), those that its core lists (`GET /users`, no hashes), and the rows of
//! its table `emailpassword_users` as CSV, which has the hashes.
//!
//! Follows "Account migration" in its documentation and what its core checks of an imported user. Never called but through [`FORMAT`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::fields::{Names, Node, base64_bytes, object, quoted};
use super::giving::{self, JsonFile, Person, put};
use super::stored_hash::Stored;
use super::taking::{self, Beyond, Found};
use super::{
    Carried, CarriesHashes, Context, FileLimit, Format, Framing, PortableUser, RecordWriter, RowFault, Sample, Setting,
    Settings, WriteFormat, WriteOptions,
};
use crate::domain::clock::UnixSeconds;
use crate::domain::identifier::IdentifierKind;
use crate::domain::user::LegacyId;

/// The row for it.
pub(super) const FORMAT: Format = Format {
    name: "supertokens",
    title: "SuperTokens, bulk import or list of users",
    framings: &[Framing::JsonItems { path: "users" }, Framing::JsonItems { path: "" }, Framing::Csv, Framing::Lines],
    detect,
    parse,
    write: Some(WriteFormat { open, limit: Some(LIMIT), hashes: CarriesHashes::Yes }),
    settings: &[taking::UNUSABLE_HASH, taking::SECOND_FACTOR, SIGNER_KEY],
};

/// What one request takes.
const LIMIT: FileLimit = FileLimit { bytes: u64::MAX, users: 10_000 };

const SIGNER_KEY: Setting = Setting {
    name: "signer-key",
    help: "`firebase_password_hashing_signer_key` of the core's configuration, for hashes that came from Firebase",
};

fn detect(sample: &Sample<'_>) -> bool {
    if sample.framing.is_csv() {
        return sample.has_column("password_hash") && sample.has_column("time_joined") && sample.has_column("user_id");
    }
    sample.any_has("loginMethods")
}

fn parse(raw: &[u8], context: &Context) -> Result<PortableUser, RowFault> {
    if context.framing.is_csv() {
        return from_row(raw, context);
    }
    let mut record = object(raw)?;
    let mut user = read(&Node::root(&record), context)?;
    for method in record.get_mut("loginMethods").and_then(Value::as_array_mut).into_iter().flatten() {
        for secret in ["passwordHash", "hashingAlgorithm", "plainTextPassword"] {
            method.as_object_mut().and_then(|method| method.shift_remove(secret));
        }
    }
    user.profile = Value::Object(record);
    Ok(user)
}

/// A row of the table of passwords.
fn from_row(raw: &[u8], context: &Context) -> Result<PortableUser, RowFault> {
    let fields = context.fields(raw)?;
    let filled = context.header.iter().zip(fields).filter(|(_, field)| !field.is_empty());
    let mut row: Map<String, Value> =
        filled.map(|(name, field)| (name.trim().to_owned(), Value::String(field))).collect();
    let root = Node::root(&row);
    let mut names = Names::default();
    names.add(IdentifierKind::Email, root.text("email")?, None);
    let found = match root.text("password_hash")? {
        Some(text) => known(&root, "password_hash", text, &context.settings).map(|stored| Some(stored.encoded())),
        None => Ok(None),
    };
    let user = PortableUser {
        legacy_id: root.id("user_id")?,
        names: names.or_fault("email", "is missing")?,
        created_at: root.millis("time_joined")?,
        ..taking::with_password(context, found, Beyond::NOTHING)?
    };
    row.shift_remove("password_hash");
    Ok(PortableUser { profile: Value::Object(row), ..user })
}

fn read(record: &Node<'_>, context: &Context) -> Result<PortableUser, RowFault> {
    let methods = record.objects("loginMethods")?;
    let mut names = Names::default();
    let mut joined: Option<UnixSeconds> = record.millis("timeJoined")?;
    let mut with_password = Vec::new();
    for method in &methods {
        let verified = match method.flag("isVerified")? {
            Some(verified) => Some(verified),
            None => method.flag("verified")?,
        };
        names.add(IdentifierKind::Email, method.text("email")?, verified);
        names.add(IdentifierKind::Phone, method.text("phoneNumber")?, verified);
        let at = match method.millis("timeJoinedInMSSinceEpoch")? {
            Some(at) => Some(at),
            None => method.millis("timeJoined")?,
        };
        joined = [joined, at].into_iter().flatten().min();
        match method.needed_text("recipeId")? {
            "emailpassword" => with_password.push(method),
            "thirdparty" | "passwordless" | "webauthn" => {}
            other => return Err(method.fault("recipeId", format!("{} is not known", quoted(other)))),
        }
    }
    let found = match with_password.as_slice() {
        [] => Ok(None),
        [one] => hash(one, &context.settings),
        _several => Err(record.fault("loginMethods", "has more than one password; a user here has one")),
    };
    let beyond = Beyond { second_factor: !record.list("totpDevices")?.is_empty(), ..Beyond::NOTHING };
    Ok(PortableUser {
        legacy_id: match record.id("externalUserId")? {
            Some(id) => Some(id),
            None => record.id("id")?,
        },
        names: names.or_fault("loginMethods", "holds no email and no phone number")?,
        created_at: joined,
        ..taking::with_password(context, found, beyond)?
    })
}

fn hash(method: &Node<'_>, settings: &Settings) -> Found {
    if method.text("plainTextPassword")?.is_some() {
        return Err(method.fault("plainTextPassword", "is a password in plain text; only hashes are taken"));
    }
    let Some(text) = method.text("passwordHash")? else { return Ok(None) };
    let algorithm = method.needed_text("hashingAlgorithm")?.trim().to_ascii_lowercase();
    let stored = known(method, "passwordHash", text, settings)?;
    let is_right = match &stored {
        Stored::Bcrypt { .. } => algorithm == "bcrypt",
        Stored::Argon2 { .. } => algorithm == "argon2",
        Stored::Firescrypt { .. } => algorithm == "firebase_scrypt",
        Stored::Pbkdf2 { .. } | Stored::Scrypt { .. } | Stored::Plain { .. } | Stored::Hmac { .. } | Stored::Other => {
            false
        }
    };
    if is_right {
        Ok(Some(stored.encoded()))
    } else {
        Err(method.fault("hashingAlgorithm", format!("{} is not what the hash is", quoted(&algorithm))))
    }
}

/// One of the three kinds that SuperTokens keeps.
fn known(node: &Node<'_>, key: &str, text: &str, settings: &Settings) -> Result<Stored, RowFault> {
    let text = text.trim();
    if let Some(parts) = text.strip_prefix("$f_scrypt$") {
        return firebase(node, key, parts, settings);
    }
    match Stored::read(text) {
        stored @ (Stored::Bcrypt { .. } | Stored::Argon2 { .. }) => Ok(stored),
        Stored::Pbkdf2 { .. }
        | Stored::Scrypt { .. }
        | Stored::Firescrypt { .. }
        | Stored::Plain { .. }
        | Stored::Hmac { .. }
        | Stored::Other => Err(node.fault(key, "is no bcrypt, Argon2 or Firebase hash")),
    }
}

/// `hash$salt$m=…$r=…$s=…`; the signer key is in the core's configuration.
fn firebase(node: &Node<'_>, key: &str, parts: &str, settings: &Settings) -> Result<Stored, RowFault> {
    let signer_key = settings.of(SIGNER_KEY.name).ok_or_else(|| {
        RowFault::new("--set signer-key", "is not said; it is `firebase_password_hashing_signer_key` of the core")
    })?;
    let signer_key = base64_bytes(signer_key).ok_or_else(|| RowFault::new("--set signer-key", "is not base64"))?;
    let read = || {
        let [hash, salt, mem_cost, rounds, separator] = parts.split('$').collect::<Vec<_>>().try_into().ok()?;
        Some(Stored::Firescrypt {
            mem_cost: mem_cost.strip_prefix("m=")?.parse().ok()?,
            rounds: rounds.strip_prefix("r=")?.parse().ok()?,
            salt: base64_bytes(salt)?,
            hash: base64_bytes(hash)?,
            separator: base64_bytes(separator.strip_prefix("s=")?)?,
            signer_key,
        })
    };
    read().ok_or_else(|| node.fault(key, "is no Firebase hash as SuperTokens writes them"))
}

fn open(options: &WriteOptions) -> Box<dyn RecordWriter> {
    Box::new(
        JsonFile::new("{\"users\":[".into(), "\n]}\n", item, options)
            .remark("SuperTokens: send each file to POST /bulk-import/users of the core, and follow it with GET /bulk-import/users?status=FAILED"),
    )
}

const KNOWN: &[&[&str]] = &[
    &["id", "externalUserId", "email", "email_verified", "user_id", "time_joined", "timeJoined"],
    OWN,
    &["loginMethods", "userMetadata"],
];

/// What is SuperTokens' own, and taken over as it is if it was SuperTokens that said it.
const OWN: &[&str] = &["userRoles", "totpDevices"];

/// The longest that its core takes.
const MAX_ID_CHARS: usize = 128;
const MAX_HASH_CHARS: usize = 256;

fn item(user: &PortableUser, options: &WriteOptions) -> Result<(Value, Carried), RowFault> {
    giving::refuse_disabled(user)?;
    let mut names = giving::Names::of(user);
    let email = names.take(IdentifierKind::Email);
    let email =
        email.ok_or_else(|| RowFault::new("email", "SuperTokens takes no password without an email address"))?;
    let hash = giving::encoded(user, options).and_then(password_fields);
    let hash = hash.ok_or_else(|| {
        RowFault::new("passwordHash", "SuperTokens takes no such user without a bcrypt, Argon2 or Firebase hash")
    })?;
    let person = Person::of(user);
    let mut method = Map::new();
    put(&mut method, "recipeId", Some("emailpassword"));
    put(&mut method, "isPrimary", Some(true));
    put(&mut method, "tenantIds", Some(json!(["public"])));
    put(&mut method, "email", Some(email.value.as_str()));
    put(&mut method, "isVerified", email.verified);
    put(&mut method, "timeJoinedInMSSinceEpoch", user.created_at.map(|UnixSeconds(at)| at.saturating_mul(1_000)));
    method.extend(hash);
    let mut item = Map::new();
    let id = user.legacy_id.as_ref().map(LegacyId::as_key);
    if id.is_some_and(|id| id.chars().count() > MAX_ID_CHARS) {
        return Err(RowFault::new("externalUserId", format!("is longer than {MAX_ID_CHARS} characters")));
    }
    put(&mut item, "externalUserId", id);
    put(&mut item, "loginMethods", Some(json!([method])));
    for key in OWN {
        put(&mut item, key, person.own(key).cloned());
    }
    let mut metadata = person.own_object("userMetadata").unwrap_or_default();
    for (key, spellings) in [("first_name", giving::GIVEN_NAME), ("last_name", giving::FAMILY_NAME)] {
        put(&mut metadata, key, person.text(spellings));
    }
    put(&mut metadata, "other_names", names.rest());
    put(&mut metadata, giving::rest_key(&person), person.rest(KNOWN));
    put(&mut item, "userMetadata", (!metadata.is_empty()).then_some(metadata));
    Ok((Value::Object(item), giving::carried(user, true)))
}

fn password_fields(encoded: &str) -> Option<Map<String, Value>> {
    let stored = Stored::read(encoded);
    let (algorithm, text) = match &stored {
        Stored::Argon2 { version: 19, .. } => ("argon2", stored.encoded().to_string()),
        Stored::Bcrypt { version, .. } if version != "2x" => ("bcrypt", stored.encoded().to_string()),
        Stored::Firescrypt { mem_cost, rounds, salt, hash, separator, .. } => {
            let (hash, salt, separator) = (STANDARD.encode(hash), STANDARD.encode(salt), STANDARD.encode(separator));
            ("firebase_scrypt", format!("$f_scrypt${hash}${salt}$m={mem_cost}$r={rounds}$s={separator}"))
        }
        Stored::Argon2 { .. }
        | Stored::Bcrypt { .. }
        | Stored::Pbkdf2 { .. }
        | Stored::Scrypt { .. }
        | Stored::Plain { .. }
        | Stored::Hmac { .. }
        | Stored::Other => return None,
    };
    let mut fields = Map::new();
    put(&mut fields, "hashingAlgorithm", Some(algorithm));
    put(&mut fields, "passwordHash", Some(text.as_str()));
    (text.chars().count() <= MAX_HASH_CHARS).then_some(fields)
}

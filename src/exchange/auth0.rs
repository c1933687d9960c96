//! Auth0: the file of a bulk user import (a JSON array), the file of a bulk user export (JSON lines, no hashes), and the file of
//! hashes that its support hands out (JSON lines with `_id.$oid` and `passwordHash`).
//!
//! Follows "User Data JSON Schema for Bulk User Imports" in Auth0's documentation. Never called but through [`FORMAT`].

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::fields::{Names, Node, base64_bytes, hex_bytes, object, quoted};
use super::giving::{self, JsonFile, Person, put};
use super::stored_hash::{Digest, PASSWORD_ALONE, PASSWORD_FIRST, SALT_FIRST, Stored, log_of_cost};
use super::taking::{self, Beyond, Found};
use super::{
    Carried, CarriesHashes, Context, FileLimit, Format, Framing, PortableUser, RecordWriter, RowFault, Sample,
    WriteFormat, WriteOptions,
};
use crate::domain::identifier::IdentifierKind;
use crate::domain::user::{LegacyId, Standing};

/// The row for it.
pub(super) const FORMAT: Format = Format {
    name: "auth0",
    title: "Auth0, users import or export",
    framings: &[Framing::JsonItems { path: "" }, Framing::Lines],
    detect,
    parse,
    write: Some(WriteFormat { open, limit: Some(LIMIT), hashes: CarriesHashes::Yes }),
    settings: &[taking::UNUSABLE_HASH, taking::SECOND_FACTOR],
};

/// Auth0 takes files of up to 500 KB; whichever kilobyte it means, this is less.
const LIMIT: FileLimit = FileLimit { bytes: 500_000, users: u64::MAX };

/// The connection whose users have passwords; it begins their ids.
const DATABASE_PREFIX: &str = "auth0|";

fn detect(sample: &Sample<'_>) -> bool {
    let is_id = |item: &Value| item.get("user_id").and_then(Value::as_str).is_some_and(|id| id.contains('|'));
    let has_hash_of_support = sample.any_has("passwordHash") && sample.any_has("_id");
    sample.items.iter().any(is_id)
        || ["custom_password_hash", "app_metadata", "user_metadata"].iter().any(|key| sample.any_has(key))
        || (sample.any_has("email_verified") && (sample.any_has("user_id") || sample.any_has("password_hash")))
        || has_hash_of_support
}

fn parse(raw: &[u8], context: &Context) -> Result<PortableUser, RowFault> {
    let mut record = object(raw)?;
    let mut user = read(&Node::root(&record), context)?;
    // Beside the hash its rows say nothing that a profile would have: who is known keeps the one that the export made.
    if record.contains_key("_id") && !record.contains_key("user_id") {
        return Ok(user);
    }
    for secret in ["password_hash", "custom_password_hash", "passwordHash", "password_history"] {
        record.shift_remove(secret);
    }
    user.profile = Value::Object(record);
    Ok(user)
}

fn read(record: &Node<'_>, context: &Context) -> Result<PortableUser, RowFault> {
    let mut names = Names::default();
    names.add(IdentifierKind::Email, record.text("email")?, record.flag("email_verified")?);
    names.add(IdentifierKind::Username, record.text("username")?, None);
    names.add(IdentifierKind::Phone, record.text("phone_number")?, record.flag("phone_verified")?);
    let factors = !record.list("mfa_factors")?.is_empty() || !record.list("multifactor")?.is_empty();
    let beyond = Beyond { second_factor: factors, ..Beyond::NOTHING };
    Ok(PortableUser {
        legacy_id: legacy_id(record)?,
        names: names.or_fault("email", "is missing, and so are `username` and `phone_number`")?,
        standing: if record.flag("blocked")? == Some(true) { Standing::Disabled } else { Standing::Active },
        created_at: record.moment("created_at")?,
        last_login_at: record.moment("last_login")?,
        ..taking::with_password(context, hash(record), beyond)?
    })
}

/// `user_id`; in the file of hashes the part of it after the connection.
fn legacy_id(record: &Node<'_>) -> Result<Option<LegacyId>, RowFault> {
    if let Some(id) = record.id("user_id")? {
        return Ok(Some(id));
    }
    let Some(oid) = record.object("_id")?.map(|id| id.needed_text("$oid")).transpose()? else { return Ok(None) };
    Ok(LegacyId::from_json(&Value::String(format!("{DATABASE_PREFIX}{oid}"))))
}

fn hash(record: &Node<'_>) -> Found {
    let bcrypt = match (record.text("password_hash")?, record.text("passwordHash")?) {
        (Some(hash), None) => Some(("password_hash", hash)),
        (None, Some(hash)) => Some(("passwordHash", hash)),
        (None, None) => None,
        (Some(_), Some(_)) => return Err(record.fault("passwordHash", "is there beside `password_hash`")),
    };
    let custom = record.object("custom_password_hash")?;
    match (bcrypt, custom) {
        (None, None) => Ok(None),
        (Some((field, hash)), None) => bcrypt_text(record, field, hash).map(Some),
        (None, Some(custom)) => custom_hash(&custom).map(Some),
        (Some(_), Some(_)) => Err(record.fault("custom_password_hash", "is there beside `password_hash`")),
    }
}

fn bcrypt_text(node: &Node<'_>, field: &str, hash: &str) -> Result<Zeroizing<String>, RowFault> {
    match Stored::read(hash) {
        stored @ Stored::Bcrypt { .. } => Ok(stored.encoded()),
        _another_kind => Err(node.fault(field, "is no bcrypt hash")),
    }
}

fn custom_hash(custom: &Node<'_>) -> Result<Zeroizing<String>, RowFault> {
    let hash = custom.object("hash")?.ok_or_else(|| custom.fault("hash", "is missing"))?;
    let salt = custom.object("salt")?;
    if let Some(coding) = custom.object("password")?.map(|password| password.text("encoding")).transpose()?.flatten()
        && !matches!(coding, "utf8" | "ascii")
    {
        return Err(custom.fault("password.encoding", format!("{} is not supported", quoted(coding))));
    }
    let algorithm = custom.needed_text("algorithm")?;
    let salted_elsewhere = |found: Result<Zeroizing<String>, RowFault>| match &salt {
        None => found,
        Some(_) => Err(custom.fault("salt", format!("is not supported with {algorithm}"))),
    };
    match algorithm {
        "argon2" => salted_elsewhere(text_of_kind(&hash, "is no Argon2 hash in PHC form", |stored| {
            matches!(stored, Stored::Argon2 { .. })
        })),
        "bcrypt" => salted_elsewhere(bcrypt_text(&hash, "value", hash.needed_text("value")?)),
        "pbkdf2" => salted_elsewhere(pbkdf2(&hash)),
        "ldap" => salted_elsewhere(ldap(&hash)),
        "hmac" => salted_elsewhere(hmac(&hash)),
        "scrypt" => scrypt(custom, &hash, salt.as_ref()),
        "md5" | "sha1" | "sha256" | "sha512" => plain(algorithm, &hash, salt.as_ref()),
        other => Err(custom.fault("algorithm", format!("{} is not supported", quoted(other)))),
    }
}

fn text_of_kind(
    hash: &Node<'_>,
    problem: &'static str,
    is_kind: impl Fn(&Stored) -> bool,
) -> Result<Zeroizing<String>, RowFault> {
    let stored = Stored::read(hash.needed_text("value")?);
    if is_kind(&stored) { Ok(stored.encoded()) } else { Err(hash.fault("value", problem)) }
}

/// `i` and `l` may be left out, and digests have OpenSSL's many names.
fn pbkdf2(hash: &Node<'_>) -> Result<Zeroizing<String>, RowFault> {
    let text = hash.needed_text("value")?;
    let bad = || hash.fault("value", "is no PBKDF2 hash in PHC form");
    let (name, rest) = text.strip_prefix("$pbkdf2-").and_then(|rest| rest.split_once('$')).ok_or_else(bad)?;
    let short = name.strip_prefix("RSA-").unwrap_or(name).to_ascii_lowercase();
    let short = short.strip_suffix("withrsaencryption").or(short.strip_suffix("withrsa")).unwrap_or(&short);
    let digest = Digest::named(short)
        .ok_or_else(|| hash.fault("value", format!("PBKDF2 with {} is not supported", quoted(name))))?;
    let with_defaults = match rest.split('$').collect::<Vec<_>>().as_slice() {
        [salt, hash] => format!("i=100000,l=64${salt}${hash}"),
        _with_parameters => rest.to_owned(),
    };
    match Stored::read(&format!("$pbkdf2-{}${with_defaults}", digest.name())) {
        stored @ Stored::Pbkdf2 { .. } => Ok(stored.encoded()),
        _another_kind => Err(bad()),
    }
}

/// RFC 2307, section 5.3. `{CRYPT}` is not among what Auth0 takes.
fn ldap(hash: &Node<'_>) -> Result<Zeroizing<String>, RowFault> {
    let text = hash.needed_text("value")?;
    let scheme = text.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(scheme, _)| scheme);
    match scheme.map(str::to_ascii_lowercase) {
        Some(scheme) if scheme != "crypt" => Ok(Zeroizing::new(text.to_owned())),
        Some(_) | None => Err(hash.fault("value", "is no `{SCHEME}` hash of those that Auth0 documents")),
    }
}

fn hmac(hash: &Node<'_>) -> Result<Zeroizing<String>, RowFault> {
    let name = hash.needed_text("digest")?;
    let digest =
        Digest::named(name).ok_or_else(|| hash.fault("digest", format!("{} is not supported", quoted(name))))?;
    let key = hash.object("key")?.ok_or_else(|| hash.fault("key", "is missing"))?;
    let (bytes, key) = (bytes_of(hash, None)?, bytes_of(&key, Some("utf8"))?);
    check_length(hash, &bytes, digest)?;
    Ok(Stored::Hmac { digest, hash: bytes, key }.encoded())
}

fn plain(name: &str, hash: &Node<'_>, salt: Option<&Node<'_>>) -> Result<Zeroizing<String>, RowFault> {
    let digest = Digest::named(name).ok_or_else(|| hash.fault("value", "is of an unknown algorithm"))?;
    let bytes = bytes_of(hash, None)?;
    check_length(hash, &bytes, digest)?;
    let (template, salt) = match salt {
        None => (PASSWORD_ALONE, Vec::new()),
        Some(salt) => match salt.text("position")?.unwrap_or("prefix") {
            "prefix" => (SALT_FIRST, bytes_of(salt, Some("utf8"))?),
            "suffix" => (PASSWORD_FIRST, bytes_of(salt, Some("utf8"))?),
            _neither => return Err(salt.fault("position", "must be `prefix` or `suffix`")),
        },
    };
    Ok(Stored::Plain { digest, template: template.to_owned(), iterations: 1, salt, hash: bytes }.encoded())
}

fn scrypt(custom: &Node<'_>, hash: &Node<'_>, salt: Option<&Node<'_>>) -> Result<Zeroizing<String>, RowFault> {
    let salt = salt.ok_or_else(|| custom.fault("salt", "is missing"))?;
    let keylen = custom.number("keylen")?.ok_or_else(|| custom.fault("keylen", "is missing"))?;
    let cost = custom.small_number("cost")?.unwrap_or(16_384);
    let log_cost = log_of_cost(cost).ok_or_else(|| custom.fault("cost", "must be a power of two"))?;
    let bytes = bytes_of(hash, None)?;
    if u64::try_from(bytes.len()).ok() != Some(keylen) {
        return Err(hash.fault("value", "is not as long as `keylen` says"));
    }
    let block_size = custom.small_number("blockSize")?.unwrap_or(8);
    let lanes = custom.small_number("parallelization")?.unwrap_or(1);
    Ok(Stored::Scrypt { log_cost, block_size, lanes, salt: bytes_of(salt, Some("utf8"))?, hash: bytes }.encoded())
}

/// `value` in its `encoding`.
fn bytes_of(node: &Node<'_>, default: Option<&str>) -> Result<Vec<u8>, RowFault> {
    let value = node.needed_text("value")?;
    let coding = node.text("encoding")?.or(default);
    match coding.ok_or_else(|| node.fault("encoding", "is missing"))? {
        "hex" => hex_bytes(value).ok_or_else(|| node.fault("value", "is not hexadecimal")),
        "base64" => base64_bytes(value).ok_or_else(|| node.fault("value", "is not base64")),
        "utf8" if default.is_some() => Ok(value.as_bytes().to_vec()),
        _another => Err(node.fault("encoding", "must be `hex` or `base64`")),
    }
}

fn check_length(hash: &Node<'_>, bytes: &[u8], digest: Digest) -> Result<(), RowFault> {
    if bytes.len() == digest.bytes() {
        return Ok(());
    }
    Err(hash.fault("value", format!("is {} bytes long, and {} makes {}", bytes.len(), digest.name(), digest.bytes())))
}

fn open(options: &WriteOptions) -> Box<dyn RecordWriter> {
    Box::new(
        JsonFile::new("[".into(), "\n]\n", item, options)
            .remark("Auth0: start a users-imports job for each file, one after the other, with upsert=false"),
    )
}

/// What an Auth0 user may not have in `app_metadata`.
const RESERVED: [&str; 18] = [
    "__tenant",
    "_id",
    "blocked",
    "clientID",
    "created_at",
    "email_verified",
    "email",
    "globalClientID",
    "global_client_id",
    "identities",
    "lastIP",
    "lastLogin",
    "loginsCount",
    "metadata",
    "multifactor_last_modified",
    "multifactor",
    "updated_at",
    "user_id",
];

/// The keys of a profile that have a place of their own in the file, or are said by another field of the user.
const KNOWN: &[&[&str]] = &[
    giving::GIVEN_NAME,
    giving::FAMILY_NAME,
    giving::FULL_NAME,
    giving::NICKNAME,
    giving::PICTURE,
    &["email", "email_verified", "username", "phone_number", "phone_verified", "user_id", "blocked"],
    &["created_at", "last_login", "mfa_factors", "app_metadata", "user_metadata"],
];

fn item(user: &PortableUser, options: &WriteOptions) -> Result<(Value, Carried), RowFault> {
    giving::refuse_deleted(user)?;
    let mut names = giving::Names::of(user);
    let email = names.take(IdentifierKind::Email);
    let email = email.ok_or_else(|| RowFault::new("email", "Auth0 takes no user without an email address"))?;
    let mut item = Map::new();
    put(&mut item, "email", Some(email.value.as_str()));
    put(&mut item, "email_verified", email.verified);
    put(&mut item, "user_id", user.legacy_id.as_ref().map(|id| own_part(id.as_key()).to_owned()));
    put(&mut item, "username", names.take(IdentifierKind::Username).map(|name| name.value.as_str()));
    if let Some(phone) = names.take_e164() {
        put(&mut item, "phone_number", Some(phone.value.as_str()));
        put(&mut item, "phone_verified", phone.verified);
    }
    let person = Person::of(user);
    for (key, spellings) in [
        ("given_name", giving::GIVEN_NAME),
        ("family_name", giving::FAMILY_NAME),
        ("name", giving::FULL_NAME),
        ("nickname", giving::NICKNAME),
        ("picture", giving::PICTURE),
    ] {
        put(&mut item, key, person.text(spellings));
    }
    put(&mut item, "blocked", (user.standing == Standing::Disabled).then_some(true));
    put_metadata(&mut item, &person, &names);
    put(&mut item, "mfa_factors", person.own("mfa_factors").cloned());
    let hash = giving::encoded(user, options).and_then(custom_password_hash);
    let carried = giving::carried(user, hash.is_some());
    put(&mut item, "custom_password_hash", hash);
    Ok((Value::Object(item), carried))
}

/// Auth0 puts the connection before the id itself.
fn own_part(id: &str) -> &str {
    id.strip_prefix(DATABASE_PREFIX).unwrap_or(id)
}

/// `app_metadata` is the application's, `user_metadata` the user's own: what he said of himself goes there.
fn put_metadata(item: &mut Map<String, Value>, person: &Person<'_>, names: &giving::Names<'_>) {
    let mut app = person.own_object("app_metadata").unwrap_or_default();
    app.retain(|key, _| !RESERVED.contains(&key.as_str()));
    let mut own = person.own_object("user_metadata").unwrap_or_default();
    let rest = person.rest(KNOWN);
    put(if person.vouched { &mut app } else { &mut own }, giving::rest_key(person), rest);
    put(&mut app, "other_names", names.rest());
    put(item, "app_metadata", (!app.is_empty()).then_some(app));
    put(item, "user_metadata", (!own.is_empty()).then_some(own));
}

fn custom_password_hash(encoded: &str) -> Option<Value> {
    let text = |algorithm: &str, value: &str| {
        Some(json!({"algorithm": algorithm, "hash": {"value": value, "encoding": "utf8"}}))
    };
    let base64 = |bytes: &[u8]| {
        use base64::Engine as _;
        json!({"value": base64::engine::general_purpose::STANDARD.encode(bytes), "encoding": "base64"})
    };
    let stored = Stored::read(encoded);
    match &stored {
        Stored::Argon2 { version: 19, .. } => text("argon2", &stored.encoded()),
        Stored::Bcrypt { version, .. } if version != "2x" => text("bcrypt", &stored.encoded()),
        Stored::Pbkdf2 { .. } => text("pbkdf2", &stored.encoded()),
        Stored::Scrypt { log_cost, block_size, lanes, salt, hash } => Some(json!({
            "algorithm": "scrypt", "hash": base64(hash), "salt": base64(salt), "keylen": hash.len(),
            "cost": 1_u64.checked_shl(*log_cost)?, "blockSize": block_size, "parallelization": lanes,
        })),
        Stored::Plain { digest, template, iterations: 1, salt, hash } => {
            let algorithm = match digest {
                Digest::Md5 | Digest::Sha1 | Digest::Sha256 | Digest::Sha512 => digest.name(),
                Digest::Sha224 | Digest::Sha384 => return None,
            };
            let mut custom = json!({"algorithm": algorithm, "hash": base64(hash)});
            let position = match template.as_str() {
                PASSWORD_ALONE => return Some(custom),
                SALT_FIRST => "prefix",
                PASSWORD_FIRST => "suffix",
                _another => return None,
            };
            let mut salt = base64(salt);
            salt.as_object_mut()?.insert("position".into(), position.into());
            custom.as_object_mut()?.insert("salt".into(), salt);
            Some(custom)
        }
        Stored::Hmac { digest, hash, key } => {
            let mut hash = base64(hash);
            let fields = hash.as_object_mut()?;
            fields.insert("digest".into(), digest.name().into());
            fields.insert("key".into(), base64(key));
            Some(json!({"algorithm": "hmac", "hash": hash}))
        }
        Stored::Other if is_ldap(encoded) => text("ldap", encoded),
        Stored::Argon2 { .. }
        | Stored::Bcrypt { .. }
        | Stored::Plain { .. }
        | Stored::Firescrypt { .. }
        | Stored::Other => None,
    }
}

fn is_ldap(encoded: &str) -> bool {
    let scheme = encoded.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        let scheme = scheme.to_ascii_lowercase();
        ["md5", "smd5", "sha", "ssha"].iter().any(|kind| scheme.starts_with(kind))
    })
}

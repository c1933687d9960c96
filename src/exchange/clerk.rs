//! Clerk: the CSV that its dashboard exports, the same as JSON with hashes from its support, and the users of its backend API. It is
//! written in the shape of that export, which Clerk's own migration tool reads.
//!
//! Follows "Export your users" and the `password_hasher` list of `POST /v1/users`. That endpoint marks every address as verified, so that only
//! the export's shape can carry one that is not. Never called but through [`FORMAT`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::fields::{Names, Node, base64_bytes, hex_bytes, hex_text, object, quoted, rfc3339};
use super::giving::{self, JsonFile, Person, put};
use super::stored_hash::{Digest, PASSWORD_ALONE, Stored};
use super::taking::{self, Beyond, Found};
use super::{
    Carried, CarriesHashes, Context, Format, Framing, PortableName, PortableUser, RecordWriter, RowFault, Sample,
    WriteFormat, WriteOptions,
};
use crate::domain::identifier::IdentifierKind;
use crate::domain::user::{LegacyId, Standing};

/// The row for it.
pub(super) const FORMAT: Format = Format {
    name: "clerk",
    title: "Clerk, users export or backend API",
    framings: &[Framing::JsonItems { path: "" }, Framing::JsonItems { path: "data" }, Framing::Csv, Framing::Lines],
    detect,
    parse,
    write: Some(WriteFormat { open, limit: None, hashes: CarriesHashes::Yes }),
    settings: &[taking::UNUSABLE_HASH, taking::SECOND_FACTOR],
};

fn detect(sample: &Sample<'_>) -> bool {
    if sample.framing.is_csv() {
        return sample.has_column("primary_email_address") || sample.has_column("password_hasher");
    }
    ["primary_email_address", "primary_email_address_id", "password_hasher", "public_metadata"]
        .iter()
        .any(|key| sample.any_has(key))
}

fn parse(raw: &[u8], context: &Context) -> Result<PortableUser, RowFault> {
    let mut record = if context.framing.is_csv() { columns(raw, context)? } else { object(raw)? };
    let mut user = read(&Node::root(&record), context)?;
    for secret in ["password_digest", "password_hasher", "password"] {
        record.shift_remove(secret);
    }
    user.profile = Value::Object(record);
    Ok(user)
}

fn columns(raw: &[u8], context: &Context) -> Result<Map<String, Value>, RowFault> {
    let fields = context.fields(raw)?;
    let filled = context.header.iter().zip(fields).filter(|(_, field)| !field.is_empty());
    Ok(filled.map(|(name, field)| (name.trim().to_owned(), Value::String(field))).collect())
}

fn read(record: &Node<'_>, context: &Context) -> Result<PortableUser, RowFault> {
    let mut names = Names::default();
    addresses(record, &mut names, &EMAILS)?;
    names.add(IdentifierKind::Username, record.text("username")?, None);
    addresses(record, &mut names, &PHONES)?;
    let second_factor = record.flag("two_factor_enabled")? == Some(true)
        || record.flag("totp_enabled")? == Some(true)
        || record.text("totp_secret")?.is_some();
    let beyond = Beyond { second_factor, ..Beyond::NOTHING };
    let is_shut_out = record.flag("banned")? == Some(true) || record.flag("locked")? == Some(true);
    Ok(PortableUser {
        legacy_id: match record.id("id")? {
            Some(id) => Some(id),
            None => record.id("external_id")?,
        },
        names: names.or_fault("primary_email_address", "is missing, and so are all other addresses and names")?,
        standing: if is_shut_out { Standing::Disabled } else { Standing::Active },
        created_at: match record.millis_or_moment("created_at")? {
            Some(at) => Some(at),
            None => record.millis_or_moment("createdAt")?,
        },
        last_login_at: record.millis_or_moment("last_sign_in_at")?,
        ..taking::with_password(context, hash(record), beyond)?
    })
}

/// The keys under which addresses of one kind are.
struct Keys {
    kind: IdentifierKind,
    primary: &'static str,
    primary_id: &'static str,
    verified: &'static str,
    unverified: &'static str,
    all: &'static str,
    address: &'static str,
}

const EMAILS: Keys = Keys {
    kind: IdentifierKind::Email,
    primary: "primary_email_address",
    primary_id: "primary_email_address_id",
    verified: "verified_email_addresses",
    unverified: "unverified_email_addresses",
    all: "email_addresses",
    address: "email_address",
};

const PHONES: Keys = Keys {
    kind: IdentifierKind::Phone,
    primary: "primary_phone_number",
    primary_id: "primary_phone_number_id",
    verified: "verified_phone_numbers",
    unverified: "unverified_phone_numbers",
    all: "phone_numbers",
    address: "phone_number",
};

/// The primary one first, then the others in their order.
fn addresses(record: &Node<'_>, names: &mut Names, keys: &Keys) -> Result<(), RowFault> {
    names.add(keys.kind, record.text(keys.primary)?, None);
    for (key, verified) in [(keys.verified, Some(true)), (keys.unverified, Some(false)), (keys.address, None)] {
        for address in several(record, key)? {
            names.add(keys.kind, Some(&address), verified);
        }
    }
    let all = record.list(keys.all)?;
    if all.iter().any(Value::is_string) {
        for address in several(record, keys.all)? {
            names.add(keys.kind, Some(&address), None);
        }
        return Ok(());
    }
    let primary = record.text(keys.primary_id)?;
    let mut objects = record.objects(keys.all)?;
    objects.sort_by_key(|node| node.value("id").and_then(Value::as_str) != primary);
    for node in objects {
        let status = node.object("verification")?.map(|node| node.text("status")).transpose()?.flatten();
        names.add(keys.kind, Some(node.needed_text(keys.address)?), status.map(|status| status == "verified"));
    }
    Ok(())
}

/// A list of texts, or one text with separators between, as in the CSV: no address has any of them in it.
fn several(record: &Node<'_>, key: &str) -> Result<Vec<String>, RowFault> {
    match record.value(key) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => {
            let parts = text.split(['|', ',', ';', ' ']).filter(|part| !part.is_empty());
            Ok(parts.map(str::to_owned).collect())
        }
        Some(Value::Array(items)) => {
            let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            texts.ok_or_else(|| record.fault(key, "must be a list of texts"))
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            Err(record.fault(key, "must be a list of texts"))
        }
    }
}

fn hash(record: &Node<'_>) -> Found {
    let Some(digest) = record.text("password_digest")? else {
        return match record.text("password")? {
            Some(_) => Err(record.fault("password", "is in plain text; only hashes are taken")),
            None => Ok(None),
        };
    };
    let hasher = record.text("password_hasher")?.ok_or_else(|| record.fault("password_hasher", "is missing"))?;
    let bad = || record.fault("password_digest", format!("is no digest as {} has them", quoted(hasher)));
    let encoded = match hasher {
        "bcrypt" => known(digest, |stored| matches!(stored, Stored::Bcrypt { .. })),
        "argon2i" | "argon2id" => known(digest, |stored| matches!(stored, Stored::Argon2 { .. })),
        "md5" => unsalted(Digest::Md5, digest),
        "sha256" => unsalted(Digest::Sha256, digest),
        "pbkdf2_sha1" => pbkdf2(Digest::Sha1, digest),
        "pbkdf2_sha256" => pbkdf2(Digest::Sha256, digest),
        "pbkdf2_sha512" => pbkdf2(Digest::Sha512, digest),
        "scrypt_firebase" => firebase(digest),
        "pbkdf2_sha256_django" => as_it_is(digest, digest.starts_with("pbkdf2_sha256$")),
        "bcrypt_sha256_django" => as_it_is(digest, digest.starts_with("bcrypt_sha256$")),
        "phpass" | "md5_phpass" => as_it_is(digest, digest.starts_with("$P$") || digest.starts_with("$H$")),
        "ldap_ssha" => as_it_is(digest, digest.starts_with("{SSHA}")),
        "scrypt_werkzeug" => {
            let text = digest.strip_prefix('$').unwrap_or(digest);
            as_it_is(text, text.starts_with("scrypt:"))
        }
        other => return Err(record.fault("password_hasher", format!("{} is not supported", quoted(other)))),
    };
    encoded.map(Some).ok_or_else(bad)
}

fn as_it_is(digest: &str, is_right: bool) -> Option<Zeroizing<String>> {
    is_right.then(|| Zeroizing::new(digest.to_owned()))
}

fn known(digest: &str, is_right: impl Fn(&Stored) -> bool) -> Option<Zeroizing<String>> {
    let stored = Stored::read(digest);
    is_right(&stored).then(|| stored.encoded())
}

fn unsalted(digest: Digest, text: &str) -> Option<Zeroizing<String>> {
    let hash = hex_bytes(text).filter(|hash| hash.len() == digest.bytes())?;
    let template = PASSWORD_ALONE.to_owned();
    Some(Stored::Plain { digest, template, iterations: 1, salt: Vec::new(), hash }.encoded())
}

/// `pbkdf2_sha256$iterations$salt$hash`, both in base64; with SHA-1 in hexadecimal, a salt that is none being its own bytes.
fn pbkdf2(digest: Digest, text: &str) -> Option<Zeroizing<String>> {
    let parts: Vec<&str> = text.split('$').collect();
    let (iterations, salt, hash) = match parts.as_slice() {
        [name, iterations, salt, hash] | [name, iterations, salt, hash, _] if name.starts_with("pbkdf2_") => {
            (iterations.parse().ok()?, *salt, *hash)
        }
        _another_form => return None,
    };
    let (salt, hash) = match digest {
        Digest::Sha1 => (hex_bytes(salt).unwrap_or_else(|| salt.as_bytes().to_vec()), hex_bytes(hash)?),
        Digest::Md5 | Digest::Sha224 | Digest::Sha256 | Digest::Sha384 | Digest::Sha512 => {
            (base64_bytes(salt)?, base64_bytes(hash)?)
        }
    };
    Some(Stored::Pbkdf2 { digest, iterations, salt, hash }.encoded())
}

/// `hash$salt$signer key$salt separator$rounds$memory cost`.
fn firebase(text: &str) -> Option<Zeroizing<String>> {
    let parts: Vec<&str> = text.split('$').collect();
    let [hash, salt, key, separator, rounds, mem_cost] = parts.as_slice() else { return None };
    let stored = Stored::Firescrypt {
        mem_cost: mem_cost.parse().ok()?,
        rounds: rounds.parse().ok()?,
        salt: base64_bytes(salt)?,
        hash: base64_bytes(hash)?,
        separator: base64_bytes(separator)?,
        signer_key: base64_bytes(key)?,
    };
    Some(stored.encoded())
}

fn open(options: &WriteOptions) -> Box<dyn RecordWriter> {
    Box::new(JsonFile::new("[".into(), "\n]\n", item, options).remark(
        "Clerk: run its migration tool (github.com/clerk/migration-tool) on the file with the transformer `clerk`",
    ))
}

const KNOWN: &[&[&str]] = &[
    giving::GIVEN_NAME,
    giving::FAMILY_NAME,
    &[
        "id",
        "external_id",
        "username",
        "email",
        "email_verified",
        "created_at",
        "createdAt",
        "last_sign_in_at",
        "banned",
        "locked",
    ],
    &["primary_email_address", "primary_email_address_id", "verified_email_addresses", "unverified_email_addresses"],
    &["email_addresses", "email_address", "primary_phone_number", "primary_phone_number_id", "verified_phone_numbers"],
    &["unverified_phone_numbers", "phone_numbers", "phone_number"],
    OWN,
];

/// What is Clerk's own, and taken over as it is if it was Clerk that said it.
const OWN: &[&str] =
    &["public_metadata", "private_metadata", "unsafe_metadata", "totp_secret", "backup_codes", "backup_codes_enabled"];

fn item(user: &PortableUser, options: &WriteOptions) -> Result<(Value, Carried), RowFault> {
    giving::refuse_deleted(user)?;
    let mut names = giving::Names::of(user);
    let (emails, phones) = (names.take_all(IdentifierKind::Email), names.take_all(IdentifierKind::Phone));
    let is_verified = |name: &&&PortableName| name.verified == Some(true);
    if emails.iter().find(is_verified).or(phones.iter().find(is_verified)).is_none() {
        let problem = "Clerk's migration tool takes no user without a verified email or phone number";
        return Err(RowFault::new("verified_email_addresses", problem));
    }
    let person = Person::of(user);
    let mut item = Map::new();
    let id = user.legacy_id.as_ref().map(|id| id.as_key().to_owned()).or(user.id.map(|id| id.to_string()));
    put(
        &mut item,
        "id",
        Some(id.ok_or_else(|| RowFault::new("id", "Clerk's migration tool takes no user without one"))?),
    );
    put(&mut item, "username", names.take(IdentifierKind::Username).map(|name| name.value.as_str()));
    put(&mut item, "first_name", person.text(giving::GIVEN_NAME));
    put(&mut item, "last_name", person.text(giving::FAMILY_NAME));
    put_addresses(&mut item, &emails, &EMAILS);
    put_addresses(&mut item, &phones, &PHONES);
    put(&mut item, "createdAt", user.created_at.map(rfc3339));
    put(&mut item, "banned", (user.standing == Standing::Disabled).then_some(true));
    for key in OWN {
        put(&mut item, key, person.own(key).cloned());
    }
    let mut private = person.own_object("private_metadata").unwrap_or_default();
    put(&mut private, "legacy_id", user.legacy_id.as_ref().map(LegacyId::to_json));
    put(&mut private, "other_names", names.rest());
    put(&mut private, giving::rest_key(&person), person.rest(KNOWN));
    put(&mut item, "private_metadata", (!private.is_empty()).then_some(private));
    let hash = giving::encoded(user, options).and_then(digest_and_hasher);
    let carried = giving::carried(user, hash.is_some());
    if let Some((digest, hasher)) = hash {
        put(&mut item, "password_digest", Some(digest));
        put(&mut item, "password_hasher", Some(hasher));
    }
    Ok((Value::Object(item), carried))
}

/// Only what is known to be verified is among the verified: the tool believes it.
fn put_addresses(item: &mut Map<String, Value>, names: &[&PortableName], keys: &Keys) {
    let of = |verified: bool| -> Vec<Value> {
        let chosen = names.iter().filter(|name| (name.verified == Some(true)) == verified);
        chosen.map(|name| Value::String(name.value.clone())).collect()
    };
    let (verified, unverified) = (of(true), of(false));
    put(item, keys.primary, verified.first().cloned());
    put(item, keys.verified, (!verified.is_empty()).then_some(verified));
    put(item, keys.unverified, (!unverified.is_empty()).then_some(unverified));
}

fn digest_and_hasher(encoded: &str) -> Option<(String, &'static str)> {
    for (prefix, hasher) in [
        ("pbkdf2_sha256$", "pbkdf2_sha256_django"),
        ("bcrypt_sha256$", "bcrypt_sha256_django"),
        ("$P$", "phpass"),
        ("scrypt:", "scrypt_werkzeug"),
    ] {
        if encoded.starts_with(prefix) {
            return Some((encoded.to_owned(), hasher));
        }
    }
    let base64 = |bytes: &[u8]| STANDARD.encode(bytes);
    let stored = Stored::read(encoded);
    match &stored {
        Stored::Argon2 { variant: "id", version: 19, .. } => Some((stored.encoded().to_string(), "argon2id")),
        Stored::Argon2 { variant: "i", version: 19, .. } => Some((stored.encoded().to_string(), "argon2i")),
        Stored::Bcrypt { version, .. } if version != "2x" => Some((stored.encoded().to_string(), "bcrypt")),
        Stored::Pbkdf2 { digest, iterations, salt, hash } => match digest {
            Digest::Sha1 => {
                let (salt, length, hash) = (hex_text(salt), hash.len(), hex_text(hash));
                Some((format!("pbkdf2_sha1${iterations}${salt}${hash}${length}"), "pbkdf2_sha1"))
            }
            Digest::Sha256 => {
                Some((format!("pbkdf2_sha256${iterations}${}${}", base64(salt), base64(hash)), "pbkdf2_sha256"))
            }
            Digest::Sha512 => {
                Some((format!("pbkdf2_sha512${iterations}${}${}", base64(salt), base64(hash)), "pbkdf2_sha512"))
            }
            Digest::Md5 | Digest::Sha224 | Digest::Sha384 => None,
        },
        Stored::Plain { digest, template, iterations: 1, hash, .. } if template == PASSWORD_ALONE => match digest {
            Digest::Md5 => Some((hex_text(hash), "md5")),
            Digest::Sha256 => Some((hex_text(hash), "sha256")),
            Digest::Sha1 | Digest::Sha224 | Digest::Sha384 | Digest::Sha512 => None,
        },
        Stored::Firescrypt { mem_cost, rounds, salt, hash, separator, signer_key } => {
            let (hash, salt, key) = (base64(hash), base64(salt), base64(signer_key));
            Some((format!("{hash}${salt}${key}${}${rounds}${mem_cost}", base64(separator)), "scrypt_firebase"))
        }
        Stored::Argon2 { .. }
        | Stored::Bcrypt { .. }
        | Stored::Scrypt { .. }
        | Stored::Plain { .. }
        | Stored::Hmac { .. }
        | Stored::Other => None,
    }
}

//! FusionAuth: the request of its user import (`POST /api/user/import`) and the users that its search answers with, which have no
//! hashes.
//!
//! Follows "Import Users" and "Password-Hashing Algorithms" in its documentation. There is no scheme for Argon2 without a plugin. Never called
//! but through [`FORMAT`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::fields::{Names, Node, base64_bytes, hex_bytes, object, quoted};
use super::giving::{self, JsonFile, Person, put};
use super::stored_hash::{Digest, PASSWORD_FIRST, Stored, log_of_cost};
use super::taking::{self, Beyond, Found};
use super::{
    Carried, CarriesHashes, Context, FileLimit, Format, Framing, PortableUser, RecordWriter, RowFault, Sample,
    WriteFormat, WriteOptions,
};
use crate::domain::clock::UnixSeconds;
use crate::domain::identifier::IdentifierKind;
use crate::domain::user::{LegacyId, Standing};

/// The row for it.
pub(super) const FORMAT: Format = Format {
    name: "fusionauth",
    title: "FusionAuth, users import or search",
    framings: &[Framing::JsonItems { path: "users" }, Framing::JsonItems { path: "" }, Framing::Lines],
    detect,
    parse,
    write: Some(WriteFormat { open, limit: Some(LIMIT), hashes: CarriesHashes::Yes }),
    settings: &[taking::UNUSABLE_HASH, taking::SECOND_FACTOR, taking::PENDING_ACTION],
};

/// The batch that its documentation calls reasonable.
const LIMIT: FileLimit = FileLimit { bytes: u64::MAX, users: 100_000 };

fn detect(sample: &Sample<'_>) -> bool {
    ["encryptionScheme", "insertInstant", "passwordLastUpdateInstant", "passwordChangeRequired", "usernameStatus"]
        .iter()
        .any(|key| sample.any_has(key))
        || (sample.any_has("active") && (sample.any_has("registrations") || sample.any_has("twoFactor")))
}

fn parse(raw: &[u8], context: &Context) -> Result<PortableUser, RowFault> {
    let mut record = object(raw)?;
    let mut user = read(&Node::root(&record), context)?;
    for secret in ["password", "salt", "factor", "encryptionScheme"] {
        record.shift_remove(secret);
    }
    user.profile = Value::Object(record);
    Ok(user)
}

fn read(record: &Node<'_>, context: &Context) -> Result<PortableUser, RowFault> {
    // One flag for the email address and the phone number together.
    let verified = record.flag("verified")?;
    let mut names = Names::default();
    names.add(IdentifierKind::Email, record.text("email")?, verified);
    names.add(IdentifierKind::Username, record.text("username")?, None);
    names.add(IdentifierKind::Phone, record.text("phoneNumber")?, verified);
    for identity in record.objects("identities")? {
        let kind = match identity.text("type")? {
            Some("email") => IdentifierKind::Email,
            Some("phoneNumber") => IdentifierKind::Phone,
            Some("username") => IdentifierKind::Username,
            Some(_) | None => return Err(identity.fault("type", "must be `email`, `phoneNumber` or `username`")),
        };
        names.add(kind, identity.text("value")?, identity.flag("verified")?);
    }
    let methods = record.object("twoFactor")?.map(|factor| factor.list("methods")).transpose()?.unwrap_or_default();
    let beyond = Beyond {
        second_factor: !methods.is_empty() || record.flag("twoFactorEnabled")? == Some(true),
        // Whether an account has expired is a question of the day, which an import cannot answer for every day to come.
        pending_action: record.flag("passwordChangeRequired")? == Some(true) || record.number("expiry")?.is_some(),
    };
    Ok(PortableUser {
        legacy_id: record.id("id")?,
        names: names.or_fault("email", "is missing, and so are `username` and `phoneNumber`")?,
        // Documented as false where it is left out.
        standing: if record.flag("active")? == Some(true) { Standing::Active } else { Standing::Disabled },
        created_at: record.millis("insertInstant")?,
        last_login_at: record.millis("lastLoginInstant")?,
        ..taking::with_password(context, hash(record), beyond)?
    })
}

fn hash(record: &Node<'_>) -> Found {
    let Some(password) = record.text("password")? else { return Ok(None) };
    let Some(scheme) = record.text("encryptionScheme")? else {
        return Err(
            record.fault("password", "has no `encryptionScheme`, so it is in plain text; only hashes are taken")
        );
    };
    let factor = || record.small_number("factor")?.ok_or_else(|| record.fault("factor", "is missing"));
    let stored = match scheme {
        "bcrypt" => {
            let salt = record.needed_text("salt")?;
            // FusionAuth keeps no version; `2b` is what they all are by now.
            let whole = Stored::read(&format!("$2b${:02}${salt}{password}", factor()?));
            if whole == Stored::Other {
                return Err(record.fault("password", "is no bcrypt hash of 31 characters, or `salt` is none of 22"));
            }
            whole
        }
        "salted-md5" => plain(record, Digest::Md5, factor()?, password)?,
        "salted-sha256" => plain(record, Digest::Sha256, factor()?, password)?,
        "salted-hmac-sha256" => {
            let hash = bytes(record, "password", password, Digest::Sha256.bytes())?;
            Stored::Hmac { digest: Digest::Sha256, hash, key: salt(record)? }
        }
        "salted-pbkdf2-hmac-sha256" => pbkdf2(record, Digest::Sha256, 32, factor()?, password)?,
        "salted-pbkdf2-hmac-sha256-512" => pbkdf2(record, Digest::Sha256, 64, factor()?, password)?,
        "salted-pbkdf2-hmac-sha512-512" => pbkdf2(record, Digest::Sha512, 64, factor()?, password)?,
        "phpass-md5" => return phpass(record, factor()?, password).map(Some),
        // Of phpass-sha512 the documentation does not say in which alphabet its 43 characters are.
        other => return Err(record.fault("encryptionScheme", format!("{} is not supported", quoted(other)))),
    };
    Ok(Some(stored.encoded()))
}

/// The alphabet of phpass, in which its own text has the rounds and the digest.
const PHPASS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `$P$`, the logarithm of the rounds, 8 characters of salt, and the digest: from base64, or as phpass itself writes it.
fn phpass(record: &Node<'_>, factor: u32, password: &str) -> Result<Zeroizing<String>, RowFault> {
    let log = log_of_cost(factor).and_then(|log| PHPASS.get(usize::try_from(log).ok()?));
    let log = log.ok_or_else(|| record.fault("factor", "must be a power of two"))?;
    let given = record.needed_text("salt")?;
    let decoded = base64_bytes(given).filter(|bytes| bytes.len() == 8).and_then(|bytes| String::from_utf8(bytes).ok());
    let salt = decoded.or_else(|| (given.len() == 8).then(|| given.to_owned()));
    let salt = salt.ok_or_else(|| record.fault("salt", "is no phpass salt of 8 characters"))?;
    let digest = if password.len() == 22 && password.bytes().all(|byte| PHPASS.contains(&byte)) {
        password.to_owned()
    } else {
        phpass_text(&bytes(record, "password", password, Digest::Md5.bytes())?)
    };
    Ok(Zeroizing::new(format!("$P${}{salt}{digest}", char::from(*log))))
}

/// Three bytes are four characters, the lowest six bits first.
fn phpass_text(bytes: &[u8]) -> String {
    let groups = bytes.chunks(3).flat_map(|group| {
        let bits = group.iter().rev().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        (0..=group.len()).map(move |place| (bits >> (6 * place)) & 0x3f)
    });
    groups.filter_map(|six| PHPASS.get(usize::try_from(six).ok()?).map(|byte| char::from(*byte))).collect()
}

/// The password and then the salt, digested as often as the factor says.
fn plain(record: &Node<'_>, digest: Digest, factor: u32, password: &str) -> Result<Stored, RowFault> {
    if factor == 0 {
        return Err(record.fault("factor", "must be 1 or more"));
    }
    let hash = bytes(record, "password", password, digest.bytes())?;
    Ok(Stored::Plain { digest, template: PASSWORD_FIRST.to_owned(), iterations: factor, salt: salt(record)?, hash })
}

fn pbkdf2(record: &Node<'_>, digest: Digest, length: usize, factor: u32, password: &str) -> Result<Stored, RowFault> {
    let hash = bytes(record, "password", password, length)?;
    Ok(Stored::Pbkdf2 { digest, iterations: factor, salt: salt(record)?, hash })
}

fn salt(record: &Node<'_>) -> Result<Vec<u8>, RowFault> {
    base64_bytes(record.needed_text("salt")?).ok_or_else(|| record.fault("salt", "is not base64"))
}

/// Base64 by the documentation, hexadecimal in its example: the length tells.
fn bytes(record: &Node<'_>, key: &str, text: &str, length: usize) -> Result<Vec<u8>, RowFault> {
    let is_right = |bytes: &Vec<u8>| bytes.len() == length;
    let read = base64_bytes(text).filter(is_right).or_else(|| hex_bytes(text).filter(is_right));
    read.ok_or_else(|| record.fault(key, format!("is neither base64 nor hexadecimal of {length} bytes")))
}

fn open(options: &WriteOptions) -> Box<dyn RecordWriter> {
    Box::new(
        JsonFile::new("{\"users\":[".into(), "\n]}\n", item, options)
            .remark("FusionAuth: send the files to POST /api/user/import one after the other, then reindex its search")
            .remark("FusionAuth: a user without a password needs version 1.59; older ones refuse the whole file"),
    )
}

const KNOWN: &[&[&str]] = &[
    giving::GIVEN_NAME,
    giving::FAMILY_NAME,
    giving::FULL_NAME,
    giving::PICTURE,
    &["id", "email", "email_verified", "username", "phoneNumber", "verified", "active", "data", "identities"],
    &["insertInstant", "lastLoginInstant", "passwordChangeRequired"],
    OWN,
];

/// What is FusionAuth's own, and taken over as it is if it was FusionAuth that said it.
const OWN: &[&str] = &[
    "birthDate",
    "expiry",
    "memberships",
    "middleName",
    "mobilePhone",
    "preferredLanguages",
    "registrations",
    "tenantId",
    "timezone",
    "twoFactor",
];

fn item(user: &PortableUser, options: &WriteOptions) -> Result<(Value, Carried), RowFault> {
    giving::refuse_deleted(user)?;
    let mut names = giving::Names::of(user);
    let (email, username) = (names.take(IdentifierKind::Email), names.take(IdentifierKind::Username));
    let phone = names.take_e164();
    if email.is_none() && username.is_none() && phone.is_none() {
        return Err(RowFault::new("email", "FusionAuth takes no user without an email, a username or a phone number"));
    }
    let person = Person::of(user);
    let mut item = Map::new();
    put(&mut item, "active", Some(user.standing == Standing::Active));
    let id = user.legacy_id.as_ref().and_then(|id| Uuid::parse_str(id.as_key()).ok());
    put(&mut item, "id", id.or(user.id).map(|id| id.to_string()));
    put(&mut item, "email", email.map(|name| name.value.as_str()));
    put(&mut item, "username", username.map(|name| name.value.as_str()));
    put(&mut item, "phoneNumber", phone.map(|name| name.value.as_str()));
    put(&mut item, "verified", verified(&[email, phone]));
    put(&mut item, "insertInstant", user.created_at.map(|UnixSeconds(at)| at.saturating_mul(1_000)));
    for (key, spellings) in [
        ("firstName", giving::GIVEN_NAME),
        ("lastName", giving::FAMILY_NAME),
        ("fullName", giving::FULL_NAME),
        ("imageUrl", giving::PICTURE),
    ] {
        put(&mut item, key, person.text(spellings));
    }
    for key in OWN {
        put(&mut item, key, person.own(key).cloned());
    }
    let mut data = person.own_object("data").unwrap_or_default();
    put(&mut data, "legacy_id", user.legacy_id.as_ref().filter(|_| id.is_none()).map(LegacyId::to_json));
    put(&mut data, "other_names", names.rest());
    put(&mut data, giving::rest_key(&person), person.rest(KNOWN));
    put(&mut item, "data", (!data.is_empty()).then_some(data));
    let hash = giving::encoded(user, options).and_then(password_fields);
    let carried = giving::carried(user, hash.is_some());
    item.extend(hash.unwrap_or_default());
    Ok((Value::Object(item), carried))
}

/// The flag stands for all of them: it is true only if it is true of each, and not said if it is not known of one.
fn verified(names: &[Option<&super::PortableName>]) -> Option<bool> {
    let mut flags = names.iter().flatten().map(|name| name.verified);
    let first = flags.next()??;
    flags.try_fold(first, |all, flag| flag.map(|flag| all && flag))
}

fn password_fields(encoded: &str) -> Option<Map<String, Value>> {
    let fields = |scheme: &str, factor: Option<u32>, salt: String, password: String| {
        let mut fields = Map::new();
        put(&mut fields, "encryptionScheme", Some(scheme));
        put(&mut fields, "factor", factor);
        put(&mut fields, "salt", Some(salt));
        put(&mut fields, "password", Some(password));
        Some(fields)
    };
    let base64 = |bytes: &[u8]| STANDARD.encode(bytes);
    match Stored::read(encoded) {
        Stored::Bcrypt { version, cost, salt, hash } if version != "2x" => fields("bcrypt", Some(cost), salt, hash),
        Stored::Pbkdf2 { digest, iterations, salt, hash } => {
            let scheme = match (digest, hash.len()) {
                (Digest::Sha256, 32) => "salted-pbkdf2-hmac-sha256",
                (Digest::Sha256, 64) => "salted-pbkdf2-hmac-sha256-512",
                (Digest::Sha512, 64) => "salted-pbkdf2-hmac-sha512-512",
                _another_length_or_digest => return None,
            };
            fields(scheme, Some(iterations), base64(&salt), base64(&hash))
        }
        Stored::Plain { digest, template, iterations, salt, hash } => {
            let scheme = match digest {
                Digest::Md5 => "salted-md5",
                Digest::Sha256 => "salted-sha256",
                Digest::Sha1 | Digest::Sha224 | Digest::Sha384 | Digest::Sha512 => return None,
            };
            let is_theirs = template == PASSWORD_FIRST || salt.is_empty();
            is_theirs.then(|| fields(scheme, Some(iterations), base64(&salt), base64(&hash)))?
        }
        Stored::Hmac { digest: Digest::Sha256, hash, key } => {
            fields("salted-hmac-sha256", None, base64(&key), base64(&hash))
        }
        Stored::Argon2 { .. }
        | Stored::Bcrypt { .. }
        | Stored::Scrypt { .. }
        | Stored::Firescrypt { .. }
        | Stored::Hmac { .. }
        | Stored::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::PortableName;
    use super::*;

    #[test]
    fn one_flag_for_two_names_is_never_invented() {
        let name = |verified| PortableName { kind: IdentifierKind::Email, value: "a@example.com".into(), verified };
        let (yes, no, unknown) = (name(Some(true)), name(Some(false)), name(None));
        assert_eq!(verified(&[None, None]), None);
        assert_eq!(verified(&[Some(&yes), None]), Some(true));
        assert_eq!(verified(&[Some(&yes), Some(&no)]), Some(false));
        assert_eq!(verified(&[Some(&yes), Some(&unknown)]), None);
        assert_eq!(verified(&[Some(&unknown), Some(&yes)]), None);
    }
}

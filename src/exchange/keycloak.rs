//! Keycloak: the users of a realm export (`kc.sh export`), of the admin API, and of its partial import.
//!
//! Follows `UserRepresentation` and `CredentialRepresentation` of its admin API. A password is two JSON texts in the JSON,
//! `credentialData` and `secretData`, since version 8, and fields of the credential before. Never called but through [`FORMAT`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::fields::{Names, Node, base64_bytes, object, object_in_text, quoted};
use super::giving::{self, JsonFile, Person, put};
use super::stored_hash::{Digest, Stored};
use super::taking::{self, Beyond, Found};
use super::{
    Carried, CarriesHashes, Context, Format, Framing, PortableUser, RecordWriter, RowFault, Sample, Setting,
    WriteFormat, WriteOptions,
};
use crate::domain::clock::UnixSeconds;
use crate::domain::identifier::IdentifierKind;
use crate::domain::user::{LegacyId, Standing};

/// The row for it.
pub(super) const FORMAT: Format = Format {
    name: "keycloak",
    title: "Keycloak, users of a realm",
    framings: &[Framing::JsonItems { path: "users" }, Framing::JsonItems { path: "" }, Framing::Lines],
    detect,
    parse,
    write: Some(WriteFormat { open, limit: None, hashes: CarriesHashes::Yes }),
    settings: &[taking::UNUSABLE_HASH, taking::SECOND_FACTOR, taking::PENDING_ACTION, REALM],
};

const REALM: Setting = Setting { name: "realm", help: "the realm that a written file is for; `master` if not said" };

fn detect(sample: &Sample<'_>) -> bool {
    let has_credential = sample.items.iter().any(|item| {
        let credentials = item.get("credentials").and_then(Value::as_array);
        credentials.is_some_and(|list| list.iter().any(|one| one.get("type").is_some()))
    });
    sample.has_key("realm")
        || (sample.any_has("username")
            && (has_credential
                || ["createdTimestamp", "requiredActions", "notBefore"].iter().any(|key| sample.any_has(key))))
}

fn parse(raw: &[u8], context: &Context) -> Result<PortableUser, RowFault> {
    let mut record = object(raw)?;
    let mut user = read(&Node::root(&record), context)?;
    if let Some(Value::Array(credentials)) = record.get_mut("credentials") {
        credentials.retain(|credential| !holds_a_password(credential));
    }
    user.profile = Value::Object(record);
    Ok(user)
}

/// Also the hashes of passwords that he had before.
fn holds_a_password(credential: &Value) -> bool {
    matches!(credential.get("type").and_then(Value::as_str), Some("password" | "password-history") | None)
}

fn read(record: &Node<'_>, context: &Context) -> Result<PortableUser, RowFault> {
    if let Some(client) = record.text("serviceAccountClientId")? {
        return Err(
            record.fault("serviceAccountClientId", format!("this is the account of the client {}", quoted(client)))
        );
    }
    let mut names = Names::default();
    names.add(IdentifierKind::Username, record.text("username")?, None);
    names.add(IdentifierKind::Email, record.text("email")?, record.flag("emailVerified")?);
    let credentials = record.objects("credentials")?;
    let beyond = Beyond {
        second_factor: has_second_factor(record, &credentials)?,
        pending_action: !record.list("requiredActions")?.is_empty(),
    };
    Ok(PortableUser {
        legacy_id: record.id("id")?,
        names: names.or_fault("username", "is missing")?,
        // Keycloak's own import takes a user without the flag for disabled.
        standing: if record.flag("enabled")? == Some(true) { Standing::Active } else { Standing::Disabled },
        created_at: record.millis("createdTimestamp")?,
        ..taking::with_password(context, hash(record, &credentials), beyond)?
    })
}

fn has_second_factor(record: &Node<'_>, credentials: &[Node<'_>]) -> Result<bool, RowFault> {
    for credential in credentials {
        let kind = credential.text("type")?;
        if matches!(kind, Some("otp" | "totp" | "hotp" | "webauthn" | "recovery-authn-codes")) {
            return Ok(true);
        }
    }
    Ok(record.flag("totp")? == Some(true))
}

fn hash(record: &Node<'_>, credentials: &[Node<'_>]) -> Found {
    let mut passwords = Vec::new();
    for credential in credentials {
        if credential.needed_text("type")? == "password" {
            passwords.push(credential);
        }
    }
    match passwords.as_slice() {
        [] => Ok(None),
        [one] => stored(one).map(|stored| Some(stored.encoded())),
        _several => Err(record.fault("credentials", "has more than one of the type `password`")),
    }
}

/// The parts of a password credential, wherever its version of Keycloak has them.
struct Parts<'a> {
    credential: &'a Node<'a>,
    algorithm: String,
    iterations: u32,
    salt: Vec<u8>,
    value: String,
    additional: Map<String, Value>,
}

fn stored(credential: &Node<'_>) -> Result<Stored, RowFault> {
    if credential.value("value").is_some() {
        return Err(credential.fault("value", "is a password in plain text; only hashes are taken"));
    }
    let parts = match credential.text("credentialData")? {
        Some(data) => parts_in_texts(credential, data)?,
        None => parts_in_fields(credential)?,
    };
    parts.stored()
}

fn parts_in_texts<'a>(credential: &'a Node<'a>, data: &str) -> Result<Parts<'a>, RowFault> {
    let data = object_in_text(data, credential.at("credentialData"))?;
    let secret = object_in_text(credential.needed_text("secretData")?, credential.at("secretData"))?;
    let (data, secret) =
        (Node::within(&data, credential.at("credentialData")), Node::within(&secret, credential.at("secretData")));
    let additional = data.object("additionalParameters")?.or(data.object("algorithmData")?);
    Ok(Parts {
        credential,
        algorithm: data.needed_text("algorithm")?.to_owned(),
        iterations: iterations(&data)?,
        salt: base64_field(&secret, "salt")?,
        value: secret.needed_text("value")?.to_owned(),
        additional: additional.map(|node| node.fields().clone()).unwrap_or_default(),
    })
}

/// Up to version 7.
fn parts_in_fields<'a>(credential: &'a Node<'a>) -> Result<Parts<'a>, RowFault> {
    Ok(Parts {
        credential,
        // What Keycloak did before it could be chosen.
        algorithm: credential.text("algorithm")?.unwrap_or("pbkdf2").to_owned(),
        iterations: iterations(credential)?,
        salt: base64_field(credential, "salt")?,
        value: credential.needed_text("hashedSaltedValue")?.to_owned(),
        additional: Map::new(),
    })
}

fn iterations(node: &Node<'_>) -> Result<u32, RowFault> {
    node.small_number("hashIterations")?.ok_or_else(|| node.fault("hashIterations", "is missing"))
}

fn base64_field(node: &Node<'_>, key: &str) -> Result<Vec<u8>, RowFault> {
    let text = node.text(key)?.unwrap_or_default();
    base64_bytes(text).ok_or_else(|| node.fault(key, "is not base64"))
}

impl Parts<'_> {
    fn stored(self) -> Result<Stored, RowFault> {
        match self.algorithm.as_str() {
            "pbkdf2" => self.pbkdf2(Digest::Sha1),
            "pbkdf2-sha256" => self.pbkdf2(Digest::Sha256),
            "pbkdf2-sha512" => self.pbkdf2(Digest::Sha512),
            "argon2" => self.argon2(),
            // An extension that many use; it keeps the whole text.
            "bcrypt" => match Stored::read(&self.value) {
                bcrypt @ Stored::Bcrypt { .. } => Ok(bcrypt),
                _another_kind => Err(self.fault("the value of its secretData is no bcrypt hash")),
            },
            other => Err(self.fault(format!("the algorithm {} is not supported", quoted(other)))),
        }
    }

    fn fault(&self, problem: impl Into<std::borrow::Cow<'static, str>>) -> RowFault {
        self.credential.fault("credentialData", problem)
    }

    fn hash(&self) -> Result<Vec<u8>, RowFault> {
        let hash = base64_bytes(&self.value).filter(|hash| !hash.is_empty());
        hash.ok_or_else(|| self.credential.fault("secretData.value", "is not base64"))
    }

    fn pbkdf2(self, digest: Digest) -> Result<Stored, RowFault> {
        let hash = self.hash()?;
        Ok(Stored::Pbkdf2 { digest, iterations: self.iterations, salt: self.salt, hash })
    }

    fn argon2(self) -> Result<Stored, RowFault> {
        let hash = self.hash()?;
        let variant = match self.additional("type")? {
            "id" => "id",
            "i" => "i",
            "d" => "d",
            _another => return Err(self.fault("the Argon2 type must be `id`, `i` or `d`")),
        };
        let version = match self.additional("version")? {
            "1.3" | "19" => 19,
            "1.0" | "16" => 16,
            _another => return Err(self.fault("the Argon2 version must be `1.3` or `1.0`")),
        };
        let number = |key: &'static str| {
            let text = self.additional(key)?;
            text.parse().map_err(|_| self.fault(format!("{key} must be a whole number")))
        };
        let (memory_kib, lanes) = (number("memory")?, number("parallelism")?);
        Ok(Stored::Argon2 { variant, version, memory_kib, passes: self.iterations, lanes, salt: self.salt, hash })
    }

    /// Each is a list of one text.
    fn additional(&self, key: &'static str) -> Result<&str, RowFault> {
        let value = self.additional.get(key).and_then(Value::as_array).and_then(|list| list.first());
        value.and_then(Value::as_str).ok_or_else(|| self.fault(format!("the Argon2 parameter {key} is missing")))
    }
}

fn open(options: &WriteOptions) -> Box<dyn RecordWriter> {
    let realm = options.settings.of(REALM.name).unwrap_or("master");
    let before = format!("{{\"realm\":{},\"users\":[", Value::String(realm.to_owned()));
    Box::new(
        JsonFile::new(before, "\n]}\n", item, options)
            .remark(format!(
                "Keycloak: name the file {realm}-users-0.json and run `kc.sh import --dir DIRECTORY`, or upload it in the console \
                 under Realm settings, Action, Partial import"
            ))
            .remark("Keycloak: turn on unmanaged attributes (Realm settings, General) first, or it drops what its user profile lacks"),
    )
}

const KNOWN: &[&[&str]] = &[
    giving::GIVEN_NAME,
    giving::FAMILY_NAME,
    &["id", "username", "email", "emailVerified", "email_verified", "enabled", "createdTimestamp", "user_id"],
    &["attributes", "credentials", "requiredActions", "realmRoles", "clientRoles", "groups", "federatedIdentities"],
    &["totp", "disableableCredentialTypes", "notBefore", "access", "origin", "self"],
];

/// As long as the column of an id is.
const MAX_ID_BYTES: usize = 36;

fn item(user: &PortableUser, options: &WriteOptions) -> Result<(Value, Carried), RowFault> {
    giving::refuse_deleted(user)?;
    let mut names = giving::Names::of(user);
    let email = names.take(IdentifierKind::Email);
    let username = names.take(IdentifierKind::Username);
    let username = username.or(email).or_else(|| names.take_e164());
    let username = username.ok_or_else(|| RowFault::new("username", "Keycloak takes no user without one"))?;
    let person = Person::of(user);
    let mut item = Map::new();
    let id = user.legacy_id.as_ref().filter(|id| id.as_key().len() <= MAX_ID_BYTES);
    put(&mut item, "id", id.map(LegacyId::as_key));
    put(&mut item, "createdTimestamp", user.created_at.map(|UnixSeconds(at)| at.saturating_mul(1_000)));
    put(&mut item, "username", Some(username.value.as_str()));
    put(&mut item, "enabled", Some(user.standing == Standing::Active));
    if let Some(email) = email {
        put(&mut item, "email", Some(email.value.as_str()));
        put(&mut item, "emailVerified", email.verified);
    }
    put(&mut item, "firstName", person.text(giving::GIVEN_NAME));
    put(&mut item, "lastName", person.text(giving::FAMILY_NAME));
    let attributes = attributes(user, &person, &mut names, id.is_none());
    put(&mut item, "attributes", (!attributes.is_empty()).then_some(attributes));
    for key in ["requiredActions", "realmRoles", "clientRoles", "groups", "federatedIdentities"] {
        put(&mut item, key, person.own(key).cloned());
    }
    let hash = giving::encoded(user, options).and_then(credential);
    let carried = giving::carried(user, hash.is_some());
    let others = person.own("credentials").and_then(Value::as_array).cloned().unwrap_or_default();
    let credentials: Vec<Value> = hash.into_iter().chain(others).collect();
    put(&mut item, "credentials", (!credentials.is_empty()).then_some(credentials));
    Ok((Value::Object(item), carried))
}

/// Attributes are lists of texts; what is neither is written as JSON.
fn attributes(
    user: &PortableUser,
    person: &Person<'_>,
    names: &mut giving::Names<'_>,
    with_id: bool,
) -> Map<String, Value> {
    let mut attributes = person.own_object("attributes").unwrap_or_default();
    if let Some(phone) = names.take(IdentifierKind::Phone) {
        attributes.insert("phoneNumber".into(), json!([phone.value]));
        let verified = phone.verified.map(|verified| json!([verified.to_string()]));
        put(&mut attributes, "phoneNumberVerified", verified);
    }
    let id = user.legacy_id.as_ref().filter(|_| with_id);
    put(&mut attributes, "legacy_id", id.map(|id| json!([id.as_key()])));
    put(&mut attributes, "other_names", names.rest().map(|rest| json!([rest.to_string()])));
    let rest = person.rest(KNOWN).unwrap_or_default();
    if person.vouched {
        for (key, value) in rest {
            attributes.entry(key).or_insert_with(|| as_texts(&value));
        }
    } else if !rest.is_empty() {
        put(&mut attributes, giving::rest_key(person), Some(json!([Value::Object(rest).to_string()])));
    }
    attributes
}

fn as_texts(value: &Value) -> Value {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Array(items) => Value::Array(items.iter().map(|item| Value::String(text(item))).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => json!([text(value)]),
    }
}

fn credential(encoded: &str) -> Option<Value> {
    let data = |algorithm: &str, iterations: u32, additional: Value| {
        json!({"hashIterations": iterations, "algorithm": algorithm, "additionalParameters": additional}).to_string()
    };
    let (data, salt, hash) = match Stored::read(encoded) {
        Stored::Argon2 { variant, version, memory_kib, passes, lanes, salt, hash } => {
            let version = if version == 19 { "1.3" } else { "1.0" };
            let additional = json!({
                "hashLength": [hash.len().to_string()], "memory": [memory_kib.to_string()], "type": [variant],
                "version": [version], "parallelism": [lanes.to_string()],
            });
            (data("argon2", passes, additional), salt, hash)
        }
        Stored::Pbkdf2 { digest, iterations, salt, hash } => {
            let algorithm = match digest {
                Digest::Sha1 => "pbkdf2",
                Digest::Sha256 => "pbkdf2-sha256",
                Digest::Sha512 => "pbkdf2-sha512",
                Digest::Md5 | Digest::Sha224 | Digest::Sha384 => return None,
            };
            (data(algorithm, iterations, json!({})), salt, hash)
        }
        Stored::Bcrypt { .. }
        | Stored::Scrypt { .. }
        | Stored::Firescrypt { .. }
        | Stored::Plain { .. }
        | Stored::Hmac { .. }
        | Stored::Other => return None,
    };
    let secret = json!({"value": STANDARD.encode(hash), "salt": STANDARD.encode(salt), "additionalParameters": {}});
    Some(json!({"type": "password", "secretData": secret.to_string(), "credentialData": data}))
}

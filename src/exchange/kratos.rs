//! Ory Kratos and Ory Network: identities as the admin API lists them (`GET /admin/identities?include_credential=password`), and
//! the batch that it imports (`PATCH /admin/identities`).
//!
//! Follows "Import user accounts" and the API's `identityPatch`. Traits are the operator's own: those with the usual names are read, and
//! every address and login name that Kratos itself has found in them. Never called but through [`FORMAT`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::fields::{Names, Node, kind_of_name, object};
use super::giving::{self, JsonFile, Person, put};
use super::stored_hash::{Digest, Stored};
use super::taking::{self, Beyond, Found};
use super::{
    Carried, CarriesHashes, Context, FileLimit, Format, Framing, PortableName, PortableUser, RecordWriter, RowFault,
    Sample, Setting, WriteFormat, WriteOptions,
};
use crate::domain::identifier::IdentifierKind;
use crate::domain::user::Standing;

/// The row for it.
pub(super) const FORMAT: Format = Format {
    name: "kratos",
    title: "Ory Kratos, identities",
    framings: &[Framing::JsonItems { path: "identities" }, Framing::JsonItems { path: "" }, Framing::Lines],
    detect,
    parse,
    write: Some(WriteFormat { open, limit: Some(LIMIT), hashes: CarriesHashes::Yes }),
    settings: &[taking::UNUSABLE_HASH, taking::SECOND_FACTOR, SCHEMA, TRAITS],
};

/// Kratos takes 1,000 identities in a batch.
const LIMIT: FileLimit = FileLimit { bytes: u64::MAX, users: 1_000 };

const SCHEMA: Setting = Setting { name: "schema", help: "the identity schema of written users; `default` if not said" };

const TRAITS: Setting = Setting {
    name: "traits",
    help: "which traits are written, as the identity schema has them; `email,username,phone,name` if not said",
};

fn detect(sample: &Sample<'_>) -> bool {
    let is_create = |item: &Value| item.get("create").is_some_and(|create| create.get("traits").is_some());
    (sample.any_has("traits") && (sample.any_has("schema_id") || sample.any_has("credentials")))
        || sample.items.iter().any(is_create)
}

fn parse(raw: &[u8], context: &Context) -> Result<PortableUser, RowFault> {
    let mut record = object(raw)?;
    if let Some(Value::Object(create)) = record.shift_remove("create") {
        record = create;
    }
    let mut user = read(&Node::root(&record), context)?;
    if let Some(Value::Object(credentials)) = record.get_mut("credentials") {
        credentials.shift_remove("password");
    }
    user.profile = Value::Object(record);
    Ok(user)
}

fn read(identity: &Node<'_>, context: &Context) -> Result<PortableUser, RowFault> {
    let credentials = identity.object("credentials")?;
    let password = match &credentials {
        Some(credentials) => credentials.object("password")?,
        None => None,
    };
    let second_factor = match &credentials {
        Some(credentials) => has_second_factor(credentials)?,
        None => false,
    };
    let is_two_step = identity.text("available_aal")? == Some("aal2");
    let beyond = Beyond { second_factor: second_factor || is_two_step, ..Beyond::NOTHING };
    Ok(PortableUser {
        legacy_id: match identity.id("id")? {
            Some(id) => Some(id),
            None => identity.id("external_id")?,
        },
        names: names(identity, password.as_ref())?,
        standing: standing(identity)?,
        created_at: identity.moment("created_at")?,
        ..taking::with_password(context, hash(password.as_ref()), beyond)?
    })
}

fn standing(identity: &Node<'_>) -> Result<Standing, RowFault> {
    match identity.text("state")? {
        None | Some("active") => Ok(Standing::Active),
        Some("inactive") => Ok(Standing::Disabled),
        Some(_) => Err(identity.fault("state", "must be `active` or `inactive`")),
    }
}

fn has_second_factor(credentials: &Node<'_>) -> Result<bool, RowFault> {
    for kind in ["totp", "webauthn", "lookup_secret"] {
        if credentials.object(kind)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Traits first, since they are as the user wrote them; Kratos folds the case of what it derives from them.
fn names(identity: &Node<'_>, password: Option<&Node<'_>>) -> Result<Vec<PortableName>, RowFault> {
    let mut names = Names::default();
    let traits = identity.object("traits")?.ok_or_else(|| identity.fault("traits", "is missing"))?;
    for (key, kind) in [
        ("email", IdentifierKind::Email),
        ("username", IdentifierKind::Username),
        ("phone", IdentifierKind::Phone),
        ("phone_number", IdentifierKind::Phone),
    ] {
        names.add(kind, traits.text(key)?, None);
    }
    for address in identity.objects("verifiable_addresses")? {
        let kind = match address.needed_text("via")? {
            "email" => IdentifierKind::Email,
            "sms" | "phone" => IdentifierKind::Phone,
            _another => return Err(address.fault("via", "must be `email` or `sms`")),
        };
        let (value, verified) = (address.needed_text("value")?, address.flag("verified")?);
        names.add_folded(kind, value, verified);
    }
    for (index, value) in
        password.map(|node| node.list("identifiers")).transpose()?.unwrap_or_default().iter().enumerate()
    {
        let value = value
            .as_str()
            .ok_or_else(|| RowFault::new(format!("credentials.password.identifiers[{index}]"), "must be a text"))?;
        names.add_folded(kind_of_name(value), value, None);
    }
    names.or_fault("traits", "holds no email, username or phone, and there are no addresses")
}

fn hash(password: Option<&Node<'_>>) -> Found {
    let Some(config) = password.map(|password| password.object("config")).transpose()?.flatten() else {
        return Ok(None);
    };
    if config.text("password")?.is_some() {
        return Err(config.fault("password", "is a password in plain text; only hashes are taken"));
    }
    let Some(text) = config.text("hashed_password")? else { return Ok(None) };
    let kept = match text.split_once('$').and_then(|(_, rest)| rest.split_once('$')) {
        Some(("md5-crypt", rest)) => Some(format!("$1${rest}")),
        Some(("sha256-crypt", rest)) => Some(format!("$5${rest}")),
        Some(("sha512-crypt", rest)) => Some(format!("$6${rest}")),
        Some(_) | None if is_ssha(text) => Some(text.to_owned()),
        Some(_) | None => None,
    };
    let encoded = kept.map(Zeroizing::new).unwrap_or_else(|| Stored::read(text).encoded());
    if encoded.is_empty() {
        return Err(config.fault("hashed_password", "is of a kind that is not supported, or malformed"));
    }
    Ok(Some(encoded))
}

fn is_ssha(text: &str) -> bool {
    ["{SSHA}", "{SSHA256}", "{SSHA512}"].iter().any(|scheme| text.starts_with(scheme))
}

fn open(options: &WriteOptions) -> Box<dyn RecordWriter> {
    Box::new(
        JsonFile::new("{\"identities\":[".into(), "\n]}\n", item, options).remark(
            "Kratos: send each file to PATCH /admin/identities, and look for `\"action\":\"error\"` in the answer",
        ),
    )
}

const KNOWN: &[&[&str]] = &[
    &["id", "external_id", "schema_id", "schema_url", "state", "state_changed_at", "traits", "verifiable_addresses"],
    &[
        "recovery_addresses",
        "metadata_public",
        "metadata_admin",
        "created_at",
        "updated_at",
        "available_aal",
        "credentials",
    ],
    &["organization_id"],
];

fn item(user: &PortableUser, options: &WriteOptions) -> Result<(Value, Carried), RowFault> {
    giving::refuse_deleted(user)?;
    let person = Person::of(user);
    let mut names = giving::Names::of(user);
    let mut create = Map::new();
    put(&mut create, "schema_id", Some(options.settings.of(SCHEMA.name).unwrap_or("default")));
    let wanted = options.settings.of(TRAITS.name).unwrap_or("email,username,phone,name");
    let (traits, addresses) = traits(&person, &mut names, wanted)?;
    put(&mut create, "traits", Some(traits));
    put(&mut create, "verifiable_addresses", (!addresses.is_empty()).then_some(addresses));
    put(&mut create, "state", Some(if user.standing == Standing::Active { "active" } else { "inactive" }));
    put(&mut create, "metadata_public", person.own("metadata_public").cloned());
    let mut admin = person.own_object("metadata_admin").unwrap_or_default();
    put(&mut admin, "legacy_id", user.legacy_id.as_ref().map(crate::domain::user::LegacyId::to_json));
    put(&mut admin, "created_at", user.created_at.map(super::fields::rfc3339));
    put(&mut admin, "other_names", names.rest());
    put(&mut admin, giving::rest_key(&person), person.rest(KNOWN));
    put(&mut create, "metadata_admin", (!admin.is_empty()).then_some(admin));
    let hash = giving::encoded(user, options).and_then(hashed_password);
    let carried = giving::carried(user, hash.is_some());
    let password = hash.map(|hash| json!({"password": {"config": {"hashed_password": hash}}}));
    put(&mut create, "credentials", password);
    let mut patch = Map::new();
    put(&mut patch, "patch_id", user.id.map(|id| id.to_string()));
    put(&mut patch, "create", Some(create));
    Ok((Value::Object(patch), carried))
}

/// The traits, and the addresses among them that are known to be verified.
fn traits(
    person: &Person<'_>,
    names: &mut giving::Names<'_>,
    wanted: &str,
) -> Result<(Map<String, Value>, Vec<Value>), RowFault> {
    let mut traits = person.own_object("traits").unwrap_or_default();
    let mut addresses = Vec::new();
    let mut is_found_by = false;
    for key in wanted.split(',').map(str::trim).filter(|key| !key.is_empty()) {
        let (kind, via) = match key {
            "email" => (IdentifierKind::Email, Some("email")),
            "phone" | "phone_number" => (IdentifierKind::Phone, Some("sms")),
            "username" => (IdentifierKind::Username, None),
            "name" => {
                put_name(&mut traits, person);
                continue;
            }
            other => {
                put(&mut traits, other, person.own(other).cloned());
                continue;
            }
        };
        let Some(name) = names.take(kind) else { continue };
        is_found_by = true;
        put(&mut traits, key, Some(name.value.as_str()));
        if let (Some(via), Some(true)) = (via, name.verified) {
            addresses.push(json!({"value": name.value, "verified": true, "via": via, "status": "completed"}));
        }
    }
    if is_found_by {
        Ok((traits, addresses))
    } else {
        Err(RowFault::new("traits", "he has none of the names that are written"))
    }
}

fn put_name(traits: &mut Map<String, Value>, person: &Person<'_>) {
    if traits.contains_key("name") {
        return;
    }
    let mut name = Map::new();
    put(&mut name, "first", person.text(giving::GIVEN_NAME));
    put(&mut name, "last", person.text(giving::FAMILY_NAME));
    put(traits, "name", (!name.is_empty()).then_some(name));
}

/// In the words of Kratos: the scrypt cost itself where others write its logarithm, an HMAC as its hexadecimal text.
fn hashed_password(encoded: &str) -> Option<String> {
    for (ours, theirs) in [("$1$", "$md5-crypt$"), ("$5$", "$sha256-crypt$"), ("$6$", "$sha512-crypt$")] {
        if let Some(rest) = encoded.strip_prefix(ours) {
            return Some(format!("{theirs}{rest}"));
        }
    }
    let stored = Stored::read(encoded);
    match &stored {
        Stored::Argon2 { variant: "id" | "i", version: 19, .. } => Some(stored.encoded().to_string()),
        Stored::Bcrypt { version, .. } if version != "2x" => Some(stored.encoded().to_string()),
        Stored::Pbkdf2 { digest: Digest::Sha1 | Digest::Sha256 | Digest::Sha512, .. } => {
            Some(stored.encoded().to_string())
        }
        Stored::Scrypt { log_cost, block_size, lanes, salt, hash } => {
            let (cost, salt, hash) = (1_u64.checked_shl(*log_cost)?, STANDARD.encode(salt), STANDARD.encode(hash));
            Some(format!("$scrypt$ln={cost},r={block_size},p={lanes}${salt}${hash}"))
        }
        Stored::Firescrypt { .. } => Some(stored.encoded().to_string()),
        Stored::Plain { digest: Digest::Md5, iterations: 1, .. } => Some(stored.encoded().to_string()),
        Stored::Plain {
            digest: digest @ (Digest::Sha1 | Digest::Sha256 | Digest::Sha512),
            template,
            iterations: 1,
            salt,
            hash,
        } => {
            let (template, salt, hash) = (STANDARD.encode(template), STANDARD.encode(salt), STANDARD.encode(hash));
            Some(format!("${}$pf={template}${salt}${hash}", digest.name()))
        }
        Stored::Hmac { digest, hash, key } => {
            let hash = STANDARD.encode(super::fields::hex_text(hash));
            Some(format!("$hmac-{}${hash}${}", digest.name(), STANDARD.encode(key)))
        }
        Stored::Other if is_ssha(encoded) => Some(encoded.to_owned()),
        Stored::Argon2 { .. }
        | Stored::Bcrypt { .. }
        | Stored::Pbkdf2 { .. }
        | Stored::Plain { .. }
        | Stored::Other => None,
    }
}

//! Django: `manage.py dumpdata` of the user model, as JSON and JSON lines, and the table `auth_user` as CSV.
//!
//! A password is one text there, which is kept as it is. Follows "Serializing Django objects" and "Password management in Django". Never called
//! but through [`FORMAT`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::fields::{Names, Node, hex_bytes, object, quoted, rfc3339};
use super::giving::{self, JsonFile, Person, put};
use super::stored_hash::{Digest, PASSWORD_ALONE, Stored};
use super::taking::{self, Beyond, Found};
use super::{
    Carried, CarriesHashes, Context, Format, Framing, PortableUser, RecordWriter, RowFault, Sample, Setting,
    WriteFormat, WriteOptions,
};
use crate::domain::identifier::IdentifierKind;
use crate::domain::user::{LegacyId, Standing};

/// The row for it.
pub(super) const FORMAT: Format = Format {
    name: "django",
    title: "Django, dumpdata or auth_user as CSV",
    framings: &[Framing::JsonItems { path: "" }, Framing::Lines, Framing::Csv],
    detect,
    parse,
    write: Some(WriteFormat { open, limit: None, hashes: CarriesHashes::Yes }),
    settings: &[taking::UNUSABLE_HASH, MODEL, NAMES],
};

const MODEL: Setting = Setting { name: "model", help: "the user model of a written file; `auth.user` if not said" };

const NAMES: Setting = Setting {
    name: "names",
    help: "`username` leaves email addresses in the profile: Django lets two users have the same one; otherwise both are names",
};

fn detect(sample: &Sample<'_>) -> bool {
    if sample.framing.is_csv() {
        return ["password", "is_active", "date_joined"].iter().all(|column| sample.has_column(column));
    }
    sample.items.iter().any(|item| {
        item.get("model").is_some_and(Value::is_string)
            && item.get("fields").is_some_and(|fields| fields.get("password").is_some())
    })
}

fn parse(raw: &[u8], context: &Context) -> Result<PortableUser, RowFault> {
    let mut record = if context.framing.is_csv() { columns(raw, context)? } else { fields(object(raw)?)? };
    let mut user = read(&Node::root(&record), context)?;
    record.shift_remove("password");
    user.profile = Value::Object(record);
    Ok(user)
}

/// The fields of a dumped row, and its primary key as `id` among them: the same as a row of the table.
fn fields(mut record: Map<String, Value>) -> Result<Map<String, Value>, RowFault> {
    let root = Node::root(&record);
    let model = root.needed_text("model")?.to_owned();
    let has_password = root.object("fields")?.is_some_and(|fields| fields.value("password").is_some());
    if !has_password {
        let problem = format!("{} is no user model, for it has no password; dump only the user model", quoted(&model));
        return Err(RowFault::new("model", problem));
    }
    let pk = record.shift_remove("pk").filter(|pk| !pk.is_null());
    let Some(Value::Object(fields)) = record.shift_remove("fields") else {
        return Err(RowFault::new("fields", "must be an object"));
    };
    let mut row = Map::new();
    put(&mut row, "id", pk);
    row.extend(fields);
    Ok(row)
}

/// A row of the table, its texts typed: `t`, `1` and `True` are how databases write one flag, `NULL` and `\N` how they write none.
fn columns(raw: &[u8], context: &Context) -> Result<Map<String, Value>, RowFault> {
    let mut row = Map::new();
    for (name, field) in context.header.iter().zip(context.fields(raw)?) {
        let name = name.trim();
        let value = match (name, field.as_str()) {
            (_, "") => continue,
            ("last_login" | "id", "NULL" | "\\N") => continue,
            ("is_active" | "is_staff" | "is_superuser", flag) => {
                let flag = match flag.to_ascii_lowercase().as_str() {
                    "t" | "true" | "1" => true,
                    "f" | "false" | "0" => false,
                    _neither => return Err(RowFault::new(name.to_owned(), "must be true or false")),
                };
                Value::Bool(flag)
            }
            ("id", id) => id.parse::<u64>().map_or_else(|_| Value::String(field.clone()), Value::from),
            (_, text) => Value::String(text.to_owned()),
        };
        row.insert(name.to_owned(), value);
    }
    Ok(row)
}

fn read(row: &Node<'_>, context: &Context) -> Result<PortableUser, RowFault> {
    let with_email = match context.settings.of(NAMES.name) {
        None => true,
        Some("username") => false,
        Some(_) => return Err(RowFault::new("--set names", "can only be `username`")),
    };
    let mut names = Names::default();
    names.add(IdentifierKind::Username, row.text("username")?, None);
    names.add(IdentifierKind::Email, row.text("email")?.filter(|_| with_email), None);
    Ok(PortableUser {
        legacy_id: row.id("id")?,
        names: names.or_fault("username", "is missing, and so is `email`")?,
        // A custom model need not have the flag; Django's base class says that such a user is active.
        standing: if row.flag("is_active")? == Some(false) { Standing::Disabled } else { Standing::Active },
        created_at: row.moment("date_joined")?,
        last_login_at: row.moment("last_login")?,
        ..taking::with_password(context, hash(row), Beyond::NOTHING)?
    })
}

/// What begins a stored password, by Django's own hashers of all versions.
const HASHERS: [&str; 9] =
    ["pbkdf2_sha256", "pbkdf2_sha1", "argon2", "bcrypt_sha256", "bcrypt", "scrypt", "md5", "sha1", "crypt"];

fn hash(row: &Node<'_>) -> Found {
    let Some(text) = row.text("password")? else { return Ok(None) };
    // "!" and 40 random characters is how Django writes that there is none.
    if text.starts_with('!') {
        return Ok(None);
    }
    match (text.split_once('$'), unsalted_md5(text)) {
        (Some((hasher, _)), _) if HASHERS.contains(&hasher) => Ok(Some(Zeroizing::new(text.to_owned()))),
        (None, Some(encoded)) => Ok(Some(encoded)),
        // Not even what stands before the first separator is shown: it may be the beginning of a password.
        (Some(_), _) => Err(row.fault("password", "is of no hasher of Django's own")),
        (None, None) => Err(row.fault("password", "is no password as Django stores them")),
    }
}

/// Django's first hashes were the bare hex text of an MD5.
fn unsalted_md5(text: &str) -> Option<Zeroizing<String>> {
    let digest = Digest::Md5;
    let hash = hex_bytes(text).filter(|hash| hash.len() == digest.bytes())?;
    let template = PASSWORD_ALONE.to_owned();
    Some(Stored::Plain { digest, template, iterations: 1, salt: Vec::new(), hash }.encoded())
}

fn open(options: &WriteOptions) -> Box<dyn RecordWriter> {
    Box::new(
        JsonFile::new("[".into(), "\n]\n", item, options)
            .remark("Django: run `manage.py loaddata FILE`; the file's name must end in .json")
            .remark("Django: Argon2 and bcrypt need their hashers in PASSWORD_HASHERS, and `pip install django[argon2,bcrypt]`"),
    )
}

/// The longest username that `auth.user` takes.
const MAX_USERNAME_CHARS: usize = 150;

fn item(user: &PortableUser, options: &WriteOptions) -> Result<(Value, Carried), RowFault> {
    giving::refuse_deleted(user)?;
    let mut names = giving::Names::of(user);
    let email = names.take(IdentifierKind::Email);
    let username = names.take(IdentifierKind::Username).or(email);
    let username = username.ok_or_else(|| RowFault::new("username", "Django takes no user without one"))?;
    if username.value.chars().count() > MAX_USERNAME_CHARS {
        return Err(RowFault::new("username", format!("is longer than {MAX_USERNAME_CHARS} characters")));
    }
    let person = Person::of(user);
    let hash = giving::encoded(user, options).and_then(stored_password);
    let carried = giving::carried(user, hash.is_some());
    let mut fields = Map::new();
    // Empty and not "!": Django sends no reset mail to a user whose password is marked as unusable.
    put(&mut fields, "password", Some(hash.unwrap_or_default()));
    put(&mut fields, "last_login", user.last_login_at.map(rfc3339));
    put(&mut fields, "username", Some(username.value.as_str()));
    put(&mut fields, "first_name", Some(person.text(giving::GIVEN_NAME).unwrap_or_default()));
    put(&mut fields, "last_name", Some(person.text(giving::FAMILY_NAME).unwrap_or_default()));
    put(&mut fields, "email", Some(email.map(|name| name.value.clone()).unwrap_or_default()));
    put(&mut fields, "is_active", Some(user.standing == Standing::Active));
    put(&mut fields, "date_joined", user.created_at.map(rfc3339));
    for key in ["is_staff", "is_superuser", "groups", "user_permissions"] {
        put(&mut fields, key, person.own(key).cloned());
    }
    let mut item = Map::new();
    put(&mut item, "model", Some(options.settings.of(MODEL.name).unwrap_or("auth.user")));
    put(&mut item, "pk", user.legacy_id.as_ref().map(LegacyId::to_json).filter(Value::is_number));
    put(&mut item, "fields", Some(fields));
    Ok((Value::Object(item), carried))
}

/// Django's own texts as they are; what others have in common with Django in its words.
fn stored_password(encoded: &str) -> Option<String> {
    let hasher = encoded.split_once('$').map(|(hasher, _)| hasher);
    if hasher.is_some_and(|hasher| HASHERS.contains(&hasher)) {
        return Some(encoded.to_owned());
    }
    let stored = Stored::read(encoded);
    match &stored {
        Stored::Argon2 { variant: "id" | "i", .. } => Some(format!("argon2{}", *stored.encoded())),
        Stored::Bcrypt { version, .. } if version != "2x" => Some(format!("bcrypt${}", *stored.encoded())),
        Stored::Pbkdf2 { digest, iterations, salt, hash } => {
            let name = match (digest, hash.len()) {
                (Digest::Sha256, 32) => "pbkdf2_sha256",
                (Digest::Sha1, 20) => "pbkdf2_sha1",
                _another_length_or_digest => return None,
            };
            // Its salt is text that may hold anything but the separator.
            let salt = std::str::from_utf8(salt).ok().filter(|salt| !salt.is_empty() && !salt.contains('$'))?;
            Some(format!("{name}${iterations}${salt}${}", STANDARD.encode(hash)))
        }
        Stored::Argon2 { .. }
        | Stored::Bcrypt { .. }
        | Stored::Scrypt { .. }
        | Stored::Firescrypt { .. }
        | Stored::Plain { .. }
        | Stored::Hmac { .. }
        | Stored::Other => None,
    }
}

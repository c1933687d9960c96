//! Users of other products: every field of the files that those products write, every way in which such a file can be broken, and
//! what is written for them, field by field against what they document. The files are made by `tests/real/exchange/make`; those with
//! something wrong in each row, `broken.*`, and those of `csv` and `jsonl` are written by hand.

mod auth0;
mod broken;
mod clerk;
mod cognito;
mod command;
mod csv;
mod django;
mod firebase;
mod fusionauth;
mod jsonl;
mod keycloak;
mod kratos;
mod originals;
mod round_trip;
mod supertokens;

use std::fs::File;
use std::path::{Path, PathBuf};

use authferry::domain::clock::UnixSeconds;
use authferry::domain::identifier::IdentifierKind;
use authferry::domain::password::{Password, PasswordNormalization};
use authferry::domain::user::{LegacyId, Origin, Standing};
use authferry::exchange::{
    Carried, Context, Format, Framing, Hashes, Head, PortableName, PortablePassword, PortableUser, RecordWriter,
    Settings, Splitter, WriteOptions, detect, format_named,
};
use authferry::password::formats::Terms;
use authferry::password::trial::Trial;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// The password of every user in these files.
const PASSWORD: &str = "correct horse battery staple";

fn format(name: &str) -> &'static Format {
    format_named(name).expect("a format of this name")
}

fn settings(said: &[(&str, &str)]) -> Settings {
    Settings::new(said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/exchange").join(file)
}

/// Reads a file as an import does: cut into records, each parsed on its own.
fn read_with(file: &str, name: &str, framing: Framing, said: &[(&str, &str)]) -> Vec<Result<PortableUser, String>> {
    let format = format(name);
    assert!(format.framings.contains(&framing), "{name} reads {framing:?}");
    let mut splitter = Splitter::new(File::open(path(file)).expect("the file"), framing);
    let mut context = Context::new(framing);
    let header = splitter.header().expect("a header");
    if framing == Framing::Csv {
        context.header = context.fields(&header).expect("the fields of the header");
    }
    context.settings = settings(said);
    let mut users = Vec::new();
    while let Some(piece) = splitter.next_piece().expect("a readable file") {
        let raw = piece.bytes.expect("a record within the limit");
        users.push((format.parse)(raw, &context).map_err(|fault| fault.to_string()));
    }
    users
}

/// The same, where nothing is expected to be wrong.
fn read(file: &str, name: &str, framing: Framing, said: &[(&str, &str)]) -> Vec<PortableUser> {
    let users = read_with(file, name, framing, said);
    users.into_iter().map(|user| user.unwrap_or_else(|fault| panic!("{file}: {fault}"))).collect()
}

/// Parses one record.
fn parse(name: &str, framing: Framing, raw: &str, said: &[(&str, &str)]) -> Result<PortableUser, String> {
    let mut context = Context::new(framing);
    context.settings = settings(said);
    (format(name).parse)(raw.as_bytes(), &context).map_err(|fault| fault.to_string())
}

/// What is wrong with one record in JSON.
fn fault(name: &str, record: &Value) -> String {
    fault_of(name, &record.to_string())
}

fn fault_of(name: &str, raw: &str) -> String {
    parse(name, Framing::Lines, raw, &[]).map(|_| ()).expect_err("a fault")
}

/// Everything about a user but the profile, to be compared as a whole.
fn shown(user: &PortableUser) -> Value {
    let names: Vec<Value> =
        user.names.iter().map(|name| json!([name.kind.as_str(), name.value, name.verified])).collect();
    let standing = match user.standing {
        Standing::Active => "active",
        Standing::Disabled => "disabled",
        Standing::Deleted => "deleted",
    };
    json!({
        "id": user.legacy_id.as_ref().map(LegacyId::to_json),
        "names": names,
        "standing": standing,
        "created": user.created_at.map(|at| at.0),
        "last_login": user.last_login_at.map(|at| at.0),
        "has_password": user.password.is_some(),
    })
}

fn encoded(user: &PortableUser) -> &str {
    user.password.as_ref().map_or("", |password| password.encoded.as_str())
}

/// The user who has this name.
fn named<'a>(users: &'a [PortableUser], name: &str) -> &'a PortableUser {
    let found = users.iter().find(|user| user.names.iter().any(|own| own.value == name));
    found.unwrap_or_else(|| panic!("nobody is called {name}"))
}

/// Nothing of a hash may be left in the profile, which is shown and rendered.
fn assert_no_hash_in_profile(users: &[PortableUser]) {
    for user in users {
        let profile = user.profile.to_string();
        for word in
            ["$2a$", "$2b$", "$argon2", "hashedSaltedValue", "password_hash\"", "passwordHash\"", "password_digest"]
        {
            assert!(!profile.contains(word), "{word} in {profile}");
        }
    }
}

/// Every user who has a hash can log in with the one password, and with no other.
fn assert_passwords_verify(users: &[PortableUser]) {
    assert!(users.iter().any(|user| user.password.is_some()));
    for user in users.iter().filter(|user| user.password.is_some()) {
        let text = encoded(user);
        assert_eq!(verify(text, PASSWORD), Ok(true), "{text}");
        assert_eq!(verify(text, "wrong"), Ok(false), "{text}");
    }
}

/// A user as the tests of writing need him.
fn a_user() -> PortableUser {
    PortableUser {
        legacy_id: LegacyId::from_json(&json!("4711")),
        names: vec![
            name(IdentifierKind::Email, "Ann@example.com", Some(true)),
            name(IdentifierKind::Username, "ann", None),
            name(IdentifierKind::Phone, "+4930123456", Some(false)),
        ],
        profile: json!({"given_name": "Ann", "family_name": "O'Hara", "shoe_size": 38}),
        password: Some(PortablePassword::new(ARGON2ID.to_owned(), PasswordNormalization::None)),
        origin: Some(Origin::Imported),
        created_at: Some(UnixSeconds(1_552_291_815)),
        last_login_at: Some(UnixSeconds(1_714_564_800)),
        ..PortableUser::default()
    }
}

fn name(kind: IdentifierKind, value: &str, verified: Option<bool>) -> PortableName {
    PortableName { kind, value: value.to_owned(), verified }
}

/// From the reference implementation's own tests.
const ARGON2ID: &str = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
const BCRYPT: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";
const PBKDF2: &str = "$pbkdf2-sha256$i=1000,l=32$c2l4dGVlbiBieXRlIHNsdA$Jt3nYeAYdNVHqyXmRKXcBkW0Ng8lHjTLTY5JxdwD2Ik";
const SHA256_SUFFIX: &str = "$sha256$pf=e1BBU1NXT1JEfXtTQUxUfQ==$c2FsdA==$n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=";
const HMAC: &str = "$hmac-sha256$n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=$a2V5";

fn with_hash(encoded: &str) -> PortableUser {
    let password = Some(PortablePassword::new(encoded.to_owned(), PasswordNormalization::None));
    PortableUser { password, ..a_user() }
}

/// A file with these users in it, what was carried of each, and what the operator is told.
struct Written {
    text: String,
    carried: Vec<Result<Carried, String>>,
    remarks: Vec<String>,
}

fn write_with(name: &str, users: &[PortableUser], hashes: Hashes, said: &[(&str, &str)]) -> Written {
    let options = WriteOptions { hashes, settings: settings(said), columns: Vec::new() };
    let write = format(name).write.expect("a format that is written");
    let mut writer: Box<dyn RecordWriter> = (write.open)(&options);
    let mut out = Vec::new();
    writer.start(&mut out);
    let mut carried = Vec::new();
    for user in users {
        let before = out.len();
        let one = writer.user(user, &mut out).map_err(|fault| fault.to_string());
        assert!(one.is_ok() || out.len() == before, "a user who is not written leaves nothing behind");
        carried.push(one);
    }
    writer.finish(&mut out);
    Written { text: String::from_utf8(out).expect("UTF-8"), carried, remarks: writer.remarks() }
}

fn write(name: &str, users: &[PortableUser]) -> Written {
    write_with(name, users, Hashes::Included, &[])
}

/// The one item of a JSON file with one user, at `path`.
fn item(name: &str, user: &PortableUser, path: &str) -> Value {
    let written = write(name, std::slice::from_ref(user));
    let file: Value = serde_json::from_str(&written.text).expect("JSON");
    let items = if path.is_empty() { &file } else { &file[path] };
    assert_eq!(items.as_array().map(Vec::len), Some(1), "{}", written.text);
    items[0].clone()
}

/// How a user who is not written is listed.
fn refusal(name: &str, user: &PortableUser) -> String {
    let written = write(name, std::slice::from_ref(user));
    written.carried.into_iter().next().and_then(Result::err).expect("a refusal")
}

/// What a product's schema says of an object: each key, and whether its value may be so. No other key is allowed.
type Schema = &'static [(&'static str, fn(&Value) -> bool)];

fn assert_fits(value: &Value, schema: Schema, needed: &[&str]) {
    let object = value.as_object().expect("an object");
    for (key, value) in object {
        let rule = schema.iter().find(|(name, _)| name == key);
        let (_, fits) = rule.unwrap_or_else(|| panic!("{key} is not in the schema"));
        assert!(fits(value), "{key}: {value}");
    }
    for key in needed {
        assert!(object.contains_key(*key), "{key} is missing in {value}");
    }
}

/// Registered through us: nobody vouched for what he said of himself.
fn self_made(profile: Value) -> PortableUser {
    PortableUser { profile, origin: Some(Origin::Registered), ..a_user() }
}

#[test]
fn deleted_users_are_written_for_nobody() {
    let deleted = PortableUser { standing: Standing::Deleted, ..a_user() };
    for format in authferry::exchange::FORMATS.iter().filter(|format| PRODUCTS.contains(&format.name)) {
        let reason = refusal(format.name, &deleted);
        assert_eq!(reason, "standing: he is deleted here, and would come back there", "{}", format.name);
    }
}

#[test]
fn hashes_that_are_not_wanted_are_nowhere_in_the_file() {
    for format in authferry::exchange::FORMATS.iter().filter(|format| PRODUCTS.contains(&format.name)) {
        for hash in [ARGON2ID, BCRYPT, PBKDF2] {
            let written = write_with(format.name, &[with_hash(hash)], Hashes::LeftOut, &[]);
            let tail = &hash[hash.len() - 20..];
            assert!(!written.text.contains(tail), "{}", format.name);
            assert!(!written.carried.contains(&Ok(Carried::Whole)), "{}", format.name);
        }
    }
}

#[test]
fn a_file_without_users_is_still_a_file_that_its_reader_takes() {
    for name in PRODUCTS {
        let text = write(name, &[]).text;
        match format(name).framings[0] {
            Framing::JsonItems { path } => {
                let file: Value = serde_json::from_str(&text).expect("JSON");
                let items = if path.is_empty() { &file } else { &file[path] };
                assert_eq!(items, &json!([]), "{name}");
            }
            Framing::Csv => assert_eq!(text.lines().count(), 1, "{name}"),
            Framing::Lines | Framing::CsvWithoutHeader => panic!("{name} is written as JSON or as CSV with a header"),
        }
    }
}

#[test]
fn truncated_and_doubled_records_are_faults_in_every_format() {
    for name in PRODUCTS {
        assert_eq!(
            fault_of(name, r#"{"id":"1","email":"ann@exam"#),
            "record: the JSON ends too early, at column 27",
            "{name}"
        );
        let twice = r#"{"email":"ann@example.com","email":"bob@example.com"}"#;
        assert_eq!(fault_of(name, twice), "record: the key `email` appears twice", "{name}");
        assert_eq!(fault_of(name, "[]"), "record: it is no JSON object", "{name}");
        assert_eq!(fault_of(name, "ann@example.com"), "record: no valid JSON, at column 1", "{name}");
    }
}

#[test]
fn each_file_is_told_for_what_it_is() {
    let array = Framing::JsonItems { path: "" };
    let users = Framing::JsonItems { path: "users" };
    for (file, name, framing) in [
        ("auth0/import.json", "auth0", array),
        ("auth0/export.ndjson", "auth0", Framing::Lines),
        ("auth0/hashes.ndjson", "auth0", Framing::Lines),
        ("keycloak/realm.json", "keycloak", users),
        ("kratos/identities.json", "kratos", array),
        ("kratos/batch.json", "kratos", Framing::JsonItems { path: "identities" }),
        ("fusionauth/import.json", "fusionauth", users),
        ("fusionauth/search.json", "fusionauth", users),
        ("firebase/users.json", "firebase", users),
        ("firebase/users.csv", "firebase", Framing::CsvWithoutHeader),
        ("cognito/list-users.json", "cognito", Framing::JsonItems { path: "Users" }),
        ("cognito/import.csv", "cognito", Framing::Csv),
        ("clerk/export.csv", "clerk", Framing::Csv),
        ("clerk/api.json", "clerk", array),
        ("supertokens/bulk.json", "supertokens", users),
        ("supertokens/users.json", "supertokens", users),
        ("supertokens/emailpassword_users.csv", "supertokens", Framing::Csv),
        ("django/dumpdata.json", "django", array),
        ("django/dumpdata.jsonl", "django", Framing::Lines),
        ("django/auth_user.postgres.csv", "django", Framing::Csv),
    ] {
        let bytes = std::fs::read(path(file)).expect("the file");
        let told = detect(Head { bytes: &bytes, whole: true }).unwrap_or_else(|why| panic!("{file}: {why}"));
        assert_eq!((told.format.name, told.framing), (name, framing), "{file}");
    }
}

#[test]
fn what_is_written_is_told_for_what_it_is() {
    let users = [a_user(), with_hash(BCRYPT)];
    for name in PRODUCTS {
        let text = write(name, &users).text;
        let told = detect(Head { bytes: text.as_bytes(), whole: true }).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!((told.format.name, told.framing), (name, format(name).framings[0]));
    }
}

/// The formats of this file, by their names.
const PRODUCTS: [&str; 9] =
    ["auth0", "keycloak", "kratos", "fusionauth", "firebase", "cognito", "clerk", "supertokens", "django"];

/// Whether a stored hash is that of a password, as an import that was given known credentials finds out.
fn verify(encoded: &str, password: &str) -> Result<bool, String> {
    let password = Password::new(Zeroizing::new(password.to_owned())).expect("a password");
    let matched = Trial::new(Terms::default()).matches(encoded, &password, PasswordNormalization::None);
    matched.map_err(|error| error.to_string())
}

//! The built binary on the files of other products: each is told for what it is, its hashes verify before anything is written, and a
//! whole migration from one product to two others loses nothing on the way.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::support::process::{Finished, run};

pub(super) fn folder() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let config = "[[listener]]\nbind = \"127.0.0.1:0\"\n[upstream]\nurl = \"http://127.0.0.1:9\"\n[store]\npath = \"users.redb\"\n\
                  [admin]\nbind = \"127.0.0.1:0\"\ntoken = { value = \"a-token-that-opens-nothing-anywhere\" }\n";
    fs::write(folder.path().join("proxy.toml"), config).expect("writable");
    folder
}

#[track_caller]
fn runs(folder: &TempDir, arguments: &[&str]) -> Finished {
    let finished = run(folder.path(), arguments);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished
}

#[test]
fn known_passwords_verify_in_every_products_file_before_it_is_imported() {
    let firebase: Vec<String> = firebase::PROJECT.iter().map(|(name, value)| format!("--set={name}={value}")).collect();
    let supertokens = vec![format!("--set={}={}", firebase::PROJECT[0].0, firebase::PROJECT[0].1)];
    for (file, known, more) in [
        ("auth0/import.json", "Ann@example.com", Vec::new()),
        ("keycloak/realm.json", "ann", Vec::new()),
        ("kratos/identities.json", "Ann@example.com", Vec::new()),
        ("fusionauth/import.json", "johnny123", Vec::new()),
        ("firebase/users.json", "ann@example.com", firebase.clone()),
        ("firebase/users.csv", "bob@example.com", firebase),
        ("clerk/export.csv", "ann", Vec::new()),
        ("supertokens/bulk.json", "ann@example.com", supertokens),
        ("django/dumpdata.json", "user.scrypt", Vec::new()),
        ("django/auth_user.postgres.csv", "user.argon2", Vec::new()),
    ] {
        let folder = folder();
        fs::write(folder.path().join("known.tsv"), format!("{known}\t{PASSWORD}\n")).expect("writable");
        let path = path(file).display().to_string();
        let mut arguments = vec!["import", path.as_str(), "--verify-credentials", "known.tsv", "--at-least", "1"];
        arguments.extend(more.iter().map(String::as_str));
        let finished = runs(&folder, &arguments);
        let name = file.split('/').next().expect("a name");
        assert!(format!("{}{}", finished.stdout, finished.stderr).contains(name), "{file}: {finished:?}");
    }
}

/// User `number` as Auth0 has him.
fn of_auth0(number: usize) -> Value {
    let mut user = json!({
        "user_id": format!("auth0|{number:024x}"), "email": format!("User{number}@Example.com"), "email_verified": number.is_multiple_of(2),
        "given_name": format!("Given {number}"), "family_name": "O'Hara, \"née\" Ünal", "app_metadata": {"plan": number % 5},
        "created_at": rfc3339(1_500_000_000 + number as u64), "blocked": number.is_multiple_of(7),
    });
    let more = match number % 3 {
        0 => {
            json!({"custom_password_hash": {"algorithm": "argon2", "hash": {"value": hash_of(number), "encoding": "utf8"}}})
        }
        1 => {
            json!({"custom_password_hash": {"algorithm": "pbkdf2", "hash": {"value": hash_of(number), "encoding": "utf8"}}})
        }
        _third => json!({"username": format!("user{number}")}),
    };
    user.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    user
}

fn rfc3339(seconds: u64) -> String {
    let at = jiff::Timestamp::from_second(i64::try_from(seconds).expect("a time")).expect("a time");
    format!("{at}")
}

/// A hash of its own for each user; of nobody's password.
fn hash_of(number: usize) -> String {
    use base64::Engine as _;
    let bare = |bytes: &[u8]| base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes);
    let (salt, hash) = (format!("salt of {number:08}"), format!("{number:032}"));
    match number % 3 {
        0 => format!("$argon2id$v=19$m=8192,t=2,p=1${}${}", bare(salt.as_bytes()), bare(hash.as_bytes())),
        _other => format!("$pbkdf2-sha256$i=1000,l=32${}${}", bare(salt.as_bytes()), bare(hash.as_bytes())),
    }
}

/// Items of all numbered files that an export has made, in order.
fn exported(folder: &TempDir, stem: &str, key: &str) -> Vec<Value> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(stem)))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "there are files of {stem}");
    let items = files.iter().flat_map(|file| {
        let mut file: Value = serde_json::from_slice(&fs::read(file).expect("a file")).expect("JSON");
        let items = file[key].take();
        items.as_array().expect("a list").clone()
    });
    items.collect()
}

#[test]
fn a_migration_from_auth0_to_keycloak_and_kratos_loses_nothing() {
    let count = if std::env::var_os("AUTHFERRY_LONG").is_some() { 100_000 } else { 2_500 };
    let (first, second) = (folder(), folder());
    let users: Vec<Value> = (0..count).map(of_auth0).collect();
    fs::write(first.path().join("auth0.json"), Value::Array(users.clone()).to_string()).expect("writable");
    runs(&first, &["import", "auth0.json"]);
    runs(&first, &["export", "--to", "own.jsonl"]);
    fs::copy(first.path().join("own.jsonl"), second.path().join("own.jsonl")).expect("a copy");
    runs(&second, &["import", "own.jsonl"]);
    runs(&second, &["export", "--to", "again.jsonl"]);
    let text = |folder: &TempDir, name: &str| fs::read(folder.path().join(name)).expect("a file");
    assert!(text(&first, "own.jsonl") == text(&second, "again.jsonl"), "our own file loses nothing");
    runs(&second, &["export", "--format", "keycloak", "--to", "keycloak.json", "--set", "realm=people"]);
    runs(&second, &["export", "--format", "kratos", "--split", "--to", "kratos.json"]);
    let (keycloak, kratos) = (exported(&second, "keycloak", "users"), exported(&second, "kratos", "identities"));
    assert_eq!((keycloak.len(), kratos.len()), (count, count));
    let by = |items: Vec<Value>, id: fn(&Value) -> &Value| -> std::collections::HashMap<String, Value> {
        items.into_iter().map(|item| (id(&item).as_str().expect("an id").to_owned(), item)).collect()
    };
    let keycloak = by(keycloak, |item| &item["id"]);
    let kratos = by(kratos, |item| &item["create"]["metadata_admin"]["legacy_id"]);
    for (number, user) in users.iter().enumerate() {
        let id = user["user_id"].as_str().expect("an id");
        let (there, create) = (&keycloak[id], &kratos[id]["create"]);
        let (verified, blocked) = (user["email_verified"] == true, user["blocked"] == true);
        assert_eq!((&there["email"], &there["emailVerified"]), (&user["email"], &user["email_verified"]), "{id}");
        assert_eq!(there["username"], *user.get("username").unwrap_or(&user["email"]), "{id}");
        assert_eq!((&there["firstName"], &there["lastName"]), (&user["given_name"], &user["family_name"]), "{id}");
        assert_eq!(there["enabled"], json!(!blocked), "{id}");
        assert_eq!(there["createdTimestamp"], json!((1_500_000_000 + number as u64) * 1_000), "{id}");
        let plan = json!([json!({"plan": number % 5}).to_string()]);
        assert_eq!(there["attributes"]["app_metadata"], plan, "{id}");
        assert_eq!(
            (&create["traits"]["email"], create["traits"].get("username")),
            (&user["email"], user.get("username")),
            "{id}"
        );
        assert_eq!(create["traits"]["name"], json!({"first": user["given_name"], "last": user["family_name"]}), "{id}");
        assert_eq!(create["verifiable_addresses"][0]["verified"] == true, verified, "{id}");
        assert_eq!(create["state"], json!(if blocked { "inactive" } else { "active" }), "{id}");
        assert_eq!(create["metadata_admin"]["legacy_profile"]["app_metadata"], user["app_metadata"], "{id}");
        let kept = &create["credentials"]["password"]["config"]["hashed_password"];
        let back = parse("keycloak", Framing::JsonItems { path: "users" }, &there.to_string(), &[]).expect("a user");
        if number % 3 == 2 {
            assert!(kept.is_null() && back.password.is_none(), "{id}");
        } else {
            assert_eq!((kept, encoded(&back)), (&json!(hash_of(number)), hash_of(number).as_str()), "{id}");
        }
    }
}

//! What is written, given to the software that it is written for. Needs the tools that `tests/real/exchange/make DIRECTORY` installs, in
//! `$AUTHFERRY_EXCHANGE_TOOLS`: `cargo test --test it -- --ignored exchange::originals`.

use std::process::Command;

use super::*;

fn tools() -> PathBuf {
    std::env::var_os("AUTHFERRY_EXCHANGE_TOOLS").map(PathBuf::from).expect("$AUTHFERRY_EXCHANGE_TOOLS")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/exchange").join(name)
}

/// What a program says, as JSON.
fn answer(command: &mut Command) -> Value {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
#[ignore = "needs the tools of tests/real/exchange/make"]
fn django_loads_them_and_lets_them_in() {
    let mut users = read("django/dumpdata.json", "django", Framing::JsonItems { path: "" }, &[]);
    let of_others = [
        ("auth0/import.json", "auth0", Framing::JsonItems { path: "" }, "argon2@example.com"),
        ("auth0/import.json", "auth0", Framing::JsonItems { path: "" }, "bcrypt@example.com"),
        ("clerk/export.csv", "clerk", Framing::Csv, "pbkdf2_sha256@example.com"),
        ("kratos/identities.json", "kratos", Framing::JsonItems { path: "" }, "md5@example.com"),
    ];
    for (file, name, framing, email) in of_others {
        let mut user = named(&read(file, name, framing, &[]), email).clone();
        user.names.retain(|name| name.kind == IdentifierKind::Email);
        user.names[0].value = format!("{name}.{email}");
        users.push(user);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("users.json");
    let written = write("django", &users);
    std::fs::write(&file, &written.text).expect("a file");
    let python = tools().join("venv/bin/python");
    let said = answer(Command::new(python).arg("-B").arg(script("django_load.py")).arg(&file).arg(PASSWORD));
    let said = said.as_array().expect("a list");
    assert_eq!(said.len(), users.len());
    for (user, carried) in users.iter().zip(&written.carried) {
        let username = user.names[0].value.as_str();
        let one = said.iter().find(|one| one["username"] == username).expect("he is there");
        assert_eq!(one["lets_in"], json!(*carried == Ok(Carried::Whole) && user.password.is_some()), "{username}");
        assert_eq!(one["refuses"], true, "{username}");
        assert_eq!(one["active"], json!(user.standing == Standing::Active), "{username}");
        assert_eq!(one["superuser"], json!(user.profile["is_superuser"] == true), "{username}");
        // A disabled user gets no mail either way.
        let has_mail = user.names.iter().any(|name| name.kind == IdentifierKind::Email);
        assert_eq!(one["can_reset"], json!(has_mail && user.standing == Standing::Active), "{username}");
        if let Some(UnixSeconds(at)) = user.created_at {
            assert_eq!(one["joined"], at, "{username}");
        }
    }
}

#[test]
#[ignore = "needs the tools of tests/real/exchange/make"]
fn firebase_tools_has_nothing_against_them() {
    let users = [a_user(), with_hash(BCRYPT), PortableUser { standing: Standing::Disabled, ..a_user() }];
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("users.json");
    let written = write_with("firebase", &users, Hashes::Included, &[("hash-algo", "BCRYPT")]);
    std::fs::write(&file, &written.text).expect("a file");
    let mut node = Command::new("node");
    node.env("NODE_PATH", tools().join("node_modules"));
    let said = answer(node.arg(script("firebase_check.js")).arg(&file));
    let fine = json!({"id": "4711", "error": null});
    assert_eq!(said, json!([fine, fine, fine]));
}

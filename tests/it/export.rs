//! `authferry export` with the built binary: what comes out is what is in the store, comes back without loss, and converts into what other
//! products read. Works with whatever formats the table has.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use authferry::domain::clock::UnixSeconds;
use authferry::domain::credential::AbsentBecause;
use authferry::domain::identifier::IdentifierKind;
use authferry::domain::password::PasswordNormalization;
use authferry::domain::user::{LegacyId, Origin, Standing};
use authferry::exchange::{
    Broken, Carried, Context, FORMATS, Format, Framing, Hashes, Made, Notes, PortableName, PortablePassword,
    PortableRoster, PortableUser, Settings, Splitter, WriteOptions, format_named, header_fields, jsonl,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::process::{Finished, run};

const BCRYPT: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";
const ARGON2ID: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";

fn folder() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let config = "[[listener]]\nbind = \"127.0.0.1:0\"\n[upstream]\nurl = \"http://127.0.0.1:9\"\n[store]\npath = \"users.redb\"\n\
                  [admin]\nbind = \"127.0.0.1:0\"\ntoken = { value = \"only-for-tests\" }\n";
    fs::write(folder.path().join("proxy.toml"), config).expect("writable");
    folder
}

#[track_caller]
fn ran(folder: &TempDir, code: i32, arguments: &[&str]) -> Finished {
    let finished = run(folder.path(), arguments);
    assert_eq!(finished.code, Some(code), "{arguments:?}: {finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
    finished
}

fn read(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A user of whom as much is known as can be, of many kinds.
fn user(number: u64) -> PortableUser {
    let name = |kind, value: String, verified| PortableName { kind, value, verified };
    let mut names =
        vec![name(IdentifierKind::Email, format!("User.{number}@Example.com"), Some(number.is_multiple_of(3)))];
    if number.is_multiple_of(4) {
        names.push(name(IdentifierKind::Username, format!("user{number}"), None));
    }
    if number.is_multiple_of(5) {
        names.push(name(IdentifierKind::Phone, format!("+49 151 {:07}", number), Some(true)));
    }
    let standing = match number % 11 {
        0 => Standing::Deleted,
        1 => Standing::Disabled,
        _ => Standing::Active,
    };
    let is_gone = standing == Standing::Deleted;
    let (encoded, made) = if number.is_multiple_of(2) { (BCRYPT, Made::Elsewhere) } else { (ARGON2ID, Made::Here) };
    let password = (!is_gone && !number.is_multiple_of(7)).then(|| PortablePassword {
        made,
        ..PortablePassword::new(
            encoded.to_owned(),
            if number.is_multiple_of(13) { PasswordNormalization::Nfkc } else { PasswordNormalization::None },
        )
    });
    if is_gone {
        for name in &mut names {
            name.value = match name.kind {
                IdentifierKind::Phone => name.value.chars().filter(char::is_ascii_digit).collect(),
                IdentifierKind::Email | IdentifierKind::Username => name.value.to_lowercase(),
            };
            name.verified = None;
        }
    }
    PortableUser {
        id: Some(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number))),
        legacy_id: LegacyId::from_json(&if number.is_multiple_of(3) {
            json!(format!("legacy-{number}"))
        } else {
            json!(number)
        }),
        names,
        reserved: (number % 9 == 4)
            .then(|| name(IdentifierKind::Username, format!("former{number}"), None))
            .into_iter()
            .collect(),
        profile: if is_gone {
            Value::Null
        } else {
            json!({"name": format!("Üser \"{number}\", =1+1"), "roles": ["a", number % 2], "n": {"deep": [1.5, null, true]}})
        },
        without_password: password.is_none().then_some(if is_gone || number.is_multiple_of(2) {
            AbsentBecause::ResetAtLegacy
        } else {
            AbsentBecause::Roster
        }),
        password,
        standing,
        origin: Some([Origin::Migrated, Origin::Registered, Origin::Imported, Origin::Roster][(number % 4) as usize]),
        created_at: Some(UnixSeconds(1_500_000_000 + number)),
        updated_at: Some(UnixSeconds(1_600_000_000 + number)),
        legacy_vouched_at: (number % 3 == 1).then_some(UnixSeconds(1_650_000_000 + number)),
        last_login_at: (!is_gone && number % 2 == 1).then_some(UnixSeconds(1_700_000_000 + number)),
        roster: (!is_gone && number.is_multiple_of(6))
            .then_some(PortableRoster { last_seen: Some(UnixSeconds(1_400_000_000)), value: Some(number) }),
        notes: Notes::default(),
    }
}

fn as_line(user: &PortableUser) -> String {
    let mut line = Vec::new();
    jsonl::append(user, Hashes::Included, &mut line);
    String::from_utf8(line).expect("JSON is UTF-8")
}

/// Reads a file of a format as an import does.
fn parsed(text: &[u8], format: &Format, framing: Framing) -> Vec<PortableUser> {
    let mut splitter = Splitter::new(text, framing);
    let mut context = Context::new(framing);
    let header = splitter.header().expect("readable");
    if !header.is_empty() {
        context.header = header_fields(&header).expect("a header");
    }
    let mut users = Vec::new();
    loop {
        match splitter.next_piece() {
            Ok(Some(piece)) => {
                let raw = piece.bytes.expect("small");
                users.push((format.parse)(raw, &context).unwrap_or_else(|fault| panic!("{}: {fault}", format.name)));
            }
            Ok(None) => return users,
            Err(Broken::Read(_) | Broken::At { .. } | Broken::Changed(_)) => {
                panic!("{} wrote what it cannot read", format.name)
            }
        }
    }
}

/// A user's hash. The makers of bcrypt differ in the letter, and not in the hash; some products write one of them always. Django names
/// the algorithm once more in front.
fn hash(user: &PortableUser) -> Option<String> {
    let encoded = user.password.as_ref()?.encoded.as_str();
    let encoded = encoded.strip_prefix("bcrypt$").unwrap_or(encoded);
    let encoded = encoded.strip_prefix("argon2").filter(|rest| rest.starts_with("$argon2")).unwrap_or(encoded);
    let bcrypt = ["$2a$", "$2b$", "$2y$"].iter().find_map(|start| encoded.strip_prefix(start));
    Some(bcrypt.map_or_else(|| encoded.to_owned(), |rest| format!("$2b${rest}")))
}

fn email(user: &PortableUser) -> Option<String> {
    let name = user.names.iter().find(|name| name.kind == IdentifierKind::Email);
    name.map(|name| name.value.to_lowercase())
}

#[test]
fn everything_that_is_exported_as_our_own_comes_back_the_same() {
    for (format, file) in [("jsonl", "users.jsonl"), ("csv", "users.csv")] {
        let first = folder();
        let users: Vec<PortableUser> = (1..=300).map(user).collect();
        let text: String = users.iter().map(as_line).collect();
        fs::write(first.path().join("in.jsonl"), &text).expect("writable");
        ran(&first, 0, &["import", "in.jsonl"]);
        ran(&first, 0, &["export", "--format", format, "--to", file]);
        let mode = fs::metadata(first.path().join(file)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let second = folder();
        fs::copy(first.path().join(file), second.path().join(file)).expect("a copy");
        let done = ran(&second, 0, &["import", file]);
        assert!(done.stderr.contains(&format!("{file} is {format}")), "{done:?}");
        ran(&second, 0, &["export", "--to", "out.jsonl"]);
        assert_eq!(read(&second, "out.jsonl"), text, "through {format}");
    }
}

#[test]
fn an_export_is_refused_rather_than_overwrites_or_shows() {
    let folder = folder();
    assert!(ran(&folder, 1, &["export", "--to", "x"]).stderr.contains("there is no store at users.redb yet"));
    ran(&folder, 2, &["export", "--to", "x", "--admin", "http://127.0.0.1:9"]);
    fs::write(folder.path().join("in.jsonl"), as_line(&user(2))).expect("writable");
    ran(&folder, 0, &["import", "in.jsonl"]);
    fs::write(folder.path().join("x"), "precious").expect("writable");
    assert!(ran(&folder, 2, &["export", "--to", "x"]).stderr.contains("--force"));
    assert_eq!(read(&folder, "x"), "precious");
    ran(&folder, 0, &["export", "--to", "x", "--force"]);
    assert_eq!(read(&folder, "x"), as_line(&user(2)));
    ran(&folder, 2, &["export", "--format", "guess"]);
    ran(&folder, 2, &["export", "--set", "a=b"]);
    ran(&folder, 2, &["export", "--store", "absent.redb"]);
    ran(&folder, 3, &["export", "--to", "no/such/folder/x"]);
    let left: Vec<String> = fs::read_dir(folder.path())
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(".part") || name.contains("scratch"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn without_hashes_there_is_none_and_standard_output_has_the_users_alone() {
    let folder = folder();
    fs::write(folder.path().join("in.jsonl"), format!("{}{}", as_line(&user(2)), as_line(&user(3)))).expect("writable");
    ran(&folder, 0, &["import", "in.jsonl"]);
    for format in ["jsonl", "csv"] {
        let shown = ran(&folder, 0, &["export", "--no-hashes", "--format", format]);
        assert!(
            shown.stdout.contains("2@") && !shown.stdout.contains("$2b$") && !shown.stdout.contains("$argon2"),
            "{shown:?}"
        );
        assert!(shown.stderr.contains("2 users") && shown.stderr.contains("hashes were left out"), "{shown:?}");
    }
    let backup = folder.path().join("backup.redb");
    fs::copy(folder.path().join("users.redb"), &backup).expect("a copy");
    let shown = ran(&folder, 0, &["export", "--store", "backup.redb"]);
    assert_eq!(shown.stdout, format!("{}{}", as_line(&user(2)), as_line(&user(3))));
}

#[test]
fn r112_a_table_has_no_formula_in_it() {
    let folder = folder();
    let mut evil = user(2);
    evil.names[0].value = "=cmd|'/c'!A1@x.y".to_owned();
    evil.legacy_id = LegacyId::from_json(&json!("@SUM(1)"));
    fs::write(folder.path().join("in.jsonl"), as_line(&evil)).expect("writable");
    ran(&folder, 0, &["import", "in.jsonl"]);
    let table = ran(&folder, 0, &["export", "--format", "csv"]).stdout;
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let header = reader.headers().expect("a header").clone();
    for row in reader.records() {
        for (column, cell) in header.iter().zip(&row.expect("a row")) {
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{column}: {cell}");
        }
    }
    fs::write(folder.path().join("out.csv"), &table).expect("writable");
    let second = self::folder();
    fs::write(second.path().join("out.csv"), table).expect("writable");
    ran(&second, 0, &["import", "out.csv"]);
    ran(&second, 0, &["export", "--to", "out.jsonl"]);
    assert_eq!(read(&second, "out.jsonl"), as_line(&evil));
}

/// What every format that is written must say of a user who was exported, when its own file is read again.
#[test]
fn every_format_that_is_written_reads_its_own_file_back() {
    let users: Vec<PortableUser> = (1..=200).map(user).filter(|user| user.standing != Standing::Deleted).collect();
    for format in FORMATS {
        let Some(write) = format.write else { continue };
        let options = WriteOptions { hashes: Hashes::Included, settings: Settings::default(), columns: Vec::new() };
        let (mut writer, mut out) = ((write.open)(&options), Vec::new());
        writer.start(&mut out);
        let mut carried: BTreeMap<Option<String>, (&PortableUser, Carried)> = BTreeMap::new();
        for user in &users {
            match writer.user(user, &mut out) {
                Ok(how) => drop(carried.insert(email(user), (user, how))),
                Err(fault) => assert!(!fault.to_string().contains('$'), "{}: {fault}", format.name),
            }
        }
        writer.finish(&mut out);
        assert!(!carried.is_empty(), "{} takes nobody", format.name);
        let back = parsed(&out, format, format.framings[0]);
        assert_eq!(back.len(), carried.len(), "{}", format.name);
        for read in &back {
            let (user, how) = carried[&email(read)];
            match how {
                Carried::Whole => assert_eq!(hash(read), hash(user), "{}", format.name),
                Carried::WithoutPassword => assert_eq!(hash(read), None, "{}", format.name),
            }
        }
    }
}

#[test]
fn users_of_another_product_go_through_our_own_file_into_further_products() {
    let count: u64 = if std::env::var_os("AUTHFERRY_LONG").is_some() { 100_000 } else { 2_000 };
    let Some((auth0, write)) = format_named("auth0").and_then(|format| Some((format, format.write?))) else {
        // A table without it has nothing to come from.
        return;
    };
    let options = WriteOptions { hashes: Hashes::Included, settings: Settings::default(), columns: Vec::new() };
    let (mut writer, mut out) = ((write.open)(&options), Vec::new());
    writer.start(&mut out);
    for number in 1..=count {
        let mut one = user(number);
        one.standing = Standing::Active;
        let _those_whom_auth0_takes = writer.user(&one, &mut out);
    }
    writer.finish(&mut out);
    let came: BTreeMap<_, _> =
        parsed(&out, auth0, auth0.framings[0]).into_iter().map(|user| (email(&user), user)).collect();

    let first = folder();
    fs::write(first.path().join("auth0.json"), &out).expect("writable");
    ran(&first, 0, &["import", "auth0.json", "--format", "auth0"]);
    ran(&first, 0, &["export", "--to", "own.jsonl"]);
    let second = folder();
    fs::copy(first.path().join("own.jsonl"), second.path().join("own.jsonl")).expect("a copy");
    ran(&second, 0, &["import", "own.jsonl"]);
    ran(&second, 0, &["export", "--to", "own-again.jsonl"]);
    assert!(read(&first, "own.jsonl") == read(&second, "own-again.jsonl"), "our own file loses nothing");

    for format in FORMATS.iter().filter(|format| format.write.is_some()) {
        let exported = run(second.path(), &["export", "--format", format.name, "--to", format.name]);
        assert!(matches!(exported.code, Some(0 | 1)), "{}: {exported:?}", format.name);
        let text = fs::read(second.path().join(format.name)).expect("written");
        let back = parsed(&text, format, format.framings[0]);
        assert!(!back.is_empty(), "{}", format.name);
        for read in &back {
            let user =
                came.get(&email(read)).unwrap_or_else(|| panic!("{}: nobody has {:?}", format.name, email(read)));
            let verified = |user: &PortableUser| {
                let name = user.names.iter().find(|name| name.kind == IdentifierKind::Email);
                name.and_then(|name| name.verified)
            };
            // Some products have no place for it.
            if let Some(flag) = verified(read) {
                assert_eq!(flag, verified(user).unwrap_or_default(), "{}", format.name);
            }
            assert_eq!(read.standing, user.standing, "{}", format.name);
            if hash(read).is_some() {
                assert_eq!(hash(read), hash(user), "{}: a hash of another", format.name);
            }
        }
    }
}

#[test]
fn r56_a_peppered_store_comes_back_wherever_the_pepper_is() {
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let pepper =
        format!("[password]\npepper = {{ hash_with = \"2026\", keys = {{ 2026 = {{ value = \"{key}\" }} }} }}\n");
    let configure = |folder: &TempDir, more: &str| {
        let path = folder.path().join("proxy.toml");
        let config = fs::read_to_string(&path).expect("there");
        fs::write(path, config + more).expect("writable");
    };
    let (first, second, third) = (folder(), folder(), folder());
    configure(&first, &pepper);
    configure(&second, &pepper);
    let mut peppered = user(3);
    let hash = ARGON2ID.replace(",p=1$", ",p=1,keyid=MjAyNg$");
    peppered.password =
        Some(PortablePassword { made: Made::Here, ..PortablePassword::new(hash, PasswordNormalization::None) });
    fs::write(first.path().join("in.jsonl"), as_line(&peppered)).expect("writable");
    ran(&first, 0, &["import", "in.jsonl"]);
    ran(&first, 0, &["export", "--to", "own.jsonl"]);
    for folder in [&second, &third] {
        fs::copy(first.path().join("own.jsonl"), folder.path().join("own.jsonl")).expect("a copy");
    }
    ran(&second, 0, &["import", "own.jsonl"]);
    ran(&second, 0, &["export", "--to", "again.jsonl"]);
    assert_eq!(read(&second, "again.jsonl"), as_line(&peppered));
    ran(&third, 1, &["import", "own.jsonl", "--rejects", "bad"]);
    assert!(read(&third, "bad.reasons.jsonl").contains("secret key that is not configured"));
}

#[test]
fn r53_a_hash_under_the_configured_parameters_is_never_over_the_bounds() {
    let mut costly = user(3);
    let hash = ARGON2ID.replace("m=19456", "m=524288");
    costly.password =
        Some(PortablePassword { made: Made::Here, ..PortablePassword::new(hash, PasswordNormalization::None) });
    let folder = folder();
    fs::write(folder.path().join("in.jsonl"), as_line(&costly)).expect("writable");
    ran(&folder, 1, &["import", "in.jsonl", "--rejects", "bad"]);
    assert!(read(&folder, "bad.reasons.jsonl").contains("over the bounds"));
    let path = folder.path().join("proxy.toml");
    let config = fs::read_to_string(&path).expect("there");
    fs::write(path, config + "[password]\nargon2id = { memory = \"512MiB\", iterations = 2, parallelism = 1 }\n")
        .expect("writable");
    ran(&folder, 0, &["import", "in.jsonl", "--restart"]);
}

#[test]
fn r96_around_damage_everybody_else_is_exported_and_who_is_missing_is_told() {
    let folder = folder();
    let all: Vec<u8> = (1..400).fold(Vec::new(), |mut text, number| {
        jsonl::append(&user(number), Hashes::Included, &mut text);
        text
    });
    fs::write(folder.path().join("in.jsonl"), all).expect("writable");
    ran(&folder, 0, &["import", "in.jsonl"]);
    let export = ["export", "--store", "damaged.redb", "--to", "out.jsonl", "--force"];
    let whole = fs::read(folder.path().join("users.redb")).expect("the store");
    fs::write(folder.path().join("damaged.redb"), &whole).expect("writable");
    ran(&folder, 0, &export);
    let everybody: Vec<Value> = ids(&read(&folder, "out.jsonl"));

    let struck = (4..whole.len() / 4_096).find(|block| {
        let mut damaged = whole.clone();
        damaged[block * 4_096 + 2_000] ^= 0x20;
        fs::write(folder.path().join("damaged.redb"), damaged).expect("writable");
        let ended = run(folder.path(), &export);
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        ended.code == Some(1) && ended.stderr.contains("his record is damaged")
    });
    assert!(struck.is_some(), "no block holds a record");
    let ended = ran(&folder, 1, &export);
    let written = ids(&read(&folder, "out.jsonl"));
    let lost = everybody.len() - written.len();
    assert!(lost > 0 && lost < 100 && written.iter().all(|id| everybody.contains(id)), "{lost} lost");
    let told = format!("the store is damaged: {lost} user");
    assert!(ended.stderr.contains(&told) && ended.stderr.contains("export --store BACKUP"), "{told}: {ended:?}");
    let named = ended.stderr.lines().filter(|line| line.contains("his record is damaged")).count();
    assert_eq!(named, lost.min(20), "{ended:?}");
}

fn ids(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["id"].clone()).collect()
}

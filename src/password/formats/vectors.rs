//! Hashes made by the software that makes them in the world (`tests/real/passwords/make`), verified one by one: the right password is
//! accepted, every other refused, and a record of each comes out of a login as Argon2id.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::tests::matches;
use super::*;

#[derive(Deserialize)]
struct Row {
    format: String,
    made_by: String,
    password: String,
    hash: String,
    /// How a bare hash is declared.
    template: Option<String>,
    /// As costly as its maker ships it.
    #[serde(default)]
    slow: bool,
}

/// bcrypt looks at so many bytes.
const BCRYPT_BYTES: usize = 72;

fn rows() -> Vec<Row> {
    serde_json::from_str(include_str!("../../../tests/it/fixtures/passwords.json")).expect("rows")
}

/// Flask-Security's own test key.
fn terms() -> Terms {
    let key = Zeroizing::new(b"146585145368132386173505678016728509634".to_vec());
    Terms { bounds: Bounds::default(), keys: PrehashKeys::new(BTreeMap::from([("flask".to_owned(), key)])) }
}

fn check(row: &Row, password: &[u8]) -> Result<bool, NoAnswer> {
    let encoded = match &row.template {
        Some(template) => declare(&row.hash, None, &Declaration::new(template).expect("a template")).expect("a digest"),
        None => Zeroizing::new(row.hash.clone()),
    };
    verify(&encoded, password, &terms(), &mut Arena::new(0, super::super::arena::Allowance::new()))
}

/// Whether bcrypt sees the password itself, and cannot tell these two apart: it is given a NUL byte more, and repeats it all.
fn is_cut(row: &Row, other: &[u8]) -> bool {
    let sees_it = matches!(row.format.as_str(), "bcrypt" | "django-bcrypt");
    let seen = |password: &[u8]| -> Vec<u8> {
        let given = [password, b"\0"].concat();
        given.iter().copied().cycle().take(BCRYPT_BYTES).collect()
    };
    sees_it && seen(row.password.as_bytes()) == seen(other)
}

/// Whether the password is the key of an HMAC. Keys are filled up with zeros there (RFC 2104, section 2), so that one with a NUL byte at
/// its end is the same key: everywhere, not here alone.
fn is_hmac_key(row: &Row) -> bool {
    ["pbkdf2", "scrypt", "aspnet"].iter().any(|family| row.format.contains(family))
}

/// Passwords that differ from a row's in what software gets wrong: the last byte, case, length, what follows a NUL.
fn others(row: &Row) -> Vec<Vec<u8>> {
    let password = row.password.as_str();
    let bytes = password.as_bytes();
    let mut others = vec![[bytes, b"x"].concat(), [b" ", bytes].concat(), b"another".to_vec()];
    if !is_hmac_key(row) {
        others.push([bytes, b"\0"].concat());
    }
    if let Some((last, rest)) = bytes.split_last() {
        others.push(rest.to_vec());
        others.push([rest, &[last ^ 1]].concat());
        others.push(password.to_uppercase().into_bytes());
        others.push(password.trim().as_bytes().to_vec());
        others.extend(password.split('\0').next().map(|before| before.as_bytes().to_vec()));
    }
    others.retain(|other| other != bytes);
    others
}

fn verified(rows: &[Row]) {
    for row in rows {
        let shown = format!("{} by {}: {:?} {}", row.format, row.made_by, row.password, row.hash);
        assert_eq!(check(row, row.password.as_bytes()), Ok(true), "{shown}");
        for other in others(row) {
            let expected = is_cut(row, &other);
            assert_eq!(check(row, &other), Ok(expected), "{shown}: {:?}", String::from_utf8_lossy(&other));
        }
    }
}

#[test]
fn every_makers_own_hashes_verify_and_no_other_password_does() {
    let mut rows = rows();
    rows.retain(|row| !row.slow);
    assert!(rows.len() > 400, "{} rows", rows.len());
    verified(&rows);
}

#[test]
fn hashes_as_costly_as_their_makers_ship_them_verify() {
    let mut rows = rows();
    rows.retain(|row| row.slow);
    assert!(!rows.is_empty());
    for row in &rows {
        assert_eq!(check(row, row.password.as_bytes()), Ok(true), "{} by {}", row.format, row.made_by);
    }
}

#[test]
fn there_is_a_hash_of_another_maker_for_every_format_but_our_own() {
    let made: BTreeSet<String> = rows().into_iter().map(|row| row.format).collect();
    // Nobody publishes a vector of these: they are checked by their formula, in their own files and below.
    let by_formula = ["wrapped", "drupal-updated"];
    let known: BTreeSet<String> =
        all().map(|about| about.name.to_owned()).filter(|name| !by_formula.contains(&&**name)).collect();
    assert_eq!(made, known);
}

#[test]
fn each_is_read_by_the_format_that_it_is_of_and_written_as_it_was() {
    // What is written in one text whatever it was read from, or without a prefix that says nothing.
    let rewritten = [
        "digest",
        "werkzeug-hmac",
        "django-digest",
        "joomla",
        "ldap",
        "ldap-crypt",
        "mediawiki-md5",
        "django-bcrypt",
        "prefixed-argon2",
    ];
    for row in rows().iter().filter(|row| row.template.is_none()) {
        let (about, stored) = read(&row.hash, &terms()).unwrap_or_else(|why| panic!("{}: {why}", row.hash));
        assert_eq!(about.name, row.format, "{}", row.hash);
        if !rewritten.contains(&about.name) {
            assert_eq!(stored.scheme.encode(&stored.digest).as_str(), row.hash);
        }
    }
}

#[test]
fn drupals_updated_hashes_follow_their_formula() {
    // The hash of the MD5 of the password, as hex text. The password of this row is "hashcat".
    let plain = rows().into_iter().find(|row| row.format == "drupal").expect("a row").hash;
    assert_eq!(matches(&format!("U{plain}"), b"hashcat"), Ok(false));
    let md5 = text::to_hex(&digest::Algorithm::Md5.of(b"hashcat"));
    let (_, stored) = read(&plain, &Terms::default()).expect("a hash");
    let of_md5 = stored.scheme.digest(md5.as_bytes(), &mut Arena::new(0, super::super::arena::Allowance::new()));
    let updated = format!("U{}", *stored.scheme.encode(&of_md5.expect("a digest")));
    assert_eq!(matches(&updated, b"hashcat"), Ok(true));
    assert_eq!(matches(&updated, md5.as_bytes()), Ok(false), "the digest is no password");
    assert_eq!(matches(&plain, &[b'x'; 513]), Ok(false), "Drupal refuses what is longer than 512 bytes");
}

#[test]
fn every_weak_one_can_be_wrapped_and_then_verifies_as_before() {
    let params = WrapParams { memory_kib: 64, iterations: 1, parallelism: 1 };
    let mut wrapper = Wrapper::new(params, terms()).expect("parameters");
    let mut wrapped = BTreeSet::new();
    for row in rows().iter().filter(|row| row.template.is_none() && !row.slow) {
        let Some(text) = wrapper.wrap(&row.hash).expect("usable") else { continue };
        let (about, stored) = read(&row.hash, &terms()).expect("usable");
        if wrapped.insert(about.name) {
            let nothing = stored.scheme.encode(&vec![stored.scheme.filler(); stored.digest.len()]);
            assert!(text.ends_with(nothing.as_str()) && *nothing != row.hash, "{}", *text);
            assert_eq!(matches(&text, row.password.as_bytes()), Ok(true), "{}", *text);
            assert_eq!(matches(&text, b"another"), Ok(false), "{}", *text);
            assert_eq!(wrapper.wrap(&text), Ok(None), "once is enough");
        }
    }
    let can_be: BTreeSet<&str> = all().filter(|about| about.wraps != Wraps::Never).map(|about| about.name).collect();
    let missing: Vec<&&str> = can_be.difference(&wrapped).collect();
    // There is no row of it.
    assert_eq!(missing, [&"drupal-updated"]);
}

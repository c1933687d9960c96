//! A file of each format in which rows are wrong in the ways in which they are in the world: the built binary takes the others, says of
//! each wrong one where it is and what is wrong with it, and keeps it as it came. And each format's good file, cut short.

use std::fs;

use super::command::folder;
use super::*;
use crate::support::process::run;

/// A file, what has to be said of it, how many of its rows are good, and what is said of the others: their number, field and problem.
type Case = (&'static str, &'static [&'static str], u64, &'static [(u64, &'static str)]);

const CASES: [Case; 11] = [
    (
        "auth0/broken.json",
        &[],
        2,
        &[
            (2, "email: is missing, and so are `username` and `phone_number`"),
            (3, "password_hash: is no bcrypt hash"),
            (4, "email_verified: must be true or false"),
            (5, "custom_password_hash.algorithm: `md4` is not supported"),
            (6, "email: the identifier begins or ends with white space"),
            (7, "email: the email belongs to another user"),
            (8, "record: the key `email` appears twice"),
            (9, "created_at: must be a time as in 2024-05-01T12:00:00Z"),
            (10, "record: it is no JSON object"),
        ],
    ),
    (
        "keycloak/broken.json",
        &[],
        2,
        &[
            (2, "username: is missing"),
            (3, "serviceAccountClientId: this is the account of the client `app`"),
            (4, "credentials[0].credentialData: the algorithm `whirlpool` is not supported"),
            (5, "credentials[0].secretData: as JSON, the JSON ends too early, at column 1"),
            (6, "credentials[0].value: is a password in plain text; only hashes are taken"),
            (7, "enabled: must be true or false"),
            (8, "username: the username belongs to another user"),
            (9, "password: the parameters of the hash are over the bounds"),
        ],
    ),
    (
        "kratos/broken.json",
        &[],
        1,
        &[
            (2, "credentials.password.config.hashed_password: is of a kind that is not supported, or malformed"),
            (3, "traits: holds no email, username or phone, and there are no addresses"),
            (4, "state: must be `active` or `inactive`"),
            (5, "traits: is missing"),
            (6, "verifiable_addresses[0].via: must be `email` or `sms`"),
            (7, "credentials.password.config.password: is a password in plain text; only hashes are taken"),
            (8, "password: the parameters of the hash are over the bounds"),
            (9, "created_at: must be a time as in 2024-05-01T12:00:00Z"),
        ],
    ),
    (
        "fusionauth/broken.json",
        &[],
        1,
        &[
            (2, "password: has no `encryptionScheme`, so it is in plain text; only hashes are taken"),
            (3, "encryptionScheme: `phpass-sha512` is not supported"),
            (4, "factor: must be 1 or more"),
            (5, "factor: is far too large"),
            (6, "identities[0].type: must be `email`, `phoneNumber` or `username`"),
            (7, "email: is missing, and so are `username` and `phoneNumber`"),
            (8, "active: must be true or false"),
            (9, "insertInstant: must be a time in milliseconds since 1970"),
        ],
    ),
    (
        "firebase/broken.json",
        &FIREBASE,
        1,
        &[
            (2, "passwordHash: is not base64"),
            (3, "salt: is missing"),
            (4, "passwordHash: is not as long as the signer key, as Firebase's are"),
            (5, "email: is missing, and so is `phoneNumber`: he is anonymous"),
            (6, "localId: is missing"),
            (7, "emailVerified: must be true or false"),
            (8, "createdAt: must be a time in milliseconds since 1970"),
            (9, "mfaInfo: must be a list"),
        ],
    ),
    (
        "cognito/broken.csv",
        &[],
        2,
        &[
            (2, "cognito:username: is missing"),
            (3, "email_verified: must be true or false"),
            (4, "record: it has 3 fields, and the header has 21"),
            (5, "email: the email belongs to another user"),
        ],
    ),
    (
        "clerk/broken.csv",
        &[],
        2,
        &[
            (2, "primary_email_address: is missing, and so are all other addresses and names"),
            (3, "password_hasher: is missing"),
            (4, "password_digest: is no digest as `bcrypt` has them"),
            (5, "password_hasher: `bcrypt_peppered` is not supported"),
            (6, "record: it has 2 fields, and the header has 13"),
            (7, "email: the email belongs to another user"),
        ],
    ),
    (
        "supertokens/broken.json",
        &["--set", "signer-key=a2V5"],
        1,
        &[
            (2, "loginMethods[0].hashingAlgorithm: `argon2` is not what the hash is"),
            (3, "loginMethods[0].passwordHash: is no bcrypt, Argon2 or Firebase hash"),
            (4, "loginMethods[0].plainTextPassword: is a password in plain text; only hashes are taken"),
            (5, "loginMethods: holds no email and no phone number"),
            (6, "loginMethods[0].recipeId: `pigeon` is not known"),
            (7, "loginMethods: has more than one password; a user here has one"),
            (8, "loginMethods[0].passwordHash: is no Firebase hash as SuperTokens writes them"),
            (9, "loginMethods[0].timeJoinedInMSSinceEpoch: must be a time in milliseconds since 1970"),
        ],
    ),
    (
        "django/broken.json",
        &[],
        1,
        &[
            (2, "password: is no password as Django stores them"),
            (3, "password: is of no hasher of Django's own"),
            (4, "password: the hash is malformed"),
            (5, "date_joined: must be a time as in 2024-05-01T12:00:00Z"),
            (6, "model: `auth.group` is no user model, for it has no password; dump only the user model"),
            (7, "is_active: must be true or false"),
            (8, "username: the username belongs to another user"),
            (9, "username: is missing, and so is `email`"),
            (10, "password: the parameters of the hash are over the bounds"),
        ],
    ),
    (
        "csv/broken.csv",
        &[],
        2,
        &[
            (2, "password: the hash is of no known format"),
            (3, "enabled: it is neither true nor false, yes nor no, 1 nor 0"),
            (4, "created_at: it is no time that is known; write 2026-01-31T12:00:00Z, or seconds since 1970"),
            (5, "record: it has 5 fields, and the header has 6"),
            (6, "record: something follows the closing quote of a field"),
            (7, "record: it is not UTF-8"),
            (8, "password: the hash is of no known format; there is white space around it"),
            (9, "username: the username belongs to another user"),
            (10, "record: there is neither a name nor an id in it"),
            (11, "password: the parameters of the hash are over the bounds"),
            (
                12,
                "password: the hash is of no known format; it looks like md5 or NTLM without a salt (32 hex digits): say --hash-template '{PASSWORD}', or with a salt '{SALT}{PASSWORD}'",
            ),
        ],
    ),
    (
        "jsonl/broken.jsonl",
        &[],
        2,
        &[
            (2, "authferry: the line is of a later version of this format; import it with a newer authferry"),
            (3, "record: a word is none of those that may stand there, at column 87"),
            (4, "record: there is a field in it that is not known, at column 96"),
            (5, "legacy_id: it is no text of 1 to 255 bytes, and no whole number"),
            (6, "record: there is neither a name nor an id in it"),
            (7, "record: the JSON ends too early, at column 28"),
            (8, "record: it is no JSON object"),
            (9, "record: the key `email` appears twice"),
            (10, "password: there is a salt beside the hash; say how they belong together with --hash-template"),
            (11, "enabled: it is neither true nor false, yes nor no, 1 nor 0"),
            (12, "record: it is not UTF-8"),
        ],
    ),
];

const FIREBASE: [&str; 8] = [
    "--set",
    "signer-key=di4PDehh0EOuDs11Qsy5qF87GfBnSyY7PIXZIRtA2i+apMGuZSusRD1tYwOEmhD3bH5nH7SmgHzLy8vTYz+YcA==",
    "--set",
    "salt-separator=Bw==",
    "--set",
    "rounds=8",
    "--set",
    "mem-cost=8",
];

/// The values of a row's reason, without the id of whoever stands in the way.
fn reason(line: &str) -> (u64, String) {
    let reason: Value = serde_json::from_str(line).expect("JSON lines");
    let problem = reason["problem"].as_str().expect("a problem");
    let without_id = problem.split(", 0").next().unwrap_or_default();
    (
        reason["record"].as_u64().expect("a number"),
        format!("{}: {without_id}", reason["field"].as_str().expect("a field")),
    )
}

#[test]
fn what_is_wrong_with_a_row_is_said_in_every_format_and_the_others_are_taken() {
    for (file, said, good, wrong) in CASES {
        let folder = folder();
        let path = path(file).display().to_string();
        let format = file.split('/').next().expect("a name");
        let arguments = [&["import", &path, "--format", format, "--rejects", "bad", "--results", "all"], said].concat();
        let done = run(folder.path(), &arguments);
        assert_eq!(done.code, Some(1), "{file}: {done:?}");
        let text = |name: &str| fs::read(folder.path().join(name)).unwrap_or_default();
        let reasons = String::from_utf8(text("bad.reasons.jsonl")).expect("UTF-8");
        let told: Vec<(u64, String)> = reasons.lines().map(reason).collect();
        let expected: Vec<(u64, String)> = wrong.iter().map(|(number, said)| (*number, (*said).to_owned())).collect();
        assert_eq!(told, expected, "{file}");
        let results = String::from_utf8(text("all")).expect("UTF-8");
        assert_eq!(results.lines().count() as u64, good + wrong.len() as u64, "{file}: {results}");
        for secret in ["$2a$", "$2b$", "5f4dcc3b", "secret\"", "FiPhXf1sVd3pCCRO", "w2NY/Xs"] {
            assert!(!reasons.contains(secret) && !done.stderr.contains(secret), "{file}: {secret} in {reasons}");
        }
        // What was kept is read again with the same words, row for row, and says the same.
        let arguments = [&["import", "bad", "--format", format, "--rejects", "again"], said].concat();
        let again = run(folder.path(), &arguments);
        assert_eq!(again.code, Some(1), "{file}: {again:?}");
        let reasons = String::from_utf8(text("again.reasons.jsonl")).expect("UTF-8");
        let told: Vec<String> = reasons.lines().map(|line| reason(line).1).collect();
        assert_eq!(told, expected.into_iter().map(|(_, said)| said).collect::<Vec<_>>(), "{file}, what was rejected");
        assert_eq!(text("bad"), text("again"), "{file}: in the bytes that they came in");
    }
}

#[test]
fn a_file_that_was_cut_short_is_found_out_in_every_format() {
    for (file, said, code, told) in [
        ("auth0/import.json", &[][..], 3, "cut short"),
        ("auth0/export.ndjson", &[], 1, "rejected"),
        ("keycloak/realm.json", &[], 3, "cut short"),
        ("kratos/identities.json", &[], 3, "cut short"),
        ("fusionauth/import.json", &[], 3, "cut short"),
        ("firebase/users.json", &FIREBASE, 3, "cut short"),
        ("firebase/users.csv", &FIREBASE, 1, "rejected"),
        ("cognito/list-users.json", &[], 3, "cut short"),
        ("cognito/import.csv", &[], 1, "rejected"),
        ("clerk/export.csv", &[], 3, "a quote is missing"),
        ("supertokens/bulk.json", &["--set", FIREBASE[1]], 3, "cut short"),
        ("django/dumpdata.json", &[], 3, "cut short"),
        ("django/auth_user.postgres.csv", &[], 1, "rejected"),
        ("csv/users.csv", &[], 1, "rejected"),
        ("jsonl/own.jsonl", &[], 1, "rejected"),
    ] {
        let folder = folder();
        let whole = fs::read(path(file)).expect("the file");
        let whole = whole.trim_ascii_end();
        // In the middle of the last row.
        fs::write(folder.path().join("cut"), &whole[..whole.len() - 40]).expect("writable");
        let format = file.split('/').next().expect("a name");
        let done = run(folder.path(), &[&["import", "cut", "--format", format], said].concat());
        assert_eq!(done.code, Some(code), "{file}: {done:?}");
        assert!(format!("{}{}", done.stdout, done.stderr).contains(told), "{file}: {done:?}");
    }
}

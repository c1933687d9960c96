//! Auth0.

use super::*;

const ARRAY: Framing = Framing::JsonItems { path: "" };

#[test]
fn every_field_of_an_import_file_is_read() {
    let users = read("auth0/import.json", "auth0", ARRAY, &[]);
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": "5f7c8ec7c33c6c004bbafe82",
            "names": [["email", "Ann@example.com", true], ["username", "ann", null]],
            "standing": "active", "created": null, "last_login": null, "has_password": true,
        })
    );
    assert_eq!(
        users[0].profile,
        json!({
            "user_id": "5f7c8ec7c33c6c004bbafe82", "email": "Ann@example.com", "email_verified": true, "username": "ann",
            "given_name": "Ann", "family_name": "O'Hara", "name": "Ann O'Hara", "nickname": "annie",
            "picture": "https://example.com/ann.png", "app_metadata": {"roles": ["admin"], "plan": "premium"},
            "user_metadata": {"theme": "light"},
        })
    );
    assert_eq!(
        shown(&users[1]),
        json!({
            "id": "2000", "names": [["email", "bob@example.com", false], ["phone", "+12125550001", true]],
            "standing": "disabled", "created": null, "last_login": null, "has_password": false,
        })
    );
    assert_no_hash_in_profile(&users);
}

#[test]
fn every_documented_hash_verifies() {
    let users = read("auth0/import.json", "auth0", ARRAY, &[]);
    assert_eq!(users.iter().filter(|user| user.password.is_some()).count(), 12);
    assert_passwords_verify(&users);
}

#[test]
fn a_user_with_a_second_factor_keeps_it_and_leaves_his_hash_to_legacy() {
    let user = |said: &[(&str, &str)]| {
        let users = read("auth0/import.json", "auth0", ARRAY, said);
        named(&users, "mfa@example.com").clone()
    };
    assert!(user(&[]).password.is_none());
    assert_eq!(user(&[]).profile["mfa_factors"][0]["totp"]["secret"], "JBTWY3DPEHPK3PNP");
    assert!(user(&[("second-factor", "ignore")]).password.is_some());
}

#[test]
fn every_field_of_an_export_is_read() {
    let users = read("auth0/export.ndjson", "auth0", Framing::Lines, &[]);
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": "auth0|5f7c8ec7c33c6c004bbafe82",
            "names": [["email", "Ann@example.com", true], ["username", "ann", null]],
            "standing": "active", "created": 1_552_291_815, "last_login": 1_714_564_800, "has_password": false,
        })
    );
    assert_eq!(users[0].profile["logins_count"], 42);
    assert_eq!(users[1].legacy_id.as_ref().map(LegacyId::as_key), Some("google-oauth2|108091299999329986433"));
    assert_eq!(users[1].standing, Standing::Disabled);
}

#[test]
fn the_file_of_hashes_names_users_as_the_export_does() {
    let users = read("auth0/hashes.ndjson", "auth0", Framing::Lines, &[]);
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": "auth0|5f7c8ec7c33c6c004bbafe82", "names": [["email", "ann@example.com", true]],
            "standing": "active", "created": null, "last_login": null, "has_password": true,
        })
    );
    assert_eq!(users[0].profile, Value::Null, "the export has one");
    assert_passwords_verify(&users);
    assert_no_hash_in_profile(&users);
}

#[test]
fn what_is_wrong_with_a_record_is_said_by_field() {
    let with = |field: &str, value: Value| {
        let mut record = json!({"email": "ann@example.com"});
        record[field] = value;
        fault("auth0", &record)
    };
    let hash = |value: Value| with("custom_password_hash", value);
    assert_eq!(fault("auth0", &json!({"user_id": "1"})), "email: is missing, and so are `username` and `phone_number`");
    assert_eq!(with("email", json!(5)), "email: must be a text");
    assert_eq!(with("email_verified", json!("yes")), "email_verified: must be true or false");
    assert_eq!(with("blocked", json!(1)), "blocked: must be true or false");
    assert_eq!(with("user_id", json!(1.5)), "user_id: must be a text of at most 255 bytes or a whole number");
    assert_eq!(with("created_at", json!("May 2019")), "created_at: must be a time as in 2024-05-01T12:00:00Z");
    assert_eq!(with("mfa_factors", json!({})), "mfa_factors: must be a list");
    assert_eq!(with("password_hash", json!("5f4dcc3b5aa765d61d8327deb882cf99")), "password_hash: is no bcrypt hash");
    assert_eq!(hash(json!("$2b$10$")), "custom_password_hash: must be an object");
    assert_eq!(hash(json!({"algorithm": "md5"})), "custom_password_hash.hash: is missing");
    assert_eq!(hash(json!({"hash": {"value": "x"}})), "custom_password_hash.algorithm: is missing");
    assert_eq!(
        hash(json!({"algorithm": "md4", "hash": {"value": "AbuUujgF0pPPkJPSFRTpmA==", "encoding": "base64"}})),
        "custom_password_hash.algorithm: `md4` is not supported"
    );
    assert_eq!(
        hash(json!({"algorithm": "md5", "hash": {"value": "AbuUujgF0pPPkJPSFRTpmA=!", "encoding": "base64"}})),
        "custom_password_hash.hash.value: is not base64"
    );
    assert_eq!(
        hash(json!({"algorithm": "md5", "hash": {"value": "abcd", "encoding": "hex"}})),
        "custom_password_hash.hash.value: is 2 bytes long, and md5 makes 16"
    );
    assert_eq!(
        hash(json!({"algorithm": "sha1", "hash": {"value": "abcd"}})),
        "custom_password_hash.hash.encoding: is missing"
    );
    assert_eq!(
        hash(json!({"algorithm": "hmac", "hash": {"value": "abcd", "encoding": "hex", "digest": "whirlpool"}})),
        "custom_password_hash.hash.digest: `whirlpool` is not supported"
    );
    assert_eq!(
        hash(json!({"algorithm": "pbkdf2", "hash": {"value": "$pbkdf2-md4$i=1,l=4$c2FsdA$aGFzaA"}})),
        "custom_password_hash.hash.value: PBKDF2 with `md4` is not supported"
    );
    assert_eq!(
        hash(json!({"algorithm": "argon2", "hash": {"value": BCRYPT}})),
        "custom_password_hash.hash.value: is no Argon2 hash in PHC form"
    );
    assert_eq!(
        hash(json!({"algorithm": "bcrypt", "hash": {"value": BCRYPT}, "salt": {"value": "x"}})),
        "custom_password_hash.salt: is not supported with bcrypt"
    );
    assert_eq!(
        hash(json!({"algorithm": "bcrypt", "hash": {"value": BCRYPT}, "password": {"encoding": "utf16le"}})),
        "custom_password_hash.password.encoding: `utf16le` is not supported"
    );
    assert_eq!(
        hash(
            json!({"algorithm": "scrypt", "hash": {"value": "abcd", "encoding": "hex"}, "salt": {"value": "x"}, "keylen": 3})
        ),
        "custom_password_hash.hash.value: is not as long as `keylen` says"
    );
    assert_eq!(
        hash(json!({"algorithm": "ldap", "hash": {"value": "{CRYPT}$1$abc"}})),
        "custom_password_hash.hash.value: is no `{SCHEME}` hash of those that Auth0 documents"
    );
    let both = json!({"email": "a@example.com", "password_hash": BCRYPT, "custom_password_hash": {"algorithm": "bcrypt", "hash": {"value": BCRYPT}}});
    assert_eq!(fault("auth0", &both), "custom_password_hash: is there beside `password_hash`");
}

#[test]
fn a_hash_of_an_unknown_kind_can_be_left_behind() {
    let record = json!({"email": "a@example.com", "custom_password_hash": {"algorithm": "md4", "hash": {"value": "AbuUujgF0pPPkJPSFRTpmA==", "encoding": "base64"}}});
    let user =
        parse("auth0", ARRAY, &record.to_string(), &[authferry::exchange::DROP_UNUSABLE_HASHES]).expect("a user");
    assert!(user.password.is_none());
}

fn is_hash(value: &Value) -> bool {
    const ALGORITHMS: [&str; 10] =
        ["argon2", "bcrypt", "hmac", "ldap", "md5", "sha1", "sha256", "sha512", "pbkdf2", "scrypt"];
    const KEYS: [&str; 8] = ["algorithm", "hash", "salt", "password", "keylen", "cost", "blockSize", "parallelization"];
    let fields = value.as_object().expect("an object");
    fields.keys().all(|key| KEYS.contains(&key.as_str()))
        && value["hash"]["value"].is_string()
        && matches!(value["hash"]["encoding"].as_str(), Some("base64" | "hex" | "utf8"))
        && ALGORITHMS.contains(&value["algorithm"].as_str().expect("a text"))
}

/// "User Data JSON Schema for Bulk User Imports": `additionalProperties` is false.
const SCHEMA: Schema = &[
    ("email", Value::is_string),
    ("email_verified", Value::is_boolean),
    ("phone_number", Value::is_string),
    ("phone_verified", Value::is_boolean),
    ("user_id", Value::is_string),
    ("username", Value::is_string),
    ("given_name", Value::is_string),
    ("family_name", Value::is_string),
    ("name", Value::is_string),
    ("nickname", Value::is_string),
    ("picture", Value::is_string),
    ("blocked", Value::is_boolean),
    ("custom_password_hash", is_hash),
    ("app_metadata", Value::is_object),
    ("user_metadata", Value::is_object),
    ("mfa_factors", Value::is_array),
];

#[test]
fn what_is_written_fits_the_documented_schema() {
    for hash in [ARGON2ID, BCRYPT, PBKDF2, SHA256_SUFFIX, HMAC, "{SSHA}c2FsdHNhbHRzYWx0c2FsdHNhbHRzYWx0"] {
        let user = item("auth0", &with_hash(hash), "");
        assert_fits(&user, SCHEMA, &["email", "custom_password_hash"]);
    }
    for user in read("auth0/import.json", "auth0", ARRAY, &[("second-factor", "ignore")]) {
        assert_fits(&item("auth0", &user, ""), SCHEMA, &["email"]);
    }
}

#[test]
fn a_user_is_written_field_by_field() {
    let user = PortableUser { standing: Standing::Disabled, ..a_user() };
    assert_eq!(
        item("auth0", &user, ""),
        json!({
            "email": "Ann@example.com", "email_verified": true, "user_id": "4711", "username": "ann",
            "phone_number": "+4930123456", "phone_verified": false, "given_name": "Ann", "family_name": "O'Hara", "blocked": true,
            "app_metadata": {"legacy_profile": {"shoe_size": 38}},
            "custom_password_hash": {"algorithm": "argon2", "hash": {"value": ARGON2ID, "encoding": "utf8"}},
        })
    );
    assert_eq!(
        item("auth0", &with_hash(SHA256_SUFFIX), "")["custom_password_hash"],
        json!({
            "algorithm": "sha256", "hash": {"value": "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=", "encoding": "base64"},
            "salt": {"value": "c2FsdA==", "encoding": "base64", "position": "suffix"},
        })
    );
}

#[test]
fn what_cannot_be_written_is_said() {
    let nameless = PortableUser { names: vec![name(IdentifierKind::Username, "ann", None)], ..a_user() };
    assert_eq!(refusal("auth0", &nameless), "email: Auth0 takes no user without an email address");
    for unknown in [
        "$P$B12345678",
        "$firescrypt$ln=14,r=8,p=1$c2FsdA==$aGFzaA==$Bw==$a2V5",
        "$sha512$pf=e1BBU1NXT1JEfQ==,it=9$$aGFzaA==",
    ] {
        assert_eq!(write("auth0", &[with_hash(unknown)]).carried, [Ok(Carried::WithoutPassword)], "{unknown}");
    }
    assert_eq!(format("auth0").write.and_then(|write| write.limit).map(|limit| limit.bytes), Some(500_000));
}

#[test]
fn what_somebody_said_of_himself_goes_where_only_he_is_believed() {
    let user =
        item("auth0", &self_made(json!({"app_metadata": {"roles": ["admin"]}, "is_admin": true, "name": "Eve"})), "");
    assert_eq!(user.get("app_metadata"), None);
    assert_eq!(user["user_metadata"], json!({"registration": {"is_admin": true}}));
    assert_eq!(user["name"], "Eve");
}

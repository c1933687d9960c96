//! Clerk.

use super::*;

const ARRAY: Framing = Framing::JsonItems { path: "" };

fn users(said: &[(&str, &str)]) -> Vec<PortableUser> {
    read("clerk/export.csv", "clerk", Framing::Csv, said)
}

#[test]
fn every_field_of_the_dashboards_csv_is_read() {
    let users = users(&[]);
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": "user_2fT3OpCuU3elx0CXE3cNyStBC9u",
            "names": [
                ["email", "ann@example.com", true], ["email", "ann@example.org", true], ["email", "ann@example.net", false],
                ["username", "ann", null], ["phone", "+4930123456", true],
            ],
            "standing": "active", "created": null, "last_login": null, "has_password": true,
        })
    );
    assert_eq!(users[0].profile["last_name"], "O'Hara, née Ünal");
    assert!(named(&users, "bob@example.com").password.is_none());
    assert_no_hash_in_profile(&users);
}

#[test]
fn every_hasher_that_can_be_verified_verifies() {
    let users = users(&[]);
    assert_eq!(users.iter().filter(|user| user.password.is_some()).count(), 12);
    assert_passwords_verify(&users);
}

#[test]
fn whom_clerk_asks_for_more_leaves_his_hash_to_legacy() {
    assert!(named(&users(&[]), "totp@example.com").password.is_none());
    assert_eq!(named(&users(&[]), "totp@example.com").profile["totp_secret"], "JBTWY3DPEHPK3PNP");
    assert!(named(&users(&[("second-factor", "ignore")]), "totp@example.com").password.is_some());
}

#[test]
fn the_users_of_the_backend_api_are_read() {
    let users = read("clerk/api.json", "clerk", ARRAY, &[]);
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": "user_2fT3OpCuU3elx0CXE3cNyStBC9u",
            "names": [["email", "first@example.com", true], ["email", "second@example.com", false], ["username", "ann", null]],
            "standing": "disabled", "created": 1_552_291_815, "last_login": 1_714_564_800, "has_password": false,
        })
    );
    assert_eq!(users[0].profile["public_metadata"], json!({"plan": "gold"}));
}

#[test]
fn what_is_wrong_with_a_record_is_said_by_field() {
    assert_eq!(
        fault("clerk", &json!({"id": "1"})),
        "primary_email_address: is missing, and so are all other addresses and names"
    );
    assert_eq!(
        fault("clerk", &json!({"email_addresses": [{"id": "1"}]})),
        "email_addresses[0].email_address: is missing"
    );
    assert_eq!(
        fault("clerk", &json!({"verified_email_addresses": [1]})),
        "verified_email_addresses: must be a list of texts"
    );
    assert_eq!(fault("clerk", &json!({"username": "ann", "banned": "perhaps"})), "banned: must be true or false");
    let digest = |hasher: Value, digest: &str| {
        fault("clerk", &json!({"username": "ann", "password_hasher": hasher, "password_digest": digest}))
    };
    assert_eq!(digest(Value::Null, BCRYPT), "password_hasher: is missing");
    assert_eq!(digest(json!("awscognito"), "awscognito#a#b#c"), "password_hasher: `awscognito` is not supported");
    for hasher in [
        "bcrypt",
        "argon2id",
        "md5",
        "sha256",
        "pbkdf2_sha256",
        "pbkdf2_sha1",
        "scrypt_firebase",
        "phpass",
        "ldap_ssha",
        "scrypt_werkzeug",
    ] {
        let expected = format!("password_digest: is no digest as `{hasher}` has them");
        assert_eq!(digest(json!(hasher), "pbkdf2$x"), expected);
    }
    assert_eq!(
        fault("clerk", &json!({"username": "ann", "password": "secret"})),
        "password: is in plain text; only hashes are taken"
    );
}

/// The keys that the migration tool's `clerk` transformer and its schema know.
const SCHEMA: Schema = &[
    ("id", Value::is_string),
    ("username", Value::is_string),
    ("first_name", Value::is_string),
    ("last_name", Value::is_string),
    ("primary_email_address", Value::is_string),
    ("verified_email_addresses", Value::is_array),
    ("unverified_email_addresses", Value::is_array),
    ("primary_phone_number", Value::is_string),
    ("verified_phone_numbers", Value::is_array),
    ("unverified_phone_numbers", Value::is_array),
    ("password_digest", Value::is_string),
    ("password_hasher", Value::is_string),
    ("totp_secret", Value::is_string),
    ("backup_codes_enabled", Value::is_boolean),
    ("backup_codes", Value::is_array),
    ("public_metadata", Value::is_object),
    ("private_metadata", Value::is_object),
    ("unsafe_metadata", Value::is_object),
    ("createdAt", Value::is_string),
    ("banned", Value::is_boolean),
];

#[test]
fn what_is_written_fits_what_the_migration_tool_reads() {
    for user in users(&[("second-factor", "ignore")]) {
        assert_fits(&item("clerk", &user, ""), SCHEMA, &["id"]);
    }
}

#[test]
fn a_user_is_written_field_by_field() {
    let user = PortableUser { standing: Standing::Disabled, ..a_user() };
    assert_eq!(
        item("clerk", &user, ""),
        json!({
            "id": "4711", "username": "ann", "first_name": "Ann", "last_name": "O'Hara",
            "primary_email_address": "Ann@example.com", "verified_email_addresses": ["Ann@example.com"],
            "unverified_phone_numbers": ["+4930123456"], "createdAt": "2019-03-11T08:10:15Z", "banned": true,
            "private_metadata": {"legacy_id": "4711", "legacy_profile": {"shoe_size": 38}},
            "password_digest": ARGON2ID, "password_hasher": "argon2id",
        })
    );
}

#[test]
fn digests_are_written_as_their_hashers_have_them() {
    let written = |encoded: &str| {
        let user = item("clerk", &with_hash(encoded), "");
        let text = |key: &str| user[key].as_str().unwrap_or_default().to_owned();
        (text("password_hasher"), text("password_digest"))
    };
    let is = |encoded: &str, hasher: &str, digest: &str| {
        assert_eq!(written(encoded), (hasher.to_owned(), digest.to_owned()), "{encoded}");
    };
    is(BCRYPT, "bcrypt", BCRYPT);
    is(
        PBKDF2,
        "pbkdf2_sha256",
        "pbkdf2_sha256$1000$c2l4dGVlbiBieXRlIHNsdA==$Jt3nYeAYdNVHqyXmRKXcBkW0Ng8lHjTLTY5JxdwD2Ik=",
    );
    is("pbkdf2_sha256$1000$salt$aGFzaA==", "pbkdf2_sha256_django", "pbkdf2_sha256$1000$salt$aGFzaA==");
    is("$md5$X03MO1qnZdYdgyfeuILPmQ==", "md5", "5f4dcc3b5aa765d61d8327deb882cf99");
    is("$pbkdf2-sha1$i=9,l=4$c2FsdA$aGFzaA", "pbkdf2_sha1", "pbkdf2_sha1$9$73616c74$68617368$4");
    is("$firescrypt$ln=14,r=8,p=1$c2FsdA==$aGFzaA==$Bw==$a2V5", "scrypt_firebase", "aGFzaA==$c2FsdA==$a2V5$Bw==$8$14");
    for unknown in [SHA256_SUFFIX, HMAC, "$S$D12345678"] {
        assert_eq!(write("clerk", &[with_hash(unknown)]).carried, [Ok(Carried::WithoutPassword)], "{unknown}");
    }
}

#[test]
fn an_address_that_nobody_verified_is_never_among_the_verified() {
    let names = vec![
        name(IdentifierKind::Email, "unknown@example.com", None),
        name(IdentifierKind::Email, "no@example.com", Some(false)),
        name(IdentifierKind::Email, "yes@example.com", Some(true)),
    ];
    let user = item("clerk", &PortableUser { names: names.clone(), ..a_user() }, "");
    assert_eq!(user["primary_email_address"], "yes@example.com");
    assert_eq!(user["verified_email_addresses"], json!(["yes@example.com"]));
    assert_eq!(user["unverified_email_addresses"], json!(["unknown@example.com", "no@example.com"]));
    let unverified = PortableUser { names: names[..2].to_vec(), ..a_user() };
    assert_eq!(
        refusal("clerk", &unverified),
        "verified_email_addresses: Clerk's migration tool takes no user without a verified email or phone number"
    );
}

#[test]
fn what_somebody_said_of_himself_is_no_metadata_of_the_product() {
    let said = json!({"public_metadata": {"role": "admin"}, "private_metadata": {"role": "admin"}, "role": "admin"});
    let user = item("clerk", &self_made(said), "");
    assert_eq!(user.get("public_metadata"), None);
    assert_eq!(user["private_metadata"], json!({"legacy_id": "4711", "registration": {"role": "admin"}}));
}

//! FusionAuth.

use super::*;

const USERS: Framing = Framing::JsonItems { path: "users" };

fn users(said: &[(&str, &str)]) -> Vec<PortableUser> {
    read("fusionauth/import.json", "fusionauth", USERS, said)
}

#[test]
fn every_field_of_an_import_is_read() {
    let users = users(&[]);
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": "00000000-0000-0001-0000-000000000000",
            "names": [["email", "example@example.com", true], ["username", "johnny123", null], ["phone", "+13035551212", true]],
            "standing": "active", "created": 1_331_449_200, "last_login": 1_471_786_483, "has_password": true,
        })
    );
    let profile = &users[0].profile;
    assert_eq!(profile["data"]["favoriteColors"], json!(["Red", "Blue"]));
    assert_eq!((&profile["mobilePhone"], &profile["timezone"]), (&json!("303-555-1234"), &json!("America/Denver")));
    for secret in ["password", "salt", "factor", "encryptionScheme"] {
        assert_eq!(profile.get(secret), None, "{secret}");
    }
    assert_eq!(named(&users, "inactive@example.com").standing, Standing::Disabled);
    assert_eq!(named(&users, "inactive@example.com").names[0].verified, Some(false));
}

#[test]
fn every_documented_scheme_verifies() {
    let users = users(&[]);
    assert_eq!(users.iter().filter(|user| user.password.is_some()).count(), 10);
    assert_passwords_verify(&users);
}

#[test]
fn the_users_of_a_search_are_read_with_their_identities() {
    let users = read("fusionauth/search.json", "fusionauth", USERS, &[]);
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": "00000000-0000-0001-0000-000000000000",
            "names": [["email", "example@example.com", true], ["username", "johnny123", false]],
            "standing": "active", "created": 1_331_449_200, "last_login": 1_471_786_483, "has_password": false,
        })
    );
}

#[test]
fn whom_fusionauth_asks_for_more_leaves_his_hash_to_legacy() {
    assert!(named(&users(&[]), "factor@example.com").password.is_none());
    assert!(named(&users(&[("second-factor", "ignore")]), "factor@example.com").password.is_some());
    assert!(named(&users(&[]), "change@example.com").password.is_none());
    assert!(named(&users(&[("pending-action", "ignore")]), "change@example.com").password.is_some());
    let expiring = json!({"email": "a@b", "active": true, "expiry": 1, "encryptionScheme": "salted-md5", "factor": 1, "salt": "", "password": "X03MO1qnZdYdgyfeuILPmQ=="});
    assert!(parse("fusionauth", USERS, &expiring.to_string(), &[]).expect("a user").password.is_none());
}

#[test]
fn what_is_wrong_with_a_record_is_said_by_field() {
    let with = |more: Value| {
        let mut record = json!({"email": "ann@example.com", "active": true});
        record.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        fault("fusionauth", &record)
    };
    assert_eq!(
        fault("fusionauth", &json!({"active": true})),
        "email: is missing, and so are `username` and `phoneNumber`"
    );
    assert_eq!(with(json!({"verified": 1})), "verified: must be true or false");
    assert_eq!(with(json!({"insertInstant": -1})), "insertInstant: must be a time in milliseconds since 1970");
    assert_eq!(
        with(json!({"password": "secret"})),
        "password: has no `encryptionScheme`, so it is in plain text; only hashes are taken"
    );
    let scheme = |scheme: &str, factor: Value, salt: &str, password: &str| {
        with(json!({"encryptionScheme": scheme, "factor": factor, "salt": salt, "password": password}))
    };
    assert_eq!(
        scheme("example-argon2id", json!(1), "", "aGFzaA=="),
        "encryptionScheme: `example-argon2id` is not supported"
    );
    assert_eq!(scheme("phpass-sha512", json!(1), "", "x"), "encryptionScheme: `phpass-sha512` is not supported");
    assert_eq!(scheme("salted-md5", json!(null), "", "aGFzaA=="), "factor: is missing");
    assert_eq!(scheme("salted-md5", json!(0), "", "aGFzaA=="), "factor: must be 1 or more");
    assert_eq!(
        scheme("salted-md5", json!(1), "", "aGFzaA=="),
        "password: is neither base64 nor hexadecimal of 16 bytes"
    );
    assert_eq!(scheme("salted-md5", json!(1), "c2Fs!", "X03MO1qnZdYdgyfeuILPmQ=="), "salt: is not base64");
    assert_eq!(
        scheme("bcrypt", json!(10), "short", "IjZAgcfl7p92ldGxad68LJZdL17lhWy"),
        "password: is no bcrypt hash of 31 characters, or `salt` is none of 22"
    );
    assert_eq!(
        scheme("phpass-md5", json!(1000), "IQRaTwmf", "X03MO1qnZdYdgyfeuILPmQ=="),
        "factor: must be a power of two"
    );
    assert_eq!(
        with(json!({"identities": [{"type": "pigeon", "value": "x"}]})),
        "identities[0].type: must be `email`, `phoneNumber` or `username`"
    );
}

/// The request body of "Import Users", `users[x]`.
const SCHEMA: Schema = &[
    ("active", Value::is_boolean),
    ("birthDate", Value::is_string),
    ("data", Value::is_object),
    ("email", Value::is_string),
    ("encryptionScheme", Value::is_string),
    ("expiry", Value::is_u64),
    ("factor", Value::is_u64),
    ("firstName", Value::is_string),
    ("fullName", Value::is_string),
    ("id", |value| value.as_str().is_some_and(|id| uuid::Uuid::parse_str(id).is_ok())),
    ("imageUrl", Value::is_string),
    ("insertInstant", Value::is_u64),
    ("lastName", Value::is_string),
    ("memberships", Value::is_array),
    ("middleName", Value::is_string),
    ("mobilePhone", Value::is_string),
    ("password", Value::is_string),
    ("phoneNumber", Value::is_string),
    ("preferredLanguages", Value::is_array),
    ("registrations", Value::is_array),
    ("salt", Value::is_string),
    ("tenantId", Value::is_string),
    ("timezone", Value::is_string),
    ("twoFactor", Value::is_object),
    ("username", Value::is_string),
    ("verified", Value::is_boolean),
];

#[test]
fn what_is_written_fits_the_documented_request() {
    for user in users(&[("second-factor", "ignore"), ("pending-action", "ignore")]) {
        assert_fits(&item("fusionauth", &user, "users"), SCHEMA, &["active", "email"]);
    }
    assert_fits(&item("fusionauth", &a_user(), "users"), SCHEMA, &["active", "email"]);
}

#[test]
fn a_user_is_written_field_by_field() {
    let user = PortableUser { standing: Standing::Disabled, ..with_hash(BCRYPT) };
    assert_eq!(
        item("fusionauth", &user, "users"),
        json!({
            "active": false, "email": "Ann@example.com", "username": "ann", "phoneNumber": "+4930123456", "verified": false,
            "insertInstant": 1_552_291_815_000_u64, "firstName": "Ann", "lastName": "O'Hara",
            "data": {"legacy_id": "4711", "legacy_profile": {"shoe_size": 38}},
            "encryptionScheme": "bcrypt", "factor": 4, "salt": "EGdrhbKUv8Oc9vGiXX0HQO",
            "password": "xSg445d458Muh7DAHskb6QbtCvdxcie",
        })
    );
    let scheme = |encoded: &str| item("fusionauth", &with_hash(encoded), "users")["encryptionScheme"].clone();
    assert_eq!(scheme(PBKDF2), "salted-pbkdf2-hmac-sha256");
    assert_eq!(scheme(SHA256_SUFFIX), "salted-sha256");
    assert_eq!(scheme(HMAC), "salted-hmac-sha256");
}

#[test]
fn argon2_has_no_scheme_and_is_left_behind_openly() {
    let written = write("fusionauth", &[a_user()]);
    assert_eq!(written.carried, [Ok(Carried::WithoutPassword)]);
    assert!(!written.text.contains("argon2"));
    assert!(written.remarks.iter().any(|remark| remark.contains("1.59")), "{:?}", written.remarks);
    let nameless = PortableUser { names: vec![name(IdentifierKind::Phone, "0301234", None)], ..a_user() };
    assert_eq!(
        refusal("fusionauth", &nameless),
        "email: FusionAuth takes no user without an email, a username or a phone number"
    );
}

#[test]
fn what_somebody_said_of_himself_is_no_registration() {
    let said = json!({"registrations": [{"roles": ["admin"]}], "memberships": [{"groupId": "x"}], "data": {"role": "admin"}, "role": "admin"});
    let user = item("fusionauth", &self_made(said), "users");
    assert_eq!((user.get("registrations"), user.get("memberships")), (None, None));
    assert_eq!(user["data"], json!({"legacy_id": "4711", "registration": {"role": "admin"}}));
}

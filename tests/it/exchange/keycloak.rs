//! Keycloak.

use super::*;

const REALM: Framing = Framing::JsonItems { path: "users" };

fn users(said: &[(&str, &str)]) -> Vec<PortableUser> {
    read("keycloak/realm.json", "keycloak", REALM, said)
}

#[test]
fn every_field_of_a_realm_export_is_read() {
    let users = users(&[]);
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": "7a9b9fd4-8454-4f20-af6e-4c8c78d9be01",
            "names": [["username", "ann", null], ["email", "ann@example.com", true]],
            "standing": "active", "created": 1_552_291_815, "last_login": null, "has_password": true,
        })
    );
    let profile = &users[0].profile;
    assert_eq!(profile["attributes"], json!({"locale": ["de"], "phoneNumber": ["+4930123456"]}));
    assert_eq!((&profile["firstName"], &profile["groups"]), (&json!("Ann"), &json!(["/staff"])));
    assert_eq!(profile["credentials"], json!([]));
    assert_eq!(named(&users, "sha1").standing, Standing::Disabled);
    assert_eq!(named(&users, "sha256").names[1].verified, Some(false));
    assert!(named(&users, "federated").password.is_none());
    assert_no_hash_in_profile(&users);
}

#[test]
fn every_algorithm_and_both_shapes_of_a_credential_verify() {
    let users = users(&[("second-factor", "ignore"), ("pending-action", "ignore")]);
    assert_eq!(users.iter().filter(|user| user.password.is_some()).count(), 8);
    assert_passwords_verify(&users);
    assert!(encoded(named(&users, "ann")).starts_with("$argon2id$v=19$m=64,t=2,p=1$"));
    assert!(encoded(named(&users, "sha512")).starts_with("$pbkdf2-sha512$i=1000,l=64$"));
    assert!(encoded(named(&users, "version7")).starts_with("$pbkdf2-sha256$i=1000,l=64$"));
}

#[test]
fn whom_keycloak_asks_for_more_keeps_that_and_leaves_his_hash_to_legacy() {
    let strict = users(&[]);
    assert!(named(&strict, "otp").password.is_none());
    assert_eq!(named(&strict, "otp").profile["credentials"][0]["type"], "otp");
    assert!(named(&strict, "action").password.is_none());
    assert_eq!(named(&strict, "action").profile["requiredActions"], json!(["UPDATE_PASSWORD"]));
    let lenient = users(&[("second-factor", "ignore")]);
    assert!(named(&lenient, "otp").password.is_some());
    assert!(named(&lenient, "action").password.is_none());
}

fn with(credential: Value) -> String {
    fault("keycloak", &json!({"username": "ann", "enabled": true, "credentials": [credential]}))
}

fn of(data: &str, secret: &str) -> String {
    with(json!({"type": "password", "credentialData": data, "secretData": secret}))
}

#[test]
fn what_is_wrong_with_a_record_is_said_by_field() {
    assert_eq!(fault("keycloak", &json!({"id": "1"})), "username: is missing");
    assert_eq!(fault("keycloak", &json!({"username": "ann", "enabled": "on"})), "enabled: must be true or false");
    assert_eq!(
        fault("keycloak", &json!({"username": "ann", "createdTimestamp": "May"})),
        "createdTimestamp: must be a time in milliseconds since 1970"
    );
    assert_eq!(
        fault("keycloak", &json!({"username": "service-account-app", "serviceAccountClientId": "app"})),
        "serviceAccountClientId: this is the account of the client `app`"
    );
    let secret = r#"{"value":"aGFzaA==","salt":"c2FsdA=="}"#;
    assert_eq!(
        with(json!({"type": "password", "value": "secret", "temporary": true})),
        "credentials[0].value: is a password in plain text; only hashes are taken"
    );
    assert_eq!(
        of(r#"{"hashIterations":1,"algorithm":"pbkdf2-whirlpool"}"#, secret),
        "credentials[0].credentialData: the algorithm `pbkdf2-whirlpool` is not supported"
    );
    assert_eq!(of(r#"{"algorithm":"pbkdf2"}"#, secret), "credentials[0].credentialData.hashIterations: is missing");
    assert_eq!(of("{", secret), "credentials[0].credentialData: as JSON, the JSON ends too early, at column 1");
    assert_eq!(
        of(r#"{"hashIterations":1,"algorithm":"pbkdf2"}"#, r#"{"value":"aGFzaA==","salt":"c2Fs!A=="}"#),
        "credentials[0].secretData.salt: is not base64"
    );
    assert_eq!(
        of(r#"{"hashIterations":1,"algorithm":"pbkdf2"}"#, r#"{"value":"aGF!","salt":""}"#),
        "credentials[0].secretData.value: is not base64"
    );
    assert_eq!(
        of(
            r#"{"hashIterations":5,"algorithm":"argon2","additionalParameters":{"type":["id"],"version":["1.3"]}}"#,
            secret
        ),
        "credentials[0].credentialData: the Argon2 parameter memory is missing"
    );
    let password = json!({"type": "password", "credentialData": r#"{"hashIterations":1,"algorithm":"pbkdf2"}"#, "secretData": secret});
    assert_eq!(
        fault("keycloak", &json!({"username": "ann", "credentials": [password, password]})),
        "credentials: has more than one of the type `password`"
    );
}

/// `UserRepresentation`.
const SCHEMA: Schema = &[
    ("id", Value::is_string),
    ("createdTimestamp", Value::is_u64),
    ("username", Value::is_string),
    ("enabled", Value::is_boolean),
    ("email", Value::is_string),
    ("emailVerified", Value::is_boolean),
    ("firstName", Value::is_string),
    ("lastName", Value::is_string),
    ("attributes", is_multi_map),
    ("requiredActions", Value::is_array),
    ("realmRoles", Value::is_array),
    ("clientRoles", Value::is_object),
    ("groups", Value::is_array),
    ("federatedIdentities", Value::is_array),
    ("credentials", Value::is_array),
];

fn is_multi_map(value: &Value) -> bool {
    let is_texts = |list: &Value| list.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    value.as_object().is_some_and(|fields| fields.values().all(is_texts))
}

#[test]
fn what_is_written_fits_the_representation() {
    for hash in [ARGON2ID, PBKDF2, BCRYPT] {
        assert_fits(&item("keycloak", &with_hash(hash), "users"), SCHEMA, &["username", "enabled"]);
    }
    for user in users(&[("second-factor", "ignore"), ("pending-action", "ignore")]) {
        assert_fits(&item("keycloak", &user, "users"), SCHEMA, &["username", "enabled"]);
    }
}

#[test]
fn a_user_is_written_field_by_field() {
    let mut user = item("keycloak", &a_user(), "users");
    let credential = user["credentials"][0].take();
    assert_eq!(
        user,
        json!({
            "id": "4711", "createdTimestamp": 1_552_291_815_000_u64, "username": "ann", "enabled": true, "email": "Ann@example.com",
            "emailVerified": true, "firstName": "Ann", "lastName": "O'Hara", "credentials": [null],
            "attributes": {"phoneNumber": ["+4930123456"], "phoneNumberVerified": ["false"], "shoe_size": ["38"]},
        })
    );
    let text = |key: &str| -> Value { serde_json::from_str(credential[key].as_str().expect("a text")).expect("JSON") };
    assert_eq!(credential["type"], "password");
    assert_eq!(
        text("credentialData"),
        json!({
            "hashIterations": 2, "algorithm": "argon2",
            "additionalParameters": {"hashLength": ["32"], "memory": ["65536"], "type": ["id"], "version": ["1.3"], "parallelism": ["1"]},
        })
    );
    assert_eq!(
        text("secretData"),
        json!({"value": "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc=", "salt": "c29tZXNhbHQ=", "additionalParameters": {}})
    );
}

#[test]
fn the_file_is_one_of_the_realm_that_was_said() {
    let written = write_with("keycloak", &[a_user()], Hashes::Included, &[("realm", "pe\"ople")]);
    let file: Value = serde_json::from_str(&written.text).expect("JSON");
    assert_eq!(file["realm"], "pe\"ople");
    assert!(written.remarks[0].contains("pe\"ople-users-0.json"), "{:?}", written.remarks);
}

#[test]
fn what_cannot_be_written_is_said() {
    let nameless = PortableUser { names: Vec::new(), ..a_user() };
    assert_eq!(refusal("keycloak", &nameless), "username: Keycloak takes no user without one");
    for unknown in [BCRYPT, SHA256_SUFFIX, "$scrypt$ln=14,r=8,p=1$c2FsdA$aGFzaA"] {
        assert_eq!(write("keycloak", &[with_hash(unknown)]).carried, [Ok(Carried::WithoutPassword)], "{unknown}");
    }
    let long = PortableUser { legacy_id: LegacyId::from_json(&json!("auth0|".repeat(7))), ..a_user() };
    let user = item("keycloak", &long, "users");
    assert_eq!((user.get("id"), &user["attributes"]["legacy_id"]), (None, &json!(["auth0|".repeat(7)])));
}

#[test]
fn what_somebody_said_of_himself_is_no_role_and_no_attribute() {
    let said = json!({"realmRoles": ["admin"], "groups": ["/staff"], "requiredActions": [], "attributes": {"role": ["admin"]}, "role": "admin"});
    let user = item("keycloak", &self_made(said), "users");
    for key in ["realmRoles", "groups", "requiredActions"] {
        assert_eq!(user.get(key), None, "{key}");
    }
    assert_eq!(user["attributes"].get("role"), None);
    assert_eq!(user["attributes"]["registration"], json!([r#"{"role":"admin"}"#]));
}

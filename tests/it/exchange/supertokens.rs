//! SuperTokens.

use super::*;

const USERS: Framing = Framing::JsonItems { path: "users" };
const KEY: (&str, &str) =
    ("signer-key", "di4PDehh0EOuDs11Qsy5qF87GfBnSyY7PIXZIRtA2i+apMGuZSusRD1tYwOEmhD3bH5nH7SmgHzLy8vTYz+YcA==");

#[test]
fn every_field_of_a_bulk_import_is_read() {
    let users = read("supertokens/bulk.json", "supertokens", USERS, &[KEY]);
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": "id-1",
            "names": [["email", "ann@example.com", true], ["email", "ann@gmail.com", true], ["phone", "+4930123456", true]],
            "standing": "active", "created": 1_500_000_000, "last_login": null, "has_password": true,
        })
    );
    assert_eq!(users[0].profile["userRoles"], json!([{"role": "admin", "tenantIds": ["public"]}]));
    assert_eq!(users[0].profile["userMetadata"], json!({"first_name": "Ann"}));
    assert_eq!(users[0].profile["loginMethods"][0]["recipeId"], "emailpassword");
    assert_no_hash_in_profile(&users);
    assert_passwords_verify(&users);
    assert_eq!(users.iter().filter(|user| user.password.is_some()).count(), 3);
}

#[test]
fn the_users_of_its_core_are_read() {
    let users = read("supertokens/users.json", "supertokens", USERS, &[]);
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": "9a1b6c3e-1d1f-4c59-8a0e-1c7d8e7d5a01", "names": [["email", "ann@example.com", false]],
            "standing": "active", "created": 1_552_291_815, "last_login": null, "has_password": false,
        })
    );
}

#[test]
fn the_table_of_passwords_is_read() {
    let users = read("supertokens/emailpassword_users.csv", "supertokens", Framing::Csv, &[]);
    assert_eq!(
        shown(&users[1]),
        json!({
            "id": "9a1b6c3e-1d1f-4c59-8a0e-1c7d8e7d5a02", "names": [["email", "bob@example.com", null]],
            "standing": "active", "created": 1_552_291_815, "last_login": null, "has_password": true,
        })
    );
    assert_passwords_verify(&users);
    assert_no_hash_in_profile(&users);
}

#[test]
fn whom_supertokens_asks_for_more_leaves_his_hash_to_legacy() {
    let user = |said: &[(&str, &str)]| {
        named(&read("supertokens/bulk.json", "supertokens", USERS, said), "totp@example.com").clone()
    };
    assert!(user(&[KEY]).password.is_none());
    assert_eq!(user(&[KEY]).profile["totpDevices"][0]["secretKey"], "JBTWY3DPEHPK3PNP");
    assert!(user(&[KEY, ("second-factor", "ignore")]).password.is_some());
}

#[test]
fn what_is_wrong_with_a_record_is_said_by_field() {
    let with = |method: Value| fault("supertokens", &json!({"loginMethods": [method]}));
    let password = |more: Value| {
        let mut method = json!({"recipeId": "emailpassword", "email": "a@b"});
        method.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        with(method)
    };
    assert_eq!(fault("supertokens", &json!({"id": "1"})), "loginMethods: holds no email and no phone number");
    assert_eq!(with(json!({"email": "a@b"})), "loginMethods[0].recipeId: is missing");
    assert_eq!(with(json!({"recipeId": "pigeon"})), "loginMethods[0].recipeId: `pigeon` is not known");
    assert_eq!(
        password(json!({"plainTextPassword": "secret"})),
        "loginMethods[0].plainTextPassword: is a password in plain text; only hashes are taken"
    );
    assert_eq!(
        password(json!({"passwordHash": "$P$B12345678", "hashingAlgorithm": "phpass"})),
        "loginMethods[0].passwordHash: is no bcrypt, Argon2 or Firebase hash"
    );
    assert_eq!(password(json!({"passwordHash": BCRYPT})), "loginMethods[0].hashingAlgorithm: is missing");
    assert_eq!(
        password(json!({"passwordHash": BCRYPT, "hashingAlgorithm": "ARGON2"})),
        "loginMethods[0].hashingAlgorithm: `argon2` is not what the hash is"
    );
    assert_eq!(
        password(
            json!({"passwordHash": "$f_scrypt$aGFzaA==$c2FsdA==$m=14$r=8$s=Bw==", "hashingAlgorithm": "firebase_scrypt"})
        ),
        "--set signer-key: is not said; it is `firebase_password_hashing_signer_key` of the core"
    );
    let broken = json!({"loginMethods": [{"recipeId": "emailpassword", "email": "a@b", "hashingAlgorithm": "firebase_scrypt", "passwordHash": "$f_scrypt$aGFzaA==$c2FsdA==$m=14"}]});
    let broken = parse("supertokens", USERS, &broken.to_string(), &[KEY]).map(|_| ()).expect_err("a fault");
    assert_eq!(broken, "loginMethods[0].passwordHash: is no Firebase hash as SuperTokens writes them");
    let method =
        json!({"recipeId": "emailpassword", "email": "a@b", "hashingAlgorithm": "bcrypt", "passwordHash": BCRYPT});
    assert_eq!(
        fault("supertokens", &json!({"loginMethods": [method, method]})),
        "loginMethods: has more than one password; a user here has one"
    );
}

/// What `BulkImportUserUtils` of the core looks at.
const SCHEMA: Schema = &[
    ("externalUserId", |value| value.as_str().is_some_and(|id| id.len() <= 128)),
    ("userMetadata", Value::is_object),
    ("userRoles", Value::is_array),
    ("totpDevices", Value::is_array),
    ("loginMethods", |value| value.as_array().is_some_and(|list| list.len() == 1)),
];
const METHOD: Schema = &[
    ("recipeId", |value| value == "emailpassword"),
    ("tenantIds", Value::is_array),
    ("isVerified", Value::is_boolean),
    ("isPrimary", Value::is_boolean),
    ("timeJoinedInMSSinceEpoch", Value::is_u64),
    ("email", Value::is_string),
    ("passwordHash", |value| value.as_str().is_some_and(|hash| hash.len() <= 256)),
    ("hashingAlgorithm", |value| matches!(value.as_str(), Some("bcrypt" | "argon2" | "firebase_scrypt"))),
];

#[test]
fn what_is_written_fits_what_the_core_checks() {
    for user in read("supertokens/bulk.json", "supertokens", USERS, &[KEY, ("second-factor", "ignore")]) {
        let user = item("supertokens", &user, "users");
        assert_fits(&user, SCHEMA, &["loginMethods"]);
        assert_fits(&user["loginMethods"][0], METHOD, &["recipeId", "email", "passwordHash", "hashingAlgorithm"]);
    }
}

#[test]
fn a_user_is_written_field_by_field() {
    assert_eq!(
        item("supertokens", &a_user(), "users"),
        json!({
            "externalUserId": "4711",
            "loginMethods": [{
                "recipeId": "emailpassword", "isPrimary": true, "tenantIds": ["public"], "email": "Ann@example.com", "isVerified": true,
                "timeJoinedInMSSinceEpoch": 1_552_291_815_000_u64, "hashingAlgorithm": "argon2", "passwordHash": ARGON2ID,
            }],
            "userMetadata": {
                "first_name": "Ann", "last_name": "O'Hara",
                "other_names": [{"kind": "username", "value": "ann"}, {"kind": "phone", "value": "+4930123456", "verified": false}],
                "legacy_profile": {"given_name": "Ann", "family_name": "O'Hara", "shoe_size": 38},
            },
        })
    );
}

#[test]
fn what_cannot_be_written_is_said() {
    let nameless = PortableUser { names: vec![name(IdentifierKind::Username, "ann", None)], ..a_user() };
    assert_eq!(refusal("supertokens", &nameless), "email: SuperTokens takes no password without an email address");
    let without = "passwordHash: SuperTokens takes no such user without a bcrypt, Argon2 or Firebase hash";
    assert_eq!(refusal("supertokens", &with_hash(PBKDF2)), without);
    assert_eq!(refusal("supertokens", &PortableUser { password: None, ..a_user() }), without);
    let disabled = PortableUser { standing: Standing::Disabled, ..a_user() };
    assert_eq!(refusal("supertokens", &disabled), "standing: he is disabled here, and would be let in there");
    let long = PortableUser { legacy_id: LegacyId::from_json(&json!("x".repeat(129))), ..a_user() };
    assert_eq!(refusal("supertokens", &long), "externalUserId: is longer than 128 characters");
    assert_eq!(format("supertokens").write.and_then(|write| write.limit).map(|limit| limit.users), Some(10_000));
}

#[test]
fn what_somebody_said_of_himself_is_no_role() {
    let said = json!({"userRoles": [{"role": "admin", "tenantIds": ["public"]}], "userMetadata": {"role": "admin"}, "role": "admin"});
    let user = item("supertokens", &self_made(said), "users");
    assert_eq!(user.get("userRoles"), None);
    assert_eq!(user["userMetadata"]["registration"], json!({"role": "admin"}));
    assert_eq!(user["userMetadata"].get("role"), None);
}

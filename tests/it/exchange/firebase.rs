//! Firebase Authentication.

use super::*;

const USERS: Framing = Framing::JsonItems { path: "users" };

/// The parameters of the project in the files, as `tests/real/exchange/hashes.py` made them up.
pub(super) const PROJECT: [(&str, &str); 4] = [
    ("signer-key", "di4PDehh0EOuDs11Qsy5qF87GfBnSyY7PIXZIRtA2i+apMGuZSusRD1tYwOEmhD3bH5nH7SmgHzLy8vTYz+YcA=="),
    ("salt-separator", "Bw=="),
    ("rounds", "8"),
    ("mem-cost", "8"),
];

fn both_forms() -> [Vec<PortableUser>; 2] {
    [
        read("firebase/users.json", "firebase", USERS, &PROJECT),
        read("firebase/users.csv", "firebase", Framing::CsvWithoutHeader, &PROJECT),
    ]
}

#[test]
fn every_field_of_both_exports_is_read() {
    for users in both_forms() {
        assert_eq!(
            shown(&users[0]),
            json!({
                "id": "0A1b2C3d4E5f6G7h8I9j0K1l2M3n", "names": [["email", "ann@example.com", true]],
                "standing": "active", "created": 1_552_291_815, "last_login": 1_714_564_800, "has_password": true,
            })
        );
        let profile = &users[0].profile;
        assert_eq!(profile["displayName"], "Ann O'Hara");
        assert_eq!(profile["photoUrl"], "https://example.com/ann.png");
        assert_eq!(profile["customAttributes"], r#"{"admin":true,"plan":"gold"}"#);
        assert_eq!(
            profile["providerUserInfo"],
            json!([{"providerId": "google.com", "rawId": "1029384756", "email": "ann@gmail.com", "displayName": "Ann, O'Hara", "photoUrl": "https://example.com/g.png"}])
        );
        assert_eq!((profile.get("passwordHash"), profile.get("salt")), (None, None));
        assert_eq!(users[1].standing, Standing::Disabled);
        assert_eq!(users[1].profile["displayName"], "Müller, Bob");
        assert_eq!(
            shown(&users[2]),
            json!({
                "id": "cleo", "names": [["phone", "+4930999999", null]],
                "standing": "active", "created": 1_600_000_000, "last_login": 1_600_000_001, "has_password": false,
            })
        );
        assert_passwords_verify(&users);
    }
}

#[test]
fn the_parameters_of_the_project_have_to_be_said() {
    for (missing, _) in PROJECT {
        let said: Vec<(&str, &str)> = PROJECT.into_iter().filter(|(name, _)| *name != missing).collect();
        let users = read_with("firebase/users.json", "firebase", USERS, &said);
        let place = "it is in the console under Authentication, Users, Password hash parameters";
        assert_eq!(users[0].as_ref().err(), Some(&format!("--set {missing}: is not said; {place}")));
        assert!(users[2].is_ok(), "a user without a hash needs none");
    }
    let with = |name: &str, value: &str| {
        let said: Vec<(&str, &str)> =
            PROJECT.into_iter().map(|(own, said)| if own == name { (own, value) } else { (own, said) }).collect();
        let users = read_with("firebase/users.json", "firebase", USERS, &said);
        users.into_iter().next().and_then(Result::err).expect("a fault")
    };
    assert_eq!(with("signer-key", "a!"), "--set signer-key: is not base64");
    assert_eq!(with("signer-key", "c2hvcnQ="), "passwordHash: is not as long as the signer key, as Firebase's are");
    assert_eq!(with("rounds", "9"), "--set rounds: must be a number from 1 to 8");
    assert_eq!(with("mem-cost", "15"), "--set mem-cost: must be a number from 1 to 14");
}

#[test]
fn what_is_wrong_with_a_record_is_said_by_field() {
    assert_eq!(fault("firebase", &json!({"email": "a@b"})), "localId: is missing");
    assert_eq!(
        fault("firebase", &json!({"localId": "x"})),
        "email: is missing, and so is `phoneNumber`: he is anonymous"
    );
    assert_eq!(
        fault("firebase", &json!({"localId": "x", "email": "a@b", "createdAt": "May 2019"})),
        "createdAt: must be a time in milliseconds since 1970"
    );
    assert_eq!(
        fault("firebase", &json!({"localId": "x", "email": "a@b", "disabled": "maybe"})),
        "disabled: must be true or false"
    );
    assert_eq!(
        fault("firebase", &json!({"localId": "x", "email": "a@b", "passwordHash": "a!"})),
        "passwordHash: is not base64"
    );
    assert_eq!(
        fault("firebase", &json!({"localId": "x", "email": "a@b", "passwordHash": "aGFzaA=="})),
        "salt: is missing"
    );
    let line =
        |raw: &str| parse("firebase", Framing::CsvWithoutHeader, raw, &PROJECT).map(|_| ()).expect_err("a fault");
    assert_eq!(line("x,a@b,true"), "record: it has 3 fields, and auth:export writes 26 to 29");
    assert_eq!(line("\"x\"y,a@b,true"), "record: something follows the closing quote of a field");
}

#[test]
fn whom_firebase_asks_for_more_leaves_his_hash_to_legacy() {
    let record = json!({"localId": "x", "email": "a@b", "mfaInfo": [{"phoneInfo": "+1"}], "passwordHash": "JDJiJDA0JEVHZHJoYktVdjhPYzl2R2lYWDBIUU94U2c0NDVkNDU4TXVoN0RBSHNrYjZRYnRDdmR4Y2ll"});
    let taken = |said: &[(&str, &str)]| {
        let user = parse("firebase", USERS, &record.to_string(), said).expect("a user");
        encoded(&user).to_owned()
    };
    assert_eq!(taken(&[("hash-algo", "BCRYPT")]), "");
    assert_eq!(taken(&[("hash-algo", "BCRYPT"), ("second-factor", "ignore")]), BCRYPT);
}

/// What firebase-tools lets through, in `validateUserJson`.
const SCHEMA: Schema = &[
    ("localId", Value::is_string),
    ("email", Value::is_string),
    ("emailVerified", Value::is_boolean),
    ("passwordHash", Value::is_string),
    ("salt", Value::is_string),
    ("displayName", Value::is_string),
    ("photoUrl", Value::is_string),
    ("createdAt", Value::is_string),
    ("lastSignedInAt", Value::is_string),
    ("providerUserInfo", Value::is_array),
    ("phoneNumber", Value::is_string),
    ("disabled", Value::is_boolean),
    ("customAttributes", Value::is_string),
];

#[test]
fn what_is_written_fits_what_the_tool_lets_through() {
    for users in both_forms() {
        for user in users {
            assert_fits(&item("firebase", &user, "users"), SCHEMA, &["localId"]);
        }
    }
}

#[test]
fn a_user_is_written_field_by_field() {
    let user = PortableUser { profile: json!({"name": "Ann O'Hara", "shoe_size": 38}), ..a_user() };
    assert_eq!(
        item("firebase", &user, "users"),
        json!({
            "localId": "4711", "email": "Ann@example.com", "emailVerified": true, "phoneNumber": "+4930123456",
            "displayName": "Ann O'Hara", "createdAt": "1552291815000", "lastSignedInAt": "1714564800000", "disabled": false,
        })
    );
}

#[test]
fn one_kind_of_hash_goes_into_a_file() {
    let scrypt = both_forms()[0][0].clone();
    let users = [scrypt, with_hash(BCRYPT), a_user()];
    let (whole, without) = (Ok(Carried::Whole), Ok(Carried::WithoutPassword));
    let written = write("firebase", &users);
    assert_eq!(written.carried, [whole.clone(), without.clone(), without.clone()]);
    assert!(written.remarks[0].contains("--hash-algo=SCRYPT"), "{:?}", written.remarks);
    let written = write_with("firebase", &users, Hashes::Included, &[("hash-algo", "BCRYPT")]);
    assert_eq!(written.carried, [without.clone(), whole.clone(), without.clone()]);
    assert!(written.remarks[0].ends_with("--hash-algo=BCRYPT`"), "{:?}", written.remarks);
    let written = write_with("firebase", &users, Hashes::Included, &PROJECT);
    assert_eq!(written.carried, [whole, without.clone(), without.clone()]);
    let other = [("signer-key", "AAAA"), PROJECT[1], PROJECT[2], PROJECT[3]];
    let written = write_with("firebase", &users, Hashes::Included, &other);
    assert_eq!(written.carried, [without.clone(), without.clone(), without]);
}

#[test]
fn what_cannot_be_written_is_said() {
    let nameless = PortableUser { names: vec![name(IdentifierKind::Username, "ann", None)], ..a_user() };
    assert_eq!(
        refusal("firebase", &nameless),
        "email: Firebase takes no user without an email or a phone number in E.164"
    );
    let without_id = PortableUser { legacy_id: None, ..a_user() };
    assert_eq!(refusal("firebase", &without_id), "localId: Firebase takes no user without an id");
    let long = PortableUser { legacy_id: LegacyId::from_json(&json!("x".repeat(129))), ..a_user() };
    assert_eq!(refusal("firebase", &long), "localId: is longer than 128 characters");
}

#[test]
fn what_somebody_said_of_himself_is_no_claim() {
    let user = item("firebase", &self_made(json!({"customAttributes": r#"{"admin":true}"#})), "users");
    assert_eq!(user.get("customAttributes"), None);
}

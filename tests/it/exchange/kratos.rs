//! Ory Kratos.

use super::*;

const LIST: Framing = Framing::JsonItems { path: "" };
const BATCH: Framing = Framing::JsonItems { path: "identities" };

fn users(said: &[(&str, &str)]) -> Vec<PortableUser> {
    read("kratos/identities.json", "kratos", LIST, said)
}

#[test]
fn every_field_of_a_list_of_identities_is_read() {
    let users = users(&[]);
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": "880052ae-d32c-4b56-b82d-0dc711080901",
            "names": [["email", "Ann@example.com", true], ["username", "ann", null]],
            "standing": "active", "created": 1_552_291_815, "last_login": null, "has_password": true,
        })
    );
    assert_eq!(users[0].profile["traits"]["name"], json!({"first": "Ann", "last": "O'Hara"}));
    assert_eq!(users[0].profile["metadata_public"], json!({"plan": "gold"}));
    assert_eq!(shown(&users[1])["names"], json!([["email", "bob@example.com", false], ["phone", "+4930123456", true]]));
    assert_eq!(users[1].standing, Standing::Disabled);
    assert_no_hash_in_profile(&users);
}

#[test]
fn every_documented_hash_verifies() {
    let users = users(&[]);
    assert_eq!(users.iter().filter(|user| user.password.is_some()).count(), 12);
    assert_passwords_verify(&users);
}

#[test]
fn a_batch_is_read_as_well() {
    let users = read("kratos/batch.json", "kratos", BATCH, &[]);
    assert_eq!(shown(&users[0])["names"], json!([["email", "ann@example.com", null]]));
    assert!(users[0].password.is_some());
    assert_eq!(shown(&users[1])["names"], json!([["username", "bob", null]]));
    assert_passwords_verify(&users);
}

#[test]
fn whom_kratos_asks_for_more_leaves_his_hash_to_legacy() {
    assert!(named(&users(&[]), "totp@example.com").password.is_none());
    assert!(named(&users(&[("second-factor", "ignore")]), "totp@example.com").password.is_some());
    assert!(named(&users(&[]), "totp@example.com").profile["credentials"]["totp"].is_object());
}

fn with_hash_text(text: &str) -> String {
    let credentials = json!({"password": {"config": {"hashed_password": text}}});
    fault("kratos", &json!({"traits": {"email": "a@example.com"}, "credentials": credentials}))
}

#[test]
fn what_is_wrong_with_a_record_is_said_by_field() {
    assert_eq!(fault("kratos", &json!({"id": "1"})), "traits: is missing");
    assert_eq!(fault("kratos", &json!({"traits": []})), "traits: must be an object");
    assert_eq!(
        fault("kratos", &json!({"traits": {"shoe_size": 38}})),
        "traits: holds no email, username or phone, and there are no addresses"
    );
    assert_eq!(fault("kratos", &json!({"traits": {"email": 5}})), "traits.email: must be a text");
    assert_eq!(
        fault("kratos", &json!({"traits": {"email": "a@b"}, "state": "asleep"})),
        "state: must be `active` or `inactive`"
    );
    assert_eq!(
        fault("kratos", &json!({"traits": {}, "verifiable_addresses": [{"value": "a@b", "via": "pigeon"}]})),
        "verifiable_addresses[0].via: must be `email` or `sms`"
    );
    assert_eq!(
        fault(
            "kratos",
            &json!({"traits": {"email": "a@b"}, "credentials": {"password": {"config": {"password": "secret"}}}})
        ),
        "credentials.password.config.password: is a password in plain text; only hashes are taken"
    );
    let unknown = "credentials.password.config.hashed_password: is of a kind that is not supported, or malformed";
    for text in
        ["$hmac-md4$aGFzaA==$a2V5", "$2z$10$abc", "$scrypt$ln=14,r=8$c2FsdA==$aGFzaA==", "$md5$pf=!$c2FsdA==$aGFzaA=="]
    {
        assert_eq!(with_hash_text(text), unknown, "{text}");
    }
}

#[test]
fn the_names_that_kratos_has_for_crypt_become_crypts_own() {
    let encoded_of = |text: &str| {
        let credentials = json!({"password": {"config": {"hashed_password": text}}});
        let record = json!({"traits": {"email": "a@example.com"}, "credentials": credentials});
        encoded(&parse("kratos", LIST, &record.to_string(), &[]).expect("a user")).to_owned()
    };
    assert_eq!(encoded_of("$md5-crypt$salt$hash"), "$1$salt$hash");
    assert_eq!(encoded_of("$sha256-crypt$rounds=5000$salt$hash"), "$5$rounds=5000$salt$hash");
    assert_eq!(encoded_of("$sha512-crypt$rounds=5000$salt$hash"), "$6$rounds=5000$salt$hash");
}

/// `createIdentityBody`.
const SCHEMA: Schema = &[
    ("schema_id", Value::is_string),
    ("traits", Value::is_object),
    ("verifiable_addresses", Value::is_array),
    ("state", |value| matches!(value.as_str(), Some("active" | "inactive"))),
    ("metadata_public", Value::is_object),
    ("metadata_admin", Value::is_object),
    ("credentials", |value| value["password"]["config"]["hashed_password"].is_string()),
];

#[test]
fn what_is_written_fits_the_api() {
    for user in users(&[("second-factor", "ignore")]) {
        let patch = item("kratos", &user, "identities");
        assert_fits(&patch, &[("create", Value::is_object), ("patch_id", Value::is_string)], &["create"]);
        assert_fits(&patch["create"], SCHEMA, &["schema_id", "traits", "credentials"]);
    }
}

#[test]
fn a_user_is_written_field_by_field() {
    assert_eq!(
        item("kratos", &a_user(), "identities"),
        json!({"create": {
            "schema_id": "default",
            "traits": {"email": "Ann@example.com", "username": "ann", "phone": "+4930123456", "name": {"first": "Ann", "last": "O'Hara"}},
            "verifiable_addresses": [{"value": "Ann@example.com", "verified": true, "via": "email", "status": "completed"}],
            "state": "active",
            "metadata_admin": {
                "legacy_id": "4711", "created_at": "2019-03-11T08:10:15Z",
                "legacy_profile": {"given_name": "Ann", "family_name": "O'Hara", "shoe_size": 38},
            },
            "credentials": {"password": {"config": {"hashed_password": ARGON2ID}}},
        }})
    );
}

#[test]
fn traits_are_those_of_the_operators_schema() {
    let said = [("schema", "customer"), ("traits", "email, shoe_size")];
    let written = write_with("kratos", &[a_user()], Hashes::Included, &said);
    let file: Value = serde_json::from_str(&written.text).expect("JSON");
    let create = &file["identities"][0]["create"];
    assert_eq!(create["schema_id"], "customer");
    assert_eq!(create["traits"], json!({"email": "Ann@example.com", "shoe_size": 38}));
    assert_eq!(create["metadata_admin"]["other_names"].as_array().map(Vec::len), Some(2));
    let nobody = PortableUser { names: vec![name(IdentifierKind::Username, "ann", None)], ..a_user() };
    let refused = write_with("kratos", &[nobody], Hashes::Included, &said).carried;
    assert_eq!(refused, [Err("traits: he has none of the names that are written".to_owned())]);
}

#[test]
fn hashes_are_written_in_the_words_of_kratos() {
    let written = |encoded: &str| {
        let create = item("kratos", &with_hash(encoded), "identities")["create"].clone();
        create["credentials"]["password"]["config"]["hashed_password"].as_str().map(str::to_owned)
    };
    let same = |encoded: &str| assert_eq!(written(encoded).as_deref(), Some(encoded));
    same(BCRYPT);
    same(PBKDF2);
    same(SHA256_SUFFIX);
    same("{SSHA}c2FsdHNhbHRzYWx0c2FsdHNhbHRzYWx0");
    assert_eq!(
        written("$scrypt$ln=14,r=8,p=1$c2FsdA$aGFzaA").as_deref(),
        Some("$scrypt$ln=16384,r=8,p=1$c2FsdA==$aGFzaA==")
    );
    assert_eq!(written("$6$salt$hash").as_deref(), Some("$sha512-crypt$salt$hash"));
    let hex = "OWY4NmQwODE4ODRjN2Q2NTlhMmZlYWEwYzU1YWQwMTVhM2JmNGYxYjJiMGI4MjJjZDE1ZDZjMTViMGYwMGEwOA==";
    assert_eq!(written(HMAC).as_deref(), Some(&*format!("$hmac-sha256${hex}$a2V5")));
    assert_eq!(written("$md5$X03MO1qnZdYdgyfeuILPmQ==").as_deref(), Some("$md5$X03MO1qnZdYdgyfeuILPmQ=="));
    for unknown in [
        "$P$B12345678",
        "$sha1$pf=e1BBU1NXT1JEfQ==,it=9$$aGFzaA==",
        "$2x$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie",
    ] {
        assert_eq!(write("kratos", &[with_hash(unknown)]).carried, [Ok(Carried::WithoutPassword)], "{unknown}");
    }
    assert_eq!(format("kratos").write.and_then(|write| write.limit).map(|limit| limit.users), Some(1_000));
}

#[test]
fn what_somebody_said_of_himself_is_no_metadata_of_the_product() {
    let said =
        json!({"metadata_public": {"role": "admin"}, "metadata_admin": {"role": "admin"}, "traits": {"role": "admin"}});
    let create = item("kratos", &self_made(said), "identities")["create"].clone();
    assert_eq!(create.get("metadata_public"), None);
    assert_eq!(create["metadata_admin"].get("role"), None);
    assert_eq!(create["traits"].get("role"), None);
}

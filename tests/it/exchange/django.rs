//! Django.

use super::*;

const ARRAY: Framing = Framing::JsonItems { path: "" };

fn every_form() -> [Vec<PortableUser>; 4] {
    [
        read("django/dumpdata.json", "django", ARRAY, &[]),
        read("django/dumpdata.jsonl", "django", Framing::Lines, &[]),
        read("django/auth_user.postgres.csv", "django", Framing::Csv, &[]),
        read("django/auth_user.sqlite.csv", "django", Framing::Csv, &[]),
    ]
}

#[test]
fn every_field_of_every_form_is_read() {
    for users in every_form() {
        assert_eq!(users.len(), 8);
        assert_eq!(
            shown(&users[0]),
            json!({
                "id": 1, "names": [["username", "user.pbkdf2_sha256", null], ["email", "pbkdf2_sha256@example.com", null]],
                "standing": "active", "created": 1_551_429_015, "last_login": 1_714_564_800, "has_password": true,
            })
        );
        let profile = &users[0].profile;
        assert_eq!((&profile["first_name"], &profile["last_name"]), (&json!("Ann"), &json!("O'Hara, née Ünal")));
        assert_eq!((&profile["is_staff"], &profile["is_superuser"]), (&json!(true), &json!(true)));
        assert_eq!((&profile["id"], profile.get("password")), (&json!(1), None));
        assert_eq!((users[1].standing, users[1].last_login_at), (Standing::Disabled, None));
        assert_eq!(shown(&users[5])["names"], json!([["username", "user.scrypt", null]]));
        assert!(named(&users, "without.password").password.is_none());
    }
}

#[test]
fn every_hasher_of_django_verifies() {
    for users in every_form() {
        assert_eq!(users.iter().filter(|user| user.password.is_some()).count(), 7);
        assert_passwords_verify(&users);
    }
}

#[test]
fn the_unsalted_md5_of_its_first_years_verifies() {
    // hashlib.md5(b"correct horse battery staple").hexdigest(), which is what UnsaltedMD5PasswordHasher stored.
    let record = json!({"model": "auth.user", "pk": 1, "fields": {"username": "ann", "password": "9cc2ae8a1ba7a93da39b46fc1019c481"}});
    let user = parse("django", ARRAY, &record.to_string(), &[]).expect("a user");
    assert_passwords_verify(&[user]);
}

#[test]
fn groups_are_kept_where_they_are_dumped() {
    let users = read("django/dumpdata.json", "django", ARRAY, &[]);
    assert_eq!(users[0].profile["groups"], json!([1]));
}

#[test]
fn email_addresses_can_be_left_in_the_profile() {
    let users = read("django/dumpdata.json", "django", ARRAY, &[("names", "username")]);
    assert_eq!(shown(&users[0])["names"], json!([["username", "user.pbkdf2_sha256", null]]));
    assert_eq!(users[0].profile["email"], "pbkdf2_sha256@example.com");
}

#[test]
fn a_key_that_is_a_text_stays_one() {
    let record = json!({"model": "accounts.user", "pk": "0b6a7a3e", "fields": {"password": "", "email": "a@b"}});
    let user = parse("django", ARRAY, &record.to_string(), &[]).expect("a user");
    assert_eq!(shown(&user)["id"], "0b6a7a3e");
    let mut context = Context::new(Framing::Csv);
    context.header = ["id", "password", "username", "is_active"].map(str::to_owned).to_vec();
    let row = |raw: &str| (format("django").parse)(raw.as_bytes(), &context).map(|user| shown(&user)["id"].clone());
    assert_eq!(row("0b6a7a3e,!,ann,True"), Ok(json!("0b6a7a3e")));
    assert_eq!(row("7,!,ann,False"), Ok(json!(7)));
}

#[test]
fn what_is_wrong_with_a_record_is_said_by_field() {
    let with = |fields: Value| fault("django", &json!({"model": "auth.user", "pk": 1, "fields": fields}));
    assert_eq!(fault("django", &json!({"pk": 1})), "model: is missing");
    assert_eq!(
        fault("django", &json!({"model": "auth.group", "pk": 1, "fields": {"name": "staff"}})),
        "model: `auth.group` is no user model, for it has no password; dump only the user model"
    );
    assert_eq!(with(json!({"password": ""})), "username: is missing, and so is `email`");
    assert_eq!(with(json!({"username": "ann", "password": 5})), "password: must be a text");
    assert_eq!(
        with(json!({"username": "ann", "password": "whirlpool$salt$hash"})),
        "password: is of no hasher of Django's own"
    );
    let plain = with(json!({"username": "ann", "password": "Hunter2$9"}));
    assert!(!plain.contains("Hunter2"), "what may be the beginning of a password is not shown: {plain}");
    assert_eq!(
        with(json!({"username": "ann", "password": "secret"})),
        "password: is no password as Django stores them"
    );
    assert_eq!(
        with(json!({"username": "ann", "password": "", "date_joined": "long ago"})),
        "date_joined: must be a time as in 2024-05-01T12:00:00Z"
    );
    assert_eq!(
        with(json!({"username": "ann", "password": "", "is_active": "yes"})),
        "is_active: must be true or false"
    );
    let mut context = Context::new(Framing::Csv);
    context.header = ["id", "username", "is_active"].map(str::to_owned).to_vec();
    let row =
        |raw: &str| (format("django").parse)(raw.as_bytes(), &context).map(|_| ()).map_err(|fault| fault.to_string());
    assert_eq!(row("1,ann,maybe"), Err("is_active: must be true or false".into()));
    assert_eq!(row("1,ann"), Err("record: it has 2 fields, and the header has 3".into()));
    assert_eq!(row("1,\"ann,t"), Err("record: a quoted field does not end".into()));
}

/// The fields of `auth.user`.
const SCHEMA: Schema = &[
    ("password", Value::is_string),
    ("last_login", Value::is_string),
    ("is_superuser", Value::is_boolean),
    ("username", |value| value.as_str().is_some_and(|name| name.chars().count() <= 150)),
    ("first_name", Value::is_string),
    ("last_name", Value::is_string),
    ("email", Value::is_string),
    ("is_staff", Value::is_boolean),
    ("is_active", Value::is_boolean),
    ("date_joined", Value::is_string),
    ("groups", Value::is_array),
    ("user_permissions", Value::is_array),
];

#[test]
fn what_is_written_fits_the_user_model() {
    let row: Schema = &[("model", |value| value == "auth.user"), ("pk", Value::is_u64), ("fields", Value::is_object)];
    for user in every_form().into_iter().flatten() {
        let written = item("django", &user, "");
        assert_fits(&written, row, &["model", "fields"]);
        assert_fits(&written["fields"], SCHEMA, &["password", "username", "email", "is_active"]);
    }
}

#[test]
fn a_user_is_written_field_by_field() {
    let user = PortableUser { legacy_id: LegacyId::from_json(&json!(7)), ..a_user() };
    assert_eq!(
        item("django", &user, ""),
        json!({"model": "auth.user", "pk": 7, "fields": {
            "password": format!("argon2{ARGON2ID}"), "last_login": "2024-05-01T12:00:00Z", "username": "ann", "first_name": "Ann",
            "last_name": "O'Hara", "email": "Ann@example.com", "is_active": true, "date_joined": "2019-03-11T08:10:15Z",
        }})
    );
    assert_eq!(item("django", &a_user(), "").get("pk"), None, "a key that is a text fits no number");
    let password = |encoded: &str| item("django", &with_hash(encoded), "")["fields"]["password"].clone();
    assert_eq!(password(BCRYPT), json!(format!("bcrypt${BCRYPT}")));
    assert_eq!(password(PBKDF2), "pbkdf2_sha256$1000$sixteen byte slt$Jt3nYeAYdNVHqyXmRKXcBkW0Ng8lHjTLTY5JxdwD2Ik=");
    let written = write_with("django", &[a_user()], Hashes::Included, &[("model", "accounts.user")]);
    assert!(written.text.contains(r#""model":"accounts.user""#));
}

#[test]
fn a_password_that_stays_behind_can_still_be_reset() {
    let written = write("django", &[with_hash(SHA256_SUFFIX)]);
    assert_eq!(written.carried, [Ok(Carried::WithoutPassword)]);
    let file: Value = serde_json::from_str(&written.text).expect("JSON");
    assert_eq!(file[0]["fields"]["password"], "", "Django mails no reset to a user with an unusable password");
    let salt_with_a_separator = with_hash("$pbkdf2-sha256$i=1,l=32$JCQk$Jt3nYeAYdNVHqyXmRKXcBkW0Ng8lHjTLTY5JxdwD2Ik");
    assert_eq!(write("django", &[salt_with_a_separator]).carried, [Ok(Carried::WithoutPassword)]);
}

#[test]
fn what_cannot_be_written_is_said() {
    let nameless = PortableUser { names: vec![name(IdentifierKind::Phone, "+49301234", None)], ..a_user() };
    assert_eq!(refusal("django", &nameless), "username: Django takes no user without one");
    let long = PortableUser { names: vec![name(IdentifierKind::Username, &"x".repeat(151), None)], ..a_user() };
    assert_eq!(refusal("django", &long), "username: is longer than 150 characters");
}

#[test]
fn what_somebody_said_of_himself_makes_him_no_superuser() {
    let fields =
        item("django", &self_made(json!({"is_superuser": true, "is_staff": true, "groups": [1]})), "")["fields"]
            .clone();
    for key in ["is_superuser", "is_staff", "groups"] {
        assert_eq!(fields.get(key), None, "{key}");
    }
}

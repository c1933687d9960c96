//! Fields that are said and fields that are guessed.

use serde_json::json;

use super::*;

fn mapping(pairs: &[&str], hashes: Option<HashReader>) -> Mapping {
    let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
    Mapping::new(&pairs, hashes).expect("a good mapping")
}

/// Writes hash and salt side by side; knows nothing of a hash that is short.
fn side_by_side() -> HashReader {
    Arc::new(|hash, salt| {
        if hash.len() < 8 {
            Err("it is short".to_owned())
        } else {
            Ok(format!("$x${}${hash}", salt.unwrap_or_default()))
        }
    })
}

fn read(mapping: &Mapping, fields: Value) -> Result<PortableUser, RowFault> {
    let Value::Object(fields) = fields else { panic!("an object") };
    mapping.read(fields, Typing::AllText, PasswordNormalization::None)
}

fn names(user: &PortableUser) -> Vec<(IdentifierKind, &str)> {
    user.names.iter().map(|name| (name.kind, name.value.as_str())).collect()
}

#[test]
fn a_sensible_guess_is_made_from_the_names_of_fields() {
    let user = read(
        &Mapping::default(),
        json!({
            "User ID": "17", "E-Mail": "a@x.y", "user_name": "ann", "encrypted_password": "$2b$04$x", "is_active": "0",
            "created_at": "2024-02-03 04:05:06", "last_sign_in_at": "1700000000", "email_verified": "yes", "shoe size": "44"
        }),
    )
    .expect("a good row");
    assert_eq!(names(&user), [(IdentifierKind::Email, "a@x.y"), (IdentifierKind::Username, "ann")]);
    assert_eq!(user.names[0].verified, Some(true));
    assert_eq!(user.legacy_id.as_ref().map(LegacyId::to_json), Some(json!(17)));
    assert_eq!(user.password.as_ref().map(|password| password.encoded.as_str()), Some("$2b$04$x"));
    assert_eq!((user.standing, user.created_at), (Standing::Disabled, Some(UnixSeconds(1_706_933_106))));
    assert_eq!(user.last_login_at, Some(UnixSeconds(1_700_000_000)));
    assert_eq!(user.profile["shoe size"], "44");
    assert!(user.profile.get("encrypted_password").is_none(), "{}", user.profile);
}

#[test]
fn what_is_said_counts_before_what_is_guessed() {
    let mapping = mapping(&["email=contact.mail", "password=secret.hash", "profile.name=full", "id:text=id"], None);
    let user = read(
        &mapping,
        json!({"id": "5", "email": "other@x.y", "full": "Ann", "contact": {"mail": "a@x.y"}, "secret": {"hash": "$2b$04$x"}}),
    )
    .expect("a good row");
    assert_eq!(user.names.first().map(|name| name.value.as_str()), Some("a@x.y"));
    assert_eq!(user.legacy_id.as_ref().map(LegacyId::to_json), Some(json!("5")), "as text, as was said");
    assert_eq!(user.profile, json!({"name": "Ann"}));
    assert!(user.password.is_some());
}

#[test]
fn a_password_and_its_salt_stay_out_of_the_profile_wherever_they_lie() {
    let mapping = mapping(&["password=a.b", "salt=c", "nothing=note"], Some(side_by_side()));
    let hash = "5f4dcc3b5aa765d61d8327deb882cf99";
    let user =
        read(&mapping, json!({"email": "a@x.y", "a": {"b": hash, "k": 1}, "c": "salty", "note": "x"})).expect("a row");
    assert_eq!(user.profile, json!({"email": "a@x.y", "a": {"k": 1}}));
}

#[test]
fn a_bare_hash_becomes_one_text_with_its_salt() {
    let mapping = mapping(&[], Some(side_by_side()));
    let user = read(&mapping, json!({"email": "a@x.y", "password": "5f4dcc3b5aa765d6", "salt": "NaCl"}));
    let encoded = user.ok().and_then(|user| user.password).map(|password| password.encoded.to_string());
    assert_eq!(encoded.as_deref(), Some("$x$NaCl$5f4dcc3b5aa765d6"));
    let short = read(&mapping, json!({"email": "a@x.y", "password": "5f4dcc", "salt": "NaCl"}));
    assert_eq!(short.err().map(|fault| fault.to_string()).as_deref(), Some("password: it is short"));
    let not_told = read(&Mapping::default(), json!({"email": "a@x.y", "password": "5f4dcc", "salt": "NaCl"}));
    assert!(not_told.err().is_some_and(|fault| fault.to_string().contains("--hash-template")));
}

#[test]
fn a_password_that_nobody_can_have_is_none() {
    for marker in ["", "!", "*", "!unusable", "*LK*", "NULL"] {
        let user = read(&Mapping::default(), json!({"email": "a@x.y", "password": marker})).expect("a row");
        assert!(user.password.is_none(), "{marker:?}");
    }
}

#[test]
fn the_star_of_mysql_is_no_such_mark() {
    let row = || json!({"email": "a@x.y", "password": "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"});
    let encoded = |mapping: &Mapping| {
        let user = read(mapping, row()).expect("a row");
        user.password.map(|password| password.encoded.to_string())
    };
    assert_eq!(
        encoded(&mapping(&[], Some(side_by_side()))).as_deref(),
        Some("$x$$2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19")
    );
    assert_eq!(
        encoded(&Mapping::default()).as_deref(),
        Some("*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"),
        "and is found out later"
    );
}

#[test]
fn what_cannot_be_read_names_the_field_and_not_the_value() {
    for (field, value) in [("created_at", "yesterday"), ("enabled", "perhaps"), ("id", &"9".repeat(300)[..])] {
        let fault = read(&Mapping::default(), json!({"email": "a@x.y", field: value})).err().expect("a fault");
        assert_eq!(fault.field, field);
        assert!(!fault.to_string().contains(value), "{fault}");
    }
}

#[test]
fn times_come_in_many_forms() {
    for text in
        ["1706933106", "1706933106000", "2024-02-03T04:05:06Z", "2024-02-03T05:05:06+01:00", "2024-02-03 04:05:06.123"]
    {
        let at = time("created_at", &json!(text)).expect("a time");
        assert_eq!(at, Some(UnixSeconds(1_706_933_106)), "{text}");
    }
    assert_eq!(time("created_at", &json!("2024-02-03")), Ok(Some(UnixSeconds(1_706_918_400))));
    for nothing in ["", "0000-00-00 00:00:00", "0001-01-01T00:00:00Z", "NULL"] {
        assert_eq!(time("created_at", &json!(nothing)), Ok(None), "{nothing:?}");
    }
    assert!(time("created_at", &json!("03/02/2024")).is_err());
}

#[test]
fn a_mapping_that_cannot_be_is_refused() {
    let new = |pairs: &[&str]| {
        let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        Mapping::new(&pairs, None)
    };
    assert!(matches!(new(&["email"]), Err(BadMapping::Form(_))));
    assert!(matches!(new(&["email="]), Err(BadMapping::Form(_))));
    assert!(matches!(new(&["mail=x"]), Err(BadMapping::Word(_))));
    assert!(matches!(new(&["profile.=x"]), Err(BadMapping::Word(_))));
    assert!(matches!(new(&["id=a", "id:text=b"]), Err(BadMapping::Twice(_))));
    assert!(new(&["email=a", "email=b"]).is_ok(), "two addresses");
    let header = ["a".to_owned(), "mail".to_owned()];
    assert!(mapping(&["username=A"], None).check(&header).is_ok());
    assert!(matches!(mapping(&["email=b"], None).check(&header), Err(BadMapping::NoColumn(..))));
    assert!(matches!(Mapping::default().check(&header[..1]), Err(BadMapping::NoName(_))));
}

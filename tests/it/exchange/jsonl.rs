//! JSON lines: anybody's, with what was said of its keys, and our own.

use authferry::exchange::Mapping;
use uuid::Uuid;

use super::*;

fn mapped(pairs: &[&str]) -> Vec<PortableUser> {
    let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
    let mut context = Context::new(Framing::Lines);
    context.mapping = Mapping::new(&pairs, None).expect("a mapping");
    let text = std::fs::read_to_string(path("jsonl/users.jsonl")).expect("the file");
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| (format("jsonl").parse)(line.as_bytes(), &context).unwrap_or_else(|fault| panic!("{fault}")))
        .collect()
}

#[test]
fn keys_of_anybodys_lines_are_guessed_or_said() {
    let users = mapped(&["password=pw.hash", "last_login_at=seen", "profile.name=profile.name"]);
    assert_eq!(users.len(), 4);
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": "u-1", "names": [["email", "Ann@example.com", null]], "standing": "active", "created": null,
            "last_login": 1_714_564_800, "has_password": true,
        })
    );
    assert_eq!(users[0].profile, json!({"name": "Ünal"}));
    assert!(users[3].password.is_none());
    assert_passwords_verify(&users);
    assert_no_hash_in_profile(&users);
}

#[test]
fn everything_in_our_own_lines_is_read() {
    let users = read("jsonl/own.jsonl", "jsonl", Framing::Lines, &[]);
    assert_eq!(users.len(), 3);
    let ann = &users[0];
    assert_eq!(
        shown(ann),
        json!({
            "id": 4711, "names": [["email", "Ann@example.com", true], ["phone", "+49 30 123456", null]], "standing": "active",
            "created": 1_552_291_815, "last_login": 1_714_564_800, "has_password": true,
        })
    );
    assert_eq!(ann.id.map(|id| id.get_version_num()), Some(7));
    assert_eq!(ann.reserved, [name(IdentifierKind::Username, "ann.former", None)]);
    assert_eq!(ann.password.as_ref().map(|password| password.normalization), Some(PasswordNormalization::Nfkc));
    assert_eq!((ann.origin, ann.updated_at), (Some(Origin::Imported), Some(UnixSeconds(1_714_564_800))));
    assert_eq!(ann.roster.map(|roster| roster.value), Some(Some(42)));
    assert_eq!((users[1].standing, users[1].legacy_vouched_at), (Standing::Disabled, Some(UnixSeconds(1_714_564_800))));
    assert_eq!((users[2].standing, &users[2].profile), (Standing::Deleted, &Value::Null));
    assert_ne!(users[0].id, None::<Uuid>);
}

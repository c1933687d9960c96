//! CSV: a table of anybody's, and our own.

use super::*;

fn users() -> Vec<PortableUser> {
    read("csv/users.csv", "csv", Framing::Csv, &[])
}

#[test]
fn every_field_of_a_table_is_read() {
    let users = users();
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": 1, "names": [["email", "Ann@example.com", null], ["username", "ann", null]], "standing": "active",
            "created": 1_552_291_815, "last_login": null, "has_password": true,
        })
    );
    assert_eq!(users[0].profile["display_name"], "O'Hara, \"née\" Ünal");
    assert_eq!(users[1].profile["display_name"], "Bob\r\nB", "a line end in a cell is a part of it");
    assert_eq!((users[1].created_at, users[1].profile.get("user_activation_key")), (None, None), "what says nothing");
    assert_eq!(users[2].profile["display_name"], "=cmd()", "somebody else's cells are read as they are");
    assert_eq!(users.len(), 3);
}

#[test]
fn wordpress_hashes_verify_in_a_table_of_its_own() {
    let users = users();
    assert_eq!(users.iter().filter(|user| user.password.is_some()).count(), 2);
    assert_passwords_verify(&users);
    assert_no_hash_in_profile(&users);
}

//! Amazon Cognito.

use super::*;

const LIST: Framing = Framing::JsonItems { path: "Users" };

#[test]
fn every_field_of_list_users_is_read() {
    let users = read("cognito/list-users.json", "cognito", LIST, &[]);
    let file: Value =
        serde_json::from_slice(&std::fs::read(path("cognito/list-users.json")).expect("the file")).expect("JSON");
    let attribute = |user: usize, name: &str| {
        let attributes = file["Users"][user]["Attributes"].as_array().expect("a list");
        attributes.iter().find(|one| one["Name"] == name).expect("the attribute")["Value"].clone()
    };
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": attribute(0, "sub"), "names": [["email", "Ann@example.com", true], ["username", "ann", null]],
            "standing": "active", "created": file["Users"][0]["UserCreateDate"].as_f64().expect("seconds") as u64,
            "last_login": null, "has_password": false,
        })
    );
    let profile = &users[0].profile;
    assert_eq!((&profile["given_name"], &profile["custom:plan"]), (&json!("Ann"), &json!("gold")));
    assert_eq!((&profile["Username"], &profile["UserStatus"]), (&json!("ann"), &json!("FORCE_CHANGE_PASSWORD")));
    assert_eq!(
        shown(&users[1])["names"],
        json!([["email", "bob@example.com", false], ["phone", "+4930123456", true], ["username", "bob", null]])
    );
    assert_eq!(users[2].standing, Standing::Disabled);
}

#[test]
fn times_and_states_of_the_newer_command_line_are_read() {
    let user = |more: Value| {
        let mut record = json!({"Username": "0b6a7a3e", "Attributes": [{"Name": "sub", "Value": "0b6a7a3e"}, {"Name": "email", "Value": "a@b"}]});
        record.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        parse("cognito", LIST, &record.to_string(), &[]).expect("a user")
    };
    let newer =
        user(json!({"UserCreateDate": "2019-03-11T09:10:15.123000+01:00", "Enabled": true, "UserStatus": "CONFIRMED"}));
    assert_eq!(newer.created_at, Some(UnixSeconds(1_552_291_815)));
    assert_eq!(shown(&newer)["names"], json!([["email", "a@b", null]]), "a username that is the sub is no name");
    for (state, standing) in [
        ("UNCONFIRMED", Standing::Active),
        ("RESET_REQUIRED", Standing::Active),
        ("ARCHIVED", Standing::Disabled),
        ("COMPROMISED", Standing::Disabled),
    ] {
        assert_eq!(user(json!({"UserStatus": state})).standing, standing, "{state}");
    }
}

#[test]
fn every_field_of_an_import_file_is_read() {
    let users = read("cognito/import.csv", "cognito", Framing::Csv, &[]);
    assert_eq!(
        shown(&users[0]),
        json!({
            "id": "John",
            "names": [["email", "johndoe@example.com", true], ["phone", "+12345550100", true], ["username", "John", null]],
            "standing": "active", "created": null, "last_login": null, "has_password": false,
        })
    );
    assert_eq!(users[0].profile["address"], "123 Any Street, Anytown");
    assert_eq!(users[0].profile["birthdate"], "02/01/1985");
    assert_eq!(users[1].names[0].verified, Some(false));
}

#[test]
fn what_is_wrong_with_a_record_is_said_by_field() {
    assert_eq!(fault("cognito", &json!({"Attributes": []})), "Username: is missing");
    assert_eq!(
        fault("cognito", &json!({"Username": "a", "Attributes": [{"Name": "email"}]})),
        "Attributes[0].Value: is missing"
    );
    assert_eq!(
        fault(
            "cognito",
            &json!({"Username": "a", "Attributes": [{"Name": "email", "Value": "x"}, {"Name": "email", "Value": "y"}]})
        ),
        "Attributes[1].Name: appears twice"
    );
    assert_eq!(
        fault("cognito", &json!({"Username": "a", "Attributes": [{"Name": "email_verified", "Value": "yes"}]})),
        "email_verified: must be true or false"
    );
    assert_eq!(
        fault("cognito", &json!({"Username": "a", "UserCreateDate": "May 2019"})),
        "UserCreateDate: must be a time as in 2024-05-01T12:00:00Z"
    );
    let mut context = Context::new(Framing::Csv);
    context.header = vec!["cognito:username".into(), "email".into()];
    let line =
        |raw: &str| (format("cognito").parse)(raw.as_bytes(), &context).map(|_| ()).map_err(|fault| fault.to_string());
    assert_eq!(line("ann"), Err("record: it has 1 field, and the header has 2".into()));
    assert_eq!(line(",ann@example.com"), Err("cognito:username: is missing".into()));
}

fn lines(users: &[PortableUser], said: &[(&str, &str)]) -> Vec<String> {
    write_with("cognito", users, Hashes::Included, said).text.lines().map(str::to_owned).collect()
}

#[test]
fn a_user_is_written_column_by_column() {
    let profile = json!({"given_name": "Ann", "family_name": "O'Hara", "address": "1 Main St, Springfield", "birthdate": "1985-02-01", "plan": "gold"});
    let user = PortableUser { profile, updated_at: Some(UnixSeconds(1_471_453_471)), ..a_user() };
    let written = lines(std::slice::from_ref(&user), &[]);
    assert_eq!(
        written[0],
        "cognito:username,name,given_name,family_name,middle_name,nickname,preferred_username,profile,picture,website,email,\
         email_verified,gender,birthdate,zoneinfo,locale,phone_number,phone_number_verified,address,updated_at,cognito:mfa_enabled"
    );
    assert_eq!(
        written[1],
        "ann,,Ann,O'Hara,,,,,,,Ann@example.com,TRUE,,02/01/1985,,,+4930123456,FALSE,1 Main St\\, Springfield,1471453471,FALSE"
    );
    let written = lines(&[user], &[("header", "email,custom:plan,cognito:username"), ("username", "id")]);
    assert_eq!(written, ["email,custom:plan,cognito:username", "Ann@example.com,gold,4711"]);
}

#[test]
fn every_user_has_to_reset_his_password_there() {
    let without = PortableUser { password: None, ..a_user() };
    let written = write("cognito", &[a_user(), without]);
    assert_eq!(written.carried, [Ok(Carried::WithoutPassword), Ok(Carried::Whole)]);
    assert!(written.remarks[0].contains("resets his password"), "{:?}", written.remarks);
}

#[test]
fn what_cannot_be_written_is_said() {
    let unverified = PortableUser { names: vec![name(IdentifierKind::Email, "a@b", None)], ..a_user() };
    assert_eq!(
        refusal("cognito", &unverified),
        "email_verified: Cognito takes no user without a verified email or phone number: he could not reset his password"
    );
    let disabled = PortableUser { standing: Standing::Disabled, ..a_user() };
    assert_eq!(refusal("cognito", &disabled), "standing: he is disabled here, and would be let in there");
    let broken = PortableUser { profile: json!({"address": "1 Main St\nSpringfield"}), ..a_user() };
    assert_eq!(refusal("cognito", &broken), "address: has a line break, which Cognito's file has no way to write");
    let escaping = PortableUser { profile: json!({"address": "C:\\"}), ..a_user() };
    assert_eq!(refusal("cognito", &escaping), "address: ends in a backslash, which would escape the comma after it");
    let born = PortableUser { profile: json!({"birthdate": "in May"}), ..a_user() };
    assert_eq!(refusal("cognito", &born), "birthdate: must be a date as in 1985-02-01");
    let long = PortableUser { profile: json!({"address": "x".repeat(16_000)}), ..a_user() };
    assert_eq!(refusal("cognito", &long), "record: his line is longer than 16000 characters");
    let names = vec![name(IdentifierKind::Email, "a@b", Some(true)), name(IdentifierKind::Username, "ann o", None)];
    assert_eq!(
        refusal("cognito", &PortableUser { names, ..a_user() }),
        "cognito:username: Cognito takes none with white space in it"
    );
}

#[test]
fn what_somebody_said_of_himself_is_no_custom_attribute() {
    let user = self_made(json!({"custom:role": "admin", "role": "admin"}));
    assert_eq!(lines(&[user], &[("header", "cognito:username,custom:role")])[1], "ann,");
}

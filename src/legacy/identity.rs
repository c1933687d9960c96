//! Whom an answer names. The one place where a connector vouches for a user: `LegacyAccepted` is made here, and only of an
//! identity with a stable id. Called by `http`.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::answer::Answer;
use super::profile::without_secrets;
use super::settings::UserMapping;
use crate::domain::identifier::{IdentifierKind, IdentifierRules};
use crate::domain::proof::{LegacyAccepted, LegacyIdentity, ToldBy};
use crate::domain::user::LegacyId;
use crate::template::Expression;

/// Reads a user out of an answer. None if it has no stable id.
pub(super) fn read(mapping: &UserMapping, answer: &Arc<Answer>, rules: IdentifierRules) -> Option<LegacyIdentity> {
    let context = answer.context();
    let value = |expression: Option<&Expression>| expression.and_then(|expression| expression.value(&context));
    let id = LegacyId::from_json(&mapping.id.value(&context)?)?;
    let names = [
        (IdentifierKind::Email, &mapping.email, &mapping.email_verified),
        (IdentifierKind::Username, &mapping.username, &None),
        (IdentifierKind::Phone, &mapping.phone, &mapping.phone_verified),
    ];
    let identifiers = names.into_iter().filter_map(|(kind, name, verified)| {
        let name = text(value(name.as_ref())?)?;
        rules.identifier(kind, &name, value(verified.as_ref()).and_then(|verified| flag(&verified))).ok()
    });
    let identifiers = identifiers.collect();
    let profile = match &mapping.profile {
        Some(profile) => value(Some(profile)),
        None => answer.json().cloned(),
    };
    let profile = without_secrets(profile.unwrap_or_else(|| Value::Object(Map::new())));
    Some(LegacyIdentity { id, identifiers, profile, told_by: ToldBy::Owner })
}

/// Vouches that legacy accepted this user's password: its success rule held, and the answer that says so names him.
pub(super) fn vouch(identity: LegacyIdentity) -> LegacyAccepted {
    LegacyAccepted::assert_by_connector(identity)
}

/// Some backends keep phone numbers and even names as numbers.
fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A flag as backends write it. What is neither yes nor no is unknown: verification is carried, never invented.
fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text == "true" || text == "1" => Some(true),
        Value::String(text) if text == "false" || text == "0" => Some(false),
        Value::Number(number) if number.as_u64() == Some(1) => Some(true),
        Value::Number(number) if number.as_u64() == Some(0) => Some(false),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::super::answer::tests::answer;
    use super::*;

    pub(in crate::legacy) fn mapping(id: &str) -> UserMapping {
        let compile = |source: &str| Some(Expression::compile(source).expect("an expression"));
        UserMapping {
            id: Expression::compile(id).expect("an expression"),
            email: compile("json.email"),
            username: compile("json.username"),
            phone: compile("json.phone"),
            profile: None,
            email_verified: compile("json.email_verified"),
            phone_verified: compile("json.phone_verified"),
        }
    }

    fn identity(mapping: &UserMapping, body: &Value) -> Option<LegacyIdentity> {
        read(mapping, &answer(200, &[], &body.to_string()), IdentifierRules::default())
    }

    #[test]
    fn a_user_is_read_whole() {
        let body = json!({
            "zeta": 1, "id": 7, "email": "Ann@X.y", "username": null, "phone": 491_511_234_u64,
            "email_verified": "true", "phone_verified": "perhaps",
        });
        let user = identity(&mapping("json.id"), &body).expect("a user");
        assert_eq!(user.id.to_json(), json!(7));
        let names: Vec<_> =
            user.identifiers.iter().map(|alias| (&*alias.value, alias.normalized.as_key(), alias.verified)).collect();
        assert_eq!(names, [("Ann@X.y", "e:ann@x.y", Some(true)), ("491511234", "p:491511234", None)]);
        assert_eq!(user.profile.to_string(), body.to_string(), "the whole body, in its order");
    }

    #[test]
    fn r78_without_a_stable_id_there_is_no_user() {
        for id in [json!(null), json!(""), json!(1.5), json!({}), json!([1]), json!(true)] {
            assert!(identity(&mapping("json.id"), &json!({ "id": id, "email": "a@x.y" })).is_none(), "{id}");
        }
        assert!(identity(&mapping("json.user.id"), &json!({ "id": 1 })).is_none());
    }

    #[test]
    fn names_that_nobody_could_type_are_left_out() {
        let body = json!({ "id": 1, "email": " a@x.y", "username": "a\u{200b}", "phone": "---" });
        let user = identity(&mapping("json.id"), &body).expect("a user");
        assert!(user.identifiers.is_empty());
    }

    #[test]
    fn the_claims_of_a_token_are_an_identity_too() {
        // {"sub":"7","email":"ann@x.y"}
        let body = json!({ "token": "e30.eyJzdWIiOiI3IiwiZW1haWwiOiJhbm5AeC55In0.c2ln" });
        let mapping = UserMapping {
            id: Expression::compile("(json.token | jwt_claims).sub").expect("an expression"),
            email: Some(Expression::compile("(json.token | jwt_claims).email").expect("an expression")),
            profile: Some(Expression::compile("json.token | jwt_claims").expect("an expression")),
            ..mapping("json.id")
        };
        let user = identity(&mapping, &body).expect("a user");
        assert_eq!((user.id.as_key(), &user.profile), ("7", &json!({ "sub": "7", "email": "ann@x.y" })));
        assert_eq!(user.identifiers.len(), 1);
    }
}

//! A profile as legacy gave it, less what opens an account: passwords, their hashes, tokens. Backends that answer with whole rows, or put
//! the fresh token into the user, would otherwise have it kept on disk and handed out with every later login (R116). Called by
//! `identity`.

use serde_json::Value;

/// How a name ends that stands before a secret, without case and separators.
const ENDINGS: [&str; 19] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "passcode",
    "passwordhash",
    "passwordsalt",
    "passworddigest",
    "pwhash",
    "passhash",
    "token",
    "tokens",
    "jwt",
    "secret",
    "secrets",
    "apikey",
    "privatekey",
    "sessionid",
    "sessionkey",
];

/// Names that are one only as a whole.
const WHOLE: [&str; 6] = ["pass", "hash", "salt", "digest", "session", "sid"];

/// Takes every secret out, at any depth. Flags, numbers and nulls stay: `has_password` opens nothing.
pub(super) fn without_secrets(profile: Value) -> Value {
    match profile {
        Value::Object(entries) => {
            let kept = entries.into_iter().filter(|(name, value)| !(names_a_secret(name) && may_be_secret(value)));
            let kept = kept.filter(|(_, value)| !is_jwt(value));
            Value::Object(kept.map(|(name, value)| (name, without_secrets(value))).collect())
        }
        Value::Array(items) => items.into_iter().filter(|item| !is_jwt(item)).map(without_secrets).collect(),
        Value::String(_) if is_jwt(&profile) => Value::Null,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => profile,
    }
}

fn may_be_secret(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(_) | Value::Array(_) | Value::Object(_) => true,
    }
}

fn names_a_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    WHOLE.contains(&plain.as_str()) || ENDINGS.iter().any(|ending| plain.ends_with(ending))
}

/// RFC 7519: the header is a JSON object, which begins with `{"`, and so in base64url with `eyJ`.
fn is_jwt(value: &Value) -> bool {
    let is_base64url = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    value.as_str().is_some_and(|text| {
        text.starts_with("eyJ") && text.split('.').count() == 3 && text.split('.').all(is_base64url)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn r116_passwords_and_tokens_leave_a_profile_and_everything_else_stays() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2ln";
        let profile = json!({
            "id": 7, "password": "$2y$10$abc", "passwordHash": "x", "encrypted_password": "y", "reset_password_token": "z",
            "accessToken": "t", "token": jwt, "tokens": { "refresh": "r" }, "apiKey": "k", "salt": "s", "link": jwt,
            "has_password": true, "token": null, "password_expires": 90, "tokens_used": 3, "name": "Ann Pass", "bypass": "bridge",
            "salty": "no", "settings": { "pwd": "p", "theme": "dark", "sessions": [ { "session_id": "i", "from": "x" } ], "list": ["a", jwt] },
        });
        assert_eq!(
            without_secrets(profile),
            json!({
                "id": 7, "has_password": true, "token": null, "password_expires": 90, "tokens_used": 3, "name": "Ann Pass",
                "bypass": "bridge", "salty": "no",
                "settings": { "theme": "dark", "sessions": [ { "from": "x" } ], "list": ["a"] },
            })
        );
        assert_eq!(without_secrets(json!(jwt)), json!(null));
        assert_eq!(without_secrets(json!("eyJ.b")), json!("eyJ.b"));
    }
}

//! A user as we keep him.

use std::fmt;

use serde_json::Value;
use uuid::Uuid;

use super::clock::UnixSeconds;
use super::credential::Credential;
use super::identifier::{Identifier, IdentifierKind, NormalizedIdentifier};
use super::portable::PortableRoster;

/// Our own key of a user: a UUID version 7, so that keys are inserted in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UserId(pub Uuid);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The longest id of a legacy user, in bytes.
pub const MAX_LEGACY_ID_BYTES: usize = 255;

/// The id under which legacy knows a user, by which he is recognised whatever his names are. `5` and `"5"` are the same id;
/// the JSON type is kept for the tokens and answers that carry it.
#[derive(Debug, Clone)]
pub struct LegacyId {
    text: Box<str>,
    number: bool,
}

impl LegacyId {
    /// From a JSON value: a string of 1 to [`MAX_LEGACY_ID_BYTES`] bytes, or an integer. Anything else is no id.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) if (1..=MAX_LEGACY_ID_BYTES).contains(&text.len()) => {
                Some(Self { text: text.as_str().into(), number: false })
            }
            Value::Number(number) if !number.is_f64() => Some(Self { text: number.to_string().into(), number: true }),
            Value::String(_) | Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                None
            }
        }
    }

    /// The key: the same for `5` and `"5"`.
    #[must_use]
    pub fn as_key(&self) -> &str {
        &self.text
    }

    /// As legacy's JSON had it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let number = self.number.then(|| serde_json::from_str::<serde_json::Number>(&self.text).ok()).flatten();
        number.map_or_else(|| Value::String(self.text.to_string()), Value::Number)
    }
}

impl PartialEq for LegacyId {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for LegacyId {}

/// Grows by one at each change of a record; a save names the version it was based on (R86).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// Whether a user may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// He may.
    Active,
    /// An operator said no.
    Disabled,
    /// Deleted. The record stays as a tombstone, its names stay reserved, and legacy is never asked about him again.
    Deleted,
}

/// How a user came to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Legacy proved his password at a login.
    Migrated,
    /// He registered through us.
    Registered,
    /// From a file with hashes.
    Imported,
    /// From a list of legacy users.
    Roster,
}

impl Origin {
    /// Every origin.
    pub const ALL: [Self; 4] = [Self::Migrated, Self::Registered, Self::Imported, Self::Roster];

    /// The word for it in answers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Migrated => "migrated",
            Self::Registered => "registered",
            Self::Imported => "imported",
            Self::Roster => "roster",
        }
    }
}

/// A user. Private nowhere: what must hold across fields is held by the store's transactions.
///
/// No `Debug` is derived: the credential has none, and a profile is personal data.
pub struct User {
    /// Our key.
    pub id: UserId,
    /// Legacy's key; none for a user whom legacy has never known.
    pub legacy_id: Option<LegacyId>,
    /// All aliases, each unique among all users.
    pub identifiers: Vec<Identifier>,
    /// Legacy's profile, or what the registration said: kept whole.
    pub profile: Value,
    /// What the password is checked against.
    pub credential: Credential,
    /// Whether he may log in.
    pub standing: Standing,
    /// How he came.
    pub origin: Origin,
    /// When the record was made.
    pub created_at: UnixSeconds,
    /// When the record last changed.
    pub updated_at: UnixSeconds,
    /// When legacy last vouched for him; none if it never did.
    pub legacy_vouched_at: Option<UnixSeconds>,
    /// What a roster said of him, kept when he has come over.
    pub roster: Option<PortableRoster>,
    /// The rules that made the keys of `identifiers`.
    pub normalization_version: u16,
    /// For compare-and-set.
    pub version: Version,
}

impl User {
    /// The id that tokens, templates and answers carry: legacy's own where there is one, so that an app finds the rows it has.
    #[must_use]
    pub fn public_id(&self) -> Value {
        self.legacy_id.as_ref().map_or_else(|| Value::String(self.id.to_string()), LegacyId::to_json)
    }

    /// Whether this is one of his names. One that an operator took from him may stay reserved for him, and is none of his.
    #[must_use]
    pub fn bears(&self, name: &NormalizedIdentifier) -> bool {
        self.identifiers.iter().any(|alias| alias.normalized == *name)
    }

    /// Whether legacy can know nothing of him: he registered here and it was never told.
    #[must_use]
    pub fn is_unknown_to_legacy(&self) -> bool {
        self.legacy_id.is_none()
            && self.legacy_vouched_at.is_none()
            && !matches!(self.credential, Credential::Absent(_))
    }

    /// The first alias of a kind, as legacy wrote it.
    #[must_use]
    pub fn first(&self, kind: IdentifierKind) -> Option<&str> {
        self.identifiers.iter().find(|alias| alias.normalized.kind() == kind).map(|alias| &*alias.value)
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("standing", &self.standing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_legacy_id_is_one_key_whatever_its_json_type_and_keeps_that_type() {
        let (number, text) = (LegacyId::from_json(&json!(5)), LegacyId::from_json(&json!("5")));
        assert_eq!(number, text);
        assert_eq!(number.map(|id| id.to_json()), Some(json!(5)));
        assert_eq!(text.map(|id| id.to_json()), Some(json!("5")));
    }

    #[test]
    fn what_cannot_be_stable_is_no_id() {
        for value in
            [json!(null), json!(""), json!(1.5), json!(true), json!([1]), json!({"id": 1}), json!("x".repeat(256))]
        {
            assert_eq!(LegacyId::from_json(&value), None, "{value}");
        }
        assert!(LegacyId::from_json(&json!(u64::MAX)).is_some());
    }
}

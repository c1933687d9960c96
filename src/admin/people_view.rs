//! What the API says of changes, conflicts and explanations, as wire structs: written here, read by the CLI. No hash, no token, no
//! password is among the fields.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::view::{UserDetail, UserSummary, timestamp};
use crate::domain::conflict::{Decision, Resolution};
use crate::domain::identifier::{IdentifierKind, NormalizedIdentifier};
use crate::domain::user::UserId;
use crate::service::explain::{Explained, Explanation};
use crate::service::people::{BothSides, Changed, LockOut, OperatorChange};
use crate::service::ports::AfterRemoval;

/// The body of `PATCH /api/v1/users/{id}`. The fields that a change has no use for must be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserPatch {
    /// What to do.
    pub change: PatchWord,
    /// The version that was seen, unless `If-Match` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Of a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<IdentifierKind>,
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// With `remove_alias`: whether anybody may have the name then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub free: bool,
    /// With `reset_password`: even if he cannot log in any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anyway: bool,
}

/// What to do to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchWord {
    /// He may no longer log in.
    Disable,
    /// He may again.
    Enable,
    /// A tombstone.
    Delete,
    /// A user again.
    Undelete,
    /// One more name.
    AddAlias,
    /// One name less.
    RemoveAlias,
    /// No password here.
    ResetPassword,
}

/// A patch that says too little or too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPatch {
    /// A name is needed.
    #[error("name the alias by `kind` (email, username or phone) and `value`")]
    NoName,
    /// A field that this change has no use for.
    #[error("a field is given that this change has no use for")]
    Superfluous,
}

impl UserPatch {
    /// A patch without a name.
    #[must_use]
    pub fn plain(change: PatchWord) -> Self {
        Self { change, version: None, kind: None, value: None, free: false, anyway: false }
    }

    /// What it asks for.
    pub fn into_change(self) -> Result<OperatorChange, BadPatch> {
        let Self { change, version: _, kind, value, free, anyway } = self;
        let name = match (kind, value) {
            (Some(kind), Some(value)) => Some((kind, value)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(BadPatch::NoName),
        };
        match (change, name, free, anyway) {
            (PatchWord::Disable, None, false, false) => Ok(OperatorChange::Disable),
            (PatchWord::Enable, None, false, false) => Ok(OperatorChange::Enable),
            (PatchWord::Delete, None, false, false) => Ok(OperatorChange::Delete),
            (PatchWord::Undelete, None, false, false) => Ok(OperatorChange::Undelete),
            (PatchWord::ResetPassword, None, false, anyway) => {
                Ok(OperatorChange::ResetPassword(if anyway { LockOut::Accept } else { LockOut::Refuse }))
            }
            (PatchWord::AddAlias, Some((kind, value)), false, false) => Ok(OperatorChange::AddAlias { kind, value }),
            (PatchWord::RemoveAlias, Some((kind, value)), free, false) => {
                let then = if free { AfterRemoval::Free } else { AfterRemoval::Reserved };
                Ok(OperatorChange::RemoveAlias { kind, value, then })
            }
            (PatchWord::AddAlias | PatchWord::RemoveAlias, None, _, _) => Err(BadPatch::NoName),
            (
                PatchWord::Disable
                | PatchWord::Enable
                | PatchWord::Delete
                | PatchWord::Undelete
                | PatchWord::AddAlias
                | PatchWord::RemoveAlias
                | PatchWord::ResetPassword,
                _,
                _,
                _,
            ) => Err(BadPatch::Superfluous),
        }
    }
}

/// The answer to `PATCH /api/v1/users/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserChanged {
    /// As he is now.
    pub user: UserDetail,
    /// What follows.
    pub notes: Vec<String>,
}

impl UserChanged {
    pub(super) fn of(changed: &Changed, user: UserDetail) -> Self {
        Self { user, notes: changed.notes.iter().map(|note| note.as_str().to_owned()).collect() }
    }
}

/// `GET /api/v1/conflicts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConflictList {
    /// The newest first.
    pub conflicts: Vec<ConflictView>,
    /// What to give as `before` for the next page; none at the end.
    pub next: Option<u64>,
}

/// `GET /api/v1/conflicts/{number}`: legacy's word against our record, with both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConflictView {
    /// Its number.
    pub number: u64,
    /// The id of the user whom legacy proved.
    pub legacy_id: String,
    /// The names that legacy gave him; once they were given to him here, those.
    pub names: Vec<ContestedName>,
    /// Who held one of them here, as he is now.
    pub holder: Option<UserSummary>,
    /// Legacy's user, if he is here under another name.
    pub claimant: Option<UserSummary>,
    /// When it came up first.
    pub first_at: Timestamp,
    /// When it last came up.
    pub last_at: Timestamp,
    /// How often.
    pub times: u64,
    /// What an operator decided.
    pub decided: Option<DecidedView>,
    /// In the answer to `give`: who has the names now; left out if they are free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_to: Option<UserId>,
}

/// A name that legacy gave to the user whom it proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContestedName {
    /// What stands for it in a choice.
    pub key: String,
    /// Of which kind.
    pub kind: IdentifierKind,
    /// In canonical form.
    pub canonical: String,
    /// Whose it is here.
    pub held_by: Option<UserId>,
    /// Whether the holder of this conflict has it: what can be given.
    pub contested: bool,
}

/// What an operator decided, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidedView {
    /// What.
    pub decision: Decision,
    /// When.
    pub at: Timestamp,
}

impl ConflictView {
    pub(super) fn of(sides: &BothSides) -> Self {
        let BothSides { conflict, holder, claimant, holders, given_to } = sides;
        let names = conflict.names.iter().zip(holders).map(|(name, held_by)| ContestedName {
            key: name.as_key().to_owned(),
            kind: name.kind(),
            canonical: name.text().to_owned(),
            held_by: held_by.map(|held| held.id),
            contested: held_by.is_some_and(|held| held.id == conflict.with),
        });
        Self {
            number: conflict.number,
            legacy_id: conflict.legacy_id.to_string(),
            names: names.collect(),
            holder: holder.as_ref().map(UserSummary::of),
            claimant: claimant.as_ref().map(UserSummary::of),
            first_at: timestamp(conflict.first_at),
            last_at: timestamp(conflict.last_at),
            times: conflict.times,
            decided: conflict
                .decided
                .map(|decided| DecidedView { decision: decided.decision, at: timestamp(decided.at) }),
            given_to: *given_to,
        }
    }
}

/// The body of `POST /api/v1/conflicts/{number}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConflictChoice {
    /// What to do.
    pub choice: ChoiceWord,
    /// With `give`: the keys of the names that are given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// What to do about a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceWord {
    /// The name stays with its holder.
    Keep,
    /// The name goes to legacy's user.
    Give,
    /// The name stays with its holder, who may no longer log in.
    DisableHolder,
}

/// A choice that says too little or too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadChoice {
    /// Names are needed.
    #[error("say in `names` which names are given, by the keys that the conflict shows")]
    NoNames,
    /// Names are of no use here.
    #[error("`names` is for `give` alone")]
    Superfluous,
    /// One that is no key.
    #[error("one of `names` is no key of a name, such as `e:ann@example.com`")]
    NoKey,
}

impl ConflictChoice {
    /// What it asks for.
    pub fn into_resolution(self) -> Result<Resolution, BadChoice> {
        match (self.choice, self.names.is_empty()) {
            (ChoiceWord::Keep, true) => Ok(Resolution::Keep),
            (ChoiceWord::DisableHolder, true) => Ok(Resolution::DisableHolder),
            (ChoiceWord::Give, false) => {
                let names = self.names.iter().map(|key| NormalizedIdentifier::from_key(key)).collect::<Option<_>>();
                names.map(Resolution::Give).ok_or(BadChoice::NoKey)
            }
            (ChoiceWord::Give, true) => Err(BadChoice::NoNames),
            (ChoiceWord::Keep | ChoiceWord::DisableHolder, false) => Err(BadChoice::Superfluous),
        }
    }
}

/// `GET /api/v1/explain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplainView {
    /// What a login would come to.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// Who is meant, if it is exactly one.
    pub record: Option<UserSummary>,
}

impl From<Explained> for ExplainView {
    fn from(explained: Explained) -> Self {
        let Explained { explanation, user } = explained;
        Self { explanation, record: user.as_deref().map(UserSummary::of) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_neither_too_little_nor_too_much() {
        let read = |text: &str| serde_json::from_str::<UserPatch>(text).ok().map(UserPatch::into_change);
        let email = IdentifierKind::Email;
        let value = || "a@b".to_owned();
        for (text, expected) in [
            (r#"{"change":"disable","version":3}"#, Some(Ok(OperatorChange::Disable))),
            (r#"{"change":"reset_password"}"#, Some(Ok(OperatorChange::ResetPassword(LockOut::Refuse)))),
            (r#"{"change":"reset_password","anyway":true}"#, Some(Ok(OperatorChange::ResetPassword(LockOut::Accept)))),
            (
                r#"{"change":"add_alias","kind":"email","value":"a@b"}"#,
                Some(Ok(OperatorChange::AddAlias { kind: email, value: value() })),
            ),
            (
                r#"{"change":"remove_alias","kind":"email","value":"a@b","free":true}"#,
                Some(Ok(OperatorChange::RemoveAlias { kind: email, value: value(), then: AfterRemoval::Free })),
            ),
            (r#"{"change":"add_alias"}"#, Some(Err(BadPatch::NoName))),
            (r#"{"change":"add_alias","kind":"email"}"#, Some(Err(BadPatch::NoName))),
            (r#"{"change":"add_alias","kind":"email","value":"a@b","free":true}"#, Some(Err(BadPatch::Superfluous))),
            (r#"{"change":"delete","anyway":true}"#, Some(Err(BadPatch::Superfluous))),
            (r#"{"change":"delete","kind":"email","value":"a@b"}"#, Some(Err(BadPatch::Superfluous))),
            (r#"{"change":"promote"}"#, None),
            (r#"{"change":"delete","force":true}"#, None),
            (r#"{}"#, None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn a_choice_names_what_it_gives() {
        let read = |text: &str| serde_json::from_str::<ConflictChoice>(text).ok().map(ConflictChoice::into_resolution);
        let name = NormalizedIdentifier::from_key("e:a@b").expect("a key");
        for (text, expected) in [
            (r#"{"choice":"keep"}"#, Some(Ok(Resolution::Keep))),
            (r#"{"choice":"disable_holder"}"#, Some(Ok(Resolution::DisableHolder))),
            (r#"{"choice":"give","names":["e:a@b"]}"#, Some(Ok(Resolution::Give(vec![name])))),
            (r#"{"choice":"give"}"#, Some(Err(BadChoice::NoNames))),
            (r#"{"choice":"give","names":["a@b"]}"#, Some(Err(BadChoice::NoKey))),
            (r#"{"choice":"keep","names":["e:a@b"]}"#, Some(Err(BadChoice::Superfluous))),
            (r#"{"choice":"toss"}"#, None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}

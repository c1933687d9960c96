//! How a row ended, and how that is told: never by what is in the row.

use serde_json::json;

use crate::domain::import::{Imported, Rejection, Skip};
use crate::domain::user::UserId;
use crate::exchange::{HashFate, Notes, RowFault};

/// How a row ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli::import) enum Outcome {
    /// The store's word, and what there is to know of the user beside it.
    Store(Imported, Notes),
    /// It never got there.
    Unreadable(RowFault),
}

impl Outcome {
    /// What there is to know of the row's user, once the store has said what became of it.
    pub(super) fn notes(&self) -> Notes {
        match self {
            Self::Store(Imported::UpdatedWithoutHash(_) | Imported::Skipped(_, Skip::HashLeft), notes) => {
                Notes { hash: HashFate::LeftWithLegacy, ..*notes }
            }
            Self::Store(
                Imported::Created(_) | Imported::Updated(_) | Imported::Skipped(_, Skip::Exists | Skip::Unchanged),
                notes,
            ) => *notes,
            Self::Store(Imported::Rejected(_), _) | Self::Unreadable(_) => Notes::default(),
        }
    }

    /// Why the row was rejected, if it was.
    pub(super) fn reason(&self) -> Option<String> {
        match self {
            Self::Store(Imported::Rejected(rejection), _) => Some(format!("{}: {rejection}", field_of(rejection))),
            Self::Unreadable(fault) => Some(fault.to_string()),
            Self::Store(
                Imported::Created(_) | Imported::Updated(_) | Imported::UpdatedWithoutHash(_) | Imported::Skipped(..),
                _,
            ) => None,
        }
    }

    /// A line about the row, as JSON.
    pub(super) fn told(&self, number: u64, line: u64) -> String {
        let by = |id: &UserId| id.to_string();
        let row = match self {
            Self::Store(Imported::Created(id), _) => json!({"result": "created", "id": by(id)}),
            Self::Store(Imported::Updated(id) | Imported::UpdatedWithoutHash(id), _) => {
                json!({"result": "updated", "id": by(id)})
            }
            Self::Store(Imported::Skipped(id, Skip::Exists), _) => json!({"result": "exists", "id": by(id)}),
            Self::Store(Imported::Skipped(id, Skip::Unchanged | Skip::HashLeft), _) => {
                json!({"result": "unchanged", "id": by(id)})
            }
            Self::Store(Imported::Rejected(rejection), _) => {
                json!({"result": "rejected", "field": field_of(rejection), "problem": rejection.to_string()})
            }
            Self::Unreadable(fault) => json!({"result": "rejected", "field": fault.field, "problem": fault.problem}),
        };
        let mut told = json!({"record": number, "line": line});
        let words = words_of(self.notes());
        if let (Some(told), serde_json::Value::Object(row)) = (told.as_object_mut(), row) {
            told.extend(row);
            if !words.is_empty() {
                told.insert("notes".to_owned(), words.into());
            }
        }
        told.to_string()
    }
}

/// What there is to know of a user, in words.
fn words_of(notes: Notes) -> Vec<&'static str> {
    let hash = match notes.hash {
        HashFate::Taken => None,
        HashFate::LeftWithLegacy => Some("hash_left_with_legacy"),
        HashFate::Dropped => Some("hash_dropped"),
    };
    let second_factor = notes.second_factor.then_some("second_factor");
    let pending_action = notes.pending_action.then_some("pending_action");
    [second_factor, pending_action, hash].into_iter().flatten().collect()
}

fn field_of(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::NameTaken { kind, .. } => kind.as_str(),
        Rejection::LegacyIdTaken { .. } => "legacy_id",
        Rejection::IdTaken { .. } => "id",
        Rejection::Tombstone { .. } | Rejection::TooLarge => "record",
        Rejection::TooManyNames { .. } | Rejection::Nameless => "names",
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_there_is_to_know_of_a_user_is_told_beside_his_result() {
        let created = |notes| Outcome::Store(Imported::Created(UserId(Uuid::nil())), notes);
        let notes = Notes { second_factor: true, hash: HashFate::LeftWithLegacy, ..Notes::default() };
        let expected = r#"{"record":3,"line":4,"result":"created","id":"00000000-0000-0000-0000-000000000000","notes":["second_factor","hash_left_with_legacy"]}"#;
        assert_eq!(created(notes).told(3, 4), expected);
        assert!(!created(Notes::default()).told(3, 4).contains("notes"));
    }
}

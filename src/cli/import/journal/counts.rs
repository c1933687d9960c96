//! How many rows came to what. A line of the summary each; kept with every checkpoint, so that who goes on counts on.

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use crate::domain::import::{Imported, Skip};
use crate::exchange::{HashFate, Notes};

/// What became of all rows so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli::import) struct Counts {
    pub(in crate::cli::import) created: u64,
    pub(in crate::cli::import) updated: u64,
    pub(in crate::cli::import) exists: u64,
    pub(in crate::cli::import) unchanged: u64,
    pub(in crate::cli::import) rejected: u64,
    /// Of those created, who came without a password.
    #[serde(default)]
    pub(in crate::cli::import) without_password: u64,
    /// Of the users who were created or updated, those of whom there is something to know.
    #[serde(default)]
    pub(in crate::cli::import) noted: Noted,
}

/// How many users there is something to know of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli::import) struct Noted {
    pub(in crate::cli::import) second_factor: u64,
    pub(in crate::cli::import) pending_action: u64,
    pub(in crate::cli::import) left_with_legacy: u64,
    pub(in crate::cli::import) dropped: u64,
}

impl Counts {
    /// All rows.
    pub(in crate::cli::import) fn total(&self) -> u64 {
        self.created + self.updated + self.exists + self.unchanged + self.rejected
    }

    pub(super) fn count(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Store(Imported::Created(_), _) => &mut self.created,
            Outcome::Store(Imported::Updated(_) | Imported::UpdatedWithoutHash(_), _) => &mut self.updated,
            Outcome::Store(Imported::Skipped(_, Skip::Exists), _) => &mut self.exists,
            Outcome::Store(Imported::Skipped(_, Skip::Unchanged | Skip::HashLeft), _) => &mut self.unchanged,
            Outcome::Store(Imported::Rejected(_), _) | Outcome::Unreadable(_) => &mut self.rejected,
        } += 1;
        match outcome {
            Outcome::Store(
                Imported::Created(_)
                | Imported::Updated(_)
                | Imported::UpdatedWithoutHash(_)
                | Imported::Skipped(_, Skip::HashLeft),
                _,
            ) => self.noted.count(outcome.notes()),
            Outcome::Store(Imported::Skipped(_, Skip::Exists | Skip::Unchanged) | Imported::Rejected(_), _)
            | Outcome::Unreadable(_) => {}
        }
    }
}

impl Noted {
    fn count(&mut self, notes: Notes) {
        self.second_factor += u64::from(notes.second_factor);
        self.pending_action += u64::from(notes.pending_action);
        match notes.hash {
            HashFate::Taken => {}
            HashFate::LeftWithLegacy => self.left_with_legacy += 1,
            HashFate::Dropped => self.dropped += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::user::UserId;

    #[test]
    fn what_there_is_to_know_is_counted_of_those_alone_who_were_written() {
        let notes = Notes { second_factor: true, hash: HashFate::LeftWithLegacy, ..Notes::default() };
        let mut counts = Counts::default();
        counts.count(&Outcome::Store(Imported::Created(UserId(Uuid::nil())), notes));
        counts.count(&Outcome::Store(Imported::Skipped(UserId(Uuid::nil()), Skip::Exists), notes));
        assert_eq!((counts.noted.second_factor, counts.noted.left_with_legacy, counts.total()), (1, 1, 2));
    }
}

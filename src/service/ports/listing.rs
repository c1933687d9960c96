//! Users and conflicts in pages, and how many there are.

use std::ops::RangeInclusive;

use crate::domain::roster::Day;
use crate::domain::user::{Origin, User, UserId};

/// Which conflicts to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConflictQuery {
    /// Only those in which this user holds the name.
    pub with: Option<UserId>,
    /// Only those with a smaller number: where the last page ended.
    pub before: Option<u64>,
    /// Those that are decided too.
    pub decided_too: bool,
    /// At most so many.
    pub limit: usize,
}

/// Which users to list.
#[derive(Debug, Clone, Default)]
pub struct UserQuery {
    /// Only users with an identifier that starts so, in canonical form, of any kind.
    pub prefix: Option<String>,
    /// Where the last page ended.
    pub after: Option<String>,
    /// At most so many, capped at 1,000.
    pub limit: usize,
    /// What to do about damage, in a listing of everybody.
    pub on_damage: OnDamage,
}

/// What a listing does that meets a record which cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// It fails: a page is whole or is none.
    #[default]
    Fail,
    /// It leaves him out and tells so. Such a page may read every name in the store.
    StepOver,
}

/// Users, and where to go on.
#[derive(Default)]
pub struct UserPage {
    /// In order; a user found under several identifiers appears under each page once.
    pub users: Vec<User>,
    /// What to give as `after` for the next page; none at the end.
    pub next: Option<String>,
    /// Who was left out, where that was asked for.
    pub unread: UnreadUsers,
}

/// Users whose records cannot be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UnreadUsers {
    /// Who they are, as other tables tell.
    pub ids: Vec<UserId>,
    /// Those tables cannot be read to the end either: there may be more than these.
    pub perhaps_more: bool,
}

/// Which stragglers to list.
#[derive(Debug, Clone)]
pub struct StragglerQuery {
    /// The days on which they were last seen.
    pub days: RangeInclusive<Day>,
    /// Only those who are worth so much at least.
    pub min_value: u64,
    /// Where the last page ended.
    pub after: Option<String>,
    /// At most so many, capped at 1,000. A page may have fewer and still not be the last.
    pub limit: usize,
}

/// How many users there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UserCounts {
    /// Active or disabled, brought over by a login.
    pub migrated: u64,
    /// Active or disabled, registered through us.
    pub registered: u64,
    /// Active or disabled, imported with a hash.
    pub imported: u64,
    /// Active or disabled, known from a roster only.
    pub roster: u64,
    /// Of all those, how many are disabled.
    pub disabled: u64,
    /// Of all those, how many have no password with us.
    pub without_password: u64,
    /// Tombstones.
    pub deleted: u64,
    /// Conflicts recorded and not resolved.
    pub conflicts: u64,
}

impl UserCounts {
    /// Everyone but tombstones.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.migrated + self.registered + self.imported + self.roster
    }

    /// The count of one origin.
    #[must_use]
    pub fn of(&self, origin: Origin) -> u64 {
        match origin {
            Origin::Migrated => self.migrated,
            Origin::Registered => self.registered,
            Origin::Imported => self.imported,
            Origin::Roster => self.roster,
        }
    }
}

//! The stragglers themselves, a page of them and a table: wire structs, read by the CLI too. Nobody is shown a hash: stragglers have none.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::view::{CredentialView, IdentifierView, timestamp};
use crate::domain::clock::UnixSeconds;
use crate::domain::identifier::IdentifierKind;
use crate::domain::roster::last_seen;
use crate::domain::user::{LegacyId, User, UserId};
use crate::exchange::append_csv_cell;

/// `GET /api/v1/stragglers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StragglerList {
    /// One page, those who were seen last first. It may be shorter than asked for, or empty, and still not be the last.
    pub stragglers: Vec<Straggler>,
    /// What to give as `after` for the next page; none at the end.
    pub next: Option<String>,
}

/// A user who cannot log in without legacy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Straggler {
    /// Our key.
    pub id: UserId,
    /// Legacy's, where it is known.
    pub legacy_id: Option<Value>,
    /// All his names.
    pub identifiers: Vec<IdentifierView>,
    /// When he was last seen.
    pub last_seen: Option<jiff::Timestamp>,
    /// What a list says that he is worth.
    pub value: Option<u64>,
    /// Why he has no password here.
    pub credential: CredentialView,
    /// Grows at each change; a list that forgets him names it.
    pub version: u64,
}

impl Straggler {
    pub(super) fn of(user: &User, last_login: Option<UnixSeconds>) -> Self {
        Self {
            id: user.id,
            legacy_id: user.legacy_id.as_ref().map(LegacyId::to_json),
            identifiers: user.identifiers.iter().map(IdentifierView::of).collect(),
            last_seen: last_seen(user, last_login).map(timestamp),
            value: user.roster.and_then(|roster| roster.value),
            credential: (&user.credential).into(),
            version: user.version.0,
        }
    }

    /// Appends his row of a table with the columns of [`csv_header`].
    pub fn csv(&self, out: &mut Vec<u8>) {
        append_row(self.cells().each_ref().map(String::as_str), out);
    }

    fn cells(&self) -> [String; 8] {
        let first = |kind: IdentifierKind| {
            let mut names = self.identifiers.iter();
            names.find(|name| name.kind == kind).map(|name| name.value.clone()).unwrap_or_default()
        };
        let (legacy_id, kind) = match &self.legacy_id {
            None => (String::new(), ""),
            Some(Value::String(text)) => (text.clone(), "text"),
            Some(other) => (other.to_string(), "number"),
        };
        [
            self.id.to_string(),
            legacy_id,
            kind.to_owned(),
            first(IdentifierKind::Email),
            first(IdentifierKind::Username),
            first(IdentifierKind::Phone),
            self.last_seen.map(|at| at.to_string()).unwrap_or_default(),
            self.value.map(|value| value.to_string()).unwrap_or_default(),
        ]
    }
}

/// The columns of a table of stragglers: some of those of our own CSV, so that every import reads the table back.
const COLUMNS: [&str; 8] =
    ["authferry_id", "legacy_id", "legacy_id_type", "email", "username", "phone", "last_seen", "value"];

/// The first row of a table of stragglers (RFC 4180).
#[must_use]
pub fn csv_header() -> Vec<u8> {
    let mut header = Vec::new();
    append_row(COLUMNS, &mut header);
    header
}

/// A row that no spreadsheet takes for a formula (R112).
fn append_row<'a>(cells: impl IntoIterator<Item = &'a str>, out: &mut Vec<u8>) {
    for (at, cell) in cells.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        append_csv_cell(cell, out);
    }
    out.extend_from_slice(b"\r\n");
}

//! Rows of an import over the API, for `authferry import` while the proxy runs: our own JSON lines in, one result a row out.
//!
//! ```text
//! GET  /api/v1/users/import?key=HEX   how names are normalized here, and how far the import of that key came
//! POST /api/v1/users/import           a line that says what is wanted, then at most MAX_ROWS lines of users
//! ```
//!
//! One request is one commit, bounded so that logins go on between two. Hashes come in this way and never go out: the answers tell
//! results and ids alone. A row that cannot be read refuses the whole request; the command reads every row by the same rules before it
//! sends it.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::operate::OperateError;
use super::permit::AdminPermit;
use super::problem::Problem;
use super::state::AdminState;
use crate::domain::identifier::{CaseRule, IdentifierKind, IdentifierRules, PhoneRule};
use crate::domain::import::{Imported, Incoming, OnConflict, Rejection, Skip};
use crate::domain::password::PasswordNormalization;
use crate::domain::user::UserId;
use crate::exchange::jsonl;
use crate::service::ports::{Checkpoint, ImportBatch, ImportKey, MAX_CHECKPOINT_BYTES};

/// The most rows of one request: a commit of so many keeps a login waiting for some ten milliseconds.
pub const MAX_ROWS: usize = 500;

/// The largest request, in bytes: one row of the largest size fits, with room for what is said first.
pub const MAX_BYTES: usize = 2 * 1024 * 1024;

/// The first line of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// What becomes of rows whose user is known.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// What to remember with the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointView>,
}

/// A checkpoint on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointView {
    /// 64 hexadecimal digits.
    pub key: String,
    /// In base64.
    pub state: String,
}

/// The answer to a request with rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// One a row, in their order.
    pub results: Vec<RowResult>,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum RowResult {
    /// A new user.
    Created {
        /// Our id.
        id: UserId,
    },
    /// A known one, brought up to date.
    Updated {
        /// Our id.
        id: UserId,
    },
    /// The same, without the row's hash: legacy asks him for more than a password.
    UpdatedWithoutHash {
        /// Our id.
        id: UserId,
    },
    /// A known one, left alone.
    Exists {
        /// Our id.
        id: UserId,
    },
    /// A known one who lacks nothing of what the row says.
    Unchanged {
        /// Our id.
        id: UserId,
    },
    /// The same, but for a hash: legacy asks him for more than a password.
    UnchangedWithoutHash {
        /// Our id.
        id: UserId,
    },
    /// Nothing was written.
    Rejected {
        /// Why.
        why: Why,
        /// Who stands in the way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<UserId>,
    },
}

/// Why a row was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// See [`Rejection::NameTaken`].
    EmailTaken,
    /// See [`Rejection::NameTaken`].
    UsernameTaken,
    /// See [`Rejection::NameTaken`].
    PhoneTaken,
    /// See [`Rejection::LegacyIdTaken`].
    LegacyIdTaken,
    /// See [`Rejection::IdTaken`].
    IdTaken,
    /// See [`Rejection::Tombstone`].
    Tombstone,
    /// See [`Rejection::Nameless`].
    Nameless,
    /// See [`Rejection::TooLarge`].
    TooLarge,
    /// See [`Rejection::TooManyNames`].
    TooManyNames,
}

impl From<Imported> for RowResult {
    fn from(imported: Imported) -> Self {
        let rejected = |why, by| Self::Rejected { why, by: Some(by) };
        match imported {
            Imported::Created(id) => Self::Created { id },
            Imported::Updated(id) => Self::Updated { id },
            Imported::UpdatedWithoutHash(id) => Self::UpdatedWithoutHash { id },
            Imported::Skipped(id, Skip::Exists) => Self::Exists { id },
            Imported::Skipped(id, Skip::Unchanged) => Self::Unchanged { id },
            Imported::Skipped(id, Skip::HashLeft) => Self::UnchangedWithoutHash { id },
            Imported::Rejected(Rejection::NameTaken { kind: IdentifierKind::Email, by }) => {
                rejected(Why::EmailTaken, by)
            }
            Imported::Rejected(Rejection::NameTaken { kind: IdentifierKind::Username, by }) => {
                rejected(Why::UsernameTaken, by)
            }
            Imported::Rejected(Rejection::NameTaken { kind: IdentifierKind::Phone, by }) => {
                rejected(Why::PhoneTaken, by)
            }
            Imported::Rejected(Rejection::LegacyIdTaken { by }) => rejected(Why::LegacyIdTaken, by),
            Imported::Rejected(Rejection::IdTaken { by }) => rejected(Why::IdTaken, by),
            Imported::Rejected(Rejection::Tombstone { by }) => rejected(Why::Tombstone, by),
            Imported::Rejected(Rejection::TooManyNames { of }) => rejected(Why::TooManyNames, of),
            Imported::Rejected(Rejection::Nameless) => Self::Rejected { why: Why::Nameless, by: None },
            Imported::Rejected(Rejection::TooLarge) => Self::Rejected { why: Why::TooLarge, by: None },
        }
    }
}

impl RowResult {
    /// As the store said it; none if it names nobody where it should.
    #[must_use]
    pub fn imported(self) -> Option<Imported> {
        let taken = |kind, by: Option<UserId>| by.map(|by| Rejection::NameTaken { kind, by });
        Some(match self {
            Self::Created { id } => Imported::Created(id),
            Self::Updated { id } => Imported::Updated(id),
            Self::UpdatedWithoutHash { id } => Imported::UpdatedWithoutHash(id),
            Self::Exists { id } => Imported::Skipped(id, Skip::Exists),
            Self::Unchanged { id } => Imported::Skipped(id, Skip::Unchanged),
            Self::UnchangedWithoutHash { id } => Imported::Skipped(id, Skip::HashLeft),
            Self::Rejected { why, by } => Imported::Rejected(match why {
                Why::EmailTaken => taken(IdentifierKind::Email, by)?,
                Why::UsernameTaken => taken(IdentifierKind::Username, by)?,
                Why::PhoneTaken => taken(IdentifierKind::Phone, by)?,
                Why::LegacyIdTaken => Rejection::LegacyIdTaken { by: by? },
                Why::IdTaken => Rejection::IdTaken { by: by? },
                Why::Tombstone => Rejection::Tombstone { by: by? },
                Why::TooManyNames => Rejection::TooManyNames { of: by? },
                Why::Nameless => Rejection::Nameless,
                Why::TooLarge => Rejection::TooLarge,
            }),
        })
    }
}

/// The answer to a question about an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportTerms {
    /// Whether the case of email addresses counts.
    pub email_exact: bool,
    /// Whether the case of usernames counts.
    pub username_exact: bool,
    /// Whether more than the digits of phone numbers counts.
    pub phone_exact: bool,
    /// What is done to passwords before they are hashed.
    pub normalize: PasswordNormalization,
    /// How far the import came, if it was begun.
    pub checkpoint: Option<SavedView>,
}

/// A checkpoint as it was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedView {
    /// In base64.
    pub state: String,
    /// Of the rows that it came with.
    pub results: Vec<RowResult>,
    /// When, in seconds since 1970.
    pub at: u64,
}

impl ImportTerms {
    /// How names are normalized by whoever answers.
    #[must_use]
    pub fn rules(&self) -> IdentifierRules {
        let case = |exact| if exact { CaseRule::Exact } else { CaseRule::Fold };
        IdentifierRules {
            email: case(self.email_exact),
            username: case(self.username_exact),
            phone: if self.phone_exact { PhoneRule::Exact } else { PhoneRule::Digits },
        }
    }
}

/// A question about an import, as a query string says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    key: String,
}

pub(super) async fn terms(
    State(state): State<Arc<AdminState>>,
    _permit: AdminPermit,
    query: Result<Query<Question>, QueryRejection>,
) -> Result<Json<ImportTerms>, Problem> {
    let Query(Question { key }) = query?;
    let key = import_key(&key).ok_or_else(|| bad("`key` is not 64 hexadecimal digits."))?;
    let saved = state.store.import_checkpoint(key).await.map_err(OperateError::from)?;
    let rules = state.identifiers;
    Ok(Json(ImportTerms {
        email_exact: rules.email == CaseRule::Exact,
        username_exact: rules.username == CaseRule::Exact,
        phone_exact: rules.phone == PhoneRule::Exact,
        normalize: state.normalization,
        checkpoint: saved.map(|saved| SavedView {
            state: STANDARD.encode(saved.state),
            results: saved.results.into_iter().map(RowResult::from).collect(),
            at: saved.at.0,
        }),
    }))
}

pub(super) async fn take(
    State(state): State<Arc<AdminState>>,
    permit: AdminPermit,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Results>, Problem> {
    let body = body.map_err(|rejection| {
        Problem::new(rejection.status(), format!("The request holds at most {MAX_BYTES} bytes."))
    })?;
    let batch = read(&body, state.identifiers).map_err(bad)?;
    let batch = ImportBatch { at: state.clock.wall(), ..batch };
    let count = batch.rows.len();
    let results = state.store.import(batch).await.map_err(OperateError::from)?;
    tracing::info!(
        target: "authferry::audit",
        by = "operator", via = permit.door().as_str(), rows = count, "an operator imported users"
    );
    Ok(Json(Results { results: results.into_iter().map(RowResult::from).collect() }))
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// Reads a request. Says which row is wrong and why; never what is in it.
fn read(body: &[u8], rules: IdentifierRules) -> Result<ImportBatch, String> {
    let mut lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let wanted = lines.next().and_then(|line| serde_json::from_slice::<Wanted>(line).ok());
    let wanted = wanted.ok_or("The first line does not say what is wanted.")?;
    let checkpoint = match wanted.checkpoint {
        None => None,
        Some(view) => {
            let key = import_key(&view.key).ok_or("The checkpoint's key is not 64 hexadecimal digits.")?;
            let state = STANDARD.decode(&view.state).ok().filter(|state| state.len() <= MAX_CHECKPOINT_BYTES);
            Some(Checkpoint { key, state: state.ok_or("The checkpoint's state is no base64, or too long.")? })
        }
    };
    let mut rows = Vec::new();
    for (number, line) in (1_usize..).zip(lines) {
        if number > MAX_ROWS {
            return Err(format!("A request holds at most {MAX_ROWS} rows."));
        }
        let user = jsonl::parse_ours(line).map_err(|fault| format!("Row {number}: {fault}."))?;
        rows.push(Incoming::new(user, rules).map_err(|fault| format!("Row {number}: {fault}."))?);
    }
    Ok(ImportBatch { rows, on_conflict: wanted.on_conflict, checkpoint, at: crate::domain::clock::UnixSeconds(0) })
}

/// A key of 64 hexadecimal digits.
#[must_use]
pub fn import_key(hex: &str) -> Option<ImportKey> {
    let mut key = [0; 32];
    let digits = hex.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
        let pair = str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(ImportKey(key))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_result_is_told_and_read_back() {
        let id = UserId(Uuid::from_u128(7));
        for imported in [
            Imported::Created(id),
            Imported::Updated(id),
            Imported::UpdatedWithoutHash(id),
            Imported::Skipped(id, Skip::Exists),
            Imported::Skipped(id, Skip::Unchanged),
            Imported::Skipped(id, Skip::HashLeft),
            Imported::Rejected(Rejection::Nameless),
            Imported::Rejected(Rejection::NameTaken { kind: IdentifierKind::Email, by: id }),
            Imported::Rejected(Rejection::NameTaken { kind: IdentifierKind::Username, by: id }),
            Imported::Rejected(Rejection::NameTaken { kind: IdentifierKind::Phone, by: id }),
            Imported::Rejected(Rejection::LegacyIdTaken { by: id }),
            Imported::Rejected(Rejection::IdTaken { by: id }),
            Imported::Rejected(Rejection::Tombstone { by: id }),
            Imported::Rejected(Rejection::TooManyNames { of: id }),
            Imported::Rejected(Rejection::TooLarge),
        ] {
            let json = serde_json::to_string(&RowResult::from(imported)).expect("JSON");
            let back: RowResult = serde_json::from_str(&json).expect("our own");
            assert_eq!(back.imported(), Some(imported), "{json}");
        }
    }

    #[test]
    fn a_request_that_is_wrong_anywhere_is_refused_whole_and_nothing_of_it_is_repeated() {
        let rules = IdentifierRules::default();
        let row = r#"{"authferry":1,"standing":"active","names":[{"kind":"email","value":"a@x.y"}]}"#;
        assert!(read(format!("{{}}\n{row}\n\n{row}\r\n").as_bytes(), rules).is_ok_and(|batch| batch.rows.len() == 2));
        let secret = "$2b$04$secret";
        for body in [
            String::new(),
            row.to_owned(),
            format!("{{\"on_conflict\":\"perhaps\"}}\n{row}"),
            format!("{{\"checkpoint\":{{\"key\":\"00\",\"state\":\"\"}}}}\n{row}"),
            format!("{{}}\n{row}\n{{\"email\":\"a@x.y\",\"password\":\"{secret}\"}}"),
            format!("{{}}\n{}", row.replace("a@x.y", " a@x.y")),
            format!("{{}}\n{}", format!("{row}\n").repeat(MAX_ROWS + 1)),
        ] {
            let fault = read(body.as_bytes(), rules).err().expect("refused");
            assert!(!fault.contains(secret) && !fault.contains("a@x.y"), "{fault}");
        }
    }

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        assert_eq!(import_key(&"0f".repeat(32)), Some(ImportKey([15; 32])));
        for bad in ["", "0f", &"0g".repeat(32), &"+1".repeat(32), &"é".repeat(32)] {
            assert_eq!(import_key(bad), None, "{bad}");
        }
    }
}

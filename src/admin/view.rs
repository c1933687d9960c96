//! What the API shows, as wire structs: written here, read by the CLI. No hash, no token, no password is among the fields,
//! and those that a legacy profile may hold are blanked.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::roster::RosterView;
use crate::domain::clock::UnixSeconds;
use crate::domain::credential::{AbsentBecause, Credential};
use crate::domain::identifier::{Identifier, IdentifierKind};
use crate::domain::mode::Mode;
use crate::domain::roster::Bucket;
use crate::domain::user::{Origin, Standing, User, UserId};
use crate::service::ports::{HashLook, StoreHealth, UserCounts, UserPage};

/// `GET /api/v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of authferry.
    pub version: String,
    /// In force.
    pub mode: Mode,
    /// When this was looked up.
    pub at: Timestamp,
    /// When the process started; counters begin there.
    pub started_at: Timestamp,
    /// What `/health/ready` says, and why.
    pub health: HealthView,
    /// Users in the store; none while it cannot be read.
    pub users: Option<UserCounts>,
    /// Who has come over and who has not; none while the store cannot be read.
    #[serde(default)]
    pub roster: Option<RosterView>,
    /// Logins since the start, over all routes.
    pub logins: Vec<OutcomeCount>,
    /// Registrations since the start, over all routes.
    pub registrations: Vec<OutcomeCount>,
    /// Durable saves since the start, by reason.
    pub migrations: BTreeMap<String, u64>,
    /// Proven users that were not saved, since the start, by reason.
    pub migration_failures: BTreeMap<String, u64>,
    /// Logins in which our check stood beside legacy's word, since the start.
    pub comparisons: Vec<ComparisonCount>,
    /// The legacy backend as we meet it.
    pub legacy: LegacyStatus,
    /// Things to look at, since the start, by kind.
    pub alarms: BTreeMap<String, u64>,
    /// Signs of credential stuffing, since the start, by kind.
    #[serde(default)]
    pub attack_signals: BTreeMap<String, u64>,
    /// Passwords that wait to be hashed.
    pub password_queue: u64,
}

impl Status {
    /// How many logins or registrations ended so, over all sources.
    #[must_use]
    pub fn ended(counts: &[OutcomeCount], outcome: &str) -> u64 {
        counts.iter().filter(|row| row.outcome == outcome).map(|row| row.count).sum()
    }

    /// How far the migration is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        match &self.roster {
            // Once a list was read it is known who is missing, and stays known when nobody is missing any more.
            Some(roster) if roster.listed > 0 => {
                let all = roster.of(Bucket::All);
                Progress::OfKnownUsers { with_password: all.over, total: all.known() }
            }
            Some(_) | None => {
                let ok_by = |source: &str| {
                    let rows = self.logins.iter().filter(|row| row.source == source && row.outcome == "ok");
                    rows.map(|row| row.count).sum::<u64>()
                };
                let local = ok_by("local");
                Progress::OfLogins { local, total: local + ok_by("legacy") }
            }
        }
    }
}

/// How far the migration is: of the known users where a roster tells how many there are, else of the logins since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Users who could log in without legacy, of those who may log in at all.
    OfKnownUsers {
        /// So many have a password with us.
        with_password: u64,
        /// Of so many.
        total: u64,
    },
    /// Successful logins that legacy was not needed for.
    OfLogins {
        /// So many were answered from our store.
        local: u64,
        /// Of so many.
        total: u64,
    },
}

impl Progress {
    /// Done, and of how many.
    #[must_use]
    pub fn parts(self) -> (u64, u64) {
        match self {
            Self::OfKnownUsers { with_password, total } => (with_password, total),
            Self::OfLogins { local, total } => (local, total),
        }
    }

    /// In whole percent, rounded down, so that 100 means all; none of nothing.
    #[must_use]
    pub fn percent(self) -> Option<u64> {
        let (done, total) = self.parts();
        (done.saturating_mul(100)).checked_div(total)
    }
}

/// `GET /health/…`, and part of the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthView {
    /// Whether the start is over.
    pub started: bool,
    /// Whether requests should be sent here.
    pub ready: bool,
    /// Whether the process is about to end.
    pub draining: bool,
    /// Whether the store works.
    pub store: StoreView,
}

/// Whether the store works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreView {
    /// Reads and writes.
    Ready,
    /// Reads only.
    ReadOnly,
    /// Neither.
    Down,
}

impl From<StoreHealth> for StoreView {
    fn from(health: StoreHealth) -> Self {
        match health {
            StoreHealth::Ready => Self::Ready,
            StoreHealth::ReadOnly => Self::ReadOnly,
            StoreHealth::Down => Self::Down,
        }
    }
}

/// How often something ended so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeCount {
    /// Who had the word: `local`, `legacy` or `edge`.
    pub source: String,
    /// How it ended: `ok`, `denied`, …
    pub outcome: String,
    /// How often.
    pub count: u64,
}

/// One of the four cells, over all routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparisonCount {
    /// Our word.
    pub local: String,
    /// Legacy's word.
    pub legacy: String,
    /// How often.
    pub count: u64,
}

/// The legacy backend as we meet it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyStatus {
    /// Whether the breaker keeps requests from it.
    pub breaker_open: bool,
    /// Requests under way.
    pub in_flight: u64,
    /// Requests since the start.
    pub requests: Vec<LegacyCount>,
}

/// How often a request to legacy ended so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyCount {
    /// What was asked.
    pub operation: String,
    /// How it ended.
    pub outcome: String,
    /// How often.
    pub count: u64,
}

/// `GET /api/v1/mode`, and the answer to `PUT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeView {
    /// In force.
    pub mode: Mode,
    /// Users registered with us. On the way back to legacy it lacks those of them that were not written there too.
    pub registered_here: Option<u64>,
}

/// The body of `PUT /api/v1/mode`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeChange {
    /// To be put in force.
    pub mode: Mode,
    /// For `retired`: that word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// `GET /api/v1/users`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserList {
    /// One page.
    pub users: Vec<UserSummary>,
    /// What to give as `after` for the next page; none at the end.
    pub next: Option<String>,
}

impl From<UserPage> for UserList {
    fn from(page: UserPage) -> Self {
        Self { users: page.users.iter().map(UserSummary::of).collect(), next: page.next }
    }
}

/// A user in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserSummary {
    /// Our key.
    pub id: UserId,
    /// The id that tokens and answers carry: legacy's where there is one.
    pub public_id: Value,
    /// All aliases.
    pub identifiers: Vec<IdentifierView>,
    /// Whether he may log in.
    pub standing: Standing,
    /// How he came.
    pub origin: Origin,
    /// What his password is checked against.
    pub credential: CredentialView,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When legacy last vouched for him.
    pub legacy_vouched_at: Option<Timestamp>,
}

/// `GET /api/v1/users/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserDetail {
    /// What a list shows.
    #[serde(flatten)]
    pub summary: UserSummary,
    /// Grows by one or more at each change.
    pub version: u64,
    /// What his password is checked against.
    #[serde(default)]
    pub hash: HashView,
    /// When he last logged in here; none if never, or not since that is noted.
    #[serde(default)]
    pub last_login_at: Option<Timestamp>,
    /// What a roster said of him.
    #[serde(default)]
    pub roster: Option<RosterFacts>,
    /// The rules that made his keys.
    pub normalization_version: u16,
    /// Legacy's profile; what may be a secret is blanked.
    #[serde(deserialize_with = "crate::domain::json::deserialize")]
    pub profile: Value,
}

/// What a password is checked against: its format, never the hash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum HashView {
    /// There is none.
    #[default]
    Absent,
    /// It can be checked.
    Usable {
        /// Its format.
        format: String,
        /// Whether it is replaced when it verifies.
        outdated: bool,
    },
    /// It cannot.
    Unusable {
        /// Why.
        why: String,
    },
}

impl From<HashLook> for HashView {
    fn from(look: HashLook) -> Self {
        match look {
            HashLook::Absent => Self::Absent,
            HashLook::Usable { format, outdated } => Self::Usable { format, outdated },
            HashLook::Unusable { why } => Self::Unusable { why },
        }
    }
}

impl HashView {
    /// In a few words, to be read after those for the credential; none where there is nothing to add.
    #[must_use]
    pub fn remark(&self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Usable { format, outdated: false } => Some(format.clone()),
            Self::Usable { format, outdated: true } => Some(format!("{format}, replaced at the next login")),
            Self::Unusable { why } => Some(format!("unusable: {why}")),
        }
    }
}

/// What a roster said of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterFacts {
    /// When legacy last saw him.
    pub last_seen: Option<Timestamp>,
    /// What he is worth, in whatever unit the operator counts.
    pub value: Option<u64>,
}

/// One alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentifierView {
    /// Of which kind.
    pub kind: IdentifierKind,
    /// As legacy wrote it.
    pub value: String,
    /// What it is found by.
    pub canonical: String,
    /// Whether legacy said that it was verified.
    pub verified: Option<bool>,
}

/// What a password is checked against; never the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialView {
    /// A hash of our own making.
    Argon2id,
    /// A hash of somebody else's making.
    Imported,
    /// None: known from a list only.
    NoneRoster,
    /// None: reset at legacy.
    NoneReset,
    /// None: known from a list only, and legacy asks for more than a password.
    NoneLeft,
}

impl CredentialView {
    /// The words for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Argon2id => "argon2id",
            Self::Imported => "imported hash",
            Self::NoneRoster => "none, from a roster",
            Self::NoneReset => "none, reset at legacy",
            Self::NoneLeft => "none, left with legacy, which asks for more",
        }
    }
}

impl From<&Credential> for CredentialView {
    fn from(credential: &Credential) -> Self {
        match credential {
            Credential::Argon2id(_) => Self::Argon2id,
            Credential::Imported(_) => Self::Imported,
            Credential::Absent(AbsentBecause::Roster) => Self::NoneRoster,
            Credential::Absent(AbsentBecause::ResetAtLegacy) => Self::NoneReset,
            Credential::Absent(AbsentBecause::LeftWithLegacy) => Self::NoneLeft,
        }
    }
}

impl IdentifierView {
    pub(super) fn of(alias: &Identifier) -> Self {
        Self {
            kind: alias.normalized.kind(),
            value: alias.value.to_string(),
            canonical: alias.normalized.text().to_owned(),
            verified: alias.verified,
        }
    }
}

impl UserSummary {
    /// Of a record.
    #[must_use]
    pub fn of(user: &User) -> Self {
        Self {
            id: user.id,
            public_id: user.public_id(),
            identifiers: user.identifiers.iter().map(IdentifierView::of).collect(),
            standing: user.standing,
            origin: user.origin,
            credential: (&user.credential).into(),
            created_at: timestamp(user.created_at),
            updated_at: timestamp(user.updated_at),
            legacy_vouched_at: user.legacy_vouched_at.map(timestamp),
        }
    }
}

impl UserDetail {
    /// Of a record, what its hash is, and when he last logged in.
    #[must_use]
    pub fn of(user: &User, hash: HashLook, last_login: Option<UnixSeconds>) -> Self {
        Self {
            summary: UserSummary::of(user),
            version: user.version.0,
            hash: hash.into(),
            last_login_at: last_login.map(timestamp),
            roster: user
                .roster
                .map(|roster| RosterFacts { last_seen: roster.last_seen.map(timestamp), value: roster.value }),
            normalization_version: user.normalization_version,
            profile: without_secrets(&user.profile),
        }
    }
}

/// As a point in time; one beyond jiff's calendar (year 9999) is that calendar's end.
pub(super) fn timestamp(at: UnixSeconds) -> Timestamp {
    i64::try_from(at.0).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(Timestamp::MAX)
}

/// What stands in place of a value that may be a secret.
const BLANKED: &str = "[hidden]";

/// Some backends put the user's own hash, or a session token, into the profile. The store keeps it whole; nobody is shown it.
fn without_secrets(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let blanked = |(name, value): (&String, &Value)| {
                let shown = if names_a_secret(name) { blank(value) } else { without_secrets(value) };
                (name.clone(), shown)
            };
            Value::Object(fields.iter().map(blanked).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_secrets).collect()),
        Value::String(text) if is_like_a_hash(text) => Value::String(BLANKED.to_owned()),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => value.clone(),
    }
}

/// Whether there is one may be seen (`has_password`, `mfa_secret = null`), what it is may not.
fn blank(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::String(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Value::String(BLANKED.to_owned()),
    }
}

fn names_a_secret(name: &str) -> bool {
    const PARTS: [&str; 15] = [
        "password",
        "passwd",
        "passphrase",
        "passcode",
        "pwd",
        "hash",
        "salt",
        "secret",
        "token",
        "totp",
        "otp",
        "apikey",
        "digest",
        "recovery",
        "backupcode",
    ];
    let name: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    PARTS.iter().any(|part| name.contains(part)) || name == "pass"
}

/// Encoded hashes and tokens bear their kind: `$2b$…`, `$argon2id$…`, `pbkdf2_sha256$…`, `{SSHA}…`, `eyJ….….…`.
fn is_like_a_hash(text: &str) -> bool {
    let crypt = text.starts_with('$') && text.matches('$').count() >= 2;
    let named = ["pbkdf2", "scrypt", "bcrypt", "argon2", "sha1$", "md5$"].iter().any(|kind| text.starts_with(kind));
    let ldap = ["{SSHA", "{SHA", "{SMD5}", "{MD5}", "{CRYPT}"].iter().any(|kind| text.starts_with(kind));
    let jwt = text.starts_with("eyJ") && text.matches('.').count() == 2;
    crypt || (named && text.contains(['$', ':'])) || ldap || jwt
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn r116_secrets_in_a_profile_are_blanked_at_any_depth_and_the_rest_is_whole() {
        let profile = json!({
            "id": 7, "name": "Ada $ Lovelace", "has_password": true, "password": "canary", "Password-Hash": "canary",
            "nested": [{"mfaSecret": ["canary"], "pwd": 4711, "pass": "canary", "city": "London", "otp": null}],
            "legacy": "$2b$10$canary", "ldap": "{SSHA}canary", "django": "pbkdf2_sha256$1$canary", "session": "eyJh.canary.c",
        });
        let shown = without_secrets(&profile);
        assert!(!shown.to_string().contains("canary") && !shown.to_string().contains("4711"), "{shown}");
        assert_eq!(shown["name"], "Ada $ Lovelace");
        assert_eq!(shown["nested"][0]["city"], "London");
        assert_eq!(shown["has_password"], true);
        assert_eq!(shown["nested"][0]["otp"], Value::Null);
        assert_eq!(shown.as_object().map(serde_json::Map::len), profile.as_object().map(serde_json::Map::len));
    }

    #[test]
    fn a_time_beyond_the_calendar_is_its_end() {
        assert_eq!(timestamp(UnixSeconds(0)), Timestamp::UNIX_EPOCH);
        assert_eq!(timestamp(UnixSeconds(u64::MAX)), Timestamp::MAX);
    }

    #[test]
    fn all_is_said_to_be_done_only_when_it_is() {
        assert_eq!(Progress::OfLogins { local: 0, total: 0 }.percent(), None);
        assert_eq!(Progress::OfKnownUsers { with_password: 999, total: 1_000 }.percent(), Some(99));
        assert_eq!(Progress::OfKnownUsers { with_password: 1_000, total: 1_000 }.percent(), Some(100));
    }
}

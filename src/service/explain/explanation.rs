//! An explanation as operators get it: from the admin API, the console and the command. Words and plain data; decides nothing.

use serde::{Deserialize, Serialize};

use crate::domain::identifier::IdentifierKind;
use crate::domain::mode::Mode;
use crate::domain::user::UserId;

/// What an identifier means, and what a login with it would come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// As typed.
    pub identifier: String,
    /// In force.
    pub mode: Mode,
    /// Every name that the text may mean, in the order in which they are looked up.
    pub names: Vec<Meaning>,
    /// Who is meant, if it is exactly one.
    pub user: Option<UserId>,
    /// What is settled before any password is looked at.
    pub facts: Vec<Fact>,
    /// What would come of each password that could be typed.
    pub logins: Vec<Forecast>,
}

/// One name that typed text may mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meaning {
    /// Of which kind.
    pub kind: IdentifierKind,
    /// What is looked up.
    pub canonical: String,
    /// Whose it is.
    pub holder: Option<UserId>,
    /// Whether it is only kept from others, and finds nobody.
    pub reserved: bool,
}

/// Something that is settled, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What it is about: `name`, `mode`, `route`, `record`, `password`, `legacy`, `limits`, `conflict`.
    pub about: String,
    /// In a sentence.
    pub says: String,
}

/// What a login would come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// Which password is typed.
    pub password: Given,
    /// Whether legacy answers.
    pub legacy: LegacyIs,
    /// Who has the word.
    pub by: By,
    /// How it ends.
    pub outcome: Ending,
    /// What is written.
    pub keeps: Keeps,
    /// Each step, and why.
    pub path: Vec<String>,
}

/// A password that could be typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Given {
    /// The right one, wherever it is asked.
    Right,
    /// One that matches our hash, and that legacy would say no to: it was changed there, or the user was closed.
    OnlyHere,
    /// One that legacy takes, and that does not match our hash: it was changed there.
    OnlyAtLegacy,
    /// One that is right nowhere.
    Wrong,
}

impl Given {
    /// The words for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::OnlyHere => "right here alone",
            Self::OnlyAtLegacy => "right at legacy alone",
            Self::Wrong => "wrong",
        }
    }
}

/// Whether legacy answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegacyIs {
    /// It does.
    Up,
    /// It does not.
    Down,
    /// It makes no difference.
    Either,
}

impl LegacyIs {
    /// The words for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Either => "up or down",
        }
    }
}

/// Who has the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Our store.
    Local,
    /// Legacy, or the app to which the request is sent on.
    Legacy,
    /// Neither.
    Edge,
}

impl By {
    /// The words for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "our store",
            Self::Legacy => "legacy",
            Self::Edge => "the edge",
        }
    }
}

/// How a login ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// He is in.
    Ok,
    /// "Wrong password".
    Denied,
    /// 503: nobody can know.
    Unavailable,
    /// The request goes on to the app untouched.
    SentOn,
}

impl Ending {
    /// The words for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "logged in",
            Self::Denied => "denied",
            Self::Unavailable => "503",
            Self::SentOn => "sent on",
        }
    }
}

/// What a login writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeps {
    /// Nothing.
    Nothing,
    /// The user, with the password that legacy accepted.
    TheProvenUser,
    /// Nothing but the conflict: the name belongs to another user here than legacy says.
    OnlyTheConflict,
    /// The same password, hashed anew.
    ANewHash,
    /// That legacy vouched for him again.
    ThatLegacyVouched,
    /// Our hash is dropped: legacy's no outlives the login.
    NoPassword,
}

impl Keeps {
    /// The words for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::TheProvenUser => "the user and his password",
            Self::OnlyTheConflict => "the conflict alone",
            Self::ANewHash => "a new hash",
            Self::ThatLegacyVouched => "that legacy vouched again",
            Self::NoPassword => "our hash is dropped",
        }
    }
}

//! What a use case comes to, before anybody thinks of status codes.

use std::time::Duration;

use super::ports::{Limited, Relay};
use crate::domain::password::TooWeak;
use crate::domain::proof::{Authenticated, UserView};
use crate::telemetry::metrics::{Outcome, Source};

/// The end of one intercepted request.
pub struct Reply {
    /// What is answered.
    pub answer: Answer,
    /// Who had the word.
    pub source: Source,
    /// For the counters: what it came to.
    pub outcome: Outcome,
}

/// What is answered.
pub enum Answer {
    /// Our own answer, from the route's templates.
    Ours(Ours),
    /// Legacy's own answer, handed on. `shadow` is who we would have answered for, to compare shapes.
    Legacys {
        /// The answer.
        relay: Relay,
        /// Who logged in, if legacy said so.
        shadow: Option<Box<Authenticated>>,
    },
    /// The request is sent on untouched, and the answer streamed back.
    SendOn,
}

/// The kinds of our own answer.
pub enum Ours {
    /// Logged in, registered.
    Ok(Box<Authenticated>),
    /// Done, or "this is who you are": nothing is minted for it.
    Done(Option<Box<UserView>>),
    /// Wrong password, disabled, deleted: the same to everyone.
    Denied,
    /// Nobody of that name. The same as `Denied` to a client, unless the operator tells them apart as legacy did.
    Unknown,
    /// A name is taken.
    Exists,
    /// A new password against the policy.
    TooWeak(TooWeak),
    /// A new name that cannot identify anyone.
    BadName,
    /// Over a limit.
    Limited(Limited),
    /// Nobody could tell.
    Unavailable(Duration),
}

impl Ours {
    /// For the counters: what it came to.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Ok(_) | Self::Done(_) => Outcome::Ok,
            Self::Denied | Self::Unknown => Outcome::Denied,
            Self::Exists => Outcome::Exists,
            Self::TooWeak(_) | Self::BadName => Outcome::Malformed,
            Self::Limited(_) => Outcome::Limited,
            Self::Unavailable(_) => Outcome::Unavailable,
        }
    }
}

impl Reply {
    pub(crate) fn ours(ours: Ours, source: Source) -> Self {
        let outcome = ours.outcome();
        Self { answer: Answer::Ours(ours), source, outcome }
    }

    pub(crate) fn legacys(relay: Relay, shadow: Option<Box<Authenticated>>, outcome: Outcome) -> Self {
        Self { answer: Answer::Legacys { relay, shadow }, source: Source::Legacy, outcome }
    }

    /// Who was let in, by the id that tokens and answers carry: for the audit log.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        let who = match &self.answer {
            Answer::Ours(Ours::Ok(who)) | Answer::Legacys { shadow: Some(who), .. } => who,
            Answer::Ours(
                Ours::Done(_)
                | Ours::Denied
                | Ours::Unknown
                | Ours::Exists
                | Ours::TooWeak(_)
                | Ours::BadName
                | Ours::Limited(_)
                | Ours::Unavailable(_),
            )
            | Answer::Legacys { shadow: None, .. }
            | Answer::SendOn => return None,
        };
        Some(who.view().id.as_str().map_or_else(|| who.view().id.to_string(), str::to_owned))
    }

    pub(crate) fn send_on() -> Self {
        Self { answer: Answer::SendOn, source: Source::Legacy, outcome: Outcome::Unrecognised }
    }
}

//! What a use case comes to, before anybody thinks of status codes.

use std::time::Duration;

use super::ports::Relay;
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
    /// Wrong password, unknown, disabled, deleted: the same to everyone.
    Denied,
    /// A name is taken.
    Exists,
    /// A new password against the policy.
    TooWeak(TooWeak),
    /// A new name that cannot identify anyone.
    BadName,
    /// Over a limit.
    Limited(Duration),
    /// Nobody could tell.
    Unavailable(Duration),
}

impl Reply {
    pub(crate) fn ours(ours: Ours, source: Source) -> Self {
        let outcome = match &ours {
            Ours::Ok(_) | Ours::Done(_) => Outcome::Ok,
            Ours::Denied => Outcome::Denied,
            Ours::Exists => Outcome::Exists,
            Ours::TooWeak(_) | Ours::BadName => Outcome::Malformed,
            Ours::Limited(_) => Outcome::Limited,
            Ours::Unavailable(_) => Outcome::Unavailable,
        };
        Self { answer: Answer::Ours(ours), source, outcome }
    }

    pub(crate) fn legacys(relay: Relay, shadow: Option<Box<Authenticated>>, outcome: Outcome) -> Self {
        Self { answer: Answer::Legacys { relay, shadow }, source: Source::Legacy, outcome }
    }

    pub(crate) fn send_on() -> Self {
        Self { answer: Answer::SendOn, source: Source::Legacy, outcome: Outcome::Unrecognised }
    }
}

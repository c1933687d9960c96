//! The words that label values are made of, where a caller picks one: closed enums, so that the number of series is bounded (R117).

/// Whether a login's outcome came from our store or from legacy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Our store.
    Local,
    /// The legacy backend.
    Legacy,
    /// Neither was asked.
    Edge,
}

impl Source {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Legacy => "legacy",
            Self::Edge => "edge",
        }
    }
}

/// How a login or registration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Logged in, or registered.
    Ok,
    /// The wrong password, an unknown, disabled or deleted user.
    Denied,
    /// Legacy wants more than a password.
    Challenge,
    /// Nobody could tell: 503.
    Unavailable,
    /// Legacy's live answer was handed on and proves nothing.
    Unrecognised,
    /// Over a limit.
    Limited,
    /// The request itself is no login: 400, 413, 415.
    Malformed,
    /// A registration under a name that is taken.
    Exists,
}

impl Outcome {
    /// The word for it in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied => "denied",
            Self::Challenge => "challenge",
            Self::Unavailable => "unavailable",
            Self::Unrecognised => "unrecognised",
            Self::Limited => "limited",
            Self::Malformed => "malformed",
            Self::Exists => "exists",
        }
    }
}

/// What became of a forwarded request: the class of its answer, or that the upstream gave none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// 1xx.
    Informational,
    /// 2xx.
    Successful,
    /// 3xx.
    Redirected,
    /// 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// The upstream gave no answer.
    Unanswered,
}

impl Forwarded {
    pub(super) const COUNT: usize = 6;

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Successful => "2xx",
            Self::Redirected => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Unanswered => "error",
        }
    }
}

//! The backend that is to be retired: what it is asked, and what its answers come to.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::domain::identifier::RawIdentifier;
use crate::domain::login::AskedBy;
use crate::domain::password::Password;
use crate::domain::password_life::{Change, ChangeWord};
use crate::domain::proof::{LegacyAccepted, LegacyIdentity};
use crate::domain::registration::{AtLegacy, CreateWord};

/// The backend that is to be retired. Implementations never follow redirects, bound every answer in bytes and time, and
/// connect only where their configuration says (R80, R81, R83).
pub trait LegacyBackend: Send + Sync {
    /// Puts one login to legacy.
    fn login<'a>(&'a self, question: Question<'a>) -> BoxFuture<'a, LoginAnswer>;

    /// Whether legacy knows a name, and whom it names.
    fn get_user<'a>(&'a self, name: &'a RawIdentifier) -> BoxFuture<'a, UserAnswer>;

    /// Whether a login can be put to legacy without a client's request (`[legacy.login]` is configured).
    fn can_call_login(&self) -> bool;

    /// Whether [`Self::get_user`] can be asked (`[legacy.get_user]` is configured and needs no login's answer).
    fn can_get_user(&self) -> bool;

    /// Creates a user.
    fn register<'a>(&'a self, question: Question<'a>) -> BoxFuture<'a, RegisterAnswer>;

    /// Changes or resets a password, deletes a user.
    fn change<'a>(&'a self, change: Change, question: Question<'a>) -> BoxFuture<'a, ChangeAnswer>;

    /// Sends the client's own request on to the app and brings its answer back, unjudged.
    fn relay<'a>(&'a self, request: &'a ClientRequest) -> BoxFuture<'a, Result<Relay, Outage>>;
}

/// What legacy is asked.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Who, exactly as typed. Absent where only a token in the request tells (a change of password).
    pub login: Option<&'a RawIdentifier>,
    /// With which password: the current one, or at registration the new one.
    pub password: Option<&'a Password>,
    /// The new password of a change or reset.
    pub new_password: Option<&'a Password>,
    /// The parsed fields of the request, less every password.
    pub fields: &'a Value,
    /// How to ask.
    pub by: AskBy<'a>,
}

/// How to ask.
#[derive(Clone, Copy)]
pub enum AskBy<'a> {
    /// By the composed request of `[legacy.*]`.
    Call,
    /// By the client's request, made anew from what was parsed; judged by the rules of its route.
    Forward {
        /// Index of the route in the configuration.
        route: RouteIndex,
        /// What is sent.
        request: &'a ClientRequest,
    },
}

impl<'a> AskBy<'a> {
    /// The way that a route asks.
    #[must_use]
    pub fn of(asked_by: AskedBy, route: RouteIndex, request: &'a ClientRequest) -> Self {
        match asked_by {
            AskedBy::Call => Self::Call,
            AskedBy::Forward => Self::Forward { route, request },
        }
    }
}

/// A route's place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteIndex(pub usize);

/// A client's request as it may be sent on: canonical path, forwardable headers, and a body serialized anew from what we parsed,
/// so that what legacy judges is what we save (R41). Has no `Debug`: it holds a password.
pub struct ClientRequest {
    /// The method.
    pub method: http::Method,
    /// Canonical path and query.
    pub path_and_query: http::uri::PathAndQuery,
    /// The headers that a proxy sends on, ready.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// An answer of legacy or the app, whole and bounded, ready to be handed to the client.
pub type Relay = http::Response<Bytes>;

/// Why there is no usable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outage {
    /// The breaker is open: not even tried.
    BreakerOpen,
    /// As many questions are under way as may be.
    TooManyInFlight,
    /// No connection.
    Connect,
    /// The connection's TLS could not be verified.
    Tls,
    /// No complete answer in time.
    Timeout,
    /// The answer broke off, or is no HTTP.
    Broken,
    /// The answer is larger than may be read.
    TooLarge,
    /// 5xx.
    ServerError,
    /// 429.
    RateLimited,
    /// A redirect that no rule expects.
    Redirect,
    /// An answer of another kind than every rule (`call` only).
    Unrecognised,
    /// The question could not be composed: a template failed.
    Template,
}

impl Outage {
    /// The word for it in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BreakerOpen => "breaker_open",
            Self::TooManyInFlight => "too_many_in_flight",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::TooLarge => "too_large",
            Self::ServerError => "server_error",
            Self::RateLimited => "rate_limited",
            Self::Redirect => "redirect",
            Self::Unrecognised => "unrecognised",
            Self::Template => "template",
        }
    }
}

/// Legacy's word on a login, with its own answer where one came.
pub struct LoginAnswer {
    /// The word.
    pub word: LoginWord,
    /// The answer itself.
    pub relay: Option<Relay>,
}

/// Legacy's word on a login.
pub enum LoginWord {
    /// Right, and this is who.
    Accepted(LegacyAccepted),
    /// Wrong.
    Denied,
    /// More is wanted than a password.
    Challenge,
    /// A live answer that proves nothing.
    Unrecognised(Unrecognised),
    /// No usable answer.
    Unavailable(Outage),
}

/// Why a live answer proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unrecognised {
    /// No rule matched.
    NoRule,
    /// Several did.
    SeveralRules,
    /// Accepted, but without a stable id.
    NoStableId,
    /// Accepted, but who it is could not be asked.
    NoProfile,
}

impl Unrecognised {
    /// The word for it in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRule => "no_rule",
            Self::SeveralRules => "several_rules",
            Self::NoStableId => "no_stable_id",
            Self::NoProfile => "no_profile",
        }
    }
}

/// Legacy's word on a name.
pub enum UserAnswer {
    /// It has such a user. The identity is there if the mapping gave a stable id.
    Found(Option<Box<LegacyIdentity>>),
    /// It has none.
    NotFound,
    /// Nobody can tell.
    Unknown(Outage),
}

impl UserAnswer {
    /// The part that a registration's decision needs.
    #[must_use]
    pub fn at_legacy(&self) -> AtLegacy {
        match self {
            Self::Found(_) => AtLegacy::Found,
            Self::NotFound => AtLegacy::NotFound,
            Self::Unknown(_) => AtLegacy::Unknown,
        }
    }
}

/// Legacy's word on a registration.
pub struct RegisterAnswer {
    /// The word.
    pub word: CreateWord,
    /// Who was created, if the answer tells.
    pub identity: Option<Box<LegacyIdentity>>,
    /// The answer itself.
    pub relay: Option<Relay>,
}

/// Legacy's word on a change, reset or deletion.
pub struct ChangeAnswer {
    /// The word.
    pub word: ChangeWord,
    /// Whose account, if the answer tells.
    pub identity: Option<Box<LegacyIdentity>>,
    /// The answer itself.
    pub relay: Option<Relay>,
}

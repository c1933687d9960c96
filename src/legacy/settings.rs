//! What the legacy connector needs to be told.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::domain::identifier::IdentifierRules;
use crate::net::Target;
use crate::net::tls::TlsSettings;
use crate::template::{Expression, Template};

/// `[legacy]` and the `forward.*` rules of all routes, resolved.
pub struct LegacySettings {
    /// Where legacy is.
    pub target: Target,
    /// What is trusted and shown there, if it is `https`.
    pub tls: TlsSettings,
    /// Where the app is: what `relay` speaks to.
    pub upstream: Target,
    /// The whole of one call, connecting included.
    pub timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How many questions may be under way.
    pub max_in_flight: NonZeroUsize,
    /// When to stop asking.
    pub breaker: BreakerSettings,
    /// The largest answer to a composed call that is read, in bytes (R83: 64 KiB).
    pub max_answer_bytes: usize,
    /// The largest answer of a forwarded request that is read, in bytes: whole pages come back there.
    pub max_relay_bytes: usize,
    /// `[legacy.login]`.
    pub login: Option<CallRules>,
    /// `[legacy.get_user]`.
    pub get_user: Option<UserRules>,
    /// `[legacy.register]`, for `write = "legacy_first"` on a `call` route.
    pub register: Option<CallRules>,
    /// `forward.*` of each route, by its index; none on `call` routes.
    pub routes: Vec<Option<ForwardRules>>,
    /// How names are normalized.
    pub identifiers: IdentifierRules,
}

/// When the breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Consecutive outages that open it.
    pub failures: NonZeroU32,
    /// How long it stays open before one question tries again.
    pub open_for: Duration,
}

/// A composed request.
pub struct RequestTemplate {
    /// The method.
    pub method: http::Method,
    /// Path and query. Placeholders that stand alone in a segment are for the operator to `urlencode`.
    pub path: Template,
    /// Headers in order.
    pub headers: Vec<(http::HeaderName, Template)>,
    /// The body.
    pub body: RequestBody,
}

/// The body of a composed request.
pub enum RequestBody {
    /// None.
    Empty,
    /// A JSON document whose strings are templates: each renders to one JSON string, whatever it contains.
    Json(JsonTemplate),
    /// Form fields in order: each value is encoded after rendering.
    Form(Vec<(String, Template)>),
    /// A body written out, with its content type in `headers`.
    Text(Template),
}

/// A JSON document whose strings are templates.
pub enum JsonTemplate {
    /// A value without templates.
    Fixed(serde_json::Value),
    /// A string.
    Text(Template),
    /// An array.
    Array(Vec<JsonTemplate>),
    /// An object, in order.
    Object(Vec<(String, JsonTemplate)>),
}

/// A composed call and how its answer is judged (`[legacy.login]`, `[legacy.register]`).
pub struct CallRules {
    /// What is sent.
    pub request: RequestTemplate,
    /// How the answer is judged.
    pub verdict: VerdictRules,
    /// Who it is.
    pub user: UserSource,
}

/// `[legacy.get_user]`.
pub struct UserRules {
    /// What is sent.
    pub request: RequestTemplate,
    /// Legacy has such a user.
    pub found: Expression,
    /// Legacy has none.
    pub not_found: Expression,
    /// Who it is.
    pub user: UserMapping,
    /// Whether the request needs `answer`, the login's own answer: then it is a whoami, and cannot be asked for a name alone.
    pub needs_answer: bool,
}

/// How an answer is judged. Exactly one of them has to hold; none or several is unrecognised.
pub struct VerdictRules {
    /// Accepted, done, created.
    pub success: Expression,
    /// Denied, refused, exists.
    pub denied: Expression,
    /// More is wanted.
    pub challenge: Option<Expression>,
}

/// `forward.*` of a route.
pub struct ForwardRules {
    /// How the answer is judged.
    pub verdict: VerdictRules,
    /// Who it is; none where the action needs no one (logout).
    pub user: Option<UserSource>,
}

/// Where the user's identity is read.
#[expect(clippy::large_enum_variant, reason = "a handful of them, made once and never moved")]
pub enum UserSource {
    /// In the answer itself.
    Answer(UserMapping),
    /// From `[legacy.get_user]`, which sees the answer as `answer`.
    GetUser,
}

/// Expressions over an answer that give a user's parts.
pub struct UserMapping {
    /// His stable id.
    pub id: Expression,
    /// His email.
    pub email: Option<Expression>,
    /// His username.
    pub username: Option<Expression>,
    /// His phone number.
    pub phone: Option<Expression>,
    /// His whole profile; the whole body when left out.
    pub profile: Option<Expression>,
    /// Whether his email is verified; carried, never invented.
    pub email_verified: Option<Expression>,
    /// Whether his phone is verified.
    pub phone_verified: Option<Expression>,
}

impl LegacySettings {
    /// Whether any rule takes its users from `[legacy.get_user]`.
    pub(super) fn reads_users_from_get_user(&self) -> bool {
        let calls = [&self.login, &self.register].into_iter().flatten().map(|rules| &rules.user);
        let routes = self.routes.iter().flatten().filter_map(|rules| rules.user.as_ref());
        calls.chain(routes).any(|source| matches!(source, UserSource::GetUser))
    }
}

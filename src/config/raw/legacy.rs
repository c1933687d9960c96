//! `[legacy]` as written.

use serde::{Deserialize, Serialize};

use super::{RawOutboundTls, Table};

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Legacy")]
pub(in crate::config) struct RawLegacy {
    /// Where legacy is. Left out: the upstream.
    pub(in crate::config) url: Option<String>,
    /// Whom we trust there and what we show, for `https`. Left out: as at the upstream where it is the same host and port, otherwise
    /// the machine's CAs, and no client certificate.
    pub(in crate::config) tls: Option<RawOutboundTls>,
    /// How long one question may take, connecting included.
    #[schemars(extend("x-value" = "a duration"))]
    pub(in crate::config) timeout: String,
    /// How long connecting may take.
    #[schemars(extend("x-value" = "a duration"))]
    pub(in crate::config) connect_timeout: String,
    /// How many questions may be under way; over it 503.
    #[schemars(range(min = 1, max = 100_000))]
    pub(in crate::config) max_in_flight: u64,
    /// When to stop asking a legacy that does not answer.
    pub(in crate::config) breaker: RawBreaker,
    /// The largest answer to a composed request (`call`) that is read.
    #[schemars(extend("x-value" = "a size"))]
    pub(in crate::config) max_answer: String,
    /// The largest answer to a forwarded request (`forward`) that is read.
    #[schemars(extend("x-value" = "a size"))]
    pub(in crate::config) max_relay: String,
    /// How a login is put to legacy, for routes with `legacy = "call"`.
    pub(in crate::config) login: Option<RawCall>,
    /// How legacy is asked for a name, or who holds a fresh token.
    pub(in crate::config) get_user: Option<RawGetUser>,
    /// How legacy creates a user, for routes with `legacy = "call"` and `write = "legacy_first"`.
    pub(in crate::config) register: Option<RawCall>,
}

impl Default for RawLegacy {
    fn default() -> Self {
        Self {
            url: None,
            tls: None,
            timeout: "5s".into(),
            connect_timeout: "2s".into(),
            max_in_flight: 32,
            breaker: RawBreaker::default(),
            max_answer: "64KiB".into(),
            max_relay: "1MiB".into(),
            login: None,
            get_user: None,
            register: None,
        }
    }
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Breaker")]
pub(in crate::config) struct RawBreaker {
    /// Outages in a row that open it.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) failures: u32,
    /// How long it stays open before one question tries again.
    #[schemars(extend("x-value" = "a duration"))]
    pub(in crate::config) open_for: String,
}

impl Default for RawBreaker {
    fn default() -> Self {
        Self { failures: 10, open_for: "15s".into() }
    }
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Call")]
pub(in crate::config) struct RawCall {
    /// What is sent: templates over `login`, `password`, `fields`.
    #[schemars(required)]
    pub(in crate::config) request: Option<RawRequest>,
    /// Expression over the answer: accepted. At a registration: created.
    #[schemars(required)]
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) success: Option<String>,
    /// Expression over the answer: denied. At a registration: refused, taken.
    #[schemars(required)]
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) denied: Option<String>,
    /// Expression over the answer: more is wanted than a password. Nothing is saved.
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) challenge: Option<String>,
    /// Expressions over the answer that say who it is.
    #[schemars(required)]
    pub(in crate::config) user: Option<RawUser>,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GetUser")]
pub(in crate::config) struct RawGetUser {
    /// What is sent: templates over `login`, or over `answer`, the login's own answer.
    #[schemars(required)]
    pub(in crate::config) request: Option<RawRequest>,
    /// Expression over the answer: there is such a user.
    #[schemars(required)]
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) found: Option<String>,
    /// Expression over the answer: there is none.
    #[schemars(required)]
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) not_found: Option<String>,
    /// Expressions over the answer that say who it is.
    #[schemars(required)]
    pub(in crate::config) user: Option<RawUser>,
}

/// Method, path and body of a composed request.
#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Request")]
pub(in crate::config) struct RawRequest {
    /// The method. Left out: `GET` for `get_user`, otherwise `POST`.
    pub(in crate::config) method: Option<String>,
    /// Path and query, a template: use `urlencode`.
    #[schemars(required)]
    pub(in crate::config) path: Option<String>,
    /// Headers, templates. What is written here is masked in every message.
    #[serde(default)]
    #[schemars(extend("x-secret-values" = true))]
    pub(in crate::config) headers: Table<String>,
    /// A JSON body: a table whose strings are templates. Each renders to one JSON string, whatever is in it.
    #[schemars(extend("x-secret-texts" = true))]
    pub(in crate::config) json: Option<serde_json::Value>,
    /// A form body: field names and templates.
    #[schemars(extend("x-secret-texts" = true))]
    pub(in crate::config) form: Option<Table<String>>,
    /// A body written out, a template; its content type goes under `headers`.
    pub(in crate::config) body: Option<String>,
}

/// Expressions that say who a user is.
#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "User")]
pub(in crate::config) struct RawUser {
    /// `get_user`: ask `[legacy.get_user]` instead; then nothing else stands here.
    pub(in crate::config) from: Option<RawUserFrom>,
    /// His stable id. Needed unless `from` is there.
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) id: Option<String>,
    /// His email.
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) email: Option<String>,
    /// His username.
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) username: Option<String>,
    /// His phone number.
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) phone: Option<String>,
    /// His profile, kept whole but for passwords and tokens; left out: the whole answer.
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) profile: Option<String>,
    /// Whether legacy has verified his email.
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) email_verified: Option<String>,
    /// Whether legacy has verified his phone number.
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) phone_verified: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "UserFrom")]
pub(in crate::config) enum RawUserFrom {
    GetUser,
}

//! `[[route]]` as written.

use serde::{Deserialize, Serialize};

use super::{RawUser, Table};
use crate::domain::registration::WriteTo;
use crate::http::settings::{Action, LegacyWay, Session};

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Route")]
pub(in crate::config) struct RawRoute {
    /// Its name, also in metrics and logs.
    #[schemars(required)]
    pub(in crate::config) name: Option<String>,
    /// What it does.
    #[schemars(required)]
    pub(in crate::config) action: Option<Action>,
    /// Which requests it takes.
    #[serde(rename = "match")]
    #[schemars(required)]
    pub(in crate::config) matcher: Option<RawMatch>,
    /// Where the credentials are in a request.
    #[serde(default)]
    pub(in crate::config) request: RawFields,
    /// `call`: a request of our own making (`[legacy.login]`) asks legacy, and we answer. `forward`: the client's request goes
    /// on, and legacy's own answer comes back. Left out: `call`, and `forward` for changes, resets and deletions, which have no
    /// `call`.
    pub(in crate::config) legacy: Option<LegacyWay>,
    /// Where a registration is written: `local`, or `legacy_first` to create the user at legacy too.
    #[serde(default = "local")]
    pub(in crate::config) write: WriteTo,
    /// How legacy's answer to a forwarded request is read.
    pub(in crate::config) forward: Option<RawForward>,
    /// What a local yes does: `local` answers; `forward` still sends the request to the app, which makes its session.
    #[serde(default = "here")]
    pub(in crate::config) session: Session,
    /// With `action = "refresh"`: the NAME of the `[tokens.NAME]` that is taken.
    #[serde(default = "refresh")]
    pub(in crate::config) refreshes: String,
    /// Our answers, in legacy's shape. Those left out are `application/problem+json` (RFC 9457).
    #[serde(default)]
    pub(in crate::config) reply: RawReplies,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Match")]
pub(in crate::config) struct RawMatch {
    /// The method.
    #[serde(default = "post")]
    pub(in crate::config) method: String,
    /// The path. Other spellings that a backend may take for it (case, a slash at the end, `.json`, `;x=1`) are taken too.
    #[schemars(required)]
    pub(in crate::config) path: Option<String>,
    /// Whether only this spelling is taken.
    #[serde(default)]
    pub(in crate::config) exact: bool,
    /// Query values that have to be there.
    #[serde(default)]
    pub(in crate::config) query: Table<String>,
    /// Body fields that have to be there: JSON pointers, or field names with `form = true`.
    #[serde(default)]
    pub(in crate::config) fields: Vec<String>,
}

/// Where the parts of a request are: JSON pointers (RFC 6901), or field names with `form = true`.
#[derive(Default, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Fields")]
pub(in crate::config) struct RawFields {
    /// Whether the body is a form (`application/x-www-form-urlencoded`); otherwise it is JSON.
    pub(in crate::config) form: bool,
    /// The name that a user logs in with.
    pub(in crate::config) login: Option<String>,
    /// The password; at a change the current one.
    pub(in crate::config) password: Option<String>,
    /// The new password of a change or reset.
    pub(in crate::config) new_password: Option<String>,
    /// The token of a refresh.
    pub(in crate::config) token: Option<String>,
    /// A further name at a registration.
    pub(in crate::config) email: Option<String>,
    /// A further name at a registration.
    pub(in crate::config) username: Option<String>,
    /// A further name at a registration.
    pub(in crate::config) phone: Option<String>,
    /// The part of a registration that becomes the profile, less every password; empty: the whole body.
    pub(in crate::config) profile: Option<String>,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Forward")]
pub(in crate::config) struct RawForward {
    /// Expression over the answer: accepted, done, created.
    #[schemars(required)]
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) success: Option<String>,
    /// Expression over the answer: denied, refused.
    #[schemars(required)]
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) denied: Option<String>,
    /// Expression over the answer: more is wanted than a password. Nothing is saved.
    #[schemars(extend("x-value" = "an expression"))]
    pub(in crate::config) challenge: Option<String>,
    /// Who it is: `{ from = "get_user" }`, or expressions over the answer. Needed for logins.
    pub(in crate::config) user: Option<RawUser>,
}

#[derive(Default, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Replies")]
pub(in crate::config) struct RawReplies {
    /// Headers of every answer written here, templates; an answer's own header of the same name goes before.
    pub(in crate::config) headers: Table<String>,
    /// Yes: sees `user`, `token`.
    pub(in crate::config) ok: Option<RawReply>,
    /// A wrong password, an unknown or a disabled user.
    pub(in crate::config) denied: Option<RawReply>,
    /// An unknown user, where strict compatibility asks for it. Tells strangers who has an account; left out: as `denied`.
    pub(in crate::config) unknown: Option<RawReply>,
    /// Nobody can tell now.
    pub(in crate::config) unavailable: Option<RawReply>,
    /// Too many attempts.
    pub(in crate::config) limited: Option<RawReply>,
    /// The name is taken.
    pub(in crate::config) exists: Option<RawReply>,
    /// A malformed request, or a password against the policy.
    pub(in crate::config) invalid: Option<RawReply>,
}

/// One answer.
#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Reply")]
pub(in crate::config) struct RawReply {
    /// The status.
    #[schemars(required, range(min = 200, max = 599))]
    pub(in crate::config) status: Option<u16>,
    /// Headers, templates.
    #[serde(default)]
    pub(in crate::config) headers: Table<String>,
    /// A JSON body, a template: what is interpolated is escaped as JSON.
    pub(in crate::config) json: Option<String>,
    /// Any other body, a template; escaped as HTML if `headers` says `text/html`.
    pub(in crate::config) body: Option<String>,
}

fn local() -> WriteTo {
    WriteTo::Local
}

fn here() -> Session {
    Session::Local
}

fn refresh() -> String {
    "refresh".into()
}

fn post() -> String {
    "POST".into()
}

//! `[token]`, `[tokens.NAME]` and the session cookie as written.

use serde::{Deserialize, Serialize};

use super::{RawSecret, Table};
use crate::token::settings::TokenAlgorithm;

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Token")]
pub(in crate::config) struct RawToken {
    /// `jwt`, or `none` for no token.
    pub(in crate::config) kind: RawTokenKind,
    /// The algorithm that the app verifies; the only one accepted when a token is read back.
    pub(in crate::config) algorithm: TokenAlgorithm,
    /// For HS algorithms legacy's own secret; for the others a private key, PEM. Needed for `jwt`.
    #[serde(skip_serializing)]
    pub(in crate::config) key: Option<RawSecret>,
    /// The `kid` in the token's header and in the published keys.
    pub(in crate::config) key_id: Option<String>,
    /// How long a token is good for.
    #[schemars(extend("x-value" = "a duration"))]
    pub(in crate::config) ttl: String,
    /// The claims beside `iat` and `exp`, in order. Strings are templates over `user`; other TOML values keep their type;
    /// `{ json = "…" }` is a template that renders JSON. A claim that is one name and nothing else, `"{{ user.email }}"`, is left
    /// out for a user who has none, unless it is `sub`. Without this key: `{ sub = "{{ user.id }}" }`.
    pub(in crate::config) claims: Option<Table<serde_json::Value>>,
    /// Hands the token out in a cookie too.
    pub(in crate::config) cookie: Option<RawCookie>,
}

impl Default for RawToken {
    fn default() -> Self {
        Self {
            kind: RawTokenKind::Jwt,
            algorithm: TokenAlgorithm::HS256,
            key: None,
            key_id: None,
            ttl: "1h".into(),
            claims: None,
            cookie: None,
        }
    }
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NamedToken")]
pub(in crate::config) struct RawNamedToken {
    /// How long it is good for.
    #[schemars(required)]
    #[schemars(extend("x-value" = "a duration"))]
    pub(in crate::config) ttl: Option<String>,
    /// As under `[token]`. A token is read back only with all claims that have no template, as written: a refresh token is no
    /// access token.
    pub(in crate::config) claims: Option<Table<serde_json::Value>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "TokenKind")]
pub(in crate::config) enum RawTokenKind {
    Jwt,
    None,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Cookie")]
pub(in crate::config) struct RawCookie {
    /// The cookie's name.
    #[schemars(required)]
    pub(in crate::config) name: Option<String>,
    /// Its `Path`.
    #[serde(default = "slash")]
    pub(in crate::config) path: String,
    /// Its `Domain`; without it the cookie is for this host alone.
    pub(in crate::config) domain: Option<String>,
    /// Whether it is sent over TLS only.
    #[serde(default = "yes")]
    pub(in crate::config) secure: bool,
    /// Whether scripts cannot read it.
    #[serde(default = "yes")]
    pub(in crate::config) http_only: bool,
    /// Whether other sites' requests bear it.
    #[serde(default = "lax")]
    pub(in crate::config) same_site: RawSameSite,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema)]
#[schemars(rename = "SameSite")]
pub(in crate::config) enum RawSameSite {
    Strict,
    Lax,
    None,
}

fn yes() -> bool {
    true
}

fn slash() -> String {
    "/".into()
}

fn lax() -> RawSameSite {
    RawSameSite::Lax
}

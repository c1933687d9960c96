//! The app's sessions: a signed token (JWT, HS256) that an API client sends as a bearer and a browser as a cookie.

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};

use super::accounts::Account;
use super::{SESSION_LIFETIME, SHARED_KEY};
use crate::domain::clock::UnixSeconds;

/// The cookie's name.
const COOKIE_NAME: &str = "session";

/// What a token says.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Claims {
    pub(super) sub: String,
    pub(super) email: String,
    pub(super) name: String,
    /// Who made the session: the one thing by which a visitor of the demo can tell.
    pub(super) via: String,
    pub(super) iat: u64,
    pub(super) exp: u64,
}

/// A fresh token.
pub(super) fn mint(account: &Account, now: UnixSeconds) -> Result<String, jsonwebtoken::errors::Error> {
    let claims = Claims {
        sub: account.id.to_string(),
        email: account.email.clone(),
        name: account.name.clone(),
        via: "legacy".to_owned(),
        iat: now.0,
        exp: now.0.saturating_add(SESSION_LIFETIME.as_secs()),
    };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SHARED_KEY.as_bytes()))
}

/// The `Set-Cookie` line of a token.
pub(super) fn cookie(token: &str) -> String {
    line(token, SESSION_LIFETIME.as_secs())
}

/// The `Set-Cookie` line that ends a session.
pub(super) fn no_cookie() -> String {
    line("", 0)
}

fn line(token: &str, seconds: u64) -> String {
    format!("{COOKIE_NAME}={token}; Path=/; Max-Age={seconds}; SameSite=Lax; HttpOnly")
}

/// Who a request's session is; none without a token that this app's key signed and that still holds.
pub(super) fn of(headers: &HeaderMap, now: UnixSeconds) -> Option<Claims> {
    let token = bearer(headers).or_else(|| in_cookie(headers))?;
    let mut rules = Validation::new(Algorithm::HS256);
    // Against the clock that this app was given, not the machine's.
    rules.validate_exp = false;
    let key = DecodingKey::from_secret(SHARED_KEY.as_bytes());
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &rules).ok()?.claims;
    (now.0 < claims.exp).then_some(claims)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn in_cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (name, token) = pair.trim().split_once('=')?;
        (name == COOKIE_NAME).then_some(token)
    })
}

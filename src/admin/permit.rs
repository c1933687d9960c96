//! Who may operate: the token's check, and [`AdminPermit`], the proof of it that every operation asks for.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use super::state::AdminState;
use crate::service::people::Door;

/// Somebody showed the admin token, in this request or when his session began. Made by the two functions below alone.
#[derive(Debug)]
pub struct AdminPermit(Door);

/// Who is at the other end of the connection; put into each request by the server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// What the token said.
pub(super) enum TokenVerdict {
    /// The right one.
    Right(AdminPermit),
    /// Another one.
    Wrong,
    /// It was not looked at: this address has shown too many wrong ones.
    TooManyWrong,
    /// None is configured: nobody gets in (R108).
    NoneConfigured,
}

/// Compares tokens by their digests, in constant time: neither content nor length is told by how long it takes (R57).
pub(super) struct TokenCheck {
    expected: Option<[u8; 32]>,
    opens: Door,
}

impl TokenCheck {
    /// An empty token is none. `opens` is where he comes in who shows the right one.
    pub(super) fn new(token: Option<&str>, opens: Door) -> Self {
        Self { expected: token.filter(|token| !token.is_empty()).map(fingerprint), opens }
    }

    pub(super) fn is_configured(&self) -> bool {
        self.expected.is_some()
    }

    pub(super) fn check(&self, shown: &str) -> TokenVerdict {
        match &self.expected {
            None => TokenVerdict::NoneConfigured,
            Some(expected) if bool::from(expected.ct_eq(&fingerprint(shown))) => {
                TokenVerdict::Right(AdminPermit(self.opens))
            }
            Some(_) => TokenVerdict::Wrong,
        }
    }
}

impl AdminPermit {
    /// Called by the session table alone, for a session that a right token began and that has not ended.
    pub(super) fn assert_by_session() -> Self {
        Self(Door::Console)
    }

    /// Where he came in, for the audit log.
    pub(super) fn door(&self) -> Door {
        self.0
    }
}

/// SHA-256, so that secrets of any length become equally long.
pub(super) fn fingerprint(secret: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    out
}

/// The API's door: `Authorization: Bearer <token>` (RFC 6750, section 2.1). A session's cookie does not open it, so that no
/// page in a browser can use it.
impl FromRequestParts<Arc<AdminState>> for AdminPermit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AdminState>) -> Result<Self, Problem> {
        let mut shown = parts.headers.get_all(AUTHORIZATION).iter();
        let token = match (shown.next(), shown.next()) {
            (Some(only), None) => only.to_str().ok().and_then(bearer),
            (_, Some(_)) | (None, None) => None,
        };
        let Some(token) = token else {
            return Err(if state.has_token() { Problem::unauthorized() } else { Problem::no_token_configured() });
        };
        match state.check_token(parts.extensions.get().map(|Peer(address)| *address), token) {
            TokenVerdict::Right(permit) => Ok(permit),
            TokenVerdict::NoneConfigured => Err(Problem::no_token_configured()),
            TokenVerdict::Wrong => Err(Problem::unauthorized()),
            TokenVerdict::TooManyWrong => Err(Problem::too_many_wrong_tokens()),
        }
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(configured: Option<&str>, shown: &str) -> bool {
        matches!(TokenCheck::new(configured, Door::Api).check(shown), TokenVerdict::Right(_))
    }

    #[test]
    fn r57_only_the_whole_token_is_right() {
        assert!(right(Some("secret"), "secret"));
        for wrong in ["", "secre", "secret ", "Secret", "secretsecret"] {
            assert!(!right(Some("secret"), wrong), "{wrong:?}");
        }
    }

    #[test]
    fn r108_without_a_token_nothing_shown_is_right() {
        for configured in [None, Some("")] {
            assert!(!TokenCheck::new(configured, Door::Api).is_configured());
            assert!(!right(configured, "") && !right(configured, "admin"));
        }
    }

    #[test]
    fn a_bearer_token_is_read_in_any_case_of_its_scheme() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc"), Some("abc"));
        for other in ["Basic abc", "Bearerabc", "abc", ""] {
            assert_eq!(bearer(other), None, "{other:?}");
        }
    }
}

//! What an app accepts as "this user is logged in".

use super::Cause;
use crate::domain::proof::Authenticated;

/// What an app accepts as "this user is logged in".
pub trait Tokens: Send + Sync {
    /// Mints the tokens of somebody who proved who he is.
    fn mint(&self, who: &Authenticated) -> Result<Minted, TokenError>;

    /// The public id in a `[token]` that we, or legacy with the same key, minted and that has not expired. The claims that the
    /// configuration fixes must be there as fixed, so that a token of another purpose is not taken for one.
    fn subject(&self, token: &str) -> Option<String>;

    /// The same for a token of `[tokens.NAME]`.
    fn subject_of(&self, name: &str, token: &str) -> Option<String>;
}

/// Freshly minted tokens. No `Debug`: each opens an account.
#[derive(Default)]
pub struct Minted {
    /// Of `[token]`; none with `kind = "none"`.
    pub token: Option<String>,
    /// Of each `[tokens.NAME]`.
    pub named: std::collections::BTreeMap<String, String>,
}

/// A token could not be minted: a claim's template failed, or the key refuses.
#[derive(Debug, thiserror::Error)]
#[error("a token could not be minted")]
pub struct TokenError(#[source] pub Cause);

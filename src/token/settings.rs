//! What the token minter needs to be told.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::domain::identifier::IdentifierKind;
use crate::template::Template;

/// `[token]`, resolved. `kind = "none"` is the absence of this.
pub struct TokenSettings {
    /// The signing algorithm; the only one accepted when a token is read.
    pub algorithm: TokenAlgorithm,
    /// The HMAC secret, or a PEM private key. No `Debug`.
    pub key: Zeroizing<Vec<u8>>,
    /// The `kid` of the header; none for none.
    pub key_id: Option<String>,
    /// How long a token is good for.
    pub ttl: Duration,
    /// The claims in order, on top of `iat` and `exp`.
    pub claims: Vec<(String, ClaimValue)>,
    /// The claim that bears the user's public id, for reading tokens back: the one whose template is `{{ user.id }}`, else `sub`.
    pub subject_claim: String,
    /// `[tokens.NAME]`: further tokens, each with the same algorithm and key.
    pub named: Vec<NamedToken>,
}

/// `[tokens.NAME]`, resolved: a token for another purpose, such as a refresh.
pub struct NamedToken {
    /// NAME.
    pub name: String,
    /// How long it is good for.
    pub ttl: Duration,
    /// Its claims in order, on top of `iat` and `exp`.
    pub claims: Vec<(String, ClaimValue)>,
    /// As in [`TokenSettings`].
    pub subject_claim: String,
}

/// The value of one claim.
pub enum ClaimValue {
    /// As written in the file, type kept; no templates in it.
    Fixed(serde_json::Value),
    /// One of his names alone, as legacy wrote it: `{{ user.email }}`. Left out for somebody who has none of that kind, as OpenID
    /// Connect (Core 1.0, section 5.3.2) asks for: neither null nor an empty text is anybody's email.
    Name(IdentifierKind),
    /// A string rendered from a template.
    Text(Template),
    /// A template that renders JSON: `{ json = "…" }`.
    Json(Template),
}

/// Algorithms that legacy apps verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[expect(missing_docs, reason = "RFC 7518, section 3.1, and RFC 8037 say what they are")]
pub enum TokenAlgorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    ES256,
    #[serde(rename = "EdDSA")]
    EdDSA,
}

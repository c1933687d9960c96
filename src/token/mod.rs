//! The JWT that the app already accepts: minted with its key, algorithm and claims, and read back.
//!
//! Mints only for somebody who proved who he is ([`Authenticated`]). Reads back only what bears a good signature under the one
//! configured algorithm, has not expired, and is a token of the purpose that was asked for. Knows nothing of cookies and
//! headers. Called through [`Tokens`].

mod key;
pub mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use self::key::SigningKey;
pub use self::key::{TokenSetupError, key_is_short};
pub use self::settings::TokenSettings;
use self::settings::{ClaimValue, NamedToken};
use crate::domain::clock::{Clock, UnixSeconds};
use crate::domain::json;
use crate::domain::proof::{Authenticated, UserView};
use crate::service::ports::{Cause, Minted, TokenError, Tokens};
use crate::template;

/// Mints and reads the tokens of `[token]` and `[tokens.NAME]`.
pub struct Minter {
    key: SigningKey,
    main: Purpose,
    named: BTreeMap<String, Purpose>,
    clock: Arc<dyn Clock>,
}

/// One kind of token.
struct Purpose {
    ttl: Duration,
    claims: Vec<(String, ClaimValue)>,
    subject_claim: String,
}

/// What the templates of claims see.
#[derive(serde::Serialize)]
struct Sees<'a> {
    user: &'a UserView,
    now: UnixSeconds,
}

impl Minter {
    /// Reads the key and tries it out.
    pub fn new(settings: TokenSettings, clock: Arc<dyn Clock>) -> Result<Self, TokenSetupError> {
        let key = SigningKey::new(&settings)?;
        let TokenSettings { ttl, claims, subject_claim, named, .. } = settings;
        let named = named
            .into_iter()
            .map(|NamedToken { name, ttl, claims, subject_claim }| (name, Purpose { ttl, claims, subject_claim }));
        Ok(Self { key, main: Purpose { ttl, claims, subject_claim }, named: named.collect(), clock })
    }

    /// The JWK set that an app may verify with (RFC 7517, section 5); none for HMAC.
    #[must_use]
    pub fn jwks(&self) -> Option<Value> {
        self.key.public().map(|jwk| json!({ "keys": [jwk] }))
    }

    fn mint_for(&self, purpose: &Purpose, who: &UserView) -> Result<String, TokenError> {
        let claims = purpose.claims(who, self.clock.wall()).map_err(TokenError)?;
        self.key.sign(&claims).map_err(|error| TokenError(error.into()))
    }

    fn subject_for(&self, purpose: &Purpose, token: &str) -> Option<String> {
        let claims = self.key.open(token)?;
        purpose.accepts(&claims, self.clock.wall()).then(|| purpose.subject(&claims)).flatten()
    }
}

impl Tokens for Minter {
    fn mint(&self, who: &Authenticated) -> Result<Minted, TokenError> {
        let named = self.named.iter();
        let named = named.map(|(name, purpose)| Ok((name.clone(), self.mint_for(purpose, who.view())?)));
        Ok(Minted { token: Some(self.mint_for(&self.main, who.view())?), named: named.collect::<Result<_, _>>()? })
    }

    fn subject(&self, token: &str) -> Option<String> {
        self.subject_for(&self.main, token)
    }

    fn subject_of(&self, name: &str, token: &str) -> Option<String> {
        self.subject_for(self.named.get(name)?, token)
    }
}

/// A claim that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the claim `{claim}`")]
struct BadClaim {
    claim: String,
    #[source]
    cause: Cause,
}

impl ClaimValue {
    /// What it is for this user; none if it is left out.
    fn of(&self, who: &UserView, context: &template::Value) -> Result<Option<Value>, Cause> {
        Ok(match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Name(kind) => who.name(*kind).map(Value::from),
            Self::Text(template) => Some(Value::String(template.render(context)?)),
            Self::Json(template) => Some(json::from_slice(template.render(context)?.as_bytes())?),
        })
    }
}

impl Purpose {
    /// The configured claims in their order, then `iat` and `exp` where these are not among them.
    fn claims(&self, who: &UserView, now: UnixSeconds) -> Result<Map<String, Value>, Cause> {
        let context = template::context(Sees { user: who, now });
        let mut claims = Map::with_capacity(self.claims.len() + 2);
        for (name, value) in &self.claims {
            if let Some(value) = value.of(who, &context).map_err(|cause| BadClaim { claim: name.clone(), cause })? {
                claims.insert(name.clone(), value);
            }
        }
        claims.entry("iat").or_insert_with(|| now.0.into());
        claims.entry("exp").or_insert_with(|| now.0.saturating_add(self.ttl.as_secs()).into());
        Ok(claims)
    }

    /// Whether a token that bears a good signature is good now and for this purpose.
    fn accepts(&self, claims: &Map<String, Value>, now: UnixSeconds) -> bool {
        is_timely(claims, now) && self.is_for_us(claims) && self.bears_what_is_fixed(claims)
    }

    /// The claims that the configuration fixes are there as fixed: `token_type`, `iss` and the like tell tokens of different
    /// purposes apart that one key signs (RFC 8725, sections 3.8, 3.11 and 3.12).
    fn bears_what_is_fixed(&self, claims: &Map<String, Value>) -> bool {
        self.claims.iter().all(|(name, value)| match value {
            ClaimValue::Fixed(fixed) => claims.get(name) == Some(fixed),
            ClaimValue::Name(_) | ClaimValue::Text(_) | ClaimValue::Json(_) => true,
        })
    }

    /// RFC 7519, section 4.1.3: a token with an audience is refused by who is not in it. The audience that we write is ours.
    fn is_for_us(&self, claims: &Map<String, Value>) -> bool {
        !claims.contains_key("aud") || self.claims.iter().any(|(name, _)| name == "aud")
    }

    /// The public id, as text whatever its JSON type.
    fn subject(&self, claims: &Map<String, Value>) -> Option<String> {
        match claims.get(&self.subject_claim)? {
            Value::String(text) => (!text.is_empty()).then(|| text.clone()),
            Value::Number(number) => (!number.is_f64()).then(|| number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// RFC 7519, sections 4.1.4 and 4.1.5, without any leeway: `exp` must be there and ahead, `nbf` must not be ahead.
fn is_timely(claims: &Map<String, Value>, now: UnixSeconds) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch are far below 2^53")]
    let now = now.0 as f64;
    let expires = claims.get("exp").and_then(Value::as_f64).is_some_and(|exp| now < exp);
    let begun = claims.get("nbf").is_none_or(|nbf| nbf.as_f64().is_some_and(|nbf| nbf <= now));
    expires && begun
}

#[cfg(test)]
mod tests;

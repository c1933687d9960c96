//! The signing key: read from configuration once, tried out at once, and its public half as a JWK.
//!
//! Knows keys and signatures, nothing of claims. Used by the minter alone.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rustls::pki_types::PrivateSec1KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value};

use super::settings::{TokenAlgorithm, TokenSettings};
use crate::service::ports::Cause;

/// Signs and verifies under one algorithm and one key.
pub(super) struct SigningKey {
    header: Header,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    public: Option<Value>,
}

/// The configured key cannot sign under the configured algorithm. Never shows any of it.
#[derive(Debug, thiserror::Error)]
pub enum TokenSetupError {
    /// There is no key.
    #[error("the key for tokens is empty")]
    Empty,
    /// It is no such key: not a PEM private key of this kind, or one too small to be used.
    #[error("the key for tokens is no private key for this algorithm: a PEM file in PKCS#8 is expected")]
    Unfit(#[source] jsonwebtoken::errors::Error),
    /// It is a key of another kind or curve.
    #[error("the key for tokens was refused")]
    Refused(#[source] Cause),
}

impl From<jsonwebtoken::errors::Error> for TokenSetupError {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        Self::Unfit(error)
    }
}

/// Whether an HMAC key is shorter than its hash, which RFC 7518, section 3.2, forbids. Legacy's own key may be, and then there is
/// no choice.
#[must_use]
pub fn key_is_short(settings: &TokenSettings) -> bool {
    let least = match settings.algorithm {
        TokenAlgorithm::HS256 => 32,
        TokenAlgorithm::HS384 => 48,
        TokenAlgorithm::HS512 => 64,
        TokenAlgorithm::RS256 | TokenAlgorithm::ES256 | TokenAlgorithm::EdDSA => 0,
    };
    settings.key.len() < least
}

impl SigningKey {
    pub(super) fn new(settings: &TokenSettings) -> Result<Self, TokenSetupError> {
        let key = settings.key.as_slice();
        if key.is_empty() {
            return Err(TokenSetupError::Empty);
        }
        let algorithm = algorithm_of(settings.algorithm);
        let (encoding, decoding, public) = match settings.algorithm {
            TokenAlgorithm::HS256 | TokenAlgorithm::HS384 | TokenAlgorithm::HS512 => {
                (EncodingKey::from_secret(key), DecodingKey::from_secret(key), None)
            }
            TokenAlgorithm::RS256 => {
                from_jwk(EncodingKey::from_rsa_pem(key)?, |key| Ok(Jwk::from_encoding_key(key, algorithm)?))?
            }
            TokenAlgorithm::ES256 => from_jwk(ecdsa_key(key)?, |key| Ok(Jwk::from_encoding_key(key, algorithm)?))?,
            TokenAlgorithm::EdDSA => from_jwk(EncodingKey::from_ed_pem(key)?, ed25519_jwk)?,
        };
        let mut header = Header::new(algorithm);
        header.kid.clone_from(&settings.key_id);
        let public = public.map(|jwk| published(jwk, settings.key_id.as_deref())).transpose()?;
        let signing = Self { header, encoding, decoding, validation: signature_only(algorithm), public };
        signing.try_out()?;
        Ok(signing)
    }

    pub(super) fn sign(&self, claims: &Map<String, Value>) -> jsonwebtoken::errors::Result<String> {
        jsonwebtoken::encode(&self.header, claims, &self.encoding)
    }

    /// The claims of a token with a good signature under our own algorithm and key, whatever else its header proposes (R118;
    /// RFC 8725, section 3.1). Says nothing about the claims.
    pub(super) fn open(&self, token: &str) -> Option<Map<String, Value>> {
        let opened = jsonwebtoken::decode::<Map<String, Value>>(token, &self.decoding, &self.validation).ok()?;
        // RFC 7515, section 4.1.11: what we do not understand and must is refused; we understand none of it.
        opened.header.crit.is_none().then_some(opened.claims)
    }

    /// RFC 7517; none for HMAC, whose key is secret.
    pub(super) fn public(&self) -> Option<&Value> {
        self.public.as_ref()
    }

    /// A key that cannot sign, or whose halves do not belong together, shall be found at the start and not at the first login.
    fn try_out(&self) -> Result<(), TokenSetupError> {
        let signed = self.sign(&Map::new())?;
        jsonwebtoken::decode::<Map<String, Value>>(&signed, &self.decoding, &self.validation)?;
        Ok(())
    }
}

fn algorithm_of(algorithm: TokenAlgorithm) -> Algorithm {
    match algorithm {
        TokenAlgorithm::HS256 => Algorithm::HS256,
        TokenAlgorithm::HS384 => Algorithm::HS384,
        TokenAlgorithm::HS512 => Algorithm::HS512,
        TokenAlgorithm::RS256 => Algorithm::RS256,
        TokenAlgorithm::ES256 => Algorithm::ES256,
        TokenAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}

/// Claims are checked by the minter, which has a clock that tests can move, and no leeway.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

type Halves = (EncodingKey, DecodingKey, Option<Jwk>);

fn from_jwk(
    private: EncodingKey,
    public: impl FnOnce(&EncodingKey) -> Result<Jwk, TokenSetupError>,
) -> Result<Halves, TokenSetupError> {
    let jwk = public(&private)?;
    let decoding = DecodingKey::from_jwk(&jwk)?;
    Ok((private, decoding, Some(jwk)))
}

/// PKCS#8, or what `openssl ecparam -genkey` writes (RFC 5915), which is made into PKCS#8.
fn ecdsa_key(pem: &[u8]) -> Result<EncodingKey, TokenSetupError> {
    match PrivateSec1KeyDer::from_pem_slice(pem) {
        Ok(sec1) => {
            let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, sec1.secret_sec1_der());
            let pkcs8 = pair.map_err(refused)?.to_pkcs8v1().map_err(refused)?;
            Ok(EncodingKey::from_ec_der(pkcs8.as_ref()))
        }
        Err(_other_kind) => Ok(EncodingKey::from_ec_pem(pem)?),
    }
}

fn refused(cause: impl Into<Cause>) -> TokenSetupError {
    TokenSetupError::Refused(cause.into())
}

/// The crate derives this from PKCS#8 version 1 alone, by its length; newer tools write version 2.
fn ed25519_jwk(private: &EncodingKey) -> Result<Jwk, TokenSetupError> {
    let pair = Ed25519KeyPair::from_pkcs8(private.as_bytes()).map_err(refused)?;
    let public = DecodingKey::from_ed_der(pair.public_key().as_ref());
    Ok(Jwk::from_decoding_key(&public, Some(Algorithm::EdDSA))?)
}

fn published(mut jwk: Jwk, key_id: Option<&str>) -> Result<Value, TokenSetupError> {
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    jwk.common.key_id = key_id.map(str::to_owned);
    serde_json::to_value(jwk).map_err(|error| TokenSetupError::Unfit(error.into()))
}

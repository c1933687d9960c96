//! `[token]`, `[tokens.NAME]` and the session cookie. The key itself is parsed by `token`, which signs with it.

use std::collections::BTreeSet;

use super::names::{Sees, name_alone, sample_user, tell_who_fails};
use super::{Resolver, reply, secret};
use crate::config::document::join;
use crate::config::raw::{RawCookie, RawNamedToken, RawSameSite, RawToken, RawTokenKind, Table};
use crate::http::settings::CookieSettings;
use crate::template::{Escape, Template, Value};
use crate::token::TokenSettings;
use crate::token::settings::{ClaimValue, NamedToken, TokenAlgorithm};

/// The claim's template that says which one bears the user's id.
const USER_ID: &str = "{{ user.id }}";

/// Claims that come of `ttl`.
const TIMES: [&str; 2] = ["iat", "exp"];

pub(super) fn resolve(
    raw: Option<RawToken>,
    named: Table<RawNamedToken>,
    resolver: &mut Resolver<'_>,
) -> (Option<TokenSettings>, Option<CookieSettings>) {
    let Some(raw) = raw.filter(|raw| raw.kind == RawTokenKind::Jwt) else {
        for (name, _) in &named.0 {
            resolver.problem(&join("tokens", name), "without a `[token]` there is no key for this one", "");
        }
        return (None, None);
    };
    let cookie = raw.cookie.as_ref().and_then(|raw| cookie("token.cookie", raw, resolver));
    let ttl = resolver.duration("token.ttl", &raw.ttl);
    let claims = claims("token.claims", raw.claims, resolver);
    let others: Vec<NamedToken> =
        named.0.into_iter().filter_map(|(name, raw)| named_token(name, raw, resolver)).collect();
    let key = match raw.key {
        Some(key) => secret::bytes("token.key", key, resolver),
        None => {
            resolver.problem(
                "token.key",
                "a JWT needs the key that the app verifies with",
                "write `key = { file = \"…\" }`",
            );
            None
        }
    };
    if let Some(key) = &key {
        check_key(raw.algorithm, key, resolver);
    }
    if let Some((main, _)) = &claims {
        for other in &others {
            tell_apart(main, other, resolver);
        }
    }
    let settings = key.zip(claims).map(|(key, (claims, subject_claim))| TokenSettings {
        algorithm: raw.algorithm,
        key,
        key_id: raw.key_id,
        ttl,
        claims,
        subject_claim,
        named: others,
    });
    (settings, cookie)
}

fn named_token(name: String, raw: RawNamedToken, resolver: &mut Resolver<'_>) -> Option<NamedToken> {
    let key = join("tokens", &name);
    let ttl = raw.ttl.as_deref().map(|ttl| resolver.duration(&join(&key, "ttl"), ttl));
    let (claims, subject_claim) = claims(&join(&key, "claims"), raw.claims, resolver)?;
    Some(NamedToken { name, ttl: ttl?, claims, subject_claim })
}

/// A token is read back by its signature and its fixed claims. Two kinds under one key that share these are one kind (RFC 8725,
/// section 3.12): a refresh token would open what an access token does, and the reverse.
fn tell_apart(main: &[(String, ClaimValue)], other: &NamedToken, resolver: &mut Resolver<'_>) {
    let has_own = |one: &[(String, ClaimValue)], another: &[(String, ClaimValue)]| {
        one.iter().any(|(name, value)| match value {
            ClaimValue::Fixed(fixed) => !another
                .iter()
                .any(|(same, value)| same == name && matches!(value, ClaimValue::Fixed(equal) if equal == fixed)),
            ClaimValue::Name(_) | ClaimValue::Text(_) | ClaimValue::Json(_) => false,
        })
    };
    if !has_own(main, &other.claims) || !has_own(&other.claims, main) {
        let message = "nothing tells this token from that of `[token]`: each would be taken for the other";
        let help = "give both a claim without a template, as `token_type = \"access\"` and `token_type = \"refresh\"`";
        resolver.problem(&join("tokens", &other.name), message, help);
    }
}

/// RFC 7518, section 3.2: an HMAC key is at least as long as the hash. Legacy's own may be shorter, and has to be used.
fn check_key(algorithm: TokenAlgorithm, key: &[u8], resolver: &mut Resolver<'_>) {
    let least = match algorithm {
        TokenAlgorithm::HS256 => 32,
        TokenAlgorithm::HS384 => 48,
        TokenAlgorithm::HS512 => 64,
        TokenAlgorithm::RS256 | TokenAlgorithm::ES256 | TokenAlgorithm::EdDSA => {
            if !key.starts_with(b"-----BEGIN ") {
                let help = "give a private key in PEM, which begins with `-----BEGIN PRIVATE KEY-----`";
                resolver.problem("token.key", "this is no PEM file", help);
            }
            return;
        }
    };
    if key.len() < least {
        let message = format!("this key is shorter than the {least} bytes that RFC 7518 (section 3.2) asks for");
        resolver.warning("token.key", message, "a token made with a guessed key is as good as ours");
    }
}

type Claims = (Vec<(String, ClaimValue)>, String);

fn claims(key: &str, raw: Option<Table<serde_json::Value>>, resolver: &mut Resolver<'_>) -> Option<Claims> {
    let raw = raw.unwrap_or_else(|| Table(vec![("sub".into(), USER_ID.into())]));
    let subject = raw.0.iter().find(|(_, value)| value.as_str().is_some_and(|source| source.trim() == USER_ID));
    let subject = subject.map_or_else(|| "sub".to_owned(), |(name, _)| name.clone());
    let mut names = BTreeSet::new();
    let mut claims = Vec::new();
    let mut complete = true;
    for (name, value) in raw.0 {
        let key = join(key, &name);
        if TIMES.contains(&name.as_str()) {
            resolver.problem(&key, "this claim comes of `ttl`", "leave it out");
        }
        let names_user = name == subject || name == "sub";
        match claim(&key, value, names_user, resolver) {
            Some(value) => claims.push((name.clone(), value)),
            None => complete = false,
        }
        names.insert(name);
    }
    if !names.contains(&subject) {
        let message = "no claim is `{{ user.id }}` and none is `sub`: nobody can be found by such a token";
        resolver.warning(key, message, "write `sub = \"{{ user.id }}\"`, unless no route reads tokens back");
    }
    complete.then_some((claims, subject))
}

/// `names_user`: it is by this claim that the app, and we, know whose token it is. It is never left out.
fn claim(key: &str, value: serde_json::Value, names_user: bool, resolver: &mut Resolver<'_>) -> Option<ClaimValue> {
    if let Some(source) = value.as_str() {
        if !has_template(source) {
            return Some(ClaimValue::Fixed(value));
        }
        if let Some(kind) = name_alone(source).filter(|_| !names_user) {
            return Some(ClaimValue::Name(kind));
        }
        let template = resolver.template(key, source, Escape::None, Sees::User)?;
        render_sample(key, &template, resolver);
        return Some(ClaimValue::Text(template));
    }
    let json = value.as_object().filter(|table| table.len() == 1).and_then(|table| table.get("json")?.as_str());
    if let Some(source) = json {
        let key = join(key, "json");
        let template = resolver.template(&key, source, Escape::Json, Sees::User)?;
        if let Some(text) = render_sample(&key, &template, resolver)
            && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&text)
        {
            resolver.problem(&key, format!("with a sample user this renders no JSON: {error}"), "");
        }
        return Some(ClaimValue::Json(template));
    }
    if strings_of(&value).any(has_template) {
        let help = "write the whole claim as `{ json = \"…\" }`, with the template in it";
        resolver.problem(key, "templates inside a list or table are not rendered", help);
        return None;
    }
    Some(ClaimValue::Fixed(value))
}

fn render_sample(key: &str, template: &Template, resolver: &mut Resolver<'_>) -> Option<String> {
    let context = Value::from_pairs([("user", sample_user())]);
    match template.render(&context) {
        Ok(text) => {
            tell_who_fails(key, template, &[], "his login is answered with 500", resolver);
            Some(text)
        }
        Err(error) => {
            reply::failed(key, template, &error.to_string(), resolver);
            None
        }
    }
}

/// Whether a text is a template at all.
pub(super) fn has_template(source: &str) -> bool {
    source.contains("{{") || source.contains("{%")
}

fn strings_of(value: &serde_json::Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match value {
        serde_json::Value::String(text) => Box::new(std::iter::once(text.as_str())),
        serde_json::Value::Array(items) => Box::new(items.iter().flat_map(strings_of)),
        serde_json::Value::Object(entries) => Box::new(entries.values().flat_map(strings_of)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            Box::new(std::iter::empty())
        }
    }
}

fn cookie(key: &str, raw: &RawCookie, resolver: &mut Resolver<'_>) -> Option<CookieSettings> {
    let name = raw.name.clone()?;
    // RFC 6265bis, section 4.1.1: a name is a token, path and domain are anything but controls and `;`.
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        resolver.problem(&join(key, "name"), "this is not the name of a cookie", "letters, digits, `-` and `_`");
    }
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic() && c != ';');
    if !raw.path.starts_with('/') || !is_plain(&raw.path) {
        resolver.problem(&join(key, "path"), "this is not the path of a cookie", "it begins with `/`");
    }
    if raw.domain.as_deref().is_some_and(|domain| domain.is_empty() || !is_plain(domain)) {
        resolver.problem(&join(key, "domain"), "this is not the domain of a cookie", "");
    }
    let host_only = raw.path == "/" && raw.domain.is_none();
    if (name.starts_with("__Host-") && !(raw.secure && host_only)) || (name.starts_with("__Secure-") && !raw.secure) {
        let message =
            "browsers refuse a cookie of this name unless it is `secure`, and with `__Host-` for `/` and no domain";
        resolver.problem(&join(key, "name"), message, "");
    }
    if raw.same_site == RawSameSite::None && !raw.secure {
        resolver.problem(&join(key, "same_site"), "browsers refuse `None` for a cookie that is not `secure`", "");
    }
    if !raw.secure {
        let message = "without `secure` the session travels over plain HTTP too";
        resolver.warning(&join(key, "secure"), message, "write `secure = true` once there is TLS");
    }
    if !raw.http_only {
        resolver.warning(
            &join(key, "http_only"),
            "without `http_only` any script on the page can take the session",
            "",
        );
    }
    let same_site = match raw.same_site {
        RawSameSite::Strict => "Strict",
        RawSameSite::Lax => "Lax",
        RawSameSite::None => "None",
    };
    Some(CookieSettings {
        name,
        path: raw.path.clone(),
        domain: raw.domain.clone(),
        secure: raw.secure,
        http_only: raw.http_only,
        same_site: Some(same_site),
    })
}

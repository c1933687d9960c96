//! `reply.*` of a route: our answers, each tried on a sample user, so that a body that is no JSON is found before a client
//! meets it.

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, StatusCode};

use super::Resolver;
use super::names::{looks_into_profile, sample_user, tell_who_fails};
use crate::config::document::join;
use crate::config::raw::{RawReplies, RawReply, Table};
use crate::http::settings::{Action, Replies, ReplyTemplate};
use crate::template::{Escape, Template, Value};

/// Headers that the server writes itself.
const OURS: [HeaderName; 6] = [CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// What the answers of a route may show.
pub(super) struct Shows<'a> {
    pub(super) action: Action,
    /// Whether there is a `[token]`.
    pub(super) token: bool,
    /// The `[tokens.NAME]`.
    pub(super) tokens: &'a [String],
}

/// What comes of a reply that cannot be rendered.
const ANSWERED: &str = "his request is answered with 500";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ok,
    Plain,
    Reason,
    RetryAfter,
}

pub(super) fn resolve(key: &str, raw: &RawReplies, shows: &Shows<'_>, resolver: &mut Resolver<'_>) -> Option<Replies> {
    let all = [
        ("ok", &raw.ok, Kind::Ok),
        ("denied", &raw.denied, Kind::Plain),
        ("unknown", &raw.unknown, Kind::Plain),
        ("unavailable", &raw.unavailable, Kind::RetryAfter),
        ("limited", &raw.limited, Kind::RetryAfter),
        ("exists", &raw.exists, Kind::Plain),
        ("invalid", &raw.invalid, Kind::Reason),
    ];
    // Every one of them is looked at before the first that failed ends it.
    let resolved = all.map(|(name, own, kind)| match own {
        Some(own) => reply(&join(key, name), own, &raw.headers, &sample(kind, shows), resolver).map(Some),
        None => Some(None),
    });
    if raw.unknown.is_some() {
        let message = "this answer tells strangers which names have an account here";
        resolver.warning(&join(key, "unknown"), message, "leave it out unless clients depend on it");
    }
    let [ok, denied, unknown, unavailable, limited, exists, invalid] = resolved;
    Some(Replies {
        ok: ok?,
        denied: denied?,
        unknown: unknown?,
        unavailable: unavailable?,
        limited: limited?,
        exists: exists?,
        invalid: invalid?,
    })
}

/// What an answer of this kind sees, filled with samples.
fn sample(kind: Kind, shows: &Shows<'_>) -> Vec<(&'static str, Value)> {
    let headers = Value::from_pairs([("origin", Value::from("https://app.example.org"))]);
    let mut names = vec![
        ("login", Value::from("ada")),
        ("now", Value::from(1_700_000_000_u64)),
        ("request", Value::from_pairs([("headers", headers)])),
    ];
    match kind {
        Kind::Plain => {}
        Kind::Reason => names.push(("reason", Value::from("the password needs at least 8 characters"))),
        Kind::RetryAfter => names.push(("retry_after", Value::from(30))),
        Kind::Ok => match shows.action {
            Action::Login | Action::Register | Action::Refresh => {
                names.push(("user", sample_user()));
                if shows.token {
                    names.push(("token", Value::from("header.claims.signature")));
                    let tokens =
                        shows.tokens.iter().map(|name| (name.as_str(), Value::from("header.claims.signature")));
                    names.push(("tokens", Value::from_pairs(tokens)));
                }
            }
            Action::GetUser => names.push(("user", sample_user())),
            Action::ChangePassword | Action::ResetPassword | Action::DeleteUser | Action::Logout => {}
        },
    }
    names
}

fn reply(
    key: &str,
    raw: &RawReply,
    common: &Table<String>,
    sample: &[(&'static str, Value)],
    resolver: &mut Resolver<'_>,
) -> Option<ReplyTemplate> {
    let status = raw.status.and_then(|status| StatusCode::from_u16(status).ok());
    let names: Vec<&str> = sample.iter().map(|(name, _)| *name).collect();
    let context = Value::from_pairs(sample.iter().cloned());
    let all = headers_of(key, raw, common);
    let mut headers = Vec::new();
    let mut complete = true;
    for (key, name, value) in &all {
        match (header(key, name, resolver), resolver.template_over(key, value, Escape::None, &names)) {
            (Some(name), Some(template)) => {
                if try_header(key, &template, &context, resolver) {
                    tell_who_fails(key, &template, sample, ANSWERED, resolver);
                }
                headers.push((name, template));
            }
            (None, _) | (_, None) => complete = false,
        }
    }
    let is_html = all.iter().any(|(_, name, value)| is_html(name, value));
    let body = body(key, raw, is_html, &names, &context, resolver);
    if let Some(Some(template)) = &body {
        let key = join(key, if raw.json.is_some() { "json" } else { "body" });
        if template.render(&context).is_ok() {
            tell_who_fails(&key, template, sample, ANSWERED, resolver);
        }
    }
    if raw.json.is_some() && !headers.iter().any(|(name, _)| *name == CONTENT_TYPE) {
        let json = resolver.template_over(key, "application/json", Escape::None, &[])?;
        headers.insert(0, (CONTENT_TYPE, json));
    }
    let is_bodiless =
        status.is_some_and(|status| status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED);
    if is_bodiless && (raw.json.is_some() || raw.body.is_some()) {
        resolver.problem(&join(key, "status"), "an answer of this status has no body (RFC 9110, section 15)", "");
    }
    let body = body?;
    complete.then_some(())?;
    Some(ReplyTemplate { status: status?, headers, body })
}

/// The answer's own headers, then those of every answer that it does not have itself: key, name, value.
fn headers_of<'a>(key: &str, raw: &'a RawReply, common: &'a Table<String>) -> Vec<(String, &'a str, &'a str)> {
    let own = raw.headers.0.iter().map(|(name, value)| (join(&join(key, "headers"), name), &**name, &**value));
    let around = key.rsplit_once('.').map_or(key, |(around, _)| around);
    let is_own = |name: &str| raw.headers.0.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    let others = common.0.iter().filter(|(name, _)| !is_own(name));
    own.chain(others.map(|(name, value)| (join(&join(around, "headers"), name), &**name, &**value))).collect()
}

fn is_html(name: &str, value: &str) -> bool {
    name.eq_ignore_ascii_case("content-type") && value.trim_start().to_ascii_lowercase().starts_with("text/html")
}

fn header(key: &str, name: &str, resolver: &mut Resolver<'_>) -> Option<HeaderName> {
    let header = resolver.header(key, name)?;
    if OURS.contains(&header) {
        resolver.problem(key, "the server writes this header itself", "");
        return None;
    }
    Some(header)
}

/// Whether it renders at all.
fn try_header(key: &str, template: &Template, context: &Value, resolver: &mut Resolver<'_>) -> bool {
    match template.render(context) {
        Ok(value) if HeaderValue::from_str(&value).is_err() => {
            resolver.problem(key, "this renders characters that no header may have", "");
            true
        }
        Ok(_) => true,
        Err(error) => {
            failed(key, template, &error.to_string(), resolver);
            false
        }
    }
}

/// The body's template: `Some(None)` for none.
fn body(
    key: &str,
    raw: &RawReply,
    is_html: bool,
    names: &[&str],
    context: &Value,
    resolver: &mut Resolver<'_>,
) -> Option<Option<Template>> {
    match (&raw.json, &raw.body) {
        (None, None) => Some(None),
        (Some(_), Some(_)) => {
            resolver.problem(key, "an answer has one body", "write `json` or `body`");
            None
        }
        (Some(json), None) => {
            let key = join(key, "json");
            let template = resolver.template_over(&key, json, Escape::Json, names)?;
            match template.render(context) {
                Ok(text) => {
                    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&text) {
                        let message = format!("with a sample user this renders no JSON: {error}");
                        resolver.problem(&key, message, "write `{{ name | tojson }}`, without quotes around it");
                    }
                }
                Err(error) => failed(&key, &template, &error.to_string(), resolver),
            }
            Some(Some(template))
        }
        (None, Some(body)) => {
            let key = join(key, "body");
            let escape = if is_html { Escape::Html } else { Escape::None };
            let template = resolver.template_over(&key, body, escape, names)?;
            if let Err(error) = template.render(context) {
                failed(&key, &template, &error.to_string(), resolver);
            }
            Some(Some(template))
        }
    }
}

/// A failure over a sample is the template's own, unless it looks into a profile, of which a sample knows nothing.
pub(super) fn failed(key: &str, template: &Template, error: &str, resolver: &mut Resolver<'_>) {
    let message = format!("with a sample user this template fails: {error}");
    if looks_into_profile(template.source()) {
        resolver.warning(key, message, "make sure that every profile of legacy's has what it looks for");
    } else {
        resolver.problem(key, message, "");
    }
}

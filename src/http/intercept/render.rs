//! Our own answers: a route's templates, filled in; `application/problem+json` where the operator wrote none.
//!
//! Every answer is whole, short and never cached. A template that fails is our own fault: a plain 500, never half an answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, PROXY_AUTHORIZATION, RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::{Serialize, Serializer};

use crate::domain::clock::Clock;
use crate::domain::proof::{Authenticated, UserView};
use crate::http::problem::problem;
use crate::http::settings::{ReplyTemplate, Route};
use crate::service::ports::{LimitPolicy, Limited, Minted, Tokens};
use crate::service::reply::Ours;
use crate::telemetry::{Metrics, WithCauses};
use crate::template::{self, TemplateError};

use super::session::SessionCookie;

/// Fills in the templates of routes.
pub(super) struct Renderer {
    pub(super) tokens: Option<Arc<dyn Tokens>>,
    pub(super) cookie: Option<Arc<SessionCookie>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

/// The request that is answered, as far as templates see it.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) login: &'a str,
    pub(super) headers: &'a HeaderMap,
}

/// `request` in a template. Looked through only if there is a template that could ask for it.
#[derive(Serialize, Clone, Copy)]
struct RequestView<'a> {
    #[serde(serialize_with = "shown")]
    headers: &'a HeaderMap,
}

/// The headers that templates see, sorted.
fn shown<S: Serializer>(headers: &HeaderMap, serializer: S) -> Result<S::Ok, S::Error> {
    let shown = headers.iter().filter(|(name, _)| !SECRET_HEADERS.contains(name));
    let shown: BTreeMap<_, _> = shown.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    shown.serialize(serializer)
}

/// Headers that no answer may repeat.
const SECRET_HEADERS: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

/// What a template sees.
#[derive(Serialize, Default, Clone, Copy)]
struct Context<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<RequestView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a UserView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<&'a BTreeMap<String, String>>,
    login: &'a str,
    now: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

/// The stand-in for an answer that the operator wrote no template for.
struct Standard {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
}

impl Renderer {
    /// The answer of a route.
    pub(super) fn answer(&self, route: &Route, ours: &Ours, asked: Asked<'_>) -> Response<Bytes> {
        match ours {
            Ours::Ok(who) => self.logged_in(route, who, asked),
            Ours::Done(user) => self.done(route, user.as_deref(), asked),
            Ours::Denied => self.fill(route.replies.denied.as_ref(), DENIED, &self.context(asked)),
            Ours::Unknown => {
                let template = route.replies.unknown.as_ref().or(route.replies.denied.as_ref());
                self.fill(template, DENIED, &self.context(asked))
            }
            Ours::Exists => self.fill(route.replies.exists.as_ref(), EXISTS, &self.context(asked)),
            Ours::TooWeak(weak) => {
                let reason = weak.to_string();
                self.invalid(route, StatusCode::UNPROCESSABLE_ENTITY, "password_too_weak", &reason, asked)
            }
            Ours::BadName => self.invalid(
                route,
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_account",
                "this name or password cannot be used",
                asked,
            ),
            Ours::Limited(limited) => {
                let template = route.replies.limited.as_ref();
                let mut response = self.retry_later(template, LIMITED, limited.retry_after, asked);
                tell_limit(response.headers_mut(), limited);
                response
            }
            Ours::Unavailable(after) => {
                self.retry_later(route.replies.unavailable.as_ref(), UNAVAILABLE, *after, asked)
            }
        }
    }

    /// A request that cannot be used on a route: `reply.invalid` with `reason`, or a problem of that status.
    pub(super) fn invalid(
        &self,
        route: &Route,
        status: StatusCode,
        code: &'static str,
        reason: &str,
        asked: Asked<'_>,
    ) -> Response<Bytes> {
        match &route.replies.invalid {
            Some(template) => {
                let context = Context { reason: Some(reason), ..self.context(asked) };
                self.fill(Some(template), UNAVAILABLE, &context)
            }
            None => problem(status, code, reason),
        }
    }

    /// What we would have answered for somebody legacy answered for, to compare shapes with; nothing is counted.
    pub(super) fn shadow(&self, route: &Route, who: &Authenticated, asked: Asked<'_>) -> Option<Response<Bytes>> {
        route.replies.ok.as_ref()?;
        Some(self.logged_in(route, who, asked))
    }

    fn context<'a>(&self, asked: Asked<'a>) -> Context<'a> {
        let request = Some(RequestView { headers: asked.headers });
        Context { request, login: asked.login, now: self.clock.wall().0, ..Context::default() }
    }

    fn logged_in(&self, route: &Route, who: &Authenticated, asked: Asked<'_>) -> Response<Bytes> {
        let minted = match self.tokens.as_ref().map(|tokens| tokens.mint(who)).transpose() {
            Ok(minted) => minted.unwrap_or_default(),
            Err(error) => return self.failed(&error),
        };
        let Minted { token, named } = &minted;
        let context =
            Context { user: Some(who.view()), token: token.as_deref(), tokens: Some(named), ..self.context(asked) };
        let mut response = self.fill(route.replies.ok.as_ref(), DONE, &context);
        if let (Some(cookie), Some(token)) = (&self.cookie, token.as_deref())
            && let Some(value) = cookie.set(token)
        {
            response.headers_mut().append(SET_COOKIE, value);
        }
        response
    }

    fn done(&self, route: &Route, user: Option<&UserView>, asked: Asked<'_>) -> Response<Bytes> {
        let context = Context { user, ..self.context(asked) };
        let mut response = self.fill(route.replies.ok.as_ref(), DONE, &context);
        if let (None, Some(cookie)) = (user, &self.cookie)
            && let Some(value) = cookie.clear()
        {
            response.headers_mut().append(SET_COOKIE, value);
        }
        response
    }

    fn retry_later(
        &self,
        template: Option<&ReplyTemplate>,
        standard: Standard,
        after: Duration,
        asked: Asked<'_>,
    ) -> Response<Bytes> {
        let seconds = whole_seconds(after);
        let context = Context { retry_after: Some(seconds), ..self.context(asked) };
        let mut response = self.fill(template, standard, &context);
        response.headers_mut().entry(RETRY_AFTER).or_insert(HeaderValue::from(seconds));
        response
    }

    fn fill(&self, template: Option<&ReplyTemplate>, standard: Standard, context: &Context<'_>) -> Response<Bytes> {
        let Some(template) = template else {
            return match standard.status {
                StatusCode::NO_CONTENT => empty(StatusCode::NO_CONTENT),
                status => problem(status, standard.code, standard.title),
            };
        };
        match render(template, context) {
            Ok(response) => response,
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> Response<Bytes> {
        self.metrics.alarm("template");
        tracing::error!(error = %WithCauses(error), "an answer could not be rendered");
        problem(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "the answer could not be made")
    }
}

/// At least one: a client told to come back at once would.
fn whole_seconds(after: Duration) -> u64 {
    (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1)
}

/// The fields of draft-ietf-httpapi-ratelimit-headers-09, sections 3 and 4, on a refusal alone: how many tries are left is told to
/// nobody who still has some. Whatever a template says, no cache may keep this answer (R73).
fn tell_limit(headers: &mut HeaderMap, limited: &Limited) {
    let Limited { retry_after, policy: LimitPolicy { name, quota, window } } = limited;
    let policy = format!("\"{name}\";q={quota};w={}", whole_seconds(*window));
    let left = format!("\"{name}\";r=0;t={}", whole_seconds(*retry_after));
    for (field, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.entry(HeaderName::from_static(field)).or_insert(value);
        }
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

const DONE: Standard = Standard { status: StatusCode::NO_CONTENT, code: "", title: "" };
const DENIED: Standard =
    Standard { status: StatusCode::UNAUTHORIZED, code: "invalid_credentials", title: "wrong name or password" };
const EXISTS: Standard = Standard { status: StatusCode::CONFLICT, code: "user_exists", title: "this name is taken" };
const LIMITED: Standard = Standard {
    status: StatusCode::TOO_MANY_REQUESTS,
    code: "too_many_attempts",
    title: "too many attempts, try again later",
};
const UNAVAILABLE: Standard = Standard {
    status: StatusCode::SERVICE_UNAVAILABLE,
    code: "unavailable",
    title: "this cannot be answered now, try again",
};

/// Why a reply was not rendered.
#[derive(Debug, thiserror::Error)]
enum RenderError {
    #[error("a template of the reply failed")]
    Template(#[from] TemplateError),
    #[error("a header of the reply has a value that no header may have")]
    Header(#[from] http::header::InvalidHeaderValue),
}

fn render(template: &ReplyTemplate, context: &Context<'_>) -> Result<Response<Bytes>, RenderError> {
    let templates = template.body.iter().chain(template.headers.iter().map(|(_, value)| value));
    // Refusals are made by the thousand, and most say the same each time; and few answers look at the request.
    let (mut is_fixed, mut asks_for_request) = (true, false);
    for template in templates {
        is_fixed &= template.is_fixed();
        asks_for_request |= template.mentions("request");
    }
    let context = match (is_fixed, asks_for_request) {
        (true, _) => template::context(()),
        (false, true) => template::context(context),
        (false, false) => template::context(Context { request: None, ..*context }),
    };
    let body = template.body.as_ref().map(|body| body.render(&context)).transpose()?;
    let mut response = Response::new(body.map(Bytes::from).unwrap_or_default());
    *response.status_mut() = template.status;
    let headers = response.headers_mut();
    for (name, value) in &template.headers {
        // One that comes out empty is left out: a header that depends on the request, as CORS has them.
        match value.render(&context)? {
            empty if empty.is_empty() => {}
            value => drop(headers.append(name, HeaderValue::from_str(&value)?)),
        }
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if template.body.is_some() {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    }
    Ok(response)
}

/// A JSON Web Key Set, cacheable for as long as a rotation with overlap allows.
pub(super) fn jwks(keys: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(keys.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

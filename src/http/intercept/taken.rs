//! A request that a route takes, from its address's limit to credentials: counted before its body is read, read within bounds, decoded
//! strictly, and then a use case's. What cannot be used is refused in the route's own shape; in `observe` it goes on as it came.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::render::Asked;
use super::use_case::{HeadCase, UseCase};
use super::{Interceptor, Traffic, whole};
use crate::domain::client_addr::ClientAddr;
use crate::domain::mode::Mode;
use crate::http::decode::{Decoded, decode, extract};
use crate::http::gate::Refusal;
use crate::http::router::{Candidates, Selection};
use crate::http::settings::{Action, EdgeBounds, Route};
use crate::net::body::{BodyError, ReadAhead, read_ahead, read_bounded};
use crate::net::{ProxyBody, Received};
use crate::service::ports::{AddressBucket, Limited, RouteIndex};
use crate::service::reply::{Answer, Ours};
use crate::telemetry::metrics::{Outcome, Source};

/// The largest body that is read on a path which is a login only if its fields say so, in bytes.
const SHARED_PATH_BODY: usize = 2 * 1024 * 1024;

/// A request on the route that takes it, in the mode that was in force when it came.
pub(super) struct Taken<'a> {
    pub(super) mode: Mode,
    pub(super) index: RouteIndex,
    pub(super) route: &'a Route,
    pub(super) traffic: Traffic<'a>,
}

impl Interceptor {
    /// Takes a request that is for one of these routes if its body says so.
    pub(super) async fn intercept(
        &self,
        mode: Mode,
        candidates: &Candidates,
        traffic: Traffic<'_>,
        body: Received,
    ) -> Response<ProxyBody> {
        let index = candidates.first();
        let Some(route) = self.route(index) else {
            return self.send_on(traffic, ProxyBody::from(body)).await;
        };
        let mut taken = Taken { mode, index, route, traffic };
        // Before the body is read, or anything else is done: whoever is over his limit costs no more than his request's head. Where only
        // the body tells whether this is a login at all, everything else on the path must not use the limit up.
        if !candidates.needs_body_fields()
            && let Some(limited) = self.limited(&taken)
        {
            return limited;
        }
        if mode != Mode::Observe {
            candidates.strip_credential_cookies(&mut taken.traffic.head.headers);
        }
        let _needs_the_store = self.parts.service.intercepts();
        if let UseCase::OfHead(_) = route.action.use_case() {
            return self.without_body(candidates, taken.traffic, body).await;
        }
        let bytes = match self.read(&taken, candidates, body).await {
            Ok(ReadAhead::Whole(bytes)) => bytes,
            Ok(ReadAhead::Longer(body)) => {
                // Longer than any login that `migrate` takes; whatever it is, the app gets it.
                self.parts.metrics.refused("observed");
                return self.send_on(taken.traffic, body).await;
            }
            Err(error) => return self.unusable(taken, &unread(&error), None).await,
        };
        let decoded = match decode(&taken.traffic.head.headers, &bytes) {
            Ok(decoded) => decoded,
            Err(error) => return self.unusable(taken, &error.into(), Some(bytes)).await,
        };
        match candidates.select(&taken.traffic.target, &decoded) {
            Ok(Selection::Route(index)) => {
                taken.index = index;
                taken.route = self.route(index).unwrap_or(route);
            }
            // No route's business after all: on with the very bytes that came.
            Ok(Selection::Pass) => return self.send_on(taken.traffic, ProxyBody::full(bytes)).await,
            Err(refusal) => return self.unusable(taken, &refusal, Some(bytes)).await,
        }
        if candidates.needs_body_fields()
            && let Some(limited) = self.limited(&taken)
        {
            return limited;
        }
        match extract(&taken.route.request, &decoded) {
            Ok(credentials) => self.perform(taken, &decoded, credentials, bytes).await,
            Err(error) => self.unusable(taken, &error.into(), Some(bytes)).await,
        }
    }

    /// Reads the body of a login: whole or not at all, but for `observe`, which refuses nothing for its length.
    async fn read(&self, taken: &Taken<'_>, candidates: &Candidates, body: Received) -> Result<ReadAhead, BodyError> {
        let EdgeBounds { auth_body_bytes, body_timeout, .. } = self.parts.bounds;
        // Where a path is many things, what is posted there may be a whole page; only its fields tell that it is no login.
        let most = if candidates.needs_body_fields() { auth_body_bytes.max(SHARED_PATH_BODY) } else { auth_body_bytes };
        let deadline = self.parts.clock.monotonic() + body_timeout;
        let connection = taken.traffic.connection;
        match taken.mode {
            Mode::Observe => connection.receives(read_ahead(body, most, deadline)).await,
            Mode::Passthrough | Mode::Migrate | Mode::Retired => {
                connection.receives(read_bounded(body, most, deadline)).await.map(ReadAhead::Whole)
            }
        }
    }

    /// Sends a request on unless its body has what a route at its path asks for in the query. What is longer than any login goes on
    /// unread if it is an upload, and is refused otherwise.
    pub(super) async fn look_into(
        &self,
        candidates: &Candidates,
        traffic: Traffic<'_>,
        body: Received,
    ) -> Response<ProxyBody> {
        let deadline = self.parts.clock.monotonic() + self.parts.bounds.body_timeout;
        let bytes = match traffic.connection.receives(read_ahead(body, SHARED_PATH_BODY, deadline)).await {
            Ok(ReadAhead::Whole(bytes)) => bytes,
            Ok(ReadAhead::Longer(body)) if is_multipart(&traffic.head.headers) => {
                return self.send_on(traffic, body).await;
            }
            Ok(ReadAhead::Longer(_)) => return self.refuse(&unread(&BodyError::TooLarge)),
            Err(error) => return self.refuse(&unread(&error)),
        };
        match candidates.may_be_named_by(&traffic.head.headers, &traffic.target, &bytes) {
            Ok(()) => self.send_on(traffic, ProxyBody::full(bytes)).await,
            Err((_, refusal)) => self.refuse(&refusal),
        }
    }

    /// Actions that need nothing of a body; a route that asks for fields in one does not take these.
    async fn without_body(&self, candidates: &Candidates, traffic: Traffic<'_>, body: Received) -> Response<ProxyBody> {
        let selected = match candidates.select(&traffic.target, &Decoded::empty()) {
            Ok(Selection::Route(index)) => self.route(index).map(|route| (route, route.action.use_case())),
            Ok(Selection::Pass) => None,
            Err(refusal) => return self.refuse(&refusal),
        };
        let Some((route, UseCase::OfHead(case))) = selected else {
            return self.send_on(traffic, ProxyBody::from(body)).await;
        };
        let headers = &traffic.head.headers;
        let reply = match case {
            HeadCase::WhoAmI => {
                let (tokens, token) = (self.parts.sessions.tokens.as_deref(), self.token_of(headers));
                self.parts.service.whoami(&route.name, tokens, token).await
            }
            HeadCase::Logout => self.parts.service.logout(&route.name),
        };
        match reply.answer {
            Answer::Ours(ours) => whole(self.renderer.answer(route, &ours, Asked { login: "", headers })),
            Answer::Legacys { relay, .. } => whole(relay),
            Answer::SendOn => self.send_on(traffic, ProxyBody::from(body)).await,
        }
    }

    /// The answer to an address that is over its limit. Observing only counts.
    fn limited(&self, taken: &Taken<'_>) -> Option<Response<ProxyBody>> {
        let Taken { mode, route, traffic, .. } = taken;
        let limited = self.within_limits(route, traffic.client).err()?;
        if *mode == Mode::Observe {
            return None;
        }
        let limited = Ours::Limited(limited);
        self.count(route, limited.outcome());
        let asked = Asked { login: "", headers: &traffic.head.headers };
        Some(whole(self.renderer.answer(route, &limited, asked)))
    }

    fn within_limits(&self, route: &Route, client: ClientAddr) -> Result<(), Limited> {
        self.parts.addresses.admit(client, AddressBucket::Intercepted)?;
        match route.action {
            Action::Register => self.parts.addresses.admit(client, AddressBucket::Registration),
            Action::Login
            | Action::ChangePassword
            | Action::ResetPassword
            | Action::DeleteUser
            | Action::Logout
            | Action::GetUser
            | Action::Refresh => Ok(()),
        }
    }

    /// Answers a request that cannot be used, in the route's shape. In `observe` it goes on to legacy as it came, and is counted.
    async fn unusable(&self, taken: Taken<'_>, refusal: &Refusal, bytes: Option<Bytes>) -> Response<ProxyBody> {
        let Taken { mode, route, traffic, .. } = taken;
        self.parts.metrics.refused(refusal.reason);
        if let (Mode::Observe, Some(bytes)) = (mode, bytes) {
            return self.send_on(traffic, ProxyBody::full(bytes)).await;
        }
        self.count(route, Outcome::Malformed);
        let asked = Asked { login: "", headers: &traffic.head.headers };
        whole(self.renderer.invalid(route, refusal.status, refusal.reason, refusal.title, asked))
    }

    /// Counts a request on a route that no use case saw.
    fn count(&self, route: &Route, outcome: Outcome) {
        match route.action {
            Action::Login => self.parts.metrics.login(&route.name, Source::Edge, outcome),
            Action::Register => self.parts.metrics.registration(&route.name, Source::Edge, outcome),
            Action::ChangePassword
            | Action::ResetPassword
            | Action::DeleteUser
            | Action::Logout
            | Action::GetUser
            | Action::Refresh => self.parts.metrics.change(&route.name, Source::Edge, outcome),
        }
    }
}

fn is_multipart(headers: &HeaderMap) -> bool {
    let types = headers.get_all(CONTENT_TYPE).iter();
    types
        .map(HeaderValue::as_bytes)
        .any(|value| value.trim_ascii_start().to_ascii_lowercase().starts_with(b"multipart/"))
}

/// Why a body could not be read.
fn unread(error: &BodyError) -> Refusal {
    let (status, reason, title) = match error {
        BodyError::TooLarge => {
            (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is larger than a login can be")
        }
        BodyError::Timeout => (StatusCode::REQUEST_TIMEOUT, "body_timeout", "The body did not arrive in time"),
        BodyError::Broken(_) => (StatusCode::BAD_REQUEST, "body_broken", "The body broke off"),
    };
    Refusal { status, reason, title }
}

//! A request's way through the edge: gate, client address, route; then either on to the app untouched, or decoded, answered by a
//! use case, and rendered.
//!
//! Called by `http::server` for every request. Knows what HTTP means; decides nothing about users.

mod render;
mod session;
mod shape;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};

use self::render::{Asked, Renderer};
use self::session::{SessionCookie, token_of};
use self::shape::{KnownFields, differences};
use super::client_addr::{client_addr, is_trusted};
use super::connection::Connection;
use super::decode::{Credentials, Decoded, decode, extract, reserialize, strip_credential_cookies};
use super::forward::{ForwardContext, Forwarder};
use super::gate::{self, GatePolicy, Refusal};
use super::headers::{HeaderFault, HeaderRules, Provenance};
use super::hosts::AllowedHosts;
use super::path::CanonicalTarget;
use super::problem::problem;
use super::router::{BadRoutePath, Candidates, Routed, Router, Selection};
use super::server::Handler;
use super::settings::{Action, CookieSettings, EdgeBounds, LegacyWay, Route, Session, TrustedProxies};
use crate::domain::client_addr::ClientAddr;
use crate::domain::clock::Clock;
use crate::domain::identifier::IdentifierKind;
use crate::domain::login::AskedBy;
use crate::domain::mode::Mode;
use crate::domain::password_life::Change;
use crate::domain::proof::UserView;
use crate::net::body::{BodyError, ReadAhead, read_ahead, read_bounded};
use crate::net::{ProxyBody, Received};
use crate::service::Service;
use crate::service::changes::ChangeRequest;
use crate::service::login::LoginRequest;
use crate::service::ports::{AddressBucket, AddressLimits, ClientRequest, Limited, RouteIndex, Tokens};
use crate::service::registration::RegisterRequest;
use crate::service::reply::{Answer, Ours, Reply};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{Outcome, Source};
use crate::template::{self, Template};

/// Where the public keys of asymmetric tokens are found (RFC 8615; the name that OpenID providers use).
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// The largest body that is read on a path which is a login only if its fields say so, in bytes.
const SHARED_PATH_BODY: usize = 2 * 1024 * 1024;

/// What the interceptor is made of.
pub struct InterceptorParts {
    /// The use cases.
    pub service: Arc<Service>,
    /// The routes, in order.
    pub routes: Vec<Route>,
    /// What no route takes.
    pub forwarder: Forwarder,
    /// Limits by address.
    pub addresses: Arc<dyn AddressLimits>,
    /// What mints and reads tokens; none with `kind = "none"`.
    pub tokens: Option<Arc<dyn Tokens>>,
    /// The session cookie and how long it lives.
    pub cookie: Option<(CookieSettings, Duration)>,
    /// The public keys, where the tokens are signed with a private one (RFC 7517): answered on [`JWKS_PATH`].
    pub jwks: Option<serde_json::Value>,
    /// Headers set on a valid session.
    pub identity_headers: Vec<(HeaderName, Template)>,
    /// Who may say where a client is.
    pub trusted_proxies: TrustedProxies,
    /// Timers and sizes.
    pub bounds: EdgeBounds,
    /// What an operator loosened of the gate.
    pub gate: GatePolicy,
    /// The hosts that are served.
    pub hosts: AllowedHosts,
    /// Which headers go on, and what is said of the client in them.
    pub headers: Arc<HeaderRules>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The public edge's handler.
pub struct Interceptor {
    parts: InterceptorParts,
    router: Router,
    renderer: Renderer,
    session_cookie: Option<Arc<SessionCookie>>,
    fields: Vec<KnownFields>,
}

/// One request on its way.
struct Traffic<'a> {
    head: Parts,
    target: CanonicalTarget,
    client: ClientAddr,
    connection: &'a Arc<Connection>,
    peer_is_trusted: bool,
}

impl Interceptor {
    /// Puts the parts together.
    pub fn new(parts: InterceptorParts) -> Result<Self, BadRoutePath> {
        let session_cookie = parts.cookie.clone().map(|(settings, ttl)| Arc::new(SessionCookie::new(settings, ttl)));
        let renderer = Renderer {
            tokens: parts.tokens.clone(),
            cookie: session_cookie.clone(),
            clock: Arc::clone(&parts.clock),
            metrics: Arc::clone(&parts.metrics),
        };
        let router = Router::new(&parts.routes)?;
        let fields = parts.routes.iter().map(|_| KnownFields::default()).collect();
        Ok(Self { parts, router, renderer, session_cookie, fields })
    }

    async fn answer(&self, request: Request<Incoming>, connection: &Arc<Connection>) -> Response<ProxyBody> {
        let (mut head, body) = request.into_parts();
        let body = Received::new(body, head.version);
        let admitted = match gate::admit(&head, &self.parts.bounds, self.parts.gate) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let mut refused = self.refuse(&refusal);
                if refusal.ends_connection() && head.version < Version::HTTP_2 {
                    refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                return refused;
            }
        };
        if let Err(refusal) = self.parts.hosts.judge(&admitted.host) {
            return self.refuse(&refusal);
        }
        // HTTP/2 and absolute-form name the host in the target; from here on it stands where HTTP/1.1 has it.
        if !head.headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(&admitted.host)
        {
            head.headers.insert(HOST, host);
        }
        let peer = connection.peer_ip().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let client = client_addr(peer, &head.headers, &self.parts.trusted_proxies);
        let peer_is_trusted = is_trusted(peer, &self.parts.trusted_proxies);
        let mut traffic = Traffic { head, target: admitted.target, client, connection, peer_is_trusted };
        let mode = self.parts.service.mode().current();
        if mode == Mode::Passthrough {
            return self.send_on(traffic, ProxyBody::from(body)).await;
        }
        if traffic.target.path() == JWKS_PATH
            && let (Some(jwks), &Method::GET) = (&self.parts.jwks, &traffic.head.method)
            && mode != Mode::Observe
        {
            return whole(render::jwks(jwks));
        }
        let routed = match self.router.route(&traffic.head.method, &traffic.target, &traffic.head.headers) {
            Routed::Read(candidates) if !body.is_end_stream() => {
                let (index, refusal) = candidates.read_with_body();
                Routed::Refused(index, refusal)
            }
            routed @ (Routed::Pass
            | Routed::Read(_)
            | Routed::Take(_)
            | Routed::Doubt(_)
            | Routed::MethodNotAllowed(_)
            | Routed::Refused(..)) => routed,
        };
        // Observing changes nothing for anybody; what it learns from, it strips all the same, in `client_request`. What is taken is
        // stripped once it is within its limit.
        if let (Routed::Read(candidates), false) = (&routed, mode == Mode::Observe) {
            candidates.strip_credential_cookies(&mut traffic.head.headers);
        }
        match (mode, routed) {
            (_, Routed::Pass | Routed::Read(_)) => self.send_on(traffic, ProxyBody::from(body)).await,
            // Boxed: every request has room for the largest of these states, and nearly all of them just go on.
            (_, Routed::Take(candidates)) => Box::pin(self.intercept(mode, &candidates, traffic, body)).await,
            (Mode::Observe, Routed::Doubt(_)) => self.send_on(traffic, ProxyBody::from(body)).await,
            (_, Routed::Doubt(candidates)) => Box::pin(self.look_into(&candidates, traffic, body)).await,
            (Mode::Observe, Routed::MethodNotAllowed(_) | Routed::Refused(..)) => {
                // Observing changes nothing for anybody; what `migrate` would refuse is counted.
                self.parts.metrics.refused("observed");
                self.send_on(traffic, ProxyBody::from(body)).await
            }
            (_, Routed::MethodNotAllowed(index)) => self.method_not_allowed(index),
            (_, Routed::Refused(_, refusal)) => self.refuse(&refusal),
        }
    }

    // ------------------------------------------------------------------------------------------------------ intercept

    async fn intercept(
        &self,
        mode: Mode,
        candidates: &Candidates,
        mut traffic: Traffic<'_>,
        body: Received,
    ) -> Response<ProxyBody> {
        let route = self.route(candidates.first());
        // Before the body is read, or anything else is done: whoever is over his limit costs no more than his request's head. Where only
        // the body tells whether this is a login at all, everything else on the path must not use the limit up.
        if let Some(route) = route
            && !candidates.needs_body_fields()
            && let Some(limited) = self.limited(mode, route, &traffic)
        {
            return limited;
        }
        if mode != Mode::Observe {
            candidates.strip_credential_cookies(&mut traffic.head.headers);
        }
        let Some(route) = route else {
            return self.send_on(traffic, ProxyBody::from(body)).await;
        };
        let _needs_the_store = self.parts.service.intercepts();
        if !route.action.needs_body() {
            return self.without_body(candidates, traffic, body).await;
        }
        let EdgeBounds { auth_body_bytes, body_timeout, .. } = self.parts.bounds;
        // Where a path is many things, what is posted there may be a whole page; only its fields tell that it is no login.
        let most = if candidates.needs_body_fields() { auth_body_bytes.max(SHARED_PATH_BODY) } else { auth_body_bytes };
        let deadline = self.parts.clock.monotonic() + body_timeout;
        let read = match mode {
            Mode::Observe => traffic.connection.receives(read_ahead(body, most, deadline)).await,
            Mode::Passthrough | Mode::Migrate | Mode::Retired => {
                traffic.connection.receives(read_bounded(body, most, deadline)).await.map(ReadAhead::Whole)
            }
        };
        let bytes = match read {
            Ok(ReadAhead::Whole(bytes)) => bytes,
            Ok(ReadAhead::Longer(body)) => {
                // Longer than any login that `migrate` takes; whatever it is, the app gets it.
                self.parts.metrics.refused("observed");
                return self.send_on(traffic, body).await;
            }
            Err(error) => return self.unusable(mode, route, traffic, &unread(&error), None).await,
        };
        let decoded = match decode(&traffic.head.headers, &bytes) {
            Ok(decoded) => decoded,
            Err(error) => return self.unusable(mode, route, traffic, &error.into(), Some(bytes)).await,
        };
        let index = match candidates.select(&traffic.target, &decoded) {
            Ok(Selection::Route(index)) => index,
            // No route's business after all: on with the very bytes that came.
            Ok(Selection::Pass) => return self.send_on(traffic, ProxyBody::full(bytes)).await,
            Err(refusal) => return self.unusable(mode, route, traffic, &refusal, Some(bytes)).await,
        };
        let route = self.route(index).unwrap_or(route);
        if candidates.needs_body_fields()
            && let Some(limited) = self.limited(mode, route, &traffic)
        {
            return limited;
        }
        match extract(&route.request, &decoded) {
            Ok(credentials) => self.perform(index, route, traffic, &decoded, credentials, bytes).await,
            Err(error) => self.unusable(mode, route, traffic, &error.into(), Some(bytes)).await,
        }
    }

    /// Sends a request on unless its body has what a route at its path asks for in the query. What is longer than any login goes on
    /// unread if it is an upload, and is refused otherwise.
    async fn look_into(&self, candidates: &Candidates, traffic: Traffic<'_>, body: Received) -> Response<ProxyBody> {
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

    /// The answer to an address that is over its limit. Observing only counts.
    fn limited(&self, mode: Mode, route: &Route, traffic: &Traffic<'_>) -> Option<Response<ProxyBody>> {
        let (client, headers) = (traffic.client, &traffic.head.headers);
        let limited = self.admit(route, client).err()?;
        if mode == Mode::Observe {
            return None;
        }
        let limited = Ours::Limited(limited);
        self.count(route, limited.outcome());
        Some(whole(self.renderer.answer(route, &limited, Asked { login: "", headers })))
    }

    fn admit(&self, route: &Route, client: ClientAddr) -> Result<(), Limited> {
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
    async fn unusable(
        &self,
        mode: Mode,
        route: &Route,
        traffic: Traffic<'_>,
        refusal: &Refusal,
        bytes: Option<Bytes>,
    ) -> Response<ProxyBody> {
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

    fn method_not_allowed(&self, index: RouteIndex) -> Response<ProxyBody> {
        self.parts.metrics.refused("method_not_allowed");
        let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Not with this method");
        if let Some(route) = self.route(index)
            && let Ok(allow) = HeaderValue::try_from(format!("GET, HEAD, OPTIONS, {}", route.matcher.method))
        {
            response.headers_mut().insert(ALLOW, allow);
        }
        whole(response)
    }

    /// Actions that need nothing of a body; a route that asks for fields in one does not take these.
    async fn without_body(&self, candidates: &Candidates, traffic: Traffic<'_>, body: Received) -> Response<ProxyBody> {
        let selected = match candidates.select(&traffic.target, &Decoded::empty()) {
            Ok(Selection::Route(index)) => self.route(index),
            Ok(Selection::Pass) => None,
            Err(refusal) => return self.refuse(&refusal),
        };
        let Some(route) = selected.filter(|route| !route.action.needs_body()) else {
            return self.send_on(traffic, ProxyBody::from(body)).await;
        };
        let token = token_of(&traffic.head.headers, self.session_cookie.as_deref());
        let reply = match route.action {
            Action::GetUser => self.parts.service.whoami(&route.name, self.parts.tokens.as_deref(), token).await,
            Action::Logout
            | Action::Login
            | Action::Register
            | Action::ChangePassword
            | Action::ResetPassword
            | Action::DeleteUser
            | Action::Refresh => self.parts.service.logout(&route.name),
        };
        match reply.answer {
            Answer::Ours(ours) => {
                whole(self.renderer.answer(route, &ours, Asked { login: "", headers: &traffic.head.headers }))
            }
            Answer::Legacys { relay, .. } => whole(relay),
            Answer::SendOn => self.send_on(traffic, ProxyBody::from(body)).await,
        }
    }

    /// Hands the decoded request to its use case and renders what it comes to.
    async fn perform(
        &self,
        index: RouteIndex,
        route: &Route,
        traffic: Traffic<'_>,
        decoded: &Decoded,
        credentials: Credentials,
        bytes: Bytes,
    ) -> Response<ProxyBody> {
        let request = match self.client_request(route, &traffic, decoded) {
            Ok(request) => Arc::new(request),
            Err(fault) => {
                let (status, reason, title) = fault.answer();
                return self.refuse(&Refusal { status, reason, title });
            }
        };
        let canonical = Arc::clone(&request);
        let token = token_of(&traffic.head.headers, self.session_cookie.as_deref()).map(ToOwned::to_owned);
        let login = credentials.login.clone().unwrap_or_default();
        let asked_by = match route.legacy {
            LegacyWay::Call => AskedBy::Call,
            LegacyWay::Forward => AskedBy::Forward,
        };
        let service = &self.parts.service;
        let tokens = self.parts.tokens.as_deref();
        let reply = match route.action {
            Action::Login => {
                let login = LoginRequest {
                    client: traffic.client,
                    route: index,
                    route_name: Arc::clone(&route.name),
                    login: login.clone(),
                    password: credentials.password.unwrap_or_default(),
                    fields: credentials.fields,
                    asked_by,
                    request,
                };
                service.login(login).await
            }
            Action::Register => {
                let names = [
                    (IdentifierKind::Email, credentials.email),
                    (IdentifierKind::Username, credentials.username),
                    (IdentifierKind::Phone, credentials.phone),
                ];
                let registration = RegisterRequest {
                    client: traffic.client,
                    route: index,
                    route_name: Arc::clone(&route.name),
                    login: login.clone(),
                    names: names.into_iter().filter_map(|(kind, name)| Some((kind, name?))).collect(),
                    password: credentials.password.unwrap_or_default(),
                    // Without `request.profile` nothing but the names: a body may say `"role": "admin"` (R37).
                    profile: credentials.profile.unwrap_or_else(|| serde_json::json!({})),
                    fields: credentials.fields,
                    asked_by,
                    write: route.write,
                    request,
                };
                service.register(registration).await
            }
            Action::ChangePassword | Action::ResetPassword | Action::DeleteUser => {
                let change = match route.action {
                    Action::ResetPassword => Change::ResetPassword,
                    Action::DeleteUser => Change::DeleteUser,
                    Action::ChangePassword
                    | Action::Login
                    | Action::Register
                    | Action::Logout
                    | Action::GetUser
                    | Action::Refresh => Change::ChangePassword,
                };
                let change = ChangeRequest {
                    client: traffic.client,
                    route: index,
                    route_name: Arc::clone(&route.name),
                    change,
                    login: credentials.login,
                    password: credentials.password,
                    new_password: credentials.new_password,
                    token,
                    fields: credentials.fields,
                    request,
                };
                service.change(tokens, change).await
            }
            Action::Refresh => {
                service
                    .refresh(
                        &route.name,
                        tokens,
                        &route.refreshes,
                        credentials.token.as_ref().map(|token| token.as_str()),
                    )
                    .await
            }
            Action::Logout | Action::GetUser => Reply::send_on(),
        };
        self.conclude(index, route, traffic, reply, &login, Bodies { canonical, received: bytes }).await
    }

    /// Turns a use case's reply into a response.
    async fn conclude(
        &self,
        index: RouteIndex,
        route: &Route,
        traffic: Traffic<'_>,
        reply: Reply,
        login: &str,
        bodies: Bodies,
    ) -> Response<ProxyBody> {
        match reply.answer {
            Answer::Ours(Ours::Ok(_)) if route.action == Action::Login && route.session == Session::Forward => {
                // Verified here; the app makes its own session out of what was verified, not out of what was received (R41).
                let mut traffic = traffic;
                for name in [CONTENT_TYPE, CONTENT_LENGTH] {
                    if let Some(value) = bodies.canonical.headers.get(&name) {
                        traffic.head.headers.insert(name, value.clone());
                    }
                }
                self.send_on(traffic, ProxyBody::full(bodies.canonical.body.clone())).await
            }
            Answer::Ours(ours) => {
                whole(self.renderer.answer(route, &ours, Asked { login, headers: &traffic.head.headers }))
            }
            Answer::Legacys { relay, shadow } => {
                if let (Some(who), Mode::Observe) = (shadow, self.parts.service.mode().current())
                    && let Some(ours) =
                        self.renderer.shadow(route, &who, Asked { login, headers: &traffic.head.headers })
                    && let Some(fields) = self.fields.get(index.0)
                {
                    for field in differences(&ours, &relay) {
                        self.parts.metrics.shape_difference(&route.name, &fields.label(&field));
                    }
                }
                whole(relay)
            }
            Answer::SendOn => self.send_on(traffic, ProxyBody::full(bodies.received)).await,
        }
    }

    /// The request as legacy gets it: made anew from what was parsed, so that what legacy judges is what we save (R41).
    fn client_request(
        &self,
        route: &Route,
        traffic: &Traffic<'_>,
        decoded: &Decoded,
    ) -> Result<ClientRequest, HeaderFault> {
        let from = Provenance {
            connection: traffic.connection,
            client: traffic.client,
            peer_is_trusted: traffic.peer_is_trusted,
            version: traffic.head.version,
        };
        let mut headers = self.parts.headers.forwardable(&traffic.head.headers, from)?;
        strip_credential_cookies(&mut headers, &[&route.request]);
        let body = reserialize(decoded);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if let Some(content_type) = decoded.content_type() {
            headers.insert(CONTENT_TYPE, content_type);
        }
        let (method, path_and_query) = (traffic.head.method.clone(), traffic.target.path_and_query().clone());
        Ok(ClientRequest { method, path_and_query, headers, body })
    }

    // -------------------------------------------------------------------------------------------------------- send on

    /// Sends a request on to the app and streams its answer back, with `identity_headers` where its session is valid.
    async fn send_on(&self, traffic: Traffic<'_>, body: ProxyBody) -> Response<ProxyBody> {
        let identity = match self.session_of(&traffic) {
            None => Vec::new(),
            Some((tokens, token)) => match Box::pin(self.identity(tokens, token)).await {
                Ok(identity) => identity,
                Err(retry_after) => return whole(unavailable(retry_after)),
            },
        };
        let Traffic { mut head, target, client, connection, peer_is_trusted } = traffic;
        let context = ForwardContext { connection, client, peer_is_trusted, identity: &identity };
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(target.path_and_query().clone());
        match http::Uri::from_parts(uri) {
            Ok(canonical) => head.uri = canonical,
            Err(_impossible) => {
                return whole(problem(StatusCode::BAD_REQUEST, "bad_target", "The request target is not acceptable"));
            }
        }
        self.parts.forwarder.forward(Request::from_parts(head, body), &context).await
    }

    /// What may be the token of a session that a request bears, where `identity_headers` are made of it.
    fn session_of<'a>(&'a self, traffic: &'a Traffic<'_>) -> Option<(&'a dyn Tokens, &'a str)> {
        let tokens = self.parts.tokens.as_deref()?;
        if self.parts.identity_headers.is_empty() || self.parts.service.mode().current() == Mode::Passthrough {
            return None;
        }
        Some((tokens, token_of(&traffic.head.headers, self.session_cookie.as_deref())?))
    }

    /// `identity_headers` of the user whose session this is; none if it is not valid.
    async fn identity(&self, tokens: &dyn Tokens, token: &str) -> Result<Vec<(HeaderName, HeaderValue)>, Duration> {
        let templates = &self.parts.identity_headers;
        let user = match self.parts.service.user_of(tokens, token).await {
            Ok(Some(user)) => user,
            Ok(None) => return Ok(Vec::new()),
            // An app that trusts these headers would take him for logged out.
            Err(error) => return Err(self.parts.service.unanswered(&error)),
        };
        let view = UserView::of(&user);
        let login = view.username.as_deref().or(view.email.as_deref()).or(view.phone.as_deref());
        let context = template::context(IdentityContext { user: IdentityUser { view: &view, login } });
        let rendered = templates.iter().map(|(name, value)| {
            let value = value.render(&context).ok().and_then(|value| HeaderValue::from_str(&value).ok());
            value.map(|value| (name.clone(), value))
        });
        // All or none: half an identity is not one.
        Ok(rendered.collect::<Option<Vec<_>>>().unwrap_or_else(|| {
            self.parts.metrics.alarm("template");
            Vec::new()
        }))
    }

    // --------------------------------------------------------------------------------------------------------- shared

    fn route(&self, index: RouteIndex) -> Option<&Route> {
        self.parts.routes.get(index.0)
    }

    fn refuse(&self, refusal: &Refusal) -> Response<ProxyBody> {
        self.parts.metrics.refused(refusal.reason);
        whole(problem(refusal.status, refusal.reason, refusal.title))
    }
}

/// What `identity_headers` see: the user, and the name he would log in with.
#[derive(serde::Serialize)]
struct IdentityContext<'a> {
    user: IdentityUser<'a>,
}

#[derive(serde::Serialize)]
struct IdentityUser<'a> {
    #[serde(flatten)]
    view: &'a UserView,
    login: Option<&'a str>,
}

impl Handler for Interceptor {
    fn handle(
        &self,
        request: Request<Incoming>,
        connection: &Arc<Connection>,
    ) -> impl Future<Output = Response<ProxyBody>> + Send {
        self.answer(request, connection)
    }

    fn gate(&self) -> GatePolicy {
        self.parts.gate
    }

    async fn drain(&self) {
        self.parts.service.drain().await;
    }

    fn is_trusted_proxy(&self, peer: IpAddr) -> bool {
        is_trusted(peer, &self.parts.trusted_proxies)
    }
}

impl Action {
    /// Whether the credentials of this action are in a body.
    fn needs_body(self) -> bool {
        match self {
            Self::Login
            | Self::Register
            | Self::ChangePassword
            | Self::ResetPassword
            | Self::DeleteUser
            | Self::Refresh => true,
            Self::Logout | Self::GetUser => false,
        }
    }
}

/// The body of a request that was decoded: as it may be sent on, and as it came.
struct Bodies {
    canonical: Arc<ClientRequest>,
    received: Bytes,
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

fn unavailable(retry_after: Duration) -> Response<Bytes> {
    let mut response =
        problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "This cannot be answered now, try again");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
    response
}

fn whole(response: Response<Bytes>) -> Response<ProxyBody> {
    response.map(ProxyBody::full)
}

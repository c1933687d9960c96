//! A request's way through the edge: gate, client address, route; then either on to the app untouched, or decoded, answered by a
//! use case, and rendered.
//!
//! Called by `http::server` for every request. Knows what HTTP means; decides nothing about users.

mod render;
mod session;
mod shape;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use self::render::Renderer;
use self::session::{SessionCookie, token_of};
use self::shape::{KnownFields, differences};
use super::client_addr::client_addr;
use super::decode::credentials::{Credentials, extract, query_names_credential};
use super::decode::{DecodeError, Decoded, decode, reserialize};
use super::forward::{ForwardContext, Forwarder};
use super::gate::{self, Refusal};
use super::headers::forwardable;
use super::path::{CanonicalTarget, PathPolicy};
use super::problem::problem;
use super::router::{Routed, Router};
use super::server::{Connection, Handler};
use super::settings::{Action, CookieSettings, EdgeBounds, LegacyWay, Route, Session, TrustedProxies};
use crate::domain::client_addr::ClientAddr;
use crate::domain::clock::Clock;
use crate::domain::identifier::IdentifierKind;
use crate::domain::login::AskedBy;
use crate::domain::mode::Mode;
use crate::domain::password_life::Change;
use crate::domain::proof::UserView;
use crate::net::ProxyBody;
use crate::net::body::{BodyError, read_bounded};
use crate::service::Service;
use crate::service::changes::ChangeRequest;
use crate::service::login::LoginRequest;
use crate::service::ports::{AddressBucket, AddressLimits, ClientRequest, Limited, RouteIndex, Tokens};
use crate::service::registration::RegisterRequest;
use crate::service::reply::{Answer, Ours, Reply};
use crate::telemetry::Metrics;
use crate::template::{self, Template};

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
    /// Headers set on a valid session.
    pub identity_headers: Vec<(HeaderName, Template)>,
    /// Who may say where a client is.
    pub trusted_proxies: TrustedProxies,
    /// Timers and sizes.
    pub bounds: EdgeBounds,
    /// Whether odd paths pass.
    pub path_policy: PathPolicy,
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
}

/// What stands in the way of using a request on a route.
enum Unusable {
    Body(BodyError),
    Decode(DecodeError),
    CredentialInQuery,
}

impl Interceptor {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: InterceptorParts) -> Self {
        let session_cookie = parts.cookie.clone().map(|(settings, ttl)| Arc::new(SessionCookie::new(settings, ttl)));
        let renderer = Renderer {
            tokens: parts.tokens.clone(),
            cookie: session_cookie.clone(),
            clock: Arc::clone(&parts.clock),
            metrics: Arc::clone(&parts.metrics),
        };
        let router = Router::new(&parts.routes);
        let fields = parts.routes.iter().map(|_| KnownFields::default()).collect();
        Self { parts, router, renderer, session_cookie, fields }
    }

    async fn answer(&self, request: Request<Incoming>, connection: &Arc<Connection>) -> Response<ProxyBody> {
        let (head, body) = request.into_parts();
        if let Err(refusal) = gate::admit(&head, &self.parts.bounds) {
            return self.refuse(&refusal);
        }
        let target = match head.uri.path_and_query().map(|target| CanonicalTarget::parse(target, self.parts.path_policy)) {
            Some(Ok(target)) => target,
            Some(Err(error)) => {
                self.parts.metrics.refused(error.as_str());
                return whole(problem(StatusCode::BAD_REQUEST, error.as_str(), "the request target is not canonical"));
            }
            // Authority and asterisk form have no path: `gate` knows the methods that bear them.
            None => return whole(problem(StatusCode::BAD_REQUEST, "bad_target", "the request target has no path")),
        };
        let client = client_addr(connection.peer_ip(), &head.headers, &self.parts.trusted_proxies);
        let traffic = Traffic { head, target, client, connection };
        let mode = self.parts.service.mode().current();
        let routed = self.router.route(&traffic.head.method, &traffic.target, &traffic.head.headers);
        match (mode, routed) {
            (Mode::Passthrough, _) | (_, Routed::Pass) => self.send_on(traffic, ProxyBody::from(body)).await,
            (Mode::Observe, Routed::MethodNotAllowed(_) | Routed::Refused(_)) => {
                // Observing changes nothing for anybody; what `migrate` would refuse is counted.
                self.parts.metrics.refused("observed");
                self.send_on(traffic, ProxyBody::from(body)).await
            }
            (_, Routed::MethodNotAllowed(allow)) => {
                self.parts.metrics.refused("method_not_allowed");
                let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "not with this method");
                if let Ok(allow) = HeaderValue::from_str(&allow) {
                    response.headers_mut().insert(ALLOW, allow);
                }
                whole(response)
            }
            (_, Routed::Refused(refusal)) => self.refuse(&refusal),
            (_, Routed::Take(candidates)) => self.intercept(mode, &candidates, traffic, body).await,
        }
    }

    // ------------------------------------------------------------------------------------------------------ intercept

    async fn intercept(
        &self,
        mode: Mode,
        candidates: &[RouteIndex],
        traffic: Traffic<'_>,
        body: Incoming,
    ) -> Response<ProxyBody> {
        let Some(route) = candidates.first().and_then(|index| self.route(*index)) else {
            return self.send_on(traffic, ProxyBody::from(body)).await;
        };
        // Before the body is read: whoever is over his limit costs no more than his request's head.
        if let Err(Limited { retry_after }) = self.admit(candidates, traffic.client) {
            if mode != Mode::Observe {
                self.parts.metrics.login(&route.name, crate::telemetry::metrics::Source::Edge, Ours::Limited(retry_after).outcome());
                return whole(self.renderer.answer(route, &Ours::Limited(retry_after), ""));
            }
        }
        if !route.action.needs_body() {
            return self.without_body(route, traffic, body).await;
        }
        let read = self.read(&traffic, body).await;
        let (bytes, decoded) = match read {
            Ok(read) => read,
            Err((unusable, bytes)) => return self.unusable(mode, route, traffic, unusable, bytes).await,
        };
        let Some(index) = self.router.select_by_fields(candidates, &decoded) else {
            // Not this route's business after all: on with the very bytes that came.
            return self.send_on(traffic, ProxyBody::full(bytes)).await;
        };
        let route = self.route(index).unwrap_or(route);
        if query_names_credential(traffic.target.query(), &route.request) {
            return self.unusable(mode, route, traffic, Unusable::CredentialInQuery, Some(bytes)).await;
        }
        match extract(&route.request, &decoded) {
            Ok(credentials) => self.perform(index, route, traffic, &decoded, credentials, bytes).await,
            Err(error) => self.unusable(mode, route, traffic, Unusable::Decode(error), Some(bytes)).await,
        }
    }

    fn admit(&self, candidates: &[RouteIndex], client: ClientAddr) -> Result<(), Limited> {
        self.parts.addresses.admit(client, AddressBucket::Intercepted)?;
        let registers = candidates.iter().filter_map(|index| self.route(*index));
        if registers.into_iter().any(|route| route.action == Action::Register) {
            self.parts.addresses.admit(client, AddressBucket::Registration)?;
        }
        Ok(())
    }

    /// Reads and decodes the body of a request on a route, both within bounds.
    async fn read(
        &self,
        traffic: &Traffic<'_>,
        body: Incoming,
    ) -> Result<(Bytes, Decoded), (Unusable, Option<Bytes>)> {
        let EdgeBounds { auth_body_bytes, body_timeout, .. } = self.parts.bounds;
        let bytes = read_bounded(body, auth_body_bytes, body_timeout).await.map_err(|error| (Unusable::Body(error), None))?;
        match decode(&traffic.head.headers, &bytes) {
            Ok(decoded) => Ok((bytes, decoded)),
            Err(error) => Err((Unusable::Decode(error), Some(bytes))),
        }
    }

    /// Answers a request that cannot be used, in the route's shape. In `observe` it goes on to legacy as it came, and is counted.
    async fn unusable(
        &self,
        mode: Mode,
        route: &Route,
        traffic: Traffic<'_>,
        unusable: Unusable,
        bytes: Option<Bytes>,
    ) -> Response<ProxyBody> {
        let (status, code, title) = match unusable {
            Unusable::Decode(error) => (error.status(), error.as_str(), error.title()),
            Unusable::CredentialInQuery => {
                (StatusCode::BAD_REQUEST, "credential_in_query", "credentials belong into the body, not into the URL")
            }
            Unusable::Body(BodyError::TooLarge) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the body is larger than a login can be")
            }
            Unusable::Body(BodyError::Timeout) => (StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body did not arrive in time"),
            Unusable::Body(BodyError::Broken(_)) => (StatusCode::BAD_REQUEST, "body_broken", "the body broke off"),
        };
        self.parts.metrics.refused(code);
        if let (Mode::Observe, Some(bytes)) = (mode, bytes) {
            return self.send_on(traffic, ProxyBody::full(bytes)).await;
        }
        whole(self.renderer.invalid(route, status, code, title, ""))
    }

    async fn without_body(&self, route: &Route, traffic: Traffic<'_>, body: Incoming) -> Response<ProxyBody> {
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
            Answer::Ours(ours) => whole(self.renderer.answer(route, &ours, "")),
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
        let request = Arc::new(self.client_request(&traffic, decoded));
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
                    route: index,
                    route_name: Arc::clone(&route.name),
                    login: login.clone(),
                    names: names.into_iter().filter_map(|(kind, name)| Some((kind, name?))).collect(),
                    password: credentials.password.unwrap_or_default(),
                    profile: credentials.profile.unwrap_or_else(|| credentials.fields.clone()),
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
            Action::Refresh => service.refresh(&route.name, tokens, &route.refreshes, credentials.token.as_deref()).await,
            Action::Logout | Action::GetUser => Reply::send_on(),
        };
        self.conclude(index, route, traffic, reply, &login, bytes).await
    }

    /// Turns a use case's reply into a response.
    async fn conclude(
        &self,
        index: RouteIndex,
        route: &Route,
        traffic: Traffic<'_>,
        reply: Reply,
        login: &str,
        bytes: Bytes,
    ) -> Response<ProxyBody> {
        match reply.answer {
            Answer::Ours(Ours::Ok(_)) if route.action == Action::Login && route.session == Session::Forward => {
                // Verified here; the app makes its own session out of the same request.
                self.send_on(traffic, ProxyBody::full(bytes)).await
            }
            Answer::Ours(ours) => whole(self.renderer.answer(route, &ours, login)),
            Answer::Legacys { relay, shadow } => {
                if let (Some(who), Mode::Observe) = (shadow, self.parts.service.mode().current())
                    && let Some(ours) = self.renderer.shadow(route, &who, login)
                    && let Some(fields) = self.fields.get(index.0)
                {
                    for field in differences(&ours, &relay) {
                        self.parts.metrics.shape_difference(&route.name, &fields.label(&field));
                    }
                }
                whole(relay)
            }
            Answer::SendOn => self.send_on(traffic, ProxyBody::full(bytes)).await,
        }
    }

    /// The request as legacy gets it: made anew from what was parsed, so that what legacy judges is what we save (R41).
    fn client_request(&self, traffic: &Traffic<'_>, decoded: &Decoded) -> ClientRequest {
        let mut headers = forwardable(&traffic.head.headers, &self.context(traffic));
        let body = reserialize(decoded);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if let Some(content_type) = decoded.content_type() {
            headers.insert(CONTENT_TYPE, content_type);
        }
        ClientRequest {
            method: traffic.head.method.clone(),
            path_and_query: traffic.target.path_and_query().clone(),
            headers,
            body,
        }
    }

    // -------------------------------------------------------------------------------------------------------- send on

    fn context<'a>(&'a self, traffic: &'a Traffic<'_>) -> ForwardContext<'a> {
        let peer_is_trusted = traffic
            .connection
            .peer_ip()
            .is_some_and(|peer| self.parts.trusted_proxies.cidrs.iter().any(|net| net.contains(&peer)));
        ForwardContext { client: traffic.client, connection: traffic.connection, peer_is_trusted }
    }

    /// Sends a request on to the app and streams its answer back, with `identity_headers` where its session is valid.
    async fn send_on(&self, traffic: Traffic<'_>, body: ProxyBody) -> Response<ProxyBody> {
        let identity = self.identity(&traffic).await;
        let context = self.context(&traffic);
        let Traffic { mut head, ref target, .. } = traffic;
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(target.path_and_query().clone());
        if let Ok(canonical) = http::Uri::from_parts(uri) {
            head.uri = canonical;
        }
        self.parts.forwarder.forward(Request::from_parts(head, body), &context, identity).await
    }

    /// `identity_headers` of the user whose session a request bears; none without a valid one.
    async fn identity(&self, traffic: &Traffic<'_>) -> Vec<(HeaderName, HeaderValue)> {
        let (templates, Some(tokens)) = (&self.parts.identity_headers, &self.parts.tokens) else { return Vec::new() };
        if templates.is_empty() || self.parts.service.mode().current() == Mode::Passthrough {
            return Vec::new();
        }
        let Some(token) = token_of(&traffic.head.headers, self.session_cookie.as_deref()) else { return Vec::new() };
        let Some(user) = self.parts.service.user_of(&**tokens, token).await else { return Vec::new() };
        let view = UserView::of(&user);
        let login = view.username.as_deref().or(view.email.as_deref()).or(view.phone.as_deref());
        let context = template::context(IdentityContext { user: IdentityUser { view: &view, login } });
        let rendered = templates.iter().map(|(name, value)| {
            let value = value.render(&context).ok().and_then(|value| HeaderValue::from_str(&value).ok());
            value.map(|value| (name.clone(), value))
        });
        // All or none: half an identity is not one.
        rendered.collect::<Option<Vec<_>>>().unwrap_or_else(|| {
            self.parts.metrics.alarm("template");
            Vec::new()
        })
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
    async fn handle(&self, request: Request<Incoming>, connection: &Arc<Connection>) -> Response<ProxyBody> {
        self.answer(request, connection).await
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

fn whole(response: Response<Bytes>) -> Response<ProxyBody> {
    response.map(ProxyBody::full)
}

//! A request's way through the edge: gate, client address, route; then either on to the app untouched, or decoded, answered by a
//! use case, and rendered.
//!
//! ```text
//! here      judged and routed              taken    on a route: limits, body, credentials
//! send_on   on to the app                  use_case what is asked of the service, and its reply
//! session   tokens and their cookie        render   our own answers
//!                                          shape    whether they would look like legacy's
//! ```
//!
//! Called by `http::worker` for every request. Knows what HTTP means; decides nothing about users.

mod render;
mod send_on;
mod session;
mod shape;
mod taken;
mod use_case;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};

use self::render::Renderer;
pub use self::session::Sessions;
use self::session::{SessionCookie, token_of};
use self::shape::KnownFields;
use super::client_addr::{client_addr, is_trusted};
use super::connection::Connection;
use super::forward::Forwarder;
use super::gate::{self, GatePolicy, Refusal};
use super::headers::HeaderRules;
use super::hosts::AllowedHosts;
use super::path::CanonicalTarget;
use super::problem::problem;
use super::router::{BadRoutePath, Routed, Router};
use super::server::Handler;
use super::settings::{EdgeBounds, Route, TrustedProxies};
use crate::domain::client_addr::ClientAddr;
use crate::domain::clock::Clock;
use crate::domain::mode::Mode;
use crate::net::{ProxyBody, Received};
use crate::service::Service;
use crate::service::ports::{AddressLimits, RouteIndex};
use crate::telemetry::Metrics;

/// Where the public keys of asymmetric tokens are found (RFC 8615; the name that OpenID providers use).
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

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
    /// The sessions that our tokens make.
    pub sessions: Sessions,
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
        let session_cookie =
            parts.sessions.cookie.clone().map(|(settings, ttl)| Arc::new(SessionCookie::new(settings, ttl)));
        let renderer = Renderer {
            tokens: parts.sessions.tokens.clone(),
            cookie: session_cookie.clone(),
            clock: Arc::clone(&parts.clock),
            metrics: Arc::clone(&parts.metrics),
        };
        let router = Router::new(&parts.routes)?;
        let fields = parts.routes.iter().map(|_| KnownFields::default()).collect();
        Ok(Self { parts, router, renderer, session_cookie, fields })
    }

    /// Follows a request to its answer.
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
            && let (Some(jwks), &Method::GET) = (&self.parts.sessions.jwks, &traffic.head.method)
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

    fn route(&self, index: RouteIndex) -> Option<&Route> {
        self.parts.routes.get(index.0)
    }

    fn refuse(&self, refusal: &Refusal) -> Response<ProxyBody> {
        self.parts.metrics.refused(refusal.reason);
        whole(problem(refusal.status, refusal.reason, refusal.title))
    }

    /// The token that a request bears, of whatever worth.
    fn token_of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        token_of(headers, self.session_cookie.as_deref())
    }
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

fn whole(response: Response<Bytes>) -> Response<ProxyBody> {
    response.map(ProxyBody::full)
}

//! What the public edge needs to be told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::decode::names::{FieldName, pointer_keys};
use super::gate::GatePolicy;
use super::hosts::AllowedHosts;
use crate::domain::login::AskedBy;
use crate::domain::registration::WriteTo;
use crate::net::Target;
pub use crate::net::pem::TlsFiles;
use crate::net::tls::TlsSettings;
use crate::template::Template;

/// The whole edge, resolved.
pub struct EdgeSettings {
    /// Where to listen.
    pub listeners: Vec<ListenerSettings>,
    /// What no route takes goes here.
    pub upstream: UpstreamSettings,
    /// The intercepted routes, in order.
    pub routes: Vec<Route>,
    /// Who may say where a client is.
    pub trusted_proxies: TrustedProxies,
    /// Timers and sizes.
    pub bounds: EdgeBounds,
    /// What the operator loosened of the gate.
    pub gate: GatePolicy,
    /// The hosts that are served.
    pub hosts: AllowedHosts,
}

/// `[[listener]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where.
    pub bind: Bind,
    /// Whether a PROXY protocol header is mandatory.
    pub proxy_protocol: bool,
    /// Certificates, and whether clients have to show one.
    pub tls: Option<ListenerTls>,
}

impl ListenerSettings {
    /// Whether clients are asked for a certificate here.
    #[must_use]
    pub fn asks_for_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.clients.is_some())
    }
}

/// `bind` of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// An address and port; port 0 for any.
    Tcp(SocketAddr),
    /// `unix:/path`.
    Unix(PathBuf),
    /// `systemd:name`: a socket handed over by the service manager.
    Systemd(String),
}

/// `tls` of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// For clients that name no server, or one that no certificate is for.
    pub default: TlsFiles,
    /// Chosen by the name that a client asks for.
    pub also: Vec<TlsFiles>,
    /// Whether clients are asked who they are.
    pub clients: Option<ClientCertificates>,
}

impl ListenerTls {
    /// All of its certificates, the default first.
    pub fn certificates(&self) -> impl Iterator<Item = &TlsFiles> {
        std::iter::once(&self.default).chain(&self.also)
    }
}

impl From<TlsFiles> for ListenerTls {
    /// One certificate for everybody.
    fn from(default: TlsFiles) -> Self {
        Self { default, also: Vec::new(), clients: None }
    }
}

/// Certificates of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Who has to have issued them, PEM.
    pub ca: PathBuf,
    /// Whether there has to be one.
    pub demand: ClientAuth,
}

/// Whether a client has to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// It may come without; one that it shows has to be right.
    Optional,
    /// Without one there is no connection.
    Required,
}

/// `[upstream]`.
pub struct UpstreamSettings {
    /// Where the app is.
    pub target: Target,
    /// What is trusted and shown there, if it is `https`.
    pub tls: TlsSettings,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the head of an answer may take.
    pub response_timeout: Duration,
    /// Whether the client's `Host` goes on; else the upstream's own.
    pub preserve_host: bool,
    /// Whether WebSockets go through.
    pub websocket: bool,
    /// Headers set on a valid session, and stripped from every client's request.
    pub identity_headers: Vec<(http::HeaderName, Template)>,
}

/// `[trusted_proxies]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies {
    /// From these addresses a forwarding header is believed.
    pub cidrs: Vec<IpNet>,
    /// Which header.
    pub header: ForwardingHeader,
}

/// The header in which trusted proxies say who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardingHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Timers and sizes of the edge (R21, R22), each a key of `[server]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeBounds {
    /// The request head, in bytes.
    pub head_bytes: usize,
    /// The request target, in bytes.
    pub uri_bytes: usize,
    /// The body of an intercepted request, in bytes.
    pub auth_body_bytes: usize,
    /// How long a head may take.
    pub head_timeout: Duration,
    /// How long the body of an intercepted request may take; how long the client may be waited for in a forwarded one, where every
    /// `min_body_rate` of bytes buys it another second of waiting.
    pub body_timeout: Duration,
    /// Bytes a second, see `body_timeout`.
    pub min_body_rate: usize,
    /// How long a TLS handshake may take.
    pub tls_timeout: Duration,
    /// How long a connection may idle between requests.
    pub idle_timeout: Duration,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// How long an idle HTTP/1 connection may still bring a request once a drain has begun.
    pub linger: Duration,
    /// How long WebSockets may go on once a drain has begun.
    pub drain_tunnels: Duration,
    /// Open connections over all.
    pub max_connections: usize,
    /// Open connections of one client address, or IPv6 network.
    pub max_connections_per_ip: usize,
    /// Network size that counts as one IPv6 address, in bits.
    pub ipv6_prefix: u8,
    /// Requests under way over all connections; HTTP/2 brings a hundred on each.
    pub max_requests: usize,
    /// I/O threads.
    pub workers: usize,
}

/// `[[route]]`.
pub struct Route {
    /// Its name, also in metrics.
    pub name: Arc<str>,
    /// What it does.
    pub action: Action,
    /// Which requests it takes.
    pub matcher: RouteMatch,
    /// Where the credentials are.
    pub request: RequestShape,
    /// How legacy is asked.
    pub legacy: LegacyWay,
    /// Where a registration is written.
    pub write: WriteTo,
    /// What a local yes does.
    pub session: Session,
    /// With `action = "refresh"`: the NAME of the `[tokens.NAME]` that it takes.
    pub refreshes: String,
    /// Our answers.
    pub replies: Replies,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Logs a user in.
    Login,
    /// Creates a user.
    Register,
    /// A new password for somebody who knows the current one.
    ChangePassword,
    /// A new password for somebody who holds legacy's token.
    ResetPassword,
    /// Ends an account.
    DeleteUser,
    /// Ends a session.
    Logout,
    /// Who is this token.
    GetUser,
    /// A new token for one of `[tokens.NAME]`.
    Refresh,
}

/// How legacy is asked on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegacyWay {
    /// By a composed request.
    Call,
    /// By the client's own.
    Forward,
}

impl LegacyWay {
    /// The same, as use cases have it.
    #[must_use]
    pub fn asked_by(self) -> AskedBy {
        match self {
            Self::Call => AskedBy::Call,
            Self::Forward => AskedBy::Forward,
        }
    }
}

/// What a local yes does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Session {
    /// We answer.
    Local,
    /// The request still goes to the app, which makes its session.
    Forward,
}

/// Which requests a route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMatch {
    /// The method.
    pub method: http::Method,
    /// The path as configured.
    pub path: String,
    /// Whether only this spelling of the path is taken; lenient otherwise (R29).
    pub exact: bool,
    /// Query values that must be there.
    pub query: BTreeMap<String, String>,
    /// Body fields that must be there.
    pub fields: Vec<String>,
}

/// Where the credentials are in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestShape {
    /// JSON or a form.
    pub format: BodyFormat,
    /// The login identifier.
    pub login: Option<FieldRef>,
    /// The password; on a change, the current one.
    pub password: Option<FieldRef>,
    /// The new password of a change or reset.
    pub new_password: Option<FieldRef>,
    /// The token of a refresh.
    pub token: Option<FieldRef>,
    /// Further identifiers of a registration.
    pub email: Option<FieldRef>,
    /// As above.
    pub username: Option<FieldRef>,
    /// As above.
    pub phone: Option<FieldRef>,
    /// The part of a registration that becomes the profile, less every password.
    pub profile: Option<FieldRef>,
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFormat {
    /// `application/json`.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

/// A JSON pointer (RFC 6901), or a form field's name, with what every request on its route asks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRef {
    text: String,
    keys: Option<Vec<String>>,
    name: FieldName,
    form_name: FieldName,
}

impl FieldRef {
    /// A reference as the configuration has it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let keys = pointer_keys(&text);
        let form_name = FieldName::of_form(&text);
        let name = match &keys {
            Some(keys) => FieldName::of_json(&keys.iter().map(String::as_str).collect::<Vec<_>>()),
            None => form_name.clone(),
        };
        Self { text, keys, name, form_name }
    }

    /// As it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The keys of a JSON pointer; none of what is no pointer.
    #[must_use]
    pub fn keys(&self) -> Option<&[String]> {
        self.keys.as_deref()
    }

    /// The name that the field has: a pointer's keys, or a form field's name.
    #[must_use]
    pub fn name(&self) -> &FieldName {
        &self.name
    }

    /// The name of the form field that is written so, also where that looks like a pointer.
    #[must_use]
    pub fn form_name(&self) -> &FieldName {
        &self.form_name
    }
}

/// The answers of a route. Those that are left out have defaults in `application/problem+json` (RFC 9457).
#[derive(Default)]
pub struct Replies {
    /// Yes.
    pub ok: Option<ReplyTemplate>,
    /// A wrong password, an unknown or disabled user.
    pub denied: Option<ReplyTemplate>,
    /// An unknown user, where strict compatibility asks for it to be told apart.
    pub unknown: Option<ReplyTemplate>,
    /// 503.
    pub unavailable: Option<ReplyTemplate>,
    /// 429.
    pub limited: Option<ReplyTemplate>,
    /// The name is taken.
    pub exists: Option<ReplyTemplate>,
    /// A malformed request, or a password against the policy.
    pub invalid: Option<ReplyTemplate>,
}

/// One answer.
pub struct ReplyTemplate {
    /// The status.
    pub status: http::StatusCode,
    /// Headers in order.
    pub headers: Vec<(http::HeaderName, Template)>,
    /// The body; its content type is among `headers`, or `application/json` was added for `json`.
    pub body: Option<Template>,
}

/// `[token] cookie`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieSettings {
    /// Its name.
    pub name: String,
    /// `Path`.
    pub path: String,
    /// `Domain`.
    pub domain: Option<String>,
    /// `Secure`.
    pub secure: bool,
    /// `HttpOnly`.
    pub http_only: bool,
    /// `SameSite`, as written into the header.
    pub same_site: Option<&'static str>,
}

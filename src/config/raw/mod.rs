//! The file as it is written: serde's mirror of every key, with its default, and the JSON schema that comes of it. The doc
//! comments are the descriptions in the schema and in docs/configuration.md.
//!
//! Says nothing of meaning: durations are text here. Filled from the checked document, read by `resolve`, seen by nobody else.

mod bounds;
mod keys;
mod legacy;
mod route;
mod secret;
mod table;
mod tls;
mod token;

use serde::{Deserialize, Serialize};

pub(super) use self::bounds::{RawAuto, RawBackoff, RawCount, RawLimits, RawPassword};
pub(super) use self::keys::{RawEncryption, RawPepper};
pub(super) use self::legacy::{RawCall, RawGetUser, RawLegacy, RawRequest, RawUser, RawUserFrom};
pub(super) use self::route::{RawFields, RawForward, RawMatch, RawReplies, RawReply, RawRoute};
pub(super) use self::secret::RawSecret;
pub(super) use self::table::Table;
pub(super) use self::tls::{RawOutboundTls, RawTls};
pub(super) use self::token::{RawCookie, RawNamedToken, RawSameSite, RawToken, RawTokenKind};
use crate::domain::mode::Mode;
use crate::service::OnMismatch;
use crate::telemetry::logging::LogFormat;

/// The configuration of authferry: proxy.toml.
#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "proxy.toml")]
#[schemars(rename = "Config")]
pub(super) struct RawConfig {
    /// How far the migration has come.
    #[serde(default)]
    pub(super) migration: RawMigration,
    /// Where clients connect. Without any: one on 127.0.0.1:8080.
    #[serde(default)]
    pub(super) listener: Vec<RawListener>,
    /// The app: what no route takes goes there, streamed.
    #[schemars(required)]
    pub(super) upstream: Option<RawUpstream>,
    /// The auth backend that is to be retired.
    #[serde(default)]
    pub(super) legacy: RawLegacy,
    /// How names are compared.
    #[serde(default)]
    pub(super) identity: RawIdentity,
    /// The paths that are intercepted, in order: the first that matches takes a request.
    #[serde(default)]
    pub(super) route: Vec<RawRoute>,
    /// What a login hands out. Without the table: nothing.
    pub(super) token: Option<RawToken>,
    /// Further tokens by name, as for a refresh; templates see them as `tokens.NAME`. Algorithm and key are those of `[token]`.
    #[serde(default, skip_serializing)]
    pub(super) tokens: Table<RawNamedToken>,
    /// Where users are kept.
    #[serde(default)]
    pub(super) store: RawStore,
    /// How passwords are hashed, and what new ones have to be.
    #[serde(default)]
    pub(super) password: RawPassword,
    /// How often may be tried.
    #[serde(default)]
    pub(super) limits: RawLimits,
    /// Who may say where a client is.
    #[serde(default)]
    pub(super) trusted_proxies: RawTrustedProxies,
    /// Sizes and timers of the public side.
    #[serde(default)]
    pub(super) server: RawServer,
    /// Console, API, metrics and health.
    #[serde(default)]
    pub(super) admin: RawAdmin,
    /// What is written about what happens.
    #[serde(default)]
    pub(super) log: RawLog,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Migration")]
pub(super) struct RawMigration {
    /// `passthrough`: everything is forwarded, nothing is read. `observe`: legacy answers, what it proves is saved and compared.
    /// `migrate`: answered here first, unknown users by legacy. `retired`: legacy is never called. The value of the first
    /// start; later the one set at run time holds.
    pub(super) mode: Mode,
    /// Percent of users that `migrate` answers here; the others are answered by legacy as in `observe`. Sticky by user.
    #[schemars(range(min = 0, max = 100))]
    pub(super) local_share: u8,
    /// When our stored password does not match: `recheck` asks legacy, within `recheck_budget`; `deny` does not.
    pub(super) on_mismatch: OnMismatch,
    /// How often legacy is asked again about one account whose password did not match here.
    #[schemars(extend("x-value" = "a rate"))]
    pub(super) recheck_budget: String,
    /// Ask legacy again when its last word on a user is older than this; bounds how long a user whom legacy has disabled can
    /// still log in here. Or `never`.
    #[schemars(extend("x-value" = "a duration"))]
    pub(super) revalidate_after: String,
}

impl Default for RawMigration {
    fn default() -> Self {
        Self {
            mode: Mode::Migrate,
            local_share: 100,
            on_mismatch: OnMismatch::Recheck,
            recheck_budget: "3/1h".into(),
            revalidate_after: "never".into(),
        }
    }
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Listener")]
pub(super) struct RawListener {
    /// `ip:port`, `unix:/path`, or `systemd:name` for a socket handed over by systemd.
    #[schemars(required)]
    pub(super) bind: Option<String>,
    /// Whether each connection has to begin with a PROXY protocol header (version 1 or 2).
    #[serde(default)]
    pub(super) proxy_protocol: bool,
    /// Certificates and keys; without them the listener speaks plain HTTP.
    pub(super) tls: Option<RawTls>,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Upstream")]
pub(super) struct RawUpstream {
    /// `http://host:port` or `https://host`, with an optional base path.
    #[schemars(required)]
    pub(super) url: Option<String>,
    /// Whom we trust there and what we show, for `https`. Left out: the machine's CAs, and no client certificate. The other side is
    /// always verified.
    pub(super) tls: Option<RawOutboundTls>,
    /// How long connecting may take.
    #[serde(default = "seconds::<2>")]
    #[schemars(extend("x-value" = "a duration"))]
    pub(super) connect_timeout: String,
    /// How long the head of an answer may take. Streams may then last as long as they like.
    #[serde(default = "seconds::<30>")]
    #[schemars(extend("x-value" = "a duration"))]
    pub(super) response_timeout: String,
    /// Whether the app sees the client's `Host`; otherwise its own.
    #[serde(default = "yes")]
    pub(super) preserve_host: bool,
    /// Whether WebSockets go through. Without them an upgrade is not offered to the app, and the request is an ordinary one.
    #[serde(default = "yes")]
    pub(super) websocket: bool,
    /// Headers that tell the app who is logged in: templates over `user`. Stripped from every client's request, set on a valid
    /// session.
    #[serde(default)]
    pub(super) identity_headers: Table<String>,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Identity")]
pub(super) struct RawIdentity {
    /// `fold`: case of letters does not matter; `exact`: every byte does.
    pub(super) email: RawCaseRule,
    /// As `email`.
    pub(super) username: RawCaseRule,
    /// `digits`: only the digits count; `exact`: every byte does.
    pub(super) phone: RawPhoneRule,
}

impl Default for RawIdentity {
    fn default() -> Self {
        Self { email: RawCaseRule::Fold, username: RawCaseRule::Fold, phone: RawPhoneRule::Digits }
    }
}

#[derive(Clone, Copy, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "CaseRule")]
pub(super) enum RawCaseRule {
    Fold,
    Exact,
}

#[derive(Clone, Copy, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "PhoneRule")]
pub(super) enum RawPhoneRule {
    Digits,
    Exact,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Store")]
pub(super) struct RawStore {
    /// `redb`: one file, one process.
    pub(super) backend: RawBackend,
    /// The database file; made at the first start. Relative to the directory in which authferry is started.
    pub(super) path: String,
    /// The most memory that cached pages take.
    #[schemars(extend("x-value" = "a size"))]
    pub(super) cache: String,
    /// The folder into which `store backup` and the admin API write backups; empty for the folder of `path`. It has to exist; `check` warns where it does not.
    pub(super) backups: String,
    /// Seals profiles, so that a stolen file does not show them; names, by which users are looked up, stay readable.
    #[serde(skip_serializing)]
    pub(super) encryption: Option<RawEncryption>,
}

impl Default for RawStore {
    fn default() -> Self {
        Self {
            backend: RawBackend::Redb,
            path: "users.redb".into(),
            cache: "64MiB".into(),
            backups: String::new(),
            encryption: None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Backend")]
pub(super) enum RawBackend {
    Redb,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "TrustedProxies")]
pub(super) struct RawTrustedProxies {
    /// Addresses or networks of the proxies in front. Anybody else's word on a client's address is not believed.
    pub(super) cidrs: Vec<String>,
    /// The header in which they say who the client is.
    pub(super) header: RawForwardingHeader,
}

impl Default for RawTrustedProxies {
    fn default() -> Self {
        Self { cidrs: Vec::new(), header: RawForwardingHeader::XForwardedFor }
    }
}

#[derive(Clone, Copy, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "ForwardingHeader")]
pub(super) enum RawForwardingHeader {
    XForwardedFor,
    Forwarded,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Server")]
pub(super) struct RawServer {
    /// I/O threads: a number, or `auto` for one a core.
    pub(super) workers: RawCount,
    /// Open connections over all listeners; over it those that idle longest make room, or the new one is closed. Lowered at the start
    /// where the process may not open as many files.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) max_connections: u64,
    /// Open connections of one client address, or IPv6 network (`limits.per_ip.ipv6_prefix`); over it those that idle longest make
    /// room, or the new one is closed. Addresses of `[trusted_proxies]` are not counted.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) max_connections_per_ip: u64,
    /// Requests under way over all connections, of which HTTP/2 brings up to 100 on each; over it 503.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) max_requests: u64,
    /// The largest request head; over it 431.
    #[schemars(extend("x-value" = "a size"))]
    pub(super) max_head: String,
    /// The longest request target; over it 414.
    #[schemars(extend("x-value" = "a size"))]
    pub(super) max_uri: String,
    /// The largest body of an intercepted request; over it 413. Forwarded bodies are not limited.
    #[schemars(extend("x-value" = "a size"))]
    pub(super) max_auth_body: String,
    /// The hosts that are served, without port: `app.example.com`, `*.example.com`; any other is answered 421. Without any: all.
    pub(super) hosts: Vec<String>,
    /// `strict`: `//`, `.` and `..`, encoded slashes, backslashes, bytes over 127 and percent signs that encode nothing are refused
    /// in paths; `lenient` forwards them, for apps that need them.
    pub(super) paths: RawPaths,
    /// Whether header names may have underscores: `refuse`, or `allow` for apps that need them. CGI and its heirs take them
    /// for hyphens; names that would become those of a proxy's own headers are refused either way.
    pub(super) underscores: RawUnderscores,
    /// How long a request head may take.
    #[schemars(extend("x-value" = "a duration"))]
    pub(super) head_timeout: String,
    /// How long the body of an intercepted request may take; of a forwarded one, how long its client may keep us waiting (408).
    #[schemars(extend("x-value" = "a duration"))]
    pub(super) body_timeout: String,
    /// In a forwarded body so many bytes win back a second of waiting: a slower client runs out of `body_timeout`.
    #[schemars(extend("x-value" = "a size"))]
    pub(super) min_body_rate: String,
    /// How long a TLS handshake may take.
    #[schemars(extend("x-value" = "a duration"))]
    pub(super) tls_timeout: String,
    /// How long a connection may idle between requests.
    #[schemars(extend("x-value" = "a duration"))]
    pub(super) idle_timeout: String,
    /// How long requests under way may take to finish when authferry is stopped.
    #[schemars(extend("x-value" = "a duration"))]
    pub(super) drain_timeout: String,
    /// How long an idle connection may still bring one request when authferry is stopped or replaced, before it is closed. Also about
    /// as long as logins wait while another process takes over.
    #[schemars(extend("x-value" = "a duration"))]
    pub(super) linger: String,
    /// How long WebSockets may go on when authferry is stopped or replaced.
    #[schemars(extend("x-value" = "a duration"))]
    pub(super) drain_tunnels: String,
    /// A Unix socket on which `authferry run --takeover` takes the place of the running process without failing a request. For
    /// the eyes of the own user alone.
    pub(super) takeover: Option<String>,
}

impl Default for RawServer {
    fn default() -> Self {
        Self {
            workers: RawCount::Word(RawAuto::Auto),
            max_connections: 10_000,
            max_connections_per_ip: 512,
            max_requests: 10_000,
            max_head: "16KiB".into(),
            max_uri: "8KiB".into(),
            max_auth_body: "16KiB".into(),
            hosts: Vec::new(),
            paths: RawPaths::Strict,
            underscores: RawUnderscores::Refuse,
            head_timeout: "10s".into(),
            body_timeout: "10s".into(),
            min_body_rate: "500B".into(),
            tls_timeout: "5s".into(),
            idle_timeout: "30s".into(),
            drain_timeout: "30s".into(),
            linger: "500ms".into(),
            drain_tunnels: "10s".into(),
            takeover: None,
        }
    }
}

#[derive(Clone, Copy, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Paths")]
pub(super) enum RawPaths {
    Strict,
    Lenient,
}

#[derive(Clone, Copy, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Underscores")]
pub(super) enum RawUnderscores {
    Refuse,
    Allow,
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Admin")]
pub(super) struct RawAdmin {
    /// `ip:port` of the console (`/`), the API (`/api/v1`), `/metrics` and `/health/{started,live,ready}`; `off` for none.
    pub(super) bind: String,
    /// What opens the console and the API. Without it both are locked; metrics and health are served.
    #[serde(skip_serializing)]
    pub(super) token: Option<RawSecret>,
    /// Further names that requests may have in `Host`, with or without a port, as a scraper in a cluster uses them. Addresses and
    /// `localhost` need no entry.
    pub(super) hosts: Vec<String>,
}

impl Default for RawAdmin {
    fn default() -> Self {
        Self { bind: "127.0.0.1:9090".into(), token: None, hosts: Vec::new() }
    }
}

#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Log")]
pub(super) struct RawLog {
    /// `text`, `json`, or `auto`: text on a terminal, JSON elsewhere.
    pub(super) format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,authferry::legacy=debug`.
    pub(super) level: String,
}

impl Default for RawLog {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".into() }
    }
}

fn seconds<const N: u64>() -> String {
    format!("{N}s")
}

fn yes() -> bool {
    true
}

//! An operator's questions, put to the admin API: that of the running proxy over HTTP, or, when none runs, the same API in
//! this process over the store itself. One protocol, one implementation, two ways to it.
//!
//! Says on standard error which way was taken. Never shows the token. Used by `status`, `users`, `conflicts`, `explain`, `import`,
//! `roster` and `mode`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::options::Reach;
use super::terminal::{Terminal, inert};
use crate::admin::import::{ImportTerms, Results};
use crate::admin::people_view::{ConflictChoice, ConflictList, ConflictView, ExplainView, UserChanged, UserPatch};
use crate::admin::roster::{self, Forget, ForgottenCount, StragglerList};
use crate::admin::view::{ModeChange, ModeView, Status, UserDetail, UserList};
use crate::admin::{self, AdminParts, AdminState, BackupWish, Problem, Readiness};
use crate::app;
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::roster::Bucket;
use crate::net::{BodyError, Client, ClientSettings, ProxyBody, SendError, Target, read_bounded, tls};
use crate::password::{Inspector, PolicyError};
use crate::service::backup::BackupView;
use crate::service::explain::Explainer;
use crate::service::mode::ModeCell;
use crate::service::people::Door;
use crate::service::ports::{ImportKey, ModeSwitch, StoreError};
use crate::store::{self, OpenError};
use crate::telemetry::Metrics;
use crate::telemetry::logging::{self, LogFormat, LogGuard};

/// How long finding out whether a proxy listens may take, and connecting to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one question may take. The admin listener gives up after ten seconds itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The largest answer that is read, in bytes: a page of a thousand users with every alias.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// What is logged by a command that changes the store itself.
const AUDIT_ALONE: &str = "authferry::audit=info";

/// Shown to the API in this process, which no socket leads to.
const IN_PROCESS_TOKEN: &str = "in-process";

/// Somebody who may ask.
pub(super) struct Operator {
    way: Way,
    authorization: HeaderValue,
    /// Where the audit log goes while this process is the one that changes the store.
    _log: Option<LogGuard>,
}

enum Way {
    Proxy(Client),
    Store { api: TowerToHyperService<Router>, path: PathBuf },
}

/// Whether a proxy runs.
pub(super) enum Found {
    /// It does, or is said to.
    Proxy(Operator),
    /// None listens at the admin address of this configuration.
    NoProxy(Box<Config>),
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answering {
    /// The running proxy.
    Proxy,
    /// The store, opened by us.
    Store,
}

/// Why there is nobody to ask.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreachable {
    #[error("--admin {url} is no address of an admin listener: write http://HOST:PORT")]
    Url {
        url: String,
        #[source]
        cause: crate::net::target::InvalidTarget,
    },
    #[error("the token file {} cannot be read", .path.display())]
    TokenFile {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("the admin token has characters that no HTTP header can hold")]
    TokenCharacters,
    #[error(
        "a proxy listens at {0}, but no admin token is configured, so nobody can ask it; set one in `[admin] token`, start the \
         proxy again, or stop it to look at the store directly"
    )]
    NoToken(SocketAddr),
    #[error("--admin needs a token: give --token-file, or a configuration with `[admin] token`")]
    NoTokenForUrl,
    #[error("TLS to the admin listener cannot be set up")]
    Tls(#[source] tls::TlsError),
    #[error("there is no store at {} yet, and no proxy is running", .0.display())]
    NoStore(PathBuf),
    #[error(
        "the store {} is in use by another process, and the admin listener is off. If that is a proxy, set `[admin] bind` and start it \
         again, or stop it to look at the store directly; a command such as an import ends by itself", .0.display()
    )]
    LockedAdminOff(PathBuf),
    #[error(
        "the store {} is in use by another process, and nothing answers at the admin address {address}. If that is a proxy that was \
         started with another configuration, name its address with --admin; a command such as an import ends by itself", .path.display()
    )]
    LockedElsewhere { path: PathBuf, address: SocketAddr },
    #[error(transparent)]
    Open(OpenError),
    #[error("the store cannot be read")]
    Store(#[source] StoreError),
    #[error("the configured password hashing cannot be used")]
    Hashes(#[source] PolicyError),
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("the admin listener cannot be reached")]
    Send(#[source] SendError),
    #[error("the admin listener did not answer in time")]
    Late,
    #[error("the answer of the admin listener broke off")]
    Body(#[source] BodyError),
    #[error("the admin token is not the one that the running proxy was started with")]
    WrongToken,
    #[error("{detail}")]
    Refused { status: u16, detail: String },
    #[error("what answers is no admin listener of authferry, or one of another version (HTTP {status})")]
    Foreign {
        status: StatusCode,
        #[source]
        cause: serde_json::Error,
    },
}

impl Operator {
    /// Finds the running proxy, or opens its store, and says on standard error when it is the store.
    ///
    /// The store stays open, and a proxy cannot start, until the operator is dropped.
    pub(super) async fn reach(options: &Reach, terminal: &mut Terminal) -> Result<Self, Failure> {
        let config = match Self::find(options, terminal).await? {
            Found::Proxy(operator) => return Ok(operator),
            Found::NoProxy(config) => *config,
        };
        let operator = Self::of_store(config).await.map_err(Failure::of)?;
        if let Way::Store { path, .. } = &operator.way {
            say_opened(path, terminal)?;
        }
        Ok(operator)
    }

    /// Finds the running proxy. Without one the caller may open the store that the configuration names.
    pub(super) async fn find(options: &Reach, terminal: &mut Terminal) -> Result<Found, Failure> {
        if let Some(url) = &options.admin {
            return Self::at_url(url, options, terminal).map(Found::Proxy);
        }
        let config = options.config.load()?;
        if let Some(address) = config.admin.bind.filter(|address| address.port() != 0).map(reachable)
            && is_listening(address).await
        {
            let token = match &options.token_file {
                Some(path) => token_from(path)?,
                None => config.admin.token.ok_or(Unreachable::NoToken(address)).map_err(Failure::of)?,
            };
            let target =
                Target { https: false, host: address.ip().to_string(), port: address.port(), base_path: String::new() };
            return Self::at(target, &token).map(Found::Proxy);
        }
        Ok(Found::NoProxy(Box::new(config)))
    }

    /// The same for a command that changes something. A change of the store itself is audited on standard error, as the proxy would
    /// have done it.
    pub(super) async fn reach_to_change(options: &Reach, terminal: &mut Terminal) -> Result<Self, Failure> {
        let mut operator = Self::reach(options, terminal).await?;
        if operator.answering() == Answering::Store {
            // A log that is set up already, as in a test of this crate, is as good.
            operator._log = logging::init(LogFormat::Auto, AUDIT_ALONE).ok();
        }
        Ok(operator)
    }

    fn at_url(url: &str, options: &Reach, terminal: &mut Terminal) -> Result<Self, Failure> {
        let target = Target::parse(url)
            .map_err(|cause| Failure::Usage(Unreachable::Url { url: inert(url), cause }.to_string()))?;
        let token = match &options.token_file {
            Some(path) => token_from(path)?,
            None if options.config.path().exists() => {
                options.config.load()?.admin.token.ok_or(Unreachable::NoTokenForUrl).map_err(Failure::of)?
            }
            None => return Err(Failure::Usage(Unreachable::NoTokenForUrl.to_string())),
        };
        let local =
            target.host == "localhost" || target.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !target.https && !local {
            let style = terminal.remark_style();
            terminal.remark(style.warning("the admin token goes over a connection that is not encrypted"))?;
        }
        Self::at(target, &token)
    }

    /// Of the admin listener at this address.
    pub(super) fn at(target: Target, token: &str) -> Result<Self, Failure> {
        let tls = if target.https {
            tls::client_config(&tls::TlsSettings::default())
        } else {
            tls::client_config_trusting_nobody()
        };
        let settings = ClientSettings {
            connect_timeout: CONNECT_TIMEOUT,
            tls: tls.map_err(|cause| Failure::of(Unreachable::Tls(cause)))?,
            max_idle_per_thread: 1,
            idle_timeout: Duration::from_secs(4),
        };
        Ok(Self { way: Way::Proxy(Client::new(target, settings)), authorization: bearer(token)?, _log: None })
    }

    async fn of_store(config: Config) -> Result<Self, Unreachable> {
        let path = config.store.path.clone();
        // Opening makes a new store where there was none, and asking is no reason for that.
        if !path.exists() {
            return Err(store::missing_though_made(&path).map_or(Unreachable::NoStore(path), Unreachable::Open));
        }
        let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new()));
        let store = store::open(&config.store, Arc::clone(&metrics), Arc::clone(&clock) as Arc<dyn Clock>)
            .map_err(|error| unopened(error, config.admin.bind))?;
        let mode = ModeCell::start(config.migration.mode, Arc::clone(&store), Arc::clone(&metrics));
        let mode: Arc<dyn ModeSwitch> = mode.await.map_err(Unreachable::Store)?;
        let explainer = Explainer {
            store: Arc::clone(&store),
            mode: Arc::clone(&mode),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            policy: app::policy(&config),
            hashes: Arc::new(Inspector::new(&config.password).map_err(Unreachable::Hashes)?),
            routes: app::login_routes(&config),
            running: None,
        };
        let parts = AdminParts {
            mode,
            explainer,
            store,
            metrics,
            readiness: Arc::new(Readiness::new()),
            clock,
            identifiers: config.identity,
            normalization: config.password.normalization,
            token: Some(Zeroizing::new(IN_PROCESS_TOKEN.to_owned())),
            door: Door::Cli,
            bound: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            hosts: Vec::new(),
        };
        let api = TowerToHyperService::new(admin::router(AdminState::new(parts)));
        let authorization = HeaderValue::from_static("Bearer in-process");
        Ok(Self { way: Way::Store { api, path }, authorization, _log: None })
    }

    /// Who answers.
    pub(super) fn answering(&self) -> Answering {
        match self.way {
            Way::Proxy(_) => Answering::Proxy,
            Way::Store { .. } => Answering::Store,
        }
    }

    pub(super) async fn status(&self) -> Result<Status, Unanswered> {
        self.ask(Method::GET, "/api/v1/status", Bytes::new()).await
    }

    pub(super) async fn mode(&self) -> Result<ModeView, Unanswered> {
        self.ask(Method::GET, "/api/v1/mode", Bytes::new()).await
    }

    pub(super) async fn set_mode(&self, change: &ModeChange) -> Result<ModeView, Unanswered> {
        let body = serde_json::json!(change).to_string();
        self.ask(Method::PUT, "/api/v1/mode", body.into()).await
    }

    pub(super) async fn users(
        &self,
        search: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<UserList, Unanswered> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string());
        for (name, value) in [("search", search), ("after", after)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        self.ask(Method::GET, &format!("/api/v1/users?{}", query.finish()), Bytes::new()).await
    }

    /// How names are normalized there, and how far an import came.
    pub(super) async fn import_terms(&self, key: ImportKey) -> Result<ImportTerms, Unanswered> {
        let key: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
        self.ask(Method::GET, &format!("/api/v1/users/import?key={key}"), Bytes::new()).await
    }

    /// Has rows imported.
    pub(super) async fn import(&self, body: Bytes) -> Result<Results, Unanswered> {
        self.ask(Method::POST, "/api/v1/users/import", body).await
    }

    /// `None` when there is no such user.
    pub(super) async fn user(&self, id: &str) -> Result<Option<UserDetail>, Unanswered> {
        let path = format!("/api/v1/users/{}", utf8_percent_encode(id, NON_ALPHANUMERIC));
        match self.ask(Method::GET, &path, Bytes::new()).await {
            Ok(user) => Ok(Some(user)),
            Err(Unanswered::Refused { status: 404, .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Changes one user, who has to be as `patch.version` says.
    pub(super) async fn change_user(&self, id: &str, patch: &UserPatch) -> Result<UserChanged, Unanswered> {
        let path = format!("/api/v1/users/{}", utf8_percent_encode(id, NON_ALPHANUMERIC));
        self.ask(Method::PATCH, &path, serde_json::json!(patch).to_string().into()).await
    }

    pub(super) async fn conflicts(
        &self,
        decided: bool,
        before: Option<u64>,
        limit: usize,
    ) -> Result<ConflictList, Unanswered> {
        let before = before.map(|before| format!("&before={before}")).unwrap_or_default();
        let target = format!("/api/v1/conflicts?decided={decided}&limit={limit}{before}");
        self.ask(Method::GET, &target, Bytes::new()).await
    }

    /// `None` when there is no such conflict.
    pub(super) async fn conflict(&self, number: u64) -> Result<Option<ConflictView>, Unanswered> {
        match self.ask(Method::GET, &format!("/api/v1/conflicts/{number}"), Bytes::new()).await {
            Ok(conflict) => Ok(Some(conflict)),
            Err(Unanswered::Refused { status: 404, .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    pub(super) async fn resolve(&self, number: u64, choice: &ConflictChoice) -> Result<ConflictView, Unanswered> {
        let body = serde_json::json!(choice).to_string();
        self.ask(Method::POST, &format!("/api/v1/conflicts/{number}"), body.into()).await
    }

    pub(super) async fn explain(&self, identifier: &str, from: Option<IpAddr>) -> Result<ExplainView, Unanswered> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("identifier", identifier);
        if let Some(from) = from {
            query.append_pair("from", &from.to_string());
        }
        self.ask(Method::GET, &format!("/api/v1/explain?{}", query.finish()), Bytes::new()).await
    }

    /// Starts a backup of the store.
    pub(super) async fn start_backup(&self, wish: &BackupWish) -> Result<BackupView, Unanswered> {
        let body = serde_json::json!(wish).to_string();
        self.ask(Method::POST, "/api/v1/store/backup", body.into()).await
    }

    /// How far it is.
    pub(super) async fn backup(&self) -> Result<BackupView, Unanswered> {
        self.ask(Method::GET, "/api/v1/store/backup", Bytes::new()).await
    }

    /// A page of the users who have not come over.
    pub(super) async fn stragglers(
        &self,
        bucket: Bucket,
        min_value: u64,
        after: Option<&str>,
    ) -> Result<StragglerList, Unanswered> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("bucket", bucket.as_str());
        query.append_pair("min_value", &min_value.to_string());
        query.append_pair("limit", &roster::MAX_PAGE.to_string());
        if let Some(after) = after {
            query.append_pair("after", after);
        }
        self.ask(Method::GET, &format!("/api/v1/stragglers?{}", query.finish()), Bytes::new()).await
    }

    /// Has users forgotten who are on no list any more.
    pub(super) async fn forget(&self, users: &Forget) -> Result<ForgottenCount, Unanswered> {
        let body = serde_json::json!(users).to_string();
        self.ask(Method::POST, "/api/v1/roster/forget", body.into()).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, target: &str, body: Bytes) -> Result<T, Unanswered> {
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.send(method, target, body));
        let (status, body) = asked.await.map_err(|_elapsed| Unanswered::Late)??;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|cause| Unanswered::Foreign { status, cause });
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(_) if status == StatusCode::UNAUTHORIZED => Err(Unanswered::WrongToken),
            Ok(problem) => Err(Unanswered::Refused { status: problem.status, detail: inert(&problem.detail) }),
            Err(cause) => Err(Unanswered::Foreign { status, cause }),
        }
    }

    async fn send(&self, method: Method, target: &str, body: Bytes) -> Result<(StatusCode, Bytes), Unanswered> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        // Every target above is written in characters that a URI may have.
        *request.uri_mut() = target.parse().unwrap_or_default();
        request.headers_mut().insert(AUTHORIZATION, self.authorization.clone());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let deadline = SystemClock.monotonic() + ANSWER_TIMEOUT;
        match &self.way {
            Way::Proxy(client) => {
                let response = client.send(request.map(ProxyBody::full)).await.map_err(Unanswered::Send)?;
                let status = response.status();
                let body = read_bounded(response.into_body(), MAX_ANSWER_BYTES, deadline).await;
                Ok((status, body.map_err(Unanswered::Body)?))
            }
            Way::Store { api, .. } => {
                request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
                let response = match api.call(request.map(Body::from)).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                let status = response.status();
                let body = read_bounded(response.into_body(), MAX_ANSWER_BYTES, deadline).await;
                Ok((status, body.map_err(Unanswered::Body)?))
            }
        }
    }
}

/// Why a store that no proxy seems to have cannot be opened.
pub(super) fn unopened(error: OpenError, admin: Option<SocketAddr>) -> Unreachable {
    match (error, admin) {
        (OpenError::Locked(path), None) => Unreachable::LockedAdminOff(path),
        (OpenError::Locked(path), Some(address)) => Unreachable::LockedElsewhere { path, address },
        (other, _) => Unreachable::Open(other),
    }
}

/// Says that it is the store itself that is asked.
pub(super) fn say_opened(path: &Path, terminal: &mut Terminal) -> std::io::Result<()> {
    let style = terminal.remark_style();
    terminal.remark(style.faint(format!("store {} opened directly: no proxy is running", path.display())))
}

/// Runs one command's questions on a small runtime of its own.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::of)?;
    runtime.block_on(work)
}

/// An address that is bound everywhere is reached on this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

async fn is_listening(address: SocketAddr) -> bool {
    matches!(tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await, Ok(Ok(_connection)))
}

/// The file's content less the newline that editors put at its end.
fn token_from(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| Failure::of(Unreachable::TokenFile { path: path.to_owned(), cause }))?;
    let text = Zeroizing::new(text);
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let text = Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&text).map_err(|_invalid| Failure::of(Unreachable::TokenCharacters))?;
    value.set_sensitive(true);
    Ok(value)
}

//! The composition root: a valid [`Config`] in, a running proxy out. Every adapter is made here and handed to those that need it
//! as a port; nobody else knows them all.

mod admin_desk;
mod handover;
mod memory;
mod running;
mod takeover;
mod vitals;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::admin_desk::AdminDesk;
use self::takeover::Predecessor;
use crate::admin::{self, AdminParts, AdminState, Readiness};
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock};
use crate::http::descriptors::{Listening, share_out};
use crate::http::forward::Forwarder;
use crate::http::headers::{CLIENT_CERTIFICATE, HeaderRules};
use crate::http::intercept::{Interceptor, InterceptorParts, Sessions};
use crate::http::listener::{BindError, BoundAddress};
use crate::http::router::BadRoutePath;
use crate::http::server::{BoundServer, NamedSockets, ServeError, bind_or_adopt};
use crate::http::settings::{Action, EdgeBounds, ListenerSettings, Route, Session, UpstreamSettings};
use crate::http::tls::Reload;
use crate::legacy::{self, Clients, ConnectError, LegacySettings};
use crate::limits::Limits;
use crate::net::body::LeastPace;
use crate::net::tls::{TlsError, TlsSettings, client_config, client_config_trusting_nobody};
use crate::net::{Client, ClientSettings, Target};
use crate::password::{HashPool, StartError};
use crate::service::explain::{Explainer, LoginRoute, Running, SessionBy};
use crate::service::mode::ModeCell;
use crate::service::people::Door;
use crate::service::ports::{AccountLimits, StoreError, Tokens, UserStore};
use crate::service::{Parts, Policy, Service};
use crate::store::{self, HandoverStore, OpenError};
use crate::takeover::Fault;
use crate::telemetry::Metrics;
use crate::token::{Minter, TokenSetupError};

/// Idle connections to the app that each I/O thread keeps at most. Fewer than clients ask at the same time, and those over it are closed
/// after every burst and made anew for the next; what is not needed is closed after [`IDLE_TIMEOUT`] anyway.
const IDLE_PER_THREAD: usize = 1024;
/// Below Node's five seconds, after which it closes a connection under a request that is just being sent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// What a client is told to wait when nobody could answer.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Where the process listens.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Each `[[listener]]`, in the order of the configuration.
    pub public: Vec<BoundAddress>,
    /// The admin listener.
    pub admin: Option<SocketAddr>,
}

/// Why the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The store is refused.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store opened and cannot be read.
    #[error("the store cannot be read")]
    Unreadable(#[from] StoreError),
    /// The hash threads did not start.
    #[error("the hash pool cannot start")]
    Password(#[from] StartError),
    /// The token's key does not fit its algorithm.
    #[error("token: the key cannot be used")]
    Token(#[from] TokenSetupError),
    /// No certificates to trust.
    #[error("TLS towards the upstream cannot be set up")]
    Tls(#[from] TlsError),
    /// The legacy settings contradict each other.
    #[error(transparent)]
    Legacy(#[from] ConnectError),
    /// A route's path can never match.
    #[error(transparent)]
    Route(#[from] BadRoutePath),
    /// A listener could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The takeover socket cannot be made.
    #[error(transparent)]
    Takeover(#[from] crate::takeover::OpenError),
    /// The running process does not hand over.
    #[error("the running process cannot be taken over from; it goes on serving")]
    Predecessor(#[source] Fault),
    /// The listening sockets could not be kept for a later handover.
    #[error("there are too few file descriptors for server.takeover")]
    Descriptors(#[source] io::Error),
    /// The admin listener could not be bound.
    #[error("admin.bind: cannot listen on {address}")]
    Admin {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// Why the process ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The public edge.
    #[error("the public listener ended")]
    Serve(#[from] ServeError),
    /// The public edge, without being told to.
    #[error("the public listener ended by itself")]
    Ended,
    /// The admin listener cannot be served.
    #[error("the admin listener cannot be served")]
    Admin(#[source] io::Error),
    /// The process whose place this one was to take takes it back.
    #[error("the takeover failed; the process that ran before goes on serving")]
    Takeover(#[source] Fault),
    /// The store did not come over, or cannot be opened.
    #[error("the store did not change hands")]
    Store(#[from] OpenError),
    /// The store opened and cannot be read.
    #[error("the store cannot be read")]
    Unreadable(#[from] StoreError),
}

/// Opens the store of the configuration: at the start, and again after a handover that came to nothing.
type OpenStore = Arc<dyn Fn() -> Result<Arc<dyn UserStore>, OpenError> + Send + Sync>;

/// A proxy that is ready to serve.
pub struct App {
    server: BoundServer,
    interceptor: Arc<Interceptor>,
    service: Arc<Service>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    admin: AdminDesk,
    addresses: Addresses,
    hasher: Arc<HashPool>,
    mode: Arc<ModeCell>,
    store: Arc<HandoverStore>,
    open_store: OpenStore,
    drain_timeout: Duration,
    linger: Duration,
    admin_bind: Option<SocketAddr>,
    /// Where another process may take this one's place.
    takeover: Option<PathBuf>,
    predecessor: Option<Predecessor>,
}

impl App {
    /// Opens the store, starts the hash threads, binds every socket. Nothing is accepted yet.
    pub async fn build(config: Config) -> Result<Self, BuildError> {
        Self::assemble(config, None).await
    }

    /// The same in the place of the process that runs under `server.takeover`, which hands over its sockets now and its store when
    /// this one runs. Without such a process this is [`Self::build`]. An error leaves the running process as it was.
    pub async fn take_over(config: Config) -> Result<Self, BuildError> {
        let predecessor = match &config.takeover {
            Some(path) => Predecessor::ask(path).await.map_err(BuildError::Predecessor)?,
            None => None,
        };
        Self::assemble(config, predecessor).await
    }

    async fn assemble(config: Config, mut predecessor: Option<Predecessor>) -> Result<Self, BuildError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (policy, login_routes) = (policy(&config), login_routes(&config));
        let metrics = Arc::new(Metrics::new());
        metrics.started_at(clock.wall().0);
        // Sockets first: a port that is taken is told before a store is touched.
        // Legacy's connections may be twice those in flight: as many again are being closed.
        let listening = Listening { listeners: config.edge.listeners.len(), passed_on: config.takeover.is_some() };
        let shares = share_out(&config.edge.bounds, listening, 2 * config.legacy.max_in_flight.get());
        if let Some(shortage) = shares.shortage {
            tracing::warn!(key = "server.max_connections", "{shortage}");
        }
        let bounds = EdgeBounds { max_connections: shares.clients, ..config.edge.bounds };
        let mut inherited = predecessor.as_mut().map(Predecessor::sockets).unwrap_or_default();
        let admin_listener = bind_admin(config.admin.bind, &mut inherited)?;
        let server = bind_or_adopt(&config.edge.listeners, bounds, &mut inherited)?;
        if config.takeover.is_some() {
            server.keep_sockets(&config.edge.listeners).map_err(BuildError::Descriptors)?;
        }
        let addresses =
            Addresses { public: server.addresses(), admin: admin_listener.as_ref().and_then(|l| l.local_addr().ok()) };

        let open_store: OpenStore = {
            let (settings, metrics, clock) = (config.store, Arc::clone(&metrics), Arc::clone(&clock));
            Arc::new(move || store::open(&settings, Arc::clone(&metrics), Arc::clone(&clock)))
        };
        let patience = handover::patience(config.edge.bounds.linger, config.edge.bounds.drain_timeout);
        let handed_over = Arc::new(match &predecessor {
            None => HandoverStore::open(open_store()?, patience),
            Some(_) => HandoverStore::awaited(patience),
        });
        let store: Arc<dyn UserStore> = handed_over.clone();
        let mode = match &predecessor {
            None => ModeCell::start(config.migration.mode, Arc::clone(&store), Arc::clone(&metrics)).await?,
            Some(predecessor) => ModeCell::assume(predecessor.mode, Arc::clone(&store), Arc::clone(&metrics)),
        };
        let normalization = config.password.normalization;
        let hasher = Arc::new(HashPool::start(config.password, Arc::clone(&metrics), Arc::clone(&clock))?);
        let limits = Arc::new(Limits::new(config.limits, Arc::clone(&clock), Arc::clone(&metrics)));
        let token_ttl = config.token.as_ref().map(|token| token.ttl);
        let minter = config.token.map(|token| Minter::new(token, Arc::clone(&clock))).transpose()?.map(Arc::new);
        let jwks = minter.as_ref().and_then(|minter| minter.jwks());

        let upstream = config.edge.upstream;
        let clients = clients(&upstream, &config.legacy, shares.upstream, bounds.workers.max(1))?;
        let app_client = clients.upstream.clone();
        let legacy = legacy::connect(config.legacy, clients, Arc::clone(&metrics), Arc::clone(&clock))?;

        let accounts: Arc<dyn AccountLimits> = Arc::clone(&limits) as _;
        let service = Arc::new(Service::new(Parts {
            store: Arc::clone(&store),
            legacy,
            hasher: hasher.clone(),
            accounts: Arc::clone(&accounts),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            mode: Arc::clone(&mode),
            policy,
        }));

        let replace_host = (!upstream.preserve_host).then(|| app_client.authority().clone());
        let mut identity_names: Vec<_> = upstream.identity_headers.iter().map(|(name, _)| name.clone()).collect();
        if config.edge.listeners.iter().any(ListenerSettings::asks_for_certificates) {
            identity_names.extend(CLIENT_CERTIFICATE);
        }
        let instance = uuid::Uuid::now_v7().as_fields().0 ^ std::process::id();
        let headers =
            Arc::new(HeaderRules::new(replace_host, identity_names, config.edge.trusted_proxies.header, instance));
        let mut forwarder = Forwarder::new(
            app_client,
            Arc::clone(&headers),
            upstream.response_timeout,
            LeastPace { patience: config.edge.bounds.body_timeout, rate: config.edge.bounds.min_body_rate },
            Arc::clone(&metrics),
            Arc::clone(&clock),
        );
        if !upstream.websocket {
            forwarder = forwarder.without_websockets();
        }
        let interceptor = Arc::new(Interceptor::new(InterceptorParts {
            service: Arc::clone(&service),
            routes: config.edge.routes,
            forwarder,
            addresses: limits,
            sessions: Sessions {
                tokens: minter.map(|minter| minter as Arc<dyn Tokens>),
                cookie: config.cookie.zip(token_ttl),
                jwks,
                identity_headers: upstream.identity_headers,
            },
            trusted_proxies: config.edge.trusted_proxies,
            bounds: config.edge.bounds,
            gate: config.edge.gate,
            hosts: config.edge.hosts,
            headers,
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
        })?);

        let readiness = Arc::new(Readiness::new());
        let (mode_in_force, drain_timeout) = (Arc::clone(&mode), config.edge.bounds.drain_timeout);
        let admin = admin_listener.zip(addresses.admin).map(|(listener, bound)| {
            let explainer = Explainer {
                store: Arc::clone(&store),
                mode: Arc::clone(&mode) as _,
                clock: Arc::clone(&clock),
                policy,
                hashes: hasher.clone(),
                routes: login_routes,
                running: Some(Running { accounts, metrics: Arc::clone(&metrics) }),
            };
            let state = AdminState::new(AdminParts {
                store,
                metrics: Arc::clone(&metrics),
                mode,
                readiness: Arc::clone(&readiness),
                clock,
                identifiers: config.identity,
                normalization,
                explainer,
                token: config.admin.token,
                door: Door::Api,
                bound,
                hosts: config.admin.hosts,
            });
            (listener, admin::router(state))
        });
        let (admin, mode) = (AdminDesk::new(admin), mode_in_force);
        let (takeover, admin_bind, linger) = (config.takeover, config.admin.bind, config.edge.bounds.linger);
        Ok(Self {
            server,
            interceptor,
            service,
            metrics,
            readiness,
            admin,
            addresses,
            hasher,
            mode,
            store: handed_over,
            open_store,
            drain_timeout,
            linger,
            admin_bind,
            takeover,
            predecessor,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Has the TLS files of the listeners read again, at any time from now on.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.server.reload()
    }
}

/// What the operator decided, as the use cases need it.
pub(crate) fn policy(config: &Config) -> Policy {
    Policy {
        local_share: config.migration.local_share,
        on_mismatch: config.migration.on_mismatch,
        revalidate_after: config.migration.revalidate_after,
        identifiers: config.identity,
        passwords: config.password_policy,
        retry_after: RETRY_AFTER,
    }
}

/// The routes that log users in, and how legacy is asked on each.
pub(crate) fn login_routes(config: &Config) -> Vec<LoginRoute> {
    let logins = config.edge.routes.iter().filter(|route| route.action == Action::Login);
    let route = |route: &Route| LoginRoute {
        name: Arc::clone(&route.name),
        asked_by: route.legacy.asked_by(),
        session_by: match route.session {
            Session::Local => SessionBy::Us,
            Session::Forward => SessionBy::TheApp,
        },
    };
    logins.map(route).collect()
}

/// What the admin's socket is called when it changes hands. No listener of the edge has such a name.
fn admin_name(address: SocketAddr) -> String {
    format!("admin:{address}")
}

fn bind_admin(address: Option<SocketAddr>, inherited: &mut NamedSockets) -> Result<Option<TcpListener>, BuildError> {
    let Some(address) = address else { return Ok(None) };
    let failed = |cause| BuildError::Admin { address, cause };
    let name = admin_name(address);
    let listener = match inherited.iter().position(|(known, _)| *known == name) {
        Some(position) => {
            let socket: Option<OwnedFd> = inherited.remove(position).1.into_iter().next();
            let listener = socket.map(TcpListener::from).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
            let bound = listener.local_addr().map_err(failed)?;
            if bound.ip() != address.ip() || address.port() != 0 && bound.port() != address.port() {
                return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "another socket was handed over")));
            }
            listener
        }
        None => TcpListener::bind(address).map_err(failed)?,
    };
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(Some(listener))
}

/// One client for the app and one for legacy; the same one where they are the same place, reached in the same way.
fn clients(
    upstream: &UpstreamSettings,
    legacy: &LegacySettings,
    to_upstream: usize,
    workers: usize,
) -> Result<Clients, TlsError> {
    // Reading the machine's certificates takes a while, and a machine without any is fine where nothing is TLS.
    let config = |target: &Target, tls: &TlsSettings| {
        if target.https { client_config(tls) } else { client_config_trusting_nobody() }
    };
    let client = |target: &Target, tls: &TlsSettings, config, connect_timeout| {
        // Idle connections must not take the room of those that are needed on another thread.
        let max_idle_per_thread = IDLE_PER_THREAD.min(to_upstream / (2 * workers)).max(1);
        let settings = ClientSettings { connect_timeout, tls: config, max_idle_per_thread, idle_timeout: IDLE_TIMEOUT };
        Client::verifying(target.clone(), settings, tls.server_name.clone())
    };
    let of_app = config(&upstream.target, &upstream.tls)?;
    let app = client(&upstream.target, &upstream.tls, Arc::clone(&of_app), upstream.connect_timeout)
        .with_at_most(to_upstream);
    let same_tls = legacy.tls == upstream.tls && legacy.target.https == upstream.target.https;
    if same_tls && legacy.target == upstream.target && legacy.connect_timeout == upstream.connect_timeout {
        return Ok(Clients { legacy: app.clone(), upstream: app });
    }
    let of_legacy = if same_tls { of_app } else { config(&legacy.target, &legacy.tls)? };
    let legacy = client(&legacy.target, &legacy.tls, of_legacy, legacy.connect_timeout);
    Ok(Clients { legacy, upstream: app })
}

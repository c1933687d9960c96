//! The composition root: a valid [`Config`] in, a running proxy out. Every adapter is made here and handed to those that need it
//! as a port; nobody else knows them all.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, AdminParts, AdminState, Readiness};
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock};
use crate::http::forward::Forwarder;
use crate::http::headers::HeaderRules;
use crate::http::intercept::{Interceptor, InterceptorParts};
use crate::http::listener::{BindError, BoundAddress};
use crate::http::router::BadRoutePath;
use crate::http::server::{BoundServer, ServeError, bind_all};
use crate::legacy::{self, Clients, ConnectError, LegacySettings};
use crate::limits::Limits;
use crate::net::tls::{TlsError, client_config, client_config_trusting_nobody};
use crate::net::{Client, ClientSettings, Target};
use crate::password::{HashPool, StartError};
use crate::service::mode::ModeCell;
use crate::service::ports::{StoreError, Tokens};
use crate::service::{Parts, Policy, Service};
use crate::store::{self, OpenError};
use crate::telemetry::{Metrics, WithCauses};
use crate::token::{Minter, TokenSetupError};

/// Idle connections to the app that each I/O thread keeps.
const IDLE_PER_THREAD: usize = 128;
/// Below Node's five seconds, after which it closes a connection under a request that is just being sent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long saves that outlive the edge may take at shutdown.
const LAST_SAVES: Duration = Duration::from_secs(5);
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
}

/// A proxy that is ready to serve.
pub struct App {
    server: BoundServer,
    interceptor: Arc<Interceptor>,
    service: Arc<Service>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    admin: Option<(TcpListener, AdminState)>,
    addresses: Addresses,
}

impl App {
    /// Opens the store, starts the hash threads, binds every socket. Nothing is accepted yet.
    pub async fn build(config: Config) -> Result<Self, BuildError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new());
        metrics.started_at(clock.wall().0);
        // Sockets first: a port that is taken is told before a store is touched.
        let server = bind_all(&config.edge.listeners, config.edge.bounds)?;
        let admin_listener = bind_admin(config.admin.bind).await?;
        let addresses =
            Addresses { public: server.addresses(), admin: admin_listener.as_ref().and_then(|l| l.local_addr().ok()) };

        let store = store::open(&config.store, Arc::clone(&metrics), Arc::clone(&clock))?;
        let mode = ModeCell::start(config.migration.mode, Arc::clone(&store), Arc::clone(&metrics)).await?;
        let hasher = HashPool::start(config.password, Arc::clone(&metrics), Arc::clone(&clock))?;
        let limits = Arc::new(Limits::new(config.limits, Arc::clone(&clock), Arc::clone(&metrics)));
        let token_ttl = config.token.as_ref().map(|token| token.ttl);
        let minter = config.token.map(|token| Minter::new(token, Arc::clone(&clock))).transpose()?.map(Arc::new);
        let jwks = minter.as_ref().and_then(|minter| minter.jwks());

        let upstream = config.edge.upstream;
        let clients = clients(&upstream.target, &config.legacy, upstream.connect_timeout)?;
        let app_client = clients.upstream.clone();
        let legacy = legacy::connect(config.legacy, clients, Arc::clone(&metrics), Arc::clone(&clock))?;

        let policy = Policy {
            local_share: config.migration.local_share,
            on_mismatch: config.migration.on_mismatch,
            revalidate_after: config.migration.revalidate_after,
            identifiers: config.identity,
            passwords: config.password_policy,
            retry_after: RETRY_AFTER,
        };
        let service = Arc::new(Service::new(Parts {
            store: Arc::clone(&store),
            legacy,
            hasher: Arc::new(hasher),
            accounts: Arc::clone(&limits) as _,
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            mode: Arc::clone(&mode),
            policy,
        }));

        let replace_host = (!upstream.preserve_host).then(|| app_client.authority().clone());
        let identity_names = upstream.identity_headers.iter().map(|(name, _)| name.clone()).collect();
        let instance = uuid::Uuid::now_v7().as_fields().0 ^ std::process::id();
        let headers =
            Arc::new(HeaderRules::new(replace_host, identity_names, config.edge.trusted_proxies.header, instance));
        let mut forwarder = Forwarder::new(
            app_client,
            Arc::clone(&headers),
            upstream.response_timeout,
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
            tokens: minter.map(|minter| minter as Arc<dyn Tokens>),
            cookie: config.cookie.zip(token_ttl),
            jwks,
            identity_headers: upstream.identity_headers,
            trusted_proxies: config.edge.trusted_proxies,
            bounds: config.edge.bounds,
            gate: config.edge.gate,
            hosts: config.edge.hosts,
            headers,
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
        })?);

        let readiness = Arc::new(Readiness::new());
        let admin = admin_listener.zip(addresses.admin).map(|(listener, bound)| {
            let state = AdminState::new(AdminParts {
                store,
                metrics: Arc::clone(&metrics),
                mode,
                readiness: Arc::clone(&readiness),
                clock,
                identifiers: config.identity,
                token: config.admin.token,
                bound,
                hosts: Vec::new(),
            });
            (listener, state)
        });
        Ok(Self { server, interceptor, service, metrics, readiness, admin, addresses })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Serves until `shutdown`, then drains: not ready, no new connections, everything under way finished (R25). The admin
    /// listener stays to the end.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), RunError> {
        let (stop, stop_admin) = (CancellationToken::new(), CancellationToken::new());
        let admin = self.admin.map(|(listener, state)| {
            let stop_admin = stop_admin.clone();
            tokio::spawn(async move {
                admin::serve(listener, admin::router(state), stop_admin.cancelled_owned()).await;
            })
        });
        self.readiness.set_started();
        let serving = self.server.run(self.interceptor, self.metrics, stop.clone());
        tokio::pin!(serving);
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = shutdown => {
                self.readiness.set_draining();
                tracing::info!("draining");
                stop.cancel();
                serving.await
            }
        };
        // What was begun elsewhere than on a worker, within bounds: a save that hangs must not hold the process.
        drop(tokio::time::timeout(LAST_SAVES, self.service.drain()).await);
        stop_admin.cancel();
        if let Some(admin) = admin
            && let Err(error) = admin.await
        {
            tracing::error!(error = %WithCauses(&error), "the admin listener died");
        }
        match ended {
            Ok(drained) => {
                tracing::info!(?drained, "stopped");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

async fn bind_admin(address: Option<SocketAddr>) -> Result<Option<TcpListener>, BuildError> {
    let Some(address) = address else { return Ok(None) };
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(cause) => Err(BuildError::Admin { address, cause }),
    }
}

/// One client for the app and one for legacy; the same one where they are the same place.
fn clients(upstream: &Target, legacy: &LegacySettings, connect_timeout: Duration) -> Result<Clients, TlsError> {
    // Reading the machine's certificates takes a while, and a machine without any is fine where nothing is TLS.
    let tls =
        if upstream.https || legacy.target.https { client_config(None)? } else { client_config_trusting_nobody()? };
    let settings = |connect_timeout| ClientSettings {
        connect_timeout,
        tls: Arc::clone(&tls),
        max_idle_per_thread: IDLE_PER_THREAD,
        idle_timeout: IDLE_TIMEOUT,
    };
    let app = Client::new(upstream.clone(), settings(connect_timeout));
    let legacy_client = if legacy.target == *upstream && legacy.connect_timeout == connect_timeout {
        app.clone()
    } else {
        Client::new(legacy.target.clone(), settings(legacy.connect_timeout))
    };
    Ok(Clients { legacy: legacy_client, upstream: app })
}

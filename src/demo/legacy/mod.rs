//! The demo's legacy: a web app of the kind that authferry is put in front of, with users of its own.
//!
//! It listens twice. The app's address has everything that a browser or client of the app sees: pages, `POST /api/login`,
//! `POST /api/register`, the login form. The auth backend's address has the same logins, and `/internal/…` for services of the
//! house. [`DemoLegacy::stop`] ends the auth backend: its address refuses connections, and the app can show pages and read
//! sessions but log nobody in. So one can see what goes on working.
//!
//! Small, but no mock: passwords are bcrypt hashes, sessions are signed and expire, every bound is kept. Knows nothing of
//! authferry.

mod accounts;
mod pages;
mod routes;
mod session;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use accounts::{DEMO_USERS, DemoUser};

use self::accounts::{Accounts, NoHash};
use crate::domain::clock::Clock;

/// What the app signs its sessions with. Shared with the proxy, as `[token] key`.
pub const SHARED_KEY: &str = "the-demo-app-signs-its-sessions-with-this";

/// How long a session lasts.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// How long requests under way may take to end when the auth backend is stopped.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The two sockets that the demo's legacy listens on.
pub struct DemoListeners {
    /// For the app.
    pub app: TcpListener,
    /// For its auth backend.
    pub auth: TcpListener,
}

/// Why the demo's legacy does not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A listener failed.
    #[error("the demo's legacy cannot listen")]
    Listen(#[from] io::Error),
    /// The demo users' passwords could not be hashed.
    #[error("the demo users cannot be made")]
    Users(#[source] NoHash),
}

/// The running legacy. Dropping it ends both halves.
pub struct DemoLegacy {
    legacy: Arc<Legacy>,
    app_addr: SocketAddr,
    auth_addr: SocketAddr,
    _app: Server,
    auth: Option<Server>,
}

/// What the handlers share.
struct Legacy {
    accounts: Accounts,
    clock: Arc<dyn Clock>,
    auth_is_on: AtomicBool,
    logins: AtomicU64,
}

impl DemoLegacy {
    /// Starts both halves on the current runtime, with [`DEMO_USERS`].
    pub fn start(listeners: DemoListeners, clock: Arc<dyn Clock>) -> Result<Self, DemoError> {
        let DemoListeners { app, auth } = listeners;
        let (app_addr, auth_addr) = (app.local_addr()?, auth.local_addr()?);
        let accounts = Accounts::of_the_demo().map_err(DemoError::Users)?;
        let legacy = Arc::new(Legacy { accounts, clock, auth_is_on: AtomicBool::new(true), logins: AtomicU64::new(0) });
        let app = Server::start(app, routes::of_the_app(&legacy));
        let auth = Some(Server::start(auth, routes::of_the_auth_backend(&legacy)));
        Ok(Self { legacy, app_addr, auth_addr, _app: app, auth })
    }

    /// Where the app is: for `[upstream] url`.
    #[must_use]
    pub fn app_addr(&self) -> SocketAddr {
        self.app_addr
    }

    /// Where its auth backend is: for `[legacy] url`.
    #[must_use]
    pub fn auth_addr(&self) -> SocketAddr {
        self.auth_addr
    }

    /// Whether the auth backend runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.auth.is_some()
    }

    /// Stops the auth backend. When this is ready its address refuses connections. Stopping it twice is stopping it once.
    pub async fn stop(&mut self) {
        self.legacy.auth_is_on.store(false, Ordering::Release);
        if let Some(server) = self.auth.take() {
            server.stop().await;
        }
    }

    /// Starts the auth backend again, at the same address and with the users it had.
    pub async fn resume(&mut self) -> Result<(), DemoError> {
        if self.auth.is_none() {
            let listener = TcpListener::bind(self.auth_addr).await?;
            self.auth = Some(Server::start(listener, routes::of_the_auth_backend(&self.legacy)));
        }
        self.legacy.auth_is_on.store(true, Ordering::Release);
        Ok(())
    }

    /// How many logins it was asked to judge, right or wrong: what authferry spares it.
    #[must_use]
    pub fn logins(&self) -> u64 {
        self.legacy.logins.load(Ordering::Relaxed)
    }

    /// How many users it has.
    #[must_use]
    pub fn users(&self) -> usize {
        self.legacy.accounts.len()
    }
}

/// One listener that is being served.
struct Server {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    fn start(listener: TcpListener, router: Router) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async {
            // Serving ends in no other way than by the signal; failed accepts are tried again.
            let _ended = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
        });
        Self { stop, task }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_TIMEOUT, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

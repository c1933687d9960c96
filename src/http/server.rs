//! The server of the public edge: binds every listener, then runs one thread with its own single-threaded runtime for each worker, so
//! that a connection, its upstream connection and its timers never leave their core. Called by `app`; what a request means is
//! the [`Handler`]'s business.

use std::io;
use std::sync::Arc;

use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Places};
use super::framing::HeadRules;
use super::gate::GatePolicy;
use super::listener::{BindError, BindFault, Bound, BoundAddress, HandedOver, bind, shown};
use super::settings::{EdgeBounds, ListenerSettings};
use super::tls::server_config;
use super::worker::{Door, Worker};
use crate::net::ProxyBody;
use crate::telemetry::Metrics;

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Dropped when the client goes away before; a panic becomes a 500 and is counted.
    fn handle(
        &self,
        request: http::Request<Incoming>,
        connection: &Arc<Connection>,
    ) -> impl Future<Output = http::Response<ProxyBody>> + Send;

    /// What an operator loosened of the gate.
    fn gate(&self) -> GatePolicy {
        GatePolicy::default()
    }

    /// Waits for what outlives its request. Called on every worker, once its connections have ended, since work that was begun
    /// on a worker ends with it.
    fn drain(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every request was answered.
    InTime,
    /// Some connections were cut off when the time for draining was up.
    CutOff,
}

/// A worker could not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No thread, runtime or event queue.
    #[error("a worker could not start")]
    Start(#[source] io::Error),
    /// A bug: a worker ended without being told to.
    #[error("a worker ended by itself")]
    Gone,
}

/// A server whose listeners are bound and which accepts nothing yet.
pub struct BoundServer {
    listeners: Vec<(Bound, Door)>,
    bounds: EdgeBounds,
}

/// Binds all listeners, or none: the first that fails is reported with its key and address.
pub fn bind_all(listeners: &[ListenerSettings], bounds: EdgeBounds) -> Result<BoundServer, BindError> {
    let bounds = EdgeBounds { workers: bounds.workers.max(1), ..bounds };
    let mut handed_over = HandedOver::from_env();
    let mut ready = Vec::with_capacity(listeners.len());
    for (index, settings) in listeners.iter().enumerate() {
        let failed = |key, fault| BindError { index, key, address: shown(&settings.bind), fault };
        let tls = settings.tls.as_ref().map(server_config).transpose();
        let tls = tls.map_err(|error| failed("tls", BindFault::Tls(error)))?;
        let bound = bind(&settings.bind, bounds.workers, &mut handed_over).map_err(|fault| failed("bind", fault))?;
        ready.push((bound, Door { tls, proxy_protocol: settings.proxy_protocol }));
    }
    Ok(BoundServer { listeners: ready, bounds })
}

impl BoundServer {
    /// Where each listener listens, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> Vec<BoundAddress> {
        self.listeners.iter().map(|(bound, _)| bound.address.clone()).collect()
    }

    /// Serves until `shutdown`, then accepts nothing more, finishes what is under way within `drain_timeout`, and returns when all
    /// workers have ended (R25).
    pub async fn run<H: Handler>(
        self,
        handler: Arc<H>,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> Result<Drained, ServeError> {
        let places = Places::new(self.bounds.max_connections, metrics.connections().clone());
        let requests = Places::new(self.bounds.max_requests, metrics.requests().clone());
        let mut files = Vec::new();
        let mut shares: Vec<Vec<_>> = (0..self.bounds.workers).map(|_| Vec::new()).collect();
        for (bound, door) in self.listeners {
            files.push(bound.file);
            for (share, socket) in shares.iter_mut().zip(bound.sockets) {
                share.push((socket, bound.address.tcp(), door.clone()));
            }
        }
        let mut workers = Vec::with_capacity(shares.len());
        for (index, listening) in shares.into_iter().enumerate() {
            let worker = Worker {
                handler: handler.clone(),
                metrics: metrics.clone(),
                places: places.clone(),
                requests: requests.clone(),
                bounds: self.bounds,
                heads: HeadRules::new(&self.bounds, handler.gate()),
                shutdown: shutdown.clone(),
            };
            let (ended, end) = oneshot::channel();
            let spawned = std::thread::Builder::new().name(format!("edge-{index}")).spawn(move || {
                // Nobody waits for it any more only if this future was dropped.
                let _nobody_waits = ended.send(worker.work(listening));
            });
            if let Err(error) = spawned {
                shutdown.cancel();
                return Err(ServeError::Start(error));
            }
            workers.push(end);
        }
        let mut outcome = Ok(Drained::InTime);
        for worker in workers {
            let ended = match worker.await {
                Ok(ended) => ended.map_err(ServeError::Start),
                Err(_gone) => Err(ServeError::Gone),
            };
            outcome = match (outcome, ended) {
                (Err(first), _) => Err(first),
                (Ok(_), Err(error)) => {
                    // One worker less is no server: the others drain, and the process says why.
                    shutdown.cancel();
                    Err(error)
                }
                (Ok(Drained::InTime), Ok(drained)) => Ok(drained),
                (Ok(Drained::CutOff), Ok(_)) => Ok(Drained::CutOff),
            };
        }
        outcome
    }
}

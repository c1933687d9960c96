//! The server of the public edge: binds every listener, then runs one thread with its own single-threaded runtime for each worker, so
//! that a connection, its upstream connection and its timers never leave their core. Called by `app`; what a request means is
//! the [`Handler`]'s business.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Roster};
use super::framing::HeadRules;
use super::gate::GatePolicy;
use super::listener::{BindError, BindFault, Bound, BoundAddress, HandedOver, SocketFile, adopt, bind, shown};
use super::places::Places;
use super::settings::{EdgeBounds, ListenerSettings};
use super::tls::{Reload, TlsListeners};
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

    /// Whether many clients stand behind this address, so that its connections are not held to the bound for one.
    fn is_trusted_proxy(&self, _peer: IpAddr) -> bool {
        false
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
    tls: TlsListeners,
    bounds: EdgeBounds,
    controls: Controls,
}

/// Who takes the connections that come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepting {
    /// This process.
    Yes,
    /// Another process that holds the same sockets. Our own connections linger (R25).
    Elsewhere,
}

/// Listening sockets by the address that they are configured with, as [`Controls::sockets`] gives them.
pub type NamedSockets = Vec<(String, Vec<OwnedFd>)>;

/// Steers a server from outside of its workers: what a handover to another process and a watchdog need.
#[derive(Clone)]
pub struct Controls(Arc<Steering>);

struct Steering {
    accepting: watch::Sender<Accepting>,
    rosters: Vec<Arc<Roster>>,
    /// The listening sockets once more, while they may be passed on.
    kept: Mutex<NamedSockets>,
    given_away: AtomicBool,
}

impl Controls {
    fn new(workers: usize) -> Self {
        let (accepting, _) = watch::channel(Accepting::Yes);
        let rosters = (0..workers).map(|_| Roster::new()).collect();
        Self(Arc::new(Steering { accepting, rosters, kept: Mutex::default(), given_away: AtomicBool::new(false) }))
    }

    /// Accepts nothing more and lets every connection end with its next answer. The listening sockets stay open, and what
    /// comes waits in them, for another process or for [`Self::resume`].
    pub fn pause(&self) {
        self.0.accepting.send_replace(Accepting::Elsewhere);
    }

    /// Accepts again.
    pub fn resume(&self) {
        self.0.accepting.send_replace(Accepting::Yes);
    }

    /// The sockets belong to another process from now on: files of Unix sockets are left to it.
    pub fn give_away(&self) {
        self.0.given_away.store(true, Ordering::Release);
    }

    /// Sockets that were adopted belong to this process from now on.
    pub fn claim(&self) {
        self.0.given_away.store(false, Ordering::Release);
    }

    /// Whether another process is the service: the one that the sockets were given to, or the one that they are still to come from.
    #[must_use]
    pub fn is_given_away(&self) -> bool {
        self.0.given_away.load(Ordering::Acquire)
    }

    /// Whether no connection is left.
    #[must_use]
    pub fn is_deserted(&self) -> bool {
        self.0.rosters.iter().all(|roster| roster.tasks.is_empty())
    }

    /// Whether none of the connections that are left can bring another request, as far as that can be told.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.0.rosters.iter().all(|roster| roster.is_quiet())
    }

    /// How long the slowest worker has not been through its loop. Usually well under a second.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.0.rosters.iter().map(|roster| roster.lag()).max().unwrap_or_default()
    }

    /// Handles of the listening sockets, by the address that they were configured with; none if they are not kept.
    pub fn sockets(&self) -> io::Result<NamedSockets> {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let again = |fds: &Vec<OwnedFd>| fds.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>();
        kept.iter().map(|(name, fds)| Ok((name.clone(), again(fds)?))).collect()
    }

    /// A listening socket is closed when its last handle is.
    fn forget_sockets(&self) {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Binds all listeners, or none: the first that fails is reported with its key and address.
pub fn bind_all(listeners: &[ListenerSettings], bounds: EdgeBounds) -> Result<BoundServer, BindError> {
    bind_or_adopt(listeners, bounds, &mut NamedSockets::new())
}

/// The same, taking those listeners out of `inherited` that a running process has passed on under the same addresses. Until
/// [`Controls::claim`] they are that process's.
pub fn bind_or_adopt(
    listeners: &[ListenerSettings],
    bounds: EdgeBounds,
    inherited: &mut NamedSockets,
) -> Result<BoundServer, BindError> {
    let bounds = EdgeBounds { workers: bounds.workers.max(1), ..bounds };
    let mut handed_over = HandedOver::from_env();
    let controls = Controls::new(bounds.workers);
    let mut ready = Vec::with_capacity(listeners.len());
    let mut all_tls = TlsListeners::read(listeners.iter().filter_map(|listener| listener.tls.as_ref()));
    for (index, settings) in listeners.iter().enumerate() {
        let failed = |key, fault| BindError { index, key, address: shown(&settings.bind), fault };
        let tls = settings.tls.as_ref().map(|tls| all_tls.add(tls)).transpose();
        let tls = tls.map_err(|error| failed("tls", BindFault::Tls(Box::new(error))))?;
        let name = shown(&settings.bind);
        let bound = match inherited.iter().position(|(known, _)| *known == name) {
            Some(position) => {
                controls.give_away();
                adopt(&settings.bind, inherited.remove(position).1, bounds.workers)
            }
            None => bind(&settings.bind, bounds.workers, &mut handed_over),
        };
        let bound = bound.map_err(|fault| failed("bind", fault))?;
        ready.push((bound, Door { tls, proxy_protocol: settings.proxy_protocol }));
    }
    Ok(BoundServer { listeners: ready, tls: all_tls, bounds, controls })
}

impl BoundServer {
    /// Where each listener listens, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> Vec<BoundAddress> {
        self.listeners.iter().map(|(bound, _)| bound.address.clone()).collect()
    }

    /// Has the TLS files read again, at any time from now on.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.tls.reload()
    }

    /// Steers it while it runs.
    #[must_use]
    pub fn controls(&self) -> Controls {
        self.controls.clone()
    }

    /// Keeps handles of the listening sockets, so that [`Controls::sockets`] can pass them on.
    pub fn keep_sockets(&self, names: &[ListenerSettings]) -> io::Result<()> {
        let again = |bound: &Bound| bound.sockets.iter().map(|socket| socket.handle()).collect::<io::Result<Vec<_>>>();
        let sockets = names.iter().zip(&self.listeners);
        let sockets = sockets.map(|(settings, (bound, _))| Ok((shown(&settings.bind), again(bound)?)));
        let sockets = sockets.collect::<io::Result<_>>()?;
        *self.controls.0.kept.lock().unwrap_or_else(PoisonError::into_inner) = sockets;
        Ok(())
    }

    /// Serves until `shutdown`, then accepts nothing more, finishes what is under way within `drain_timeout`, and returns when all
    /// workers have ended (R25).
    pub async fn run<H: Handler>(
        self,
        handler: Arc<H>,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> Result<Drained, ServeError> {
        self.tls.watch(metrics.clone(), shutdown.clone()).map_err(ServeError::Start)?;
        let places = Places::of_connections(&self.bounds, metrics.connections().clone());
        let requests = Places::of_requests(&self.bounds, metrics.requests().clone());
        let handshakes = Places::of_handshakes(&self.bounds);
        let (mut files, mut inherited_files) = (Vec::new(), Vec::new());
        let mut shares: Vec<Vec<_>> = (0..self.bounds.workers).map(|_| Vec::new()).collect();
        for (bound, door) in self.listeners {
            files.extend(bound.file);
            inherited_files.extend(bound.inherited_file);
            // Sockets of a process that had more workers are shared out: each has connections waiting in it.
            for (index, socket) in bound.sockets.into_iter().enumerate() {
                if let Some(share) = shares.get_mut(index % self.bounds.workers) {
                    share.push((socket, bound.address.tcp(), door.clone()));
                }
            }
        }
        let mut workers = Vec::with_capacity(shares.len());
        let steering = &self.controls.0;
        for (index, (listening, roster)) in shares.into_iter().zip(&steering.rosters).enumerate() {
            let worker = Worker {
                handler: handler.clone(),
                metrics: metrics.clone(),
                places: places.clone(),
                requests: requests.clone(),
                bounds: self.bounds,
                heads: HeadRules::new(&self.bounds, handler.gate()),
                handshakes: handshakes.clone(),
                roster: roster.clone(),
                accepting: steering.accepting.subscribe(),
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
        for mut worker in workers {
            let ended = tokio::select! {
                ended = &mut worker => ended,
                () = shutdown.cancelled() => {
                    self.controls.forget_sockets();
                    worker.await
                }
            };
            let ended = match ended {
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
        // Whoever ends in the middle of a handover cannot know whose they are in the end.
        let undecided = *steering.accepting.borrow() == Accepting::Elsewhere;
        if undecided || self.controls.is_given_away() {
            files.into_iter().for_each(SocketFile::leave);
        } else {
            // Dropped at once, the files go. One that is gone already is no fault.
            inherited_files.iter().filter_map(|path| SocketFile::of(path).ok()).for_each(drop);
        }
        outcome
    }
}

//! The TLS configurations in use, and how they are replaced while connections come in: on a signal, and whenever what their files hold
//! has changed. All files of all listeners are read as one snapshot and taken together or not at all: never a new certificate with
//! an old key. What cannot be used is told, and what was in use stays (R120).
//!
//! Looks at the files themselves rather than at their times or names, so that it makes no difference whether they are overwritten,
//! renamed into place, or reached by a symbolic link that was swapped (as Kubernetes does). On a thread of its own: a mount that
//! hangs holds up no connection.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::validity::Standing;
use super::{CertificateFacts, TlsFileError, paths, server_config};
use crate::domain::clock::{Clock, SystemClock};
use crate::http::settings::ListenerTls;
use crate::net::pem::PemFiles;
use crate::telemetry::{Metrics, WithCauses};

/// How often the files are looked at. A change is taken when it has stood still for as long, so that a file that is just being written
/// is not taken for a broken one.
const LOOK: Duration = Duration::from_secs(1);

/// What the handshakes of one listener use now. Clones see the same.
#[derive(Clone)]
pub(in crate::http) struct LiveConfig(Arc<RwLock<Arc<ServerConfig>>>);

impl LiveConfig {
    fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(RwLock::new(config)))
    }

    /// For one handshake, which keeps what it began with.
    pub(in crate::http) fn acceptor(&self) -> TlsAcceptor {
        // A panic cannot leave a pointer half written.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }

    fn replace(&self, config: Arc<ServerConfig>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }
}

/// Has the TLS files read again. Cheap to clone; outlives the server without harm.
#[derive(Clone)]
pub struct Reload(Option<SyncSender<()>>);

impl Reload {
    /// Asks for it; how it went is told in the log and by `authferry_tls_reloads_total`.
    pub fn now(&self) {
        match &self.0 {
            None => tracing::info!("no listener has TLS: there is nothing to read again"),
            Some(asked) => match asked.try_send(()) {
                // One that waits already will do for both.
                Ok(()) | Err(TrySendError::Full(())) => {}
                Err(TrySendError::Disconnected(())) => tracing::debug!("the server has ended: nothing is read again"),
            },
        }
    }
}

/// All listeners with TLS, between their binding and the end of the server.
pub(in crate::http) struct TlsListeners {
    read: PemFiles,
    listeners: Vec<(ListenerTls, LiveConfig)>,
    facts: Vec<CertificateFacts>,
    ask: SyncSender<()>,
    asked: Receiver<()>,
}

impl TlsListeners {
    /// Reads every file once. Blocks.
    pub(in crate::http) fn read<'a>(listeners: impl Iterator<Item = &'a ListenerTls>) -> Self {
        let (ask, asked) = sync_channel(1);
        let read = PemFiles::read(listeners.flat_map(paths));
        Self { read, listeners: Vec::new(), facts: Vec::new(), ask, asked }
    }

    /// One of the listeners that were read.
    pub(in crate::http) fn add(&mut self, tls: &ListenerTls) -> Result<LiveConfig, TlsFileError> {
        let (config, facts) = server_config(tls, &self.read)?;
        let live = LiveConfig::new(config);
        self.facts.extend(facts);
        self.listeners.push((tls.clone(), live.clone()));
        Ok(live)
    }

    pub(in crate::http) fn reload(&self) -> Reload {
        Reload((!self.listeners.is_empty()).then(|| self.ask.clone()))
    }

    /// Watches over the files until the shutdown, on a thread of its own.
    pub(in crate::http) fn watch(self, metrics: Arc<Metrics>, shutdown: CancellationToken) -> io::Result<()> {
        if self.listeners.is_empty() {
            return Ok(());
        }
        tell(&self.facts, &metrics);
        let tried = self.read.digest();
        let mut watch = Watch { listeners: self.listeners, metrics, tried, last: Outcome::Taken, seen: tried };
        let (asked, ask) = (self.asked, self.ask);
        let thread = std::thread::Builder::new().name("tls-files".to_owned());
        thread.spawn(move || {
            // Held here, so that the channel stays open while nobody else has the other end.
            let _ask = ask;
            while !shutdown.is_cancelled() {
                match asked.recv_timeout(LOOK) {
                    Ok(()) => watch.was_asked(),
                    Err(RecvTimeoutError::Timeout) => watch.look(),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(())
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Taken,
    Refused,
}

struct Watch {
    listeners: Vec<(ListenerTls, LiveConfig)>,
    metrics: Arc<Metrics>,
    /// What the files held at the last attempt, and how that ended.
    tried: [u8; 32],
    last: Outcome,
    /// What they held at the last look.
    seen: [u8; 32],
}

impl Watch {
    fn read(&self) -> PemFiles {
        PemFiles::read(self.listeners.iter().flat_map(|(tls, _)| paths(tls)))
    }

    /// Takes a change that has stood still since the last look.
    fn look(&mut self) {
        let read = self.read();
        let now = read.digest();
        let stands_still = std::mem::replace(&mut self.seen, now) == now;
        if now != self.tried && stands_still {
            self.attempt(&read, now);
        }
    }

    /// Takes what is there, at once. What did not work is tried again: a CA may have become usable with the time.
    fn was_asked(&mut self) {
        let read = self.read();
        self.seen = read.digest();
        if self.seen == self.tried && self.last == Outcome::Taken {
            self.metrics.tls_reload("unchanged");
            tracing::info!("the TLS files hold what is in use already");
            return;
        }
        self.attempt(&read, self.seen);
    }

    fn attempt(&mut self, read: &PemFiles, digest: [u8; 32]) {
        self.tried = digest;
        // All before the first is replaced.
        let loaded: Result<Vec<_>, _> = self.listeners.iter().map(|(tls, _)| server_config(tls, read)).collect();
        match loaded {
            Ok(loaded) => {
                let mut facts = Vec::new();
                for ((_, live), (config, of_listener)) in self.listeners.iter().zip(loaded) {
                    live.replace(config);
                    facts.extend(of_listener);
                }
                self.last = Outcome::Taken;
                self.metrics.tls_reload("ok");
                tracing::info!("the TLS files have changed and are in use");
                tell(&facts, &self.metrics);
            }
            Err(error) => {
                self.last = Outcome::Refused;
                self.metrics.tls_reload("failed");
                self.metrics.alarm("tls_files");
                let message = "the TLS files have changed and cannot be used: those before stay in use";
                tracing::error!(error = %WithCauses(&error), "{message}");
            }
        }
    }
}

/// Says what is in use now, and until when.
fn tell(facts: &[CertificateFacts], metrics: &Metrics) {
    let now = SystemClock.wall();
    for certificate in facts {
        let (cert, names) = (certificate.cert.display(), certificate.shown_names());
        let (from, until) = (day(certificate.validity.not_before.0), day(certificate.validity.not_after.0));
        metrics.tls_not_after(&certificate.cert.display().to_string().into(), certificate.validity.not_after.0);
        match certificate.validity.at(now) {
            Standing::Valid => tracing::info!(%cert, names, until, "a certificate is in use"),
            Standing::Expired => {
                tracing::warn!(%cert, names, until, "a certificate in use has expired: clients will refuse it");
            }
            Standing::NotYet => {
                tracing::warn!(%cert, names, from, "a certificate in use is not valid yet: clients will refuse it");
            }
        }
    }
}

/// A time as a line shows it.
fn day(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

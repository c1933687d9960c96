//! `authferry run`: builds the application, says where it listens, and serves until a signal asks it to stop.
//!
//! The first SIGTERM or SIGINT drains: no new connection is taken, open requests and saves are finished. A second one stops at once.
//! SIGHUP has the TLS files read again and ends nothing.

use std::future::Future;
use std::pin::pin;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::failure::{Ended, Failure};
use super::options::ConfigFile;
use crate::app::App;
use crate::config::Config;
use crate::telemetry::logging;

/// Serve: answer logins, ask the legacy backend, forward the rest
#[derive(clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    config: ConfigFile,
}

impl Run {
    pub(super) fn execute(&self) -> Ended {
        let config = self.config.load()?;
        logging::init(config.log.format, &config.log.level).map_err(Failure::of)?;
        for warning in &config.warnings {
            tracing::warn!(key = warning.key, "{}", warning.message);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::of)?;
        let stopped = runtime.block_on(serve(config))?;
        match stopped {
            Stopped::Drained => Ok(()),
            Stopped::AtOnce => {
                // What was acknowledged is on disk; what was not, was not promised. Threads are not waited for.
                // The operator asked twice: nothing may hold the process any more.
                std::process::exit(1)
            }
        }
    }
}

/// How serving ended.
#[derive(Debug, PartialEq, Eq)]
enum Stopped {
    /// Every request was answered.
    Drained,
    /// A second signal cut it short.
    AtOnce,
}

async fn serve(config: Config) -> Result<Stopped, Failure> {
    // Before anything is bound: a signal during the start is a wish to stop as well.
    let mut signals = Signals::listen().map_err(Failure::of)?;
    let mut hangups = signal(SignalKind::hangup()).map_err(Failure::of)?;
    let app = App::build(config).await.map_err(Failure::of)?;
    let reload = app.reload();
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            tracing::info!(signal = "SIGHUP", "reading the TLS files again");
            reload.now();
        }
    });
    let addresses = app.addresses();
    for address in &addresses.public {
        tracing::info!(listener = "public", %address, "listening");
    }
    if let Some(address) = addresses.admin {
        tracing::info!(listener = "admin", %address, "listening");
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    let (begin, begun) = oneshot::channel::<()>();
    let running = app.run(async move {
        // A sender that is gone means the same as one that sent.
        let _asked_or_gone = begun.await;
    });
    until_stopped(running, begin, async || signals.next().await).await.map_err(Failure::of)
}

/// Runs until it ends, telling it to drain at the first signal and leaving it alone at the second.
async fn until_stopped<E>(
    running: impl Future<Output = Result<(), E>>,
    begin: oneshot::Sender<()>,
    mut next_signal: impl AsyncFnMut() -> &'static str,
) -> Result<Stopped, E> {
    let mut running = pin!(running);
    let mut begin = Some(begin);
    loop {
        tokio::select! {
            ended = &mut running => return ended.map(|()| Stopped::Drained),
            name = next_signal() => match begin.take() {
                Some(begin) => {
                    tracing::info!(signal = name, "draining; a second signal stops at once");
                    // It may just have ended by itself.
                    let _taken = begin.send(());
                }
                None => {
                    tracing::warn!(signal = name, "stopped at once; open requests were cut off");
                    return Ok(Stopped::AtOnce);
                }
            },
        }
    }
}

/// The signals that ask a process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    async fn ends(
        running: impl Future<Output = Result<(), Infallible>>,
        begin: oneshot::Sender<()>,
        signals: usize,
    ) -> Stopped {
        let mut left = signals;
        let next = async || match left.checked_sub(1) {
            Some(fewer) => {
                left = fewer;
                "SIGTERM"
            }
            None => std::future::pending().await,
        };
        match until_stopped(running, begin, next).await {
            Ok(stopped) => stopped,
            Err(never) => match never {},
        }
    }

    #[tokio::test]
    async fn the_first_signal_drains_and_waits_for_the_end() {
        let (begin, begun) = oneshot::channel();
        let draining = async { begun.await.map_err(|_gone| unreachable!("the signal comes")) };
        assert_eq!(ends(draining, begin, 1).await, Stopped::Drained);
    }

    #[tokio::test]
    async fn a_second_signal_does_not_wait() {
        let (begin, _begun) = oneshot::channel();
        assert_eq!(ends(std::future::pending(), begin, 2).await, Stopped::AtOnce);
    }

    #[tokio::test]
    async fn an_end_without_a_signal_is_an_end() {
        let (begin, _begun) = oneshot::channel();
        assert_eq!(ends(std::future::ready(Ok(())), begin, 0).await, Stopped::Drained);
    }
}

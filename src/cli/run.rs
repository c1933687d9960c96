//! `authferry run`: builds the application, says where it listens, and serves until a signal asks it to stop.
//!
//! The first SIGTERM or SIGINT drains: no new connection is taken, open requests and saves are finished. A second one stops at once.
//! SIGHUP has the TLS files read again and ends nothing. SIGUSR2 starts the binary anew with `--takeover`, and the new process takes the
//! place of this one.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::failure::{Ended, Failure};
use super::options::ConfigFile;
use super::successor::Successor;
use crate::app::App;
use crate::config::Config;
use crate::notify::Notifier;
use crate::telemetry::logging;

/// Serve: answer logins, ask the legacy backend, forward the rest
#[derive(clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    config: ConfigFile,
    /// Take the place of the process that runs under `server.takeover`, without failing a request
    #[arg(long)]
    takeover: bool,
}

impl Run {
    pub(super) fn execute(&self) -> Ended {
        // As it was when it was started: by the time it is wanted, another one may lie there.
        let successor = Successor::of_this_process();
        let config = self.config.load()?;
        if self.takeover && config.takeover.is_none() {
            return Err(Failure::Usage("--takeover needs the key server.takeover in the configuration".into()));
        }
        let log = logging::init(config.log.format, &config.log.level).map_err(Failure::of)?;
        for warning in &config.warnings {
            tracing::warn!(key = warning.key, "{}", warning.message);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::of)?;
        let stopped = runtime.block_on(serve(config, self.takeover, successor))?;
        match stopped {
            Stopped::Drained => Ok(()),
            Stopped::AtOnce => {
                // What was acknowledged is on disk; what was not, was not promised. Threads are not waited for.
                // The operator asked twice: nothing may hold the process any more, but for the second that the last lines take.
                drop(log);
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

async fn serve(config: Config, takeover: bool, successor: Successor) -> Result<Stopped, Failure> {
    // Before anything is bound: a signal during the start is a wish to stop as well.
    let mut signals = Signals::listen().map_err(Failure::of)?;
    let mut hangups = signal(SignalKind::hangup()).map_err(Failure::of)?;
    let mut restarts = signal(SignalKind::user_defined2()).map_err(Failure::of)?;
    let notifier = Notifier::from_env();
    let can_hand_over = config.takeover.is_some();
    let app = if takeover { App::take_over(config).await } else { App::build(config).await };
    let app = app.map_err(Failure::of)?;
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
    let (begin, begun) = oneshot::channel::<()>();
    let running = app.run_under(&notifier, async move {
        // A sender that is gone means the same as one that sent.
        let _asked_or_gone = begun.await;
    });
    let stopped = until_stopped(running, begin, async || signals.next().await);
    let replacing = async {
        while restarts.recv().await.is_some() {
            if can_hand_over {
                successor.start();
            } else {
                tracing::error!("SIGUSR2: no process can take over without the key server.takeover");
            }
        }
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        stopped = stopped => stopped.map_err(Failure::of),
        never = replacing => match never {},
    }
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

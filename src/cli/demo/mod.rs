//! `authferry demo`: a legacy app, the proxy in front of it, visitors, and a person who watches, all in one process.
//!
//! ```text
//! stage     the app, the proxy, a store in a fresh folder      feed      what happens, from the proxy's audit log
//! tour      the proof in six steps, checked as it goes         visitor   somebody with a browser
//! live      what happens, a line each, and commands            keyboard  one letter and Enter
//! ```
//!
//! Nothing of it is left behind: the folder goes when the demo ends, by a signal too.

mod feed;
mod keyboard;
mod live;
mod stage;
mod tour;
mod visitor;

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use self::feed::Feed;
use self::live::Traffic;
use self::stage::{Port, Ports, Stage};
use super::failure::{Ended, Failure};
use super::terminal::{Person, Terminal};

/// Where the proxy listens unless something else does there, or it is told otherwise.
const PROXY: u16 = 8080;
/// The console.
const ADMIN: u16 = 9090;
/// The app.
const APP: u16 = 3000;

/// Show a migration: a legacy app, the proxy in front, a guided tour
///
/// Starts a small legacy app with users of its own and authferry in front of it, shows in six steps how users come over while
/// they log in, and then lets you try it. Nothing is left behind.
#[derive(clap::Args)]
pub(super) struct Demo {
    /// Port of the proxy [default: 8080, or a free one]
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Port of the console and the metrics [default: 9090, or a free one]
    #[arg(long, value_name = "N")]
    admin_port: Option<u16>,
    /// Port of the legacy app [default: 3000, or a free one]
    #[arg(long, value_name = "N")]
    app_port: Option<u16>,
    /// Only the tour, then end: what happens anyway when no terminal is there
    #[arg(long, conflicts_with_all = ["traffic", "seconds"])]
    tour: bool,
    /// After the tour, let visitors come and go
    #[arg(long)]
    traffic: bool,
    /// After the tour, end after so many seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

impl Demo {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        let feed = Feed::listen().map_err(Failure::of)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Failure::of)?;
        runtime.block_on(self.play(feed, terminal))
    }

    async fn play(&self, mut feed: Feed, terminal: &mut Terminal) -> Ended {
        let mut terminated = signal(SignalKind::terminate()).map_err(Failure::of)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(Failure::of)?;
        let ports = Ports {
            proxy: Port::of(self.port, PROXY),
            admin: Port::of(self.admin_port, ADMIN),
            app: Port::of(self.app_port, APP),
        };
        let stage = Stage::set_up(&ports).await?;
        let played = tokio::select! {
            played = self.acts(&stage, &mut feed, terminal) => played,
            _ = terminated.recv() => Ok(()),
            _ = interrupted.recv() => Ok(()),
        };
        let struck = stage.strike().await;
        played.and(struck)
    }

    async fn acts(&self, stage: &Stage, feed: &mut Feed, terminal: &mut Terminal) -> Ended {
        tour::open(stage, terminal)?;
        tour::walk(stage, feed, terminal).await?;
        let watched = terminal.person() == Person::Present;
        if self.tour || !(watched || self.traffic || self.seconds.is_some()) {
            return Ok(());
        }
        let traffic = if self.traffic { Traffic::Flowing } else { Traffic::Still };
        let stay = live::watch(stage, feed, traffic, terminal);
        match self.seconds {
            None => stay.await,
            Some(seconds) => match tokio::time::timeout(Duration::from_secs(seconds), stay).await {
                Ok(ended) => ended,
                Err(_time_is_up) => Ok(()),
            },
        }
    }
}

//! What happens in the proxy, as it happens: the audit events of its log, which a demo shows to a person instead of writing them
//! down. Bounded: what comes faster than it is shown is counted and left out.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Events that wait to be shown.
const WAITING: usize = 256;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happening {
    /// A login or a registration was answered.
    Answered(Answered),
    /// A user and his password are on disk.
    Migrated {
        /// His public id.
        user: String,
    },
    /// A warning or an error.
    Trouble(String),
}

/// A login or a registration that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) what: What,
    /// `Local`, `Legacy` or `Edge`.
    pub(super) source: String,
    /// `ok`, `denied`, …
    pub(super) outcome: String,
    /// The public id of whoever was let in.
    pub(super) user: Option<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Login,
    Registration,
}

/// The end at which happenings come out.
pub(super) struct Feed {
    happenings: mpsc::Receiver<Happening>,
    left_out: Arc<AtomicU64>,
}

impl Feed {
    /// Listens to this process's log, which then goes nowhere else.
    pub(super) fn listen() -> Result<Self, tracing_subscriber::util::TryInitError> {
        let (feed, listener) = Self::new();
        tracing_subscriber::registry().with(listener).try_init()?;
        Ok(feed)
    }

    fn new() -> (Self, Listener) {
        let (sender, happenings) = mpsc::channel(WAITING);
        let left_out = Arc::new(AtomicU64::new(0));
        (Self { happenings, left_out: Arc::clone(&left_out) }, Listener { sender, left_out })
    }

    /// The next one. Pending while there is none.
    pub(super) async fn next(&mut self) -> Happening {
        match self.happenings.recv().await {
            Some(happening) => happening,
            // The listener lives as long as the process; were it gone, nothing would ever happen again.
            None => std::future::pending().await,
        }
    }

    /// What has happened and was not looked at yet.
    pub(super) fn so_far(&mut self) -> Vec<Happening> {
        std::iter::from_fn(|| self.happenings.try_recv().ok()).collect()
    }

    /// How many were left out since this was last asked.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.swap(0, Ordering::Relaxed)
    }
}

struct Listener {
    sender: mpsc::Sender<Happening>,
    left_out: Arc<AtomicU64>,
}

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let ours = metadata.target().split("::").next() == Some(env!("CARGO_PKG_NAME"));
        // Below that other crates print what nobody should see.
        if !ours || *metadata.level() > Level::INFO {
            return;
        }
        let mut said = Said::default();
        event.record(&mut said);
        let happening = match (metadata.target(), said.message.as_str()) {
            ("authferry::audit", "login") => said.answered(What::Login),
            ("authferry::audit", "registration") => said.answered(What::Registration),
            ("authferry::audit", "migrated") => said.user.map(|user| Happening::Migrated { user }),
            _ if *metadata.level() <= Level::WARN => Some(Happening::Trouble(said.message)),
            _ => None,
        };
        if happening.is_some_and(|happening| self.sender.try_send(happening).is_err()) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The fields of an event that are shown.
#[derive(Default)]
struct Said {
    message: String,
    source: Option<String>,
    outcome: Option<String>,
    user: Option<String>,
}

impl Said {
    fn answered(self, what: What) -> Option<Happening> {
        let (source, outcome) = (self.source?, self.outcome?);
        Some(Happening::Answered(Answered { what, source, outcome, user: self.user }))
    }

    fn keep(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            "source" => self.source = Some(value),
            "outcome" => self.outcome = Some(value),
            "user" => self.user = Some(value),
            _ => {}
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(log: impl FnOnce()) -> (Vec<Happening>, u64) {
        let (mut feed, listener) = Feed::new();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(listener), log);
        (feed.so_far(), feed.left_out())
    }

    #[test]
    fn audit_events_are_heard_and_nothing_less_than_a_warning_besides() {
        let (happenings, left_out) = heard(|| {
            tracing::info!(target: "authferry::audit", source = ?"x", outcome = "denied", user = None::<String>, "login");
            tracing::info!(target: "authferry::audit", user = "7", id = 1, "migrated");
            tracing::info!("a remark");
            tracing::warn!("a warning");
            tracing::error!(target: "hyper", "not ours");
            tracing::debug!(target: "authferry::audit", source = "x", outcome = "ok", "login");
        });
        let denied = Answered { what: What::Login, source: "\"x\"".into(), outcome: "denied".into(), user: None };
        let migrated = Happening::Migrated { user: "7".into() };
        assert_eq!(happenings, [Happening::Answered(denied), migrated, Happening::Trouble("a warning".into())]);
        assert_eq!(left_out, 0);
    }

    #[test]
    fn what_comes_too_fast_is_counted_and_left_out() {
        let (happenings, left_out) = heard(|| (0..WAITING + 3).for_each(|_| tracing::warn!("again")));
        assert_eq!((happenings.len(), left_out), (WAITING, 3));
    }
}

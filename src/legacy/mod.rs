//! Connects the configured legacy backend: sends the question, judges the answer by the operator's rules, bounds everything.
//!
//! ```text
//! http      the connector: one straight line for each thing that legacy can be asked
//! request   composes a question from templates, or readies the client's own
//! exchange  admits it (breaker, places in flight), sends it, reads the bounded answer
//! answer    the answer as expressions see it, and as a client may get it
//! verdict   exactly one rule holds, or the answer proves nothing
//! identity  whom an answer names
//! breaker   when not to ask at all
//! ```
//!
//! Never follows a redirect (R80), connects where its clients were configured to and nowhere else (R81), and never turns the
//! absence of a word into a word (R82). Called by `service` through [`LegacyBackend`].

mod answer;
mod breaker;
mod exchange;
mod http;
mod identity;
mod profile;
mod request;
pub mod settings;
mod verdict;

use std::sync::Arc;

pub use settings::LegacySettings;

use crate::domain::clock::Clock;
use crate::net::Client;
use crate::service::ports::LegacyBackend;
use crate::telemetry::Metrics;

/// Connections to the two places that the connector speaks to, which may be one and the same.
pub struct Clients {
    /// To [`LegacySettings::target`].
    pub legacy: Client,
    /// To [`LegacySettings::upstream`], for [`LegacyBackend::relay`].
    pub upstream: Client,
}

/// Settings that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Somebody's identity is to come from `get_user`, and there is none.
    #[error("users are to be read from get_user, but [legacy.get_user] is not configured")]
    NoGetUser,
    /// A client leads to another place than the settings say.
    #[error("a client was made for another target than the configured one")]
    OtherTarget,
}

/// The connector that speaks HTTP. Opens no connection yet.
///
/// # Errors
/// Where the settings contradict each other.
pub fn connect(
    settings: LegacySettings,
    clients: Clients,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn LegacyBackend>, ConnectError> {
    if *clients.legacy.target() != settings.target || *clients.upstream.target() != settings.upstream {
        return Err(ConnectError::OtherTarget);
    }
    if settings.get_user.is_none() && settings.reads_users_from_get_user() {
        return Err(ConnectError::NoGetUser);
    }
    Ok(Arc::new(http::HttpBackend::new(settings, clients, metrics, clock)))
}

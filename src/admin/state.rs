//! What every admin handler sees: the ports it works through, and who may come in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::attempts::WrongTokens;
use super::gate::AllowedHosts;
use super::permit::{TokenCheck, TokenVerdict};
use super::readiness::Readiness;
use super::roster::Gauges;
use super::session::Sessions;
use crate::domain::clock::{Clock, UnixSeconds};
use crate::domain::identifier::IdentifierRules;
use crate::domain::password::PasswordNormalization;
use crate::service::explain::Explainer;
use crate::service::people::{Door, People};
use crate::service::ports::{ModeSwitch, UserStore};
use crate::telemetry::Metrics;

/// What `app` hands over.
pub struct AdminParts {
    /// Where users are kept.
    pub store: Arc<dyn UserStore>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The mode in force.
    pub mode: Arc<dyn ModeSwitch>,
    /// The stage of the process.
    pub readiness: Arc<Readiness>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How a search is brought to canonical form.
    pub identifiers: IdentifierRules,
    /// What is done to passwords before they are hashed.
    pub normalization: PasswordNormalization,
    /// Says what a login would come to.
    pub explainer: Explainer,
    /// What opens the API and the console; none keeps both shut (R108).
    pub token: Option<Zeroizing<String>>,
    /// Where whoever shows it comes in, for the audit log.
    pub door: Door,
    /// Where the listener is bound, port 0 resolved.
    pub bound: SocketAddr,
    /// Further names under which operators reach the listener, with their port where it is not the scheme's own.
    pub hosts: Vec<String>,
}

/// Shared by all handlers. No `Debug`: it knows the token's digest.
pub struct AdminState {
    pub(super) store: Arc<dyn UserStore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) mode: Arc<dyn ModeSwitch>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) identifiers: IdentifierRules,
    pub(super) normalization: PasswordNormalization,
    pub(super) people: People,
    pub(super) explainer: Explainer,
    token: TokenCheck,
    wrong_tokens: WrongTokens,
    pub(super) hosts: AllowedHosts,
    pub(super) sessions: Sessions,
    pub(super) gauges: Gauges,
    pub(super) started_at: UnixSeconds,
}

impl AdminState {
    /// Takes the parts over. The token itself is not kept, only its digest.
    #[must_use]
    pub fn new(parts: AdminParts) -> Self {
        let AdminParts {
            store,
            metrics,
            mode,
            readiness,
            clock,
            identifiers,
            normalization,
            explainer,
            token,
            door,
            bound,
            hosts,
        } = parts;
        Self {
            started_at: clock.wall(),
            token: TokenCheck::new(token.as_deref().map(String::as_str), door),
            hosts: AllowedHosts::new(bound.ip(), hosts),
            sessions: Sessions::default(),
            people: People::new(Arc::clone(&store), Arc::clone(&mode), explainer.policy.local_share, identifiers),
            explainer,
            gauges: Gauges::default(),
            wrong_tokens: WrongTokens::default(),
            store,
            metrics,
            mode,
            readiness,
            clock,
            identifiers,
            normalization,
        }
    }

    /// Whether there is a token at all.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_configured()
    }

    /// Looks at a token that was shown, if its sender has not shown too many wrong ones. Wrong ones are audited: each that was looked
    /// at, and that no more are.
    pub(super) fn check_token(&self, from: Option<IpAddr>, shown: &str) -> TokenVerdict {
        if !self.has_token() {
            return TokenVerdict::NoneConfigured;
        }
        let from = from.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let Some(attempt) = self.wrong_tokens.begin(from, self.clock.monotonic()) else {
            return TokenVerdict::TooManyWrong;
        };
        let verdict = self.token.check(shown);
        match &verdict {
            TokenVerdict::Right(_) => attempt.was_right(),
            TokenVerdict::Wrong | TokenVerdict::NoneConfigured | TokenVerdict::TooManyWrong => {
                let refused_next = attempt.is_last;
                tracing::warn!(target: "authferry::audit", %from, refused_next, "a wrong admin token was shown");
                self.metrics.refused("admin_token");
            }
        }
        verdict
    }
}

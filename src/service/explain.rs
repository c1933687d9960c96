//! What a login would come to now, and why: for an operator whose user cannot log in. No password is needed; each one that could be
//! typed is gone through, with legacy up and down.
//!
//! Nothing here decides: the steps are the login's own ([`crate::domain::outlook`], [`crate::domain::login`]), taken with assumed
//! answers in place of the hash and of legacy. It writes nothing and counts nothing. `tests/it/explain.rs` holds what is said here
//! against what logins then do.

mod explanation;
mod facts;
mod forecast;

use std::net::IpAddr;
use std::sync::Arc;

pub use self::explanation::{By, Ending, Explanation, Fact, Forecast, Given, Keeps, LegacyIs, Meaning};
use self::facts::{AtLegacy, Facts, KeptFor};
use self::forecast::{Settled, forecasts};
use super::ports::{
    AccountLimits, ConflictQuery, Found, HashLook, HashReader, Lookup, ModeSwitch, StoreError, UserStore,
};
use super::{Policy, account_key, answerer_for, known, recheck};
use crate::domain::client_addr::ClientAddr;
use crate::domain::clock::Clock;
use crate::domain::conflict::Conflict;
use crate::domain::identifier::{Candidates, RawIdentifier};
use crate::domain::login::AskedBy;
use crate::domain::mode::Mode;
use crate::domain::outlook::Outlook;
use crate::domain::user::{Standing, User, UserId};
use crate::telemetry::Metrics;

/// So many conflicts are looked at; whether there are any is what matters.
const MAX_CONFLICTS: usize = 100;

/// What it takes to explain.
pub struct Explainer {
    /// Where users are kept.
    pub store: Arc<dyn UserStore>,
    /// The mode in force.
    pub mode: Arc<dyn ModeSwitch>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What the operator decided.
    pub policy: Policy,
    /// Looks at hashes.
    pub hashes: Arc<dyn HashReader>,
    /// The routes with `action = "login"`, in order.
    pub routes: Vec<LoginRoute>,
    /// What only a running proxy knows; none in an offline command.
    pub running: Option<Running>,
}

/// A route that logs users in.
pub struct LoginRoute {
    /// Its name.
    pub name: Arc<str>,
    /// How legacy is asked on it.
    pub asked_by: AskedBy,
    /// Who makes the session after our yes.
    pub session_by: SessionBy,
}

/// Who makes the session after a yes of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionBy {
    /// We answer.
    Us,
    /// The request goes on to the app, which makes its own session, or does not.
    TheApp,
}

/// What only a running proxy knows.
pub struct Running {
    /// Who counts attempts.
    pub accounts: Arc<dyn AccountLimits>,
    /// Where the breaker shows itself.
    pub metrics: Arc<Metrics>,
}

/// An explanation, with the record that it is about.
pub struct Explained {
    /// What would come.
    pub explanation: Explanation,
    /// Who is meant, if it is exactly one.
    pub user: Option<Box<User>>,
}

impl Explainer {
    /// Explains what a login under `typed` would come to now, and how the limits would meet it if it came `from` an address.
    pub async fn explain(&self, typed: &str, from: Option<IpAddr>) -> Result<Explained, StoreError> {
        let mode = self.mode.current();
        let login = match RawIdentifier::new(typed) {
            Ok(login) => login,
            Err(why) => return Ok(self.of_nobodys_name(mode, typed, &why.to_string())),
        };
        let candidates = self.policy.identifiers.candidates(&login);
        let names = self.meanings(&candidates).await?;
        let Lookup { found, revision: _ } = self.store.find(&candidates).await?;
        let answerer = answerer_for(mode, self.policy.local_share, Some(&found), &candidates);
        let mut facts = Facts::default();
        match self.routes.as_slice() {
            [] => facts.no_routes(mode),
            _ => facts.mode(mode, self.policy.local_share, answerer, &found),
        }
        facts.routes(&self.routes, answerer);
        let kept_for = self.kept_for(&found, &names).await?;
        facts.record(&found, kept_for);

        let user = match &found {
            Found::One(user) => Some(&**user),
            Found::Nobody | Found::Ambiguous => None,
        };
        let hash = user.map_or(HashLook::Absent, |user| self.hashes.look(&user.credential));
        if user.is_some() {
            facts.hash(&hash);
        }
        let from = from.map(ClientAddr::supposed);
        let account = account_key(&found, &candidates);
        let limits = self.running.as_ref().map(|running| running.accounts.peek(&account, from));
        let conflicts = match user {
            Some(user) => self.conflicts_with(user.id).await?,
            None => Vec::new(),
        };
        for conflict in &conflicts {
            facts.conflict(conflict);
        }
        let logins = match answerer {
            None => forecast::in_passthrough(),
            Some(answerer) => {
                let legacy = self.at_legacy();
                let outlook = Outlook::new(answerer, known(&found), user, legacy.revalidate_after, legacy.now);
                facts.legacy(outlook, user, legacy);
                let budget = || limits.is_none_or(|state| state.may_recheck);
                let recheck = recheck(self.policy.on_mismatch, budget);
                facts.limits(outlook, recheck, limits);
                if let (Some(from), Some(there)) = (from, limits.and_then(|state| state.there)) {
                    facts.address(outlook, from, there);
                }
                forecasts(&Settled {
                    outlook,
                    hash,
                    recheck,
                    asked_by: self.routes.first().map_or(AskedBy::Forward, |route| route.asked_by),
                    left_alone: legacy.left_alone,
                    in_conflict: !conflicts.is_empty(),
                    kept_for_closed: kept_for == Some(KeptFor::SomebodyClosed),
                })
            }
        };
        let (identifier, facts) = (typed.to_owned(), facts.into_list());
        let explanation = Explanation { identifier, mode, names, user: user.map(|user| user.id), facts, logins };
        let user = match found {
            Found::One(user) => Some(user),
            Found::Nobody | Found::Ambiguous => None,
        };
        Ok(Explained { explanation, user })
    }

    /// Of a text that can be nobody's name.
    fn of_nobodys_name(&self, mode: Mode, typed: &str, why: &str) -> Explained {
        let answerer = answerer_for(mode, self.policy.local_share, Some(&Found::Nobody), &Candidates::default());
        let mut facts = Facts::default();
        facts.nobodys_name(why);
        let (identifier, facts) = (typed.to_owned(), facts.into_list());
        let logins = forecast::of_nobodys_name(answerer);
        Explained {
            explanation: Explanation { identifier, mode, names: Vec::new(), user: None, facts, logins },
            user: None,
        }
    }

    async fn meanings(&self, candidates: &Candidates) -> Result<Vec<Meaning>, StoreError> {
        let holders = self.store.holders(candidates.keys()).await?;
        let meanings = candidates.keys().iter().zip(holders).map(|(key, holder)| Meaning {
            kind: key.kind(),
            canonical: key.text().to_owned(),
            holder: holder.map(|holder| holder.id),
            reserved: holder.is_some_and(|holder| !holder.bears),
        });
        Ok(meanings.collect())
    }

    /// For whom a name that finds nobody is kept from others.
    async fn kept_for(&self, found: &Found, names: &[Meaning]) -> Result<Option<KeptFor>, StoreError> {
        let holder = match found {
            Found::Nobody => names.iter().filter(|name| name.reserved).find_map(|name| name.holder),
            Found::One(_) | Found::Ambiguous => None,
        };
        let Some(holder) = holder else { return Ok(None) };
        let owner = self.store.user(holder).await?;
        // Without legacy's id he would not be known for who he is.
        let is_closed = owner.is_some_and(|user| user.standing != Standing::Active && user.legacy_id.is_some());
        Ok(Some(if is_closed { KeptFor::SomebodyClosed } else { KeptFor::Somebody }))
    }

    async fn conflicts_with(&self, holder: UserId) -> Result<Vec<Conflict>, StoreError> {
        let query =
            ConflictQuery { with: Some(holder), decided_too: true, limit: MAX_CONFLICTS, ..ConflictQuery::default() };
        let mut conflicts = self.store.conflicts(query).await?;
        // One whose names were given says nothing of a login any more.
        conflicts.retain(|conflict| conflict.decided.is_none_or(|decided| decided.decision.is_standing()));
        Ok(conflicts)
    }

    fn at_legacy(&self) -> AtLegacy {
        AtLegacy {
            left_alone: self.running.as_ref().is_some_and(|running| running.metrics.is_breaker_open()),
            revalidate_after: self.policy.revalidate_after,
            now: self.clock.wall(),
        }
    }
}

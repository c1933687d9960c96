//! Who a token is: answered from our store while we know the user, by legacy otherwise.

use std::sync::Arc;

use super::Service;
use super::ports::{StoreError, Tokens};
use super::reply::{Ours, Reply};
use crate::domain::credential::{AbsentBecause, Credential};
use crate::domain::mode::Mode;
use crate::domain::proof::{Authenticated, UserView};
use crate::domain::user::{Standing, User};
use crate::telemetry::metrics::Source;

impl Service {
    /// The active user whose token this is; none if it is not ours, has expired, or its user may not log in.
    pub async fn user_of(&self, tokens: &dyn Tokens, token: &str) -> Result<Option<User>, StoreError> {
        match tokens.subject(token) {
            Some(subject) => Ok(self.bearer(&subject).await?.filter(|user| user.standing == Standing::Active)),
            None => Ok(None),
        }
    }

    /// Whose public id this is, whatever his standing.
    async fn bearer(&self, public_id: &str) -> Result<Option<User>, StoreError> {
        self.store.find_public(public_id).await
    }

    /// Answers `action = "get_user"`.
    pub async fn whoami(&self, route_name: &Arc<str>, tokens: Option<&dyn Tokens>, token: Option<&str>) -> Reply {
        let mode = self.mode.current();
        let reply = match mode {
            Mode::Passthrough | Mode::Observe => Reply::send_on(),
            Mode::Migrate | Mode::Retired => {
                let subject = match (tokens, token) {
                    (Some(tokens), Some(token)) => tokens.subject(token),
                    (None, _) | (_, None) => None,
                };
                let user = match subject {
                    Some(subject) => self.bearer(&subject).await,
                    None => Ok(None),
                };
                match (user, mode) {
                    (Err(error), _) => self.store_unreadable(&error),
                    // Legacy may still take the token of somebody who is disabled or deleted here.
                    (Ok(Some(user)), _) if user.standing != Standing::Active => {
                        Reply::ours(Ours::Denied, Source::Local)
                    }
                    (Ok(Some(user)), _) => Reply::ours(Ours::Done(Some(Box::new(UserView::of(&user)))), Source::Local),
                    (Ok(None), Mode::Retired) => Reply::ours(Ours::Denied, Source::Local),
                    (Ok(None), Mode::Passthrough | Mode::Observe | Mode::Migrate) => Reply::send_on(),
                }
            }
        };
        self.metrics.change(route_name, reply.source, reply.outcome);
        reply
    }

    /// Answers `action = "refresh"`: a new token for a valid one of `[tokens.NAME]` whose user may still log in.
    pub async fn refresh(
        &self,
        route_name: &Arc<str>,
        tokens: Option<&dyn Tokens>,
        name: &str,
        token: Option<&str>,
    ) -> Reply {
        let mode = self.mode.current();
        let subject = match (tokens, token) {
            (Some(tokens), Some(token)) => tokens.subject_of(name, token),
            (None, _) | (_, None) => None,
        };
        let user = match (mode, subject) {
            (Mode::Migrate | Mode::Retired, Some(subject)) => self.bearer(&subject).await,
            (Mode::Passthrough | Mode::Observe, _) | (_, None) => Ok(None),
        };
        let reply = match (mode, user) {
            (_, Err(error)) => self.store_unreadable(&error),
            (_, Ok(Some(user))) if user.standing != Standing::Active => Reply::ours(Ours::Denied, Source::Local),
            // His password was reset at legacy, and we do not know the new one: legacy says whether old tokens still hold.
            (Mode::Migrate, Ok(Some(user))) if matches!(user.credential, Credential::Absent(_)) => Reply::send_on(),
            // And when there is nobody left to say so, they do not.
            (Mode::Retired, Ok(Some(user)))
                if matches!(user.credential, Credential::Absent(AbsentBecause::ResetAtLegacy)) =>
            {
                Reply::ours(Ours::Denied, Source::Local)
            }
            (_, Ok(Some(user))) => {
                let who = Authenticated::by_refresh_token(&user);
                Reply::ours(Ours::Ok(Box::new(who)), Source::Local)
            }
            (Mode::Retired, Ok(None)) => Reply::ours(Ours::Denied, Source::Local),
            (Mode::Passthrough | Mode::Observe | Mode::Migrate, Ok(None)) => Reply::send_on(),
        };
        self.metrics.change(route_name, reply.source, reply.outcome);
        reply
    }

    /// Answers `action = "logout"`: while there is a legacy it ends its own session; afterwards there is only our cookie to clear.
    #[must_use]
    pub fn logout(&self, route_name: &Arc<str>) -> Reply {
        let reply = match self.mode.current() {
            Mode::Passthrough | Mode::Observe | Mode::Migrate => Reply::send_on(),
            Mode::Retired => Reply::ours(Ours::Done(None), Source::Local),
        };
        self.metrics.change(route_name, reply.source, reply.outcome);
        reply
    }
}

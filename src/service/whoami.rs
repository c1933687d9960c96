//! Who a token is: answered from our store while we know the user, by legacy otherwise.

use std::sync::Arc;

use super::Service;
use super::ports::Tokens;
use super::reply::{Ours, Reply};
use crate::domain::mode::Mode;
use crate::domain::proof::{Authenticated, UserView};
use crate::domain::user::{Standing, User};
use crate::telemetry::metrics::Source;

impl Service {
    /// The active user whose token this is; none if it is not ours, has expired, or its user may not log in.
    pub async fn user_of(&self, tokens: &dyn Tokens, token: &str) -> Option<User> {
        let subject = tokens.subject(token)?;
        self.active(&subject).await
    }

    async fn active(&self, public_id: &str) -> Option<User> {
        let user = self.store.find_public(public_id).await.ok().flatten()?;
        (user.standing == Standing::Active).then_some(user)
    }

    /// Answers `action = "get_user"`.
    pub async fn whoami(&self, route_name: &Arc<str>, tokens: Option<&dyn Tokens>, token: Option<&str>) -> Reply {
        let mode = self.mode.current();
        let reply = match mode {
            Mode::Passthrough | Mode::Observe => Reply::send_on(),
            Mode::Migrate | Mode::Retired => {
                let user = match (tokens, token) {
                    (Some(tokens), Some(token)) => self.user_of(tokens, token).await,
                    (None, _) | (_, None) => None,
                };
                match (user, mode) {
                    (Some(user), _) => Reply::ours(Ours::Done(Some(Box::new(UserView::of(&user)))), Source::Local),
                    (None, Mode::Retired) => Reply::ours(Ours::Denied, Source::Local),
                    (None, Mode::Passthrough | Mode::Observe | Mode::Migrate) => Reply::send_on(),
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
            (Mode::Migrate | Mode::Retired, Some(subject)) => self.active(&subject).await,
            (Mode::Passthrough | Mode::Observe, _) | (_, None) => None,
        };
        let reply = match (mode, user) {
            (_, Some(user)) => {
                let who = Authenticated::by_refresh_token(&user);
                Reply::ours(Ours::Ok(Box::new(who)), Source::Local)
            }
            (Mode::Retired, None) => Reply::ours(Ours::Denied, Source::Local),
            (Mode::Passthrough | Mode::Observe | Mode::Migrate, None) => Reply::send_on(),
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

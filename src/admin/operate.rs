//! What an operator can see and do, whichever door he came through: the API or the console. Each function asks for his permit.

use std::collections::BTreeMap;

use super::permit::AdminPermit;
use super::readiness::Readiness;
use super::roster;
use super::search::canonical_prefix;
use super::state::AdminState;
use super::view::{
    ComparisonCount, HealthView, LegacyCount, LegacyStatus, ModeChange, ModeView, OutcomeCount, Status, StoreView,
    UserDetail, UserList, timestamp,
};
use crate::domain::mode::{ConfirmedMode, Mode, NeedsConfirmation};
use crate::service::people::NotDone;
use crate::service::ports::{OnDamage, StoreError, StoreHealth, UserQuery};
use crate::telemetry::metrics::Counted;

/// Users on a page unless the request says otherwise.
const DEFAULT_PAGE: usize = 50;

/// Users on a page at most.
const MAX_PAGE: usize = 1_000;

/// Why an operator gets no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum OperateError {
    /// There is no such user.
    #[error("there is no such user")]
    NoSuchUser,
    /// A change of a user or a conflict was not made.
    #[error(transparent)]
    NotDone(#[from] NotDone),
    /// He has to type the word.
    #[error(transparent)]
    Unconfirmed(#[from] NeedsConfirmation),
    /// He asks for more in one request than is done in one commit.
    #[error("more than {0} at once")]
    TooManyAtOnce(usize),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Which users to list, as a query string says it.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListRequest {
    /// The start of any identifier.
    #[serde(default)]
    pub(super) search: String,
    /// Where the last page ended.
    #[serde(default)]
    pub(super) after: Option<String>,
    /// 1 to [`MAX_PAGE`]; what is over is cut.
    #[serde(default)]
    pub(super) limit: Option<usize>,
}

pub(super) async fn list_users(
    state: &AdminState,
    _: &AdminPermit,
    request: ListRequest,
) -> Result<UserList, OperateError> {
    let query = UserQuery {
        prefix: canonical_prefix(state.identifiers, &request.search),
        after: request.after.filter(|after| !after.is_empty()),
        limit: request.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE),
        // A page that reads every name is not for a store that serves.
        on_damage: OnDamage::Fail,
    };
    Ok(state.store.list(query).await?.into())
}

pub(super) async fn show_user(state: &AdminState, _: &AdminPermit, id: &str) -> Result<UserDetail, OperateError> {
    let user = state.store.find_public(id).await?.ok_or(OperateError::NoSuchUser)?;
    super::people::detail(state, &user).await
}

pub(super) async fn mode(state: &AdminState, _: &AdminPermit) -> ModeView {
    let registered_here = state.store.counts().await.ok().map(|counts| counts.registered);
    ModeView { mode: state.mode.current(), registered_here }
}

pub(super) async fn set_mode(
    state: &AdminState,
    permit: &AdminPermit,
    to: &ModeChange,
) -> Result<ModeView, OperateError> {
    let confirmed = ConfirmedMode::new(to.mode, to.confirm.as_deref())?;
    let before: Mode = state.mode.current();
    state.mode.set(confirmed).await?;
    tracing::warn!(
        target: "authferry::audit",
        by = "operator", via = permit.door().as_str(), from = before.as_str(), to = to.mode.as_str(),
        "an operator changed the migration mode"
    );
    Ok(mode(state, permit).await)
}

pub(super) async fn status(state: &AdminState, permit: &AdminPermit) -> Status {
    let metrics = &state.metrics;
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: state.mode.current(),
        at: timestamp(state.clock.wall()),
        started_at: timestamp(state.started_at),
        health: health(&state.readiness, state.store.health()),
        users: state.store.counts().await.ok(),
        roster: roster::view(state, permit).await,
        logins: over_all_routes(metrics.logins_so_far()),
        registrations: over_all_routes(metrics.registrations_so_far()),
        migrations: by_word(metrics.migrations_so_far()),
        migration_failures: by_word(metrics.migration_failures_so_far()),
        comparisons: sum_by_pair(metrics.comparisons_so_far())
            .into_iter()
            .map(|((local, legacy), count)| ComparisonCount { local, legacy, count })
            .collect(),
        legacy: LegacyStatus {
            breaker_open: metrics.is_breaker_open(),
            in_flight: u64::try_from(metrics.legacy_in_flight().get()).unwrap_or(0),
            requests: metrics
                .legacy_requests_so_far()
                .into_iter()
                .map(|([operation, outcome], count)| LegacyCount { operation, outcome, count })
                .collect(),
        },
        alarms: by_word(metrics.alarms_so_far()),
        attack_signals: by_word(metrics.attack_signals_so_far()),
        password_queue: u64::try_from(metrics.queue_depth().get()).unwrap_or(0),
    }
}

/// Ready: started, not about to end, and able to answer the users we know. A store that only reads still answers them (R103),
/// and a dead legacy is not our illness: taking us away would take their logins away too.
pub(super) fn health(readiness: &Readiness, store: StoreHealth) -> HealthView {
    let (started, draining) = (readiness.is_started(), readiness.is_draining());
    let answers = match store {
        StoreHealth::Ready | StoreHealth::ReadOnly => true,
        StoreHealth::Down => false,
    };
    HealthView { started, draining, ready: started && !draining && answers, store: StoreView::from(store) }
}

fn by_word(counts: Vec<Counted<1>>) -> BTreeMap<String, u64> {
    counts.into_iter().map(|([word], count)| (word, count)).collect()
}

fn sum_by_pair(counts: Vec<Counted<3>>) -> BTreeMap<(String, String), u64> {
    let mut sums = BTreeMap::new();
    for ([_route, first, second], count) in counts {
        *sums.entry((first, second)).or_default() += count;
    }
    sums
}

fn over_all_routes(counts: Vec<Counted<3>>) -> Vec<OutcomeCount> {
    let sums = sum_by_pair(counts).into_iter();
    sums.map(|((source, outcome), count)| OutcomeCount { source, outcome, count }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_readiness() {
        for (started, draining, store, ready) in [
            (false, false, StoreHealth::Ready, false),
            (true, false, StoreHealth::Ready, true),
            (true, false, StoreHealth::ReadOnly, true),
            (true, false, StoreHealth::Down, false),
            (true, true, StoreHealth::Ready, false),
            (true, true, StoreHealth::Down, false),
        ] {
            let readiness = Readiness::new();
            if started {
                readiness.set_started();
            }
            if draining {
                readiness.set_draining();
            }
            assert_eq!(health(&readiness, store).ready, ready, "{started} {draining} {store:?}");
        }
    }
}

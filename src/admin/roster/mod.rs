//! Who has come over and who has not, as operators see it: the operations, and what they take and give.
//!
//! ```text
//! sums        by bucket, the pace, what can be said of the future
//! stragglers  themselves, page by page
//! gauges      for who scrapes
//! ```
//!
//! Counts come from the store as it keeps them; nothing here walks the users.

use std::sync::Arc;

use futures_util::stream::{Stream, try_unfold};
use serde::{Deserialize, Serialize};

pub(super) use self::gauges::{Gauges, show_gauges};
pub use self::stragglers::{Straggler, StragglerList, csv_header};
pub use self::sums::{BecauseView, BucketView, ForecastView, PaceView, RosterView, TooLittleView};
use super::operate::OperateError;
use super::permit::AdminPermit;
use super::state::AdminState;
use crate::domain::roster::{Bucket, Day};
use crate::domain::user::{UserId, Version};
use crate::service::ports::{StoreError, StragglerQuery};

mod gauges;
mod stragglers;
mod sums;

/// Stragglers on a page unless the request says otherwise.
const DEFAULT_PAGE: usize = 100;

/// Stragglers on a page at most.
pub const MAX_PAGE: usize = 1_000;

/// What to do about those who will not come by themselves.
pub const REMEDY: &str = "import their hashes, or write to them: authferry roster stragglers";

/// What to do where nobody knows how many users legacy has.
pub const NO_LIST: &str =
    "no list of legacy's users was read, so nobody knows who is missing, or of how many: authferry roster import FILE";

/// Which stragglers to list, as a query string says it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StragglersRequest {
    /// By when they were last seen; all, if nothing is said.
    #[serde(default)]
    pub(super) bucket: Option<Bucket>,
    /// Where the last page ended.
    #[serde(default)]
    pub(super) after: Option<String>,
    /// 1 to [`MAX_PAGE`]; what is over is cut.
    #[serde(default)]
    pub(super) limit: Option<usize>,
    /// Only those who are worth so much at least.
    #[serde(default)]
    pub(super) min_value: u64,
}

/// Body of `POST /api/v1/roster/forget`: users who are on no list any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forget {
    /// Who, each in the version in which he was looked at; at most [`MAX_FORGOTTEN`].
    pub users: Vec<Forgotten>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forgotten {
    /// Our key.
    pub id: UserId,
    /// His version.
    pub version: u64,
}

/// As many are forgotten in one commit.
pub const MAX_FORGOTTEN: usize = 100;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenCount {
    /// So many are gone. The others had come over, or had changed.
    pub forgotten: u64,
}

/// Sums, pace and forecast. None while the store cannot be read.
pub(super) async fn view(state: &AdminState, _: &AdminPermit) -> Option<RosterView> {
    let counts = state.store.roster().await.ok()?;
    Some(RosterView::at(&counts, Day::of(state.clock.wall())))
}

pub(super) async fn stragglers(
    state: &AdminState,
    _: &AdminPermit,
    request: StragglersRequest,
) -> Result<StragglerList, StoreError> {
    let bucket = request.bucket.unwrap_or(Bucket::All);
    let query = StragglerQuery {
        days: bucket.days(Day::of(state.clock.wall())),
        min_value: request.min_value,
        after: request.after.filter(|after| !after.is_empty()),
        limit: request.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE),
    };
    let page = state.store.stragglers(query).await?;
    // Who had come over and reset his password at legacy since has logged in here too.
    let ids: Vec<UserId> = page.users.iter().map(|user| user.id).collect();
    let logins = state.store.last_login(&ids).await?;
    let stragglers = page.users.iter().zip(logins).map(|(user, login)| Straggler::of(user, login)).collect();
    Ok(StragglerList { stragglers, next: page.next })
}

/// Every straggler that is asked for, as CSV in pieces of a page. A store that fails on the way breaks the stream off: a file that is not
/// whole is told from one that is.
pub(super) fn csv(
    state: Arc<AdminState>,
    permit: AdminPermit,
    request: StragglersRequest,
) -> impl Stream<Item = Result<Vec<u8>, StoreError>> + Send {
    struct Rest {
        state: Arc<AdminState>,
        permit: AdminPermit,
        request: StragglersRequest,
        header: Vec<u8>,
    }
    let rest =
        Rest { state, permit, request: StragglersRequest { limit: Some(MAX_PAGE), ..request }, header: csv_header() };
    try_unfold(Some(rest), async |rest| {
        let Some(mut rest) = rest else { return Ok(None) };
        let list = stragglers(&rest.state, &rest.permit, rest.request.clone()).await?;
        let mut text = std::mem::take(&mut rest.header);
        list.stragglers.iter().for_each(|straggler| straggler.csv(&mut text));
        rest.request.after = list.next;
        Ok(Some((text, rest.request.after.is_some().then_some(rest))))
    })
}

pub(super) async fn forget(
    state: &AdminState,
    permit: &AdminPermit,
    forget: Forget,
) -> Result<ForgottenCount, OperateError> {
    if forget.users.len() > MAX_FORGOTTEN {
        return Err(OperateError::TooManyAtOnce(MAX_FORGOTTEN));
    }
    let users = forget.users.into_iter().map(|user| (user.id, Version(user.version))).collect();
    let forgotten = state.store.forget_listed(users).await?;
    tracing::info!(
        target: "authferry::audit",
        by = "operator", via = permit.door().as_str(), forgotten, "an operator had listed users forgotten"
    );
    Ok(ForgottenCount { forgotten })
}

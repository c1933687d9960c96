//! Who has come over and who has not, as operators see it: sums by bucket, the pace, what can be said of the future, and the stragglers
//! themselves, page by page. Wire structs, read by the CLI too, and the operations that make them.
//!
//! Counts come from the store as it keeps them; nothing here walks the users. Nobody is shown a hash: stragglers have none.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{Stream, try_unfold};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::operate::OperateError;
use super::permit::AdminPermit;
use super::state::AdminState;
use super::view::{CredentialView, IdentifierView, timestamp};
use crate::domain::clock::UnixSeconds;
use crate::domain::forecast::{Because, Forecast, TooLittle, WINDOW_DAYS, forecast};
use crate::domain::identifier::IdentifierKind;
use crate::domain::roster::{Bucket, Day, Pace, RosterCounts, Tally, last_seen};
use crate::domain::user::{LegacyId, User, UserId, Version};
use crate::exchange::append_csv_cell;
use crate::service::ports::{StoreError, StragglerQuery};

/// Stragglers on a page unless the request says otherwise.
const DEFAULT_PAGE: usize = 100;

/// Stragglers on a page at most.
pub const MAX_PAGE: usize = 1_000;

/// What to do about those who will not come by themselves.
pub const REMEDY: &str = "import their hashes, or write to them: authferry roster stragglers";

/// What to do where nobody knows how many users legacy has.
pub const NO_LIST: &str =
    "no list of legacy's users was read, so nobody knows who is missing, or of how many: authferry roster import FILE";

/// Part of `GET /api/v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterView {
    /// How many of the users a list of legacy's users told us of. Without such a list nobody knows who is missing.
    pub listed: u64,
    /// Sums by when users were last seen, in the order of [`Bucket::ALL`]. Those of 90 days include those of 30.
    pub buckets: Vec<BucketView>,
    /// What happened in the last [`WINDOW_DAYS`] days before today.
    pub pace: PaceView,
    /// When the stragglers who were active in the last 90 days will be through.
    pub forecast_active: ForecastView,
    /// When all stragglers will be.
    pub forecast_all: ForecastView,
}

/// The users of one bucket. Disabled and deleted ones are in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketView {
    /// Which.
    pub bucket: Bucket,
    /// Users who can log in without legacy.
    pub over: u64,
    /// Users who cannot.
    pub stragglers: u64,
    /// What a list says that the former are worth in all.
    pub over_value: u64,
    /// What the latter are worth.
    pub straggler_value: u64,
}

/// Steps that users made by themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaceView {
    /// In so many days.
    pub days: u16,
    /// Stragglers who came over.
    pub came_over: u64,
    /// Of these, how many had been active in the 90 days before.
    pub came_over_active: u64,
    /// Users of whom nothing was known, and who came over.
    pub arrived: u64,
    /// Registrations.
    pub registered: u64,
}

/// What can be said of the future.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ForecastView {
    /// Nobody is left.
    Done,
    /// Too little is known to tell.
    Unknown {
        /// Why.
        because: TooLittleView,
    },
    /// At the pace of the last days they will be through.
    By {
        /// In which month: `2027-02`.
        month: String,
        /// In about so many weeks.
        weeks: u16,
    },
    /// The rest will not come by themselves.
    NotByThemselves {
        /// About so many more may.
        still_to_come: u64,
        /// Why.
        because: BecauseView,
    },
}

/// Why nothing can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TooLittleView {
    /// It has been counted for less than a week.
    Time,
    /// Hardly anybody came over.
    Comers,
}

/// Why the rest will not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BecauseView {
    /// In two weeks nobody did.
    NobodyComes,
    /// Fewer come each week.
    ThePaceFalls,
    /// At this pace it would take more than two years.
    TheyAreTooMany,
}

impl RosterView {
    /// The sums of a bucket; zeros where an older proxy tells of none.
    #[must_use]
    pub fn of(&self, bucket: Bucket) -> BucketView {
        let nobody = BucketView { bucket, over: 0, stragglers: 0, over_value: 0, straggler_value: 0 };
        self.buckets.iter().find(|sums| sums.bucket == bucket).copied().unwrap_or(nobody)
    }

    /// Whether there is anything to tell: a list was read, or somebody known has no password here.
    #[must_use]
    pub fn tells(&self) -> bool {
        self.listed > 0 || self.of(Bucket::All).stragglers > 0
    }

    /// Whom `retired` would deny, as a sentence for who is about to put it in force. None if it is nobody.
    #[must_use]
    pub fn denied_by_retiring(&self) -> Option<String> {
        let (active, all) = (self.of(Bucket::Days90), self.of(Bucket::All));
        (all.stragglers > 0).then(|| {
            format!(
                "{} of {} users active in 90 days are not over, {} of {} in all: retiring denies them",
                grouped(active.stragglers),
                grouped(active.known()),
                grouped(all.stragglers),
                grouped(all.known())
            )
        })
    }

    /// The forecast that matters: of those who were active in the last 90 days, or, where they are all over, of everybody. With whom it
    /// is about.
    #[must_use]
    pub fn forecast(&self) -> (&'static str, &ForecastView) {
        match &self.forecast_active {
            ForecastView::Done => ("all", &self.forecast_all),
            active
            @ (ForecastView::Unknown { .. } | ForecastView::By { .. } | ForecastView::NotByThemselves { .. }) => {
                ("active in 90 days", active)
            }
        }
    }

    pub(super) fn at(counts: &RosterCounts, today: Day) -> Self {
        let since = counts.pace.keys().next().copied();
        let on = |day: Day| counts.pace.get(&day).copied().unwrap_or_default();
        let window = (1..=WINDOW_DAYS).map(|back| on(today.back(back))).fold(Pace::default(), Pace::and);
        let left = |bucket| counts.of(bucket, today).stragglers;
        let active = forecast(left(Bucket::Days90), today, since, |day| on(day).came_over_active);
        let all = forecast(left(Bucket::All), today, since, |day| on(day).came_over);
        Self {
            listed: counts.of(Bucket::All, today).listed,
            buckets: Bucket::ALL.map(|bucket| BucketView::new(bucket, counts.of(bucket, today))).into(),
            pace: PaceView {
                days: WINDOW_DAYS,
                came_over: window.came_over,
                came_over_active: window.came_over_active,
                arrived: window.arrived,
                registered: window.registered,
            },
            forecast_active: ForecastView::new(active, today),
            forecast_all: ForecastView::new(all, today),
        }
    }
}

impl BucketView {
    fn new(bucket: Bucket, tally: Tally) -> Self {
        let value = |sum: u128| u64::try_from(sum).unwrap_or(u64::MAX);
        Self {
            bucket,
            over: tally.over,
            stragglers: tally.stragglers,
            over_value: value(tally.over_value),
            straggler_value: value(tally.straggler_value),
        }
    }

    /// Both sides.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.over.saturating_add(self.stragglers)
    }

    /// How many are over, in whole percent, rounded down, so that 100 means all; none of nobody.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        share(self.over, self.stragglers)
    }

    /// How much of the value is over.
    #[must_use]
    pub fn percent_of_value(&self) -> Option<u64> {
        share(self.over_value, self.straggler_value)
    }
}

fn share(over: u64, left: u64) -> Option<u64> {
    let percent = (u128::from(over) * 100).checked_div(u128::from(over) + u128::from(left))?;
    u64::try_from(percent).ok()
}

impl ForecastView {
    fn new(forecast: Forecast, today: Day) -> Self {
        match forecast {
            Forecast::Done => Self::Done,
            Forecast::Unknown(TooLittle::Time) => Self::Unknown { because: TooLittleView::Time },
            Forecast::Unknown(TooLittle::Comers) => Self::Unknown { because: TooLittleView::Comers },
            Forecast::By(day) => Self::By {
                month: timestamp(day.start()).strftime("%Y-%m").to_string(),
                weeks: day.since(today).div_ceil(7),
            },
            Forecast::NotByThemselves { still_to_come, because } => Self::NotByThemselves {
                still_to_come,
                because: match because {
                    Because::NobodyComes => BecauseView::NobodyComes,
                    Because::ThePaceFalls => BecauseView::ThePaceFalls,
                    Because::TheyAreTooMany => BecauseView::TheyAreTooMany,
                },
            },
        }
    }

    /// In words, and no more precise than it can be.
    #[must_use]
    pub fn sentence(&self) -> String {
        /// Up to here a number of weeks says more than a month's name.
        const NEAR_WEEKS: u16 = 8;
        match self {
            Self::Done => "nobody is left".to_owned(),
            Self::Unknown { because: TooLittleView::Time } => {
                "unknown: it has been counted for less than a week".to_owned()
            }
            Self::Unknown { because: TooLittleView::Comers } => {
                format!("unknown: too few came over in the last {WINDOW_DAYS} days")
            }
            Self::By { weeks: ..=1, .. } => {
                format!("at the pace of the last {WINDOW_DAYS} days through in about a week")
            }
            Self::By { weeks: weeks @ ..=NEAR_WEEKS, .. } => {
                format!("at the pace of the last {WINDOW_DAYS} days through in about {weeks} weeks")
            }
            Self::By { month, .. } => format!("at the pace of the last {WINDOW_DAYS} days through by about {month}"),
            Self::NotByThemselves { because: BecauseView::NobodyComes, .. } => {
                format!("nobody came over in the last {WINDOW_DAYS} days: they will not come by themselves")
            }
            Self::NotByThemselves { because: BecauseView::ThePaceFalls, still_to_come } => {
                format!(
                    "the pace falls: about {} more may come, the rest not by themselves",
                    grouped(roughly(*still_to_come))
                )
            }
            Self::NotByThemselves { because: BecauseView::TheyAreTooMany, .. } => {
                format!("at the pace of the last {WINDOW_DAYS} days it would take more than two years")
            }
        }
    }

    /// Whether waiting is not enough.
    #[must_use]
    pub fn calls_for_action(&self) -> bool {
        match self {
            Self::NotByThemselves { .. } => true,
            Self::Done | Self::Unknown { .. } | Self::By { .. } => false,
        }
    }
}

/// To one digit and a half: 12 345 as 12 000. A guess is not told to the last user.
fn roughly(number: u64) -> u64 {
    let mut unit = 1;
    while number / unit >= 100 {
        unit *= 10;
    }
    number / unit * unit
}

/// With a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let separated = |(at, digit): (usize, char)| {
        let comma = at > 0 && (digits.len() - at).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(separated).collect()
}

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

/// `GET /api/v1/stragglers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StragglerList {
    /// One page, those who were seen last first. It may be shorter than asked for, or empty, and still not be the last.
    pub stragglers: Vec<Straggler>,
    /// What to give as `after` for the next page; none at the end.
    pub next: Option<String>,
}

/// A user who cannot log in without legacy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Straggler {
    /// Our key.
    pub id: UserId,
    /// Legacy's, where it is known.
    pub legacy_id: Option<Value>,
    /// All his names.
    pub identifiers: Vec<IdentifierView>,
    /// When he was last seen.
    pub last_seen: Option<jiff::Timestamp>,
    /// What a list says that he is worth.
    pub value: Option<u64>,
    /// Why he has no password here.
    pub credential: CredentialView,
    /// Grows at each change; a list that forgets him names it.
    pub version: u64,
}

impl Straggler {
    fn of(user: &User, last_login: Option<UnixSeconds>) -> Self {
        Self {
            id: user.id,
            legacy_id: user.legacy_id.as_ref().map(LegacyId::to_json),
            identifiers: user.identifiers.iter().map(IdentifierView::of).collect(),
            last_seen: last_seen(user, last_login).map(timestamp),
            value: user.roster.and_then(|roster| roster.value),
            credential: (&user.credential).into(),
            version: user.version.0,
        }
    }

    /// Appends his row of a table with the columns of [`csv_header`].
    pub fn csv(&self, out: &mut Vec<u8>) {
        append_row(self.cells().each_ref().map(String::as_str), out);
    }

    fn cells(&self) -> [String; 8] {
        let first = |kind: IdentifierKind| {
            let mut names = self.identifiers.iter();
            names.find(|name| name.kind == kind).map(|name| name.value.clone()).unwrap_or_default()
        };
        let (legacy_id, kind) = match &self.legacy_id {
            None => (String::new(), ""),
            Some(Value::String(text)) => (text.clone(), "text"),
            Some(other) => (other.to_string(), "number"),
        };
        [
            self.id.to_string(),
            legacy_id,
            kind.to_owned(),
            first(IdentifierKind::Email),
            first(IdentifierKind::Username),
            first(IdentifierKind::Phone),
            self.last_seen.map(|at| at.to_string()).unwrap_or_default(),
            self.value.map(|value| value.to_string()).unwrap_or_default(),
        ]
    }
}

/// The columns of a table of stragglers: some of those of our own CSV, so that every import reads the table back.
const COLUMNS: [&str; 8] =
    ["authferry_id", "legacy_id", "legacy_id_type", "email", "username", "phone", "last_seen", "value"];

/// The first row of a table of stragglers (RFC 4180).
#[must_use]
pub fn csv_header() -> Vec<u8> {
    let mut header = Vec::new();
    append_row(COLUMNS, &mut header);
    header
}

/// A row that no spreadsheet takes for a formula (R112).
fn append_row<'a>(cells: impl IntoIterator<Item = &'a str>, out: &mut Vec<u8>) {
    for (at, cell) in cells.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        append_csv_cell(cell, out);
    }
    out.extend_from_slice(b"\r\n");
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

/// The gauges of who is over, set when somebody looks, but not more often than this: a scrape needs no token.
const GAUGES_EVERY: Duration = Duration::from_secs(1);

/// When the gauges were last set.
#[derive(Default)]
pub(super) struct Gauges(Mutex<Option<Instant>>);

impl Gauges {
    /// Whether they are old; if so, whoever asked sets them.
    fn are_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= GAUGES_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// Sets the gauges, if that is due.
pub(super) async fn show_gauges(state: &AdminState) {
    if !state.gauges.are_due(state.clock.monotonic()) {
        return;
    }
    let Ok(counts) = state.store.roster().await else { return };
    for (last_seen, tally) in apart(&counts, state.clock.wall()) {
        let gauge = |number: u128| i64::try_from(number).unwrap_or(i64::MAX);
        for (side, users, value) in
            [("over", tally.over, tally.over_value), ("straggler", tally.stragglers, tally.straggler_value)]
        {
            state.metrics.known_users(side, last_seen, gauge(users.into()));
            state.metrics.known_value(side, last_seen, gauge(value));
        }
    }
}

/// Buckets that do not overlap, so that gauges can be added up.
fn apart(counts: &RosterCounts, now: UnixSeconds) -> [(&'static str, Tally); 5] {
    let of = |bucket| counts.of(bucket, Day::of(now));
    let (month, quarter, year) = (of(Bucket::Days30), of(Bucket::Days90), of(Bucket::Days365));
    [
        ("0-30d", month),
        ("31-90d", without(quarter, month)),
        ("91-365d", without(year, quarter)),
        ("older", of(Bucket::Older)),
        ("never", of(Bucket::Never)),
    ]
}

fn without(all: Tally, part: Tally) -> Tally {
    Tally {
        stragglers: all.stragglers.saturating_sub(part.stragglers),
        straggler_value: all.straggler_value.saturating_sub(part.straggler_value),
        over: all.over.saturating_sub(part.over),
        over_value: all.over_value.saturating_sub(part.over_value),
        listed: all.listed.saturating_sub(part.listed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(stragglers: u64, over: u64) -> Tally {
        Tally { stragglers, over, straggler_value: stragglers.into(), over_value: 0, listed: stragglers }
    }

    /// Last seen ten days, sixty days, half a year, three years ago, and never.
    fn counts(today: Day) -> RosterCounts {
        let seen = [(10, tally(1, 9)), (60, tally(2, 8)), (180, tally(4, 6)), (1_095, tally(8, 2))];
        let mut days: std::collections::BTreeMap<Day, Tally> = seen.map(|(ago, tally)| (today.back(ago), tally)).into();
        days.insert(Day::NEVER, tally(16, 0));
        RosterCounts { days, pace: [(today.back(100), Pace::default())].into() }
    }

    #[test]
    fn the_view_has_every_bucket_and_says_whom_retiring_denies() {
        let today = Day::from_number(20_600);
        let view = RosterView::at(&counts(today), today);
        let sums: Vec<_> = view.buckets.iter().map(|sums| (sums.bucket.as_str(), sums.over, sums.stragglers)).collect();
        assert_eq!(
            sums,
            [("30d", 9, 1), ("90d", 17, 3), ("365d", 23, 7), ("older", 2, 8), ("never", 0, 16), ("all", 25, 31)]
        );
        assert_eq!(view.of(Bucket::Days90).percent(), Some(85));
        assert_eq!(view.of(Bucket::All).percent_of_value(), Some(0));
        let denied = "3 of 20 users active in 90 days are not over, 31 of 56 in all: retiring denies them";
        assert_eq!(view.denied_by_retiring().as_deref(), Some(denied));
        assert_eq!((view.listed, view.tells()), (31, true));
        let nobody = RosterView::at(&RosterCounts::default(), today);
        assert_eq!((nobody.denied_by_retiring(), nobody.tells()), (None, false));
        assert_eq!(nobody.of(Bucket::All).percent(), None, "none of nobody");
    }

    #[test]
    fn gauges_can_be_added_up() {
        let today = Day::from_number(20_600);
        let apart = apart(&counts(today), today.start());
        let told = apart.map(|(last_seen, tally)| (last_seen, tally.over, tally.stragglers));
        assert_eq!(told, [("0-30d", 9, 1), ("31-90d", 8, 2), ("91-365d", 6, 4), ("older", 2, 8), ("never", 0, 16)]);
    }

    #[test]
    fn a_forecast_is_told_in_words_and_no_more_precisely_than_it_is_known() {
        let today = Day::of(UnixSeconds(1_795_392_000)); // 2026-11-23
        let said = |forecast| ForecastView::new(forecast, today).sentence();
        for (forecast, words) in [
            (Forecast::By(today.ahead(5)), "at the pace of the last 14 days through in about a week"),
            (Forecast::By(today.ahead(16)), "at the pace of the last 14 days through in about 3 weeks"),
            (Forecast::By(today.ahead(85)), "at the pace of the last 14 days through by about 2027-02"),
            (Forecast::Unknown(TooLittle::Time), "unknown: it has been counted for less than a week"),
            (
                Forecast::NotByThemselves { still_to_come: 12_345, because: Because::ThePaceFalls },
                "the pace falls: about 12,000 more may come, the rest not by themselves",
            ),
        ] {
            assert_eq!(said(forecast), words);
        }
    }

    #[test]
    fn large_numbers_are_read_at_a_glance() {
        for (number, shown) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), shown);
        }
    }

    #[test]
    fn what_is_asked_for_is_answered_in_json_that_reads_back() {
        let today = Day::from_number(20_600);
        let view = RosterView::at(&counts(today), today);
        let json = serde_json::to_value(&view).expect("JSON");
        assert_eq!(json["buckets"][1]["bucket"], "90d");
        assert_eq!(json["forecast_active"]["outcome"], "not_by_themselves");
        assert_eq!(serde_json::from_value::<RosterView>(json).expect("the same"), view);
    }
}

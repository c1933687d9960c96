//! Sums by bucket, the pace, and what can be said of the future, as operators see them: wire structs, read by the CLI too, and their
//! words. Made by the operations beside; never asks the store.

use serde::{Deserialize, Serialize};

use super::super::view::timestamp;
use crate::domain::forecast::{Because, Forecast, TooLittle, WINDOW_DAYS, forecast};
use crate::domain::roster::{Bucket, Day, Pace, RosterCounts, Tally};

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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::clock::UnixSeconds;

    fn tally(stragglers: u64, over: u64) -> Tally {
        Tally { stragglers, over, straggler_value: stragglers.into(), over_value: 0, listed: stragglers }
    }

    /// Last seen ten days, sixty days, half a year, three years ago, and never.
    pub(in crate::admin::roster) fn counts(today: Day) -> RosterCounts {
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

//! Who has come over and who has not, by the day on which each was last seen. Pure: records in, places out; counts in, sums out.
//!
//! Whether somebody was active in the last ninety days changes at every midnight without his record changing. So nothing is counted by
//! bucket: the store counts by day, in the commit that changes a record, and a bucket is the sum over its days.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::clock::UnixSeconds;
use super::credential::{AbsentBecause, Credential};
use super::user::{Origin, Standing, User};

const SECONDS_A_DAY: u64 = 86_400;

/// A day (UTC) on which somebody was seen, counted from 1970-01-01; later ones than the last that can be told (in the year 2149) are that
/// one. [`Day::NEVER`] comes before all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u16);

impl Day {
    /// No day; the one before [`Day::FIRST`] is none either.
    pub const NEVER: Self = Self(0);
    /// The first day that can be told.
    pub const FIRST: Self = Self(1);
    /// The last day that can be told.
    pub const LAST: Self = Self(u16::MAX);

    /// The day of a point in time.
    #[must_use]
    pub fn of(at: UnixSeconds) -> Self {
        Self(u16::try_from(at.0 / SECONDS_A_DAY).unwrap_or(u16::MAX))
    }

    /// By its number, as it is kept.
    #[must_use]
    pub fn from_number(number: u16) -> Self {
        Self(number)
    }

    /// Days since 1970-01-01; 0 for never.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// So many days earlier, but never "never".
    #[must_use]
    pub fn back(self, days: u16) -> Self {
        Self(self.0.saturating_sub(days).max(1))
    }

    /// So many days later.
    #[must_use]
    pub fn ahead(self, days: u16) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// How many days ago `earlier` was; none if it was not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u16 {
        self.0.saturating_sub(earlier.0)
    }

    /// Its first second.
    #[must_use]
    pub fn start(self) -> UnixSeconds {
        UnixSeconds(u64::from(self.0) * SECONDS_A_DAY)
    }
}

/// Which side of the water somebody is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// He has no password with us: without legacy he cannot log in.
    Straggler,
    /// He can log in without legacy.
    Over,
}

/// Where a user stands in the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// When he was last seen, as far as his record tells.
    pub day: Day,
    /// On which side.
    pub side: Side,
    /// What a roster says that he is worth; 0 where none does.
    pub value: u64,
    /// Whether a list of legacy's users told us of him: only such users make "of all" mean all.
    pub listed: bool,
}

/// Where a user stands. None for who could not log in anyway, being disabled or deleted.
///
/// `last_login` is his last login through us, which is not in the record.
#[must_use]
pub fn place(user: &User, last_login: Option<UnixSeconds>) -> Option<Place> {
    match user.standing {
        Standing::Active => {}
        Standing::Disabled | Standing::Deleted => return None,
    }
    let side = match &user.credential {
        Credential::Argon2id(_) | Credential::Imported(_) => Side::Over,
        Credential::Absent(_) => Side::Straggler,
    };
    Some(Place {
        day: last_seen(user, last_login).map_or(Day::NEVER, Day::of),
        side,
        value: user.roster.and_then(|roster| roster.value).unwrap_or(0),
        listed: is_only_listed(user) || user.roster.is_some(),
    })
}

/// When a user was last seen, here or at legacy, as far as is known.
#[must_use]
pub fn last_seen(user: &User, last_login: Option<UnixSeconds>) -> Option<UnixSeconds> {
    // To be on a list is no sign of life. To be vouched for at a login is, and so is to register.
    let vouched = user.legacy_vouched_at.filter(|_| !is_only_listed(user));
    let registered = match user.origin {
        Origin::Registered => Some(user.created_at),
        Origin::Migrated | Origin::Imported | Origin::Roster => None,
    };
    let at_legacy = user.roster.and_then(|roster| roster.last_seen);
    let seen = [at_legacy, vouched, registered, last_login].into_iter().flatten();
    // What legacy writes for "never" is often the first second of 1970.
    seen.filter(|at| Day::of(*at) != Day::NEVER).max()
}

/// Whether nothing but a list tells of him.
#[must_use]
pub fn is_only_listed(user: &User) -> bool {
    match (&user.credential, user.origin) {
        (Credential::Absent(AbsentBecause::Roster | AbsentBecause::LeftWithLegacy), Origin::Roster) => true,
        (
            Credential::Absent(AbsentBecause::Roster | AbsentBecause::LeftWithLegacy),
            Origin::Migrated | Origin::Registered | Origin::Imported,
        )
        | (Credential::Argon2id(_) | Credential::Imported(_) | Credential::Absent(AbsentBecause::ResetAtLegacy), _) => {
            false
        }
    }
}

/// A step that a user made by himself, and that tells how fast the others may be expected. What an import does is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A straggler came over. Whether he had been active in the last [`ACTIVE_DAYS`] days.
    CameOver {
        /// Whether he had.
        was_active: bool,
    },
    /// Somebody of whom we had not known came over.
    Arrived,
    /// Somebody registered.
    Registered,
}

/// Who was seen in so many days counts as active where one number has to do.
pub const ACTIVE_DAYS: u16 = 90;

/// The step between two states of a record, if there is one. `before` is where he stood, if he was there. Not asked about what an import
/// does.
#[must_use]
pub fn step(before: Option<Option<Place>>, after: &User, today: Day) -> Option<Step> {
    match (&after.credential, after.standing) {
        (Credential::Argon2id(_) | Credential::Imported(_), Standing::Active) => {}
        (_, Standing::Active | Standing::Disabled | Standing::Deleted) => return None,
    }
    match (before, after.origin) {
        (Some(Some(Place { side: Side::Straggler, day, .. })), _) => {
            Some(Step::CameOver { was_active: Bucket::Days90.days(today).contains(&day) })
        }
        (Some(_), _) => None,
        (None, Origin::Registered) => Some(Step::Registered),
        (None, Origin::Migrated) => Some(Step::Arrived),
        (None, Origin::Imported | Origin::Roster) => None,
    }
}

/// How many stand where, of one day or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Stragglers.
    pub stragglers: u64,
    /// What they are worth in all.
    pub straggler_value: u128,
    /// Users who are over.
    pub over: u64,
    /// What they are worth in all.
    pub over_value: u128,
    /// Of both, how many a list told us of.
    pub listed: u64,
}

impl Tally {
    /// Both sides.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.stragglers.saturating_add(self.over)
    }

    /// The value of both sides.
    #[must_use]
    pub fn value(&self) -> u128 {
        self.straggler_value.saturating_add(self.over_value)
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            stragglers: self.stragglers.saturating_add(other.stragglers),
            straggler_value: self.straggler_value.saturating_add(other.straggler_value),
            over: self.over.saturating_add(other.over),
            over_value: self.over_value.saturating_add(other.over_value),
            listed: self.listed.saturating_add(other.listed),
        }
    }
}

/// How many made which step on one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// Stragglers who came over.
    pub came_over: u64,
    /// Of these, how many had been active.
    pub came_over_active: u64,
    /// Users who came over and of whom we had not known.
    pub arrived: u64,
    /// Registrations.
    pub registered: u64,
}

impl Pace {
    /// One more step.
    pub fn count(&mut self, step: Step) {
        match step {
            Step::CameOver { was_active } => {
                self.came_over += 1;
                self.came_over_active += u64::from(was_active);
            }
            Step::Arrived => self.arrived += 1,
            Step::Registered => self.registered += 1,
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            came_over: self.came_over.saturating_add(other.came_over),
            came_over_active: self.came_over_active.saturating_add(other.came_over_active),
            arrived: self.arrived.saturating_add(other.arrived),
            registered: self.registered.saturating_add(other.registered),
        }
    }
}

/// As many days of pace are kept: far more than a forecast looks back.
pub const PACE_DAYS: u64 = 400;

/// Users by when they were last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Bucket {
    /// Today or in the 30 days before.
    #[serde(rename = "30d")]
    Days30,
    /// Today or in the 90 days before, those of [`Bucket::Days30`] included.
    #[serde(rename = "90d")]
    Days90,
    /// Today or in the 365 days before, those of [`Bucket::Days90`] included.
    #[serde(rename = "365d")]
    Days365,
    /// Longer ago.
    #[serde(rename = "older")]
    Older,
    /// Never, as far as is known.
    #[serde(rename = "never")]
    Never,
    /// All of them.
    #[serde(rename = "all")]
    All,
}

impl Bucket {
    /// Every bucket.
    pub const ALL: [Self; 6] = [Self::Days30, Self::Days90, Self::Days365, Self::Older, Self::Never, Self::All];

    /// The word for it on the command line, in the API and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Days30 => "30d",
            Self::Days90 => "90d",
            Self::Days365 => "365d",
            Self::Older => "older",
            Self::Never => "never",
            Self::All => "all",
        }
    }

    /// What it holds, to a person.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Days30 => "active in 30 days",
            Self::Days90 => "active in 90 days",
            Self::Days365 => "active in 365 days",
            Self::Older => "last seen longer ago",
            Self::Never => "never seen",
            Self::All => "all",
        }
    }

    /// Its days, seen from today. Whoever is said to have been seen after today (a clock was set back, a list is from another time zone)
    /// has been seen of late.
    #[must_use]
    pub fn days(self, today: Day) -> RangeInclusive<Day> {
        match self {
            Self::Days30 => today.back(30)..=Day::LAST,
            Self::Days90 => today.back(90)..=Day::LAST,
            Self::Days365 => today.back(365)..=Day::LAST,
            Self::Older if today.back(365) == Day::FIRST => Day::LAST..=Day::NEVER,
            Self::Older => Day::FIRST..=today.back(366),
            Self::Never => Day::NEVER..=Day::NEVER,
            Self::All => Day::NEVER..=Day::LAST,
        }
    }
}

impl std::str::FromStr for Bucket {
    type Err = UnknownBucket;

    fn from_str(word: &str) -> Result<Self, UnknownBucket> {
        Self::ALL.into_iter().find(|bucket| bucket.as_str() == word).ok_or(UnknownBucket)
    }
}

/// There is no such bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("one of 30d, 90d, 365d, older, never, all")]
pub struct UnknownBucket;

/// All counts of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RosterCounts {
    /// Who stands where, by the day on which he was last seen. At most one row for each day that there is.
    pub days: BTreeMap<Day, Tally>,
    /// The steps of the last days, at most [`PACE_DAYS`] of them. The first row is the day on which counting began, as long as it is kept.
    pub pace: BTreeMap<Day, Pace>,
}

impl RosterCounts {
    /// The sum of a bucket.
    #[must_use]
    pub fn of(&self, bucket: Bucket, today: Day) -> Tally {
        let days = bucket.days(today);
        if days.is_empty() {
            return Tally::default();
        }
        self.days.range(days).fold(Tally::default(), |sum, (_, tally)| sum.and(*tally))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::domain::credential::StoredHash;
    use crate::domain::password::PasswordNormalization;
    use crate::domain::portable::PortableRoster;
    use crate::domain::user::{UserId, Version};

    const NOW: UnixSeconds = UnixSeconds(20_600 * SECONDS_A_DAY + 7);

    fn argon2id() -> Credential {
        Credential::Argon2id(StoredHash::new("$argon2id$…".to_owned(), PasswordNormalization::None))
    }

    fn listed(last_seen: Option<u64>, value: Option<u64>) -> User {
        User {
            id: UserId(Uuid::from_u128(1)),
            legacy_id: None,
            identifiers: Vec::new(),
            profile: Value::Null,
            credential: Credential::Absent(AbsentBecause::Roster),
            standing: Standing::Active,
            origin: Origin::Roster,
            created_at: NOW,
            updated_at: NOW,
            legacy_vouched_at: Some(NOW),
            roster: Some(PortableRoster { last_seen: last_seen.map(UnixSeconds), value }),
            normalization_version: 1,
            version: Version(1),
        }
    }

    fn come_over(user: User) -> User {
        User { credential: argon2id(), origin: Origin::Migrated, legacy_vouched_at: Some(NOW), ..user }
    }

    #[test]
    fn a_listed_user_is_a_straggler_of_the_day_that_the_list_tells() {
        let seen = place(&listed(Some(20_500 * SECONDS_A_DAY + 3), Some(5)), None);
        let expected = Place { day: Day(20_500), side: Side::Straggler, value: 5, listed: true };
        assert_eq!(seen, Some(expected), "that he is on the list today is no sign of life");
        for never in [None, Some(0), Some(SECONDS_A_DAY - 1)] {
            assert_eq!(place(&listed(never, None), None).map(|place| place.day), Some(Day::NEVER), "{never:?}");
        }
        assert_eq!(place(&listed(Some(u64::MAX), None), None).map(|place| place.day), Some(Day::LAST));
    }

    #[test]
    fn whoever_came_over_was_seen_then_and_is_seen_at_each_login() {
        let over = come_over(listed(Some(20_500 * SECONDS_A_DAY), Some(5)));
        let expected = Place { day: Day(20_600), side: Side::Over, value: 5, listed: true };
        assert_eq!(place(&over, None), Some(expected));
        let login = UnixSeconds(20_700 * SECONDS_A_DAY);
        assert_eq!(place(&over, Some(login)), Some(Place { day: Day(20_700), ..expected }));
        let reset = User { credential: Credential::Absent(AbsentBecause::ResetAtLegacy), ..over };
        assert_eq!(
            place(&reset, Some(login)).map(|place| (place.day, place.side)),
            Some((Day(20_700), Side::Straggler))
        );
    }

    #[test]
    fn who_cannot_log_in_anyway_stands_nowhere() {
        for standing in [Standing::Disabled, Standing::Deleted] {
            assert_eq!(place(&User { standing, ..listed(None, None) }, Some(NOW)), None);
        }
    }

    #[test]
    fn a_step_is_made_by_who_comes_over_and_by_who_registers() {
        let today = Day::of(NOW);
        let straggler = |seen: u64| Some(place(&listed(Some(seen * SECONDS_A_DAY), None), None));
        let over = || come_over(listed(None, None));
        assert_eq!(step(straggler(20_510), &over(), today), Some(Step::CameOver { was_active: true }));
        assert_eq!(step(straggler(20_509), &over(), today), Some(Step::CameOver { was_active: false }));
        assert_eq!(step(None, &over(), today), Some(Step::Arrived));
        let registered = || User { origin: Origin::Registered, created_at: NOW, ..over() };
        assert_eq!(step(None, &registered(), today), Some(Step::Registered));

        assert_eq!(step(Some(place(&over(), None)), &over(), today), None, "a login of somebody who is over");
        assert_eq!(step(Some(None), &over(), today), None, "enabled again");
        assert_eq!(step(None, &listed(None, None), today), None);
        assert_eq!(step(straggler(20_510), &listed(None, None), today), None);
        let disabled = User { standing: Standing::Disabled, ..over() };
        assert_eq!(step(straggler(20_510), &disabled, today), None);
    }

    #[test]
    fn buckets_end_at_midnight_and_together_hold_everybody_once() {
        let today = Day(20_600);
        let holds = |bucket: Bucket, day: u16| bucket.days(today).contains(&Day(day));
        for (bucket, within, without) in [
            (Bucket::Days30, [20_570, 20_600, 20_601, u16::MAX].as_slice(), [20_569, 0].as_slice()),
            (Bucket::Days90, &[20_510, 20_570, 20_600], &[20_509, 0]),
            (Bucket::Days365, &[20_235, 20_600], &[20_234, 0]),
            (Bucket::Older, &[20_234, 1], &[20_235, 20_600, 0]),
            (Bucket::Never, &[0], &[1, 20_600, u16::MAX]),
            (Bucket::All, &[0, 1, 20_600, u16::MAX], &[]),
        ] {
            assert!(within.iter().all(|day| holds(bucket, *day)), "{bucket:?}");
            assert!(!without.iter().any(|day| holds(bucket, *day)), "{bucket:?}");
        }
        for today in [Day(1), Day(30), Day(365), Day(366), Day(367), Day(20_600), Day::LAST] {
            for day in (0..=u16::MAX).map(Day) {
                let holders =
                    [Bucket::Days365, Bucket::Older, Bucket::Never].map(|bucket| bucket.days(today).contains(&day));
                assert_eq!(holders.iter().filter(|holds| **holds).count(), 1, "{day:?} seen from {today:?}");
            }
        }
    }

    #[test]
    fn a_bucket_is_the_sum_of_its_days() {
        let one = |stragglers, over| Tally { stragglers, over, straggler_value: 10, ..Tally::default() };
        let days = [(0, one(1, 0)), (100, one(2, 1)), (20_569, one(4, 2)), (20_570, one(8, 4)), (20_600, one(16, 8))];
        let counts =
            RosterCounts { days: days.map(|(day, tally)| (Day(day), tally)).into(), ..RosterCounts::default() };
        let today = Day(20_600);
        let stragglers = Bucket::ALL.map(|bucket| counts.of(bucket, today).stragglers);
        assert_eq!(stragglers, [24, 28, 28, 2, 1, 31]);
        assert_eq!(counts.of(Bucket::All, today).known(), 46);
        assert_eq!(counts.of(Bucket::Days30, today).straggler_value, 20);
        assert_eq!(counts.of(Bucket::Older, Day(20)), Tally::default(), "there was nothing before 1970");
    }

    #[test]
    fn a_bucket_is_read_back_from_its_own_word() {
        for bucket in Bucket::ALL {
            assert_eq!(bucket.as_str().parse(), Ok(bucket));
            assert_eq!(serde_json::to_value(bucket).expect("a word"), bucket.as_str());
        }
        assert_eq!("30".parse::<Bucket>(), Err(UnknownBucket));
    }
}

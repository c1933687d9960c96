//! When the stragglers will be through, by how many came over in the last two weeks. Pure arithmetic, and deliberately plain: two weeks
//! are compared, since logins follow the week; nothing is fitted to a curve that nobody could check by hand.
//!
//! People who log in daily come over in the first days, those who log in yearly in the last ones: a pace that falls is the rule. Where it
//! clearly does, it is taken to go on falling by the same share each week, and then only so many more come at all.

use super::roster::Day;

/// The days that are looked at, the last one being yesterday: today is not over.
pub const WINDOW_DAYS: u16 = 14;

const WEEK: u16 = 7;

/// With fewer users than this in the window nothing is said about the future.
const LEAST_COMERS: u64 = 10;

/// What takes longer is as good as never.
const HORIZON_DAYS: u64 = 730;

/// What can be said of the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forecast {
    /// Nobody is left.
    Done,
    /// Too little is known.
    Unknown(TooLittle),
    /// At the pace of the window all are through by about this day.
    By(Day),
    /// The rest will not come by themselves.
    NotByThemselves {
        /// So many more may, if things go on as they do.
        still_to_come: u64,
        /// Why.
        because: Because,
    },
}

/// Why nothing can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLittle {
    /// It has been counted for less than a week.
    Time,
    /// Hardly anybody came over in the window.
    Comers,
}

/// Why the rest will not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// In two weeks nobody did.
    NobodyComes,
    /// The pace falls off too fast.
    ThePaceFalls,
    /// At this pace it would take more than two years.
    TheyAreTooMany,
}

/// Tells when `remaining` will be through. `since` is the day on which counting began, `came_over` how many came on a day.
#[must_use]
pub fn forecast(remaining: u64, today: Day, since: Option<Day>, came_over: impl Fn(Day) -> u64) -> Forecast {
    if remaining == 0 {
        return Forecast::Done;
    }
    // The first day was not a whole one either.
    let whole_days = since.map_or(0, |since| today.since(since).saturating_sub(1)).min(WINDOW_DAYS);
    if whole_days < WEEK {
        return Forecast::Unknown(TooLittle::Time);
    }
    let sum = |from: u16, to: u16| (from..=to).map(|back| came_over(today.back(back))).sum::<u64>();
    let total = sum(1, whole_days);
    if total == 0 && whole_days == WINDOW_DAYS {
        return Forecast::NotByThemselves { still_to_come: 0, because: Because::NobodyComes };
    }
    if total < LEAST_COMERS {
        return Forecast::Unknown(TooLittle::Comers);
    }
    if whole_days == WINDOW_DAYS {
        let (last_week, week_before) = (sum(1, WEEK), sum(WEEK + 1, WINDOW_DAYS));
        if clearly_fewer(last_week, week_before) {
            return falling(remaining, today, last_week, week_before);
        }
    }
    steady(remaining, today, total, whole_days)
}

/// Whether a week had fewer than the one before by more than chance and the odd holiday make of the same pace: by a tenth at least, and
/// by two standard deviations of the difference of two Poisson counts.
fn clearly_fewer(last: u64, before: u64) -> bool {
    let less = u128::from(before.saturating_sub(last));
    less * 10 > u128::from(before) && less * less > 4 * (u128::from(last) + u128::from(before))
}

fn steady(remaining: u64, today: Day, total: u64, days: u16) -> Forecast {
    let needed = (u128::from(remaining) * u128::from(days)).div_ceil(u128::from(total));
    match u16::try_from(needed) {
        Ok(needed) if u64::from(needed) <= HORIZON_DAYS => Forecast::By(today.ahead(needed)),
        Ok(_) | Err(_) => Forecast::NotByThemselves {
            still_to_come: total.saturating_mul(HORIZON_DAYS) / u64::from(days),
            because: Because::TheyAreTooMany,
        },
    }
}

/// Each week brings `last / before` of the week before it: week by week until all are through, or hardly anybody comes any more.
fn falling(remaining: u64, today: Day, last: u64, before: u64) -> Forecast {
    let mut week = u128::from(last);
    let (mut to_come, mut weeks) = (0_u128, 0_u16);
    while u64::from(weeks) * u64::from(WEEK) < HORIZON_DAYS {
        week = week * u128::from(last) / u128::from(before.max(1));
        weeks += 1;
        to_come += week;
        if to_come >= u128::from(remaining) {
            return Forecast::By(today.ahead(weeks * WEEK));
        }
        if week == 0 {
            break;
        }
    }
    let still_to_come = u64::try_from(to_come).unwrap_or(u64::MAX);
    Forecast::NotByThemselves { still_to_come, because: Because::ThePaceFalls }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: u16 = 20_600;

    /// What is told when counting began so many days ago and each day, yesterday first, brought so many.
    fn told(remaining: u64, began: u16, came: &[u64]) -> Forecast {
        let today = Day::from_number(TODAY);
        let since = Some(today.back(began));
        forecast(remaining, today, since, |day| {
            let ago = usize::from(today.since(day));
            assert!((1..=14).contains(&ago), "today is not over, and older days are nobody's business");
            came.get(ago - 1).copied().unwrap_or(0)
        })
    }

    fn by(days: u16) -> Forecast {
        Forecast::By(Day::from_number(TODAY + days))
    }

    fn not(still_to_come: u64, because: Because) -> Forecast {
        Forecast::NotByThemselves { still_to_come, because }
    }

    #[test]
    fn a_steady_pace_is_drawn_out_in_a_straight_line() {
        assert_eq!(told(1_000, 100, &[10; 14]), by(100));
        assert_eq!(told(1, 100, &[10; 14]), by(1), "rounded up");
        assert_eq!(told(7_300, 100, &[10; 14]), by(730));
        assert_eq!(told(7_301, 100, &[10; 14]), not(7_300, Because::TheyAreTooMany));
        assert_eq!(told(u64::MAX, 100, &[u64::MAX / 15; 14]), by(15));
        assert_eq!(told(u64::MAX, 100, &[10; 14]), not(7_300, Because::TheyAreTooMany));
    }

    #[test]
    fn a_week_of_few_logins_and_chance_are_no_falling_pace() {
        let weekends = [0, 12, 12, 12, 12, 12, 0, 0, 12, 12, 12, 12, 12, 0];
        assert_eq!(told(120, 100, &weekends), by(14));
        let a_bit_less = [10, 10, 10, 10, 10, 10, 8, 11, 11, 10, 10, 10, 10, 10];
        assert_eq!(told(140, 100, &a_bit_less), by(14));
        let more = [20, 20, 20, 20, 20, 20, 20, 10, 10, 10, 10, 10, 10, 10];
        assert_eq!(told(210, 100, &more), by(14), "nobody is promised that it goes on growing");
    }

    #[test]
    fn a_falling_pace_goes_on_falling_and_may_end_before_all_are_through() {
        let halved = [50, 50, 50, 50, 50, 50, 50, 100, 100, 100, 100, 100, 100, 100];
        // 350 came last week; 175, 87, 43, … are to come.
        assert_eq!(told(175, 100, &halved), by(7));
        assert_eq!(told(262, 100, &halved), by(14));
        assert_eq!(told(1_000, 100, &halved), not(344, Because::ThePaceFalls));
        let stopped = [0, 0, 0, 0, 0, 0, 0, 100, 100, 100, 100, 100, 100, 100];
        assert_eq!(told(10, 100, &stopped), not(0, Because::ThePaceFalls));
    }

    #[test]
    fn too_little_is_told_as_such() {
        assert_eq!(told(0, 0, &[]), Forecast::Done, "whatever else is known");
        for began in 0..=7 {
            assert_eq!(told(100, began, &[50; 14]), Forecast::Unknown(TooLittle::Time), "{began} days ago");
        }
        assert_eq!(told(100, 8, &[50; 7]), by(2), "a whole week is enough for a straight line");
        assert_eq!(told(100, 8, &[1; 7]), Forecast::Unknown(TooLittle::Comers));
        assert_eq!(told(100, 8, &[]), Forecast::Unknown(TooLittle::Comers), "not yet two weeks of nobody");
        assert_eq!(told(100, 15, &[]), not(0, Because::NobodyComes));
        let today = Day::from_number(TODAY);
        assert_eq!(forecast(100, today, None, |_| 50), Forecast::Unknown(TooLittle::Time));
        let later = Some(today.ahead(1));
        assert_eq!(forecast(100, today, later, |_| 50), Forecast::Unknown(TooLittle::Time), "the clock was set back");
    }
}

//! When an account may be tried again: pure arithmetic over what is written down of it.
//!
//! Two rules, of which the stricter holds. The quota is governor's GCRA: so many wrong passwords in such a time, so many at once.
//! The backoff counts wrong ones in a row: after `after` of them the next attempt waits a second, then twice as long after each
//! further one, up to `max`, as Amazon Cognito does it with five (R66); after `give_up` none is taken until somebody proves himself
//! otherwise, or a day has passed (NIST SP 800-63B, section 5.2.2: no more than 100 in a row).

use std::time::Duration;

use super::keys::Tick;
use super::settings::{Backoff, CountedAttempts};
use super::ticks::{Pace, nanos};

/// What is written down of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Slate {
    /// Until when it owes under its quota: GCRA's "theoretical arrival time".
    pub(super) debt: Tick,
    /// When an attempt last failed.
    pub(super) failed_at: Tick,
    /// How many failed in a row.
    pub(super) streak: u32,
    /// Whom they were aimed at, since several names share a slate: a short fingerprint; [`SEVERAL`].
    pub(super) aimed_at: u32,
}

/// Attempts in one row were aimed at different users.
pub(super) const SEVERAL: u32 = 0;

const SECOND: Tick = 1_000_000_000;

/// How long an account must rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) pace: Pace,
    pub(super) counted: CountedAttempts,
    after: u32,
    max: Tick,
    give_up: u32,
    forget: Tick,
}

impl Rules {
    pub(super) fn new(pace: Pace, counted: CountedAttempts, backoff: Backoff) -> Self {
        let Backoff { after, max, give_up, give_up_for } = backoff;
        let (max, forget) = (nanos(max), nanos(give_up_for));
        Self { pace, counted, after: after.get(), max, give_up: give_up.get(), forget }
    }

    /// When the next attempt is admitted while so many are under way, each taken for one that will fail; `Err` is how long that is.
    /// With attempts under way it says how long it would be if all of them fail.
    pub(super) fn admit(self, slate: Slate, now: Tick, held: u32) -> Result<(), Duration> {
        let in_debt = match self.counted {
            CountedAttempts::Failures => self.pace.interval.saturating_mul(u64::from(held)),
            // Counted when they came.
            CountedAttempts::All => 0,
        };
        let tolerated = self.pace.interval.saturating_mul(u64::from(self.pace.burst.saturating_sub(1)));
        let by_quota = slate.debt.max(now).saturating_add(in_debt).saturating_sub(tolerated);
        let by_backoff = match (self.streak(slate, now), held) {
            (0, 0) => now,
            (streak, 0) => slate.failed_at.saturating_add(self.pause(streak)),
            (streak, held) => now.saturating_add(self.pause(streak.saturating_add(held))),
        };
        match by_quota.max(by_backoff) {
            earliest if earliest <= now => Ok(()),
            earliest => Err(Duration::from_nanos(earliest - now)),
        }
    }

    /// The slate once an attempt was admitted: with every attempt counted, it is counted now.
    pub(super) fn admitted(self, slate: Slate, now: Tick) -> Option<Slate> {
        match self.counted {
            CountedAttempts::Failures => None,
            CountedAttempts::All => Some(Slate { debt: self.charged(slate, now), ..slate }),
        }
    }

    /// The slate after one more failure.
    pub(super) fn failed(self, slate: Slate, now: Tick, aimed_at: u32) -> Slate {
        let debt = match self.counted {
            CountedAttempts::Failures => self.charged(slate, now),
            CountedAttempts::All => slate.debt,
        };
        let before = self.streak(slate, now);
        let aimed_at = if before == 0 || slate.aimed_at == aimed_at { aimed_at } else { SEVERAL };
        Slate { debt, failed_at: now, streak: before.saturating_add(1), aimed_at }
    }

    /// The slate after a success. It ends the row only if all of it was aimed at him who succeeded: whoever owns an account whose
    /// name looks like another's must not wipe that one's slate by logging in to his own.
    pub(super) fn succeeded(slate: Slate, aimed_at: u32) -> Option<Slate> {
        (slate.streak > 0 && slate.aimed_at == aimed_at).then_some(Slate { streak: 0, ..slate })
    }

    /// Until when a slate is worth remembering, as far as there is room: one that owes nothing no longer, an attacked one as long as its
    /// row counts, and before others the longer the row is.
    pub(super) fn rest(self, slate: Slate) -> Tick {
        let row = slate.streak.checked_sub(self.after).map_or(0, |further| {
            let longer = self.max.saturating_mul(u64::from(further));
            slate.failed_at.saturating_add(self.forget).saturating_add(longer)
        });
        slate.debt.max(row)
    }

    /// Whether so many failures in a row are too many for anybody.
    pub(super) fn gives_up(self, streak: u32) -> bool {
        streak >= self.give_up
    }

    /// How many failed in a row, as of now.
    fn streak(self, slate: Slate, now: Tick) -> u32 {
        if now >= slate.failed_at.saturating_add(self.forget) { 0 } else { slate.streak }
    }

    /// How long the next attempt waits after so many failures in a row.
    fn pause(self, streak: u32) -> Tick {
        match streak.checked_sub(self.after) {
            _ if self.gives_up(streak) => self.forget,
            None => 0,
            Some(doublings) => SECOND.saturating_mul(1_u64.checked_shl(doublings).unwrap_or(Tick::MAX)).min(self.max),
        }
    }

    fn charged(self, slate: Slate, now: Tick) -> Tick {
        slate.debt.max(now).saturating_add(self.pace.interval)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use governor::clock::Clock as _;
    use governor::{RateLimiter, clock::FakeRelativeClock};
    use proptest::prelude::*;

    use super::*;

    fn positive(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).expect("not zero")
    }

    fn rules(burst: u32, after: u32) -> Rules {
        let backoff = Backoff {
            after: positive(after),
            max: Duration::from_secs(900),
            give_up: positive(100),
            give_up_for: Duration::from_secs(86_400),
        };
        Rules::new(Pace { interval: SECOND, burst }, CountedAttempts::Failures, backoff)
    }

    /// A slate after so many failures, each as soon as it was allowed.
    fn after_failures(rules: Rules, failures: u32) -> (Slate, Tick) {
        let (mut slate, mut now) = (Slate::default(), SECOND);
        for _ in 0..failures {
            if let Err(wait) = rules.admit(slate, now, 0) {
                now += nanos(wait);
            }
            slate = rules.failed(slate, now, 7);
        }
        (slate, now)
    }

    #[test]
    fn r66_the_wait_doubles_from_a_second_to_a_quarter_of_an_hour_and_ends_at_a_hundred() {
        let rules = rules(1_000, 5);
        for failures in 0..=100_u32 {
            let (slate, now) = after_failures(rules, failures);
            let expected = match failures {
                0..=4 => Ok(()),
                5..=14 => Err(Duration::from_secs(1 << (failures - 5))),
                15..=99 => Err(Duration::from_secs(900)),
                _ => Err(Duration::from_secs(86_400)),
            };
            assert_eq!(rules.admit(slate, now, 0), expected, "after {failures}");
            if let Err(wait) = expected {
                let then = now + nanos(wait);
                assert!(rules.admit(slate, then - 1, 0).is_err() && rules.admit(slate, then, 0).is_ok());
            }
        }
    }

    #[test]
    fn r66_a_success_ends_the_row_and_so_does_a_day_of_rest() {
        let rules = rules(1_000, 5);
        let (slate, now) = after_failures(rules, 100);
        let forgiven = Rules::succeeded(slate, 7).expect("the row was aimed at him");
        assert_eq!(rules.admit(forgiven, now, 0), Ok(()));
        assert_eq!(rules.failed(forgiven, now, 7).streak, 1);
        assert_eq!(rules.failed(slate, now + 86_400 * SECOND, 7).streak, 1);
    }

    #[test]
    fn r70_a_success_under_a_name_that_looks_alike_ends_nobody_elses_row() {
        let rules = rules(1_000, 5);
        let (slate, now) = after_failures(rules, 20);
        assert_eq!(Rules::succeeded(slate, 8), None);
        let mixed = rules.failed(slate, now, 8);
        assert_eq!((Rules::succeeded(mixed, 7), Rules::succeeded(mixed, 8)), (None, None));
        assert_eq!(mixed.streak, 21);
    }

    #[test]
    fn r66_those_under_way_are_taken_for_failures() {
        let rules = rules(10, 5);
        let (slate, now) = after_failures(rules, 3);
        assert!(rules.admit(slate, now, 1).is_ok(), "the fourth and the fifth");
        assert!(
            rules.admit(slate, now, 2).is_err(),
            "the sixth would have to wait for the second that follows the fifth"
        );
        let (slate, now) = after_failures(rules, 6);
        let later = now + 2 * SECOND;
        assert!(
            rules.admit(slate, later, 0).is_ok() && rules.admit(slate, later, 1).is_err(),
            "one at a time from there on"
        );
    }

    #[test]
    fn the_stricter_of_quota_and_backoff_holds() {
        let backoff = Backoff { after: positive(2), ..Backoff::default() };
        let slow = Rules::new(Pace { interval: 90 * SECOND, burst: 2 }, CountedAttempts::Failures, backoff);
        let mut slate = Slate::default();
        for _ in 0..2 {
            slate = slow.failed(slate, SECOND, 7);
        }
        assert_eq!(
            slow.admit(slate, SECOND, 0),
            Err(Duration::from_secs(90)),
            "the quota's 90 s, not the backoff's 1 s"
        );
        let (slate, now) = after_failures(slow, 11);
        assert_eq!(slow.admit(slate, now, 0), Err(Duration::from_secs(512)), "the backoff's 2^9 s");
    }

    #[test]
    fn r69_an_attacked_account_is_remembered_for_as_long_as_its_row_counts() {
        let rules = rules(1_000, 5);
        let (slate, now) = after_failures(rules, 4);
        assert_eq!(rules.rest(slate), slate.debt);
        let slate = rules.failed(slate, now, 7);
        assert_eq!(rules.rest(slate), now + 86_400 * SECOND);
        let longer = rules.failed(slate, now, 7);
        assert!(rules.rest(longer) > rules.rest(slate));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// With the backoff out of the way there is no difference to governor, in who is admitted and in when to retry.
        #[test]
        fn the_quota_is_governors(burst in 1_u32..6, steps in prop::collection::vec(0_u64..120, 1..60)) {
            let interval = Duration::from_secs(30);
            let ours = Rules::new(
                Pace { interval: nanos(interval), burst },
                CountedAttempts::Failures,
                Backoff { after: positive(1_000), give_up: positive(1_000), ..Backoff::default() },
            );
            let clock = FakeRelativeClock::default();
            let quota = governor::Quota::with_period(interval).expect("not zero").allow_burst(positive(burst));
            let theirs = RateLimiter::direct_with_clock(quota, clock.clone());
            let (mut slate, mut now) = (Slate::default(), 0);
            for step in steps {
                clock.advance(Duration::from_secs(step));
                now += step * SECOND;
                let admitted = ours.admit(slate, now, 0);
                if admitted.is_ok() {
                    slate = ours.failed(slate, now, 7);
                }
                let expected = theirs.check().map_err(|not_until| not_until.wait_time_from(clock.now()));
                prop_assert_eq!(admitted, expected);
            }
        }

        /// Whatever happens when, more than the limit in a row are never admitted without a day's rest.
        #[test]
        fn r66_never_more_than_a_hundred_in_a_row(steps in prop::collection::vec(0_u64..3_000, 1..400)) {
            let rules = rules(1_000, 5);
            let (mut slate, mut now, mut admitted, mut first) = (Slate::default(), SECOND, 0, SECOND);
            for step in steps {
                now += step * SECOND;
                if now >= first + 86_400 * SECOND && rules.streak(slate, now) == 0 {
                    (admitted, first) = (0, now);
                }
                if rules.admit(slate, now, 0).is_ok() {
                    slate = rules.failed(slate, now, 7);
                    admitted += 1;
                }
                prop_assert!(admitted <= 100);
            }
        }
    }
}

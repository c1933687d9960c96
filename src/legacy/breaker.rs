//! The breaker: after some consecutive outages legacy is left alone for a while, then one question tries again. A pure state
//! machine over time given as a parameter, and the lock that shares it. Called by `exchange`; knows nothing of HTTP.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::settings::BreakerSettings;

/// Whether to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Yes.
    Normal,
    /// Yes, as the one question that decides whether it closes. Its outcome has to be told.
    Trial,
    /// No.
    Refused,
}

/// How asking went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// An answer came, whatever it says.
    Alive,
    /// None came, or one that speaks for a dead backend.
    Dead,
    /// It was given up before anybody could tell.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Questions go through; so many outages came one after the other.
    Closed { failures: u32 },
    /// None goes through before `until`.
    Open { until: Instant },
    /// One is under way.
    HalfOpen,
}

/// One breaker, shared by all who ask.
pub(super) struct Breaker {
    settings: BreakerSettings,
    state: Mutex<State>,
}

impl Breaker {
    pub(super) fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// Whether a question may go out now.
    pub(super) fn admit(&self, now: Instant) -> Admission {
        let mut state = self.state();
        let (next, admission) = admit(*state, now);
        *state = next;
        admission
    }

    /// Notes how an admitted question went; whether the breaker keeps questions back from now on.
    pub(super) fn note(&self, admission: Admission, health: Health, now: Instant) -> bool {
        let mut state = self.state();
        *state = note(*state, self.settings, admission, health, now);
        !matches!(*state, State::Closed { .. })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is one Copy value: a panic cannot leave it half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn admit(state: State, now: Instant) -> (State, Admission) {
    match state {
        State::Closed { .. } => (state, Admission::Normal),
        State::Open { until } if now >= until => (State::HalfOpen, Admission::Trial),
        State::Open { .. } | State::HalfOpen => (state, Admission::Refused),
    }
}

fn note(state: State, settings: BreakerSettings, admission: Admission, health: Health, now: Instant) -> State {
    let open = State::Open { until: now.checked_add(settings.open_for).unwrap_or(now) };
    match (state, admission, health) {
        (State::Closed { .. }, Admission::Normal | Admission::Trial, Health::Alive) => State::Closed { failures: 0 },
        (State::Closed { failures }, Admission::Normal | Admission::Trial, Health::Dead) => {
            let failures = failures.saturating_add(1);
            if failures >= settings.failures.get() { open } else { State::Closed { failures } }
        }
        (State::HalfOpen, Admission::Trial, Health::Alive) => State::Closed { failures: 0 },
        (State::HalfOpen, Admission::Trial, Health::Dead) => open,
        // Nobody knows: the next question is the trial.
        (State::HalfOpen, Admission::Trial, Health::Unknown) => State::Open { until: now },
        // A question from before it opened says nothing about now.
        (State::Open { .. }, _, _) | (State::HalfOpen, Admission::Normal | Admission::Refused, _) => state,
        (State::Closed { .. }, Admission::Refused, _) | (State::Closed { .. }, _, Health::Unknown) => state,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::domain::clock::{Clock, SystemClock};

    const OPEN_FOR: Duration = Duration::from_secs(15);

    fn breaker(failures: u32) -> (Breaker, Instant) {
        let failures = NonZeroU32::new(failures).expect("not zero");
        (Breaker::new(BreakerSettings { failures, open_for: OPEN_FOR }), SystemClock.monotonic())
    }

    #[test]
    fn r77_consecutive_outages_open_it_and_an_answer_between_them_does_not() {
        let (breaker, now) = breaker(3);
        for health in [Health::Dead, Health::Dead, Health::Alive, Health::Dead, Health::Unknown, Health::Dead] {
            assert_eq!(breaker.admit(now), Admission::Normal);
            assert!(!breaker.note(Admission::Normal, health, now));
        }
        assert!(breaker.note(Admission::Normal, Health::Dead, now), "the third in a row");
        assert_eq!(breaker.admit(now), Admission::Refused);
        assert_eq!(breaker.admit(now + OPEN_FOR - Duration::from_nanos(1)), Admission::Refused);
    }

    #[test]
    fn one_question_tries_again_and_its_outcome_decides() {
        for (health, closes) in [(Health::Alive, true), (Health::Dead, false)] {
            let (breaker, now) = breaker(1);
            assert!(breaker.note(Admission::Normal, Health::Dead, now));
            let later = now + OPEN_FOR;
            assert_eq!(breaker.admit(later), Admission::Trial);
            assert_eq!(breaker.admit(later), Admission::Refused, "one at a time");
            assert_eq!(!breaker.note(Admission::Trial, health, later), closes);
            assert_eq!(breaker.admit(later) == Admission::Normal, closes);
            assert_eq!(breaker.admit(later + OPEN_FOR), if closes { Admission::Normal } else { Admission::Trial });
        }
    }

    #[test]
    fn a_trial_that_was_given_up_leaves_the_place_to_the_next() {
        let (breaker, now) = breaker(1);
        breaker.note(Admission::Normal, Health::Dead, now);
        assert_eq!(breaker.admit(now + OPEN_FOR), Admission::Trial);
        assert!(breaker.note(Admission::Trial, Health::Unknown, now + OPEN_FOR));
        assert_eq!(breaker.admit(now + OPEN_FOR), Admission::Trial);
    }

    #[test]
    fn questions_from_before_it_opened_change_nothing() {
        let (breaker, now) = breaker(1);
        breaker.note(Admission::Normal, Health::Dead, now);
        assert!(breaker.note(Admission::Normal, Health::Alive, now));
        assert!(breaker.note(Admission::Normal, Health::Dead, now + OPEN_FOR));
        assert_eq!(breaker.admit(now + OPEN_FOR), Admission::Trial, "a late outage does not prolong it");
        assert!(breaker.note(Admission::Normal, Health::Alive, now + OPEN_FOR));
        assert_eq!(breaker.admit(now + OPEN_FOR), Admission::Refused, "only the trial closes it");
    }
}

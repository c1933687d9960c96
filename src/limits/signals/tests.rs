//! Replays of an attack and of honest traffic.

use super::super::keys::Fingerprints;
use super::*;

const SECOND: Tick = 1_000_000_000;

struct Replay {
    signals: Signals,
    metrics: Arc<Metrics>,
    fingerprints: Fingerprints,
    now: Tick,
}

fn replay() -> Replay {
    let metrics = Arc::new(Metrics::new());
    let keys = NonZeroUsize::new(20_000).expect("not zero");
    let signals = Signals::new(keys, Arc::clone(&metrics));
    Replay { signals, metrics, fingerprints: Fingerprints::default(), now: 0 }
}

impl Replay {
    fn attempt(&self, from: u32, user: u32, outcome: AttemptOutcome) {
        let addr = std::net::Ipv4Addr::from(0x0a00_0000 + from);
        let seen = Seen {
            account: self.fingerprints.of(("user", user)),
            network: self.fingerprints.of(addr),
            client: ClientAddr::assert_by_trusted_walk(addr.into()),
        };
        self.signals.note(seen, outcome, self.now);
    }

    /// How often each sign was seen.
    fn seen(&self) -> Vec<(String, u64)> {
        self.metrics.attack_signals_so_far().into_iter().map(|([signal], count)| (signal, count)).collect()
    }
}

/// One in so many is wrong.
fn mostly_right(number: u32, one_in: u32) -> AttemptOutcome {
    if number.is_multiple_of(one_in) { AttemptOutcome::Failed } else { AttemptOutcome::Succeeded }
}

#[test]
fn r76_a_morning_of_two_thousand_people_behind_one_address_is_no_attack() {
    let mut replay = replay();
    for number in 0..2_000 {
        replay.attempt(1, number, mostly_right(number, 6));
        if number % 6 == 0 {
            replay.attempt(1, number, AttemptOutcome::Succeeded);
        }
        replay.now += SECOND;
    }
    assert_eq!(replay.seen(), []);
}

#[test]
fn r76_a_list_of_stolen_passwords_tried_from_a_few_addresses_is_seen_at_each_of_them_once_in_a_window() {
    let mut replay = replay();
    for number in 0..400 {
        // Beside it people log in from all over the world.
        replay.attempt(1_000 + number, 100_000 + number, mostly_right(number, 8));
        replay.attempt(number % 4, number, mostly_right(number + 1, 50).opposite());
        replay.now += SECOND;
    }
    assert_eq!(replay.seen(), [("many_users_from_one_network".to_owned(), 4)]);
    replay.now += nanos(WINDOW);
    (0..100).for_each(|number| replay.attempt(1, number, AttemptOutcome::Failed));
    assert_eq!(replay.seen(), [("many_users_from_one_network".to_owned(), 5)], "and again in the next");
}

impl AttemptOutcome {
    fn opposite(self) -> Self {
        match self {
            Self::Succeeded => Self::Failed,
            Self::Failed => Self::Succeeded,
            Self::NoVerdict => Self::NoVerdict,
        }
    }
}

#[test]
fn r76_guesses_at_one_account_from_everywhere_are_seen_and_a_traveller_is_not() {
    let replay = replay();
    for network in 0..30 {
        replay.attempt(network, 1, mostly_right(network, 3));
    }
    assert_eq!(replay.seen(), []);
    (0..30).for_each(|network| replay.attempt(network, 2, AttemptOutcome::Failed));
    assert_eq!(replay.seen(), [("many_networks_at_one_account".to_owned(), 1)]);
}

#[test]
fn r76_an_attack_spread_so_thinly_that_no_key_repeats_shows_in_the_whole() {
    let replay = replay();
    (0..1_000).for_each(|number| replay.attempt(number, number, mostly_right(number + 1, 10).opposite()));
    assert_eq!(replay.seen(), [("few_successes".to_owned(), 5)]);
}

#[test]
fn what_nobody_could_judge_is_no_sign() {
    let replay = replay();
    (0..1_000).for_each(|number| replay.attempt(1, number, AttemptOutcome::NoVerdict));
    assert_eq!(replay.seen(), []);
}

#[test]
fn r68_a_flood_of_addresses_hides_no_spray_and_takes_no_more_memory() {
    let mut replay = replay();
    (0..13).for_each(|number| replay.attempt(1, number, AttemptOutcome::Failed));
    for number in 0..20_000 {
        replay.attempt(10 + number, 1_000 + number, AttemptOutcome::Succeeded);
        replay.now += SECOND / 1_000;
    }
    let full = replay.signals.bytes();
    for number in 0..20_000 {
        replay.attempt(100_000 + number, 1_000 + number, AttemptOutcome::Succeeded);
        replay.now += SECOND / 1_000;
    }
    assert_eq!((replay.seen(), replay.signals.bytes()), (vec![], full));
    (13..40).for_each(|number| replay.attempt(1, number, AttemptOutcome::Failed));
    assert_eq!(replay.seen(), [("many_users_from_one_network".to_owned(), 1)]);
}

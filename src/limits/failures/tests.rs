//! The limit under floods, in order, and at its bounds. Its arithmetic is tested beside [`Rules`].

use std::num::NonZeroU32;

use futures_util::future::join_all;
use futures_util::poll;

use super::super::keys::Fingerprints;
use super::super::settings::{Backoff, CountedAttempts};
use super::super::ticks::Pace;
use super::*;
use crate::domain::clock::Clock;
use crate::domain::clock::testing::ManualClock;

struct Fixture {
    limit: FailureLimit,
    clock: Arc<ManualClock>,
    fingerprints: Fingerprints,
}

/// Ten in fifteen minutes, one in ninety seconds, unless said otherwise.
fn fixture(burst: u32, max_keys: usize) -> Fixture {
    with_backoff(burst, max_keys, 1_000)
}

/// The same, slowed down after so many failures in a row.
fn with_backoff(burst: u32, max_keys: usize, after: u32) -> Fixture {
    let clock = Arc::new(ManualClock::at(0));
    let ticks = Ticks::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let max_keys = NonZeroUsize::new(max_keys).expect("not zero");
    let limit = FailureLimit::new(rules(burst, after), Newcomer::InheritsDebt, max_keys, MAX_WAIT, ticks);
    Fixture { limit, clock, fingerprints: Fingerprints::default() }
}

fn rules(burst: u32, after: u32) -> Rules {
    let positive = |number| NonZeroU32::new(number).expect("not zero");
    let backoff = Backoff { after: positive(after), give_up: positive(1_000), ..Backoff::default() };
    Rules::new(Pace { interval: 90_000_000_000, burst }, CountedAttempts::Failures, backoff)
}

impl Fixture {
    fn account(&self, name: &str) -> Fingerprint {
        self.fingerprints.of(name)
    }

    /// One attempt that is judged at once.
    async fn attempt(&self, name: &str, outcome: AttemptOutcome) -> Result<(), Duration> {
        self.admit(self.account(name)).await.map(|place| {
            place.settle(outcome);
        })
    }

    fn admit(&self, account: Fingerprint) -> impl Future<Output = Result<Place, Duration>> {
        self.limit.admit(account, HIM)
    }
}

/// The one whom all attempts here are aimed at.
const HIM: Comer = Comer { aimed_at: 7, standing: ClientStanding::Known };

fn limited(seconds: u64) -> Result<(), Duration> {
    Err(Duration::from_secs(seconds))
}

#[tokio::test]
async fn r63_of_a_thousand_parallel_wrong_passwords_at_most_the_limit_is_verified() {
    let fixture = fixture(10, 1_000);
    let verified = AtomicUsize::new(0);
    let attempts = (0..1_000).map(async |_| {
        let permit = fixture.admit(fixture.account("victim")).await?;
        verified.fetch_add(1, Ordering::SeqCst);
        // The hash is computed elsewhere meanwhile.
        tokio::task::yield_now().await;
        permit.settle(AttemptOutcome::Failed);
        Ok::<(), Duration>(())
    });
    let answers = join_all(attempts).await;
    assert_eq!(verified.load(Ordering::SeqCst), 10);
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 990);
    assert_eq!(fixture.attempt("victim", AttemptOutcome::Succeeded).await, limited(90));
    assert_eq!((fixture.limit.under_way(), fixture.limit.0.waiters.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test]
async fn r64_two_hundred_parallel_right_passwords_all_succeed() {
    let fixture = fixture(10, 1_000);
    let inside = AtomicUsize::new(0);
    let attempts = (0..200).map(async |_| {
        let permit = fixture.admit(fixture.account("office")).await?;
        assert!(inside.fetch_add(1, Ordering::SeqCst) < 10, "never more under way than may fail");
        tokio::task::yield_now().await;
        inside.fetch_sub(1, Ordering::SeqCst);
        permit.settle(AttemptOutcome::Succeeded);
        Ok::<(), Duration>(())
    });
    assert!(join_all(attempts).await.iter().all(Result::is_ok));
    assert_eq!((fixture.limit.under_way(), fixture.limit.remembered()), (0, 0), "right passwords leave nothing behind");
}

#[tokio::test]
async fn retry_after_is_when_the_next_attempt_is_admitted_to_the_second() {
    let fixture = fixture(3, 100);
    for _ in 0..3 {
        assert_eq!(fixture.attempt("a", AttemptOutcome::Failed).await, Ok(()));
    }
    assert_eq!(fixture.attempt("a", AttemptOutcome::Failed).await, limited(90));
    fixture.clock.advance(Duration::from_secs(89));
    assert_eq!(fixture.attempt("a", AttemptOutcome::Failed).await, limited(1));
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.attempt("a", AttemptOutcome::Failed).await, Ok(()));
    assert_eq!(fixture.attempt("a", AttemptOutcome::Failed).await, limited(90));
    assert_eq!(fixture.attempt("b", AttemptOutcome::Failed).await, Ok(()), "another account is another matter");
}

#[tokio::test]
async fn r82_right_unjudged_and_dropped_attempts_cost_nothing() {
    let fixture = fixture(2, 100);
    for outcome in [AttemptOutcome::Succeeded, AttemptOutcome::NoVerdict] {
        for _ in 0..20 {
            assert_eq!(fixture.attempt("a", outcome).await, Ok(()));
        }
    }
    for _ in 0..20 {
        drop(fixture.admit(fixture.account("a")).await.expect("admitted"));
    }
    assert_eq!((fixture.limit.under_way(), fixture.limit.remembered()), (0, 0));
}

#[tokio::test]
async fn who_waits_is_admitted_in_order_one_for_each_place_given_back() {
    let fixture = fixture(1, 100);
    let account = fixture.account("a");
    let under_way = fixture.admit(account).await.expect("admitted");
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(fixture.admit(account))).collect();
    for attempt in &mut waiting {
        assert!(poll!(attempt).is_pending());
    }
    under_way.settle(AttemptOutcome::NoVerdict);
    let mut waiting = waiting.into_iter();
    let (mut first, mut second, mut third) = (waiting.next(), waiting.next(), waiting.next());
    let first = first.take().expect("three wait").await.expect("admitted");
    assert!(poll!(second.as_mut().expect("three wait")).is_pending());
    first.settle(AttemptOutcome::Succeeded);
    assert!(poll!(third.as_mut().expect("three wait")).is_pending(), "the second is before the third");
    let second = second.take().expect("three wait").await.expect("admitted");
    second.settle(AttemptOutcome::Failed);
    let third = third.take().expect("three wait").await;
    assert_eq!(third.err(), Some(Duration::from_secs(90)));
}

#[tokio::test]
async fn a_place_that_comes_back_with_time_goes_to_the_first_who_waits() {
    let fixture = fixture(2, 100);
    let account = fixture.account("a");
    assert_eq!(fixture.attempt("a", AttemptOutcome::Failed).await, Ok(()));
    let _hangs = fixture.admit(account).await.expect("admitted");
    let mut waits = Box::pin(fixture.admit(account));
    assert!(poll!(&mut waits).is_pending());
    fixture.clock.advance(Duration::from_secs(90));
    let mut newcomer = Box::pin(fixture.admit(account));
    assert!(poll!(&mut newcomer).is_pending(), "it does not overtake");
    assert!(waits.await.is_ok());
}

#[tokio::test]
async fn who_stops_waiting_leaves_nothing_behind_and_holds_nobody_up() {
    let fixture = fixture(1, 100);
    let account = fixture.account("a");
    let under_way = fixture.admit(account).await.expect("admitted");
    let (mut gone, mut stays) = (Box::pin(fixture.admit(account)), Box::pin(fixture.admit(account)));
    assert!(poll!(&mut gone).is_pending());
    assert!(poll!(&mut stays).is_pending());
    drop(gone);
    assert_eq!(fixture.limit.0.waiters.load(Ordering::SeqCst), 1);
    under_way.settle(AttemptOutcome::Succeeded);
    stays.await.expect("admitted").settle(AttemptOutcome::Succeeded);
    assert_eq!((fixture.limit.under_way(), fixture.limit.0.waiters.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test]
async fn a_place_granted_to_someone_who_has_just_gone_is_given_back_uncounted() {
    let fixture = fixture(1, 100);
    let account = fixture.account("a");
    let under_way = fixture.admit(account).await.expect("admitted");
    let mut granted = Box::pin(fixture.admit(account));
    assert!(poll!(&mut granted).is_pending());
    under_way.settle(AttemptOutcome::Succeeded);
    // The grant lies ready; its owner never looks.
    drop(granted);
    assert_eq!(fixture.limit.under_way(), 0);
    assert_eq!(fixture.attempt("a", AttemptOutcome::Succeeded).await, Ok(()));
}

#[tokio::test]
async fn waiting_ends_at_its_deadline() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(0));
    let limit = FailureLimit::new(
        rules(1, 1_000),
        Newcomer::InheritsDebt,
        NonZeroUsize::MIN,
        Duration::ZERO,
        Ticks::new(clock),
    );
    let account = Fingerprints::default().of("a");
    let under_way = limit.admit(account, HIM).await.expect("admitted");
    assert_eq!(limit.admit(account, HIM).await.err(), Some(SOON));
    under_way.settle(AttemptOutcome::Succeeded);
    assert!(limit.admit(account, HIM).await.is_ok());
    assert_eq!(limit.0.waiters.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn only_so_many_may_wait_at_one_account() {
    let fixture = fixture(1, 100);
    let account = fixture.account("a");
    let _under_way = fixture.admit(account).await.expect("admitted");
    let mut waiting: Vec<_> = (0..MAX_WAITERS_PER_ACCOUNT).map(|_| Box::pin(fixture.admit(account))).collect();
    for attempt in &mut waiting {
        assert!(poll!(attempt).is_pending());
    }
    assert_eq!(fixture.admit(account).await.err(), Some(SOON));
}

#[tokio::test]
async fn only_so_many_may_wait_at_all_accounts_together() {
    let fixture = fixture(1, 2_000);
    let accounts = MAX_WAITERS / MAX_WAITERS_PER_ACCOUNT;
    let (mut under_way, mut waiting) = (Vec::new(), Vec::new());
    for number in 0..=accounts {
        under_way.push(fixture.admit(fixture.account(&number.to_string())).await.expect("admitted"));
    }
    for number in 0..accounts {
        for _ in 0..MAX_WAITERS_PER_ACCOUNT {
            let mut attempt = Box::pin(fixture.admit(fixture.account(&number.to_string())));
            assert!(poll!(&mut attempt).is_pending());
            waiting.push(attempt);
        }
    }
    let one_more = fixture.account(&accounts.to_string());
    assert_eq!(fixture.admit(one_more).await.err(), Some(SOON));
    waiting.truncate(MAX_WAITERS - 1);
    assert!(poll!(Box::pin(fixture.admit(one_more))).is_pending(), "a place in the queue is free again");
}

#[tokio::test]
async fn r68_r69_a_flood_of_accounts_neither_grows_memory_nor_resets_the_attacked_one() {
    let fixture = fixture(5, 100);
    for _ in 0..5 {
        assert_eq!(fixture.attempt("victim", AttemptOutcome::Failed).await, Ok(()));
    }
    let mut refused = 0;
    for number in 0..10_000 {
        refused += usize::from(fixture.attempt(&format!("fresh{number}"), AttemptOutcome::Failed).await.is_err());
        assert!(fixture.limit.remembered() <= 100);
    }
    assert_eq!(fixture.attempt("victim", AttemptOutcome::Failed).await, limited(90));
    assert!(refused > 0, "more accounts in debt than fit: the rest share the debt of those that made room");
}

#[tokio::test]
async fn r68_attempts_under_way_are_bounded_as_well() {
    let fixture = fixture(5, 2);
    let _first = fixture.admit(fixture.account("a")).await.expect("admitted");
    let _second = fixture.admit(fixture.account("b")).await.expect("admitted");
    assert_eq!(fixture.admit(fixture.account("c")).await.err(), Some(SOON));
    assert!(fixture.admit(fixture.account("a")).await.is_ok(), "a known one needs no more room");
}

#[tokio::test]
async fn r66_in_a_row_only_one_at_a_time_is_judged_and_the_rest_wait_as_the_backoff_says() {
    let fixture = with_backoff(1_000, 100, 3);
    let attempts = (0..50).map(async |_| {
        let place = fixture.admit(fixture.account("a")).await?;
        tokio::task::yield_now().await;
        place.settle(AttemptOutcome::Failed);
        Ok::<(), Duration>(())
    });
    let answers = join_all(attempts).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
    assert!(answers.iter().filter_map(|answer| answer.err()).all(|wait| wait == Duration::from_secs(1)));
    for seconds in [1, 2, 4] {
        assert_eq!(fixture.attempt("a", AttemptOutcome::Failed).await, limited(seconds));
        fixture.clock.advance(Duration::from_secs(seconds));
        assert_eq!(fixture.attempt("a", AttemptOutcome::Failed).await, Ok(()));
    }
    fixture.clock.advance(Duration::from_secs(8));
    let under_way = fixture.admit(fixture.account("a")).await.expect("admitted");
    let mut waits = Box::pin(fixture.admit(fixture.account("a")));
    assert!(poll!(&mut waits).is_pending());
    under_way.settle(AttemptOutcome::Succeeded);
    assert!(waits.await.is_ok(), "a success lets all in who waited");
    assert_eq!(fixture.attempt("a", AttemptOutcome::Failed).await, Ok(()));
}

#[tokio::test]
async fn known_networks_may_still_wait_where_unknown_ones_have_taken_their_half_of_the_queue() {
    let fixture = fixture(1, 20_000);
    let (mut under_way, mut waiting) = (Vec::new(), Vec::new());
    let stranger = Comer { standing: ClientStanding::Unknown, ..HIM };
    for number in 0..MAX_WAITERS / 2 / MAX_WAITERS_PER_ACCOUNT {
        let account = fixture.account(&number.to_string());
        under_way.push(fixture.admit(account).await.expect("admitted"));
        for _ in 0..MAX_WAITERS_PER_ACCOUNT {
            let mut attempt = Box::pin(fixture.limit.admit(account, stranger));
            assert!(poll!(&mut attempt).is_pending());
            waiting.push(attempt);
        }
    }
    let victim = fixture.account("victim");
    under_way.push(fixture.admit(victim).await.expect("admitted"));
    assert_eq!(fixture.limit.admit(victim, stranger).await.err(), Some(SOON));
    assert!(poll!(Box::pin(fixture.admit(victim))).is_pending());
}

#[tokio::test]
async fn with_every_attempt_counted_it_is_charged_when_it_comes() {
    let clock = Arc::new(ManualClock::at(0));
    let ticks = Ticks::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let mut rules = rules(2, 1_000);
    rules.counted = CountedAttempts::All;
    let limit = FailureLimit::new(rules, Newcomer::InheritsDebt, NonZeroUsize::MIN, MAX_WAIT, ticks);
    let account = Fingerprints::default().of("a");
    let first = limit.admit(account, HIM).await.expect("admitted");
    first.settle(AttemptOutcome::Succeeded);
    let _second = limit.admit(account, HIM).await.expect("admitted");
    assert_eq!(limit.admit(account, HIM).await.err(), Some(Duration::from_secs(90)), "whether it is under way or not");
    clock.advance(Duration::from_secs(90));
    assert!(limit.admit(account, HIM).await.is_ok());
}

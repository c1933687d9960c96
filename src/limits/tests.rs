//! The limits as their callers see them, with a clock that a test moves.

use crate::domain::clock::testing::ManualClock;
use crate::domain::identifier::{IdentifierRules, RawIdentifier};
use crate::service::ports::AttemptOutcome;

use super::*;

struct Fixture {
    limits: Limits,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
}

fn quota(count: u32, seconds: u64) -> Quota {
    let count = NonZeroU32::new(count).expect("not zero");
    Quota { count, period: Duration::from_secs(seconds), burst: count }
}

fn fixture(counted: CountedAttempts) -> Fixture {
    let (clock, metrics) = (Arc::new(ManualClock::at(0)), Arc::new(Metrics::new()));
    let settings = LimitSettings {
        per_ip: quota(3, 60),
        register_per_ip: quota(1, 3600),
        ipv6_prefix: 64,
        per_account: quota(2, 120),
        counted,
        recheck: quota(3, 3600),
        max_keys: NonZeroUsize::new(100).expect("not zero"),
    };
    let limits = Limits::new(settings, Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&metrics));
    Fixture { limits, clock, metrics }
}

impl Fixture {
    fn intercepted(&self, addr: &str) -> Result<(), Limited> {
        let client = ClientAddr::assert_by_trusted_walk(addr.parse().expect("an address"));
        AddressLimits::admit(&self.limits, client, AddressBucket::Intercepted)
    }

    fn registration(&self, addr: &str) -> Result<(), Limited> {
        let client = ClientAddr::assert_by_trusted_walk(addr.parse().expect("an address"));
        AddressLimits::admit(&self.limits, client, AddressBucket::Registration)
    }

    async fn attempt(&self, account: &AccountKey, outcome: AttemptOutcome) -> Result<(), Limited> {
        AccountLimits::admit(&self.limits, account.clone(), client()).await.map(|permit| permit.settle(outcome))
    }
}

fn client() -> ClientAddr {
    ClientAddr::assert_by_trusted_walk("192.0.2.1".parse().expect("an address"))
}

fn key(name: &str) -> AccountKey {
    AccountKey(name.into())
}

fn limited(seconds: u64) -> Result<(), Limited> {
    Err(Limited { retry_after: Duration::from_secs(seconds) })
}

#[test]
fn r62_an_ipv4_address_has_its_own_limit_and_hosts_of_one_ipv6_network_share_one() {
    let fixture = fixture(CountedAttempts::Failures);
    for _ in 0..3 {
        assert_eq!(fixture.intercepted("192.0.2.1"), Ok(()));
    }
    assert_eq!(fixture.intercepted("192.0.2.1"), limited(20));
    assert_eq!(fixture.intercepted("192.0.2.2"), Ok(()));
    for host in 1..=3 {
        assert_eq!(fixture.intercepted(&format!("2001:db8:1:2::{host}")), Ok(()));
    }
    assert_eq!(fixture.intercepted("2001:db8:1:2:ffff::4"), limited(20));
    assert_eq!(fixture.intercepted("2001:db8:1:3::1"), Ok(()), "the next network");
}

#[test]
fn retry_after_is_when_the_next_request_is_admitted() {
    let fixture = fixture(CountedAttempts::Failures);
    (0..3).for_each(|_| assert_eq!(fixture.intercepted("192.0.2.1"), Ok(())));
    fixture.clock.advance(Duration::from_secs(5));
    assert_eq!(fixture.intercepted("192.0.2.1"), limited(15));
    assert_eq!(fixture.intercepted("192.0.2.1"), limited(15), "a refusal costs nothing more");
    fixture.clock.advance(Duration::from_secs(15));
    assert_eq!(fixture.intercepted("192.0.2.1"), Ok(()));
    assert_eq!(fixture.intercepted("192.0.2.1"), limited(20));
}

#[test]
fn registrations_have_a_limit_of_their_own() {
    let fixture = fixture(CountedAttempts::Failures);
    assert_eq!(fixture.registration("192.0.2.1"), Ok(()));
    assert_eq!(fixture.registration("192.0.2.1"), limited(3600));
    assert_eq!(fixture.intercepted("192.0.2.1"), Ok(()));
}

#[test]
fn r68_r69_a_flood_of_addresses_neither_resets_a_hot_one_nor_refuses_a_fresh_one() {
    let fixture = fixture(CountedAttempts::Failures);
    (0..3).for_each(|_| assert_eq!(fixture.intercepted("192.0.2.1"), Ok(())));
    for host in 0..20_000_u32 {
        let fresh = std::net::Ipv4Addr::from(0x0a00_0000 + host);
        assert_eq!(fixture.intercepted(&fresh.to_string()), Ok(()));
    }
    assert_eq!(fixture.intercepted("192.0.2.1"), limited(20));
}

#[tokio::test]
async fn with_failures_counted_a_right_password_is_free() {
    let fixture = fixture(CountedAttempts::Failures);
    for _ in 0..50 {
        assert_eq!(fixture.attempt(&key("a"), AttemptOutcome::Succeeded).await, Ok(()));
    }
    assert_eq!(fixture.attempt(&key("a"), AttemptOutcome::Failed).await, Ok(()));
    assert_eq!(fixture.attempt(&key("a"), AttemptOutcome::Failed).await, Ok(()));
    assert_eq!(fixture.attempt(&key("a"), AttemptOutcome::Succeeded).await, limited(60));
}

#[tokio::test]
async fn with_all_counted_every_attempt_costs_whatever_becomes_of_it() {
    let fixture = fixture(CountedAttempts::All);
    assert_eq!(fixture.attempt(&key("a"), AttemptOutcome::Succeeded).await, Ok(()));
    assert_eq!(fixture.attempt(&key("a"), AttemptOutcome::NoVerdict).await, Ok(()));
    assert_eq!(fixture.attempt(&key("a"), AttemptOutcome::Succeeded).await, limited(60));
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.attempt(&key("a"), AttemptOutcome::Succeeded).await, Ok(()));
}

#[tokio::test]
async fn r70_spellings_of_one_name_share_a_limit() {
    let fixture = fixture(CountedAttempts::Failures);
    let canonical = |typed: &str| {
        let raw = RawIdentifier::new(typed).expect("a valid identifier");
        let candidates = IdentifierRules::default().candidates(&raw);
        key(candidates.keys().first().expect("a key").as_key())
    };
    assert_eq!(fixture.attempt(&canonical("Ren\u{e9}@x.y"), AttemptOutcome::Failed).await, Ok(()));
    assert_eq!(fixture.attempt(&canonical("REN\u{c9}@X.Y"), AttemptOutcome::Failed).await, Ok(()));
    assert_eq!(fixture.attempt(&canonical("rene\u{301}@x.y"), AttemptOutcome::Failed).await, limited(60));
}

#[test]
fn r87_an_account_has_a_budget_of_rechecks_that_comes_back_with_time() {
    let fixture = fixture(CountedAttempts::Failures);
    let taken: Vec<bool> = (0..4).map(|_| fixture.limits.take_recheck(&key("a"))).collect();
    assert_eq!(taken, [true, true, true, false]);
    assert!(fixture.limits.take_recheck(&key("b")));
    fixture.clock.advance(Duration::from_secs(1_199));
    assert!(!fixture.limits.take_recheck(&key("a")));
    fixture.clock.advance(Duration::from_secs(1));
    assert!(fixture.limits.take_recheck(&key("a")));
}

#[tokio::test]
async fn every_refusal_is_counted_under_its_scope() {
    let fixture = fixture(CountedAttempts::Failures);
    for _ in 0..4 {
        let _ = fixture.intercepted("192.0.2.1");
    }
    for _ in 0..3 {
        let _ = fixture.registration("192.0.2.1");
        let _ = fixture.attempt(&key("a"), AttemptOutcome::Failed).await;
    }
    let text = fixture.metrics.encode();
    for line in ["{scope=\"address\"} 1", "{scope=\"registration\"} 2", "{scope=\"account\"} 1"] {
        assert!(text.contains(&format!("authferry_rate_limited_total{line}")), "{line} in {text}");
    }
}

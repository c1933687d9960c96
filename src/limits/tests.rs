//! The limits as their callers see them, with a clock that a test moves.

use crate::domain::clock::testing::ManualClock;
use crate::domain::identifier::{IdentifierRules, RawIdentifier};
use crate::service::ports::{AttemptOutcome, ClientStanding};

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

fn settings() -> LimitSettings {
    LimitSettings {
        per_ip: quota(3, 60),
        register_per_ip: quota(1, 3600),
        ipv6_prefix: 64,
        per_account: quota(2, 120),
        per_ip_account: quota(2, 120),
        backoff: Backoff::default(),
        global: quota(1_000, 1),
        counted: CountedAttempts::Failures,
        recheck: quota(3, 3600),
        max_keys: NonZeroUsize::new(100).expect("not zero"),
    }
}

/// What a `proxy.toml` without `[limits]` means.
fn defaults() -> LimitSettings {
    LimitSettings {
        per_ip: quota(30, 60),
        register_per_ip: quota(10, 3600),
        per_account: quota(10, 900),
        per_ip_account: quota(10, 900),
        global: quota(6_000, 60),
        max_keys: NonZeroUsize::new(200_000).expect("not zero"),
        ..settings()
    }
}

fn fixture(counted: CountedAttempts) -> Fixture {
    with(LimitSettings { counted, ..settings() })
}

fn with(settings: LimitSettings) -> Fixture {
    let (clock, metrics) = (Arc::new(ManualClock::at(0)), Arc::new(Metrics::new()));
    let limits = Limits::new(settings, Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&metrics));
    Fixture { limits, clock, metrics }
}

impl Fixture {
    fn intercepted(&self, addr: &str) -> Result<(), Limited> {
        AddressLimits::admit(&self.limits, client(addr), AddressBucket::Intercepted)
    }

    fn registration(&self, addr: &str) -> Result<(), Limited> {
        AddressLimits::admit(&self.limits, client(addr), AddressBucket::Registration)
    }

    async fn attempt(&self, account: &AccountKey, outcome: AttemptOutcome) -> Result<(), Limited> {
        self.attempt_from("192.0.2.1", account, outcome).await
    }

    async fn attempt_from(&self, addr: &str, account: &AccountKey, outcome: AttemptOutcome) -> Result<(), Limited> {
        AccountLimits::admit(&self.limits, account.clone(), client(addr)).await.map(|permit| permit.settle(outcome))
    }

    async fn standing(&self, addr: &str, account: &AccountKey) -> ClientStanding {
        let permit = AccountLimits::admit(&self.limits, account.clone(), client(addr)).await.expect("admitted");
        let standing = permit.standing();
        permit.settle(AttemptOutcome::NoVerdict);
        standing
    }
}

fn client(addr: &str) -> ClientAddr {
    ClientAddr::assert_by_trusted_walk(addr.parse().expect("an address"))
}

fn key(name: &str) -> AccountKey {
    let raw = RawIdentifier::new(name).expect("a valid identifier");
    AccountKey::of_name(&IdentifierRules::default().candidates(&raw))
}

/// How long one has to wait, to the second.
fn waits(answer: Result<(), Limited>) -> Option<u64> {
    answer.err().map(|limited| limited.retry_after.as_secs())
}

fn limited(seconds: u64) -> Option<u64> {
    Some(seconds)
}

#[test]
fn r62_an_ipv4_address_has_its_own_limit_and_hosts_of_one_ipv6_network_share_one() {
    let fixture = fixture(CountedAttempts::Failures);
    for _ in 0..3 {
        assert_eq!(fixture.intercepted("192.0.2.1"), Ok(()));
    }
    assert_eq!(waits(fixture.intercepted("192.0.2.1")), limited(20));
    assert_eq!(fixture.intercepted("192.0.2.2"), Ok(()));
    for host in 1..=3 {
        assert_eq!(fixture.intercepted(&format!("2001:db8:1:2::{host}")), Ok(()));
    }
    assert_eq!(waits(fixture.intercepted("2001:db8:1:2:ffff::4")), limited(20));
    assert_eq!(fixture.intercepted("2001:db8:1:3::1"), Ok(()), "the next network");
}

#[test]
fn retry_after_is_when_the_next_request_is_admitted() {
    let fixture = fixture(CountedAttempts::Failures);
    (0..3).for_each(|_| assert_eq!(fixture.intercepted("192.0.2.1"), Ok(())));
    fixture.clock.advance(Duration::from_secs(5));
    assert_eq!(waits(fixture.intercepted("192.0.2.1")), limited(15));
    assert_eq!(waits(fixture.intercepted("192.0.2.1")), limited(15), "a refusal costs nothing more");
    fixture.clock.advance(Duration::from_secs(15));
    assert_eq!(fixture.intercepted("192.0.2.1"), Ok(()));
    assert_eq!(waits(fixture.intercepted("192.0.2.1")), limited(20));
}

#[test]
fn registrations_have_a_limit_of_their_own() {
    let fixture = fixture(CountedAttempts::Failures);
    assert_eq!(fixture.registration("192.0.2.1"), Ok(()));
    assert_eq!(waits(fixture.registration("192.0.2.1")), limited(3600));
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
    assert_eq!(waits(fixture.intercepted("192.0.2.1")), limited(20));
}

#[tokio::test]
async fn with_failures_counted_a_right_password_is_free() {
    let fixture = fixture(CountedAttempts::Failures);
    for _ in 0..50 {
        assert_eq!(fixture.attempt(&key("a"), AttemptOutcome::Succeeded).await, Ok(()));
    }
    assert_eq!(fixture.attempt(&key("a"), AttemptOutcome::Failed).await, Ok(()));
    assert_eq!(fixture.attempt(&key("a"), AttemptOutcome::Failed).await, Ok(()));
    assert_eq!(waits(fixture.attempt(&key("a"), AttemptOutcome::Succeeded).await), limited(60));
}

#[tokio::test]
async fn with_all_counted_every_attempt_costs_whatever_becomes_of_it() {
    let fixture = fixture(CountedAttempts::All);
    assert_eq!(fixture.attempt(&key("a"), AttemptOutcome::Succeeded).await, Ok(()));
    assert_eq!(fixture.attempt(&key("a"), AttemptOutcome::NoVerdict).await, Ok(()));
    assert_eq!(waits(fixture.attempt(&key("a"), AttemptOutcome::Succeeded).await), limited(60));
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.attempt(&key("a"), AttemptOutcome::Succeeded).await, Ok(()));
}

#[tokio::test]
async fn r70_spellings_of_one_name_share_a_limit() {
    let fixture = fixture(CountedAttempts::Failures);
    assert_eq!(fixture.attempt(&key("Ren\u{e9}@x.y"), AttemptOutcome::Failed).await, Ok(()));
    assert_eq!(fixture.attempt(&key("REN\u{c9}@X.Y"), AttemptOutcome::Failed).await, Ok(()));
    for spelling in ["rene\u{301}@x.y", "rene@x.y", "RENE@X.Y", "ren\u{e8}@x\u{ff0e}y", "\u{ff52}ene\u{ff20}x.y"] {
        assert_eq!(waits(fixture.attempt(&key(spelling), AttemptOutcome::Failed).await), limited(60), "{spelling}");
    }
    assert_eq!(fixture.attempt(&key("rena@x.y"), AttemptOutcome::Failed).await, Ok(()));
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
    let _ = fixture.attempt_from("192.0.2.2", &key("a"), AttemptOutcome::Failed).await;
    let text = fixture.metrics.encode();
    for line in [
        "{scope=\"address\"} 1",
        "{scope=\"registration\"} 2",
        "{scope=\"account\"} 1",
        "{scope=\"address_account\"} 1",
    ] {
        assert!(text.contains(&format!("authferry_rate_limited_total{line}")), "{line} in {text}");
    }
}

// ------------------------------------------------------------------------------------------------------ known networks

const HOME: &str = "192.0.2.1";

/// An address that nobody has logged in from.
fn elsewhere(number: u32) -> String {
    std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string()
}

#[tokio::test]
async fn r67_a_network_is_known_once_somebody_has_logged_in_from_it() {
    let fixture = with(defaults());
    let ann = key("ann@x.y");
    assert_eq!(fixture.standing(HOME, &ann).await, ClientStanding::Unknown);
    for outcome in [AttemptOutcome::Failed, AttemptOutcome::NoVerdict] {
        assert_eq!(fixture.attempt(&ann, outcome).await, Ok(()));
        assert_eq!(fixture.standing(HOME, &ann).await, ClientStanding::Unknown, "{outcome:?}");
    }
    assert_eq!(fixture.attempt(&ann, AttemptOutcome::Succeeded).await, Ok(()));
    assert_eq!(fixture.standing(HOME, &ann).await, ClientStanding::Known);
    assert_eq!(fixture.standing("192.0.2.2", &ann).await, ClientStanding::Unknown);
    assert_eq!(fixture.standing(HOME, &key("bob@x.y")).await, ClientStanding::Unknown);
    assert_eq!(
        fixture.standing(HOME, &key("\u{e1}nn@x.y")).await,
        ClientStanding::Unknown,
        "a limit is shared, trust is not"
    );
    fixture.limits.welcome(&key("bob@x.y"), client("2001:db8:1:2::1"));
    assert_eq!(fixture.standing("2001:db8:1:2::ffff", &key("bob@x.y")).await, ClientStanding::Known, "one /64");
}

/// An hour of guessing from 2,000 addresses, as fast as the limits let it, while the user logs in from home every half minute, once in
/// ten times with a wrong password first.
#[tokio::test]
async fn r67_the_victim_logs_in_from_home_all_through_an_hour_of_attack() {
    let fixture = with(defaults());
    let victim = key("victim@x.y");
    assert_eq!(fixture.attempt(&victim, AttemptOutcome::Succeeded).await, Ok(()));
    let (mut logins, mut succeeded, mut guesses, mut judged) = (0_u32, 0_u32, 0_u32, 0_u32);
    for second in 0..3_600_u32 {
        for address in 0..20 {
            let from = elsewhere((second * 20 + address) % 2_000);
            guesses += 1;
            judged += u32::from(fixture.attempt_from(&from, &victim, AttemptOutcome::Failed).await.is_ok());
        }
        if second % 30 == 15 {
            if second % 300 == 15 {
                assert_eq!(fixture.attempt(&victim, AttemptOutcome::Failed).await, Ok(()));
            }
            logins += 1;
            succeeded += u32::from(fixture.attempt(&victim, AttemptOutcome::Succeeded).await.is_ok());
        }
        fixture.clock.advance(Duration::from_secs(1));
    }
    assert_eq!((logins, succeeded), (120, 120), "all of them, not 99 in a hundred");
    assert!(judged <= 50, "of {guesses} guesses {judged} were judged: 10, and 40 an hour");
    let _the_last_guess = fixture.attempt_from(&elsewhere(2_999), &victim, AttemptOutcome::Failed).await;
    let stranger = fixture.attempt_from(&elsewhere(3_000), &victim, AttemptOutcome::Succeeded).await;
    assert!(stranger.is_err(), "from where he has never been he waits with the attacker");
}

#[tokio::test]
async fn r67_an_attacker_behind_the_victims_own_address_is_limited_and_in_the_end_a_stranger() {
    let fixture = with(defaults());
    let victim = key("victim@x.y");
    assert_eq!(fixture.attempt(&victim, AttemptOutcome::Succeeded).await, Ok(()));
    for _ in 0..10 {
        assert_eq!(fixture.attempt(&victim, AttemptOutcome::Failed).await, Ok(()));
    }
    assert_eq!(waits(fixture.attempt(&victim, AttemptOutcome::Failed).await), limited(90));
    assert_eq!(
        fixture.attempt_from(&elsewhere(1), &victim, AttemptOutcome::Succeeded).await,
        Ok(()),
        "elsewhere he may"
    );
    for failures in 11..=100 {
        while let Err(Limited { retry_after, .. }) = fixture.attempt(&victim, AttemptOutcome::Failed).await {
            fixture.clock.advance(retry_after);
        }
        assert!(failures < 100 || waits(fixture.attempt(&victim, AttemptOutcome::Failed).await) == limited(86_400));
    }
    fixture.clock.advance(Duration::from_secs(86_400));
    assert_eq!(fixture.standing(HOME, &victim).await, ClientStanding::Unknown);
}

#[tokio::test]
async fn what_failed_before_the_network_was_known_still_counts() {
    let fixture = with(defaults());
    let ann = key("ann@x.y");
    for outcome in
        [[AttemptOutcome::Failed; 5].as_slice(), &[AttemptOutcome::Succeeded], &[AttemptOutcome::Failed; 5]].concat()
    {
        assert_eq!(fixture.attempt(&ann, outcome).await, Ok(()));
    }
    assert_eq!(waits(fixture.attempt(&ann, AttemptOutcome::Failed).await), limited(90));
}

#[tokio::test]
async fn r63_of_a_thousand_parallel_wrong_passwords_from_everywhere_at_most_the_limit_is_judged() {
    let fixture = with(defaults());
    let judged = std::sync::atomic::AtomicUsize::new(0);
    let attempts = (0..1_000).map(async |number| {
        let permit = AccountLimits::admit(&fixture.limits, key("victim@x.y"), client(&elsewhere(number))).await?;
        judged.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        tokio::task::yield_now().await;
        permit.settle(AttemptOutcome::Failed);
        Ok::<(), Limited>(())
    });
    let answers = futures_util::future::join_all(attempts).await;
    assert_eq!(judged.into_inner(), 10);
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 990);
}

#[tokio::test]
async fn r64_two_hundred_parallel_right_passwords_all_succeed_from_one_address_and_from_many() {
    for many in [false, true] {
        let fixture = with(defaults());
        let attempts = (0..200).map(async |number| {
            let from = if many { elsewhere(number) } else { HOME.to_owned() };
            let permit = AccountLimits::admit(&fixture.limits, key("office@x.y"), client(&from)).await?;
            tokio::task::yield_now().await;
            permit.settle(AttemptOutcome::Succeeded);
            Ok::<(), Limited>(())
        });
        assert!(futures_util::future::join_all(attempts).await.iter().all(Result::is_ok), "from many: {many}");
    }
}

#[tokio::test]
async fn r66_an_attacker_who_always_waits_gets_a_hundred_attempts_and_then_none_for_a_day() {
    let fixture = with(defaults());
    let victim = key("victim@x.y");
    let (mut waited, mut judged) = (Vec::new(), 0);
    while judged < 100 {
        match fixture.attempt_from(&elsewhere(judged), &victim, AttemptOutcome::Failed).await {
            Ok(()) => judged += 1,
            Err(Limited { retry_after, .. }) => {
                waited.push(retry_after.as_secs());
                fixture.clock.advance(retry_after);
            }
        }
    }
    // The quota's 90 s until the backoff's 2^7 s is longer.
    let expected = [vec![90; 7], vec![128, 256, 512], vec![900; 80]].concat();
    assert_eq!(waited, expected);
    assert_eq!(waits(fixture.attempt_from(&elsewhere(7), &victim, AttemptOutcome::Failed).await), limited(86_400));
}

#[tokio::test]
async fn r66_a_login_from_a_known_network_opens_an_account_that_was_given_up() {
    let backoff = Backoff { give_up: NonZeroU32::new(3).expect("not zero"), ..Backoff::default() };
    let fixture = with(LimitSettings { backoff, ..defaults() });
    let victim = key("victim@x.y");
    assert_eq!(fixture.attempt(&victim, AttemptOutcome::Succeeded).await, Ok(()));
    for number in 0..3 {
        assert_eq!(fixture.attempt_from(&elsewhere(number), &victim, AttemptOutcome::Failed).await, Ok(()));
    }
    assert_eq!(waits(fixture.attempt_from(&elsewhere(9), &victim, AttemptOutcome::Failed).await), limited(86_400));
    assert_eq!(fixture.attempt(&victim, AttemptOutcome::Succeeded).await, Ok(()));
    assert_eq!(fixture.attempt_from(&elsewhere(9), &victim, AttemptOutcome::Failed).await, Ok(()));
}

#[tokio::test]
async fn r70_logging_in_to_a_lookalike_of_ones_own_opens_nobody_elses_account() {
    let backoff = Backoff { give_up: NonZeroU32::new(3).expect("not zero"), ..Backoff::default() };
    let fixture = with(LimitSettings { backoff, ..defaults() });
    let (victim, attackers_own) = (key("mike@x.y"), key("m\u{ed}ke@x.y"));
    assert_eq!(fixture.attempt(&attackers_own, AttemptOutcome::Succeeded).await, Ok(()));
    for number in 0..3 {
        assert_eq!(fixture.attempt_from(&elsewhere(number), &victim, AttemptOutcome::Failed).await, Ok(()));
        assert_eq!(fixture.attempt(&attackers_own, AttemptOutcome::Succeeded).await, Ok(()));
    }
    assert_eq!(waits(fixture.attempt_from(&elsewhere(9), &victim, AttemptOutcome::Failed).await), limited(86_400));
}

#[tokio::test]
async fn r62_an_attack_spread_over_everything_ends_at_the_global_limit_and_known_networks_never_notice() {
    let fixture = with(LimitSettings { global: quota(50, 60), max_keys: defaults().max_keys, ..defaults() });
    let ann = key("ann@x.y");
    assert_eq!(fixture.attempt(&ann, AttemptOutcome::Succeeded).await, Ok(()));
    let mut judged = 0;
    for number in 0..500 {
        let account = key(&format!("user{number}@x.y"));
        // Each from a /24 of its own.
        let from = elsewhere(number * 256);
        judged += usize::from(fixture.attempt_from(&from, &account, AttemptOutcome::Failed).await.is_ok());
    }
    assert_eq!(judged, 50);
    for _ in 0..20 {
        assert_eq!(fixture.attempt(&ann, AttemptOutcome::Succeeded).await, Ok(()));
    }
    assert_eq!(fixture.attempt(&ann, AttemptOutcome::Failed).await, Ok(()));
    let stranger = fixture.attempt_from(&elsewhere(900 * 256), &ann, AttemptOutcome::Succeeded).await;
    assert!(stranger.is_err());
    assert!(fixture.metrics.encode().contains("authferry_rate_limited_total{scope=\"global\"} 451"));
}

#[tokio::test]
async fn r62_one_line_with_many_networks_uses_up_its_share_of_the_global_limit_and_nobody_elses() {
    for (line, neighbour, newcomer) in [
        (["2001:db8:1:", "::1"], "2001:db8:1:ffff::1", "2001:db8:2::1"),
        (["192.0.2.", ""], "192.0.2.254", "192.0.3.1"),
    ] {
        let fixture = with(LimitSettings { global: quota(200, 60), ..defaults() });
        let ann = key("ann@x.y");
        assert_eq!(fixture.attempt_from(neighbour, &ann, AttemptOutcome::Succeeded).await, Ok(()));
        let mut judged = 0;
        for number in 1..250 {
            let (from, account) = (line.join(&number.to_string()), key(&format!("user{number}@x.y")));
            judged += usize::from(fixture.attempt_from(&from, &account, AttemptOutcome::Failed).await.is_ok());
        }
        assert_eq!(judged, 10, "{newcomer}");
        let bob = key("bob@x.y");
        let refused = fixture.attempt_from(neighbour, &bob, AttemptOutcome::Succeeded).await.expect_err("its site");
        assert_eq!((refused.policy.name, refused.retry_after), ("account", Duration::from_secs(6)));
        assert_eq!(fixture.attempt_from(newcomer, &bob, AttemptOutcome::Succeeded).await, Ok(()), "{newcomer}");
        assert_eq!(fixture.attempt_from(neighbour, &ann, AttemptOutcome::Failed).await, Ok(()), "a known network");
        assert!(fixture.metrics.encode().contains("authferry_rate_limited_total{scope=\"site\"} 240"));
        fixture.clock.advance(refused.retry_after);
        assert_eq!(fixture.attempt_from(neighbour, &bob, AttemptOutcome::Failed).await, Ok(()), "{newcomer}");
    }
}

#[tokio::test]
async fn r62_an_address_has_a_limit_at_each_account() {
    let backoff = Backoff { after: NonZeroU32::new(50).expect("not zero"), ..Backoff::default() };
    let fixture = with(LimitSettings { per_account: quota(100, 900), backoff, ..defaults() });
    let ann = key("ann@x.y");
    for _ in 0..10 {
        assert_eq!(fixture.attempt(&ann, AttemptOutcome::Failed).await, Ok(()));
    }
    assert_eq!(waits(fixture.attempt(&ann, AttemptOutcome::Failed).await), limited(90));
    assert_eq!(fixture.attempt(&key("bob@x.y"), AttemptOutcome::Failed).await, Ok(()), "at each account");
    assert_eq!(fixture.attempt_from(&elsewhere(1), &ann, AttemptOutcome::Failed).await, Ok(()), "from each address");
}

#[tokio::test]
async fn r69_a_flood_of_names_resets_no_attacked_account_even_hours_later() {
    let max_keys = NonZeroUsize::new(1_000).expect("not zero");
    let fixture = with(LimitSettings { max_keys, global: quota(1_000_000, 1), ..defaults() });
    let victim = key("victim@x.y");
    for number in 0..25 {
        while let Err(Limited { retry_after, .. }) =
            fixture.attempt_from(&elsewhere(number), &victim, AttemptOutcome::Failed).await
        {
            fixture.clock.advance(retry_after);
        }
    }
    let flood = async || {
        for number in 0..5_000 {
            let (from, name) = (elsewhere(number), key(&format!("u{number}@x.y")));
            let _ = fixture.attempt_from(&from, &name, AttemptOutcome::Failed).await;
            assert!(fixture.limits.accounts.remembered() <= 1_000);
        }
    };
    fixture.clock.advance(Duration::from_secs(800));
    flood().await;
    assert_eq!(waits(fixture.attempt_from(&elsewhere(3), &victim, AttemptOutcome::Failed).await), limited(100));
    fixture.clock.advance(Duration::from_secs(3 * 3_600));
    flood().await;
    assert_eq!(fixture.attempt_from(&elsewhere(3), &victim, AttemptOutcome::Failed).await, Ok(()));
    let next = fixture.attempt_from(&elsewhere(4), &victim, AttemptOutcome::Failed).await;
    assert_eq!(waits(next), limited(900), "the row goes on where it was");
}

#[tokio::test]
async fn r74_what_a_refused_client_is_told_is_the_same_for_every_account_limit() {
    let backoff = Backoff { give_up: NonZeroU32::new(10).expect("not zero"), ..Backoff::default() };
    let fixture = with(LimitSettings { backoff, ..defaults() });
    let (known, unknown) = (key("known@x.y"), key("unknown@x.y"));
    assert_eq!(fixture.attempt(&known, AttemptOutcome::Succeeded).await, Ok(()));
    let mut answers = Vec::new();
    for account in [&known, &unknown] {
        for _ in 0..10 {
            assert_eq!(fixture.attempt(account, AttemptOutcome::Failed).await, Ok(()));
        }
        answers.push(fixture.attempt(account, AttemptOutcome::Failed).await.expect_err("over the limit"));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].policy, LimitPolicy { name: "account", quota: 10, window: Duration::from_secs(900) });
}

/// With AUTHFERRY_LONG ten million keys through limits of the default size; otherwise a tenth of the size and fewer keys, and a tenth of
/// the memory. Counts the bytes of the structures and, since an allocator may keep more, those of the process.
#[tokio::test]
async fn r68_ten_million_keys_take_at_most_64_mib() {
    let long = std::env::var_os("AUTHFERRY_LONG").is_some();
    let (keys, share) = if long { (10_000_000_u32, 1) } else { (50_000, 10) };
    let (most, max_keys) = (64 * 1024 * 1024 / share, NonZeroUsize::new(200_000 / share).expect("not zero"));
    let fixture = with(LimitSettings { max_keys, ..defaults() });
    let resident_before = resident();
    for number in 0..keys {
        let from = client(&elsewhere(number));
        let _ = AddressLimits::admit(&fixture.limits, from, AddressBucket::Intercepted);
        let _ = AddressLimits::admit(&fixture.limits, from, AddressBucket::Registration);
        let account = AccountKey::of_client(from);
        let outcome = if number % 2 == 0 { AttemptOutcome::Failed } else { AttemptOutcome::Succeeded };
        if let Ok(permit) = AccountLimits::admit(&fixture.limits, account.clone(), from).await {
            permit.settle(outcome);
        }
        let _ = fixture.limits.take_recheck(&account);
        if number % 50 == 0 {
            fixture.clock.advance(Duration::from_secs(1));
        }
    }
    let (bytes, grown) = (fixture.limits.bytes(), resident().saturating_sub(resident_before));
    println!("{keys} keys: {bytes} bytes in the limits, {grown} more in the process");
    assert!((most / 3..=most).contains(&bytes), "{bytes} bytes");
    // A small process is mostly something else.
    assert!(!long || grown <= most, "{grown} bytes resident");
}

/// The memory of this process that is in RAM, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * 4_096
}

#[tokio::test]
async fn looking_at_an_account_counts_nothing_and_says_what_the_next_attempt_will_meet() {
    let fixture = fixture(CountedAttempts::Failures);
    let account = key("a");
    for _ in 0..10 {
        assert_eq!(
            fixture.limits.peek(&account, None),
            AccountState { closed_for: None, may_recheck: true, there: None }
        );
    }
    for _ in 0..2 {
        assert!(fixture.attempt(&account, AttemptOutcome::Failed).await.is_ok());
    }
    let state = fixture.limits.peek(&account, None);
    let refused = fixture.attempt_from("198.51.100.7", &account, AttemptOutcome::Failed).await.expect_err("used up");
    assert_eq!(state.closed_for, Some(refused.retry_after));
    assert_eq!(fixture.limits.peek(&key("b"), None).closed_for, None);
    fixture.clock.advance(refused.retry_after);
    assert_eq!(fixture.limits.peek(&account, None).closed_for, None);

    for round in 0..60 {
        let expected = fixture.limits.peek(&account, None).may_recheck;
        assert_eq!(fixture.limits.take_recheck(&account), expected, "round {round}");
        fixture.clock.advance(Duration::from_secs(400 * (round % 5)));
    }
}

#[tokio::test]
async fn it_is_said_beforehand_how_an_attempt_from_an_address_will_be_met() {
    let fixture = fixture(CountedAttempts::Failures);
    let account = key("a");
    let there = |addr: &str| fixture.limits.peek(&account, Some(client(addr))).there.expect("it was asked about");
    assert_eq!(there("192.0.2.1"), There { standing: ClientStanding::Unknown, refused: None });
    assert!(fixture.attempt_from("192.0.2.1", &account, AttemptOutcome::Succeeded).await.is_ok());
    while fixture.attempt_from("198.51.100.7", &account, AttemptOutcome::Failed).await.is_ok() {}
    while fixture.attempt_from("203.0.113.9", &account, AttemptOutcome::Failed).await.is_ok() {}
    // Known and unknown networks, each told apart, as the next attempts then show.
    for addr in ["192.0.2.1", "198.51.100.7", "203.0.113.9", "203.0.113.10", "2001:db8::1"] {
        let said = there(addr);
        assert_eq!(said, there(addr), "looking counts nothing");
        let met = fixture.attempt_from(addr, &account, AttemptOutcome::NoVerdict).await;
        assert_eq!(said.refused.map(|(_limit, wait)| wait), met.err().map(|limited| limited.retry_after), "{addr}");
    }
    assert_eq!(there("192.0.2.1"), There { standing: ClientStanding::Known, refused: None });
    assert_eq!(there("203.0.113.10").refused.map(|(limit, _wait)| limit), Some("account"));
    while fixture.intercepted("192.0.2.1").is_ok() {}
    assert_eq!(there("192.0.2.1").refused.map(|(limit, _wait)| limit), Some("address"));
}

//! The HTTP connector under strain: places in flight, the breaker on a clock that is held, connections kept, everything counted
//! (R77).

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authferry::domain::clock::{Clock, SystemClock, UnixSeconds};
use authferry::domain::password_life::{Change, ChangeWord};
use authferry::legacy::LegacySettings;
use authferry::legacy::settings::BreakerSettings;
use authferry::telemetry::Metrics;

use crate::support::connector::*;
use crate::support::legacy::{LegacyDouble, Misbehaviour};

// -------------------------------------------------------------------------------------------- in flight and breaker

#[tokio::test]
async fn r77_no_more_questions_than_configured_are_under_way() {
    let double = LegacyDouble::misbehaving(Misbehaviour::NeverAnswers);
    let one = NonZeroUsize::MIN;
    let metrics = Arc::new(Metrics::new());
    let configured = LegacySettings { max_in_flight: one, ..patient(settings(&double)) };
    let legacy = connect_with(configured, &metrics, Arc::new(SystemClock));
    let asking = tokio::spawn({
        let legacy = Arc::clone(&legacy);
        async move { drop(legacy.login(anns().called()).await) }
    });
    double.until_calls(1).await;
    assert_eq!(metrics.legacy_in_flight().get(), 1);
    for _ in 0..3 {
        assert_eq!(short(&legacy.login(anns().called()).await), "unavailable too_many_in_flight");
        assert_eq!(short_user(&legacy.get_user(&anns().login).await), "unknown too_many_in_flight");
    }
    let refused = legacy.change(Change::ResetPassword, anns().forwarded(PASSWORD)).await;
    assert_eq!(refused.word, ChangeWord::Refused, "what was not sent has not happened");
    assert_eq!(double.calls(), 1);

    asking.abort();
    assert!(asking.await.is_err_and(|ended| ended.is_cancelled()));
    assert_eq!(metrics.legacy_in_flight().get(), 0, "a question that was given up leaves its place");
    double.behave(None);
    assert_eq!(short(&legacy.login(anns().called()).await), "accepted 7");
}

/// Stands still until it is told to go on.
struct HeldClock {
    started: Instant,
    passed: Mutex<Duration>,
}

impl HeldClock {
    fn new() -> Arc<Self> {
        Arc::new(Self { started: SystemClock.monotonic(), passed: Mutex::default() })
    }

    fn advance(&self, by: Duration) {
        *self.passed.lock().expect("nobody panics with it") += by;
    }
}

impl Clock for HeldClock {
    fn monotonic(&self) -> Instant {
        self.started + *self.passed.lock().expect("nobody panics with it")
    }

    fn wall(&self) -> UnixSeconds {
        UnixSeconds(0)
    }
}

#[tokio::test]
async fn r77_the_breaker_opens_leaves_legacy_alone_and_closes_after_one_trial() {
    let double = LegacyDouble::misbehaving(Misbehaviour::HangsUp);
    let (metrics, clock) = (Arc::new(Metrics::new()), HeldClock::new());
    let open_for = Duration::from_secs(15);
    let breaker = BreakerSettings { failures: NonZeroU32::new(3).expect("not zero"), open_for };
    let configured = LegacySettings { breaker, ..patient(settings(&double)) };
    let legacy = connect_with(configured, &metrics, Arc::clone(&clock) as Arc<dyn Clock>);
    let is_open = || metrics.encode().contains("\nauthferry_legacy_breaker_open 1\n");

    for _ in 0..3 {
        assert!(!is_open());
        assert_eq!(short(&legacy.login(anns().called()).await), "unavailable broken");
    }
    assert!(is_open());
    for question in [anns().called(), anns().in_json("/login").forwarded(PLAIN)] {
        assert_eq!(short(&legacy.login(question).await), "unavailable breaker_open");
    }
    assert_eq!(double.calls(), 3, "legacy is left alone");

    clock.advance(open_for);
    assert_eq!(short(&legacy.login(anns().called()).await), "unavailable broken", "the trial");
    assert_eq!(short(&legacy.login(anns().called()).await), "unavailable breaker_open");
    assert_eq!((double.calls(), is_open()), (4, true));

    double.behave(None);
    clock.advance(open_for);
    assert_eq!(
        short(&legacy.login(typed("ann@example.com", "wrong").called()).await),
        "denied",
        "an answer is an answer"
    );
    assert!(!is_open());
    assert_eq!(short(&legacy.login(anns().called()).await), "accepted 7");
}

#[tokio::test]
async fn a_trial_that_is_given_up_does_not_keep_the_breaker_open_for_ever() {
    let double = LegacyDouble::misbehaving(Misbehaviour::HangsUp);
    let clock = HeldClock::new();
    let breaker = BreakerSettings { failures: NonZeroU32::MIN, open_for: Duration::from_secs(15) };
    let configured = LegacySettings { breaker, ..patient(settings(&double)) };
    let legacy = connect_with(configured, &Arc::new(Metrics::new()), Arc::clone(&clock) as Arc<dyn Clock>);
    assert_eq!(short(&legacy.login(anns().called()).await), "unavailable broken");

    double.behave(Some(Misbehaviour::NeverAnswers));
    clock.advance(breaker.open_for);
    let trial = tokio::spawn({
        let legacy = Arc::clone(&legacy);
        async move { drop(legacy.login(anns().called()).await) }
    });
    double.until_calls(2).await;
    assert_eq!(short(&legacy.login(anns().called()).await), "unavailable breaker_open");
    trial.abort();
    assert!(trial.await.is_err_and(|ended| ended.is_cancelled()));
    double.behave(None);
    assert_eq!(short(&legacy.login(anns().called()).await), "accepted 7");
}

#[tokio::test]
async fn one_input_that_makes_legacy_fail_does_not_open_the_breaker_for_everybody() {
    let double = LegacyDouble::well_behaved();
    let breaker = BreakerSettings { failures: NonZeroU32::new(2).expect("not zero"), open_for: PATIENT };
    let legacy = connect(LegacySettings { breaker, ..patient(settings(&double)) });
    for misbehaviour in [
        Misbehaviour::ServerError,
        Misbehaviour::TooManyRequests,
        Misbehaviour::OkWithHtml,
        Misbehaviour::RedirectsToLoopback,
        Misbehaviour::FiveMegabytes,
    ] {
        double.behave(Some(misbehaviour));
        for _ in 0..3 {
            assert_ne!(short(&legacy.login(anns().called()).await), "unavailable breaker_open", "{misbehaviour:?}");
        }
    }
    double.behave(Some(Misbehaviour::BadGateway));
    for _ in 0..2 {
        assert_eq!(short(&legacy.login(anns().called()).await), "unavailable server_error");
    }
    assert_eq!(short(&legacy.login(anns().called()).await), "unavailable breaker_open");
}

// ------------------------------------------------------------------------------------------------ seen from outside

#[tokio::test]
async fn every_request_is_counted_by_what_was_asked_and_how_it_ended() {
    let double = LegacyDouble::well_behaved();
    let metrics = Arc::new(Metrics::new());
    let legacy = connect_with(patient(settings(&double)), &metrics, Arc::new(SystemClock));
    drop(legacy.login(anns().in_a_form("/users/sign_in").forwarded(WEB)).await);
    drop(legacy.login(typed("ann@example.com", "wrong").called()).await);
    drop(legacy.get_user(&typed("nobody", "x").login).await);
    drop(legacy.relay(&client_request("/", "")).await);
    double.behave(Some(Misbehaviour::OkWithHtml));
    drop(legacy.login(anns().in_json("/login").forwarded(PLAIN)).await);
    let seen = metrics.encode();
    for line in [
        r#"authferry_legacy_requests_total{operation="login",outcome="accepted"} 1"#,
        r#"authferry_legacy_requests_total{operation="login",outcome="denied"} 1"#,
        r#"authferry_legacy_requests_total{operation="login",outcome="no_rule"} 1"#,
        r#"authferry_legacy_requests_total{operation="get_user",outcome="found"} 1"#,
        r#"authferry_legacy_requests_total{operation="get_user",outcome="not_found"} 1"#,
        r#"authferry_legacy_requests_total{operation="relay",outcome="answered"} 1"#,
        r#"authferry_legacy_request_duration_seconds_count{operation="login"} 3"#,
        "authferry_legacy_in_flight 0",
    ] {
        assert!(seen.contains(line), "{line}\n{seen}");
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let double = LegacyDouble::well_behaved();
    let legacy = connect(patient(settings(&double)));
    for _ in 0..5 {
        assert_eq!(short(&legacy.login(anns().called()).await), "accepted 7");
    }
    assert_eq!((double.calls(), double.connections()), (5, 1));
}

//! Logins end to end: the table of the design over real sockets, with a well-behaved legacy and with every misbehaving one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::app::{Running, start, start_in};
use crate::support::call_login::call_login;
use crate::support::legacy::{DoubleUser, LegacyDouble, Misbehaviour, ann};

const ANN: &str = "ann@example.com";
const RIGHT: &str = "correct horse battery";

async fn migrate(double: &LegacyDouble) -> Running {
    start(&call_login(double, "migrate", "")).await
}

#[tokio::test]
async fn a_first_login_is_proven_by_legacy_and_the_next_is_answered_here() {
    let double = LegacyDouble::well_behaved();
    let proxy = migrate(&double).await;
    let first = proxy.login(ANN, RIGHT).await;
    assert_eq!(first.status, 200, "{first:?}");
    let body: Value = first.json();
    assert_eq!(body["user"]["theme"], "dark");
    assert_eq!((proxy.users().await, double.calls()), (1, 1));

    double.behave(Some(Misbehaviour::HangsUp));
    let second = proxy.login("ANN@example.com", RIGHT).await;
    assert_eq!(second.status, 200, "{second:?}");
    assert_eq!(second.json::<Value>()["user"], body["user"]);
    let by_phone = proxy.login("0049 151/1234567", RIGHT).await;
    assert_eq!(by_phone.status, 503, "another phone number is another user: {by_phone:?}");
    assert_eq!(proxy.login("+49 151 1234567", RIGHT).await.status, 200);
    assert_eq!(proxy.login("ann", RIGHT).await.status, 200, "her username is an alias");
    assert_eq!(proxy.metric("authferry_logins_total", &["source=\"local\"", "outcome=\"ok\""]).await, 3.0);
    assert_eq!(proxy.metric("authferry_migrations_total", &["reason=\"login\""]).await, 1.0);
}

#[tokio::test]
async fn who_has_no_email_logs_in_without_the_claim_of_that_name() {
    let double = LegacyDouble::well_behaved();
    double.put_user(DoubleUser { email: String::new(), ..ann() });
    let config = call_login(&double, "migrate", "")
        .replace("email = \"json.user.email\"", "email = \"json.user.email or none\"");
    let proxy = start(&config).await;
    for from in ["legacy", "here"] {
        let answer = proxy.login("ann", RIGHT).await;
        assert_eq!(answer.status, 200, "{from}: {answer:?}");
        let body: Value = answer.json();
        let claims = claims_of(body["token"].as_str().expect("a token"));
        assert_eq!((&claims["sub"], claims.get("email")), (&json!("7"), None), "{from}");
    }
    assert_eq!(proxy.metric("authferry_alarms_total", &["what=\"template\""]).await, 0.0);
}

fn claims_of(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

#[tokio::test]
async fn wrong_unknown_and_disabled_look_the_same_to_the_byte() {
    let double = LegacyDouble::well_behaved();
    let proxy = migrate(&double).await;
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    let wrong_here = proxy.login(ANN, "wrong").await;
    let unknown = proxy.login("nobody@example.com", "wrong").await;
    let unusable = proxy.login("nobody@example.com\u{200b}", "wrong").await;
    let too_long = proxy.login(ANN, &"x".repeat(1_025)).await;
    proxy.set_mode("retired").await;
    let retired = proxy.login("nobody@example.com", "wrong").await;
    let without_date = |answer: &crate::support::raw_client::Answer| {
        let headers: Vec<_> =
            answer.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("date")).cloned().collect();
        (answer.status, headers, answer.body.clone())
    };
    assert_eq!(wrong_here.status, 401);
    for other in [&unknown, &unusable, &too_long, &retired] {
        assert_eq!(without_date(&wrong_here), without_date(other), "R59");
    }
}

#[tokio::test]
async fn r78_r82_no_misbehaviour_of_legacy_says_wrong_password_or_saves_anybody() {
    let double = LegacyDouble::well_behaved();
    let mut bea = ann();
    (bea.id, bea.email, bea.username, bea.phone) = (9, "bea@example.com".into(), "Bea".into(), "+49 151 99".into());
    double.put_user(bea);
    let proxy = migrate(&double).await;
    assert_eq!(proxy.login("bea@example.com", RIGHT).await.status, 200);
    for misbehaviour in Misbehaviour::ALL.into_iter().filter(|kind| *kind != Misbehaviour::Refuses) {
        double.behave(Some(misbehaviour));
        let answer = proxy.login(ANN, RIGHT).await;
        assert_eq!(answer.status, 503, "{misbehaviour:?}: {answer:?}");
        assert_eq!(answer.body, r#"{"error": "try again later"}"#, "{misbehaviour:?}");
        assert!(answer.header("retry-after").is_some(), "{misbehaviour:?}");
        assert_eq!(proxy.users().await, 1, "{misbehaviour:?} saved somebody");
        assert_eq!(proxy.login("bea@example.com", RIGHT).await.status, 200, "{misbehaviour:?}: known users log in");
    }
    assert_eq!(double.trapped(), 0, "R80: a redirect was followed");
    double.behave(None);
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200, "R82: no outage counted against the account");
}

#[tokio::test]
async fn a_password_changed_at_legacy_is_rechecked_and_replaces_ours() {
    let double = LegacyDouble::well_behaved();
    let proxy = migrate(&double).await;
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    double.put_user(DoubleUser { password: "the new one".into(), ..ann() });
    assert_eq!(proxy.login(ANN, "the new one").await.status, 200);
    double.behave(Some(Misbehaviour::HangsUp));
    assert_eq!(proxy.login(ANN, "the new one").await.status, 200, "it is ours now");
    assert_eq!(
        proxy.login(ANN, RIGHT).await.status,
        503,
        "the old one is put to legacy, which is down: we cannot know"
    );
    assert_eq!(proxy.metric("authferry_migrations_total", &["reason=\"recheck\""]).await, 1.0);
}

#[tokio::test]
async fn r87_rechecks_have_a_budget_per_account() {
    let double = LegacyDouble::well_behaved();
    let proxy = migrate(&double).await;
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    for _ in 0..6 {
        assert_eq!(proxy.login(ANN, "wrong").await.status, 401);
    }
    assert_eq!(double.calls(), 1 + 3, "the first login and three rechecks");
}

#[tokio::test]
async fn r82_an_outage_does_not_use_the_budget_of_rechecks_up() {
    let double = LegacyDouble::well_behaved();
    let proxy = migrate(&double).await;
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    double.put_user(DoubleUser { password: "the new one".into(), ..ann() });
    double.behave(Some(Misbehaviour::HangsUp));
    for attempt in 0..6 {
        assert_eq!(proxy.login(ANN, "the new one").await.status, 503, "attempt {attempt}: nobody can know");
    }
    double.behave(None);
    assert_eq!(proxy.login(ANN, "the new one").await.status, 200);
}

#[tokio::test]
async fn what_legacy_takes_back_on_asking_again_stays_taken_back_in_an_outage() {
    let double = LegacyDouble::well_behaved();
    let text = call_login(&double, "migrate", "").replace("[migration]", "[migration]\nrevalidate_after = \"1ms\"");
    let proxy = start(&text).await;
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    double.remove_user(7);
    // Legacy's word counts whole seconds: its first yes has to be one old before it is asked again.
    let denied = async {
        while proxy.login(ANN, RIGHT).await.status == 200 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    crate::support::soon("legacy's no", denied).await;
    double.behave(Some(Misbehaviour::HangsUp));
    let asked_of_record = async {
        while proxy.login(ANN, RIGHT).await.status == 200 {
            tokio::task::yield_now().await;
        }
    };
    crate::support::soon("the record to follow", asked_of_record).await;
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 503);
}

#[tokio::test]
async fn r63_an_account_is_limited_by_its_failures_and_a_right_password_costs_nothing() {
    let double = LegacyDouble::well_behaved();
    let proxy = migrate(&double).await;
    for _ in 0..30 {
        assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    }
    let mut statuses = Vec::new();
    for _ in 0..14 {
        statuses.push(proxy.login(ANN, "wrong").await.status);
    }
    assert_eq!(statuses, [vec![401; 10], vec![429; 4]].concat());
    let limited = proxy.login(ANN, RIGHT).await;
    assert!(limited.header("retry-after").is_some(), "{limited:?}");
}

#[tokio::test]
async fn r64_r84_two_hundred_right_logins_at_once_all_succeed_and_make_one_record() {
    let double = LegacyDouble::well_behaved();
    let proxy = migrate(&double).await;
    let logins = (0..200).map(|_| proxy.login(ANN, RIGHT));
    let answers = futures_util::future::join_all(logins).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{:?}", answers.iter().find(|a| a.status != 200));
    assert_eq!(proxy.users().await, 1);
    assert!(double.calls() <= 3, "equal simultaneous logins share a call: {}", double.calls());
}

#[tokio::test]
async fn a_challenge_is_handed_on_and_nobody_is_saved() {
    let double = LegacyDouble::well_behaved();
    double.put_user(DoubleUser { mfa: true, ..ann() });
    let proxy = migrate(&double).await;
    let answer = proxy.login(ANN, RIGHT).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json::<Value>()["mfa_required"], true);
    assert_eq!(proxy.users().await, 0);
}

#[tokio::test]
async fn users_and_mode_survive_a_restart_and_retired_never_calls_legacy() {
    let double = LegacyDouble::well_behaved();
    let text = call_login(&double, "migrate", "");
    let proxy = start(&text).await;
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    proxy.set_mode("retired").await;
    let folder = proxy.stop().await;
    let calls = double.calls();
    let proxy = start_in(folder, &text).await;
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    assert_eq!(proxy.login("nobody@example.com", RIGHT).await.status, 401);
    assert_eq!(proxy.login(ANN, "wrong").await.status, 401);
    assert_eq!(double.calls(), calls);
}

#[tokio::test]
async fn observing_relays_legacys_own_answer_saves_whom_it_proves_and_compares() {
    let double = LegacyDouble::well_behaved();
    let proxy = start(&call_login(&double, "observe", "")).await;
    // The double has no /login of its own: legacy's word is rendered.
    let rendered = proxy.login(ANN, RIGHT).await;
    assert_eq!(rendered.status, 200, "{rendered:?}");
    assert_eq!(proxy.users().await, 1);
    assert_eq!(proxy.login(ANN, "wrong").await.status, 401);
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    for (local, legacy, count) in [("absent", "accepted", 1.0), ("mismatch", "denied", 1.0), ("match", "accepted", 1.0)]
    {
        let labels = [format!("local=\"{local}\""), format!("legacy=\"{legacy}\"")];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        assert_eq!(proxy.metric("authferry_comparisons_total", &labels).await, count, "{local} {legacy}");
    }
}

#[tokio::test]
async fn passthrough_reads_no_body_and_saves_nobody() {
    let double = LegacyDouble::well_behaved();
    let proxy = start(&call_login(&double, "passthrough", "")).await;
    let answer = proxy.post_json("/login", &json!("not a login at all")).await;
    assert_eq!(answer.status, 404, "legacy's own answer");
    assert_eq!(proxy.users().await, 0);
    let sent = double.requests().pop().expect("it was sent on");
    assert_eq!(sent.body, b"\"not a login at all\"");
}

#[tokio::test]
async fn a_registration_asks_our_store_then_legacy_and_then_writes() {
    let double = LegacyDouble::well_behaved();
    let proxy = migrate(&double).await;
    let register = |email: &str, password: &str| {
        let body = json!({ "email": email, "password": password, "city": "Ulm", "nested": { "again": password } });
        let proxy = &proxy;
        async move { proxy.post_json("/register", &body).await }
    };
    let taken = register(ANN, "a new password").await;
    assert_eq!((taken.status, proxy.users().await), (409, 0), "legacy has her");
    let weak = register("carl@example.com", "short").await;
    assert_eq!((weak.status, proxy.users().await), (422, 0), "{weak:?}");
    let new = register("carl@example.com", "a new password").await;
    assert_eq!(new.status, 201, "{new:?}");
    let user = &new.json::<Value>()["user"];
    assert_eq!(user["city"], "Ulm");
    assert!(!user.to_string().contains("a new password"), "{user}");
    assert_eq!(register("Carl@Example.com", "another password").await.status, 409, "we have him");
    assert_eq!(proxy.login("carl@example.com", "a new password").await.status, 200);
    double.behave(Some(Misbehaviour::HangsUp));
    assert_eq!(register("dora@example.com", "a new password").await.status, 503, "legacy may have her");
    assert_eq!(proxy.users().await, 1);
}

#[tokio::test]
async fn of_many_registrations_at_once_one_wins() {
    let double = LegacyDouble::well_behaved();
    let proxy = migrate(&double).await;
    let body = json!({ "email": "carl@example.com", "password": "a new password" });
    let answers = futures_util::future::join_all((0..20).map(|_| proxy.post_json("/register", &body))).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    let exists = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!((created, exists, proxy.users().await), (1, 19, 1));
}

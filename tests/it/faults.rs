//! What goes wrong between a proof and its record: clients that leave, stores that cannot write, a legacy that is slow while the
//! world goes on, and how old legacy's word may become (R86, R88, R90, R91).

use std::sync::Arc;
use std::time::Duration;

use authferry::domain::clock::SystemClock;
use authferry::domain::conflict::Resolution;
use authferry::domain::identifier::{IdentifierRules, RawIdentifier};
use authferry::domain::user::Standing;
use authferry::service::ports::{ConflictQuery, Found, StoreHealth, Updated, UserChange};
use authferry::store::{self, StoreSettings};
use authferry::telemetry::Metrics;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::app::{Running, start, start_in};
use crate::support::configs::*;
use crate::support::legacy::{DoubleUser, LegacyDouble, Misbehaviour, ann};
use crate::support::memory_store::MemoryStore;
use crate::support::raw_client::send;
use crate::support::service::{Kept, rig, word};

const ANN: &str = "ann@example.com";
const RIGHT: &str = "correct horse battery";
const NEW: &str = "a new password";

fn user(number: u64) -> DoubleUser {
    let name = format!("user{number}");
    DoubleUser {
        id: 100 + number,
        email: format!("{name}@example.com"),
        username: name,
        phone: format!("+49 170 {number:07}"),
        ..ann()
    }
}

/// Sends a login and gives the connection, before any answer is read.
async fn begin_login(proxy: &Running, email: &str) -> TcpStream {
    let body = json!({ "email": email, "password": RIGHT }).to_string();
    let request = format!(
        "POST /login HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        proxy.public,
        body.len()
    );
    let mut stream = TcpStream::connect(proxy.public).await.expect("a listener");
    stream.write_all(request.as_bytes()).await.expect("it is read");
    stream
}

#[tokio::test]
async fn r91_a_client_that_leaves_while_legacy_thinks_is_saved_all_the_same() {
    let double = LegacyDouble::well_behaved();
    let text = in_mode("migrate", &double, &[TOKEN, LOGIN, CALL_LOGIN]);
    let proxy = start(&text).await;
    double.hold("/internal/login");
    let client = begin_login(&proxy, ANN).await;
    double.until_calls(1).await;
    drop(client);
    double.release();
    let folder = proxy.stop().await;
    double.behave(Some(Misbehaviour::HangsUp));
    let proxy = start_in(folder, &text).await;
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200, "what legacy proved is there, whole");
    assert_eq!((proxy.users().await, double.calls()), (1, 1));
}

#[tokio::test]
async fn r91_clients_that_leave_at_any_moment_leave_a_whole_record_or_none() {
    let double = LegacyDouble::well_behaved();
    let text = in_mode("migrate", &double, &[TOKEN, LOGIN, CALL_LOGIN]);
    let proxy = start(&text).await;
    for number in 0..24 {
        double.put_user(user(number));
        let client = begin_login(&proxy, &user(number).email).await;
        // Sooner or later, and by a reset or in peace.
        for _ in 0..number * 20 {
            tokio::task::yield_now().await;
        }
        if number % 2 == 0 {
            client.set_zero_linger().expect("a socket can be told to reset");
        }
        drop(client);
    }
    let folder = proxy.stop().await;
    double.behave(Some(Misbehaviour::HangsUp));
    let proxy = start_in(folder, &text).await;
    let saved = proxy.users().await;
    let mut whole = 0;
    for number in 0..24 {
        let status = proxy.login(&user(number).email, RIGHT).await.status;
        assert!(matches!(status, 200 | 503), "user {number}: {status}");
        whole += u64::from(status == 200);
    }
    assert_eq!(whole, saved, "every record that is there opens with its password");
    double.behave(None);
    for number in 0..24 {
        assert_eq!(proxy.login(&user(number).email, RIGHT).await.status, 200, "user {number} is not locked out");
    }
}

#[tokio::test]
async fn r86_a_slow_word_of_legacys_never_overwrites_a_newer_password() {
    let double = LegacyDouble::well_behaved();
    let route = r#"
        [[route]]
        name = "change"
        action = "change_password"
        match = { method = "POST", path = "/change" }
        request = { login = "/email", password = "/current", new_password = "/new" }
        forward.success = "status == 200"
        forward.denied = "status == 403"
        forward.user = { id = "json.id", email = "json.email" }
    "#;
    let proxy = start(&in_mode("migrate", &double, &[TOKEN, LOGIN, CALL_LOGIN, route])).await;
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    double.put_user(DoubleUser { password: "the middle one".to_owned(), ..ann() });
    double.say("POST", "/change", 200, &[("content-type", "application/json")], &ann().profile().to_string());
    double.hold("/internal/login");
    let calls = double.calls();
    let (slow, ()) = tokio::join!(proxy.login(ANN, "the middle one"), async {
        double.until_calls(calls + 1).await;
        let body = json!({ "email": ANN, "current": "the middle one", "new": NEW });
        assert_eq!(proxy.post_json("/change", &body).await.status, 200);
        double.release();
    });
    assert_eq!(slow.status, 200, "the login itself was right when it was judged");
    double.behave(Some(Misbehaviour::HangsUp));
    assert_eq!(proxy.login(ANN, NEW).await.status, 200);
    assert_eq!(proxy.login(ANN, "the middle one").await.status, 503);
    assert_eq!(proxy.metric("authferry_migration_failures_total", &["reason=\"stale\""]).await, 1.0);
}

#[tokio::test]
async fn r90_a_store_that_cannot_write_neither_fails_nor_delays_a_login() {
    let double = LegacyDouble::well_behaved();
    let store = Arc::new(MemoryStore::default());
    let rig = rig(&double, None, Kept::In(&store)).await;
    store.set_health(StoreHealth::ReadOnly);
    assert_eq!(word(&rig.login(ANN, RIGHT).await), "ok");
    assert_eq!(rig.metric("authferry_migration_failures_total", "store_unavailable"), 1.0);
    assert_eq!(word(&rig.login(ANN, "wrong").await), "denied", "a no is no less of one");
    store.set_health(StoreHealth::Ready);
    assert_eq!(word(&rig.login(ANN, RIGHT).await), "ok", "tried again at the next login");
    double.behave(Some(Misbehaviour::HangsUp));
    assert_eq!(word(&rig.login(ANN, RIGHT).await), "ok");
    store.set_health(StoreHealth::Down);
    assert_eq!(word(&rig.login(ANN, RIGHT).await), "unavailable", "a store that cannot be read is no wrong password");
}

#[tokio::test]
async fn r88_legacys_word_grows_old_and_is_asked_for_again() {
    let day = Duration::from_secs(86_400);
    let double = LegacyDouble::well_behaved();
    let folder = TempDir::new().expect("a folder");
    let rig = rig(&double, Some(day), Kept::On(folder.path())).await;
    assert_eq!(word(&rig.login(ANN, RIGHT).await), "ok");
    rig.calendar.turn(day);
    assert_eq!(word(&rig.login(ANN, RIGHT).await), "ok");
    assert_eq!(double.calls(), 1, "not older than it may be");
    rig.calendar.turn(Duration::from_secs(1));
    assert_eq!(word(&rig.login(ANN, RIGHT).await), "ok");
    assert_eq!(double.calls(), 2, "asked again");
    rig.service.drain().await;
    rig.calendar.turn(day);
    assert_eq!(word(&rig.login(ANN, RIGHT).await), "ok");
    assert_eq!(double.calls(), 2, "it vouched for another day");
    rig.calendar.turn(day);
    double.behave(Some(Misbehaviour::HangsUp));
    assert_eq!(word(&rig.login(ANN, RIGHT).await), "ok", "our own yes holds while it cannot be reached");
    double.behave(None);
    double.remove_user(7);
    assert_eq!(word(&rig.login(ANN, RIGHT).await), "denied", "legacy disabled her: bounded by a day");
}

#[tokio::test]
async fn a_disabled_user_is_denied_in_every_way_and_legacy_is_not_asked() {
    let double = LegacyDouble::well_behaved();
    let text = in_mode("migrate", &double, &[TOKEN, LOGIN, CALL_LOGIN]);
    let proxy = start(&text).await;
    let first = proxy.login(ANN, RIGHT).await;
    let token = first.json::<serde_json::Value>()["token"].as_str().expect("a token").to_owned();
    let folder = proxy.stop().await;
    {
        let settings = StoreSettings::without_keys(folder.path().join("users.redb"), 8 << 20);
        let store = store::open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("the store");
        let name = RawIdentifier::new(ANN).expect("an identifier");
        let found = store.find(&IdentifierRules::default().candidates(&name)).await.expect("a look-up").found;
        let Found::One(ann) = found else { panic!("she is there") };
        let disabled = store.update(ann.id, ann.version, UserChange::SetStanding(Standing::Disabled)).await;
        assert!(matches!(disabled, Ok(Updated::Done(_))));
    }
    let text = format!(
        "{text}\n[upstream.identity_headers]\nx-user = \"{{{{ user.id }}}}\"\n\
         [[route]]\nname = \"me\"\naction = \"get_user\"\nmatch = {{ method = \"GET\", path = \"/me\" }}\n"
    );
    let proxy = start_in(folder, &text).await;
    let calls = double.calls();
    let right = proxy.login(ANN, RIGHT).await;
    let wrong = proxy.login(ANN, "wrong").await;
    let unknown = {
        double.remove_user(7);
        assert_eq!(double.calls(), calls, "nobody asked legacy");
        proxy.login("nobody@example.com", RIGHT).await
    };
    assert_eq!(right.status, 401);
    assert_eq!((substance(&right), substance(&right)), (substance(&wrong), substance(&unknown)), "R59");
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    let me = send(proxy.public, "GET", "/me", &headers, "").await;
    assert_eq!(
        me.status, 401,
        "her token opens nothing of ours, and legacy is not asked whether it opens something there"
    );
    assert_eq!(send(proxy.public, "GET", "/page", &headers, "").await.status, 404);
    assert_eq!(double.requests().pop().expect("it was sent on").header("x-user"), None);
}

#[tokio::test]
async fn r79_a_conflict_rings_the_alarm_until_an_operator_has_decided_it() {
    let double = LegacyDouble::well_behaved();
    let folder = TempDir::new().expect("a folder");
    let rig = rig(&double, None, Kept::On(folder.path())).await;
    assert_eq!(word(&rig.login(ANN, RIGHT).await), "ok");
    // Legacy has given her address to somebody else.
    double.remove_user(7);
    double.put_user(DoubleUser { password: NEW.to_owned(), email: ANN.to_owned(), ..user(1) });
    let rung = || rig.metric("authferry_alarms_total", "what=\"conflict\"");
    for times in [1.0, 2.0] {
        assert_eq!(word(&rig.login(ANN, NEW).await), "ok", "as legacy says");
        rig.service.drain().await;
        assert_eq!(rung(), times);
    }
    let open = ConflictQuery { limit: 10, ..ConflictQuery::default() };
    let number = rig.store.conflicts(open).await.expect("conflicts")[0].number;
    rig.store.resolve(number, Resolution::Keep).await.expect("a choice");
    assert_eq!(word(&rig.login(ANN, NEW).await), "ok", "legacy's word goes on to be his answer");
    rig.service.drain().await;
    assert_eq!(rung(), 2.0, "nobody has to look again");
    assert_eq!(rig.metric("authferry_migration_failures_total", "reason=\"conflict_decided\""), 1.0);
    assert_eq!(rig.store.counts().await.expect("counts").conflicts, 0);
}

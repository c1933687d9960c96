//! Registrations end to end: whom our store and legacy know is refused, and a legacy's "created" alone is never believed (R78a).

use serde_json::{Value, json};

use crate::support::app::{Running, start};
use crate::support::configs::*;
use crate::support::legacy::{LegacyDouble, Misbehaviour, ann};
use crate::support::raw_client::{Answer, send};

const ANN: &str = "ann@example.com";
const RIGHT: &str = "correct horse battery";
const CARL: &str = "carl@example.com";
const NEW: &str = "a new password";

async fn register_at(proxy: &Running, path: &str, email: &str, password: &str) -> Answer {
    proxy.post_json(path, &json!({ "email": email, "password": password, "city": "Ulm" })).await
}

async fn proxy(mode: &str, double: &LegacyDouble, tables: &[&str]) -> Running {
    start(&in_mode(mode, double, &[TOKEN, LOGIN, CALL_LOGIN, &tables.concat()])).await
}

fn asked(double: &LegacyDouble, path: &str) -> usize {
    double.requests().iter().filter(|request| request.target == path).count()
}

#[tokio::test]
async fn a_local_registration_is_written_here_alone_with_its_profile_less_every_password() {
    let double = LegacyDouble::well_behaved();
    let proxy = proxy("migrate", &double, &[GET_USER, &register("local")]).await;
    let body = json!({
        "email": CARL, "password": NEW, "username": "Carl", "passwordConfirmation": NEW, "hint": NEW,
        "address": { "city": "Ulm", "pwd": "other" }, "tags": ["a", NEW],
    });
    let answer = proxy.post_json("/register", &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let expected = json!({ "email": CARL, "username": "Carl", "address": { "city": "Ulm" }, "tags": ["a"] });
    assert_eq!(answer.json::<Value>()["user"], expected);
    assert_eq!((proxy.users().await, asked(&double, "/internal/register")), (1, 0));
    double.behave(Some(Misbehaviour::HangsUp));
    assert_eq!(proxy.login("carl", NEW).await.status, 200);
    let wrong = proxy.login(CARL, "wrong").await;
    assert_eq!(wrong.status, 401, "legacy never knew him, so our no is final: {wrong:?}");
    for (email, username) in [("CARL@example.com", "x"), ("d@example.com", "cARL"), (CARL, "Carl")] {
        let body = json!({ "email": email, "username": username, "password": NEW });
        assert_eq!(proxy.post_json("/register", &body).await.status, 409, "{email} {username}");
    }
}

#[tokio::test]
async fn a_name_that_legacy_has_or_may_have_is_not_registered_here() {
    let double = LegacyDouble::well_behaved();
    let proxy = proxy("migrate", &double, &[GET_USER, &register("local")]).await;
    let by_username = json!({ "email": CARL, "username": "ANN", "password": NEW });
    assert_eq!(proxy.post_json("/register", &by_username).await.status, 409, "her username at legacy");
    double.behave(Some(Misbehaviour::ServerError));
    let answer = register_at(&proxy, "/register", CARL, NEW).await;
    assert_eq!((answer.status, &*answer.body), (503, r#"{"error": "try again later"}"#));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(proxy.users().await, 0);
    double.behave(None);
    proxy.set_mode("retired").await;
    assert_eq!(register_at(&proxy, "/register", CARL, NEW).await.status, 201, "there is nobody left to ask");
}

#[tokio::test]
async fn legacy_first_creates_at_both_by_call_and_by_forward() {
    for path in ["/register", "/internal/register"] {
        let double = LegacyDouble::well_behaved();
        let tables = [GET_USER, CALL_REGISTER, &register("legacy_first"), FORWARDED_REGISTER];
        let proxy = proxy("migrate", &double, &tables).await;
        let taken = register_at(&proxy, path, ANN, NEW).await;
        assert_eq!((taken.status, &*taken.body), (409, r#"{"error": "taken, we say"}"#), "{path}");
        assert_eq!(asked(&double, "/internal/register"), 0, "get_user knew her");
        let created = register_at(&proxy, path, CARL, NEW).await;
        assert_eq!(created.status, 201, "{path}: {created:?}");
        let theirs = path == "/internal/register";
        assert_eq!(created.body.contains("\"token\""), !theirs, "{path}: {created:?}");
        assert_eq!(created.json::<Value>()["user"]["id"], 8, "legacy's own id: {created:?}");
        assert_eq!((proxy.users().await, asked(&double, "/internal/register")), (1, 1), "{path}");
        double.behave(Some(Misbehaviour::HangsUp));
        let login = proxy.login(CARL, NEW).await;
        assert_eq!((login.status, &login.json::<Value>()["user"]["id"]), (200, &json!(8)), "{path}");
        assert_eq!(proxy.login("user8", NEW).await.status, 200, "a name that only legacy told");
    }
}

#[tokio::test]
async fn what_legacy_refuses_is_refused_in_the_routes_own_shape() {
    let double = LegacyDouble::well_behaved();
    let tables = [CALL_REGISTER, &register("legacy_first"), FORWARDED_REGISTER];
    let proxy = proxy("migrate", &double, &tables).await;
    let by_call = register_at(&proxy, "/register", ANN, NEW).await;
    assert_eq!((by_call.status, &*by_call.body), (409, r#"{"error": "taken, we say"}"#));
    let forwarded = register_at(&proxy, "/internal/register", ANN, NEW).await;
    assert_eq!((forwarded.status, &*forwarded.body), (409, r#"{"error":"taken"}"#), "legacy's own answer");
    double.behave(Some(Misbehaviour::ServerError));
    for path in ["/register", "/internal/register"] {
        let answer = register_at(&proxy, path, CARL, NEW).await;
        assert_eq!(answer.status, if path == "/register" { 503 } else { 500 }, "{path}: {answer:?}");
    }
    assert_eq!(proxy.users().await, 0);
}

/// A legacy that says "created" to everybody.
fn says_created(double: &LegacyDouble) {
    let body = json!({ "user": ann().profile() }).to_string();
    double.say("POST", "/internal/register", 201, &[("content-type", "application/json")], &body);
}

#[tokio::test]
async fn r78a_created_is_believed_only_if_the_name_was_free_or_a_login_confirms_it() {
    for path in ["/register", "/internal/register"] {
        let routes = [CALL_REGISTER, &register("legacy_first"), FORWARDED_REGISTER].concat();
        // get_user knows her: legacy is not even told.
        let double = LegacyDouble::well_behaved();
        says_created(&double);
        let known = proxy("migrate", &double, &[GET_USER, &routes]).await;
        assert_eq!(register_at(&known, path, ANN, NEW).await.status, 409, "{path}");
        assert_eq!((known.users().await, asked(&double, "/internal/register")), (0, 0), "{path}");

        // Nobody to ask before: the confirming login fails for the stranger and succeeds for a user who is really new.
        let double = LegacyDouble::well_behaved();
        let asking = proxy("migrate", &double, &[&routes]).await;
        let new = register_at(&asking, path, CARL, NEW).await;
        assert_eq!((new.status, asking.users().await), (201, 1), "{path}: {new:?}");
        says_created(&double);
        let stranger = register_at(&asking, path, ANN, NEW).await;
        assert_eq!(stranger.status, if path == "/register" { 503 } else { 201 }, "{path}: {stranger:?}");
        assert_eq!(asking.users().await, 1, "{path}: the stranger's password was saved");
        assert_eq!(asking.login(ANN, NEW).await.status, 401, "{path}");
        assert_eq!(asking.login(ANN, RIGHT).await.status, 200, "{path}");
    }
    // Nor a login to confirm with: nothing is saved, the first login brings him.
    let double = LegacyDouble::well_behaved();
    says_created(&double);
    let deaf = start(&in_mode("migrate", &double, &[TOKEN, FORWARDED_REGISTER])).await;
    assert_eq!(register_at(&deaf, "/internal/register", ANN, NEW).await.status, 201);
    assert_eq!(deaf.users().await, 0);
}

#[tokio::test]
async fn r79_a_created_that_names_somebody_else_is_not_saved() {
    let double = LegacyDouble::well_behaved();
    says_created(&double);
    let tables = [GET_USER, CALL_REGISTER, &register("legacy_first"), FORWARDED_REGISTER];
    let proxy = proxy("migrate", &double, &tables).await;
    for path in ["/register", "/internal/register"] {
        let answer = register_at(&proxy, path, CARL, NEW).await;
        assert_eq!(answer.status, if path == "/register" { 503 } else { 201 }, "{path}: {answer:?}");
        assert_eq!(proxy.users().await, 0, "{path}: a name of ours with an id of ann's");
    }
    assert_eq!(proxy.metric("authferry_alarms_total", &["other_profile"]).await, 2.0);
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200, "ann herself is unharmed");
}

#[tokio::test]
async fn r78a_observing_relays_legacys_answer_and_saves_only_what_is_proven() {
    let double = LegacyDouble::well_behaved();
    let proxy = proxy("observe", &double, &[GET_USER, FORWARDED_REGISTER]).await;
    let taken = register_at(&proxy, "/internal/register", ANN, NEW).await;
    let body = json!({ "email": ANN, "password": NEW, "city": "Ulm" }).to_string();
    let headers = [("Content-Type", "application/json")];
    let legacys = send(double.address(), "POST", "/internal/register", &headers, &body).await;
    assert_eq!(substance(&taken), substance(&legacys));
    assert_eq!((taken.status, proxy.users().await), (409, 0));
    let created = register_at(&proxy, "/internal/register", CARL, NEW).await;
    assert_eq!((created.status, proxy.users().await), (201, 1));
    says_created(&double);
    let stranger = register_at(&proxy, "/internal/register", ANN, NEW).await;
    assert_eq!((stranger.status, proxy.users().await), (201, 1), "taken just before, and no login confirms it");
    let weak = register_at(&proxy, "/internal/register", "d@example.com", "x").await;
    assert_eq!(weak.status, 201, "the policy of legacy holds while it answers: {weak:?}");
    proxy.set_mode("migrate").await;
    assert_eq!(proxy.login(CARL, NEW).await.status, 200);
    assert_eq!(proxy.login(ANN, NEW).await.status, 401);
}

#[tokio::test]
async fn observing_a_composed_registration_proves_it_by_a_login() {
    let double = LegacyDouble::well_behaved();
    let proxy = proxy("observe", &double, &[GET_USER, CALL_REGISTER, &register("legacy_first")]).await;
    let own = register_at(&proxy, "/register", CARL, NEW).await;
    assert_eq!((own.status, proxy.users().await), (404, 0), "the app has no such path, and says so itself");
    // An app whose own registration works, and one that says yes to everybody: both answer with a 200.
    double.say("POST", "/register", 200, &[("content-type", "text/html")], "welcome");
    let stranger = register_at(&proxy, "/register", ANN, NEW).await;
    assert_eq!((stranger.status, &*stranger.body, proxy.users().await), (200, "welcome", 0));
    let honest = register_at(&proxy, "/register", ANN, RIGHT).await;
    assert_eq!((honest.status, &*honest.body, proxy.users().await), (200, "welcome", 1), "a login confirms it");
}

#[tokio::test]
async fn r85_registrations_of_one_name_at_once_make_one_user_at_both() {
    let double = LegacyDouble::well_behaved();
    let tables = [GET_USER, CALL_REGISTER, &register("legacy_first")];
    let proxy = proxy("migrate", &double, &tables).await;
    let passwords: Vec<String> = (0..12).map(|number| format!("password number {number}")).collect();
    let tries = passwords.iter().map(|password| register_at(&proxy, "/register", CARL, password));
    let answers = futures_util::future::join_all(tries).await;
    let winners: Vec<&String> =
        passwords.iter().zip(&answers).filter(|(_, answer)| answer.status == 201).map(|(won, _)| won).collect();
    assert_eq!((winners.len(), proxy.users().await), (1, 1), "{answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer.status, 201 | 409)), "{answers:?}");
    double.behave(Some(Misbehaviour::HangsUp));
    assert_eq!(proxy.login(CARL, winners[0]).await.status, 200);
}

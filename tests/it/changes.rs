//! Changes, resets and deletions end to end: legacy carries them out, and our record follows only as far as something proves whose
//! account it was.

use serde_json::json;

use crate::support::app::{Running, start};
use crate::support::configs::*;
use crate::support::legacy::{DoubleUser, LegacyDouble, Misbehaviour, ann};
use crate::support::raw_client::{Answer, send};

const ANN: &str = "ann@example.com";
const BEA: &str = "bea@example.com";
const RIGHT: &str = "correct horse battery";
const NEW: &str = "a new password";

fn bea() -> DoubleUser {
    DoubleUser {
        id: 9,
        email: BEA.to_owned(),
        username: "Bea".to_owned(),
        phone: "+49 151 99".to_owned(),
        password: "bea's own password".to_owned(),
        ..ann()
    }
}

/// A route that is forwarded, with `more` lines.
fn route(action: &str, path: &str, more: &str) -> String {
    let new = if action == "delete_user" { "" } else { ", new_password = \"/new\"" };
    let current = if action == "reset_password" { "" } else { ", password = \"/current\"" };
    format!(
        r#"
        [[route]]
        name = "{action}"
        action = "{action}"
        match = {{ method = "POST", path = "{path}" }}
        request = {{ login = "/email"{current}{new} }}
        forward.success = "status in [200, 204]"
        forward.denied = "status == 403"
        {more}
        reply.denied = {{ status = 403, json = '"no, we say"' }}
        reply.ok = {{ status = 200, json = '"done, we say"' }}
        "#
    )
}

const BY_ANSWER: &str = r#"forward.user = { id = "json.id", email = "json.email" }"#;

/// Ann and Bea have come over. `tables` beside the login.
async fn migrated(double: &LegacyDouble, tables: &[&str]) -> Running {
    double.put_user(bea());
    let proxy = start(&in_mode("migrate", double, &[TOKEN, LOGIN, CALL_LOGIN, &tables.concat()])).await;
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    assert_eq!(proxy.login(BEA, &bea().password).await.status, 200);
    assert_eq!(proxy.users().await, 2);
    proxy
}

async fn change(proxy: &Running, path: &str, email: &str, current: &str, new: &str) -> Answer {
    proxy.post_json(path, &json!({ "email": email, "current": current, "new": new })).await
}

/// The token that our login hands out.
async fn token_of(proxy: &Running, email: &str, password: &str) -> String {
    let answer = proxy.login(email, password).await;
    answer.json::<serde_json::Value>()["token"].as_str().expect("a token").to_owned()
}

async fn with_token(proxy: &Running, path: &str, token: &str, body: &serde_json::Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("Content-Type", "application/json"), ("Authorization", bearer.as_str())];
    send(proxy.public, "POST", path, &headers, &body.to_string()).await
}

/// What a login comes to while legacy is down: 200 if our own hash says so, 503 where legacy would have to be asked.
async fn alone(double: &LegacyDouble, proxy: &Running, email: &str, password: &str) -> u16 {
    double.behave(Some(Misbehaviour::HangsUp));
    let status = proxy.login(email, password).await.status;
    double.behave(None);
    status
}

fn done(double: &LegacyDouble, path: &str, body: &str) {
    double.say("POST", path, 200, &[("content-type", "application/json")], body);
}

#[tokio::test]
async fn a_change_is_taken_over_if_the_answer_the_token_or_a_login_proves_whose_it_was() {
    // The answer names her.
    let double = LegacyDouble::well_behaved();
    let proxy = migrated(&double, &[&route("change_password", "/answer", BY_ANSWER)]).await;
    done(&double, "/answer", &ann().profile().to_string());
    let answer = change(&proxy, "/answer", ANN, RIGHT, NEW).await;
    assert_eq!((answer.status, answer.body), (200, ann().profile().to_string()), "legacy's own answer");
    assert_eq!(alone(&double, &proxy, ANN, NEW).await, 200);
    assert_eq!(alone(&double, &proxy, ANN, RIGHT).await, 503);
    assert_eq!(alone(&double, &proxy, BEA, &bea().password).await, 200, "nobody else's");
    assert_eq!(proxy.metric("authferry_migrations_total", &["reason=\"change\""]).await, 1.0);

    // A token names her, whether or not the body does.
    for body in
        [json!({ "email": ANN, "current": RIGHT, "new": NEW }), json!({ "email": "Ann", "current": "x", "new": NEW })]
    {
        let double = LegacyDouble::well_behaved();
        let proxy = migrated(&double, &[&route("change_password", "/token", "")]).await;
        done(&double, "/token", "{}");
        let token = token_of(&proxy, ANN, RIGHT).await;
        assert_eq!(with_token(&proxy, "/token", &token, &body).await.status, 200);
        assert_eq!(alone(&double, &proxy, ANN, NEW).await, 200, "{body}");
        assert_eq!(alone(&double, &proxy, ANN, RIGHT).await, 503, "{body}");
    }

    // A login with the new password proves it.
    let double = LegacyDouble::well_behaved();
    let proxy = migrated(&double, &[&route("change_password", "/users/password", "")]).await;
    assert_eq!(change(&proxy, "/users/password", ANN, "wrong", NEW).await.status, 403);
    assert_eq!(alone(&double, &proxy, ANN, RIGHT).await, 200, "a refused change changes nothing");
    assert_eq!(change(&proxy, "/users/password", ANN, RIGHT, NEW).await.status, 204);
    assert_eq!(alone(&double, &proxy, ANN, NEW).await, 200);
    assert_eq!(alone(&double, &proxy, ANN, RIGHT).await, 503);
}

#[tokio::test]
async fn a_reset_is_taken_over_in_the_same_way() {
    let double = LegacyDouble::well_behaved();
    let proxy = migrated(&double, &[&route("reset_password", "/reset", "")]).await;
    done(&double, "/reset", "{}");
    double.put_user(DoubleUser { password: NEW.to_owned(), ..ann() });
    let answer = proxy.post_json("/reset", &json!({ "email": ANN, "code": "c-1", "new": NEW })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(alone(&double, &proxy, ANN, NEW).await, 200);
    assert_eq!(alone(&double, &proxy, ANN, RIGHT).await, 503);
}

#[tokio::test]
async fn nobody_gets_into_an_account_by_naming_it_in_a_change_of_his_own() {
    // Legacy goes by its session: "done", for the attacker's own account, while the body names Bea. Asking get_user about the name in the
    // body proves nothing either.
    for more in ["", r#"forward.user = { from = "get_user" }"#, BY_ANSWER] {
        let double = LegacyDouble::well_behaved();
        let (change_route, reset_route) =
            (route("change_password", "/session", more), route("reset_password", "/reset", more));
        let proxy = migrated(&double, &[GET_USER, &change_route, &reset_route]).await;
        for path in ["/session", "/reset"] {
            done(&double, path, "{}");
            assert_eq!(change(&proxy, path, BEA, "x", "attackers").await.status, 200);
            assert_eq!(alone(&double, &proxy, BEA, "attackers").await, 503, "{path} {more}");
            assert_eq!(proxy.login(BEA, "attackers").await.status, 401, "{path} {more}");
            assert_eq!(proxy.login(BEA, &bea().password).await.status, 200, "{path} {more}: dropped at most");
        }
    }
}

#[tokio::test]
async fn a_whoami_with_legacys_own_answer_says_whose_account_was_changed() {
    let double = LegacyDouble::well_behaved();
    let route = route("change_password", "/session", r#"forward.user = { from = "get_user" }"#);
    let proxy = migrated(&double, &[WHOAMI, &route]).await;
    done(&double, "/session", &json!({ "accessToken": ann().token() }).to_string());
    assert_eq!(change(&proxy, "/session", BEA, "x", NEW).await.status, 200);
    assert_eq!(alone(&double, &proxy, ANN, NEW).await, 200, "hers by legacy's own word");
    assert_eq!(alone(&double, &proxy, BEA, &bea().password).await, 200, "the body's word counts nothing beside it");
}

#[tokio::test]
async fn a_token_proves_nothing_about_an_account_that_the_body_names_instead() {
    // An admin, or an attacker with an account of his own, changes what the body names: neither record gets that password.
    let double = LegacyDouble::well_behaved();
    let proxy = migrated(&double, &[&route("change_password", "/any", ""), &route("delete_user", "/gone", "")]).await;
    done(&double, "/any", "{}");
    done(&double, "/gone", "{}");
    let anns = token_of(&proxy, ANN, RIGHT).await;
    for named in [BEA, "not-over-yet@example.com"] {
        let body = json!({ "email": named, "current": "x", "new": "somebody's" });
        assert_eq!(with_token(&proxy, "/any", &anns, &body).await.status, 200);
        for email in [ANN, BEA] {
            assert_eq!(alone(&double, &proxy, email, "somebody's").await, 503, "{email} after naming {named}");
        }
        assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
        assert_eq!(proxy.login(BEA, &bea().password).await.status, 200);
        let body = json!({ "email": named, "current": "x" });
        assert_eq!(with_token(&proxy, "/gone", &anns, &body).await.status, 200);
        assert_eq!(proxy.login(ANN, RIGHT).await.status, 200, "who deletes another is not deleted");
    }
    assert_eq!(proxy.login(BEA, &bea().password).await.status, 200, "nothing proves that she was deleted");
}

#[tokio::test]
async fn an_unknown_outcome_drops_the_password_of_whom_a_token_proves_and_of_nobody_else() {
    let double = LegacyDouble::well_behaved();
    let proxy = migrated(&double, &[&route("change_password", "/users/password", "")]).await;
    for misbehaviour in [Misbehaviour::HangsUp, Misbehaviour::ServerError, Misbehaviour::RedirectsToLoopback] {
        let token = token_of(&proxy, ANN, RIGHT).await;
        assert_eq!(alone(&double, &proxy, ANN, RIGHT).await, 200, "{misbehaviour:?}: before");
        double.behave(Some(misbehaviour));
        let (anns, beas) = (
            json!({ "email": ANN, "current": RIGHT, "new": NEW }),
            json!({ "email": BEA, "current": "x", "new": NEW }),
        );
        for body in [&anns, &beas] {
            let answer = proxy.post_json("/users/password", body).await;
            assert!(answer.status != 403, "{misbehaviour:?}: {answer:?}");
        }
        assert_eq!(alone(&double, &proxy, ANN, RIGHT).await, 200, "{misbehaviour:?}: whoever it was that named her");
        double.behave(Some(misbehaviour));
        assert!(with_token(&proxy, "/users/password", &token, &anns).await.status != 403);
        assert_eq!(alone(&double, &proxy, ANN, RIGHT).await, 503, "{misbehaviour:?}: legacy has to be asked");
        assert_eq!(alone(&double, &proxy, ANN, NEW).await, 503, "{misbehaviour:?}");
        assert_eq!(alone(&double, &proxy, BEA, &bea().password).await, 200, "{misbehaviour:?}");
        assert_eq!(proxy.login(ANN, RIGHT).await.status, 200, "{misbehaviour:?}: legacy knows");
    }
}

#[tokio::test]
async fn a_proven_deletion_leaves_a_tombstone_and_legacy_is_never_asked_again() {
    for proof in ["answer", "token"] {
        let double = LegacyDouble::well_behaved();
        let more = if proof == "answer" { BY_ANSWER } else { "" };
        let proxy = migrated(&double, &[GET_USER, &route("delete_user", "/gone", more)]).await;
        done(&double, "/gone", &if proof == "answer" { ann().profile().to_string() } else { "{}".to_owned() });
        let body = json!({ "email": ANN, "current": RIGHT });
        let token = if proof == "token" { token_of(&proxy, ANN, RIGHT).await } else { "none".to_owned() };
        assert_eq!(with_token(&proxy, "/gone", &token, &body).await.status, 200);
        let calls = double.calls();
        assert_eq!(proxy.login(ANN, RIGHT).await.status, 401, "{proof}");
        assert_eq!(proxy.login("+49 151 1234567", RIGHT).await.status, 401, "{proof}: by any of her names");
        assert_eq!(double.calls(), calls, "{proof}: a deleted user does not come back");
        assert_eq!(proxy.users().await, 1, "{proof}");
    }
}

#[tokio::test]
async fn a_deletion_that_nothing_proves_leaves_it_to_legacy() {
    for more in ["", r#"forward.user = { from = "get_user" }"#] {
        let double = LegacyDouble::well_behaved();
        let proxy = migrated(&double, &[GET_USER, &route("delete_user", "/gone", more)]).await;
        done(&double, "/gone", "{}");
        assert_eq!(proxy.post_json("/gone", &json!({ "email": ANN, "current": "x" })).await.status, 200);
        assert_eq!(proxy.login(ANN, RIGHT).await.status, 200, "legacy still takes her: {more}");
        assert_eq!(proxy.post_json("/gone", &json!({ "email": ANN, "current": RIGHT })).await.status, 200);
        double.remove_user(7);
        assert_eq!(proxy.login(ANN, RIGHT).await.status, 401, "legacy no longer does: {more}");
        assert_eq!(proxy.users().await, 2);
    }
}

#[tokio::test]
async fn who_has_not_come_over_yet_goes_through_unharmed() {
    let double = LegacyDouble::well_behaved();
    let tables = [
        TOKEN,
        LOGIN,
        CALL_LOGIN,
        &route("change_password", "/users/password", ""),
        &route("reset_password", "/reset", BY_ANSWER),
    ];
    let proxy = start(&in_mode("migrate", &double, &tables)).await;
    done(&double, "/reset", &ann().profile().to_string());
    assert_eq!(change(&proxy, "/users/password", ANN, "wrong", NEW).await.status, 403);
    assert_eq!(proxy.post_json("/reset", &json!({ "email": ANN, "new": "x" })).await.status, 200);
    assert_eq!(proxy.users().await, 0, "no half record");
    assert_eq!(change(&proxy, "/users/password", ANN, RIGHT, NEW).await.status, 204);
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 401);
    assert_eq!(proxy.login(ANN, NEW).await.status, 200);
}

#[tokio::test]
async fn who_registered_here_is_served_here() {
    let double = LegacyDouble::well_behaved();
    let tables = [
        GET_USER,
        &register("local"),
        &route("change_password", "/users/password", ""),
        &route("reset_password", "/reset", ""),
        &route("delete_user", "/gone", ""),
    ];
    let proxy = migrated(&double, &tables).await;
    let carl = "carl@example.com";
    let body = json!({ "email": carl, "password": RIGHT, "username": "Carl" });
    assert_eq!(proxy.post_json("/register", &body).await.status, 201);
    let calls = double.calls();
    let wrong = change(&proxy, "/users/password", carl, "wrong", NEW).await;
    assert_eq!((wrong.status, &*wrong.body), (403, "\"no, we say\""));
    assert_eq!(change(&proxy, "/users/password", carl, RIGHT, "short").await.status, 422);
    let token = token_of(&proxy, carl, RIGHT).await;
    let by_token_alone =
        with_token(&proxy, "/users/password", &token, &json!({ "email": carl, "current": "", "new": NEW })).await;
    assert_eq!(by_token_alone.status, 403, "ASVS 6.2.3: {by_token_alone:?}");
    assert_eq!(proxy.post_json("/reset", &json!({ "email": carl, "new": NEW })).await.status, 403);
    let changed = change(&proxy, "/users/password", carl, RIGHT, NEW).await;
    assert_eq!((changed.status, &*changed.body), (200, "\"done, we say\""));
    assert_eq!(proxy.login(carl, RIGHT).await.status, 401);
    assert_eq!(proxy.login(carl, NEW).await.status, 200);
    assert_eq!(proxy.post_json("/gone", &json!({ "email": carl, "current": RIGHT })).await.status, 403);
    assert_eq!(proxy.post_json("/gone", &json!({ "email": carl, "current": NEW })).await.status, 200);
    assert_eq!(proxy.login(carl, NEW).await.status, 401);
    assert_eq!(double.calls(), calls, "legacy heard nothing of it");
    // A token of somebody else's does not make his account another's.
    let again = json!({ "email": "dora@example.com", "password": RIGHT, "username": "Dora" });
    assert_eq!(proxy.post_json("/register", &again).await.status, 201);
    let anns = token_of(&proxy, ANN, RIGHT).await;
    let body = json!({ "email": "dora@example.com", "current": RIGHT, "new": NEW });
    let answer = with_token(&proxy, "/users/password", &anns, &body).await;
    assert_eq!(alone(&double, &proxy, ANN, NEW).await, 503, "{answer:?}");
}

#[tokio::test]
async fn after_legacys_end_everything_is_decided_here() {
    let double = LegacyDouble::well_behaved();
    let tables = [
        &*route("change_password", "/users/password", ""),
        &route("reset_password", "/reset", ""),
        &route("delete_user", "/gone", ""),
    ];
    let proxy = migrated(&double, &tables).await;
    proxy.set_mode("retired").await;
    let calls = double.calls();
    assert_eq!(change(&proxy, "/users/password", ANN, "wrong", NEW).await.status, 403);
    assert_eq!(change(&proxy, "/users/password", "nobody@example.com", RIGHT, NEW).await.status, 403);
    assert_eq!(change(&proxy, "/users/password", ANN, RIGHT, NEW).await.status, 200);
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 401);
    assert_eq!(proxy.login(ANN, NEW).await.status, 200);
    assert_eq!(proxy.post_json("/reset", &json!({ "email": ANN, "new": RIGHT })).await.status, 403);
    assert_eq!(proxy.post_json("/gone", &json!({ "email": ANN, "current": NEW })).await.status, 200);
    assert_eq!(proxy.login(ANN, NEW).await.status, 401);
    assert_eq!(double.calls(), calls);
}

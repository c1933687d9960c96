//! What operators do to users and conflicts, through every door: the API, the console's forms, the built binary with and without
//! a running proxy; and what logins and tokens make of it afterwards.

use std::sync::Arc;

use authferry::admin::Problem;
use authferry::admin::people_view::{ConflictList, ConflictView, ExplainView, UserChanged};
use authferry::admin::view::UserDetail;
use authferry::domain::conflict::{Decision, Resolution};
use authferry::domain::credential::{AbsentBecause, Credential};
use authferry::domain::mode::Mode;
use authferry::domain::user::Standing;
use authferry::service::explain::{Ending, Given};
use authferry::service::ports::{StoreHealth, UserStore as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::admin::{Admin, EVIL, TOKEN};
use crate::store_people::{email, phone, proven, revision, username};
use crate::support::app::{ADMIN_TOKEN, Running, start};
use crate::support::call_login::call_login;
use crate::support::configs::{BY_CLAIMS, CALL_LOGIN, CALL_REGISTER, GET_USER, api_login, in_mode, register};
use crate::support::legacy::{DoubleUser, LegacyDouble, Misbehaviour, ann};
use crate::support::memory_store::{MemoryStore, user};
use crate::support::process::{Finished, Process, authferry, finish};
use crate::support::raw_client::{Answer, send};
use crate::support::service::{Kept, rig, word};

const ANN: &str = "ann@example.com";
const RIGHT: &str = "correct horse battery";
const NEWER: &str = "a newer password";

// ---------------------------------------------------------------------------------------------------------------- the API

async fn detail(admin: &Admin, id: &str) -> UserDetail {
    let answer = admin.api("GET", &format!("/api/v1/users/{id}"), "").await;
    let user: UserDetail = answer.json();
    assert_eq!(answer.header("etag"), Some(format!("\"{}\"", user.version).as_str()));
    user
}

/// Changes a user as he is now.
async fn patch(admin: &Admin, id: &str, mut body: Value) -> Answer {
    body["version"] = detail(admin, id).await.version.into();
    admin.api("PATCH", &format!("/api/v1/users/{id}"), &body.to_string()).await
}

fn refused(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let problem: Problem = answer.json();
    assert_eq!(problem.status, answer.status);
    (answer.status, problem.detail)
}

#[tokio::test]
async fn each_change_does_what_it_says_and_tells_what_follows() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let alias = |value: &str| json!({ "change": "add_alias", "kind": "email", "value": value });
    for (body, standing, names, credential, notes) in [
        (json!({ "change": "disable" }), "disabled", 3, "argon2id", &["Tokens that he has"][..]),
        (json!({ "change": "disable" }), "disabled", 3, "argon2id", &["It was so before"]),
        (json!({ "change": "enable" }), "active", 3, "argon2id", &[]),
        (alias("Lovelace@example.com"), "active", 4, "argon2id", &[]),
        (
            json!({ "change": "remove_alias", "kind": "username", "value": "COUNTESS" }),
            "active",
            3,
            "argon2id",
            &["stays reserved"],
        ),
        (
            json!({ "change": "remove_alias", "kind": "username", "value": "Countess", "free": true }),
            "active",
            3,
            "argon2id",
            &["is free"],
        ),
        (json!({ "change": "reset_password" }), "active", 3, "none_reset", &["legacy is asked"]),
        (json!({ "change": "reset_password" }), "active", 3, "none_reset", &["It was so before"]),
        (json!({ "change": "delete" }), "deleted", 3, "none_reset", &["Tokens that he has"]),
        (json!({ "change": "undelete" }), "active", 3, "none_reset", &["legacy is asked"]),
    ] {
        let answer = patch(&admin, "1", body.clone()).await;
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        let changed: UserChanged = answer.json();
        let raw: Value = answer.json();
        assert_eq!(raw["user"]["standing"], standing, "{body}");
        assert_eq!(changed.user.summary.identifiers.len(), names, "{body}");
        assert_eq!(raw["user"]["credential"], credential, "{body}");
        assert_eq!(changed.notes.len(), notes.len(), "{body}: {:?}", changed.notes);
        for (note, part) in changed.notes.iter().zip(notes) {
            assert!(note.contains(part), "{body}: {note}");
        }
        assert_eq!(detail(&admin, "1").await, changed.user, "{body}");
    }
}

#[tokio::test]
async fn where_legacy_answers_it_is_told_that_closing_a_user_here_keeps_nobody_out() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    for (mode, expected) in [("observe", true), ("passthrough", true), ("migrate", false)] {
        let set = admin.api("PUT", "/api/v1/mode", &json!({ "mode": mode }).to_string()).await;
        assert_eq!(set.status, 200, "{set:?}");
        for change in ["disable", "disable", "delete", "undelete"] {
            let changed: UserChanged = patch(&admin, "1", json!({ "change": change })).await.json();
            let told = changed.notes.iter().any(|note| note.contains("it is legacy that answers him"));
            assert_eq!(told, expected && change != "undelete", "{mode} {change}: {:?}", changed.notes);
        }
    }
}

#[tokio::test]
async fn a_deleted_user_without_a_name_comes_back_and_it_is_told_that_nobody_can_find_him() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let free = json!({ "change": "remove_alias", "kind": "email", "value": "gone@example.com", "free": true });
    assert_eq!(patch(&admin, "5", free).await.status, 200);
    let changed: UserChanged = patch(&admin, "5", json!({ "change": "undelete" })).await.json();
    assert!(changed.notes.iter().any(|note| note.contains("He has no name")), "{:?}", changed.notes);
}

#[tokio::test]
async fn r86_a_change_names_the_version_that_was_seen() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let seen = detail(&admin, "1").await.version;
    let bearer = format!("Bearer {TOKEN}");
    let change = async |if_match: Option<String>, body: Value| {
        let mut headers = vec![("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        headers.extend(if_match.as_deref().map(|value| ("If-Match", value)));
        send(admin.addr, "PATCH", "/api/v1/users/1", &headers, &body.to_string()).await
    };
    let quoted = |version: u64| Some(format!("\"{version}\""));
    assert_eq!(refused(&change(None, json!({ "change": "disable" })).await).0, 428);
    for (if_match, body, status) in [
        (quoted(seen + 1), json!({ "change": "disable" }), 412),
        (None, json!({ "change": "disable", "version": seen + 1 }), 412),
        (quoted(seen), json!({ "change": "disable", "version": seen + 1 }), 400),
        (Some("*".to_owned()), json!({ "change": "disable" }), 400),
    ] {
        assert_eq!(refused(&change(if_match.clone(), body.clone()).await).0, status, "{if_match:?} {body}");
    }
    assert_eq!(detail(&admin, "1").await.summary.standing, Standing::Active, "none of them did anything");
    let done = change(quoted(seen), json!({ "change": "disable" })).await;
    let now: UserChanged = done.json();
    assert_eq!((done.status, done.header("etag")), (200, quoted(now.user.version).as_deref()));
    assert_eq!(refused(&change(quoted(seen), json!({ "change": "delete" })).await).0, 412, "it has changed since");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_what_to_do() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let registered = crate::store_people::registering(&[email("grace.h@example.com")], "one");
    let grace = crate::store_people::register(&*admin.store, registered).await.id.to_string();
    let alias = |kind: &str, value: &str| json!({ "change": "add_alias", "kind": kind, "value": value });
    let remove = |kind: &str, value: &str| json!({ "change": "remove_alias", "kind": kind, "value": value });
    for (id, body, status, part) in [
        ("1", json!({ "change": "undelete" }), 409, "not deleted"),
        ("1", alias("email", "GRACE.H@example.com"), 409, grace.as_str()),
        ("1", alias("username", "grace.h@example.com"), 409, grace.as_str()),
        ("1", alias("username", "countess"), 409, "has this name already"),
        ("1", alias("email", " ada@example.com"), 422, "white space"),
        ("1", alias("phone", "no digits"), 422, "nothing remains"),
        ("1", alias("email", "gone@example.com"), 409, "belongs to the user"),
        ("1", remove("email", "grace@example.com"), 409, "does not have this name"),
        ("4", remove("email", "alan@example.com"), 409, "only name"),
        ("5", json!({ "change": "enable" }), 409, "undelete him first"),
        ("5", alias("email", "back@example.com"), 409, "undelete him first"),
        ("5", json!({ "change": "reset_password" }), 409, "undelete him first"),
        (&grace, json!({ "change": "reset_password" }), 409, "could not log in any more"),
        ("1", json!({ "change": "delete", "kind": "email", "value": "x@y.z" }), 422, "no use for"),
        ("1", json!({ "change": "add_alias" }), 422, "`kind`"),
        ("1", json!({ "change": "promote" }), 422, "unknown variant"),
    ] {
        let before = detail(&admin, id).await;
        let (refused, detail_said) = refused(&patch(&admin, id, body.clone()).await);
        assert_eq!(refused, status, "{body}: {detail_said}");
        assert!(detail_said.contains(part), "{body}: {detail_said}");
        assert_eq!(detail(&admin, id).await, before, "{body}");
    }
    let nobody = admin.api("PATCH", "/api/v1/users/4711", r#"{"change":"disable","version":1}"#).await;
    assert_eq!(refused(&nobody).0, 404);
    let meant = patch(&admin, &grace, json!({ "change": "reset_password", "anyway": true })).await;
    let changed: UserChanged = meant.json();
    assert!(changed.notes[0].contains("he cannot log in"), "{:?}", changed.notes);
    // In `retired` nobody can be asked for anybody's password.
    let word = r#"{"mode": "retired", "confirm": "retired"}"#;
    assert_eq!(admin.api("PUT", "/api/v1/mode", word).await.status, 200);
    assert_eq!(refused(&patch(&admin, "1", json!({ "change": "reset_password" })).await).0, 409);
    let anyway = patch(&admin, "1", json!({ "change": "reset_password", "anyway": true })).await;
    let changed: UserChanged = anyway.json();
    assert!(changed.notes[0].contains("he cannot log in"), "{:?}", changed.notes);
}

#[tokio::test]
async fn a_store_that_does_not_write_is_told_and_nothing_is_changed() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    admin.store.set_health(StoreHealth::ReadOnly);
    let answer = patch(&admin, "1", json!({ "change": "disable" })).await;
    assert_eq!(refused(&answer).0, 503);
    admin.store.set_health(StoreHealth::Ready);
    assert_eq!(detail(&admin, "1").await.summary.standing, Standing::Active);
}

/// A conflict over Ada's email address, with a legacy user who calls himself something else too.
async fn in_conflict(admin: &Admin, legacy_id: u64, other: &str) -> u64 {
    let names = [email("ada@example.com"), username(other)];
    let based_on = revision(&*admin.store).await;
    admin.store.save_proven(proven(legacy_id, &names, "two", based_on)).await.expect("a save");
    let list: ConflictList = admin.api("GET", "/api/v1/conflicts", "").await.json();
    list.conflicts[0].number
}

#[tokio::test]
async fn conflicts_are_shown_with_both_sides_and_resolved_by_choosing() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let count = async || {
        let status: Value = admin.api("GET", "/api/v1/status", "").await.json();
        status["users"]["conflicts"].as_u64().expect("a count")
    };
    let (first, second) = (in_conflict(&admin, 77, EVIL).await, in_conflict(&admin, 78, "other").await);
    assert_eq!(count().await, 2);
    let list: ConflictList = admin.api("GET", "/api/v1/conflicts?limit=1", "").await.json();
    assert_eq!((list.conflicts.len(), list.conflicts[0].number, list.next), (1, second, Some(second)));
    let rest: ConflictList = admin.api("GET", &format!("/api/v1/conflicts?before={second}"), "").await.json();
    let conflict = &rest.conflicts[0];
    assert_eq!((conflict.number, conflict.legacy_id.as_str(), rest.next), (first, "77", None));
    let held = conflict.holder.as_ref().expect("Ada").identifiers.iter().map(|alias| alias.value.as_str());
    assert_eq!(held.collect::<Vec<_>>(), ["Ada@Example.com", "Countess", "+44 20 7946 0001"]);
    let names: Vec<_> = conflict.names.iter().map(|name| (name.key.as_str(), name.contested)).collect();
    assert_eq!(names[0], ("e:ada@example.com", true));
    assert!(!names[1].1 && conflict.claimant.is_none());

    let choose = async |number: u64, body: Value| {
        admin.api("POST", &format!("/api/v1/conflicts/{number}"), &body.to_string()).await
    };
    for (number, body, status) in [
        (first, json!({ "choice": "give" }), 422),
        (first, json!({ "choice": "give", "names": ["ada@example.com"] }), 422),
        (first, json!({ "choice": "give", "names": ["e:grace@example.com"] }), 409),
        (first, json!({ "choice": "keep", "names": ["e:ada@example.com"] }), 422),
        (first, json!({ "choice": "toss" }), 422),
        (4711, json!({ "choice": "keep" }), 404),
    ] {
        assert_eq!(refused(&choose(number, body.clone()).await).0, status, "{body}");
    }
    assert_eq!((count().await, refused(&admin.api("GET", "/api/v1/conflicts/4711", "").await).0), (2, 404));

    let kept: ConflictView = choose(first, json!({ "choice": "keep" })).await.json();
    assert_eq!(kept.decided.map(|decided| decided.decision.as_str()), Some("kept by its holder"));
    assert_eq!(count().await, 1);
    let open: ConflictList = admin.api("GET", "/api/v1/conflicts", "").await.json();
    let all: ConflictList = admin.api("GET", "/api/v1/conflicts?decided=true", "").await.json();
    assert_eq!((open.conflicts.len(), all.conflicts.len()), (1, 2));

    let given: ConflictView = choose(second, json!({ "choice": "give", "names": ["e:ada@example.com"] })).await.json();
    assert!(given.names.iter().all(|name| !name.contested));
    assert_eq!(count().await, 0);
    assert_eq!(given.decided.map(|decided| decided.decision), Some(Decision::Given));
    let again = choose(second, json!({ "choice": "keep" })).await;
    assert_eq!(refused(&again).0, 409);
    assert_eq!(detail(&admin, "1").await.summary.identifiers.len(), 2);

    let third = in_conflict_over_the_countess(&admin).await;
    let disabled: ConflictView = choose(third, json!({ "choice": "disable_holder" })).await.json();
    assert_eq!(disabled.holder.map(|holder| holder.standing), Some(Standing::Disabled));
    assert_eq!(count().await, 0);
}

async fn in_conflict_over_the_countess(admin: &Admin) -> u64 {
    let based_on = revision(&*admin.store).await;
    let names = [username("countess"), phone("+1 555 0100")];
    admin.store.save_proven(proven(79, &names, "two", based_on)).await.expect("a save");
    let list: ConflictList = admin.api("GET", "/api/v1/conflicts", "").await.json();
    list.conflicts[0].number
}

#[tokio::test]
async fn explain_takes_what_a_user_would_type() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let told: ExplainView = admin.api("GET", "/api/v1/explain?identifier=%2B44%2020%207946%200001", "").await.json();
    assert_eq!(told.record.as_ref().map(|user| user.public_id.clone()), Some(json!(1)));
    assert_eq!(told.explanation.mode, Mode::Migrate);
    let right = told.explanation.logins.iter().find(|login| login.password == Given::Right).expect("a forecast");
    // The hash of this double is none that could be computed.
    assert_eq!(right.outcome, Ending::Ok);
    assert_eq!(admin.api("GET", "/api/v1/explain", "").await.status, 400, "what is to be explained?");
    for (from, status) in [("192.0.2.7", 200), ("2001:db8::7", 200), ("192.0.2.0/24", 400), ("nowhere", 400), ("", 400)]
    {
        let answer = admin.api("GET", &format!("/api/v1/explain?identifier=ada@example.com&from={from}"), "").await;
        assert_eq!(answer.status, status, "{from}: {answer:?}");
    }
    assert_eq!(admin.plain("GET", "/api/v1/explain?identifier=ada@example.com").await.status, 401);
}

// -------------------------------------------------------------------------------------------------------------- the console

#[tokio::test]
async fn the_consoles_forms_change_users_after_a_confirmation_and_lead_back_to_the_page() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let cookie = admin.sign_in().await;
    let submit = async |fields: &str| {
        let version = detail(&admin, "1").await.version;
        admin.form("/console/users/1", &cookie, &format!("version={version}&{fields}")).await
    };
    let done = submit("change=disable").await;
    let place = done.header("location").expect("a place").to_owned();
    assert_eq!(done.status, 303);
    assert_eq!(detail(&admin, "1").await.summary.standing, Standing::Disabled);
    let page = admin.page(&place, &cookie).await;
    assert!(page.body.contains("Done.") && page.body.contains("Tokens that he has are good"), "{}", page.body);
    assert!(page.body.contains("value=\"enable\"") && !page.body.contains("value=\"disable\""), "{}", page.body);

    for (fields, part) in [
        ("change=delete", "Type delete to confirm."),
        ("change=delete&confirm=yes", "Type delete to confirm."),
        ("change=reset_password&confirm=", "Type reset to confirm."),
        ("change=add_alias&kind=email&value=grace@example.com", "belongs to the user"),
        ("change=undelete", "He is not deleted."),
    ] {
        let answer = submit(fields).await;
        assert_eq!(answer.status, 409, "{fields}: {answer:?}");
        assert!(
            answer.body.contains("Nothing was changed.") && answer.body.contains(part),
            "{fields}: {}",
            answer.body
        );
    }
    let stale = admin.form("/console/users/1", &cookie, "version=1&change=enable").await;
    assert!(stale.status == 409 && stale.body.contains("has changed meanwhile"), "{}", stale.body);
    assert_eq!(detail(&admin, "1").await.summary.standing, Standing::Disabled);
    assert_eq!(submit("change=enable").await.status, 303);
    assert_eq!(submit("change=add_alias&kind=username&value=Ada").await.status, 303);
    assert_eq!(submit("change=remove_alias&kind=username&value=Ada&free=on").await.status, 303);
    assert_eq!(submit("change=reset_password&confirm=reset").await.status, 303);
    assert_eq!(submit("change=delete&confirm=delete").await.status, 303);
    let gone = detail(&admin, "1").await;
    assert_eq!((gone.summary.standing, gone.summary.identifiers.len()), (Standing::Deleted, 3));
    assert_eq!(submit("change=undelete").await.status, 303);

    let nobody = admin.form("/console/users/4711", &cookie, "version=1&change=enable").await;
    assert_eq!(nobody.status, 404);
    let word = admin.page("/console/users/1?done=%3Ci%3E,done,legacy_is_asked", &cookie).await;
    assert!(word.body.contains("Done.") && !word.body.contains("<i>") && !word.body.contains("&lt;i&gt;"));
}

#[tokio::test]
async fn the_consoles_conflicts_are_resolved_by_its_forms() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let cookie = admin.sign_in().await;
    assert!(admin.page("/console/conflicts", &cookie).await.body.contains("No conflict waits"));
    let (first, second) = (in_conflict(&admin, 77, "one").await, in_conflict(&admin, 78, "two").await);
    let page = admin.page("/console/conflicts", &cookie).await.body;
    for part in ["Ada@Example.com", "Legacy says it is the name of its user 77", "value=\"e:ada@example.com\""] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let choose =
        async |number: u64, fields: &str| admin.form(&format!("/console/conflicts/{number}"), &cookie, fields).await;
    for fields in ["", "choice=toss", "choice=give", "choice=give&names=e:grace@example.com"] {
        let answer = choose(first, fields).await;
        assert!(answer.status == 409 && answer.body.contains("Nothing was changed."), "{fields}: {answer:?}");
    }
    assert_eq!(choose(4711, "choice=keep").await.status, 404);
    assert_eq!(choose(first, "choice=keep").await.status, 303);
    let decided = admin.page("/console/conflicts?decided=true", &cookie).await.body;
    assert!(decided.contains("kept by its holder"), "{decided}");
    let give = choose(second, "choice=give&names=e%3Aada%40example.com").await;
    assert_eq!((give.status, give.header("location")), (303, Some("/console/conflicts")));
    assert!(admin.page("/console/conflicts", &cookie).await.body.contains("No conflict waits"));
    let decided = admin.page("/console/conflicts?decided=true", &cookie).await.body;
    assert!(decided.contains("given to legacy") && decided.contains("It was taken from"), "{decided}");
    assert!(!decided.contains("kept by its holder"), "with the name the other one is over too: {decided}");
    assert!(!decided.contains("value=\"keep\""), "there is nothing left to choose: {decided}");
}

#[tokio::test]
async fn r109_no_foreign_page_and_no_get_changes_users_or_conflicts() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let cookie = admin.sign_in().await;
    let number = in_conflict(&admin, 77, "one").await;
    let before = detail(&admin, "1").await;
    let own = format!("http://{}", admin.addr);
    let foreign: [&[(&str, &str)]; 5] = [
        &[],
        &[("Origin", "null")],
        &[("Origin", "https://evil.example")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Origin", &own), ("Sec-Fetch-Site", "same-site")],
    ];
    let change = format!("version={}&change=disable", before.version);
    for (target, body) in [
        ("/console/users/1".to_owned(), change.clone()),
        (format!("/console/conflicts/{number}"), "choice=keep".to_owned()),
    ] {
        for headers in foreign {
            let answer = admin.form_from(headers, &target, &cookie, &body).await;
            assert_eq!(answer.status, 403, "{target} {headers:?}");
        }
        let without_session = admin.form(&target, "", &body).await;
        assert_eq!(without_session.header("location"), Some("/console/sign-in"), "{target}");
        let by_get = admin.page(&format!("{target}?{body}"), &cookie).await;
        assert!(matches!(by_get.status, 200 | 405), "{target}: {by_get:?}");
    }
    let bearer = format!("Bearer {TOKEN}");
    let headers =
        [("Authorization", bearer.as_str()), ("Origin", "https://evil.example"), ("Content-Type", "application/json")];
    let body = json!({ "change": "disable", "version": before.version }).to_string();
    assert_eq!(send(admin.addr, "PATCH", "/api/v1/users/1", &headers, &body).await.status, 403);
    let by_cookie = [("Cookie", cookie.as_str()), ("Content-Type", "application/json")];
    assert_eq!(send(admin.addr, "PATCH", "/api/v1/users/1", &by_cookie, &body).await.status, 401);
    assert_eq!(detail(&admin, "1").await, before);
    let list: ConflictList = admin.api("GET", "/api/v1/conflicts", "").await.json();
    assert_eq!(list.conflicts.len(), 1);
}

#[tokio::test]
async fn r111_a_hostile_name_is_inert_on_every_page_of_people() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let cookie = admin.sign_in().await;
    in_conflict(&admin, 77, EVIL).await;
    let evil: String = form_urlencoded::byte_serialize(EVIL.as_bytes()).collect();
    let mut pages = vec![
        admin.page("/console/users/3", &cookie).await,
        admin.page("/console/conflicts", &cookie).await,
        admin.page(&format!("/console/explain?identifier={evil}"), &cookie).await,
    ];
    let version = detail(&admin, "3").await.version;
    let fields = format!("version={version}&change=remove_alias&kind=username&value={evil}");
    pages.push(admin.form("/console/users/3", &cookie, &fields).await);
    let fields = format!("version={version}&change=add_alias&kind=email&value={evil}");
    let added = admin.form("/console/users/3", &cookie, &fields).await;
    assert_eq!(added.status, 303, "it is a name like any other: {added:?}");
    pages.push(admin.page("/console/users/3", &cookie).await);
    for page in pages {
        let html = page.body.to_lowercase();
        assert!(html.contains("&lt;script&gt;alert"), "{html}");
        assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("23331"), "{html}");
        assert!(page.header("content-security-policy").is_some_and(|csp| csp.contains("default-src 'none'")));
    }
}

#[tokio::test]
async fn the_console_explains_a_login() {
    let admin = Admin::start(Some(TOKEN)).await;
    admin.fill();
    let cookie = admin.sign_in().await;
    assert!(admin.page("/console/explain", &cookie).await.body.contains("no password is needed"));
    let page = admin.page("/console/explain?identifier=ADA@example.com", &cookie).await.body;
    // The hash of this double is none that could be computed.
    for part in ["ada@example.com", "The hash cannot be used", "Legacy says yes", "503", "No proxy is running"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("canary"), "{page}");
    let from = async |from: &str| admin.page(&format!("/console/explain?identifier=ada&from={from}"), &cookie).await;
    assert_eq!((from("").await.status, from("192.0.2.7").await.status), (200, 200));
    let nowhere = from("%3Cb%3Enowhere").await;
    assert!(nowhere.status == 400 && nowhere.body.contains("“&lt;b&gt;nowhere” is no IP address"), "{nowhere:?}");
}

// ---------------------------------------------------------------------------------------- what logins and tokens make of it

/// With a token that can be asked about and renewed.
const SESSIONS: &str = r#"
    [token]
    key = { value = "only-for-the-tests-change-me-32-bytes!" }
    claims = { sub = "{{ user.id }}", token_type = "access" }
    [tokens.refresh]
    ttl = "7d"
    claims = { sub = "{{ user.id }}", token_type = "refresh" }
    [[route]]
    name = "login"
    action = "login"
    match = { method = "POST", path = "/login" }
    request = { login = "/email", password = "/password" }
    legacy = "call"
    reply.ok = { status = 200, json = '{"access": {{ token | tojson }}, "refresh": {{ tokens.refresh | tojson }}}' }
    reply.denied = { status = 401, json = '"no"' }
    [[route]]
    name = "me"
    action = "get_user"
    match = { method = "GET", path = "/me" }
    reply.ok = { status = 200, json = '{{ user.profile | tojson }}' }
    reply.denied = { status = 401, json = '"who?"' }
    [[route]]
    name = "refresh"
    action = "refresh"
    match = { method = "POST", path = "/refresh" }
    request = { token = "/refresh" }
    reply.ok = { status = 200, json = '{"access": {{ token | tojson }}}' }
    reply.denied = { status = 401, json = '"no such token"' }
"#;

/// Somebody with the admin token at a running proxy.
struct Desk<'a>(&'a Running);

impl Desk<'_> {
    async fn send(&self, method: &str, target: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {ADMIN_TOKEN}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        send(self.0.admin, method, target, &headers, body).await
    }

    async fn user(&self, id: &str) -> UserDetail {
        self.send("GET", &format!("/api/v1/users/{id}"), "").await.json()
    }

    async fn change(&self, id: &str, mut body: Value) -> UserChanged {
        body["version"] = self.user(id).await.version.into();
        let answer = self.send("PATCH", &format!("/api/v1/users/{id}"), &body.to_string()).await;
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        answer.json()
    }
}

#[tokio::test]
async fn a_user_who_is_disabled_or_deleted_loses_his_tokens_where_we_are_asked_about_them() {
    let double = LegacyDouble::well_behaved();
    let proxy = start(&in_mode("migrate", &double, &[CALL_LOGIN, SESSIONS])).await;
    let desk = Desk(&proxy);
    let tokens: Value = proxy.login(ANN, RIGHT).await.json();
    let bearer = format!("Bearer {}", tokens["access"].as_str().expect("a token"));
    let refresh = json!({ "refresh": tokens["refresh"] });
    let statuses = async || {
        let me = send(proxy.public, "GET", "/me", &[("Authorization", &bearer)], "").await.status;
        (me, proxy.post_json("/refresh", &refresh).await.status, proxy.login(ANN, RIGHT).await.status)
    };
    assert_eq!(statuses().await, (200, 200, 200));
    desk.change("7", json!({ "change": "disable" })).await;
    assert_eq!(statuses().await, (401, 401, 401));
    desk.change("7", json!({ "change": "enable" })).await;
    assert_eq!(statuses().await, (200, 200, 200));
    desk.change("7", json!({ "change": "delete" })).await;
    assert_eq!(statuses().await, (401, 401, 401));
    assert_eq!(double.calls(), 1, "legacy was asked at the first login alone");

    // He comes back without a password, and legacy proves him.
    desk.change("7", json!({ "change": "undelete" })).await;
    double.behave(Some(Misbehaviour::HangsUp));
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 503, "nobody can know");
    double.behave(None);
    assert_eq!(statuses().await.2, 200);
    double.behave(Some(Misbehaviour::HangsUp));
    assert_eq!(statuses().await, (200, 200, 200), "he is as he was");
}

#[tokio::test]
async fn a_forced_reset_makes_legacys_password_the_one_that_counts_and_ends_refreshing_when_nobody_can_be_asked() {
    let double = LegacyDouble::well_behaved();
    let proxy = start(&in_mode("migrate", &double, &[CALL_LOGIN, SESSIONS])).await;
    let desk = Desk(&proxy);
    let tokens: Value = proxy.login(ANN, RIGHT).await.json();
    let refresh = json!({ "refresh": tokens["refresh"] });
    double.put_user(DoubleUser { password: NEWER.to_owned(), ..ann() });
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200, "ours, whatever has changed there");
    let changed = desk.change("7", json!({ "change": "reset_password" })).await;
    assert!(changed.notes[0].contains("legacy is asked"), "{:?}", changed.notes);
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 401, "the stolen one is worth nothing any more");
    assert_eq!(proxy.login(ANN, NEWER).await.status, 200);
    proxy.set_mode("retired").await;
    assert_eq!(proxy.post_json("/refresh", &refresh).await.status, 200);
    desk.change("7", json!({ "change": "reset_password", "anyway": true })).await;
    assert_eq!(proxy.post_json("/refresh", &refresh).await.status, 401);
}

#[tokio::test]
async fn who_is_disabled_or_deleted_gets_in_by_no_name_that_legacy_alone_knows() {
    const RENAMED: &str = "ann.renamed@example.com";
    for change in ["disable", "delete"] {
        let double = LegacyDouble::well_behaved();
        let tables = [CALL_LOGIN, GET_USER, SESSIONS, &api_login(BY_CLAIMS)];
        let proxy = start(&in_mode("migrate", &double, &tables)).await;
        let desk = Desk(&proxy);
        assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
        let bea = DoubleUser {
            id: 8,
            email: "bea@example.com".into(),
            username: "bea".into(),
            phone: String::new(),
            ..ann()
        };
        double.put_user(bea);
        assert_eq!(proxy.login("bea@example.com", RIGHT).await.status, 200);
        desk.change("7", json!({ "change": change })).await;
        double.put_user(DoubleUser { email: RENAMED.to_owned(), password: NEWER.to_owned(), ..ann() });
        let denied = async || {
            let composed = proxy.login(RENAMED, NEWER).await;
            assert_eq!((composed.status, &*composed.body), (401, "\"no\""), "{change}");
            let forwarded = proxy.post_json("/api/login", &json!({ "email": RENAMED, "password": NEWER })).await;
            assert_eq!((forwarded.status, &*forwarded.body), (400, "\"Wrong, we say\""), "{change}: {forwarded:?}");
        };
        denied().await;
        // Nor where the name is another user's here, so that a save would come to a conflict first.
        desk.change("8", json!({ "change": "add_alias", "kind": "email", "value": RENAMED })).await;
        denied().await;
        let conflicts: ConflictList = desk.send("GET", "/api/v1/conflicts", "").await.json();
        assert!(conflicts.conflicts.is_empty(), "nobody is asked to choose between him and a closed user");
        assert_eq!(desk.user("7").await.summary.identifiers.len(), 3, "nothing is learnt of him");
        // Where legacy answers, it answers.
        proxy.set_mode("observe").await;
        let body = json!({ "email": RENAMED, "password": NEWER });
        assert_eq!(proxy.post_json("/api/login", &body).await.status, 200, "{change}");
        assert_eq!(proxy.login(RENAMED, NEWER).await.status, 200, "{change}");
        assert_ne!(desk.user("7").await.summary.standing, Standing::Active);
    }
}

#[tokio::test]
async fn who_is_disabled_is_denied_also_when_nothing_can_be_saved() {
    let (double, store) = (LegacyDouble::well_behaved(), Arc::new(MemoryStore::default()));
    let mut closed = user(7, vec![username("ann7")], Credential::Absent(AbsentBecause::Roster), json!({}));
    closed.standing = Standing::Disabled;
    store.put(closed);
    let rig = rig(&double, None, Kept::In(&store)).await;
    store.set_health(StoreHealth::ReadOnly);
    assert_eq!(word(&rig.login(ANN, RIGHT).await), "denied");
    assert_eq!(rig.metric("authferry_migration_failures_total", "closed"), 1.0);
}

#[tokio::test]
async fn a_conflict_that_is_decided_rings_no_alarm_when_it_comes_up_again() {
    let (double, store) = (LegacyDouble::well_behaved(), Arc::new(MemoryStore::default()));
    store.put(user(4711, vec![email(ANN)], Credential::Absent(AbsentBecause::Roster), json!({})));
    let rig = rig(&double, None, Kept::In(&store)).await;
    let rung = || {
        let failed = |reason| rig.metric("authferry_migration_failures_total", &format!("\"{reason}\""));
        (rig.metric("authferry_alarms_total", "\"conflict\""), failed("conflict"), failed("conflict_decided"))
    };
    assert_eq!(word(&rig.login(ANN, RIGHT).await), "ok");
    assert_eq!(rung(), (1.0, 1.0, 0.0));
    store.resolve(1, Resolution::Keep).await.expect("a choice");
    assert_eq!(word(&rig.login(ANN, RIGHT).await), "ok", "as legacy says");
    assert_eq!(rung(), (1.0, 1.0, 1.0), "nobody has to look again");
}

#[tokio::test]
async fn legacy_is_not_asked_to_create_a_user_under_a_name_that_is_reserved_here() {
    let double = LegacyDouble::well_behaved();
    let tables = [CALL_LOGIN, GET_USER, CALL_REGISTER, SESSIONS, &register("legacy_first")];
    let proxy = start(&in_mode("migrate", &double, &tables)).await;
    let desk = Desk(&proxy);
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    desk.change("7", json!({ "change": "add_alias", "kind": "email", "value": "old@example.com" })).await;
    desk.change("7", json!({ "change": "remove_alias", "kind": "email", "value": "old@example.com" })).await;
    let calls = double.calls();
    let taken = proxy.post_json("/register", &json!({ "email": "old@example.com", "password": RIGHT })).await;
    assert_eq!((taken.status, double.calls()), (409, calls), "{taken:?}");
}

#[tokio::test]
async fn a_name_in_conflict_that_is_given_comes_over_at_the_next_login() {
    let double = LegacyDouble::well_behaved();
    let proxy = start(&in_mode("migrate", &double, &[CALL_LOGIN, GET_USER, SESSIONS, &register("local")])).await;
    let desk = Desk(&proxy);
    // Two users at legacy share an address, one after the other.
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    double.remove_user(7);
    let bea = DoubleUser { id: 8, username: "bea".into(), phone: String::new(), password: NEWER.into(), ..ann() };
    double.put_user(bea);
    for times in 1..=2 {
        assert_eq!(proxy.login(ANN, NEWER).await.status, 200, "legacy says yes");
        let list: ConflictList = desk.send("GET", "/api/v1/conflicts", "").await.json();
        assert_eq!((list.conflicts.len(), list.conflicts[0].times), (1, times), "nothing of it is kept");
    }
    let told: ExplainView = desk.send("GET", &format!("/api/v1/explain?identifier={ANN}"), "").await.json();
    assert!(told.explanation.facts.iter().any(|fact| fact.about == "conflict" && fact.says.contains("\"8\"")));
    let list: ConflictList = desk.send("GET", "/api/v1/conflicts", "").await.json();
    let target = format!("/api/v1/conflicts/{}", list.conflicts[0].number);
    let give = r#"{"choice":"give","names":["e:ann@example.com"]}"#;
    assert_eq!(desk.send("POST", &target, give).await.status, 200);
    assert_eq!(proxy.login(ANN, NEWER).await.status, 200);
    double.behave(Some(Misbehaviour::HangsUp));
    assert_eq!(proxy.login(ANN, NEWER).await.status, 200, "he is here");
    assert_eq!(proxy.login("Ann", RIGHT).await.status, 200, "and so is she, by her other name");
    assert_eq!(desk.user("8").await.summary.identifiers.len(), 2);
}

#[tokio::test]
async fn a_name_that_an_operator_adds_logs_in_and_one_that_he_takes_does_not() {
    let double = LegacyDouble::well_behaved();
    let proxy = start(&in_mode("migrate", &double, &[CALL_LOGIN, GET_USER, SESSIONS, &register("local")])).await;
    let desk = Desk(&proxy);
    assert_eq!(proxy.login(ANN, RIGHT).await.status, 200);
    desk.change("7", json!({ "change": "add_alias", "kind": "email", "value": "Ann.Smith@example.com" })).await;
    double.behave(Some(Misbehaviour::HangsUp));
    assert_eq!(proxy.login("ann.smith@EXAMPLE.com", RIGHT).await.status, 200);
    desk.change("7", json!({ "change": "remove_alias", "kind": "email", "value": "ann.smith@example.com" })).await;
    assert_eq!(proxy.login("ann.smith@example.com", RIGHT).await.status, 503, "whose it may be, legacy would know");
    double.behave(None);
    let taken = json!({ "email": "ann.smith@example.com", "password": "correct horse battery" });
    assert_eq!(proxy.post_json("/register", &taken).await.status, 409, "it is reserved");
    let free = json!({ "change": "remove_alias", "kind": "email", "value": "ann.smith@example.com", "free": true });
    desk.change("7", free).await;
    assert_ne!(proxy.post_json("/register", &taken).await.status, 409);
}

// --------------------------------------------------------------------------------------------------------- the command line

struct Peopled {
    folder: TempDir,
    process: Option<Process>,
    _double: LegacyDouble,
}

impl Peopled {
    /// A proxy with two users: one who came over, and one who registered here.
    async fn start() -> Self {
        let double = LegacyDouble::well_behaved();
        let folder = TempDir::new().expect("a folder");
        let any = "127.0.0.1:0";
        let own = format!(
            "[[listener]]\nbind = \"{any}\"\n[store]\npath = \"users.redb\"\n[admin]\nbind = \"{any}\"\n\
             token = {{ value = \"{ADMIN_TOKEN}\" }}\n"
        );
        let config = call_login(&double, "migrate", &own);
        let process = tokio::task::block_in_place(|| Process::start(folder.path(), &config));
        let json = [("Content-Type", "application/json")];
        let login = json!({ "email": ANN, "password": RIGHT }).to_string();
        assert_eq!(send(process.public(), "POST", "/login", &json, &login).await.status, 200);
        let new = r#"{"email":"new@example.com","password":"correct horse battery"}"#;
        assert_eq!(send(process.public(), "POST", "/register", &json, new).await.status, 201);
        Self { folder, process: Some(process), _double: double }
    }

    /// Makes a conflict over Ann's address.
    async fn conflict(&self) {
        self._double.remove_user(7);
        let bea = DoubleUser { id: 8, username: "bea".into(), phone: String::new(), password: NEWER.into(), ..ann() };
        self._double.put_user(bea);
        let process = self.process.as_ref().expect("it runs");
        let login = json!({ "email": ANN, "password": NEWER }).to_string();
        let json = [("Content-Type", "application/json")];
        assert_eq!(send(process.public(), "POST", "/login", &json, &login).await.status, 200);
    }

    fn stop(&mut self) -> String {
        let process = self.process.take().expect("it runs");
        process.terminate();
        let (status, log) = tokio::task::block_in_place(|| process.wait());
        assert!(status.success(), "{log}");
        log
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = authferry(self.folder.path(), arguments);
        if let Some(process) = &self.process {
            command.env("AUTHFERRY__ADMIN__BIND", process.admin().to_string());
        }
        let finished = finish(command, "");
        let all = format!("{}{}", finished.stdout, finished.stderr);
        for secret in [ADMIN_TOKEN, "$argon2id$", RIGHT, NEWER] {
            assert!(!all.contains(secret), "{secret} is in {finished:?}");
        }
        finished
    }
}

#[track_caller]
fn assert_ends(finished: &Finished, code: i32, said: &[&str]) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    for part in said {
        assert!(finished.stdout.contains(part) || finished.stderr.contains(part), "`{part}` is not in {finished:?}");
    }
}

/// The same walk with a running proxy and without: the answers must not differ.
fn walk(peopled: &Peopled) {
    let run = |arguments: &[&str]| peopled.run(arguments);
    assert_ends(&run(&["users", "show", ANN]), 0, &["is a name of the user 7", "argon2id  (argon2", "last "]);
    assert_ends(&run(&["users", "disable", "7"]), 0, &["disabled: 7 (ann@example.com", "good until they expire"]);
    assert_ends(&run(&["users", "disable", ANN]), 0, &["It was so before"]);
    assert_ends(&run(&["users", "enable", "7", "--json"]), 0, &["\"standing\": \"active\""]);
    assert_ends(&run(&["users", "alias", "add", "7", "email", "Ann.Smith@example.com"]), 0, &["name added"]);
    assert_ends(&run(&["users", "alias", "add", "7", "email", "new@example.com"]), 1, &["belongs to the user"]);
    assert_ends(&run(&["users", "alias", "add", "7", "nickname", "x"]), 2, &["email, username, phone"]);
    let remove = ["users", "alias", "remove", "7", "email", "ann.smith@example.com"];
    assert_ends(&run(&remove), 2, &["--yes"]);
    assert_ends(&run(&[&remove[..], &["--yes"]].concat()), 0, &["name removed", "stays reserved"]);
    assert_ends(&run(&[&remove[..], &["--free", "--yes"]].concat()), 0, &["is free"]);
    assert_ends(&run(&[&remove[..], &["--free", "--yes"]].concat()), 1, &["does not have this name"]);
    assert_ends(&run(&["users", "reset-password", "new@example.com", "--yes"]), 1, &["could not log in any more"]);
    assert_ends(&run(&["users", "reset-password", "7"]), 2, &["--yes"]);
    assert_ends(&run(&["users", "reset-password", "7", "--yes"]), 0, &["password dropped", "legacy is asked"]);
    assert_ends(&run(&["users", "delete", "7"]), 2, &["--yes"]);
    assert_ends(&run(&["users", "delete", "7", "--yes"]), 0, &["deleted: 7"]);
    assert_ends(&run(&["users", "enable", "7"]), 1, &["undelete him first"]);
    assert_ends(&run(&["users", "undelete", "7"]), 0, &["undeleted: 7"]);
    assert_ends(&run(&["users", "disable", "4711"]), 1, &["there is no user `4711`"]);

    let explained = run(&["explain", "ANN@example.com"]);
    assert_ends(&explained, 0, &["email ann@example.com", "password right, legacy up: logged in, by legacy", "503"]);
    let json: Value = serde_json::from_str(&run(&["explain", ANN, "--json"]).stdout).expect("JSON");
    assert_eq!(json["logins"][0]["outcome"], "ok", "{json}");
    assert_ends(&run(&["explain", "nobody\u{202e}@example.com"]), 0, &["invisible"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_changed_by_the_command_line_over_a_running_proxy_and_that_is_audited() {
    let mut peopled = Peopled::start().await;
    walk(&peopled);
    let log = peopled.stop();
    let audited: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["message"] == "user changed")
        .collect();
    let told: Vec<String> = audited
        .iter()
        .map(|event| {
            format!("{} {}", event["change"].as_str().unwrap_or("?"), event["outcome"].as_str().unwrap_or("?"))
        })
        .collect();
    assert_eq!(
        told,
        [
            "disable done",
            "disable done",
            "enable done",
            "add_alias done",
            "add_alias name_taken",
            "remove_alias done",
            "remove_alias_and_free_it done",
            "remove_alias_and_free_it not_his",
            "reset_password would_lock_out",
            "reset_password done",
            "delete done",
            "enable is_deleted",
            "undelete done",
        ]
    );
    for event in &audited {
        assert_eq!((event["by"].as_str(), event["via"].as_str()), (Some("operator"), Some("api")), "{event}");
        assert_eq!(event["target"], "authferry::audit");
        assert!(event["user"].as_str().is_some_and(|id| id.len() == 36), "{event}");
    }
    assert!(!log.contains(RIGHT) && !log.contains("$argon2") && !log.contains(ADMIN_TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_changed_by_the_command_line_in_the_store_itself_and_that_is_audited() {
    let mut peopled = Peopled::start().await;
    peopled.stop();
    walk(&peopled);
    let changed = peopled.run(&["users", "disable", "7"]);
    assert_ends(&changed, 0, &["opened directly: no proxy is running", "\"change\":\"disable\"", "authferry::audit"]);
    let set = peopled.run(&["mode", "set", "observe"]);
    for done in [&changed, &set, &peopled.run(&["store", "backup"])] {
        let told = done.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let told: Vec<Value> = told.filter(|event| event["by"] == "operator").collect();
        assert!(matches!(told.as_slice(), [only] if only["via"] == "cli"), "{done:?}");
    }
    // A name that is kept from others is no damage to whoever checks the store.
    assert_ends(&peopled.run(&["users", "alias", "remove", "7", "username", "ann", "--yes"]), 0, &["stays reserved"]);
    assert_ends(&peopled.run(&["store", "check"]), 0, &["(1 reserved)"]);
    let asked = peopled.run(&["users", "show", "7"]);
    assert!(!asked.stderr.contains("authferry::audit"), "looking is no change: {asked:?}");
    assert_ends(&peopled.run(&["explain", "7x"]), 0, &["No proxy is running"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_are_resolved_by_the_command_line() {
    let mut peopled = Peopled::start().await;
    assert_ends(&peopled.run(&["conflicts", "list"]), 0, &["no conflict waits"]);
    peopled.conflict().await;
    let listed = peopled.run(&["conflicts", "list"]);
    assert_ends(&listed, 0, &["ann@example.com", "LEGACY SAYS", "not decided"]);
    assert_ends(&peopled.run(&["conflicts", "show", "1"]), 0, &["legacy says", "in conflict", "7: ann@example.com"]);
    assert_ends(&peopled.run(&["conflicts", "show", "2"]), 1, &["there is no conflict 2"]);
    assert_ends(&peopled.run(&["conflicts", "resolve", "1"]), 2, &["--keep"]);
    assert_ends(&peopled.run(&["conflicts", "resolve", "1", "--keep", "--give"]), 2, &["cannot be used with"]);
    assert_ends(&peopled.run(&["conflicts", "resolve", "1", "--give"]), 2, &["--yes"]);
    assert_ends(&peopled.run(&["conflicts", "resolve", "1", "--keep"]), 0, &["stays where it is"]);
    assert_ends(&peopled.run(&["conflicts", "list"]), 0, &["no conflict waits"]);
    assert_ends(&peopled.run(&["conflicts", "list", "--decided"]), 0, &["kept by its holder"]);
    let log = peopled.stop();
    assert!(log.contains("conflict resolved") && log.contains("\"choice\":\"keep\""), "{log}");

    // What was kept can be given later, without a proxy too.
    assert_ends(&peopled.run(&["store", "check"]), 0, &["0 conflicts"]);
    let given = peopled.run(&["conflicts", "resolve", "1", "--give", "--yes"]);
    assert_ends(&given, 0, &["the name is free", "brings it along at his next login", "\"choice\":\"give\""]);
    let listed = peopled.run(&["conflicts", "list", "--decided"]);
    assert_ends(&listed, 0, &["ann@example.com", "given to legacy's user"]);
    assert_ends(&peopled.run(&["conflicts", "show", "1"]), 0, &["it was taken from  7:"]);
    for choice in ["--keep", "--give"] {
        assert_ends(&peopled.run(&["conflicts", "resolve", "1", choice]), 1, &["conflict 1 is over"]);
    }
    let status: Value = serde_json::from_str(&peopled.run(&["status", "--json"]).stdout).expect("JSON");
    assert_eq!(status["users"]["conflicts"], 0, "{status}");
    assert_ends(&peopled.run(&["store", "check"]), 0, &["0 conflicts"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_given_to_a_deleted_user_is_told_to_be_free() {
    let mut peopled = Peopled::start().await;
    let login = async |email: &str| {
        let body = json!({ "email": email, "password": NEWER }).to_string();
        let process = peopled.process.as_ref().expect("it runs");
        send(process.public(), "POST", "/login", &[("Content-Type", "application/json")], &body).await.status
    };
    let bea = |email: &str| DoubleUser {
        id: 8,
        email: email.into(),
        username: "bea".into(),
        phone: String::new(),
        password: NEWER.into(),
        ..ann()
    };
    peopled._double.put_user(bea("bea@example.com"));
    assert_eq!(login("bea@example.com").await, 200);
    peopled._double.remove_user(7);
    peopled._double.put_user(bea(ANN));
    assert_eq!(login(ANN).await, 200, "in conflict");
    assert_ends(&peopled.run(&["conflicts", "show", "1"]), 0, &["legacy's is", "8: bea@example.com"]);
    assert_ends(&peopled.run(&["users", "delete", "8", "--yes"]), 0, &["deleted: 8"]);
    let given = peopled.run(&["conflicts", "resolve", "1", "--give", "--yes"]);
    assert_ends(&given, 0, &["the name is free", "legacy's user 8 is deleted here"]);
    peopled.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn r115_what_an_operator_does_to_the_whole_is_audited_too() {
    let mut peopled = Peopled::start().await;
    std::fs::write(peopled.folder.path().join("list.csv"), "id,email\n90,bob@x.y\n").expect("a list");
    std::fs::write(peopled.folder.path().join("none.csv"), "id,email\n7,ann@example.com\n").expect("a list");
    assert_ends(&peopled.run(&["roster", "import", "list.csv"]), 0, &["created"]);
    let forgets = ["roster", "import", "none.csv", "--complete", "--forget-missing"];
    assert_ends(&peopled.run(&forgets), 0, &["1 forgotten"]);
    assert_ends(&peopled.run(&["mode", "set", "observe"]), 0, &[]);
    let admin = peopled.process.as_ref().expect("it runs").admin();
    let origin = format!("http://{admin}");
    let form = [("Content-Type", "application/x-www-form-urlencoded"), ("Origin", origin.as_str())];
    let token = format!("token={ADMIN_TOKEN}");
    assert_eq!(send(admin, "POST", "/console/sign-in", &form, &token).await.status, 303);
    let log = peopled.stop();
    let events: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for (message, via) in [
        ("an operator imported users", "api"),
        ("an operator had listed users forgotten", "api"),
        ("an operator changed the migration mode", "api"),
        ("an operator signed in to the console", "console"),
    ] {
        let event = events.iter().find(|event| event["message"] == message);
        let event = event.unwrap_or_else(|| panic!("`{message}` is not in {log}"));
        assert_eq!(
            (event["target"].as_str(), event["by"].as_str(), event["via"].as_str()),
            (Some("authferry::audit"), Some("operator"), Some(via)),
            "{event}"
        );
    }
    assert!(!log.contains(ADMIN_TOKEN));
}

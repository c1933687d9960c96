//! The conformance suite of `LegacyBackend`, over real sockets: what every connector has to hold to, whatever the backend
//! behind it does (R78, R80 to R83), and what the HTTP connector's rules are judged by.

use std::sync::Arc;

use authferry::domain::clock::{Clock as _, SystemClock};
use authferry::domain::identifier::{IdentifierRules, RawIdentifier};
use authferry::domain::password_life::{Change, ChangeWord};
use authferry::domain::proof::{Naming, ToldBy};
use authferry::domain::registration::CreateWord;
use authferry::legacy::settings::{CallRules, UserRules, UserSource};
use authferry::legacy::{self, Clients, ConnectError, LegacySettings};
use authferry::net::Target;
use authferry::service::ports::{LoginWord, Outage};
use authferry::telemetry::Metrics;
use http::HeaderValue;
use serde_json::{Value, json};

use crate::support::connector::*;
use crate::support::legacy::{DoubleUser, LegacyDouble, Misbehaviour, ann};

// ----------------------------------------------------------------------------------------- a backend as it should be

#[tokio::test]
async fn a_composed_login_is_accepted_denied_or_challenged() {
    let double = LegacyDouble::well_behaved();
    double.put_user(DoubleUser { id: 9, email: "mfa@example.com".into(), username: "mfa".into(), mfa: true, ..ann() });
    let legacy = connect(patient(settings(&double)));
    assert!(legacy.can_call_login() && legacy.can_get_user());

    let accepted = legacy.login(anns().called()).await;
    assert_eq!(short(&accepted), "accepted 7");
    let LoginWord::Accepted(proof) = &accepted.word else { unreachable!("just compared") };
    let identity = proof.identity();
    assert_eq!(identity.id.to_json(), json!(7));
    assert_eq!(identity.naming(&IdentifierRules::default().candidates(&anns().login)), Naming::Named);
    let names: Vec<_> = identity.identifiers.iter().map(|alias| (alias.normalized.as_key(), alias.verified)).collect();
    assert_eq!(names, [("e:ann@example.com", Some(true)), ("u:ann", None), ("p:491511234567", None)]);
    assert_eq!(identity.profile["theme"], "dark", "the whole profile");

    assert_eq!(short(&legacy.login(typed("ann@example.com", "wrong").called()).await), "denied");
    assert_eq!(short(&legacy.login(typed("nobody@example.com", "wrong").called()).await), "denied");
    let challenge = legacy.login(typed("mfa@example.com", &ann().password).called()).await;
    assert_eq!(short(&challenge), "challenge");
    assert!(body(&challenge.relay).contains("mfa_required"), "a challenge has to be handed on");

    let first = &double.requests()[0];
    assert_eq!((first.method.as_str(), first.target.as_str()), ("POST", "/internal/login"));
    assert_eq!(first.header("host"), Some(double.address().to_string().as_str()));
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.header("accept-encoding"), Some("identity"));
    assert_eq!(
        serde_json::from_slice::<Value>(&first.body).expect("JSON"),
        json!({ "email": "ann@example.com", "password": ann().password })
    );
}

#[tokio::test]
async fn r42_get_user_is_asked_for_exactly_the_name() {
    let double = LegacyDouble::well_behaved();
    let odd = "a/b?c=d&e#f +é";
    double.put_user(DoubleUser { id: 8, email: "odd@example.com".into(), username: odd.into(), ..ann() });
    let legacy = connect(patient(settings(&double)));
    for (name, expected) in [
        ("ann@example.com", "found 7"),
        (odd, "found 8"),
        ("nobody", "not found"),
        ("ann@example.co", "not found"),
        ("..", "unknown template"),
    ] {
        let name = RawIdentifier::new(name).expect("an identifier");
        assert_eq!(short_user(&legacy.get_user(&name).await), expected, "{name:?}");
    }
    let targets: Vec<_> = double.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets[1], "/internal/users/a%2Fb%3Fc%3Dd%26e%23f%20%2B%C3%A9");
    assert_eq!(targets.len(), 4, "a name that would be another path is not asked");

    double.remove_user(7);
    assert_eq!(short_user(&legacy.get_user(&anns().login).await), "not found");
}

#[tokio::test]
async fn a_forwarded_form_comes_back_whole_and_its_user_from_get_user() {
    let double = LegacyDouble::well_behaved();
    double.put_user(DoubleUser { id: 9, email: "mfa@example.com".into(), username: "mfa".into(), mfa: true, ..ann() });
    let legacy = connect(patient(settings(&double)));

    let yes = legacy.login(anns().in_a_form("/users/sign_in?from=%2F").forwarded(WEB)).await;
    assert_eq!(short(&yes), "accepted 7");
    let relay = yes.relay.expect("the app's own answer");
    assert_eq!(relay.status(), 303);
    assert_eq!(relay.headers().get("location").map(HeaderValue::as_bytes), Some(&b"/"[..]));
    let cookies: Vec<_> = relay.headers().get_all("set-cookie").iter().map(HeaderValue::as_bytes).collect();
    assert_eq!(cookies.len(), 3, "r126");
    assert_eq!(cookies[..2], [&b"session=old; Path=/old"[..], b"session=s-1; Path=/"], "r126");

    let requests = double.requests();
    assert_eq!(requests.len(), 2, "the form, then who it was");
    assert_eq!(requests[0].target, "/users/sign_in?from=%2F");
    assert_eq!(requests[0].header("host"), Some("app.example"), "as the proxy would send it on");
    assert_eq!(requests[0].header("cookie"), Some("csrf=c-1"));
    assert_eq!(requests[0].header("accept-encoding"), Some("identity"), "what is judged may not be compressed");
    assert_eq!(requests[1].target, "/internal/users/ann%40example.com");

    let no = legacy.login(typed("ann@example.com", "wrong").in_a_form("/users/sign_in").forwarded(WEB)).await;
    assert_eq!(short(&no), "denied", "a blank cookie is no proof");
    assert!(body(&no.relay).contains("Wrong name or password"));
    let more = legacy.login(typed("mfa@example.com", &ann().password).in_a_form("/users/sign_in").forwarded(WEB)).await;
    assert_eq!(short(&more), "challenge");
    assert_eq!(more.relay.map(|relay| relay.status().as_u16()), Some(303), "a challenge has to be handed on");
}

#[tokio::test]
async fn the_claims_of_the_answers_own_token_name_the_user() {
    let double = LegacyDouble::well_behaved();
    let legacy = connect(patient(settings(&double)));
    let yes = legacy.login(anns().in_json("/api/login").forwarded(API)).await;
    assert_eq!(short(&yes), "accepted 7");
    let LoginWord::Accepted(proof) = &yes.word else { unreachable!("just compared") };
    assert_eq!(proof.identity().id.to_json(), json!("7"), "as the claim has it");
    assert_eq!(proof.identity().profile, json!({ "sub": "7", "email": "ann@example.com" }));
    assert_eq!(double.calls(), 1);
    let no = legacy.login(typed("ann@example.com", "wrong").in_json("/api/login").forwarded(API)).await;
    assert_eq!((short(&no).as_str(), body(&no.relay).as_str()), ("denied", "\"Incorrect password\""));
}

#[tokio::test]
async fn get_user_may_be_a_whoami_with_the_fresh_token() {
    let double = LegacyDouble::well_behaved();
    let legacy = connect(patient(whoami(settings(&double))));
    assert!(!legacy.can_get_user(), "it cannot be asked for a name alone");
    let yes = legacy.login(anns().in_json("/api/login").forwarded(WHOAMI)).await;
    assert_eq!(short(&yes), "accepted 7");
    assert!(double.requests()[1].header("authorization").is_some_and(|value| value.starts_with("Bearer ey")));
    let alone = legacy.get_user(&anns().login).await;
    assert_eq!(short_user(&alone), "unknown template");
    assert_eq!(double.calls(), 2, "a request without a token is not sent");
}

#[tokio::test]
async fn a_registration_and_a_change_are_judged_alike() {
    let double = LegacyDouble::well_behaved();
    let legacy = connect(patient(settings(&double)));
    let created = legacy.register(typed("new@example.com", "a new password").called()).await;
    assert_eq!(created.word, CreateWord::Created);
    assert_eq!(created.identity.expect("the answer tells").id.to_json(), json!(8));
    let taken = legacy.register(typed("new@example.com", "another").called()).await;
    assert_eq!((taken.word, taken.identity.is_none()), (CreateWord::Refused, true));

    let change = json!({ "email": "ann@example.com", "current": ann().password, "new": "next" }).to_string();
    let asked = anns().sent_to("/users/password", &change);
    let done = legacy.change(Change::ChangePassword, asked.forwarded(PASSWORD)).await;
    assert_eq!(done.word, ChangeWord::Done);
    let found = done.identity.expect("get_user tells");
    assert_eq!((found.id.to_json(), found.told_by), (json!(7), ToldBy::NameSearch), "the body's own word, found again");
    assert_eq!(done.relay.map(|relay| relay.status().as_u16()), Some(204));
    let again = legacy.change(Change::ChangePassword, asked.forwarded(PASSWORD)).await;
    assert_eq!((again.word, again.identity.is_none()), (ChangeWord::Refused, true));
}

#[tokio::test]
async fn a_relay_brings_back_the_apps_own_answer_unjudged() {
    let double = LegacyDouble::well_behaved();
    let legacy = connect(patient(settings(&double)));
    for (request, status) in [
        (client_request("/users/sign_in", "user%5Bemail%5D=x"), 422),
        (client_request("/nowhere", ""), 404),
        (client_request("/internal/login", "{}"), 401),
    ] {
        let relay = legacy.relay(&request).await.expect("an answer");
        assert_eq!(relay.status(), status);
        assert!(!relay.body().is_empty());
        assert_eq!(relay.headers().get("content-length"), None, "whoever sends it on knows its length");
    }
    for (misbehaviour, status) in [(Misbehaviour::ServerError, 500), (Misbehaviour::RedirectsToLoopback, 302)] {
        double.behave(Some(misbehaviour));
        assert_eq!(legacy.relay(&client_request("/", "")).await.expect("an answer").status(), status);
    }
    assert_eq!(double.trapped(), 0, "r80");
    double.behave(Some(Misbehaviour::Truncates));
    assert!(matches!(legacy.relay(&client_request("/", "")).await, Err(Outage::Broken)));
    double.behave(Some(Misbehaviour::FiveMegabytes));
    assert!(matches!(legacy.relay(&client_request("/", "")).await, Err(Outage::TooLarge)));
}

// ----------------------------------------------------------------------------------- a backend as it should not be

/// What a composed call, a forwarded request (and whether its own answer comes back) and `get_user` come to.
fn expected(misbehaviour: Misbehaviour) -> (&'static str, (&'static str, bool), &'static str) {
    use Misbehaviour as M;
    match misbehaviour {
        M::Refuses => ("unavailable connect", ("unavailable connect", false), "unknown connect"),
        M::NeverAnswers | M::OneByteASecond | M::SlowHead => {
            ("unavailable timeout", ("unavailable timeout", false), "unknown timeout")
        }
        M::HangsUp
        | M::ResetsInHead
        | M::ResetsInBody
        | M::Truncates
        | M::TruncatesChunked
        | M::Garbage
        | M::EndlessHead
        | M::SwitchesProtocols => ("unavailable broken", ("unavailable broken", false), "unknown broken"),
        M::OkWithErrorBody => ("unavailable unrecognised", ("unrecognised no_rule", true), "found"),
        M::OkWithHtml | M::OkWithEmptyBody | M::OkWithHalfJson | M::Compressed => {
            ("unavailable unrecognised", ("unrecognised no_rule", true), "unknown unrecognised")
        }
        M::NoStableId => ("unrecognised no_stable_id", ("unrecognised no_stable_id", true), "found"),
        M::AnotherUsersProfile => ("accepted 8", ("accepted 8", true), "found 8"),
        M::RedirectsToLoopback | M::RedirectsWithBody => {
            ("unavailable redirect", ("unrecognised no_rule", true), "unknown redirect")
        }
        M::TooManyRequests => ("unavailable rate_limited", ("unavailable rate_limited", true), "unknown rate_limited"),
        M::ServerError | M::BadGateway | M::ServiceUnavailable | M::ServerErrorWithUser => {
            ("unavailable server_error", ("unavailable server_error", true), "unknown server_error")
        }
        M::FiveMegabytes | M::NeverEnds => {
            ("unavailable too_large", ("unavailable too_large", false), "unknown too_large")
        }
    }
}

#[tokio::test]
async fn r78_r80_r82_r83_nothing_that_a_backend_does_is_taken_for_a_yes_or_a_no() {
    for misbehaviour in Misbehaviour::ALL {
        let double = LegacyDouble::misbehaving(misbehaviour);
        // The time is what is tested with those that are slow, and must not be with those that are not.
        let is_slow =
            matches!(misbehaviour, Misbehaviour::NeverAnswers | Misbehaviour::OneByteASecond | Misbehaviour::SlowHead);
        let legacy = connect(if is_slow { settings(&double) } else { patient(settings(&double)) });
        let (by_call, (by_forward, is_relayed), by_name) = expected(misbehaviour);

        assert_eq!(short(&legacy.login(anns().called()).await), by_call, "{misbehaviour:?}");
        let forwarded = legacy.login(anns().in_json("/login").forwarded(PLAIN)).await;
        assert_eq!(short(&forwarded), by_forward, "{misbehaviour:?}");
        assert_eq!(forwarded.relay.is_some(), is_relayed, "{misbehaviour:?}");
        assert_eq!(short_user(&legacy.get_user(&anns().login).await), by_name, "{misbehaviour:?}");

        let created = legacy.register(typed("new@example.com", "a new password").called()).await;
        assert!(matches!(created.word, CreateWord::Unavailable | CreateWord::Unrecognised), "{misbehaviour:?}");
        assert_eq!(double.trapped(), 0, "{misbehaviour:?}");
    }
}

#[tokio::test]
async fn r79_a_swapped_profile_can_be_seen() {
    let double = LegacyDouble::misbehaving(Misbehaviour::AnotherUsersProfile);
    let legacy = connect(patient(settings(&double)));
    let asked = IdentifierRules::default().candidates(&anns().login);
    for question in [anns().called(), anns().in_json("/login").forwarded(PLAIN)] {
        let LoginWord::Accepted(proof) = legacy.login(question).await.word else { unreachable!("its rule holds") };
        assert_eq!(proof.identity().naming(&asked), Naming::OtherName);
    }
}

#[tokio::test]
async fn r83_a_slow_backend_is_given_up_at_the_deadline_whatever_it_drips() {
    for misbehaviour in [Misbehaviour::NeverAnswers, Misbehaviour::OneByteASecond, Misbehaviour::SlowHead] {
        let double = LegacyDouble::misbehaving(misbehaviour);
        let legacy = connect(settings(&double));
        let started = SystemClock.monotonic();
        assert_eq!(short(&legacy.login(anns().called()).await), "unavailable timeout");
        let took = SystemClock.monotonic() - started;
        assert!((TIMEOUT..PATIENT).contains(&took), "{misbehaviour:?} took {took:?}");
    }
}

#[tokio::test]
async fn r83_the_bound_of_an_answer_is_exact() {
    let double = LegacyDouble::well_behaved();
    let whole = json!({ "user": { "id": 7, "email": "ann@example.com", "username": "Ann", "phone": "+49 151 1234567", "email_verified": true, "theme": "dark" } });
    let length = whole.to_string().len();
    for (max_answer_bytes, expected) in [(length, "accepted 7"), (length - 1, "unavailable too_large")] {
        let legacy = connect(LegacySettings { max_answer_bytes, ..patient(settings(&double)) });
        assert_eq!(short(&legacy.login(anns().called()).await), expected);
    }
    let pages = LegacySettings { max_answer_bytes: 10, ..patient(settings(&double)) };
    let forwarded = connect(pages).login(anns().in_json("/api/login").forwarded(API)).await;
    assert_eq!(short(&forwarded), "accepted 7", "a forwarded answer has its own bound");
}

#[tokio::test]
async fn an_accepted_login_of_somebody_whom_nobody_names_proves_nothing() {
    let double = LegacyDouble::well_behaved();
    let nameless = LegacySettings { get_user: None, ..patient(settings(&double)) };
    let routes = vec![None, None, None, None, nameless.routes.into_iter().nth(4).flatten()];
    let login =
        CallRules { user: UserSource::Answer(mapping("json.nobody")), ..nameless.login.expect("configured above") };
    let legacy = connect(LegacySettings { login: Some(login), routes, ..nameless });
    assert_eq!(short(&legacy.login(anns().called()).await), "unrecognised no_stable_id");
    assert!(!legacy.can_get_user());

    // A user whom get_user does not find, though he has just logged in.
    let legacy = connect(patient(whoami(settings(&double))));
    let asked = anns().in_a_form("/users/sign_in");
    let answer = legacy.login(asked.forwarded(WEB)).await;
    assert_eq!(short(&answer), "unrecognised no_profile", "a redirect bears no token to ask with");
    assert_eq!(answer.relay.map(|relay| relay.status().as_u16()), Some(303), "his login goes through all the same");
}

#[tokio::test]
async fn tls_is_verified_or_there_is_no_answer() {
    let double = LegacyDouble::well_behaved();
    let target = Target { https: true, ..Target::parse(&double.url()).expect("a target") };
    let legacy = connect(LegacySettings { target, ..patient(settings(&double)) });
    assert_eq!(short(&legacy.login(anns().called()).await), "unavailable tls");
    assert_eq!(double.calls(), 0);
}

#[tokio::test]
async fn r81_what_was_typed_or_sent_leads_nowhere_else() {
    let (double, elsewhere) = (LegacyDouble::well_behaved(), LegacyDouble::well_behaved());
    let legacy = connect(patient(settings(&double)));
    let mut asked = typed(&format!("//{}/", elsewhere.address()), "x").in_json("/api/login");
    let host = HeaderValue::try_from(elsewhere.address().to_string()).expect("a header");
    asked.request.headers.insert("host", host);
    drop(legacy.login(asked.called()).await);
    drop(legacy.login(asked.forwarded(API)).await);
    drop(legacy.get_user(&asked.login).await);
    drop(legacy.relay(&asked.request).await);
    assert_eq!((double.calls(), elsewhere.calls()), (4, 0));
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused() {
    let double = LegacyDouble::well_behaved();
    let connect = |settings: LegacySettings, legacy: Target| {
        let clients = Clients { legacy: client(&legacy, PATIENT), upstream: client(&settings.upstream, PATIENT) };
        legacy::connect(settings, clients, Arc::new(Metrics::new()), Arc::new(SystemClock)).map(|_| ())
    };
    let target = settings(&double).target;
    assert_eq!(
        connect(LegacySettings { get_user: None, ..settings(&double) }, target.clone()),
        Err(ConnectError::NoGetUser)
    );
    let other = Target::parse("http://127.0.0.1:1").expect("a target");
    assert_eq!(connect(settings(&double), other), Err(ConnectError::OtherTarget));
    assert_eq!(connect(settings(&double), target), Ok(()));
}

#[tokio::test]
async fn a_base_path_is_put_before_every_path() {
    let double = LegacyDouble::well_behaved();
    let mut settings = patient(settings(&double));
    settings.target.base_path = "/internal".to_owned();
    settings.get_user = Some(UserRules {
        request: get("/users/{{ login | urlencode }}"),
        ..settings.get_user.expect("configured above")
    });
    let legacy = connect(settings);
    assert_eq!(short_user(&legacy.get_user(&anns().login).await), "found 7");
    assert_eq!(short(&legacy.login(anns().in_json("/login").forwarded(PLAIN)).await), "accepted 7");
    let targets: Vec<_> = double.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/internal/users/ann%40example.com", "/internal/login"]);
}

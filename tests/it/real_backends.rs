//! Two legacy backends that nobody here wrote - json-server-auth (npm), and Django with djoser and simplejwt (PyPI) - each with the
//! proxy in front by its file under `examples/` alone, from the first login watched to the backend's end.
//!
//! Every call is made to the backend itself as well, and what the proxy answers is compared with that. `tests/real/install`, a part
//! of `tests/run`, brings the backends; without it these tests fail, unless `AUTHFERRY_SKIP_REAL` is set.

use serde_json::{Value, json};

use crate::support::raw_client::Answer;
use crate::support::real::{Call, Ferry, Legacy, Person, Seen, claims_of, tampered, tokens_of};

/// Asks both, at the same time since their hashes are slow, and holds that the answers are the same, headers included.
async fn same_as_direct(legacy: &Legacy, ferry: &Ferry, calls: &[Call]) {
    for call in calls {
        let (direct, through) = tokio::join!(legacy.ask(call), ferry.ask(call));
        assert_eq!(Seen::of(&through), Seen::of(&direct), "{call:?}");
    }
}

/// In `observe` our answers had the backend's shape, and our checks its word.
async fn no_difference_was_seen(ferry: &Ferry) {
    let operator = ferry.operator();
    let differences = operator.metric("authferry_shape_differences_total", &[]).await;
    let failures = operator.metric("authferry_migration_failures_total", &[]).await;
    let metrics = operator.get("/metrics").await.body;
    assert!(differences + failures == 0.0, "{metrics}");
    let compared = async |local, word| {
        operator
            .metric("authferry_comparisons_total", &[&format!("local=\"{local}\""), &format!("legacy=\"{word}\"")])
            .await
    };
    assert!(compared("match", "accepted").await >= 2.0 && compared("mismatch", "denied").await >= 1.0, "{metrics}");
    assert!(compared("match", "denied").await + compared("mismatch", "accepted").await == 0.0, "{metrics}");
}

/// The only token of an answer.
fn token_of(body: &str) -> String {
    let [token] = <[String; 1]>::try_from(tokens_of(body)).unwrap_or_else(|found| panic!("{found:?} in {body}"));
    token
}

mod json_server_auth {
    use super::*;

    /// What Express, its caching and its compression write, and we do not.
    const ONLY_THEIRS: [&str; 4] = ["etag", "expires", "pragma", "x-powered-by"];

    fn login(email: &str, password: &str) -> Call {
        Call::post("/login", &json!({ "email": email, "password": password })).with("Origin", "http://app.example")
    }

    fn of(user: &Person) -> Call {
        login(&user.login, &user.password)
    }

    fn register(email: &str, password: &str) -> Call {
        Call::post("/register", &json!({ "email": email, "password": password, "name": "N'<w>", "age": 3 }))
    }

    #[tokio::test]
    async fn its_users_keep_their_passwords_until_it_is_gone_and_after() {
        let Some(mut legacy) = Legacy::start("json-server-auth").await else { return };
        let mut ferry = Ferry::before(&legacy, &[]);
        observe(&legacy, &ferry).await;
        migrate(&legacy, &ferry).await;
        let [ada, late] = ["ada@example.com", "long@example.com"].map(|name| legacy.user(name).clone());
        let wrong = login(&ada.login, "not her password");
        let (direct, direct_wrong) = (legacy.ask(&of(&ada)).await, legacy.ask(&wrong).await);
        legacy.stop().await;
        without_it(&legacy, &ferry, &late, &Seen::of(&direct).less(&ONLY_THEIRS)).await;
        ferry.operator().set_mode("retired").await;
        ferry.restart(&legacy);
        retired(&legacy, &ferry, &late, &Seen::of(&direct_wrong).less(&ONLY_THEIRS)).await;
    }

    /// It answers everything itself; who logs in is saved.
    async fn observe(legacy: &Legacy, ferry: &Ferry) {
        let known = ["ada@example.com", "o'brien@example.com", "zoe.mixed@Example.com"];
        let right: Vec<Call> = known.iter().map(|name| of(legacy.user(name))).collect();
        same_as_direct(legacy, ferry, &right).await;
        ferry.wait_for_users(3).await;
        same_as_direct(legacy, ferry, &right).await;
        let body = r#"{"email":"ada@example.com","password":"correct horse battery staple"}"#;
        same_as_direct(
            legacy,
            ferry,
            &[
                login("ada@example.com", "not her password"),
                login("nobody@example.com", "anything"),
                login("ADA@example.com", "correct horse battery staple"),
                login("ada@example.com", " correct horse battery staple "),
                login("no-at-sign", "anything"),
                login("ada@example.com", "xyz"),
                Call::post("/login", &json!({ "email": "ada@example.com" })),
                Call::post("/login", &json!({})),
                Call::post("/login", &json!({ "email": 1, "password": "anything" })),
                Call::send("POST", "/login", "application/json", "{\"email\": "),
                Call::send("POST", "/login", "application/json", &body.replace('}', r#","email":"ada@example.com"}"#)),
                Call::send("POST", "/login", "text/plain", body),
                Call::send("POST", "/login", "application/x-www-form-urlencoded", "email=a%40b.c&password=anything"),
                Call::send("POST", "/login?callback=f", "application/json", body),
                Call::send("POST", "/signin", "application/json", body),
                Call::get("/login"),
                Call::send("OPTIONS", "/login", "text/plain", "")
                    .with("Origin", "http://app.example")
                    .with("Access-Control-Request-Method", "POST"),
                Call::get("/posts"),
                Call::get("/660/posts"),
                Call::get("/600/users/1").bearer("rubbish"),
            ],
        )
        .await;
        let direct = Seen::of(&legacy.ask(&register("one@example.com", "a new password")).await);
        let through = Seen::of(&ferry.ask(&register("two@example.com", "a new password")).await);
        let one = direct.exchanging(&[("one@", "two@"), ("\"id\": 43", "\"id\": 44"), ("\"43\"", "\"44\"")]);
        assert_eq!(through.exchanging(&[]), one);
        same_as_direct(legacy, ferry, &[register("two@example.com", "another password")]).await;
        ferry.wait_for_users(4).await;
        no_difference_was_seen(ferry).await;
    }

    /// We answer for whom we know; it answers for everyone else, who then is known.
    async fn migrate(legacy: &Legacy, ferry: &Ferry) {
        ferry.operator().set_mode("migrate").await;
        for name in ["ada@example.com", "o'brien@example.com", "zoe.mixed@Example.com"] {
            let call = of(legacy.user(name));
            let direct = legacy.ask(&call).await;
            let ours = ferry.ask_answered_by("logins", "local", "ok", &call).await;
            assert_eq!(Seen::of(&ours), Seen::of(&direct).less(&ONLY_THEIRS));
            their_guards_take_our_token(legacy, &direct.body, &ours.body).await;
        }

        // A first login here.
        let grace = legacy.user("Grace.Hopper@example.com");
        let direct = legacy.ask(&of(grace)).await;
        let relayed = ferry.ask_answered_by("logins", "legacy", "ok", &of(grace)).await;
        assert_eq!(Seen::of(&relayed), Seen::of(&direct));
        ferry.wait_for_users(5).await;
        let ours = ferry.ask_answered_by("logins", "local", "ok", &of(grace)).await;
        assert_eq!(Seen::of(&ours), Seen::of(&direct).less(&ONLY_THEIRS));

        // Whoever is refused there is refused here in the same words.
        same_as_direct(
            legacy,
            ferry,
            &[
                login("ada@example.com", "not her password"),
                login("nobody@example.com", "anything"),
                login("no-at-sign", "x"),
            ],
        )
        .await;

        // A password that was changed behind our back works at once.
        let change = Call::send("PATCH", "/users/7", "application/json", r#"{"password": "changed there"}"#);
        assert_eq!(legacy.ask(&change).await.status, 200);
        let changed = login(&grace.login, "changed there");
        let ours = ferry.ask_answered_by("logins", "legacy", "ok", &changed).await;
        assert_eq!(Seen::of(&ours), Seen::of(&legacy.ask(&changed).await));
        ferry.ask_answered_by("logins", "local", "ok", &changed).await;
        registrations(legacy, ferry).await;
    }

    async fn their_guards_take_our_token(legacy: &Legacy, direct: &str, ours: &str) {
        let (theirs, ours) = (token_of(direct), token_of(ours));
        let checked = legacy.check("access", &ours).expect("their checker takes it");
        assert_eq!(checked["claims"], Value::Object(claims_of(&ours)));
        legacy.check("access", &tampered(&ours)).expect_err("not with another signature");
        let user = claims_of(&ours)["sub"].as_str().expect("a text").to_owned();
        let guarded = |token: &str| Call::get(&format!("/600/users/{user}")).bearer(token);
        let (by_theirs, by_ours) = (legacy.ask(&guarded(&theirs)).await, legacy.ask(&guarded(&ours)).await);
        assert_eq!((by_ours.status, &by_ours.body), (200, &by_theirs.body));
        let not_his = legacy.ask(&Call::get("/600/users/9").bearer(&ours)).await;
        assert_ne!(not_his.status, 200, "{not_his:?}");
    }

    async fn registrations(legacy: &Legacy, ferry: &Ferry) {
        let direct = Seen::of(&legacy.ask(&register("three@example.com", "a new password")).await);
        let answer = ferry
            .ask_answered_by("registrations", "legacy", "ok", &register("fours@example.com", "a new password"))
            .await;
        let three = direct.exchanging(&[("three@", "fours@"), ("\"id\": 45", "\"id\": 46"), ("\"45\"", "\"46\"")]);
        assert_eq!(Seen::of(&answer).exchanging(&[]), three);
        ferry.wait_for_users(6).await;
        let call = login("fours@example.com", "a new password");
        let direct = legacy.ask(&call).await;
        assert_eq!(direct.status, 200, "{direct:?}");
        let ours = ferry.ask_answered_by("logins", "local", "ok", &call).await;
        assert_eq!(Seen::of(&ours), Seen::of(&direct).less(&ONLY_THEIRS));
        for refused in [
            register("fours@example.com", "another password"),
            register("o'brien@example.com", "another password"),
            register("short@example.com", "xyz"),
            register("no-at-sign", "a new password"),
        ] {
            let (direct, through) = (legacy.ask(&refused).await, ferry.ask(&refused).await);
            assert_eq!(Seen::of(&through).essence(), Seen::of(&direct).essence(), "{refused:?}");
        }
        ferry.wait_for_users(6).await;
    }

    /// It is stopped while we still are in `migrate`: an outage, and nobody who came over notices.
    async fn without_it(legacy: &Legacy, ferry: &Ferry, late: &Person, ada: &Seen) {
        let answer = ferry.ask_answered_by("logins", "local", "ok", &of(legacy.user("ada@example.com"))).await;
        assert_eq!(&Seen::of(&answer), ada);
        legacy.check("access", &token_of(&answer.body)).expect("their checker takes it");
        for call in [
            of(legacy.user("o'brien@example.com")),
            of(legacy.user("zoe.mixed@Example.com")),
            login("Grace.Hopper@example.com", "changed there"),
            login("two@example.com", "a new password"),
            login("fours@example.com", "a new password"),
        ] {
            let answer = ferry.ask_answered_by("logins", "local", "ok", &call).await;
            assert_eq!(answer.status, 200, "{call:?} {answer:?}");
        }
        // Nobody can tell, and that is what is said: a password that does not match here may be a new one there.
        for call in [
            of(late),
            login("nobody@example.com", "anything"),
            login("ada@example.com", "not her password"),
            register("five@example.com", "a new password"),
        ] {
            let answer = ferry.ask(&call).await;
            assert_eq!((answer.status, answer.body.as_str()), (503, "\"Try again later\""), "{call:?}");
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
        }
    }

    /// Nobody is asked any more. The mode, set over the admin API, has outlived a restart.
    async fn retired(legacy: &Legacy, ferry: &Ferry, late: &Person, wrong: &Seen) {
        let answer = ferry.ask_answered_by("logins", "local", "ok", &of(legacy.user("zoe.mixed@Example.com"))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for refused in [login("ada@example.com", "not her password"), login("nobody@example.com", "anything"), of(late)]
        {
            let answer = ferry.ask_answered_by("logins", "local", "denied", &refused).await;
            assert_eq!(&Seen::of(&answer), wrong, "an unknown name is not told from a wrong password: {refused:?}");
        }
        let answer =
            ferry.ask_answered_by("registrations", "local", "ok", &register("six@example.com", "a new password")).await;
        let body: Value = answer.json();
        let user = json!({ "email": "six@example.com", "name": "N'<w>", "age": 3, "id": body["user"]["id"] });
        assert_eq!((answer.status, &body["user"]), (201, &user));
        let token = token_of(&answer.body);
        legacy.check("access", &token).expect("their checker takes it");
        assert_eq!(claims_of(&token)["sub"], user["id"]);
        let again = ferry.ask(&login("six@example.com", "a new password")).await;
        assert_eq!((again.status, &again.json::<Value>()["user"]), (200, &user));
        let taken = ferry.ask(&register("six@example.com", "another password")).await;
        assert_eq!((taken.status, taken.body.as_str()), (400, "\"Email already exists\""));
    }
}

mod django {
    use super::*;

    /// What Django and its middleware write, and we do not.
    const ONLY_THEIRS: [&str; 7] = [
        "allow",
        "cross-origin-opener-policy",
        "referrer-policy",
        "server",
        "vary",
        "x-content-type-options",
        "x-frame-options",
    ];
    /// What we write: an answer with a token in it is nobody's to keep.
    const ONLY_OURS: [&str; 1] = ["cache-control"];

    /// simplejwt's key, the `SECRET_KEY` of tests/real/django/settings.py.
    const SECRETS: [(&str, &str); 1] = [("DJANGO_SECRET_KEY", "only-for-the-acceptance-test-of-authferry-0123456789")];

    fn login(username: &str, password: &str) -> Call {
        Call::post("/auth/jwt/create/", &json!({ "username": username, "password": password }))
    }

    fn of(user: &Person) -> Call {
        login(&user.login, &user.password)
    }

    fn register(username: &str, password: &str) -> Call {
        let email = format!("{username}@example.com");
        Call::post("/auth/users/", &json!({ "username": username, "email": email, "password": password }))
    }

    fn whoami(token: &str) -> Call {
        Call::get("/auth/users/me/").bearer(token)
    }

    fn refresh(token: &str) -> Call {
        Call::post("/auth/jwt/refresh/", &json!({ "refresh": token }))
    }

    fn from_there(answer: &Answer) -> Seen {
        Seen::of(answer).less(&ONLY_THEIRS)
    }

    fn from_here(answer: &Answer) -> Seen {
        Seen::of(answer).less(&ONLY_OURS)
    }

    /// The tokens of a login.
    struct Pair {
        refresh: String,
        access: String,
    }

    fn pair(body: &str) -> Pair {
        let found = <[String; 2]>::try_from(tokens_of(body));
        let [refresh, access] = found.unwrap_or_else(|found| panic!("{found:?} in {body}"));
        Pair { refresh, access }
    }

    /// Its answers to what will be asked when it is gone.
    struct Remembered {
        login: Seen,
        wrong: Seen,
        whoami: Seen,
        refresh: Seen,
        bad_access: Seen,
        bad_refresh: Seen,
    }

    #[tokio::test]
    async fn its_users_keep_their_passwords_until_it_is_gone_and_after() {
        let Some(mut legacy) = Legacy::start("django").await else { return };
        let mut ferry = Ferry::before(&legacy, &SECRETS);
        observe(&legacy, &ferry).await;
        migrate(&legacy, &ferry).await;
        let ada = legacy.user("ada");
        let direct = legacy.ask(&of(ada)).await;
        let own = pair(&direct.body);
        let remembered = Remembered {
            login: from_there(&direct),
            wrong: from_there(&legacy.ask(&login("ada", "not her password")).await),
            whoami: from_there(&legacy.ask(&whoami(&own.access)).await),
            refresh: from_there(&legacy.ask(&refresh(&own.refresh)).await),
            bad_access: from_there(&legacy.ask(&whoami("rubbish")).await),
            bad_refresh: from_there(&legacy.ask(&refresh("rubbish")).await),
        };
        legacy.stop().await;
        without_it(&legacy, &ferry, &remembered, &own).await;
        ferry.operator().set_mode("retired").await;
        ferry.restart(&legacy);
        retired(&legacy, &ferry, &remembered, &own).await;
    }

    /// It answers everything itself; who logs in is saved.
    async fn observe(legacy: &Legacy, ferry: &Ferry) {
        let right = ["ada", "Zoë.Mixed"].map(|name| of(legacy.user(name)));
        same_as_direct(legacy, ferry, &right).await;
        ferry.wait_for_users(2).await;
        same_as_direct(legacy, ferry, &right).await;
        let body = r#"{"username":"ada","password":"correct horse battery staple"}"#;
        let path = "/auth/jwt/create/";
        same_as_direct(
            legacy,
            ferry,
            &[
                login("ada", "not her password"),
                login("nobody", "anything"),
                login("Ada", "correct horse battery staple"),
                login(" ada ", "correct horse battery staple"),
                login("ada@example.com", "correct horse battery staple"),
                of(legacy.user("sleeping")),
                login("ada", ""),
                Call::post(path, &json!({ "username": "ada" })),
                Call::post(path, &json!({})),
                Call::post(path, &json!([])),
                Call::post(path, &json!({ "username": "ada", "password": 1 })),
                Call::send("POST", path, "application/json", "{\"username\": "),
                Call::send("POST", path, "application/json", &body.replace('}', r#","username":"ada"}"#)),
                Call::send("POST", path, "text/plain", body),
                Call::send("POST", path, "application/x-www-form-urlencoded", "username=ada&password=anything"),
                Call::send("POST", "/auth/jwt/create", "application/json", body),
                of(legacy.user("ada")).with("Accept", "application/json"),
                Call::get(path),
                Call::send("OPTIONS", path, "application/json", ""),
                Call::get("/auth/users/me/"),
                whoami("rubbish"),
                refresh("rubbish"),
                Call::send("POST", "/auth/users", "application/json", "{}"),
            ],
        )
        .await;
        let own = pair(&ferry.ask(&of(legacy.user("ada"))).await.body);
        same_as_direct(legacy, ferry, &[whoami(&own.access), whoami(&own.refresh), refresh(&own.refresh)]).await;
        let direct = Seen::of(&legacy.ask(&register("one", "a rather new password")).await);
        let through = Seen::of(&ferry.ask(&register("two", "a rather new password")).await);
        assert_eq!(through.exchanging(&[]), direct.exchanging(&[("one", "two"), ("\"id\":9", "\"id\":10")]));
        same_as_direct(legacy, ferry, &[register("two", "another fine password"), register("weak", "xyz")]).await;
        ferry.wait_for_users(3).await;
        no_difference_was_seen(ferry).await;
    }

    /// We answer for whom we know; it answers for everyone else, who then is known.
    async fn migrate(legacy: &Legacy, ferry: &Ferry) {
        ferry.operator().set_mode("migrate").await;
        for name in ["ada", "Zoë.Mixed"] {
            let call = of(legacy.user(name));
            let direct = legacy.ask(&call).await;
            let answer = ferry.ask_answered_by("logins", "local", "ok", &call).await;
            assert_eq!(from_here(&answer), from_there(&direct));
            let (theirs, own) = (pair(&direct.body), pair(&answer.body));
            legacy.check("access", &own.access).expect("their checker takes it");
            if name == "ada" {
                our_tokens_are_as_good_as_its_own(legacy, ferry, &theirs, &own).await;
            }
        }

        // A first login here.
        let grace = legacy.user("grace@example.com");
        let direct = legacy.ask(&of(grace)).await;
        let relayed = ferry.ask_answered_by("logins", "legacy", "ok", &of(grace)).await;
        assert_eq!(Seen::of(&relayed), Seen::of(&direct));
        ferry.wait_for_users(4).await;
        let answer = ferry.ask_answered_by("logins", "local", "ok", &of(grace)).await;
        assert_eq!(from_here(&answer), from_there(&direct));

        // Whoever is refused there is refused here in the same words.
        let refused = [
            login("ada", "not her password"),
            login("nobody", "anything"),
            of(legacy.user("sleeping")),
            whoami("rubbish"),
        ];
        same_as_direct(legacy, ferry, &refused).await;
        changed_password(legacy, ferry, grace, &pair(&answer.body).access).await;
        registrations(legacy, ferry).await;
    }

    /// It takes our tokens wherever it takes its own, and nowhere else; we take its tokens in the same way.
    async fn our_tokens_are_as_good_as_its_own(legacy: &Legacy, ferry: &Ferry, theirs: &Pair, own: &Pair) {
        for (kind, token, other) in [("access", &own.access, "refresh"), ("refresh", &own.refresh, "access")] {
            let checked = legacy.check(kind, token).expect("their checker takes it");
            assert_eq!(checked["claims"], Value::Object(claims_of(token)));
            legacy.check(other, token).expect_err("not as a token of the other kind");
            legacy.check(kind, &tampered(token)).expect_err("not with another signature");
        }
        assert_ne!(claims_of(&own.access)["jti"], claims_of(&own.refresh)["jti"]);
        let direct = legacy.ask(&whoami(&theirs.access)).await;
        assert_eq!(direct.status, 200, "{direct:?}");
        assert_eq!(Seen::of(&legacy.ask(&whoami(&own.access)).await), Seen::of(&direct));
        for access in [&own.access, &theirs.access] {
            let answer = ferry.ask_answered_by("changes", "local", "ok", &whoami(access)).await;
            assert_eq!(from_here(&answer), from_there(&direct));
        }
        let direct = legacy.ask(&refresh(&theirs.refresh)).await;
        assert_eq!(direct.status, 200, "{direct:?}");
        assert_eq!(Seen::of(&legacy.ask(&refresh(&own.refresh)).await), Seen::of(&direct));
        for token in [&own.refresh, &theirs.refresh] {
            let answer = ferry.ask_answered_by("changes", "local", "ok", &refresh(token)).await;
            assert_eq!(from_here(&answer), from_there(&direct));
            legacy.check("access", &token_of(&answer.body)).expect("their checker takes it");
        }
        // A token of one kind is none of the other: that is its word, since we know no such token.
        same_as_direct(legacy, ferry, &[whoami(&own.refresh), refresh(&own.access), refresh(&tampered(&own.refresh))])
            .await;
    }

    /// Changed through us at both.
    async fn changed_password(legacy: &Legacy, ferry: &Ferry, grace: &Person, token: &str) {
        let change = |current: &str| {
            let body = json!({ "current_password": current, "new_password": "another fine password" });
            Call::post("/auth/users/set_password/", &body).bearer(token)
        };
        same_as_direct(legacy, ferry, &[change("not hers")]).await;
        let answer = ferry.ask_answered_by("changes", "legacy", "ok", &change(&grace.password)).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        let changed = login(&grace.login, "another fine password");
        assert_eq!(legacy.ask(&changed).await.status, 200);
        ferry.ask_answered_by("logins", "local", "ok", &changed).await;
        same_as_direct(legacy, ferry, &[of(grace)]).await;
        assert_eq!(ferry.ask(&of(grace)).await.status, 401, "the old one is no more");
    }

    async fn registrations(legacy: &Legacy, ferry: &Ferry) {
        let direct = Seen::of(&legacy.ask(&register("three", "a rather new password")).await);
        let call = register("fours", "a rather new password");
        let answer = ferry.ask_answered_by("registrations", "legacy", "ok", &call).await;
        let three = direct.exchanging(&[("three", "fours"), ("\"id\":11", "\"id\":12")]);
        assert_eq!(Seen::of(&answer).exchanging(&[]), three);
        ferry.wait_for_users(5).await;
        let call = login("fours", "a rather new password");
        let direct = legacy.ask(&call).await;
        let answer = ferry.ask_answered_by("logins", "local", "ok", &call).await;
        assert_eq!(from_here(&answer), from_there(&direct));
        same_as_direct(legacy, ferry, &[register("we ak!", "a rather new password"), register("weak", "password123")])
            .await;
        for refused in [register("fours", "another fine password"), register("miles", "another fine password")] {
            let (direct, through) = (legacy.ask(&refused).await, ferry.ask(&refused).await);
            assert_eq!(Seen::of(&through).essence(), Seen::of(&direct).essence(), "{refused:?}");
        }
        ferry.wait_for_users(5).await;
    }

    /// It is stopped while we still are in `migrate`: an outage, and nobody who came over notices.
    async fn without_it(legacy: &Legacy, ferry: &Ferry, remembered: &Remembered, own: &Pair) {
        let answer = ferry.ask_answered_by("logins", "local", "ok", &of(legacy.user("ada"))).await;
        assert_eq!(from_here(&answer), remembered.login);
        for call in [
            of(legacy.user("Zoë.Mixed")),
            login("grace@example.com", "another fine password"),
            login("two", "a rather new password"),
            login("fours", "a rather new password"),
        ] {
            let answer = ferry.ask_answered_by("logins", "local", "ok", &call).await;
            assert_eq!(answer.status, 200, "{call:?} {answer:?}");
        }
        assert_eq!(from_here(&ferry.ask(&whoami(&own.access)).await), remembered.whoami);
        // Nobody can tell, and that is what is said: a password that does not match here may be a new one there.
        for call in [
            of(legacy.user("miles")),
            login("nobody", "anything"),
            login("ada", "not her password"),
            register("five", "a rather new password"),
        ] {
            let answer = ferry.ask(&call).await;
            let body: Value = answer.json();
            assert_eq!(
                (answer.status, &body["detail"]),
                (503, &json!("Service temporarily unavailable, try again later."))
            );
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
        }
    }

    /// Nobody is asked any more. The mode, set over the admin API, has outlived a restart.
    async fn retired(legacy: &Legacy, ferry: &Ferry, remembered: &Remembered, theirs: &Pair) {
        let answer = ferry.ask_answered_by("logins", "local", "ok", &of(legacy.user("ada"))).await;
        assert_eq!(from_here(&answer), remembered.login);
        let own = pair(&answer.body);
        for refused in [
            login("ada", "not her password"),
            login("nobody", "anything"),
            of(legacy.user("miles")),
            of(legacy.user("sleeping")),
        ] {
            let answer = ferry.ask_answered_by("logins", "local", "denied", &refused).await;
            assert_eq!(from_here(&answer), remembered.wrong, "{refused:?}");
        }
        for pair in [theirs, &own] {
            let answer = ferry.ask_answered_by("changes", "local", "ok", &whoami(&pair.access)).await;
            assert_eq!(from_here(&answer), remembered.whoami);
            let answer = ferry.ask_answered_by("changes", "local", "ok", &refresh(&pair.refresh)).await;
            assert_eq!(from_here(&answer), remembered.refresh);
            legacy.check("access", &token_of(&answer.body)).expect("their checker takes it");
            for bad in [&pair.refresh, &tampered(&pair.access)] {
                assert_eq!(from_here(&ferry.ask(&whoami(bad)).await), remembered.bad_access);
            }
            for bad in [&pair.access, &tampered(&pair.refresh)] {
                assert_eq!(from_here(&ferry.ask(&refresh(bad)).await), remembered.bad_refresh);
            }
        }
        let answer =
            ferry.ask_answered_by("registrations", "local", "ok", &register("six", "a rather new password")).await;
        let body: Value = answer.json();
        assert_eq!((answer.status, &body["username"], &body["email"]), (201, &json!("six"), &json!("six@example.com")));
        let six = pair(&ferry.ask(&login("six", "a rather new password")).await.body);
        legacy.check("access", &six.access).expect("their checker takes it");
        assert_eq!(ferry.ask(&whoami(&six.access)).await.json::<Value>(), body);
    }
}

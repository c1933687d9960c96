//! Which spelling of what is taken, passed or refused.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::domain::registration::WriteTo;
use crate::http::decode::decode;
use crate::http::path::PathPolicy;
use crate::http::settings::{BodyFormat, FieldRef, LegacyWay, Replies, Session};

fn shape(format: BodyFormat, login: &str, password: &str) -> RequestShape {
    RequestShape {
        format,
        login: Some(FieldRef::new(login)),
        password: Some(FieldRef::new(password)),
        new_password: None,
        token: None,
        email: None,
        username: None,
        phone: None,
        profile: None,
    }
}

fn route(path: &str) -> Route {
    Route {
        name: path.into(),
        action: Action::Login,
        matcher: RouteMatch {
            method: Method::POST,
            path: path.to_owned(),
            exact: false,
            query: std::collections::BTreeMap::new(),
            fields: Vec::new(),
        },
        request: shape(BodyFormat::Form, "user[email]", "user[password]"),
        legacy: LegacyWay::Forward,
        write: WriteTo::Local,
        session: Session::Local,
        refreshes: "refresh".to_owned(),
        replies: Replies::default(),
    }
}

fn exact(path: &str) -> Route {
    let mut route = route(path);
    route.matcher.exact = true;
    route
}

fn router(routes: &[Route]) -> Router {
    Router::new(routes).expect("routes")
}

fn target(raw: &str) -> CanonicalTarget {
    CanonicalTarget::parse_str(raw, PathPolicy::Tolerant).expect("a target")
}

/// `pass`, `take 0`, `405`, or a refusal's word.
fn outcome(router: &Router, method: &Method, raw: &str) -> String {
    outcome_with(router, method, raw, &HeaderMap::new())
}

fn outcome_with(router: &Router, method: &Method, raw: &str, headers: &HeaderMap) -> String {
    match router.route(method, &target(raw), headers) {
        Routed::Pass | Routed::Read(_) | Routed::Doubt(_) => "pass".to_owned(),
        Routed::Take(candidates) => format!("take {}", candidates.first().0),
        Routed::MethodNotAllowed(_) => "405".to_owned(),
        Routed::Refused(_, refusal) => refusal.reason.to_owned(),
    }
}

fn form(body: &str) -> Decoded {
    typed("application/x-www-form-urlencoded", body)
}

fn typed(content_type: &'static str, body: &str) -> Decoded {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(content_type));
    decode(&headers, body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"))
}

fn selected(router: &Router, raw: &str, body: &Decoded) -> Result<Selection, &'static str> {
    match router.route(&Method::POST, &target(raw), &HeaderMap::new()) {
        Routed::Take(candidates) => candidates.select(&target(raw), body).map_err(|refusal| refusal.reason),
        Routed::Pass | Routed::Read(_) | Routed::Doubt(_) => Ok(Selection::Pass),
        Routed::MethodNotAllowed(_) => Err("405"),
        Routed::Refused(_, refusal) => Err(refusal.reason),
    }
}

#[test]
fn r29_usual_spellings_of_a_route_are_taken_for_it() {
    let router = router(&[route("/api/Login")]);
    for raw in [
        "/api/Login",
        "/api/login",
        "/API/LOGIN",
        "/api/login/",
        "/api/%6cogin",
        "/%61pi/login",
        "/api/login;x=1",
        "/api;v=2/login",
        "/api/login;",
        "/api/login;a=1;b=2/",
        "/api/login.json",
        "/api/login.xml",
        "/api/login.html",
        "/api/login.anything",
        "/api/login.json/",
        "/api/login.JSON;x=1",
        "/api/login%2ejson",
        "/api/login%3bx=1",
        "/index.php/api/login",
        "/app.php/api/login.json",
        "/index.php/api/login/",
        "/;x/api/login",
        "//api/login",
        "/api//login",
        "/api/./login",
        "/api%2flogin",
    ] {
        assert_eq!(outcome(&router, &Method::POST, raw), "take 0", "{raw}");
    }
    for raw in [
        "/",
        "/api",
        "/api/",
        "/api/login/x",
        "/x/api/login",
        "/api/logins",
        "/api/log",
        "/login",
        "/api/.login",
        "/api/login.",
        "*",
    ] {
        let expected = if raw.ends_with('.') { "odd_spelling" } else { "pass" };
        assert_eq!(outcome(&router, &Method::POST, raw), expected, "{raw}");
    }
}

#[test]
fn r26_spellings_that_only_a_careless_backend_takes_for_a_route_are_refused() {
    let router = router(&[route("/users/sign_in"), route("/login.asp")]);
    for raw in [
        "/users/sign_in%20",
        "/users/sign_in%0a",
        "/users/sign_in%09/",
        "/users/sign_in.",
        "/users/sign_in...",
        "/users/sign_in%3fx",
        "/users/sign_in%23x",
        "/users/%2573ign_in",
        "/users/sign%255fin",
        "/users/%c1%b3ign_in",
        "/users/%C5%BFign_in",
        "/user%C5%BF/sign_in",
        "/users%5csign_in",
        "/users%252fsign_in",
        "/x/../users/sign_in",
        "/x/%252e%252e/users/sign_in",
        "/users/s%25u0069gn_in",
        "/users/s%C4%B1gn_in",
        "/users/s%C4%B0gn_in",
        "/x\\..\\users\\sign_in",
        "/login.asp::$DATA",
        "/users/sign_in::$DATA",
        "/users/sign_in::$INDEX_ALLOCATION",
        "/..;/users/sign_in",
        "/users/%25255fsign_in/../sign_in",
        "/x//../users/sign_in",
        "/x/./../users/sign_in",
        "/x;/..\\y;/../users/sign_in",
        "/users/x\\y/../sign_in",
        "/users/x%255cy/../sign_in",
        "/%3F/../users/sign_in",
        "/users/..;x/../sign_in",
        "/users/sign_in/%2F;a%5Cb",
        "/users/sign_in/%252f;a%255cb",
        "/users/..::x/../sign_in",
        "/users/sign_in%2ejson%20",
    ] {
        assert_eq!(outcome(&router, &Method::POST, raw), "odd_spelling", "{raw}");
        assert_eq!(outcome(&router, &Method::GET, raw), "odd_spelling", "{raw}");
    }
    for raw in [
        "/users/%E2%98%83",
        "/groups/a%2Fsign_in",
        "/search/100%25",
        "/a%20b",
        "/users/..",
        "/x/%252e",
        "/a::b",
        "/users/sign_in%C3%A9",
    ] {
        assert_eq!(outcome(&router, &Method::POST, raw), "pass", "{raw}");
    }
}

#[test]
fn r26_path_info_behind_a_script_is_the_script() {
    let router = router(&[route("/wp-login.php"), route("/blog/login.aspx")]);
    for (raw, expected) in [
        ("/wp-login.php", "take 0"),
        ("/wp-login.php/x", "take 0"),
        ("/WP-LOGIN.php/a/b.css", "take 0"),
        ("/blog/login.aspx/x", "take 1"),
        ("/wp-login.phpx", "pass"),
        ("/wp-login", "pass"),
        ("/wp-admin.php/x", "pass"),
        ("/wp-login.php.bak", "take 0"),
    ] {
        assert_eq!(outcome(&router, &Method::POST, raw), expected, "{raw}");
    }
}

#[test]
fn a_front_controller_that_is_a_route_itself_hides_no_other_route() {
    let mut wiki = route("/index.php");
    wiki.matcher.fields = vec!["wpName".to_owned()];
    let router = router(&[wiki, route("/login")]);
    assert_eq!(selected(&router, "/index.php/login", &form("a=b")), Ok(Selection::Route(RouteIndex(1))));
    assert_eq!(selected(&router, "/index.php/other", &form("wpName=b")), Ok(Selection::Route(RouteIndex(0))));
    assert_eq!(selected(&router, "/index.php/other", &form("a=b")), Ok(Selection::Pass));
}

#[test]
fn r29_an_exact_route_takes_its_own_spelling_only() {
    let router = router(&[exact("/api/login")]);
    for (raw, expected) in [
        ("/api/login", "take 0"),
        ("/api/%6cogin", "take 0"), // Canonically the same, and forwarded so.
        ("/api/login/", "pass"),
        ("/api/Login", "pass"),
        ("/api/login.json", "pass"),
        ("/api/login;x=1", "pass"),
        ("/api/login%20", "pass"),
        ("/index.php/api/login", "pass"),
    ] {
        assert_eq!(outcome(&router, &Method::POST, raw), expected, "{raw}");
    }
}

#[test]
fn a_route_of_its_own_goes_before_one_that_it_is_another_spelling_of() {
    let router = router(&[route("/login"), route("/login.json")]);
    assert_eq!(outcome(&router, &Method::POST, "/login"), "take 0");
    assert_eq!(outcome(&router, &Method::POST, "/login.json"), "take 1");
    assert_eq!(outcome(&router, &Method::POST, "/login.xml"), "take 0");
}

#[test]
fn two_paths_meet_as_their_requests_do() {
    for (path, other, expected) in [
        ("/login", "/login", Some(Meeting::Same)),
        ("/Login/", "/login", Some(Meeting::Same)),
        ("/login;x=1", "/login", Some(Meeting::Same)),
        ("/login.json", "/login", Some(Meeting::SpellingOf)),
        ("/login", "/login.json", None),
        ("/index.php/login", "/login", Some(Meeting::SpellingOf)),
        ("/index.php/login", "/index.php", Some(Meeting::SpellingOf)),
        ("/login", "/logout", None),
        ("/a//b", "/a/b", None),
    ] {
        assert_eq!(meeting(path, other), expected, "{path} {other}");
    }
}

#[test]
fn the_root_can_be_a_route() {
    let router = router(&[route("/")]);
    for raw in ["/", "/?a=b", "/index.php", "/;x=1"] {
        assert_eq!(outcome(&router, &Method::POST, raw), "take 0", "{raw}");
    }
    for raw in ["/x", "/index.html/x"] {
        assert_eq!(outcome(&router, &Method::POST, raw), "pass", "{raw}");
    }
}

#[test]
fn r31_reading_methods_pass_and_other_methods_are_closed_where_a_password_is_taken() {
    let mut whoami = route("/me");
    whoami.action = Action::GetUser;
    whoami.matcher.method = Method::GET;
    let router = router(&[route("/login"), whoami]);
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        assert_eq!(outcome(&router, &method, "/login"), "pass", "{method}");
    }
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        for raw in ["/login", "/LOGIN/", "/login.json"] {
            assert_eq!(outcome(&router, &method, raw), "405", "{method} {raw}");
        }
        assert_eq!(outcome(&router, &method, "/other"), "pass");
        // Editing a profile where whoami lives is no login.
        assert_eq!(outcome(&router, &method, "/me"), "pass");
    }
    assert_eq!(outcome(&router, &Method::GET, "/me"), "take 1");
}

#[test]
fn r39_a_password_in_the_query_of_a_read_is_a_login_by_another_door() {
    let router = router(&[route("/login")]);
    assert_eq!(outcome(&router, &Method::GET, "/login?user[email]=a@b.c&next=/"), "pass");
    assert_eq!(outcome(&router, &Method::GET, "/login?return_to=caf%E9"), "pass");
    let many = vec!["a=b"; 1_000].join("&");
    assert_eq!(outcome(&router, &Method::GET, &format!("/login?{many}")), "query_credential");
    for query in ["user[password]=x", "password=x", "USER%5BPassword%5D=x", "a=b;password=x", "user.password=x"] {
        assert_eq!(outcome(&router, &Method::GET, &format!("/login?{query}")), "query_credential", "{query}");
    }
}

#[test]
fn r39_a_credentials_name_in_the_query_or_path_of_a_login_is_refused() {
    let router = router(&[route("/login")]);
    let body = form("user[email]=a&user[password]=b");
    assert_eq!(selected(&router, "/login?next=/&utm_source=mail", &body), Ok(Selection::Route(RouteIndex(0))));
    for raw in [
        "/login?user[email]=x",
        "/login?email=x",
        "/login?EMAIL=x",
        "/login?%65mail=x",
        "/login?a=b&user%5Bemail%5D=x",
        "/login?a=b;email=x",
        "/login?user.email=x",
        "/login?user[email][]=x",
        "/login?user=x",
        "/login?email",
        "/login;email=x",
        "/login;a=1;user.password=x",
        "/login?x[user][email]=x",
    ] {
        assert_eq!(selected(&router, raw, &body), Err("query_credential"), "{raw}");
    }
}

#[test]
fn r30_every_header_that_claims_a_path_is_known_for_it() {
    for name in PATH_OVERRIDES.iter().chain(&PATH_HINTS) {
        assert!(claims_a_path(&HeaderName::from_static(name)), "{name}");
    }
    assert!(!claims_a_path(&HeaderName::from_static("x-request-id")));
}

#[test]
fn r30_overrides_of_method_and_path_are_refused_on_routes_and_let_be_elsewhere() {
    let router = router(&[route("/login")]);
    for name in METHOD_OVERRIDES.iter().chain(&PATH_OVERRIDES) {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("POST"))]);
        for method in [Method::GET, Method::POST, Method::PUT] {
            let reason = outcome_with(&router, &method, "/login", &headers);
            assert!(reason.ends_with("_override"), "{name} {method} {reason}");
            assert_eq!(outcome_with(&router, &method, "/other", &headers), "pass");
        }
    }
    let body = form("user[email]=a&user[password]=b");
    for raw in [
        "/login?_method=PUT",
        "/login?a=b&_METHOD=put",
        "/login?%5fmethod=put",
        "/login?.method=put",
        "/login?a;_method=put",
    ] {
        assert_eq!(selected(&router, raw, &body), Err("method_override"), "{raw}");
    }
    for extra in [
        "_method=put",
        "_METHOD=put",
        "%20_method=put",
        ".method=put",
        "[method=put",
        "_method[]=put",
        "X-HTTP-Method-Override=put",
    ] {
        let body = form(&format!("user[email]=a&user[password]=b&{extra}"));
        assert_eq!(selected(&router, "/login", &body), Err("method_override"), "{extra}");
    }
    assert_eq!(selected(&router, "/login", &form("method=sms")), Ok(Selection::Route(RouteIndex(0))));
}

#[test]
fn r30_a_route_that_asks_for_the_override_gets_it() {
    let mut reset = route("/users/password");
    reset.matcher.fields = vec!["_method".to_owned(), "user[password]".to_owned()];
    let router = router(&[reset]);
    let selection = selected(&router, "/users/password", &form("_method=put&user[password]=x"));
    assert_eq!(selection, Ok(Selection::Route(RouteIndex(0))));
    assert_eq!(selected(&router, "/users/password", &form("user[email]=x")), Ok(Selection::Pass));
}

#[test]
fn one_path_is_many_things_told_apart_by_fields() {
    let mut login = route("/wp-login.php");
    login.matcher.fields = vec!["log".to_owned(), "pwd".to_owned()];
    login.request = shape(BodyFormat::Form, "log", "pwd");
    let mut register = route("/wp-login.php");
    register.matcher.fields = vec!["user_login".to_owned(), "user_email".to_owned()];
    register.request = shape(BodyFormat::Form, "user_login", "user_email");
    let router = router(&[login, register]);
    let select = |body: &Decoded| selected(&router, "/wp-login.php", body);
    assert_eq!(select(&form("log=a&pwd=b&redirect_to=/")), Ok(Selection::Route(RouteIndex(0))));
    assert_eq!(select(&form("user_login=a&user_email=b")), Ok(Selection::Route(RouteIndex(1))));
    assert_eq!(select(&form("user_login=a")), Ok(Selection::Pass));
    assert_eq!(select(&form("")), Ok(Selection::Pass));
    // Another spelling of the fields must not get past: extraction refuses it.
    for body in ["LOG=a&pwd=b", "log[]=a&pwd=b", "%20log=a&pwd=b", "user.login=a&user%20email=b", "log%00x=a&pwd=b"] {
        assert!(matches!(select(&form(body)), Ok(Selection::Route(_))), "{body}");
    }
    // Rails reads either format into the same parameters.
    assert_eq!(
        select(&typed("application/json", r#"{"x":[{"LOG":"a"}],"log":[1],"pwd":{}}"#)),
        Err("unsupported_type")
    );
    assert_eq!(select(&typed("application/json", r#"{"log":"a","pwd":"b"}"#)), Err("unsupported_type"));
    assert_eq!(select(&typed("application/json", r#"{"log":"a"}"#)), Ok(Selection::Pass));
    match router.route(&Method::POST, &target("/wp-login.php"), &HeaderMap::new()) {
        Routed::Take(candidates) => assert!(candidates.needs_body_fields()),
        Routed::Pass | Routed::Read(_) | Routed::Doubt(_) | Routed::MethodNotAllowed(_) | Routed::Refused(..) => {
            panic!("not taken")
        }
    }
}

/// `$_REQUEST`, `request.values` and merged parameters make one request of all that.
#[test]
fn r39_credentials_scattered_over_query_and_body_do_not_pass_where_fields_tell_routes_apart() {
    let mut login = route("/wp-login.php");
    login.matcher.fields = vec!["log".to_owned(), "pwd".to_owned()];
    login.request = shape(BodyFormat::Form, "log", "pwd");
    let router = router(&[login]);
    for (raw, body) in [
        ("/wp-login.php?log=a&pwd=b", "x=1"),
        ("/wp-login.php?log=a&pwd=b", ""),
        ("/wp-login.php?log=a", "pwd=b"),
        ("/wp-login.php?LOG=a;pwd=b", "x=1"),
        ("/wp-login.php;log=a?pwd=b", ""),
        ("/wp-login.php??log=a&pwd=b", ""),
        ("/wp-login.php", "user[log]=a&user[pwd]=b"),
        ("/wp-login.php", "user[log]=a&pwd=b"),
    ] {
        assert_eq!(selected(&router, raw, &form(body)), Err("misplaced_credential"), "{raw} {body}");
    }
    for (raw, body) in [
        ("/wp-login.php?log=a", ""),
        ("/wp-login.php?action=register", "user_login=a&user_email=b"),
        ("/wp-login.php", "log=a"),
        ("/wp-login.php", "logs=a&pwd=b"),
    ] {
        assert_eq!(selected(&router, raw, &form(body)), Ok(Selection::Pass), "{raw} {body}");
    }
    let nested = typed("application/json", r#"{"user":{"log":"a","pwd":"b"}}"#);
    assert_eq!(selected(&router, "/wp-login.php", &nested), Err("misplaced_credential"));
}

#[test]
fn a_group_that_is_a_route_of_its_own_is_not_taken_for_a_scattered_login() {
    let mut login = route("/account");
    login.matcher.fields = vec!["email".to_owned(), "password".to_owned()];
    login.request = shape(BodyFormat::Form, "email", "password");
    let mut register = route("/account");
    register.matcher.fields = vec!["user[email]".to_owned(), "user[password]".to_owned()];
    let router = router(&[login, register]);
    let select = |body: &str| selected(&router, "/account", &form(body));
    assert_eq!(select("email=a&password=b"), Ok(Selection::Route(RouteIndex(0))));
    assert_eq!(select("user[email]=a&user[password]=b"), Ok(Selection::Route(RouteIndex(1))));
    assert_eq!(select("guest[email]=a&guest[password]=b"), Err("misplaced_credential"));
}

#[test]
fn r31_a_read_of_a_route_is_told_from_other_requests_so_that_its_body_can_be_refused() {
    let router = router(&[route("/login")]);
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        for raw in ["/login", "/LOGIN/", "/login.json"] {
            let Routed::Read(read) = router.route(&method, &target(raw), &HeaderMap::new()) else {
                panic!("{method} {raw} is no read")
            };
            assert_eq!((read.read_with_body().0, read.read_with_body().1.reason), (RouteIndex(0), "read_with_body"));
        }
        let elsewhere = router.route(&method, &target("/other"), &HeaderMap::new());
        assert!(matches!(elsewhere, Routed::Pass), "{method}");
    }
}

/// PHP's `$_REQUEST` takes the body's `action` before the query's.
#[test]
fn r26_what_a_route_asks_for_in_the_query_may_not_stand_in_the_body() {
    let with_action = |action: &str| {
        let mut route = route("/do");
        route.matcher.query = std::collections::BTreeMap::from([("action".to_owned(), action.to_owned())]);
        route.matcher.fields = vec!["user[email]".to_owned()];
        route
    };
    let router = router(&[with_action("login"), with_action("register")]);
    let types =
        |value: &'static str| HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static(value))]);
    let judge =
        |raw: &str, kind: &'static str, body: &str| match router.route(&Method::POST, &target(raw), &types(kind)) {
            Routed::Doubt(doubt) => match doubt.may_be_named_by(&types(kind), &target(raw), body.as_bytes()) {
                Ok(()) => "passed".to_owned(),
                Err((index, refusal)) => format!("{} {}", refusal.reason, index.0),
            },
            Routed::Take(candidates) => match candidates.select(&target(raw), &typed(kind, body)) {
                Ok(Selection::Route(index)) => format!("taken {}", index.0),
                Ok(Selection::Pass) => "passed".to_owned(),
                Err(refusal) => refusal.reason.to_owned(),
            },
            Routed::Pass | Routed::Read(_) | Routed::MethodNotAllowed(_) | Routed::Refused(..) => "no doubt".to_owned(),
        };
    const FORM: &str = "application/x-www-form-urlencoded";
    for (raw, kind, body, expected) in [
        ("/do?action=login", FORM, "user[email]=a", "taken 0"),
        ("/do", FORM, "action=login&user[email]=a", "query_in_body 0"),
        ("/do", FORM, "ACTION=Register&user[email]=a", "query_in_body 1"),
        ("/do?action=logout", FORM, "action=login&user[email]=a", "query_in_body 0"),
        ("/do?action=register", FORM, "action=login&user[email]=a", "query_in_body"),
        ("/do", "application/json", r#"{"action":"login","user":{"email":"a"}}"#, "query_in_body 0"),
        ("/do", "multipart/form-data; boundary=B", "--B name=\"action\" login --B user[email]", "query_in_body 0"),
        ("/do", FORM, "action=login&user[email]=%ff", "query_in_body 0"),
        ("/do", FORM, "action=logout&user[email]=a", "passed"),
        ("/do", FORM, "action=login", "passed"),
        ("/do", FORM, "", "passed"),
        ("/do", "multipart/form-data; boundary=B", "--B name=\"file\" a picture", "passed"),
        ("/do", "text/plain", "hello", "passed"),
    ] {
        assert_eq!(judge(raw, kind, body), expected, "{raw} {kind} {body}");
    }
    let other = router.route(&Method::POST, &target("/other"), &HeaderMap::new());
    assert!(matches!(other, Routed::Pass));
}

#[test]
fn one_path_is_many_things_told_apart_by_the_query() {
    let with_action = |action: &str, index_exact| {
        let mut route = route("/do");
        route.matcher.exact = index_exact;
        route.matcher.query = std::collections::BTreeMap::from([("action".to_owned(), action.to_owned())]);
        route
    };
    let router = router(&[with_action("login", false), with_action("register", false)]);
    for (raw, expected) in [
        ("/do?action=login", "take 0"),
        ("/do?x=1&action=register", "take 1"),
        ("/do?ACTION=Login", "take 0"),
        ("/do?%61ction=lo%67in", "take 0"),
        ("/do?action=logout", "pass"),
        ("/do", "pass"),
        ("/do?action=logout&action=login", "repeated_query"),
        ("/do?action=login&Action=x", "repeated_query"),
        ("/do?action[]=x&action=login", "repeated_query"),
        ("/do?action=login&x=%zz", "bad_percent"),
    ] {
        assert_eq!(outcome(&router, &Method::POST, raw), expected, "{raw}");
    }
    assert_eq!(outcome(&router, &Method::PUT, "/do?action=login"), "405");
    assert_eq!(outcome(&router, &Method::PUT, "/do?action=logout"), "pass");
}

#[test]
fn a_route_whose_path_is_odd_is_named() {
    let error = Router::new(&[route("/ok"), route("/a//b")]).err().expect("refused");
    assert_eq!((&*error.route, error.source), ("/a//b", PathError::EmptySegment));
}

proptest! {
    /// Decoding by the book, which every backend does at least, finds no way around a route.
    #[test]
    fn r26_no_spelling_with_the_same_meaning_gets_past(
        encoded in proptest::collection::vec(any::<bool>(), 14),
        upper in proptest::collection::vec(any::<bool>(), 14),
        params in "(;[a-z]{0,2}(=[0-9])?)?",
        suffix in "(\\.[a-z]{1,5})?",
        slash in "/?",
    ) {
        let router = router(&[route("/users/sign_in")]);
        let mut raw = String::new();
        for ((c, encoded), upper) in "/users/sign_in".chars().zip(encoded).zip(upper) {
            let c = if upper { c.to_ascii_uppercase() } else { c };
            if encoded && c != '/' { raw.push_str(&format!("%{:02x}", u32::from(c))) } else { raw.push(c) }
        }
        raw.push_str(&suffix);
        raw.push_str(&params);
        raw.push_str(&slash);
        prop_assert_eq!(outcome(&router, &Method::POST, &raw), "take 0", "{}", raw);
    }

    #[test]
    fn any_target_is_routed(raw in "/[ -~]{0,30}", method in prop_oneof![Just(Method::GET), Just(Method::POST), Just(Method::PUT)]) {
        let router = router(&[route("/login"), exact("/a"), route("/x.php")]);
        if let Ok(target) = CanonicalTarget::parse_str(&raw, PathPolicy::Tolerant) {
            let _ = router.route(&method, &target, &HeaderMap::new());
        }
    }
}

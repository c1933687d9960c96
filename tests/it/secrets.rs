//! R116: a password and a token that nobody has ever seen are sent through every route, mode and failure of the built program, which logs
//! all it can; then they are looked for in all that it wrote and said.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app::ADMIN_TOKEN;
use crate::support::configs::*;
use crate::support::legacy::{DoubleUser, LegacyDouble, Misbehaviour, ann};
use crate::support::process::Process;
use crate::support::raw_client::{Answer, send};

/// Every kind of byte that some encoding changes.
const PASSWORD: &str = "c4n4ry/Pass+word=%d&1 <é>";
const NEW_PASSWORD: &str = "an0ther/c4n4ry+Pass=word";
/// Long and of letters that base64 and hex change.
const TOKEN_CANARY: &str = "c4n4ryT0ken9Zq7vX2";

/// The keys of the store and of the hashes, as they are configured.
const SEALING_KEY: &str = "c2VhbGluZy1jYW5hcnkgb2YgMzIgYnl0ZXMsIHllczE=";
const PEPPER: &str = "cGVwcGVyaW5nIGNhbmFyeSBvZiAzMiBieXRlcywgeWU=";

/// What only profiles say: operators see it, and a sealed store does not show it.
const PROFILE_CANARY: &str = r#""theme":"dark""#;

const ROUTES: &str = r#"
    [tokens.refresh]
    ttl = "7d"
    claims = { sub = "{{ user.id }}", token_type = "refresh" }
    [upstream.identity_headers]
    x-remote-user = "{{ user.login }}"
    [[route]]
    name = "me"
    action = "get_user"
    match = { method = "GET", path = "/me" }
    [[route]]
    name = "refresh"
    action = "refresh"
    match = { method = "POST", path = "/refresh" }
    request = { token = "/refresh" }
    [[route]]
    name = "logout"
    action = "logout"
    match = { method = "POST", path = "/logout" }
    [[route]]
    name = "change"
    action = "change_password"
    match = { method = "POST", path = "/users/password" }
    request = { login = "/email", password = "/current", new_password = "/new" }
    forward.success = "status == 204"
    forward.denied = "status == 403"
    [[route]]
    name = "reset"
    action = "reset_password"
    match = { method = "POST", path = "/reset" }
    request = { login = "/email", new_password = "/new" }
    forward.success = "status == 200"
    forward.denied = "status == 403"
    [[route]]
    name = "delete"
    action = "delete_user"
    match = { method = "POST", path = "/gone" }
    request = { login = "/email", password = "/current" }
    forward.success = "status == 200"
    forward.denied = "status == 403"
"#;

/// She logs in by a route whose answer is a token, and by no other: it is what her profile would be made of.
fn eve() -> DoubleUser {
    DoubleUser {
        id: 11,
        email: "eve@example.com".to_owned(),
        username: "Eve".to_owned(),
        phone: "+49 151 11".to_owned(),
        password: PASSWORD.to_owned(),
        ..ann()
    }
}

fn config(double: &LegacyDouble) -> String {
    // Claims of the answer's token, and no word on a profile: then it is the whole answer, token included.
    let api = api_login(BY_CLAIMS);
    let token = TOKEN.replace("claims = {", "claims = { token_type = \"access\",");
    let tables = [&token, GET_USER, CALL_LOGIN, CALL_REGISTER, LOGIN, WEB_LOGIN, &api, ROUTES, FORWARDED_REGISTER];
    let tables = [&tables[..], &[&register("legacy_first")]].concat().concat();
    let more = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
         token = {{ value = \"{ADMIN_TOKEN}\" }}\n[log]\nlevel = \"trace\"\nformat = \"json\"\n\
         [store.encryption]\nseal_with = \"2026\"\nkeys.2026 = {{ value = \"{SEALING_KEY}\" }}\n\
         [password.pepper]\nhash_with = \"2026\"\nkeys.2026 = {{ value = \"{PEPPER}\" }}\n"
    );
    let base =
        base(double, "mode = \"observe\"", "1s").replace("[upstream]", "[upstream]\nresponse_timeout = \"300ms\"");
    [&base, tables.as_str(), &more].concat()
}

/// Every way in which a secret could have been written down.
fn spellings(secret: &str) -> Vec<Vec<u8>> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let json = Value::from(secret).to_string();
    let form = form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>();
    let mut found = vec![
        secret.to_owned(),
        json.trim_matches('"').to_owned(),
        json.trim_matches('"').replace('é', "\\u00e9"),
        form,
        utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
        hex.to_uppercase(),
        hex,
        secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
        format!("{:?}", secret.as_bytes()).trim_matches(['[', ']']).to_owned(),
    ];
    // Base64 depends on where the secret stands in what was encoded: the middle of each of the three is the same everywhere.
    for ahead in 0..3 {
        let shifted = [&b"xxx"[..ahead], secret.as_bytes()].concat();
        for encoded in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            found.push(encoded[4..encoded.len() - 4].to_owned());
        }
    }
    let utf16: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
    found.into_iter().map(String::into_bytes).chain([utf16]).collect()
}

/// The same of a key, and of the bytes that it stands for.
fn spellings_of_key(key: &str) -> Vec<Vec<u8>> {
    let bytes = STANDARD.decode(key).expect("base64");
    let text = String::from_utf8(bytes).expect("readable in this test alone");
    [spellings(key), spellings(&text)].concat()
}

/// Whether any of the secrets stands in there.
fn found_in(what: &[u8]) -> Option<String> {
    let secrets = [PASSWORD, NEW_PASSWORD, TOKEN_CANARY, &ann().token(), &eve().token()].map(spellings);
    let keys = [SEALING_KEY, PEPPER].map(spellings_of_key);
    let secrets = [secrets.concat(), keys.concat()].concat();
    let hit = secrets.iter().find(|spelling| what.windows(spelling.len()).any(|window| window == **spelling));
    hit.map(|spelling| String::from_utf8_lossy(spelling).into_owned())
}

fn is_clean(what: &str, text: &[u8]) {
    assert_eq!(found_in(text), None, "in {what}: {}", String::from_utf8_lossy(text));
}

async fn set_mode(admin: SocketAddr, mode: &str) {
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let body = json!({ "mode": mode, "confirm": mode }).to_string();
    assert_eq!(send(admin, "PUT", "/api/v1/mode", &headers, &body).await.status, 200);
}

/// Sends the secrets wherever one can be sent, and gives the answers of ours.
async fn send_everywhere(public: SocketAddr) -> Vec<(String, Answer)> {
    let email = ann().email;
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("user[email]", &email)
        .append_pair("user[password]", PASSWORD)
        .finish();
    let (json_type, form_type) = ("application/json", "application/x-www-form-urlencoded");
    let login = json!({ "email": email, "password": PASSWORD }).to_string();
    let encoded = utf8_percent_encode(PASSWORD, NON_ALPHANUMERIC).to_string();
    let new = json!({ "email": "carl@example.com", "password": NEW_PASSWORD, "hint": NEW_PASSWORD }).to_string();
    let requests: Vec<(&str, String, &str, String)> = vec![
        ("POST", "/login".into(), json_type, login.clone()),
        ("POST", "/login".into(), json_type, login.replace("{", "{\"n\":")),
        ("POST", "/login".into(), json_type, login.replace("\"email\"", "\"password\"")),
        ("POST", "/login".into(), "text/plain", login.clone()),
        ("POST", "/login".into(), json_type, json!({ "email": PASSWORD, "password": [PASSWORD] }).to_string()),
        (
            "POST",
            "/login".into(),
            json_type,
            json!({ "email": "x@y.z\u{1b}[31m\r\n", "password": PASSWORD }).to_string(),
        ),
        ("POST", format!("/login?password={encoded}"), json_type, login.clone()),
        ("GET", format!("/login?password={encoded}&token={TOKEN_CANARY}"), "", String::new()),
        ("GET", format!("/elsewhere?password={encoded}&token={TOKEN_CANARY}"), "", String::new()),
        ("PUT", "/login".into(), json_type, login.clone()),
        ("POST", "/api/login".into(), json_type, login),
        ("POST", "/api/login".into(), json_type, json!({ "email": eve().email, "password": PASSWORD }).to_string()),
        ("POST", "/users/sign_in".into(), form_type, form.clone()),
        ("POST", "/users/sign_in".into(), form_type, form + "&user%5Bpassword%5D=again"),
        ("POST", "/register".into(), json_type, new.clone()),
        ("POST", "/internal/register".into(), json_type, new.replace("carl", "dora")),
        ("POST", "/register".into(), json_type, new.replace("carl@example.com", "\u{200b}")),
        (
            "POST",
            "/users/password".into(),
            json_type,
            json!({ "email": email, "current": PASSWORD, "new": NEW_PASSWORD }).to_string(),
        ),
        (
            "POST",
            "/users/password".into(),
            json_type,
            json!({ "email": email, "current": NEW_PASSWORD, "new": PASSWORD }).to_string(),
        ),
        (
            "POST",
            "/reset".into(),
            json_type,
            json!({ "email": email, "new": PASSWORD, "code": TOKEN_CANARY }).to_string(),
        ),
        ("POST", "/refresh".into(), json_type, json!({ "refresh": TOKEN_CANARY }).to_string()),
        ("POST", "/refresh".into(), json_type, json!({ "refresh": { "x": TOKEN_CANARY } }).to_string()),
        ("GET", "/me".into(), "", String::new()),
        ("POST", "/logout".into(), "", String::new()),
        (
            "POST",
            "/gone".into(),
            json_type,
            json!({ "email": "carl@example.com", "current": NEW_PASSWORD }).to_string(),
        ),
    ];
    let mut answers = Vec::new();
    for (method, target, content_type, body) in requests {
        let (bearer, cookie) = (format!("Bearer {TOKEN_CANARY}"), format!("sid={TOKEN_CANARY}; other={TOKEN_CANARY}"));
        let headers = [("Content-Type", content_type), ("Authorization", &bearer), ("Cookie", &cookie)];
        let answer = send(public, method, &target, &headers, &body).await;
        answers.push((format!("{method} {target}"), answer));
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r116_no_secret_is_ever_written_down_or_said() {
    let double = LegacyDouble::well_behaved();
    double.put_user(DoubleUser { password: PASSWORD.to_owned(), ..ann() });
    double.put_user(eve());
    let folder = TempDir::new().expect("a folder");
    let text = config(&double);
    let proxy = {
        let path = folder.path().to_owned();
        tokio::task::block_in_place(move || Process::start(&path, &text))
    };
    let (public, admin) = (proxy.public(), proxy.admin());
    let mut statuses = std::collections::BTreeSet::new();
    let kinds = [
        None,
        Some(Misbehaviour::HangsUp),
        Some(Misbehaviour::Garbage),
        Some(Misbehaviour::OkWithHalfJson),
        Some(Misbehaviour::ServerError),
        None,
    ];
    for mode in ["observe", "migrate", "passthrough", "migrate", "retired"] {
        set_mode(admin, mode).await;
        for misbehaviour in kinds {
            double.behave(misbehaviour);
            for (request, answer) in send_everywhere(public).await {
                statuses.insert(answer.status);
                // An answer of legacy's own may say what it likes; what we refuse or cannot do says nothing of it.
                if answer.status >= 400 {
                    is_clean(&format!("the answer to {request} in {mode}"), format!("{answer:?}").as_bytes());
                }
            }
        }
    }
    for status in [200, 201, 303, 400, 401, 405, 409, 415, 422, 502, 503] {
        assert!(statuses.contains(&status), "{status} was met: {statuses:?}");
    }

    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let headers = [("Authorization", bearer.as_str())];
    let users = send(admin, "GET", "/api/v1/users", &headers, "").await;
    let listed: Value = users.json();
    let ids = listed["users"].as_array().expect("a list").iter().filter_map(|user| user["id"].as_str());
    let mut pages: Vec<String> = ids.map(|id| format!("/api/v1/users/{id}")).collect();
    assert!(!pages.is_empty(), "{listed}");
    let mut profiles = String::new();
    for page in &pages {
        profiles.push_str(&send(admin, "GET", page, &headers, "").await.body);
    }
    assert!(profiles.contains(PROFILE_CANARY), "operators see profiles: {profiles}");
    pages.extend(pages.clone().iter().map(|page| page.replace("/api/v1", "/console")));
    pages.extend(
        [
            "/api/v1/users",
            "/api/v1/status",
            "/api/v1/mode",
            "/api/v1/conflicts?decided=true",
            "/api/v1/explain?identifier=ann@example.com",
            "/metrics",
            "/console",
            "/console/users",
            "/console/conflicts",
            "/console/explain?identifier=ann@example.com",
        ]
        .map(str::to_owned),
    );
    let cookie = console_session(admin).await;
    for page in pages {
        let headers = [("Authorization", bearer.as_str()), ("Cookie", cookie.as_str())];
        let answer = send(admin, "GET", &page, &headers, "").await;
        assert_eq!(answer.status, 200, "{page}: {answer:?}");
        is_clean(&page, format!("{answer:?}").as_bytes());
    }

    proxy.terminate();
    let (ended, log) = tokio::task::block_in_place(move || proxy.wait());
    assert!(ended.success(), "{log}");
    for level in ["DEBUG", "INFO"] {
        assert!(log.contains(level), "it logs all it can: {level}");
    }
    for line in log.lines() {
        is_clean("the log", line.as_bytes());
    }
    let store = std::fs::read(folder.path().join("users.redb")).expect("the store");
    for known in ["ann@example.com", "eve@example.com", "dora@example.com"] {
        let holds = store.windows(known.len()).any(|window| window == known.as_bytes());
        assert!(holds, "the store keeps users as they are: {known}");
    }
    let shown = store.windows(PROFILE_CANARY.len()).any(|window| window == PROFILE_CANARY.as_bytes());
    assert!(!shown, "r102: a profile in a sealed store");
    if let Some(spelling) = found_in(&store) {
        let at = store.windows(spelling.len()).position(|window| window == spelling.as_bytes()).unwrap_or(0);
        let around = &store[at.saturating_sub(200)..(at + 200).min(store.len())];
        panic!("in the store: {}", String::from_utf8_lossy(around));
    }
}

async fn console_session(admin: SocketAddr) -> String {
    let origin = format!("http://{admin}");
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Origin", origin.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
    ];
    let body = format!("token={ADMIN_TOKEN}");
    let answer = send(admin, "POST", "/console/sign-in", &headers, &body).await;
    let line = answer.header("set-cookie").unwrap_or_else(|| panic!("a session: {answer:?}"));
    line.split(';').next().expect("a pair").to_owned()
}

#[test]
fn the_search_finds_every_spelling() {
    for secret in [PASSWORD, NEW_PASSWORD, TOKEN_CANARY, SEALING_KEY, PEPPER] {
        for encoded in [
            format!("a {secret} b"),
            json!({ "x": secret }).to_string(),
            STANDARD_NO_PAD.encode(format!("user:{secret}:x")),
            STANDARD_NO_PAD.encode(format!("user1:{secret}:x")),
            URL_SAFE_NO_PAD.encode(format!("users2:{secret}:x")),
            form_urlencoded::Serializer::new(String::new()).append_pair("p", secret).finish(),
            format!("{:?}", secret.as_bytes()),
        ] {
            assert!(found_in(encoded.as_bytes()).is_some(), "{secret} as {encoded}");
        }
    }
    assert_eq!(found_in(b"canary"), None);
}

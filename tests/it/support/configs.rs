//! Configurations for [`super::app::start`], in parts that a topic puts together: [`base`] and the tables that it needs.

use super::legacy::LegacyDouble;
use super::raw_client::Answer;

/// Long: for answers that come.
pub(crate) const PATIENT: &str = "20s";
/// Short: each outage that is a matter of time takes so long.
pub(crate) const SHORT: &str = "300ms";

/// A migration in front of a double, with cheap hashes and no limits that a test would meet by accident. `migration` are the lines
/// of `[migration]`.
pub(crate) fn base(double: &LegacyDouble, migration: &str, timeout: &str) -> String {
    let url = double.url();
    format!(
        r#"
        [migration]
        {migration}
        [upstream]
        url = "{url}"
        [legacy]
        timeout = "{timeout}"
        breaker = {{ failures = 1000, open_for = "1s" }}
        [password]
        argon2id = {{ memory = "8MiB", iterations = 1, parallelism = 1 }}
        [limits]
        per_ip = {{ rate = "100000/1m", burst = 100000 }}
        per_account = {{ rate = "100/15m", burst = 100, count = "failures" }}
        register_per_ip = {{ rate = "100000/1m", burst = 100000 }}
        "#
    )
}

/// `mode`, patiently, and these tables.
pub(crate) fn in_mode(mode: &str, double: &LegacyDouble, tables: &[&str]) -> String {
    [&base(double, &format!("mode = \"{mode}\""), PATIENT), tables.concat().as_str()].concat()
}

pub(crate) const KEY: &str = "only-for-the-tests-change-me-32-bytes!";

pub(crate) const TOKEN: &str = r#"
    [token]
    key = { value = "only-for-the-tests-change-me-32-bytes!" }
    claims = { sub = "{{ user.id }}", email = "{{ user.email }}" }
"#;

pub(crate) const CALL_LOGIN: &str = r#"
    [legacy.login]
    request = { method = "POST", path = "/internal/login", json = { email = "{{ login }}", password = "{{ password }}" } }
    success = "status == 200 and json.user.id is defined"
    denied = "status in [401, 403, 404]"
    challenge = "json.mfa_required is defined"
    user = { id = "json.user.id", email = "json.user.email", username = "json.user.username", phone = "json.user.phone", profile = "json.user" }
"#;

pub(crate) const CALL_REGISTER: &str = r#"
    [legacy.register]
    request = { method = "POST", path = "/internal/register", json = { email = "{{ login }}", password = "{{ password }}" } }
    success = "status == 201"
    denied = "status == 409"
    user = { id = "json.user.id", email = "json.user.email", username = "json.user.username", phone = "json.user.phone", profile = "json.user" }
"#;

pub(crate) const GET_USER: &str = r#"
    [legacy.get_user]
    request = { method = "GET", path = "/internal/users/{{ login | urlencode }}" }
    found = "status == 200"
    not_found = "status == 404"
    user = { id = "json.id", email = "json.email", username = "json.username", phone = "json.phone", profile = "json" }
"#;

/// `get_user` as a whoami: it cannot be asked for a name.
pub(crate) const WHOAMI: &str = r#"
    [legacy.get_user]
    request = { method = "GET", path = "/api/me", headers = { authorization = "Bearer {{ answer.json.accessToken }}" } }
    found = "status == 200"
    not_found = "status == 404"
    user = { id = "json.id", email = "json.email", username = "json.username", phone = "json.phone", profile = "json" }
"#;

/// `POST /login`, composed.
pub(crate) const LOGIN: &str = r#"
    [[route]]
    name = "login"
    action = "login"
    match = { method = "POST", path = "/login" }
    request = { login = "/email", password = "/password" }
    legacy = "call"
    reply.ok = { status = 200, json = '{"token": {{ token | tojson }}, "user": {{ user.profile | tojson }}}' }
    reply.denied = { status = 401, json = '{"error": "invalid credentials"}' }
    reply.unavailable = { status = 503, json = '{"error": "try again later"}' }
"#;

/// `POST /users/sign_in`, a form that is forwarded; the proof is a cookie, and `get_user` says who it was.
pub(crate) const WEB_LOGIN: &str = r#"
    [[route]]
    name = "web"
    action = "login"
    match = { method = "POST", path = "/users/sign_in", fields = ["user[email]", "user[password]"] }
    request = { form = true, login = "user[email]", password = "user[password]" }
    legacy = "forward"
    forward.success = "status in [302, 303] and headers.location is not endingwith('/users/sign_in') and set_cookies.remember is defined"
    forward.denied = "status in [200, 422]"
    forward.challenge = "'/twofa' in headers.location | default('')"
    forward.user = { from = "get_user" }
    reply.ok = { status = 303, headers = { location = "/home" } }
    reply.denied = { status = 200, headers = { content-type = "text/html" }, body = "<p>Wrong name or password.</p>" }
"#;

/// `POST /api/login`, JSON that is forwarded; the answer is a token.
pub(crate) fn api_login(user: &str) -> String {
    format!(
        r#"
        [[route]]
        name = "api"
        action = "login"
        match = {{ method = "POST", path = "/api/login" }}
        request = {{ login = "/email", password = "/password" }}
        legacy = "forward"
        forward.success = "status == 200 and json.accessToken is defined"
        forward.denied = "status == 400 and json == 'Incorrect password'"
        forward.user = {user}
        reply.ok = {{ status = 200, json = '{{"accessToken": {{{{ token | tojson }}}}}}' }}
        reply.denied = {{ status = 400, json = '"Wrong, we say"' }}
        reply.unavailable = {{ status = 503, json = '"Later"' }}
        "#
    )
}

/// Who it is, by the claims of the token in the answer.
pub(crate) const BY_CLAIMS: &str =
    r#"{ id = "(json.accessToken | jwt_claims).sub", email = "(json.accessToken | jwt_claims).email" }"#;

/// What an answer is, apart from what belongs to the connection or to whoever serves it.
pub(crate) fn substance(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    const HOPS: [&str; 6] = ["date", "connection", "content-length", "transfer-encoding", "via", "keep-alive"];
    let headers = answer.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let headers = headers.filter(|(name, _)| !HOPS.contains(&name.as_str())).collect();
    (answer.status, headers, answer.body.clone())
}

/// The `Set-Cookie` lines of an answer, in order.
pub(crate) fn cookies(answer: &Answer) -> Vec<&str> {
    let lines = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    lines.map(|(_, value)| value.as_str()).collect()
}

/// `POST /register`, composed; `write` as given.
pub(crate) fn register(write: &str) -> String {
    format!(
        r#"
        [[route]]
        name = "register"
        action = "register"
        match = {{ method = "POST", path = "/register" }}
        request = {{ login = "/email", password = "/password", username = "/username", profile = "" }}
        legacy = "call"
        write = "{write}"
        reply.ok = {{ status = 201, json = '{{"token": {{{{ token | tojson }}}}, "user": {{{{ user.profile | tojson }}}}}}' }}
        reply.exists = {{ status = 409, json = '{{"error": "taken, we say"}}' }}
        reply.unavailable = {{ status = 503, json = '{{"error": "try again later"}}' }}
        "#
    )
}

/// `POST /internal/register`, the double's own, forwarded.
pub(crate) const FORWARDED_REGISTER: &str = r#"
    [[route]]
    name = "register-there"
    action = "register"
    match = { method = "POST", path = "/internal/register" }
    request = { login = "/email", password = "/password", profile = "" }
    legacy = "forward"
    write = "legacy_first"
    forward.success = "status == 201"
    forward.denied = "status == 409"
    forward.user = { id = "json.user.id", email = "json.user.email", username = "json.user.username", profile = "json.user" }
    reply.exists = { status = 409, json = '{"error": "taken, we say"}' }
    reply.unavailable = { status = 503, json = '{"error": "try again later"}' }
"#;

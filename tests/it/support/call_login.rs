//! The configuration of the plainest deployment: login and registration by composed calls, answered in JSON.

use super::legacy::LegacyDouble;

/// A `call` login and registration in front of a double, in a mode, with more lines at the end.
pub(crate) fn call_login(double: &LegacyDouble, mode: &str, more: &str) -> String {
    let url = double.url();
    format!(
        r#"
        [migration]
        mode = "{mode}"
        [upstream]
        url = "{url}"
        [legacy]
        timeout = "400ms"
        breaker = {{ failures = 1000, open_for = "1s" }}
        [legacy.login]
        request = {{ method = "POST", path = "/internal/login", json = {{ email = "{{{{ login }}}}", password = "{{{{ password }}}}" }} }}
        success = "status == 200 and json.user.id is defined"
        denied = "status in [401, 403, 404]"
        challenge = "json.mfa_required is defined"
        user = {{ id = "json.user.id", email = "json.user.email", username = "json.user.username", phone = "json.user.phone", profile = "json.user" }}
        [legacy.get_user]
        request = {{ method = "GET", path = "/internal/users/{{{{ login | urlencode }}}}" }}
        found = "status == 200"
        not_found = "status == 404"
        user = {{ id = "json.id", email = "json.email", username = "json.username", phone = "json.phone", profile = "json" }}
        [[route]]
        name = "login"
        action = "login"
        match = {{ method = "POST", path = "/login" }}
        request = {{ login = "/email", password = "/password" }}
        legacy = "call"
        reply.ok = {{ status = 200, json = '{{"token": {{{{ token | tojson }}}}, "user": {{{{ user.profile | tojson }}}}}}' }}
        reply.denied = {{ status = 401, json = '{{"error": "invalid credentials"}}' }}
        reply.unavailable = {{ status = 503, json = '{{"error": "try again later"}}' }}
        [[route]]
        name = "register"
        action = "register"
        match = {{ method = "POST", path = "/register" }}
        request = {{ login = "/email", password = "/password", profile = "" }}
        legacy = "call"
        reply.ok = {{ status = 201, json = '{{"user": {{{{ user.profile | tojson }}}}}}' }}
        reply.exists = {{ status = 409, json = '{{"error": "user already exists"}}' }}
        [token]
        key = {{ value = "only-for-the-tests-change-me-32-bytes!" }}
        claims = {{ sub = "{{{{ user.id }}}}", email = "{{{{ user.email }}}}" }}
        [password]
        argon2id = {{ memory = "8MiB", iterations = 1, parallelism = 1 }}
        [limits]
        per_ip = {{ rate = "100000/1m", burst = 100000 }}
        per_account = {{ rate = "10/15m", burst = 10, count = "failures" }}
        register_per_ip = {{ rate = "100000/1m", burst = 100000 }}
        {more}
        "#
    )
}

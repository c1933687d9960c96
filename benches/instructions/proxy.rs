//! The proxy as `authferry run` has it, logging included: only its hashes are the smallest there are, so that they do not drown the rest.
//! It starts its peers, serves them, and ends with them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};

use authferry::app::App;
use authferry::config::{Config, Environment};
use authferry::telemetry::logging;

use super::Scenario;

pub(crate) fn run(scenario: Scenario, requests: usize) {
    let mut peers = Command::new(std::env::current_exe().expect("this program"))
        .args(["peers", scenario.name(), &requests.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the peers start");
    let mut app = String::new();
    BufReader::new(peers.stdout.take().expect("piped")).read_line(&mut app).expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(scenario, app.trim().parse().expect("an address"), folder.path());
    let _log = logging::init(config.log.format, &config.log.level).expect("a log");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let app = App::build(config).await.expect("a proxy");
        let address = app.addresses().public[0].tcp().expect("TCP");
        writeln!(peers.stdin.take().expect("piped"), "{address}").expect("written");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || stop.send(peers.wait().expect("the peers end")));
        app.run(async move { assert!(stopped.await.expect("waited for").success(), "the peers got what they wanted") })
            .await
            .expect("a clean end");
    });
}

fn config(scenario: Scenario, app: SocketAddr, folder: &Path) -> Config {
    let per_ip = match scenario {
        Scenario::Refusal => r#"{ rate = "1/24h", burst = 1 }"#,
        Scenario::Forward | Scenario::Login | Scenario::FirstLogin => r#"{ rate = "1000000/1s", burst = 1000000 }"#,
    };
    let store = folder.join("users.redb");
    let text = format!(
        r#"
        [server]
        workers = 1
        [[listener]]
        bind = "127.0.0.1:0"
        [upstream]
        url = "http://{app}"
        [legacy]
        url = "http://{app}/"
        [legacy.login]
        request = {{ method = "POST", path = "/login", json = {{ email = "{{{{ login }}}}", password = "{{{{ password }}}}" }} }}
        success = "status == 200 and json.user.id is defined"
        denied = "status == 401"
        user = {{ id = "json.user.id", email = "json.user.email", profile = "json.user" }}
        [[route]]
        name = "login"
        action = "login"
        match = {{ method = "POST", path = "/api/login" }}
        request = {{ login = "/email", password = "/password" }}
        legacy = "call"
        reply.ok = {{ status = 200, json = '{{"token": {{{{ token | tojson }}}}, "user": {{{{ user | tojson }}}}}}' }}
        reply.limited = {{ status = 429, json = '{{"error": "too many attempts"}}' }}
        [token]
        key = {{ value = "only-for-the-bench-change-me-32-bytes!" }}
        [store]
        path = {store:?}
        [password]
        workers = 1
        [limits]
        per_ip = {per_ip}
        per_account = {{ rate = "1000000/1s", burst = 1000000, count = "failures" }}
        [admin]
        bind = "off"
        [log]
        format = "json"
        "#
    );
    let environment = Environment::new([], NonZeroUsize::MIN);
    let mut config = Config::from_text(&text, "bench", &environment).unwrap_or_else(|error| panic!("{error}"));
    (config.password.memory_kib, config.password.iterations) = (8, 1);
    config
}

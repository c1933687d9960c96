//! The log beside its requests: they never wait for it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::Value;

use crate::support::client::RawClient;
use crate::support::process::authferry;
use crate::support::raw_client;
use crate::support::upstream::Upstream;

/// More lines than a pipe and the log's own queue hold together.
const REQUESTS: usize = 20_000;
const AT_ONCE: usize = 500;

#[tokio::test]
async fn requests_are_answered_though_nobody_reads_the_log() {
    let app = Upstream::echo().await;
    let folder = tempfile::tempdir().expect("a directory");
    let config = format!(
        r#"
        [migration]
        mode = "passthrough"
        [[listener]]
        bind = "127.0.0.1:0"
        [upstream]
        url = "{}"
        [store]
        path = "users.redb"
        [admin]
        bind = "127.0.0.1:0"
        token = {{ value = "only-for-the-tests" }}
        [log]
        format = "json"
        "#,
        app.url()
    );
    std::fs::write(folder.path().join("proxy.toml"), config).expect("written");
    let mut command = authferry(folder.path(), &["run"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = Ended(command.spawn().expect("the binary starts"));
    let mut log = BufReader::new(process.0.stderr.take().expect("piped"));
    let (mut public, mut admin) = (None::<SocketAddr>, None::<SocketAddr>);
    for line in log.by_ref().lines() {
        let event: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
        let address = event["address"].as_str().and_then(|address| address.trim_start_matches("http://").parse().ok());
        match (event["message"].as_str(), event["listener"].as_str()) {
            (Some("listening"), Some("public")) => public = address,
            (Some("listening"), Some("admin")) => admin = address,
            (Some("ready"), _) => break,
            _ => {}
        }
    }
    // From here on nobody reads, and the pipe stays open.
    let mut client = RawClient::connect(public.expect("a listener")).await;
    for _ in 0..REQUESTS / AT_ONCE {
        client.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n".repeat(AT_ONCE)).await;
        for _ in 0..AT_ONCE {
            assert_eq!(client.answer().await.status, 200);
        }
    }
    let token = [("authorization", "Bearer only-for-the-tests")];
    let metrics = raw_client::send(admin.expect("a listener"), "GET", "/metrics", &token, "").await;
    let dropped = metrics.body.lines().find_map(|line| line.strip_prefix("authferry_log_lines_dropped_total "));
    assert_ne!(dropped.expect("counted"), "0");
    drop(log);
}

/// A process that does not outlive its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

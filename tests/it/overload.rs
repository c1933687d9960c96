//! More than can be served: hashing that is all taken, a legacy that hangs, clients that hold what they get. What the others see of
//! it, and what it costs (R22 to R24, R54, R77, R107).

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::app::{ADMIN_TOKEN, Operator, Running, start};
use crate::support::configs::*;
use crate::support::h2::{END_HEADERS, Frame, HEADERS, SETTINGS, block};
use crate::support::legacy::LegacyDouble;
use crate::support::process::{Process, authferry};
use crate::support::raw_client::send;
use crate::support::soon;

const ANN: &str = "ann@example.com";
const RIGHT: &str = "correct horse battery";
const JSON: &str = "application/json";
const UNDER_WAY: &str = "authferry_requests";

/// Seconds, as an honest answer has them.
fn retry_after(value: Option<&str>) -> u64 {
    let seconds: u64 = value.and_then(|value| value.parse().ok()).expect("a Retry-After in seconds");
    assert!((1..=45).contains(&seconds), "{seconds}");
    seconds
}

/// What everybody else does meanwhile, in the app and as an operator.
async fn others_are_served(proxy: &Running) {
    for _ in 0..20 {
        assert_eq!(send(proxy.public, "GET", "/others", &[], "").await.status, 200);
        assert_eq!(send(proxy.admin, "GET", "/health/ready", &[], "").await.status, 200);
        assert_eq!(proxy.operator().get("/api/v1/status").await.status, 200);
    }
}

#[tokio::test]
async fn r54_with_the_hash_queue_full_logins_are_shed_at_once_and_everybody_else_is_served() {
    let double = LegacyDouble::well_behaved();
    double.say("GET", "/others", 200, &[], "the app");
    // A hash of seconds, so that the queue stays full for longer than the others take.
    let slow = in_mode("migrate", &double, &[TOKEN, LOGIN, CALL_LOGIN]).replace(
        r#"argon2id = { memory = "8MiB", iterations = 1, parallelism = 1 }"#,
        "argon2id = { memory = \"64MiB\", iterations = 64, parallelism = 1 }\nworkers = 1\nqueue = 4\nqueue_deadline = \"1h\"",
    );
    let proxy = start(&slow).await;
    proxy.set_mode("retired").await;
    let (depth, shed) = ("authferry_password_queue_depth", ["unknown", "queue_full"]);
    let shed = async || proxy.metric("authferry_password_shed_total", &shed).await;
    // One is computed, four wait, and more are refused. The first few may come before the thread has taken its first.
    let mut waiting = Vec::new();
    for number in 0..12 {
        let (public, name) = (proxy.public, format!("nobody{number}@example.com"));
        let before = (proxy.metric(depth, &[]).await, shed().await);
        waiting.push(tokio::spawn(async move { login_at(public, &name).await }));
        if number > 0 {
            soon("it to wait or to be refused", async {
                while (proxy.metric(depth, &[]).await, shed().await) == before {}
            })
            .await;
        }
    }
    assert!((proxy.metric(depth, &[]).await - 4.0).abs() < 0.5);
    let before = shed().await;
    let mut told = Vec::new();
    for _ in 0..20 {
        let shed = proxy.login(ANN, RIGHT).await;
        assert_eq!(shed.status, 503, "{shed:?}");
        told.push(retry_after(shed.header("retry-after")));
    }
    assert!(told.iter().any(|seconds| *seconds != told[0]), "not all at the same time: {told:?}");
    others_are_served(&proxy).await;
    let still = proxy.metric(depth, &[]).await;
    assert!(still >= 3.0, "all of that was while {still} waited");
    assert!((shed().await - before - 20.0).abs() < 0.5);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

/// A login whose answer nobody needs.
async fn login_at(public: SocketAddr, name: &str) -> u16 {
    let body = serde_json::json!({ "email": name, "password": RIGHT }).to_string();
    let mut stream = TcpStream::connect(public).await.expect("a listener");
    let head =
        format!("POST /login HTTP/1.1\r\nHost: {public}\r\nContent-Type: application/json\r\nConnection: close\r\n");
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

#[tokio::test]
async fn r77_a_legacy_that_hangs_holds_as_many_as_it_may_and_everybody_else_is_served() {
    let double = LegacyDouble::well_behaved();
    double.say("GET", "/others", 200, &[], "the app");
    let text =
        in_mode("migrate", &double, &[TOKEN, LOGIN, CALL_LOGIN]).replace("[legacy]", "[legacy]\nmax_in_flight = 4");
    let proxy = start(&text).await;
    double.hold("/internal/login");
    let hanging: Vec<_> = (0..4)
        .map(|number| {
            let (public, name) = (proxy.public, format!("user{number}@example.com"));
            tokio::spawn(async move { login_at(public, &name).await })
        })
        .collect();
    double.until_calls(4).await;
    let refused = join_all((4..40).map(|number| {
        let (proxy, name) = (&proxy, format!("user{number}@example.com"));
        async move { proxy.login(&name, RIGHT).await }
    }));
    for answer in refused.await {
        assert_eq!(answer.status, 503, "{answer:?}");
        retry_after(answer.header("retry-after"));
    }
    others_are_served(&proxy).await;
    let asked = double.requests().iter().filter(|request| request.target == "/internal/login").count();
    assert_eq!(asked, 4, "nobody beyond those in flight was put to legacy");
    double.release();
    for hanging in hanging {
        assert_eq!(hanging.await.expect("no panic"), 401, "and those get its word");
    }
}

#[tokio::test]
async fn r23_a_client_whose_bodies_do_not_come_makes_room_whatever_it_speaks_and_asks_for() {
    let double = LegacyDouble::well_behaved();
    double.say("GET", "/others", 200, &[], "the app");
    let server = "[server]\nmax_connections = 1\nbody_timeout = \"10m\"\n";
    let proxy = start(&format!("{}{server}", in_mode("migrate", &double, &[TOKEN, LOGIN, CALL_LOGIN]))).await;
    let posts = |path| {
        let fields =
            [(":method", "POST"), (":scheme", "http"), (":authority", "app"), (":path", path), ("content-type", JSON)];
        let stream = |number| Frame::new(HEADERS, END_HEADERS, number, block(&fields));
        let head = format!("POST {path} HTTP/1.1\r\nHost: app\r\nContent-Type: {JSON}\r\nContent-Length: 99\r\n\r\n");
        let settings = Frame::new(SETTINGS, 0, 0, []);
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), settings.bytes()].concat();
        let two = [preface, stream(1).bytes(), stream(3).bytes()].concat();
        [(1.0, head.into_bytes()), (2.0, two)]
    };
    for (requests, bytes) in ["/login", "/others"].map(posts).into_iter().flatten() {
        let mut owing = TcpStream::connect(proxy.public).await.expect("a connection");
        owing.write_all(&bytes).await.expect("written");
        soon("its requests to be under way", async { while proxy.metric(UNDER_WAY, &[]).await < requests {} }).await;
        soon("room", async { while asked(proxy.public, "/others").await != Some(200) {} }).await;
        // A reset is as much of an end as an end.
        let _ended = soon("the end", owing.read_to_end(&mut Vec::new())).await;
        soon("nobody to be there", async { while proxy.metric(UNDER_WAY, &[]).await > 0.0 {} }).await;
    }
}

// ------------------------------------------------------------------------------------------------------ a whole process

fn config(double: &LegacyDouble, server: &str) -> String {
    let rest = "[[listener]]\nbind = \"127.0.0.1:0\"\n[store]\npath = \"users.redb\"\ncache = \"8MiB\"\n[admin]\nbind = \"127.0.0.1:0\"\n";
    let text = in_mode("migrate", double, &[TOKEN, LOGIN, CALL_LOGIN]);
    format!(
        "{text}\n{rest}token = {{ value = \"{ADMIN_TOKEN}\" }}\n[server]\nworkers = 1\nmax_connections_per_ip = 100000\n{server}\n"
    )
}

/// `run` in a process that may open so many files at most, and at first only some of them.
fn with_files(folder: &Path, at_first: u32, at_most: u32) -> Command {
    let run = authferry(folder, &["run"]);
    let mut shell = Command::new("sh");
    let script = format!("ulimit -Sn {at_first} && ulimit -Hn {at_most} && exec \"$0\" run");
    shell.current_dir(folder).args(["-c", &script]).arg(run.get_program());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

async fn admin_answers(process: &Process) {
    for _ in 0..5 {
        assert_eq!(send(process.admin(), "GET", "/health/live", &[], "").await.status, 200);
        assert!(send(process.admin(), "GET", "/metrics", &[], "").await.body.contains("authferry_connections"));
        let status = Operator { admin: process.admin() }.get("/api/v1/status").await;
        assert_eq!(status.status, 200, "{status:?}");
    }
}

/// What a fresh connection gets for one request: a status, or nothing.
async fn asked(public: SocketAddr, path: &str) -> Option<u16> {
    let exchange = async {
        let mut stream = TcpStream::connect(public).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        // A reset is as much of an end as an end.
        let _ended = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
    };
    soon("an answer or an end", exchange).await
}

#[tokio::test]
async fn r107_where_clients_take_every_descriptor_they_can_the_admin_listener_still_has_its_own() {
    let (double, folder) = (LegacyDouble::well_behaved(), TempDir::new().expect("a folder"));
    double.say("GET", "/others", 200, &[], "the app");
    double.say("GET", "/slow", 200, &[], "at last");
    std::fs::write(folder.path().join("proxy.toml"), config(&double, "")).expect("written");
    let mut process = Process::spawn(with_files(folder.path(), 100, 600));
    let log = process.log();
    assert!(
        log.contains("lowered from 10000 to 140") && log.contains("600 files") && log.contains("320 are kept"),
        "{log}"
    );
    let operator = Operator { admin: process.admin() };
    let public = process.public();

    // Many more idle connections than there are descriptors: each new one takes the place of an old one.
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(TcpStream::connect(public).await.expect("a connection"));
    }
    admin_answers(&process).await;
    let gone = async || {
        let reasons = ["connection_shed", "connections"].map(|reason| format!("reason=\"{reason}\""));
        let shed = operator.metric("authferry_refused_requests_total", &[&reasons[0]]).await;
        shed + operator.metric("authferry_refused_requests_total", &[&reasons[1]]).await
    };
    soon("all of them to be looked at", async { while gone().await < 860.0 {} }).await;
    assert!(operator.metric("authferry_connections", &[]).await <= 140.0);
    assert_eq!(asked(public, "/others").await, Some(200), "idle connections make room for a client");

    // Requests under way make no room: whoever comes now is turned away, and the admin listener answers all the same.
    double.hold("/slow");
    let before = double.calls();
    let slow: Vec<_> = (0..140).map(|_| tokio::spawn(asked(public, "/slow"))).collect();
    soon("all of them to be under way", double.until_calls(before + 140)).await;
    for _ in 0..20 {
        assert_eq!(asked(public, "/others").await, None, "there is no place");
        assert_eq!(send(process.admin(), "GET", "/health/live", &[], "").await.status, 200);
    }
    admin_answers(&process).await;

    double.release();
    for slow in slow {
        assert_eq!(slow.await.expect("no panic"), Some(200), "who was there is served to the end");
    }
    assert_eq!(asked(public, "/others").await, Some(200), "and there are places again");
    drop(idle);
    let log = process.log();
    assert!(!log.contains("cannot be accepted") && !log.contains("could not accept"), "nobody ran out: {log}");
}

/// Resident memory of a process in bytes, now and at its highest.
fn resident(process: &Process) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("a process of ours");
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux has it");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0
    };
    (kib("VmRSS:"), kib("VmHWM:"))
}

async fn connected(public: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(public).await.expect("a connection");
        stream.write_all(b"GET /others HTTP/1.1\r\nHost: app\r\n\r\n").await.expect("written");
        read_answer(&mut stream).await;
        streams.push(stream);
    }
    streams
}

/// Reads up to the end of a body that is short and known.
async fn read_answer(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"the app") {
        assert!(soon("an answer", stream.read_buf(&mut answer)).await.expect("an answer") > 0);
    }
}

#[tokio::test]
async fn r24_a_request_costs_a_small_multiple_of_its_size() {
    const COUNT: usize = 500;
    let (double, folder) = (LegacyDouble::well_behaved(), TempDir::new().expect("a folder"));
    double.say("GET", "/others", 200, &[], "the app");
    let process = Process::start(folder.path(), &config(&double, "head_timeout = \"10m\"\nidle_timeout = \"10m\""));
    let public = process.public();
    drop(connected(public, 20).await);
    let count = COUNT as f64;

    // Connections that have been used and idle.
    let (base, _) = resident(&process);
    let mut streams = connected(public, COUNT).await;
    let (idle, _) = resident(&process);
    let per_idle = (idle - base) / count;

    // Heads that are not complete yet, as large as they may be.
    let filler = format!("GET /others HTTP/1.1\r\nHost: app\r\nX-Filler: {}\r\n", "a".repeat(14 * 1024));
    for stream in &mut streams {
        stream.write_all(filler.as_bytes()).await.expect("written");
    }
    for stream in &mut streams {
        stream.write_all(b"\r\n").await.expect("written");
        read_answer(stream).await;
    }
    let (_, with_heads) = resident(&process);
    let heads = (with_heads - base) / (count * filler.len() as f64);

    // Bodies that are cheap to send and dear to parse: deep, wide, and full of escapes.
    let deep = "[".repeat(16_000);
    let wide = format!("{{{}\"z\":1}}", (0..1_500).map(|n| format!("\"{n}\":[],")).collect::<String>());
    let escaped = format!("{{\"email\":\"{}\"}}", "\\u0041".repeat(2_600));
    let (_, before) = resident(&process);
    let mut bytes = 0.0;
    for body in [deep, wide, escaped] {
        assert!(body.len() <= 16 * 1024);
        let asked = streams.iter_mut().map(async |stream| {
            let head = "POST /login HTTP/1.1\r\nHost: app\r\nContent-Type: application/json\r\n";
            let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(request.as_bytes()).await.expect("written");
            let mut answer = Vec::new();
            while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
                assert!(soon("an answer", stream.read_buf(&mut answer)).await.expect("an answer") > 0);
            }
            assert!(answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
        });
        join_all(asked).await;
        bytes = count * body.len() as f64;
        streams = connected(public, COUNT).await;
    }
    let (_, after) = resident(&process);
    let bodies = (after - before) / bytes;
    println!(
        "{:.1} KiB an idle connection; {heads:.2} x the size of a head, {bodies:.2} x that of a body",
        per_idle / 1024.0
    );
    assert!(per_idle < 48.0 * 1024.0, "{per_idle} bytes an idle connection");
    assert!(heads < 10.0 && bodies < 10.0, "heads {heads}, bodies {bodies}");
}

//! Whole logins over loopback: of migrated users, and first ones with a legacy that answers at once. Each figure stands beside
//! the ceiling that the same run measured: so many hash threads, one hash after the other. `cargo bench --bench logins`.
//!
//! The load comes from this process too, so that clients and proxy share the cores, as they do in a small deployment. Only the
//! ratios mean anything on a machine that is not idle.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Block, Params, Version};
use authferry::app::App;
use authferry::config::{Config, Environment};
use authferry::password::{Input, choice};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long each figure is measured.
const ROUND: Duration = Duration::from_secs(4);

fn main() {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let ceiling = hash_ceiling(cores);
    println!("hash ceiling        {ceiling:7.1} /s  ({cores} threads, Argon2id 19 MiB, 2 passes, memory reused)");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let legacy = legacy().await;
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(legacy, &folder.path().join("users.redb"));
        let config =
            Config::from_text(&config, "bench", &Environment::new([], cores)).unwrap_or_else(|e| panic!("{e}"));
        let app = App::build(config).await.expect("a proxy");
        let proxy = app.addresses().public[0].tcp().expect("a TCP listener");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(app.run(async move { drop(stopped.await) }));
        login(&mut TcpStream::connect(proxy).await.expect("a connection"), "known@example.com").await;
        for clients in [1, 8, 64] {
            let figure = load(proxy, clients, |_| "known@example.com".to_owned()).await;
            figure.print("migrated users", clients, ceiling);
        }
        let next = AtomicU64::new(0);
        let fresh = |_| format!("user{}@example.com", next.fetch_add(1, Ordering::Relaxed));
        for clients in [8, 64] {
            load(proxy, clients, fresh).await.print("first logins", clients, ceiling);
        }
        drop(stop);
        running.await.expect("no panic").expect("a clean end");
    });
}

/// Hashes a second of all cores, each in memory of its own that is reused.
fn hash_ceiling(threads: NonZeroUsize) -> f64 {
    let work = || {
        let (params, implementation) = (Params::default(), choice().implementation);
        let (algorithm, version) = (Algorithm::default(), Version::default());
        let (password, salt) = (b"a password", b"a salt of sixteen");
        let input = Input { algorithm, version, params: &params, password, salt, secret: b"" };
        let mut memory = vec![Block::new(); params.block_count()];
        let (mut tag, mut count, since) = ([0; 32], 0_u32, Instant::now());
        while since.elapsed() < ROUND {
            implementation.compute(&input, &mut memory, &mut tag).expect("a hash");
            count += 1;
        }
        f64::from(count) / since.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.get()).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    })
}

/// What one load came to.
struct Figure {
    per_second: f64,
    latencies: Vec<Duration>,
    refused: usize,
}

impl Figure {
    fn print(mut self, what: &str, clients: usize, ceiling: f64) {
        self.latencies.sort_unstable();
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "an index"
            )]
            let index = (self.latencies.len() as f64 * share) as usize;
            self.latencies.get(index.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        println!(
            "{what:<15} x{clients:<3} {:7.1} /s  {:5.1} % of the ceiling  p50 {:>6.1?}  p99 {:>6.1?}  refused {}",
            self.per_second,
            100.0 * self.per_second / ceiling,
            at(0.5),
            at(0.99),
            self.refused,
        );
    }
}

async fn load(proxy: SocketAddr, clients: usize, name: impl Fn(usize) -> String) -> Figure {
    let since = Instant::now();
    let client = async |index: usize| {
        let mut stream = TcpStream::connect(proxy).await.expect("a connection");
        let (mut latencies, mut refused) = (Vec::new(), 0);
        while since.elapsed() < ROUND {
            let begun = Instant::now();
            match login(&mut stream, &name(index)).await {
                200 => latencies.push(begun.elapsed()),
                _ => refused += 1,
            }
        }
        (latencies, refused)
    };
    let ended = futures_util::future::join_all((0..clients).map(client)).await;
    let took = since.elapsed();
    let refused = ended.iter().map(|(_, refused)| refused).sum();
    let latencies: Vec<Duration> = ended.into_iter().flat_map(|(latencies, _)| latencies).collect();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let per_second = latencies.len() as f64 / took.as_secs_f64();
    Figure { per_second, latencies, refused }
}

/// One login on a kept connection; its status.
async fn login(stream: &mut TcpStream, name: &str) -> u16 {
    let body = format!(r#"{{"email":"{name}","password":"correct horse battery"}}"#);
    let head = "POST /login HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n";
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.expect("written");
    let answer = read_message(stream).await.expect("an answer");
    answer.get(9..12).and_then(|status| status.parse().ok()).expect("a status")
}

/// Reads a head and the body that its `Content-Length` tells.
async fn read_message(stream: &mut TcpStream) -> Option<String> {
    let mut message = Vec::with_capacity(1024);
    loop {
        if let Some(head) = message.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&message).into_owned();
            let length = text.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if message.len() >= head + 4 + length.unwrap_or(0) {
                return Some(text);
            }
        }
        if stream.read_buf(&mut message).await.ok()? == 0 {
            return None;
        }
    }
}

/// A legacy that says yes to everybody, at once.
async fn legacy() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Some(request) = read_message(&mut stream).await {
                    let name =
                        request.split(r#""email":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("");
                    let body = format!(r#"{{"user":{{"id":"{name}","email":"{name}"}}}}"#);
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
                    let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn config(legacy: SocketAddr, store: &std::path::Path) -> String {
    format!(
        r#"
        [[listener]]
        bind = "127.0.0.1:0"
        [upstream]
        url = "http://{legacy}"
        [legacy]
        max_in_flight = 1024
        [legacy.login]
        request = {{ method = "POST", path = "/login", json = {{ email = "{{{{ login }}}}", password = "{{{{ password }}}}" }} }}
        success = "status == 200 and json.user.id is defined"
        denied = "status == 401"
        user = {{ id = "json.user.id", email = "json.user.email", profile = "json.user" }}
        [[route]]
        name = "login"
        action = "login"
        match = {{ method = "POST", path = "/login" }}
        request = {{ login = "/email", password = "/password" }}
        legacy = "call"
        reply.ok = {{ status = 200, json = '{{"token": {{{{ token | tojson }}}}}}' }}
        [token]
        key = {{ value = "only-for-the-bench-change-me-32-bytes!" }}
        [store]
        path = {store:?}
        [limits]
        per_ip = {{ rate = "1000000/1s", burst = 1000000 }}
        per_account = {{ rate = "1000000/1s", burst = 1000000, count = "failures" }}
        [admin]
        bind = "off"
        "#
    )
}

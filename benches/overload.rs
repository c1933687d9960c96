//! Forwarding and the admin listener beside an overload: a flood of logins that fills the hash queue, and a legacy backend that hangs.
//! Windows with and without the overload alternate in one run, and only their ratios mean something on a shared machine.
//! `cargo bench --bench overload`, or `-- quick` for a shorter look.
//!
//! The clients live in this process too, so that a flood takes its share of the cores from them as well as from the proxy. The flood has
//! a thread of its own: a client that is measured never waits for one that is not.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use authferry::app::App;
use authferry::config::{Config, Environment};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// More than the queue of 256 takes.
const FLOOD: usize = 400;
/// How long a client of the flood waits after it was shed: a tenth of what it was told at least, and each a little differently, as
/// strangers do.
const AGAIN: Duration = Duration::from_millis(100);

fn main() {
    let quick = std::env::args().any(|argument| argument == "quick");
    let (rounds, window) = if quick { (3, Duration::from_secs(1)) } else { (7, Duration::from_secs(3)) };
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let hangs = Arc::new(AtomicBool::new(false));
        let (legacy, upstream) = (serve(Some(Arc::clone(&hangs))).await, serve(None).await);
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(legacy, upstream, &folder.path().join("users.redb"));
        let config =
            Config::from_text(&config, "bench", &Environment::new([], cores)).unwrap_or_else(|error| panic!("{error}"));
        let app = App::build(config).await.expect("a proxy");
        let addresses = app.addresses();
        let (public, admin) = (addresses.public[0].tcp().expect("TCP"), addresses.admin.expect("an admin listener"));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        // On a thread of its own, so that the admin listener does not wait for our clients.
        let running = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(app.run(async move { drop(stopped.await) }))
        });
        let mut stream = TcpStream::connect(public).await.expect("a connection");
        assert_eq!(login(&mut stream, "known@example.com").await, Some(200), "migrated");
        for (overload, hang) in [("hash flood", false), ("hanging legacy", true)] {
            let mut figures = Vec::new();
            for _ in 0..rounds {
                let alone = measure(public, admin, window).await;
                hangs.store(hang, Ordering::SeqCst);
                let flood = Flood::begin(public, hang);
                tokio::time::sleep(window / 4).await;
                let beside = measure(public, admin, window).await;
                let shed = flood.end();
                hangs.store(false, Ordering::SeqCst);
                assert!(shed > 0, "the {overload} was no overload");
                figures.push((alone, beside));
                // What still waits is served before the next window without an overload.
                tokio::time::sleep(window).await;
            }
            report(overload, &figures);
        }
        drop(stop);
        running.join().expect("no panic").expect("a clean end");
    });
}

/// p50 and p99 of forwarding and of the admin listener, in milliseconds.
type Figures = [f64; 4];

fn report(overload: &str, figures: &[(Figures, Figures)]) {
    for (index, what) in ["forward p50", "forward p99", "admin p50", "admin p99"].into_iter().enumerate() {
        let median = |mut of: Vec<f64>| {
            of.sort_by(f64::total_cmp);
            of[of.len() / 2]
        };
        let alone = median(figures.iter().map(|(alone, _)| alone[index]).collect());
        let beside = median(figures.iter().map(|(_, beside)| beside[index]).collect());
        let ratio = median(figures.iter().map(|(alone, beside)| beside[index] / alone[index]).collect());
        println!("{overload:<15} {what:<12} alone {alone:>7.2} ms  beside {beside:>7.2} ms  median ratio {ratio:.2}");
    }
}

/// Eight clients of the app, at a hundred requests a second each, and one scraper.
async fn measure(public: SocketAddr, admin: SocketAddr, window: Duration) -> Figures {
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        clients.spawn(paced(public, "/things", Duration::from_millis(10), window));
    }
    let scraper = tokio::spawn(paced(admin, "/health/live", Duration::from_millis(20), window));
    let mut forwarded: Vec<Duration> = clients.join_all().await.into_iter().flatten().collect();
    let mut scraped = scraper.await.expect("no panic");
    forwarded.sort_unstable();
    scraped.sort_unstable();
    let at = |of: &[Duration], percent: usize| of[(of.len() * percent / 100).min(of.len() - 1)].as_secs_f64() * 1e3;
    [at(&forwarded, 50), at(&forwarded, 99), at(&scraped, 50), at(&scraped, 99)]
}

async fn paced(to: SocketAddr, path: &str, pace: Duration, window: Duration) -> Vec<Duration> {
    let mut stream = TcpStream::connect(to).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {to}\r\n\r\n");
    let (end, mut ticks, mut took) = (Instant::now() + window, tokio::time::interval(pace), Vec::new());
    while Instant::now() < end {
        ticks.tick().await;
        let began = Instant::now();
        stream.write_all(request.as_bytes()).await.expect("written");
        let answer = read_message(&mut stream).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        took.push(began.elapsed());
    }
    took
}

/// Clients that log in all at once and for as long as they can, on a thread of their own.
struct Flood {
    shed: Arc<AtomicUsize>,
    stop: tokio::sync::oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Flood {
    /// Of one user, or of as many as there are clients.
    fn begin(public: SocketAddr, different: bool) -> Self {
        let shed = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let counted = Arc::clone(&shed);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let mut clients = JoinSet::new();
                for number in 0..FLOOD {
                    let name =
                        if different { format!("user{number}@example.com") } else { "known@example.com".to_owned() };
                    let again = AGAIN + AGAIN * u32::try_from(number).expect("few") / 400;
                    clients.spawn(flooding(public, name, again, Arc::clone(&counted)));
                }
                let _stopped = stopped.await;
                clients.shutdown().await;
            });
        });
        Self { shed, stop, thread }
    }

    /// How often its clients were shed.
    fn end(self) -> usize {
        drop(self.stop);
        self.thread.join().expect("no panic");
        self.shed.load(Ordering::SeqCst)
    }
}

/// Logs in again and again, and counts how often it was shed.
async fn flooding(public: SocketAddr, name: String, again: Duration, shed: Arc<AtomicUsize>) {
    let mut stream = TcpStream::connect(public).await.expect("a connection");
    loop {
        match login(&mut stream, &name).await {
            Some(503) => {
                shed.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(again).await;
            }
            Some(_) => {}
            None => stream = TcpStream::connect(public).await.expect("a connection"),
        }
    }
}

/// One login on a kept connection; its status.
async fn login(stream: &mut TcpStream, name: &str) -> Option<u16> {
    let body = format!(r#"{{"email":"{name}","password":"correct horse battery"}}"#);
    let head = "POST /login HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.ok()?;
    read_message(stream).await?.get(9..12)?.parse().ok()
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

/// An app, or a legacy that says yes to everybody, on a thread of its own. While it hangs it answers nothing.
async fn serve(hangs: Option<Arc<AtomicBool>>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((mut stream, _)) = listener.accept().await {
                let hangs = hangs.clone();
                tokio::spawn(async move {
                    while let Some(request) = read_message(&mut stream).await {
                        if hangs.as_ref().is_some_and(|hangs| hangs.load(Ordering::SeqCst)) {
                            return std::future::pending().await;
                        }
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
    });
    address
}

fn config(legacy: SocketAddr, upstream: SocketAddr, store: &std::path::Path) -> String {
    format!(
        r#"
        [[listener]]
        bind = "127.0.0.1:0"
        [upstream]
        url = "http://{upstream}"
        [legacy]
        url = "http://{legacy}"
        breaker = {{ failures = 1000000, open_for = "1s" }}
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
        bind = "127.0.0.1:0"
        "#
    )
}

//! Requests a second through the edge against the same requests straight to the upstream: what the proxy costs. The load and the
//! upstream are the same in both, rounds alternate, and only their ratio means something on a shared machine.
//!
//! `cargo bench --bench forward` runs 9 rounds of a second for each size of answer; `-- quick` is a shorter look.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark measures time and prints it")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use authferry::domain::client_addr::ClientAddr;
use authferry::domain::clock::SystemClock;
use authferry::http::connection::Connection;
use authferry::http::forward::{ForwardContext, Forwarder};
use authferry::http::headers::HeaderRules;
use authferry::http::server::{Handler, bind_all};
use authferry::http::settings::{Bind, EdgeBounds, ForwardingHeader, ListenerSettings};
use authferry::net::body::LeastPace;
use authferry::net::{Client, ClientSettings, ProxyBody, Received, Target, tls};
use authferry::telemetry::Metrics;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failed = Box<dyn std::error::Error + Send + Sync>;

const CONNECTIONS: usize = 64;
const REQUEST: &[u8] =
    b"GET /api/things?page=1 HTTP/1.1\r\nhost: app.example\r\nuser-agent: bench/1\r\naccept: */*\r\n\
                         accept-encoding: gzip, br\r\ncookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";

struct ForwardAll(Forwarder);

impl Handler for ForwardAll {
    async fn handle(&self, request: Request<Incoming>, connection: &Arc<Connection>) -> Response<ProxyBody> {
        let client = ClientAddr::assert_by_trusted_walk(connection.peer_ip().unwrap_or([127, 0, 0, 1].into()));
        let context = ForwardContext { connection, client, peer_is_trusted: false, identity: &[] };
        let version = request.version();
        let request = request.map(|body| ProxyBody::from(Received::new(body, version)));
        self.0.forward(request, &context).await
    }
}

fn main() -> Result<(), Failed> {
    let quick = std::env::args().any(|argument| argument == "quick");
    let (rounds, length) = if quick { (3, Duration::from_millis(300)) } else { (9, Duration::from_secs(1)) };
    for size in [200, 64 * 1024] {
        let upstream = upstream(size)?;
        let (proxy, stop) = proxy(upstream)?;
        let (mut ratios, mut cpus) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
        for _ in 0..rounds {
            let direct = load(upstream, length)?;
            let before = cpu_seconds()?;
            let proxied = load(proxy, length)?;
            let cpu = (cpu_seconds()? - before) * 1e6 / (proxied * length.as_secs_f64());
            let ratio = proxied / direct;
            println!(
                "{size:>6} B  direct {direct:>8.0}/s  proxied {proxied:>8.0}/s  ratio {ratio:.3}  {cpu:.1} us of CPU each"
            );
            ratios.push(ratio);
            cpus.push(cpu);
        }
        stop.cancel();
        println!("{size:>6} B  median ratio {:.3}, {:.1} us of CPU a request", median(ratios), median(cpus));
    }
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// What the proxy's workers have used so far: steadier than requests a second on a machine that others use too.
fn cpu_seconds() -> Result<f64, Failed> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.starts_with("edge-") {
            let times = std::fs::read_to_string(task.join("schedstat"))?;
            nanoseconds += times.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
    }
    Ok(Duration::from_nanos(nanoseconds).as_secs_f64())
}

/// The edge with one worker, on threads of its own.
fn proxy(upstream: SocketAddr) -> Result<(SocketAddr, CancellationToken), Failed> {
    let long = Duration::from_secs(30);
    let settings = ClientSettings {
        connect_timeout: long,
        tls: tls::client_config_trusting_nobody()?,
        max_idle_per_thread: 256,
        idle_timeout: long,
    };
    let client = Client::new(Target::parse(&format!("http://{upstream}"))?, settings);
    let rules = Arc::new(HeaderRules::new(None, Vec::new(), ForwardingHeader::XForwardedFor, 1));
    let metrics = Arc::new(Metrics::new());
    let forwarder = Forwarder::new(
        client,
        rules,
        long,
        LeastPace { patience: long, rate: 500 },
        metrics.clone(),
        Arc::new(SystemClock),
    );
    let bounds = EdgeBounds {
        head_bytes: 16 * 1024,
        uri_bytes: 8 * 1024,
        auth_body_bytes: 16 * 1024,
        head_timeout: Duration::from_secs(10),
        body_timeout: long,
        min_body_rate: 500,
        tls_timeout: long,
        idle_timeout: long,
        drain_timeout: Duration::ZERO,
        linger: Duration::ZERO,
        drain_tunnels: Duration::ZERO,
        max_connections: 10_000,
        max_connections_per_ip: 10_000,
        ipv6_prefix: 64,
        max_requests: 10_000,
        workers: 1,
    };
    let bind = Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = bind_all(&[ListenerSettings { bind, proxy_protocol: false, tls: None }], bounds)?;
    let address = server.addresses().first().and_then(|address| address.tcp()).ok_or("no TCP address")?;
    let stop = CancellationToken::new();
    let run = server.run(Arc::new(ForwardAll(forwarder)), metrics, stop.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    std::thread::spawn(move || runtime.block_on(run).map(|_drained| ()));
    Ok((address, stop))
}

/// An upstream that answers without looking, so that as little as possible of the time is its own.
fn upstream(size: usize) -> Result<SocketAddr, Failed> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {size}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + size, b'x');
    let answer: Arc<[u8]> = answer.into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let _no_matter = stream.set_nodelay(true);
                    let mut head = Vec::with_capacity(4096);
                    while stream.read_buf(&mut head).await.is_ok_and(|length| length > 0) {
                        if head.ends_with(b"\r\n\r\n") {
                            head.clear();
                            if stream.write_all(&answer).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
    });
    Ok(address)
}

/// Answers a second over keep-alive connections, each asking again as soon as it has its answer.
fn load(address: SocketAddr, length: Duration) -> Result<f64, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    runtime.block_on(async {
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            clients.spawn(client(TcpStream::connect(address).await?, stop.clone(), answers.clone()));
        }
        let since = Instant::now();
        tokio::time::sleep(length).await;
        let count = answers.load(Ordering::Relaxed);
        let took = since.elapsed();
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        Ok(count as f64 / took.as_secs_f64())
    })
}

async fn client(mut stream: TcpStream, stop: Arc<AtomicBool>, answers: Arc<AtomicU64>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(128 * 1024);
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(REQUEST).await?;
        buffer.clear();
        let mut whole = usize::MAX;
        while buffer.len() < whole {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if whole == usize::MAX {
                whole = length(&buffer).unwrap_or(usize::MAX);
            }
        }
        answers.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// How long an answer is, once its head is there.
fn length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(answer.get(..head)?).ok()?;
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    Some(head + length.parse::<usize>().ok()?)
}

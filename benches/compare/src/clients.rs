//! Clients of our own, where no load generator does it: logins of many users, paced requests, floods from many addresses, connections
//! that idle. Each on one thread; whoever measures latencies has a thread to himself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{MissedTickBehavior, timeout};

use crate::Outcome;

pub const PASSWORD: &str = "correct horse battery";
const PATIENCE: Duration = Duration::from_secs(30);

/// A runtime on this thread.
pub fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Where the head of a message ends, its empty line included.
pub fn head_length(message: &[u8]) -> Option<usize> {
    message.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The `Content-Length` of a head.
pub fn body_length(head: &[u8]) -> Option<usize> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        line[..colon].eq_ignore_ascii_case(b"content-length").then_some(())?;
        std::str::from_utf8(&line[colon + 1..]).ok()?.trim().parse().ok()
    })
}

/// A kept connection.
pub struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    /// From this address, or whichever the system takes.
    pub async fn connect(to: SocketAddr, from: Option<Ipv4Addr>) -> Outcome<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = from {
            socket.bind(SocketAddr::from((from, 0)))?;
        }
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(1024) })
    }

    /// Sends a request and reads its whole answer. Gives the status.
    pub async fn ask(&mut self, request: &[u8]) -> Outcome<u16> {
        match timeout(PATIENCE, self.asking(request)).await {
            Ok(answer) => answer,
            Err(_) => Err("no answer in 30 s".into()),
        }
    }

    /// Of the last answer, in bytes.
    pub fn last_length(&self) -> usize {
        self.read.len()
    }

    async fn asking(&mut self, request: &[u8]) -> Outcome<u16> {
        self.stream.write_all(request).await?;
        self.read.clear();
        loop {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err("the connection was closed".into());
            }
            let Some(head) = head_length(&self.read) else { continue };
            let length = body_length(&self.read[..head]).ok_or("an answer without Content-Length")?;
            if self.read.len() >= head + length {
                let status = self.read.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
                return status.ok_or_else(|| "an answer without a status".into());
            }
        }
    }
}

/// A login as all services here take it.
pub fn login(name: &str, password: &str) -> Vec<u8> {
    let body = format!(r#"{{"email":"{name}","password":"{password}"}}"#);
    let head = "POST /login HTTP/1.1\r\nhost: app.example\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

pub const GET: &[u8] = b"GET /200 HTTP/1.1\r\nhost: app.example\r\nuser-agent: bench/1\r\naccept: */*\r\n\r\n";

/// One request without a body on a connection of its own, as `GET /count`. Gives the answer's body.
pub fn ask_once(to: SocketAddr, line: &str) -> Outcome<Vec<u8>> {
    let request = format!("{line} HTTP/1.1\r\nhost: app.example\r\ncontent-length: 0\r\n\r\n");
    runtime()?.block_on(async {
        let mut client = Client::connect(to, None).await?;
        let status = client.ask(request.as_bytes()).await?;
        if status != 200 {
            return Err(format!("{line} was answered with {status}").into());
        }
        let head = head_length(&client.read).ok_or("an answer without a head")?;
        Ok(client.read.split_off(head))
    })
}

/// What a stretch of work came to.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    pub per_second: f64,
    /// Milliseconds.
    pub p50: f64,
    pub p99: f64,
}

impl Rate {
    fn of(mut latencies: Vec<Duration>, window: Duration) -> Self {
        latencies.sort_unstable();
        let at = |percent: usize| {
            let index = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
            latencies.get(index).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
        };
        Self { per_second: latencies.len() as f64 / window.as_secs_f64(), p50: at(50), p99: at(99) }
    }
}

/// Logins of so many clients at once, each the next as soon as it has its answer, of the users that `name` gives. What ends in the
/// window counts, which begins when all are under way; what is still open at its end is waited for, so that it burdens nobody else.
/// Any answer but 200 is an error.
pub fn logins(
    to: SocketAddr,
    clients: usize,
    warm: Duration,
    window: Duration,
    name: impl Fn() -> String,
) -> Outcome<Rate> {
    runtime()?.block_on(async {
        let begin = Instant::now() + warm;
        let end = begin + window;
        let one = |_| async {
            let mut client = Client::connect(to, None).await?;
            let mut latencies = Vec::new();
            loop {
                let asked = Instant::now();
                if asked >= end {
                    return Outcome::Ok(latencies);
                }
                let status = client.ask(&login(&name(), PASSWORD)).await?;
                if status != 200 {
                    return Err(format!("a login was answered with {status}").into());
                }
                let answered = Instant::now();
                if (begin..end).contains(&answered) {
                    latencies.push(answered - asked);
                }
            }
        };
        let all = try_join_all((0..clients).map(one)).await?;
        Ok(Rate::of(all.into_iter().flatten().collect(), window))
    })
}

/// Logs these users in once, eight at a time.
pub fn migrate(to: SocketAddr, users: std::ops::Range<u64>) -> Outcome<()> {
    let next = AtomicU64::new(users.start);
    runtime()?.block_on(async {
        let one = |_| async {
            let mut client = Client::connect(to, None).await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= users.end {
                    return Outcome::Ok(());
                }
                let status = client.ask(&login(&user(number), PASSWORD)).await?;
                if status != 200 {
                    return Err(format!("a first login was answered with {status}").into());
                }
            }
        };
        try_join_all((0..8).map(one)).await.map(drop)
    })
}

pub fn user(number: u64) -> String {
    format!("user{number}@example.com")
}

/// Requests at a pace, for a while: so many clients, each so often a second. A slow answer delays only its own client's next.
pub fn paced(to: SocketAddr, clients: usize, each_per_second: u32, window: Duration) -> Outcome<Rate> {
    runtime()?.block_on(async {
        let end = Instant::now() + window;
        let pace = Duration::from_secs(1) / each_per_second;
        let one = |number: usize| async move {
            let mut client = Client::connect(to, None).await?;
            let mut latencies = Vec::new();
            // They do not all ask at the same moment.
            tokio::time::sleep(pace.mul_f64(number as f64 / clients as f64)).await;
            let mut ticks = tokio::time::interval(pace);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while Instant::now() < end {
                ticks.tick().await;
                let asked = Instant::now();
                let status = client.ask(GET).await?;
                if status != 200 {
                    return Err(format!("a forwarded request was answered with {status}").into());
                }
                latencies.push(asked.elapsed());
            }
            Outcome::Ok(latencies)
        };
        let all = try_join_all((0..clients).map(one)).await?;
        Ok(Rate::of(all.into_iter().flatten().collect(), window))
    })
}

/// Answers by status; 0 is none at all.
pub type Statuses = BTreeMap<u16, u64>;

/// What a flood does.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    pub to: SocketAddr,
    pub per_second: u32,
    pub connections: u32,
    /// From how many loopback addresses.
    pub addresses: u8,
}

impl Flood {
    /// Logins with wrong passwords, half of them of people whom nobody knows, until `stop`. Connections that are closed are made anew.
    pub fn run(self, stop: &AtomicBool) -> Outcome<Statuses> {
        let pace = Duration::from_secs(1) * self.connections / self.per_second.max(1);
        let one = |number: u32| async move {
            let from = Ipv4Addr::new(127, 7, 7, 1 + (number % u32::from(self.addresses)) as u8);
            let (mut client, mut answers) = (None, Statuses::new());
            tokio::time::sleep(pace * number / self.connections).await;
            let mut ticks = tokio::time::interval(pace);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                ticks.tick().await;
                if client.is_none() {
                    client = Client::connect(self.to, Some(from)).await.ok();
                }
                sent += 1;
                let victim = number * 1_000 + sent % 1_000;
                let name =
                    if sent % 2 == 0 { user(u64::from(victim % 64)) } else { format!("nobody{victim}@example.com") };
                let status = match &mut client {
                    Some(client) => client.ask(&login(&name, "a wrong password")).await.unwrap_or(0),
                    None => 0,
                };
                if status == 0 {
                    client = None;
                }
                *answers.entry(status).or_default() += 1;
            }
            answers
        };
        Ok(runtime()?.block_on(async {
            let all = futures_util::future::join_all((0..self.connections).map(one)).await;
            all.into_iter().fold(Statuses::new(), added)
        }))
    }
}

/// Both together.
pub fn added(mut all: Statuses, more: Statuses) -> Statuses {
    for (status, count) in more {
        *all.entry(status).or_default() += count;
    }
    all
}

/// Right logins at a pace, each from an address of its own, for a while. Gives the answers.
pub fn good_logins(
    to: SocketAddr,
    per_second: u32,
    window: Duration,
    users: std::ops::Range<u64>,
) -> Outcome<Statuses> {
    let count = (window.as_secs_f64() * f64::from(per_second)) as u32;
    let pace = Duration::from_secs(1) / per_second;
    let one = |number: u32| {
        let name = user(users.start + u64::from(number) % (users.end - users.start));
        async move {
            tokio::time::sleep(pace * number).await;
            let [_, _, high, low] = number.to_be_bytes();
            let from = Ipv4Addr::new(127, 8, high, low.max(1));
            match Client::connect(to, Some(from)).await {
                Ok(mut client) => client.ask(&login(&name, PASSWORD)).await.unwrap_or(0),
                Err(_) => 0,
            }
        }
    };
    let all = runtime()?.block_on(futures_util::future::join_all((0..count).map(one)));
    Ok(all.into_iter().fold(Statuses::new(), |mut statuses, status| {
        *statuses.entry(status).or_default() += 1;
        statuses
    }))
}

/// Connections that were used once and then idle, while `look` looks at the proxy.
pub fn idling<T>(to: SocketAddr, count: usize, look: impl FnOnce() -> T) -> Outcome<T> {
    runtime()?.block_on(async {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            let some = (count - all.len()).min(100);
            let one = |_| async {
                let mut client = Client::connect(to, None).await?;
                let status = client.ask(GET).await?;
                // What a client keeps is not what is measured.
                client.read = Vec::new();
                if status == 200 { Outcome::Ok(client) } else { Err(format!("answered with {status}").into()) }
            };
            all.extend(try_join_all((0..some).map(one)).await?);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(look())
    })
}

/// A flag that is raised when this goes, so that who runs beside always ends.
pub struct Stop(pub Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_measured_by_their_heads() {
        let message = b"HTTP/1.1 200 OK\r\nX-Length: 9\r\nCONTENT-length:  12 \r\n\r\nhello";
        let head = head_length(message).unwrap();
        assert_eq!(&message[head..], b"hello");
        assert_eq!(body_length(&message[..head]), Some(12));
        assert_eq!(
            (head_length(b"HTTP/1.1 200 OK\r\n"), body_length(b"HTTP/1.1 204 No Content\r\n\r\n")),
            (None, None)
        );
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let rate = Rate::of((1..=100).rev().map(Duration::from_millis).collect(), Duration::from_secs(2));
        assert_eq!((rate.per_second, rate.p50, rate.p99), (50.0, 51.0, 100.0));
        assert!(Rate::of(Vec::new(), Duration::from_secs(1)).p99.is_nan());
    }
}

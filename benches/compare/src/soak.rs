//! Half load for as long as is asked, with faults: the app is killed and comes back, the legacy backend hangs, clients are slow. What is
//! looked for is what grows: memory, descriptors, and errors that no fault explains.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::Outcome;
use crate::clients::{Client, GET, PASSWORD, ask_once, login, migrate, runtime, user};
use crate::measure::forwarding::round;
use crate::measure::logins::Hashes;
use crate::peers::{self, Bench, Options, Proxy};
use crate::process::{empty_logs, pin};
use crate::report::shown;
use crate::upstream::Upstream;

const SAMPLING: Duration = Duration::from_secs(5);
const KNOWN: u64 = 64;
const SLOW: usize = 50;
/// Faults come again and again, each at its second of a minute.
const CYCLE: u64 = 60;
const KILLED: std::ops::Range<u64> = 15..18;
const HANGING: std::ops::Range<u64> = 35..42;

/// What clients got, by what they did: the status, or how it failed.
type Kinds = BTreeMap<String, u64>;

/// What a soak came to.
#[derive(Debug, Serialize)]
pub struct Soaked {
    pub minutes: f64,
    pub forwarded_a_second: f64,
    pub logins_a_second: f64,
    /// By least squares over the samples after the first third, KiB a minute.
    pub slope_kib_a_minute: f64,
    /// MB.
    pub resident_start: f64,
    pub resident_after_first_third: f64,
    pub resident_end: f64,
    pub descriptors_start: usize,
    pub descriptors_most: usize,
    pub descriptors_end: usize,
    pub answers: Kinds,
    /// Seconds and MB.
    pub samples: Vec<(f64, f64)>,
}

/// Who asks for what, and how often.
struct Load<'a> {
    ours: &'a Proxy,
    stop: &'a AtomicBool,
    cores: &'a str,
}

pub fn run(bench: &Bench, minutes: f64) -> Outcome<Soaked> {
    let mut upstream = Upstream::start(&bench.cores.all, &bench.folder)?;
    let ours = peers::authferry(bench, upstream.address, &Options::on(&bench.cores.all))?;
    migrate(ours.plain, 0..KNOWN)?;
    let fastest = round(bench, &ours, ours.plain, "/200", 64, 3)?.per_second;
    let hashes = Hashes::start(bench, &bench.cores.all)?.ceiling(3)?;
    // Both at half load would be the whole machine: a quarter each.
    let (forward, enter) = (fastest / 4.0, hashes / 4.0);
    eprintln!("soak: {forward:.0} forwarded requests and {enter:.0} logins a second for {minutes} minutes");
    std::thread::sleep(Duration::from_secs(2));
    let (resident_start, descriptors_start) = (ours.running.resident(), ours.running.descriptors());
    let stop = AtomicBool::new(false);
    let load = Load { ours: &ours, stop: &stop, cores: &bench.cores.all };
    let mut samples = Vec::new();
    let mut descriptors_most = descriptors_start;
    let answers = std::thread::scope(|scope| -> Outcome<Kinds> {
        let threads = [
            scope.spawn(|| load.forwarding(forward)),
            scope.spawn(|| load.logins(enter)),
            scope.spawn(|| load.slow_clients()),
        ];
        let watched = watch(&ours, &mut upstream, minutes, &mut samples, &mut descriptors_most);
        stop.store(true, Ordering::Relaxed);
        let mut answers = Kinds::new();
        for thread in threads {
            for (kind, count) in thread.join().unwrap_or_else(|_| Err("a client panicked".into()))? {
                *answers.entry(kind).or_default() += count;
            }
        }
        watched.map(|()| answers)
    })?;
    // Idle connections of clients are gone; those to the app may be kept.
    std::thread::sleep(Duration::from_secs(10));
    let third = samples.len() / 3;
    let later = samples.get(third..).unwrap_or_default();
    Ok(Soaked {
        minutes,
        forwarded_a_second: forward,
        logins_a_second: enter,
        slope_kib_a_minute: slope(later) * 1e6 / 1024.0 * 60.0,
        resident_start,
        resident_after_first_third: later.first().map_or(f64::NAN, |(_, resident)| *resident),
        resident_end: ours.running.resident(),
        descriptors_start,
        descriptors_most,
        descriptors_end: ours.running.descriptors(),
        answers,
        samples,
    })
}

/// Makes the faults and looks at the proxy until the time is over.
fn watch(
    ours: &Proxy,
    upstream: &mut Upstream,
    minutes: f64,
    samples: &mut Vec<(f64, f64)>,
    descriptors_most: &mut usize,
) -> Outcome<()> {
    let (started, whole) = (Instant::now(), Duration::from_secs_f64(minutes * 60.0));
    let (mut killed, mut hanging, mut next) = (false, false, Duration::ZERO);
    while started.elapsed() < whole {
        let second = started.elapsed().as_secs() % CYCLE;
        match (KILLED.contains(&second), killed) {
            (true, false) => upstream.kill()?,
            (false, true) => upstream.restart()?,
            (true, true) | (false, false) => {}
        }
        killed = KILLED.contains(&second);
        match (HANGING.contains(&second), hanging) {
            (true, false) => drop(ask_once(upstream.address, "POST /hang")?),
            (false, true) => drop(ask_once(upstream.address, "POST /go")?),
            (true, true) | (false, false) => {}
        }
        hanging = HANGING.contains(&second);
        if started.elapsed() >= next {
            next += SAMPLING;
            samples.push((started.elapsed().as_secs_f64(), ours.running.resident()));
            *descriptors_most = ours.running.descriptors().max(*descriptors_most);
            empty_logs(&ours.folder)?;
            eprint!(
                "\rsoak: {:.1} minutes, {:.1} MB ",
                started.elapsed().as_secs_f64() / 60.0,
                ours.running.resident()
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    eprintln!();
    if killed {
        upstream.restart()?;
    }
    Ok(())
}

/// Least squares, y a unit of x.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let across: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    across / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}

impl Load<'_> {
    fn forwarding(&self, per_second: f64) -> Outcome<Kinds> {
        self.paced(100, per_second, "forwarding", |_| GET.to_vec())
    }

    /// One in ten is a first login.
    fn logins(&self, per_second: f64) -> Outcome<Kinds> {
        let next = AtomicU64::new(0);
        self.paced(16, per_second, "login", |_| {
            let number = next.fetch_add(1, Ordering::Relaxed);
            login(&user(if number % 10 == 0 { 1_000_000 + number } else { number % KNOWN }), PASSWORD)
        })
    }

    /// So many clients that together ask so often; whoever has to wait asks later, and nobody gives up.
    fn paced(&self, clients: u32, per_second: f64, what: &str, request: impl Fn(u32) -> Vec<u8>) -> Outcome<Kinds> {
        pin(self.cores);
        let pace = Duration::from_secs_f64(f64::from(clients) / per_second.max(1.0));
        let request = &request;
        let one = |number: u32| async move {
            let (mut client, mut kinds) = (None, Kinds::new());
            tokio::time::sleep(pace * number / clients).await;
            let mut ticks = tokio::time::interval(pace);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !self.stop.load(Ordering::Relaxed) {
                ticks.tick().await;
                let asked = match &mut client {
                    Some(client) => Client::ask(client, &request(number)).await,
                    None => match Client::connect(self.ours.plain, None).await {
                        Ok(new) => Client::ask(client.insert(new), &request(number)).await,
                        Err(error) => Err(error),
                    },
                };
                let kind = match asked {
                    Ok(status) => format!("{what} {status}"),
                    Err(error) => {
                        client = None;
                        format!("{what}: {error}")
                    }
                };
                *kinds.entry(kind).or_default() += 1;
            }
            kinds
        };
        Ok(runtime()?.block_on(async {
            let all = futures_util::future::join_all((0..clients).map(one)).await;
            all.into_iter().flatten().fold(Kinds::new(), |mut all, (kind, count)| {
                *all.entry(kind).or_default() += count;
                all
            })
        }))
    }

    /// Heads that come a byte a second and never end. Who is thrown out comes again.
    fn slow_clients(&self) -> Outcome<Kinds> {
        const HEAD: &[u8] = b"GET /200 HTTP/1.1\r\nhost: app.example\r\nx-slow: ";
        let (mut all, mut ended): (Vec<Option<(TcpStream, usize)>>, u64) = ((0..SLOW).map(|_| None).collect(), 0);
        while !self.stop.load(Ordering::Relaxed) {
            for client in &mut all {
                let sent = client.as_mut().map(|(stream, sent)| {
                    *sent += 1;
                    stream.write_all(&[HEAD.get(*sent - 1).copied().unwrap_or(b'a')])
                });
                if !matches!(sent, Some(Ok(()))) {
                    ended += u64::from(sent.is_some());
                    *client = connected(self.ours.plain).map(|stream| (stream, 0));
                }
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        Ok(Kinds::from([("slow client thrown out".to_owned(), ended)]))
    }
}

fn connected(to: SocketAddr) -> Option<TcpStream> {
    TcpStream::connect_timeout(&to, Duration::from_secs(1)).ok()
}

pub fn text(soaked: &Soaked) -> String {
    let mut out = format!(
        "{} minutes at {:.0} forwarded requests and {:.1} logins a second (one in ten a first one), {SLOW} slow clients; each minute the app \
         was killed for {} s and logins hung at legacy for {} s.\n\
         Memory: {:.1} MB before, {:.1} after a third of the time, {:.1} afterwards; slope since then {:.1} KiB a minute.\n\
         Descriptors: {} before, {} at most, {} afterwards.\n",
        soaked.minutes,
        soaked.forwarded_a_second,
        soaked.logins_a_second,
        KILLED.end - KILLED.start,
        HANGING.end - HANGING.start,
        soaked.resident_start,
        soaked.resident_after_first_third,
        soaked.resident_end,
        soaked.slope_kib_a_minute,
        soaked.descriptors_start,
        soaked.descriptors_most,
        soaked.descriptors_end
    );
    for (kind, count) in &soaked.answers {
        let _ = writeln!(out, "{kind:<60} {:>12}", shown(*count as f64));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line_through_the_samples() {
        let rising: Vec<(f64, f64)> = (0..20).map(|at| (f64::from(at), 3.0 + 0.5 * f64::from(at))).collect();
        assert!((slope(&rising) - 0.5).abs() < 1e-12);
        let noisy = [(0.0, 10.0), (1.0, 12.0), (2.0, 10.0), (3.0, 12.0), (4.0, 10.0)];
        assert!(slope(&noisy).abs() < 0.2);
    }
}

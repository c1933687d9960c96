//! P1, P2 and P3: whole logins of users who are migrated already, beside a login service on Express, and beside what the same cores
//! could hash if they did nothing else. Services and load share the cores, as they do in a small deployment.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::clients::{self, PASSWORD, Rate, login, migrate, user};
use crate::line::{Aim, Id, Line};
use crate::peers::{self, Bench, Options};
use crate::process::on_cores;
use crate::tools::hey;
use crate::upstream::Upstream;

/// Who logs in.
const USERS: u64 = 64;

/// The program that hashes in process.
pub struct Hashes {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Hashes {
    pub fn start(bench: &Bench, cores: &str) -> Outcome<Self> {
        let mut command = on_cores(cores, &bench.built.join("release/authferry-compare-hashes"));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = process.stdin.take().ok_or("no stdin")?;
        let answers = BufReader::new(process.stdout.take().ok_or("no stdout")?);
        Ok(Self { process, orders, answers })
    }

    pub fn ask(&mut self, order: &str) -> Outcome<serde_json::Value> {
        writeln!(self.orders, "{order}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        serde_json::from_str(&answer).map_err(|error| format!("hashes: {order}: {error} in {answer:?}").into())
    }

    /// Hashes a second of as many threads as the proxy has.
    pub fn ceiling(&mut self, seconds: u64) -> Outcome<f64> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let answer = self.ask(&format!("ceiling {threads} {}", seconds * 1_000))?;
        answer["per_second"].as_f64().ok_or_else(|| "hashes: no rate".into())
    }
}

impl Drop for Hashes {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Names in turn.
pub fn in_turn(users: u64) -> impl Fn() -> String {
    let next = Cell::new(0);
    move || user(next.replace(next.get() + 1) % users)
}

pub fn known(bench: &Bench, _wanted: &BTreeSet<Id>) -> Outcome<Vec<Line>> {
    let upstream = Upstream::start(&bench.cores.all, &bench.folder)?;
    let ours = peers::authferry(bench, upstream.address, &Options::on(&bench.cores.all))?;
    let (express, express_at) = peers::express(bench, &bench.cores.all, USERS, PASSWORD)?;
    let mut hashes = Hashes::start(bench, &bench.cores.all)?;
    migrate(ours.plain, 0..USERS)?;
    hashes.ceiling(1)?;
    let mut lines = Vec::new();
    for clients in [8, 64] {
        let mut taken: Vec<(Rate, Rate, f64)> = Vec::new();
        // Until all of them are under way, and the first have been answered.
        let warm = Duration::from_millis(if clients > 8 { 1_500 } else { 300 });
        let window = Duration::from_secs(bench.pace.login_seconds);
        let load = |to| clients::logins(to, clients, warm, window, in_turn(USERS));
        load(express_at)?;
        for _ in 0..bench.pace.rounds {
            // The ceiling is taken on both sides of what is held against it.
            let before = hashes.ceiling(bench.pace.login_seconds / 2)?;
            let our = load(ours.plain)?;
            let ceiling = f64::midpoint(before, hashes.ceiling(bench.pace.login_seconds / 2)?);
            taken.push((our, load(express_at)?, ceiling));
        }
        let pairs = |figure: fn(&Rate) -> f64| -> Vec<(f64, f64)> {
            taken.iter().map(|(ours, theirs, _)| (figure(ours), figure(theirs))).collect()
        };
        let what = format!("logins a second of migrated users, {clients} clients");
        lines.push(
            Line::pairs(Id::P1, &what, "/s", "Express", &pairs(|rate| rate.per_second)).aiming(Aim::at_least(2.0, 2.4)),
        );
        let shares: Vec<_> = taken.iter().map(|(ours, _, ceiling)| (ours.per_second, *ceiling)).collect();
        lines.push(Line::pairs(Id::P2, what, "/s", "hash ceiling", &shares).aiming(Aim::at_least(0.95, 0.98)));
        let p99 =
            Line::pairs(Id::P3, format!("p99 of a login, {clients} clients"), "ms", "Express", &pairs(|rate| rate.p99));
        lines.push(if clients == 64 { p99.aiming(Aim::at_most(0.5, 0.4)) } else { p99 });
    }
    lines.extend(by_hey(bench, ours.plain, express_at)?);
    // Whatever happened in this run: first logins of everybody, eight and 64 clients.
    lines.push(
        Line::pairs(Id::P3, "peak memory while 64 log in", "MB", "Express", &[(ours.running.peak(), express.peak())])
            .judging_ours()
            .aiming(Aim::at_most(64.0, 48.0)),
    );
    Ok(lines)
}

/// A load generator that is not ours, with one user: nothing is aimed for, it only has to say the same.
fn by_hey(bench: &Bench, ours: std::net::SocketAddr, express: std::net::SocketAddr) -> Outcome<Option<Line>> {
    let request = login(&user(0), PASSWORD);
    let body = String::from_utf8_lossy(&request);
    let body = body.split("\r\n\r\n").nth(1).unwrap_or_default();
    let rate = |to| hey(&bench.cores.all, to, "/login", body, 64, bench.pace.login_seconds);
    let mut pairs = Vec::new();
    for _ in 0..bench.pace.rounds.min(3) {
        pairs.push((rate(ours)?, rate(express)?));
    }
    Ok(Some(Line::pairs(Id::P1, "the same measured by hey, 64 clients", "/s", "Express", &pairs)))
}

//! P12 and P13: forwarding and logins while thousands of bad logins a second arrive, and what it costs to refuse one. The limits are the
//! defaults.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::Outcome;
use crate::clients::{Flood, Rate, Statuses, Stop, added, good_logins, migrate, paced};
use crate::line::{Aim, Id, Line};
use crate::measure::forwarding::round;
use crate::peers::{self, Bench, Limits, Options, Proxy};
use crate::process::{empty_logs, pin};
use crate::tools::wrk;
use crate::upstream::Upstream;

const BAD_A_SECOND: u32 = 5_000;
/// From how many addresses the bad logins come. Each may try 30 times a minute, and what is tried costs a hash.
const ADDRESSES: u8 = 16;
const GOOD_A_SECOND: u32 = 8;
/// Those who log in rightly are nobody whom the flood tries.
const GOOD: std::ops::Range<u64> = 100..125;

pub fn flood(bench: &Bench, _wanted: &BTreeSet<Id>) -> Outcome<Vec<Line>> {
    let upstream = Upstream::start(&bench.cores.load, &bench.folder)?;
    let limits = Limits::Default;
    let ours = peers::authferry(bench, upstream.address, &Options { limits, ..Options::on(&bench.cores.proxy) })?;
    // The first login is the one that legacy answers: not from where the flood comes, nor too many from one address.
    migrate(ours.plain, GOOD)?;
    let window = Duration::from_secs(if bench.pace.quick { 3 } else { 5 });
    let forwarded = || on_load_cores(bench, || paced(ours.plain, 8, 100, window));
    let (mut pairs, mut good, mut bad) = (Vec::new(), Statuses::new(), Statuses::new());
    // Until what each address may try at once is used up.
    let (_, first) = beside_flood(bench, &ours, || std::thread::sleep(Duration::from_secs(12)))?;
    let mut p50 = Vec::new();
    for _ in 0..bench.pace.rounds {
        let idle: Rate = forwarded()?;
        let (busy, statuses) = beside_flood(bench, &ours, || {
            std::thread::sleep(Duration::from_secs(1));
            forwarded()
        })?;
        let busy = busy?;
        p50.push((busy.p50, idle.p50));
        pairs.push((busy.p99, idle.p99));
        bad = added(bad, statuses);
        let (right, statuses) = beside_flood(bench, &ours, || {
            on_load_cores(bench, || good_logins(ours.plain, GOOD_A_SECOND, window, GOOD))
        })?;
        good = added(good, right?);
        bad = added(bad, statuses);
        empty_logs(&ours.folder)?;
    }
    let (right, all) = (good.get(&200).copied().unwrap_or(0), good.values().sum::<u64>());
    let sent = bad.values().sum::<u64>();
    let at = format!("while {BAD_A_SECOND} bad logins a second arrive from {ADDRESSES} addresses");
    Ok(vec![
        Line::pairs(Id::P12, format!("p99 of forwarding {at}"), "ms", "the same, idle", &pairs)
            .aiming(Aim::at_most(1.5, 1.2))
            .noting(format!("bad logins sent: {sent}, answered {bad:?}; while the limits began to hold {first:?}")),
        Line::pairs(Id::P12, format!("p50 of forwarding {at}"), "ms", "the same, idle", &p50),
        Line::alone(
            Id::P12,
            format!("right logins that succeed {at}"),
            "%",
            &[right as f64 / all.max(1) as f64 * 100.0],
        )
        .aiming(Aim::at_least(99.9, 99.9).without_moonshot())
        .noting(format!("{right} of {all}; answers: {good:?}")),
    ])
}

/// Does something on the cores of the load.
fn on_load_cores<T: Send>(bench: &Bench, work: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin(&bench.cores.load);
            work()
        });
        thread.join().unwrap_or_else(|_| Err("a client panicked".into()))
    })
}

/// Does something while the flood goes on, which has a thread of its own.
fn beside_flood<T>(bench: &Bench, ours: &Proxy, work: impl FnOnce() -> T) -> Outcome<(T, Statuses)> {
    let flood = Flood { to: ours.plain, per_second: BAD_A_SECOND, connections: 64, addresses: ADDRESSES };
    let raised = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let stop = Stop(Arc::clone(&raised));
        let thread = scope.spawn(move || {
            pin(&bench.cores.load);
            flood.run(&raised)
        });
        let done = work();
        drop(stop);
        let statuses = thread.join().unwrap_or_else(|_| Err("the flood panicked".into()))?;
        Ok((done, statuses))
    })
}

pub fn refusals(bench: &Bench, _wanted: &BTreeSet<Id>) -> Outcome<Vec<Line>> {
    let upstream = Upstream::start(&bench.cores.load, &bench.folder)?;
    let limits = Limits::Default;
    let ours = peers::authferry(bench, upstream.address, &Options { limits, ..Options::on(&bench.cores.proxy) })?;
    let script = bench.here.join("conf/login.lua").display().to_string();
    let refused = |seconds| -> Outcome<(f64, f64)> {
        let before = ours.running.cpu()?;
        let load = wrk(&bench.cores.load, ours.plain, "/login", 64, seconds, Some(&script))?;
        let used = ours.running.cpu()?.saturating_sub(before);
        empty_logs(&ours.folder)?;
        if load.requests == 0 || load.errors > 0 {
            return Err(format!("{} refusals, {} errors", load.refused, load.errors).into());
        }
        Ok((load.requests as f64 / used.as_secs_f64(), load.refused as f64 / load.requests as f64))
    };
    // Until the limit holds.
    refused(3)?;
    let (mut pairs, mut least) = (Vec::new(), 1.0_f64);
    for _ in 0..bench.pace.rounds {
        let (refusals, share) = refused(bench.pace.seconds)?;
        let forwarded = round(bench, &ours, ours.plain, "/200", 64, bench.pace.seconds)?;
        pairs.push((refusals, 1e6 / forwarded.cpu));
        least = least.min(share);
    }
    Ok(vec![
        Line::pairs(Id::P13, "refusals (429) a second of a core", "/s", "forwarded requests", &pairs)
            .aiming(Aim::at_least(1.5, 2.0))
            .noting(format!(
                "at least {:.2} % of the answers were refusals; the hashes of the others are counted too",
                least * 100.0
            )),
    ])
}

//! P5 and P6: processor time a forwarded request, of the proxy alone on its core.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::Outcome;
use crate::line::{Aim, Id, Line, Spread};
use crate::peers::{self, Bench, Log, Options, Proxy};
use crate::process::empty_logs;
use crate::tools::wrk;
use crate::upstream::Upstream;

/// What a round of one proxy came to.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Microseconds of processor time a request.
    pub cpu: f64,
    pub per_second: f64,
}

/// One round of GETs.
pub fn round(
    bench: &Bench,
    proxy: &Proxy,
    to: SocketAddr,
    path: &str,
    connections: usize,
    seconds: u64,
) -> Outcome<Round> {
    let before = proxy.running.cpu()?;
    let load = wrk(&bench.cores.load, to, path, connections, seconds, None)?;
    let used = proxy.running.cpu()?.saturating_sub(before);
    empty_logs(&proxy.folder)?;
    let load = load.clean().map_err(|error| format!("{} at {connections} connections: {error}", proxy.name))?;
    Ok(Round { cpu: used.as_secs_f64() * 1e6 / load.requests as f64, per_second: load.per_second })
}

/// All of them in turns, after a round each that does not count.
pub fn rounds(
    bench: &Bench,
    proxies: &[(&Proxy, SocketAddr)],
    path: &str,
    connections: usize,
) -> Outcome<Vec<Vec<Round>>> {
    for (proxy, to) in proxies {
        round(bench, proxy, *to, path, connections, 1)?;
    }
    let mut all = vec![Vec::new(); proxies.len()];
    for _ in 0..bench.pace.rounds {
        for (rounds, (proxy, to)) in all.iter_mut().zip(proxies) {
            rounds.push(round(bench, proxy, *to, path, connections, bench.pace.seconds)?);
        }
    }
    Ok(all)
}

/// Ours beside a peer's, of the same round.
pub fn pairs(ours: &[Round], theirs: &[Round], figure: fn(&Round) -> f64) -> Vec<(f64, f64)> {
    ours.iter().zip(theirs).map(|(ours, theirs)| (figure(ours), figure(theirs))).collect()
}

fn cpu(round: &Round) -> f64 {
    round.cpu
}

/// Requests a second too: what a reader wants to know beside the processor time.
fn per_second(rounds: &[&[Round]], names: &[&str]) -> String {
    let of = |rounds: &[Round]| Spread::of(rounds.iter().map(|round| round.per_second).collect());
    let each = rounds
        .iter()
        .zip(names)
        .filter_map(|(rounds, name)| Some(format!("{name} {}", crate::report::shown(of(rounds)?.median))));
    format!("requests a second: {}", each.collect::<Vec<_>>().join(", "))
}

pub fn measure(bench: &Bench, wanted: &BTreeSet<Id>) -> Outcome<Vec<Line>> {
    let upstream = Upstream::start(&bench.cores.load, &bench.folder)?;
    let core = &bench.cores.proxy;
    let mut lines = Vec::new();
    for log in [Log::EachRequest, Log::WarningsOnly] {
        if log == Log::WarningsOnly && !wanted.contains(&Id::P5) {
            continue;
        }
        let ours = peers::authferry(bench, upstream.address, &Options { log, ..Options::on(core) })?;
        let nginx = peers::nginx(bench, upstream.address, core, log)?;
        let haproxy = peers::haproxy(bench, upstream.address, core, log)?;
        if wanted.contains(&Id::P5) {
            let hyper = peers::hyper_alone(bench, upstream.address, core)?;
            lines.extend(small(bench, [&ours, &nginx, &haproxy, &hyper], log)?);
        }
        if wanted.contains(&Id::P6) && log == Log::EachRequest {
            lines.extend(large(bench, [&ours, &nginx, &haproxy])?);
        }
    }
    Ok(lines)
}

fn small(bench: &Bench, proxies: [&Proxy; 4], log: Log) -> Outcome<Vec<Line>> {
    let mut lines = Vec::new();
    let logged = match log {
        Log::EachRequest => "each request logged",
        Log::WarningsOnly => "no request logged",
    };
    for (connections, aim) in [(64, Aim::at_most(0.9, 0.8)), (256, Aim::at_most(1.0, 0.9))] {
        let all = rounds(bench, &proxies.map(|proxy| (proxy, proxy.plain)), "/200", connections)?;
        let [our, nginxs, haproxys, hypers] = all.as_slice() else { continue };
        let what = format!("CPU a forwarded request, 200 B, {connections} connections, {logged}");
        let rates = per_second(&[our, nginxs, haproxys, hypers], &proxies.map(|proxy| proxy.name));
        let bound = Spread::of(pairs(hypers, nginxs, cpu).into_iter().map(|(hyper, nginx)| hyper / nginx).collect());
        let bound = bound.map_or_else(String::new, |bound| {
            format!("; hyper alone, which neither judges, limits nor logs, takes {:.2} of what nginx does", bound.median)
        });
        lines.push(
            Line::pairs(Id::P5, &what, "us", "nginx", &pairs(our, nginxs, cpu)).aiming(aim).noting(rates + &bound),
        );
        lines.push(Line::pairs(Id::P5, &what, "us", "HAProxy", &pairs(our, haproxys, cpu)));
        lines.push(Line::pairs(Id::P5, what, "us", "hyper alone", &pairs(our, hypers, cpu)));
    }
    Ok(lines)
}

fn large(bench: &Bench, [ours, nginx, haproxy]: [&Proxy; 3]) -> Outcome<Vec<Line>> {
    let unbuffered = nginx.unbuffered.ok_or("nginx without its second listener")?;
    let to = [(ours, ours.plain), (nginx, nginx.plain), (nginx, unbuffered), (haproxy, haproxy.plain)];
    let all = rounds(bench, &to, "/65536", 64)?;
    let [our, buffered, unbuffered, haproxys] = all.as_slice() else { return Ok(Vec::new()) };
    let what = "CPU a forwarded request, 64 KiB, 64 connections";
    let line = |peer, theirs: &[Round]| Line::pairs(Id::P6, what, "us", peer, &pairs(our, theirs, cpu));
    let names = ["authferry", "nginx buffered", "unbuffered", "HAProxy"];
    Ok(vec![
        line("nginx buffered", buffered)
            .aiming(Aim::at_most(0.9, 0.85))
            .noting(per_second(&[our, buffered, unbuffered, haproxys], &names)),
        line("nginx unbuffered", unbuffered).aiming(Aim::at_most(0.65, 0.6)),
        line("HAProxy", haproxys),
    ])
}

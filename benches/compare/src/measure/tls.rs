//! P7: TLS 1.3 before the same forwarding: requests over kept connections, and handshakes. What is compared is what a core can do, from
//! the processor time that the proxy took; both choose the same cipher and key exchange.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Outcome;
use crate::handshake::{Kind, handshakes};
use crate::line::{Aim, Id, Line};
use crate::peers::{self, Bench, Log, Options, Proxy};
use crate::process::{empty_logs, pin};
use crate::tools::{Http, h2load};
use crate::upstream::Upstream;

const CONNECTIONS: usize = 32;

pub fn measure(bench: &Bench, _wanted: &BTreeSet<Id>) -> Outcome<Vec<Line>> {
    let upstream = Upstream::start(&bench.cores.load, &bench.folder)?;
    let core = &bench.cores.proxy;
    let ours = peers::authferry(bench, upstream.address, &Options { tls: true, ..Options::on(core) })?;
    let nginx = peers::nginx(bench, upstream.address, core, Log::EachRequest)?;
    let mut lines = Vec::new();
    for (http, name) in [(Http::One, "h1"), (Http::Two, "h2")] {
        let mut tls = String::new();
        let mut round = |proxy: &Proxy| -> Outcome<f64> {
            let to = proxy.ecdsa.ok_or("no TLS listener")?;
            let before = proxy.running.cpu()?;
            let load = h2load(&bench.cores.load, to, http, CONNECTIONS, bench.pace.seconds + 1)?;
            let load = load.clean().map_err(|error| format!("{} over TLS {name}: {error}", proxy.name))?;
            let used = proxy.running.cpu()?.saturating_sub(before);
            empty_logs(&proxy.folder)?;
            tls.clone_from(&load.tls);
            Ok(load.requests as f64 / used.as_secs_f64())
        };
        let pairs = in_turns(bench, &ours, &nginx, &mut round)?;
        let what = format!("requests a second of a core, TLS {name}, 200 B, {CONNECTIONS} connections");
        lines.push(Line::pairs(Id::P7, what, "/s", "nginx", &pairs).aiming(Aim::at_least(1.4, 1.5)).noting(tls));
    }
    for (kind, how) in [(Kind::Full, "full"), (Kind::Resumed, "resumed")] {
        for (certificate, listener) in [("ecdsa", ecdsa as fn(&Proxy) -> Option<SocketAddr>), ("rsa", rsa)] {
            let trusted = peers::trusted(bench, certificate)?;
            let mut round = |proxy: &Proxy| -> Outcome<f64> {
                let to = listener(proxy).ok_or("no TLS listener")?;
                let before = proxy.running.cpu()?;
                let lasting = Duration::from_secs(bench.pace.seconds);
                let count = std::thread::scope(|scope| {
                    let thread = scope.spawn(|| {
                        pin(&bench.cores.load);
                        handshakes(to, &trusted, kind, lasting)
                    });
                    thread.join().unwrap_or_else(|_| Err("the client panicked".into()))
                })?;
                let used = proxy.running.cpu()?.saturating_sub(before);
                Ok(count as f64 / used.as_secs_f64())
            };
            let pairs = in_turns(bench, &ours, &nginx, &mut round)?;
            let key = if certificate == "rsa" { "RSA 2048" } else { "P-256" };
            let line =
                Line::pairs(Id::P7, format!("{how} handshakes a second of a core, {key}"), "/s", "nginx", &pairs);
            lines.push(match kind {
                Kind::Full => line.aiming(Aim::at_least(2.2, 2.4)),
                Kind::Resumed => line,
            });
        }
    }
    Ok(lines)
}

fn ecdsa(proxy: &Proxy) -> Option<SocketAddr> {
    proxy.ecdsa
}

fn rsa(proxy: &Proxy) -> Option<SocketAddr> {
    proxy.rsa
}

/// Ours and theirs in turns, after a round each that does not count.
fn in_turns(
    bench: &Bench,
    ours: &Proxy,
    theirs: &Proxy,
    round: &mut impl FnMut(&Proxy) -> Outcome<f64>,
) -> Outcome<Vec<(f64, f64)>> {
    round(ours)?;
    round(theirs)?;
    (0..bench.pace.rounds).map(|_| Ok((round(ours)?, round(theirs)?))).collect()
}

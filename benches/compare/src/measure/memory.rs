//! P15: what the proxy holds when nobody asks for anything, and with ten thousand connections that idle.

use std::collections::BTreeSet;

use crate::Outcome;
use crate::clients::idling;
use crate::line::{Aim, Id, Line};
use crate::peers::{self, Bench, Log, Options, Proxy, files};
use crate::upstream::Upstream;

const CONNECTIONS: usize = 10_000;
/// Descriptors that a proxy needs for something else.
const BESIDE: u64 = 700;

/// As many connections, or as many as a proxy may have: each may take a descriptor to the app too, and authferry keeps one for it.
pub fn at_most(connections: usize) -> usize {
    usize::try_from(files().saturating_sub(BESIDE) / 2).unwrap_or(usize::MAX).min(connections)
}

pub fn measure(bench: &Bench, _wanted: &BTreeSet<Id>) -> Outcome<Vec<Line>> {
    let upstream = Upstream::start(&bench.cores.load, &bench.folder)?;
    // As it is deployed: on all cores. nginx has one process of each kind and less to hold.
    let ours = peers::authferry(bench, upstream.address, &Options::on(&bench.cores.all))?;
    let nginx = peers::nginx(bench, upstream.address, &bench.cores.all, Log::EachRequest)?;
    let haproxy = peers::haproxy(bench, upstream.address, &bench.cores.all, Log::EachRequest)?;
    let idle = [&ours, &nginx, &haproxy].map(|proxy| proxy.running.resident());
    let possible = at_most(CONNECTIONS);
    let holding = |proxy: &Proxy| -> Outcome<f64> {
        let look = || (proxy.running.resident(), proxy.running.descriptors());
        let (held, descriptors) = idling(proxy.plain, possible, look)?;
        if descriptors < possible {
            return Err(format!("{} has {descriptors} descriptors for {possible} connections", proxy.name).into());
        }
        Ok(held)
    };
    let held = [holding(&ours)?, holding(&nginx)?, holding(&haproxy)?];
    let others = |of: [f64; 3]| format!("HAProxy {:.1} MB", of[2]);
    let few = if possible < CONNECTIONS {
        format!("only {possible} connections: a process may open {} files here", files())
    } else {
        String::new()
    };
    let what = format!("resident memory, {possible} idle connections that were used once");
    Ok(vec![
        Line::pairs(Id::P15, "resident memory, idle after the start", "MB", "nginx", &[(idle[0], idle[1])])
            .judging_ours()
            .aiming(Aim::at_most(20.0, 12.0))
            .noting(others(idle)),
        Line::pairs(Id::P15, what, "MB", "nginx", &[(held[0], held[1])])
            .judging_ours()
            .aiming(Aim::at_most(150.0, 100.0))
            .noting(others(held))
            .noting(few),
    ])
}

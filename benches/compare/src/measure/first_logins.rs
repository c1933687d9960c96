//! P8: first logins, with a legacy backend that answers at once. Each user is hashed and saved durably before the answer.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::Outcome;
use crate::clients;
use crate::line::{Aim, Id, Line};
use crate::measure::logins::Hashes;
use crate::peers::{self, Bench, Options};
use crate::upstream::Upstream;

pub fn measure(bench: &Bench, _wanted: &BTreeSet<Id>) -> Outcome<Vec<Line>> {
    let upstream = Upstream::start(&bench.cores.all, &bench.folder)?;
    let ours = peers::authferry(bench, upstream.address, &Options::on(&bench.cores.all))?;
    let mut hashes = Hashes::start(bench, &bench.cores.all)?;
    hashes.ceiling(1)?;
    let next = Cell::new(0_u64);
    let fresh = || clients::user(1_000_000 + next.replace(next.get() + 1));
    let mut lines = Vec::new();
    for count in [8, 64] {
        let warm = Duration::from_millis(if count > 8 { 1_500 } else { 300 });
        let window = Duration::from_secs(bench.pace.login_seconds);
        let (mut pairs, mut p99) = (Vec::new(), Vec::new());
        for _ in 0..bench.pace.rounds {
            let before = hashes.ceiling(bench.pace.login_seconds / 2)?;
            let rate = clients::logins(ours.plain, count, warm, window, fresh)?;
            let after = hashes.ceiling(bench.pace.login_seconds / 2)?;
            pairs.push((rate.per_second, f64::midpoint(before, after)));
            p99.push(rate.p99);
        }
        let what = format!("first logins a second, saved durably, {count} clients");
        lines.push(Line::pairs(Id::P8, what, "/s", "hash ceiling", &pairs).aiming(Aim::at_least(0.9, 0.95)));
        lines.push(Line::alone(Id::P8, format!("p99 of a first login, {count} clients"), "ms", &p99));
    }
    Ok(lines)
}

//! P4: one check of a password, the proxy's pool beside the `argon2` crate as it is called naively, and Debian's libargon2. One core.

use std::collections::BTreeSet;

use crate::Outcome;
use crate::line::{Aim, Id, Line, Spread};
use crate::measure::logins::Hashes;
use crate::peers::Bench;
use crate::tools::libargon2;

pub fn measure(bench: &Bench, _wanted: &BTreeSet<Id>) -> Outcome<Vec<Line>> {
    let mut hashes = Hashes::start(bench, &bench.cores.proxy)?;
    let mut lines = Vec::new();
    for (mib, iterations, aim) in [(19, 2, Aim::at_most(0.55, 0.45)), (46, 1, Aim::at_most(0.35, 0.3))] {
        let order = format!("pair {mib} {iterations}");
        hashes.ask(&order)?;
        let (mut pairs, mut cpu, mut beside_c) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.pace.hashes {
            let answer = hashes.ask(&order)?;
            let of = |name: &str| answer[name].as_f64().unwrap_or(f64::NAN);
            pairs.push((of("ours"), of("naive")));
            cpu.push(of("ours_cpu") / of("naive_cpu"));
            beside_c.push((of("ours"), libargon2(&bench.cores.proxy, mib, iterations)?));
        }
        let what = format!("one check of a password, {mib} MiB, t={iterations}");
        let cpu = Spread::of(cpu).map_or(f64::NAN, |spread| spread.median);
        lines.push(
            Line::pairs(Id::P4, &what, "ms", "argon2 crate, naive", &pairs)
                .aiming(aim)
                .noting(format!("ratio of processor time, memory overwritten afterwards included: {cpu:.2}")),
        );
        lines.push(Line::pairs(Id::P4, what, "ms", "libargon2 (Debian)", &beside_c));
    }
    Ok(lines)
}

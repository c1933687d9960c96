//! P9, P10, P11 and P14: stores of many users, by `benches/users`, whose JSON is read here.

use std::process::Stdio;

use serde_json::Value;

use crate::Outcome;
use crate::line::{Aim, Id, Line};
use crate::peers::Bench;
use crate::process::on_cores;
use crate::report::shown;

/// The cache that lookups are judged with, bytes.
const CACHE: &str = "536870912";
/// How many users the goals for opening and for the slowest lookups are set for.
const MANY: u64 = 10_000_000;

/// Builds and runs the bench with so many users: minutes.
pub fn measure(bench: &Bench, users: u64) -> Outcome<Vec<Line>> {
    let mut command = on_cores(&bench.cores.all, &bench.here.join("../users/run"));
    command.args(["--json", "--users", &users.to_string(), "--directory"]).arg(&bench.folder);
    command.env("CARGO_TARGET_DIR", &bench.built).stderr(Stdio::inherit());
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("benches/users: {}", output.status).into());
    }
    lines(&serde_json::from_slice(&output.stdout)?)
}

/// What it measured, as lines. Every figure is the median of its own rounds.
fn lines(results: &Value) -> Outcome<Vec<Line>> {
    let users = results["users"].as_u64().ok_or("no number of users")?;
    let number = |store: &str, path: &[&str]| -> Outcome<f64> {
        let value = path.iter().fold(&results["stores"][store], |value, key| &value[*key]);
        value.as_f64().ok_or_else(|| format!("no {} of {store}", path.join(".")).into())
    };
    let seconds = |store: &str, key: &str| -> Outcome<f64> {
        Ok(number(store, &[key, "secs"])? + number(store, &[key, "nanos"])? / 1e9)
    };
    let saves = |store: &str, at_once: &str| number(store, &["writes", at_once, "per_second"]);
    let reads = |store: &str, figure: &str| number(store, &["reads", CACHE, "email", figure]);
    let per_user =
        |store: &str| Ok::<_, Box<dyn std::error::Error + Send + Sync>>(number(store, &["file_bytes"])? / users as f64);
    let loaded =
        |store: &str| Ok::<_, Box<dyn std::error::Error + Send + Sync>>(users as f64 / seconds(store, "load")?);
    let at = format!("{} users", shown(users as f64));
    let smaller = if users < MANY { format!("the goal is for {} users", shown(MANY as f64)) } else { String::new() };
    let (ours, sqlite, lmdb) = ("authferry", "sqlite", "lmdb");
    Ok(vec![
        Line::pairs(
            Id::P9,
            "migrations saved, 64 at once",
            "/s",
            "one at a time",
            &[(saves(ours, "64")?, saves(ours, "1")?)],
        )
        .aiming(Aim::at_least(6.0, 10.0)),
        Line::pairs(
            Id::P9,
            "migrations saved, 64 at once",
            "/s",
            "SQLite",
            &[(saves(ours, "64")?, saves(sqlite, "64")?)],
        )
        .aiming(Aim::at_least(1.2, 2.0)),
        Line::pairs(Id::P9, "migrations saved, 64 at once", "/s", "LMDB", &[(saves(ours, "64")?, saves(lmdb, "64")?)]),
        Line::pairs(
            Id::P10,
            format!("open after kill -9, {at}"),
            "ms",
            "SQLite",
            &[(seconds(ours, "open_after_kill")? * 1e3, seconds(sqlite, "open_after_kill")? * 1e3)],
        )
        .judging_ours()
        .aiming(Aim::at_most(50.0, 10.0))
        .noting(smaller.clone()),
        Line::pairs(
            Id::P11,
            format!("lookups by email a second of a core, {at}, 512 MiB"),
            "/s",
            "SQLite",
            &[(reads(ours, "per_second")?, reads(sqlite, "per_second")?)],
        )
        .aiming(Aim::at_least(2.5, 3.0)),
        Line::pairs(
            Id::P11,
            format!("lookups by email a second of a core, {at}, 512 MiB"),
            "/s",
            "LMDB",
            &[(reads(ours, "per_second")?, reads(lmdb, "per_second")?)],
        ),
        Line::pairs(
            Id::P11,
            format!("p99 of a lookup, {at}, 512 MiB"),
            "us",
            "SQLite",
            &[(reads(ours, "p99")?, reads(sqlite, "p99")?)],
        )
        .judging_ours()
        .aiming(Aim::at_most(10.0, 6.0))
        .noting(smaller),
        Line::pairs(
            Id::P14,
            format!("import of JSON lines, {at}"),
            "users/s",
            "SQLite",
            &[(loaded(ours)?, loaded(sqlite)?)],
        )
        .judging_ours()
        .aiming(Aim::at_least(150_000.0, 300_000.0)),
        Line::pairs(Id::P14, format!("file, {at}"), "bytes/user", "SQLite", &[(per_user(ours)?, per_user(sqlite)?)])
            .judging_ours()
            .aiming(Aim::at_most(450.0, 400.0)),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::line::Verdict;

    fn store(factor: f64) -> Value {
        let rate = |per_second: f64| json!({ "per_second": per_second * factor, "p50": 2.0, "p99": 8.0, "cpu": 1.0 });
        json!({
            "load": { "secs": 10, "nanos": 0 }, "file_bytes": 445_000_000_u64, "open_after_kill": { "secs": 0, "nanos": 3_500_000 },
            "reads": { CACHE: { "email": rate(200_000.0) } }, "writes": { "1": rate(600.0), "64": rate(4_200.0) },
        })
    }

    #[test]
    fn what_the_bench_of_users_says_becomes_lines() {
        let results = json!({ "users": 1_000_000, "stores": { "authferry": store(1.0), "sqlite": store(0.5), "lmdb": store(2.0) } });
        let lines = lines(&results).unwrap();
        let verdicts: Vec<(String, Verdict)> =
            lines.iter().map(|line| (format!("{} {}", line.id, line.peer), line.verdict)).collect();
        let of = |name: &str| {
            verdicts.iter().filter(|(line, _)| line == name).map(|(_, verdict)| *verdict).collect::<Vec<_>>()
        };
        assert_eq!(of("P9 one at a time"), [Verdict::Met]);
        assert_eq!(of("P9 SQLite"), [Verdict::Moonshot]);
        assert_eq!(of("P9 LMDB"), [Verdict::Shown]);
        assert_eq!(of("P10 SQLite"), [Verdict::Moonshot]);
        assert_eq!(of("P11 SQLite"), [Verdict::Missed, Verdict::Met]);
        assert_eq!(of("P14 SQLite"), [Verdict::Missed, Verdict::Met]);
        assert!(lines.iter().any(|line| line.note.contains("10,000,000")));
    }

    #[test]
    fn a_figure_that_is_not_there_is_an_error_and_no_zero() {
        let results =
            json!({ "users": 1_000, "stores": { "authferry": store(1.0), "sqlite": {}, "lmdb": store(1.0) } });
        assert!(super::lines(&results).unwrap_err().to_string().contains("sqlite"));
    }
}

//! The table: one figure a line, the stores beside each other, and how many times better or worse authferry is.

use std::fmt::Write as _;
use std::time::Duration;

use crate::driver::{AT_ONCE, CACHES, Results, Store};
use crate::engine::{By, Kind};

/// What a process that looks users up may hold beside `store.cache`.
const BESIDE_CACHE_MIB: usize = 48;

/// One figure.
struct Line {
    what: String,
    unit: &'static str,
    value: fn(&Store, &Results, usize) -> Option<f64>,
    argument: usize,
    better: Better,
    goal: Goal,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    More,
    Less,
}

/// What `reference/performance.md` asks for; its numbers are in the table's notes.
#[derive(Clone, Copy)]
enum Goal {
    None,
    AtLeast(f64),
    AtMost(f64),
    /// So many times SQLite's.
    TimesSqlite(f64),
}

fn lines() -> Vec<Line> {
    let mut lines = vec![
        line("import of JSON lines", "users/s", Better::More, Goal::AtLeast(150_000.0), 0, |store, _, _| {
            Some(store.loaded_users as f64 / store.load.as_secs_f64())
        }),
        line("peak memory of the import", "MiB", Better::Less, Goal::None, 0, |store, _, _| {
            Some(mib(store.load_memory.peak))
        }),
        line("file", "bytes/user", Better::Less, Goal::AtMost(450.0), 0, |store, results, _| {
            Some(store.file_bytes as f64 / results.users as f64)
        }),
        line("open, nothing in memory", "ms", Better::Less, Goal::None, 0, |store, _, _| Some(ms(store.open_cold))),
        line("open", "ms", Better::Less, Goal::None, 0, |store, _, _| Some(ms(store.open))),
        line("open after kill -9", "ms", Better::Less, Goal::AtMost(50.0), 0, |store, _, _| {
            Some(ms(store.open_after_kill))
        }),
    ];
    for cache in CACHES {
        let size = cache >> 20;
        for by in By::ALL {
            let rate = match by {
                By::Email => Goal::TimesSqlite(2.5),
                By::LegacyId | By::Unknown => Goal::None,
            };
            let argument = cache | by as usize;
            lines.push(line(
                format!("lookups {}, {size} MiB", by.name()),
                "/s",
                Better::More,
                rate,
                argument,
                |s, _, a| Some(read(s, a)?.per_second),
            ));
            lines.push(line(
                format!("  median {}, {size} MiB", by.name()),
                "us",
                Better::Less,
                Goal::None,
                argument,
                |s, _, a| Some(read(s, a)?.p50),
            ));
            let tail = if by == By::Email { Goal::AtMost(10.0) } else { Goal::None };
            lines.push(line(
                format!("  p99 {}, {size} MiB", by.name()),
                "us",
                Better::Less,
                tail,
                argument,
                |s, _, a| Some(read(s, a)?.p99),
            ));
        }
        lines.push(line(
            format!("lookups by email, 16 at once, {size} MiB"),
            "/s",
            Better::More,
            Goal::None,
            cache,
            |s, _, a| Some(s.reads_at_once.get(&a)?.per_second),
        ));
        let most = Goal::AtMost((size + BESIDE_CACHE_MIB) as f64);
        lines.push(line(format!("memory after lookups, {size} MiB"), "MiB", Better::Less, most, cache, |s, _, a| {
            Some(mib(s.read_memory.get(&a)?.resident))
        }));
    }
    for at_once in AT_ONCE {
        let goal = if at_once == 64 { Goal::TimesSqlite(1.2) } else { Goal::None };
        lines.push(line(format!("saves, {at_once} at once"), "users/s", Better::More, goal, at_once, |s, _, a| {
            Some(s.writes.get(&a)?.per_second)
        }));
        lines.push(line(format!("  p99, {at_once} at once"), "us", Better::Less, Goal::None, at_once, |s, _, a| {
            Some(s.writes.get(&a)?.p99)
        }));
    }
    lines.push(line("saves, 64 at once against one", "times", Better::More, Goal::AtLeast(6.0), 0, |s, _, _| {
        Some(s.writes.get(&64)?.per_second / s.writes.get(&1)?.per_second)
    }));
    lines
}

fn line(
    what: impl Into<String>,
    unit: &'static str,
    better: Better,
    goal: Goal,
    argument: usize,
    value: fn(&Store, &Results, usize) -> Option<f64>,
) -> Line {
    Line { what: what.into(), unit, value, argument, better, goal }
}

/// A cache is a multiple of four, so the two lowest bits are free to say what was looked for.
fn read(store: &Store, argument: usize) -> Option<crate::measure::Rate> {
    let by = By::ALL.into_iter().find(|by| *by as usize == argument & 3)?;
    store.reads.get(&(argument & !3))?.get(&by).copied()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

pub fn json(results: &Results) -> String {
    serde_json::to_string_pretty(results).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

/// What each line shows: figure, authferry, then each other store and the ratio, then the goal.
fn rows(results: &Results) -> Vec<Vec<String>> {
    let others = [Kind::Sqlite, Kind::Lmdb];
    let mut rows = vec![vec![
        "figure".to_owned(),
        "authferry".to_owned(),
        "SQLite".to_owned(),
        "ratio".to_owned(),
        "LMDB".to_owned(),
        "ratio".to_owned(),
        "goal".to_owned(),
    ]];
    for line in lines() {
        let of = |kind: Kind| (line.value)(results.stores.get(&kind)?, results, line.argument);
        let ours = of(Kind::Authferry);
        let mut row = vec![format!("{} ({})", line.what, line.unit), shown(ours)];
        for other in others {
            let theirs = of(other);
            row.push(shown(theirs));
            let ratio = ours.zip(theirs).map(|(ours, theirs)| match line.better {
                Better::More => ours / theirs,
                Better::Less => theirs / ours,
            });
            row.push(ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}x")));
        }
        row.push(judged(line.goal, ours, of(Kind::Sqlite)));
        rows.push(row);
    }
    rows
}

fn shown(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 1_000.0 => {
            let digits = format!("{value:.0}");
            let mut out = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) {
                    out.push(',');
                }
                out.push(digit);
            }
            out
        }
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.1}"),
    }
}

fn judged(goal: Goal, ours: Option<f64>, sqlite: Option<f64>) -> String {
    let Some(ours) = ours else { return String::new() };
    let (text, met) = match goal {
        Goal::None => return String::new(),
        Goal::AtLeast(least) => (format!("at least {}", shown(Some(least))), ours >= least),
        Goal::AtMost(most) => (format!("at most {}", shown(Some(most))), ours <= most),
        Goal::TimesSqlite(times) => (format!("{times}x SQLite"), sqlite.is_some_and(|sqlite| ours >= sqlite * times)),
    };
    format!("{text}: {}", if met { "met" } else { "missed" })
}

fn heading(results: &Results) -> String {
    let machine = &results.machine;
    format!(
        "{} users, {:.2} GB of JSON lines. {}, {} cores, {:.0} GiB, Linux {}, {}; writing and syncing 4 KiB takes {:.0} us.\n\
         A ratio above 1 says that authferry is better.",
        shown(Some(results.users as f64)),
        results.input_bytes as f64 / 1e9,
        machine.processor,
        machine.cores,
        machine.memory as f64 / f64::from(1 << 30),
        machine.kernel,
        machine.file_system,
        machine.sync
    )
}

pub fn text(results: &Results) -> String {
    let rows = rows(results);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut out = heading(results);
    out.push_str("\n\n");
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = match column {
                0 => write!(out, "{cell:<width$}"),
                6 => write!(out, "  {cell}"),
                _ => write!(out, "  {cell:>width$}"),
            };
        }
        out.push('\n');
    }
    out
}

pub fn markdown(results: &Results) -> String {
    let mut out = heading(results);
    out.push_str("\n\n");
    for (at, row) in rows(results).iter().enumerate() {
        let _ = writeln!(out, "| {} |", row.iter().map(|cell| cell.trim()).collect::<Vec<_>>().join(" | "));
        if at == 0 {
            out.push_str("| --- | ---: | ---: | ---: | ---: | ---: | --- |\n");
        }
    }
    out
}

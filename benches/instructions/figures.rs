//! Reads what callgrind has counted, and compares it with the committed figures.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// How much more a request may cost than it did.
const TOLERANCE: f64 = 1.05;

const HEAD: &str = "\
# What one request costs in the proxy, and a check that it costs no more: see main.rs. Counted by callgrind on x86-64 with AVX2 in the
# profile `instructions` of Cargo.toml (release without LTO and debug info), Argon2id with 8 KiB and one pass.
# Written by benches/instructions/run --update.
";

/// What callgrind counted in one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals {
    instructions: i64,
    allocations: i64,
}

impl Totals {
    /// Reads a file of callgrind's. A call of an allocator's function by another one of the allocator's is no allocation.
    pub(crate) fn read(path: &Path) -> Self {
        let mut totals = Self { instructions: 0, allocations: 0 };
        let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
        let (mut caller, mut callee, mut is_call) = (Kind::Usual, Kind::Usual, false);
        for line in BufReader::new(File::open(path).expect("callgrind's file")).lines() {
            let line = line.expect("text");
            if let Some(function) = line.strip_prefix("fn=") {
                caller = Kind::of(function, &mut kinds);
            } else if let Some(function) = line.strip_prefix("cfn=") {
                callee = Kind::of(function, &mut kinds);
            } else if let Some(calls) = line.strip_prefix("calls=") {
                is_call = true;
                if callee == Kind::Allocates && caller != callee {
                    totals.allocations += number(calls.split(' ').next());
                }
            } else if let Some(instructions) = line.strip_prefix("totals: ") {
                totals.instructions += number(Some(instructions));
            } else if std::mem::take(&mut is_call) && callee == Kind::LeftOut && caller != callee {
                // What the call took, with all that it called.
                totals.instructions -= number(line.split(' ').nth(1));
            }
        }
        totals
    }
}

fn number(text: Option<&str>) -> i64 {
    text.and_then(|text| text.parse().ok()).expect("a number")
}

/// What a function is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Usual,
    Allocates,
    /// How much it takes is another matter: how much entropy the timing of the machine has, once in a process.
    LeftOut,
}

impl Kind {
    /// A function is given as `(7) name` the first time and as `(7)` from then on.
    fn of(function: &str, kinds: &mut BTreeMap<String, Self>) -> Self {
        let (number, name) = function.split_once(' ').unwrap_or((function, ""));
        if name.is_empty() {
            return kinds.get(number).copied().unwrap_or(Self::Usual);
        }
        let begins = |words: &[&str]| words.iter().any(|word| name.trim_start_matches('_').starts_with(word));
        let kind = if begins(&["mi_malloc", "mi_zalloc", "mi_realloc", "mi_heap_", "mi_theap_"]) {
            Self::Allocates
        } else if name.contains("jent_") {
            Self::LeftOut
        } else {
            Self::Usual
        };
        kinds.insert(number.to_owned(), kind);
        kind
    }
}

/// What one request costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    instructions: f64,
    allocations: f64,
}

impl Costs {
    /// From a run of so many requests and one of twice as many.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(crate) fn between(once: Totals, twice: Totals, requests: usize) -> Self {
        let each = |once: i64, twice: i64| (twice as f64 - once as f64) / requests as f64;
        Self {
            instructions: each(once.instructions, twice.instructions),
            allocations: each(once.allocations, twice.allocations),
        }
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.0} instructions  {:>5.1} allocations", self.instructions, self.allocations)
    }
}

/// How a cost compares with the committed one.
pub(crate) enum Verdict {
    /// None is committed.
    New,
    /// By this factor of the committed figure.
    Within(f64),
    /// By this factor of the committed figure, which is too much.
    Over(f64),
}

impl Verdict {
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Over(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => write!(f, "new"),
            Self::Within(factor) => write!(f, "{factor:.3} of the committed figure"),
            Self::Over(factor) => write!(f, "{factor:.3} of the committed figure: TOO MUCH"),
        }
    }
}

/// The committed figures.
pub(crate) struct Figures(toml::Table);

impl Figures {
    fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/figures.toml")
    }

    pub(crate) fn read() -> Self {
        let text = std::fs::read_to_string(Self::path()).unwrap_or_default();
        Self(text.parse().expect("figures.toml is TOML"))
    }

    pub(crate) fn judge(&self, scenario: &str, costs: Costs) -> Verdict {
        let committed = |what: &str| {
            let number = self.0.get(scenario)?.get(what)?;
            number.as_float().or_else(|| number.as_integer().and_then(|whole| i32::try_from(whole).ok()).map(f64::from))
        };
        let (Some(instructions), Some(allocations)) = (committed("instructions"), committed("allocations")) else {
            return Verdict::New;
        };
        let factor = costs.instructions / instructions;
        if factor > TOLERANCE || costs.allocations > allocations * TOLERANCE {
            Verdict::Over(factor)
        } else {
            Verdict::Within(factor)
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "far below 2^53")]
    pub(crate) fn set(&mut self, scenario: &str, costs: Costs) {
        let mut figures = toml::Table::new();
        figures.insert("instructions".into(), toml::Value::Integer(costs.instructions.round() as i64));
        figures.insert("allocations".into(), toml::Value::Float((costs.allocations * 10.0).round() / 10.0));
        self.0.insert(scenario.to_owned(), toml::Value::Table(figures));
    }

    pub(crate) fn write(&self) {
        let mut text = String::from(HEAD);
        for (scenario, figures) in &self.0 {
            text.push_str(&format!("\n[{scenario}]\n"));
            for (what, figure) in figures.as_table().into_iter().flatten() {
                text.push_str(&format!("{what} = {figure}\n"));
            }
        }
        std::fs::write(Self::path(), text).expect("written");
    }
}

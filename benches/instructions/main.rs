//! What one request costs in instructions and allocations, counted by callgrind: a figure that a busy machine does not change, so that a
//! check can hold it. The proxy runs under valgrind in a process of its own; upstream, legacy and client run in another one, uncounted.
//! Each figure is the difference between N and 2N requests: the start, the drain and the first requests cancel out.
//!
//! `benches/instructions/run` counts, compares with `figures.toml` and fails where a request costs over 5 % more; `--update` writes the
//! figures anew; `forward`, `login`, … count one thing only; `--keep DIR` leaves callgrind's files there, for `callgrind_annotate`.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod figures;
mod peers;
mod proxy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use self::figures::{Costs, Figures};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is asked of the proxy, again and again, over one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    /// A GET that goes to the app, answered with 200 bytes.
    Forward,
    /// A login of a user who is over.
    Login,
    /// A login that is refused because its address is over its limit.
    Refusal,
    /// A login that legacy answers and that is saved, of another user each time.
    FirstLogin,
}

impl Scenario {
    const ALL: [Self; 4] = [Self::Forward, Self::Login, Self::Refusal, Self::FirstLogin];

    fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Login => "login",
            Self::Refusal => "refusal",
            Self::FirstLogin => "first_login",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// N: enough for the timers that tick meanwhile not to matter.
    fn requests(self) -> usize {
        match self {
            Self::Forward | Self::Refusal => 500,
            Self::Login => 200,
            Self::FirstLogin => 100,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["proxy", scenario, requests] => {
            proxy::run(Scenario::parse(scenario).expect("a scenario"), requests.parse().expect("a number"));
            ExitCode::SUCCESS
        }
        ["peers", scenario, requests] => {
            peers::run(Scenario::parse(scenario).expect("a scenario"), requests.parse().expect("a number"));
            ExitCode::SUCCESS
        }
        _ => count(&words),
    }
}

/// Counts what was asked for, and says how it compares.
fn count(words: &[&str]) -> ExitCode {
    let update = words.contains(&"--update");
    let keep = words.iter().position(|word| *word == "--keep").and_then(|at| words.get(at + 1)).map(PathBuf::from);
    let named: Vec<Scenario> = words.iter().filter_map(|word| Scenario::parse(word)).collect();
    let scenarios = if named.is_empty() { Scenario::ALL.to_vec() } else { named };
    let temporary = tempfile::tempdir().expect("a directory");
    let directory = keep.unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&directory).expect("a directory");
    let mut figures = Figures::read();
    let mut over = false;
    for scenario in scenarios {
        let (once, twice) = (
            counted(scenario, scenario.requests(), &directory),
            counted(scenario, 2 * scenario.requests(), &directory),
        );
        let costs = Costs::between(once, twice, scenario.requests());
        let verdict = figures.judge(scenario.name(), costs);
        println!("{:<12} {costs}  {verdict}", scenario.name());
        over |= verdict.is_over();
        figures.set(scenario.name(), costs);
    }
    if update {
        figures.write();
        return ExitCode::SUCCESS;
    }
    if over {
        println!("A request costs more than it did. If that has to be: benches/instructions/run --update");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// One run of the proxy under callgrind.
fn counted(scenario: Scenario, requests: usize, directory: &Path) -> figures::Totals {
    let out = directory.join(format!("{}.{requests}.callgrind", scenario.name()));
    let own = std::env::current_exe().expect("this program");
    let ended = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--trace-children=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(own)
        .args(["proxy", scenario.name(), &requests.to_string()])
        // One instruction that copies a whole buffer is counted as one for each byte: let it be copied as small ones are.
        .env(
            "GLIBC_TUNABLES",
            "glibc.cpu.x86_rep_movsb_threshold=1000000000:glibc.cpu.x86_rep_stosb_threshold=1000000000",
        )
        .stdin(Stdio::null())
        // The log of the proxy, which a pipe that nobody reads would not take.
        .stderr(std::fs::File::create(directory.join("log")).expect("a file"))
        .status()
        .expect("valgrind runs");
    assert!(ended.success(), "{}: {ended}; see {}", scenario.name(), directory.join("log").display());
    figures::Totals::read(&out)
}

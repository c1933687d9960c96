//! authferry beside what people run and write, for each goal of the performance page: our figure, the peer's, their ratio over
//! alternating rounds, and whether the goal is met. Started by `run`, which installs and builds everything first.
//!
//! ```text
//! measure/   what each goal is and how it is measured       peers      who is compared, started with conf/
//! line       a line of the table, goals and verdicts        process    starts, watches and ends programs
//! report     the table as text, Markdown, JSON              tools      wrk, h2load, hey, argon2, and what they say
//! machine    what machine it was, and how quiet             clients    loads that no tool makes; handshake: TLS ones
//! scaling    cost against size, plot draws it               upstream   the app and the legacy backend behind everybody
//! soak       half load with faults                          hashes     a program of its own: hashes in process
//!                                                           hyper_alone  another one: a proxy that is nothing but hyper
//! ```

mod clients;
mod handshake;
mod line;
mod machine;
mod measure;
mod peers;
mod plot;
mod process;
mod report;
mod scaling;
mod soak;
mod tools;
mod upstream;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::line::Id;
use crate::machine::{Machine, Noise};
use crate::peers::{Bench, Pace};
use crate::process::Cores;

/// What goes wrong ends the part that it happens in.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measures authferry beside nginx, HAProxy, a login service on Express, SQLite and LMDB.
#[derive(Parser)]
#[command(name = "benches/compare/run", max_term_width = 100)]
struct Arguments {
    /// Measures this goal alone; may be given several times.
    #[arg(long, value_enum, ignore_case = true, value_name = "P5")]
    only: Vec<Id>,
    /// Few and short rounds: a few minutes for all.
    #[arg(long)]
    quick: bool,
    /// Prints everything that was measured as JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Prints the table as Markdown.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// How many users the stores of P9, P10, P11 and P14 have [default: 1000000, with --quick 200000]
    #[arg(long)]
    users: Option<u64>,
    /// How many rounds, if not 9, or 3 with --quick.
    #[arg(long)]
    rounds: Option<usize>,
    /// Where files are written while measuring, in a directory of their own that is deleted. It must lie on a disk
    /// [default: beside the build]
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Measures how cost grows with connections, routes and cores, and nothing else.
    #[arg(long, conflicts_with_all = ["only", "soak"])]
    scaling: bool,
    /// With --scaling: where the plot is written, as SVG.
    #[arg(long, value_name = "FILE", requires = "scaling")]
    plot: Option<PathBuf>,
    /// Half load with faults for so many minutes, and nothing else: what grows?
    #[arg(long, value_name = "MINUTES", conflicts_with = "only")]
    soak: Option<f64>,
    /// Where this bench lies.
    #[arg(long, hide = true)]
    here: PathBuf,
    /// Cargo's target directory.
    #[arg(long, hide = true)]
    built: PathBuf,
}

fn main() -> ExitCode {
    // The app behind all proxies is this program too.
    if let Some(code) = upstream::serve_if_asked() {
        return code;
    }
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    let built = arguments.built.canonicalize()?;
    let directory = arguments.directory.clone().unwrap_or_else(|| built.join("compare"));
    let folder = tempfile::Builder::new().prefix("run-").tempdir_in(directory)?;
    process::end_on_signals(folder.path())?;
    let mut pace = if arguments.quick { Pace::QUICK } else { Pace::FULL };
    pace.rounds = arguments.rounds.unwrap_or(pace.rounds).max(1);
    let bench = Bench {
        cores: Cores::of_this_machine(),
        folder: folder.path().to_owned(),
        here: arguments.here.canonicalize()?,
        built,
        pace,
        users: arguments.users.unwrap_or(if arguments.quick { 200_000 } else { 1_000_000 }),
    };
    let machine = Machine::of(&bench);
    if arguments.scaling {
        return scale(arguments, &bench, &machine);
    }
    if let Some(minutes) = arguments.soak {
        let soaked = soak::run(&bench, minutes)?;
        let text = if arguments.json { serde_json::to_string_pretty(&soaked)? } else { soak::text(&soaked) };
        println!("{}\n{text}", if arguments.json { String::new() } else { machine.sentence() });
        return Ok(ExitCode::SUCCESS);
    }
    let mut noise = vec![Noise::measure("before", &bench.cores)];
    let wanted: BTreeSet<Id> = arguments.only.iter().copied().collect();
    let lines = measure::all(&bench, &wanted);
    noise.push(Noise::measure("after", &bench.cores));
    let all_measured = lines.iter().all(|line| line.verdict != line::Verdict::NotMeasured);
    let report = report::Report { machine, noise, quick: arguments.quick, lines };
    let text = match (arguments.json, arguments.markdown) {
        (true, _) => report::json(&report),
        (false, true) => report::markdown(&report),
        (false, false) => report::text(&report),
    };
    println!("{text}");
    Ok(if all_measured { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn scale(arguments: &Arguments, bench: &Bench, machine: &Machine) -> Outcome<ExitCode> {
    let before = Noise::measure("before", &bench.cores);
    let panels = scaling::measure(bench)?;
    let noise = [before, Noise::measure("after", &bench.cores)];
    if let Some(path) = &arguments.plot {
        std::fs::write(path, plot::svg(&panels))?;
    }
    if arguments.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&serde_json::json!({ "machine": machine, "noise": noise, "panels": panels }))?
        );
    } else {
        let noise: Vec<String> = noise.iter().map(Noise::sentence).collect();
        println!(
            "{}\n{}\nNoise: {}.\n\n{}",
            machine.sentence(),
            machine.versions(),
            noise.join("; "),
            scaling::table(&panels)
        );
    }
    Ok(ExitCode::SUCCESS)
}

//! `authferry tune`: measures this machine, and proposes what goes into `[password]`. Changes nothing.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::failure::{Ended, Failure};
use super::terminal::Terminal;
use super::text;
use crate::config::{self, Environment};
use crate::domain::clock::{Clock as _, SystemClock};
use crate::password::tune::{self, Cost, Measured, Proposal, TuneError, Wish};
use crate::password::{PasswordSettings, choice};

/// Measure this machine and propose password parameters for it
///
/// Hashes for some seconds, at most twenty, on as many threads as it would propose. The machine should have nothing else to do:
/// what runs beside, a proxy too, makes it look slower than it is.
#[derive(clap::Args)]
pub(super) struct Tune {
    /// How long a hash may take while every worker is busy, 1ms to 1s
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = target)]
    target: Duration,
    /// How much memory all workers may use together
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = config::parse_size)]
    memory: u64,
    /// Measure what this configuration has now as well
    #[arg(long, short, value_name = "PATH", env = "AUTHFERRY_CONFIG")]
    config: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// After this long nothing further is tried.
const TIME: Duration = Duration::from_secs(14);

fn target(text: &str) -> Result<Duration, String> {
    let target = config::parse_duration(text).map_err(str::to_owned)?;
    let allowed = Duration::from_millis(1)..=Duration::from_secs(1);
    if allowed.contains(&target) { Ok(target) } else { Err("1ms to 1s".to_owned()) }
}

impl Tune {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        let today = self.config.as_ref().map(|path| config::load(Some(path), &Environment::of_process()));
        let today = today.transpose().map_err(|problems| Failure::Config(problems.to_string()))?;
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let wish = Wish { target: self.target, memory_bytes: self.memory, cores };
        let (clock, window) = (SystemClock, (self.target * 3).clamp(SHORTEST, LONGEST));
        let began = clock.monotonic();
        let proposal = tune::propose(&wish, |cost, workers| {
            if clock.monotonic().saturating_duration_since(began) > TIME {
                return Ok(None);
            }
            // A line that is written over; where it cannot be written, nothing is lost.
            let _told = terminal.progress(format_args!("measuring {}", words(cost)));
            tune::measured(cost, workers, window, &clock).map(Some)
        });
        let proposal = proposal.map_err(failed)?;
        let today = today.map(|config| measured_today(&config.password, window, &clock)).transpose()?;
        terminal.end_progress()?;
        if self.json {
            terminal.line(report(&wish, &proposal, today.as_ref()))?;
            return Ok(());
        }
        show(&wish, &proposal, today.as_ref(), terminal)
    }
}

/// How long each cost is measured.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_millis(1_500);

fn failed(error: TuneError) -> Failure {
    match error {
        TuneError::TooLittleMemory => Failure::Usage(format!("--memory is too little: {error}")),
        TuneError::OutOfMemory(_) | TuneError::Parameters(_) => Failure::of(error),
    }
}

fn measured_today(today: &PasswordSettings, window: Duration, clock: &SystemClock) -> Result<Measured, Failure> {
    let PasswordSettings { memory_kib, iterations, parallelism, workers, .. } = *today;
    let cost = Cost { memory_kib, iterations, parallelism };
    let took = tune::measured(cost, workers, window, clock).map_err(failed)?;
    Ok(Measured { cost, workers, took })
}

fn words(cost: Cost) -> String {
    format!("{}, {} passes", mib(cost), cost.iterations)
}

fn mib(cost: Cost) -> String {
    let (whole, rest) = (cost.memory_kib / 1_024, cost.memory_kib % 1_024);
    if rest == 0 { format!("{whole}MiB") } else { format!("{}KiB", cost.memory_kib) }
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1_000.0
}

fn show(wish: &Wish, proposal: &Proposal, today: Option<&Measured>, terminal: &mut Terminal) -> Ended {
    let Proposal { least, best } = proposal;
    let row = |name: &str, measured: &Measured| {
        let Measured { cost, workers, took } = measured;
        let lanes = if cost.parallelism == 1 { String::new() } else { format!(", {} lanes", cost.parallelism) };
        [
            name.to_owned(),
            mib(*cost),
            format!("{}{lanes}", cost.iterations),
            workers.to_string(),
            format!("{:.1} ms", millis(*took)),
            format!("{:.0}", measured.per_second()),
        ]
    };
    let today_row = today.map(|today| row("configured now", today));
    let rows = [row("OWASP's least", least)].into_iter().chain(today_row).chain([row("proposed", best)]);
    terminal.line(text::table(["", "MEMORY", "PASSES", "WORKERS", "A HASH", "LOGINS A SECOND"], rows))?;
    let (name, style) = (choice().implementation.name(), terminal.style());
    terminal.line(style.faint(format_args!("every worker busy, {} cores, Argon2id by {name}", wish.cores)))?;
    let (memory, total) = (mib(best.cost), best.memory_bytes() >> 20);
    terminal.line(format_args!("\n# At most {total} MiB for hashing; a hash in {:.0} ms.", millis(best.took)))?;
    terminal.line("[password]")?;
    terminal.line(format_args!(
        "argon2id = {{ memory = \"{memory}\", iterations = {}, parallelism = {} }}",
        best.cost.iterations, best.cost.parallelism
    ))?;
    terminal.line(format_args!("workers = {}", best.workers))?;
    if best.took > wish.target {
        let target = millis(wish.target);
        terminal
            .remark(format_args!("\nOWASP's least takes longer than {target:.0} ms here, and less is not proposed"))?;
    }
    if today.is_some_and(|today| today.cost.is_below_least()) {
        terminal.remark("\nwhat is configured now is less than OWASP's least")?;
    }
    Ok(())
}

fn report(wish: &Wish, proposal: &Proposal, today: Option<&Measured>) -> Value {
    let rounded = |number: f64| (number * 100.0).round() / 100.0;
    let measured = |measured: &Measured| {
        let Cost { memory_kib, iterations, parallelism } = measured.cost;
        json!({
            "memory_kib": memory_kib,
            "iterations": iterations,
            "parallelism": parallelism,
            "workers": measured.workers,
            "memory_bytes_of_all_workers": measured.memory_bytes(),
            "milliseconds": rounded(millis(measured.took)),
            "logins_per_second": rounded(measured.per_second()),
        })
    };
    json!({
        "implementation": choice().implementation.name(),
        "cores": wish.cores,
        "target_milliseconds": rounded(millis(wish.target)),
        "memory_bytes": wish.memory_bytes,
        "least": measured(&proposal.least),
        "configured": today.map(measured),
        "proposed": measured(&proposal.best),
        "meets_target": proposal.best.took <= wish.target,
    })
}

#[cfg(test)]
mod tests {
    use super::super::terminal::Person;
    use super::super::terminal::tests::typing;
    use super::*;

    fn measured(memory_kib: u32, iterations: u32, workers: usize, took_ms: u64) -> Measured {
        let workers = NonZeroUsize::new(workers).expect("not zero");
        Measured {
            cost: Cost { memory_kib, iterations, parallelism: 1 },
            workers,
            took: Duration::from_millis(took_ms),
        }
    }

    fn wish(target_ms: u64) -> Wish {
        let (target, cores) = (Duration::from_millis(target_ms), NonZeroUsize::new(2).expect("not zero"));
        Wish { target, memory_bytes: 512 << 20, cores }
    }

    #[test]
    fn what_is_proposed_can_be_pasted_into_the_configuration() {
        let (mut terminal, out, err) = typing("", Person::Absent);
        let proposal = Proposal { least: measured(19 * 1_024, 2, 2, 8), best: measured(128 * 1_024, 3, 2, 48) };
        let today = measured(8 * 1_024, 1, 1, 3);
        show(&wish(50), &proposal, Some(&today), &mut terminal).expect("written");
        let text = out.text();
        for part in ["OWASP's least", "19MiB", "8.0 ms", "250", "configured now", "333", "48.0 ms", "42"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let (_, pasted) = text.split_once("[password]").expect("the keys");
        assert_eq!(pasted, "\nargon2id = { memory = \"128MiB\", iterations = 3, parallelism = 1 }\nworkers = 2\n");
        let legal = format!("[upstream]\nurl = \"http://127.0.0.1:9\"\n[admin]\nbind = \"off\"\n[password]{pasted}");
        let cores = NonZeroUsize::new(2).expect("not zero");
        let config = config::Config::from_text(&legal, "pasted", &Environment::new([], cores));
        let settings = config.unwrap_or_else(|problems| panic!("{problems}")).password;
        assert_eq!((settings.memory_kib, settings.iterations, settings.workers), (128 * 1_024, 3, cores));
        assert!(err.text().contains("less than OWASP's least"), "{}", err.text());
    }

    #[test]
    fn a_target_that_is_missed_is_said_to_be() {
        let (mut terminal, _out, err) = typing("", Person::Absent);
        let least = measured(19 * 1_024, 2, 2, 30);
        let proposal = Proposal { least, best: least };
        show(&wish(20), &proposal, None, &mut terminal).expect("written");
        assert!(err.text().contains("takes longer than 20 ms"), "{}", err.text());
        let report = report(&wish(20), &proposal, None);
        assert_eq!((&report["meets_target"], &report["configured"]), (&json!(false), &Value::Null));
        assert_eq!(report["proposed"]["milliseconds"], json!(30.0));
    }

    #[test]
    fn targets_are_between_a_millisecond_and_a_second() {
        assert_eq!(target("50ms"), Ok(Duration::from_millis(50)));
        assert!(target("2s").is_err() && target("0ms").is_err() && target("50").is_err());
    }
}

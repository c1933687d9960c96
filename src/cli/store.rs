//! `authferry store`: the store's file. Reads it whole, makes it small again, backs it up, puts a backup in its place.
//!
//! A backup is made by whoever has the store: the running proxy, or this process. All else needs the file for itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::failure::{Ended, Failure};
use super::operator::{Answering, Operator, block_on};
use super::options::{ConfigFile, Reach};
use super::terminal::{Terminal, inert};
use super::text;
use crate::admin::BackupWish;
use crate::domain::clock::SystemClock;
use crate::service::backup::{BackupStep, BackupView};
use crate::store::offline::{self, OfflineError, Replace};
use crate::store::redb::{Inspection, RedbStore};
use crate::store::{self, SealingKeys, StoreSettings};
use crate::telemetry::Metrics;

/// How often a backup is asked how far it is.
const POLL: Duration = Duration::from_millis(200);

/// Check, compact, back up or restore the store's file
#[derive(Args)]
pub(super) struct StoreCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Read every page, record and name of the store, or of a backup
    ///
    /// Writes nothing. The store must not be open elsewhere; to check it while a proxy runs, make a backup and check that. A backup
    /// without sealed records is checked without a configuration too.
    Check {
        /// A backup [default: the configured store]
        file: Option<PathBuf>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Bring the file back to the size that its users need
    ///
    /// The store must not be open elsewhere, and there must be room for the new file beside the old one.
    Compact {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Write every record anew as the configuration has it now: sealed with today's key, or not at all
    ///
    /// The file is then made afresh, as by `compact`, so that nothing of what the records were before stays in it. The store must
    /// not be open elsewhere. Interrupted, it is begun again by running it again.
    Reseal {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Copy the store as it is now into a file, while the proxy serves
    ///
    /// The file goes into `store.backups`, is read back and compared, and is named only then. No file is ever overwritten.
    Backup {
        /// What the file is called [default: the store's name and the time]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Put a backup in the store's place, once it has been read whole
    Restore {
        /// The backup. It stays where it is
        file: PathBuf,
        /// Keep the store that is there beside, under another name, and put the backup in its place
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
}

impl StoreCommand {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        match &self.action {
            Action::Check { file, config } => check(file.as_ref(), config, terminal),
            Action::Compact { config } => compact(config, terminal),
            Action::Reseal { config } => reseal(config, terminal),
            Action::Backup { name, reach } => block_on(backup(name.clone(), reach, terminal)),
            Action::Restore { file, replace, config } => {
                let replace = if *replace { Replace::KeepAside } else { Replace::Refuse };
                restore(file, replace, config, terminal)
            }
        }
    }
}

/// Pages that a check without a configuration keeps in memory, in bytes.
const CHECK_CACHE_BYTES: usize = 64 << 20;

fn check(file: Option<&PathBuf>, config: &ConfigFile, terminal: &mut Terminal) -> Ended {
    let settings = match file {
        // A backup may be checked where no proxy is; if its records are sealed, it says which key it needs.
        Some(file) if config.is_absent() => StoreSettings::without_keys(file.clone(), CHECK_CACHE_BYTES),
        Some(_) | None => config.load()?.store,
    };
    let path = file.unwrap_or(&settings.path);
    let checked = watched(terminal, "records read", |watch| offline::check(path, &settings, watch))?;
    let style = terminal.style();
    let holds = held(&checked.inspection);
    if checked.inspection.is_clean() {
        let name = style.name(path.display());
        terminal.line(format_args!("{name} is whole: {holds}, {}", size(checked.bytes)))?;
        return Ok(());
    }
    report(&checked.inspection, terminal)?;
    Err(Failure::Failed(format!("{} is damaged; {RESTORE}", path.display()).into()))
}

/// What to do about damage.
const RESTORE: &str = "restore it from a backup, and keep the damaged file";

fn compact(config: &ConfigFile, terminal: &mut Terminal) -> Ended {
    let settings = config.load()?.store;
    let compacted = watched(terminal, "rows copied and compared", |watch| offline::compact(&settings, watch))?;
    let (before, after) = (size(compacted.before), size(compacted.after));
    terminal.line(format_args!("{}: {before} before, {after} now", settings.path.display()))?;
    Ok(())
}

fn reseal(config: &ConfigFile, terminal: &mut Terminal) -> Ended {
    let settings = config.load()?.store;
    if !settings.path.exists() {
        let missing = store::missing_though_made(&settings.path);
        return Err(Failure::of(missing.map_or(OfflineError::Missing(settings.path), OfflineError::Open)));
    }
    let store = RedbStore::open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).map_err(Failure::of)?;
    let rewritten = block_on(renew_all(&store, terminal))?;
    drop(store);
    let compacted = watched(terminal, "rows copied and compared", |watch| offline::compact(&settings, watch))?;
    let now = match settings.keys.sealing.as_deref().and_then(SealingKeys::current) {
        Some(key) => format!("all are sealed with the key \"{key}\""),
        None => "none is sealed".to_owned(),
    };
    let (rewritten, path) = (text::counted(rewritten, "record"), settings.path.display());
    terminal.line(format_args!("{path}: {rewritten} written anew, {now}; {}", size(compacted.after)))?;
    Ok(())
}

async fn renew_all(store: &RedbStore, terminal: &mut Terminal) -> Result<u64, Failure> {
    let (mut looked_at, mut rewritten, mut after) = (0, 0, None);
    loop {
        let renewed = store.renew(after).await.map_err(Failure::of)?;
        looked_at += renewed.looked_at as u64;
        rewritten += renewed.rewritten as u64;
        terminal.progress(progress(looked_at, None, "records looked at"))?;
        match renewed.next {
            Some(next) => after = Some(next),
            None => {
                terminal.end_progress()?;
                return Ok(rewritten);
            }
        }
    }
}

fn restore(file: &Path, replace: Replace, config: &ConfigFile, terminal: &mut Terminal) -> Ended {
    let settings = config.load()?.store;
    let restored =
        watched(terminal, "rows copied and compared", |watch| offline::restore(file, &settings, replace, watch))?;
    let path = settings.path.display();
    terminal.line(format_args!("{path} restored from {}: {}", file.display(), held(&restored.inspection)))?;
    if let Some(kept) = restored.kept {
        terminal.remark(format_args!("the store that was there is now {}", kept.display()))?;
    }
    Ok(())
}

/// Runs an offline command and shows how far it is. What is wrong inside a file is told before the failure.
fn watched<T>(
    terminal: &mut Terminal,
    unit: &str,
    work: impl FnOnce(offline::Watch<'_>) -> Result<T, OfflineError>,
) -> Result<T, Failure> {
    let mut show = |done: u64, total: Option<u64>| {
        // Nobody is told how far it is when nobody can be told.
        let _untold = terminal.progress(progress(done, total, unit));
    };
    let ended = work(&mut show);
    terminal.end_progress()?;
    ended.map_err(|error| {
        if let OfflineError::Damaged { inspection, .. } = &error {
            drop(report(inspection, terminal));
        }
        Failure::of(error)
    })
}

fn progress(done: u64, total: Option<u64>, unit: &str) -> String {
    match total {
        Some(total) => {
            let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
            format!("{} {percent:>3} % of {} {unit}", text::bar(done, total, 30), text::count(total))
        }
        None => format!("{} {unit}", text::count(done)),
    }
}

/// In the largest unit in which it is one or more.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let Some(exponent) = (1..=units.len()).rev().find(|exponent| bytes >> (10 * exponent) > 0) else {
        return text::counted(bytes, "byte");
    };
    let unit = units.get(exponent - 1).copied().unwrap_or_default();
    let tenths = (u128::from(bytes) * 10) >> (10 * exponent);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

fn report(inspection: &Inspection, terminal: &mut Terminal) -> std::io::Result<()> {
    for finding in &inspection.findings {
        terminal.line(inert(finding))?;
    }
    if inspection.unnamed > 0 {
        terminal.line(format_args!("and {} more", text::count(inspection.unnamed)))?;
    }
    Ok(())
}

fn held(inspection: &Inspection) -> String {
    let Inspection { records, names, reserved, legacy_ids, conflicts, findings: _, unnamed: _ } = inspection;
    let kept = if *reserved > 0 { format!(" ({} reserved)", text::count(*reserved)) } else { String::new() };
    let (records, names) = (text::counted(*records, "record"), text::counted(*names, "name"));
    let (legacy_ids, conflicts) = (text::counted(*legacy_ids, "legacy id"), text::counted(*conflicts, "conflict"));
    format!("{records}, {names}{kept}, {legacy_ids}, {conflicts}")
}

async fn backup(name: Option<String>, reach: &Reach, terminal: &mut Terminal) -> Ended {
    let operator = Operator::reach_to_change(reach, terminal).await?;
    let mut view = operator.start_backup(&BackupWish { name }).await.map_err(Failure::of)?;
    loop {
        match view.step {
            BackupStep::Copying | BackupStep::Verifying => {
                let what = if view.step == BackupStep::Copying { "rows copied" } else { "rows compared" };
                terminal.progress(progress(view.rows, Some(view.rows_total), what))?;
                tokio::time::sleep(POLL).await;
                view = operator.backup().await.map_err(Failure::of)?;
            }
            BackupStep::Failed => {
                terminal.end_progress()?;
                let problem = inert(view.problem.as_deref().unwrap_or("it does not say why"));
                return Err(Failure::Failed(format!("no backup was made: {problem}").into()));
            }
            BackupStep::Done => {
                terminal.end_progress()?;
                terminal.line(made(&view, operator.answering()))?;
                return Ok(());
            }
        }
    }
}

fn made(view: &BackupView, by: Answering) -> String {
    let users = text::counted(view.users.unwrap_or_default(), "user");
    let bytes = size(view.bytes.unwrap_or_default());
    let by = match by {
        Answering::Proxy => "by the running proxy",
        Answering::Store => "from the store itself",
    };
    format!("{}: {users}, {bytes}, made {by} and verified", inert(&view.file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_their_largest_unit() {
        for (bytes, shown) in [
            (0, "0 bytes"),
            (1_023, "1,023 bytes"),
            (1_024, "1.0 KiB"),
            (1_600_000, "1.5 MiB"),
            (5_480_000_000, "5.1 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn one_of_a_kind_is_told_as_one() {
        let one = Inspection { records: 1, names: 1, conflicts: 1, ..Inspection::default() };
        assert_eq!(held(&one), "1 record, 1 name, 0 legacy ids, 1 conflict");
    }

    #[test]
    fn progress_is_a_bar_where_the_end_is_known() {
        assert_eq!(progress(12_345, None, "rows read"), "12,345 rows read");
        assert!(progress(500, Some(1_000), "rows copied").ends_with(" 50 % of 1,000 rows copied"));
        assert!(progress(0, Some(0), "rows copied").contains("100 %"));
    }
}

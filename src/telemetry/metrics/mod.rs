//! Every metric, and one method for each thing that can be counted.
//!
//! ```text
//! names   each metric's name and help         users      logins, migrations, comparisons
//! words   the outcomes that callers pick      legacy     questions to the backend that is to be retired
//! labels  counters and gauges with labels     passwords  the hash queue
//! store   commits and damage                  edge       requests, limits, connections, certificates
//! ```
//!
//! Here is what concerns the process as a whole. A new metric is a line in [`NAMES`] and in docs/metrics.md, a
//! field in its group, and a method beside it.

mod edge;
mod labels;
mod legacy;
mod names;
mod passwords;
mod store;
mod users;
mod words;

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use self::edge::EdgeMetrics;
pub use self::labels::Counted;
use self::labels::{Gauges, Tally, register};
use self::legacy::LegacyMetrics;
pub use self::names::NAMES;
use self::names::help;
use self::passwords::PasswordMetrics;
use self::store::StoreMetrics;
use self::users::UserMetrics;
pub use self::words::{Forwarded, Outcome, Source};
use super::logging::dropped_lines;
use crate::domain::mode::Mode;

/// The process's metrics. Cheap to clone behind an `Arc`; every method is a few atomic operations.
pub struct Metrics {
    registry: Registry,
    users: UserMetrics,
    legacy: LegacyMetrics,
    passwords: PasswordMetrics,
    edge: EdgeMetrics,
    alarms: Tally<1>,
    panics: Counter,
    log_lines_dropped: Counter,
    store: StoreMetrics,
    mode: Gauges<1>,
    started_at: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("authferry_build", help("authferry_build"), build);
        // In the order in which `/metrics` shows them.
        Self {
            users: UserMetrics::new(&mut registry),
            legacy: LegacyMetrics::new(&mut registry),
            passwords: PasswordMetrics::new(&mut registry),
            edge: EdgeMetrics::new(&mut registry),
            alarms: Tally::new(&mut registry, "authferry_alarms", ["what"]),
            panics: register(&mut registry, "authferry_panics", Counter::default()),
            log_lines_dropped: register(&mut registry, "authferry_log_lines_dropped", Counter::default()),
            store: StoreMetrics::new(&mut registry),
            mode: Gauges::new(&mut registry, "authferry_mode", ["mode"]),
            started_at: register(&mut registry, "authferry_start_time_seconds", Gauge::default()),
            registry,
        }
    }

    /// The text of `/metrics`: OpenMetrics, which Prometheus reads.
    #[must_use]
    pub fn encode(&self) -> String {
        self.log_lines_dropped.inner().store(dropped_lines(), Ordering::Relaxed);
        let mut text = String::new();
        // Writing to a String cannot fail; should the encoder itself give up, what it has is still worth showing.
        let _complete = encode(&mut text, &self.registry);
        text
    }

    /// Something that an operator has to look at: `backup`, `change_not_applied`, `conflict`, `other_profile`, `password_implementation`,
    /// `store`, `store_damage`, `template`, `tls_files`, `unusable_hash`.
    pub fn alarm(&self, what: &'static str) {
        self.alarms.count([what.into()]);
    }

    /// Every alarm so far: what.
    #[must_use]
    pub fn alarms_so_far(&self) -> Vec<Counted<1>> {
        self.alarms.list()
    }

    /// A bug ended one request.
    pub fn panic(&self) {
        self.panics.inc();
    }

    /// The mode in force.
    pub fn mode(&self, current: Mode) {
        for mode in Mode::ALL {
            self.mode.set([mode.as_str().into()], i64::from(mode == current));
        }
    }

    /// When the process started, seconds since the epoch.
    pub fn started_at(&self, seconds: u64) {
        #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch are far below 2^53")]
        self.started_at.set(seconds as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    /// Metrics of which everything was counted once: what has labels does not show before.
    fn counted() -> Metrics {
        let (metrics, name): (Metrics, Arc<str>) = (Metrics::new(), "name".into());
        metrics.login(&name, Source::Local, Outcome::Ok);
        metrics.registration(&name, Source::Local, Outcome::Ok);
        metrics.change(&name, Source::Local, Outcome::Ok);
        metrics.users("migrated", 1);
        metrics.known_users("over", "never", 1);
        metrics.known_value("over", "never", 1);
        metrics.migration("login");
        metrics.migration_failure("stale");
        metrics.comparison(&name, "match", "accepted");
        metrics.shape_difference(&name, &name);
        metrics.legacy_request("login", "accepted", Duration::ZERO);
        metrics.password("verify", Duration::ZERO);
        metrics.password_shed("known", "late");
        metrics.password_implementation("reference");
        metrics.forwarded(Forwarded::Successful);
        metrics.rate_limited("address");
        metrics.attempt("failed");
        metrics.attack_signal("few_successes");
        metrics.refused("host");
        metrics.tls_reload("ok");
        metrics.tls_not_after(&name, 1);
        metrics.alarm("store");
        metrics.mode(Mode::Observe);
        metrics
    }

    #[test]
    fn what_is_registered_is_what_the_list_of_names_says_with_its_help() {
        let text = counted().encode();
        let shown: BTreeSet<(&str, &str)> =
            text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.strip_suffix('.')?.split_once(' ')).collect();
        assert_eq!(shown, NAMES.iter().copied().collect());
    }

    #[test]
    fn docs_metrics_md_tells_every_metric_with_its_labels_and_no_other() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let docs = std::fs::read_to_string(path).expect("docs/metrics.md");
        let told: BTreeSet<&str> = docs.lines().filter(|line| line.starts_with("| `authferry_")).collect();
        let text = counted().encode();
        let row = |(name, help): &(&str, &str)| {
            let mut samples = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
            let sample = samples.find(|line| {
                ["", "_total", "_info", "_bucket"]
                    .iter()
                    .any(|end| line.split(['{', ' ']).next() == Some(&*format!("{name}{end}")))
            });
            let sample = sample.unwrap_or_else(|| panic!("{name} is not shown"));
            let shown = sample.split(['{', ' ']).next().expect("a name").trim_end_matches("_bucket");
            let labels = sample.split_once('{').map_or("", |(_, rest)| rest.split_once('}').expect("an end").0);
            let labels: Vec<&str> = labels
                .split(',')
                .filter_map(|label| label.split('=').next())
                .filter(|label| !["", "le"].contains(label))
                .collect();
            let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
            format!("| `{shown}` | {labels} | {help} |")
        };
        let rows: Vec<String> = NAMES.iter().map(row).collect();
        assert_eq!(told, rows.iter().map(String::as_str).collect());
    }
}

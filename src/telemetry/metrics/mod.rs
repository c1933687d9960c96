//! Every metric, and one method for each thing that can be counted.
//!
//! ```text
//! names   each metric's name and help         users      logins, migrations, comparisons
//! words   the outcomes that callers pick      legacy     questions to the backend that is to be retired
//! labels  counters and gauges with labels     passwords  the hash queue
//! store   commits and damage                  edge       requests, limits, connections, certificates
//! ```
//!
//! Here is what concerns the process as a whole. A new metric is a line in [`NAMES`], a field in its group, and a method beside it.

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

    use super::*;

    #[test]
    fn what_is_registered_is_what_the_list_of_names_says_with_its_help() {
        let text = Metrics::new().encode();
        let shown: BTreeSet<(&str, &str)> =
            text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')).collect();
        let listed: BTreeSet<(String, String)> =
            NAMES.iter().map(|(name, help)| ((*name).to_owned(), format!("{help}."))).collect();
        assert_eq!(
            shown.into_iter().map(|(name, help)| (name.to_owned(), help.to_owned())).collect::<BTreeSet<_>>(),
            listed
        );
    }
}

//! Work on passwords: the hash queue and what it computes. Counted by the `password` adapter.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::labels::{Counters, Durations, Gauges, register};

/// The part of [`Metrics`] that is about hashing.
pub(super) struct PasswordMetrics {
    queue_depth: Gauge,
    duration: Durations,
    shed: Counters<2>,
    implementation: Gauges<1>,
}

impl PasswordMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            queue_depth: register(registry, "authferry_password_queue_depth", Gauge::default()),
            duration: Durations::new(registry, "authferry_password_duration_seconds", "work"),
            shed: Counters::new(registry, "authferry_password_shed", ["standing", "reason"]),
            implementation: Gauges::new(registry, "authferry_password_implementation", ["name"]),
        }
    }
}

impl Metrics {
    /// Passwords that wait.
    #[must_use]
    pub fn queue_depth(&self) -> &Gauge {
        &self.passwords.queue_depth
    }

    /// One hash was computed: `verify`, `hash` or `equalize`.
    pub fn password(&self, work: &'static str, took: Duration) {
        self.passwords.duration.observe(work.into(), took);
    }

    /// The hash queue refused one: `known` or `unknown`; `queue_full`, `overloaded` or `late`.
    pub fn password_shed(&self, standing: &'static str, reason: &'static str) {
        self.passwords.shed.count([standing.into(), reason.into()]);
    }

    /// What computes Argon2: `avx512`, `avx2` or `reference`.
    pub fn password_implementation(&self, name: &'static str) {
        self.passwords.implementation.set([name.into()], 1);
    }
}

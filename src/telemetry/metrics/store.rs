//! How the store fares: commits, damage, and what it was too slow for. Counted by the `store` adapter.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::labels::{register, seconds};

/// The part of [`Metrics`] that is about the store.
pub(super) struct StoreMetrics {
    login_times_dropped: Counter,
    ready: Gauge,
    damaged_reads: Counter,
    commit_duration: Histogram,
}

impl StoreMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            login_times_dropped: register(registry, "authferry_login_times_dropped", Counter::default()),
            ready: register(registry, "authferry_store_ready", Gauge::default()),
            damaged_reads: register(registry, "authferry_store_damaged_reads", Counter::default()),
            commit_duration: register(registry, "authferry_store_commit_duration_seconds", seconds()),
        }
    }
}

impl Metrics {
    /// The time of one login was not kept.
    pub fn login_time_dropped(&self) {
        self.store.login_times_dropped.inc();
    }

    /// How many times of logins were not kept so far.
    #[must_use]
    pub fn login_times_dropped_so_far(&self) -> u64 {
        self.store.login_times_dropped.get()
    }

    /// Whether the store takes writes.
    pub fn store_ready(&self, ready: bool) {
        self.store.ready.set(i64::from(ready));
    }

    /// A block of the store's file was read that is not what was written there. An alarm each time.
    pub fn store_damage(&self) {
        self.store.damaged_reads.inc();
        self.alarm("store_damage");
    }

    /// One durable commit.
    pub fn store_commit(&self, took: Duration) {
        self.store.commit_duration.observe(took.as_secs_f64());
    }
}

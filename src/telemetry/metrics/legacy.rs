//! What is asked of the legacy backend, and how it fares. Counted by the `legacy` adapter.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::labels::{Counted, Durations, Tally, register};

/// The part of [`Metrics`] that is about the legacy backend.
pub(super) struct LegacyMetrics {
    requests: Tally<2>,
    duration: Durations,
    in_flight: Gauge,
    breaker_open: Gauge,
}

impl LegacyMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            requests: Tally::new(registry, "authferry_legacy_requests", ["operation", "outcome"]),
            duration: Durations::new(registry, "authferry_legacy_request_duration_seconds", "operation"),
            in_flight: register(registry, "authferry_legacy_in_flight", Gauge::default()),
            breaker_open: register(registry, "authferry_legacy_breaker_open", Gauge::default()),
        }
    }
}

impl Metrics {
    /// One request to legacy.
    pub fn legacy_request(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.legacy.requests.count([operation.into(), outcome.into()]);
        self.legacy.duration.observe(operation.into(), took);
    }

    /// Every request to legacy so far: operation, outcome.
    #[must_use]
    pub fn legacy_requests_so_far(&self) -> Vec<Counted<2>> {
        self.legacy.requests.list()
    }

    /// Requests to legacy under way.
    #[must_use]
    pub fn legacy_in_flight(&self) -> &Gauge {
        &self.legacy.in_flight
    }

    /// Whether the breaker keeps requests from legacy.
    pub fn breaker_open(&self, open: bool) {
        self.legacy.breaker_open.set(i64::from(open));
    }

    /// Whether the breaker keeps requests from legacy now.
    #[must_use]
    pub fn is_breaker_open(&self) -> bool {
        self.legacy.breaker_open.get() != 0
    }
}

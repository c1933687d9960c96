//! What goes on at the public edge: requests forwarded, refused and under way, limits, connections, certificates. Counted by `http`
//! and `limits`; a forwarded request costs a look-up of a counter found before.

use std::sync::{Arc, OnceLock};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::{Counted, Counters, Gauges, Tally, register, shown};
use super::{Forwarded, Metrics};

/// The part of [`Metrics`] that is about the edge.
pub(super) struct EdgeMetrics {
    forwarded: Counters<1>,
    /// Its counters, found once: there is one request after the other.
    forwarded_by_class: [OnceLock<Counter>; Forwarded::COUNT],
    rate_limited: Counters<1>,
    attempts: Counters<1>,
    attack_signals: Tally<1>,
    refused: Counters<1>,
    connections: Gauge,
    parked: Gauge,
    tls_reloads: Counters<1>,
    tls_not_after: Gauges<1>,
    requests: Gauge,
}

impl EdgeMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            forwarded: Counters::new(registry, "authferry_forwarded_requests", ["class"]),
            forwarded_by_class: Default::default(),
            rate_limited: Counters::new(registry, "authferry_rate_limited", ["scope"]),
            attempts: Counters::new(registry, "authferry_password_attempts", ["outcome"]),
            attack_signals: Tally::new(registry, "authferry_attack_signals", ["signal"]),
            refused: Counters::new(registry, "authferry_refused_requests", ["reason"]),
            connections: register(registry, "authferry_connections", Gauge::default()),
            parked: register(registry, "authferry_connections_parked", Gauge::default()),
            tls_reloads: Counters::new(registry, "authferry_tls_reloads", ["result"]),
            tls_not_after: Gauges::new(registry, "authferry_tls_not_after_seconds", ["cert"]),
            requests: register(registry, "authferry_requests", Gauge::default()),
        }
    }
}

impl Metrics {
    /// One request was forwarded.
    pub fn forwarded(&self, class: Forwarded) {
        let find = || self.edge.forwarded.counter([class.as_str().into()]);
        match self.edge.forwarded_by_class.get(class as usize) {
            Some(counter) => counter.get_or_init(find).inc(),
            None => find().inc(),
        };
    }

    /// A limit refused: `address`, `registration`, `address_account`, `account`, `site` or `global`.
    pub fn rate_limited(&self, scope: &'static str) {
        self.edge.rate_limited.count([scope.into()]);
    }

    /// A password was tried at an account.
    pub fn attempt(&self, outcome: &'static str) {
        self.edge.attempts.count([outcome.into()]);
    }

    /// The attempts to log in look like an attack.
    pub fn attack_signal(&self, signal: &'static str) {
        self.edge.attack_signals.count([signal.into()]);
    }

    /// Every sign of an attack so far: which.
    #[must_use]
    pub fn attack_signals_so_far(&self) -> Vec<Counted<1>> {
        self.edge.attack_signals.list()
    }

    /// A request was refused at the edge, for a reason out of the gate's list.
    pub fn refused(&self, reason: &'static str) {
        self.edge.refused.count([reason.into()]);
    }

    /// Requests under way.
    #[must_use]
    pub fn requests(&self) -> &Gauge {
        &self.edge.requests
    }

    /// Open downstream connections.
    #[must_use]
    pub fn connections(&self) -> &Gauge {
        &self.edge.connections
    }

    /// Those of the open connections that are parked.
    #[must_use]
    pub fn parked(&self) -> &Gauge {
        &self.edge.parked
    }

    /// The TLS files were read again: `ok`, `failed` or `unchanged`.
    pub fn tls_reload(&self, result: &'static str) {
        self.edge.tls_reloads.count([result.into()]);
    }

    /// When the certificate of a configured file expires, seconds since the epoch.
    pub fn tls_not_after(&self, cert: &Arc<str>, seconds: u64) {
        self.edge.tls_not_after.set([cert.into()], shown(seconds));
    }
}

//! Metrics that have labels, each with its label names said once: counters, counters that can be listed, gauges, durations. And how a
//! metric gets into the registry. Knows none of them by name.
//!
//! Label values are words of ours or names out of the configuration, so their number is bounded (R117).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::names::help;

/// A metric's label values, in the order of its label names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Labels<const N: usize> {
    names: [&'static str; N],
    values: [Label; N],
}

/// One label value: a word of ours, or a name out of the configuration: a route's, a file's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Label {
    Word(&'static str),
    Name(Arc<str>),
}

impl From<&'static str> for Label {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<&Arc<str>> for Label {
    fn from(name: &Arc<str>) -> Self {
        Self::Name(Arc::clone(name))
    }
}

impl Label {
    fn as_str(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Name(name) => name,
        }
    }
}

impl<const N: usize> EncodeLabelSet for Labels<N> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        let pairs: Vec<(&str, &str)> =
            self.names.iter().zip(&self.values).map(|(name, value)| (*name, value.as_str())).collect();
        pairs.as_slice().encode(encoder)
    }
}

/// Puts a metric into the registry under a name of [`super::NAMES`], with the help that stands beside it there.
pub(super) fn register<M: Metric + Clone>(registry: &mut Registry, name: &'static str, metric: M) -> M {
    registry.register(name, help(name), metric.clone());
    metric
}

/// Counts by label values.
pub(super) struct Counters<const N: usize> {
    names: [&'static str; N],
    family: Family<Labels<N>, Counter>,
}

impl<const N: usize> Counters<N> {
    pub(super) fn new(registry: &mut Registry, name: &'static str, labels: [&'static str; N]) -> Self {
        Self { names: labels, family: register(registry, name, Family::default()) }
    }

    pub(super) fn count(&self, values: [Label; N]) {
        self.family.get_or_create(&self.labels(values)).inc();
    }

    /// The counter itself, for a caller who keeps it.
    pub(super) fn counter(&self, values: [Label; N]) -> Counter {
        self.family.get_or_create_owned(&self.labels(values))
    }

    fn labels(&self, values: [Label; N]) -> Labels<N> {
        Labels { names: self.names, values }
    }
}

/// One counter of a metric: its label values, in the order of [`super::Metrics`]' method for it, and its count since the start.
pub type Counted<const N: usize> = ([String; N], u64);

/// Counters that can be listed: a [`Family`] cannot be walked, so the label sets it has are remembered beside it.
pub(super) struct Tally<const N: usize> {
    counters: Counters<N>,
    seen: Mutex<Vec<Labels<N>>>,
}

impl<const N: usize> Tally<N> {
    pub(super) fn new(registry: &mut Registry, name: &'static str, labels: [&'static str; N]) -> Self {
        Self { counters: Counters::new(registry, name, labels), seen: Mutex::default() }
    }

    pub(super) fn count(&self, values: [Label; N]) {
        let (family, labels) = (&self.counters.family, self.counters.labels(values));
        if let Some(counter) = family.get(&labels) {
            counter.inc();
            return;
        }
        family.get_or_create_owned(&labels).inc();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(&labels) {
            seen.push(labels);
        }
    }

    /// How often these values were counted. Looking creates no series.
    pub(super) fn so_far(&self, values: [Label; N]) -> u64 {
        self.look(&self.counters.labels(values))
    }

    /// Everything that was counted, in order.
    pub(super) fn list(&self) -> Vec<Counted<N>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let counted = |labels: Labels<N>| {
            let count = self.look(&labels);
            (labels.values.map(|value| value.as_str().to_owned()), count)
        };
        let mut list: Vec<_> = seen.into_iter().map(counted).collect();
        list.sort();
        list
    }

    fn look(&self, labels: &Labels<N>) -> u64 {
        self.counters.family.get(labels).map_or(0, |counter| counter.get())
    }
}

/// A gauge for each set of label values.
pub(super) struct Gauges<const N: usize> {
    names: [&'static str; N],
    family: Family<Labels<N>, Gauge>,
}

impl<const N: usize> Gauges<N> {
    pub(super) fn new(registry: &mut Registry, name: &'static str, labels: [&'static str; N]) -> Self {
        Self { names: labels, family: register(registry, name, Family::default()) }
    }

    pub(super) fn set(&self, values: [Label; N], to: i64) {
        self.family.get_or_create_owned(&Labels { names: self.names, values }).set(to);
    }
}

/// A histogram of durations for each value of one label.
pub(super) struct Durations {
    label: &'static str,
    family: Family<Labels<1>, Histogram>,
}

impl Durations {
    pub(super) fn new(registry: &mut Registry, name: &'static str, label: &'static str) -> Self {
        let family = Family::new_with_constructor(seconds as fn() -> Histogram);
        Self { label, family: register(registry, name, family) }
    }

    pub(super) fn observe(&self, value: Label, took: Duration) {
        let labels = Labels { names: [self.label], values: [value] };
        self.family.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// A histogram of durations, in seconds.
pub(super) fn seconds() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

/// What a gauge can show of a count.
pub(super) fn shown(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

//! What becomes of users: logins, registrations, changes, how many there are on which side, what is saved, and how our word compares
//! with legacy's. Counted by the use cases, and by `http::intercept` for requests that no use case sees.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::labels::{Counted, Counters, Gauges, Label, Tally, shown};
use super::{Metrics, Outcome, Source};

/// The part of [`Metrics`] that is about users.
pub(super) struct UserMetrics {
    logins: Tally<3>,
    registrations: Tally<3>,
    changes: Counters<3>,
    users: Gauges<1>,
    known_users: Gauges<2>,
    known_value: Gauges<2>,
    migrations: Tally<1>,
    migration_failures: Tally<1>,
    comparisons: Tally<3>,
    shape_differences: Counters<2>,
}

impl UserMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        const ENDED: [&str; 3] = ["route", "source", "outcome"];
        const SIDE: [&str; 2] = ["side", "last_seen"];
        Self {
            logins: Tally::new(registry, "authferry_logins", ENDED),
            registrations: Tally::new(registry, "authferry_registrations", ENDED),
            changes: Counters::new(registry, "authferry_changes", ENDED),
            users: Gauges::new(registry, "authferry_users", ["origin"]),
            known_users: Gauges::new(registry, "authferry_known_users", SIDE),
            known_value: Gauges::new(registry, "authferry_known_value", SIDE),
            migrations: Tally::new(registry, "authferry_migrations", ["reason"]),
            migration_failures: Tally::new(registry, "authferry_migration_failures", ["reason"]),
            comparisons: Tally::new(registry, "authferry_comparisons", ["route", "local", "legacy"]),
            shape_differences: Counters::new(registry, "authferry_shape_differences", ["route", "field"]),
        }
    }
}

/// How a request on a route ended, as label values.
fn ended(route: &Arc<str>, source: Source, outcome: Outcome) -> [Label; 3] {
    [route.into(), source.as_str().into(), outcome.as_str().into()]
}

impl Metrics {
    /// One login on a route.
    pub fn login(&self, route: &Arc<str>, source: Source, outcome: Outcome) {
        self.users.logins.count(ended(route, source, outcome));
    }

    /// One registration on a route.
    pub fn registration(&self, route: &Arc<str>, source: Source, outcome: Outcome) {
        self.users.registrations.count(ended(route, source, outcome));
    }

    /// One other intercepted request on a route.
    pub fn change(&self, route: &Arc<str>, source: Source, outcome: Outcome) {
        self.users.changes.count(ended(route, source, outcome));
    }

    /// How many users of an origin there are.
    pub fn users(&self, origin: &'static str, count: u64) {
        self.users.users.set([origin.into()], shown(count));
    }

    /// How many users stand on a side, `over` or `straggler`, who were last seen so long ago.
    pub fn known_users(&self, side: &'static str, last_seen: &'static str, users: i64) {
        self.users.known_users.set([side.into(), last_seen.into()], users);
    }

    /// What these users are worth.
    pub fn known_value(&self, side: &'static str, last_seen: &'static str, value: i64) {
        self.users.known_value.set([side.into(), last_seen.into()], value);
    }

    /// A user or password was saved.
    pub fn migration(&self, reason: &'static str) {
        self.users.migrations.count([reason.into()]);
    }

    /// A proven user was not saved.
    pub fn migration_failure(&self, reason: &'static str) {
        self.users.migration_failures.count([reason.into()]);
    }

    /// A local check stood beside legacy's word.
    pub fn comparison(&self, route: &Arc<str>, local: &'static str, legacy: &'static str) {
        self.users.comparisons.count([route.into(), local.into(), legacy.into()]);
    }

    /// A field of our rendered answer differs from legacy's own. The caller bounds the number of fields.
    pub fn shape_difference(&self, route: &Arc<str>, field: &Arc<str>) {
        self.users.shape_differences.count([route.into(), field.into()]);
    }

    /// How many logins of a route ended so.
    #[must_use]
    pub fn logins_total(&self, route: &Arc<str>, source: Source, outcome: Outcome) -> u64 {
        self.users.logins.so_far(ended(route, source, outcome))
    }

    /// Every login so far: route, source, outcome.
    #[must_use]
    pub fn logins_so_far(&self) -> Vec<Counted<3>> {
        self.users.logins.list()
    }

    /// Every registration so far: route, source, outcome.
    #[must_use]
    pub fn registrations_so_far(&self) -> Vec<Counted<3>> {
        self.users.registrations.list()
    }

    /// Every durable save so far: reason.
    #[must_use]
    pub fn migrations_so_far(&self) -> Vec<Counted<1>> {
        self.users.migrations.list()
    }

    /// Every proven user that was not saved so far: reason.
    #[must_use]
    pub fn migration_failures_so_far(&self) -> Vec<Counted<1>> {
        self.users.migration_failures.list()
    }

    /// Every comparison so far: route, our word, legacy's word.
    #[must_use]
    pub fn comparisons_so_far(&self) -> Vec<Counted<3>> {
        self.users.comparisons.list()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_listed_as_it_is_encoded() {
        let metrics = Metrics::new();
        let (login, web): (Arc<str>, Arc<str>) = ("login".into(), "web".into());
        metrics.login(&web, Source::Legacy, Outcome::Ok);
        metrics.login(&login, Source::Local, Outcome::Denied);
        metrics.login(&login, Source::Local, Outcome::Denied);
        let row = |values: [&str; 3], count| (values.map(str::to_owned), count);
        assert_eq!(metrics.logins_so_far(), [row(["login", "local", "denied"], 2), row(["web", "legacy", "ok"], 1)]);
        assert_eq!(metrics.logins_total(&login, Source::Local, Outcome::Denied), 2);
        assert_eq!(metrics.logins_total(&login, Source::Edge, Outcome::Limited), 0, "looking creates no series");
        let text = metrics.encode();
        assert!(text.contains(r#"authferry_logins_total{route="login",source="local",outcome="denied"} 2"#), "{text}");
        assert!(!text.contains("limited"), "{text}");
    }
}

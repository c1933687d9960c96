//! Every metric: its name, help and labels in one place, and one method for each thing that can be counted.
//!
//! Labels are names from the configuration and words of closed enums, so their number is bounded (R117).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::logging::dropped_lines;

/// A metric's label values, in the order of its label names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Labels<const N: usize> {
    names: [&'static str; N],
    values: [Label; N],
}

/// One label value: a word of ours, or a name out of the configuration: a route's, a file's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Label {
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

type Counters<const N: usize> = Family<Labels<N>, Counter>;

/// Counters that can be listed: a [`Family`] cannot be walked, so the label sets it has are remembered beside it.
struct Tally<const N: usize> {
    counters: Counters<N>,
    seen: Mutex<Vec<Labels<N>>>,
}

/// One counter of a metric: its label values, in the order of [`Metrics`]' method for it, and its count since the start.
pub type Counted<const N: usize> = ([String; N], u64);

impl<const N: usize> Tally<N> {
    fn count(&self, names: [&'static str; N], values: [Label; N]) {
        let labels = Labels { names, values };
        if let Some(counter) = self.counters.get(&labels) {
            counter.inc();
            return;
        }
        self.counters.get_or_create_owned(&labels).inc();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(&labels) {
            seen.push(labels);
        }
    }

    fn list(&self) -> Vec<Counted<N>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let counted = |labels: Labels<N>| {
            let count = self.counters.get(&labels).map_or(0, |counter| counter.get());
            (labels.values.map(|value| value.as_str().to_owned()), count)
        };
        let mut list: Vec<_> = seen.into_iter().map(counted).collect();
        list.sort();
        list
    }
}

/// Whether a login's outcome came from our store or from legacy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Our store.
    Local,
    /// The legacy backend.
    Legacy,
    /// Neither was asked.
    Edge,
}

/// How a login or registration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Logged in, or registered.
    Ok,
    /// The wrong password, an unknown, disabled or deleted user.
    Denied,
    /// Legacy wants more than a password.
    Challenge,
    /// Nobody could tell: 503.
    Unavailable,
    /// Legacy's live answer was handed on and proves nothing.
    Unrecognised,
    /// Over a limit.
    Limited,
    /// The request itself is no login: 400, 413, 415.
    Malformed,
    /// A registration under a name that is taken.
    Exists,
}

/// What became of a forwarded request: the class of its answer, or that the upstream gave none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// 1xx.
    Informational,
    /// 2xx.
    Successful,
    /// 3xx.
    Redirected,
    /// 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// The upstream gave no answer.
    Unanswered,
}

impl Forwarded {
    const COUNT: usize = 6;

    fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Successful => "2xx",
            Self::Redirected => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Unanswered => "error",
        }
    }
}

impl Source {
    fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Legacy => "legacy",
            Self::Edge => "edge",
        }
    }
}

impl Outcome {
    /// The word for it in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied => "denied",
            Self::Challenge => "challenge",
            Self::Unavailable => "unavailable",
            Self::Unrecognised => "unrecognised",
            Self::Limited => "limited",
            Self::Malformed => "malformed",
            Self::Exists => "exists",
        }
    }
}

/// The process's metrics. Cheap to clone behind an `Arc`; every method is a few atomic operations.
pub struct Metrics {
    registry: Registry,
    logins: Tally<3>,
    registrations: Tally<3>,
    changes: Counters<3>,
    users: Family<Labels<1>, Gauge>,
    known_users: Family<Labels<2>, Gauge>,
    known_value: Family<Labels<2>, Gauge>,
    migrations: Tally<1>,
    migration_failures: Tally<1>,
    comparisons: Tally<3>,
    shape_differences: Counters<2>,
    legacy_requests: Tally<2>,
    legacy_duration: Family<Labels<1>, Histogram>,
    legacy_in_flight: Gauge,
    breaker_open: Gauge,
    queue_depth: Gauge,
    password_duration: Family<Labels<1>, Histogram>,
    password_shed: Counters<2>,
    password_implementation: Family<Labels<1>, Gauge>,
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
    tls_not_after: Family<Labels<1>, Gauge>,
    requests: Gauge,
    alarms: Tally<1>,
    panics: Counter,
    log_lines_dropped: Counter,
    login_times_dropped: Counter,
    store_ready: Gauge,
    store_damaged_reads: Counter,
    store_commit_duration: Histogram,
    mode: Family<Labels<1>, Gauge>,
    started_at: Gauge<f64, AtomicU64>,
}

fn seconds() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

/// The name and help of each metric as `/metrics` shows it (`_total` is appended to counters there).
pub const NAMES: &[(&str, &str)] = &[
    ("authferry_logins", "Logins on a route, by who had the word and how it ended"),
    ("authferry_registrations", "Registrations on a route, by who had the word and how it ended"),
    ("authferry_changes", "Password changes, resets, deletions and logouts on a route, and how they ended"),
    ("authferry_users", "Users in the store by origin, tombstones left out"),
    (
        "authferry_known_users",
        "Users who may log in, by side (over, or straggler: not without legacy) and when last seen",
    ),
    ("authferry_known_value", "What a roster says that these users are worth, by side and when last seen"),
    ("authferry_migrations", "Users or passwords saved durably, by reason"),
    ("authferry_migration_failures", "Proven users that were not saved, by reason"),
    ("authferry_comparisons", "Logins in which a local check stood beside legacy's word: the four cells"),
    ("authferry_shape_differences", "Fields in which our rendered answer differs from legacy's own"),
    ("authferry_legacy_requests", "Requests to the legacy backend"),
    ("authferry_legacy_request_duration_seconds", "How long the legacy backend took"),
    ("authferry_legacy_in_flight", "Requests to the legacy backend under way"),
    ("authferry_legacy_breaker_open", "1 while the breaker keeps requests from the legacy backend"),
    ("authferry_password_queue_depth", "Passwords that wait to be hashed"),
    ("authferry_password_duration_seconds", "How long hashing took, without the wait"),
    ("authferry_password_shed", "Passwords refused by the hash queue, by standing of the client and reason"),
    ("authferry_password_implementation", "1 for what computes Argon2: avx512, avx2, or the crate as reference"),
    ("authferry_forwarded_requests", "Requests forwarded to the upstream, by the class of the answer"),
    ("authferry_rate_limited", "Requests refused by a limit"),
    (
        "authferry_password_attempts",
        "Passwords that were tried at an account, by how that ended; the rest were refused by a limit",
    ),
    ("authferry_attack_signals", "Signs of credential stuffing, each once in ten minutes"),
    ("authferry_refused_requests", "Requests refused as malformed before any use was made of them"),
    ("authferry_connections", "Open downstream connections"),
    ("authferry_connections_parked", "Those of them that idle and hold no more memory than they must; HTTP/1 only"),
    ("authferry_tls_reloads", "Times that the TLS files of the listeners were read again, by result"),
    ("authferry_tls_not_after_seconds", "When a certificate in use expires, in seconds since the epoch"),
    ("authferry_requests", "Requests under way, up to the last byte of the answer"),
    ("authferry_alarms", "Things that an operator has to look at"),
    ("authferry_panics", "Bugs that ended one request with 500"),
    ("authferry_log_lines_dropped", "Lines of the log that nobody read fast enough"),
    ("authferry_login_times_dropped", "Logins whose time was not kept, since too many waited for the store"),
    ("authferry_store_ready", "1 while the store takes writes"),
    ("authferry_store_damaged_reads", "Reads of blocks of the store's file that are not what was written there"),
    ("authferry_store_commit_duration_seconds", "How long a durable commit took"),
    ("authferry_mode", "1 for the migration mode in force"),
    ("authferry_start_time_seconds", "When the process started, in seconds since the epoch"),
    ("authferry_build", "What is running"),
];

fn by_side(side: &'static str, last_seen: &'static str) -> Labels<2> {
    Labels { names: ["side", "last_seen"], values: [side.into(), last_seen.into()] }
}

fn help(name: &str) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == name).map_or("", |(_, help)| help)
}

macro_rules! register {
    ($registry:ident, $name:literal, $metric:expr) => {{
        let metric = $metric;
        $registry.register($name, help($name), metric.clone());
        metric
    }};
}

macro_rules! tally {
    ($registry:ident, $name:literal) => {
        Tally { counters: register!($registry, $name, Family::default()), seen: Mutex::default() }
    };
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
        Self {
            logins: tally!(registry, "authferry_logins"),
            registrations: tally!(registry, "authferry_registrations"),
            changes: register!(registry, "authferry_changes", Family::default()),
            users: register!(registry, "authferry_users", Family::default()),
            known_users: register!(registry, "authferry_known_users", Family::default()),
            known_value: register!(registry, "authferry_known_value", Family::default()),
            migrations: tally!(registry, "authferry_migrations"),
            migration_failures: tally!(registry, "authferry_migration_failures"),
            comparisons: tally!(registry, "authferry_comparisons"),
            shape_differences: register!(registry, "authferry_shape_differences", Family::default()),
            legacy_requests: tally!(registry, "authferry_legacy_requests"),
            legacy_duration: register!(
                registry,
                "authferry_legacy_request_duration_seconds",
                Family::new_with_constructor(seconds as fn() -> Histogram)
            ),
            legacy_in_flight: register!(registry, "authferry_legacy_in_flight", Gauge::default()),
            breaker_open: register!(registry, "authferry_legacy_breaker_open", Gauge::default()),
            queue_depth: register!(registry, "authferry_password_queue_depth", Gauge::default()),
            password_duration: register!(
                registry,
                "authferry_password_duration_seconds",
                Family::new_with_constructor(seconds as fn() -> Histogram)
            ),
            password_shed: register!(registry, "authferry_password_shed", Family::default()),
            password_implementation: register!(registry, "authferry_password_implementation", Family::default()),
            forwarded: register!(registry, "authferry_forwarded_requests", Family::default()),
            forwarded_by_class: Default::default(),
            rate_limited: register!(registry, "authferry_rate_limited", Family::default()),
            attempts: register!(registry, "authferry_password_attempts", Family::default()),
            attack_signals: tally!(registry, "authferry_attack_signals"),
            refused: register!(registry, "authferry_refused_requests", Family::default()),
            connections: register!(registry, "authferry_connections", Gauge::default()),
            parked: register!(registry, "authferry_connections_parked", Gauge::default()),
            tls_reloads: register!(registry, "authferry_tls_reloads", Family::default()),
            tls_not_after: register!(registry, "authferry_tls_not_after_seconds", Family::default()),
            requests: register!(registry, "authferry_requests", Gauge::default()),
            alarms: tally!(registry, "authferry_alarms"),
            panics: register!(registry, "authferry_panics", Counter::default()),
            log_lines_dropped: register!(registry, "authferry_log_lines_dropped", Counter::default()),
            login_times_dropped: register!(registry, "authferry_login_times_dropped", Counter::default()),
            store_ready: register!(registry, "authferry_store_ready", Gauge::default()),
            store_damaged_reads: register!(registry, "authferry_store_damaged_reads", Counter::default()),
            store_commit_duration: register!(registry, "authferry_store_commit_duration_seconds", seconds()),
            mode: register!(registry, "authferry_mode", Family::default()),
            started_at: register!(registry, "authferry_start_time_seconds", Gauge::default()),
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

    /// One login on a route.
    pub fn login(&self, route: &Arc<str>, source: Source, outcome: Outcome) {
        let values = [route.into(), source.as_str().into(), outcome.as_str().into()];
        self.logins.count(["route", "source", "outcome"], values);
    }

    /// One registration on a route.
    pub fn registration(&self, route: &Arc<str>, source: Source, outcome: Outcome) {
        let values = [route.into(), source.as_str().into(), outcome.as_str().into()];
        self.registrations.count(["route", "source", "outcome"], values);
    }

    /// One other intercepted request on a route.
    pub fn change(&self, route: &Arc<str>, source: Source, outcome: Outcome) {
        let values = [route.into(), source.as_str().into(), outcome.as_str().into()];
        self.changes.get_or_create(&Labels { names: ["route", "source", "outcome"], values }).inc();
    }

    /// How many users of an origin there are.
    pub fn users(&self, origin: &'static str, count: u64) {
        let gauge = self.users.get_or_create_owned(&Labels { names: ["origin"], values: [origin.into()] });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many users stand on a side, `over` or `straggler`, who were last seen so long ago.
    pub fn known_users(&self, side: &'static str, last_seen: &'static str, users: i64) {
        self.known_users.get_or_create_owned(&by_side(side, last_seen)).set(users);
    }

    /// What these users are worth.
    pub fn known_value(&self, side: &'static str, last_seen: &'static str, value: i64) {
        self.known_value.get_or_create_owned(&by_side(side, last_seen)).set(value);
    }

    /// A user or password was saved.
    pub fn migration(&self, reason: &'static str) {
        self.migrations.count(["reason"], [reason.into()]);
    }

    /// A proven user was not saved.
    pub fn migration_failure(&self, reason: &'static str) {
        self.migration_failures.count(["reason"], [reason.into()]);
    }

    /// A local check stood beside legacy's word.
    pub fn comparison(&self, route: &Arc<str>, local: &'static str, legacy: &'static str) {
        let values = [route.into(), local.into(), legacy.into()];
        self.comparisons.count(["route", "local", "legacy"], values);
    }

    /// A field of our rendered answer differs from legacy's own. The caller bounds the number of fields.
    pub fn shape_difference(&self, route: &Arc<str>, field: &Arc<str>) {
        let labels = Labels { names: ["route", "field"], values: [route.into(), field.into()] };
        self.shape_differences.get_or_create(&labels).inc();
    }

    /// How many logins of a route ended so.
    #[must_use]
    pub fn logins_total(&self, route: &Arc<str>, source: Source, outcome: Outcome) -> u64 {
        let values = [route.into(), source.as_str().into(), outcome.as_str().into()];
        let labels = Labels { names: ["route", "source", "outcome"], values };
        self.logins.counters.get(&labels).map_or(0, |counter| counter.get())
    }

    /// Every login so far: route, source, outcome.
    #[must_use]
    pub fn logins_so_far(&self) -> Vec<Counted<3>> {
        self.logins.list()
    }

    /// Every registration so far: route, source, outcome.
    #[must_use]
    pub fn registrations_so_far(&self) -> Vec<Counted<3>> {
        self.registrations.list()
    }

    /// Every durable save so far: reason.
    #[must_use]
    pub fn migrations_so_far(&self) -> Vec<Counted<1>> {
        self.migrations.list()
    }

    /// Every proven user that was not saved so far: reason.
    #[must_use]
    pub fn migration_failures_so_far(&self) -> Vec<Counted<1>> {
        self.migration_failures.list()
    }

    /// Every comparison so far: route, our word, legacy's word.
    #[must_use]
    pub fn comparisons_so_far(&self) -> Vec<Counted<3>> {
        self.comparisons.list()
    }

    /// Every request to legacy so far: operation, outcome.
    #[must_use]
    pub fn legacy_requests_so_far(&self) -> Vec<Counted<2>> {
        self.legacy_requests.list()
    }

    /// Every alarm so far: what.
    #[must_use]
    pub fn alarms_so_far(&self) -> Vec<Counted<1>> {
        self.alarms.list()
    }

    /// Whether the breaker keeps requests from legacy now.
    #[must_use]
    pub fn is_breaker_open(&self) -> bool {
        self.breaker_open.get() != 0
    }

    /// One request to legacy.
    pub fn legacy_request(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        let values = [operation.into(), outcome.into()];
        self.legacy_requests.count(["operation", "outcome"], values);
        let labels = Labels { names: ["operation"], values: [operation.into()] };
        self.legacy_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Requests to legacy under way.
    #[must_use]
    pub fn legacy_in_flight(&self) -> &Gauge {
        &self.legacy_in_flight
    }

    /// Whether the breaker keeps requests from legacy.
    pub fn breaker_open(&self, open: bool) {
        self.breaker_open.set(i64::from(open));
    }

    /// Passwords that wait.
    #[must_use]
    pub fn queue_depth(&self) -> &Gauge {
        &self.queue_depth
    }

    /// One hash was computed: `verify`, `hash` or `equalize`.
    pub fn password(&self, work: &'static str, took: Duration) {
        let labels = Labels { names: ["work"], values: [work.into()] };
        self.password_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The hash queue refused one: `known` or `unknown`; `queue_full`, `overloaded` or `late`.
    pub fn password_shed(&self, standing: &'static str, reason: &'static str) {
        let values = [standing.into(), reason.into()];
        self.password_shed.get_or_create(&Labels { names: ["standing", "reason"], values }).inc();
    }

    /// What computes Argon2: `avx512`, `avx2` or `reference`.
    pub fn password_implementation(&self, name: &'static str) {
        self.password_implementation.get_or_create(&Labels { names: ["name"], values: [name.into()] }).set(1);
    }

    /// One request was forwarded.
    pub fn forwarded(&self, class: Forwarded) {
        let find = || self.forwarded.get_or_create_owned(&Labels { names: ["class"], values: [class.as_str().into()] });
        match self.forwarded_by_class.get(class as usize) {
            Some(counter) => counter.get_or_init(find).inc(),
            None => find().inc(),
        };
    }

    /// A limit refused: `address`, `registration`, `address_account`, `account`, `site` or `global`.
    pub fn rate_limited(&self, scope: &'static str) {
        self.rate_limited.get_or_create(&Labels { names: ["scope"], values: [scope.into()] }).inc();
    }

    /// A password was tried at an account.
    pub fn attempt(&self, outcome: &'static str) {
        self.attempts.get_or_create(&Labels { names: ["outcome"], values: [outcome.into()] }).inc();
    }

    /// The attempts to log in look like an attack.
    pub fn attack_signal(&self, signal: &'static str) {
        self.attack_signals.count(["signal"], [signal.into()]);
    }

    /// Every sign of an attack so far: which.
    #[must_use]
    pub fn attack_signals_so_far(&self) -> Vec<Counted<1>> {
        self.attack_signals.list()
    }

    /// A request was refused at the edge, for a reason out of the gate's list.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Labels { names: ["reason"], values: [reason.into()] }).inc();
    }

    /// Requests under way.
    #[must_use]
    pub fn requests(&self) -> &Gauge {
        &self.requests
    }

    /// Open downstream connections.
    #[must_use]
    pub fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// Those of the open connections that are parked.
    #[must_use]
    pub fn parked(&self) -> &Gauge {
        &self.parked
    }

    /// The TLS files were read again: `ok`, `failed` or `unchanged`.
    pub fn tls_reload(&self, result: &'static str) {
        self.tls_reloads.get_or_create(&Labels { names: ["result"], values: [result.into()] }).inc();
    }

    /// When the certificate of a configured file expires, seconds since the epoch.
    pub fn tls_not_after(&self, cert: &Arc<str>, seconds: u64) {
        let gauge = self.tls_not_after.get_or_create_owned(&Labels { names: ["cert"], values: [cert.into()] });
        gauge.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Something that an operator has to look at: `unusable_hash`, `other_profile`, `conflict`, `store`,
    /// `store_damage`, `tls_files`.
    pub fn alarm(&self, what: &'static str) {
        self.alarms.count(["what"], [what.into()]);
    }

    /// A bug ended one request.
    pub fn panic(&self) {
        self.panics.inc();
    }

    /// The time of one login was not kept.
    pub fn login_time_dropped(&self) {
        self.login_times_dropped.inc();
    }

    /// How many times of logins were not kept so far.
    #[must_use]
    pub fn login_times_dropped_so_far(&self) -> u64 {
        self.login_times_dropped.get()
    }

    /// Whether the store takes writes.
    pub fn store_ready(&self, ready: bool) {
        self.store_ready.set(i64::from(ready));
    }

    /// A block of the store's file was read that is not what was written there. An alarm each time.
    pub fn store_damage(&self) {
        self.store_damaged_reads.inc();
        self.alarm("store_damage");
    }

    /// One durable commit.
    pub fn store_commit(&self, took: Duration) {
        self.store_commit_duration.observe(took.as_secs_f64());
    }

    /// The mode in force.
    pub fn mode(&self, current: crate::domain::mode::Mode) {
        for mode in crate::domain::mode::Mode::ALL {
            let labels = Labels { names: ["mode"], values: [mode.as_str().into()] };
            self.mode.get_or_create(&labels).set(i64::from(mode == current));
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

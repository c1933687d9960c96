//! The use cases over parts that a test holds in its hands: a store that can be told to fail, a clock that stands still, and the real
//! connector, hash pool and limits.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use authferry::domain::client_addr::ClientAddr;
use authferry::domain::clock::{Clock, SystemClock, UnixSeconds};
use authferry::domain::identifier::IdentifierRules;
use authferry::domain::login::AskedBy;
use authferry::domain::mode::{LocalShare, Mode};
use authferry::domain::password::{PasswordNormalization, PasswordPolicy};
use authferry::limits::Limits;
use authferry::limits::settings::{Backoff, CountedAttempts, LimitSettings, Quota};
use authferry::password::formats::PrehashKeys;
use authferry::password::settings::PasswordSettings;
use authferry::password::{HashPool, Peppers};
use authferry::service::explain::{Explainer, LoginRoute, Running, SessionBy};
use authferry::service::login::LoginRequest;
use authferry::service::mode::ModeCell;
use authferry::service::ports::{AccountLimits, RouteIndex, UserStore};
use authferry::service::reply::{Answer, Ours, Reply};
use authferry::service::{OnMismatch, Parts, Policy, Service};
use authferry::store::{self, StoreSettings};
use authferry::telemetry::Metrics;
use serde_json::json;
use zeroize::Zeroizing;

use super::connector::{client_request, connect_with, patient, settings};
use super::legacy::LegacyDouble;
use super::memory_store::MemoryStore;

/// The calendar stands still until it is turned.
pub(crate) struct Calendar(AtomicU64);

impl Calendar {
    pub(crate) fn turn(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for Calendar {
    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }

    fn wall(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

/// Where its users are.
#[derive(Clone, Copy)]
pub(crate) enum Kept<'a> {
    /// In memory: it fails when it is told to.
    In(&'a Arc<MemoryStore>),
    /// In a file of this folder.
    On(&'a Path),
}

/// What the operator decided.
#[derive(Clone, Copy)]
pub(crate) struct Decided {
    pub(crate) mode: Mode,
    pub(crate) policy: Policy,
}

impl Default for Decided {
    fn default() -> Self {
        Self { mode: Mode::Migrate, policy: policy() }
    }
}

pub(crate) fn policy() -> Policy {
    Policy {
        local_share: LocalShare::ALL,
        on_mismatch: OnMismatch::Recheck,
        revalidate_after: None,
        identifiers: IdentifierRules::default(),
        passwords: PasswordPolicy { min_length: 8 },
        retry_after: Duration::from_secs(5),
    }
}

pub(crate) fn password_settings() -> PasswordSettings {
    PasswordSettings {
        memory_kib: 8 * 1_024,
        iterations: 1,
        parallelism: 1,
        workers: NonZeroUsize::MIN,
        queue: NonZeroUsize::new(64).expect("not zero"),
        queue_deadline: Duration::from_secs(20),
        normalization: PasswordNormalization::None,
        peppers: Peppers::default(),
        // Flask-Security's own test key, which the hashes in `fixtures/passwords.json` were made with.
        prehash_keys: PrehashKeys::new(
            [("flask".to_owned(), Zeroizing::new(b"146585145368132386173505678016728509634".to_vec()))].into(),
        ),
    }
}

/// A service in front of a double, and what explains its logins.
pub(crate) struct Rig {
    pub(crate) service: Arc<Service>,
    pub(crate) explainer: Explainer,
    pub(crate) store: Arc<dyn UserStore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) calendar: Arc<Calendar>,
}

pub(crate) async fn rig(double: &LegacyDouble, revalidate_after: Option<Duration>, kept: Kept<'_>) -> Rig {
    rig_of(double, Decided { policy: Policy { revalidate_after, ..policy() }, ..Decided::default() }, kept).await
}

pub(crate) async fn rig_of(double: &LegacyDouble, decided: Decided, kept: Kept<'_>) -> Rig {
    let metrics = Arc::new(Metrics::new());
    let calendar = Arc::new(Calendar(AtomicU64::new(1_800_000_000)));
    let clock: Arc<dyn Clock> = Arc::clone(&calendar) as _;
    let store: Arc<dyn UserStore> = match kept {
        Kept::In(memory) => Arc::clone(memory) as _,
        Kept::On(folder) => {
            let settings = StoreSettings::without_keys(folder.join("users.redb"), 8 << 20);
            store::open(&settings, Arc::clone(&metrics), Arc::clone(&clock)).expect("a store")
        }
    };
    let mode = ModeCell::start(decided.mode, Arc::clone(&store), Arc::clone(&metrics)).await.expect("a mode");
    let hasher = HashPool::start(password_settings(), Arc::clone(&metrics), Arc::clone(&clock)).expect("a pool");
    let hasher = Arc::new(hasher);
    let accounts: Arc<dyn AccountLimits> = Arc::new(Limits::new(limits(), Arc::clone(&clock), Arc::clone(&metrics)));
    let explainer = Explainer {
        store: Arc::clone(&store),
        mode: Arc::clone(&mode) as _,
        clock: Arc::clone(&clock),
        policy: decided.policy,
        hashes: Arc::clone(&hasher) as _,
        routes: vec![LoginRoute { name: "login".into(), asked_by: AskedBy::Call, session_by: SessionBy::Us }],
        running: Some(Running { accounts: Arc::clone(&accounts), metrics: Arc::clone(&metrics) }),
    };
    let service = Service::new(Parts {
        store: Arc::clone(&store),
        legacy: connect_with(patient(settings(double)), &metrics, Arc::clone(&clock)),
        hasher,
        accounts,
        clock,
        metrics: Arc::clone(&metrics),
        mode,
        policy: decided.policy,
    });
    Rig { service: Arc::new(service), explainer, store, metrics, calendar }
}

fn limits() -> LimitSettings {
    let quota = |count| {
        let count = NonZeroU32::new(count).expect("not zero");
        Quota { count, period: Duration::from_secs(3_600), burst: count }
    };
    LimitSettings {
        per_ip: quota(10_000),
        register_per_ip: quota(10_000),
        ipv6_prefix: 64,
        per_account: quota(100),
        per_ip_account: quota(100),
        backoff: Backoff { after: NonZeroU32::new(100).expect("not zero"), ..Backoff::default() },
        global: quota(10_000),
        counted: CountedAttempts::Failures,
        recheck: quota(3),
        max_keys: NonZeroUsize::new(1_000).expect("not zero"),
    }
}

impl Rig {
    /// One composed login.
    pub(crate) async fn login(&self, login: &str, password: &str) -> Reply {
        let request = LoginRequest {
            client: ClientAddr::assert_by_trusted_walk(std::net::Ipv4Addr::LOCALHOST.into()),
            route: RouteIndex(0),
            route_name: "login".into(),
            login: login.to_owned(),
            password: Zeroizing::new(password.to_owned()),
            fields: json!({}),
            asked_by: AskedBy::Call,
            request: Arc::new(client_request("/login", "{}")),
        };
        self.service.login(request).await
    }

    /// The sum of a counter's lines that hold a label.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.metrics.encode();
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// A reply in a word.
pub(crate) fn word(reply: &Reply) -> &'static str {
    match &reply.answer {
        Answer::Ours(Ours::Ok(_)) => "ok",
        Answer::Ours(Ours::Denied | Ours::Unknown) => "denied",
        Answer::Ours(Ours::Unavailable(_)) => "unavailable",
        Answer::Ours(_) => "another of ours",
        Answer::Legacys { .. } => "legacy's",
        Answer::SendOn => "sent on",
    }
}

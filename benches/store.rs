//! What the store costs: one durable save, many that share commits, and a lookup among a hundred thousand users.
//!
//! Saves are as fast as the disk under the temporary directory syncs: set `TMPDIR` to the one that counts.

#![allow(clippy::indexing_slicing, reason = "a benchmark may panic")]

use std::hint::black_box;
use std::sync::Arc;

use authferry::domain::clock::{SystemClock, UnixSeconds};
use authferry::domain::credential::StoredHash;
use authferry::domain::identifier::{Candidates, Identifier, IdentifierKind, IdentifierRules, RawIdentifier};
use authferry::domain::password::PasswordNormalization;
use authferry::domain::proof::{FreshHash, LegacyAccepted, LegacyIdentity, ToldBy};
use authferry::domain::user::{LegacyId, Origin, Version};
use authferry::service::ports::{ProvenUser, Saved, UserStore};
use authferry::store::{self, StoreSettings};
use authferry::telemetry::Metrics;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const USERS: u64 = 100_000;

fn identifier(kind: IdentifierKind, value: &str) -> Identifier {
    IdentifierRules::default().identifier(kind, value, None).expect("an identifier")
}

fn proven(n: u64) -> ProvenUser {
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
    let (email, name) = (format!("user{n}@example.com"), format!("user{n}"));
    ProvenUser {
        accepted: LegacyAccepted::assert_by_connector(LegacyIdentity {
            id: LegacyId::from_json(&json!(n)).expect("an id"),
            identifiers: vec![identifier(IdentifierKind::Email, &email), identifier(IdentifierKind::Username, &name)],
            profile: json!({"id": n, "email": email, "username": name, "name": "Some Body", "roles": ["user"]}),
            told_by: ToldBy::Owner,
        }),
        hash: FreshHash::assert_by_hasher(StoredHash::new(hash.to_owned(), PasswordNormalization::None)),
        origin: Origin::Migrated,
        asked: Vec::new(),
        based_on: Version(u64::MAX),
        at: UnixSeconds(1_790_000_000),
    }
}

fn fresh() -> (Arc<dyn UserStore>, TempDir) {
    let directory = TempDir::new().expect("a temporary directory");
    let settings = StoreSettings::without_keys(directory.path().join("users.redb"), 64 << 20);
    let store = store::open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("a new store");
    (store, directory)
}

async fn save_all(store: &dyn UserStore, users: impl Iterator<Item = u64>) {
    for saved in join_all(users.map(|n| store.save_proven(proven(n)))).await {
        assert!(matches!(saved, Ok(Saved::Created(_) | Saved::Updated(_))));
    }
}

fn benches(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (store, directory) = fresh();
    let mut next = 0;

    let mut group = criterion.benchmark_group("store");
    group.sample_size(20);
    group.bench_function("one durable save", |bencher| {
        bencher.iter(|| {
            runtime.block_on(save_all(&*store, next..next + 1));
            next += 1;
        });
    });
    group.throughput(Throughput::Elements(64));
    group.bench_function("64 durable saves at once", |bencher| {
        bencher.iter(|| {
            runtime.block_on(save_all(&*store, next..next + 64));
            next += 64;
        });
    });

    for start in (0..USERS).step_by(1_000) {
        runtime.block_on(save_all(&*store, start..start + 1_000));
    }
    let typed: Vec<Candidates> = (0..1_000)
        .map(|n| {
            let raw = RawIdentifier::new(&format!("user{}@example.com", n * 97)).expect("an identifier");
            IdentifierRules::default().candidates(&raw)
        })
        .collect();
    let mut turn = 0;
    group.throughput(Throughput::Elements(1));
    group.sample_size(100);
    group.bench_function("lookup by name among 100,000 users", |bencher| {
        bencher.iter(|| {
            turn = (turn + 1) % typed.len();
            black_box(runtime.block_on(store.find(&typed[turn])).expect("a lookup"));
        });
    });
    group.bench_function("one durable save among 100,000 users", |bencher| {
        bencher.iter(|| {
            next += 1;
            runtime.block_on(save_all(&*store, USERS * 10 + next..USERS * 10 + next + 1));
        });
    });

    drop(store);
    let path = directory.path().join("users.redb");
    group.sample_size(10);
    group.bench_function("opening 100,000 users", |bencher| {
        let settings = StoreSettings::without_keys(path.clone(), 64 << 20);
        bencher.iter(|| store::open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("the store"));
    });
    group.finish();
}

criterion_group!(store_costs, benches);
criterion_main!(store_costs);

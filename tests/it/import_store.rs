//! Rows of an import in the store: many in one batch come to what they come to one by one, in a model that knows no batches; all of them
//! or none are on disk, and with them the checkpoint.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use authferry::domain::clock::{SystemClock, UnixSeconds};
use authferry::domain::identifier::{IdentifierKind, IdentifierRules};
use authferry::domain::import::{Imported, Incoming, OnConflict, Rejection, Skip};
use authferry::domain::password::PasswordNormalization;
use authferry::domain::user::{LegacyId, Standing, User, UserId};
use authferry::exchange::{PortableName, PortablePassword, PortableUser};
use authferry::service::ports::{
    Checkpoint, ImportBatch, ImportKey, MAX_CHECKPOINT_BYTES, MAX_CHECKPOINTS, StoreError, UserQuery, UserStore,
};
use authferry::store::{self, StoreSettings};
use authferry::telemetry::Metrics;
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::memory_store::MemoryStore;

const AT: UnixSeconds = UnixSeconds(1_790_000_000);

fn open(folder: &TempDir) -> Arc<dyn UserStore> {
    let settings = StoreSettings::without_keys(folder.path().join("users.redb"), 1 << 20);
    store::open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("a store")
}

/// A row as it is thrown: few names and ids, so that they meet.
#[derive(Debug, Clone)]
struct Thrown {
    email: Option<u8>,
    username: Option<u8>,
    legacy_id: Option<u8>,
    own_id: Option<u8>,
    hash: bool,
    standing: Standing,
    /// Of a row that meets no other: its number.
    alone: Option<u16>,
}

/// Rows that meet no other, in the middle of those that do.
fn alone(numbers: Range<u16>) -> impl Iterator<Item = Thrown> {
    numbers.map(|number| Thrown {
        email: None,
        username: None,
        legacy_id: None,
        own_id: None,
        hash: true,
        standing: Standing::Active,
        alone: Some(number),
    })
}

fn uuid(number: u8) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | 0xff00 | u128::from(number))
}

impl Thrown {
    fn row(&self) -> Option<Incoming> {
        let name = |kind, value| PortableName { kind, value, verified: None };
        let email = self.email.map(|number| name(IdentifierKind::Email, format!("a{number}@x.y")));
        let email = email.or(self.alone.map(|n| name(IdentifierKind::Email, format!("a{}@alone{n}.y", n % 12))));
        let username = self.username.map(|number| name(IdentifierKind::Username, format!("name{number}")));
        let user = PortableUser {
            id: self.own_id.map(uuid),
            // Some legacy ids read like ids of ours.
            legacy_id: self.alone.and_then(|number| LegacyId::from_json(&json!(format!("5{number}")))).or(self
                .legacy_id
                .and_then(|number| {
                    LegacyId::from_json(&if number < 6 { json!(number) } else { json!(uuid(number - 6).to_string()) })
                })),
            names: email.into_iter().chain(username).collect(),
            profile: json!({"by": format!("{self:?}")}),
            password: self.hash.then(|| PortablePassword::new("$2b$04$x".to_owned(), PasswordNormalization::None)),
            standing: self.standing,
            ..PortableUser::default()
        };
        Incoming::new(user, IdentifierRules::default()).ok()
    }
}

fn thrown() -> impl Strategy<Value = Thrown> {
    let number = |to: u8| proptest::option::of(0..to);
    let standing =
        prop_oneof![6 => Just(Standing::Active), 1 => Just(Standing::Disabled), 1 => Just(Standing::Deleted)];
    (number(12), number(8), number(9), proptest::option::weighted(0.2, 0_u8..3), any::<bool>(), standing).prop_map(
        |(email, username, legacy_id, own_id, hash, standing)| Thrown {
            email,
            username,
            legacy_id,
            own_id,
            hash,
            standing,
            alone: None,
        },
    )
}

/// A result in words, with users named by the row that made them.
fn told(result: Imported, made: &BTreeMap<UserId, usize>) -> String {
    let who = |id: &UserId| made.get(id).map_or("?".to_owned(), |row| format!("of row {row}"));
    match result {
        Imported::Created(id) => format!("created {}", who(&id)),
        Imported::Updated(id) => format!("updated {}", who(&id)),
        Imported::UpdatedWithoutHash(id) => format!("updated without a hash {}", who(&id)),
        Imported::Skipped(id, Skip::Exists) => format!("exists {}", who(&id)),
        Imported::Skipped(id, Skip::Unchanged) => format!("unchanged {}", who(&id)),
        Imported::Skipped(id, Skip::HashLeft) => format!("unchanged without a hash {}", who(&id)),
        Imported::Rejected(rejection) => match rejection {
            Rejection::NameTaken { kind, by } => format!("{} taken {}", kind.as_str(), who(&by)),
            Rejection::LegacyIdTaken { by } => format!("legacy id {}", who(&by)),
            Rejection::IdTaken { by } => format!("id {}", who(&by)),
            Rejection::Tombstone { by } => format!("tombstone {}", who(&by)),
            Rejection::TooManyNames { of } => format!("names {}", who(&of)),
            Rejection::Nameless => "nameless".to_owned(),
            Rejection::TooLarge => "too large".to_owned(),
        },
    }
}

fn shown(user: &User, made: &BTreeMap<UserId, usize>) -> String {
    format!(
        "row {:?}: {:?} {:?} {} {} {:?} {:?}",
        made.get(&user.id),
        user.legacy_id,
        user.identifiers,
        user.profile,
        user.credential.kind(),
        user.standing,
        user.origin
    )
}

/// Takes batches; gives what became of each row, and who is there in the end.
async fn taken(
    store: &dyn UserStore,
    batches: &[(Vec<Thrown>, OnConflict)],
    one_by_one: bool,
) -> (Vec<String>, Vec<String>, String) {
    let mut made: BTreeMap<UserId, usize> = BTreeMap::new();
    let mut results = Vec::new();
    for (rows, on_conflict) in batches {
        let rows: Vec<Incoming> = rows.iter().filter_map(Thrown::row).collect();
        let parts: Vec<Vec<Incoming>> =
            if one_by_one { rows.into_iter().map(|row| vec![row]).collect() } else { vec![rows] };
        for rows in parts {
            let count = rows.len();
            let mut readier = store.readier(AT);
            // Some as they are, some made ready ahead.
            let came = if count % 2 == 0 {
                store.import(ImportBatch { rows, on_conflict: *on_conflict, checkpoint: None, at: AT }).await
            } else {
                let mut ready = Vec::new();
                for (number, row) in rows.into_iter().enumerate() {
                    readier.push(row);
                    if number % 4 == 3 {
                        ready.push(readier.take());
                    }
                }
                ready.push(readier.take());
                store
                    .import_ready(ImportBatch { rows: ready, on_conflict: *on_conflict, checkpoint: None, at: AT })
                    .await
            };
            let came = came.expect("taken");
            assert_eq!(came.len(), count);
            results.extend(came);
        }
    }
    for (row, result) in results.iter().enumerate() {
        if let Imported::Created(id) = result {
            made.insert(*id, row);
        }
    }
    let query = UserQuery { limit: 1_000, ..UserQuery::default() };
    let mut users: Vec<String> =
        store.list(query).await.expect("a page").users.iter().map(|user| shown(user, &made)).collect();
    users.sort();
    let counts = store.counts().await.expect("counts");
    (results.into_iter().map(|result| told(result, &made)).collect(), users, format!("{counts:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_comes_to_what_its_rows_come_to_one_by_one(
        batches in proptest::collection::vec(
            (proptest::collection::vec(thrown(), 0..25),
             prop_oneof![Just(OnConflict::Skip), Just(OnConflict::Merge), Just(OnConflict::Replace)]),
            1..4
        )
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = TempDir::new().expect("a folder");
        let in_batches = runtime.block_on(taken(&*open(&folder), &batches, false));
        let model = runtime.block_on(taken(&MemoryStore::default(), &batches, true));
        prop_assert_eq!(in_batches, model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_few_known_users_among_many_new_ones_come_to_what_they_come_to_one_by_one(
        first in proptest::collection::vec(thrown(), 1..12),
        second in proptest::collection::vec((0_usize..700, thrown()), 1..4),
        on_conflict in prop_oneof![Just(OnConflict::Skip), Just(OnConflict::Merge), Just(OnConflict::Replace)],
    ) {
        let mut many: Vec<Thrown> = alone(0..700).collect();
        second.into_iter().for_each(|(place, thrown)| many.insert(place, thrown));
        let batches = [(first, on_conflict), (many, on_conflict), (alone(650..720).collect(), on_conflict)];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = TempDir::new().expect("a folder");
        let in_batches = runtime.block_on(taken(&*open(&folder), &batches, false));
        let model = runtime.block_on(taken(&MemoryStore::default(), &batches, true));
        prop_assert_eq!(in_batches, model);
    }
}

fn rows(from: usize, count: usize) -> Vec<Incoming> {
    let row = |number: usize| {
        let user = PortableUser {
            legacy_id: LegacyId::from_json(&json!(number)),
            // Names in an order of their own.
            names: vec![PortableName {
                kind: IdentifierKind::Email,
                value: format!("{:08x}@x.y", (number as u32).wrapping_mul(2_654_435_761)),
                verified: None,
            }],
            password: Some(PortablePassword::new("$2b$04$x".to_owned(), PasswordNormalization::None)),
            last_login_at: Some(AT),
            ..PortableUser::default()
        };
        Incoming::new(user, IdentifierRules::default()).expect("a good row")
    };
    (from..from + count).map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_and_how_far_it_came_outlive_the_process() {
    let folder = TempDir::new().expect("a folder");
    let key = ImportKey([7; 32]);
    let store = open(&folder);
    assert_eq!(store.import_checkpoint(key).await.expect("an answer"), None);
    let mut before = Vec::new();
    for part in 0..5 {
        let checkpoint = Some(Checkpoint { key, state: vec![part] });
        let batch = ImportBatch {
            rows: rows(usize::from(part) * 2_000, 2_000),
            on_conflict: OnConflict::Skip,
            checkpoint,
            at: AT,
        };
        before = store.import(batch).await.expect("taken");
        assert!(before.iter().all(|result| matches!(result, Imported::Created(_))));
    }
    drop(store);
    let store = open(&folder);
    let saved = store.import_checkpoint(key).await.expect("an answer").expect("a checkpoint");
    assert_eq!((saved.state, saved.at), (vec![4], AT));
    assert_eq!(saved.results, before);
    assert_eq!(store.counts().await.expect("counts").imported, 10_000);
    for number in [0_usize, 1, 4_999, 9_999] {
        let user = store.find_public(&number.to_string()).await.expect("an answer").expect("by his id");
        let email = format!("{:08x}@x.y", (number as u32).wrapping_mul(2_654_435_761));
        assert_eq!(user.first(IdentifierKind::Email), Some(email.as_str()));
        let logins = store.last_login(&[user.id]).await.expect("an answer");
        assert_eq!(logins, [Some(AT)]);
    }
    let again = ImportBatch { rows: rows(0, 10_000), on_conflict: OnConflict::Merge, checkpoint: None, at: AT };
    let again = store.import(again).await.expect("taken");
    assert!(again.iter().all(|result| matches!(result, Imported::Skipped(_, Skip::Unchanged))), "{:?}", again.first());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_too_large_is_rejected_and_a_checkpoint_that_is_refused_takes_nothing() {
    let folder = TempDir::new().expect("a folder");
    let store = open(&folder);
    let mut large = rows(0, 3);
    large[1].profile = json!("x".repeat(2 << 20));
    let batch = ImportBatch { rows: large, on_conflict: OnConflict::Skip, checkpoint: None, at: AT };
    let results = store.import(batch).await.expect("taken");
    assert!(matches!(
        results.as_slice(),
        [Imported::Created(_), Imported::Rejected(Rejection::TooLarge), Imported::Created(_)]
    ));
    assert_eq!(store.counts().await.expect("counts").total(), 2);
    let checkpoint = Some(Checkpoint { key: ImportKey([1; 32]), state: vec![0; MAX_CHECKPOINT_BYTES + 1] });
    let batch = ImportBatch { rows: rows(10, 1), on_conflict: OnConflict::Skip, checkpoint, at: AT };
    assert!(matches!(store.import(batch).await, Err(StoreError::Unavailable(_))));
    assert_eq!(store.counts().await.expect("counts").total(), 2, "all or nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_checkpoint_gives_way() {
    let folder = TempDir::new().expect("a folder");
    let store = open(&folder);
    let key = |number: u64| ImportKey(std::array::from_fn(|at| if at == 0 { number as u8 } else { 1 }));
    for number in 0..=MAX_CHECKPOINTS {
        let checkpoint = Some(Checkpoint { key: key(number), state: vec![1] });
        let at = UnixSeconds(AT.0 + number);
        let batch = ImportBatch { rows: Vec::new(), on_conflict: OnConflict::Skip, checkpoint, at };
        store.import(batch).await.expect("taken");
    }
    assert_eq!(store.import_checkpoint(key(0)).await.expect("an answer"), None);
    for number in [1, MAX_CHECKPOINTS] {
        assert!(store.import_checkpoint(key(number)).await.expect("an answer").is_some(), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reserved_names_come_with_their_user_and_are_nobody_elses() {
    let folder = TempDir::new().expect("a folder");
    let stores: [Arc<dyn UserStore>; 2] = [open(&folder), Arc::new(MemoryStore::default())];
    let row = |id: u64, email: &str, reserved: &[&str]| {
        let name = |value: &str| PortableName { kind: IdentifierKind::Email, value: value.to_owned(), verified: None };
        let user = PortableUser {
            legacy_id: LegacyId::from_json(&json!(id)),
            names: vec![name(email)],
            reserved: reserved.iter().map(|value| name(value)).collect(),
            ..PortableUser::default()
        };
        Incoming::new(user, IdentifierRules::default()).expect("a good row")
    };
    for store in stores {
        assert_eq!(store.reserved().await.expect("an answer"), []);
        let store = &*store;
        let take = |rows, on_conflict| async move {
            store.import(ImportBatch { rows, on_conflict, checkpoint: None, at: AT }).await.expect("taken")
        };
        // In one batch, in both orders: the first has it.
        let rows = vec![
            row(1, "a@x.y", &["old@x.y"]),
            row(2, "old@x.y", &[]),
            row(3, "c@x.y", &[]),
            row(4, "d@x.y", &["c@x.y"]),
        ];
        let came = take(rows, OnConflict::Skip).await;
        let [Imported::Created(ann), Imported::Rejected(second), Imported::Created(third), Imported::Rejected(fourth)] =
            came[..]
        else {
            panic!("{came:?}")
        };
        assert_eq!(second, Rejection::NameTaken { kind: IdentifierKind::Email, by: ann });
        assert_eq!(fourth, Rejection::NameTaken { kind: IdentifierKind::Email, by: third });
        let shown = |reserved: Vec<(UserId, authferry::domain::identifier::NormalizedIdentifier)>| {
            let mut shown: Vec<String> =
                reserved.iter().map(|(id, name)| format!("{} {}", *id == ann, name.text())).collect();
            shown.sort();
            shown
        };
        assert_eq!(shown(store.reserved().await.expect("an answer")), ["true old@x.y"]);
        // A later row of his adds one; who says nothing new changes nothing.
        let again = take(vec![row(1, "a@x.y", &["old@x.y"])], OnConflict::Merge).await;
        assert_eq!(again, [Imported::Skipped(ann, Skip::Unchanged)]);
        let more = take(vec![row(1, "a@x.y", &["older@x.y"])], OnConflict::Merge).await;
        assert_eq!(more, [Imported::Updated(ann)]);
        assert_eq!(shown(store.reserved().await.expect("an answer")), ["true old@x.y", "true older@x.y"]);
        let skipped = take(vec![row(1, "a@x.y", &["oldest@x.y"])], OnConflict::Skip).await;
        assert_eq!(skipped, [Imported::Skipped(ann, Skip::Exists)]);
        assert_eq!(store.reserved().await.expect("an answer").len(), 2);
    }
}

//! The store's file: made once, kept whole, refused when it is locked, missing, damaged or foreign.

#![allow(clippy::indexing_slicing, clippy::panic, reason = "that is how a test fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use authferry::domain::clock::SystemClock;
use authferry::domain::mode::Mode;
use authferry::domain::user::Standing;
use authferry::service::ports::{ConflictQuery, Found, Inserted, Saved, StoreError, UserQuery, UserStore};
use authferry::store::redb::{MAX_CONFLICTS, RedbStore, Unopened};
use authferry::store::{self, OpenError, StoreSettings, offline};
use authferry::telemetry::Metrics;
use futures_util::future::join_all;
use redb::{Database, TableDefinition};
use tempfile::TempDir;

use crate::crash_disk::Disk;
use crate::store_people::*;

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: TempDir::new().expect("a temporary directory") }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("users.redb")
    }

    fn marker(&self) -> PathBuf {
        self.directory.path().join("users.redb-init")
    }

    fn open(&self) -> Result<Arc<dyn UserStore>, OpenError> {
        open(&self.path())
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).expect("a directory");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn settings(path: &Path) -> StoreSettings {
    StoreSettings::without_keys(path.to_owned(), 1 << 20)
}

fn open(path: &Path) -> Result<Arc<dyn UserStore>, OpenError> {
    store::open(&settings(path), Arc::new(Metrics::new()), Arc::new(SystemClock))
}

fn refusal(opened: Result<Arc<dyn UserStore>, OpenError>) -> OpenError {
    match opened {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn everything_is_there_after_opening_again() {
    let place = Place::new();
    let alice = {
        let store = place.open().expect("a new store");
        let alice = migrate(&*store, 7, &[email("alice@x.y"), username("alice")], "one").await;
        let bob = migrate(&*store, 8, &[email("bob@x.y")], "two").await;
        store.update(bob.id(), bob.version(), stand(Standing::Deleted)).await.expect("a change");
        store.set_mode(Mode::Migrate).await.expect("a mode");
        alice
    };
    for _ in 0..3 {
        let store = place.open().expect("the same store");
        let user = find(&*store, "alice").await.expect("Alice");
        assert_eq!((user.id, user.version, hash_text(&user)), (alice.id(), alice.version(), Some("one")));
        assert_eq!(find(&*store, "bob@x.y").await.map(|user| user.standing), Some(Standing::Deleted));
        assert_eq!(store.mode().await.expect("a mode"), Some(Mode::Migrate));
        assert_eq!(revision(&*store).await.0, 3);
        assert_consistent(&store).await;
    }
}

#[tokio::test]
async fn the_gauges_of_users_and_readiness_are_shown() {
    let place = Place::new();
    let metrics = Arc::new(Metrics::new());
    let open = || store::open(&settings(&place.path()), Arc::clone(&metrics), Arc::new(SystemClock));
    let store = open().expect("a new store");
    migrate(&*store, 7, &[email("alice@x.y")], "one").await;
    register(&*store, registering(&[email("bob@x.y")], "two")).await;
    let shown = metrics.encode();
    for line in [
        "authferry_users{origin=\"migrated\"} 1",
        "authferry_users{origin=\"registered\"} 1",
        "authferry_users{origin=\"roster\"} 0",
        "authferry_store_ready 1",
        "authferry_store_commit_duration_seconds_count 2",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
}

#[test]
fn r102_the_files_are_for_their_owner_alone_and_no_others_are_left() {
    let place = Place::new();
    drop(place.open().expect("a new store"));
    assert_eq!(place.names(), ["users.redb", "users.redb-init"]);
    for file in [place.path(), place.marker()] {
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o644)).expect("a mode");
    drop(place.open().expect("the same store"));
    assert_eq!(fs::metadata(place.path()).expect("a file").permissions().mode() & 0o777, 0o600);
}

#[test]
fn r98_a_second_opening_is_refused_by_name() {
    let place = Place::new();
    let first = place.open().expect("a new store");
    let error = refusal(place.open());
    assert!(matches!(error, OpenError::Locked(_)), "{error:?}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(first);
    place.open().expect("free again");
}

#[test]
fn many_first_starts_at_once_leave_one_store_and_one_who_has_it() {
    let place = Place::new();
    let opened: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..6).map(|_| scope.spawn(|| place.open())).collect();
        starts.into_iter().map(|start| start.join().expect("no panic")).collect()
    });
    let holders = opened.iter().filter(|opened| opened.is_ok()).count();
    assert_eq!(holders, 1);
    for refused in opened.iter().filter_map(|opened| opened.as_ref().err()) {
        assert!(matches!(refused, OpenError::Locked(_)), "{refused:?}");
    }
    assert_eq!(place.names(), ["users.redb", "users.redb-init"]);
}

#[test]
fn r97_a_store_that_was_there_and_is_gone_is_refused() {
    let place = Place::new();
    drop(place.open().expect("a new store"));
    fs::remove_file(place.path()).expect("removed");
    let error = refusal(place.open());
    assert!(matches!(error, OpenError::Missing { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("users.redb-init") && text.contains("restore it from a backup"), "{text}");
    assert!(!place.path().exists(), "nothing was put in its place");
    fs::remove_file(place.marker()).expect("removed");
    place.open().expect("a new start, on purpose");
}

#[tokio::test]
async fn a_store_brought_from_elsewhere_is_marked_too() {
    let (old, new) = (Place::new(), Place::new());
    {
        let store = old.open().expect("a new store");
        migrate(&*store, 7, &[email("alice@x.y")], "one").await;
    }
    fs::copy(old.path(), new.path()).expect("a restore");
    let store = new.open().expect("the restored store");
    assert!(find(&*store, "alice@x.y").await.is_some());
    assert!(new.marker().exists());
}

#[test]
fn r96_an_empty_file_is_no_store_with_or_without_a_marker() {
    for marked in [false, true] {
        let place = Place::new();
        if marked {
            drop(place.open().expect("a new store"));
        }
        fs::write(place.path(), "").expect("an empty file");
        let error = refusal(place.open());
        assert!(matches!(error, OpenError::Foreign { found: "an empty file", .. }), "{error:?}");
        assert_eq!(fs::metadata(place.path()).expect("a file").len(), 0, "left as it is");
    }
}

#[test]
fn a_foreign_file_is_refused_and_left_as_it_is() {
    for foreign in [b"x".to_vec(), b"SQLite format 3\0".repeat(1_000), vec![0; 100_000], b"{}".to_vec()] {
        let place = Place::new();
        fs::write(place.path(), &foreign).expect("a file");
        let error = refusal(place.open());
        assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
        assert!(error.to_string().contains("is not a store of authferry"), "{error}");
        assert!(fs::read(place.path()).expect("a file") == foreign);
    }
}

#[test]
fn a_redb_file_of_another_program_is_refused() {
    const OTHER: TableDefinition<'_, &str, u64> = TableDefinition::new("other");
    let place = Place::new();
    let database = Database::create(place.path()).expect("a database");
    let transaction = database.begin_write().expect("a transaction");
    transaction.open_table(OTHER).expect("a table").insert("a", 1).expect("a row");
    transaction.commit().expect("a commit");
    drop(database);
    let error = refusal(place.open());
    assert!(matches!(error, OpenError::Foreign { found: "a redb file of another program", .. }), "{error:?}");
}

#[test]
fn r101_a_store_of_a_newer_schema_is_refused() {
    const META: TableDefinition<'_, &str, u64> = TableDefinition::new("authferry");
    let place = Place::new();
    let database = Database::create(place.path()).expect("a database");
    let transaction = database.begin_write().expect("a transaction");
    transaction.open_table(META).expect("a table").insert("schema", 99).expect("a row");
    transaction.commit().expect("a commit");
    drop(database);
    let error = refusal(place.open());
    assert!(matches!(error, OpenError::NewerSchema { found: 99, .. }), "{error:?}");
}

#[test]
fn r101_a_store_of_a_newer_layout_is_refused_and_left_as_it_is() {
    let place = Place::new();
    drop(place.open().expect("a new store"));
    let mut newer = fs::read(place.path()).expect("the file");
    newer[16] = 99;
    let sum = twox_hash::XxHash3_64::oneshot(&newer[..504]);
    newer[504..512].copy_from_slice(&sum.to_le_bytes());
    fs::write(place.path(), &newer).expect("a file");
    let error = refusal(place.open());
    assert!(matches!(error, OpenError::NewerSchema { found: 99, .. }), "{error:?}");
    assert!(fs::read(place.path()).expect("the file") == newer);
}

#[test]
fn r101_what_knows_only_plain_redb_files_refuses_the_store_and_leaves_it_as_it_is() {
    let place = Place::new();
    drop(place.open().expect("a new store"));
    let before = fs::read(place.path()).expect("the file");
    let error = Database::open(place.path()).err().expect("no redb file");
    assert!(error.to_string().contains("magic number"), "{error}");
    assert!(fs::read(place.path()).expect("the file") == before);
}

#[test]
fn a_store_that_cannot_be_made_says_so() {
    let place = Place::new();
    let error = refusal(open(&place.directory.path().join("no/such/directory/users.redb")));
    assert!(matches!(error, OpenError::Io { action: "created", .. }), "{error:?}");
    let error = refusal(open(place.directory.path()));
    assert!(matches!(error, OpenError::Io { action: "opened", .. }), "{error:?}");
}

/// The bytes of a store with a few users, closed.
async fn small_store() -> Vec<u8> {
    let place = Place::new();
    let store = place.open().expect("a new store");
    for n in 0..12 {
        migrate(&*store, n, &[email(&format!("user{n}@x.y")), username(&format!("user{n}"))], &format!("p{n}")).await;
    }
    drop(store);
    fs::read(place.path()).expect("the file")
}

/// Opens damaged bytes. What opens at all must be the whole store, word for word; `true` if it was refused.
async fn refused_or_whole(bytes: Vec<u8>, what: &str) -> bool {
    let opening = || RedbStore::open_on(Disk::of(bytes), 1 << 20, Arc::new(Metrics::new()), Arc::new(SystemClock));
    let opened = catch_unwind(AssertUnwindSafe(opening)).unwrap_or_else(|_| panic!("{what}: opening panicked"));
    let store: Arc<dyn UserStore> = match opened {
        Err(Unopened::Corrupt(_) | Unopened::Foreign(_)) => return true,
        Err(other) => panic!("{what}: {other:?}"),
        Ok(store) => Arc::new(store),
    };
    let mut met = met_reading(&store, what).await;
    // Nor does a write make an old user a new one, or the store an empty one.
    let again = store.insert_new(registering(&[email("user3@x.y")], "stolen")).await;
    match again {
        Ok(Inserted::Exists) => {}
        Ok(Inserted::Inserted(..)) => panic!("{what}: a name was given away"),
        Err(StoreError::Corrupt(_) | StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_)) => met = true,
        Err(other @ StoreError::Busy) => panic!("{what}: {other:?}"),
    }
    if !met {
        assert_consistent(&store).await;
    }
    met
}

/// Reads everybody; each is there as he was written, or cannot be read. `true` if somebody could not.
async fn met_reading(store: &Arc<dyn UserStore>, what: &str) -> bool {
    let mut met = false;
    for n in 0..12 {
        match store.find(&candidates(&format!("user{n}@x.y"))).await.map(|lookup| lookup.found) {
            Ok(Found::One(user)) => assert_eq!(hash_text(&user), Some(format!("p{n}").as_str()), "{what}"),
            Ok(Found::Nobody | Found::Ambiguous) => panic!("{what}: user {n} is gone"),
            Err(StoreError::Corrupt(_)) => met = true,
            Err(other) => panic!("{what}: {other:?}"),
        }
    }
    match store.list(UserQuery { limit: 100, ..UserQuery::default() }).await {
        Ok(page) => assert_eq!(page.users.len(), 12, "{what}"),
        Err(StoreError::Corrupt(_)) => met = true,
        Err(other) => panic!("{what}: {other:?}"),
    }
    met
}

#[tokio::test]
async fn r96_a_damaged_file_is_refused_by_name_and_left_as_it_is() {
    let place = Place::new();
    let mut damaged = small_store().await;
    // The pages of the tables lie behind the header and the first tables of redb's own.
    for at in (4_096..damaged.len()).step_by(4_096) {
        damaged[at + 100] ^= 0xff;
    }
    fs::write(place.path(), &damaged).expect("damage");
    for _ in 0..2 {
        let error = refusal(place.open());
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("is damaged; restore it from a backup"), "{error}");
    }
    assert!(fs::read(place.path()).expect("the file") == damaged, "nothing was repaired away");
}

#[tokio::test]
async fn r96_a_truncated_file_is_refused() {
    let whole = small_store().await;
    for length in (1..whole.len()).step_by(251) {
        assert!(refused_or_whole(whole[..length].to_vec(), &format!("cut to {length}")).await, "cut to {length}");
    }
}

#[tokio::test]
async fn r96_a_flipped_byte_anywhere_is_refused_or_harmless() {
    let whole = small_store().await;
    let long = std::env::var_os("AUTHFERRY_LONG").is_some();
    let mut refused = 0;
    // Every byte of the preamble, then some of every block.
    let preamble = 0..64_usize.min(whole.len());
    let rest = (64..whole.len()).step_by(if long { 1 } else { 83 });
    for at in preamble.chain(rest) {
        let mut damaged = whole.clone();
        damaged[at] ^= if at % 2 == 0 { 0x01 } else { 0xff };
        refused += u32::from(refused_or_whole(damaged, &format!("byte {at}")).await);
    }
    assert!(refused > 50, "damage is met: {refused}");
}

#[tokio::test]
async fn r96_a_lost_page_anywhere_is_refused_or_harmless() {
    let whole = small_store().await;
    for fill in [0x00, 0xff] {
        let mut refused = 0;
        for start in (0..whole.len()).step_by(4_096) {
            let mut damaged = whole.clone();
            let end = (start + 4_096).min(damaged.len());
            damaged[start..end].fill(fill);
            refused += u32::from(refused_or_whole(damaged, &format!("page at {start}")).await);
        }
        assert!(refused > 3, "damage is met: {refused}");
    }
}

/// Where the checksum of a block of the file lies, and of what it is one: not of the header, nor of checksums.
fn checksum_of(block: usize) -> Option<usize> {
    let (group, index) = (block.checked_sub(3)? / 513, (block - 3) % 513);
    (index > 0).then(|| (3 + group * 513) * 4_096 + (index - 1) * 8)
}

#[tokio::test]
async fn r96_a_write_that_the_disk_lost_with_its_checksum_is_found_by_a_check() {
    let place = Place::new();
    let mut store = place.open().expect("a new store");
    let names = |n: u64| [email(&format!("user{n}@x.y")), username(&format!("user{n}"))];
    for n in 0..40 {
        migrate(&*store, n, &names(n), "old").await;
    }
    drop(store);
    let before = fs::read(place.path()).expect("the file");
    store = place.open().expect("the store");
    for n in 0..40 {
        migrate(&*store, n, &names(n), "new").await;
    }
    drop(store);
    let after = fs::read(place.path()).expect("the file");
    let (mut found, mut unused) = (0, 0);
    for block in 0..before.len().min(after.len()) / 4_096 {
        let Some(sum) = checksum_of(block) else { continue };
        let bytes = block * 4_096..(block + 1) * 4_096;
        if before[bytes.clone()] == after[bytes.clone()] {
            continue;
        }
        // The disk returns what was there before, of the block and of its checksum: each by itself is right.
        let mut lost = after.clone();
        lost[bytes.clone()].copy_from_slice(&before[bytes]);
        lost[sum..sum + 8].copy_from_slice(&before[sum..sum + 8]);
        fs::write(place.path(), &lost).expect("a file");
        match offline::check(&place.path(), &settings(&place.path()), &mut |_, _| {}) {
            Ok(checked) if checked.inspection.is_clean() => {
                unused += 1;
                let store = place.open().expect("the store");
                for n in 0..40 {
                    let user = find(&*store, &format!("user{n}")).await.expect("he is there");
                    assert_eq!(hash_text(&user), Some("new"), "block {block} is not used, or is found");
                }
            }
            Ok(_) => found += 1,
            Err(error) => panic!("block {block}: {error:?}"),
        }
    }
    println!("{found} lost writes were found, {unused} were of pages that nothing refers to");
    assert!(found > 4, "{found} found, {unused} unused");
}

#[test]
fn r98_a_store_whose_file_was_moved_away_is_still_somebodys() {
    let place = Place::new();
    let store = place.open().expect("a new store");
    let moved = place.directory.path().join("moved.redb");
    fs::rename(place.path(), &moved).expect("moved");
    fs::copy(&moved, place.path()).expect("a copy");
    assert!(matches!(place.open(), Err(OpenError::Locked(_))), "the first one is still being served");
    drop(store);
    place.open().expect("it is free now");
}

#[test]
fn what_a_crash_left_of_a_new_file_is_removed_by_the_next_start() {
    let place = Place::new();
    place.open().expect("a new store");
    let left = place.directory.path().join("users.redb.0190abcdef0123456789abcdef012345.new");
    fs::copy(place.path(), &left).expect("a copy");
    place.open().expect("the store");
    assert_eq!(place.names(), ["users.redb", "users.redb-init"]);
}

#[tokio::test]
async fn conflicts_are_kept_for_an_operator_without_any_password_and_bounded() {
    let place = Place::new();
    let store = RedbStore::open(&settings(&place.path()), Arc::new(Metrics::new()), Arc::new(SystemClock))
        .expect("a new store");
    let alice = migrate(&store, "alice", &[email("alice@x.y")], "one").await;
    let based_on = revision(&store).await;
    let total = MAX_CONFLICTS + 5;
    let numbers: Vec<u64> = (0..total).collect();
    for chunk in numbers.chunks(500) {
        let saves = chunk.iter().map(|n| store.save_proven(proven(*n, &[email("alice@x.y")], "canary", based_on)));
        for saved in join_all(saves).await {
            assert_eq!(saved.expect("a save"), Saved::Conflict { with: alice.id() });
        }
    }
    assert_eq!(store.counts().await.expect("counts").conflicts, MAX_CONFLICTS);
    let all = |limit| ConflictQuery { limit, ..ConflictQuery::default() };
    let conflicts = store.conflicts(all(usize::MAX)).await.expect("conflicts");
    assert_eq!(conflicts.len() as u64, MAX_CONFLICTS);
    assert_eq!(conflicts.first().map(|conflict| &*conflict.legacy_id), Some((total - 1).to_string().as_str()));
    assert_eq!(conflicts.last().map(|conflict| &*conflict.legacy_id), Some("5"), "the oldest are forgotten");
    assert!(conflicts.iter().all(|conflict| conflict.with == alice.id() && conflict.times == 1));
    assert!(conflicts.iter().all(|conflict| conflict.names == [email("alice@x.y").normalized]));

    store.save_proven(proven(total - 1, &[email("alice@x.y")], "canary", based_on)).await.expect("a save");
    let newest = store.conflicts(all(1)).await.expect("conflicts");
    assert_eq!(newest.first().map(|conflict| conflict.times), Some(2));
    drop(store);
    let bytes = fs::read(place.path()).expect("the file");
    assert!(!bytes.windows(6).any(|window| window == b"canary"), "nothing of a refused save is on disk");
}

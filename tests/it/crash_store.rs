//! Power cuts and failing disks: what the store said was done stays done, and what it did not say is a whole record or none.

#![allow(clippy::indexing_slicing, clippy::panic, reason = "that is how a test fails")]

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use authferry::domain::clock::{Clock, SystemClock, UnixSeconds};
use authferry::domain::proof::Migrated;
use authferry::domain::user::{Standing, User, UserId, Version};
use authferry::service::ports::{
    Found, Inserted, OnDamage, Saved, StoreError, StoreHealth, UnreadUsers, Updated, UserChange, UserQuery, UserStore,
};
use authferry::store::redb::{RedbStore, Unopened};
use authferry::telemetry::Metrics;
use futures_util::future::join_all;

use crate::crash_disk::{Dice, Disk, Trouble, power_cuts};
use crate::store_people::*;

const CACHE: usize = 1 << 20;

fn open(disk: &Disk) -> Result<Arc<dyn UserStore>, Unopened> {
    let store = RedbStore::open_on(disk.clone(), CACHE, Arc::new(Metrics::new()), Arc::new(SystemClock))?;
    Ok(Arc::new(store))
}

fn fresh() -> Disk {
    let disk = Disk::default();
    RedbStore::create_on(disk.clone(), CACHE).expect("a new store");
    disk
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
}

/// What a record held after some write: who writes a password of his own each time can be told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Password(String),
    Buried,
}

/// What the store promised, and what it was asked.
#[derive(Debug, Clone, Default)]
struct Promises {
    /// Of each user: at which call of the trace an answer came, the version that it proved and what the record held then.
    kept: BTreeMap<UserId, Vec<(usize, Version, Content)>>,
    /// Everything that was asked for, whatever the answer.
    asked: Vec<Content>,
    /// Who is known by which number.
    users: BTreeMap<usize, Migrated>,
    serial: usize,
}

impl Promises {
    fn next_password(&mut self) -> String {
        self.serial += 1;
        format!("p{}", self.serial)
    }

    fn promise(&mut self, at: usize, proof: Migrated, content: Content) {
        self.kept.entry(proof.id()).or_default().push((at, proof.version(), content));
    }

    /// Everything promised before a number of calls must be found.
    async fn assert_kept(&self, store: &Arc<dyn UserStore>, before: usize, what: &str) {
        for id in self.kept.keys() {
            let user = look_up(store, *id).await;
            self.assert_kept_one(*id, user.as_ref().map(seen), before, what);
        }
    }

    fn assert_kept_one(&self, id: UserId, found: Option<(Version, Content)>, before: usize, what: &str) {
        let promised = self.kept.get(&id).and_then(|kept| kept.iter().rfind(|(at, _, _)| *at <= before));
        let Some((_, version, content)) = promised else {
            // Nothing was promised, and nothing is made up.
            if let Some((_, found)) = found {
                assert!(self.asked.contains(&found), "{what}: {found:?} was never written");
            }
            return;
        };
        let (at, found) = found.unwrap_or_else(|| panic!("{what}: {id} was promised and is gone"));
        assert!(at >= *version, "{what}: {id} fell back to {at:?} from {version:?}");
        if at == *version {
            assert_eq!(found, *content, "{what}");
        } else {
            assert!(self.asked.contains(&found), "{what}: {found:?} was never written");
        }
    }
}

/// What a record holds.
fn seen(user: &User) -> (Version, Content) {
    let content = match (hash_text(user), user.standing) {
        (Some(password), _) => Content::Password(password.to_owned()),
        (None, Standing::Deleted) => Content::Buried,
        (None, _) => panic!("{} holds neither a password nor a tombstone", user.id),
    };
    (user.version, content)
}

/// Reads a record; on a troubled disk one read may be the one that meets the trouble.
async fn look_up(store: &Arc<dyn UserStore>, id: UserId) -> Option<User> {
    let reading = async {
        loop {
            match store.find_public(&id.to_string()).await {
                Ok(user) => return user,
                Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reading).await.expect("the file is opened again")
}

/// One random piece of work; failures are as good as successes here.
async fn work(store: &Arc<dyn UserStore>, disk: &Disk, promises: &mut Promises, dice: &mut Dice) {
    match dice.roll(8) {
        0..=2 => save(store, disk, promises, dice, 1).await,
        3..=4 => {
            let many = 2 + dice.roll(6);
            save(store, disk, promises, dice, many).await;
        }
        5 => {
            let password = promises.next_password();
            promises.asked.push(Content::Password(password.clone()));
            let names = [email(&format!("new{}@x.y", promises.serial))];
            if let Ok(Inserted::Inserted(proof, _)) = store.insert_new(registering(&names, &password)).await {
                promises.promise(disk.recorded(), proof, Content::Password(password));
            }
        }
        6 => {
            let users: Vec<(usize, Migrated)> = promises.users.iter().map(|(n, proof)| (*n, *proof)).collect();
            let Some((number, last)) = users.get(dice.roll(users.len().max(1))).copied() else { return };
            let (change, content) = if dice.roll(3) == 0 {
                (stand(Standing::Deleted), Content::Buried)
            } else {
                let password = promises.next_password();
                (UserChange::SetPassword(hash(&password)), Content::Password(password))
            };
            promises.asked.push(content.clone());
            if let Ok(Updated::Done(proof)) = store.update(last.id(), last.version(), change).await {
                promises.promise(disk.recorded(), proof, content);
                promises.users.insert(number, proof);
            }
        }
        _ => {
            let mode = authferry::domain::mode::Mode::ALL[dice.roll(4)];
            let _may_fail = store.set_mode(mode).await;
        }
    }
}

/// Saves some users at once: they share a commit.
async fn save(store: &Arc<dyn UserStore>, disk: &Disk, promises: &mut Promises, dice: &mut Dice, many: usize) {
    let mut numbers: Vec<usize> = (0..many).map(|_| dice.roll(24)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let Ok(lookup) = store.find(&candidates("nobody")).await else { return };
    let asked: Vec<(usize, String)> = numbers.into_iter().map(|n| (n, promises.next_password())).collect();
    let saves = asked.iter().map(|(n, password)| {
        // Profiles of different sizes, some over a page, make the tree split and the file grow.
        let names = [email(&format!("user{n}@x.y")), username(&format!("user{n}"))];
        let mut proven = proven(*n as u64, &names, password, lookup.revision);
        proven.accepted = with_profile_of(&proven.accepted, [10, 200, 900, 6_000][n % 4]);
        store.save_proven(proven)
    });
    let saves: Vec<_> = saves.collect();
    for (_, password) in &asked {
        promises.asked.push(Content::Password(password.clone()));
    }
    let answers = join_all(saves).await;
    let at = disk.recorded();
    for ((number, password), saved) in asked.into_iter().zip(answers) {
        if let Ok(Saved::Created(proof) | Saved::Updated(proof)) = saved {
            promises.promise(at, proof, Content::Password(password));
            promises.users.insert(number, proof);
        }
    }
}

fn with_profile_of(
    accepted: &authferry::domain::proof::LegacyAccepted,
    bytes: usize,
) -> authferry::domain::proof::LegacyAccepted {
    let mut identity = accepted.identity().clone();
    identity.profile = serde_json::json!({ "note": "n".repeat(bytes) });
    authferry::domain::proof::LegacyAccepted::assert_by_connector(identity)
}

/// Whether the long form is asked for.
fn is_long() -> bool {
    std::env::var_os("AUTHFERRY_LONG").is_some()
}

/// How many disks that lost power are opened: as many as take a few seconds, 100,000 with `AUTHFERRY_LONG=1`, or the number in
/// `AUTHFERRY_IMAGES`. A million take minutes in a release build.
fn power_cut_images() -> usize {
    let asked = std::env::var("AUTHFERRY_IMAGES").ok().and_then(|number| number.parse().ok());
    asked.unwrap_or(if is_long() { 100_000 } else { 1_500 })
}

/// A clock that goes on by an hour whenever somebody looks at it: no pause is waited for.
#[derive(Debug, Default)]
struct Leaping(AtomicU32);

impl Clock for Leaping {
    fn monotonic(&self) -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        let leaps = self.0.fetch_add(1, Ordering::Relaxed);
        *START.get_or_init(|| SystemClock.monotonic()) + Duration::from_secs(3_600) * leaps
    }

    fn wall(&self) -> UnixSeconds {
        SystemClock.wall()
    }
}

#[test]
fn r94_what_was_acknowledged_survives_a_power_cut_at_any_call() {
    const LANES: u64 = 2;
    let counts: Vec<(usize, usize)> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|lane| scope.spawn(move || cut_power(lane, LANES))).collect();
        lanes.into_iter().map(|lane| lane.join().expect("every image is a store with everybody in it")).collect()
    });
    let (images, histories) = counts.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("{images} images of {histories} histories");
    assert!(images >= power_cut_images(), "{images} images");
}

/// Makes histories, every so many-th of all, and the images of the disks that they leave when power is cut at each of their calls.
fn cut_power(lane: u64, lanes: u64) -> (usize, usize) {
    let (mut images, mut histories, mut seed) = (0, 0, lane);
    while images < power_cut_images() / lanes as usize {
        let mut dice = Dice(seed);
        let disk = fresh();
        let start = disk.after_power_cut(&mut dice);
        disk.record();
        let mut promises = Promises::default();
        block_on(async {
            let store = open(&disk).expect("a store");
            for _ in 0..if is_long() { 14 } else { 8 } {
                work(&store, &disk, &mut promises, &mut dice).await;
            }
        });
        let trace = disk.take_trace();
        power_cuts(start, &trace, &mut dice, if is_long() { 4 } else { 1 }, |made, image, dice| {
            let what = || format!("seed {seed}, call {made} of {}", trace.len());
            images += 1 + survive(image, &promises, made, dice, &what);
        });
        histories += 1;
        seed += lanes;
    }
    (images, histories)
}

/// Opens what a power cut left, checks that it is a whole store that holds every promise, and in some cases goes on until the next
/// cut, which may also come while the store is being opened. Gives the number of those further cuts.
fn survive(image: Vec<u8>, promises: &Promises, before: usize, dice: &mut Dice, what: &dyn Fn() -> String) -> usize {
    if dice.roll(50) != 0 {
        examine(image, promises, before, what);
        return 0;
    }
    let disk = Disk::of(image.clone());
    disk.record();
    let mut later = promises.clone();
    // What was promised after the cut never happened in this life.
    for promised in later.kept.values_mut() {
        promised.retain(|(at, _, _)| *at <= before);
        promised.iter_mut().for_each(|(at, _, _)| *at = 0);
    }
    later.users.clear();
    block_on(async {
        let store = open(&disk).unwrap_or_else(|error| panic!("{}: {error:?}", what()));
        later.assert_kept(&store, 0, &what()).await;
        assert_consistent(&store).await;
        for _ in 0..3 {
            work(&store, &disk, &mut later, dice).await;
        }
    });
    let mut further = 0;
    let trace = disk.take_trace();
    power_cuts(image, &trace, dice, 1, |made, image, _| {
        further += 1;
        examine(image, &later, made, &|| format!("{}, then call {made} of {}", what(), trace.len()));
    });
    further
}

/// Opens an image as a proxy does, and looks at everything in it.
fn examine(image: Vec<u8>, promises: &Promises, before: usize, what: &dyn Fn() -> String) {
    let what = what();
    let mut found = BTreeMap::new();
    let mut each = |user: &User| drop(found.insert(user.id, seen(user)));
    let inspected = RedbStore::inspect_on(Disk::never_cut(image), CACHE, &mut each);
    let inspection = inspected.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert!(inspection.is_clean(), "{what}: {inspection:?}");
    for id in promises.kept.keys().chain(found.keys()) {
        promises.assert_kept_one(*id, found.get(id).cloned(), before, &what);
    }
}

/// Lets the writer recover: it does so by itself, and a test can only look.
async fn until(store: &Arc<dyn UserStore>, health: StoreHealth) {
    let looking = async {
        while store.health() != health {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.unwrap_or_else(|_| panic!("never {health:?}"));
}

/// A fixed history on a troubled disk, then a power cut: `true` if the trouble was met.
fn troubled(trouble: Trouble, seed: u64) -> bool {
    let mut dice = Dice(seed);
    let disk = fresh();
    let mut promises = Promises::default();
    let what = format!("{trouble:?}, seed {seed}");
    let metrics = Arc::new(Metrics::new());
    block_on(async {
        let store = RedbStore::open_on(disk.clone(), CACHE, Arc::clone(&metrics), Arc::new(Leaping::default()));
        let store: Arc<dyn UserStore> = Arc::new(store.expect("a store"));
        disk.trouble(trouble);
        for _ in 0..8 {
            work(&store, &disk, &mut promises, &mut dice).await;
            until(&store, StoreHealth::Ready).await;
            // Whatever was promised is there for readers too, after the file was opened again.
            promises.assert_kept(&store, usize::MAX, &what).await;
        }
        disk.trouble(Trouble::None);
        until(&store, StoreHealth::Ready).await;
        migrate(&*store, 999, &[email("last@x.y")], "last").await;
        assert_consistent(&store).await;
    });
    for _ in 0..2 {
        let image = disk.after_power_cut(&mut dice);
        block_on(async {
            let store = open(&Disk::of(image)).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            promises.assert_kept(&store, usize::MAX, &what).await;
            assert_consistent(&store).await;
        });
    }
    metrics.encode().contains("authferry_alarms_total{what=\"store\"}")
}

/// How many calls the fixed history of [`troubled`] makes without trouble, from opening on.
fn calls_of(seed: u64) -> std::ops::Range<u64> {
    let mut dice = Dice(seed);
    let disk = fresh();
    block_on(async {
        let store = open(&disk).expect("a store");
        let first = disk.calls();
        let mut promises = Promises::default();
        for _ in 0..8 {
            work(&store, &disk, &mut promises, &mut dice).await;
        }
        first..disk.calls()
    })
}

#[test]
fn r95_an_error_at_any_call_acknowledges_nothing_falsely() {
    // Some calls, each failing in one way; with `AUTHFERRY_LONG` every call of more histories, in every way.
    let (seeds, step, kinds_of_one) = if is_long() { (5, 1, 3) } else { (1, 17, 1) };
    let (mut tried, mut met) = (0, 0);
    for seed in 0..seeds {
        for call in calls_of(seed).step_by(step) {
            let kinds = [Trouble::Once(call), Trouble::Short(call), Trouble::NoRoom(call)];
            for kind in 0..kinds_of_one {
                tried += 1;
                met += u32::from(troubled(kinds[(call as usize + kind) % kinds.len()], seed));
            }
        }
    }
    println!("{met} of {tried} failures were met");
    assert!(tried > 20 && met > tried / 4, "{met} of {tried} were met");
}

#[test]
fn r95_a_second_error_while_the_file_is_opened_again_changes_nothing() {
    let mut met = 0;
    for call in calls_of(3).step_by(if is_long() { 3 } else { 41 }) {
        for further in [1, 3, 6] {
            met += u32::from(troubled(Trouble::Twice(call, call + further), 3));
        }
    }
    assert!(met > 5, "{met}");
}

#[test]
fn a_panic_at_any_call_loses_neither_the_store_nor_a_promise() {
    let mut met = 0;
    for call in calls_of(1).step_by(if is_long() { 1 } else { 9 }) {
        met += u32::from(troubled(Trouble::Panic(call), 1));
    }
    assert!(met > 5, "{met}");
}

#[test]
fn r95_a_failed_commit_is_of_unknown_outcome_for_all_who_shared_it() {
    block_on(async {
        let disk = fresh();
        let store = open(&disk).expect("a store");
        disk.close_gate();
        let first = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.save_proven(proven(1, &[email("first@x.y")], "one", Version(0))).await }
        });
        tokio::task::yield_now().await;
        disk.wait_for_sync();
        let rest: Vec<_> = (2..10)
            .map(|n| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    store.save_proven(proven(n, &[email(&format!("user{n}@x.y"))], "one", Version(0))).await
                })
            })
            .collect();
        let same = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.save_proven(proven(2, &[email("user2@x.y")], "two", Version(0))).await }
        });
        tokio::task::yield_now().await;
        disk.trouble(Trouble::ReadOnly);
        disk.open_gate();
        // The first commit fails at its next write. The others were never begun, or failed with a commit of their own.
        let first = first.await.expect("no panic");
        assert!(matches!(first, Err(StoreError::OutcomeUnknown(_))), "{first:?}");
        for saved in join_all(rest).await.into_iter().chain([same.await]) {
            let saved = saved.expect("no panic");
            assert!(matches!(saved, Err(StoreError::OutcomeUnknown(_) | StoreError::Unavailable(_))), "{saved:?}");
        }
        disk.trouble(Trouble::None);
        until(&store, StoreHealth::Ready).await;
        assert_consistent(&store).await;
        migrate(&*store, 1, &[email("first@x.y")], "again").await;
        assert_eq!(find(&*store, "first@x.y").await.as_ref().and_then(hash_text), Some("again"));
    });
}

#[test]
fn r103_on_a_disk_that_takes_no_writes_reads_go_on_and_writes_come_back() {
    for trouble in [Trouble::ReadOnly, Trouble::Full] {
        block_on(async {
            let disk = fresh();
            let store = open(&disk).expect("a store");
            migrate(&*store, 7, &[email("alice@x.y")], "one").await;
            disk.trouble(trouble);
            for round in 0..4 {
                let names = [email(&format!("bob{round}@x.y"))];
                let mut large = proven(round + 10, &names, "two", revision(&*store).await);
                large.accepted = with_profile_of(&large.accepted, 60_000);
                let refused = store.save_proven(large).await;
                assert!(
                    matches!(refused, Err(StoreError::OutcomeUnknown(_) | StoreError::Unavailable(_))),
                    "{trouble:?} {refused:?}"
                );
                let alice = find(&*store, "alice@x.y").await.expect("reads go on");
                assert_eq!(hash_text(&alice), Some("one"));
                if trouble == Trouble::ReadOnly {
                    assert_eq!(store.health(), StoreHealth::ReadOnly, "it is well only once a commit was on disk");
                }
            }
            disk.trouble(Trouble::None);
            until(&store, StoreHealth::Ready).await;
            migrate(&*store, 8, &[email("bob@x.y")], "two").await;
            assert_consistent(&store).await;
            drop(store);
            let image = disk.after_power_cut(&mut Dice(1));
            let store = open(&Disk::of(image)).expect("the store");
            assert!(find(&*store, "alice@x.y").await.is_some() && find(&*store, "bob@x.y").await.is_some());
        });
    }
}

#[test]
fn a_disk_that_can_be_neither_read_nor_written_is_down_until_it_is_back() {
    block_on(async {
        let disk = fresh();
        let store = open(&disk).expect("a store");
        migrate(&*store, 7, &[email("alice@x.y")], "one").await;
        disk.trouble(Trouble::Dead);
        let lost = store.save_proven(proven(8, &[email("bob@x.y")], "two", Version(0))).await;
        assert!(matches!(lost, Err(StoreError::OutcomeUnknown(_) | StoreError::Unavailable(_))), "{lost:?}");
        until(&store, StoreHealth::Down).await;
        let refused = store.set_mode(authferry::domain::mode::Mode::Observe).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        let unread = store.find_public("7").await;
        assert!(matches!(unread, Err(StoreError::Unavailable(_))), "{unread:?}");
        disk.trouble(Trouble::None);
        until(&store, StoreHealth::Ready).await;
        assert!(find(&*store, "alice@x.y").await.is_some());
        migrate(&*store, 8, &[email("bob@x.y")], "two").await;
    });
}

#[test]
fn a_read_that_fails_has_the_file_opened_again() {
    block_on(async {
        let disk = fresh();
        {
            let store = open(&disk).expect("a store");
            for n in 0..200 {
                let mut one = proven(n, &[email(&format!("user{n}@x.y"))], "one", Version(n));
                one.accepted = with_profile_of(&one.accepted, 6_000);
                store.save_proven(one).await.expect("a save");
            }
        }
        // A cache of nothing makes every read go to the disk.
        let store: Arc<dyn UserStore> = Arc::new(
            RedbStore::open_on(disk.clone(), 0, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("the store"),
        );
        disk.trouble(Trouble::Once(disk.calls()));
        let failed = store.find(&candidates("user5@x.y")).await;
        assert!(matches!(failed, Err(StoreError::Unavailable(_))), "the one who met it is told");
        let answered = async {
            while store.find(&candidates("user5@x.y")).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), answered).await.expect("the file is opened again");
        until(&store, StoreHealth::Ready).await;
        migrate(&*store, 500, &[email("last@x.y")], "one").await;
    });
}

/// A store of users with profiles over a page each, on a disk of which nothing is cached.
async fn wide_store(users: u64, metrics: &Arc<Metrics>) -> (Disk, Arc<dyn UserStore>) {
    let disk = fresh();
    {
        let store = open(&disk).expect("a store");
        for n in 0..users {
            let mut one = proven(n, &[email(&format!("user{n}@x.y"))], &format!("p{n}"), Version(n));
            one.accepted = with_profile_of(&one.accepted, 6_000);
            store.save_proven(one).await.expect("a save");
        }
    }
    let store = RedbStore::open_on(disk.clone(), 0, Arc::clone(metrics), Arc::new(SystemClock));
    (disk, Arc::new(store.expect("the store")))
}

#[test]
fn r96_damage_costs_whose_record_it_struck_an_answer_and_nobody_else_anything() {
    const USERS: u64 = 60;
    block_on(async {
        let metrics = Arc::new(Metrics::new());
        let (disk, store) = wide_store(USERS, &metrics).await;
        let (mut struck, mut struck_nobody) = (0, 0);
        for block in 4..disk.size() / 4_096 {
            // What lies behind the file's own blocks, and a sector that the device gives up.
            let lost = block % 3 == 0;
            if lost {
                disk.trouble(Trouble::BadBlock(block as u64));
            } else {
                disk.flip(block * 4_096 + 2_000);
            }
            let mut met = 0;
            for n in (block as u64 % 5..USERS).step_by(5) {
                match store.find(&candidates(&format!("user{n}@x.y"))).await {
                    Ok(lookup) => match lookup.found {
                        Found::One(user) => assert_eq!(hash_text(&user), Some(format!("p{n}").as_str())),
                        Found::Nobody | Found::Ambiguous => panic!("block {block}: user {n} is said to be unknown"),
                    },
                    Err(StoreError::Corrupt(_)) => met += 1,
                    Err(other) => panic!("block {block}: {other:?}"),
                }
            }
            struck += u32::from(met > 0);
            struck_nobody += u32::from(met == 0);
            if lost {
                disk.trouble(Trouble::None);
            } else {
                disk.flip(block * 4_096 + 2_000);
            }
        }
        assert!(struck > 10 && struck_nobody > 10, "{struck} blocks struck somebody, {struck_nobody} nobody");
        assert_eq!(store.health(), StoreHealth::Ready);
        let shown = metrics.encode();
        assert!(!shown.contains("authferry_alarms_total{what=\"store\"}"), "the file was never opened again: {shown}");
        assert!(shown.contains("authferry_alarms_total{what=\"store_damage\"}"), "{shown}");
        migrate(&*store, 500, &[email("last@x.y")], "one").await;
        assert_consistent(&store).await;
    });
}

/// Everybody who can be listed around damage, and who cannot; none if nobody can be.
async fn listed_around_damage(store: &Arc<dyn UserStore>, limit: usize) -> Option<(Vec<User>, UnreadUsers)> {
    let (mut users, mut unread, mut after) = (Vec::new(), UnreadUsers::default(), None);
    loop {
        let query = UserQuery { after, limit, on_damage: OnDamage::StepOver, ..UserQuery::default() };
        let page = match store.list(query).await {
            Ok(page) => page,
            Err(StoreError::Corrupt(_)) => return None,
            Err(other) => panic!("{other:?}"),
        };
        assert!(page.users.len() + page.unread.ids.len() <= limit);
        users.extend(page.users);
        unread.ids.extend(page.unread.ids);
        unread.perhaps_more |= page.unread.perhaps_more;
        after = page.next;
        if after.is_none() {
            return Some((users, unread));
        }
    }
}

#[test]
fn r96_everybody_whose_record_can_be_read_is_listed_around_damage_and_the_others_are_named() {
    const USERS: u64 = 60;
    block_on(async {
        let (disk, store) = wide_store(USERS, &Arc::new(Metrics::new())).await;
        let (all, unread) = listed_around_damage(&store, 7).await.expect("it is whole");
        assert_eq!((all.len() as u64, unread), (USERS, UnreadUsers::default()));
        let ids: Vec<UserId> = all.iter().map(|user| user.id).collect();
        assert!(ids.is_sorted());
        let (mut struck, mut closed, mut unsure) = (0, 0, 0);
        let (blocks, mut of_others) = (disk.size() / 4_096, Vec::<usize>::new());
        let mut damage: VecDeque<Vec<usize>> = (4..blocks).map(|block| vec![block]).collect();
        while let Some(damaged) = damage.pop_front() {
            damaged.iter().for_each(|block| disk.flip(block * 4_096 + 2_000));
            let mut readable = Vec::new();
            for id in &ids {
                readable.extend(store.user(*id).await.ok().flatten().map(|user| user.id));
            }
            let is_listed_plainly = store.list(UserQuery { limit: 1_000, ..UserQuery::default() }).await.is_ok();
            if damaged.len() == 1 && readable == ids && !is_listed_plainly {
                // Of another table, which cannot be opened so: some of the blocks once more, together with it.
                of_others.extend(&damaged);
                damage.extend(
                    (4..blocks).step_by(7).filter(|block| *block != damaged[0]).map(|block| vec![block, damaged[0]]),
                );
            }
            match listed_around_damage(&store, 7).await {
                Some((users, unread)) => {
                    let listed: Vec<UserId> = users.iter().map(|user| user.id).collect();
                    let mut told: Vec<UserId> = listed.iter().chain(&unread.ids).copied().collect();
                    told.sort();
                    if unread.perhaps_more {
                        unsure += 1;
                        assert!(damaged.len() > 1 && listed.iter().all(|id| readable.contains(id)), "{damaged:?}");
                    } else {
                        assert_eq!((listed, told), (readable, ids.clone()), "{damaged:?}");
                    }
                    struck += u32::from(!unread.ids.is_empty());
                }
                None => closed += 1,
            }
            damaged.iter().for_each(|block| disk.flip(block * 4_096 + 2_000));
        }
        let told = format!("{struck} struck somebody, {closed} all, {unsure} names too; {of_others:?}");
        assert!(struck > 20 && unsure > 0 && of_others.len() > 1, "{told}");
        assert_eq!(listed_around_damage(&store, 1_000).await.map(|(users, _)| users.len() as u64), Some(USERS));
    });
}

#[test]
fn r96_a_write_that_meets_damage_is_refused_and_the_store_goes_on() {
    block_on(async {
        let metrics = Arc::new(Metrics::new());
        let (disk, store) = wide_store(60, &metrics).await;
        let (mut refused, mut saved) = (0, 0);
        for block in 4..disk.size() / 4_096 {
            let before = store.find(&candidates("user7@x.y")).await.ok();
            disk.flip(block * 4_096 + 2_000);
            let damaged = disk.block(block);
            let name = format!("new{block}@x.y");
            let ended =
                store.save_proven(proven(1_000 + block as u64, &[email(&name)], "new", Version(u64::MAX))).await;
            match ended {
                Ok(Saved::Created(_)) => saved += 1,
                Ok(other) => panic!("block {block}: {other:?}"),
                Err(_) => refused += 1,
            }
            // Unless something else was written there meanwhile.
            if disk.block(block) == damaged {
                disk.flip(block * 4_096 + 2_000);
            }
            until(&store, StoreHealth::Ready).await;
            store.set_mode(authferry::domain::mode::Mode::Migrate).await.expect("it takes writes again");
            // What it was told holds: he is there if he was saved, and nobody else was harmed.
            let found = look_up_name(&store, &name).await;
            assert!(found.is_some() || ended.is_err(), "block {block}: he was said to be saved");
            assert!(before.is_none() || look_up_name(&store, "user7@x.y").await.is_some(), "block {block}");
        }
        assert!(refused > 0 && saved > 10, "{refused} refused, {saved} saved");
        assert_consistent(&store).await;
    });
}

/// Reads a record by a name, once the file can be read.
async fn look_up_name(store: &Arc<dyn UserStore>, name: &str) -> Option<User> {
    loop {
        match store.find(&candidates(name)).await {
            Ok(lookup) => match lookup.found {
                Found::One(user) => return Some(*user),
                Found::Nobody => return None,
                Found::Ambiguous => panic!("{name} means two users"),
            },
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[test]
fn p10_opening_after_a_crash_takes_a_few_calls_however_many_users_there_are() {
    let opening = |users: u64| {
        block_on(async {
            let disk = fresh();
            let store = open(&disk).expect("a store");
            let numbers: Vec<u64> = (0..users).collect();
            for chunk in numbers.chunks(128) {
                let saves = chunk.iter().map(|n| {
                    let mut one = proven(*n, &[email(&format!("user{n}@x.y"))], "one", Version(u64::MAX));
                    one.accepted = with_profile_of(&one.accepted, 3_000);
                    store.save_proven(one)
                });
                assert!(join_all(saves).await.iter().all(Result::is_ok));
            }
            // While it is open: nobody closed it.
            let again = Disk::of(disk.after_power_cut(&mut Dice(1)));
            let store = open(&again).expect("the store");
            let calls = again.calls();
            assert_eq!(store.counts().await.expect("counts").migrated, users);
            (calls, again.size())
        })
    };
    let ((few, small), (many, large)) = (opening(10), opening(3_000));
    assert!(large > 20 * small, "{small} and {large} bytes");
    assert!(many < few + 30, "{few} calls for {small} bytes, {many} for {large}");
}

#[test]
fn a_full_queue_is_busy_and_nothing_of_it_is_lost() {
    block_on(async {
        let disk = fresh();
        let store = open(&disk).expect("a store");
        disk.close_gate();
        let save = |n: u64| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store.save_proven(proven(n, &[email(&format!("user{n}@x.y"))], "one", Version(0))).await
            })
        };
        let first = save(0);
        tokio::task::yield_now().await;
        disk.wait_for_sync();
        let waiting: Vec<_> = (1..=3_000).map(save).collect();
        tokio::task::yield_now().await;
        disk.open_gate();
        let (mut saved, mut busy) = (1, 0);
        assert!(matches!(first.await.expect("no panic"), Ok(Saved::Created(_))));
        for answer in join_all(waiting).await {
            match answer.expect("no panic") {
                Ok(Saved::Created(_)) => saved += 1,
                Err(StoreError::Busy) => busy += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(busy > 0 && saved > 1_000, "{saved} saved, {busy} busy");
        assert_eq!(store.counts().await.expect("counts").migrated, saved);
    });
}

#[test]
fn dropping_the_store_finishes_what_was_asked() {
    let disk = fresh();
    block_on(async {
        let store = open(&disk).expect("a store");
        for n in 0..30 {
            let mut save = store.save_proven(proven(n, &[email(&format!("user{n}@x.y"))], "one", Version(0)));
            let _asked = futures_util::poll!(&mut save);
        }
    });
    let image = disk.after_power_cut(&mut Dice(1));
    block_on(async {
        let store = open(&Disk::of(image)).expect("the store");
        assert_eq!(store.counts().await.expect("counts").migrated, 30);
    });
}

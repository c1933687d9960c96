//! Who has come over and who has not: lists of legacy's users in the store, the counts by day, the stragglers page by page, and what
//! operators are shown of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use authferry::domain::clock::{Clock, SystemClock, UnixSeconds};
use authferry::domain::credential::{AbsentBecause, Credential};
use authferry::domain::identifier::{Identifier, IdentifierRules};
use authferry::domain::import::{Imported, Incoming, OnConflict, Rejection, Skip};
use authferry::domain::portable::{PortableName, PortableRoster, PortableUser};
use authferry::domain::roster::{Bucket, Day, Pace, Side, Tally, place};
use authferry::domain::user::{Origin, Standing, User, UserId, Version};
use authferry::service::ports::{
    AfterRemoval, ImportBatch, Saved, StragglerQuery, Updated, UserChange, UserPage, UserStore,
};
use authferry::store::{self, StoreSettings};
use authferry::telemetry::Metrics;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::store_people::*;
use crate::support::app::ADMIN_TOKEN;
use crate::support::call_login::call_login;
use crate::support::legacy::{LegacyDouble, ann};
use crate::support::process::{Finished, Process, authferry, finish, run};
use crate::support::raw_client::send;
use crate::support::service::{Kept, rig, word};

const DAY: u64 = 86_400;

/// The day of [`NOW`].
fn today() -> Day {
    Day::of(NOW)
}

fn days_ago(days: u64) -> Option<UnixSeconds> {
    Some(UnixSeconds(NOW.0 - days * DAY))
}

/// One row of a list.
pub(crate) fn row(
    id: Option<u64>,
    names: &[Identifier],
    last_seen: Option<UnixSeconds>,
    value: Option<u64>,
) -> Incoming {
    let names = names.iter().map(|name| PortableName {
        kind: name.normalized.kind(),
        value: name.value.to_string(),
        verified: name.verified,
    });
    let user = PortableUser {
        legacy_id: id.map(|id| legacy_id(&json!(id))),
        names: names.collect(),
        roster: Some(PortableRoster { last_seen, value }),
        ..PortableUser::default()
    };
    Incoming::new(user, IdentifierRules::default()).expect("a row")
}

pub(crate) async fn list(store: &dyn UserStore, rows: Vec<Incoming>) -> Vec<Imported> {
    let batch = ImportBatch { rows, on_conflict: OnConflict::List, checkpoint: None, at: NOW };
    store.import(batch).await.expect("a list")
}

async fn tally(store: &dyn UserStore, bucket: Bucket) -> Tally {
    store.roster().await.expect("counts").of(bucket, today())
}

async fn paces(store: &dyn UserStore) -> Pace {
    store.roster().await.expect("counts").pace.into_values().fold(Pace::default(), Pace::and)
}

/// Every straggler of a bucket, in pages.
async fn stragglers(store: &dyn UserStore, bucket: Bucket, min_value: u64, limit: usize) -> Vec<User> {
    let (mut users, mut after) = (Vec::new(), None);
    loop {
        let query = StragglerQuery { days: bucket.days(today()), min_value, after: after.take(), limit };
        let page = store.stragglers(query).await.expect("a page");
        assert!(page.users.len() <= limit.max(1), "pages of {limit}");
        users.extend(page.users);
        match page.next {
            Some(next) => after = Some(next),
            None => return users,
        }
    }
}

fn names_of(users: &[User]) -> Vec<&str> {
    users.iter().map(|user| &*user.identifiers[0].value).collect()
}

// ------------------------------------------------------------------------------------ cases of every store (see `store`)

pub(crate) async fn listed_users_are_stragglers_of_their_day_until_they_come_over(store: Arc<dyn UserStore>) {
    let rows = vec![
        row(Some(1), &[email("ann@x.y")], days_ago(10), Some(5)),
        row(Some(2), &[email("bob@x.y")], days_ago(100), Some(7)),
        row(None, &[username("cid")], None, None),
    ];
    let results = list(&*store, rows).await;
    assert!(results.iter().all(|result| matches!(result, Imported::Created(_))), "{results:?}");
    let expected = Tally { stragglers: 3, straggler_value: 12, listed: 3, ..Tally::default() };
    assert_eq!(tally(&*store, Bucket::All).await, expected);
    for (bucket, stragglers) in [(Bucket::Days30, 1), (Bucket::Days90, 1), (Bucket::Days365, 2), (Bucket::Never, 1)] {
        assert_eq!(tally(&*store, bucket).await.stragglers, stragglers, "{bucket:?}");
    }
    assert_eq!(paces(&*store).await, Pace::default());
    assert_eq!(store.roster().await.expect("counts").pace.len(), 1, "since when is counted is known");

    let ann = find(&*store, "ann@x.y").await.expect("listed");
    assert_eq!((ann.origin, ann.legacy_vouched_at), (Origin::Roster, None));
    assert!(matches!(ann.credential, Credential::Absent(AbsentBecause::Roster)));
    let migrated = migrate(&*store, 1, &[email("ann@x.y")], "one").await;
    assert_eq!(migrated.id(), ann.id, "the record that the list made");
    let ann = find(&*store, "ann@x.y").await.expect("over");
    assert_eq!((ann.origin, ann.roster.and_then(|roster| roster.value)), (Origin::Migrated, Some(5)));
    let expected = Tally { stragglers: 2, straggler_value: 7, over: 1, over_value: 5, listed: 3 };
    assert_eq!(tally(&*store, Bucket::All).await, expected);
    assert_eq!(paces(&*store).await.came_over, 1);

    let arrived = migrate(&*store, 4, &[email("dan@x.y")], "one").await;
    register(&*store, registering(&[email("eve@x.y")], "one")).await;
    let pace = paces(&*store).await;
    assert_eq!((pace.came_over, pace.arrived, pace.registered), (1, 1, 1));
    let back = store.update(arrived.id(), arrived.version(), UserChange::DropPassword).await.expect("a change");
    assert!(matches!(back, Updated::Done(_)));
    let all = tally(&*store, Bucket::All).await;
    assert_eq!((all.stragglers, all.over, all.listed), (3, 2, 3), "a reset at legacy makes a straggler again");
}

pub(crate) async fn a_list_adds_its_facts_to_who_has_come_over_and_nothing_else(store: Arc<dyn UserStore>) {
    migrate(&*store, 7, &[email("ann@x.y")], "one").await;
    let before = find(&*store, "ann@x.y").await.expect("over");
    let seen = days_ago(400);
    let said = row(Some(7), &[email("ann@x.y"), username("annie")], seen, Some(9));
    let results = list(&*store, vec![said]).await;
    assert_eq!(results, [Imported::Updated(before.id)]);
    let after = find(&*store, "ann@x.y").await.expect("over");
    assert_eq!(after.roster, Some(PortableRoster { last_seen: seen, value: Some(9) }));
    assert!(after.version > before.version);
    assert_eq!(hash_text(&after), Some("one"));
    assert_eq!(
        (after.origin, &after.identifiers, &after.profile),
        (before.origin, &before.identifiers, &before.profile)
    );
    assert_eq!(after.legacy_vouched_at, before.legacy_vouched_at);
    assert!(find(&*store, "annie").await.is_none(), "no name of a list becomes his");
    let all = tally(&*store, Bucket::All).await;
    assert_eq!((all.over, all.over_value, all.listed), (1, 9, 1));
    assert_eq!(tally(&*store, Bucket::Days30).await.over, 1, "he was seen when legacy vouched for him");
    assert_eq!(paces(&*store).await.came_over, 0, "a list brings nobody over");
}

pub(crate) async fn a_newer_list_brings_the_facts_up_to_date(store: Arc<dyn UserStore>) {
    let of = |seen, value| vec![row(Some(1), &[email("ann@x.y")], seen, value)];
    list(&*store, of(days_ago(400), Some(5))).await;
    let ann = find(&*store, "ann@x.y").await.expect("listed");
    let again = list(&*store, of(days_ago(400), Some(5))).await;
    assert_eq!(again, [Imported::Skipped(ann.id, Skip::Unchanged)]);
    assert_eq!(find(&*store, "ann@x.y").await.map(|user| user.version), Some(ann.version));
    assert_eq!(list(&*store, of(days_ago(3), None)).await, [Imported::Updated(ann.id)]);
    let newer = find(&*store, "ann@x.y").await.expect("listed");
    assert_eq!(newer.roster, Some(PortableRoster { last_seen: days_ago(3), value: Some(5) }), "silent about his value");
    assert_eq!(tally(&*store, Bucket::Days30).await.stragglers, 1);
    assert_eq!(tally(&*store, Bucket::Older).await, Tally::default());
    assert_eq!(names_of(&stragglers(&*store, Bucket::All, 0, 10).await), ["ann@x.y"], "once");
    let renamed = list(&*store, vec![row(Some(1), &[email("new@x.y")], None, None)]).await;
    assert_eq!(renamed, [Imported::Updated(ann.id)]);
    assert_eq!(find(&*store, "new@x.y").await.map(|user| user.id), Some(ann.id));
}

pub(crate) async fn a_list_wakes_no_tombstone_and_takes_nobodys_name(store: Arc<dyn UserStore>) {
    let gone = migrate(&*store, 7, &[email("gone@x.y")], "one").await;
    store.update(gone.id(), gone.version(), stand(Standing::Deleted)).await.expect("a change");
    let bob = migrate(&*store, 8, &[email("bob@x.y")], "one").await;
    let rows = vec![
        row(Some(7), &[email("gone@x.y")], days_ago(1), Some(1)),
        row(Some(9), &[email("bob@x.y")], days_ago(1), Some(1)),
        row(Some(10), &[email("new@x.y"), email("bob@x.y")], days_ago(1), Some(1)),
        row(Some(11), &[email("other@x.y"), email("gone@x.y")], days_ago(1), Some(1)),
    ];
    let results = list(&*store, rows).await;
    assert_eq!(results[0], Imported::Skipped(gone.id(), Skip::Exists));
    for taken in &results[1..3] {
        assert!(matches!(taken, Imported::Rejected(Rejection::NameTaken { by, .. }) if *by == bob.id()), "{taken:?}");
    }
    assert_eq!(results[3], Imported::Rejected(Rejection::Tombstone { by: gone.id() }));
    let grave = find(&*store, "gone@x.y").await.expect("a tombstone");
    assert_eq!((grave.standing, grave.roster), (Standing::Deleted, None));
    let all = tally(&*store, Bucket::All).await;
    assert_eq!((all.stragglers, all.over, all.listed), (0, 1, 0));
}

pub(crate) async fn a_listed_user_without_an_id_adopts_the_one_that_legacy_proves(store: Arc<dyn UserStore>) {
    list(&*store, vec![row(None, &[email("ann@x.y")], days_ago(5), Some(3))]).await;
    let listed = find(&*store, "ann@x.y").await.expect("listed");
    let saved =
        store.save_proven(proven(7, &[email("ann@x.y")], "one", revision(&*store).await)).await.expect("a save");
    assert!(matches!(saved, Saved::Updated(migrated) if migrated.id() == listed.id), "{saved:?}");
    let ann = store.find_public("7").await.expect("a lookup").expect("by the adopted id");
    assert_eq!(
        (ann.id, ann.origin, ann.roster.and_then(|roster| roster.value)),
        (listed.id, Origin::Migrated, Some(3))
    );
    let other =
        store.save_proven(proven(8, &[email("ann@x.y")], "two", revision(&*store).await)).await.expect("a save");
    assert_eq!(other, Saved::Conflict { with: listed.id });
}

pub(crate) async fn who_cannot_log_in_anyway_is_no_straggler(store: Arc<dyn UserStore>) {
    list(&*store, vec![row(Some(1), &[email("ann@x.y")], days_ago(5), Some(3))]).await;
    for (standing, expected) in [(Standing::Disabled, 0), (Standing::Active, 1), (Standing::Deleted, 0)] {
        let ann = find(&*store, "ann@x.y").await.expect("listed");
        store.update(ann.id, ann.version, stand(standing)).await.expect("a change");
        let all = tally(&*store, Bucket::All).await;
        assert_eq!((all.stragglers, all.straggler_value, all.listed), (expected, u128::from(expected) * 3, expected));
        assert_eq!(stragglers(&*store, Bucket::All, 0, 10).await.len() as u64, expected, "{standing:?}");
    }
}

pub(crate) async fn pages_of_stragglers_hold_each_of_a_bucket_once_the_last_seen_first(store: Arc<dyn UserStore>) {
    let seen = |n: u64| if n.is_multiple_of(7) { None } else { days_ago(n * 13) };
    let rows = (0..60).map(|n| row(Some(n), &[username(&format!("user{n:02}"))], seen(n), Some(n))).collect();
    list(&*store, rows).await;
    migrate(&*store, 1, &[username("user01")], "one").await;
    for bucket in Bucket::ALL {
        let days = bucket.days(today());
        let expected: BTreeSet<String> = (0..60)
            .filter(|n| *n != 1 && days.contains(&seen(*n).map_or(Day::NEVER, Day::of)))
            .map(|n| format!("user{n:02}"))
            .collect();
        for limit in [1, 7, 60, 1_000] {
            let users = stragglers(&*store, bucket, 0, limit).await;
            let names = names_of(&users);
            let distinct: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!((names.len(), &distinct), (expected.len(), &expected), "{bucket:?} in pages of {limit}");
            let seen = |user: &User| place(user, None).map(|place| place.day);
            assert!(users.is_sorted_by(|one, next| seen(one) >= seen(next)), "{bucket:?} in pages of {limit}");
        }
    }
    for limit in [1, 7, 100] {
        let worthy = stragglers(&*store, Bucket::All, 50, limit).await;
        assert_eq!(worthy.len(), 10, "in pages of {limit}");
        assert!(worthy.iter().all(|user| user.roster.and_then(|roster| roster.value) >= Some(50)));
    }
}

pub(crate) async fn a_cursor_of_no_straggler_ends_the_listing(store: Arc<dyn UserStore>) {
    list(&*store, vec![row(Some(1), &[email("ann@x.y")], days_ago(5), None)]).await;
    for after in ["", "nonsense", "20700", "-", "99999999-x"] {
        let query =
            StragglerQuery { days: Bucket::All.days(today()), min_value: 0, after: Some(after.to_owned()), limit: 10 };
        let UserPage { users, next, .. } = store.stragglers(query).await.expect("a page");
        assert!(next.is_none() && (users.is_empty() || after > "2"), "{after:?}");
    }
}

pub(crate) async fn pages_stay_whole_while_users_come_over(store: Arc<dyn UserStore>) {
    const USERS: u64 = 400;
    let name = |n: u64| [username(&format!("user{n:03}"))];
    let rows = (0..USERS).map(|n| row(Some(n), &name(n), days_ago(n % 90), None)).collect();
    list(&*store, rows).await;
    let stop = Arc::new(AtomicBool::new(false));
    let coming = tokio::spawn({
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        async move {
            let mut over = BTreeSet::new();
            for n in (0..USERS).step_by(3) {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                migrate(&*store, n, &name(n), "one").await;
                over.insert(format!("user{n:03}"));
            }
            over
        }
    });
    let mut rounds = Vec::new();
    while !coming.is_finished() || rounds.is_empty() {
        let users = stragglers(&*store, Bucket::All, 0, 10).await;
        rounds.push(users.iter().map(|user| user.identifiers[0].value.to_string()).collect::<Vec<_>>());
    }
    stop.store(true, Ordering::SeqCst);
    let over = coming.await.expect("no panic");
    let stayed: BTreeSet<String> =
        (0..USERS).map(|n| format!("user{n:03}")).filter(|name| !over.contains(name)).collect();
    for round in rounds {
        let distinct: BTreeSet<String> = round.iter().cloned().collect();
        assert_eq!(distinct.len(), round.len(), "nobody twice");
        assert!(distinct.is_superset(&stayed), "nobody who stayed is left out");
    }
    let left = stragglers(&*store, Bucket::All, 0, 1_000).await;
    assert_eq!(left.len(), stayed.len());
}

pub(crate) async fn only_who_is_known_from_lists_alone_is_forgotten(store: Arc<dyn UserStore>) {
    let rows = (1..=4).map(|n| row(Some(n), &[email(&format!("user{n}@x.y"))], days_ago(n), Some(n))).collect();
    list(&*store, rows).await;
    // The fourth is in a conflict, and a name of his is kept from others.
    let fourth = find(&*store, "user4@x.y").await.expect("listed");
    let add = UserChange::AddAlias { alias: username("four"), must_be_free: Vec::new() };
    store.update(fourth.id, fourth.version, add).await.expect("a change");
    let version = find(&*store, "four").await.expect("listed").version;
    let take = UserChange::RemoveAlias { name: username("four").normalized, then: AfterRemoval::Reserved };
    store.update(fourth.id, version, take).await.expect("a change");
    let claimed = store.save_proven(proven(44, &[email("user4@x.y")], "one", revision(&*store).await)).await;
    assert_eq!(claimed.expect("a save"), Saved::Conflict { with: fourth.id });
    let listed: Vec<User> = stragglers(&*store, Bucket::All, 0, 10).await;
    let mut named: Vec<(UserId, Version)> = listed.iter().map(|user| (user.id, user.version)).collect();
    migrate(&*store, 1, &[email("user1@x.y")], "one").await;
    let dead = find(&*store, "user2@x.y").await.expect("listed");
    store.update(dead.id, dead.version, stand(Standing::Deleted)).await.expect("a change");
    list(&*store, vec![row(Some(3), &[email("user3@x.y")], days_ago(1), Some(3))]).await;
    named.push((UserId(uuid::Uuid::nil()), Version(1)));
    assert_eq!(store.forget_listed(named.clone()).await.expect("forgotten"), 1, "the fourth alone");
    assert!(find(&*store, "user4@x.y").await.is_none());
    assert!(store.find_public("4").await.expect("a lookup").is_none());
    assert!(find(&*store, "four").await.is_none());
    let holders = store.holders(&[username("four").normalized]).await.expect("a lookup");
    assert_eq!(holders, [None], "nothing is kept for who is forgotten");
    assert_eq!(store.counts().await.expect("counts").conflicts, 0);
    assert_consistent(&store).await;
    for kept in ["user1@x.y", "user2@x.y", "user3@x.y"] {
        assert!(find(&*store, kept).await.is_some(), "{kept}");
    }
    assert_eq!(store.forget_listed(named).await.expect("forgotten"), 0, "done already");
    let all = tally(&*store, Bucket::All).await;
    assert_eq!((all.stragglers, all.over, all.listed), (1, 1, 2));
    // His name is free, and legacy may vouch for him as for anybody.
    migrate(&*store, 4, &[email("user4@x.y")], "one").await;
    assert_eq!(tally(&*store, Bucket::All).await.over, 2);
}

pub(crate) async fn a_listed_user_who_was_deleted_and_came_back_is_still_the_one_that_legacy_knows(
    store: Arc<dyn UserStore>,
) {
    list(&*store, vec![row(None, &[email("ann@x.y")], None, None)]).await;
    for change in [stand(Standing::Deleted), UserChange::Undelete] {
        let ann = find(&*store, "ann@x.y").await.expect("listed");
        store.update(ann.id, ann.version, change).await.expect("a change");
    }
    let ann = find(&*store, "ann@x.y").await.expect("listed");
    let proven = migrate(&*store, 7, &[email("ann@x.y")], "one").await;
    assert_eq!(proven.id(), ann.id, "no conflict with himself");
}

// ------------------------------------------------------------------------------------------- counts and random histories

/// What the counts must be, by looking at everybody.
async fn walked(store: &dyn UserStore) -> BTreeMap<Day, Tally> {
    let users = everyone(store, 100).await;
    let ids: Vec<UserId> = users.iter().map(|user| user.id).collect();
    let logins = store.last_login(&ids).await.expect("times");
    let mut days: BTreeMap<Day, Tally> = BTreeMap::new();
    for (user, login) in users.iter().zip(logins) {
        let Some(place) = place(user, login) else { continue };
        let value = u128::from(place.value);
        let one = match place.side {
            Side::Straggler => Tally { stragglers: 1, straggler_value: value, ..Tally::default() },
            Side::Over => Tally { over: 1, over_value: value, ..Tally::default() },
        };
        let row = days.entry(place.day).or_default();
        *row = row.and(Tally { listed: u64::from(place.listed), ..one });
    }
    days
}

/// Asks that counts and index say what a walk over everybody says.
async fn assert_counted(store: &dyn UserStore) {
    assert_eq!(store.roster().await.expect("counts").days, walked(store).await);
    let listed: Vec<UserId> = stragglers(store, Bucket::All, 0, 7).await.iter().map(|user| user.id).collect();
    let expected = everyone(store, 100).await;
    let expected = expected.iter().filter(|user| place(user, None).is_some_and(|place| place.side == Side::Straggler));
    let mut expected: Vec<UserId> = expected.map(|user| user.id).collect();
    let mut found = listed;
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

/// A clock that a test moves, backwards too.
struct Calendar(AtomicU64);

impl Clock for Calendar {
    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }

    fn wall(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

fn open_at(folder: &TempDir, clock: &Arc<Calendar>) -> Arc<dyn UserStore> {
    let settings = StoreSettings::without_keys(folder.path().join("users.redb"), 1 << 20);
    store::open(&settings, Arc::new(Metrics::new()), Arc::clone(clock) as Arc<dyn Clock>).expect("a store")
}

#[derive(Debug, Clone)]
enum Happening {
    List(Vec<(u64, Option<u64>, Option<u64>)>),
    Migrate(u64),
    Register(u64),
    Change(u64, Change),
    Login(u64),
    Forget(u64),
    Import(u64, OnConflict),
    Turn(i64),
    Reopen,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Drop,
    Set,
    Stand(Standing),
}

fn happening() -> impl Strategy<Value = Happening> {
    let who = 0_u64..12;
    let seen = prop_oneof![Just(None), Just(Some(0)), (1_u64..4_000).prop_map(Some), Just(Some(u64::MAX))];
    let value = prop_oneof![Just(None), (0_u64..9).prop_map(Some), Just(Some(u64::MAX))];
    let rows = proptest::collection::vec((who.clone(), seen, value), 1..8);
    let change = prop_oneof![
        Just(Change::Drop),
        Just(Change::Set),
        Just(Change::Stand(Standing::Disabled)),
        Just(Change::Stand(Standing::Active)),
        Just(Change::Stand(Standing::Deleted)),
    ];
    let on_conflict = prop_oneof![Just(OnConflict::Skip), Just(OnConflict::Merge), Just(OnConflict::Replace)];
    prop_oneof![
        4 => rows.prop_map(Happening::List),
        4 => who.clone().prop_map(Happening::Migrate),
        1 => who.clone().prop_map(Happening::Register),
        4 => (who.clone(), change).prop_map(|(who, change)| Happening::Change(who, change)),
        2 => who.clone().prop_map(Happening::Login),
        1 => who.clone().prop_map(Happening::Forget),
        2 => (who, on_conflict).prop_map(|(who, on_conflict)| Happening::Import(who, on_conflict)),
        2 => (-400_i64..400).prop_map(Happening::Turn),
        1 => Just(Happening::Reopen),
    ]
}

fn name(who: u64) -> Identifier {
    username(&format!("user{who}"))
}

async fn happens(store: &dyn UserStore, clock: &Calendar, happening: &Happening) {
    match happening {
        Happening::List(rows) => {
            let seen = |ago: u64| UnixSeconds(if ago == u64::MAX { ago } else { NOW.0.saturating_sub(ago * DAY) });
            let row = |(who, ago, value): &(u64, Option<u64>, Option<u64>)| {
                row(who.is_multiple_of(2).then_some(*who), &[name(*who)], ago.map(seen), *value)
            };
            list(store, rows.iter().map(row).collect()).await;
        }
        Happening::Migrate(who) => {
            let mut proven = proven(*who, &[name(*who)], "one", revision(store).await);
            proven.at = clock.wall();
            store.save_proven(proven).await.expect("an answer");
        }
        Happening::Register(who) => {
            let mut new = registering(&[name(*who)], "one");
            new.at = clock.wall();
            store.insert_new(new).await.map(drop).expect("an answer");
        }
        Happening::Change(who, change) => {
            let Some(user) = find(store, &format!("user{who}")).await else { return };
            let change = match change {
                Change::Drop => UserChange::DropPassword,
                Change::Set => UserChange::SetPassword(hash("two")),
                Change::Stand(standing) => stand(*standing),
            };
            store.update(user.id, user.version, change).await.expect("an answer");
        }
        Happening::Login(who) => {
            let Some(user) = find(store, &format!("user{who}")).await else { return };
            store.note_login(user.id, clock.wall());
        }
        Happening::Forget(who) => {
            let Some(user) = find(store, &format!("user{who}")).await else { return };
            store.forget_listed(vec![(user.id, user.version)]).await.expect("an answer");
        }
        Happening::Import(who, on_conflict) => {
            let mut row = row(Some(*who), &[name(*who)], None, None);
            row.roster = None;
            row.last_login_at = Some(clock.wall());
            row.credential = Credential::Imported(authferry::domain::credential::StoredHash::new(
                "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy".to_owned(),
                authferry::domain::password::PasswordNormalization::None,
            ));
            row.origin = Origin::Imported;
            let batch = ImportBatch { rows: vec![row], on_conflict: *on_conflict, checkpoint: None, at: clock.wall() };
            store.import(batch).await.expect("an answer");
        }
        Happening::Turn(days) => {
            let by = days.unsigned_abs() * DAY;
            let turned =
                if *days < 0 { clock.0.load(Ordering::SeqCst) - by } else { clock.0.load(Ordering::SeqCst) + by };
            clock.0.store(turned, Ordering::SeqCst);
        }
        Happening::Reopen => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("AUTHFERRY_LONG").is_some() { 2_000 } else { 24 }, ..ProptestConfig::default() })]

    #[test]
    fn after_any_history_the_counts_are_those_of_a_walk(history in proptest::collection::vec(happening(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (folder, clock) = (TempDir::new().expect("a folder"), Arc::new(Calendar(AtomicU64::new(NOW.0))));
            let mut store = open_at(&folder, &clock);
            for happening in &history {
                match happening {
                    Happening::Reopen => {
                        drop(store);
                        store = open_at(&folder, &clock);
                    }
                    other => happens(&*store, &clock, other).await,
                }
            }
            // Logins are counted when they are written, which the end of a store waits for.
            drop(store);
            let store = open_at(&folder, &clock);
            assert_counted(&*store).await;
            assert_consistent(&store).await;
        });
    }
}

#[tokio::test]
async fn who_logs_in_here_was_seen_today_and_a_clock_that_goes_back_takes_nothing_away() {
    let (folder, clock) = (TempDir::new().expect("a folder"), Arc::new(Calendar(AtomicU64::new(NOW.0))));
    let mut store = open_at(&folder, &clock);
    let ann = migrate(&*store, 1, &[email("ann@x.y")], "one").await;
    let over = async |store: &dyn UserStore, ago: u64| {
        let counts = store.roster().await.expect("counts");
        counts.of(Bucket::Days30, Day::of(UnixSeconds(NOW.0 + ago * DAY))).over
    };
    assert_eq!((over(&*store, 30).await, over(&*store, 31).await), (1, 0), "at midnight, without a write");
    for (at, active_until) in [(200, 230), (150, 230), (201, 231)] {
        store.note_login(ann.id(), UnixSeconds(NOW.0 + at * DAY));
        // Times of logins are written in the end at the latest.
        drop(store);
        store = open_at(&folder, &clock);
        let (last_day, day_after) = (over(&*store, active_until).await, over(&*store, active_until + 1).await);
        assert_eq!((last_day, day_after), (1, 0), "login at {at}");
        assert_counted(&*store).await;
    }
}

// --------------------------------------------------------------------------------------------- the whole, from the shell

/// A proxy in front of a legacy that knows Ann, and a folder for lists.
struct Town {
    folder: TempDir,
    process: Process,
    _double: LegacyDouble,
}

impl Town {
    async fn start() -> Self {
        let double = LegacyDouble::well_behaved();
        let folder = TempDir::new().expect("a folder");
        let own = format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\n[store]\npath = \"users.redb\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
             token = {{ value = \"{ADMIN_TOKEN}\" }}\n"
        );
        let config = call_login(&double, "migrate", &own);
        let process = tokio::task::block_in_place(|| Process::start(folder.path(), &config));
        Self { folder, process, _double: double }
    }

    /// Runs a command that finds the proxy by the configuration, whose port the test learnt.
    fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = authferry(self.folder.path(), arguments);
        command.env("AUTHFERRY__ADMIN__BIND", self.process.admin().to_string());
        finish(command, "")
    }

    fn status(&self) -> Value {
        let finished = self.run(&["status", "--json"]);
        serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
    }

    async fn log_ann_in(&self) {
        let login = json!({ "email": ann().email, "password": ann().password }).to_string();
        let headers = [("Content-Type", "application/json")];
        let answer = send(self.process.public(), "POST", "/login", &headers, &login).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// Stops the proxy, and gives the folder with its store.
    fn stop(self) -> TempDir {
        self.process.terminate();
        let (status, log) = tokio::task::block_in_place(|| self.process.wait());
        assert!(status.success(), "{log}");
        self.folder
    }
}

fn write(folder: &TempDir, name: &str, text: &str) {
    std::fs::write(folder.path().join(name), text).expect("a writable folder");
}

/// A list of Ann and of four who never come, in days before today.
fn a_list() -> String {
    let seen = |ago: u64| {
        let at = i64::try_from(SystemClock.wall().0 - ago * DAY).expect("a time");
        jiff::Timestamp::from_second(at).expect("a time").to_string()
    };
    format!(
        "id,email,username,last_seen,value\r\n{},{},,{},10\r\n9001,bob@x.y,bob,{},20\r\n9002,cid@x.y,,{},30\r\n\
         9003,dan@x.y,,,\r\n9004,,\"=cmd|' /C calc'!A0\",{},\r\n",
        ann().id,
        ann().email,
        seen(1),
        seen(2),
        seen(200),
        seen(3),
    )
}

/// Stragglers and known users of a bucket, as `status --json` has them.
fn bucket(status: &Value, name: &str) -> (u64, u64) {
    let buckets = status["roster"]["buckets"].as_array().unwrap_or_else(|| panic!("no buckets in {status}"));
    let sums = buckets.iter().find(|sums| sums["bucket"] == name).expect("the bucket");
    let (left, over) = (sums["stragglers"].as_u64().expect("a number"), sums["over"].as_u64().expect("a number"));
    (left, left + over)
}

#[track_caller]
fn assert_said(finished: &Finished, code: i32, said: &[&str]) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    for part in said {
        assert!(finished.stdout.contains(part) || finished.stderr.contains(part), "`{part}` is not in {finished:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_gives_the_migration_its_denominator_and_a_login_moves_it() {
    let town = Town::start().await;
    write(&town.folder, "roster.csv", &a_list());
    assert_said(&town.run(&["status"]), 0, &["none yet"]);
    let imported = town.run(&["roster", "import", "roster.csv"]);
    assert_said(&imported, 0, &["csv", "created", "5"]);
    let told = "taken as email: email · username: username · id: id · last_seen: last_seen · value: value;";
    assert_said(&imported, 0, &[told]);
    assert!(!imported.stderr.contains("without a password"), "nobody in a list has one: {imported:?}");
    let status = town.status();
    assert_eq!((bucket(&status, "all"), bucket(&status, "30d"), bucket(&status, "365d")), ((5, 5), (3, 3), (4, 4)));
    assert_eq!(status["roster"]["listed"], 5);
    let shown = town.run(&["status"]);
    let denied = "3 of 3 users active in 90 days are not over, 5 of 5 in all:";
    assert_said(&shown, 0, &["0 of 5 known users", "active in 90 days", "unknown: it has been counted", denied]);
    assert!(shown.stdout.lines().all(|line| line.chars().count() <= 80), "{}", shown.stdout);

    town.log_ann_in().await;
    let status = town.status();
    assert_eq!((bucket(&status, "all"), bucket(&status, "30d")), ((4, 5), (2, 3)));
    assert_eq!(status["users"]["migrated"], 1);
    assert_said(&town.run(&["status"]), 0, &["1 of 5 known users", "2 of 3 users active in 90 days are not over"]);
    let metrics = send(town.process.admin(), "GET", "/metrics", &[], "").await.body;
    for line in [
        r#"authferry_known_users{side="over",last_seen="0-30d"} 1"#,
        r#"authferry_known_users{side="straggler",last_seen="91-365d"} 1"#,
        r#"authferry_known_value{side="straggler",last_seen="0-30d"} 20"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }

    let again = town.run(&["roster", "import", "roster.csv"]);
    assert_said(&again, 0, &["unchanged"]);
    assert!(!again.stderr.contains("imported already"), "a list may begin like the one before: {again:?}");
    assert_eq!(bucket(&town.status(), "all"), (4, 5), "she is not sent back");
    town.log_ann_in().await;
    let retired = town.run(&["mode", "set", "retired", "--confirm", "retired"]);
    assert_said(&retired, 0, &["2 of 3 users active in 90 days are not over, 4 of 5 in all: retiring denies them"]);
    assert!(!retired.stderr.contains("never logged in through"), "it is known who has not: {retired:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stragglers_are_written_with_and_without_a_proxy_and_what_was_written_is_read_back() {
    let town = Town::start().await;
    write(&town.folder, "roster.csv", &a_list());
    assert_said(&town.run(&["roster", "import", "roster.csv"]), 0, &["5"]);
    town.log_ann_in().await;
    let all = town.run(&["roster", "stragglers"]);
    assert_said(&all, 0, &["4 stragglers", "authferry_id,legacy_id", "'=cmd|' /C calc'!A0"]);
    assert_eq!(all.stdout.lines().count(), 5, "{all:?}");
    let first = all.stdout.lines().nth(1).expect("a row");
    assert!(first.contains("bob@x.y") && first.ends_with(",20"), "the last seen first: {first}");
    for (options, names) in [
        (&["--active-in", "30d"][..], &["bob@x.y", "calc"][..]),
        (&["--active-in", "365d", "--min-value", "25"], &["cid@x.y"]),
        (&["--never"], &["dan@x.y"]),
        (&["--older"], &[]),
    ] {
        let finished = town.run(&[&["roster", "stragglers", "--format", "jsonl"], options].concat());
        assert_said(&finished, 0, names);
        assert_eq!(finished.stdout.lines().count(), names.len(), "{options:?}: {finished:?}");
        assert!(finished.stdout.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{finished:?}");
    }
    assert_said(&town.run(&["roster", "stragglers", "--active-in", "7d"]), 2, &["30d, 90d, 365d"]);
    assert_said(&town.run(&["roster", "stragglers", "--active-in", "30d", "--never"]), 2, &["cannot be used with"]);

    let folder = town.stop();
    let written = run(folder.path(), &["roster", "stragglers", "--to", "left.csv"]);
    assert_said(&written, 0, &["opened directly", "4 stragglers in left.csv"]);
    let text = std::fs::read_to_string(folder.path().join("left.csv")).expect("the file");
    assert_eq!(text, all.stdout, "the same from the store itself");
    assert!(!text.contains("argon2") && !folder.path().join("left.csv.part").exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(folder.path().join("left.csv")).expect("the file").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let back = run(folder.path(), &["roster", "import", "left.csv"]);
    assert_said(&back, 0, &["unchanged", "4"]);
    assert_said(
        &run(folder.path(), &["roster", "stragglers", "--to", "no/such/folder.csv"]),
        1,
        &["cannot be written"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_on_a_complete_list_no_more_is_told_and_forgotten_only_on_request() {
    let town = Town::start().await;
    write(&town.folder, "first.csv", &a_list());
    assert_said(&town.run(&["roster", "import", "first.csv"]), 0, &["5"]);
    town.log_ann_in().await;
    write(&town.folder, "second.csv", "id,email\n9001,bob@x.y\n9005,eve@x.y\n");
    let told = town.run(&["roster", "import", "second.csv", "--complete"]);
    assert_said(
        &told,
        0,
        &["3 users known from earlier lists only are not in this one", "cid@x.y", "--forget-missing"],
    );
    assert!(!told.stderr.contains(&ann().email), "she has come over, whatever a list says: {told:?}");
    assert_eq!(bucket(&town.status(), "all"), (5, 6), "told is not forgotten");
    assert_said(&town.run(&["roster", "import", "second.csv", "--forget-missing"]), 2, &["--complete"]);
    // Who is in the list with a row that cannot be taken is not missing.
    write(&town.folder, "broken.csv", "id,email\n9001,bob@x.y\n9002,\" cid@x.y\"\n9005,eve@x.y\n");
    let broken = town.run(&["roster", "import", "broken.csv", "--complete", "--forget-missing"]);
    assert_said(&broken, 1, &["nobody is taken for missing", "rejected"]);
    assert_eq!(bucket(&town.status(), "all"), (5, 6), "and nobody is forgotten");
    let folder = town.stop();
    let scratch = run(folder.path(), &["roster", "import", "second.csv", "--complete", "--dry-run"]);
    assert_said(&scratch, 0, &["3 users known from earlier lists only", "nothing is written"]);
    let gone = run(folder.path(), &["roster", "import", "second.csv", "--complete", "--forget-missing"]);
    assert_said(&gone, 0, &["3 forgotten"]);
    assert!(!gone.stderr.contains("the others"), "there are none: {gone:?}");
    let left = run(folder.path(), &["roster", "stragglers"]);
    assert_said(&left, 0, &["bob@x.y", "eve@x.y", "2 stragglers"]);
    let again = run(folder.path(), &["roster", "import", "second.csv", "--complete", "--forget-missing"]);
    assert_said(&again, 0, &["everybody who is known from lists only is in this one"]);
    assert_said(&run(folder.path(), &["users", "show", &ann().id.to_string()]), 0, &["migrated"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_rows_are_rejected_one_by_one_and_nothing_of_a_hash_is_taken() {
    let folder = Town::start().await.stop();
    let list = "id,email,last_seen,value,password\n\
                1,ok@x.y,2026-01-02T03:04:05Z,5,$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\n\
                2,\u{202e}evil@x.y,,,\n\
                3,ok@x.y,,,\n\
                4,late@x.y,soon,,\n\
                5,rich@x.y,,minus one,\n\
                ,,,,\n\
                6,\"new\nline@x.y\",,,\n\
                7,fine@x.y,,18446744073709551615,\n";
    write(&folder, "list.csv", list);
    let imported = run(folder.path(), &["roster", "import", "list.csv", "--rejects", "rejects.csv"]);
    assert_said(&imported, 1, &["rejected", "6", "created", "2"]);
    let reasons = std::fs::read_to_string(folder.path().join("rejects.csv.reasons.jsonl")).expect("reasons");
    assert_eq!(reasons.lines().count(), 6, "{reasons}");
    assert!(reasons.contains("belongs to another user"), "{reasons}");
    let store = std::fs::read(folder.path().join("users.redb")).expect("the store");
    assert!(!store.windows(7).any(|bytes| bytes == b"$2b$10$"), "a list brings no hash");
    let status = run(folder.path(), &["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    assert_eq!((bucket(&status, "all"), &status["from"]), ((2, 2), &json!("store")));
    let sums = &status["roster"]["buckets"][5];
    assert_eq!(sums["straggler_value"], u64::MAX, "too much for a number is told as the largest: {sums}");
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_move_with_the_calendar_under_a_running_service() {
    let folder = TempDir::new().expect("a folder");
    let double = LegacyDouble::well_behaved();
    let rig = rig(&double, None, Kept::On(folder.path())).await;
    let store = Arc::clone(&rig.store);
    let now = rig.calendar.wall();
    let seen = |ago: u64| Some(UnixSeconds(now.0 - ago * DAY));
    let names = [email(&ann().email)];
    let rows =
        vec![row(Some(ann().id), &names, seen(20), Some(2)), row(Some(9001), &[email("bob@x.y")], seen(25), None)];
    list(&*store, rows).await;
    let sums = async || {
        let counts = store.roster().await.expect("counts");
        let today = Day::of(rig.calendar.wall());
        let of = |bucket| counts.of(bucket, today);
        (of(Bucket::Days30).stragglers, of(Bucket::Days90).stragglers, of(Bucket::Days90).over)
    };
    assert_eq!(sums().await, (2, 2, 0));
    rig.calendar.turn(Duration::from_secs(5 * DAY));
    assert_eq!(sums().await, (2, 2, 0), "the thirtieth day counts");
    rig.calendar.turn(Duration::from_secs(DAY));
    assert_eq!(sums().await, (1, 2, 0));
    assert_eq!(word(&rig.login(&ann().email, &ann().password).await), "ok");
    assert_eq!(sums().await, (0, 1, 1), "she came over, and was seen today");
    let pace = store.roster().await.expect("counts").pace;
    let today = Day::of(rig.calendar.wall());
    assert_eq!(pace.get(&today).copied(), Some(Pace { came_over: 1, came_over_active: 1, ..Pace::default() }));
    assert_eq!(pace.keys().next().copied(), Some(Day::of(now)), "counted since the list was read");
    rig.calendar.turn(Duration::from_secs(90 * DAY));
    assert_eq!(sums().await, (0, 0, 1), "he is older, she still counts");
}

//! The conformance suite that every store has to pass, and redb's turn at it.

#![allow(clippy::panic, reason = "that is how a test fails")]

use std::sync::Arc;

use authferry::domain::clock::{SystemClock, UnixSeconds};
use authferry::domain::mode::Mode;
use authferry::domain::user::{Origin, Standing, UserId, Version};
use authferry::service::ports::{
    Found, Inserted, Saved, StoreHealth, Updated, UserChange, UserCounts, UserPage, UserQuery, UserStore,
};
use authferry::store::{self, StoreSettings};
use authferry::telemetry::Metrics;
use futures_util::future::{join_all, poll_immediate};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use crate::store_people::*;

/// An empty store, and what it lies on.
type Fresh = (Arc<dyn UserStore>, TempDir);

fn redb() -> Fresh {
    let directory = TempDir::new().expect("a temporary directory");
    let settings = StoreSettings::without_keys(directory.path().join("users.redb"), 1 << 20);
    let store = store::open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("a new store");
    (store, directory)
}

/// Runs every case against a store, each with a fresh one.
macro_rules! conformance {
    ($store:ident: $($case:ident)*) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let (store, _place) = super::$store();
                    super::$case(Arc::clone(&store)).await;
                    super::assert_consistent(&store).await;
                }
            )*
            use std::sync::Arc;
        }
    };
}

conformance! { redb:
    an_empty_store_knows_nobody
    a_proven_user_is_found_by_all_his_names_and_ids
    a_user_renamed_at_legacy_is_updated_and_his_old_name_stays_his
    a_user_renamed_without_end_keeps_a_bounded_number_of_names
    r79_another_id_under_a_known_name_is_a_conflict_and_changes_nothing
    r44_a_name_of_another_user_is_a_conflict_and_merges_nobody
    r44_a_legacy_id_that_reads_as_our_own_id_of_another_user_is_a_conflict
    a_conflict_that_comes_up_again_is_one_conflict
    a_user_registered_at_both_adopts_the_id_that_legacy_proves
    a_user_whom_legacy_never_knew_is_not_taken_over
    r84_simultaneous_first_logins_make_one_record
    r86_a_save_based_on_an_older_state_loses
    a_save_for_a_disabled_or_deleted_user_is_refused
    a_tombstone_keeps_his_names_and_id_and_nothing_else
    a_tombstone_never_changes_again
    r86_a_change_based_on_another_version_is_refused
    every_change_does_what_it_says
    a_change_of_nobody_is_missing
    a_registration_under_any_taken_name_or_id_exists
    of_many_registrations_at_once_exactly_one_wins
    of_many_changes_at_once_exactly_one_wins
    a_text_that_means_two_users_is_ambiguous
    the_version_counts_changes_of_the_whole_store
    pages_show_everyone_once_in_the_order_of_keys
    pages_of_a_prefix_show_each_user_once_whatever_his_names
    a_cursor_of_nowhere_ends_the_listing
    the_mode_is_kept
    r91_a_caller_who_goes_away_leaves_a_whole_record_or_none
}

async fn an_empty_store_knows_nobody(store: Arc<dyn UserStore>) {
    assert_eq!(store.health(), StoreHealth::Ready);
    let lookup = store.find(&candidates("alice@x.y")).await.expect("a lookup");
    assert!(matches!(lookup.found, Found::Nobody));
    assert_eq!(lookup.revision, Version(0));
    assert!(store.find_public("7").await.expect("a lookup").is_none());
    assert!(store.find_public(&Uuid::nil().to_string()).await.expect("a lookup").is_none());
    assert_eq!(store.counts().await.expect("counts"), UserCounts::default());
    assert_eq!(store.mode().await.expect("a mode"), None);
    assert!(everyone(&*store, 10).await.is_empty());
}

async fn a_proven_user_is_found_by_all_his_names_and_ids(store: Arc<dyn UserStore>) {
    let names = [email("Alice@X.y"), username("alice"), phone("+49 151 12345")];
    let saved = store.save_proven(proven(7, &names, "one", Version(0))).await.expect("a save");
    let Saved::Created(migrated) = saved else { panic!("{saved:?}") };
    for typed in ["alice@x.y", "ALICE", "0049-49151", "+4915112345"] {
        let found = find(&*store, typed).await;
        if typed == "0049-49151" {
            assert!(found.is_none());
            continue;
        }
        let user = found.expect("one of his names");
        assert_eq!((user.id, user.version), (migrated.id(), migrated.version()));
        assert_eq!(hash_text(&user), Some("one"));
        assert_eq!(user.identifiers, names);
        assert_eq!(user.profile, json!({"id": 7, "proven_with": "one"}));
        assert_eq!((user.standing, user.origin), (Standing::Active, Origin::Migrated));
        assert_eq!((user.created_at, user.updated_at, user.legacy_vouched_at), (NOW, NOW, Some(NOW)));
        assert_eq!(user.public_id(), json!(7));
    }
    for id in ["7", &migrated.id().to_string()] {
        assert_eq!(store.find_public(id).await.expect("a lookup").map(|user| user.id), Some(migrated.id()));
    }
    let shouted = migrated.id().to_string().to_uppercase();
    assert!(store.find_public(&shouted).await.expect("a lookup").is_none(), "an id has one spelling");
    assert_eq!(store.counts().await.expect("counts"), UserCounts { migrated: 1, ..UserCounts::default() });
}

async fn a_user_renamed_at_legacy_is_updated_and_his_old_name_stays_his(store: Arc<dyn UserStore>) {
    let first = migrate(&*store, 7, &[email("old@x.y"), username("alice")], "one").await;
    let mut again = proven("7", &[email("new@x.y"), username("Alice")], "two", revision(&*store).await);
    again.at = UnixSeconds(NOW.0 + 60);
    let saved = store.save_proven(again).await.expect("a save");
    let Saved::Updated(second) = saved else { panic!("{saved:?}") };
    assert_eq!(first.id(), second.id());
    assert!(second.version() > first.version());
    for typed in ["old@x.y", "new@x.y", "alice"] {
        let user = find(&*store, typed).await.expect("every name he ever had");
        assert_eq!((user.id, hash_text(&user)), (first.id(), Some("two")));
        assert_eq!(
            user.identifiers,
            [email("new@x.y"), username("Alice"), email("old@x.y")],
            "today's names come first"
        );
        assert_eq!(user.profile, json!({"id": "7", "proven_with": "two"}));
        assert_eq!(user.public_id(), json!("7"), "in the type that legacy uses now");
        assert_eq!((user.created_at, user.legacy_vouched_at), (NOW, Some(UnixSeconds(NOW.0 + 60))));
    }
    let taken = store.insert_new(registering(&[email("old@x.y")], "thief")).await.expect("an insertion");
    assert!(matches!(taken, Inserted::Exists), "an old name is reserved");
}

async fn a_user_renamed_without_end_keeps_a_bounded_number_of_names(store: Arc<dyn UserStore>) {
    let bound = store::redb::MAX_ALIASES;
    for round in 0..bound + 3 {
        migrate(&*store, 7, &[username(&format!("name{round}"))], "one").await;
    }
    let user = find(&*store, &format!("name{}", bound + 2)).await.expect("his name of today");
    assert_eq!(user.identifiers.len(), bound);
    assert!(find(&*store, "name3").await.is_some());
    assert!(find(&*store, "name2").await.is_none(), "the oldest names are free again");
    register(&*store, registering(&[username("name2")], "two")).await;
}

async fn r79_another_id_under_a_known_name_is_a_conflict_and_changes_nothing(store: Arc<dyn UserStore>) {
    let alice = migrate(&*store, 7, &[email("alice@x.y")], "one").await;
    let names = [email("alice@x.y"), username("mallory")];
    let before = revision(&*store).await;
    let saved = store.save_proven(proven(8, &names, "two", before)).await.expect("a save");
    assert_eq!(saved, Saved::Conflict { with: alice.id() });
    let user = find(&*store, "alice@x.y").await.expect("Alice");
    assert_eq!((user.version, hash_text(&user)), (alice.version(), Some("one")));
    assert!(find(&*store, "mallory").await.is_none());
    assert!(store.find_public("8").await.expect("a lookup").is_none());
    assert_eq!(revision(&*store).await, before, "no record changed");
    assert_eq!(
        store.counts().await.expect("counts"),
        UserCounts { migrated: 1, conflicts: 1, ..UserCounts::default() }
    );
}

async fn r44_a_name_of_another_user_is_a_conflict_and_merges_nobody(store: Arc<dyn UserStore>) {
    let alice = migrate(&*store, 7, &[email("alice@x.y")], "one").await;
    let bob = migrate(&*store, 8, &[email("bob@x.y")], "two").await;
    let both = [email("bob@x.y"), email("alice@x.y")];
    let saved = store.save_proven(proven(8, &both, "three", revision(&*store).await)).await.expect("a save");
    assert_eq!(saved, Saved::Conflict { with: alice.id() });
    for (typed, id, password) in [("alice@x.y", alice.id(), "one"), ("bob@x.y", bob.id(), "two")] {
        let user = find(&*store, typed).await.expect("both stay");
        assert_eq!((user.id, hash_text(&user)), (id, Some(password)));
    }
}

async fn r44_a_legacy_id_that_reads_as_our_own_id_of_another_user_is_a_conflict(store: Arc<dyn UserStore>) {
    let user = register(&*store, registering(&[email("alice@x.y")], "one")).await;
    let chosen = json!(user.id.to_string());
    let based_on = revision(&*store).await;
    let saved =
        store.save_proven(proven(chosen.clone(), &[email("mallory@x.y")], "two", based_on)).await.expect("a save");
    assert_eq!(saved, Saved::Conflict { with: user.id });
    let new = at_both(&[email("mallory@x.y")], "two", Some(chosen));
    assert!(matches!(store.insert_new(new).await.expect("an insertion"), Inserted::Exists));
    let bearer = store.find_public(&user.id.to_string()).await.expect("a lookup");
    assert_eq!(bearer.map(|bearer| bearer.id), Some(user.id));
}

async fn a_conflict_that_comes_up_again_is_one_conflict(store: Arc<dyn UserStore>) {
    migrate(&*store, 7, &[email("alice@x.y")], "one").await;
    for (id, conflicts) in [(8, 1), (8, 1), (9, 2), (8, 2)] {
        let based_on = revision(&*store).await;
        let saved = store.save_proven(proven(id, &[email("alice@x.y")], "two", based_on)).await.expect("a save");
        assert!(matches!(saved, Saved::Conflict { .. }));
        assert_eq!(store.counts().await.expect("counts").conflicts, conflicts);
    }
}

async fn a_user_registered_at_both_adopts_the_id_that_legacy_proves(store: Arc<dyn UserStore>) {
    let names = [email("alice@x.y")];
    let user = register(&*store, at_both(&names, "one", None)).await;
    assert_eq!(user.legacy_vouched_at, Some(NOW));
    let saved = store.save_proven(proven(7, &names, "two", revision(&*store).await)).await.expect("a save");
    let Saved::Updated(migrated) = saved else { panic!("{saved:?}") };
    assert_eq!(migrated.id(), user.id);
    let user = store.find_public("7").await.expect("a lookup").expect("the adopted id");
    assert_eq!((user.id, user.origin, hash_text(&user)), (migrated.id(), Origin::Registered, Some("two")));

    let other = store.save_proven(proven(8, &names, "three", revision(&*store).await)).await.expect("a save");
    assert_eq!(other, Saved::Conflict { with: user.id }, "an id is adopted once");
    let known = register(&*store, at_both(&[email("bob@x.y")], "one", Some(json!(9)))).await;
    assert_eq!(store.find_public("9").await.expect("a lookup").map(|user| user.id), Some(known.id));
}

async fn a_user_whom_legacy_never_knew_is_not_taken_over(store: Arc<dyn UserStore>) {
    let user = register(&*store, registering(&[email("alice@x.y")], "one")).await;
    assert_eq!(user.legacy_vouched_at, None);
    let names = [email("alice@x.y")];
    let saved = store.save_proven(proven(7, &names, "two", revision(&*store).await)).await.expect("a save");
    assert_eq!(saved, Saved::Conflict { with: user.id });
    assert_eq!(find(&*store, "alice@x.y").await.as_ref().and_then(hash_text), Some("one"));
}

async fn r84_simultaneous_first_logins_make_one_record(store: Arc<dyn UserStore>) {
    let names = [email("alice@x.y"), username("alice")];
    let saves = join_all((0..50).map(|n| store.save_proven(proven(7, &names, &format!("p{n}"), Version(0))))).await;
    let (mut created, mut stale) = (0, 0);
    for saved in saves {
        match saved.expect("a save") {
            Saved::Created(_) => created += 1,
            Saved::Stale => stale += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((created, stale), (1, 49));
    assert_eq!(store.counts().await.expect("counts").total(), 1);
}

async fn r86_a_save_based_on_an_older_state_loses(store: Arc<dyn UserStore>) {
    let names = [email("alice@x.y")];
    let first = migrate(&*store, 7, &names, "one").await;
    let before_legacy_was_asked = revision(&*store).await;
    let changed = store.update(first.id(), first.version(), UserChange::SetPassword(hash("newer"))).await;
    assert!(matches!(changed.expect("a change"), Updated::Done(_)));
    let saved = store.save_proven(proven(7, &names, "older", before_legacy_was_asked)).await.expect("a save");
    assert_eq!(saved, Saved::Stale);
    assert_eq!(find(&*store, "alice@x.y").await.as_ref().and_then(hash_text), Some("newer"));
    // Somebody else's change in between is no reason to lose.
    let based_on = revision(&*store).await;
    migrate(&*store, 8, &[email("bob@x.y")], "one").await;
    let saved = store.save_proven(proven(7, &names, "newest", based_on)).await.expect("a save");
    assert!(matches!(saved, Saved::Updated(_)), "{saved:?}");
}

async fn a_save_for_a_disabled_or_deleted_user_is_refused(store: Arc<dyn UserStore>) {
    for (id, name, standing) in [(7, "alice", Standing::Disabled), (8, "bob", Standing::Deleted)] {
        let user = migrate(&*store, id, &[username(name)], "one").await;
        store.update(user.id(), user.version(), stand(standing)).await.expect("a change");
        let based_on = revision(&*store).await;
        let saved = store.save_proven(proven(id, &[username(name)], "two", based_on)).await.expect("a save");
        assert_eq!(saved, Saved::Closed, "{standing:?}");
        assert_eq!(find(&*store, name).await.map(|user| user.standing), Some(standing));
    }
    let counts = store.counts().await.expect("counts");
    assert_eq!(counts, UserCounts { migrated: 1, disabled: 1, deleted: 1, ..UserCounts::default() });
}

async fn a_tombstone_keeps_his_names_and_id_and_nothing_else(store: Arc<dyn UserStore>) {
    let user = migrate(&*store, 7, &[email("Alice@x.y"), username("Alice")], "one").await;
    let buried = store.update(user.id(), user.version(), stand(Standing::Deleted)).await.expect("a change");
    assert!(matches!(buried, Updated::Done(_)));
    let grave = find(&*store, "alice@x.y").await.expect("a tombstone");
    assert_eq!((grave.standing, hash_text(&grave), &grave.profile), (Standing::Deleted, None, &json!(null)));
    assert!(grave.identifiers.iter().all(|name| *name.value == *name.normalized.text() && name.verified.is_none()));
    assert_eq!(store.find_public("7").await.expect("a lookup").map(|user| user.standing), Some(Standing::Deleted));
    for new in [
        registering(&[email("ALICE@x.y")], "two"),
        registering(&[username("alice")], "two"),
        at_both(&[email("free@x.y")], "two", Some(json!(7))),
    ] {
        assert!(matches!(store.insert_new(new).await.expect("an insertion"), Inserted::Exists));
    }
    let based_on = revision(&*store).await;
    let saved = store.save_proven(proven(8, &[username("alice")], "two", based_on)).await.expect("a save");
    assert_eq!(saved, Saved::Conflict { with: user.id() });
}

async fn a_tombstone_never_changes_again(store: Arc<dyn UserStore>) {
    let user = migrate(&*store, 7, &[email("alice@x.y")], "one").await;
    let Updated::Done(grave) =
        store.update(user.id(), user.version(), stand(Standing::Deleted)).await.expect("a change")
    else {
        panic!("he was there");
    };
    for change in [
        UserChange::Rehash(hash("two")),
        UserChange::SetPassword(hash("two")),
        UserChange::DropPassword,
        UserChange::Vouched,
        stand(Standing::Active),
        stand(Standing::Disabled),
    ] {
        assert_eq!(store.update(grave.id(), grave.version(), change).await.expect("a change"), Updated::Missing);
    }
    let again = store.update(grave.id(), user.version(), stand(Standing::Deleted)).await.expect("a change");
    assert_eq!(again, Updated::Done(grave), "burying twice is what was asked for");
}

async fn r86_a_change_based_on_another_version_is_refused(store: Arc<dyn UserStore>) {
    let user = migrate(&*store, 7, &[email("alice@x.y")], "one").await;
    for wrong in [Version(0), Version(user.version().0 + 1)] {
        let updated = store.update(user.id(), wrong, UserChange::SetPassword(hash("two"))).await.expect("a change");
        assert_eq!(updated, Updated::Stale);
    }
    assert_eq!(find(&*store, "alice@x.y").await.as_ref().and_then(hash_text), Some("one"));
}

async fn every_change_does_what_it_says(store: Arc<dyn UserStore>) {
    let mut at = migrate(&*store, 7, &[email("alice@x.y")], "one").await;
    let none = UserCounts { migrated: 1, ..UserCounts::default() };
    for (change, password, standing, counts) in [
        (UserChange::Rehash(hash("two")), Some("two"), Standing::Active, none),
        (UserChange::SetPassword(hash("three")), Some("three"), Standing::Active, none),
        (stand(Standing::Disabled), Some("three"), Standing::Disabled, UserCounts { disabled: 1, ..none }),
        (stand(Standing::Active), Some("three"), Standing::Active, none),
        (UserChange::DropPassword, None, Standing::Active, UserCounts { without_password: 1, ..none }),
        (UserChange::Vouched, None, Standing::Active, UserCounts { without_password: 1, ..none }),
        (UserChange::SetPassword(hash("four")), Some("four"), Standing::Active, none),
        (stand(Standing::Deleted), None, Standing::Deleted, UserCounts { deleted: 1, ..UserCounts::default() }),
    ] {
        let updated = store.update(at.id(), at.version(), change).await.expect("a change");
        let Updated::Done(done) = updated else { panic!("{updated:?}") };
        assert!(done.version() > at.version());
        at = done;
        let user = find(&*store, "alice@x.y").await.expect("the user");
        assert_eq!((user.version, hash_text(&user), user.standing), (at.version(), password, standing));
        assert_eq!(store.counts().await.expect("counts"), counts);
    }
    let user = register(&*store, registering(&[email("bob@x.y")], "one")).await;
    store.update(user.id, user.version, UserChange::Vouched).await.expect("a change");
    let user = find(&*store, "bob@x.y").await.expect("the user");
    assert!(user.legacy_vouched_at.is_some() && user.updated_at > NOW, "by the store's own clock");
}

async fn a_change_of_nobody_is_missing(store: Arc<dyn UserStore>) {
    let nobody = UserId(Uuid::from_u128(1));
    assert_eq!(store.update(nobody, Version(0), UserChange::Vouched).await.expect("a change"), Updated::Missing);
}

async fn a_registration_under_any_taken_name_or_id_exists(store: Arc<dyn UserStore>) {
    migrate(&*store, 7, &[email("alice@x.y"), username("alice"), phone("+49 151 12345")], "one").await;
    let free = || email("free@x.y");
    let mut reserved = registering(&[free()], "two");
    reserved.must_be_free = vec![username("Alice").normalized];
    for new in [
        registering(&[email("ALICE@x.y")], "two"),
        registering(&[free(), username("alice")], "two"),
        registering(&[free(), phone("4915112345")], "two"),
        at_both(&[free()], "two", Some(json!("7"))),
        reserved,
    ] {
        assert!(matches!(store.insert_new(new).await.expect("an insertion"), Inserted::Exists));
    }
    assert!(find(&*store, "free@x.y").await.is_none(), "nothing of a refused registration stays");
    let user = register(&*store, registering(&[free()], "two")).await;
    assert_eq!((user.origin, user.public_id()), (Origin::Registered, json!(user.id.to_string())));
    assert_eq!(hash_text(&find(&*store, "free@x.y").await.expect("registered")), Some("two"));
}

async fn of_many_registrations_at_once_exactly_one_wins(store: Arc<dyn UserStore>) {
    for round in 0..5 {
        let shared = username(&format!("shared{round}"));
        let tasks = (0..40).map(|n| {
            let (store, shared) = (Arc::clone(&store), shared.clone());
            tokio::spawn(async move {
                let names = [email(&format!("own{round}-{n}@x.y")), shared];
                match store.insert_new(registering(&names, "one")).await.expect("an insertion") {
                    Inserted::Inserted(_, user) => Some(user.id),
                    Inserted::Exists => None,
                }
            })
        });
        let winners: Vec<UserId> =
            join_all(tasks).await.into_iter().filter_map(|joined| joined.expect("no panic")).collect();
        assert_eq!(winners.len(), 1);
        let holder = find(&*store, shared.normalized.text()).await.expect("the winner");
        assert_eq!([holder.id], *winners);
    }
    assert_eq!(store.counts().await.expect("counts").registered, 5);
}

async fn of_many_changes_at_once_exactly_one_wins(store: Arc<dyn UserStore>) {
    let user = migrate(&*store, 7, &[email("alice@x.y")], "one").await;
    let changes = (0..40).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            store.update(user.id(), user.version(), UserChange::SetPassword(hash(&format!("p{n}")))).await
        })
    });
    let outcomes: Vec<Updated> =
        join_all(changes).await.into_iter().map(|joined| joined.expect("no panic").expect("a change")).collect();
    let done = outcomes.iter().filter(|updated| matches!(updated, Updated::Done(_))).count();
    let stale = outcomes.iter().filter(|updated| matches!(updated, Updated::Stale)).count();
    assert_eq!((done, stale), (1, 39));
}

async fn a_text_that_means_two_users_is_ambiguous(store: Arc<dyn UserStore>) {
    migrate(&*store, 7, &[phone("4915112345")], "one").await;
    migrate(&*store, 8, &[username("4915112345")], "two").await;
    let lookup = store.find(&candidates("4915112345")).await.expect("a lookup");
    assert!(matches!(lookup.found, Found::Ambiguous));
    migrate(&*store, 10, &[username("alice@x.y")], "four").await;
    assert_eq!(find(&*store, "alice@x.y").await.map(|user| user.public_id()), Some(json!(10)));
    migrate(&*store, 11, &[email("alice@x.y")], "five").await;
    let owner = find(&*store, "alice@x.y").await.map(|user| user.public_id());
    assert_eq!(owner, Some(json!(11)), "whose address it is goes before who chose it for a name");
    migrate(&*store, 9, &[email("bob@x.y"), username("bob@x.y")], "three").await;
    assert!(find(&*store, "bob@x.y").await.is_some(), "two names of one user are no two users");
}

async fn the_version_counts_changes_of_the_whole_store(store: Arc<dyn UserStore>) {
    let alice = migrate(&*store, 7, &[email("alice@x.y")], "one").await;
    let bob = migrate(&*store, 8, &[email("bob@x.y")], "one").await;
    let again = migrate(&*store, 7, &[email("alice@x.y")], "two").await;
    assert_eq!([alice.version(), bob.version(), again.version()], [Version(1), Version(2), Version(3)]);
    assert_eq!(revision(&*store).await, Version(3));
    assert_eq!(find(&*store, "bob@x.y").await.map(|user| user.version), Some(Version(2)));
    store.set_mode(Mode::Observe).await.expect("a mode");
    assert_eq!(revision(&*store).await, Version(3), "a mode is no record");
}

async fn pages_show_everyone_once_in_the_order_of_keys(store: Arc<dyn UserStore>) {
    let saves = (0..57).map(|n| store.insert_new(registering(&[username(&format!("user{n}"))], "one")));
    for inserted in join_all(saves).await {
        assert!(matches!(inserted, Ok(Inserted::Inserted(..))));
    }
    for page in [1, 7, 19, 57, 1_000, usize::MAX] {
        let ids: Vec<UserId> = everyone(&*store, page).await.iter().map(|user| user.id).collect();
        assert_eq!(ids.len(), 57, "pages of {page}");
        assert!(ids.is_sorted_by(|a, b| a < b), "pages of {page}");
    }
    let none = store.list(UserQuery { limit: 0, ..UserQuery::default() }).await.expect("a page");
    assert_eq!((none.users.len(), none.next.is_some()), (1, true), "a page has at least one user");
}

async fn pages_of_a_prefix_show_each_user_once_whatever_his_names(store: Arc<dyn UserStore>) {
    for n in 0..20 {
        let names = [
            email(&format!("ann{n}@x.y")),
            username(&format!("ann{n}")),
            username(&format!("other{n}")),
            phone(&format!("49{n:05}")),
        ];
        migrate(&*store, n, &names, "one").await;
    }
    migrate(&*store, 100, &[username("Annette"), email("zoe@x.y")], "one").await;
    for (prefix, expected) in
        [("ann", 21), ("ann1", 11), ("ann1@x.y", 1), ("other", 20), ("4900", 20), ("zoe", 1), ("nobody", 0), ("", 21)]
    {
        for limit in [1, 3, 20, 1_000] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let query = UserQuery { prefix: Some(prefix.to_owned()), after: after.take(), limit };
                let UserPage { users, next } = store.list(query).await.expect("a page");
                assert!(users.len() <= limit);
                seen.extend(users.into_iter().map(|user| user.id));
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            let mut distinct = seen.clone();
            distinct.sort();
            distinct.dedup();
            assert_eq!((seen.len(), distinct.len()), (expected, expected), "{prefix:?} in pages of {limit}");
        }
    }
    let query = UserQuery { prefix: Some("ann1".to_owned()), after: None, limit: 3 };
    let users = store.list(query).await.expect("a page").users;
    let emails: Vec<&str> =
        users.iter().filter_map(|user| user.first(authferry::domain::identifier::IdentifierKind::Email)).collect();
    assert_eq!(emails, ["ann1@x.y", "ann10@x.y", "ann11@x.y"], "in the order of the first name: ann1, ann10, ann11");
}

async fn a_cursor_of_nowhere_ends_the_listing(store: Arc<dyn UserStore>) {
    migrate(&*store, 7, &[email("alice@x.y")], "one").await;
    for (prefix, after) in [(None, "nonsense"), (None, ""), (Some("alice"), "~"), (Some("alice"), "z:")] {
        let query = UserQuery { prefix: prefix.map(str::to_owned), after: Some(after.to_owned()), limit: 10 };
        let page = store.list(query).await.expect("a page");
        assert_eq!((page.users.len(), page.next), (0, None), "{prefix:?} {after:?}");
    }
}

async fn the_mode_is_kept(store: Arc<dyn UserStore>) {
    for mode in Mode::ALL {
        store.set_mode(mode).await.expect("a mode");
        assert_eq!(store.mode().await.expect("a mode"), Some(mode));
    }
}

async fn r91_a_caller_who_goes_away_leaves_a_whole_record_or_none(store: Arc<dyn UserStore>) {
    drop(store.save_proven(proven(7, &[email("never@x.y")], "one", Version(0))));
    for n in 0..20 {
        let names = [email(&format!("gone{n}@x.y")), username(&format!("gone{n}"))];
        let answered = poll_immediate(store.save_proven(proven(n + 10, &names, "one", Version(0)))).await;
        drop(answered);
    }
    // The writer takes one write after the other, so all of them are done once a later one is.
    migrate(&*store, 8, &[email("last@x.y")], "one").await;
    assert!(find(&*store, "never@x.y").await.is_none(), "nothing happens before the future is polled");
    for n in 0..20 {
        let user = find(&*store, &format!("gone{n}@x.y")).await.expect("asked for, so done");
        assert_eq!(find(&*store, &format!("gone{n}")).await.map(|other| other.id), Some(user.id));
    }
}

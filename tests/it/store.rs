//! The conformance suite that every store has to pass, and redb's turn at it.

#![allow(clippy::panic, reason = "that is how a test fails")]

use std::sync::Arc;

use authferry::domain::clock::{SystemClock, UnixSeconds};
use authferry::domain::conflict::{Decision, Resolution};
use authferry::domain::identifier::Identifier;
use authferry::domain::mode::Mode;
use authferry::domain::user::{Origin, Standing, UserId, Version};
use authferry::service::ports::{
    AfterRemoval, ConflictQuery, Found, Inserted, NotChanged, Resolved, Saved, StoreHealth, Updated, UserChange,
    UserCounts, UserPage, UserQuery, UserStore,
};
use authferry::store::{self, StoreSettings};
use authferry::telemetry::Metrics;
use futures_util::future::{join_all, poll_immediate};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use crate::roster::{
    a_cursor_of_no_straggler_ends_the_listing, a_list_adds_its_facts_to_who_has_come_over_and_nothing_else,
    a_list_wakes_no_tombstone_and_takes_nobodys_name,
    a_listed_user_who_was_deleted_and_came_back_is_still_the_one_that_legacy_knows,
    a_listed_user_without_an_id_adopts_the_one_that_legacy_proves, a_newer_list_brings_the_facts_up_to_date,
    listed_users_are_stragglers_of_their_day_until_they_come_over, only_who_is_known_from_lists_alone_is_forgotten,
    pages_of_stragglers_hold_each_of_a_bucket_once_the_last_seen_first, pages_stay_whole_while_users_come_over,
    who_cannot_log_in_anyway_is_no_straggler,
};
use crate::store_people::*;
use crate::support::memory_store::MemoryStore;

/// An empty store, and what it lies on.
type Fresh = (Arc<dyn UserStore>, TempDir);

fn redb() -> Fresh {
    let directory = TempDir::new().expect("a temporary directory");
    let settings = StoreSettings::without_keys(directory.path().join("users.redb"), 1 << 20);
    let store = store::open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("a new store");
    (store, directory)
}

fn memory() -> Fresh {
    (Arc::new(MemoryStore::default()), TempDir::new().expect("a temporary directory"))
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
    whoever_is_told_of_a_save_finds_it_at_once_while_others_save_too
    r86_a_save_based_on_an_older_state_loses
    a_save_for_a_disabled_or_deleted_user_is_refused
    a_tombstone_keeps_his_names_and_id_and_nothing_else
    a_tombstone_never_changes_again_by_itself
    a_deleted_user_comes_back_by_an_operators_word_without_a_password
    a_name_is_given_by_an_operator_unless_it_is_anybody_elses
    a_name_that_is_taken_away_stays_reserved_or_is_free
    a_name_that_is_reserved_comes_back_to_whom_legacy_proves_under_it
    the_last_name_stays_but_a_tombstone_may_lose_it
    r86_an_operators_change_based_on_another_version_is_refused
    a_conflict_that_is_kept_is_counted_no_more_and_stays_decided
    a_name_in_conflict_is_given_to_legacys_user_at_once_or_when_he_comes
    what_was_not_seen_in_a_conflict_is_not_given
    the_holder_of_a_name_in_conflict_is_disabled
    a_conflict_whose_name_is_freed_is_over
    conflicts_are_listed_the_newest_first_in_pages
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
    listed_users_are_stragglers_of_their_day_until_they_come_over
    a_list_adds_its_facts_to_who_has_come_over_and_nothing_else
    a_newer_list_brings_the_facts_up_to_date
    a_list_wakes_no_tombstone_and_takes_nobodys_name
    a_listed_user_without_an_id_adopts_the_one_that_legacy_proves
    a_listed_user_who_was_deleted_and_came_back_is_still_the_one_that_legacy_knows
    who_cannot_log_in_anyway_is_no_straggler
    pages_of_stragglers_hold_each_of_a_bucket_once_the_last_seen_first
    a_cursor_of_no_straggler_ends_the_listing
    pages_stay_whole_while_users_come_over
    only_who_is_known_from_lists_alone_is_forgotten
}

// The double that tests of everything above stand on; durability is not its business, nor is how names are listed.
conformance! { memory:
    a_proven_user_is_found_by_all_his_names_and_ids
    r79_another_id_under_a_known_name_is_a_conflict_and_changes_nothing
    a_conflict_that_comes_up_again_is_one_conflict
    a_deleted_user_comes_back_by_an_operators_word_without_a_password
    a_name_is_given_by_an_operator_unless_it_is_anybody_elses
    a_name_that_is_taken_away_stays_reserved_or_is_free
    a_name_that_is_reserved_comes_back_to_whom_legacy_proves_under_it
    the_last_name_stays_but_a_tombstone_may_lose_it
    r86_an_operators_change_based_on_another_version_is_refused
    a_conflict_that_is_kept_is_counted_no_more_and_stays_decided
    a_name_in_conflict_is_given_to_legacys_user_at_once_or_when_he_comes
    what_was_not_seen_in_a_conflict_is_not_given
    the_holder_of_a_name_in_conflict_is_disabled
    a_conflict_whose_name_is_freed_is_over
    conflicts_are_listed_the_newest_first_in_pages
    listed_users_are_stragglers_of_their_day_until_they_come_over
    a_list_adds_its_facts_to_who_has_come_over_and_nothing_else
    a_newer_list_brings_the_facts_up_to_date
    a_listed_user_without_an_id_adopts_the_one_that_legacy_proves
    a_listed_user_who_was_deleted_and_came_back_is_still_the_one_that_legacy_knows
    who_cannot_log_in_anyway_is_no_straggler
    pages_of_stragglers_hold_each_of_a_bucket_once_the_last_seen_first
    pages_stay_whole_while_users_come_over
    only_who_is_known_from_lists_alone_is_forgotten
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

async fn whoever_is_told_of_a_save_finds_it_at_once_while_others_save_too(store: Arc<dyn UserStore>) {
    let clients = (0..8_u64).map(|client| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for round in 0..20 {
                let number = client * 100 + round;
                let name = format!("u{number}@x.y");
                let saved = store.save_proven(proven(number, &[email(&name)], "p", Version(0))).await.expect("a save");
                let Saved::Created(proof) = saved else { panic!("{saved:?}") };
                let lookup = store.find(&candidates(&name)).await.expect("a lookup");
                let Found::One(user) = lookup.found else { panic!("{name} was saved and not found") };
                assert_eq!((user.id, user.version), (proof.id(), proof.version()));
                assert!(lookup.revision >= user.version, "what is held against a save is as new as what was seen");
            }
        })
    });
    for client in join_all(clients).await {
        client.expect("it found what it saved");
    }
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

async fn a_tombstone_never_changes_again_by_itself(store: Arc<dyn UserStore>) {
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

async fn version(store: &dyn UserStore, id: UserId) -> Version {
    store.user(id).await.expect("a lookup").expect("a user").version
}

/// Changes a record as it is now.
async fn change(store: &dyn UserStore, id: UserId, change: UserChange) -> Updated {
    store.update(id, version(store, id).await, change).await.expect("a change")
}

fn add(alias: Identifier) -> UserChange {
    let must_be_free = candidates(&alias.value).keys().to_vec();
    UserChange::AddAlias { alias, must_be_free }
}

fn remove(alias: &Identifier, then: AfterRemoval) -> UserChange {
    UserChange::RemoveAlias { name: alias.normalized.clone(), then }
}

async fn a_deleted_user_comes_back_by_an_operators_word_without_a_password(store: Arc<dyn UserStore>) {
    let user = migrate(&*store, 7, &[email("Alice@x.y")], "one").await;
    assert_eq!(change(&*store, user.id(), UserChange::Undelete).await, Updated::Refused(NotChanged::NotDeleted));
    change(&*store, user.id(), stand(Standing::Deleted)).await;
    let stale = store.update(user.id(), user.version(), UserChange::Undelete).await.expect("a change");
    assert_eq!(stale, Updated::Stale);
    assert!(matches!(change(&*store, user.id(), UserChange::Undelete).await, Updated::Done(_)));
    let back = find(&*store, "alice@x.y").await.expect("Alice");
    assert_eq!((back.standing, hash_text(&back), &back.profile), (Standing::Active, None, &json!(null)));
    assert_eq!((back.id, back.public_id(), back.origin), (user.id(), json!(7), Origin::Migrated));
    let counts = UserCounts { migrated: 1, without_password: 1, ..UserCounts::default() };
    assert_eq!(store.counts().await.expect("counts"), counts);
    let saved = store.save_proven(proven(7, &[email("Alice@x.y")], "two", revision(&*store).await)).await;
    assert!(matches!(saved.expect("a save"), Saved::Updated(_)), "legacy may prove him again");
    assert_eq!(find(&*store, "alice@x.y").await.as_ref().and_then(hash_text), Some("two"));
}

async fn a_name_is_given_by_an_operator_unless_it_is_anybody_elses(store: Arc<dyn UserStore>) {
    let alice = migrate(&*store, 7, &[email("alice@x.y")], "one").await;
    let bob = migrate(&*store, 8, &[email("bob@x.y"), phone("+49 151 12345")], "two").await;
    assert!(matches!(change(&*store, alice.id(), add(username("Countess"))).await, Updated::Done(_)));
    let found = find(&*store, "countess").await.expect("Alice");
    assert_eq!((found.id, hash_text(&found), found.identifiers.len()), (alice.id(), Some("one"), 2));
    assert_eq!(found.identifiers[1], username("Countess"), "as it was written, and verified by nobody");
    let refused = |why| Updated::Refused(why);
    assert_eq!(change(&*store, alice.id(), add(username("COUNTESS"))).await, refused(NotChanged::AlreadyHis));
    let taken = refused(NotChanged::NameTaken { by: bob.id() });
    for name in [email("BOB@x.y"), username("bob@x.y"), phone("0049 151 12345"), username("+49 151 12345")] {
        // A phone number with other digits is another one.
        let expected = if *name.value == *"0049 151 12345" { None } else { Some(taken) };
        match expected {
            Some(expected) => assert_eq!(change(&*store, alice.id(), add(name.clone())).await, expected, "{name:?}"),
            None => assert!(matches!(change(&*store, alice.id(), add(name)).await, Updated::Done(_))),
        }
    }
    change(&*store, bob.id(), stand(Standing::Deleted)).await;
    assert_eq!(change(&*store, alice.id(), add(email("bob@x.y"))).await, taken, "a tombstone keeps its names");
    assert_eq!(change(&*store, bob.id(), add(email("new@x.y"))).await, Updated::Missing);
    let bound = store::redb::MAX_ALIASES;
    for number in find(&*store, "alice@x.y").await.expect("Alice").identifiers.len()..bound {
        let added = change(&*store, alice.id(), add(username(&format!("alice{number}")))).await;
        assert!(matches!(added, Updated::Done(_)), "{number}");
    }
    let one_more = change(&*store, alice.id(), add(username("one-more"))).await;
    assert_eq!(one_more, refused(NotChanged::TooManyNames));
    assert!(find(&*store, "one-more").await.is_none());
}

async fn a_name_that_is_taken_away_stays_reserved_or_is_free(store: Arc<dyn UserStore>) {
    let names = [email("alice@x.y"), username("alice"), username("lovelace")];
    let alice = migrate(&*store, 7, &names, "one").await;
    let bob = migrate(&*store, 8, &[email("bob@x.y")], "two").await;
    let [_, reserved, free] = &names;
    assert!(matches!(change(&*store, alice.id(), remove(reserved, AfterRemoval::Reserved)).await, Updated::Done(_)));
    assert!(matches!(change(&*store, alice.id(), remove(free, AfterRemoval::Free)).await, Updated::Done(_)));
    for gone in ["alice", "lovelace"] {
        assert!(find(&*store, gone).await.is_none(), "{gone}");
    }
    let keys = [reserved.normalized.clone(), free.normalized.clone(), names[0].normalized.clone()];
    let holders = store.holders(&keys).await.expect("a lookup");
    let told: Vec<_> = holders.iter().map(|holder| holder.map(|holder| (holder.id, holder.bears))).collect();
    assert_eq!(told, [Some((alice.id(), false)), None, Some((alice.id(), true))]);
    let query = UserQuery { prefix: Some("alic".to_owned()), after: None, limit: 10, ..UserQuery::default() };
    let listed = store.list(query).await.expect("a page").users;
    assert_eq!(listed.len(), 1, "by her email alone");

    // Nobody else gets what is reserved, by none of the ways to a name.
    let taken = Updated::Refused(NotChanged::NameTaken { by: alice.id() });
    assert_eq!(change(&*store, bob.id(), add(reserved.clone())).await, taken);
    let new = store.insert_new(registering(std::slice::from_ref(reserved), "three")).await.expect("an insertion");
    assert!(matches!(new, Inserted::Exists));
    let saved = store.save_proven(proven(9, &[username("alice")], "three", revision(&*store).await)).await;
    assert_eq!(saved.expect("a save"), Saved::Conflict { with: alice.id() });
    assert!(matches!(change(&*store, bob.id(), add(free.clone())).await, Updated::Done(_)));
    assert_eq!(find(&*store, "lovelace").await.map(|user| user.id), Some(bob.id()));

    // She may have it again; and who holds it can let go of it later.
    let not_hers = Updated::Refused(NotChanged::NotHis);
    assert_eq!(change(&*store, alice.id(), remove(reserved, AfterRemoval::Reserved)).await, not_hers);
    assert_eq!(change(&*store, alice.id(), remove(free, AfterRemoval::Free)).await, not_hers, "it is Bob's now");
    assert!(matches!(change(&*store, alice.id(), add(reserved.clone())).await, Updated::Done(_)));
    assert_eq!(find(&*store, "alice").await.map(|user| user.id), Some(alice.id()));
    change(&*store, alice.id(), remove(reserved, AfterRemoval::Reserved)).await;
    assert!(matches!(change(&*store, alice.id(), remove(reserved, AfterRemoval::Free)).await, Updated::Done(_)));
    assert!(matches!(change(&*store, bob.id(), add(reserved.clone())).await, Updated::Done(_)));
}

async fn a_name_that_is_reserved_comes_back_to_whom_legacy_proves_under_it(store: Arc<dyn UserStore>) {
    let names = [email("alice@x.y"), username("alice")];
    let alice = migrate(&*store, 7, &names, "one").await;
    change(&*store, alice.id(), remove(&names[0], AfterRemoval::Reserved)).await;
    migrate(&*store, 7, &names, "two").await;
    let found = find(&*store, "alice@x.y").await.expect("Alice");
    assert_eq!((found.id, found.identifiers.len()), (alice.id(), 2));
}

async fn the_last_name_stays_but_a_tombstone_may_lose_it(store: Arc<dyn UserStore>) {
    let name = email("alice@x.y");
    let alice = migrate(&*store, 7, std::slice::from_ref(&name), "one").await;
    for then in [AfterRemoval::Reserved, AfterRemoval::Free] {
        let refused = Updated::Refused(NotChanged::LastName);
        assert_eq!(change(&*store, alice.id(), remove(&name, then)).await, refused);
        change(&*store, alice.id(), stand(Standing::Disabled)).await;
        assert_eq!(change(&*store, alice.id(), remove(&name, then)).await, refused);
    }
    change(&*store, alice.id(), stand(Standing::Deleted)).await;
    assert!(matches!(change(&*store, alice.id(), remove(&name, AfterRemoval::Free)).await, Updated::Done(_)));
    let new = register(&*store, registering(std::slice::from_ref(&name), "two")).await;
    assert_eq!(find(&*store, "alice@x.y").await.map(|user| user.id), Some(new.id));
    let grave = store.find_public("7").await.expect("a lookup").expect("the tombstone");
    assert_eq!((grave.standing, grave.identifiers.len()), (Standing::Deleted, 0), "his id stays reserved");
}

async fn r86_an_operators_change_based_on_another_version_is_refused(store: Arc<dyn UserStore>) {
    let names = [email("alice@x.y"), username("alice")];
    let alice = migrate(&*store, 7, &names, "one").await;
    let seen = alice.version();
    let later = migrate(&*store, 7, &names, "two").await;
    for change in [
        stand(Standing::Disabled),
        UserChange::DropPassword,
        add(username("countess")),
        remove(&names[0], AfterRemoval::Free),
    ] {
        assert_eq!(store.update(alice.id(), seen, change).await.expect("a change"), Updated::Stale);
    }
    let found = find(&*store, "alice@x.y").await.expect("Alice");
    assert_eq!((found.version, hash_text(&found), found.identifiers.len()), (later.version(), Some("two"), 2));
}

/// Alice holds two names; legacy says that one of them, or both, are its user 8's, who calls himself Mallory too.
async fn in_conflict(store: &dyn UserStore) -> (UserId, u64) {
    let alice = migrate(store, 7, &[email("alice@x.y"), username("alice")], "one").await;
    let names = [email("alice@x.y"), username("mallory")];
    let saved = store.save_proven(proven(8, &names, "two", revision(store).await)).await.expect("a save");
    assert_eq!(saved, Saved::Conflict { with: alice.id() });
    let open = store.conflicts(ConflictQuery { limit: 10, ..ConflictQuery::default() }).await.expect("conflicts");
    (alice.id(), open[0].number)
}

async fn a_conflict_that_is_kept_is_counted_no_more_and_stays_decided(store: Arc<dyn UserStore>) {
    let (alice, number) = in_conflict(&*store).await;
    let before = version(&*store, alice).await;
    assert_eq!(store.resolve(number + 1, Resolution::Keep).await.expect("a choice"), Resolved::Missing);
    for _again in 0..2 {
        let done = store.resolve(number, Resolution::Keep).await.expect("a choice");
        assert_eq!(done, Resolved::Done { given_to: None });
        assert_eq!(store.counts().await.expect("counts").conflicts, 0);
    }
    assert_eq!(version(&*store, alice).await, before, "no record changed");
    let saved = store.save_proven(proven(8, &[email("alice@x.y")], "two", revision(&*store).await)).await;
    assert_eq!(
        saved.expect("a save"),
        Saved::Settled { with: alice },
        "she still holds it, and nobody has to look again"
    );
    assert_eq!(store.counts().await.expect("counts").conflicts, 0, "decided is decided");
    let open = ConflictQuery { limit: 10, ..ConflictQuery::default() };
    assert!(store.conflicts(open).await.expect("conflicts").is_empty());
    let all = store.conflicts(ConflictQuery { decided_too: true, ..open }).await.expect("conflicts");
    let told: Vec<_> = all.iter().map(|c| (c.number, c.times, c.decided.map(|decided| decided.decision))).collect();
    assert_eq!(told, [(number, 2, Some(Decision::Kept))]);
    assert_eq!(store.conflict(number).await.expect("a conflict").as_ref(), all.first());
}

async fn a_name_in_conflict_is_given_to_legacys_user_at_once_or_when_he_comes(store: Arc<dyn UserStore>) {
    let (alice, number) = in_conflict(&*store).await;
    let give = || Resolution::Give(vec![email("alice@x.y").normalized]);
    assert_eq!(store.resolve(number, give()).await.expect("a choice"), Resolved::Done { given_to: None });
    assert_eq!(store.counts().await.expect("counts").conflicts, 0);
    let decision = async |number| store.conflict(number).await.expect("a lookup").and_then(|told| told.decided);
    assert_eq!(decision(number).await.map(|decided| decided.decision), Some(Decision::Given), "it is remembered");
    assert!(find(&*store, "alice@x.y").await.is_none(), "it waits for him");
    for late in [Resolution::Keep, Resolution::DisableHolder, give()] {
        let refused = store.resolve(number, late).await.expect("a choice");
        assert_eq!(refused, Resolved::Refused(NotChanged::GivenAlready));
    }
    assert_eq!(find(&*store, "alice").await.map(|user| user.standing), Some(Standing::Active));
    assert_eq!(find(&*store, "alice").await.map(|user| user.id), Some(alice));
    let names = [email("alice@x.y"), username("mallory")];
    let mallory = migrate(&*store, 8, &names, "two").await;
    assert_eq!(find(&*store, "alice@x.y").await.map(|user| user.id), Some(mallory.id()));

    // Somebody who is here already gets it at once.
    let names = [username("alice"), username("mallory")];
    let saved = store.save_proven(proven(8, &names, "three", revision(&*store).await)).await.expect("a save");
    assert_eq!(saved, Saved::Conflict { with: alice }, "under another name it is undecided again");
    assert_eq!((decision(number).await, store.counts().await.expect("counts").conflicts), (None, 1));
    let give = Resolution::Give(vec![username("alice").normalized]);
    let last = store.resolve(number, give.clone()).await.expect("a choice");
    assert_eq!(last, Resolved::Refused(NotChanged::LastName), "Alice has no other");
    change(&*store, alice, add(email("ada@x.y"))).await;
    let given = store.resolve(number, give).await.expect("a choice");
    assert_eq!(given, Resolved::Done { given_to: Some(mallory.id()) });
    assert_eq!(find(&*store, "alice").await.map(|user| user.id), Some(mallory.id()));
    assert_eq!(find(&*store, "ada@x.y").await.map(|user| user.id), Some(alice));
    let all = ConflictQuery { limit: 9, decided_too: true, ..ConflictQuery::default() };
    let all = store.conflicts(all).await.expect("conflicts");
    let told: Vec<_> = all.iter().map(|told| (told.number, told.names.len(), told.times)).collect();
    assert_eq!(told, [(number, 1, 2)], "of the names, the one that was given");
    assert_eq!(store.counts().await.expect("counts").conflicts, 0);
}

async fn what_was_not_seen_in_a_conflict_is_not_given(store: Arc<dyn UserStore>) {
    let (alice, number) = in_conflict(&*store).await;
    let not_his = Resolved::Refused(NotChanged::NotHis);
    for names in [
        vec![],
        vec![username("alice").normalized],
        vec![username("mallory").normalized],
        vec![email("alice@x.y").normalized, username("alice").normalized],
    ] {
        assert_eq!(store.resolve(number, Resolution::Give(names)).await.expect("a choice"), not_his);
    }
    assert_eq!(find(&*store, "alice@x.y").await.map(|user| user.id), Some(alice));
    assert_eq!(store.counts().await.expect("counts").conflicts, 1);
}

async fn the_holder_of_a_name_in_conflict_is_disabled(store: Arc<dyn UserStore>) {
    let (alice, number) = in_conflict(&*store).await;
    let done = store.resolve(number, Resolution::DisableHolder).await.expect("a choice");
    assert_eq!(done, Resolved::Done { given_to: None });
    let found = find(&*store, "alice@x.y").await.expect("Alice");
    assert_eq!((found.id, found.standing, hash_text(&found)), (alice, Standing::Disabled, Some("one")));
    let counts = UserCounts { migrated: 1, disabled: 1, ..UserCounts::default() };
    assert_eq!(store.counts().await.expect("counts"), counts);
    let decided = store.conflict(number).await.expect("a lookup").and_then(|conflict| conflict.decided);
    assert_eq!(decided.map(|decided| decided.decision), Some(Decision::HolderDisabled));
    // Who is deleted needs no disabling.
    change(&*store, alice, stand(Standing::Deleted)).await;
    store.resolve(number, Resolution::DisableHolder).await.expect("a choice");
    assert_eq!(find(&*store, "alice@x.y").await.map(|user| user.standing), Some(Standing::Deleted));
    // His names are given all the same.
    let give = Resolution::Give(vec![email("alice@x.y").normalized]);
    assert_eq!(store.resolve(number, give).await.expect("a choice"), Resolved::Done { given_to: None });
    migrate(&*store, 8, &[email("alice@x.y")], "two").await;
}

async fn a_conflict_whose_name_is_freed_is_over(store: Arc<dyn UserStore>) {
    let (alice, number) = in_conflict(&*store).await;
    change(&*store, alice, remove(&email("alice@x.y"), AfterRemoval::Reserved)).await;
    assert!(store.conflict(number).await.expect("a lookup").is_some(), "a reserved name is still kept from him");
    change(&*store, alice, remove(&email("alice@x.y"), AfterRemoval::Free)).await;
    assert!(store.conflict(number).await.expect("a lookup").is_none());
    assert_eq!(store.counts().await.expect("counts").conflicts, 0);
    migrate(&*store, 8, &[email("alice@x.y"), username("mallory")], "two").await;
}

async fn conflicts_are_listed_the_newest_first_in_pages(store: Arc<dyn UserStore>) {
    let alice = migrate(&*store, 7, &[email("alice@x.y")], "one").await;
    let bob = migrate(&*store, 8, &[email("bob@x.y")], "one").await;
    for (id, name) in [(10, "alice@x.y"), (11, "bob@x.y"), (12, "alice@x.y"), (13, "alice@x.y")] {
        let saved = store.save_proven(proven(id, &[email(name)], "two", revision(&*store).await)).await;
        assert!(matches!(saved.expect("a save"), Saved::Conflict { .. }));
    }
    let legacy_ids = async |query| {
        let conflicts = store.conflicts(query).await.expect("conflicts");
        conflicts.iter().map(|conflict| conflict.legacy_id.to_string()).collect::<Vec<_>>()
    };
    let all = ConflictQuery { limit: 10, ..ConflictQuery::default() };
    assert_eq!(legacy_ids(all).await, ["13", "12", "11", "10"]);
    assert_eq!(legacy_ids(ConflictQuery { with: Some(bob.id()), ..all }).await, ["11"]);
    assert_eq!(legacy_ids(ConflictQuery { with: Some(alice.id()), limit: 2, ..all }).await, ["13", "12"]);
    let second = store.conflicts(ConflictQuery { limit: 2, ..all }).await.expect("a page")[1].number;
    assert_eq!(legacy_ids(ConflictQuery { before: Some(second), ..all }).await, ["11", "10"]);
    store.resolve(second, Resolution::Keep).await.expect("a choice");
    assert_eq!(legacy_ids(all).await, ["13", "11", "10"]);
    assert_eq!(legacy_ids(ConflictQuery { decided_too: true, ..all }).await.len(), 4);
    assert_eq!(store.counts().await.expect("counts").conflicts, 3);
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
                let query =
                    UserQuery { prefix: Some(prefix.to_owned()), after: after.take(), limit, ..UserQuery::default() };
                let UserPage { users, next, .. } = store.list(query).await.expect("a page");
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
    let query = UserQuery { prefix: Some("ann1".to_owned()), after: None, limit: 3, ..UserQuery::default() };
    let users = store.list(query).await.expect("a page").users;
    let emails: Vec<&str> =
        users.iter().filter_map(|user| user.first(authferry::domain::identifier::IdentifierKind::Email)).collect();
    assert_eq!(emails, ["ann1@x.y", "ann10@x.y", "ann11@x.y"], "in the order of the identifier");
}

async fn a_cursor_of_nowhere_ends_the_listing(store: Arc<dyn UserStore>) {
    migrate(&*store, 7, &[email("alice@x.y")], "one").await;
    for (prefix, after) in [(None, "nonsense"), (None, ""), (Some("alice"), "~"), (Some("alice"), "z:")] {
        let query = UserQuery {
            prefix: prefix.map(str::to_owned),
            after: Some(after.to_owned()),
            limit: 10,
            ..UserQuery::default()
        };
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

//! Listings by prefix against the simplest model there is, and what a page costs.

use std::collections::{BTreeMap, BTreeSet};

use ::redb::backends::InMemoryBackend;
use ::redb::{Builder, Database, ReadableDatabase as _};
use proptest::prelude::*;
use serde_json::json;

use super::super::record::Codec;
use super::super::schema::{Tables, View as _, initialise};
use super::super::writer::begin;
use super::*;
use crate::domain::clock::UnixSeconds;
use crate::domain::credential::{AbsentBecause, Credential};
use crate::domain::identifier::{Identifier, IdentifierRules};
use crate::domain::user::{Origin, Standing, Version};

type Names = Vec<(IdentifierKind, String)>;

fn id(number: usize) -> UserId {
    UserId(Uuid::from_u128(number as u128))
}

/// A store with these users; a name that is taken is left out.
fn store(users: &[Names]) -> (Database, Vec<Vec<Identifier>>) {
    let database = Builder::new().create_with_backend(InMemoryBackend::new()).expect("a database");
    let transaction = begin(Some(&database)).expect("a transaction");
    initialise(&transaction).expect("made");
    let mut kept = Vec::new();
    {
        let mut tables = Tables::of(&transaction, &Codec::default()).expect("tables");
        let mut taken = BTreeSet::new();
        for (number, names) in users.iter().enumerate() {
            let rules = IdentifierRules::default();
            let identifiers: Vec<Identifier> = names
                .iter()
                .filter_map(|(kind, name)| rules.identifier(*kind, name, None).ok())
                .filter(|name| taken.insert(name.normalized.as_key().to_owned()))
                .collect();
            let user = User {
                id: id(number),
                legacy_id: None,
                identifiers: identifiers.clone(),
                profile: json!({}),
                credential: Credential::Absent(AbsentBecause::Roster),
                standing: Standing::Active,
                origin: Origin::Roster,
                created_at: UnixSeconds(1),
                updated_at: UnixSeconds(1),
                legacy_vouched_at: None,
                roster: None,
                normalization_version: 1,
                version: Version(1),
            };
            let bytes = tables.users.encode(&user).expect("small enough");
            tables.users.insert(user.id.0.as_bytes(), bytes.as_slice()).expect("written");
            for name in &identifiers {
                tables.aliases.insert(name.normalized.as_key(), user.id.0.as_bytes()).expect("written");
            }
            kept.push(identifiers);
        }
    }
    transaction.commit().expect("committed");
    (database, kept)
}

fn snapshot(database: &Database) -> Snapshot {
    Snapshot::of(&database.begin_read().expect("a transaction"), &Codec::default()).expect("a snapshot")
}

/// Every page of a listing, and how many names were looked at for the dearest one.
fn walk(snapshot: &Snapshot, prefix: &str, limit: usize) -> (Vec<Vec<UserId>>, usize) {
    let (mut pages, mut after, mut dearest) = (Vec::new(), None, 0);
    loop {
        let (page, scanned) = page_of_names(snapshot, prefix, after, limit).expect("a page");
        dearest = dearest.max(scanned);
        pages.push(page.users.iter().map(|user| user.id).collect());
        match page.next {
            Some(next) => after = Some(Name::of_key(&next).expect("a cursor of ours")),
            None => return (pages, dearest),
        }
        assert!(pages.len() < 10_000, "it comes to an end");
    }
}

#[test]
fn a_page_costs_what_it_shows_whatever_the_size_of_the_store() {
    let user = |number: usize| {
        let (email, name) = (format!("a{number:06}@example.com"), format!("a{number:06}"));
        vec![(IdentifierKind::Email, email), (IdentifierKind::Username, name)]
    };
    for size in [100, 5_000] {
        let (database, _) = store(&(0..size).map(user).collect::<Vec<_>>());
        let (pages, dearest) = walk(&snapshot(&database), "a", 10);
        assert_eq!(pages.concat(), (0..size).map(id).collect::<Vec<_>>());
        assert!(pages.iter().rev().skip(1).all(|page| page.len() == 10), "every page but the last is full");
        assert!(dearest <= 2 * 10 + 1, "{dearest} names for ten users with two each");
    }
}

#[test]
fn a_cursor_that_is_none_of_ours_ends_the_listing() {
    let (database, _) = store(&[vec![(IdentifierKind::Username, "ann".to_owned())]]);
    let page = list_prefix(&snapshot(&database), "a", Some("nonsense"), 10).expect("a page");
    assert!(page.users.is_empty() && page.next.is_none());
}

fn name() -> impl Strategy<Value = (IdentifierKind, String)> {
    let kind = prop_oneof![Just(IdentifierKind::Email), Just(IdentifierKind::Username), Just(IdentifierKind::Phone)];
    (kind, "[ab12\u{e9}]{1,4}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_listing_shows_each_user_once_under_his_first_name_in_pages_of_any_size(
        users in proptest::collection::vec(proptest::collection::vec(name(), 1..5), 0..40),
        prefix in "[ab1\u{e9}]{1,2}", limit in 1_usize..8
    ) {
        let (database, kept) = store(&users);
        let mut expected = BTreeMap::new();
        for (number, names) in kept.iter().enumerate() {
            let names = names.iter().map(|name| (name.normalized.text().to_owned(), name.normalized.kind()));
            if let Some(first) = names.filter(|(text, _)| text.starts_with(&prefix)).min() {
                expected.insert(first, id(number));
            }
        }
        let (pages, _dearest) = walk(&snapshot(&database), &prefix, limit);
        prop_assert_eq!(pages.concat(), expected.into_values().collect::<Vec<_>>());
        prop_assert!(pages.iter().all(|page| page.len() <= limit));
        prop_assert!(pages.iter().rev().skip(1).all(|page| page.len() == limit));
    }
}

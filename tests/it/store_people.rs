//! Users, names and hashes for the tests of stores, and the questions that they ask again and again.

#![allow(clippy::panic, reason = "that is how a test fails")]

use std::sync::Arc;

use authferry::domain::clock::UnixSeconds;
use authferry::domain::credential::{Credential, StoredHash};
use authferry::domain::identifier::{Candidates, Identifier, IdentifierKind, IdentifierRules, RawIdentifier};
use authferry::domain::password::PasswordNormalization;
use authferry::domain::proof::{FreshHash, LegacyAccepted, LegacyIdentity, Migrated, ToldBy};
use authferry::domain::roster::{Bucket, Day};
use authferry::domain::user::{LegacyId, Origin, Standing, User, Version};
use authferry::service::ports::{
    Found, Inserted, LegacySide, NewUser, ProvenUser, Saved, UserChange, UserCounts, UserQuery, UserStore,
};
use serde_json::{Value, json};

/// Any time at all.
pub(crate) const NOW: UnixSeconds = UnixSeconds(1_790_000_000);

pub(crate) fn email(value: &str) -> Identifier {
    IdentifierRules::default().identifier(IdentifierKind::Email, value, Some(true)).expect("an email")
}

pub(crate) fn username(value: &str) -> Identifier {
    IdentifierRules::default().identifier(IdentifierKind::Username, value, None).expect("a username")
}

pub(crate) fn phone(value: &str) -> Identifier {
    IdentifierRules::default().identifier(IdentifierKind::Phone, value, None).expect("a phone number")
}

pub(crate) fn candidates(typed: &str) -> Candidates {
    IdentifierRules::default().candidates(&RawIdentifier::new(typed).expect("an identifier"))
}

/// A hash that can be told from every other by its text; no test here verifies it.
pub(crate) fn hash(text: &str) -> FreshHash {
    let encoded = format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA${text}");
    FreshHash::assert_by_hasher(StoredHash::new(encoded, PasswordNormalization::None))
}

/// The text that [`hash`] was made with.
pub(crate) fn hash_text(user: &User) -> Option<&str> {
    match &user.credential {
        Credential::Argon2id(hash) | Credential::Imported(hash) => hash.expose().rsplit('$').next(),
        Credential::Absent(_) => None,
    }
}

pub(crate) fn legacy_id(id: &Value) -> LegacyId {
    LegacyId::from_json(id).expect("a stable id")
}

/// Somebody whom legacy proved.
pub(crate) fn proven(id: impl Into<Value>, names: &[Identifier], password: &str, based_on: Version) -> ProvenUser {
    let id = id.into();
    ProvenUser {
        accepted: LegacyAccepted::assert_by_connector(LegacyIdentity {
            id: legacy_id(&id),
            identifiers: names.to_vec(),
            profile: json!({"id": id, "proven_with": password}),
            told_by: ToldBy::Owner,
        }),
        hash: hash(password),
        origin: Origin::Migrated,
        asked: names.iter().map(|name| name.normalized.clone()).collect(),
        based_on,
        at: NOW,
    }
}

/// Somebody who registers.
pub(crate) fn registering(names: &[Identifier], password: &str) -> NewUser {
    NewUser {
        identifiers: names.to_vec(),
        must_be_free: Vec::new(),
        profile: json!({"registered_with": password}),
        hash: hash(password),
        legacy: None,
        at: NOW,
    }
}

pub(crate) fn at_both(names: &[Identifier], password: &str, id: Option<Value>) -> NewUser {
    NewUser { legacy: Some(LegacySide { id: id.as_ref().map(legacy_id) }), ..registering(names, password) }
}

pub(crate) async fn revision(store: &dyn UserStore) -> Version {
    store.find(&candidates("nobody-has-this-name")).await.expect("a lookup").revision
}

pub(crate) async fn find(store: &dyn UserStore, typed: &str) -> Option<User> {
    match store.find(&candidates(typed)).await.expect("a lookup").found {
        Found::Nobody => None,
        Found::One(user) => Some(*user),
        Found::Ambiguous => panic!("{typed} means two users"),
    }
}

/// Saves somebody anew and gives his record's proof.
pub(crate) async fn migrate(
    store: &dyn UserStore,
    id: impl Into<Value>,
    names: &[Identifier],
    password: &str,
) -> Migrated {
    let based_on = revision(store).await;
    match store.save_proven(proven(id, names, password, based_on)).await.expect("a save") {
        Saved::Created(migrated) | Saved::Updated(migrated) => migrated,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn register(store: &dyn UserStore, new: NewUser) -> User {
    match store.insert_new(new).await.expect("an insertion") {
        Inserted::Inserted(migrated, user) => {
            assert_eq!((migrated.id(), migrated.version()), (user.id, user.version));
            *user
        }
        Inserted::Exists => panic!("the name is taken"),
    }
}

pub(crate) fn stand(standing: Standing) -> UserChange {
    UserChange::SetStanding(standing)
}

/// Every user, page by page.
pub(crate) async fn everyone(store: &dyn UserStore, page: usize) -> Vec<User> {
    let (mut users, mut after) = (Vec::new(), None);
    loop {
        let query = UserQuery { prefix: None, after: after.take(), limit: page, ..UserQuery::default() };
        let page = store.list(query).await.expect("a page");
        users.extend(page.users);
        match page.next {
            Some(next) => after = Some(next),
            None => return users,
        }
    }
}

/// Checks what must hold of every store at any time: the counts are those of the records, every name leads to the one who bears
/// it, and so does every id.
pub(crate) async fn assert_consistent(store: &Arc<dyn UserStore>) {
    let users = everyone(&**store, 100).await;
    let mut counted =
        UserCounts { conflicts: store.counts().await.expect("counts").conflicts, ..UserCounts::default() };
    for user in &users {
        if user.standing == Standing::Deleted {
            counted.deleted += 1;
            assert!(hash_text(user).is_none() && user.profile.is_null(), "a tombstone holds nothing");
        } else {
            match user.origin {
                Origin::Migrated => counted.migrated += 1,
                Origin::Registered => counted.registered += 1,
                Origin::Imported => counted.imported += 1,
                Origin::Roster => counted.roster += 1,
            }
            counted.disabled += u64::from(user.standing == Standing::Disabled);
            counted.without_password += u64::from(hash_text(user).is_none());
        }
        // A username that reads as an address yields to whose address it is.
        let yields = |name: &Identifier| name.normalized.kind() == IdentifierKind::Username && name.value.contains('@');
        for name in user.identifiers.iter().filter(|name| !yields(name)) {
            let holders = store.find(&candidates(name.normalized.text())).await.expect("a lookup");
            match holders.found {
                Found::One(holder) => assert_eq!(holder.id, user.id, "{name:?}"),
                Found::Ambiguous => {}
                Found::Nobody => panic!("{name:?} of {} leads nowhere", user.id),
            }
        }
        let public = user.legacy_id.as_ref().map_or_else(|| user.id.to_string(), |id| id.as_key().to_owned());
        let found = store.find_public(&public).await.expect("a lookup").expect("an id leads to its user");
        assert_eq!(found.id, user.id);
    }
    assert_eq!(store.counts().await.expect("counts"), counted);
    let roster = store.roster().await.expect("counts");
    let all = roster.of(Bucket::All, Day::LAST);
    let active = || users.iter().filter(|user| user.standing == Standing::Active);
    let without_password = active().filter(|user| hash_text(user).is_none()).count() as u64;
    assert_eq!((all.stragglers, all.known()), (without_password, active().count() as u64), "counted by day");
}

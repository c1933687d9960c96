//! Which of the operator's keys the records of a store need, and whether these are the ones that were given (R56, R102).
//!
//! The store keeps the check value of every key that it was ever opened with, under its use and id, until no record needs that
//! key any more. Nobody keeps count: only when a key is missing or is another one are the records looked through, once, at the
//! start; if none needs it, the store forgets it, otherwise it is refused. So a key may be taken out of the configuration as soon as
//! nothing needs it, and no sooner.
//!
//! Called by [`super::RedbStore::open`] before anything is served. Never sees a key, only check values.

use std::collections::{BTreeMap, BTreeSet};

use ::redb::{Database, ReadableDatabase as _, ReadableTable as _};

use super::fault::Fault;
use super::record::{Codec, needed_keys};
use super::schema::{KEYS, Tables, USERS};
use super::writer::begin;
use crate::keys::{KeyCheck, KeyId, KeyUse};
use crate::store::settings::StoreKeys;

/// A key that records need is not there.
#[derive(Debug)]
pub(super) struct KeyRefused {
    pub(super) used_for: KeyUse,
    pub(super) id: KeyId,
    /// How many records need it.
    pub(super) users: u64,
    pub(super) why: Refusal,
}

/// What is wrong with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is none of this name.
    Missing,
    /// There is one of this name, and it is another one.
    Wrong,
}

/// Why a store cannot be used with these keys.
#[derive(Debug)]
pub(super) enum NotAdmitted {
    Key(KeyRefused),
    Fault(Fault),
}

impl From<Fault> for NotAdmitted {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A key's use and id: the key of the table.
type Name = (KeyUse, KeyId);

/// Holds the keys against what the records need, and writes down those that are new.
pub(super) fn admit(database: &Database, keys: &StoreKeys) -> Result<(), NotAdmitted> {
    let given: BTreeMap<Name, &KeyCheck> = keys.checks().map(|key| ((key.used_for, key.id.clone()), key)).collect();
    let known = known(database)?;
    let suspects: Vec<(&Name, Refusal)> = known
        .iter()
        .filter_map(|(name, kept)| match given.get(name) {
            None => Some((name, Refusal::Missing)),
            Some(key) if !key.fits(kept) => Some((name, Refusal::Wrong)),
            Some(_) => None,
        })
        .collect();
    if !suspects.is_empty() {
        let needed = count_needs(database)?;
        for (name, why) in &suspects {
            if let Some(users) = needed.get(*name).copied() {
                let (used_for, id) = (*name).clone();
                return Err(NotAdmitted::Key(KeyRefused { used_for, id, users, why: *why }));
            }
        }
    }
    let forgotten: BTreeSet<&Name> = suspects.into_iter().map(|(name, _why)| name).collect();
    let new: Vec<(&Name, &KeyCheck)> = given
        .iter()
        .filter(|(name, _)| !known.contains_key(*name) || forgotten.contains(*name))
        .map(|(name, key)| (name, *key))
        .collect();
    if !forgotten.is_empty() || !new.is_empty() {
        write_down(database, &forgotten, &new)?;
    }
    Ok(())
}

fn write_down(database: &Database, forgotten: &BTreeSet<&Name>, new: &[(&Name, &KeyCheck)]) -> Result<(), Fault> {
    let transaction = begin(Some(database))?;
    let mut tables = Tables::of(&transaction, &Codec::default())?;
    for name in forgotten {
        tables.keys.remove(row(name).as_str())?;
    }
    for (name, key) in new {
        tables.keys.insert(row(name).as_str(), key.as_bytes())?;
    }
    drop(tables);
    Ok(transaction.commit()?)
}

fn row((used_for, id): &Name) -> String {
    format!("{}/{id}", used_for.as_str())
}

fn name_of(row: &str) -> Option<Name> {
    let (used_for, id) = row.split_once('/')?;
    let used_for = KeyUse::ALL.into_iter().find(|known| known.as_str() == used_for)?;
    Some((used_for, id.parse().ok()?))
}

/// The check values that the store keeps.
fn known(database: &Database) -> Result<BTreeMap<Name, Vec<u8>>, Fault> {
    let table = database.begin_read()?.open_table(KEYS)?;
    let mut known = BTreeMap::new();
    for row in table.iter()? {
        let (row, check) = row?;
        let name = name_of(row.value()).ok_or_else(|| Fault::damage("a key's name is none that was ever written"))?;
        known.insert(name, check.value().to_vec());
    }
    Ok(known)
}

/// How many records need each key, by looking at all of them.
fn count_needs(database: &Database) -> Result<BTreeMap<Name, u64>, Fault> {
    tracing::warn!(
        "a key that the store knows is missing, or is another one; its records are looked through for who needs it"
    );
    let table = database.begin_read()?.open_table(USERS)?;
    let mut needs: BTreeMap<Name, u64> = BTreeMap::new();
    for row in table.iter()? {
        let (_id, bytes) = row?;
        let needed = needed_keys(bytes.value())?;
        for (used_for, id) in [(KeyUse::Seal, needed.seal), (KeyUse::Pepper, needed.pepper)] {
            // A hash from elsewhere may name a key that could be none of ours.
            if let Some(id) = id.and_then(|id| id.parse().ok()) {
                *needs.entry((used_for, id)).or_default() += 1;
            }
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::redb::backends::InMemoryBackend;
    use serde_json::json;
    use uuid::Uuid;

    use super::super::record::Codec;
    use super::super::schema::initialise;
    use super::*;
    use crate::domain::clock::UnixSeconds;
    use crate::domain::credential::{AbsentBecause, Credential, StoredHash};
    use crate::domain::password::PasswordNormalization;
    use crate::domain::user::{Origin, Standing, User, UserId, Version};
    use crate::store::sealing::tests::{keys as sealing_keys, named};

    fn database() -> Database {
        let database = ::redb::Builder::new().create_with_backend(InMemoryBackend::new()).expect("a database");
        let transaction = begin(Some(&database)).expect("a transaction");
        initialise(&transaction).expect("made");
        transaction.commit().expect("committed");
        database
    }

    fn keys(seals: &[(&str, u8)], seal_with: Option<&str>, peppers: &[(&str, u8)]) -> StoreKeys {
        let check = |(id, byte): &(&str, u8)| named(id, *byte).check(KeyUse::Pepper).expect("a check value");
        StoreKeys {
            sealing: Some(Arc::new(sealing_keys(seals, seal_with))),
            peppers: peppers.iter().map(check).collect(),
        }
    }

    fn put(database: &Database, number: u128, keys: &StoreKeys, credential: Credential) {
        let user = User {
            id: UserId(Uuid::from_u128(number)),
            legacy_id: None,
            identifiers: Vec::new(),
            profile: json!({}),
            credential,
            standing: Standing::Active,
            origin: Origin::Imported,
            created_at: UnixSeconds(1),
            updated_at: UnixSeconds(1),
            legacy_vouched_at: None,
            roster: None,
            normalization_version: 1,
            version: Version(1),
        };
        let transaction = begin(Some(database)).expect("a transaction");
        let mut tables = Tables::of(&transaction, &Codec::new(keys.sealing.clone())).expect("tables");
        let bytes = tables.users.encode(&user).expect("small enough");
        tables.users.insert(user.id.0.as_bytes(), bytes.as_slice()).expect("written");
        drop(tables);
        transaction.commit().expect("committed");
    }

    fn absent() -> Credential {
        Credential::Absent(AbsentBecause::Roster)
    }

    fn refused(database: &Database, keys: &StoreKeys) -> Option<(KeyUse, String, u64, Refusal)> {
        match admit(database, keys) {
            Ok(()) => None,
            Err(NotAdmitted::Key(key)) => Some((key.used_for, key.id.to_string(), key.users, key.why)),
            Err(NotAdmitted::Fault(fault)) => panic!("{fault:?}"),
        }
    }

    #[test]
    fn r102_a_key_that_records_are_sealed_with_is_neither_missed_nor_mistaken() {
        let (database, both) = (database(), keys(&[("a", 1), ("b", 2)], Some("b"), &[]));
        assert_eq!(refused(&database, &both), None);
        put(&database, 1, &both, absent());
        put(&database, 2, &both, absent());
        let missing = Some((KeyUse::Seal, "b".to_owned(), 2, Refusal::Missing));
        assert_eq!(refused(&database, &keys(&[("a", 1)], Some("a"), &[])), missing);
        assert_eq!(refused(&database, &StoreKeys::default()), missing);
        let wrong = Some((KeyUse::Seal, "b".to_owned(), 2, Refusal::Wrong));
        assert_eq!(refused(&database, &keys(&[("b", 3)], None, &[])), wrong);
        assert_eq!(refused(&database, &keys(&[("b", 2)], None, &[])), None, "a key that nothing needs may go");
    }

    #[test]
    fn r102_a_key_that_nothing_needs_is_forgotten_and_may_be_another_one() {
        let database = database();
        assert_eq!(refused(&database, &keys(&[("a", 1)], Some("a"), &[("a", 1)])), None);
        assert_eq!(refused(&database, &keys(&[("a", 9)], Some("a"), &[("a", 8)])), None);
        let table = known(&database).expect("the table");
        assert_eq!(table.len(), 2);
        assert_eq!(refused(&database, &StoreKeys::default()), None);
        assert!(known(&database).expect("the table").is_empty());
    }

    #[test]
    fn r56_a_pepper_that_hashes_need_is_neither_missed_nor_mistaken() {
        let (database, given) = (database(), keys(&[], None, &[("2026", 1)]));
        assert_eq!(refused(&database, &given), None);
        let hash = "$argon2id$v=19$m=8,t=1,p=1,keyid=MjAyNg$c2FsdHNhbHQ$aGFzaGhhc2g".to_owned();
        put(&database, 1, &given, Credential::Argon2id(StoredHash::new(hash, PasswordNormalization::None)));
        let refusal = |why| Some((KeyUse::Pepper, "2026".to_owned(), 1, why));
        assert_eq!(refused(&database, &StoreKeys::default()), refusal(Refusal::Missing));
        assert_eq!(refused(&database, &keys(&[], None, &[("2026", 2)])), refusal(Refusal::Wrong));
        assert_eq!(refused(&database, &given), None);
        put(&database, 1, &given, absent());
        assert_eq!(refused(&database, &StoreKeys::default()), None, "nobody needs it any more");
    }

    #[test]
    fn a_hash_from_elsewhere_with_a_key_that_was_never_ours_is_no_reason_to_refuse() {
        let (database, none) = (database(), StoreKeys::default());
        let hash = "$argon2id$v=19$m=8,t=1,p=1,keyid=MjAyNg$c2FsdHNhbHQ$aGFzaGhhc2g".to_owned();
        put(&database, 1, &none, Credential::Imported(StoredHash::new(hash, PasswordNormalization::None)));
        assert_eq!(refused(&database, &none), None);
    }
}

//! Peppers (R56): what a stolen store is good for without the key, changing the key under load, and keys that are missing or wrong.

#![allow(clippy::panic, reason = "that is how a test fails")]

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use authferry::domain::clock::SystemClock;
use authferry::domain::credential::{Credential, StoredHash};
use authferry::domain::password::{Password, PasswordNormalization};
use authferry::domain::user::User;
use authferry::keys::{KEY_BYTES, KeyId, KeyUse, NamedKey};
use authferry::password::{HashPool, PasswordSettings, Peppers};
use authferry::service::ports::{AccountPermit, ClientStanding, PasswordHasher, UserStore, Verification};
use authferry::store::{self, OpenError, StoreKeys, StoreSettings};
use authferry::telemetry::Metrics;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::restarts::own;
use crate::store_people::*;
use crate::support::legacy::LegacyDouble;
use crate::support::load::{Load, app, config};
use crate::support::memory_store;
use crate::support::process::{Process, authferry, run};

const PASSWORD: &str = "correct horse battery";

fn key_bytes(byte: u8) -> [u8; KEY_BYTES] {
    std::array::from_fn(|at| byte.wrapping_add(at as u8))
}

fn peppers(keys: &[(&str, u8)], hash_with: Option<&str>) -> Peppers {
    let named = |(id, byte): &(&str, u8)| NamedKey::new(id.parse().expect("an id"), Zeroizing::new(key_bytes(*byte)));
    let hash_with: Option<KeyId> = hash_with.map(|id| id.parse().expect("an id"));
    Peppers::new(keys.iter().map(named).collect(), hash_with.as_ref()).expect("peppers")
}

fn pool(peppers: Peppers) -> HashPool {
    let settings = PasswordSettings {
        memory_kib: 64,
        iterations: 1,
        parallelism: 1,
        workers: NonZeroUsize::MIN,
        queue: NonZeroUsize::new(64).expect("not zero"),
        queue_deadline: Duration::from_secs(60),
        normalization: PasswordNormalization::None,
        prehash_keys: Default::default(),
        peppers,
    };
    HashPool::start(settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("a pool")
}

fn password(typed: &str) -> Arc<Password> {
    Arc::new(Password::new(Zeroizing::new(typed.to_owned())).expect("a password"))
}

async fn hash(pool: &HashPool, typed: &str) -> StoredHash {
    pool.hash(ClientStanding::Known, password(typed)).await.expect("a hash").into_stored()
}

fn user(credential: Credential) -> Box<User> {
    Box::new(memory_store::user(1, Vec::new(), credential, Value::Null))
}

async fn verify(pool: &HashPool, stored: &StoredHash, typed: &str) -> &'static str {
    let permit = AccountPermit::new(ClientStanding::Known, |_| ());
    let user = user(Credential::Argon2id(stored.clone()));
    match pool.verify(&permit, user, password(typed)).await.expect("a check") {
        Verification::Match(_) => "match",
        Verification::Mismatch(_) => "mismatch",
        Verification::Unusable(_) => "unusable",
    }
}

#[tokio::test]
async fn r56_without_the_pepper_a_stolen_hash_verifies_nothing() {
    let ours = pool(peppers(&[("2026", 1)], Some("2026")));
    let stored = hash(&ours, PASSWORD).await;
    assert!(stored.expose().starts_with("$argon2id$v=19$m=64,t=1,p=1,keyid=MjAyNg$"), "{}", stored.expose());
    assert_eq!(verify(&ours, &stored, PASSWORD).await, "match");
    assert_eq!(verify(&ours, &stored, "another").await, "mismatch");

    let thief = pool(Peppers::default());
    assert_eq!(verify(&thief, &stored, PASSWORD).await, "unusable", "and never taken for a wrong password");
    let guessing = pool(peppers(&[("2026", 2)], Some("2026")));
    assert_eq!(verify(&guessing, &stored, PASSWORD).await, "mismatch");
    let unnamed = StoredHash::new(stored.expose().replace(",keyid=MjAyNg", ""), PasswordNormalization::None);
    assert_eq!(verify(&thief, &unnamed, PASSWORD).await, "mismatch");
    assert_eq!(verify(&ours, &unnamed, PASSWORD).await, "mismatch");
}

#[tokio::test]
async fn r56_hashes_of_other_peppers_and_of_none_verify_and_are_outdated() {
    let (none, old) = (pool(Peppers::default()), pool(peppers(&[("2025", 1)], Some("2025"))));
    let both = pool(peppers(&[("2025", 1), ("2026", 2)], Some("2026")));
    for (from, outdated) in [(&none, true), (&old, true), (&both, false)] {
        let stored = hash(from, PASSWORD).await;
        assert_eq!(verify(&both, &stored, PASSWORD).await, "match");
        assert_eq!(both.is_outdated(&Credential::Argon2id(stored)), outdated);
    }
    let off = pool(peppers(&[("2026", 2)], None));
    let stored = hash(&both, PASSWORD).await;
    assert_eq!(verify(&off, &stored, PASSWORD).await, "match");
    assert!(off.is_outdated(&Credential::Argon2id(stored)), "turned off, it goes at the next login");
}

// ---------------------------------------------------------------------------------------------------------------- the store

fn settings(folder: &Path, peppers: &Peppers) -> StoreSettings {
    let keys = StoreKeys { sealing: None, peppers: peppers.checks() };
    StoreSettings { keys, ..StoreSettings::without_keys(folder.join("users.redb"), 1 << 20) }
}

fn open(folder: &Path, peppers: &Peppers) -> Result<Arc<dyn UserStore>, OpenError> {
    store::open(&settings(folder, peppers), Arc::new(Metrics::new()), Arc::new(SystemClock))
}

#[tokio::test]
async fn r56_a_store_whose_hashes_need_another_pepper_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let right = peppers(&[("2026", 1)], Some("2026"));
    let store = open(folder.path(), &right).expect("a new store");
    let hashed = pool(right.clone()).hash(ClientStanding::Known, password(PASSWORD)).await.expect("a hash");
    let new = authferry::service::ports::NewUser { hash: hashed, ..registering(&[email("ann@x.y")], "-") };
    let user = register(&*store, new).await;
    drop(store);

    let missing = open(folder.path(), &Peppers::default()).err().expect("refused");
    assert!(matches!(&missing, OpenError::MissingKey { used_for: KeyUse::Pepper, users: 1, .. }), "{missing:?}");
    assert!(missing.to_string().contains("password.pepper.keys"), "{missing}");
    let wrong = open(folder.path(), &peppers(&[("2026", 2)], None)).err().expect("refused");
    assert!(matches!(&wrong, OpenError::WrongKey { used_for: KeyUse::Pepper, users: 1, .. }), "{wrong:?}");

    let store = open(folder.path(), &right).expect("the right one");
    let change = authferry::service::ports::UserChange::DropPassword;
    store.update(user.id, user.version, change).await.expect("a change");
    drop(store);
    open(folder.path(), &Peppers::default()).expect("nobody needs it any more");
}

// --------------------------------------------------------------------------------------------------------- the whole binary

fn table(keys: &[(&str, u8)], hash_with: &str) -> String {
    let keys: String = keys
        .iter()
        .map(|(id, byte)| format!("{id} = {{ value = \"{}\" }}\n", STANDARD.encode(key_bytes(*byte))))
        .collect();
    format!("[password.pepper]\nhash_with = \"{hash_with}\"\n[password.pepper.keys]\n{keys}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r56_the_pepper_changes_under_load_and_every_login_succeeds() {
    let (app, double) = (app().await, Arc::new(LegacyDouble::well_behaved()));
    let folder = TempDir::new().expect("a folder");
    let base = config(&app, &double, &own(folder.path(), "127.0.0.1:0"));
    let with = |pepper: &str| [base.as_str(), pepper].concat();
    let mut process = tokio::task::block_in_place(|| Process::start(folder.path(), &with("")));
    let load = Load::begin(process.public(), &double).await;
    // Turned on, a second key made known, used, the first one given up as far as it may be, and turned off.
    for pepper in [
        table(&[("2025", 1)], "2025"),
        table(&[("2025", 1), ("2026", 2)], "2025"),
        table(&[("2025", 1), ("2026", 2)], "2026"),
        table(&[("2025", 1), ("2026", 2)], "none"),
    ] {
        load.until_more(40).await;
        std::fs::write(folder.path().join("proxy.toml"), with(&pepper)).expect("a writable folder");
        let next = tokio::task::block_in_place(|| Process::spawn(authferry(folder.path(), &["run", "--takeover"])));
        let (status, log) = tokio::task::block_in_place(|| process.wait());
        assert!(status.success(), "{status}\n{log}");
        for byte in [1, 2] {
            assert!(!log.contains(&STANDARD.encode(key_bytes(byte))), "a key is never logged");
        }
        process = next;
    }
    load.until_more(40).await;
    let seen = load.end().await;
    let failures = seen.failures();
    println!("{} requests while the pepper changed four times, {} failed", seen.answered(), failures.len());
    assert!(failures.is_empty(), "{:#?}", failures.iter().take(20).collect::<Vec<_>>());
    process.terminate();
    let (status, log) = tokio::task::block_in_place(|| process.wait());
    assert!(status.success(), "{status}\n{log}");

    // Those who came with the second pepper still need it: neither another key nor none will do.
    for (pepper, said) in [
        (table(&[("2025", 1), ("2026", 3)], "2026"), "the key \"2026\" of password.pepper.keys is not the one"),
        (table(&[("2025", 1)], "2025"), "need the key \"2026\", and password.pepper.keys has none"),
    ] {
        std::fs::write(folder.path().join("proxy.toml"), with(&pepper)).expect("a writable folder");
        let ended = tokio::task::block_in_place(|| run(folder.path(), &["run"]));
        assert_ne!(ended.code, Some(0));
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}

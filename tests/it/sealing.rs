//! Encryption of the store (R102): what a stolen file shows, turning it on and off, changing keys, and keys that are missing or wrong.

#![allow(clippy::panic, reason = "that is how a test fails")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use authferry::domain::clock::SystemClock;
use authferry::domain::identifier::IdentifierKind;
use authferry::keys::{KEY_BYTES, KeyId, KeyUse, NamedKey};
use authferry::service::ports::UserStore;
use authferry::store::redb::RedbStore;
use authferry::store::{self, OpenError, SealingKeys, StoreKeys, StoreSettings};
use authferry::telemetry::Metrics;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::store_people::*;
use crate::support::call_login::call_login;
use crate::support::legacy::LegacyDouble;
use crate::support::process::{Process, run};

/// What only a profile says.
const CANARY: &str = "c4n4ry-of-a-profile";

fn key_bytes(byte: u8) -> [u8; KEY_BYTES] {
    std::array::from_fn(|at| byte.wrapping_add(at as u8))
}

fn named(id: &str, byte: u8) -> NamedKey {
    NamedKey::new(id.parse().expect("an id"), Zeroizing::new(key_bytes(byte)))
}

fn settings(folder: &Path, keys: &[(&str, u8)], seal_with: Option<&str>) -> StoreSettings {
    let keys: Vec<NamedKey> = keys.iter().map(|(id, byte)| named(id, *byte)).collect();
    let seal_with: Option<KeyId> = seal_with.map(|id| id.parse().expect("an id"));
    let sealing = SealingKeys::new(&keys, seal_with.as_ref()).expect("keys");
    let keys = StoreKeys { sealing: Some(Arc::new(sealing)), peppers: Vec::new() };
    StoreSettings { keys, ..StoreSettings::without_keys(folder.join("users.redb"), 1 << 20) }
}

fn open(settings: &StoreSettings) -> Result<Arc<dyn UserStore>, OpenError> {
    store::open(settings, Arc::new(Metrics::new()), Arc::new(SystemClock))
}

fn refusal(settings: &StoreSettings) -> OpenError {
    open(settings).err().expect("it is refused")
}

/// Adds users whose profiles, and the way in which one writes his name, nobody should see.
async fn add(store: &dyn UserStore, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let names = [email(&format!("User{number}@{CANARY}.example")), username(&format!("user{number}"))];
        migrate(store, number, &names, &format!("{CANARY} {number}")).await;
    }
}

/// Everyone is there, with his profile and his names as he writes them.
async fn assert_whole(store: &dyn UserStore, count: u64) {
    let users = everyone(store, 7).await;
    assert_eq!(users.len() as u64, count);
    for user in users {
        let id = user.legacy_id.as_ref().expect("an id").to_json();
        assert_eq!(user.profile, json!({"id": id, "proven_with": format!("{CANARY} {id}")}));
        assert_eq!(user.first(IdentifierKind::Email), Some(&*format!("User{id}@{CANARY}.example")));
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Every file of the folder but the configuration.
fn files(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() && path.extension().is_none_or(|extension| extension != "toml") {
            all.extend(fs::read(path).expect("a file"));
        }
    }
    all
}

async fn renew_all(settings: &StoreSettings) -> usize {
    let store = RedbStore::open(settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("a store");
    let (mut rewritten, mut after) = (0, None);
    loop {
        let renewed = store.renew(after).await.expect("a step");
        rewritten += renewed.rewritten;
        match renewed.next {
            Some(next) => after = Some(next),
            None => return rewritten,
        }
    }
}

#[tokio::test]
async fn r102_a_sealed_store_shows_no_profile_and_no_name_as_it_is_written() {
    let folder = TempDir::new().expect("a folder");
    let settings = settings(folder.path(), &[("2026", 1)], Some("2026"));
    let store = open(&settings).expect("a new store");
    add(&*store, 0..30).await;
    assert_whole(&*store, 30).await;
    drop(store);
    let bytes = files(folder.path());
    assert!(!holds(&bytes, "proven_with"), "a profile");
    assert!(!holds(&bytes, "User7@"), "a name as he writes it");
    assert!(
        holds(&bytes, &format!("user7@{CANARY}.example")),
        "the name as a key stays: it is what he is looked up by"
    );
    assert_whole(&*open(&settings).expect("it opens again"), 30).await;
}

#[tokio::test]
async fn r102_encryption_is_turned_on_changed_and_turned_off_in_a_store_that_is_there() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    let plain = StoreSettings::without_keys(path.join("users.redb"), 1 << 20);
    let store = open(&plain).expect("a new store");
    // More than one step of rewriting.
    add(&*store, 0..1_200).await;
    drop(store);

    let on = settings(path, &[("2025", 1)], Some("2025"));
    let store = open(&on).expect("with a key");
    assert_whole(&*store, 1_200).await;
    add(&*store, 1_200..1_210).await;
    drop(store);
    assert_eq!(renew_all(&on).await, 1_200, "those that were there before");
    assert_eq!(renew_all(&on).await, 0);
    assert!(matches!(refusal(&plain), OpenError::MissingKey { used_for: KeyUse::Seal, users: 1_210, .. }));

    let both = settings(path, &[("2025", 1), ("2026", 2)], Some("2026"));
    assert_whole(&*open(&both).expect("with both"), 1_210).await;
    assert_eq!(renew_all(&both).await, 1_210);
    let new = settings(path, &[("2026", 2)], Some("2026"));
    assert_whole(&*open(&new).expect("the old key may go"), 1_210).await;

    let off = settings(path, &[("2026", 2)], None);
    assert_eq!(renew_all(&off).await, 1_210);
    assert_whole(&*open(&plain).expect("without any key"), 1_210).await;
}

#[tokio::test]
async fn r102_a_record_is_sealed_with_todays_key_when_it_changes() {
    let folder = TempDir::new().expect("a folder");
    let (old, both) = (
        settings(folder.path(), &[("2025", 1)], Some("2025")),
        settings(folder.path(), &[("2025", 1), ("2026", 2)], Some("2026")),
    );
    add(&*open(&old).expect("a new store"), 0..2).await;
    add(&*open(&both).expect("with both"), 0..2).await;
    let new = settings(folder.path(), &[("2026", 2)], Some("2026"));
    assert_whole(&*open(&new).expect("nobody needs the old one"), 2).await;
}

#[tokio::test]
async fn r102_a_missing_key_and_a_wrong_one_are_refused_and_the_right_one_opens_it_again() {
    let folder = TempDir::new().expect("a folder");
    let right = settings(folder.path(), &[("2026", 1)], Some("2026"));
    add(&*open(&right).expect("a new store"), 0..3).await;
    let before = fs::read(folder.path().join("users.redb")).expect("the file");

    let wrong = refusal(&settings(folder.path(), &[("2026", 2)], Some("2026")));
    assert!(matches!(&wrong, OpenError::WrongKey { used_for: KeyUse::Seal, users: 3, .. }), "{wrong:?}");
    let missing = refusal(&settings(folder.path(), &[("2027", 2)], Some("2027")));
    assert!(matches!(&missing, OpenError::MissingKey { used_for: KeyUse::Seal, users: 3, .. }), "{missing:?}");
    for error in [wrong, missing] {
        let text = error.to_string();
        assert!(
            text.contains("\"2026\"") && text.contains("store.encryption.keys") && text.contains("users.redb"),
            "{text}"
        );
    }
    let users = |bytes: &[u8]| holds(bytes, &format!("user1@{CANARY}.example"));
    assert!(users(&before) && users(&fs::read(folder.path().join("users.redb")).expect("the file")));
    assert_whole(&*open(&right).expect("the right one"), 3).await;
}

// ------------------------------------------------------------------------------------------------------- the whole binary

fn sealed_with(byte: u8, double: &LegacyDouble) -> String {
    let key = STANDARD.encode(key_bytes(byte));
    let more = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"off\"\n[store.encryption]\nseal_with = \"2026\"\n\
         [store.encryption.keys]\n2026 = {{ value = \"{key}\" }}\n"
    );
    call_login(double, "migrate", &more)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r102_reseal_leaves_nothing_of_what_was_there_before_in_the_file() {
    let double = LegacyDouble::well_behaved();
    let folder = TempDir::new().expect("a folder");
    let plain = StoreSettings::without_keys(folder.path().join("users.redb"), 1 << 20);
    add(&*open(&plain).expect("a new store"), 0..300).await;
    assert!(holds(&files(folder.path()), "proven_with"));

    let write = |text: String| fs::write(folder.path().join("proxy.toml"), text).expect("a writable folder");
    let reseal = || {
        let ended = tokio::task::block_in_place(|| run(folder.path(), &["store", "reseal"]));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    };
    write(sealed_with(1, &double));
    let said = reseal();
    assert!(said.contains("300 records written anew, all are sealed with the key \"2026\""), "{said}");
    let bytes = files(folder.path());
    assert!(!holds(&bytes, "proven_with") && !holds(&bytes, "User7@"), "not even in unused parts of the file");
    assert!(reseal().contains(": 0 records written anew"));
    assert_whole(&*open(&settings(folder.path(), &[("2026", 1)], None)).expect("the key"), 300).await;

    write(sealed_with(2, &double));
    let ended = tokio::task::block_in_place(|| run(folder.path(), &["store", "reseal"]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for command in [&["store", "check"][..], &["users", "list"]] {
        let ended = tokio::task::block_in_place(|| run(folder.path(), command));
        assert_eq!(ended.code, Some(1), "{command:?}: {ended:?}");
        assert!(ended.stderr.contains("is not the one"), "not damage, a wrong key: {}", ended.stderr);
    }
    let elsewhere = TempDir::new().expect("a folder");
    let sealed = folder.path().join("users.redb").display().to_string();
    let ended = tokio::task::block_in_place(|| run(elsewhere.path(), &["store", "check", &sealed]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("\"2026\""), "without a configuration: the key that is needed: {}", ended.stderr);

    write(sealed_with(1, &double).replace("seal_with = \"2026\"", "seal_with = \"none\""));
    assert!(reseal().contains("300 records written anew, none is sealed"));
    assert_whole(&*open(&plain).expect("without any key"), 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r102_the_proxy_does_not_start_with_a_wrong_key() {
    let double = LegacyDouble::well_behaved();
    let folder = TempDir::new().expect("a folder");
    let process = tokio::task::block_in_place(|| Process::start(folder.path(), &sealed_with(1, &double)));
    let body = json!({"email": "new@example.com", "password": "correct horse battery"}).to_string();
    let headers = [("Content-Type", "application/json")];
    let answer = crate::support::raw_client::send(process.public(), "POST", "/register", &headers, &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    process.terminate();
    let (status, log) = tokio::task::block_in_place(|| process.wait());
    assert!(status.success(), "{log}");

    fs::write(folder.path().join("proxy.toml"), sealed_with(2, &double)).expect("a writable folder");
    let ended = tokio::task::block_in_place(|| run(folder.path(), &["run"]));
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("the key \"2026\" of store.encryption.keys is not the one"), "{}", ended.stderr);
    let key = STANDARD.encode(key_bytes(2));
    assert!(!ended.stderr.contains(&key) && !ended.stdout.contains(&key), "a key is never said");

    let process = tokio::task::block_in_place(|| Process::start(folder.path(), &sealed_with(1, &double)));
    let answer = crate::support::raw_client::send(process.public(), "POST", "/login", &headers, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

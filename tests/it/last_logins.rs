//! When users last logged in: told at once, written without a commit each, on disk after the end of the process, gone with the user.

#![allow(clippy::panic, reason = "that is how a test fails")]

use std::sync::Arc;

use authferry::domain::clock::{SystemClock, UnixSeconds};
use authferry::domain::user::{Standing, UserId};
use authferry::service::ports::UserStore;
use authferry::store::{self, StoreSettings};
use authferry::telemetry::Metrics;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::store_people::*;
use crate::support::app::ADMIN_TOKEN;
use crate::support::call_login::call_login;
use crate::support::legacy::{LegacyDouble, ann};
use crate::support::memory_store::MemoryStore;
use crate::support::process::Process;
use crate::support::raw_client::send;
use crate::support::service::{Kept, rig, word};

fn open(folder: &TempDir) -> Arc<dyn UserStore> {
    let settings = StoreSettings::without_keys(folder.path().join("users.redb"), 1 << 20);
    store::open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("a store")
}

async fn told(store: &dyn UserStore, ids: &[UserId]) -> Vec<Option<u64>> {
    let times = store.last_login(ids).await.expect("an answer");
    times.into_iter().map(|time| time.map(|time| time.0)).collect()
}

async fn is_kept(store: Arc<dyn UserStore>) -> [UserId; 3] {
    let ann = migrate(&*store, 1, &[email("ann@x.y")], "-").await.id();
    let bea = migrate(&*store, 2, &[email("bea@x.y")], "-").await.id();
    let nobody = UserId(Uuid::from_u128(7));
    assert_eq!(told(&*store, &[ann, bea]).await, [None, None]);
    store.note_login(ann, UnixSeconds(100));
    store.note_login(bea, UnixSeconds(100));
    store.note_login(bea, UnixSeconds(90));
    store.note_login(ann, UnixSeconds(200));
    assert_eq!(told(&*store, &[bea, nobody, ann]).await, [Some(100), None, Some(200)], "in the order of the question");
    assert_eq!(told(&*store, &[]).await, []);
    [ann, bea, nobody]
}

#[tokio::test]
async fn the_last_login_is_told_at_once_by_every_store() {
    is_kept(Arc::new(MemoryStore::default())).await;
    is_kept(open(&TempDir::new().expect("a folder"))).await;
}

#[tokio::test]
async fn what_waits_at_the_end_of_the_process_is_written() {
    let folder = TempDir::new().expect("a folder");
    let [ann, bea, nobody] = is_kept(open(&folder)).await;
    let store = open(&folder);
    assert_eq!(told(&*store, &[ann, bea, nobody]).await, [Some(200), Some(100), None]);
    store.note_login(ann, UnixSeconds(150));
    assert_eq!(told(&*store, &[ann]).await, [Some(200)], "a clock that was set back moves nothing back");
    drop(store);
    assert_eq!(told(&*open(&folder), &[ann]).await, [Some(200)]);
}

#[tokio::test]
async fn more_logins_than_one_commit_writes_are_all_written() {
    let folder = TempDir::new().expect("a folder");
    let store = open(&folder);
    let mut ids = Vec::new();
    for batch in 0..50 {
        let saves = (0..100).map(|n| {
            let number = batch * 100 + n;
            store.insert_new(registering(&[username(&format!("u{number}"))], "-"))
        });
        for inserted in futures_util::future::join_all(saves).await {
            match inserted.expect("a registration") {
                authferry::service::ports::Inserted::Inserted(_, user) => ids.push(user.id),
                authferry::service::ports::Inserted::Exists => panic!("each has a name of his own"),
            }
        }
    }
    for (number, id) in ids.iter().enumerate() {
        store.note_login(*id, UnixSeconds(1_000 + number as u64));
    }
    drop(store);
    let expected: Vec<_> = (0..5_000).map(|number| Some(1_000 + number)).collect();
    assert_eq!(told(&*open(&folder), &ids).await, expected);
}

#[tokio::test]
async fn a_tombstone_keeps_no_login_whether_it_was_written_or_waits() {
    let folder = TempDir::new().expect("a folder");
    let [ann, bea, _] = is_kept(open(&folder)).await;
    let store = open(&folder);
    for name in ["ann@x.y", "bea@x.y"] {
        let user = find(&*store, name).await.expect("a user");
        store.update(user.id, user.version, stand(Standing::Deleted)).await.expect("a change");
    }
    store.note_login(bea, UnixSeconds(300));
    drop(store);
    assert_eq!(told(&*open(&folder), &[ann, bea]).await, [None, None]);
}

#[tokio::test]
async fn a_login_is_noted_when_it_succeeds_here_or_brings_the_user_over_and_not_when_it_fails() {
    let double = LegacyDouble::well_behaved();
    let kept = Arc::new(MemoryStore::default());
    let rig = rig(&double, None, Kept::In(&kept)).await;
    let at = |store: Arc<MemoryStore>| async move {
        let user = find(&*store, "ann@example.com").await.expect("ann");
        told(&*store, &[user.id]).await
    };
    assert_eq!(word(&rig.login(&ann().email, &ann().password).await), "ok");
    assert_eq!(at(Arc::clone(&kept)).await, [Some(1_800_000_000)], "migrated");
    rig.calendar.turn(std::time::Duration::from_secs(60));
    assert_eq!(word(&rig.login(&ann().email, "wrong").await), "denied");
    assert_eq!(at(Arc::clone(&kept)).await, [Some(1_800_000_000)]);
    assert_eq!(word(&rig.login(&ann().email, &ann().password).await), "ok");
    assert_eq!(at(kept).await, [Some(1_800_000_060)], "answered here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_of_the_whole_binary_is_on_disk_after_its_end_without_a_commit_of_its_own() {
    let double = LegacyDouble::well_behaved();
    let folder = TempDir::new().expect("a folder");
    let more = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\ntoken = {{ value = \"{ADMIN_TOKEN}\" }}\n"
    );
    let text = call_login(&double, "migrate", &more);
    let process = tokio::task::block_in_place(|| Process::start(folder.path(), &text));
    let body = json!({"email": ann().email, "password": ann().password}).to_string();
    for _ in 0..20 {
        let answer = send(process.public(), "POST", "/login", &[("Content-Type", "application/json")], &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let metrics = send(process.admin(), "GET", "/metrics", &[], "").await.body;
    let commits = metrics.lines().find_map(|line| line.strip_prefix("authferry_store_commit_duration_seconds_count "));
    let commits: u64 = commits.and_then(|count| count.trim().parse().ok()).expect("a count of commits");
    assert!(commits < 10, "{commits} commits for a migration and nineteen logins");
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let users: Value = send(process.admin(), "GET", "/api/v1/users", &[("Authorization", &bearer)], "").await.json();
    let id: Uuid = users["users"][0]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    process.terminate();
    let (status, log) = tokio::task::block_in_place(|| process.wait());
    assert!(status.success(), "{log}");
    let last = told(&*open(&folder), &[UserId(id)]).await;
    assert!(last[0].is_some_and(|time| time > 1_700_000_000), "{last:?}");
}

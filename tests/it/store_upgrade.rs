//! Stores of the first schema, made by the first version of authferry: brought to today's layout at the first start, whatever happens
//! meanwhile (R101). And a disk that runs full under a proxy that serves (R103).
//!
//! `fixtures/store` holds two of them, each with twelve users who came over by a login: one that was closed, one of a process that
//! was killed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use authferry::domain::clock::SystemClock;
use authferry::domain::user::Origin;
use authferry::service::ports::UserStore;
use authferry::store::{self, OpenError, StoreSettings};
use authferry::telemetry::Metrics;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tempfile::TempDir;

use crate::kill::{ids, log_in, migrated, user};
use crate::store_people::*;
use crate::support::app::ADMIN_TOKEN;
use crate::support::call_login::call_login;
use crate::support::legacy::LegacyDouble;
use crate::support::process::{Process, authferry, run};
use crate::support::raw_client::send;

const CLOSED: &[u8] = include_bytes!("fixtures/store/schema1.redb");
const KILLED: &[u8] = include_bytes!("fixtures/store/schema1-killed.redb");

/// The first bytes of today's layout.
const MAGIC: &[u8] = b"\xf5authferry";

struct Place(TempDir);

impl Place {
    /// A folder with a store of the first schema.
    fn with(old: &[u8]) -> Self {
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("users.redb"), old).expect("a file");
        fs::write(folder.path().join("users.redb-init"), "").expect("a file");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn store(&self) -> PathBuf {
        self.path().join("users.redb")
    }

    fn open(&self) -> Result<Arc<dyn UserStore>, OpenError> {
        let settings = StoreSettings::without_keys(self.store(), 1 << 20);
        store::open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

async fn assert_all_there(store: &Arc<dyn UserStore>) {
    for n in 1..=12 {
        let user = find(&**store, &format!("user{n}@example.com")).await.unwrap_or_else(|| panic!("user {n} is gone"));
        assert_eq!((user.origin, user.profile["name"].as_str()), (Origin::Migrated, Some("Some Body")));
        assert_eq!(user.legacy_id.as_ref().map(|id| id.as_key()), Some((1_000 + n).to_string().as_str()));
        assert!(hash_text(&user).is_some_and(|hash| hash.len() > 20), "his password");
        assert_eq!(find(&**store, &format!("user{n}")).await.map(|same| same.id), Some(user.id));
    }
    assert_eq!(store.counts().await.expect("counts").migrated, 12);
    let roster = store.roster().await.expect("counts");
    let over: u64 = roster.days.values().map(|day| day.over).sum();
    let stragglers: u64 = roster.days.values().map(|day| day.stragglers).sum();
    assert_eq!((over, stragglers), (12, 0), "who was there before these counts is in them");
    assert_consistent(store).await;
}

#[tokio::test]
async fn r101_a_store_of_the_first_schema_is_upgraded_with_everybody_in_it() {
    for old in [CLOSED, KILLED] {
        let place = Place::with(old);
        let store = place.open().expect("the store");
        assert_all_there(&store).await;
        migrate(&*store, 5_000, &[email("new@x.y")], "new").await;
        drop(store);
        let settings = StoreSettings::without_keys(place.store(), 1 << 20);
        let checked = store::offline::check(&place.store(), &settings, &mut |_, _| {}).expect("it can be read");
        assert!(checked.inspection.is_clean(), "{:?}", checked.inspection);
        assert!(fs::read(place.store()).expect("a file").starts_with(MAGIC));
        assert_eq!(place.names(), ["users.redb", "users.redb-init", "users.redb-schema1"]);
        assert_eq!(fs::metadata(place.store()).expect("a file").permissions().mode() & 0o777, 0o600);
        // The old one is whole, and whoever wants to go back can.
        let kept = place.path().join("users.redb-schema1");
        assert!(fs::read(&kept).expect("a file").starts_with(b"redb\x1a\n"));
        redb::Database::open(&kept).expect("a plain redb file");
        let store = place.open().expect("the store");
        assert!(find(&*store, "new@x.y").await.is_some());
        assert_eq!(place.names().len(), 3, "once");
    }
}

#[tokio::test]
async fn r101_a_damaged_store_of_the_first_schema_is_refused_and_stays() {
    let mut refused = 0;
    let step = if std::env::var_os("AUTHFERRY_LONG").is_some() { 101 } else { 4_099 };
    for at in (0..CLOSED.len()).step_by(step) {
        let mut damaged = CLOSED.to_vec();
        damaged[at] ^= 0x40;
        let place = Place::with(&damaged);
        match place.open() {
            Ok(store) => assert_all_there(&store).await,
            Err(OpenError::Corrupt { .. } | OpenError::Foreign { .. } | OpenError::NewerSchema { .. }) => {
                assert_eq!(place.names(), ["users.redb", "users.redb-init"], "byte {at}");
                refused += 1;
            }
            Err(other) => panic!("byte {at}: {other:?}"),
        }
    }
    assert!(refused > 3, "{refused}");
}

#[test]
fn r101_a_copy_of_the_first_schema_is_not_taken_for_somebody_elses_file() {
    let place = Place::with(CLOSED);
    let settings = StoreSettings::without_keys(place.path().join("other.redb"), 1 << 20);
    let old = place.store();
    let checked = store::offline::check(&old, &settings, &mut |_, _| {}).err().expect("today's layout alone is read");
    let refuse = store::offline::Replace::Refuse;
    let restored = store::offline::restore(&old, &settings, refuse, &mut |_, _| {}).err().expect("as a store alike");
    for refused in [checked, restored] {
        let said = refused.to_string();
        assert!(said.contains("first version") && said.contains("start authferry with that once"), "{said}");
    }
}

#[test]
fn r101_a_store_of_the_first_schema_that_is_in_use_is_not_upgraded() {
    let place = Place::with(CLOSED);
    let other = redb::Database::open(place.store()).expect("a plain redb file");
    assert!(matches!(place.open(), Err(OpenError::Locked(_))));
    drop(other);
    assert_eq!(place.names(), ["users.redb", "users.redb-init"]);
    place.open().expect("it is free");
}

fn config(double: &LegacyDouble, folder: &Path) -> String {
    let own = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[store]\npath = {:?}\n[admin]\nbind = \"127.0.0.1:0\"\n\
         token = {{ value = \"{ADMIN_TOKEN}\" }}\n",
        folder.join("users.redb")
    );
    call_login(double, "migrate", &own)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r101_a_kill_at_any_moment_of_the_upgrade_leaves_a_store_that_can_be_used() {
    let cycles = if std::env::var_os("AUTHFERRY_LONG").is_some() { 400 } else { 14 };
    let double = LegacyDouble::well_behaved();
    let (mut before, mut after) = (0, 0);
    for cycle in 0..cycles {
        let place = Place::with(if cycle % 2 == 0 { CLOSED } else { KILLED });
        let text = config(&double, place.path());
        fs::write(place.path().join("proxy.toml"), &text).expect("a file");
        tokio::task::block_in_place(|| {
            let mut child = authferry(place.path(), &["run"])
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("the binary starts");
            // Until the copy is there, and then for a number of looks at it that is another one each time.
            let copy = place.path().join("users.redb-upgrading");
            while !copy.exists() && !place.path().join("users.redb-schema1").exists() {
                std::thread::yield_now();
            }
            for _ in 0..cycle * cycle {
                let _looked = copy.exists();
            }
            child.kill().expect("a child of ours");
            child.wait().expect("a child of ours");
        });
        match fs::read(place.store()).expect("there is a store at any moment").starts_with(MAGIC) {
            true => after += 1,
            false => before += 1,
        }
        let process = tokio::task::block_in_place(|| Process::start(place.path(), &text));
        assert_eq!(ids(&process).await.len(), 12, "cycle {cycle}");
        process.terminate();
        assert!(tokio::task::block_in_place(|| process.wait()).0.success());
        let names = place.names();
        assert!(names.contains(&"users.redb-schema1".to_owned()), "{names:?}");
        assert!(!names.contains(&"users.redb-upgrading".to_owned()), "{names:?}");
    }
    println!("{before} killed before the rename, {after} after it");
    assert!(before > 0, "the kills came too late: {before} before, {after} after");
}

/// A command that is told of a limit of its files' size by an error, as by a full disk, instead of being ended by it.
fn without_sigxfsz(folder: &Path, command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.current_dir(folder).arg("-c").arg(format!("trap '' XFSZ; {command}")).arg(env!("CARGO_BIN_EXE_authferry"));
    shell
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r101_a_disk_too_full_for_the_upgrade_leaves_the_old_store() {
    let place = Place::with(CLOSED);
    let double = LegacyDouble::well_behaved();
    fs::write(place.path().join("proxy.toml"), config(&double, place.path())).expect("a file");
    let mut full = without_sigxfsz(place.path(), "ulimit -f 60; exec \"$0\" run");
    let ended = tokio::task::block_in_place(|| full.output()).expect("a shell");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot be brought to today's layout"), "{said}");
    assert!(fs::read(place.store()).expect("a file").starts_with(b"redb\x1a\n"));
    assert!(
        !place.names().contains(&"users.redb-upgrading".to_owned()),
        "the room that it took is free: {:?}",
        place.names()
    );
    let checked = tokio::task::block_in_place(|| run(place.path(), &["users", "list"]));
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains("user12@example.com"), "{checked:?}");
}

async fn metric(process: &Process, name: &str) -> String {
    let shown = send(process.admin(), "GET", "/metrics", &[], "").await.body;
    let line = shown.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    line.rsplit(' ').next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r103_on_a_full_disk_logins_go_on_nothing_is_acknowledged_and_writes_come_back_with_the_room() {
    let (double, folder) = (LegacyDouble::well_behaved(), TempDir::new().expect("a folder"));
    let text = config(&double, folder.path());
    fs::write(folder.path().join("proxy.toml"), &text).expect("a file");
    let start = || Process::spawn(without_sigxfsz(folder.path(), "exec \"$0\" run"));
    let mut process = tokio::task::block_in_place(start);
    let mut acknowledged = std::collections::BTreeSet::new();
    double.put_user(user(1_000));
    log_in(process.public(), 1_000).await;
    acknowledged.insert(migrated(&tokio::task::block_in_place(|| process.wait_for("\"migrated\""))));

    // No file may become longer than the store is.
    let pid = Pid::from_raw(i32::try_from(process.id()).expect("a process id")).expect("a process id");
    let length = fs::metadata(folder.path().join("users.redb")).expect("the store").len();
    let limit = |bytes| prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).map(drop);
    limit(Some(length)).expect("a limit");
    let mut next = 1_001;
    while metric(&process, "authferry_store_ready").await == "1" {
        assert!(next < 3_000, "the disk never ran full");
        double.put_user(user(next));
        assert_eq!(login(&process, next).await, 200, "legacy knows him, whatever the store says");
        next += 1;
    }
    // Who was known is known, and gets in; who is new gets in by legacy's word.
    for id in [1_000, next] {
        double.put_user(user(id));
        assert_eq!(login(&process, id).await, 200);
    }
    let ready = send(process.admin(), "GET", "/health/ready", &[], "").await;
    assert_eq!(ready.status, 200, "{}", ready.body);
    let log = process.log();
    acknowledged.extend(log.lines().filter(|line| line.contains("\"migrated\"")).map(migrated));

    limit(None).expect("no limit");
    while metric(&process, "authferry_store_ready").await != "1" {
        tokio::task::yield_now().await;
    }
    double.put_user(user(9_000));
    assert_eq!(login(&process, 9_000).await, 200);
    let log = tokio::task::block_in_place(|| process.kill());
    acknowledged.extend(log.lines().filter(|line| line.contains("\"migrated\"")).map(migrated));
    let process = tokio::task::block_in_place(|| Process::start(folder.path(), &text));
    let known = ids(&process).await;
    let lost: Vec<_> = acknowledged.difference(&known).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
    assert!(known.len() >= 3, "{known:?}");
}

async fn login(process: &Process, id: u64) -> u16 {
    let body = format!(r#"{{"email":"user{id}@example.com","password":"correct horse battery"}}"#);
    send(process.public(), "POST", "/login", &[("Content-Type", "application/json")], &body).await.status
}

//! `authferry store` with the built binary: backups of a store that serves, their restoration, checks and compaction, and what
//! each of them refuses.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kill::{ids, log_in, migrated, user};
use crate::support::app::ADMIN_TOKEN;
use crate::support::call_login::call_login;
use crate::support::legacy::LegacyDouble;
use crate::support::process::{Finished, Process, run};
use crate::support::raw_client::send;

/// A folder with a proxy.toml, a legacy backend, and backups in a folder of their own.
struct Site {
    folder: TempDir,
    double: LegacyDouble,
    text: String,
}

impl Site {
    fn new() -> Self {
        let (folder, double) = (TempDir::new().expect("a folder"), LegacyDouble::well_behaved());
        fs::create_dir(folder.path().join("backups")).expect("a folder");
        let own = format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\n[store]\npath = {:?}\nbackups = {:?}\n[admin]\nbind = \"127.0.0.1:0\"\n\
             token = {{ value = \"{ADMIN_TOKEN}\" }}\n",
            folder.path().join("users.redb"),
            folder.path().join("backups"),
        );
        let text = call_login(&double, "migrate", &own);
        Self { folder, double, text }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn store(&self) -> PathBuf {
        self.path().join("users.redb")
    }

    fn backup(&self, name: &str) -> PathBuf {
        self.path().join("backups").join(name)
    }

    fn start(&self) -> Process {
        tokio::task::block_in_place(|| Process::start(self.path(), &self.text))
    }

    /// Logs these users in for the first time, and gives their ids in our store.
    async fn migrate(&self, process: &mut Process, users: std::ops::Range<u64>) -> BTreeSet<String> {
        let mut acknowledged = BTreeSet::new();
        for id in users {
            self.double.put_user(user(id));
            log_in(process.public(), id).await;
            acknowledged.insert(migrated(&tokio::task::block_in_place(|| process.wait_for("\"migrated\""))));
        }
        acknowledged
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        tokio::task::block_in_place(|| run(self.path(), arguments))
    }

    /// The names of the files in a folder of ours.
    fn files(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path().join(folder)).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn stop(process: Process) {
    process.terminate();
    assert!(tokio::task::block_in_place(|| process.wait()).0.success());
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Changes a bit in the middle of each block that holds anything.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("a file");
    for block in bytes.chunks_mut(4_096).skip(4).filter(|block| block.iter().any(|byte| *byte != 0)) {
        block[2_000] ^= 0x20;
    }
    fs::write(path, bytes).expect("a file");
}

/// The byte of the file that a line about a damaged block names.
fn byte_of(line: &str) -> Option<u64> {
    line.strip_prefix("the block at byte ")?.split(' ').next()?.parse().ok()
}

async fn ask(admin: SocketAddr, method: &str, body: &str) -> (u16, Value) {
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let answer = send(admin, method, "/api/v1/store/backup", &headers, body).await;
    (answer.status, answer.json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r99_a_backup_under_load_is_the_store_as_it_was_and_the_restore_drill_brings_it_back() {
    let site = Site::new();
    let mut process = site.start();
    let before = site.migrate(&mut process, 1_000..1_020).await;
    let admin = format!("http://{}", process.admin());

    // Users come over while it is made.
    let command = {
        let folder = site.path().to_owned();
        std::thread::spawn(move || run(&folder, &["store", "backup", "--name", "drill", "--admin", &admin]))
    };
    let during = site.migrate(&mut process, 2_000..2_030).await;
    let done = tokio::task::block_in_place(|| command.join()).expect("no panic");
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("made by the running proxy and verified"), "{done:?}");
    let backup = site.backup("drill");
    assert_eq!(site.files("backups"), ["drill"]);
    assert_eq!(fs::metadata(&backup).expect("a file").permissions().mode() & 0o777, 0o600);
    let all = ids(&process).await;
    stop(process);

    let checked = site.run(&["store", "check", &text(&backup)]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains("is whole"), "{checked:?}");
    let elsewhere = TempDir::new().expect("a folder");
    let checked = run(elsewhere.path(), &["store", "check", &text(&backup)]);
    assert_eq!(checked.code, Some(0), "where no proxy.toml is, nor are its secrets: {checked:?}");
    assert!(checked.stdout.contains("is whole"), "{checked:?}");
    let unconfigured = run(elsewhere.path(), &["store", "check"]);
    assert_eq!(unconfigured.code, Some(78), "which store is not known: {unconfigured:?}");

    // The drill: everything is lost but the backup.
    fs::remove_file(site.store()).expect("removed");
    let missing = site.run(&["run"]);
    assert!(missing.stderr.contains("restore it from a backup"), "{missing:?}");
    let restored = site.run(&["store", "restore", &text(&backup)]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let process = site.start();
    let known = ids(&process).await;
    let lost: Vec<_> = before.difference(&known).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
    assert!(known.is_subset(&all), "nobody was made up");
    let some: BTreeSet<String> = before.union(&during).cloned().collect();
    assert!(known.is_subset(&some));
    // A legal state: who came over earlier is in it if anybody is who came later.
    let later: Vec<bool> = during.iter().map(|id| known.contains(id)).collect();
    let mut sorted = during.iter().cloned().collect::<Vec<_>>();
    sorted.sort();
    let from_then_on = sorted.iter().position(|id| !known.contains(id)).unwrap_or(sorted.len());
    assert!(sorted[from_then_on..].iter().all(|id| !known.contains(id)), "{later:?}");
    assert_eq!(site.files("backups"), ["drill"], "the backup stays");
    stop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r99_the_api_makes_one_backup_at_a_time_and_only_where_the_configuration_says() {
    let site = Site::new();
    let mut process = site.start();
    site.migrate(&mut process, 1_000..1_003).await;
    let admin = process.admin();
    assert_eq!(ask(admin, "GET", "").await.0, 404);
    for name in ["../outside", "/tmp/outside", "a/b", "", ".hidden", "a b"] {
        let (status, problem) = ask(admin, "POST", &json!({ "name": name }).to_string()).await;
        assert_eq!(status, 422, "{name:?}: {problem}");
    }
    assert_eq!(ask(admin, "POST", r#"{"path": "/tmp/x"}"#).await.0, 422);
    let stranger = send(admin, "POST", "/api/v1/store/backup", &[("Content-Type", "application/json")], "{}").await;
    assert_eq!(stranger.status, 401);
    assert_eq!(site.files("backups"), Vec::<String>::new());

    let (status, started) = ask(admin, "POST", r#"{"name": "one"}"#).await;
    assert_eq!(status, 202, "{started}");
    let done = loop {
        let (_, view) = ask(admin, "GET", "").await;
        match view["step"].as_str() {
            Some("copying" | "verifying") => {}
            _ => break view,
        }
    };
    assert_eq!((done["step"].as_str(), done["users"].as_u64()), (Some("done"), Some(3)), "{done}");
    assert_eq!(done["file"].as_str(), Some(text(&site.backup("one")).as_str()));
    let (status, problem) = ask(admin, "POST", r#"{"name": "one"}"#).await;
    assert_eq!(status, 409, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("not overwritten")), "{problem}");
    let (status, started) = ask(admin, "POST", "{}").await;
    assert_eq!(status, 202, "{started}");
    assert!(started["file"].as_str().is_some_and(|file| file.contains("/backups/users.redb-2")), "{started}");
    stop(process);
    // Whether it was done in time or given up: nothing half made is left.
    assert!(site.files("backups").iter().all(|name| !name.ends_with(".new")), "{:?}", site.files("backups"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r99_a_backup_without_a_proxy_comes_from_the_store_itself() {
    let site = Site::new();
    let mut process = site.start();
    site.migrate(&mut process, 1_000..1_005).await;
    stop(process);
    let made = site.run(&["store", "backup", "--name", "offline"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stdout.contains("5 users") && made.stdout.contains("from the store itself"), "{made:?}");
    let again = site.run(&["store", "backup", "--name", "offline"]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("is there already"), "{again:?}");
    let bad = site.run(&["store", "backup", "--name", "../x"]);
    assert_eq!(bad.code, Some(1), "{bad:?}");
    // A folder that is not there is named, by `check` before anybody wants a backup.
    fs::remove_dir_all(site.path().join("backups")).expect("a folder of ours");
    let folder = text(&site.path().join("backups"));
    let nowhere = site.run(&["store", "backup"]);
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
    assert!(nowhere.stderr.contains(&format!("the folder {folder} is not there; create it")), "{nowhere:?}");
    let warned = site.run(&["check"]);
    assert_eq!(warned.code, Some(0), "{warned:?}");
    assert!(warned.stdout.contains(&format!("there is no folder {folder}")), "{warned:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r99_a_damaged_backup_is_refused_and_the_store_stays_as_it_is() {
    let site = Site::new();
    let mut process = site.start();
    site.migrate(&mut process, 1_000..1_020).await;
    stop(process);
    assert_eq!(site.run(&["store", "backup", "--name", "good"]).code, Some(0));
    let (good, bad) = (site.backup("good"), site.backup("bad"));
    fs::copy(&good, &bad).expect("a copy");
    damage(&bad);
    let before = fs::read(site.store()).expect("the store");

    let checked = site.run(&["store", "check", &text(&bad)]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.stderr.contains("is damaged; restore it from a backup"), "{checked:?}");
    let refused = site.run(&["store", "restore", &text(&bad), "--replace"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("damaged"), "{refused:?}");

    // Each damaged block is told of, and not only the first that somebody meets.
    let whole = fs::read(&good).expect("the backup");
    assert!(checked.stdout.lines().count() > 5, "{checked:?}");
    let all: Vec<u64> = checked.stdout.lines().filter_map(byte_of).collect();
    let some = [all[0], all[all.len() / 2], all[all.len() - 1]];
    let mut damaged = whole.clone();
    for byte in some {
        damaged[usize::try_from(byte).expect("a small file") + 7] ^= 0x20;
    }
    fs::write(&bad, &damaged).expect("a file");
    let checked = site.run(&["store", "check", &text(&bad)]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert_eq!(checked.stdout.lines().filter_map(byte_of).collect::<Vec<_>>(), some, "{checked:?}");
    assert_eq!(checked.stdout.lines().count(), some.len(), "a line each: {checked:?}");

    // A flip in any one of its blocks, too, is refused or harmless.
    let mut met = 0;
    for block in (0..whole.len() / 4_096).filter(|block| whole[block * 4_096..][..4_096].iter().any(|byte| *byte != 0))
    {
        let mut damaged = whole.clone();
        damaged[block * 4_096 + 100] ^= 0x20;
        fs::write(&bad, damaged).expect("a file");
        let ended = site.run(&["store", "check", &text(&bad)]);
        met += u32::from(ended.code == Some(1));
    }
    assert!(met > 5, "{met}");
    for foreign in ["SQLite format 3\0", "", "redb"] {
        fs::write(&bad, foreign).expect("a file");
        let refused = site.run(&["store", "restore", &text(&bad), "--replace"]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
    }
    assert!(fs::read(site.store()).expect("the store") == before, "untouched");
    assert_eq!(
        site.files(".").iter().filter(|name| name.starts_with("users.redb")).count(),
        2,
        "{:?}",
        site.files(".")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r99_a_restore_never_touches_a_live_store_and_keeps_the_one_it_replaces() {
    let site = Site::new();
    let mut process = site.start();
    let first = site.migrate(&mut process, 1_000..1_004).await;
    let admin = format!("http://{}", process.admin());
    let made = site.run(&["store", "backup", "--name", "one", "--admin", &admin]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let backup = text(&site.backup("one"));
    site.migrate(&mut process, 2_000..2_003).await;

    for arguments in [&["store", "restore", &backup, "--replace"][..], &["store", "compact"], &["store", "check"]] {
        let refused = site.run(arguments);
        assert_eq!(refused.code, Some(1), "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains("in use by another process"), "{arguments:?}: {refused:?}");
    }
    assert_eq!(ids(&process).await.len(), 7, "it serves on");
    // Nor when its file was moved out of the way: what it goes on to save would be lost with it.
    let away = site.path().join("away.redb");
    fs::rename(site.store(), &away).expect("moved");
    let refused = site.run(&["store", "restore", &backup]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("in use by another process"), "{refused:?}");
    fs::rename(&away, site.store()).expect("moved back");
    stop(process);

    let refused = site.run(&["store", "restore", &backup]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("--replace"), "{refused:?}");
    let itself = site.run(&["store", "restore", &text(&site.store()), "--replace"]);
    assert_eq!(itself.code, Some(1), "{itself:?}");
    let restored = site.run(&["store", "restore", &backup, "--replace"]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let process = site.start();
    assert_eq!(ids(&process).await, first);
    stop(process);
    let kept = site.run(&["store", "check", &text(&site.path().join("users.redb-replaced"))]);
    assert!(kept.code == Some(0) && kept.stdout.contains("7 records"), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_brings_the_size_back_and_keeps_everybody() {
    let site = Site::new();
    let mut process = site.start();
    let everybody = site.migrate(&mut process, 1_000..1_040).await;
    stop(process);
    let before = fs::metadata(site.store()).expect("the store").len();
    let compacted = site.run(&["store", "compact"]);
    assert_eq!(compacted.code, Some(0), "{compacted:?}");
    assert!(compacted.stdout.contains(" before, ") && compacted.stdout.contains(" now"), "{compacted:?}");
    let after = fs::metadata(site.store()).expect("the store").len();
    assert!(after <= before, "{before} before, {after} after");
    assert_eq!(site.run(&["store", "check"]).code, Some(0));
    let process = site.start();
    assert_eq!(ids(&process).await, everybody);
    stop(process);
    // A link to another place stays one.
    let elsewhere = site.path().join("backups/users.redb");
    fs::rename(site.store(), &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, site.store()).expect("a link");
    assert_eq!(site.run(&["store", "compact"]).code, Some(0));
    assert!(fs::symlink_metadata(site.store()).expect("a link").is_symlink());
    assert_eq!(site.files("backups"), ["users.redb"]);
    let process = site.start();
    assert_eq!(ids(&process).await, everybody);
    stop(process);
    let none = site.run(&["store", "check", "no-such-file"]);
    assert!(none.code == Some(1) && none.stderr.contains("there is no file no-such-file"), "{none:?}");
}

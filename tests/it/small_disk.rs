//! A proxy whose store is on a file system of 1 MiB that runs full (R103). Needs `unshare` and the right to mount; where these are not
//! to be had, `store_upgrade` shows the same with a limit of the file's size.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::kill::{ids, log_in, migrated, user};
use crate::support::app::ADMIN_TOKEN;
use crate::support::call_login::call_login;
use crate::support::legacy::LegacyDouble;
use crate::support::process::Process;
use crate::support::raw_client::send;

/// A command that sees `data` below its folder as a file system of 1 MiB. Nobody else sees it, and it goes with the process.
fn on_a_small_disk(folder: &Path, command: &str) -> Command {
    let mut shell = Command::new("unshare");
    let mounted = format!("mount -t tmpfs -o size=1M,mode=700 tmpfs data && {command}");
    shell.current_dir(folder).args(["-m", "sh", "-c", &mounted]).arg(env!("CARGO_BIN_EXE_authferry"));
    shell
}

/// Writes until no more is taken.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("a file");
    for size in [4_096, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}

async fn ask(process: &Process, method: &str, target: &str) -> (u16, Value) {
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let body = if method == "POST" { "{}" } else { "" };
    let answer = send(process.admin(), method, target, &headers, body).await;
    (answer.status, answer.json())
}

async fn store_is(process: &Process) -> String {
    let (status, health) = ask(process, "GET", "/health/ready").await;
    assert_eq!(status, 200, "logins go on: {health}");
    health["store"].as_str().unwrap_or_default().to_owned()
}

async fn login(process: &Process, id: u64) -> u16 {
    let body = format!(r#"{{"email":"user{id}@example.com","password":"correct horse battery"}}"#);
    send(process.public(), "POST", "/login", &[("Content-Type", "application/json")], &body).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r103_on_a_file_system_that_is_full_logins_go_on_and_writes_come_back_with_the_room() {
    let (double, folder) = (LegacyDouble::well_behaved(), TempDir::new().expect("a folder"));
    fs::create_dir(folder.path().join("data")).expect("a folder");
    let probe = tokio::task::block_in_place(|| on_a_small_disk(folder.path(), "true").output());
    if !probe.is_ok_and(|probe| probe.status.success()) {
        println!("nothing can be mounted here");
        return;
    }
    let own = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[store]\npath = {:?}\n[admin]\nbind = \"127.0.0.1:0\"\n\
         token = {{ value = \"{ADMIN_TOKEN}\" }}\n",
        folder.path().join("data/users.redb")
    );
    fs::write(folder.path().join("proxy.toml"), call_login(&double, "migrate", &own)).expect("a file");
    let start = || Process::spawn(on_a_small_disk(folder.path(), "exec \"$0\" run"));
    let mut process = tokio::task::block_in_place(start);
    let data = PathBuf::from(format!("/proc/{}/root", process.id()));
    let data = data.join(folder.path().join("data").strip_prefix("/").expect("a path from the root"));
    double.put_user(user(1_000));
    log_in(process.public(), 1_000).await;
    let mut acknowledged = vec![migrated(&tokio::task::block_in_place(|| process.wait_for("\"migrated\"")))];
    assert_eq!(store_is(&process).await, "ready");

    fill(&data.join("filler"));
    let mut next = 1_001;
    while store_is(&process).await == "ready" {
        assert!(next < 3_000, "the disk never ran full");
        double.put_user(user(next));
        assert_eq!(login(&process, next).await, 200, "legacy knows him, whatever the store says");
        next += 1;
    }
    assert_eq!(store_is(&process).await, "read_only");
    double.remove_user(1_000);
    assert_eq!(login(&process, 1_000).await, 200, "who came over before needs no legacy");
    // Nor does a backup that finds no room leave anything.
    let (status, _) = ask(&process, "POST", "/api/v1/store/backup").await;
    assert_eq!(status, 202);
    let failed = loop {
        let (_, view) = ask(&process, "GET", "/api/v1/store/backup").await;
        if !matches!(view["step"].as_str(), Some("copying" | "verifying")) {
            break view;
        }
    };
    assert_eq!(failed["step"].as_str(), Some("failed"), "{failed}");
    let mut files: Vec<_> = fs::read_dir(&data).expect("a folder").map(|e| e.expect("one").file_name()).collect();
    files.sort();
    assert_eq!(files, ["filler", "users.redb", "users.redb-init"]);

    fs::remove_file(data.join("filler")).expect("removed");
    while store_is(&process).await != "ready" {
        tokio::task::yield_now().await;
    }
    double.put_user(user(9_000));
    assert_eq!(login(&process, 9_000).await, 200);
    let log = process.log();
    acknowledged.extend(log.lines().filter(|line| line.contains("\"migrated\"")).map(migrated));
    let known = ids(&process).await;
    let lost: Vec<_> = acknowledged.iter().filter(|id| !known.contains(*id)).collect();
    assert!(lost.is_empty() && acknowledged.len() > 1, "lost {lost:?} of {acknowledged:?}");
    process.terminate();
    assert!(tokio::task::block_in_place(|| process.wait()).0.success());
}

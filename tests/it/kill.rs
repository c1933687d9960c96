//! `kill -9` in the middle of migrations: whoever the process said was migrated is there after the next start (R94).
//!
//! This shows that nothing is acknowledged before it left the process, and that every start after a kill is a clean one. That a
//! disk without power keeps it too is shown in `crash_store`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app::ADMIN_TOKEN;
use crate::support::call_login::call_login;
use crate::support::legacy::{DoubleUser, LegacyDouble, ann};
use crate::support::process::Process;
use crate::support::raw_client::send;

/// How often the process is killed; 2,000 times with `AUTHFERRY_LONG=1`.
fn cycles() -> u64 {
    if std::env::var_os("AUTHFERRY_LONG").is_some() { 2_000 } else { 18 }
}

/// New users that log in at once in each cycle.
const USERS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r94_no_acknowledged_user_is_lost_by_a_kill() {
    let double = LegacyDouble::well_behaved();
    let folder = tempfile::TempDir::new().expect("a folder");
    let text = config(&double, folder.path());
    let mut acknowledged = BTreeSet::new();
    let mut next = 1_000;
    for cycle in 0..cycles() {
        let users: Vec<u64> = (next..next + USERS).collect();
        next += USERS;
        users.iter().for_each(|id| double.put_user(user(*id)));
        let mut process = tokio::task::block_in_place(|| Process::start(folder.path(), &text));
        let known = ids(&process).await;
        let lost: Vec<_> = acknowledged.difference(&known).collect();
        assert!(lost.is_empty(), "cycle {cycle}: lost {lost:?}");

        let public = process.public();
        let logins: Vec<_> = users.iter().map(|id| tokio::spawn(log_in(public, *id))).collect();
        // Killed after another number of acknowledgements each time, none and all of them included.
        for _ in 0..cycle % (USERS + 1) {
            let line = tokio::task::block_in_place(|| process.wait_for("\"migrated\""));
            acknowledged.insert(migrated(&line));
        }
        let log = tokio::task::block_in_place(|| process.kill());
        acknowledged.extend(log.lines().filter(|line| line.contains("\"migrated\"")).map(migrated));
        for login in logins {
            drop(login.await);
        }
    }
    println!("{} users were acknowledged before {} kills", acknowledged.len(), cycles());
    assert!(acknowledged.len() as u64 > cycles(), "the kills left users to lose: {}", acknowledged.len());
}

/// Sends a login and waits for an answer or the end of the connection.
pub(crate) async fn log_in(public: SocketAddr, id: u64) {
    let body = format!(r#"{{"email":"user{id}@example.com","password":"correct horse battery"}}"#);
    let head = "POST /login HTTP/1.1\r\nhost: app\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    // The other end may be dead at any point: what it said is in its log.
    let Ok(mut stream) = TcpStream::connect(public).await else { return };
    drop(stream.write_all(request.as_bytes()).await);
    drop(stream.read_to_end(&mut Vec::new()).await);
}

pub(crate) fn user(id: u64) -> DoubleUser {
    DoubleUser {
        id,
        email: format!("user{id}@example.com"),
        username: format!("user{id}"),
        phone: format!("+49 30 {id:07}"),
        ..ann()
    }
}

/// The user whom a line of the audit log acknowledges.
pub(crate) fn migrated(line: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    line["id"].as_str().unwrap_or_else(|| panic!("an id in {line}")).to_owned()
}

/// Our keys of everyone who is in the store.
pub(crate) async fn ids(process: &Process) -> BTreeSet<String> {
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let (mut ids, mut after) = (BTreeSet::new(), String::new());
    loop {
        let target = format!("/api/v1/users?limit=1000{after}");
        let page: Value = send(process.admin(), "GET", &target, &[("Authorization", &bearer)], "").await.json();
        let users = page["users"].as_array().unwrap_or_else(|| panic!("users in {page}"));
        ids.extend(users.iter().filter_map(|user| user["id"].as_str().map(ToOwned::to_owned)));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return ids,
        }
    }
}

fn config(double: &LegacyDouble, folder: &Path) -> String {
    let own = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[store]\npath = {:?}\n[admin]\nbind = \"127.0.0.1:0\"\n\
         token = {{ value = \"{ADMIN_TOKEN}\" }}\n",
        folder.join("users.redb")
    );
    call_login(double, "migrate", &own)
}

//! Takeovers that go wrong: the service goes on, with every user and every request.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use authferry::domain::clock::SystemClock;
use authferry::domain::mode::Mode;
use authferry::store::{StoreSettings, open};
use authferry::takeover::{Door, Fault, Link, Message, connect};
use authferry::telemetry::Metrics;
use tempfile::TempDir;

use crate::restarts::own;
use crate::support::legacy::LegacyDouble;
use crate::support::load::{Load, app, config};
use crate::support::process::{Process, authferry, finish};
use crate::support::raw_client::send;
use crate::support::soon;

const PATIENCE: Duration = Duration::from_secs(60);

/// How far a process gets that would take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gets {
    Connected,
    Offered,
    Accepting,
    ToTheStore,
}

/// A process that asks to take over and gets so far. Dropping what it returns is its death.
async fn newcomer(folder: &Path, gets: Gets) -> Link {
    let mut link = connect(&folder.join("takeover.sock")).await.expect("let in").expect("a running process");
    if gets == Gets::Connected {
        return link;
    }
    let mut sockets = 0;
    loop {
        match link.receive().await.expect("an offer") {
            (Message::Sockets { .. }, fds) => sockets += fds.len(),
            (Message::Offer { .. }, _) => break,
            (other, _) => panic!("{other:?}"),
        }
    }
    assert_eq!(sockets, 3, "one a worker, and the admin's");
    if gets >= Gets::Accepting {
        link.send(&Message::Prepared).await.expect("sent");
        link.expect(&Message::Accept, PATIENCE).await.expect("accepting");
    }
    if gets >= Gets::ToTheStore {
        link.expect(&Message::StoreClosed, PATIENCE).await.expect("closed");
    }
    link
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_a_process_that_dies_while_it_takes_over_fails_no_request() {
    let (app, double) = (app().await, Arc::new(LegacyDouble::well_behaved()));
    let folder = TempDir::new().expect("a folder");
    let text = config(&app, &double, &own(folder.path(), "127.0.0.1:0"));
    let mut process = tokio::task::block_in_place(|| Process::start(folder.path(), &text));
    let load = Load::begin(process.public(), &double).await;
    for gets in [Gets::Connected, Gets::Offered, Gets::Accepting, Gets::ToTheStore, Gets::ToTheStore] {
        drop(soon("the newcomer", newcomer(folder.path(), gets)).await);
        tokio::task::block_in_place(|| process.wait_for("this process goes on"));
        load.until_more(40).await;
    }
    let seen = load.end().await;
    assert_eq!(seen.failures(), Vec::<String>::new());
    // A whole one still can.
    let next = tokio::task::block_in_place(|| Process::spawn(authferry(folder.path(), &["run", "--takeover"])));
    assert!(tokio::task::block_in_place(|| process.wait()).0.success());
    next.terminate();
    assert!(tokio::task::block_in_place(|| next.wait()).0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_a_store_that_another_process_keeps_for_a_while_is_waited_for() {
    let (app, double) = (app().await, Arc::new(LegacyDouble::well_behaved()));
    let folder = TempDir::new().expect("a folder");
    let text = config(&app, &double, &own(folder.path(), "127.0.0.1:0"));
    let mut process = tokio::task::block_in_place(|| Process::start(folder.path(), &text));
    let load = Load::begin(process.public(), &double).await;
    let link = soon("the newcomer", newcomer(folder.path(), Gets::ToTheStore)).await;
    let settings = StoreSettings::without_keys(folder.path().join("users.redb"), 1 << 20);
    let held = open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("it is free");
    held.set_mode(Mode::Migrate).await.expect("written");
    drop(link);
    tokio::task::block_in_place(|| process.wait_for("this process goes on"));
    // Pages are served while the store is away.
    let page = send(process.public(), "GET", "/page", &[], "").await;
    assert_eq!(page.status, 200);
    drop(held);
    load.until_more(40).await;
    let seen = load.end().await;
    assert_eq!(seen.failures(), Vec::<String>::new());
    process.terminate();
    assert!(tokio::task::block_in_place(|| process.wait()).0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_a_process_that_is_stopped_while_it_hands_over_finishes_the_handover_first() {
    // This test is the new process.
    for gets in [Gets::Accepting, Gets::ToTheStore] {
        let (folder, _, mut old) = tokio::task::block_in_place(running);
        let mut link = soon("the newcomer", newcomer(folder.path(), gets)).await;
        old.terminate();
        tokio::task::block_in_place(|| old.wait_for("draining"));
        if gets == Gets::Accepting {
            link.expect(&Message::StoreClosed, PATIENCE).await.expect("closed");
        }
        let settings = StoreSettings::without_keys(folder.path().join("users.redb"), 1 << 20);
        open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("it is free");
        link.send(&Message::Serving).await.expect("sent");
        link.expect(&Message::Farewell, PATIENCE).await.expect("let go");
        let (status, log) = tokio::task::block_in_place(|| old.wait());
        assert!(status.success() && log.contains("handed over"), "{status}\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_a_process_that_is_stopped_ends_though_the_new_one_dies() {
    let (folder, _, mut old) = tokio::task::block_in_place(running);
    let link = soon("the newcomer", newcomer(folder.path(), Gets::ToTheStore)).await;
    old.terminate();
    tokio::task::block_in_place(|| old.wait_for("finishing the handover first"));
    drop(link);
    let (status, log) = tokio::task::block_in_place(|| old.wait());
    assert!(status.success() && log.contains("this process is ending"), "{status}\n{log}");
}

/// A running proxy that could be taken over from, and its folder.
fn running() -> (TempDir, String, Process) {
    let folder = TempDir::new().expect("a folder");
    let text = format!("[upstream]\nurl = \"http://127.0.0.1:1\"\n{}", own(folder.path(), "127.0.0.1:0"));
    let process = Process::start(folder.path(), &text);
    (folder, text, process)
}

/// Runs `run --takeover` with another configuration to its end.
fn takes_over(folder: &Path, text: &str) -> crate::support::process::Finished {
    std::fs::write(folder.join("next.toml"), text).expect("a writable folder");
    finish(authferry(folder, &["run", "--takeover", "--config", "next.toml"]), "")
}

#[tokio::test]
async fn r25_a_process_that_cannot_be_built_leaves_the_running_one_alone() {
    let (folder, text, mut process) = running();
    let broken = takes_over(folder.path(), &text.replace("workers = 2", "workers = \"many\""));
    assert_eq!(broken.code, Some(78), "{broken:?}");
    let without = takes_over(folder.path(), "[upstream]\nurl = \"http://127.0.0.1:1\"\n");
    assert_eq!(without.code, Some(2), "{without:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let more = format!("[[listener]]\nbind = \"{address}\"\n{text}");
    let blocked = takes_over(folder.path(), &more);
    assert_eq!(blocked.code, Some(1), "{blocked:?}");
    assert!(blocked.stderr.contains("another process listens there already"), "{blocked:?}");
    process.wait_for("this process goes on");
    assert_eq!(send(process.admin(), "GET", "/health/ready", &[], "").await.status, 200);
    process.terminate();
    assert!(process.wait().0.success());
}

/// The answer's first line from a Unix socket.
fn asked(socket: &Path) -> String {
    let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("a listener");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn r25_a_unix_socket_changes_hands_with_its_file() {
    let folder = TempDir::new().expect("a folder");
    let socket = folder.path().join("edge.sock");
    let bind = format!("unix:{}", socket.display());
    let text = format!("[upstream]\nurl = \"http://127.0.0.1:1\"\n{}", own(folder.path(), &bind));
    let mut old = Process::start(folder.path(), &text);
    let blocked = takes_over(folder.path(), &format!("[[listener]]\nbind = \"{}\"\n{text}", old.admin()));
    assert_eq!(blocked.code, Some(1), "{blocked:?}");
    old.wait_for("this process goes on");
    // Nobody is behind the proxy.
    assert_eq!(asked(&socket), "HTTP/1.1 502 Bad Gateway");
    let new = Process::spawn(authferry(folder.path(), &["run", "--takeover"]));
    assert!(old.wait().0.success());
    assert_eq!(asked(&socket), "HTTP/1.1 502 Bad Gateway");
    new.terminate();
    assert!(new.wait().0.success());
    assert!(!socket.exists(), "it goes with its last owner");
}

#[tokio::test]
async fn r25_a_process_of_another_user_is_turned_away() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can be somebody else");
        return;
    }
    let (folder, text, mut process) = running();
    let socket = folder.path().join("takeover.sock");
    assert_eq!(socket.metadata().expect("metadata").permissions().mode() & 0o777, 0o600);
    // As if somebody had opened the file to all: the process asks who is there.
    for (path, mode) in [(folder.path(), 0o755), (&socket, 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("changed");
    }
    std::fs::write(folder.path().join("next.toml"), text).expect("a writable folder");
    // The binary's own folder may be closed to others.
    let binary = folder.path().join("authferry");
    std::fs::copy(env!("CARGO_BIN_EXE_authferry"), &binary).expect("copied");
    let mut command = std::process::Command::new(&binary);
    command.current_dir(folder.path()).args(["run", "--takeover", "--config", "next.toml"]).uid(65_534).gid(65_534);
    let stranger = finish(command, "");
    assert_eq!(stranger.code, Some(1), "{stranger:?}");
    process.wait_for("was turned away");
    assert_eq!(send(process.admin(), "GET", "/health/ready", &[], "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_a_new_process_that_cannot_have_the_store_says_who_has_it_and_ends() {
    let folder = TempDir::new().expect("a folder");
    let text = format!("[upstream]\nurl = \"http://127.0.0.1:1\"\n{}", own(folder.path(), "127.0.0.1:0"));
    // This test is the old process: it says that the store is closed, and it is not.
    let settings = StoreSettings::without_keys(folder.path().join("users.redb"), 1 << 20);
    let held = open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("opened");
    let door = Door::open(&folder.path().join("takeover.sock")).expect("open");
    let path = folder.path().to_owned();
    let next = std::thread::spawn(move || takes_over(&path, &text));
    let mut link = soon("the new process", door.next()).await;
    link.send(&Message::Offer { mode: Mode::Migrate }).await.expect("sent");
    link.expect(&Message::Prepared, PATIENCE).await.expect("prepared");
    link.send(&Message::Accept).await.expect("sent");
    link.send(&Message::StoreClosed).await.expect("sent");
    // What the old process waits for before it takes everything back.
    let gone = tokio::time::timeout(PATIENCE, link.broken()).await.expect("given up");
    assert!(matches!(gone, Fault::Lost(_)), "{gone:?}");
    let next = tokio::task::block_in_place(|| next.join()).expect("no panic");
    assert_eq!(next.code, Some(1), "{next:?}");
    assert!(next.stderr.contains("in use by another process"), "{next:?}");
    drop(held);
}

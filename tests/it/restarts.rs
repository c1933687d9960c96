//! Restarts under load: not one request fails, not one user who was acknowledged is lost (R25). Five of each kind; a hundred with
//! `AUTHFERRY_LONG=1`.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::SockRef;
use tempfile::TempDir;

use crate::kill::{ids, migrated};
use crate::support::app::ADMIN_TOKEN;
use crate::support::legacy::LegacyDouble;
use crate::support::load::{Load, Seen, app, config};
use crate::support::process::{PATIENCE, Process, authferry};

fn restarts() -> u64 {
    if std::env::var_os("AUTHFERRY_LONG").is_some() { 100 } else { 5 }
}

/// The lines that are this deployment's own.
pub(crate) fn own(folder: &Path, bind: &str) -> String {
    format!(
        "[[listener]]\nbind = \"{bind}\"\n[server]\nworkers = 2\ntakeover = {:?}\n[store]\npath = {:?}\n\
         [admin]\nbind = \"127.0.0.1:0\"\ntoken = {{ value = \"{ADMIN_TOKEN}\" }}\n",
        folder.join("takeover.sock"),
        folder.join("users.redb"),
    )
}

fn acknowledged(log: &str) -> impl Iterator<Item = String> {
    log.lines().filter(|line| line.contains("\"migrated\"")).map(migrated)
}

/// Ends a process that has been replaced or told to, and takes from its log whom it said it had saved.
fn ended(process: Process, saved: &mut BTreeSet<String>) {
    let (status, log) = process.wait();
    assert!(status.success(), "{status}\n{log}");
    saved.extend(acknowledged(&log));
}

async fn judge(seen: Arc<Seen>, last: Process, mut saved: BTreeSet<String>, kind: &str) {
    let known = ids(&last).await;
    last.terminate();
    tokio::task::block_in_place(|| ended(last, &mut saved));
    let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::SeqCst);
    let failures = seen.failures();
    println!(
        "{kind}: {} restarts, {} requests ({} pages, {} logins, {} first logins, {} downloads), {} failed; slowest page {} ms, \
         login {} ms; {} users acknowledged, {} in the store",
        restarts(),
        seen.answered(),
        count(&seen.pages),
        count(&seen.logins),
        count(&seen.first_logins),
        count(&seen.downloads),
        failures.len(),
        count(&seen.slowest_page),
        count(&seen.slowest_login),
        saved.len(),
        known.len(),
    );
    assert!(failures.is_empty(), "{} failed: {:#?}", failures.len(), failures.iter().take(20).collect::<Vec<_>>());
    let lost: Vec<_> = saved.difference(&known).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(saved.len() as u64, count(&seen.first_logins), "everyone whom legacy proved was saved at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_processes_that_take_over_from_each_other_fail_no_request() {
    let (app, double) = (app().await, Arc::new(LegacyDouble::well_behaved()));
    let folder = TempDir::new().expect("a folder");
    let text = config(&app, &double, &own(folder.path(), "127.0.0.1:0"));
    let mut process = tokio::task::block_in_place(|| Process::start(folder.path(), &text));
    let public = process.public();
    let load = Load::begin(public, &double).await;
    let mut saved = BTreeSet::new();
    for _ in 0..restarts() {
        load.until_more(20).await;
        let next = tokio::task::block_in_place(|| Process::spawn(authferry(folder.path(), &["run", "--takeover"])));
        assert_eq!(next.public(), public);
        // It ends by itself, once its downloads are done.
        tokio::task::block_in_place(|| ended(process, &mut saved));
        process = next;
    }
    load.until_more(20).await;
    judge(load.end().await, process, saved, "takeover").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_restarts_on_a_socket_that_the_service_manager_holds_fail_no_request() {
    let (app, double) = (app().await, Arc::new(LegacyDouble::well_behaved()));
    let folder = TempDir::new().expect("a folder");
    let text = config(&app, &double, &own(folder.path(), "systemd:public"));
    std::fs::write(folder.path().join("proxy.toml"), text).expect("a writable folder");
    // This test is the service manager: it holds the socket, and gives it to one process after the other.
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    SockRef::from(&socket).set_cloexec(false).expect("a live socket");
    let start = || {
        let mut command = authferry(folder.path(), &["run"]);
        handed_over(&mut command, &socket);
        tokio::task::block_in_place(|| Process::spawn(command))
    };
    let mut process = start();
    let load = Load::begin(socket.local_addr().expect("an address"), &double).await;
    let mut saved = BTreeSet::new();
    for _ in 0..restarts() {
        load.until_more(20).await;
        process.terminate();
        tokio::task::block_in_place(|| ended(process, &mut saved));
        process = start();
    }
    load.until_more(20).await;
    judge(load.end().await, process, saved, "socket activation").await;
}

fn handed_over(command: &mut Command, socket: &TcpListener) {
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "public");
    command.env("LISTEN_FDS_FIRST_FD", socket.as_raw_fd().to_string());
}

/// The service manager's end of `sd_notify(3)`.
struct Manager {
    socket: UnixDatagram,
    _folder: TempDir,
}

impl Manager {
    fn watching(command: &mut Command, watchdog: Option<Duration>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        command.env("NOTIFY_SOCKET", &path);
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        Self { socket, _folder: folder }
    }

    /// The next state that holds this assignment.
    fn hears(&self, assignment: &str) -> String {
        loop {
            let mut bytes = [0; 4096];
            let length = self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("no {assignment}: {error}"));
            let state = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if state.lines().any(|line| line.starts_with(assignment)) {
                return state;
            }
        }
    }
}

#[test]
fn the_service_manager_hears_of_the_start_of_life_and_of_the_end() {
    let folder = TempDir::new().expect("a folder");
    let text = format!("[upstream]\nurl = \"http://127.0.0.1:1\"\n{}", own(folder.path(), "127.0.0.1:0"));
    std::fs::write(folder.path().join("proxy.toml"), text).expect("a writable folder");
    let mut command = authferry(folder.path(), &["run"]);
    let manager = Manager::watching(&mut command, Some(Duration::from_millis(400)));
    let process = Process::spawn(command);
    assert_eq!(manager.hears("READY=1"), "READY=1\nSTATUS=serving");
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }
    process.terminate();
    let stopping = manager.hears("STOPPING=1");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=45000000"), "{stopping}");
    assert!(process.wait().0.success());
}

#[test]
fn r25_a_process_that_is_asked_to_starts_the_next_one_and_the_service_manager_follows() {
    let folder = TempDir::new().expect("a folder");
    let text = format!("[upstream]\nurl = \"http://127.0.0.1:1\"\n{}", own(folder.path(), "127.0.0.1:0"));
    std::fs::write(folder.path().join("proxy.toml"), text).expect("a writable folder");
    let mut command = authferry(folder.path(), &["run"]);
    let manager = Manager::watching(&mut command, None);
    let mut process = Process::spawn(command);
    manager.hears("READY=1");
    process.signal("USR2");
    let reloading = manager.hears("RELOADING=1");
    assert!(reloading.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading}");
    let followed = manager.hears("MAINPID=");
    let line = process.wait_for("handed over");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let next = line["pid"].as_u64().expect("a process id");
    assert!(followed.starts_with(&format!("MAINPID={next}\nREADY=1\n")), "{followed}");
    assert_ne!(next, u64::from(process.id()));
    assert_eq!(manager.hears("READY=1"), "READY=1\nSTATUS=serving", "the next one says it itself");
    // It writes to the same log, which ends with it.
    let killed = Command::new("kill").arg(next.to_string()).status().expect("kill runs");
    assert!(killed.success());
    assert!(process.wait().0.success());
}

#[test]
fn the_units_for_systemd_are_understood_by_it() {
    let folder = TempDir::new().expect("a folder");
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd");
    let mut paths = Vec::new();
    for name in ["authferry.service", "authferry.socket"] {
        let unit = std::fs::read_to_string(units.join(name)).expect("the unit");
        // The binary need not be installed where the test runs, nor the user be known.
        let unit = unit.replace("/usr/bin/authferry", "/bin/true").replace("=authferry\n", "=root\n");
        paths.push(folder.path().join(name));
        std::fs::write(paths.last().expect("just pushed"), unit).expect("a writable folder");
    }
    match Command::new("systemd-analyze").arg("verify").args(&paths).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && !said.contains("Unknown"), "{said}");
        }
        Err(error) => println!("skipped: no systemd-analyze here ({error})"),
    }
}

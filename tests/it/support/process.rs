//! The built binary as a process: one command from start to end, or a proxy that serves until the test lets go of it.
//!
//! Everything waits for something that was said or for an end, with a limit that only a broken program reaches; nothing sleeps.
//! A process is killed when its value is dropped, so that a failed test leaves none behind.

#![allow(dead_code, reason = "each topic uses the part that it needs")]

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

/// How long anything may take before the test is given up: far more than is ever needed, even on a machine under load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_authferry");

/// A command that has not been started: `authferry` in this folder, with none of our variables from outside.
pub(crate) fn authferry(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.current_dir(folder).args(arguments).env("NO_COLOR", "1");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AUTHFERRY") {
            command.env_remove(name);
        }
    }
    command
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end, with nothing to read on standard input.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Finished {
    finish(authferry(folder, arguments), "")
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command, input: &str) -> Finished {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that does not read what is typed ends before it could be written.
    let _unread = stdin.write_all(input.as_bytes());
    drop(stdin);
    let stdout = Reading::of(child.stdout.take().expect("piped"));
    let stderr = Reading::of(child.stderr.take().expect("piped"));
    let mut guard = Guard(child);
    let (stdout, stderr) = (stdout.into_rest(), stderr.into_rest());
    let code = guard.0.wait().expect("a child of ours").code();
    Finished { code, stdout, stderr }
}

/// A running proxy.
pub(crate) struct Process {
    child: Guard,
    log: Receiver<String>,
    seen: Vec<String>,
    reader: Option<JoinHandle<()>>,
    public: Vec<String>,
    admin: Option<SocketAddr>,
}

impl Process {
    /// Writes the configuration into the folder as proxy.toml and runs it there, until it says that it is ready. Bind to port 0.
    pub(crate) fn start(folder: &Path, config: &str) -> Self {
        std::fs::write(folder.join("proxy.toml"), config).expect("a writable folder");
        Self::spawn(authferry(folder, &["run"]))
    }

    /// The same with a command of the test's own making.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.env("AUTHFERRY__LOG__FORMAT", "json");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = Guard(command.spawn().expect("the binary starts"));
        let stderr = child.0.stderr.take().expect("piped");
        // Bounded like everything; a test that lets this many lines pile up has forgotten to look.
        let (sender, log) = sync_channel(100_000);
        let reader = Some(std::thread::spawn(move || forward_lines(stderr, &sender)));
        let mut process = Self { child, log, seen: Vec::new(), reader, public: Vec::new(), admin: None };
        process.wait_until_ready();
        process
    }

    fn wait_until_ready(&mut self) {
        loop {
            let Some(line) = self.next_line() else {
                panic!("it ended before it was ready:\n{}", self.seen.join("\n"))
            };
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            let address = event["address"].as_str().unwrap_or_default();
            match (event["message"].as_str(), event["listener"].as_str()) {
                (Some("listening"), Some("public")) => self.public.push(address.to_owned()),
                (Some("listening"), Some("admin")) => self.admin = address.parse().ok(),
                (Some("ready"), _) => return,
                _ => {}
            }
        }
    }

    /// The next line of the log; none when the process has ended.
    fn next_line(&mut self) -> Option<String> {
        match self.log.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing more was said:\n{}", self.seen.join("\n")),
        }
    }

    /// Where the first public TCP listener is bound.
    pub(crate) fn public(&self) -> SocketAddr {
        self.listener(0)
    }

    /// Where a public TCP listener is bound, in the order of the configuration.
    pub(crate) fn listener(&self, number: usize) -> SocketAddr {
        let mut addresses = self.public.iter().filter_map(|address| {
            let address = address.trim_start_matches("http://").trim_start_matches("https://");
            address.trim_end_matches('/').parse().ok()
        });
        addresses.nth(number).unwrap_or_else(|| panic!("no such public address in {:?}", self.public))
    }

    /// Where the admin listener is bound.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin.expect("an admin listener")
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// Asks it to end, as a service manager does.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(sent.expect("kill runs").success(), "SIG{name} could not be sent");
    }

    /// Reads the log until a line that holds this text, and gives that line.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            let Some(line) = self.next_line() else { panic!("it ended without `{text}`:\n{}", self.seen.join("\n")) };
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The same for a line that may have come already, as before it was ready.
    pub(crate) fn hear(&mut self, text: &str) -> String {
        match self.seen.iter().find(|line| line.contains(text)) {
            Some(line) => line.clone(),
            None => self.wait_for(text),
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) -> String {
        self.child.0.kill().expect("a child of ours");
        self.wait().1
    }

    /// Waits for its end; gives the status and the whole log.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        while self.next_line().is_some() {}
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the log's reader does not panic");
        }
        let status = self.child.0.wait().expect("a child of ours");
        (status, self.seen.join("\n"))
    }

    /// Every line so far.
    pub(crate) fn log(&mut self) -> String {
        self.seen.extend(self.log.try_iter());
        self.seen.join("\n")
    }
}

fn forward_lines(from: impl Read, to: &SyncSender<String>) {
    for line in BufReader::new(from).lines() {
        let Ok(line) = line else { return };
        if to.send(line).is_err() {
            return;
        }
    }
}

/// Reads a stream whole in a thread, so that two pipes cannot block each other.
struct Reading(Receiver<String>);

impl Reading {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(1);
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _as_far_as_it_went = stream.read_to_end(&mut bytes);
            let _nobody_waits_any_more = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        });
        Self(receiver)
    }

    fn into_rest(self) -> String {
        self.0.recv_timeout(PATIENCE).expect("the command ends")
    }
}

/// Killed when it is let go.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

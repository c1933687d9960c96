//! The login apps of `tests/real/interception`, as processes: ordinary apps on frameworks in use, which say of every request whether
//! they took it for a login and for whose.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::process::PATIENCE;
use crate::support::real::installed;

/// A framework, in one of two flavours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct App {
    pub(super) framework: &'static str,
    pub(super) flavour: Flavour,
    /// Where its login is.
    pub(super) path: &'static str,
    /// In which format the proxy in front is told to expect logins; most apps read both.
    pub(super) format: Format,
}

/// How an app is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// As the framework's guide has it.
    Plain,
    /// Everything switched on that people switch on, and credentials read from wherever they stand.
    Lenient,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Form,
}

/// All of them, in the order of the table in the documentation.
pub(super) const APPS: [App; 10] = [
    app("express", Flavour::Plain, "/api/login", Format::Json),
    app("express", Flavour::Lenient, "/api/login", Format::Form),
    app("fastify", Flavour::Plain, "/api/login", Format::Json),
    app("fastify", Flavour::Lenient, "/api/login", Format::Json),
    app("flask", Flavour::Plain, "/api/login", Format::Form),
    app("flask", Flavour::Lenient, "/api/login", Format::Form),
    app("django", Flavour::Plain, "/api/login", Format::Json),
    app("django", Flavour::Lenient, "/api/login", Format::Form),
    app("php", Flavour::Plain, "/api/login.php", Format::Form),
    app("php", Flavour::Lenient, "/api/login", Format::Form),
];

const fn app(framework: &'static str, flavour: Flavour, path: &'static str, format: Format) -> App {
    App { framework, flavour, path, format }
}

impl App {
    pub(super) fn name(self) -> String {
        format!("{} {}", self.framework, self.flavour.as_str())
    }
}

impl Flavour {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Lenient => "lenient",
        }
    }
}

/// A running app: killed when it is dropped.
pub(super) struct Backend {
    child: Child,
    folder: TempDir,
    pub(super) address: SocketAddr,
}

impl Backend {
    /// Starts an app and waits until it answers; none if whoever runs the tests wants them without the real ones.
    pub(super) async fn start(app: App) -> Option<Self> {
        if std::env::var_os("AUTHFERRY_SKIP_REAL").is_some_and(|value| !value.is_empty()) {
            println!("AUTHFERRY_SKIP_REAL is set: nothing was tested with {}", app.name());
            return None;
        }
        let stamp = installed().join("interception/stamp");
        assert!(
            stamp.exists(),
            "{} is missing: run `tests/run`, or once `tests/real/interception/install`; AUTHFERRY_SKIP_REAL=1 leaves these tests out",
            stamp.display()
        );
        // Somebody may take a free port before the app does: then it ends at once, and another one is tried.
        for _ in 0..5 {
            let mut backend = Self::spawn(app);
            let listens = tokio::time::timeout(PATIENCE, backend.listens()).await;
            if listens.unwrap_or_else(|_| panic!("{} does not answer: {}", app.name(), backend.said())) {
                return Some(backend);
            }
            println!("{} ended at once: {}", app.name(), backend.said());
        }
        panic!("{} does not start", app.name());
    }

    fn spawn(app: App) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let folder = TempDir::new().expect("a folder");
        let log = File::create(folder.path().join("log")).expect("a log");
        let start = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/interception/start");
        let mut command = Command::new(start);
        command.arg(app.framework).env("FLAVOUR", app.flavour.as_str());
        command.env("PORT", address.port().to_string()).env("DATA_DIR", folder.path());
        command.env("AUTHFERRY_REAL_DIR", installed());
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let child = command.spawn().expect("tests/real/interception/start runs");
        Self { child, folder, address }
    }

    async fn listens(&mut self) -> bool {
        loop {
            let ended = self.child.try_wait().expect("a child of ours").is_some();
            let connected = TcpStream::connect(self.address).await.is_ok();
            match (ended, connected) {
                (true, _) => return false,
                (false, true) => return true,
                (false, false) => tokio::time::sleep(Duration::from_millis(30)).await,
            }
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The backend's own record: for whom it took requests for logins, one JSON array a line.
    pub(super) fn record(&self) -> Vec<String> {
        let record: PathBuf = self.folder.path().join("logins");
        fs::read_to_string(record).expect("a record").lines().map(ToOwned::to_owned).collect()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Workers are told by their parent, which is therefore asked to end and not killed.
            let _asked = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
            for _ in 0..100 {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _gone = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}

//! The stage of the demo: the legacy app, the proxy in front of it with its store in a fresh folder, and what a visitor needs to
//! find them. Set up at the start, struck at the end.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{Mutex, oneshot};
use tokio::task::{JoinError, JoinHandle};

use super::visitor::Visitor;
use crate::app::{App, RunError};
use crate::cli::failure::{Ended, Failure};
use crate::cli::operator::Operator;
use crate::config::{Config, Environment};
use crate::demo::{self, DEMO_USERS, DemoLegacy, DemoListeners, DemoPlaces, DemoUser};
use crate::domain::clock::SystemClock;
use crate::net::Target;

/// A port that a part of the demo wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// This one and no other: it was asked for.
    Exactly(u16),
    /// This one, or any that is free.
    Rather(u16),
}

impl Port {
    /// What was asked for, or else the usual one.
    pub(super) fn of(asked_for: Option<u16>, usual: u16) -> Self {
        asked_for.map_or(Self::Rather(usual), Self::Exactly)
    }
}

/// Which port each part wants.
pub(super) struct Ports {
    pub(super) proxy: Port,
    pub(super) admin: Port,
    pub(super) app: Port,
}

/// Everything that runs.
pub(super) struct Stage {
    legacy: Mutex<DemoLegacy>,
    proxy: JoinHandle<Result<(), RunError>>,
    stop: oneshot::Sender<()>,
    site: SocketAddr,
    admin: SocketAddr,
    app: SocketAddr,
    admin_token: String,
    notes: Vec<String>,
    visitor: Visitor,
    /// Removed last: the store's file is in it.
    folder: Folder,
}

/// Why the stage cannot be set up.
#[derive(Debug, thiserror::Error)]
enum NoStage {
    #[error("port {port} cannot be used")]
    Port {
        port: u16,
        #[source]
        cause: std::io::Error,
    },
    #[error("no folder for the store can be made in {}", .path.display())]
    Folder {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("there is no randomness for an admin token")]
    Token(#[source] aws_lc_rs::error::Unspecified),
    #[error("the proxy of the demo has no TCP address")]
    NoAddress,
    #[error("the proxy of the demo died")]
    Died(#[source] JoinError),
}

impl Stage {
    /// Starts everything. What could not be as usual is among the notes.
    pub(super) async fn set_up(ports: &Ports) -> Result<Self, Failure> {
        let mut notes = Vec::new();
        let app = listener(ports.app, &mut notes).await?;
        let auth = listener(Port::Rather(0), &mut notes).await?;
        let legacy = DemoLegacy::start(DemoListeners { app, auth }, Arc::new(SystemClock)).map_err(Failure::of)?;
        let folder = Folder::fresh().map_err(Failure::of)?;
        // The proxy binds for itself, so what is free here is only very likely to be free there.
        let public = listener(ports.proxy, &mut notes).await?.local_addr().map_err(Failure::of)?;
        let admin = listener(ports.admin, &mut notes).await?.local_addr().map_err(Failure::of)?;
        let admin_token = fresh_token().map_err(Failure::of)?;
        let config = configuration(&DemoPlaces {
            public,
            admin,
            app: legacy.app_addr(),
            legacy: legacy.auth_addr(),
            store: &folder.0.join("users.redb"),
            admin_token: &admin_token,
        })?;
        let proxy = App::build(config).await.map_err(Failure::of)?;
        let site = proxy.addresses().public.iter().find_map(crate::http::listener::BoundAddress::tcp);
        let site = site.ok_or(NoStage::NoAddress).map_err(Failure::of)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let proxy = tokio::spawn(proxy.run(async move {
            // A stage that is gone has been struck.
            let _struck_or_gone = stopped.await;
        }));
        let visitor = Visitor::of(target(site)).map_err(Failure::of)?;
        let app = legacy.app_addr();
        Ok(Self { legacy: Mutex::new(legacy), proxy, stop, site, admin, app, admin_token, notes, visitor, folder })
    }

    /// Ends the proxy, the app after it, and removes the folder.
    pub(super) async fn strike(self) -> Ended {
        let Self { proxy, stop, folder, .. } = self;
        // The proxy may have ended by itself; its word comes next.
        let _told = stop.send(());
        let ended = proxy.await.map_err(|error| Failure::of(NoStage::Died(error)))?;
        drop(folder);
        ended.map_err(Failure::of)
    }

    /// What users open.
    pub(super) fn site(&self) -> String {
        format!("http://{}", self.site)
    }

    /// The app, without authferry.
    pub(super) fn app(&self) -> String {
        format!("http://{}", self.app)
    }

    /// The console.
    pub(super) fn console(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// What opens the console of this demo.
    pub(super) fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// What is not as usual.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Somebody with a browser.
    pub(super) fn visitor(&self) -> &Visitor {
        &self.visitor
    }

    /// Somebody who may ask the admin API.
    pub(super) fn operator(&self) -> Result<Operator, Failure> {
        Operator::at(target(self.admin), &self.admin_token)
    }

    /// Whether the auth backend runs.
    pub(super) async fn is_legacy_on(&self) -> bool {
        self.legacy.lock().await.is_running()
    }

    /// How many logins the auth backend was asked to judge.
    pub(super) async fn legacy_logins(&self) -> u64 {
        self.legacy.lock().await.logins()
    }

    /// Stops the auth backend; its address refuses connections.
    pub(super) async fn switch_legacy_off(&self) {
        self.legacy.lock().await.stop().await;
    }

    /// Starts the auth backend again.
    pub(super) async fn switch_legacy_on(&self) -> Ended {
        self.legacy.lock().await.resume().await.map_err(Failure::of)
    }
}

/// The users of the app.
pub(super) const PEOPLE: &[DemoUser] = &DEMO_USERS;

fn configuration(places: &DemoPlaces<'_>) -> Result<Config, Failure> {
    let overrides = demo::overrides(places);
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    // Not the environment of this process: variables for a real proxy are not meant for a demo.
    let environment = Environment::new(overrides.iter().map(|(name, value)| (*name, value.as_str())), cores);
    Config::from_text(demo::CONFIG, demo::CONFIG_NAME, &environment)
        .map_err(|problems| Failure::Config(problems.to_string()))
}

/// What opens the console of this demo, and of no other (R108). Short enough to type.
fn fresh_token() -> Result<String, NoStage> {
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random).map_err(NoStage::Token)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn target(address: SocketAddr) -> Target {
    Target { https: false, host: address.ip().to_string(), port: address.port(), base_path: String::new() }
}

/// Binds to the port that is wanted, or to any where that is good enough.
async fn listener(port: Port, notes: &mut Vec<String>) -> Result<TcpListener, Failure> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let refused = |port, cause| Failure::of(NoStage::Port { port, cause });
    match port {
        Port::Exactly(port) => bind(port).await.map_err(|cause| refused(port, cause)),
        Port::Rather(port) => match bind(port).await {
            Ok(listener) => Ok(listener),
            Err(_taken) => {
                let listener = bind(0).await.map_err(|cause| refused(0, cause))?;
                let instead = listener.local_addr().map_err(|cause| refused(0, cause))?.port();
                notes.push(format!("port {port} is taken here; {instead} is used instead"));
                Ok(listener)
            }
        },
    }
}

/// A folder that nobody else can read, removed with everything in it when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn fresh() -> Result<Self, NoStage> {
        Self::in_folder(&std::env::temp_dir())
    }

    fn in_folder(parent: &Path) -> Result<Self, NoStage> {
        let path = parent.join(format!("authferry-demo-{}", uuid::Uuid::now_v7().simple()));
        // Fails if it is there already, be it as somebody else's link.
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(cause) => Err(NoStage::Folder { path: parent.to_owned(), cause }),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed from a temporary folder is removed by the system one day.
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_folder_is_private_and_goes_with_everything_in_it() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = Folder::in_folder(parent.path()).expect("a folder in it");
        std::fs::write(folder.0.join("users.redb"), "x").expect("a file in it");
        let mode = std::fs::metadata(&folder.0).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(folder);
        assert_eq!(std::fs::read_dir(parent.path()).expect("a folder").count(), 0);
    }

    #[tokio::test]
    async fn a_usual_port_that_is_taken_is_replaced_and_said_so_and_one_that_was_asked_for_is_not() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let mut notes = Vec::new();
        let other = listener(Port::of(None, port), &mut notes).await.expect("another port");
        assert_ne!(other.local_addr().expect("an address").port(), port);
        assert!(notes.concat().contains(&port.to_string()), "{notes:?}");
        let refused = listener(Port::of(Some(port), 8080), &mut notes).await.err().expect("no other port");
        assert!(refused.to_string().contains(&port.to_string()), "{refused}");
    }
}

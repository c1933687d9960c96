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
use crate::app::{App, BuildError, RunError};
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

    /// The port to try first; 0 for any.
    async fn first_choice(self) -> u16 {
        match self {
            Self::Exactly(port) => port,
            Self::Rather(port) => match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                Ok(_free) => port,
                Err(_taken) => 0,
            },
        }
    }

    /// The port to try when the first is taken.
    fn second_choice(self) -> u16 {
        match self {
            Self::Exactly(port) => port,
            Self::Rather(_) => 0,
        }
    }

    /// What to say when it came to another port than the usual one.
    fn note(self, at: SocketAddr) -> Option<String> {
        match self {
            Self::Rather(usual) if usual != at.port() => {
                Some(format!("port {usual} is taken here; {} is used instead", at.port()))
            }
            Self::Rather(_) | Self::Exactly(_) => None,
        }
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
    #[error("the proxy of the demo has no address")]
    NoAddress,
    #[error("the proxy of the demo died")]
    Died(#[source] JoinError),
}

impl Stage {
    /// Starts everything. What could not be as usual is among the notes.
    pub(super) async fn set_up(ports: &Ports) -> Result<Self, Failure> {
        let (app, auth) = (listener(ports.app).await?, listener(Port::Rather(0)).await?);
        let legacy = DemoLegacy::start(DemoListeners { app, auth }, Arc::new(SystemClock)).map_err(Failure::of)?;
        let folder = Folder::fresh().map_err(Failure::of)?;
        let admin_token = fresh_token().map_err(Failure::of)?;
        let proxy = start_proxy(ports, &legacy, &folder, &admin_token).await?;
        let addresses = proxy.addresses();
        let site = addresses.public.iter().find_map(crate::http::listener::BoundAddress::tcp);
        let site = site.ok_or(NoStage::NoAddress).map_err(Failure::of)?;
        let admin = addresses.admin.ok_or(NoStage::NoAddress).map_err(Failure::of)?;
        let app = legacy.app_addr();
        let notes = [(ports.proxy, site), (ports.admin, admin), (ports.app, app)];
        let notes = notes.into_iter().filter_map(|(port, at)| port.note(at)).collect();
        let (stop, stopped) = oneshot::channel::<()>();
        let proxy = tokio::spawn(proxy.run(async move {
            // A stage that is gone has been struck.
            let _struck_or_gone = stopped.await;
        }));
        let visitor = Visitor::of(target(site)).map_err(Failure::of)?;
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

/// Builds the proxy on the ports that are wanted, and where somebody is quicker, on any.
async fn start_proxy(ports: &Ports, legacy: &DemoLegacy, folder: &Folder, admin_token: &str) -> Result<App, Failure> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let build = async |proxy, admin| {
        let config = configuration(&DemoPlaces {
            public: at(proxy),
            admin: at(admin),
            app: legacy.app_addr(),
            legacy: legacy.auth_addr(),
            store: &folder.0.join("users.redb"),
            admin_token,
        })?;
        Ok::<_, Failure>(App::build(config).await)
    };
    match build(ports.proxy.first_choice().await, ports.admin.first_choice().await).await? {
        Ok(app) => Ok(app),
        // It binds for itself, and what was free a moment ago is now taken.
        Err(BuildError::Bind(_) | BuildError::Admin { .. }) => {
            build(ports.proxy.second_choice(), ports.admin.second_choice()).await?.map_err(Failure::of)
        }
        Err(error) => Err(Failure::of(error)),
    }
}

/// Binds to the port that is wanted, or to any where that is good enough.
async fn listener(port: Port) -> Result<TcpListener, Failure> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    match bind(port.first_choice().await).await {
        Ok(listener) => Ok(listener),
        Err(_taken) => {
            let port = port.second_choice();
            bind(port).await.map_err(|cause| Failure::of(NoStage::Port { port, cause }))
        }
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
        let usual = Port::of(None, port);
        let other = listener(usual).await.expect("another port").local_addr().expect("an address");
        assert_ne!(other.port(), port);
        assert!(usual.note(other).expect("a note").contains(&port.to_string()));
        let asked_for = Port::of(Some(port), 8080);
        let refused = listener(asked_for).await.err().expect("no other port");
        assert!(refused.to_string().contains(&port.to_string()), "{refused}");
        assert_eq!(asked_for.note(other), None);
    }

    #[tokio::test]
    async fn two_demos_at_once_do_not_take_each_others_ports() {
        let ports = || Ports { proxy: Port::Rather(8080), admin: Port::Rather(9090), app: Port::Rather(3000) };
        let (first, second) =
            (Stage::set_up(&ports()).await.expect("a stage"), Stage::set_up(&ports()).await.expect("another"));
        for (one, other) in
            [(first.site(), second.site()), (first.console(), second.console()), (first.app(), second.app())]
        {
            assert_ne!(one, other);
        }
        first.strike().await.expect("a clean end");
        second.strike().await.expect("a clean end");
    }
}

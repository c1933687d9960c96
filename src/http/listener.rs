//! Listening sockets: TCP (one socket a worker, between which the kernel spreads connections), Unix, and those a service manager hands
//! over. Binding happens once, before anything is served, so that a port that is taken ends the start with a message.
//! Called by [`super::server`]; never accepts.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::settings::Bind;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 1024;
/// Owner and group may connect to a Unix socket.
const UNIX_MODE: u32 = 0o660;
/// A client that vanished without a word is noticed after about twice this.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Where a listener listens in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundAddress {
    /// An address with its real port.
    Tcp(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

impl BoundAddress {
    /// The TCP address, if it is one.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listener could not be set up. Its text names the key and the address.
#[derive(Debug, thiserror::Error)]
#[error("listener[{index}].{key}: {address}: {fault}")]
pub struct BindError {
    /// Which `[[listener]]`, from 0.
    pub index: usize,
    /// Which of its keys.
    pub key: &'static str,
    /// Its address as configured.
    pub address: String,
    /// What is wrong.
    #[source]
    pub fault: BindFault,
}

/// What is wrong with a listener.
#[derive(Debug, thiserror::Error)]
pub enum BindFault {
    /// Somebody else listens there.
    #[error("another process listens there already")]
    Taken,
    /// The path is a file that is no socket.
    #[error("there is a file there that is no socket")]
    NotASocket,
    /// No socket of that name was handed over.
    #[error("the service manager has handed over no such socket")]
    NotHandedOver,
    /// What a running process passed on is not what its name says.
    #[error("the running process has passed on another socket than this")]
    Mismatched,
    /// The system refuses.
    #[error("the system refuses it ({0})")]
    Io(#[source] io::Error),
    /// Certificate or key.
    #[error("{}", crate::telemetry::WithCauses(.0.as_ref()))]
    Tls(#[source] Box<super::tls::TlsFileError>),
}

impl From<io::Error> for BindFault {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::AddrInUse { Self::Taken } else { Self::Io(error) }
    }
}

/// An address as it is configured.
pub(super) fn shown(bind: &Bind) -> String {
    match bind {
        Bind::Tcp(address) => address.to_string(),
        Bind::Unix(path) => format!("unix:{}", path.display()),
        Bind::Systemd(name) => format!("systemd:{name}"),
    }
}

/// A listening socket that a worker takes over.
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    /// One more handle of it.
    pub(super) fn handle(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(OwnedFd::from),
            Self::Unix(listener) => listener.try_clone().map(OwnedFd::from),
        }
    }

    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }
}

/// The sockets of one listener, one a worker.
pub(super) struct Bound {
    pub(super) address: BoundAddress,
    pub(super) sockets: Vec<Listening>,
    /// Removes the socket's file in the end.
    pub(super) file: Option<SocketFile>,
    /// Where the file of an adopted Unix socket is. It belongs to the process that passed the socket on until that one has left.
    pub(super) inherited_file: Option<PathBuf>,
}

/// The sockets of a service manager (`sd_listen_fds(3)`). Taken from the environment once: it is cleared by that.
pub(super) struct HandedOver {
    sockets: ListenFd,
    names: Vec<String>,
}

impl HandedOver {
    pub(super) fn from_env() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self { sockets: ListenFd::from_env(), names: names.split(':').map(str::to_owned).collect() }
    }

    fn take(&mut self, name: &str) -> Result<Listening, BindFault> {
        let index = self.names.iter().position(|known| known == name).ok_or(BindFault::NotHandedOver)?;
        if let Ok(Some(listener)) = self.sockets.take_tcp_listener(index) {
            return Ok(Listening::Tcp(listener));
        }
        match self.sockets.take_unix_listener(index)? {
            Some(listener) => Ok(Listening::Unix(listener)),
            None => Err(BindFault::NotHandedOver),
        }
    }
}

/// Binds one listener for `workers` workers.
pub(super) fn bind(bind: &Bind, workers: usize, handed_over: &mut HandedOver) -> Result<Bound, BindFault> {
    match bind {
        Bind::Tcp(address) => bind_tcp(*address, workers),
        Bind::Unix(path) => {
            let listener = bind_unix(path)?;
            let file = SocketFile::of(path)?;
            let address = BoundAddress::Unix(path.clone());
            let sockets = share(Listening::Unix(listener), workers)?;
            Ok(Bound { address, sockets, file: Some(file), inherited_file: None })
        }
        Bind::Systemd(name) => {
            let listening = handed_over.take(name)?;
            let address = match &listening {
                Listening::Tcp(listener) => {
                    tune(&SockRef::from(listener))?;
                    BoundAddress::Tcp(listener.local_addr()?)
                }
                Listening::Unix(listener) => {
                    let address = listener.local_addr()?;
                    BoundAddress::Unix(address.as_pathname().map(Path::to_owned).unwrap_or_default())
                }
            };
            Ok(Bound { address, sockets: share(listening, workers)?, file: None, inherited_file: None })
        }
    }
}

/// Takes over the sockets that a running process has passed on for this address. All of a TCP group are taken, however many workers
/// there are: connections may be waiting in each.
pub(super) fn adopt(bind: &Bind, sockets: Vec<OwnedFd>, workers: usize) -> Result<Bound, BindFault> {
    let sockets: Vec<Socket> = sockets.into_iter().map(Socket::from).collect();
    if !sockets.iter().all(|socket| socket.is_listener().unwrap_or(false)) {
        return Err(BindFault::Mismatched);
    }
    let first = sockets.first().ok_or(BindFault::Mismatched)?.local_addr()?;
    match bind {
        Bind::Tcp(wanted) => {
            let real = first.as_socket().ok_or(BindFault::Mismatched)?;
            let same = |socket: &Socket| socket.local_addr().is_ok_and(|address| address.as_socket() == Some(real));
            let as_wanted = real.ip() == wanted.ip() && (wanted.port() == 0 || real.port() == wanted.port());
            if !as_wanted || !sockets.iter().all(same) {
                return Err(BindFault::Mismatched);
            }
            let mut listening: Vec<_> = sockets.into_iter().map(|socket| Listening::Tcp(socket.into())).collect();
            while listening.len() < workers {
                listening.push(Listening::Tcp(join_group(real)?.into()));
            }
            Ok(Bound { address: BoundAddress::Tcp(real), sockets: listening, file: None, inherited_file: None })
        }
        Bind::Unix(_) | Bind::Systemd(_) => {
            // All handles are of one socket.
            let only = sockets.into_iter().next().ok_or(BindFault::Mismatched)?;
            let (listening, address) = match (first.as_socket(), first.as_pathname()) {
                (Some(address), _) => (Listening::Tcp(only.into()), BoundAddress::Tcp(address)),
                (None, path) => (
                    Listening::Unix(OwnedFd::from(only).into()),
                    BoundAddress::Unix(path.map(Path::to_owned).unwrap_or_default()),
                ),
            };
            let inherited_file = match (bind, &address) {
                (Bind::Unix(wanted), BoundAddress::Unix(path)) if wanted == path => Some(path.clone()),
                (Bind::Unix(_), BoundAddress::Unix(_) | BoundAddress::Tcp(_)) => return Err(BindFault::Mismatched),
                (Bind::Systemd(_) | Bind::Tcp(_), _) => None,
            };
            Ok(Bound { address, sockets: share(listening, workers)?, file: None, inherited_file })
        }
    }
}

/// A socket that all workers accept from.
fn share(listening: Listening, workers: usize) -> io::Result<Vec<Listening>> {
    match &listening {
        Listening::Tcp(listener) => listener.set_nonblocking(true)?,
        Listening::Unix(listener) => listener.set_nonblocking(true)?,
    }
    let mut sockets: Vec<_> = (1..workers).map(|_| listening.try_clone()).collect::<Result<_, _>>()?;
    sockets.push(listening);
    Ok(sockets)
}

/// A group of sockets on one port. The first one is bound without `SO_REUSEPORT` and joins the group afterwards: so a port that any
/// other process holds, another authferry included, is an error and never silently shared.
fn bind_tcp(address: SocketAddr, workers: usize) -> Result<Bound, BindFault> {
    let first = tcp_socket(address)?;
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let real = first.local_addr()?.as_socket().unwrap_or(address);
    first.listen(BACKLOG)?;
    let mut sockets = vec![Listening::Tcp(first.into())];
    for _ in 1..workers {
        sockets.push(Listening::Tcp(join_group(real)?.into()));
    }
    Ok(Bound { address: BoundAddress::Tcp(real), sockets, file: None, inherited_file: None })
}

/// One more socket on a port of ours.
fn join_group(address: SocketAddr) -> io::Result<Socket> {
    let socket = tcp_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier run that linger in TIME_WAIT are no reason to refuse.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    tune(&SockRef::from(&socket))?;
    Ok(socket)
}

/// Set once on a listening socket; on Linux every accepted connection inherits them.
fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4))
}

fn bind_unix(path: &Path) -> Result<UnixListener, BindFault> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(BindFault::NotASocket),
        Ok(_socket) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Left behind by a process that is gone.
                std::fs::remove_file(path)?;
            }
            Ok(_) | Err(_) => return Err(BindFault::Taken),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(UNIX_MODE))?;
    Ok(listener)
}

/// The file of a Unix socket, removed when dropped if it is still the one that was made.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode; none once it is left alone.
    made: Option<(u64, u64)>,
}

impl SocketFile {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let made = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), made: Some((made.dev(), made.ino())) })
    }

    /// The file belongs to somebody else now.
    pub(super) fn leave(mut self) {
        self.made = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let still_ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|now| Some((now.dev(), now.ino())) == self.made);
        if still_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the socket's file could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing_handed_over() -> HandedOver {
        HandedOver { sockets: ListenFd::empty(), names: vec!["public".to_owned()] }
    }

    fn on_any_port() -> Bind {
        Bind::Tcp("127.0.0.1:0".parse().expect("an address"))
    }

    #[test]
    fn every_worker_has_a_socket_of_its_own_on_the_same_port() {
        let bound = bind(&on_any_port(), 3, &mut nothing_handed_over()).expect("bound");
        let ports: Vec<u16> = bound
            .sockets
            .iter()
            .map(|socket| match socket {
                Listening::Tcp(listener) => listener.local_addr().expect("an address").port(),
                Listening::Unix(_) => unreachable!("a TCP address was bound"),
            })
            .collect();
        assert_eq!(ports, [bound.address.tcp().expect("TCP").port(); 3]);
        assert_ne!(ports[0], 0);
    }

    #[test]
    fn a_port_of_a_plain_listener_and_one_of_our_own_groups_are_both_taken() {
        let plain = TcpListener::bind("127.0.0.1:0").expect("a port");
        let ours = bind(&on_any_port(), 2, &mut nothing_handed_over()).expect("bound");
        for address in [plain.local_addr().expect("an address"), ours.address.tcp().expect("TCP")] {
            for workers in [1, 2] {
                let again = bind(&Bind::Tcp(address), workers, &mut nothing_handed_over());
                assert!(matches!(again, Err(BindFault::Taken)), "{workers}");
            }
        }
    }

    #[test]
    fn a_port_is_free_again_after_its_group_is_gone() {
        let ours = bind(&on_any_port(), 2, &mut nothing_handed_over()).expect("bound");
        let address = ours.address.tcp().expect("TCP");
        drop(ours);
        assert!(bind(&Bind::Tcp(address), 2, &mut nothing_handed_over()).is_ok());
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_a_live_one_and_a_file_are_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).expect("a socket"));
        let ours = bind(&Bind::Unix(path.clone()), 2, &mut nothing_handed_over()).expect("the stale one is replaced");
        assert_eq!(path.metadata().expect("metadata").permissions().mode() & 0o777, UNIX_MODE);
        let again = bind(&Bind::Unix(path.clone()), 1, &mut nothing_handed_over());
        assert!(matches!(again, Err(BindFault::Taken)));
        drop(ours);
        assert!(!path.exists(), "the file goes with its listener");
        std::fs::write(&path, "precious").expect("a file");
        let file = bind(&Bind::Unix(path.clone()), 1, &mut nothing_handed_over());
        assert!(matches!(file, Err(BindFault::NotASocket)));
        assert_eq!(std::fs::read(&path).expect("the file"), b"precious");
    }

    fn handles(bound: &Bound) -> Vec<OwnedFd> {
        bound.sockets.iter().map(|socket| socket.handle().expect("a handle")).collect()
    }

    #[test]
    fn r25_sockets_that_are_passed_on_are_all_kept_and_joined_by_those_that_more_workers_need() {
        let old = bind(&on_any_port(), 3, &mut nothing_handed_over()).expect("bound");
        for (workers, sockets) in [(1, 3), (3, 3), (5, 5)] {
            let new = adopt(&on_any_port(), handles(&old), workers).expect("adopted");
            assert_eq!((&new.address, new.sockets.len()), (&old.address, sockets), "{workers}");
        }
    }

    #[test]
    fn r25_a_passed_on_socket_that_is_not_what_its_name_says_is_refused() {
        let old = bind(&on_any_port(), 1, &mut nothing_handed_over()).expect("bound");
        let other = Bind::Tcp("127.0.0.2:0".parse().expect("an address"));
        let directory = tempfile::tempdir().expect("a directory");
        let unix = Bind::Unix(directory.path().join("s"));
        for bind in [&other, &unix] {
            assert!(matches!(adopt(bind, handles(&old), 1), Err(BindFault::Mismatched)));
        }
        let connected = std::net::TcpStream::connect(old.address.tcp().expect("TCP")).expect("connected");
        for sockets in [vec![], vec![connected.into()]] {
            assert!(matches!(adopt(&on_any_port(), sockets, 1), Err(BindFault::Mismatched)));
        }
    }

    #[test]
    fn r25_the_file_of_a_unix_socket_that_was_passed_on_is_left_alone_by_both_until_it_is_settled_whose_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("s");
        let wanted = Bind::Unix(path.clone());
        let old = bind(&wanted, 2, &mut nothing_handed_over()).expect("bound");
        let new = adopt(&wanted, handles(&old), 3).expect("adopted");
        assert_eq!(new.inherited_file.as_ref(), Some(&path));
        drop(new);
        assert!(path.exists(), "the new one came to nothing");
        old.file.expect("a file").leave();
        assert!(path.exists(), "it is the new one's");
    }

    #[test]
    fn a_socket_that_nobody_handed_over_is_an_error() {
        for name in ["public", "other"] {
            let bound = bind(&Bind::Systemd(name.to_owned()), 1, &mut nothing_handed_over());
            assert!(matches!(bound, Err(BindFault::NotHandedOver)), "{name}");
        }
    }
}

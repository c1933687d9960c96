//! Where a running process can be found: the Unix socket of `[server] takeover`, made for its own user alone.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::{Fault, Link, Message, PROTOCOL};

/// For the own user's eyes alone.
const MODE: u32 = 0o600;
/// How long the first word may take.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("server.takeover: {path}: {fault}")]
pub struct OpenError {
    path: PathBuf,
    #[source]
    fault: io::Error,
}

/// The open socket; its file goes with it.
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    made: (u64, u64),
}

impl Door {
    /// Opens it in place of one that a dead process has left behind. Called on a runtime.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::bind(path).map_err(|fault| OpenError { path: path.to_owned(), fault })
    }

    fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file there that is no socket"));
            }
            Ok(_socket) => match StdStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
                Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there already")),
                Err(error) => return Err(error),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = StdListener::bind(path)?;
        // Whoever was faster than this is still asked who he is.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
        listener.set_nonblocking(true)?;
        let made = std::fs::symlink_metadata(path)?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Self { listener, path: path.to_owned(), made: (made.dev(), made.ino()) })
    }

    /// The next process that may take over and speaks our language. Others are turned away, and told in the log.
    pub async fn next(&self) -> Link {
        loop {
            match self.listener.accept().await {
                Ok((stream, _unnamed)) => match greet(stream).await {
                    Ok(link) => return link,
                    Err(fault) => tracing::warn!(%fault, "a process that asked to take over was turned away"),
                },
                Err(error) => {
                    tracing::warn!(%error, "the takeover socket cannot be accepted from");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let still_ours = std::fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.made);
        if still_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the socket's file could not be removed");
        }
    }
}

async fn greet(stream: UnixStream) -> Result<Link, Fault> {
    let mut link = Link::over(stream)?;
    let (message, _) = timeout(HELLO_PATIENCE, link.receive()).await.map_err(|_elapsed| Fault::Late)??;
    match message {
        Message::Hello { protocol: PROTOCOL, version } => {
            tracing::info!(version, pid = link.pid, "another process asks to take over");
            Ok(link)
        }
        Message::Hello { protocol, .. } => {
            let reason = format!("it speaks takeover protocol {PROTOCOL}, not {protocol}");
            link.send(&Message::Refused { reason }).await?;
            Err(Fault::Garbled("another version of the protocol"))
        }
        Message::Refused { .. }
        | Message::Sockets { .. }
        | Message::Offer { .. }
        | Message::Prepared
        | Message::Accept
        | Message::StoreClosed
        | Message::Opening
        | Message::Serving
        | Message::Farewell => Err(Fault::Garbled("no hello")),
    }
}

/// Connects to the running process and greets it; none if there is no such process.
pub async fn connect(path: &Path) -> Result<Option<Link>, Fault> {
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let mut link = Link::over(stream)?;
    link.send(&Message::hello()).await?;
    Ok(Some(link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn r25_a_process_that_says_hello_is_let_in_and_noise_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("takeover");
        assert!(connect(&path).await.expect("no fault").is_none(), "nobody is there");
        let door = Door::open(&path).expect("open");
        assert_eq!(path.metadata().expect("metadata").permissions().mode() & 0o777, MODE);
        let noise = UnixStream::connect(&path).await.expect("connected");
        noise.try_write(b"GET / HTTP/1.1\r\n\r\n").expect("written");
        let (link, new) = tokio::join!(door.next(), connect(&path));
        assert_eq!(link.pid, Some(std::process::id()));
        assert!(new.expect("no fault").is_some());
        drop(door);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn another_version_of_the_protocol_is_refused_with_a_reason() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("takeover");
        let door = Door::open(&path).expect("open");
        let stream = UnixStream::connect(&path).await.expect("connected");
        let mut link = Link::over(stream).expect("ours");
        let other = async {
            link.send(&Message::Hello { protocol: PROTOCOL + 1, version: "9".into() }).await.expect("sent");
            link.receive().await
        };
        let answered = tokio::select! { answered = other => answered, _link = door.next() => unreachable!("let in") };
        assert!(matches!(answered, Err(Fault::Refused(_))), "{answered:?}");
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_a_live_one_and_a_file_are_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("takeover");
        drop(StdListener::bind(&path).expect("a socket"));
        let door = Door::open(&path).expect("the stale one is replaced");
        assert!(Door::open(&path).is_err(), "in use");
        drop(door);
        std::fs::write(&path, "precious").expect("a file");
        assert!(Door::open(&path).is_err());
        assert_eq!(std::fs::read(&path).expect("the file"), b"precious");
    }
}

//! The connection between the two processes: one JSON object a line, file descriptors beside it. Everything is bounded: the
//! line, the descriptors, the wait.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Fault, Message};

/// The longest line, in bytes: a socket's path and a few words.
const MAX_LINE: usize = 4 * 1024;
/// As many sockets go with one message; the kernel takes 253 (`unix(7)`).
const SOCKETS_A_MESSAGE: usize = 64;
/// As many may have arrived without their line.
const MAX_PENDING: usize = 2 * SOCKETS_A_MESSAGE;
/// How long the other process may take to read what it is told.
const SEND_PATIENCE: Duration = Duration::from_secs(5);

/// Received descriptors are not for the processes that this one starts.
#[cfg(target_os = "linux")]
const RECEIVE: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const RECEIVE: RecvFlags = RecvFlags::empty();

/// One end of the connection. Dropping it tells the other one that nothing comes of it.
pub struct Link {
    stream: UnixStream,
    read: Vec<u8>,
    fds: VecDeque<OwnedFd>,
    /// The other process.
    pub pid: Option<u32>,
}

impl Link {
    /// Over a connection to a process of our own user, or of root.
    pub(super) fn over(stream: UnixStream) -> Result<Self, Fault> {
        let peer = stream.peer_cred()?;
        if !is_trusted(peer.uid(), rustix::process::geteuid().as_raw()) {
            return Err(Fault::Stranger(peer.uid()));
        }
        let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
        Ok(Self { stream, read: Vec::new(), fds: VecDeque::new(), pid })
    }

    /// Says something.
    pub async fn send(&mut self, message: &Message) -> Result<(), Fault> {
        self.send_with(message, &[]).await
    }

    /// Passes on the sockets of one listener, in as many messages as it takes.
    pub async fn send_sockets(&mut self, listener: usize, name: &str, sockets: &[OwnedFd]) -> Result<(), Fault> {
        for some in sockets.chunks(SOCKETS_A_MESSAGE) {
            let fds: Vec<_> = some.iter().map(AsFd::as_fd).collect();
            self.send_with(&Message::Sockets { listener, name: name.to_owned(), count: fds.len() }, &fds).await?;
        }
        Ok(())
    }

    /// The next thing that is said, and the sockets that come with it.
    pub async fn receive(&mut self) -> Result<(Message, Vec<OwnedFd>), Fault> {
        let end = loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            if self.read.len() > MAX_LINE {
                return Err(Fault::Garbled("a line is too long"));
            }
            self.read_some().await?;
        };
        let line: Vec<u8> = self.read.drain(..=end).collect();
        let message = serde_json::from_slice(&line).map_err(|_| Fault::Garbled("a line that is no message"))?;
        let count = match &message {
            Message::Sockets { count, .. } => *count,
            Message::Refused { reason } => return Err(Fault::Refused(reason.clone())),
            Message::Hello { .. }
            | Message::Offer { .. }
            | Message::Prepared
            | Message::Accept
            | Message::StoreClosed
            | Message::Opening
            | Message::Serving
            | Message::Farewell => 0,
        };
        if count > self.fds.len() {
            return Err(Fault::Garbled("a socket that was announced did not come"));
        }
        Ok((message, self.fds.drain(..count).collect()))
    }

    /// Waits for this message and takes no other.
    pub async fn expect(&mut self, wanted: &Message, within: Duration) -> Result<(), Fault> {
        let (message, _) = timeout(within, self.receive()).await.map_err(|_elapsed| Fault::Late)??;
        if message == *wanted { Ok(()) } else { Err(Fault::Garbled("not what comes next")) }
    }

    /// Ready when the other process goes away, or says something though it is not its turn.
    pub async fn broken(&mut self) -> Fault {
        match self.receive().await {
            Ok(_) => Fault::Garbled("not its turn"),
            Err(fault) => fault,
        }
    }

    async fn send_with(&mut self, message: &Message, fds: &[BorrowedFd<'_>]) -> Result<(), Fault> {
        let mut line = serde_json::to_vec(message).map_err(|error| Fault::Lost(error.into()))?;
        line.push(b'\n');
        let sending = async {
            let sent = self.stream.async_io(Interest::WRITABLE, || write(&self.stream, &line, fds)).await?;
            // A buffer that is almost full takes a part; the descriptors went with its first byte.
            let mut rest = line.get(sent..).unwrap_or_default();
            while !rest.is_empty() {
                let sent = self.stream.async_io(Interest::WRITABLE, || write(&self.stream, rest, &[])).await?;
                rest = rest.get(sent..).unwrap_or_default();
            }
            Ok(())
        };
        timeout(SEND_PATIENCE, sending).await.map_err(|_elapsed| Fault::Late)?
    }

    async fn read_some(&mut self) -> Result<(), Fault> {
        let mut bytes = [0; MAX_LINE];
        let (length, fds) = self.stream.async_io(Interest::READABLE, || read(&self.stream, &mut bytes)).await?;
        if length == 0 {
            return Err(Fault::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        self.read.extend_from_slice(bytes.get(..length).unwrap_or_default());
        self.fds.extend(fds);
        if self.fds.len() > MAX_PENDING {
            return Err(Fault::Garbled("more sockets than announced"));
        }
        Ok(())
    }
}

/// Whoever may read our store may take our place: our own user, and root.
fn is_trusted(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

fn write(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_A_MESSAGE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more sockets than fit one message"));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

fn read(stream: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_PENDING))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(bytes)], &mut control, RECEIVE)?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        // No room for them, or no descriptor left in this process.
        return Err(io::Error::other("sockets were lost on their way"));
    }
    Ok((received.bytes, fds))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (Link, Link) {
        let (one, other) = UnixStream::pair().expect("a pair");
        (Link::over(one).expect("ours"), Link::over(other).expect("ours"))
    }

    #[tokio::test]
    async fn r25_sockets_arrive_with_their_name_however_many_there_are() {
        let (mut old, mut new) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let sockets: Vec<OwnedFd> = (0..150).map(|_| listener.try_clone().expect("a handle").into()).collect();
        let sending = async {
            old.send(&Message::Accept).await.expect("sent");
            old.send_sockets(0, "a", &sockets).await.expect("sent");
            old.send(&Message::Farewell).await.expect("sent");
        };
        let receiving = async {
            assert_eq!(new.receive().await.expect("a message").0, Message::Accept);
            let mut received = Vec::new();
            loop {
                match new.receive().await.expect("a message") {
                    (Message::Sockets { name, .. }, fds) => {
                        assert_eq!(name, "a");
                        received.extend(fds);
                    }
                    (message, _) => {
                        assert_eq!(message, Message::Farewell);
                        return received;
                    }
                }
            }
        };
        let ((), received) = tokio::join!(sending, receiving);
        assert_eq!(received.len(), 150);
        let same = TcpListener::from(received.into_iter().next().expect("one")).local_addr().expect("an address");
        assert_eq!(same, listener.local_addr().expect("an address"));
    }

    #[tokio::test]
    async fn what_is_no_message_or_not_the_next_one_is_a_fault() {
        let (mut one, mut other) = pair();
        one.send(&Message::Serving).await.expect("sent");
        let fault = other.expect(&Message::Prepared, Duration::from_secs(5)).await;
        assert!(matches!(fault, Err(Fault::Garbled(_))), "{fault:?}");
        one.send(&Message::Sockets { listener: 0, name: "a".into(), count: 1 }).await.expect("sent");
        assert!(matches!(other.receive().await, Err(Fault::Garbled(_))), "announced and not sent");
        one.send(&Message::Refused { reason: "no".into() }).await.expect("sent");
        assert!(matches!(other.receive().await, Err(Fault::Refused(reason)) if reason == "no"));
        for noise in ["{}\n".to_owned(), "x".repeat(2 * MAX_LINE)] {
            let (one, mut other) = pair();
            one.stream.writable().await.expect("writable");
            one.stream.try_write(noise.as_bytes()).expect("written");
            assert!(matches!(other.receive().await, Err(Fault::Garbled(_))));
        }
        drop(one);
        assert!(matches!(other.receive().await, Err(Fault::Lost(_))));
    }

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for_for_ever() {
        let (_one, mut other) = pair();
        let fault = other.expect(&Message::Prepared, Duration::from_millis(10)).await;
        assert!(matches!(fault, Err(Fault::Late)));
    }

    #[test]
    fn only_our_own_user_and_root_are_believed() {
        assert!(is_trusted(1000, 1000) && is_trusted(0, 1000));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, 0));
    }
}

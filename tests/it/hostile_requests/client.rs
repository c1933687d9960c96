//! A client that writes the bytes that it is given, whatever they are, and reads what comes back until the connection ends.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::grammar::{find, show};
use super::recorder::ECHO;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// What the recorder says; none if the answer is the proxy's own.
    pub(super) echo: Option<String>,
}

/// What came back on one connection.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) answers: Vec<Answer>,
    /// The proxy waited for more until our side of the connection was ended.
    pub(super) starved: bool,
}

/// How long an exchange may take in all: far longer than any does.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends bytes over a connection of their own. When nothing has come for `quiet`, our side is ended: the proxy is waiting for what the
/// bytes announce and do not hold. Fails if what comes back is no row of answers, or never ends.
pub(super) async fn exchange(
    to: SocketAddr,
    from: Ipv4Addr,
    bytes: &[u8],
    quiet: Duration,
) -> Result<Exchange, String> {
    let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
    socket.bind(SocketAddrV4::new(from, 0).into()).map_err(|error| format!("no port: {error}"))?;
    let mut stream = socket.connect(to).await.map_err(|error| format!("no connection: {error}"))?;
    let (mut reading, mut writing) = stream.split();
    let mut received = Vec::with_capacity(4096);
    let mut starved = false;
    let mut wait = quiet;
    let talk = async {
        // The other side may stop reading, and has its reasons.
        let write = async {
            let _as_far_as_it_reads = writing.write_all(bytes).await;
        };
        let mut write = std::pin::pin!(write);
        let mut written = false;
        loop {
            tokio::select! {
                () = &mut write, if !written => written = true,
                read = tokio::time::timeout(wait, reading.read_buf(&mut received)) => match read {
                    Ok(Ok(1..)) => {}
                    Ok(Ok(0) | Err(_)) => return starved,
                    Err(_quiet) => {
                        starved = true;
                        wait = PATIENCE;
                        let socket: &tokio::net::TcpStream = reading.as_ref();
                        let _gone = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Write);
                    }
                },
            }
        }
    };
    let starved = tokio::time::timeout(PATIENCE, talk).await.map_err(|_| "the connection never ends".to_owned())?;
    Ok(Exchange { answers: answers(&received)?, starved })
}

/// Takes what came back apart. Every answer has a status that HTTP knows, a length, and nothing between it and the next.
fn answers(mut bytes: &[u8]) -> Result<Vec<Answer>, String> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let wrong = |what: &str| format!("an answer {what}: {}", show(bytes));
        let end = find(bytes, b"\r\n\r\n").ok_or_else(|| wrong("without an end"))? + 4;
        let head = std::str::from_utf8(&bytes[..end - 4]).map_err(|_| wrong("that is no text"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 ")));
        let status: u16 =
            status.and_then(|line| line.get(..3)?.parse().ok()).ok_or_else(|| wrong("without a status"))?;
        let (mut length, mut echo) = (0, None);
        for line in lines {
            let (name, value) = line.split_once(": ").ok_or_else(|| wrong("with a line that is no header"))?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().map_err(|_| wrong("with an odd length"))?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(wrong("in chunks"));
            } else if name == ECHO {
                echo = Some(value.to_owned());
            }
        }
        // An answer to HEAD says how long it would be.
        let rest = &bytes[end..];
        let is_bare = rest.is_empty() || rest.starts_with(b"HTTP/1.1 ");
        if length > rest.len() && !is_bare {
            return Err(wrong("that is shorter than it says"));
        }
        bytes = if is_bare { rest } else { &rest[length..] };
        if status != 100 {
            answers.push(Answer { status, echo });
        }
    }
    Ok(answers)
}

impl Answer {
    /// Whether the proxy itself says that the request is wrong, and not that something else is.
    pub(super) fn is_refusal(&self) -> bool {
        self.echo.is_none() && (matches!(self.status, 400..=499 | 501 | 505 | 508))
    }
}

//! A client for a hundred thousand requests that no honest client sends: each goes out byte by byte as written, on a kept connection
//! if the last answer allows it, and its answer is read to the end.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// How long one exchange may take: only a server that hangs needs more.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long an app may take. Node's answer to what it cannot parse is not always sent where an answer went before.
const PATIENCE_WITH_APPS: Duration = Duration::from_secs(6);

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// An app of somebody else's, which may hang: that is no answer.
    App,
    /// The proxy, which may not.
    Proxy,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Back {
    Answer(Head),
    /// The connection ended without an answer.
    Closed,
}

/// The head of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of a name, which is in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Without the status, which is not part of the framing.
    fn has(&self, name: &str, token: &str) -> bool {
        self.header(name).is_some_and(|value| value.to_ascii_lowercase().contains(token))
    }
}

/// A connection that is opened when it is needed.
pub(super) struct Wire {
    to: SocketAddr,
    peer: Peer,
    stream: Option<BufReader<TcpStream>>,
}

impl Wire {
    pub(super) fn new(to: SocketAddr, peer: Peer) -> Self {
        Self { to, peer, stream: None }
    }

    /// Sends a request, of this method, and reads its answer. A kept connection that had been closed meanwhile is not held against it.
    pub(super) async fn exchange(&mut self, method: &str, request: &[u8]) -> Back {
        let kept = self.stream.is_some();
        match self.once(method, request).await {
            Back::Closed if kept => self.once(method, request).await,
            back => back,
        }
    }

    async fn once(&mut self, method: &str, request: &[u8]) -> Back {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(TcpStream::connect(self.to).await.expect("a listener")),
        };
        let exchange = async {
            // The other side may answer and close before it has read all.
            let _ = stream.get_mut().write_all(request).await;
            answer(&mut stream, method).await
        };
        let read = match self.peer {
            Peer::App => tokio::time::timeout(PATIENCE_WITH_APPS, exchange).await.unwrap_or(None),
            Peer::Proxy => {
                let read = tokio::time::timeout(PATIENCE, exchange).await;
                read.unwrap_or_else(|_| panic!("no answer in time to {}", String::from_utf8_lossy(request)))
            }
        };
        let Some((head, reusable)) = read else { return Back::Closed };
        if reusable {
            self.stream = Some(stream);
        }
        Back::Answer(head)
    }
}

/// The final answer, and whether the connection may be used again.
async fn answer(stream: &mut BufReader<TcpStream>, method: &str) -> Option<(Head, bool)> {
    loop {
        let head = head(stream).await?;
        if (100..200).contains(&head.status) && head.status != 101 {
            continue;
        }
        let closes = head.has("connection", "close") || head.status == 101;
        let bodiless = method == "HEAD" || matches!(head.status, 101 | 204 | 304);
        let reusable = if bodiless {
            true
        } else if head.has("transfer-encoding", "chunked") {
            chunks(stream).await.is_some()
        } else if let Some(length) = head.header("content-length") {
            skip(stream, length.parse().ok()?).await.is_some()
        } else {
            let _ = stream.read_to_end(&mut Vec::new()).await;
            false
        };
        return Some((head, reusable && !closes));
    }
}

async fn head(stream: &mut BufReader<TcpStream>) -> Option<Head> {
    let status_line = line(stream).await?;
    let mut head = Head { status: status_line.split(' ').nth(1)?.parse().ok()?, headers: Vec::new() };
    loop {
        let line = line(stream).await?;
        if line.is_empty() {
            return Some(head);
        }
        let (name, value) = line.split_once(':')?;
        head.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await.ok()?;
    let line = line.strip_suffix(b"\n")?;
    Some(String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned())
}

async fn chunks(stream: &mut BufReader<TcpStream>) -> Option<()> {
    loop {
        let size = u64::from_str_radix(line(stream).await?.split(';').next()?.trim(), 16).ok()?;
        skip(stream, size).await?;
        line(stream).await?;
        if size == 0 {
            return Some(());
        }
    }
}

async fn skip(stream: &mut BufReader<TcpStream>, length: u64) -> Option<()> {
    let copied = tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink()).await.ok()?;
    (copied == length).then_some(())
}

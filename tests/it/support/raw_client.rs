//! A client that sends exactly the bytes it is given and reads one answer to its end: for requests that a proper client would
//! never send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// The first header of a name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends a request with `Host` and `Connection: close`, the headers given, and a body with its length.
pub(crate) async fn send(to: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut head = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += &format!("Host: {to}\r\n");
    }
    if !body.is_empty() || !matches!(method, "GET" | "HEAD") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    send_raw(to, format!("{head}\r\n{body}").as_bytes()).await
}

/// Sends these bytes and nothing else, and reads until the other side closes.
pub(crate) async fn send_raw(to: SocketAddr, request: &[u8]) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(to).await.expect("a listener");
        // The other side may answer and close before it has read all.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), exchange).await.expect("an answer in time");
    parse(&String::from_utf8_lossy(&answer))
}

fn parse(answer: &str) -> Answer {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole head: {answer:?}"));
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned()));
    Answer {
        status: status.unwrap_or_else(|| panic!("no status: {status_line:?}")),
        headers: headers.collect(),
        body: body.to_owned(),
    }
}

/// An answer whose body is the content alone: how it was cut into chunks is each hop's own affair (RFC 9112 section 7.1).
pub(crate) fn without_framing(mut answer: Answer) -> Answer {
    if answer.header("transfer-encoding") != Some("chunked") {
        return answer;
    }
    let mut body = Vec::new();
    let mut rest = answer.body.as_bytes();
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a chunk's size and its line end");
        let (size, after) = rest.split_at(end);
        let size = usize::from_str_radix(&String::from_utf8_lossy(size), 16).expect("a size in hexadecimal");
        if size == 0 {
            break;
        }
        let chunk = after.get(2..2 + size).expect("the whole chunk");
        body.extend_from_slice(chunk);
        rest = after.get(2 + size + 2..).expect("a further chunk");
    }
    answer.body = String::from_utf8(body).expect("UTF-8");
    answer.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("transfer-encoding"));
    answer
}

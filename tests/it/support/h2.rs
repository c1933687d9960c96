//! An HTTP/2 client made of single frames, for what no library would send. Headers are written as literals (RFC 7541, section
//! 6.2.2), so that every byte of them is the test's own.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[self.kind, self.flags], &self.stream.to_be_bytes(), &self.payload].concat()
    }

    /// The four bytes of the payload at `at`.
    pub(crate) fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

/// A header block of literals without indexing.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// RFC 7541, section 5.1, with a prefix of seven bits and no Huffman code.
fn length(block: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short) if short < 127 => block.push(short),
        Ok(_) | Err(_) => {
            block.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).expect("seven bits") | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).expect("seven bits"));
        }
    }
}

/// What a usual GET has.
pub(crate) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "app"), (":path", "/")];

/// A connection whose preface and settings have been exchanged.
pub(crate) struct H2Client {
    socket: TcpStream,
    /// What the other side sent before it acknowledged our settings.
    pub(crate) greeting: Vec<Frame>,
}

impl H2Client {
    /// `settings` is the payload of our own SETTINGS.
    pub(crate) async fn connect(address: SocketAddr, settings: &[u8]) -> Self {
        let mut socket = soon("a connection", TcpStream::connect(address)).await.expect("connected");
        socket.set_nodelay(true).expect("a socket");
        let hello = [PREFACE, &Frame::new(SETTINGS, 0, 0, settings).bytes()].concat();
        socket.write_all(&hello).await.expect("sent");
        let mut client = Self { socket, greeting: Vec::new() };
        loop {
            let frame = client.frame().await.expect("a greeting");
            if frame.kind == SETTINGS && frame.flags == ACK {
                break;
            }
            client.greeting.push(frame);
        }
        client.send(&[Frame::new(SETTINGS, ACK, 0, [])]).await;
        client
    }

    /// Sends frames; whether the other side still takes any.
    pub(crate) async fn send(&mut self, frames: &[Frame]) -> bool {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        soon("room to send", self.socket.write_all(&bytes)).await.is_ok()
    }

    /// Sends a request without a body.
    pub(crate) async fn ask(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.send(&[Frame::new(HEADERS, END_STREAM | END_HEADERS, stream, block(fields))]).await;
    }

    /// The next frame; none when the connection has ended.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        soon("a frame", self.socket.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        soon("a frame", self.socket.read_exact(&mut payload)).await.ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().expect("four bytes"));
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame that this is true of; none when the connection ends before.
    pub(crate) async fn frame_where(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.frame().await?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// What the other side makes of everything so far: its answer to a stream, or its end.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            let Some(frame) = self.frame().await else { return Outcome::Closed };
            match frame.kind {
                GOAWAY if frame.word(4) != 0 => return Outcome::GoAway(frame.word(4)),
                RST_STREAM if frame.stream == stream => return Outcome::Reset(frame.word(0)),
                HEADERS if frame.stream == stream => return Outcome::Answered(frame.payload),
                _ => {}
            }
        }
    }

    /// Reads whatever comes beside what is sent, in a task of its own; the last GOAWAY's code when the connection is over.
    pub(crate) fn split(self) -> (tokio::net::tcp::OwnedWriteHalf, tokio::task::JoinHandle<Option<u32>>) {
        let (read, write) = self.socket.into_split();
        (write, tokio::spawn(last_word(read)))
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A header block, encoded.
    Answered(Vec<u8>),
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code.
    GoAway(u32),
    /// The end of the connection.
    Closed,
}

async fn last_word(mut socket: tokio::net::tcp::OwnedReadHalf) -> Option<u32> {
    let mut code = None;
    loop {
        let mut head = [0; 9];
        if socket.read_exact(&mut head).await.is_err() {
            return code;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if socket.read_exact(&mut payload).await.is_err() {
            return code;
        }
        if head[3] == GOAWAY {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().expect("four bytes")));
        }
    }
}

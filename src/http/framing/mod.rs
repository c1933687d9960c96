//! The raw bytes of one HTTP/1 connection, judged before hyper sees them: request lines, fields, lengths, chunks (RFC 9112).
//!
//! hyper drops a `Content-Length` beside a `Transfer-Encoding`, takes bare line feeds and forgets fragments; afterwards nobody
//! can tell. So a scanner walks over the stream first, and a head that it passes has exactly one meaning (R1-R5, R15, R21).
//! Pure and incremental: however the bytes are cut into pieces, the verdict is the same. Allocates nothing for usual heads.
//! Called by `http::io`, which does the reading and holds back a head until it has been judged whole; what needs no raw bytes is
//! left to [`super::gate`]. Never looks into a body, never changes a byte.

mod bytes;
mod chunked;
mod head;

pub use self::chunked::ChunkFault;
use self::chunked::Chunks;
use self::head::{Body, Head, Read};
use super::gate::{GatePolicy, Refusal};
use super::path::PathPolicy;
use super::settings::EdgeBounds;

/// The method of the request that stands for a refused one towards hyper. No client can send it: [`Scanner`] refuses methods that
/// do not begin with a letter, and what it refuses is replaced.
pub(super) const REFUSED_METHOD: &str = "!refused";

/// What hyper gets to read in the place of a refused head, and the last that it gets to read of that connection.
pub(super) const REFUSED_REQUEST: &[u8] = b"!refused / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n";

/// What a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadRules {
    /// The whole head in bytes, its empty line included (431).
    pub head_bytes: usize,
    /// The request target in bytes (414).
    pub uri_bytes: usize,
    /// Whether targets may have bytes over 127, if they are UTF-8.
    pub paths: PathPolicy,
}

impl HeadRules {
    /// The rules of an edge.
    #[must_use]
    pub fn new(bounds: &EdgeBounds, policy: GatePolicy) -> Self {
        // hyper and http know no longer targets.
        const LONGEST: usize = u16::MAX as usize - 1;
        Self { head_bytes: bounds.head_bytes, uri_bytes: bounds.uri_bytes.min(LONGEST), paths: policy.paths }
    }
}

/// How far a piece of the stream may be handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// So many bytes of this piece are judged and fine. If it is any, so is everything that came before and was held back.
    pub passed: usize,
    /// What follows them.
    pub then: Then,
}

/// What follows the bytes that may be handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing, or the beginning of a head, which has to be held back until the rest of it is there.
    More,
    /// Another request, at which nobody has looked yet: the one before it ends here. To be fed when that one has been answered.
    Another,
    /// The head that ends here asks for a WebSocket: until it is answered nobody knows what the bytes behind it are (R9).
    Waiting,
    /// A head that is refused. Nothing behind it can be trusted either.
    Refused {
        /// The answer.
        refusal: Refusal,
        /// Whether it was a HEAD request, whose answer has no body.
        to_head: bool,
    },
    /// A body whose framing is wrong from here on.
    Broken(ChunkFault),
}

/// Where in the stream we are.
#[derive(Debug)]
enum State {
    Head,
    /// A body of which so many bytes are to come, at least one.
    Length(u64),
    Chunked(Chunks),
    /// Nothing of what follows is looked at.
    Over(Then),
}

/// Judges the bytes that a client sends on one HTTP/1 connection.
#[derive(Debug)]
pub struct Scanner {
    rules: HeadRules,
    state: State,
    head: Head,
    heads: u64,
}

impl Scanner {
    /// At the beginning of a connection.
    #[must_use]
    pub fn new(rules: HeadRules) -> Self {
        Self { rules, state: State::Head, head: Head::default(), heads: 0 }
    }

    /// Judges the next piece of the stream, up to the end of a request. After anything but [`Then::More`] and [`Then::Another`] the
    /// scanner is at its end and says the same again.
    pub fn feed(&mut self, piece: &[u8]) -> Scanned {
        let (mut rest, mut passed) = (piece, 0);
        let then = loop {
            if rest.is_empty() {
                break match self.state {
                    State::Over(then) => then,
                    State::Head | State::Length(_) | State::Chunked(_) => Then::More,
                };
            }
            match &mut self.state {
                // What was passed before it ends a request.
                State::Head if passed > 0 => break Then::Another,
                State::Head => match self.head.read(rest, &self.rules) {
                    Ok(Read::Incomplete) => break Then::More,
                    Ok(Read::Complete { length, body, websocket }) => {
                        rest = rest.get(length..).unwrap_or_default();
                        passed = piece.len() - rest.len();
                        self.heads += 1;
                        self.head.reset();
                        self.state = match body {
                            Body::Length(0) if websocket => State::Over(Then::Waiting),
                            Body::Length(0) => State::Head,
                            Body::Length(length) => State::Length(length),
                            Body::Chunked => State::Chunked(Chunks::default()),
                        };
                    }
                    Err(refusal) => {
                        self.state = State::Over(Then::Refused { refusal, to_head: self.head.is_to_head() });
                    }
                },
                State::Length(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= here as u64;
                    if *left == 0 {
                        self.state = State::Head;
                    }
                    rest = rest.get(here..).unwrap_or_default();
                    passed = piece.len() - rest.len();
                }
                State::Chunked(chunks) => {
                    let read = chunks.read(rest);
                    rest = rest.get(read.passed..).unwrap_or_default();
                    passed = piece.len() - rest.len();
                    match read.outcome {
                        Ok(chunked::Progress::More) => {}
                        Ok(chunked::Progress::Done) => self.state = State::Head,
                        Err(fault) => self.state = State::Over(Then::Broken(fault)),
                    }
                }
                State::Over(then) => break *then,
            }
        };
        Scanned { passed, then }
    }

    /// The same up to the end of the piece, for who answers nothing in between.
    #[cfg(any(test, fuzzing))]
    pub fn feed_all(&mut self, piece: &[u8]) -> Scanned {
        let mut passed = 0;
        loop {
            let scanned = self.feed(piece.get(passed..).unwrap_or_default());
            passed += scanned.passed;
            match scanned.then {
                Then::Another => {}
                then @ (Then::More | Then::Waiting | Then::Refused { .. } | Then::Broken(_)) => {
                    return Scanned { passed, then };
                }
            }
        }
    }

    /// How many heads have been passed.
    #[must_use]
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the body of the last head that was passed is still arriving.
    #[must_use]
    pub fn is_in_body(&self) -> bool {
        match self.state {
            State::Length(_) | State::Chunked(_) | State::Over(Then::Broken(_)) => true,
            State::Head | State::Over(Then::More | Then::Another | Then::Waiting | Then::Refused { .. }) => false,
        }
    }

    /// Whether the stream is between two requests, with nothing of the next one there.
    #[must_use]
    pub fn is_between_requests(&self) -> bool {
        match self.state {
            State::Head => self.head.has_not_begun(),
            State::Length(_) | State::Chunked(_) | State::Over(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;

//! What hyper may read of an HTTP/1 connection: what [`super::super::framing`] has judged, one request at a time; and what was found out on
//! the way, for those who answer. Knows nothing of sockets. Owned by [`super::Watched`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::io::ReadBuf;

use crate::http::connection::Connection;
use crate::http::framing::{ChunkFault, HeadRules, REFUSED_REQUEST, Scanner, Then};
use crate::http::gate::Refusal;

/// What the scanner has found out about a connection's requests, as those see it who answer them.
#[derive(Default)]
pub(in crate::http) struct Framing {
    /// How many heads were passed, times two, plus one while the last one's body is still arriving.
    progress: AtomicU64,
    refused: OnceLock<(Refusal, bool)>,
    broken: OnceLock<ChunkFault>,
    /// The last request asks for a WebSocket; nothing behind it is read as HTTP any more.
    waiting: AtomicBool,
    /// It got one.
    pub(super) switched: AtomicBool,
    /// How many requests came to be answered.
    answers: AtomicU64,
    /// The last that hyper did was to ask for a request, and nothing of one was there; all that it wrote before has left.
    pub(super) awaits: AtomicBool,
}

impl Framing {
    /// Why the head was refused that hyper has been given a request of ours for, and whether it was a HEAD request.
    pub(in crate::http) fn refused(&self) -> Option<(Refusal, bool)> {
        self.refused.get().copied()
    }

    /// What is wrong with the last body.
    pub(in crate::http) fn broken(&self) -> Option<ChunkFault> {
        self.broken.get().copied()
    }

    /// A request comes to be answered; says the how manieth of those that were passed it is, from 1.
    pub(in crate::http) fn answers(&self) -> u64 {
        self.answers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Forgets whether hyper waits for a request, so that it has to show it anew.
    pub(in crate::http) fn forget(&self) {
        self.awaits.store(false, Ordering::Relaxed);
    }

    /// Whether hyper waits for a request and holds nothing of one: every head that was passed came to be answered, its body has been
    /// passed as well, and since [`Self::forget`] hyper has asked for more, in vain, with nothing left to write.
    pub(in crate::http) fn is_at_rest(&self) -> bool {
        let progress = self.progress.load(Ordering::Acquire);
        self.awaits.load(Ordering::Relaxed) && progress == 2 * self.answers.load(Ordering::Relaxed)
    }

    /// Whether the connection has to end with the answer to its n-th request, counted from 1: where the body has not arrived whole, what
    /// comes next may be anything (R11); where a WebSocket was asked for and not granted, too (R9).
    pub(in crate::http) fn ends_with(&self, number: u64) -> bool {
        let progress = self.progress.load(Ordering::Acquire);
        progress / 2 == number && (progress % 2 == 1 || self.waiting.load(Ordering::Acquire))
    }

    /// The last request got its WebSocket: from here on bytes are just bytes.
    pub(in crate::http) fn switch(&self) {
        self.switched.store(true, Ordering::Release);
    }
}

/// Keeps hyper from reading what has not been judged.
pub(super) struct Guard {
    scanner: Scanner,
    pub(super) framing: Arc<Framing>,
    pub(super) stage: Stage,
    /// Judged, and not handed on yet.
    pub(super) judged: Bytes,
    /// The beginning of a head whose end has not come; or what came behind a request for a WebSocket. Bounded by the largest head, and
    /// by `EARLY_BYTES` and what one read brought beside the handshake.
    pub(super) held: Vec<u8>,
}

/// How the guard treats what comes in.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    Scanning,
    /// See [`Then::Waiting`].
    Waiting,
    /// A tunnel: nothing is looked at.
    Open,
    /// hyper has got [`REFUSED_REQUEST`] and gets nothing more.
    Refused,
    Broken(ChunkFault),
}

/// The client broke the framing of its body. hyper hands it on as the cause of a body's error.
#[derive(Debug, thiserror::Error)]
#[error("the body's framing is wrong")]
pub(in crate::http) struct BrokenFraming(#[source] pub(super) ChunkFault);

#[derive(PartialEq, Eq)]
pub(super) enum Judged {
    HandedOn,
    HeldBack,
}

impl Guard {
    pub(super) fn new(rules: HeadRules) -> Self {
        Self {
            scanner: Scanner::new(rules),
            framing: Arc::default(),
            stage: Stage::Scanning,
            judged: Bytes::new(),
            held: Vec::new(),
        }
    }

    /// Whether the last request that was passed has come whole and has not been answered to its end.
    pub(super) fn is_answering(&self, connection: &Connection) -> bool {
        let under_way = !connection.is_idle() || self.framing.answers.load(Ordering::Relaxed) < self.scanner.heads();
        under_way && self.scanner.is_between_requests()
    }

    /// Judges the bytes behind `before` and leaves in the buffer what may be read of them. What is another request's goes `ahead`, where
    /// nothing is.
    pub(super) fn judge(&mut self, buf: &mut ReadBuf<'_>, before: usize, ahead: &mut Bytes) -> Judged {
        let piece = buf.filled().get(before..).unwrap_or_default();
        let scanned = self.scanner.feed(piece);
        let (passed, mut rest) = piece.split_at_checked(scanned.passed).unwrap_or((piece, &[]));
        if scanned.then == Then::Another {
            *ahead = Bytes::copy_from_slice(std::mem::take(&mut rest));
        }
        let outcome = if self.held.is_empty() {
            self.held.extend_from_slice(rest);
            buf.set_filled(before + scanned.passed);
            if scanned.passed == 0 { Judged::HeldBack } else { Judged::HandedOn }
        } else {
            if passed.is_empty() {
                self.held.extend_from_slice(rest);
            } else {
                self.held.extend_from_slice(passed);
                let head = std::mem::replace(&mut self.held, rest.to_vec());
                self.judged = head.into();
            }
            buf.set_filled(before);
            Judged::HeldBack
        };
        self.go_on(scanned.then);
        outcome
    }

    /// Judges what was read ahead, and leaves there what is another request's.
    pub(super) fn judge_ahead(&mut self, ahead: &mut Bytes) {
        let mut rest = std::mem::take(ahead);
        let scanned = self.scanner.feed(&rest);
        let passed = rest.split_to(scanned.passed.min(rest.len()));
        if self.held.is_empty() {
            self.judged = passed;
        } else if !passed.is_empty() {
            self.held.extend_from_slice(&passed);
            self.judged = std::mem::take(&mut self.held).into();
        }
        match scanned.then {
            Then::Another => *ahead = rest,
            Then::More | Then::Waiting | Then::Refused { .. } | Then::Broken(_) => self.held.extend_from_slice(&rest),
        }
        self.go_on(scanned.then);
    }

    /// Draws the consequences of what was judged.
    fn go_on(&mut self, then: Then) {
        let progress = self.scanner.heads() * 2 + u64::from(self.scanner.is_in_body());
        self.framing.progress.store(progress, Ordering::Release);
        match then {
            Then::More | Then::Another => {}
            Then::Waiting => {
                self.stage = Stage::Waiting;
                self.framing.waiting.store(true, Ordering::Release);
            }
            Then::Refused { refusal, to_head } => {
                self.stage = Stage::Refused;
                self.held = Vec::new();
                // The scanner refuses once.
                let _first = self.framing.refused.set((refusal, to_head));
                let judged = std::mem::take(&mut self.judged);
                self.judged = match &judged[..] {
                    [] => Bytes::from_static(REFUSED_REQUEST),
                    judged => [judged, REFUSED_REQUEST].concat().into(),
                };
            }
            Then::Broken(fault) => {
                self.stage = Stage::Broken(fault);
                self.held = Vec::new();
                let _first = self.framing.broken.set(fault);
            }
        }
    }

    /// Whether everything that came has been handed on, and was whole requests.
    pub(super) fn is_at_rest(&self) -> bool {
        let stage = match self.stage {
            Stage::Scanning => self.scanner.is_between_requests(),
            Stage::Waiting | Stage::Open => true,
            Stage::Refused | Stage::Broken(_) => false,
        };
        stage && self.held.is_empty() && self.judged.is_empty()
    }

    /// Whether nothing but another request can come, and nothing of it is there.
    pub(super) fn is_between_requests(&self) -> bool {
        matches!(self.stage, Stage::Scanning) && self.is_at_rest()
    }
}

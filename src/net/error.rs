//! Why a request brought back no answer. One small error for everybody who sends: forwarding turns it into 502 or 504, the legacy
//! connector into an outage. Never shown to a client; its causes are for the log.

use std::error::Error as StdError;
use std::fmt;

/// A cause, for the log.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// A request that brought back no answer.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct SendError {
    /// What went wrong.
    pub kind: SendErrorKind,
    /// True when not one byte of the request was sent: sending it again cannot do anything twice.
    pub safe_to_retry: bool,
    #[source]
    source: Option<Cause>,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendErrorKind {
    /// The name did not resolve, or no address took a connection.
    Connect,
    /// The TLS handshake failed, or the certificate is not one we trust for this name.
    Tls,
    /// As many connections as may be are open.
    NoRoom,
    /// No connection in time.
    Timeout,
    /// The connection broke off before the answer's head was complete, or what came is no HTTP.
    Broken,
    /// The body that was to be sent failed: whoever gave it to us is the cause, not the peer.
    RequestBody,
    /// The runtime that drove the connection is shutting down.
    Cancelled,
}

impl fmt::Display for SendErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection could be made",
            Self::NoRoom => "as many connections as may be are open",
            Self::Tls => "the TLS connection could not be verified",
            Self::Timeout => "connecting took too long",
            Self::Broken => "the connection broke off or the answer is no HTTP",
            Self::RequestBody => "the body to be sent failed",
            Self::Cancelled => "the connection was given up",
        })
    }
}

impl SendError {
    /// A failure before anything was sent.
    pub(super) fn before_sending(kind: SendErrorKind, source: impl Into<Cause>) -> Self {
        Self { kind, safe_to_retry: true, source: Some(source.into()) }
    }

    /// As many connections as may be are open.
    pub(super) fn no_room() -> Self {
        Self { kind: SendErrorKind::NoRoom, safe_to_retry: true, source: None }
    }

    /// Connecting took too long.
    pub(super) fn connect_timeout() -> Self {
        Self { kind: SendErrorKind::Timeout, safe_to_retry: true, source: None }
    }

    /// An answer that hyper lets pass and we do not.
    pub(super) fn malformed(why: &'static str) -> Self {
        Self { kind: SendErrorKind::Broken, safe_to_retry: false, source: Some(why.into()) }
    }

    /// A failure that hyper reports. `written` tells whether the request had left our hands.
    pub(super) fn from_hyper(error: hyper::Error, written: bool) -> Self {
        let kind = if error.is_user() {
            // The only things of ours that hyper can stumble over are the body and a dispatcher that went away with its runtime.
            if error.source().is_some_and(|source| source.is::<super::body::StreamError>()) {
                SendErrorKind::RequestBody
            } else {
                SendErrorKind::Cancelled
            }
        } else {
            SendErrorKind::Broken
        };
        Self { kind, safe_to_retry: !written, source: Some(error.into()) }
    }
}

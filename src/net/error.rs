//! Why a request brought back no answer. One small error for everybody who sends: forwarding turns it into 502 or 504, the legacy
//! connector into an outage. Never shown to a client; its causes are for the log.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use super::wire::Fault;

/// A cause, for the log.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Why TLS came to nothing, in words that lead to what has to be put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsFault {
    WrongName,
    UnknownCa,
    Expired,
    NotYetValid,
    OtherwiseInvalid,
    /// The other side wants a certificate of ours, or another one.
    WantsCertificate,
    NoTls,
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongName => "its certificate is for another name (see `url` and `tls.server_name`)",
            Self::UnknownCa => "its certificate comes from a CA that is not trusted (see `tls.ca`)",
            Self::Expired => "its certificate has expired",
            Self::NotYetValid => "its certificate is not valid yet, or the clock here is wrong",
            Self::OtherwiseInvalid => "its certificate cannot be used",
            Self::WantsCertificate => "it refuses our client certificate, or wants one (see `tls.cert`)",
            Self::NoTls => "what answers there speaks no TLS",
        })
    }
}

/// A fault with what the TLS library said of it.
#[derive(Debug, thiserror::Error)]
#[error("{fault}")]
struct TlsCause {
    fault: TlsFault,
    #[source]
    source: Cause,
}

impl TlsFault {
    /// The cause of a handshake that failed.
    pub(super) fn of(error: io::Error) -> Cause {
        match Self::behind(&error) {
            Some(fault) => TlsCause { fault, source: error.into() }.into(),
            None => error.into(),
        }
    }

    /// What TLS has to do with an error, if it has. A server that dislikes our certificate says so only when the request is under way
    /// (RFC 8446, section 4.4.2.4: its alert comes after our side is done).
    fn behind(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            let inner = inner.map(|inner| inner as &(dyn StdError + 'static));
            let found = error.downcast_ref().or_else(|| inner.and_then(|inner| inner.downcast_ref()));
            if let Some(error) = found {
                return Self::judge(error);
            }
            next = error.source();
        }
        None
    }

    fn judge(error: &rustls::Error) -> Option<Self> {
        use rustls::{AlertDescription as Alert, CertificateError as Bad, Error};
        match error {
            Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
                Some(Self::WrongName)
            }
            // A CA of the right name with another key shows itself by a bad signature.
            Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => Some(Self::UnknownCa),
            Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => Some(Self::Expired),
            Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => Some(Self::NotYetValid),
            Error::InvalidCertificate(_) => Some(Self::OtherwiseInvalid),
            Error::AlertReceived(
                Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied,
            ) => Some(Self::WantsCertificate),
            Error::InvalidMessage(_) => Some(Self::NoTls),
            _ => None,
        }
    }
}

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

    /// An exchange that came to nothing. `sent` tells whether anything of the request may have reached the other side.
    pub(super) fn of(fault: Fault, sent: bool) -> Self {
        let safe_to_retry = !sent;
        if let Some(found) = TlsFault::behind(&fault) {
            // Once the request was on its way nobody can say any more that nothing of it has arrived.
            let kind = if sent { SendErrorKind::Broken } else { SendErrorKind::Tls };
            let source = TlsCause { fault: found, source: fault.into() };
            return Self { kind, safe_to_retry, source: Some(source.into()) };
        }
        let kind = match &fault {
            Fault::Upload(_) => SendErrorKind::RequestBody,
            Fault::Socket(error) if tokio::runtime::is_rt_shutdown_err(error) => SendErrorKind::Cancelled,
            Fault::Socket(_)
            | Fault::Incomplete
            | Fault::Guard(_)
            | Fault::Head(_)
            | Fault::Malformed(_)
            | Fault::Chunks(_)
            | Fault::Length => SendErrorKind::Broken,
        };
        Self { kind, safe_to_retry, source: Some(fault.into()) }
    }
}

//! One process takes the place of another: the protocol between them, over a Unix socket (R25).
//!
//! Two processes on one port by `SO_REUSEPORT` alone lose what waits in a socket's queue when that socket is closed. So the listening
//! sockets themselves change hands (`SCM_RIGHTS`), as in HAProxy, Envoy and Pingora, and none is closed while connections
//! wait in it. The store has one writer, so it changes hands too:
//!
//! ```text
//! new                                   old
//! Hello                           ->
//!                                 <-    Sockets…, Offer         listening sockets, mode in force
//! Prepared                        ->                            everything is built but the store
//!                                 <-    Accept                  accepts nothing more; its connections end with their next answer
//! (accepts, forwards, holds logins)     (finishes its logins, flushes, closes the store)
//!                                 <-    StoreClosed
//! Opening…                        ->                            it takes a while, and is not given up
//! Serving                         ->                            the store is open, logins go on
//!                                 <-    Farewell                finishes its streams and ends
//! ```
//!
//! Until `Serving` the old process can take everything back, and does when the new one goes away. Both ends believe only processes of
//! their own user, or of root. Called by `app`; knows nothing of what the sockets and the store are for.

mod door;
mod link;

use std::io;

use crate::domain::mode::Mode;

pub use door::{Door, OpenError, connect};
pub use link::Link;

/// Raised when the messages change: processes of different versions then restart in the usual way.
const PROTOCOL: u32 = 2;

/// What the two processes say to each other.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "say")]
pub enum Message {
    /// The new process would take over.
    Hello {
        /// The protocol that it speaks.
        protocol: u32,
        /// Its version, for the log.
        version: String,
    },
    /// The old one goes on as it was.
    Refused {
        /// Why, for the log.
        reason: String,
    },
    /// Some sockets of one listener come with this message.
    Sockets {
        /// Which of the listeners, from 0.
        listener: usize,
        /// Its address as configured.
        name: String,
        /// How many.
        count: usize,
    },
    /// There are no more.
    Offer {
        /// The mode in force.
        mode: Mode,
    },
    /// The new process has everything but the store.
    Prepared,
    /// The old one accepts nothing more.
    Accept,
    /// The old one has closed its store.
    StoreClosed,
    /// The new one is still opening it; said again and again.
    Opening,
    /// The new one has opened it.
    Serving,
    /// The old one knows, and leaves.
    Farewell,
}

/// Why a takeover did not come about.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The other process went away, or the socket failed.
    #[error("the other process cannot be reached any more")]
    Lost(#[from] io::Error),
    /// It said why not.
    #[error("the other process refuses: {0}")]
    Refused(String),
    /// It belongs to somebody else.
    #[error("the other process belongs to user {0}, not to ours")]
    Stranger(u32),
    /// It does not speak as it should.
    #[error("the other process does not keep to the protocol: {0}")]
    Garbled(&'static str),
    /// It said nothing in time.
    #[error("the other process has not answered in time")]
    Late,
}

impl Message {
    /// What a new process says first.
    #[must_use]
    pub fn hello() -> Self {
        Self::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

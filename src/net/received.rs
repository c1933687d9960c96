//! A client's body as it arrives, whole or not at all: what broke off never looks like what has ended. Made by the edge for every request
//! that it takes; see [`super::body`] for what becomes of it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::error::Cause;

/// A client's body.
pub struct Received {
    incoming: Incoming,
    /// On HTTP/2 it is a stream, which can be reset.
    of_stream: bool,
}

/// The client reset the stream.
#[derive(Debug, thiserror::Error)]
#[error("the client gave the request up")]
struct Reset;

impl Received {
    /// The body of a request in this version.
    #[must_use]
    pub fn new(incoming: Incoming, version: Version) -> Self {
        Self { incoming, of_stream: version >= Version::HTTP_2 }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let this = self.get_mut();
        Poll::Ready(match ready!(Pin::new(&mut this.incoming).poll_frame(cx)) {
            // A reset without an error is for hyper an end like any other. It is a server who says so, once he has answered and needs no
            // more (RFC 9113, section 8.1); from a client, be it a proxy whose own client went away, it leaves us with a part.
            None if this.of_stream && !this.incoming.is_end_stream() => Some(Err(Reset.into())),
            frame => frame.map(|frame| frame.map_err(Cause::from)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

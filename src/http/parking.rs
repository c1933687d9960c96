//! Drives the connections of a worker, and parks those that speak HTTP/1 and idle: hyper and its buffers are let go of, and made anew
//! from the same socket when its next byte has come. What is left of a parked connection is its socket and what watches over it.
//!
//! Nobody can look into hyper, so it has to show that it holds nothing: with no request under way, and nothing of one held back or being
//! judged, it asks the socket for more and has nothing to write (see [`Framing::is_at_rest`]). Then it waits for the first byte
//! of a head, and has read none. When to try is the matter of [`super::connection::Roster`]. Called by [`super::worker`].

use std::convert::Infallible;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Connection, Order};
use super::io::{Framing, Watched};
use crate::net::body::StreamError;

/// What it takes to speak HTTP/1 on a socket.
pub(super) struct Http1<'a> {
    pub(super) builder: &'a http1::Builder,
    /// Of that socket.
    pub(super) framing: &'a Framing,
    /// How many are parked.
    pub(super) parked: &'a Gauge,
}

impl Http1<'_> {
    /// Serves requests until the connection ends.
    pub(super) async fn serve<S, V, B>(&self, mut socket: Box<Watched<S>>, mut service: V) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        V: HttpService<Incoming, ResBody = B, Error = Infallible>,
        B: Body<Data = Bytes, Error = StreamError> + 'static,
    {
        let connection = socket.connection().clone();
        loop {
            // Boxed, so that a parked connection keeps no room for it.
            let serving = self.builder.serve_connection(TokioIo::new(socket), service).with_upgrades();
            let mut serving = Box::pin(serving);
            let framing = Some(self.framing);
            match drive_until(serving.as_mut(), &connection, framing, |serving| serving.graceful_shutdown()).await {
                Driven::Ended(ended) => return ended,
                Driven::AtRest => {}
            }
            let Some(taken) = take_apart(*Pin::into_inner(serving)) else { return Ok(()) };
            (socket, service) = taken;
            let _parked = Parked::among(self.parked);
            // Whatever there is, also the end of the stream or of our patience, is hyper's to act on.
            let _something = has_come(&mut socket).await;
        }
    }
}

/// The socket and the service of a connection that is at rest.
fn take_apart<S, V, B>(
    serving: http1::UpgradeableConnection<TokioIo<Box<Watched<S>>>, V>,
) -> Option<(Box<Watched<S>>, V)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    V: HttpService<Incoming, ResBody = B, Error = Infallible>,
    B: Body<Data = Bytes, Error = StreamError> + 'static,
{
    // Only what has been upgraded has none.
    let parts = serving.into_parts()?;
    if !parts.read_buf.is_empty() {
        // What those bytes were to hyper nobody knows: read again, they could become another request.
        tracing::error!("a bug: a connection held bytes when it was to be parked, and is closed");
        return None;
    }
    Some((parts.io.into_inner(), parts.service))
}

/// Counts a parked connection until it is dropped.
struct Parked<'a>(&'a Gauge);

impl<'a> Parked<'a> {
    fn among(parked: &'a Gauge) -> Self {
        parked.inc();
        Self(parked)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Waits until bytes have come, which are read ahead then. `false` when none will: the client has gone, or the connection is to end.
pub(super) async fn has_come<S: AsyncRead + Unpin>(socket: &mut Watched<S>) -> bool {
    let connection = socket.connection().clone();
    std::future::poll_fn(|cx| {
        let order = connection.poll_order(cx);
        match socket.poll_ahead(cx) {
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(false),
            Poll::Ready(Ok(_)) => Poll::Ready(true),
            Poll::Pending if order >= Order::Drain => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// How far a connection was driven.
enum Driven {
    /// It is over.
    Ended(hyper::Result<()>),
    /// It can be parked, as its worker wants it.
    AtRest,
}

/// Polls a connection to its end, doing what its worker orders on the way.
pub(super) async fn drive<C: Future<Output = hyper::Result<()>>>(
    serving: Pin<&mut C>,
    connection: &Connection,
    drain: impl Fn(Pin<&mut C>),
) -> hyper::Result<()> {
    match drive_until(serving, connection, None, drain).await {
        Driven::Ended(ended) => ended,
        // Without a framing nothing is said to be at rest.
        Driven::AtRest => Ok(()),
    }
}

/// The same, or until nothing is under way on it when it is to be parked.
async fn drive_until<C: Future<Output = hyper::Result<()>>>(
    mut serving: Pin<&mut C>,
    connection: &Connection,
    framing: Option<&Framing>,
    drain: impl Fn(Pin<&mut C>),
) -> Driven {
    let mut told = false;
    std::future::poll_fn(|cx| {
        let order = connection.poll_order(cx);
        if order == Order::Cut {
            return Poll::Ready(Driven::Ended(Ok(())));
        }
        let parks = framing.filter(|_| connection.is_to_be_parked());
        if let Some(framing) = parks {
            framing.forget();
        }
        // Polled before it is told to drain: a request that is there already is still answered.
        let mut polled = serving.as_mut().poll(cx);
        if polled.is_pending() && !told && order == Order::Drain {
            told = true;
            drain(serving.as_mut());
            polled = serving.as_mut().poll(cx);
        }
        let at_rest = || connection.is_idle() && parks.is_some_and(Framing::is_at_rest);
        if polled.is_pending() && !told && at_rest() {
            return Poll::Ready(Driven::AtRest);
        }
        polled.map(Driven::Ended)
    })
    .await
}

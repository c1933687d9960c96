//! One new connection to a configured target: resolve, race the addresses, TLS, HTTP/1.1 handshake. Called by
//! [`super::client`]; keeps nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsConnector;

use super::error::{SendError, SendErrorKind, TlsFault};
use super::guard::{Announcement, Guarded, MAX_ANSWER_HEAD, Unread};
use super::pool::Sender;
use super::target::Target;
use crate::telemetry::WithCauses;

/// How long one address is tried alone before the next one is tried beside it (RFC 8305 section 8).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// How many addresses of a name are tried at most.
const MAX_ADDRESSES: usize = 16;

pub(super) struct Connector {
    target: Target,
    timeout: Duration,
    tls: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl Connector {
    pub(super) fn new(
        target: Target,
        timeout: Duration,
        tls: Arc<rustls::ClientConfig>,
        server_name: Option<ServerName<'static>>,
    ) -> Self {
        Self { target, timeout, tls: tls.into(), server_name }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Connects within the timeout, TLS included. The connection holds `room` until it is closed.
    pub(super) async fn connect(&self, room: OwnedSemaphorePermit) -> Result<Sender, SendError> {
        // Boxed: this is rare beside sending, and every request's future would be as large as a TLS handshake.
        match tokio::time::timeout(self.timeout, Box::pin(self.handshake(room))).await {
            Ok(connected) => connected,
            Err(_elapsed) => Err(SendError::connect_timeout()),
        }
    }

    async fn handshake(&self, room: OwnedSemaphorePermit) -> Result<Sender, SendError> {
        let connect = |error: io::Error| SendError::before_sending(SendErrorKind::Connect, error);
        let stream = race(self.addresses().await.map_err(connect)?).await.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        if !self.target.https {
            return drive(stream, room).await;
        }
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(self.target.host.clone())
                .map_err(|error| SendError::before_sending(SendErrorKind::Tls, error))?,
        };
        match self.tls.connect(name, stream).await {
            Ok(stream) => drive(stream, room).await,
            Err(error) => Err(SendError::before_sending(SendErrorKind::Tls, TlsFault::of(error))),
        }
    }

    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.target.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.target.port)]);
        }
        let found = tokio::net::lookup_host((self.target.host.as_str(), self.target.port)).await?;
        Ok(found.take(MAX_ADDRESSES).collect())
    }
}

/// The first address that takes a connection, each next one tried when the last failed or kept us waiting (RFC 8305, without its
/// sorting: the resolver has sorted them).
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut rest = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = rest.next() {
            attempts.push(TcpStream::connect(address));
        }
        if attempts.is_empty() {
            return Err(last_error);
        }
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) => last_error = error,
            },
            () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if rest.len() > 0 => {}
        }
    }
}

/// Starts HTTP/1.1 on a connection, driven by a task of its own on this runtime until it ends.
async fn drive<S>(stream: S, room: OwnedSemaphorePermit) -> Result<Sender, SendError>
where
    S: AsyncRead + AsyncWrite + Unread + Unpin + Send + 'static,
{
    let announced = Announcement::default();
    let (sender, connection) = http1::Builder::new()
        .max_header_size(MAX_ANSWER_HEAD)
        // What a client that reads slowly makes us hold of its answer. hyper's own bound is over 400 KiB.
        .max_buf_size(MAX_ANSWER_HEAD)
        .handshake(TokioIo::new(Counted { stream: Guarded::new(stream, announced.clone()), _room: room }))
        .await
        .map_err(|error| SendError::from_hyper(error, false))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(error = %WithCauses(&error), "a connection to the upstream ended");
        }
    });
    Ok(Sender::new(sender, announced))
}

/// A connection that keeps its room for as long as it is open, as a tunnel too.
struct Counted<S> {
    stream: S,
    _room: OwnedSemaphorePermit,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

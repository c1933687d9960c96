//! One new connection to a configured target: resolve, race the addresses, TLS. Called by
//! [`super::client`]; keeps nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsConnector;

use super::error::{SendError, SendErrorKind, TlsFault};
use super::target::Target;
use super::wire::{Records, Socket, Wire};

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
    pub(super) async fn connect(&self, room: OwnedSemaphorePermit) -> Result<Box<Wire>, SendError> {
        // Boxed: this is rare beside sending, and every request's future would be as large as a TLS handshake.
        match tokio::time::timeout(self.timeout, Box::pin(self.handshake(room))).await {
            Ok(connected) => connected,
            Err(_elapsed) => Err(SendError::connect_timeout()),
        }
    }

    async fn handshake(&self, room: OwnedSemaphorePermit) -> Result<Box<Wire>, SendError> {
        let connect = |error: io::Error| SendError::before_sending(SendErrorKind::Connect, error);
        let stream = race(self.addresses().await.map_err(connect)?).await.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        if !self.target.https {
            return Ok(Wire::new(Socket::Plain(stream), room));
        }
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(self.target.host.clone())
                .map_err(|error| SendError::before_sending(SendErrorKind::Tls, error))?,
        };
        match self.tls.connect(name, Records::new(stream)).await {
            Ok(stream) => Ok(Wire::new(Socket::Tls(Box::new(stream)), room)),
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

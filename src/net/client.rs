//! The HTTP/1.1 client for one configured target. Sends what it is given as it stands, adds nothing but a missing `Host`, follows no
//! redirect, and keeps connections for the next request. Called by forwarding and by the legacy connector, which bound the
//! wait for an answer themselves: dropping the future gives the request up and closes its connection.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use rustls::pki_types::ServerName;
use tokio::sync::Semaphore;

use super::body::ProxyBody;
use super::connect::Connector;
use super::error::SendError;
use super::pool::{Lease, Pool, Sender};
use super::target::Target;

/// How to connect, and how long to keep connections.
#[derive(Clone)]
pub struct ClientSettings {
    /// How long name resolution, TCP and TLS may take together.
    pub connect_timeout: Duration,
    /// What is trusted, see [`super::tls::client_config`]. Used for `https` targets only.
    pub tls: Arc<rustls::ClientConfig>,
    /// How many idle connections each I/O thread keeps.
    pub max_idle_per_thread: usize,
    /// How long an idle connection is kept. Below the target's own keep-alive time, or a request may meet a connection that
    /// the target is just closing (Node closes after 5 s).
    pub idle_timeout: Duration,
}

/// A pooled HTTP/1.1 client for one target. Cheap to clone; works on any number of runtimes at once.
#[derive(Clone)]
pub struct Client {
    connector: Arc<Connector>,
    pool: Arc<Pool>,
    room: Arc<Semaphore>,
    authority: HeaderValue,
}

impl Client {
    /// A client that connects to `target` and to nothing else (R81). Opens no connection yet.
    #[must_use]
    pub fn new(target: Target, settings: ClientSettings) -> Self {
        Self::verifying(target, settings, None)
    }

    /// The same for a target whose certificate is for another name than its host; none for the host.
    #[must_use]
    pub fn verifying(target: Target, settings: ClientSettings, server_name: Option<ServerName<'static>>) -> Self {
        // A parsed URL's host is made of visible ASCII; should it not be, an empty Host is refused by every server.
        let authority = HeaderValue::try_from(target.authority()).unwrap_or(HeaderValue::from_static(""));
        let pool = Pool::new(settings.max_idle_per_thread, settings.idle_timeout);
        let connector = Arc::new(Connector::new(target, settings.connect_timeout, settings.tls, server_name));
        Self { connector, pool, room: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)), authority }
    }

    /// Lets at most so many connections be open, idle ones and tunnels included. A request for which there is none fails at once: what
    /// would wait here would hold its client's connection as well.
    #[must_use]
    pub fn with_at_most(self, connections: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))), ..self }
    }

    /// Where requests go.
    #[must_use]
    pub fn target(&self) -> &Target {
        self.connector.target()
    }

    /// The target as a `Host` header has it.
    #[must_use]
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// Sends a request whose URI is in origin form and brings back the answer's head with its body still to come.
    ///
    /// A request is sent a second time, on a fresh connection, in one case only: a kept connection turned out closed before the
    /// request was handed to it. There is no other retry.
    pub async fn send(&self, mut request: Request<ProxyBody>) -> Result<Response<ProxyBody>, SendError> {
        *request.version_mut() = http::Version::HTTP_11;
        if !request.headers().contains_key(HOST) {
            request.headers_mut().insert(HOST, self.authority.clone());
        }
        let to_head = request.method() == http::Method::HEAD;
        if let Some(mut sender) = self.pool.take() {
            match sender.send(request).await {
                Ok(response) => return self.keep(sender, response, to_head),
                Err(mut failure) => match failure.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(SendError::from_hyper(failure.into_error(), true)),
                },
            }
        }
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_none| SendError::no_room())?;
        let mut sender = self.connector.connect(room).await?;
        match sender.send(request).await {
            Ok(response) => self.keep(sender, response, to_head),
            Err(mut failure) => {
                let written = failure.take_message().is_none();
                Err(SendError::from_hyper(failure.into_error(), written))
            }
        }
    }

    /// Sees to it that the connection is used again: at once where the whole answer has arrived, else when its body has ended. The
    /// connection of a malformed answer is closed (R20).
    fn keep(
        &self,
        sender: Sender,
        response: Response<Incoming>,
        to_head: bool,
    ) -> Result<Response<ProxyBody>, SendError> {
        check(&response, to_head).map_err(SendError::malformed)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response.map(ProxyBody::from));
        }
        if sender.is_ready() || response.body().is_end_stream() {
            self.pool.put(sender);
            return Ok(response.map(ProxyBody::from));
        }
        let pool = self.pool.clone();
        Ok(response.map(|incoming| ProxyBody::leased(incoming, Lease::new(pool, sender))))
    }
}

/// Finds fault with an answer whose end a next reader could take for another than ours (RFC 9112 section 6.3). The connection's guard
/// and hyper have refused everything else that is malformed.
fn check(response: &Response<Incoming>, to_head: bool) -> Result<(), &'static str> {
    let headers = response.headers();
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next() {
        if headers.contains_key(CONTENT_LENGTH) {
            return Err("it has both a length and a transfer encoding");
        }
        if encodings.next().is_some() || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err("its transfer encoding is not just chunked");
        }
        if response.version() != http::Version::HTTP_11 || response.status() == StatusCode::NO_CONTENT {
            return Err("it has a transfer encoding and can have none");
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        // hyper looks at it only where a body follows: in an answer to HEAD, and in a 304, it would go on unread.
        let is_number = (1..=19).contains(&length.len()) && length.as_bytes().iter().all(u8::is_ascii_digit);
        if !is_number || lengths.next().is_some() {
            return Err("its length is not one number");
        }
        if !to_head && response.status() == StatusCode::NO_CONTENT && length != "0" {
            return Err("it has a length and can have no body");
        }
    }
    Ok(())
}

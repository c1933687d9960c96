//! The HTTP/1.1 client for one configured target. Sends what it is given as it stands, adds nothing but a missing `Host`, follows no
//! redirect, and keeps connections for the next request. Called by forwarding and by the legacy connector, which bound the
//! wait for an answer themselves: dropping the future gives the request up and closes its connection.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode};
use rustls::pki_types::ServerName;
use tokio::sync::Semaphore;

use super::answer::Arriving;
use super::body::ProxyBody;
use super::connect::Connector;
use super::error::SendError;
use super::guard::HeadFault;
use super::pool::Pool;
use super::target::Target;
use super::wire::{AnswerHead, Switched, Upload, Wire};

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
    /// A request is sent a second time, on a fresh connection, in one case only: a kept connection turned out closed before a
    /// byte of the request was written to it. There is no other retry.
    pub async fn send(&self, request: Request<ProxyBody>) -> Result<Response<ProxyBody>, SendError> {
        let (mut wire, mut is_kept) = match self.pool.take() {
            Some(wire) => (wire, true),
            None => (self.fresh().await?, false),
        };
        let (upload, headers) = Upload::new(request, &self.authority, wire.take_buffer());
        wire.spare(headers);
        wire.begin(upload);
        loop {
            match std::future::poll_fn(|cx| wire.poll_head(cx)).await {
                Ok(head) => return Ok(self.answer(wire, head)),
                Err(fault) => match wire.take_unsent() {
                    Some(upload) if is_kept && !fault.is_of_the_request() => {
                        // Its room may be all there is.
                        drop(wire);
                        (wire, is_kept) = (self.fresh().await?, false);
                        wire.begin(upload);
                    }
                    unsent => return Err(SendError::of(fault, unsent.is_none())),
                },
            }
        }
    }

    async fn fresh(&self) -> Result<Box<Wire>, SendError> {
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_none| SendError::no_room())?;
        let mut wire = self.connector.connect(room).await?;
        if wire.was_spoken_to() {
            return Err(SendError::of(HeadFault::Unasked.into(), false));
        }
        Ok(wire)
    }

    /// An answer whose body is there or still comes. Sees to it that the connection is used again: at once where the whole answer has
    /// arrived, else when its body has ended.
    fn answer(&self, mut wire: Box<Wire>, head: AnswerHead) -> Response<ProxyBody> {
        // Who switches before he was asked as a whole would read the rest of the request as another protocol.
        let body = if head.status == StatusCode::SWITCHING_PROTOCOLS && wire.has_sent() {
            ProxyBody::switched(Switched(wire))
        } else if !wire.has_sent() {
            ProxyBody::arriving(Arriving::new(wire, self.pool.clone()))
        } else if let Some(whole) = wire.take_whole() {
            self.pool.put(wire);
            ProxyBody::full(whole)
        } else {
            ProxyBody::arriving(Arriving::new(wire, self.pool.clone()))
        };
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers;
        if let Some(reason) = head.reason {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::tls::client_config_trusting_nobody;
    use super::super::wire::Socket;
    use super::*;

    #[tokio::test]
    async fn a_kept_connection_that_takes_nothing_leaves_its_room_to_the_one_in_its_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let settings = ClientSettings {
            connect_timeout: Duration::from_secs(20),
            tls: client_config_trusting_nobody().expect("a configuration"),
            max_idle_per_thread: 1,
            idle_timeout: Duration::from_secs(20),
        };
        let target = Target::parse(&format!("http://{address}")).expect("a URL");
        let client = Client::new(target, settings).with_at_most(1);
        let socket = TcpStream::connect(address).await.expect("connected");
        let (_idle, _) = listener.accept().await.expect("accepted");
        // Nothing is to be seen of that until something is written.
        socket2::SockRef::from(&socket).shutdown(std::net::Shutdown::Write).expect("a live socket");
        let room = Arc::clone(&client.room).try_acquire_owned().expect("room");
        client.pool.put(Wire::new(Socket::Plain(socket), room));
        let answering = async {
            let (mut app, _) = listener.accept().await.expect("accepted");
            assert!(app.read(&mut [0; 100]).await.expect("a request") > 0);
            app.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("a live socket");
        };
        let request = Request::get("/").body(ProxyBody::empty()).expect("a request");
        let asking = async { tokio::time::timeout(Duration::from_secs(20), client.send(request)).await.expect("soon") };
        tokio::select! {
            answer = asking => assert_eq!(answer.expect("an answer").status(), StatusCode::NO_CONTENT),
            () = async { answering.await; std::future::pending().await } => {}
        }
    }
}

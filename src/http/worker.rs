//! One worker of the edge: accepts, speaks PROXY, TLS and HTTP/1.1 or HTTP/2, watches over its connections, drains. Runs on a thread
//! of its own, see [`super::server`]. Sets the bounds of the protocols (R18, R19, R21, R22); never looks into a request.

use std::any::Any;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Handshake, InFlight, Patience, Roster, Stream};
use super::frames::Metered;
use super::framing::{HeadRules, REFUSED_METHOD};
use super::io::{Framing, Watched};
use super::listener::Listening;
use super::parking::{Http1, drive, has_come};
use super::places::{NetworkFull, Place, Places};
use super::problem::problem;
use super::proxy_protocol::{self, Origin};
use super::server::{Accepting, Drained, Handler};
use super::settings::EdgeBounds;
use super::tls::LiveConfig;
use crate::net::ProxyBody;
use crate::net::body::StreamError;
use crate::telemetry::{Metrics, WithCauses};

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What hyper may buffer of a connection in each direction, in bytes. Heads have their own, smaller limit.
const BUFFER: usize = 64 * 1024;
/// How long accepting pauses when the process has no file descriptor left: from, to.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How many connections that the kernel had completed before the drain are still served.
const LAST_ACCEPTS: usize = 1024;

/// What distinguishes one listener's connections.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) tls: Option<LiveConfig>,
    pub(super) proxy_protocol: bool,
}

/// A worker before it starts.
pub(super) struct Worker<H> {
    pub(super) handler: Arc<H>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) places: Arc<Places>,
    /// The handshakes under way over all listeners.
    pub(super) handshakes: Arc<Places>,
    /// The requests under way over all connections.
    pub(super) requests: Arc<Places>,
    pub(super) bounds: EdgeBounds,
    pub(super) heads: HeadRules,
    pub(super) roster: Arc<Roster>,
    pub(super) accepting: watch::Receiver<Accepting>,
    pub(super) shutdown: CancellationToken,
}

impl<H: Handler> Worker<H> {
    /// Works on this thread until the shutdown and its drain are over.
    pub(super) fn work(self, listening: Vec<(Listening, Option<SocketAddr>, Door)>) -> io::Result<Drained> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let roster = self.roster.clone();
        let ended = runtime.block_on(self.serve(listening));
        // Dropping the runtime cuts off whatever the drain has left.
        drop(runtime);
        roster.retire();
        ended
    }

    async fn serve(self, listening: Vec<(Listening, Option<SocketAddr>, Door)>) -> io::Result<Drained> {
        let bounds = self.bounds;
        let (roster, shutdown, mut wanted) = (self.roster.clone(), self.shutdown.clone(), self.accepting.clone());
        let worker = Arc::new(self);
        let mut accepting = tokio::task::JoinSet::new();
        for (listening, local, door) in listening {
            let front = Arc::new(Front::new(&worker, &roster, local, door));
            match listening {
                Listening::Tcp(listener) => {
                    let listener = TcpListener::from_std(listener)?;
                    accepting.spawn(async move { front.accept_tcp(listener).await });
                }
                Listening::Unix(listener) => {
                    let listener = UnixListener::from_std(listener)?;
                    accepting.spawn(async move { front.accept_unix(listener).await });
                }
            }
        }
        let watching = watch(&roster, bounds);
        let following = follow(&roster, &mut wanted);
        let drained = async {
            shutdown.cancelled().await;
            while accepting.join_next().await.is_some() {}
            roster.drain();
            roster.tasks.close();
            // Saves and changes under way run on this thread too: dropping its runtime would lose them (R91).
            let finished = async {
                roster.tasks.wait().await;
                worker.handler.drain().await;
            };
            match timeout(bounds.drain_timeout, finished).await {
                Ok(()) => Drained::InTime,
                Err(_elapsed) => Drained::CutOff,
            }
        };
        tokio::select! {
            drained = drained => Ok(drained),
            never = watching => match never {},
            never = following => match never {},
        }
    }
}

/// Lets connections linger while another process accepts, and go on when it does not after all.
async fn follow(roster: &Roster, wanted: &mut watch::Receiver<Accepting>) -> Infallible {
    loop {
        let accepting = *wanted.borrow_and_update();
        match accepting {
            Accepting::Yes if roster.is_draining() => roster.resume(),
            Accepting::Yes => {}
            Accepting::Elsewhere => roster.drain(),
        }
        if wanted.changed().await.is_err() {
            // Nobody steers any more.
            return std::future::pending().await;
        }
    }
}

/// Looks after the connections, often enough for the shortest of the timeouts.
async fn watch(roster: &Roster, bounds: EdgeBounds) -> Infallible {
    let (idle, head) = (bounds.idle_timeout, bounds.head_timeout);
    let patience = Patience { idle, head, linger: bounds.linger, tunnels: bounds.drain_tunnels };
    let often = |shortest: Duration| (shortest / 8).clamp(Duration::from_millis(5), Duration::from_millis(250));
    let (usually, draining) = (often(idle.min(head)), often(idle.min(head).min(patience.linger)));
    loop {
        tokio::select! {
            () = tokio::time::sleep(if roster.is_draining() { draining } else { usually }) => {}
            () = roster.drain_begins() => {}
        }
        roster.inspect(patience);
    }
}

/// One listener as one worker serves it.
struct Front<H> {
    worker: Arc<Worker<H>>,
    roster: Arc<Roster>,
    local: Option<SocketAddr>,
    tls: Option<LiveConfig>,
    proxy_protocol: bool,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

/// Which protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// A connection that was given a place.
enum Arrival {
    /// HTTP comes first.
    Speaks(Place),
    /// A PROXY header or a TLS handshake does.
    Greets(Arc<Handshake>),
}

impl Arrival {
    fn place(&self) -> &Place {
        match self {
            Self::Speaks(place) => place,
            Self::Greets(handshake) => handshake.place(),
        }
    }
}

/// A connection whose HTTP is next.
enum Greeted<S> {
    Plain(Box<Watched<S>>),
    Tls(Box<Watched<TlsStream<S>>>, Protocol),
}

impl<H: Handler> Front<H> {
    fn new(worker: &Arc<Worker<H>>, roster: &Arc<Roster>, local: Option<SocketAddr>, door: Door) -> Self {
        let bounds = worker.bounds;
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // The worker's watch keeps the time of heads and of idling for all connections at once; hyper's own timer would be
            // set anew for every request, and would count the idle time as part of the head.
            .header_read_timeout(None)
            // What the guard lets through is no longer, but for an empty line before it.
            .max_header_size(bounds.head_bytes.saturating_add(b"\r\n".len()))
            .max_buf_size(BUFFER.max(bounds.head_bytes.saturating_add(b"\r\n".len())));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(100)
            // A browser opens a page full of pictures and gives all of them up; the default of 20 is for servers that count nothing else.
            .max_pending_accept_reset_streams(100)
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_header_list_size(u32::try_from(bounds.head_bytes).unwrap_or(u32::MAX))
            .max_send_buf_size(BUFFER)
            .keep_alive_interval(bounds.idle_timeout)
            .keep_alive_timeout(bounds.head_timeout);
        let (worker, roster) = (worker.clone(), roster.clone());
        Self { worker, roster, local, tls: door.tls, proxy_protocol: door.proxy_protocol, http1, http2 }
    }

    async fn accept_tcp(self: Arc<Self>, listener: TcpListener) {
        let admit = |socket, peer| self.admit(Some(peer), |arrival| self.clone().serve(socket, Some(peer), arrival));
        self.accept_from(|| async { listener.accept().await.map(|(socket, peer)| admit(socket, peer)) }).await;
        if self.accepts_elsewhere() {
            return;
        }
        let Ok(listener) = listener.into_std() else { return };
        finish_accepting(|| {
            let (socket, peer) = listener.accept()?;
            socket.set_nonblocking(true)?;
            admit(TcpStream::from_std(socket)?, peer);
            Ok(())
        });
    }

    async fn accept_unix(self: Arc<Self>, listener: UnixListener) {
        let admit = |socket| self.admit(None, |arrival| self.clone().serve(socket, None, arrival));
        self.accept_from(|| async { listener.accept().await.map(|(socket, _unnamed)| admit(socket)) }).await;
        if self.accepts_elsewhere() {
            return;
        }
        let Ok(listener) = listener.into_std() else { return };
        finish_accepting(|| {
            let (socket, _unnamed) = listener.accept()?;
            socket.set_nonblocking(true)?;
            admit(UnixStream::from_std(socket)?);
            Ok(())
        });
    }

    /// Whether another process holds the same sockets and takes what waits in them.
    fn accepts_elsewhere(&self) -> bool {
        *self.worker.accepting.borrow() == Accepting::Elsewhere
    }

    /// Accepts until the shutdown, and not while another process does.
    async fn accept_from<F: Future<Output = io::Result<()>>>(&self, accept: impl Fn() -> F) {
        let mut shutdown = pin!(self.worker.shutdown.cancelled());
        let mut accepting = self.worker.accepting.clone();
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => return,
                () = changed_to(&mut accepting, Accepting::Elsewhere) => {
                    tokio::select! {
                        () = &mut shutdown => return,
                        () = changed_to(&mut accepting, Accepting::Yes) => continue,
                    }
                }
                accepted = accept() => accepted,
            };
            match accepted {
                Ok(()) => pause = ACCEPT_PAUSE.0,
                // The client gave up before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "connections cannot be accepted, trying again");
                    self.worker.metrics.refused("accept");
                    tokio::select! {
                        () = &mut shutdown => return,
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(ACCEPT_PAUSE.1),
                    }
                }
            }
        }
    }

    /// Starts serving a connection if there is a place for it; else it is closed at once.
    fn admit<F: Future<Output = ()> + Send + 'static>(
        &self,
        peer: Option<SocketAddr>,
        serve: impl FnOnce(Arrival) -> F,
    ) {
        let Some(arrival) = self.arrival() else { return self.worker.metrics.refused("connections") };
        // Who begins with a PROXY header stands before many clients; each is counted when it is known.
        if self.proxy_protocol || self.claim(arrival.place(), peer) {
            self.roster.tasks.spawn(serve(arrival));
        }
    }

    /// A place for a connection. One that begins with a handshake can be closed to make room from here on.
    fn arrival(&self) -> Option<Arrival> {
        let begins = self.proxy_protocol || self.tls.is_some();
        let among = if begins { Some(self.among_handshakes()?) } else { None };
        let places = &self.worker.places;
        let place = places.take().or_else(|| self.shed(None, places.batch()).and_then(|()| places.take()))?;
        Some(match among {
            Some(among) => Arrival::Greets(self.roster.begins(place, among)),
            None => Arrival::Speaks(place),
        })
    }

    /// A place among the handshakes under way, if need be that of the oldest one.
    fn among_handshakes(&self) -> Option<Place> {
        let handshakes = &self.worker.handshakes;
        handshakes.take().or_else(|| {
            let made = self.roster.shed_handshake();
            made.then(|| self.worker.metrics.refused("connection_shed")).and_then(|()| handshakes.take())
        })
    }

    /// Counts a connection for its client's network. Trusted proxies have many clients behind them, and are not counted.
    fn claim(&self, place: &Place, client: Option<SocketAddr>) -> bool {
        let Some(client) = client.map(|client| client.ip().to_canonical()) else { return true };
        if self.worker.handler.is_trusted_proxy(client) {
            return true;
        }
        let Err(NetworkFull(network)) = place.claim(client) else { return true };
        let most = self.worker.places.batch_of_one();
        let claimed = self.shed(Some(network), most).is_some_and(|()| place.claim(client).is_ok());
        if !claimed {
            self.worker.metrics.refused("connections_per_ip");
        }
        claimed
    }

    /// Closes those whose clients keep us waiting; whether there were any.
    fn shed(&self, network: Option<IpAddr>, most: usize) -> Option<()> {
        let closed = self.roster.shed(network, most);
        (0..closed).for_each(|_| self.worker.metrics.refused("connection_shed"));
        (closed > 0).then_some(())
    }

    async fn serve<S>(self: Arc<Self>, socket: S, peer: Option<SocketAddr>, arrival: Arrival)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match arrival {
            Arrival::Speaks(place) => {
                let connection = Connection::new(peer, self.local, false, &self.roster, place);
                self.speak(Box::new(Watched::new(socket, connection)), None).await;
            }
            Arrival::Greets(handshake) => {
                let greeted = tokio::select! {
                    biased;
                    // Counted by who made room.
                    () = handshake.is_cut() => return,
                    // Boxed, so that its state is given back before HTTP begins.
                    greeted = Box::pin(self.greet(socket, peer, &handshake)) => greeted,
                };
                // It makes room as a connection from here on.
                drop(handshake);
                match greeted {
                    Some(Greeted::Plain(socket)) => self.speak(socket, None).await,
                    Some(Greeted::Tls(socket, protocol)) => self.speak(socket, Some(protocol)).await,
                    None => {}
                }
            }
        }
    }

    /// What comes before HTTP: the PROXY header, the TLS handshake, or both.
    async fn greet<S>(&self, mut socket: S, mut peer: Option<SocketAddr>, handshake: &Handshake) -> Option<Greeted<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (bounds, metrics, place) = (self.worker.bounds, &self.worker.metrics, handshake.place());
        let mut local = self.local;
        if self.proxy_protocol {
            match timeout(bounds.head_timeout, proxy_protocol::read(&mut socket)).await {
                Ok(Ok(Origin::Socket)) => {}
                Ok(Ok(Origin::Client { peer: client, local: at })) => (peer, local) = (Some(client), Some(at)),
                Ok(Err(error)) => {
                    tracing::debug!(error = %WithCauses(&error), ?peer, "no PROXY header");
                    metrics.refused("proxy_header");
                    return None;
                }
                Err(_elapsed) => {
                    metrics.refused("proxy_header");
                    return None;
                }
            }
            if !self.claim(place, peer) {
                return None;
            }
        }
        let Some(tls) = &self.tls else {
            let connection = Connection::new(peer, local, false, &self.roster, place.clone());
            return Some(Greeted::Plain(Box::new(Watched::new(socket, connection))));
        };
        match timeout(bounds.tls_timeout, tls.acceptor().accept(socket)).await {
            Ok(Ok(socket)) => {
                let protocol = match socket.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Protocol::Http2,
                    Some(_) | None => Protocol::Http1,
                };
                let connection = Connection::new(peer, local, true, &self.roster, place.clone());
                if let Some([certificate, ..]) = socket.get_ref().1.peer_certificates() {
                    connection.has_shown(certificate);
                }
                Some(Greeted::Tls(Box::new(Watched::new(socket, connection)), protocol))
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, ?peer, "no TLS handshake");
                metrics.refused("tls");
                None
            }
            Err(_elapsed) => {
                metrics.refused("tls");
                None
            }
        }
    }

    /// Speaks HTTP until the connection ends.
    async fn speak<S>(&self, mut socket: Box<Watched<S>>, protocol: Option<Protocol>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = socket.connection().clone();
        let protocol = match protocol {
            Some(protocol) => protocol,
            None => match recognise(&mut socket).await {
                Some(protocol) => protocol,
                None => return,
            },
        };
        let ended = match protocol {
            Protocol::Http1 => {
                let framing = socket.guard(self.worker.heads);
                let service = self.service(&connection, Some(&framing));
                let http1 = Http1 { builder: &self.http1, framing: &framing, parked: self.worker.metrics.parked() };
                let ended = http1.serve(socket, service).await;
                if let Some(fault) = framing.broken() {
                    self.worker.metrics.refused(fault.as_str());
                }
                ended
            }
            Protocol::Http2 => {
                connection.is_multiplexed();
                let socket = Metered::new(socket, connection.clone(), self.worker.metrics.clone());
                let service = self.service(&connection, None);
                // Boxed, so that HTTP/1 needs no room for it.
                let mut serving = Box::pin(self.http2.serve_connection(TokioIo::new(socket), service));
                drive(serving.as_mut(), &connection, |serving| serving.graceful_shutdown()).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error = %WithCauses(&error), peer = ?connection.peer, "a connection ended");
        }
    }

    /// What answers the requests of a connection.
    fn service(
        &self,
        connection: &Arc<Connection>,
        framing: Option<&Arc<Framing>>,
    ) -> impl HttpService<Incoming, ResBody = Served, Error = Infallible, Future: Send> + Send + 'static {
        let (worker, connection, framing) = (self.worker.clone(), connection.clone(), framing.cloned());
        let session = Arc::new(Session { worker, connection, framing });
        service_fn(move |request| session.clone().answer(request))
    }
}

/// Ready once it stands so; never if nobody steers any more.
async fn changed_to(accepting: &mut watch::Receiver<Accepting>, wanted: Accepting) {
    if accepting.wait_for(|accepting| *accepting == wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Accepts what the kernel had completed before the shutdown: closing the listener would reset it. Asks the socket itself, since the
/// runtime may not have heard yet of the last connections.
fn finish_accepting(mut accept: impl FnMut() -> io::Result<()>) {
    for _ in 0..LAST_ACCEPTS {
        if accept().is_err() {
            return;
        }
    }
}

/// Reads just enough to tell HTTP/2 with prior knowledge from HTTP/1. `None` when the client went away or was told to.
async fn recognise<S>(socket: &mut Watched<S>) -> Option<Protocol>
where
    S: AsyncRead + Unpin,
{
    while has_come(socket).await {
        let ahead = socket.ahead();
        if ahead.starts_with(H2_PREFACE) {
            return Some(Protocol::Http2);
        } else if !H2_PREFACE.starts_with(ahead) {
            return Some(Protocol::Http1);
        }
    }
    None
}

/// What the requests of one connection share.
struct Session<H> {
    worker: Arc<Worker<H>>,
    connection: Arc<Connection>,
    /// On HTTP/1 only.
    framing: Option<Arc<Framing>>,
}

impl<H: Handler> Session<H> {
    /// What needs no waiting is done at once, so that hyper has a few words to keep of each request and not the request.
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Served>, Infallible>> + Send {
        let under_way = self.connection.in_flight();
        let answering = match self.refused(&request) {
            Some(refused) => Answering::Refused(refused),
            None => {
                let number = self.framing.as_ref().map(|framing| framing.answers());
                match self.worker.requests.take().filter(|place| self.claim(place)) {
                    Some(place) => Answering::Handled(Self::handle(self.clone(), request), number, place),
                    None => Answering::Busy(number),
                }
            }
        };
        async move {
            let (mut response, number) = match answering {
                Answering::Refused(refused) => {
                    (refused.map(|body| Served { body, stream: None, under_way, _place: None }), None)
                }
                Answering::Busy(number) => {
                    (self.busy().map(|body| Served { body, stream: None, under_way, _place: None }), number)
                }
                Answering::Handled(handling, number, place) => {
                    let stream = self.connection.stream();
                    let response = match &stream {
                        Some(stream) => Connection::handling(Arc::clone(stream), handling).await,
                        None => handling.await,
                    };
                    (response.map(|body| Served { body, stream, under_way, _place: Some(place) }), number)
                }
            };
            if let (Some(framing), Some(number)) = (&self.framing, number) {
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    framing.switch();
                } else if framing.ends_with(number) {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
            }
            if self.connection.next_answer_is_the_last() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                // The client hears it with the answer and sends nothing more (RFC 9112, section 9.6).
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        }
    }

    /// On HTTP/1 the bound on connections is one on requests. On HTTP/2 one network must not take the places of all others.
    fn claim(&self, place: &Place) -> bool {
        let Some(client) = self.connection.peer_ip().filter(|_| self.framing.is_none()) else { return true };
        self.worker.handler.is_trusted_proxy(client) || place.claim(client).is_ok()
    }

    /// Boxed where it is made: hyper and the layers between would move all of its state otherwise, several times for each request.
    fn handle(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Response<ProxyBody>> {
        Box::pin(async move {
            let handling = self.worker.handler.handle(request, &self.connection);
            match AssertUnwindSafe(handling).catch_unwind().await {
                Ok(response) => response,
                Err(panic) => {
                    self.worker.metrics.panic();
                    tracing::error!(panic = panic_text(&*panic), "a bug ended a request");
                    let title = "Something went wrong here";
                    problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", title).map(ProxyBody::full)
                }
            }
        })
    }

    fn busy(&self) -> Response<ProxyBody> {
        self.worker.metrics.refused("requests");
        let title = "There are too many requests at once, try again";
        let mut busy = problem(StatusCode::SERVICE_UNAVAILABLE, "busy", title).map(ProxyBody::full);
        busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        busy
    }

    /// The answer to a head that was refused before hyper saw it, if this is the request that stands for it.
    fn refused(&self, request: &Request<Incoming>) -> Option<Response<ProxyBody>> {
        if request.method().as_str() != REFUSED_METHOD {
            return None;
        }
        // Over HTTP/2 a client can send this method; there it is just an unknown one.
        let (refusal, to_head) = self.framing.as_ref()?.refused()?;
        self.worker.metrics.refused(refusal.reason);
        let mut response = problem(refusal.status, refusal.reason, refusal.title).map(ProxyBody::full);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        if to_head {
            // hyper does not know that there must not be a body.
            response.headers_mut().remove(CONTENT_LENGTH);
            *response.body_mut() = ProxyBody::empty();
        }
        Some(response)
    }
}

/// How a request comes to its answer.
enum Answering {
    /// Its head was refused before hyper saw it.
    Refused(Response<ProxyBody>),
    /// There are too many at once; the how manieth on its connection it is, on HTTP/1.
    Busy(Option<u64>),
    Handled(BoxFuture<'static, Response<ProxyBody>>, Option<u64>, Place),
}

/// Where a panic's text is a literal it is safe to log; a formatted one may hold what the request held.
fn panic_text(panic: &(dyn Any + Send)) -> &'static str {
    panic.downcast_ref::<&'static str>().copied().unwrap_or("formatted")
}

/// An answer's body, whose end is the end of its request.
struct Served {
    body: ProxyBody,
    /// HTTP/2: how the client takes it.
    stream: Option<Arc<Stream>>,
    under_way: InFlight,
    /// Among the requests under way; none for one that is turned away.
    _place: Option<Place>,
}

impl Body for Served {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let Self { body, stream, under_way, .. } = &mut *self;
        let Some(stream) = stream else { return Pin::new(body).poll_frame(cx) };
        stream.asked();
        let frame = Pin::new(body).poll_frame(cx);
        if frame.is_ready() {
            stream.offered(under_way.now());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! One downstream connection as a handler sees it, and the few atomics by which its worker watches over it: how long it idles, how
//! long a head takes, how long the client takes no bytes (R22). A worker looks at all of its connections a few times a
//! second instead of setting timers for every request.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Context;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::task::AtomicWaker;
use http::HeaderValue;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::places::Place;
use crate::net::body::Progress;

/// How many connections may be looked at between two inspections in search of some to close: a flood of arrivals must not turn into a
/// flood of searches. A few milliseconds' work.
const LOOKED_AT: usize = 200_000;

/// One downstream connection. Everything public is known from the socket (or the PROXY protocol), nothing from a request.
pub struct Connection {
    /// The other end; none on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Our end; none on a Unix socket.
    pub local: Option<SocketAddr>,
    /// Whether the client speaks TLS with us.
    pub tls: bool,
    peer_text: OnceLock<HeaderValue>,
    client_certificate: OnceLock<HeaderValue>,
    watch: Watch,
    worker: Arc<Roster>,
    place: Arc<Place>,
}

/// What a worker sees of a connection. Times are milliseconds on the worker's clock, 0 for "not so".
#[derive(Default)]
struct Watch {
    /// Requests whose answers have not been handed over to the socket, and tunnels.
    in_flight: AtomicUsize,
    /// Since when there is none.
    idle_since: AtomicU64,
    /// Since when a head is arriving; HTTP/1 only, since on HTTP/2 any frame looks like one from here.
    head_since: AtomicU64,
    /// Since when the client takes no bytes.
    stuck_since: AtomicU64,
    multiplexed: AtomicBool,
    /// A WebSocket by now.
    tunnel: AtomicBool,
    /// HTTP/2: since when a head lacks its end.
    open_head_since: AtomicU64,
    /// HTTP/2: the requests under way.
    streams: Mutex<Vec<Weak<Stream>>>,
    /// HTTP/1: the body of the request under way.
    upload: Upload,
    order: AtomicU8,
    waker: AtomicWaker,
}

/// Clients that have kept us waiting for less long are closed one by one only: most of them are just about to send.
const SURELY_WAITING: Duration = Duration::from_secs(1);

/// How many times the idle timeout one answer of several may wait for its client.
const PAUSE: u32 = 10;

tokio::task_local! {
    /// HTTP/2: the request that is being handled.
    static HANDLED: Option<Arc<Stream>>;
}

/// How a request's body comes in.
#[derive(Default)]
struct Upload {
    /// Since when a body that we read ourselves lacks its next part; 0 while none does.
    lacking_since: AtomicU64,
    /// The body that is being forwarded.
    forwarded: Mutex<Weak<Progress>>,
}

impl Upload {
    fn forwarded(&self) -> std::sync::MutexGuard<'_, Weak<Progress>> {
        self.forwarded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when the client owes us more of the body; on the clock of a worker that started then.
    fn lacks_since(&self, started: Instant) -> Option<u64> {
        let lacking_since = self.lacking_since.load(Ordering::Relaxed);
        if lacking_since != 0 {
            return Some(lacking_since);
        }
        let since = self.forwarded().upgrade()?.starved_since()?;
        let since = since.saturating_duration_since(started).as_millis();
        Some(u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1))
    }
}

/// One request on HTTP/2: how its body comes, and how the client takes its answer where the socket does not tell.
#[derive(Default)]
pub(super) struct Stream {
    upload: Upload,
    /// Since when a part of the body waits for the client's window; 0 while it is we who wait for the next part.
    offered_since: AtomicU64,
}

impl Stream {
    /// The next part is asked for: the one before has gone.
    pub(super) fn asked(&self) {
        self.offered_since.store(0, Ordering::Relaxed);
    }

    /// A part is there to be sent.
    pub(super) fn offered(&self, now: u64) {
        self.offered_since.store(now, Ordering::Relaxed);
    }
}

/// What a connection's worker wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Go on.
    Run,
    /// One more answer, which says that it is the last. Closing an idle HTTP/1 connection at once could cross a request on its way.
    Linger,
    /// Finish what is under way and close.
    Drain,
    /// Close now.
    Cut,
}

const RUN: u8 = Order::Run as u8;
const LINGER: u8 = Order::Linger as u8;
const DRAIN: u8 = Order::Drain as u8;

/// How long a connection may be in which state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) idle: Duration,
    pub(super) head: Duration,
    /// How long a connection that lingers waits for its last request.
    pub(super) linger: Duration,
    /// How long a WebSocket may go on after a drain has begun.
    pub(super) tunnels: Duration,
}

impl Connection {
    pub(super) fn new(
        peer: Option<SocketAddr>,
        local: Option<SocketAddr>,
        tls: bool,
        worker: &Arc<Roster>,
        place: impl Into<Arc<Place>>,
    ) -> Arc<Self> {
        let watch = Watch { idle_since: AtomicU64::new(worker.now()), ..Watch::default() };
        let (peer_text, client_certificate, worker) = (OnceLock::new(), OnceLock::new(), worker.clone());
        let place = place.into();
        let connection = Arc::new(Self { peer, local, tls, peer_text, client_certificate, watch, worker, place });
        connection.worker.enter(&connection);
        if connection.worker.is_draining() {
            connection.order(Order::Linger);
        }
        connection
    }

    /// The other end's address; none on a Unix socket.
    #[must_use]
    pub fn peer_ip(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.ip().to_canonical())
    }

    /// The same as a header has it, written once for all requests of the connection.
    #[must_use]
    pub fn peer_text(&self) -> Option<&HeaderValue> {
        let peer = self.peer_ip()?;
        Some(self.peer_text.get_or_init(|| address_value(peer)))
    }

    /// The certificate that the client has shown and that was verified, as `Client-Cert` has it (RFC 9440, section 2.2).
    #[must_use]
    pub fn client_certificate(&self) -> Option<&HeaderValue> {
        self.client_certificate.get()
    }

    /// Keeps a certificate, in DER, that the handshake has verified.
    pub(super) fn has_shown(&self, certificate: &[u8]) {
        let value = format!(":{}:", BASE64_STANDARD.encode(certificate));
        if let Ok(value) = HeaderValue::try_from(value) {
            self.client_certificate.get_or_init(|| value);
        }
    }

    /// `http` or `https`, as the client sees it from here.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Keeps the connection from being taken for idle until the guard is dropped.
    pub(super) fn in_flight(self: &Arc<Self>) -> InFlight {
        self.watch.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Runs a tunnel on the connection's worker, which waits for it when it drains.
    pub(super) fn spawn(&self, tunnel: impl Future<Output = ()> + Send + 'static) {
        self.worker.tasks.spawn(tunnel);
    }

    /// Registers the current task to be woken by the next order, and tells the one in force.
    pub(super) fn poll_order(&self, cx: &Context<'_>) -> Order {
        self.watch.waker.register(cx.waker());
        self.order_in_force()
    }

    /// Whether the next answer is the connection's last and has to say so. HTTP/2 says it with GOAWAY instead.
    pub(super) fn next_answer_is_the_last(&self) -> bool {
        self.order_in_force() >= Order::Linger && !self.watch.multiplexed.load(Ordering::Relaxed)
    }

    fn order_in_force(&self) -> Order {
        match self.watch.order.load(Ordering::Acquire) {
            RUN => Order::Run,
            LINGER => Order::Linger,
            DRAIN => Order::Drain,
            _ => Order::Cut,
        }
    }

    pub(super) fn is_multiplexed(&self) {
        self.watch.multiplexed.store(true, Ordering::Release);
        // It may have been told to linger before its protocol was known.
        if self.order_in_force() == Order::Linger {
            self.order(Order::Drain);
        }
    }

    /// From here on the connection is a WebSocket.
    pub(super) fn is_a_tunnel(&self) {
        self.watch.tunnel.store(true, Ordering::Relaxed);
    }

    /// Milliseconds on the worker's coarse clock.
    pub(super) fn now(&self) -> u64 {
        self.worker.now()
    }

    /// HTTP/2: a head began and does not end with its first frame, or it has ended.
    pub(super) fn note_open_head(&self, open: bool) {
        let since = if open { self.worker.now() } else { 0 };
        self.watch.open_head_since.store(since, Ordering::Relaxed);
    }

    /// HTTP/2: watches over one request. On HTTP/1 the connection itself is all there is to watch.
    pub(super) fn stream(&self) -> Option<Arc<Stream>> {
        if !self.watch.multiplexed.load(Ordering::Relaxed) {
            return None;
        }
        let stream = Arc::<Stream>::default();
        self.streams().push(Arc::downgrade(&stream));
        Some(stream)
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Stream>>> {
        // A panic cannot leave the list half changed.
        self.watch.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// HTTP/2: whether the client leaves all of its answers lying, or one of them for very long. One alone may wait: a browser
    /// that shows a film reads on when it needs to, and closing the connection would end everything else on it.
    fn leaves_answers_lying(&self, now: u64, patience: Patience) -> bool {
        if !self.watch.multiplexed.load(Ordering::Relaxed) {
            return false;
        }
        let (mut left, mut longest) = (0, 0);
        self.streams().retain(|stream| {
            let Some(stream) = stream.upgrade() else { return false };
            let since = stream.offered_since.load(Ordering::Relaxed);
            let waited = if since == 0 { 0 } else { u128::from(now.saturating_sub(since)) };
            left += usize::from(waited > patience.idle.as_millis());
            longest = waited.max(longest);
            true
        });
        let all = left > 0 && left >= self.watch.in_flight.load(Ordering::Relaxed);
        all || longest > (patience.idle * PAUSE).as_millis()
    }

    /// A request's body is being forwarded.
    pub(super) fn note_upload(&self, progress: &Arc<Progress>) {
        self.upload(|upload| *upload.forwarded() = Arc::downgrade(progress));
    }

    /// Reads a request's body; whenever that has to wait it is for the client.
    pub(super) fn receives<R: Future>(&self, reading: R) -> impl Future<Output = R::Output> {
        // Boxed for as long as it takes: every connection keeps room for the largest state of its request.
        let mut reading = Box::pin(reading);
        std::future::poll_fn(move |cx| {
            let read = reading.as_mut().poll(cx);
            // It is asked again only when another part has come.
            let since = if read.is_pending() { self.worker.now() } else { 0 };
            self.upload(|upload| upload.lacking_since.store(since, Ordering::Relaxed));
            read
        })
    }

    /// Handles a request, whose body is its stream's where there is one.
    pub(super) fn handling<H: Future>(stream: Option<Arc<Stream>>, handling: H) -> impl Future<Output = H::Output> {
        HANDLED.scope(stream, handling)
    }

    /// The body of the request that is being handled. Where it cannot be told whose it is, nobody is taken for waiting.
    fn upload(&self, note: impl FnOnce(&Upload)) {
        if self.watch.multiplexed.load(Ordering::Relaxed) {
            let _outside = HANDLED.try_with(|stream| stream.as_ref().map(|stream| note(&stream.upload)));
        } else {
            note(&self.watch.upload);
        }
    }

    /// Since when every request under way waits for its client: for more of its body, or to take more of its answer. On the worker's
    /// clock; `None` while we work on one of them.
    fn all_wait_since(&self) -> Option<u64> {
        let started = self.worker.started;
        if !self.watch.multiplexed.load(Ordering::Relaxed) {
            return self.watch.upload.lacks_since(started);
        }
        // A part of an answer is offered for a moment even to who takes it.
        let long_ago = self.worker.long_ago();
        let (mut waiting, mut latest) = (0, 0);
        for stream in self.streams().iter().filter_map(Weak::upgrade) {
            let offered_since = stream.offered_since.load(Ordering::Relaxed);
            let lies_since = (offered_since != 0 && offered_since <= long_ago).then_some(offered_since);
            latest = stream.upload.lacks_since(started).or(lies_since)?.max(latest);
            waiting += 1;
        }
        (waiting >= self.watch.in_flight.load(Ordering::Relaxed)).then_some(latest)
    }

    /// Bytes came in.
    pub(super) fn note_read(&self) {
        let watch = &self.watch;
        if watch.in_flight.load(Ordering::Relaxed) == 0
            && watch.head_since.load(Ordering::Relaxed) == 0
            && !watch.multiplexed.load(Ordering::Relaxed)
        {
            watch.head_since.store(self.worker.now(), Ordering::Relaxed);
        }
    }

    /// Bytes were to go out, and did or did not.
    pub(super) fn note_write(&self, stuck: bool) {
        let since = &self.watch.stuck_since;
        match (stuck, since.load(Ordering::Relaxed)) {
            (true, 0) => since.store(self.worker.now(), Ordering::Relaxed),
            (true, _) | (false, 0) => {}
            (false, _) => {
                since.store(0, Ordering::Relaxed);
                // The end of an answer may trickle out long after its body was handed over: that is not idling.
                self.watch.idle_since.store(self.worker.now(), Ordering::Relaxed);
            }
        }
    }

    fn order(&self, order: Order) {
        // Orders only ever get stricter.
        if self.watch.order.fetch_max(order as u8, Ordering::AcqRel) < order as u8 {
            self.watch.waker.wake();
        }
    }

    /// One more answer on HTTP/1; GOAWAY on HTTP/2, which loses nothing (RFC 9113, section 6.8).
    fn wind_up(&self) {
        let multiplexed = self.watch.multiplexed.load(Ordering::Acquire);
        self.order(if multiplexed { Order::Drain } else { Order::Linger });
    }

    /// Takes the order to linger back, unless it was followed by a stricter one.
    fn go_on(&self) {
        let order = &self.watch.order;
        let _stricter = order.compare_exchange(LINGER, RUN, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Since when it is the client's turn: to send a request or the rest of a head or a body, or to take bytes. `None` while it is ours, and
    /// when the connection is being closed already.
    fn waits_since(&self) -> Option<u64> {
        let watch = &self.watch;
        let (head, stuck) = (watch.head_since.load(Ordering::Relaxed), watch.stuck_since.load(Ordering::Relaxed));
        match self.order_in_force() {
            Order::Cut => None,
            Order::Run | Order::Linger | Order::Drain if stuck != 0 => Some(stuck),
            Order::Run | Order::Linger | Order::Drain if watch.in_flight.load(Ordering::Relaxed) > 0 => {
                self.all_wait_since()
            }
            Order::Run | Order::Linger | Order::Drain if head != 0 => Some(head),
            Order::Run | Order::Linger | Order::Drain => Some(watch.idle_since.load(Ordering::Relaxed)),
        }
    }

    /// What the time demands.
    fn due(&self, now: u64, patience: Patience) -> Order {
        let over = |since: &AtomicU64, allowed: Duration| {
            let since = since.load(Ordering::Relaxed);
            since != 0 && u128::from(now.saturating_sub(since)) > allowed.as_millis()
        };
        let draining_since = &self.worker.draining_since;
        if over(&self.watch.stuck_since, patience.idle)
            || over(&self.watch.open_head_since, patience.head)
            || self.watch.tunnel.load(Ordering::Relaxed) && over(draining_since, patience.tunnels)
            || self.leaves_answers_lying(now, patience)
        {
            return Order::Cut;
        }
        if self.watch.in_flight.load(Ordering::Relaxed) > 0 || self.watch.stuck_since.load(Ordering::Relaxed) != 0 {
            return Order::Run;
        }
        if over(&self.watch.head_since, patience.head)
            || over(&self.watch.idle_since, patience.idle + patience.idle.min(patience.head))
        {
            Order::Cut
        } else if self.watch.head_since.load(Ordering::Relaxed) != 0 {
            Order::Run
        } else if over(&self.watch.idle_since, patience.idle)
            || over(draining_since, patience.linger) && over(&self.watch.idle_since, patience.linger)
        {
            Order::Drain
        } else {
            Order::Run
        }
    }
}

/// An address as a header has it.
pub(super) fn address_value(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

/// A request under way, up to the last byte of its answer.
pub(super) struct InFlight(Arc<Connection>);

impl InFlight {
    /// Milliseconds on the worker's coarse clock.
    pub(super) fn now(&self) -> u64 {
        self.0.now()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let watch = &self.0.watch;
        watch.idle_since.store(self.0.worker.now(), Ordering::Relaxed);
        watch.head_since.store(0, Ordering::Relaxed);
        watch.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection before it can bring a request: its PROXY header or its TLS handshake has not come yet. Its client is who keeps us
/// waiting, and it is the first to be closed when room is needed.
pub(super) struct Handshake {
    since: u64,
    place: Arc<Place>,
    /// Among the handshakes under way.
    among: Place,
    cut: Notify,
}

impl Handshake {
    /// The place that the connection has, and keeps after the handshake.
    pub(super) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// Ready when the connection is closed to make room. For one task.
    pub(super) async fn is_cut(&self) {
        self.cut.notified().await;
    }

    fn cut(&self) {
        self.place.give_up();
        self.among.give_up();
        self.cut.notify_one();
    }
}

/// The connections of one worker.
pub(super) struct Roster {
    connections: Mutex<Vec<Weak<Connection>>>,
    /// Those that are not connections yet, in the order in which they came.
    handshakes: Mutex<VecDeque<Weak<Handshake>>>,
    pub(super) tasks: TaskTracker,
    started: Instant,
    /// Since when its connections are asked to end, in milliseconds like all times here; 0 for "they are not".
    draining_since: AtomicU64,
    /// Looked at more often from then on.
    drain_begins: Notify,
    /// Milliseconds since `started`, from 1; coarse, moved on by [`Roster::inspect`].
    now: AtomicU64,
    /// How many were looked at in search of some to close since the last inspection.
    looked_at: AtomicUsize,
    /// The same on behalf of single networks, which must not use up what everybody needs.
    looked_at_for_one: AtomicUsize,
}

impl Roster {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            connections: Mutex::default(),
            handshakes: Mutex::default(),
            tasks: TaskTracker::new(),
            started: Instant::now(),
            draining_since: AtomicU64::new(0),
            drain_begins: Notify::new(),
            now: AtomicU64::new(1),
            looked_at: AtomicUsize::new(0),
            looked_at_for_one: AtomicUsize::new(0),
        })
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn enter(&self, connection: &Arc<Connection>) {
        self.lock().push(Arc::downgrade(connection));
    }

    /// A handshake begins; `among` is its place among those under way.
    pub(super) fn begins(&self, place: Place, among: Place) -> Arc<Handshake> {
        let handshake = Handshake { since: self.now(), place: Arc::new(place), among, cut: Notify::new() };
        let handshake = Arc::new(handshake);
        self.handshakes().push_back(Arc::downgrade(&handshake));
        handshake
    }

    /// Looks at every connection and gives the orders that are due.
    pub(super) fn inspect(&self, patience: Patience) {
        let now = self.move_on();
        self.looked_at.store(0, Ordering::Relaxed);
        self.looked_at_for_one.store(0, Ordering::Relaxed);
        self.handshakes().retain(|handshake| handshake.strong_count() > 0);
        self.each(|connection| match connection.due(now, patience) {
            Order::Run => {}
            order @ (Order::Linger | Order::Drain | Order::Cut) => connection.order(order),
        });
    }

    /// Lets every connection finish what is under way and close, those that come later too. Idle ones are closed once they have
    /// had the time to bring a request that may be on its way.
    pub(super) fn drain(&self) {
        let now = self.move_on();
        // Whoever began first counts: a drain that follows a handover gives no more time.
        let _began_earlier = self.draining_since.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire);
        self.each(Connection::wind_up);
        self.drain_begins.notify_one();
    }

    /// Takes a drain back. What was already told to close closes.
    pub(super) fn resume(&self) {
        self.draining_since.store(0, Ordering::Release);
        self.each(Connection::go_on);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining_since.load(Ordering::Acquire) != 0
    }

    /// Whether no connection is left but those whose last answer is under way: none that could still bring a request, and none that
    /// is just shaking hands.
    pub(super) fn is_quiet(&self) -> bool {
        let (mut open, mut idle) = (0, 0);
        self.each(|connection| {
            open += 1;
            idle += usize::from(connection.watch.in_flight.load(Ordering::Relaxed) == 0);
        });
        idle == 0 && self.tasks.len() <= open
    }

    /// Ready when a drain begins.
    pub(super) async fn drain_begins(&self) {
        self.drain_begins.notified().await;
    }

    /// The worker has ended: it looks at nothing any more, and does not hang.
    pub(super) fn retire(&self) {
        self.now.store(u64::MAX, Ordering::Relaxed);
    }

    /// How long the worker has not looked at its connections: much longer than it should, and its loop hangs.
    pub(super) fn lag(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.now()))
    }

    fn move_on(&self) -> u64 {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.now.store(now, Ordering::Relaxed);
        now
    }

    /// Makes room for new connections, of one network or for all: closes up to `most` of those whose clients have kept us waiting
    /// longest, first come first; where it is not long for any, one. Handshakes go first: nothing is lost with them, and whoever opens
    /// connections and sends nothing must not have others closed. A request that we are about to answer is never given up. Says how
    /// many were closed; their places are free at once.
    pub(super) fn shed(&self, network: Option<IpAddr>, most: usize) -> usize {
        let long_ago = self.long_ago();
        let surely = self.shed_handshakes(network, most, long_ago);
        if surely > 0 {
            return surely;
        }
        let mut waiting = self.waiting(network);
        let surely = waiting.iter().filter(|(since, _, _)| *since <= long_ago).count();
        if surely == 0 && self.shed_handshakes(network, 1, u64::MAX) > 0 {
            return 1;
        }
        let most = most.min(surely.max(1));
        if waiting.len() > most {
            waiting.select_nth_unstable_by_key(most, |(since, index, _)| (*since, *index));
            waiting.truncate(most);
        }
        for (_, _, connection) in &waiting {
            connection.place.give_up();
            connection.order(Order::Cut);
        }
        waiting.len()
    }

    /// Who has waited since then waits surely.
    fn long_ago(&self) -> u64 {
        self.now().saturating_sub(u64::try_from(SURELY_WAITING.as_millis()).unwrap_or(u64::MAX))
    }

    /// Makes room for another handshake: closes the oldest one. Whether there was one.
    pub(super) fn shed_handshake(&self) -> bool {
        self.shed_handshakes(None, 1, u64::MAX) > 0
    }

    /// Closes up to `most` handshakes that began not after `until`, the oldest first.
    fn shed_handshakes(&self, network: Option<IpAddr>, most: usize, until: u64) -> usize {
        let mut handshakes = self.handshakes();
        let mut closed = 0;
        if network.is_none() {
            while closed < most
                && let Some(oldest) = handshakes.front()
            {
                if let Some(oldest) = oldest.upgrade() {
                    if oldest.since > until {
                        break;
                    }
                    oldest.cut();
                    closed += 1;
                }
                handshakes.pop_front();
            }
        } else if self.may_look_at(handshakes.len(), network) {
            handshakes.retain(|handshake| {
                let Some(handshake) = handshake.upgrade() else { return false };
                let goes = closed < most && handshake.since <= until && handshake.place.network() == network;
                if goes {
                    handshake.cut();
                    closed += 1;
                }
                !goes
            });
        }
        closed
    }

    /// Whether so many more may be looked at until the next inspection.
    fn may_look_at(&self, more: usize, network: Option<IpAddr>) -> bool {
        let looked_at = if network.is_some() { &self.looked_at_for_one } else { &self.looked_at };
        looked_at.fetch_add(more, Ordering::Relaxed) <= LOOKED_AT
    }

    /// The connections whose clients keep us waiting, since when, and their order. None when enough were looked at for now.
    fn waiting(&self, network: Option<IpAddr>) -> Vec<(u64, usize, Arc<Connection>)> {
        let mut waiting = Vec::new();
        let mut connections = self.lock();
        if !self.may_look_at(connections.len(), network) {
            return waiting;
        }
        let mut index = 0;
        // Those that are gone are forgotten on the way, or a flood would make each search longer than the one before.
        connections.retain(|connection| {
            let Some(connection) = connection.upgrade() else { return false };
            index += 1;
            if let Some(since) = connection.waits_since()
                && (network.is_none() || connection.place.network() == network)
            {
                waiting.push((since, index, connection));
            }
            true
        });
        waiting
    }

    fn each(&self, mut look: impl FnMut(&Connection)) {
        self.lock().retain(|connection| {
            let connection = connection.upgrade();
            if let Some(connection) = &connection {
                look(connection);
            }
            connection.is_some()
        });
    }

    fn handshakes(&self) -> std::sync::MutexGuard<'_, VecDeque<Weak<Handshake>>> {
        // A panic cannot leave the list half changed.
        self.handshakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Connection>>> {
        // A panic cannot leave the list half changed.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::Waker;

    use futures_util::FutureExt as _;

    use super::super::places::Places;
    use super::super::places::tests::places;
    use super::*;

    const PATIENCE: Patience = Patience {
        idle: Duration::from_millis(300),
        head: Duration::from_millis(100),
        linger: Duration::from_millis(60),
        tunnels: Duration::from_millis(200),
    };

    fn connection() -> (Arc<Connection>, Arc<Roster>) {
        let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
        let (roster, places) = (Roster::new(), places(1, 1));
        (Connection::new(None, None, false, &roster, places.take().expect("a place")), roster)
    }

    #[test]
    fn r22_an_idle_connection_is_drained_and_then_cut() {
        let (connection, _roster) = connection();
        assert_eq!(connection.due(301, PATIENCE), Order::Run);
        assert_eq!(connection.due(302, PATIENCE), Order::Drain);
        assert_eq!(connection.due(402, PATIENCE), Order::Cut);
    }

    #[test]
    fn r22_a_head_that_trickles_in_is_cut_however_often_a_byte_comes() {
        let (connection, roster) = connection();
        for now in [50, 90, 150] {
            roster.now.store(now, Ordering::Relaxed);
            connection.note_read();
        }
        assert_eq!(connection.due(150, PATIENCE), Order::Run);
        assert_eq!(connection.due(151, PATIENCE), Order::Cut);
    }

    #[test]
    fn a_request_under_way_may_take_as_long_as_the_client_takes_bytes() {
        let (connection, roster) = connection();
        connection.note_read();
        let request = connection.in_flight();
        assert_eq!(connection.due(100_000, PATIENCE), Order::Run);
        roster.now.store(100_000, Ordering::Relaxed);
        connection.note_write(true);
        roster.now.store(100_200, Ordering::Relaxed);
        connection.note_write(true);
        assert_eq!(connection.due(100_301, PATIENCE), Order::Cut);
        connection.note_write(false);
        assert_eq!(connection.due(100_301, PATIENCE), Order::Run);
        drop(request);
        assert_eq!(connection.due(100_500, PATIENCE), Order::Run);
        assert_eq!(connection.due(100_501, PATIENCE), Order::Drain);
    }

    #[test]
    fn a_client_that_takes_the_end_of_an_answer_slowly_is_not_idle() {
        let (connection, roster) = connection();
        drop(connection.in_flight());
        for now in [100, 350, 600, 850] {
            roster.now.store(now, Ordering::Relaxed);
            connection.note_write(false);
            connection.note_write(true);
            assert_eq!(connection.due(now + 249, PATIENCE), Order::Run);
        }
        connection.note_write(false);
        assert_eq!(connection.due(1151, PATIENCE), Order::Drain);
    }

    /// Where the worker's clock stands, without the coarse real one.
    fn drain_at(roster: &Roster, now: u64) {
        roster.draining_since.store(now, Ordering::Relaxed);
        roster.each(Connection::wind_up);
    }

    #[test]
    fn r25_an_idle_connection_may_bring_one_more_request_before_it_is_closed() {
        let (connection, roster) = connection();
        drain_at(&roster, 100);
        assert_eq!(connection.order_in_force(), Order::Linger);
        assert!(connection.next_answer_is_the_last());
        assert_eq!(connection.due(160, PATIENCE), Order::Run);
        assert_eq!(connection.due(161, PATIENCE), Order::Drain);
        // It came: as long as it is under way nothing is closed, and then the time counts anew.
        roster.now.store(150, Ordering::Relaxed);
        let request = connection.in_flight();
        assert_eq!(connection.due(250, PATIENCE), Order::Run);
        roster.now.store(250, Ordering::Relaxed);
        drop(request);
        assert_eq!(connection.due(310, PATIENCE), Order::Run);
        assert_eq!(connection.due(311, PATIENCE), Order::Drain);
    }

    #[test]
    fn r25_a_drain_that_is_taken_back_leaves_connections_as_they_were() {
        let (connection, roster) = connection();
        drain_at(&roster, 100);
        roster.resume();
        assert_eq!(connection.order_in_force(), Order::Run);
        assert!(!connection.next_answer_is_the_last());
        assert_eq!(connection.due(299, PATIENCE), Order::Run);
        drain_at(&roster, 100);
        connection.order(Order::Drain);
        roster.resume();
        assert_eq!(connection.order_in_force(), Order::Drain, "it is closing already");
    }

    #[test]
    fn r25_http2_is_told_to_go_away_at_once_whenever_its_protocol_becomes_known() {
        for known_first in [true, false] {
            let (connection, roster) = connection();
            if known_first {
                connection.is_multiplexed();
            }
            drain_at(&roster, 100);
            if !known_first {
                connection.is_multiplexed();
            }
            assert_eq!(connection.order_in_force(), Order::Drain, "{known_first}");
            assert!(!connection.next_answer_is_the_last());
        }
    }

    #[test]
    fn r25_a_websocket_holds_a_drain_only_for_its_own_time() {
        let (connection, roster) = connection();
        let _under_way = connection.in_flight();
        connection.is_a_tunnel();
        assert_eq!(connection.due(100_000, PATIENCE), Order::Run);
        drain_at(&roster, 100_000);
        assert_eq!(connection.due(100_200, PATIENCE), Order::Run);
        assert_eq!(connection.due(100_201, PATIENCE), Order::Cut);
    }

    #[test]
    fn r23_room_is_made_by_whoever_kept_us_waiting_longest_and_never_by_a_request_under_way() {
        let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
        let (roster, places) = (Roster::new(), places(5, 5));
        let open = |at| {
            roster.now.store(at, Ordering::Relaxed);
            Connection::new(None, None, false, &roster, places.take().expect("a place"))
        };
        let (serving, reading, idle, fresh, stuck) = (open(1), open(2), open(3), open(4), open(5));
        let under_way = (serving.in_flight(), stuck.in_flight());
        roster.now.store(6, Ordering::Relaxed);
        stuck.note_write(true);
        roster.now.store(2_000, Ordering::Relaxed);
        reading.note_read();
        assert_eq!(roster.shed(None, 3), 3);
        let orders = [&serving, &reading, &idle, &fresh, &stuck].map(|connection| connection.order_in_force());
        assert_eq!(orders, [Order::Run, Order::Run, Order::Cut, Order::Cut, Order::Cut]);
        assert_eq!(
            [places.take(), places.take(), places.take(), places.take()].map(|place| place.is_some()),
            [true, true, true, false]
        );
        assert_eq!(roster.shed(None, 3), 1, "nobody is closed twice");
        assert_eq!((reading.order_in_force(), serving.order_in_force()), (Order::Cut, Order::Run));
        drop(under_way);
    }

    #[test]
    fn r23_one_network_makes_room_for_itself_only() {
        let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
        let (roster, places) = (Roster::new(), places(5, 5));
        let open = |client: [u8; 4]| {
            let place = places.take().expect("a place");
            place.claim(client.into()).expect("a place");
            Connection::new(None, None, false, &roster, place)
        };
        let (theirs, ours) = (open([192, 0, 2, 1]), open([192, 0, 2, 2]));
        assert_eq!(roster.shed(Some([192, 0, 2, 2].into()), 5), 1);
        assert_eq!((theirs.order_in_force(), ours.order_in_force()), (Order::Run, Order::Cut));
    }

    #[test]
    fn r23_clients_that_have_just_come_are_closed_one_by_one_and_never_before_older_ones() {
        let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
        let (roster, places) = (Roster::new(), places(5, 5));
        let open = |at| {
            roster.now.store(at, Ordering::Relaxed);
            Connection::new(None, None, false, &roster, places.take().expect("a place"))
        };
        let connections = [1_000, 1_200, 1_900, 2_000, 2_100].map(open);
        roster.now.store(2_200, Ordering::Relaxed);
        let closed = || connections.iter().filter(|connection| connection.order_in_force() == Order::Cut).count();
        assert_eq!((roster.shed(None, 4), closed()), (2, 2), "those who have waited for a second");
        assert_eq!((roster.shed(None, 4), closed()), (1, 3), "one of the others");
        assert_eq!(connections[3].order_in_force(), Order::Run, "not the newest");
    }

    /// A handshake that begins at a time, the place among the others included.
    fn begin(roster: &Roster, places: &Arc<Places>, among: &Arc<Places>, at: u64) -> Arc<Handshake> {
        roster.now.store(at, Ordering::Relaxed);
        roster.begins(places.take().expect("a place"), among.take().expect("a place among handshakes"))
    }

    fn is_cut(handshake: &Handshake) -> bool {
        handshake.is_cut().now_or_never().is_some()
    }

    #[test]
    fn r23_handshakes_that_do_not_come_go_before_clients_that_idle() {
        let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
        let (roster, places, among) = (Roster::new(), places(5, 5), places(4, 4));
        let idle = Connection::new(None, None, false, &roster, places.take().expect("a place"));
        let [first, second, fresh, newest] = [100, 200, 1_900, 1_950].map(|at| begin(&roster, &places, &among, at));
        roster.now.store(2_000, Ordering::Relaxed);
        assert_eq!(roster.shed(None, 4), 2, "those that have not come for a second");
        assert_eq!([&first, &second, &fresh].map(|handshake| is_cut(handshake)), [true, true, false]);
        assert_eq!(idle.order_in_force(), Order::Run, "although it has idled for longer");
        assert!(places.take().is_some(), "their places are free before they are gone");
        assert_eq!(roster.shed(None, 4), 1);
        assert_eq!(idle.order_in_force(), Order::Cut, "a handshake that has just begun goes later");
        assert_eq!(roster.shed(None, 4), 1);
        assert_eq!([&fresh, &newest].map(|handshake| is_cut(handshake)), [true, false], "one by one");
    }

    #[test]
    fn r23_a_handshake_that_is_over_or_another_networks_makes_no_room() {
        let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
        let (roster, places, among) = (Roster::new(), places(5, 5), places(2, 2));
        let (over, theirs) = (begin(&roster, &places, &among, 1), begin(&roster, &places, &among, 2));
        theirs.place().claim([192, 0, 2, 1].into()).expect("a place");
        assert!(among.take().is_none());
        let connection = Connection::new(None, None, true, &roster, over.place().clone());
        drop(over);
        assert_eq!(roster.shed(Some([192, 0, 2, 2].into()), 5), 0);
        assert!(among.take().is_some(), "handshakes under way count, not connections");
        roster.now.store(5_000, Ordering::Relaxed);
        assert_eq!(roster.shed(Some([192, 0, 2, 1].into()), 5), 1);
        assert!(is_cut(&theirs) && !roster.shed_handshake());
        assert_eq!(connection.order_in_force(), Order::Run);
    }

    #[test]
    fn r23_an_http2_client_makes_room_when_all_of_its_requests_wait_for_it_and_never_before() {
        let (connection, roster) = connection();
        connection.is_multiplexed();
        let at = |now| roster.now.store(now, Ordering::Relaxed);
        let request = || (connection.in_flight(), connection.stream());
        let poll = |handling: Pin<&mut dyn Future<Output = ()>>| {
            assert!(handling.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        };
        let ((posting, post), (getting, get)) = (request(), request());
        let body = connection.receives(std::future::pending::<()>());
        let mut handled = Box::pin(Connection::handling(post.clone(), body));
        at(500);
        poll(handled.as_mut());
        assert_eq!(connection.waits_since(), None, "the other request is ours to answer");
        let answer = get.expect("HTTP/2");
        answer.offered(700);
        at(1_699);
        assert_eq!(connection.waits_since(), None, "its answer was offered just now");
        at(1_700);
        assert_eq!(connection.waits_since(), Some(700), "both wait");
        answer.asked();
        assert_eq!(connection.waits_since(), None);
        drop((answer, getting));
        assert_eq!(connection.waits_since(), Some(500), "there is only the body that does not come");
        at(2_000);
        poll(handled.as_mut());
        assert_eq!(connection.waits_since(), Some(2_000), "a part of it came");
        assert_eq!((roster.shed(None, 1), connection.order_in_force()), (1, Order::Cut));
        drop((handled, post, posting));
    }

    #[test]
    fn r23_a_body_that_was_read_leaves_its_request_with_us() {
        let (connection, _roster) = connection();
        let _request = connection.in_flight();
        let (whole, end) = tokio::sync::oneshot::channel();
        let mut reading = Box::pin(connection.receives(end));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(connection.waits_since(), None);
        assert!(reading.as_mut().poll(&mut cx).is_pending());
        assert_eq!(connection.waits_since(), Some(1));
        whole.send(()).expect("somebody reads");
        assert!(reading.as_mut().poll(&mut cx).is_ready());
        assert_eq!(connection.waits_since(), None, "it is answered now");
    }

    #[test]
    fn r23_a_network_in_which_nobody_can_be_closed_keeps_nobody_else_from_making_room() {
        let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
        let (roster, places) = (Roster::new(), places(10, 10));
        let _open: Vec<_> =
            (0..10).map(|_| Connection::new(None, None, false, &roster, places.take().expect("a place"))).collect();
        for _ in 0..=LOOKED_AT / 10 + 1 {
            assert_eq!(roster.shed(Some([192, 0, 2, 9].into()), 1), 0);
        }
        assert_eq!(roster.shed(None, 1), 1);
    }

    #[test]
    fn looking_for_somebody_to_close_is_bounded_in_time() {
        let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
        let (roster, places) = (Roster::new(), places(10, 10));
        let _open: Vec<_> =
            (0..10).map(|_| Connection::new(None, None, false, &roster, places.take().expect("a place"))).collect();
        roster.looked_at.store(LOOKED_AT - 5, Ordering::Relaxed);
        assert_eq!(roster.shed(None, 1), 1);
        assert_eq!(roster.shed(None, 1), 0, "enough for now");
        roster.inspect(PATIENCE);
        assert_eq!(roster.shed(None, 1), 1);
    }

    #[test]
    fn r22_a_head_on_http2_that_lacks_its_end_is_cut_whatever_else_is_under_way() {
        let (connection, roster) = connection();
        connection.is_multiplexed();
        let _request = connection.in_flight();
        roster.now.store(50, Ordering::Relaxed);
        connection.note_open_head(true);
        assert_eq!(connection.due(150, PATIENCE), Order::Run);
        assert_eq!(connection.due(151, PATIENCE), Order::Cut);
        connection.note_open_head(false);
        assert_eq!(connection.due(151, PATIENCE), Order::Run);
    }

    #[test]
    fn r22_a_client_on_http2_that_takes_none_of_its_answers_is_cut_and_one_that_pauses_one_of_them_is_not() {
        let (connection, _roster) = connection();
        connection.is_multiplexed();
        let (_first, _second) = (connection.in_flight(), connection.in_flight());
        let (film, page) = (connection.stream().expect("HTTP/2"), connection.stream().expect("HTTP/2"));
        film.offered(10);
        assert_eq!(connection.due(1_000, PATIENCE), Order::Run, "the page goes on");
        page.offered(1_000);
        assert_eq!(connection.due(1_300, PATIENCE), Order::Run);
        assert_eq!(connection.due(1_301, PATIENCE), Order::Cut, "nothing goes on");
        page.asked();
        assert_eq!(connection.due(1_301, PATIENCE), Order::Run, "it waits for us");
        assert_eq!(connection.due(3_011, PATIENCE), Order::Cut, "no film pauses for ever");
        drop(film);
        assert_eq!(connection.due(3_011, PATIENCE), Order::Run);
    }

    #[test]
    fn r25_a_worker_is_quiet_when_only_answers_under_way_are_left() {
        let (connection, roster) = connection();
        assert!(!roster.is_quiet(), "it may bring a request");
        let request = connection.in_flight();
        assert!(roster.is_quiet());
        let shaking_hands = roster.tasks.token();
        let serving = roster.tasks.token();
        assert!(!roster.is_quiet());
        drop(shaking_hands);
        assert!(roster.is_quiet());
        drop((request, connection, serving));
        assert!(roster.is_quiet());
    }
}

//! One downstream connection as a handler sees it, and the few atomics by which its worker watches over it: how long it idles, how
//! long a head takes, how long the client takes no bytes (R22). A worker looks at all of its connections a few times a
//! second (`Roster::inspect`) instead of setting timers for every request.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::task::AtomicWaker;
use http::HeaderValue;
use tokio::time::Instant;

mod roster;

pub(super) use self::roster::{Handshake, Roster};
use super::headers::Introduction;
use super::places::Place;
use crate::net::body::Progress;

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
    introduction: Mutex<Option<Introduction>>,
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
    /// HTTP/1: something has come behind the request under way, and is to be read when that has been answered.
    next: AtomicBool,
    /// HTTP/1: since when there is more of that than is read ahead and nothing else has gone on. That the client leaves cannot be seen then.
    crowded_since: AtomicU64,
    /// HTTP/1: when whoever waits for the app's answer wants to be polled again, if it has not come by then.
    reminder: AtomicU64,
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
    /// Whether the worker would have the connection parked.
    to_be_parked: AtomicBool,
    /// The beginning of the time of idling in which it was last told so.
    told_of: AtomicU64,
    waker: AtomicWaker,
}

/// From so many exchanges at once on they give way to each other.
const MANY: usize = 4;

/// How many times the idle timeout one answer of several may wait for its client, and one before a crowd of other requests for the app.
const PAUSE: u32 = 10;
/// How long a connection idles before it is parked: longer than a client thinks who goes on at once, and not so long that a burst of
/// clients is held in memory at once. Milliseconds.
const UNTIL_PARKED: u64 = 400;

tokio::task_local! {
    /// HTTP/2: the request that is being handled.
    static HANDLED: Arc<Stream>;
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
        let (peer_text, client_certificate, introduction) = Default::default();
        let (worker, place) = (worker.clone(), place.into());
        let connection =
            Arc::new(Self { peer, local, tls, peer_text, client_certificate, introduction, watch, worker, place });
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

    /// How a client is introduced to the app that came on this connection with a request for this host.
    pub(super) fn introduced(&self, client: Option<IpAddr>, host: Option<&HeaderValue>) -> Introduction {
        // A panic cannot leave it half changed.
        let mut last = self.introduction.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(last) if last.is_of(client, host) => last.clone(),
            Some(_) | None => last.insert(Introduction::new(client, host, self.scheme())).clone(),
        }
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

    /// An exchange with the app begins.
    pub(super) fn exchanges(&self) -> Exchanges<'_> {
        Exchanges::one_of(&self.worker)
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

    /// Has the connection's task polled in `after` or somewhat later, unless that is taken back: instead of a timer for every request. Not
    /// on HTTP/2, whose requests have tasks of their own.
    pub(super) fn remind(&self, after: Duration) -> bool {
        if self.watch.multiplexed.load(Ordering::Relaxed) {
            return false;
        }
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.watch.reminder.store(self.worker.now().saturating_add(after).max(1), Ordering::Relaxed);
        true
    }

    /// Takes the reminder back.
    pub(super) fn forget(&self) {
        self.watch.reminder.store(0, Ordering::Relaxed);
    }

    /// Whether it is time for the reminder, by the worker's coarse clock.
    pub(super) fn is_reminded(&self) -> bool {
        let reminder = self.watch.reminder.load(Ordering::Relaxed);
        reminder != 0 && reminder <= self.worker.now()
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

    /// HTTP/2: handles a request, whose body is its stream's.
    pub(super) fn handling<H: Future>(stream: Arc<Stream>, handling: H) -> impl Future<Output = H::Output> {
        HANDLED.scope(stream, handling)
    }

    /// The body of the request that is being handled. Where it cannot be told whose it is, nobody is taken for waiting.
    fn upload(&self, note: impl FnOnce(&Upload)) {
        if self.watch.multiplexed.load(Ordering::Relaxed) {
            let _outside = HANDLED.try_with(|stream| note(&stream.upload));
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

    /// HTTP/1: bytes of another request wait for the answer under way. At its end the connection's task is woken for them.
    pub(super) fn note_next(&self) {
        self.watch.next.store(true, Ordering::Relaxed);
    }

    /// HTTP/1: so many of them that no more are read until then. To be noted anew whenever anything goes on.
    pub(super) fn note_crowd(&self) {
        self.note_next();
        self.watch.crowded_since.store(self.worker.now(), Ordering::Relaxed);
    }

    /// The turn of what came behind the request that has just been answered.
    #[cold]
    fn wake_for_next(&self) {
        self.watch.next.store(false, Ordering::Relaxed);
        self.watch.crowded_since.store(0, Ordering::Relaxed);
        self.watch.waker.wake();
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

    /// Has a connection that idles parked (see [`super::parking`]). Told once for each time that it idles: what cannot be parked then
    /// stays as it is.
    fn park(&self, now: u64) {
        let watch = &self.watch;
        let since = watch.idle_since.load(Ordering::Relaxed);
        let idles = [&watch.head_since, &watch.stuck_since].iter().all(|since| since.load(Ordering::Relaxed) == 0)
            && self.is_idle()
            && !watch.multiplexed.load(Ordering::Relaxed);
        if idles && now.saturating_sub(since) >= UNTIL_PARKED && watch.told_of.swap(since, Ordering::Relaxed) != since {
            watch.to_be_parked.store(true, Ordering::Release);
            watch.waker.wake();
        }
    }

    /// Whether the worker would have the connection parked; it says so once.
    pub(super) fn is_to_be_parked(&self) -> bool {
        self.watch.to_be_parked.load(Ordering::Relaxed) && self.watch.to_be_parked.swap(false, Ordering::AcqRel)
    }

    /// Whether no request is under way, as far as it has come to be answered.
    pub(super) fn is_idle(&self) -> bool {
        self.watch.in_flight.load(Ordering::Relaxed) == 0
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
            || over(&self.watch.crowded_since, patience.idle * PAUSE)
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

/// An exchange with the app among those of its worker.
pub(super) struct Exchanges<'a>(&'a Roster);

impl<'a> Exchanges<'a> {
    fn one_of(worker: &'a Roster) -> Self {
        worker.exchanges.fetch_add(1, Ordering::Relaxed);
        Self(worker)
    }

    /// Lets everything else go first that is ready to go on, where several exchanges are under way.
    pub(super) async fn give_way(&self) {
        let mut stays = self.0.exchanges.load(Ordering::Relaxed) < MANY;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut stays, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Exchanges<'_> {
    fn drop(&mut self) {
        self.0.exchanges.fetch_sub(1, Ordering::Relaxed);
    }
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
        if watch.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 && watch.next.load(Ordering::Relaxed) {
            self.0.wake_for_next();
        }
    }
}

#[cfg(test)]
mod tests;

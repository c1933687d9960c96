//! The connections of one worker, and those that are still shaking hands: looked at a few times a second, told to drain, closed to
//! make room for others. Decides who has to go; what that means is each connection's own matter, see [`super`]. Called by
//! `http::worker`, and by `http::server` from outside of it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::super::places::Place;
use super::{Connection, Order, Patience};

/// How many connections may be looked at between two inspections in search of some to close: a flood of arrivals must not turn into a
/// flood of searches. A few milliseconds' work.
pub(super) const LOOKED_AT: usize = 200_000;

/// Clients that have kept us waiting for less long are closed one by one only: most of them are just about to send.
const SURELY_WAITING: Duration = Duration::from_secs(1);

/// A connection before it can bring a request: its PROXY header or its TLS handshake has not come yet. Its client is who keeps us
/// waiting, and it is the first to be closed when room is needed.
pub(in crate::http) struct Handshake {
    since: u64,
    place: Arc<Place>,
    /// Among the handshakes under way.
    among: Place,
    cut: Notify,
}

impl Handshake {
    /// The place that the connection has, and keeps after the handshake.
    pub(in crate::http) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// Ready when the connection is closed to make room. For one task.
    pub(in crate::http) async fn is_cut(&self) {
        self.cut.notified().await;
    }

    fn cut(&self) {
        self.place.give_up();
        self.among.give_up();
        self.cut.notify_one();
    }
}

/// The connections of one worker.
pub(in crate::http) struct Roster {
    connections: Mutex<Vec<Weak<Connection>>>,
    /// Those that are not connections yet, in the order in which they came.
    handshakes: Mutex<VecDeque<Weak<Handshake>>>,
    pub(in crate::http) tasks: TaskTracker,
    pub(super) started: Instant,
    /// The exchanges with the app that are under way.
    pub(super) exchanges: AtomicUsize,
    /// Since when its connections are asked to end, in milliseconds like all times here; 0 for "they are not".
    pub(super) draining_since: AtomicU64,
    /// Looked at more often from then on.
    drain_begins: Notify,
    /// Milliseconds since `started`, from 1; coarse, moved on by [`Roster::inspect`].
    pub(super) now: AtomicU64,
    /// How many were looked at in search of some to close since the last inspection.
    pub(super) looked_at: AtomicUsize,
    /// The same on behalf of single networks, which must not use up what everybody needs.
    looked_at_for_one: AtomicUsize,
}

impl Roster {
    pub(in crate::http) fn new() -> Arc<Self> {
        Arc::new(Self {
            connections: Mutex::default(),
            handshakes: Mutex::default(),
            tasks: TaskTracker::new(),
            started: Instant::now(),
            exchanges: AtomicUsize::new(0),
            draining_since: AtomicU64::new(0),
            drain_begins: Notify::new(),
            now: AtomicU64::new(1),
            looked_at: AtomicUsize::new(0),
            looked_at_for_one: AtomicUsize::new(0),
        })
    }

    pub(super) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, connection: &Arc<Connection>) {
        self.lock().push(Arc::downgrade(connection));
    }

    /// A handshake begins; `among` is its place among those under way.
    pub(in crate::http) fn begins(&self, place: Place, among: Place) -> Arc<Handshake> {
        let handshake = Handshake { since: self.now(), place: Arc::new(place), among, cut: Notify::new() };
        let handshake = Arc::new(handshake);
        self.handshakes().push_back(Arc::downgrade(&handshake));
        handshake
    }

    /// Looks at every connection and gives the orders that are due.
    pub(in crate::http) fn inspect(&self, patience: Patience) {
        let now = self.move_on();
        self.looked_at.store(0, Ordering::Relaxed);
        self.looked_at_for_one.store(0, Ordering::Relaxed);
        self.handshakes().retain(|handshake| handshake.strong_count() > 0);
        self.each(|connection| {
            match connection.due(now, patience) {
                Order::Run => connection.park(now),
                order @ (Order::Linger | Order::Drain | Order::Cut) => connection.order(order),
            }
            if connection.is_reminded() {
                connection.watch.waker.wake();
            }
        });
    }

    /// Lets every connection finish what is under way and close, those that come later too. Idle ones are closed once they have
    /// had the time to bring a request that may be on its way.
    pub(in crate::http) fn drain(&self) {
        let now = self.move_on();
        // Whoever began first counts: a drain that follows a handover gives no more time.
        let _began_earlier = self.draining_since.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire);
        self.each(Connection::wind_up);
        self.drain_begins.notify_one();
    }

    /// Takes a drain back. What was already told to close closes.
    pub(in crate::http) fn resume(&self) {
        self.draining_since.store(0, Ordering::Release);
        self.each(Connection::go_on);
    }

    pub(in crate::http) fn is_draining(&self) -> bool {
        self.draining_since.load(Ordering::Acquire) != 0
    }

    /// Whether no connection is left but those whose last answer is under way: none that could still bring a request, and none that
    /// is just shaking hands.
    pub(in crate::http) fn is_quiet(&self) -> bool {
        let (mut open, mut idle) = (0, 0);
        self.each(|connection| {
            open += 1;
            idle += usize::from(connection.watch.in_flight.load(Ordering::Relaxed) == 0);
        });
        idle == 0 && self.tasks.len() <= open
    }

    /// Ready when a drain begins.
    pub(in crate::http) async fn drain_begins(&self) {
        self.drain_begins.notified().await;
    }

    /// The worker has ended: it looks at nothing any more, and does not hang.
    pub(in crate::http) fn retire(&self) {
        self.now.store(u64::MAX, Ordering::Relaxed);
    }

    /// How long the worker has not looked at its connections: much longer than it should, and its loop hangs.
    pub(in crate::http) fn lag(&self) -> Duration {
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
    pub(in crate::http) fn shed(&self, network: Option<IpAddr>, most: usize) -> usize {
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
    pub(super) fn long_ago(&self) -> u64 {
        self.now().saturating_sub(u64::try_from(SURELY_WAITING.as_millis()).unwrap_or(u64::MAX))
    }

    /// Makes room for another handshake: closes the oldest one. Whether there was one.
    pub(in crate::http) fn shed_handshake(&self) -> bool {
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

    pub(super) fn each(&self, mut look: impl FnMut(&Connection)) {
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

//! How many of something there may be over all workers: open connections, requests under way; and of connections, how many from one
//! network (R23). Only counts; whom to close to make room is the matter of [`super::connection::Roster`]. Called by the workers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus_client::metrics::gauge::Gauge;

use super::settings::EdgeBounds;
use crate::domain::client_addr::network_of;

/// The places of all workers. The map has at most an entry for each place that is taken.
pub(super) struct Places {
    taken: AtomicUsize,
    most: usize,
    most_of_one: usize,
    ipv6_prefix: u8,
    by_network: Mutex<HashMap<IpAddr, usize>>,
    gauge: Gauge,
}

/// A network has as many connections as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NetworkFull(pub(super) IpAddr);

impl Places {
    /// The connections that the bounds allow.
    pub(super) fn of_connections(bounds: &EdgeBounds, gauge: Gauge) -> Arc<Self> {
        let (taken, by_network) = Default::default();
        let (most, most_of_one) = (bounds.max_connections, bounds.max_connections_per_ip);
        Arc::new(Self { taken, most, most_of_one, ipv6_prefix: bounds.ipv6_prefix, by_network, gauge })
    }

    /// The requests that the bounds allow, and an eighth of them for one network.
    pub(super) fn of_requests(bounds: &EdgeBounds, gauge: Gauge) -> Arc<Self> {
        let (taken, by_network) = Default::default();
        let most = bounds.max_requests;
        let most_of_one = (most / 8).max(1);
        Arc::new(Self { taken, most, most_of_one, ipv6_prefix: bounds.ipv6_prefix, by_network, gauge })
    }

    /// The handshakes that may be under way: half as many as connections, so that whoever only opens connections leaves the other half
    /// to those who have gone further.
    pub(super) fn of_handshakes(bounds: &EdgeBounds) -> Arc<Self> {
        let (taken, by_network) = Default::default();
        let most = (bounds.max_connections / 2).max(1);
        Arc::new(Self { taken, most, most_of_one: most, ipv6_prefix: 128, by_network, gauge: Gauge::default() })
    }

    /// A place for one more, if there is one.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.gauge.inc();
        Some(Place { places: self.clone(), network: OnceLock::new(), given_up: AtomicBool::new(false) })
    }

    /// How many to close at once to make room, so that not every arrival has to look for one: few beside how many there are.
    pub(super) fn batch(&self) -> usize {
        most_at_once(self.most)
    }

    /// The same for the connections of one network.
    pub(super) fn batch_of_one(&self) -> usize {
        (self.most_of_one / 16).clamp(1, 32)
    }

    fn by_network(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        // A panic cannot leave a count half changed.
        self.by_network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of so many connections are closed at once to make room.
pub(super) fn most_at_once(connections: usize) -> usize {
    (connections / 16).clamp(1, 64)
}

/// One of those that there may be. Given up when dropped, if not before.
pub(super) struct Place {
    places: Arc<Places>,
    network: OnceLock<IpAddr>,
    given_up: AtomicBool,
}

impl Place {
    /// Counts the connection among those of its client's network as well, once.
    pub(super) fn claim(&self, client: IpAddr) -> Result<(), NetworkFull> {
        let network = network_of(client, self.places.ipv6_prefix);
        let mut by_network = self.places.by_network();
        let count = by_network.entry(network).or_default();
        if *count >= self.places.most_of_one {
            return Err(NetworkFull(network));
        }
        if self.network.set(network).is_ok() {
            *count += 1;
        }
        Ok(())
    }

    /// Whose connection it is counted as.
    pub(super) fn network(&self) -> Option<IpAddr> {
        self.network.get().copied()
    }

    /// Lets somebody else have the place: the connection is about to be closed.
    pub(super) fn give_up(&self) {
        if self.given_up.swap(true, Ordering::Relaxed) {
            return;
        }
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
        self.places.gauge.dec();
        if let Some(network) = self.network.get() {
            let mut by_network = self.places.by_network();
            if let Some(count) = by_network.get_mut(network) {
                *count -= 1;
                if *count == 0 {
                    by_network.remove(network);
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// So many over all, so many from one network.
    pub(in crate::http) fn places(most: usize, most_of_one: usize) -> Arc<Places> {
        let (taken, gauge, by_network) = Default::default();
        Arc::new(Places { taken, most, most_of_one, ipv6_prefix: 64, by_network, gauge })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn r23_there_are_only_so_many_places() {
        let places = places(2, 2);
        let (first, second) = (places.take(), places.take());
        assert!(first.is_some() && second.is_some() && places.take().is_none());
        drop(first);
        assert!(places.take().is_some());
        assert_eq!(places.gauge.get(), 1);
    }

    #[test]
    fn r23_hosts_of_one_network_share_their_places_and_leave_others_theirs() {
        let places = places(100, 2);
        let open: Vec<Place> = (0..4).map(|_| places.take().expect("a place")).collect();
        assert_eq!(open[0].claim(ip("2001:db8:0:1::1")), Ok(()));
        assert_eq!(open[1].claim(ip("2001:db8:0:1::2")), Ok(()));
        assert_eq!(open[2].claim(ip("2001:db8:0:1::3")), Err(NetworkFull(ip("2001:db8:0:1::"))));
        assert_eq!(open[2].claim(ip("2001:db8:0:2::1")), Ok(()), "the next /64");
        assert_eq!(open[3].claim(ip("192.0.2.1")), Ok(()));
        let mut open = open.into_iter();
        drop(open.next());
        let next = places.take().expect("a place");
        assert_eq!(next.claim(ip("2001:db8:0:1::3")), Ok(()), "a place that was given up");
    }

    #[test]
    fn a_place_that_was_given_up_is_given_up_once() {
        let places = places(1, 1);
        let first = places.take().expect("a place");
        first.claim(ip("192.0.2.1")).expect("the only one");
        first.give_up();
        let second = places.take().expect("the place that was given up");
        second.claim(ip("192.0.2.1")).expect("the only one");
        drop(first);
        assert!(places.take().is_none(), "the second one still has it");
        assert_eq!((places.gauge.get(), places.by_network().len()), (1, 1));
    }

    #[test]
    fn networks_without_a_connection_are_forgotten() {
        let places = places(1_000, 10);
        for host in 0..250_u8 {
            let place = places.take().expect("a place");
            place.claim(IpAddr::from([192, 0, 2, host])).expect("the first of its address");
        }
        assert!(places.by_network().is_empty());
    }
}

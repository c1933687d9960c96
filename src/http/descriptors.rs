//! File descriptors: taken up to what the system gives, and shared out before anything is served, so that clients can never use up
//! those of the admin listener, the store and legacy (R23, R107). Called by `app` at the start, once.

use super::places::most_at_once;
use super::settings::EdgeBounds;

/// The admin listener's connections, and what its handlers open.
const ADMIN: usize = 144;
/// Standard streams, log, store, queues of the other threads, name resolution, files that are read again.
const OWN: usize = 88;
/// A worker's event queue and what wakes it, and a connection for which there is no place.
const WORKER: usize = 5;
/// Handles of a listening socket where another process may take over: its own, the one that is kept, the one that is passed on.
const PASSED_ON: usize = 3;
/// The fewest that clients and the app get, however few there are.
const LEAST: usize = 16;

/// What listens.
#[derive(Debug, Clone, Copy)]
pub struct Listening {
    /// How many listeners; each worker has a socket of each.
    pub listeners: usize,
    /// Whether another process may take them over.
    pub passed_on: bool,
}

impl Listening {
    /// What the workers need beside the connections that have a place: their queues, the listening sockets, and for each of these those
    /// connections that were told to close to make room and have not been yet.
    fn kept(self, workers: usize, clients: usize) -> usize {
        let handles = if self.passed_on { PASSED_ON } else { 1 };
        workers.max(1) * (WORKER + self.listeners * (handles + most_at_once(clients)))
    }
}

/// Who may open how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Open connections of clients.
    pub clients: usize,
    /// Open connections to the app.
    pub upstream: usize,
    /// There are too few for as many clients as are configured.
    pub shortage: Option<Shortage>,
}

/// Too few descriptors. Its text is for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "`server.max_connections` is lowered from {wanted} to {clients}: this process may open {limit} files (RLIMIT_NOFILE), a \
     connection takes two, one to the client and one to the app, and {kept} are kept back for the admin listener, the store and \
     legacy; raise the limit, as with LimitNOFILE= in a systemd unit, or lower `server.max_connections`"
)]
pub struct Shortage {
    wanted: usize,
    clients: usize,
    limit: usize,
    kept: usize,
}

/// Raises the process's own limit as far as it may, and shares out what there is. `to_legacy` is how many connections to legacy may be
/// open.
#[must_use]
pub fn share_out(bounds: &EdgeBounds, listening: Listening, to_legacy: usize) -> Shares {
    match raised_limit() {
        Some(limit) => {
            // Each client may take two: there are never more than half as many.
            let of_workers = listening.kept(bounds.workers, bounds.max_connections.min(limit / 2));
            shares(limit, bounds.max_connections, of_workers + to_legacy)
        }
        None => Shares { clients: bounds.max_connections, upstream: usize::MAX, shortage: None },
    }
}

/// Each client may need a connection to the app, and has a share in what is left beyond that: over HTTP/2 he may need several.
fn shares(limit: usize, wanted: usize, others: usize) -> Shares {
    let kept = ADMIN + OWN + others;
    let left = limit.saturating_sub(kept);
    let clients = wanted.min((left / 2).max(LEAST));
    let upstream = left.saturating_sub(clients).max(LEAST);
    let shortage = (clients < wanted).then_some(Shortage { wanted, clients, limit, kept });
    Shares { clients, upstream, shortage }
}

/// The limit after it was raised to the hard one; none where it cannot be told.
#[cfg(target_os = "linux")]
fn raised_limit() -> Option<usize> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let before = limit.current;
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "the limit of open files stays as it is");
            limit.current = before;
        }
    }
    limit.current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(not(target_os = "linux"))]
fn raised_limit() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn r23_where_there_is_plenty_nothing_is_lowered() {
        let shares = shares(524_288, 10_000, 88);
        assert_eq!(shares, Shares { clients: 10_000, upstream: 524_288 - 320 - 10_000, shortage: None });
    }

    #[test]
    fn r23_a_low_limit_is_told_with_its_numbers() {
        let shares = shares(1_024, 10_000, 88);
        assert_eq!((shares.clients, shares.upstream), (352, 352));
        let text = shares.shortage.expect("too few").to_string();
        for part in ["from 10000 to 352", "1024 files", "320 are kept back", "LimitNOFILE="] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn r23_workers_keep_their_sockets_and_those_that_are_about_to_be_closed() {
        let one = Listening { listeners: 1, passed_on: false };
        assert_eq!(one.kept(1, 10_000), WORKER + 1 + 64);
        assert_eq!(one.kept(8, 10_000), 8 * one.kept(1, 10_000));
        assert_eq!(one.kept(0, 10_000), one.kept(1, 10_000), "there is always a worker");
        assert_eq!(one.kept(1, 160), WORKER + 1 + 10, "few are closed at once where there are few");
        let handed_over = Listening { listeners: 3, passed_on: true };
        assert_eq!(handed_over.kept(8, 10_000), 8 * (WORKER + 3 * (3 + 64)));
    }

    proptest! {
        #[test]
        fn r23_what_is_kept_back_is_nobody_elses(limit in 512_usize..2_000_000, wanted in 1_usize..1_000_000, others in 0_usize..200) {
            let shares = shares(limit, wanted, others);
            prop_assert!(shares.clients >= 1 && shares.clients <= wanted && shares.upstream >= shares.clients.min(LEAST));
            prop_assert!(shares.clients + shares.upstream + ADMIN + OWN + others <= limit);
        }
    }
}

//! File descriptors: taken up to what the system gives, and shared out before anything is served, so that clients can never use up
//! those of the admin listener, the store and legacy (R23, R107). Called by `app` at the start, once.

use super::settings::EdgeBounds;

/// The admin listener's connections, and what its handlers open.
const ADMIN: usize = 144;
/// Standard streams, log, store, event queues, listening sockets, name resolution, and closed connections that are not reaped yet.
const OWN: usize = 112;
/// The fewest that clients and the app get, however few there are.
const LEAST: usize = 16;

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
pub fn share_out(bounds: &EdgeBounds, to_legacy: usize) -> Shares {
    match raised_limit() {
        Some(limit) => shares(limit, bounds.max_connections, to_legacy),
        None => Shares { clients: bounds.max_connections, upstream: usize::MAX, shortage: None },
    }
}

/// Each client may need a connection to the app, and has a share in what is left beyond that: over HTTP/2 he may need several.
fn shares(limit: usize, wanted: usize, to_legacy: usize) -> Shares {
    let kept = ADMIN + OWN + to_legacy;
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
        let shares = shares(524_288, 10_000, 64);
        assert_eq!(shares, Shares { clients: 10_000, upstream: 524_288 - 320 - 10_000, shortage: None });
    }

    #[test]
    fn r23_a_low_limit_is_told_with_its_numbers() {
        let shares = shares(1_024, 10_000, 64);
        assert_eq!((shares.clients, shares.upstream), (352, 352));
        let text = shares.shortage.expect("too few").to_string();
        for part in ["from 10000 to 352", "1024 files", "320 are kept back", "LimitNOFILE="] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    proptest! {
        #[test]
        fn r23_what_is_kept_back_is_nobody_elses(limit in 512_usize..2_000_000, wanted in 1_usize..1_000_000, to_legacy in 0_usize..200) {
            let shares = shares(limit, wanted, to_legacy);
            prop_assert!(shares.clients >= 1 && shares.clients <= wanted && shares.upstream >= shares.clients.min(LEAST));
            prop_assert!(shares.clients + shares.upstream + ADMIN + OWN + to_legacy <= limit);
        }
    }
}

//! The gauges of who is over. Set when somebody scrapes, and not on every scrape: it needs no token.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::state::AdminState;
use crate::domain::clock::UnixSeconds;
use crate::domain::roster::{Bucket, Day, RosterCounts, Tally};

/// The gauges of who is over, set when somebody looks, but not more often than this: a scrape needs no token.
const GAUGES_EVERY: Duration = Duration::from_secs(1);

/// When the gauges were last set.
#[derive(Default)]
pub(in crate::admin) struct Gauges(Mutex<Option<Instant>>);

impl Gauges {
    /// Whether they are old; if so, whoever asked sets them.
    fn are_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= GAUGES_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// Sets the gauges, if that is due.
pub(in crate::admin) async fn show_gauges(state: &AdminState) {
    if !state.gauges.are_due(state.clock.monotonic()) {
        return;
    }
    let Ok(counts) = state.store.roster().await else { return };
    for (last_seen, tally) in apart(&counts, state.clock.wall()) {
        let gauge = |number: u128| i64::try_from(number).unwrap_or(i64::MAX);
        for (side, users, value) in
            [("over", tally.over, tally.over_value), ("straggler", tally.stragglers, tally.straggler_value)]
        {
            state.metrics.known_users(side, last_seen, gauge(users.into()));
            state.metrics.known_value(side, last_seen, gauge(value));
        }
    }
}

/// Buckets that do not overlap, so that gauges can be added up.
fn apart(counts: &RosterCounts, now: UnixSeconds) -> [(&'static str, Tally); 5] {
    let of = |bucket| counts.of(bucket, Day::of(now));
    let (month, quarter, year) = (of(Bucket::Days30), of(Bucket::Days90), of(Bucket::Days365));
    [
        ("0-30d", month),
        ("31-90d", without(quarter, month)),
        ("91-365d", without(year, quarter)),
        ("older", of(Bucket::Older)),
        ("never", of(Bucket::Never)),
    ]
}

fn without(all: Tally, part: Tally) -> Tally {
    Tally {
        stragglers: all.stragglers.saturating_sub(part.stragglers),
        straggler_value: all.straggler_value.saturating_sub(part.straggler_value),
        over: all.over.saturating_sub(part.over),
        over_value: all.over_value.saturating_sub(part.over_value),
        listed: all.listed.saturating_sub(part.listed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sums::tests::counts;
    use super::*;

    #[test]
    fn gauges_can_be_added_up() {
        let today = Day::from_number(20_600);
        let apart = apart(&counts(today), today.start());
        let told = apart.map(|(last_seen, tally)| (last_seen, tally.over, tally.stragglers));
        assert_eq!(told, [("0-30d", 9, 1), ("31-90d", 8, 2), ("91-365d", 6, 4), ("older", 2, 8), ("never", 0, 16)]);
    }
}

//! The one queue in front of the hash threads, bounded in number and in time.
//!
//! Two classes wait in it, each first come, first served. Known clients go first, but not alone: after [`KNOWN_IN_A_ROW`] of them an
//! unknown one is served, and an eighth of the places is never theirs, so that a newcomer always gets in. A known client who finds
//! the queue full takes the place of the newest unknown one.
//!
//! It refuses early: at once when there is no place, or when what already waits would take longer than anybody may wait; and without
//! any hashing when a task waited too long all the same or its client has gone. Used by the pool alone.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::arena::Arena;
use crate::domain::clock::Clock;
use crate::service::ports::{ClientStanding, HashUnavailable};
use crate::telemetry::Metrics;

/// After so many known ones in a row an unknown one is served, if one waits.
const KNOWN_IN_A_ROW: usize = 4;
/// One place in so many is never taken by known ones.
const SHARE_OF_UNKNOWN: usize = 8;
/// Between what the time is kept after which those who were refused begin to come again.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Between what the time is kept over which they are spread from then on.
const SPREAD: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(15));

/// Something to be computed for somebody who waits.
pub(super) trait Task: Send {
    /// Nobody waits any more.
    fn is_abandoned(&self) -> bool;
    /// Answers without computing.
    fn refuse(self: Box<Self>, why: HashUnavailable);
    /// Computes and answers. Never panics.
    fn run(self: Box<Self>, arena: &mut Arena);
}

/// What a hash thread does next.
pub(super) enum Next {
    /// This.
    Run(Box<dyn Task>),
    /// Nothing at the moment.
    Idle,
    /// Nothing ever again.
    Stop,
}

/// Whether to stay until there is something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    /// For so long at most.
    For(Duration),
    Yes,
}

/// What there is for an arrival.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    /// A free place.
    Free,
    /// The place of the newest unknown one.
    InsteadOfUnknown,
    /// None.
    None(HashUnavailable),
}

pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    capacity: usize,
    /// How many places known ones never take.
    kept_for_unknown: usize,
    deadline: Duration,
    /// How many tasks are computed at once.
    threads: u32,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

struct State {
    known: VecDeque<Waiting>,
    unknown: VecDeque<Waiting>,
    /// How many known ones were served since an unknown one was, while one waited.
    in_a_row: usize,
    /// How long a task keeps a thread, smoothed over the last few; zero until one was measured.
    pace: Duration,
    /// Counts those who were told when to come again.
    told: u32,
    stopped: bool,
}

struct Waiting {
    task: Box<dyn Task>,
    since: Instant,
}

impl Queue {
    pub(super) fn new(
        capacity: usize,
        deadline: Duration,
        threads: usize,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (known, unknown) = (VecDeque::new(), VecDeque::new());
        let state = State { known, unknown, in_a_row: 0, pace: Duration::ZERO, told: 0, stopped: false };
        let (kept_for_unknown, threads) =
            (capacity / SHARE_OF_UNKNOWN, u32::try_from(threads.max(1)).unwrap_or(u32::MAX));
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Self { state, changed, capacity, kept_for_unknown, deadline, threads, clock, metrics }
    }

    /// Takes a task on, or refuses it at once. Taking it on may cost another one, which is told so.
    pub(super) fn push(&self, standing: ClientStanding, task: Box<dyn Task>) -> Result<(), HashUnavailable> {
        let since = self.clock.monotonic();
        let mut state = self.lock();
        if state.stopped {
            return Err(HashUnavailable::Stopped);
        }
        let mut room = self.room(&state, standing);
        if room != Room::Free {
            state.forget_abandoned();
            room = self.room(&state, standing);
        }
        let displaced = match room {
            Room::Free => None,
            Room::InsteadOfUnknown => state.unknown.pop_back(),
            Room::None(why) => {
                drop(state);
                self.shed(standing, why);
                return Err(why);
            }
        };
        state.of(standing).push_back(Waiting { task, since });
        self.show(&state);
        drop(state);
        self.changed.notify_one();
        if let Some(Waiting { task, .. }) = displaced {
            self.shed(ClientStanding::Unknown, HashUnavailable::QueueFull);
            task.refuse(HashUnavailable::QueueFull);
        }
        Ok(())
    }

    /// The next task that somebody still waits for and that is not late. Late ones are answered on the way.
    pub(super) fn next(&self, wait: Wait) -> Next {
        loop {
            let mut state = self.lock();
            let is_idle = |state: &mut State| state.is_empty() && !state.stopped;
            state = match wait {
                Wait::No => state,
                Wait::For(longest) => {
                    let something = self.changed.wait_timeout_while(state, longest, is_idle);
                    something.unwrap_or_else(PoisonError::into_inner).0
                }
                Wait::Yes => self.changed.wait_while(state, is_idle).unwrap_or_else(PoisonError::into_inner),
            };
            let Some((standing, Waiting { task, since })) = state.pop() else {
                return if state.stopped { Next::Stop } else { Next::Idle };
            };
            self.show(&state);
            drop(state);
            if task.is_abandoned() {
                continue;
            }
            if self.clock.monotonic().saturating_duration_since(since) > self.deadline {
                self.shed(standing, HashUnavailable::Late);
                task.refuse(HashUnavailable::Late);
                continue;
            }
            return Next::Run(task);
        }
    }

    /// Notes how long a task kept a thread.
    pub(super) fn measured(&self, took: Duration) {
        let mut state = self.lock();
        // The mean of about the last eight; the first one is all there is to go by.
        state.pace = if state.pace.is_zero() { took } else { (state.pace * 7 + took) / 8 };
    }

    /// When somebody who was refused should come again: when all that waits now will have been served, and then a little later than
    /// the one refused before him, so that those who were refused together do not return together, however long the queue is. From 1 to 45 seconds.
    pub(super) fn retry_after(&self) -> Duration {
        let mut state = self.lock();
        state.told = state.told.wrapping_add(1);
        // Multiples of the golden ratio, without their whole part, are spread evenly however many there are (Knuth, TAOCP 6.4).
        let spread = f64::from(state.told.wrapping_mul(0x9E37_79B9)) / f64::from(u32::MAX);
        let drained = self.takes(&state, state.known.len() + state.unknown.len());
        let within = |(least, most): (Duration, Duration)| drained.clamp(least, most);
        within(RETRY_AFTER) + within(SPREAD).mul_f64(spread)
    }

    /// Answers everyone who waits and takes nothing on any more.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        let (known, unknown) = (std::mem::take(&mut state.known), std::mem::take(&mut state.unknown));
        self.show(&state);
        drop(state);
        self.changed.notify_all();
        known.into_iter().chain(unknown).for_each(|waiting| waiting.task.refuse(HashUnavailable::Stopped));
    }

    fn room(&self, state: &State, standing: ClientStanding) -> Room {
        let (known, unknown) = (state.known.len(), state.unknown.len());
        let is_full = known + unknown >= self.capacity;
        let (room, ahead) = match standing {
            ClientStanding::Known if known >= self.capacity - self.kept_for_unknown => {
                return Room::None(HashUnavailable::QueueFull);
            }
            // The queue is full and not of known ones.
            ClientStanding::Known if is_full => (Room::InsteadOfUnknown, known + unknown.min(known / KNOWN_IN_A_ROW)),
            ClientStanding::Known => (Room::Free, known + unknown.min(known / KNOWN_IN_A_ROW)),
            ClientStanding::Unknown if is_full => return Room::None(HashUnavailable::QueueFull),
            ClientStanding::Unknown => (Room::Free, unknown + known.min(KNOWN_IN_A_ROW * (unknown + 1))),
        };
        if self.takes(state, ahead) > self.deadline { Room::None(HashUnavailable::Overloaded) } else { room }
    }

    /// How long so many tasks take, as far as can be told. Nothing takes no time, whatever was measured: so an outlier in the
    /// measure is followed by others, and forgotten.
    fn takes(&self, state: &State, tasks: usize) -> Duration {
        state.pace.saturating_mul(u32::try_from(tasks).unwrap_or(u32::MAX)) / self.threads
    }

    fn shed(&self, standing: ClientStanding, why: HashUnavailable) {
        self.metrics.password_shed(word(standing), why.as_str());
    }

    fn show(&self, state: &State) {
        let waiting = state.known.len() + state.unknown.len();
        self.metrics.queue_depth().set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// No code that can panic runs under the lock, but for the destructors of tasks, after which the state is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.known.is_empty() && self.unknown.is_empty()
    }

    fn of(&mut self, standing: ClientStanding) -> &mut VecDeque<Waiting> {
        match standing {
            ClientStanding::Known => &mut self.known,
            ClientStanding::Unknown => &mut self.unknown,
        }
    }

    /// Whoever has gone needs no place.
    fn forget_abandoned(&mut self) {
        self.known.retain(|waiting| !waiting.task.is_abandoned());
        self.unknown.retain(|waiting| !waiting.task.is_abandoned());
    }

    /// Whose turn it is.
    fn pop(&mut self) -> Option<(ClientStanding, Waiting)> {
        if (self.in_a_row >= KNOWN_IN_A_ROW || self.known.is_empty())
            && let Some(waiting) = self.unknown.pop_front()
        {
            self.in_a_row = 0;
            return Some((ClientStanding::Unknown, waiting));
        }
        let waiting = self.known.pop_front()?;
        self.in_a_row = if self.unknown.is_empty() { 0 } else { self.in_a_row + 1 };
        Some((ClientStanding::Known, waiting))
    }
}

fn word(standing: ClientStanding) -> &'static str {
    match standing {
        ClientStanding::Known => "known",
        ClientStanding::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests;

//! The one queue in front of the hash threads: first come, first served; bounded in number and in time.
//!
//! It refuses early: at once when it is full, and without any hashing when a task waited too long or its client has gone. Used by
//! the pool alone.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::arena::Arena;
use crate::domain::clock::Clock;
use crate::service::ports::HashUnavailable;
use crate::telemetry::Metrics;

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
    Yes,
}

pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    capacity: usize,
    deadline: Duration,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

struct State {
    waiting: VecDeque<Waiting>,
    stopped: bool,
}

struct Waiting {
    task: Box<dyn Task>,
    since: Instant,
}

impl Queue {
    pub(super) fn new(capacity: usize, deadline: Duration, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let state = Mutex::new(State { waiting: VecDeque::new(), stopped: false });
        Self { state, changed: Condvar::new(), capacity, deadline, clock, metrics }
    }

    /// Takes a task on, or refuses it at once.
    pub(super) fn push(&self, task: Box<dyn Task>) -> Result<(), HashUnavailable> {
        let since = self.clock.monotonic();
        let mut state = self.lock();
        if state.stopped {
            return Err(HashUnavailable::Stopped);
        }
        if state.waiting.len() >= self.capacity {
            state.waiting.retain(|waiting| !waiting.task.is_abandoned());
            if state.waiting.len() >= self.capacity {
                return Err(HashUnavailable::QueueFull);
            }
        }
        state.waiting.push_back(Waiting { task, since });
        self.show(&state);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// The oldest task that somebody still waits for and that is not late. Late ones are answered on the way.
    pub(super) fn next(&self, wait: Wait) -> Next {
        loop {
            let mut state = self.lock();
            if wait == Wait::Yes {
                let something = self.changed.wait_while(state, |state| state.waiting.is_empty() && !state.stopped);
                state = something.unwrap_or_else(PoisonError::into_inner);
            }
            let Some(Waiting { task, since }) = state.waiting.pop_front() else {
                return if state.stopped { Next::Stop } else { Next::Idle };
            };
            self.show(&state);
            drop(state);
            if task.is_abandoned() {
                continue;
            }
            if self.clock.monotonic().saturating_duration_since(since) > self.deadline {
                task.refuse(HashUnavailable::Late);
                continue;
            }
            return Next::Run(task);
        }
    }

    /// Answers everyone who waits and takes nothing on any more.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        let waiting = std::mem::take(&mut state.waiting);
        self.show(&state);
        drop(state);
        self.changed.notify_all();
        waiting.into_iter().for_each(|waiting| waiting.task.refuse(HashUnavailable::Stopped));
    }

    fn show(&self, state: &State) {
        self.metrics.queue_depth().set(i64::try_from(state.waiting.len()).unwrap_or(i64::MAX));
    }

    /// No code that can panic runs under the lock, but for the destructors of tasks, after which the state is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

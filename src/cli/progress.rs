//! How far a long piece of work is: a bar with rate and time left on a terminal, a line now and then elsewhere, on standard error.
//! Used by `import` and `export`.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::terminal::Terminal;
use super::text;
use crate::domain::clock::{Clock as _, SystemClock};

/// Without a terminal a line is written this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// One piece of work.
pub(super) struct Progress {
    shown: Shown,
    /// What is counted: "rows", "users".
    what: &'static str,
    /// How much there is, in the unit of `done`: bytes of a file, or users.
    total: Option<u64>,
    begun: Instant,
    begun_at: (u64, u64),
}

enum Shown {
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Progress {
    /// Begins. `done` and `counted` are what was done before, which says nothing about the rate.
    pub(super) fn begin(terminal: &Terminal, what: &'static str, total: Option<u64>, done: u64, counted: u64) -> Self {
        let begun = SystemClock.monotonic();
        let shown = if terminal.shows_progress() {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(8));
            let template = if total.is_some() { "{bar:30} {percent:>3}%  {msg}" } else { "{spinner} {msg}" };
            // A template of our own that were wrong would show the default one.
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            Shown::Bar(bar)
        } else {
            Shown::Lines { last: begun }
        };
        Self { shown, what, total, begun, begun_at: (done, counted) }
    }

    /// So much is done, and so many are counted, in all.
    pub(super) fn at(&mut self, terminal: &mut Terminal, done: u64, counted: u64) -> std::io::Result<()> {
        let now = SystemClock.monotonic();
        let message = self.message(now, done, counted);
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_position(self.total.map_or(done, |total| done.min(total)));
                bar.set_message(message);
                Ok(())
            }
            Shown::Lines { last } if now.saturating_duration_since(*last) >= LINE_EVERY => {
                *last = now;
                terminal.remark(message)
            }
            Shown::Lines { .. } => Ok(()),
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        match &self.shown {
            Shown::Bar(bar) => bar.finish_and_clear(),
            Shown::Lines { .. } => {}
        }
    }

    /// How many were counted since the beginning, a second.
    pub(super) fn rate(&self, counted: u64) -> Option<u64> {
        let elapsed = SystemClock.monotonic().saturating_duration_since(self.begun);
        rate(counted.saturating_sub(self.begun_at.1), elapsed)
    }

    fn message(&self, now: Instant, done: u64, counted: u64) -> String {
        let elapsed = now.saturating_duration_since(self.begun);
        let mut message = format!("{} {}", text::count(counted), self.what);
        if let Some(rate) = rate(counted.saturating_sub(self.begun_at.1), elapsed) {
            message.push_str(&format!(", {} a second", text::count(rate)));
        }
        let left = self
            .total
            .and_then(|total| left(elapsed, done.saturating_sub(self.begun_at.0), total.saturating_sub(done)));
        if let Some(left) = left {
            message.push_str(&format!(", {} left", text::duration(left)));
        }
        message
    }
}

fn rate(counted: u64, elapsed: Duration) -> Option<u64> {
    counted.saturating_mul(1_000).checked_div(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// How long what is left takes, if it goes on like this.
fn left(elapsed: Duration, done: u64, left: u64) -> Option<Duration> {
    let millis = u64::try_from(elapsed.as_millis()).ok()?;
    Some(Duration::from_millis(millis.saturating_mul(left).checked_div(done)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_are_said_once_they_are_known() {
        assert_eq!(rate(10, Duration::ZERO), None);
        assert_eq!(rate(1_500, Duration::from_millis(1_500)), Some(1_000));
        assert_eq!(left(Duration::from_secs(10), 0, 100), None);
        assert_eq!(left(Duration::from_secs(10), 50, 100), Some(Duration::from_secs(20)));
    }
}

//! Log lines on their way out: threads that log append to one buffer, and one thread writes it to where the log goes. Whoever logs
//! waits for nobody, and lines that come thick and fast share a system call: a line for every request must not cost one. Never looks
//! into a line. Used by [`super::logging`].

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How many bytes may wait to be written, and as many again may be with the writer. What comes on top is dropped.
const MOST: usize = 1024 * 1024;
/// What a buffer keeps of its memory when it has been written.
const KEPT: usize = 64 * 1024;
/// How long the first line waits for others to be written with it. Warnings and errors do not wait.
const GATHERING: Duration = Duration::from_millis(10);

/// Takes lines. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    to_do: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// They are not to wait for others.
    urgent: bool,
    /// Nothing comes after them.
    ended: bool,
}

/// The writing thread. It ends when [`Self::finish`] says so, or with the process.
pub(super) struct Writing {
    shared: Arc<Shared>,
    /// Disconnected once everything is written.
    ended: Receiver<()>,
}

/// Starts a thread that writes to `to`.
pub(super) fn start(to: impl Write + Send + 'static) -> io::Result<(Lines, Writing)> {
    let shared = Arc::<Shared>::default();
    let (alive, ended) = sync_channel(1);
    let own = Arc::clone(&shared);
    std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        write_all(&own, to);
        drop(alive);
    })?;
    Ok((Lines(Arc::clone(&shared)), Writing { shared, ended }))
}

impl Writing {
    /// Has what waits written, and waits for that, but not forever: where nobody reads the log it may never come to an end.
    pub(super) fn finish(self, patience: Duration) {
        self.shared.waiting().ended = true;
        self.shared.to_do.notify_one();
        // Too late is as good as done: the process ends either way.
        let _in_time = self.ended.recv_timeout(patience);
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A panic cannot leave half a line: it is appended in one step.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_all(shared: &Shared, mut to: impl Write) {
    let mut lines = Vec::new();
    loop {
        let mut waiting = shared.waiting();
        while waiting.lines.is_empty() {
            if waiting.ended {
                return;
            }
            waiting = shared.to_do.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let gathers = |waiting: &mut Waiting| !waiting.urgent && !waiting.ended;
        let gathered = shared.to_do.wait_timeout_while(waiting, GATHERING, gathers);
        (waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        waiting.urgent = false;
        std::mem::swap(&mut waiting.lines, &mut lines);
        drop(waiting);
        // There is nowhere to tell that the log cannot be written.
        let _written = to.write_all(&lines).and_then(|()| to.flush());
        lines.clear();
        lines.shrink_to(KEPT);
    }
}

impl Lines {
    /// How many lines were dropped because nobody read them fast enough.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    fn append(&self, line: &[u8], urgent: bool) {
        let mut waiting = self.0.waiting();
        if waiting.lines.len().saturating_add(line.len()) > MOST {
            drop(waiting);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // The writer is woken for the first line, and otherwise finds the others beside it.
        let wakes = waiting.lines.is_empty() || urgent && !waiting.urgent;
        waiting.lines.extend_from_slice(line);
        waiting.urgent |= urgent;
        drop(waiting);
        if wakes {
            self.0.to_do.notify_one();
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, urgent: true }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line<'a> {
        Line { lines: self, urgent: *event.level() <= Level::WARN }
    }
}

/// Takes the one line of an event.
pub(super) struct Line<'a> {
    lines: &'a Lines,
    urgent: bool,
}

impl Write for Line<'_> {
    /// Takes the whole buffer, which is one event: the formatter writes each with one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.append(line, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::*;

    /// Says what each call wrote, and goes on only when it is asked for the next.
    struct Watched(SyncSender<Vec<u8>>);

    impl Write for Watched {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_come_together_are_written_together_and_in_order() {
        let (writes, written) = sync_channel(0);
        let (lines, writing) = start(Watched(writes)).expect("a thread");
        lines.append(b"1\n", true);
        // The writer is busy with the first one from here on.
        let mut all = written.recv().expect("a write");
        for number in 2..1000 {
            lines.append(format!("{number}\n").as_bytes(), false);
        }
        let ending = std::thread::spawn(move || writing.finish(Duration::from_secs(60)));
        let mut writes = 1;
        while let Ok(more) = written.recv() {
            all.extend(more);
            writes += 1;
        }
        ending.join().expect("no panic");
        let expected: String = (1..1000).map(|number| format!("{number}\n")).collect();
        assert_eq!(String::from_utf8(all).expect("text"), expected);
        assert!(writes < 100, "{writes} writes");
    }

    #[test]
    fn what_nobody_reads_is_bounded_dropped_whole_and_counted() {
        let (writes, written) = sync_channel(0);
        let (lines, writing) = start(Watched(writes)).expect("a thread");
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..4 * MOST / line.len() {
            lines.append(&line, false);
        }
        let dropped = lines.dropped();
        assert!(dropped > 0);
        // Nobody reads: ending does not wait for it.
        writing.finish(Duration::ZERO);
        let kept: usize = written.iter().map(|bytes| bytes.len()).sum();
        assert!(kept <= 2 * MOST && kept.is_multiple_of(line.len()), "{kept}");
        assert_eq!(kept / line.len() + usize::try_from(dropped).expect("few"), 4 * MOST / line.len());
    }
}

//! Records read on several threads and handed on in their order: one thread cuts the stream, a few do the work on each record, and the
//! caller gets the results as if one had done it all. Everything between them is bounded.
//!
//! ```text
//! reader -> chunks of records -> workers -> chunks, put in order -> `sink`, on the caller's thread
//!    ^------------------ permits: as many chunks are under way ------------------'
//! ```

use std::collections::BTreeMap;
use std::io::Read;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::exchange::{Broken, Place, Splitter};

/// Chunks under way for each worker: read, being worked on, or waiting for one before them.
const CHUNKS_A_WORKER: usize = 4;

/// What a worker is handed at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkSize {
    /// At most so many records.
    pub(super) records: usize,
    /// No further record from so many bytes on.
    pub(super) bytes: usize,
}

/// Records in a row.
pub(super) struct Chunk<T> {
    /// Where the first begins, and what was before it.
    pub(super) start: Mark,
    /// In order.
    pub(super) records: Vec<Record<T>>,
}

/// A place in a file, and the digest of everything before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) place: Place,
    pub(super) fingerprint: [u8; 32],
}

impl Mark {
    /// Of a reading that nobody waits for.
    pub(super) const NOWHERE: Self = Self { place: Place::START, fingerprint: [0; 32] };
}

/// One record.
pub(super) struct Record<T> {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Its line, from 1.
    pub(super) line: u64,
    /// Its bytes; none for one over the limit.
    pub(super) raw: Option<Box<[u8]>>,
    /// What the work made of it.
    pub(super) made: T,
}

/// How reading ended.
pub(super) struct ReadThrough {
    /// Behind the last record.
    pub(super) end: Mark,
    /// Why the file could not be read on; none at its end.
    pub(super) broken: Option<Broken>,
}

/// Reads a stream to its end, or to where it cannot be read on, or until `sink` fails. A chunk ends behind the record of the number
/// `boundary`, counted from where the stream goes on, if that is not 0. Each thread makes a `worker` of its own.
pub(super) fn run<R: Read + Send, T: Send, W: FnMut(Option<&[u8]>) -> T, E>(
    splitter: Splitter<R>,
    size: ChunkSize,
    boundary: u64,
    workers: NonZeroUsize,
    worker: impl Fn() -> W + Sync,
    mut sink: impl FnMut(Chunk<T>) -> Result<(), E>,
) -> Result<ReadThrough, E> {
    let under_way = workers.get() * CHUNKS_A_WORKER;
    let (to_workers, jobs) = sync_channel::<(u64, Chunk<()>)>(under_way);
    let (to_sink, done) = sync_channel::<(u64, Chunk<T>)>(under_way);
    let (give_permit, permits) = sync_channel::<()>(under_way);
    for _ in 0..under_way {
        // There is room for exactly so many.
        let _has_room = give_permit.try_send(());
    }
    let jobs = Mutex::new(jobs);
    thread::scope(|scope| {
        let reader = scope.spawn(move || cut(splitter, size, boundary, &to_workers, &permits));
        let (jobs, worker) = (&jobs, &worker);
        for _ in 0..workers.get() {
            let to_sink = to_sink.clone();
            scope.spawn(move || {
                let mut work = worker();
                while let Some((number, chunk)) = next(jobs) {
                    if to_sink.send((number, worked(chunk, &mut work))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(to_sink);
        let mut waiting: BTreeMap<u64, Chunk<T>> = BTreeMap::new();
        let mut wanted = 0;
        let mut failed = None;
        'all: for (number, chunk) in &done {
            waiting.insert(number, chunk);
            while let Some(chunk) = waiting.remove(&wanted) {
                wanted += 1;
                if let Err(error) = sink(chunk) {
                    failed = Some(error);
                    break 'all;
                }
                // The reader may have ended.
                let _has_room = give_permit.try_send(());
            }
        }
        // Whoever still works finds nobody waiting, and ends.
        drop((done, give_permit));
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        failed.map_or(Ok(read), Err)
    })
}

fn cut<R: Read>(
    mut splitter: Splitter<R>,
    size: ChunkSize,
    boundary: u64,
    to_workers: &SyncSender<(u64, Chunk<()>)>,
    permits: &Receiver<()>,
) -> ReadThrough {
    let mut number = 0;
    let first = splitter.place().records;
    loop {
        let start = mark(&splitter);
        let mut records = Vec::with_capacity(size.records);
        let mut bytes = 0;
        let mut ended = None;
        while records.len() < size.records && bytes < size.bytes {
            if !records.is_empty() && splitter.place().records == first + boundary {
                break;
            }
            match splitter.next_piece() {
                Ok(Some(piece)) => {
                    bytes += piece.bytes.map_or(0, <[u8]>::len);
                    let raw = piece.bytes.map(Box::from);
                    records.push(Record { number: piece.number, line: piece.line, raw, made: () });
                }
                Ok(None) => {
                    ended = Some(None);
                    break;
                }
                Err(broken) => {
                    ended = Some(Some(broken));
                    break;
                }
            }
        }
        let end = mark(&splitter);
        let handed_on = records.is_empty()
            || (permits.recv().is_ok() && to_workers.send((number, Chunk { start, records })).is_ok());
        number += 1;
        match ended {
            Some(broken) => return ReadThrough { end, broken },
            None if !handed_on => return ReadThrough { end, broken: None },
            None => {}
        }
    }
}

fn mark<R: Read>(splitter: &Splitter<R>) -> Mark {
    Mark { place: splitter.place(), fingerprint: splitter.fingerprint() }
}

fn next<T>(jobs: &Mutex<Receiver<T>>) -> Option<T> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn worked<T>(chunk: Chunk<()>, work: &mut impl FnMut(Option<&[u8]>) -> T) -> Chunk<T> {
    let records = chunk.records.into_iter().map(|Record { number, line, raw, made: () }| {
        let made = work(raw.as_deref());
        Record { number, line, raw, made }
    });
    Chunk { start: chunk.start, records: records.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Framing;

    const WORKERS: NonZeroUsize = NonZeroUsize::new(3).expect("not zero");
    const SIZE: ChunkSize = ChunkSize { records: 512, bytes: 64 * 1024 };

    fn lines(count: usize) -> String {
        (0..count).map(|number| format!("{number}\n")).collect()
    }

    #[test]
    fn records_come_in_their_order_whoever_worked_on_them() {
        let text = lines(20_000);
        let splitter = Splitter::new(text.as_bytes(), Framing::Lines);
        let mut seen = Vec::new();
        let worker = || |raw: Option<&[u8]>| String::from_utf8_lossy(raw.unwrap_or_default()).into_owned();
        let read = run(splitter, SIZE, 0, WORKERS, worker, |chunk| {
            assert_eq!(chunk.start.place.records, seen.len() as u64);
            seen.extend(chunk.records.into_iter().map(|record| record.made));
            Ok::<(), ()>(())
        });
        assert!(read.is_ok_and(|read| read.broken.is_none() && read.end.place.records == 20_000));
        assert!(seen.iter().enumerate().all(|(number, text)| *text == number.to_string()));
    }

    #[test]
    fn a_chunk_ends_where_it_is_told_to() {
        let text = lines(2_000);
        let splitter = Splitter::new(text.as_bytes(), Framing::Lines);
        let mut starts = Vec::new();
        let read = run(
            splitter,
            SIZE,
            700,
            WORKERS,
            || |_| (),
            |chunk| {
                starts.push(chunk.start.place.records);
                Ok::<(), ()>(())
            },
        );
        assert!(read.is_ok() && starts.contains(&700), "{starts:?}");
    }

    #[test]
    fn what_was_read_before_the_trouble_is_handed_on() {
        let text = format!("[{}", "1,".repeat(3_000));
        let splitter = Splitter::new(text.as_bytes(), Framing::JsonItems { path: "" });
        let mut count = 0;
        let read = run(
            splitter,
            SIZE,
            0,
            WORKERS,
            || |_| (),
            |chunk| {
                count += chunk.records.len();
                Ok::<(), ()>(())
            },
        );
        assert!(read.is_ok_and(|read| read.broken.is_some()));
        assert_eq!(count, 3_000);
    }

    #[test]
    fn a_sink_that_fails_ends_everything() {
        let text = lines(200_000);
        let splitter = Splitter::new(text.as_bytes(), Framing::Lines);
        let mut chunks = 0;
        let read = run(
            splitter,
            SIZE,
            0,
            WORKERS,
            || |_| (),
            |_| {
                chunks += 1;
                if chunks == 3 { Err("full") } else { Ok(()) }
            },
        );
        assert_eq!((read.err(), chunks), (Some("full"), 3));
    }
}

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

use crate::exchange::{Broken, Piece, Place, Splitter};

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

/// Records as they are in the file, each behind the one before it.
pub(super) struct Raw {
    bytes: Vec<u8>,
    cuts: Vec<Cut>,
    /// Records before the first.
    before: u64,
    /// What [`Raw::forget_bytes`] emptied.
    spare: Option<Vec<u8>>,
}

/// Where a record ends in [`Raw::bytes`].
struct Cut {
    end: usize,
    line: u64,
    /// Not so for one over the limit.
    is_there: bool,
}

/// One record of several.
pub(super) struct Record<'a> {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Its line, from 1.
    pub(super) line: u64,
    /// Its bytes; none for one over the limit, or after [`Raw::forget_bytes`].
    pub(super) bytes: Option<&'a [u8]>,
}

impl Raw {
    fn new(bytes: Vec<u8>, size: ChunkSize, before: u64) -> Self {
        Self { bytes, cuts: Vec::with_capacity(size.records), before, spare: None }
    }

    fn push(&mut self, piece: &Piece<'_>) {
        self.bytes.extend_from_slice(piece.bytes.unwrap_or_default());
        self.cuts.push(Cut { end: self.bytes.len(), line: piece.line, is_there: piece.bytes.is_some() });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.cuts.len()
    }

    /// How long they are together, in bytes.
    pub(super) fn size(&self) -> usize {
        self.cuts.last().map_or(0, |cut| cut.end)
    }

    /// In order.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut begin = 0;
        (self.before + 1..).zip(&self.cuts).map(move |(number, cut)| {
            let bytes = self.bytes.get(begin..cut.end).filter(|_| cut.is_there);
            begin = cut.end;
            Record { number, line: cut.line, bytes }
        })
    }

    /// Lets the bytes go, where nobody will want them.
    pub(super) fn forget_bytes(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.spare = Some(bytes);
        self.cuts.iter_mut().for_each(|cut| cut.is_there = false);
    }
}

/// About as long are most records.
const USUAL_BYTES: usize = 400;

/// Records in a row, and what the work made of them.
pub(super) struct Chunk<T> {
    /// Where the first begins, and what was before it.
    pub(super) start: Mark,
    pub(super) raw: Raw,
    pub(super) made: T,
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

/// How reading ended.
pub(super) struct ReadThrough {
    /// Behind the last record.
    pub(super) end: Mark,
    /// Why the file could not be read on; none at its end.
    pub(super) broken: Option<Broken>,
}

/// Reads a stream to its end, or to where it cannot be read on, or until `sink` fails. A chunk ends behind the record of the number
/// `boundary`, counted from where the stream goes on, if that is not 0. Each thread makes a `worker` of its own.
pub(super) fn run<R: Read + Send, T: Send, W: FnMut(&mut Raw) -> T, E>(
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
    // Buffers go back and forth: memory that is new to the process costs more than what is read into it.
    let (give_back, spares) = sync_channel::<Vec<u8>>(under_way);
    let jobs = Mutex::new(jobs);
    thread::scope(|scope| {
        let reader = scope.spawn(move || cut(splitter, size, boundary, &to_workers, &permits, &spares));
        let (jobs, worker) = (&jobs, &worker);
        for _ in 0..workers.get() {
            let (to_sink, give_back) = (to_sink.clone(), give_back.clone());
            scope.spawn(move || {
                let mut work = worker();
                while let Some((number, chunk)) = next(jobs) {
                    let mut chunk = worked(chunk, &mut work);
                    if let Some(spare) = chunk.raw.spare.take() {
                        let _enough_already = give_back.try_send(spare);
                    }
                    if to_sink.send((number, chunk)).is_err() {
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
    spares: &Receiver<Vec<u8>>,
) -> ReadThrough {
    let mut number = 0;
    let first = splitter.place().records;
    loop {
        let start = mark(&splitter);
        let buffer = spares.try_recv().unwrap_or_else(|_none| Vec::with_capacity(size.records * USUAL_BYTES));
        let mut raw = Raw::new(buffer, size, start.place.records);
        let mut ended = None;
        while raw.len() < size.records && raw.size() < size.bytes {
            if raw.len() > 0 && splitter.place().records == first + boundary {
                break;
            }
            match splitter.next_piece() {
                Ok(Some(piece)) => raw.push(&piece),
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
        let handed_on = raw.len() == 0
            || (permits.recv().is_ok() && to_workers.send((number, Chunk { start, raw, made: () })).is_ok());
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

fn worked<T>(chunk: Chunk<()>, work: &mut impl FnMut(&mut Raw) -> T) -> Chunk<T> {
    let Chunk { start, mut raw, made: () } = chunk;
    let made = work(&mut raw);
    Chunk { start, raw, made }
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
        let text = |record: Record<'_>| String::from_utf8_lossy(record.bytes.unwrap_or_default()).into_owned();
        let worker = || |raw: &mut Raw| raw.records().map(text).collect::<Vec<_>>();
        let read = run(splitter, SIZE, 0, WORKERS, worker, |chunk| {
            assert_eq!(chunk.start.place.records, seen.len() as u64);
            assert!(chunk.raw.records().zip(seen.len() as u64 + 1..).all(|(record, line)| record.line == line));
            seen.extend(chunk.made);
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
            || |_: &mut Raw| (),
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
            || |_: &mut Raw| (),
            |chunk| {
                count += chunk.raw.len();
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
            || |_: &mut Raw| (),
            |_| {
                chunks += 1;
                if chunks == 3 { Err("full") } else { Ok(()) }
            },
        );
        assert_eq!((read.err(), chunks), (Some("full"), 3));
    }
}

//! An import under way: batches are read ahead on threads of their own, taken one after the other, and what became of each row is
//! written down. Decides nothing about a row. Called by [`super::Import`], once it is clear what goes where.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;

use super::super::failure::{Ended, Failure};
use super::super::progress::Progress;
use super::super::terminal::Terminal;
use super::super::text;
use super::batch::{BATCHES, Batch, Ends, Token, Work};
use super::destination::{Destination, NotTaken};
use super::journal::{Journal, JournalError, Outcome, State};
use super::pipeline::{self, Chunk, Mark, Raw, ReadThrough};
use super::source::{Records, Source, Unreadable};
use super::{Import, Plan, Stopped};
use crate::domain::import::Imported;
use crate::domain::user::UserId;
use crate::service::ports::Checkpoint;

/// An import under way.
pub(super) struct Going<'a> {
    pub(super) import: &'a Import,
    pub(super) plan: &'a Plan,
    pub(super) destination: &'a Destination,
    pub(super) journal: Journal,
    /// Whom the file named, where that is asked.
    pub(super) present: Vec<UserId>,
}

impl Going<'_> {
    /// Takes what is left of the file, and says what became of it.
    pub(super) async fn go(
        &mut self,
        source: Source,
        state: Option<State>,
        results: Vec<Imported>,
        terminal: &mut Terminal,
    ) -> Ended {
        let mark = match &state {
            None => None,
            Some(state) => Some(state.mark().ok_or_else(|| Failure::stopped(Stopped::BadCheckpoint))?),
        };
        if let Some(mark) = mark {
            let (row, line) = (text::count(mark.place.records + 1), text::count(mark.place.line));
            terminal.remark(format!("going on where it was interrupted: at row {row}, line {line}"))?;
        }
        let (name, length) = (source.name(), source.length);
        let from = mark.map(|mark| (mark.place, mark.fingerprint));
        let records = source.records(self.plan.recognised, from).map_err(Failure::stopped)?;
        let done = mark.map_or(0, |mark| mark.place.byte);
        let mut progress = Progress::begin(terminal, "rows", length, done, self.journal.counts.total());
        let repeated = state.map(|state| (state.rows, results));
        let ended = self.take_all(records, repeated, &mut progress, terminal).await;
        progress.end();
        let (read, rejects) = ended.map_err(|stopped| match stopped {
            // It holds for the whole file: nothing of it was taken yet, unless it begins with users who have no hash.
            Stopped::Setting(fault) if self.journal.counts.total() == 0 => Failure::Usage(fault.to_string()),
            Stopped::NotTaken(NotTaken::Store(cause)) if self.import.taking.dry_run => {
                Failure::stopped(NotTaken::View(cause))
            }
            other => Failure::stopped(other),
        })?;
        let format = self.plan.recognised.format;
        if let Some(cause) = read.broken {
            self.import
                .summed_up(&self.journal.counts, self.journal.first_reasons(), rejects, format, terminal)
                .or_else(|_rejected| Ok::<_, Failure>(()))?;
            let broken = Unreadable::Broken { path: name, cause };
            return Err(if self.import.taking.dry_run {
                broken.into()
            } else {
                Failure::stopped(Stopped::Broken(broken))
            });
        }
        if let Some(rate) = progress.rate(self.journal.counts.total()) {
            let style = terminal.remark_style();
            terminal.remark(style.faint(format!("{} rows a second", text::count(rate))))?;
        }
        self.import.summed_up(&self.journal.counts, self.journal.first_reasons(), rejects, format, terminal)
    }

    /// Takes everything that is left of the file; gives where rejected rows are, if there are any.
    async fn take_all(
        &mut self,
        records: Records,
        repeated: Option<(u64, Vec<Imported>)>,
        progress: &mut Progress,
        terminal: &mut Terminal,
    ) -> Result<(ReadThrough, Option<PathBuf>), Stopped> {
        // The rows of the last batch come first; they are taken already, and are only written down.
        let (repeated, results) = repeated.unwrap_or_default();
        let mut results = results.into_iter();
        let (mut batches, reader) = self.read(records, repeated)?;
        let mut rows = 0;
        while let Some(batch) = batches.recv().await {
            let at = batch.start.place.byte;
            rows += batch.rows as u64;
            if rows <= repeated {
                for Chunk { raw, made, .. } in batch.chunks {
                    self.write_down(&raw, made.ends, &mut results).ok_or(Stopped::BadCheckpoint)??;
                }
                // Were rows read otherwise now than they were then, each result would be another row's.
                if rows == repeated && results.next().is_some() {
                    return Err(Stopped::BadCheckpoint);
                }
            } else {
                self.take(batch).await?;
            }
            progress.at(terminal, at, self.journal.counts.total())?;
        }
        let read = reader.join().map_err(|_panicked| Stopped::Reader)?;
        // Before it is said that all is done: nobody would come back to end the file.
        let rejects = self.journal.finish()?;
        if read.broken.is_none() && !self.import.taking.dry_run {
            let state = State::new(read.end, 0, &self.journal, true);
            let checkpoint = Checkpoint { key: self.plan.key, state: state.encode() };
            self.destination.take(Vec::new(), self.plan.on_conflict, Some(checkpoint)).await?;
        }
        Ok((read, rejects))
    }

    /// Starts to read: batches come in order, one ahead of the one that is being taken, and one of them ends behind the rows that are
    /// repeated.
    fn read(
        &self,
        records: Records,
        repeated: u64,
    ) -> Result<(mpsc::Receiver<Batch>, JoinHandle<ReadThrough>), Stopped> {
        let rows = self.import.taking.batch.and_then(|rows| usize::try_from(rows).ok());
        let measure = self.destination.measure(rows, self.import.taking.rejects.is_some());
        let (preparing, takes, hashes) = (self.destination.preparing(), self.plan.takes, self.plan.hashes.clone());
        let (context, format) = (Arc::clone(&self.plan.context), self.plan.recognised.format);
        let keeps_bytes = self.import.taking.rejects.is_some();
        let (to_taker, batches) = mpsc::channel(1);
        let reader = thread::Builder::new().name("import-read".to_owned()).spawn(move || {
            let worker = || {
                let (hashes, preparer) = (hashes.worker(), preparing.preparer());
                let mut work = Work { format, context: Arc::clone(&context), takes, hashes, preparer, keeps_bytes };
                move |raw: &mut Raw| work.on(raw)
            };
            let workers = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
            let mut batch: Option<Batch> = None;
            let (give_back, tokens) = std::sync::mpsc::sync_channel(BATCHES);
            (0..BATCHES).for_each(|_| drop(Token(give_back.clone())));
            let mut rows = 0;
            let send = |batch: &mut Option<Batch>| match batch.take() {
                Some(batch) => to_taker.blocking_send(batch).map_err(drop),
                None => Ok(()),
            };
            let read = pipeline::run(records, measure.chunk, repeated, workers, worker, |chunk| {
                rows += chunk.raw.len() as u64;
                if batch.as_ref().is_some_and(|batch| !batch.has_room_for(&chunk, measure)) {
                    send(&mut batch)?;
                }
                match &mut batch {
                    Some(batch) => batch.add(chunk),
                    None => {
                        // The sender is in scope here: somebody will give one back.
                        let _given = tokens.recv();
                        batch = Some(Batch::of(chunk, Token(give_back.clone())));
                    }
                }
                if rows == repeated { send(&mut batch) } else { Ok(()) }
            });
            // Nobody takes any more: whoever did knows why.
            let nothing = ReadThrough { end: Mark::NOWHERE, broken: None };
            read.and_then(|read| send(&mut batch).map(|()| read)).unwrap_or(nothing)
        });
        Ok((batches, reader?))
    }

    /// Takes one batch, and writes down what became of its rows.
    async fn take(&mut self, batch: Batch) -> Result<(), Stopped> {
        let mut rows = Vec::with_capacity(batch.chunks.len());
        let mut ends = Vec::with_capacity(batch.chunks.len());
        for Chunk { raw, mut made, .. } in batch.chunks {
            if let Some(at) = made.ends.faults.iter().position(|(_, fault)| fault.is_of_a_setting()) {
                return Err(Stopped::Setting(made.ends.faults.swap_remove(at).1));
            }
            rows.push(made.rows);
            ends.push((raw, made.ends));
        }
        self.journal.sync()?;
        let state = State::new(batch.start, batch.rows as u64, &self.journal, false);
        let checkpoint = Checkpoint { key: self.plan.key, state: state.encode() };
        let checkpoint = (!self.import.taking.dry_run).then_some(checkpoint);
        let results = self.destination.take(rows, self.plan.on_conflict, checkpoint).await?;
        drop(batch.token);
        if self.import.list.is_some_and(|list| list.missing.is_some()) {
            self.present.extend(results.iter().filter_map(Imported::user));
        }
        let mut results = results.into_iter();
        for (raw, ends) in ends {
            self.write_down(&raw, ends, &mut results).ok_or(NotTaken::Foreign)??;
        }
        Ok(())
    }

    /// Writes down what became of some records. None if there are fewer results than rows that were taken.
    fn write_down(
        &mut self,
        raw: &Raw,
        ends: Ends,
        results: &mut impl Iterator<Item = Imported>,
    ) -> Option<Result<(), JournalError>> {
        let (mut faults, mut notes) = (ends.faults.into_iter().peekable(), ends.notes.into_iter().peekable());
        let mut without_password = ends.without_password.into_iter().peekable();
        for (index, row) in raw.records().enumerate() {
            let outcome = match faults.next_if(|(at, _)| *at == index) {
                None => {
                    let noted = notes.next_if(|(at, _)| *at == index).map(|(_, noted)| noted);
                    Outcome::Store(results.next()?, noted.unwrap_or_default())
                }
                Some((_, fault)) => Outcome::Unreadable(fault),
            };
            if without_password.next_if_eq(&index).is_some()
                && matches!(outcome, Outcome::Store(Imported::Created(_), _))
            {
                self.journal.counts.without_password += 1;
            }
            if let Err(error) = self.journal.row(&row, &outcome) {
                return Some(Err(error));
            }
        }
        Some(Ok(()))
    }
}

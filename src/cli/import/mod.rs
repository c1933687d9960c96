//! `authferry import`: brings users over from a file, those who never log in included.
//!
//! ```text
//! source       the file and what it is           pipeline     records on several threads, in order
//! batch        the work on them, and how many go into one commit
//! destination  the store, or the running proxy   journal      rejects, results, and where to go on
//! hashes       looked at, dropped, wrapped       verify       known passwords first
//! list         `roster import`: the same for a list of users      missing   who is on no list any more
//! said         what the file was taken for, and what is kept of it
//! memory       how much of it there is for an import
//! ```
//!
//! One batch is one durable commit, and the place in the file is part of it: killed at any point and run again, the command goes on
//! where it was, and each row is taken once.

mod batch;
mod destination;
mod hashes;
mod journal;
mod list;
mod memory;
mod missing;
mod pipeline;
mod said;
mod source;
mod verify;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;

use self::batch::{BATCHES, Batch, Ends, Token, Work};
use self::destination::{Destination, NotTaken};
use self::hashes::Hashes;
use self::journal::{Counts, Journal, JournalError, Noted, Outcome, State, reasons_beside};
use self::list::List;
use self::memory::Room;
use self::pipeline::{Chunk, Mark, Raw, ReadThrough, Record};
use self::said::{say_what_is_taken, say_what_it_is};
pub(super) use self::source::settings;
use self::source::{Reading, Records, Source, Unreadable};
use super::failure::{Ended, Failure};
use super::operator::{Found, Operator, block_on, say_opened, unopened};
use super::options::Reach;
use super::progress::Progress;
use super::terminal::Terminal;
use super::text;
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock, UnixSeconds};
use crate::domain::identifier::IdentifierRules;
use crate::domain::import::{Imported, OnConflict};
use crate::domain::password::PasswordNormalization;
use crate::domain::user::UserId;
use crate::exchange::{Context, DROP_UNUSABLE_HASHES, Format, Recognised, RowFault};
use crate::password::formats::Terms;
use crate::password::{PasswordSettings, Peppers};
use crate::service::ports::{Checkpoint, ImportKey, SavedCheckpoint};
use crate::store::{self, StoreSettings};
use crate::telemetry::Metrics;

pub(super) use self::list::ImportList;

/// Bring users over from a file
#[derive(clap::Args)]
pub(super) struct Import {
    /// The file; `-` for standard input
    file: PathBuf,
    #[command(flatten)]
    reading: Reading,
    /// What becomes of rows whose user is here already
    #[arg(long, value_name = "POLICY", default_value = "skip", value_parser = ["skip", "merge", "replace"])]
    on_conflict: String,
    /// Say what would happen, and write nothing to the store
    #[arg(long)]
    dry_run: bool,
    /// Where rejected rows go, to be mended and imported; why each was rejected goes beside it
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Where the result of every row goes, as JSON lines
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Known logins that must verify first: a line each, the name, a tab, the password
    #[arg(long, value_name = "FILE", requires = "at_least")]
    verify_credentials: Option<PathBuf>,
    /// How many of them must verify
    #[arg(long, value_name = "N", requires = "verify_credentials")]
    at_least: Option<usize>,
    /// Take users whose hash cannot be used without it, rather than reject them: legacy is asked at their first login
    #[arg(long)]
    drop_bad_hashes: bool,
    /// Wrap weak hashes in Argon2id, so that they never rest in the store: `full` costs 16 ms a row, `quick` a tenth
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "full", value_parser = ["full", "quick"])]
    wrap_weak: Option<String>,
    /// Rows in one commit [default: as many as a quarter of the free memory holds, 50000 to 1000000; 500 while the proxy runs, and never
    /// more then]
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: Option<u32>,
    /// Begin anew, though an import of this file was interrupted or done
    #[arg(long)]
    restart: bool,
    /// Another store than the configuration's, for a dry run: a backup
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    store: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
    /// What it does otherwise for a list of users.
    #[arg(skip)]
    list: Option<List>,
}

/// Why an import could not go on.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error(
        "the file's rows were read up to its trouble and imported; mend it and run the same command with --restart, known users are left alone"
    )]
    Broken(#[source] Unreadable),
    #[error("what the store kept of this import cannot be used; start over with --restart")]
    BadCheckpoint,
    #[error("{} begins like what was imported already, and is something else; --restart imports it", .0.display())]
    BeginsAlike(PathBuf),
    #[error(transparent)]
    Setting(RowFault),
    #[error("the threads that read the file have stopped")]
    Reader,
    #[error("the output cannot be written")]
    Output(#[from] std::io::Error),
}

/// What does not end well, but is no failure of ours.
#[derive(Debug, thiserror::Error)]
#[error("{count} of the rows {} rejected", if *count == 1 { "was" } else { "were" })]
struct SomeRejected {
    count: u64,
}

/// What the configuration says of names and passwords.
#[derive(Default)]
struct Configured {
    rules: IdentifierRules,
    normalization: PasswordNormalization,
    /// What hashes are read under.
    terms: Terms,
    peppers: Peppers,
}

impl Configured {
    fn of(config: &Config) -> Self {
        let PasswordSettings { normalization, peppers, .. } = &config.password;
        let (normalization, peppers) = (*normalization, peppers.clone());
        Self { rules: config.identity, normalization, terms: config.password.terms(), peppers }
    }
}

/// Everything that is decided before the first row.
struct Plan {
    recognised: Recognised,
    terms: Terms,
    context: Arc<Context>,
    header: Vec<u8>,
    key: ImportKey,
    on_conflict: OnConflict,
    takes: Takes,
    hashes: Hashes,
}

/// What is taken from a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// The whole user.
    Users,
    /// What a list tells.
    Listed,
}

impl Import {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        block_on(self.run(terminal))
    }

    fn on_conflict(&self) -> OnConflict {
        if self.list.is_some() {
            return OnConflict::List;
        }
        match self.on_conflict.as_str() {
            "merge" => OnConflict::Merge,
            "replace" => OnConflict::Replace,
            _ => OnConflict::Skip,
        }
    }

    async fn run(&self, terminal: &mut Terminal) -> Ended {
        let source = Source::open(&self.file)?;
        let recognised = source.recognise(&self.reading)?;
        say_what_it_is(&source, recognised, self.reading.format(), terminal)?;
        // What is said wrongly is found before a store is opened, or made.
        let plan = self.plan(&source, recognised, Configured::default())?;
        say_what_is_taken(&source, &plan, terminal)?;
        let (destination, configured) = self.destination(terminal).await?;
        let plan = self.plan(&source, recognised, configured)?;
        if let (Some(known), Some(at_least)) = (&self.verify_credentials, self.at_least) {
            verify::demand(known, at_least, &self.file, destination.rules(), &plan, terminal)?;
        }
        let saved = if self.restart || self.dry_run { None } else { destination.checkpoint(plan.key).await? };
        let (source, saved) = match saved {
            None => (source, None),
            Some(saved) => match self.unless_finished(source, recognised, saved)? {
                Before::GoesOn(source, saved) => (source, saved),
                Before::Finished(state, at) => {
                    let at = text::time(time_of(at.0));
                    terminal.remark(format!(
                        "this file was imported already, until {at} UTC; --restart imports it again"
                    ))?;
                    let rejects = self.rejects.clone().filter(|path| path.exists());
                    return self.summed_up(&state.counts, &[], rejects, recognised.format, terminal);
                }
            },
        };
        let (journal, state) = self.journal(&plan, saved.as_ref())?;
        if self.rejects.is_some() && state.as_ref().is_some_and(State::kept_no_rejects) {
            terminal.remark("rows that were rejected before the interruption are not kept: --rejects is new")?;
        }
        self.say_what_is_not_kept_on(state.as_ref(), terminal)?;
        let results = saved.map(|saved: SavedCheckpoint| saved.results).unwrap_or_default();
        let mut going = Going { import: self, plan: &plan, destination: &destination, journal, present: Vec::new() };
        let taken = going.go(source, state, results, terminal).await;
        match (self.list.and_then(|list| list.missing), taken) {
            (Some(what), Ok(())) => missing::look(&destination, going.present, what, terminal).await,
            (Some(_), Err(failure)) => {
                // A user whose row was rejected is in the list all the same.
                terminal.remark(
                    "not all of the list was taken: nobody is taken for missing. Mend it and import it whole",
                )?;
                Err(failure)
            }
            (None, taken) => taken,
        }
    }

    /// Whether an import that is known by the beginning of this file came to the end of the very same. What only begins alike - next
    /// month's export, a file that had been cut short - is another file, and is imported.
    fn unless_finished(
        &self,
        source: Source,
        recognised: Recognised,
        saved: SavedCheckpoint,
    ) -> Result<Before, Failure> {
        let bad = || Failure::stopped(Stopped::BadCheckpoint);
        let state = State::decode(&saved.state).ok_or_else(bad)?;
        if !state.done {
            return Ok(Before::GoesOn(source, Some(saved)));
        }
        // A list takes no harm from being read again.
        if self.list.is_some() {
            return Ok(Before::GoesOn(source, None));
        }
        let end = state.mark().ok_or_else(bad)?;
        if source.length.is_some() {
            let same = Source::open(&self.file).and_then(|again| again.was_read_to(recognised, end));
            return match same.map_err(Failure::stopped)? {
                true => Ok(Before::Finished(state, saved.at)),
                false => Ok(Before::GoesOn(source, None)),
            };
        }
        // What comes through a pipe can be looked at only once.
        let name = source.name();
        match source.was_read_to(recognised, end).map_err(Failure::stopped)? {
            true => Ok(Before::Finished(state, saved.at)),
            false => Err(Failure::stopped(Stopped::BeginsAlike(name))),
        }
    }

    /// Where the rows go, and what the configuration says of passwords.
    async fn destination(&self, terminal: &mut Terminal) -> Result<(Destination, Configured), Failure> {
        if self.dry_run && self.reach.admin.is_none() {
            let config = self.reach.config.load()?;
            return self.scratch(config, terminal);
        }
        if self.dry_run {
            return Err(Failure::Usage(
                "a dry run looks at a store, not at --admin; give a backup with --store".to_owned(),
            ));
        }
        match Operator::find(&self.reach, terminal).await? {
            Found::Proxy(operator) => {
                // Where its token is from, the keys of the hashes are as well; of a proxy elsewhere they are not known here.
                let configured = match (&self.reach.admin, &self.reach.token_file) {
                    (Some(_), Some(_)) => Configured::default(),
                    (Some(_), None) | (None, _) => Configured::of(&self.reach.config.load()?),
                };
                let terms = operator.import_terms(ImportKey([0; 32])).await.map_err(Failure::stopped)?;
                let rules = terms.rules();
                let configured = Configured { rules, normalization: terms.normalize, ..configured };
                Ok((Destination::Proxy { rules, operator }, configured))
            }
            Found::NoProxy(config) => {
                let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new()));
                let settings = StoreSettings {
                    cache_bytes: config.store.cache_bytes.max(Room::here().cache_bytes),
                    ..config.store.clone()
                };
                let store = store::open(&settings, metrics, clock as Arc<dyn Clock>)
                    .map_err(|error| Failure::stopped(unopened(error, config.admin.bind)))?;
                say_opened(&config.store.path, terminal)?;
                Ok((Destination::Store { store, rules: config.identity }, Configured::of(&config)))
            }
        }
    }

    /// A view of the store, for a dry run.
    fn scratch(&self, config: Config, terminal: &mut Terminal) -> Result<(Destination, Configured), Failure> {
        let settings = match &self.store {
            Some(path) => StoreSettings { path: path.clone(), ..config.store.clone() },
            None => config.store.clone(),
        };
        if self.store.is_some() && !settings.path.exists() {
            return Err(Failure::Usage(format!("there is no store at {}", settings.path.display())));
        }
        let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new()));
        let store = store::open_scratch(&settings, metrics, clock as Arc<dyn Clock>).map_err(|error| match error {
            store::OpenError::Locked(path) => Failure::Usage(format!(
                "the store {} is in use by another process, a proxy or a command; a dry run needs it for itself: make a backup with `authferry store backup`, \
                 and name it with --store", path.display()
            )),
            other => Failure::stopped(other),
        })?;
        let style = terminal.remark_style();
        terminal
            .remark(style.faint(format!("dry run on a view of {}: nothing is written", settings.path.display())))?;
        Ok((Destination::Store { store, rules: config.identity }, Configured::of(&config)))
    }

    fn plan(&self, source: &Source, recognised: Recognised, configured: Configured) -> Result<Plan, Failure> {
        let Configured { rules, normalization, terms, peppers } = configured;
        let normalization = self.reading.normalization().unwrap_or(normalization);
        let header = source.header(recognised).map_err(Failure::stopped)?;
        let mut context = self.reading.context(recognised, &header, normalization, &source.name())?;
        if self.list.is_some() {
            context.mapping = std::mem::take(&mut context.mapping).of_list();
        }
        if self.drop_bad_hashes {
            context.settings.add(DROP_UNUSABLE_HASHES);
        }
        let on_conflict = self.on_conflict();
        let more = format!("{} {:?} {rules:?}", self.drop_bad_hashes, self.wrap_weak);
        let told = self.reading.told(normalization, on_conflict, &more);
        let framing = format!("{:?}", recognised.framing);
        let key = source.key(&[recognised.format.name.as_bytes(), framing.as_bytes(), told.as_bytes()]);
        let takes = if self.list.is_some() { Takes::Listed } else { Takes::Users };
        let hashes = Hashes::new(self.drop_bad_hashes, self.wrap_weak.as_deref(), terms.clone(), peppers);
        let hashes = hashes.map_err(Failure::of)?;
        Ok(Plan { recognised, terms, context: Arc::new(context), header, key, on_conflict, takes, hashes })
    }

    /// The files beside the import, and where it stands, if it goes on.
    fn journal(&self, plan: &Plan, saved: Option<&SavedCheckpoint>) -> Result<(Journal, Option<State>), Failure> {
        let (rejects, results) = (self.rejects.as_deref(), self.results.as_deref());
        let framing = plan.recognised.framing;
        let Some(saved) = saved else {
            let journal = Journal::begin(rejects, results, framing, &plan.header);
            let journal = journal.map_err(|error| match error {
                JournalError::Exists(_) if !self.restart && !self.dry_run => Failure::Usage(format!(
                    "{error}. If an import was interrupted that wrote it: this is another one, for the file's beginning or the options \
                     are not what they were then"
                )),
                JournalError::Exists(_) | JournalError::Same(_) | JournalError::Cut(_) | JournalError::Io { .. } => {
                    Failure::Usage(error.to_string())
                }
            });
            return Ok((journal?, None));
        };
        let state = State::decode(&saved.state).ok_or_else(|| Failure::stopped(Stopped::BadCheckpoint))?;
        let journal = Journal::go_on(rejects, results, framing, &plan.header, &state).map_err(|error| match error {
            JournalError::Exists(_) | JournalError::Same(_) => Failure::Usage(error.to_string()),
            JournalError::Cut(_) | JournalError::Io { .. } => Failure::stopped(error),
        });
        Ok((journal?, Some(state)))
    }

    /// Says what became of all rows; a failure if some were rejected. `rejects` is where they are, if they were kept.
    fn summed_up(
        &self,
        counts: &Counts,
        first_reasons: &[String],
        rejects: Option<PathBuf>,
        format: &Format,
        terminal: &mut Terminal,
    ) -> Ended {
        let rows = [
            ("created", counts.created, "new users"),
            ("updated", counts.updated, "known users, brought up to date"),
            ("exists", counts.exists, "known users, left alone"),
            ("unchanged", counts.unchanged, "known users who lack nothing of it"),
            ("rejected", counts.rejected, "nothing was written"),
            ("total", counts.total(), ""),
        ];
        let shown =
            rows.into_iter().filter(|(word, count, _)| *count > 0 || matches!(*word, "created" | "rejected" | "total"));
        let rows = shown.map(|(word, count, told)| [word.to_owned(), text::count(count), told.to_owned()]);
        terminal.line(text::table(["RESULT", "ROWS", ""], rows))?;
        if counts.without_password > 0 {
            let count = text::count(counts.without_password);
            terminal
                .remark(format!("{count} of the created without a password: legacy is asked at their first login"))?;
        }
        self.say_notes(counts, terminal)?;
        if counts.rejected == 0 {
            return Ok(());
        }
        for reason in first_reasons {
            terminal.remark(reason)?;
        }
        if !first_reasons.is_empty() && counts.rejected > first_reasons.len() as u64 {
            terminal.remark(format!("and {} more", text::count(counts.rejected - first_reasons.len() as u64)))?;
        }
        match (rejects, &self.rejects) {
            (Some(path), _) => terminal.remark(format!(
                "rejected rows are in {0}, and why in {0}.reasons.jsonl; mend them and import that file with --format {1} and what \
                 else was said of this one",
                path.display(),
                format.name
            ))?,
            (None, Some(path)) if reasons_beside(path).exists() => {
                terminal.remark(format!("why rows were rejected is in {}", reasons_beside(path).display()))?;
            }
            (None, Some(_)) => terminal.remark("the rejected rows were not kept then; --restart reads them again")?,
            (None, None) => terminal.remark("with --rejects FILE rejected rows are kept, to be mended")?,
        }
        Err(Failure::of(SomeRejected { count: counts.rejected }))
    }
}

/// What the store knows of an import of a file that begins like this one.
enum Before {
    /// Nothing that matters, or where it was interrupted.
    GoesOn(Source, Option<SavedCheckpoint>),
    /// The very same was imported to its end, then.
    Finished(State, UnixSeconds),
}

impl Import {
    /// Says of how many users there is something to know that their records do not carry on.
    fn say_notes(&self, counts: &Counts, terminal: &mut Terminal) -> std::io::Result<()> {
        let Noted { second_factor, pending_action, left_with_legacy, dropped } = counts.noted;
        for (count, told) in [
            (second_factor, "with a second factor there: nobody asks for it here"),
            (pending_action, "with something still to be done there"),
            (left_with_legacy, "without their hash, so that legacy goes on asking for more than a password"),
            (dropped, "without their hash, which cannot be used"),
        ] {
            if count > 0 {
                terminal.remark(format!("{} {told}", text::counted(count, "user")))?;
            }
        }
        match (counts.noted == Noted::default(), &self.results) {
            (true, _) => Ok(()),
            (false, Some(path)) => terminal.remark(format!("who, is in {} under `notes`", path.display())),
            (false, None) => terminal.remark("who, --results FILE says, under `notes`"),
        }
    }
}

fn time_of(seconds: u64) -> jiff::Timestamp {
    i64::try_from(seconds)
        .ok()
        .and_then(|at| jiff::Timestamp::from_second(at).ok())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// An import under way.
struct Going<'a> {
    import: &'a Import,
    plan: &'a Plan,
    destination: &'a Destination,
    journal: Journal,
    /// Whom the file named, where that is asked.
    present: Vec<UserId>,
}

impl Going<'_> {
    async fn go(
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
            Stopped::NotTaken(NotTaken::Store(cause)) if self.import.dry_run => Failure::stopped(NotTaken::View(cause)),
            other => Failure::stopped(other),
        })?;
        let format = self.plan.recognised.format;
        if let Some(cause) = read.broken {
            self.import
                .summed_up(&self.journal.counts, self.journal.first_reasons(), rejects, format, terminal)
                .or_else(|_rejected| Ok::<_, Failure>(()))?;
            let broken = Unreadable::Broken { path: name, cause };
            return Err(if self.import.dry_run { broken.into() } else { Failure::stopped(Stopped::Broken(broken)) });
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
        if read.broken.is_none() && !self.import.dry_run {
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
        let rows = self.import.batch.and_then(|rows| usize::try_from(rows).ok());
        let measure = self.destination.measure(rows, self.import.rejects.is_some());
        let (preparing, takes, hashes) = (self.destination.preparing(), self.plan.takes, self.plan.hashes.clone());
        let (context, format) = (Arc::clone(&self.plan.context), self.plan.recognised.format);
        let keeps_bytes = self.import.rejects.is_some();
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
        let checkpoint = (!self.import.dry_run).then_some(checkpoint);
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
        for (index, Record { number, line, bytes }) in raw.records().enumerate() {
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
            if let Err(error) = self.journal.row(number, line, bytes, &outcome) {
                return Some(Err(error));
            }
        }
        Some(Ok(()))
    }
}

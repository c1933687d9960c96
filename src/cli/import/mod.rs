//! `authferry import`: brings users over from a file, those who never log in included.
//!
//! ```text
//! source       the file and what it is           pipeline     records on several threads, in order
//! batch        the work on them, and how many go into one commit
//! destination  the store, or the running proxy   journal      rejects, results, and where to go on
//! hashes       looked at, dropped, wrapped       verify       known passwords first
//! going        one batch after the other         summary      what became of all rows
//! list         `roster import`: the same for a list of users      missing   who is on no list any more
//! said         what the file was taken for, and what is kept of it
//! memory       how much of it there is for an import
//! ```
//!
//! One batch is one durable commit, and the place in the file is part of it: killed at any point and run again, the command goes on
//! where it was, and each row is taken once.

mod batch;
mod destination;
mod going;
mod hashes;
mod journal;
mod list;
mod memory;
mod missing;
mod pipeline;
mod said;
mod source;
mod summary;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use self::destination::{Destination, NotTaken};
use self::going::Going;
use self::hashes::Hashes;
use self::journal::{Beside, Journal, JournalError, State};
use self::list::List;
use self::memory::Room;
use self::said::{say_what_is_taken, say_what_it_is};
pub(super) use self::source::settings;
use self::source::{Reading, Source, Unreadable};
use super::failure::{Ended, Failure};
use super::operator::{Found, Operator, block_on, say_opened, unopened};
use super::options::Reach;
use super::terminal::Terminal;
use super::text;
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock, UnixSeconds};
use crate::domain::identifier::IdentifierRules;
use crate::domain::import::OnConflict;
use crate::domain::password::PasswordNormalization;
use crate::exchange::{Context, DROP_UNUSABLE_HASHES, Recognised, RowFault};
use crate::password::formats::Terms;
use crate::password::{PasswordSettings, Peppers};
use crate::service::ports::{ImportKey, SavedCheckpoint};
use crate::store::{self, StoreSettings};
use crate::telemetry::Metrics;

pub(super) use self::list::ImportList;

/// What is read, where its rows go, and what is kept of them: of users and of lists alike.
#[derive(Clone, clap::Args)]
struct Taking {
    /// The file; `-` for standard input
    file: PathBuf,
    #[command(flatten)]
    reading: Reading,
    /// Say what would happen, and write nothing to the store
    #[arg(long)]
    dry_run: bool,
    /// Where rejected rows go, to be mended and imported; why each was rejected goes beside it
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Where the result of every row goes, as JSON lines
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Rows in one commit [default: as many as a quarter of the free memory holds, 50000 to 2000000; 500 while the proxy runs, and never
    /// more then]
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    batch: Option<u32>,
    /// Begin anew, though an import of this file was interrupted or done
    #[arg(long)]
    restart: bool,
    /// Another store than the configuration's, for a dry run: a backup
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    store: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

/// Bring users over from a file
#[derive(clap::Args)]
pub(super) struct Import {
    #[command(flatten)]
    taking: Taking,
    /// What becomes of rows whose user is here already
    #[arg(long, value_name = "POLICY", default_value = "skip", value_parser = ["skip", "merge", "replace"])]
    on_conflict: String,
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
        let source = Source::open(&self.taking.file)?;
        let recognised = source.recognise(&self.taking.reading)?;
        say_what_it_is(&source, recognised, self.taking.reading.format(), terminal)?;
        // What is said wrongly is found before a store is opened, or made.
        let plan = self.plan(&source, recognised, Configured::default())?;
        say_what_is_taken(&source, &plan, terminal)?;
        let (destination, configured) = self.destination(terminal).await?;
        let plan = self.plan(&source, recognised, configured)?;
        if let (Some(known), Some(at_least)) = (&self.verify_credentials, self.at_least) {
            verify::demand(known, at_least, &self.taking.file, destination.rules(), &plan, terminal)?;
        }
        let saved =
            if self.taking.restart || self.taking.dry_run { None } else { destination.checkpoint(plan.key).await? };
        let (source, saved) = match saved {
            None => (source, None),
            Some(saved) => match self.unless_finished(source, recognised, saved)? {
                Before::GoesOn(source, saved) => (source, saved),
                Before::Finished(state, at) => {
                    let at = text::time(time_of(at.0));
                    terminal.remark(format!(
                        "this file was imported already, until {at} UTC; --restart imports it again"
                    ))?;
                    let rejects = self.taking.rejects.clone().filter(|path| path.exists());
                    return self.summed_up(&state.counts, &[], rejects, recognised.format, terminal);
                }
            },
        };
        let (journal, state) = self.journal(&plan, saved.as_ref())?;
        if self.taking.rejects.is_some() && state.as_ref().is_some_and(State::kept_no_rejects) {
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
            let same = Source::open(&self.taking.file).and_then(|again| again.was_read_to(recognised, end));
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
        if self.taking.dry_run && self.taking.reach.admin.is_none() {
            let config = self.taking.reach.config.load()?;
            return self.scratch(config, terminal);
        }
        if self.taking.dry_run {
            return Err(Failure::Usage(
                "a dry run looks at a store, not at --admin; give a backup with --store".to_owned(),
            ));
        }
        match Operator::find(&self.taking.reach, terminal).await? {
            Found::Proxy(operator) => {
                // Where its token is from, the keys of the hashes are as well; of a proxy elsewhere they are not known here.
                let configured = match (&self.taking.reach.admin, &self.taking.reach.token_file) {
                    (Some(_), Some(_)) => Configured::default(),
                    (Some(_), None) | (None, _) => Configured::of(&self.taking.reach.config.load()?),
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
        let settings = match &self.taking.store {
            Some(path) => StoreSettings { path: path.clone(), ..config.store.clone() },
            None => config.store.clone(),
        };
        if self.taking.store.is_some() && !settings.path.exists() {
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
        let normalization = self.taking.reading.normalization().unwrap_or(normalization);
        let header = source.header(recognised).map_err(Failure::stopped)?;
        let mut context = self.taking.reading.context(recognised, &header, normalization, &source.name())?;
        if self.list.is_some() {
            context.mapping = std::mem::take(&mut context.mapping).of_list();
        }
        if self.drop_bad_hashes {
            context.settings.add(DROP_UNUSABLE_HASHES);
        }
        let on_conflict = self.on_conflict();
        let more = format!("{} {:?} {rules:?}", self.drop_bad_hashes, self.wrap_weak);
        let told = self.taking.reading.told(normalization, on_conflict, &more);
        let framing = format!("{:?}", recognised.framing);
        let key = source.key(&[recognised.format.name.as_bytes(), framing.as_bytes(), told.as_bytes()]);
        let takes = if self.list.is_some() { Takes::Listed } else { Takes::Users };
        let hashes = Hashes::new(self.drop_bad_hashes, self.wrap_weak.as_deref(), terms.clone(), peppers);
        let hashes = hashes.map_err(Failure::of)?;
        Ok(Plan { recognised, terms, context: Arc::new(context), header, key, on_conflict, takes, hashes })
    }

    /// The files beside the import, and where it stands, if it goes on.
    fn journal(&self, plan: &Plan, saved: Option<&SavedCheckpoint>) -> Result<(Journal, Option<State>), Failure> {
        let beside = Beside { rejects: self.taking.rejects.as_deref(), results: self.taking.results.as_deref() };
        let framing = plan.recognised.framing;
        let Some(saved) = saved else {
            let journal = Journal::begin(beside, framing, &plan.header);
            let journal = journal.map_err(|error| match error {
                JournalError::Exists(_) if !self.taking.restart && !self.taking.dry_run => Failure::Usage(format!(
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
        let journal = Journal::go_on(beside, framing, &plan.header, &state).map_err(|error| match error {
            JournalError::Exists(_) | JournalError::Same(_) => Failure::Usage(error.to_string()),
            JournalError::Cut(_) | JournalError::Io { .. } => Failure::stopped(error),
        });
        Ok((journal?, Some(state)))
    }
}

/// What the store knows of an import of a file that begins like this one.
enum Before {
    /// Nothing that matters, or where it was interrupted.
    GoesOn(Source, Option<SavedCheckpoint>),
    /// The very same was imported to its end, then.
    Finished(State, UnixSeconds),
}

fn time_of(seconds: u64) -> jiff::Timestamp {
    i64::try_from(seconds)
        .ok()
        .and_then(|at| jiff::Timestamp::from_second(at).ok())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

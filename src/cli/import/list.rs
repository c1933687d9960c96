//! `authferry roster import`: the import of users, told that what it reads is a list: of each row only the facts of a list are taken, and
//! who is here already keeps everything that he has.

use std::path::PathBuf;

use super::super::failure::Ended;
use super::super::options::Reach;
use super::super::terminal::Terminal;
use super::Import;
use super::missing::Missing;
use super::source::Reading;

#[derive(clap::Args)]
pub(in crate::cli) struct ImportList {
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
    /// The list names everybody: say who is known from earlier ones only. Reads the file from its beginning, and remembers who is in it,
    /// in up to 32 bytes a row: 320 MB for ten million
    #[arg(long)]
    complete: bool,
    /// And forget them: legacy is asked about them as about any stranger
    #[arg(long, requires = "complete", conflicts_with = "dry_run")]
    forget_missing: bool,
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
}

/// What an import of a list does otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct List {
    /// What becomes of who is missing, if the list is said to be complete.
    pub(super) missing: Option<Missing>,
}

impl ImportList {
    pub(in crate::cli) fn execute(&self, terminal: &mut Terminal) -> Ended {
        let missing = match (self.complete, self.forget_missing) {
            (true, true) => Some(Missing::Forgotten),
            (true, false) => Some(Missing::Counted),
            (false, _) => None,
        };
        let import = Import {
            file: self.file.clone(),
            reading: self.reading.clone(),
            on_conflict: String::new(),
            dry_run: self.dry_run,
            rejects: self.rejects.clone(),
            results: self.results.clone(),
            verify_credentials: None,
            at_least: None,
            drop_bad_hashes: false,
            wrap_weak: None,
            batch: self.batch,
            // Who is in the file is known only to who has read it whole.
            restart: self.restart || self.complete,
            store: self.store.clone(),
            reach: self.reach.clone(),
            list: Some(List { missing }),
        };
        import.execute(terminal)
    }
}

//! `authferry roster import`: the import of users, told that what it reads is a list: of each row only the facts of a list are taken, and
//! who is here already keeps everything that he has.

use super::super::failure::Ended;
use super::super::terminal::Terminal;
use super::missing::Missing;
use super::{Import, Taking};

#[derive(clap::Args)]
pub(in crate::cli) struct ImportList {
    #[command(flatten)]
    taking: Taking,
    /// The list names everybody: say who is known from earlier ones only. Reads the file from its beginning, and remembers who is in it,
    /// in up to 32 bytes a row: 320 MB for ten million
    #[arg(long)]
    complete: bool,
    /// And forget them: legacy is asked about them as about any stranger
    #[arg(long, requires = "complete", conflicts_with = "dry_run")]
    forget_missing: bool,
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
            // Who is in the file is known only to who has read it whole.
            taking: Taking { restart: self.taking.restart || self.complete, ..self.taking.clone() },
            on_conflict: String::new(),
            verify_credentials: None,
            at_least: None,
            drop_bad_hashes: false,
            wrap_weak: None,
            list: Some(List { missing }),
        };
        import.execute(terminal)
    }
}

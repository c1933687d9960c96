//! `authferry roster`: whom legacy knows and we do not have yet. A list of them is imported; the stragglers are listed for whoever writes
//! to them.
//!
//! Asks the admin API, as [`super::operator`] does. Holds a page at a time, whatever the number of users.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::failure::{Ended, Failure};
use super::import::ImportList;
use super::operator::{Operator, block_on};
use super::options::Reach;
use super::terminal::{Person, Terminal, inert};
use super::text;
use crate::admin::roster::{Straggler, csv_header};
use crate::domain::roster::Bucket;

/// List legacy's users, and who of them has not come over
#[derive(clap::Args)]
pub(super) struct Roster {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Read a list of legacy's users: who there is, when they were last seen, what they are worth
    Import(Box<ImportList>),
    /// List who has not come over, those who were seen last first
    Stragglers(Stragglers),
}

#[derive(clap::Args)]
struct Stragglers {
    /// Only who was seen in so many days
    #[arg(long, value_name = "DAYS", value_parser = ["30d", "90d", "365d"], group = "bucket")]
    active_in: Option<String>,
    /// Only who was seen, but not in 365 days
    #[arg(long, group = "bucket")]
    older: bool,
    /// Only who was never seen
    #[arg(long, group = "bucket")]
    never: bool,
    /// Only who is worth so much at least
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    min_value: u64,
    /// As what
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// Where to; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    to: PathBuf,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A header and a row each; cells that a spreadsheet would take for formulas are defused
    Csv,
    /// JSON, one a line, with every name
    Jsonl,
}

impl Roster {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        match &self.action {
            Action::Import(list) => list.execute(terminal),
            Action::Stragglers(stragglers) => block_on(stragglers.list(terminal)),
        }
    }
}

impl Stragglers {
    fn bucket(&self) -> Bucket {
        match (&self.active_in, self.older, self.never) {
            (Some(days), _, _) => days.parse().unwrap_or(Bucket::All),
            (None, true, _) => Bucket::Older,
            (None, false, true) => Bucket::Never,
            (None, false, false) => Bucket::All,
        }
    }

    async fn list(&self, terminal: &mut Terminal) -> Ended {
        let operator = Operator::reach(&self.reach, terminal).await?;
        let mut sink = Sink::open(&self.to)?;
        match self.write_all(&operator, &mut sink, terminal).await {
            Ok(written) => {
                let place = sink.finish()?;
                let who = text::counted(written, "straggler");
                let style = terminal.remark_style();
                let said = place.map_or_else(|| who.clone(), |path| format!("{who} in {}", path.display()));
                terminal.remark(style.faint(said))?;
                Ok(())
            }
            Err(failure) => {
                sink.give_up();
                Err(failure)
            }
        }
    }

    async fn write_all(&self, operator: &Operator, sink: &mut Sink, terminal: &mut Terminal) -> Result<u64, Failure> {
        let mut text = match self.format {
            Format::Csv => csv_header(),
            Format::Jsonl => Vec::new(),
        };
        let (mut written, mut after) = (0, None);
        loop {
            let asked = operator.stragglers(self.bucket(), self.min_value, after.as_deref()).await;
            let page = asked.map_err(Failure::of)?;
            for straggler in &page.stragglers {
                self.format.append(straggler, &mut text);
                written += 1;
            }
            sink.write(&text, terminal)?;
            text.clear();
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(written),
            }
        }
    }
}

impl Format {
    fn append(self, straggler: &Straggler, out: &mut Vec<u8>) {
        match self {
            Self::Csv => straggler.csv(out),
            Self::Jsonl => {
                // A wire struct has string keys only, which is all that JSON asks for.
                let line = serde_json::to_string(straggler).unwrap_or_default();
                out.extend_from_slice(line.as_bytes());
                out.push(b'\n');
            }
        }
    }
}

/// Where the list goes.
enum Sink {
    Terminal,
    /// A file that has its name only once it is whole.
    File {
        file: BufWriter<File>,
        part: PathBuf,
        path: PathBuf,
    },
}

impl Sink {
    fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Terminal);
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        // Names of people: for nobody but who asked.
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part);
        let file = file.map_err(|cause| NotWritten::because(path, cause))?;
        Ok(Self::File { file: BufWriter::new(file), part, path: path.to_owned() })
    }

    fn write(&mut self, text: &[u8], terminal: &mut Terminal) -> Result<(), Failure> {
        match self {
            Self::Terminal => {
                let text = String::from_utf8_lossy(text);
                match terminal.person() {
                    Person::Absent => terminal.print(text)?,
                    // An id of legacy's may hold anything.
                    Person::Present => text.lines().try_for_each(|line| terminal.line(inert(line)))?,
                }
                Ok(())
            }
            Self::File { file, path, .. } => file.write_all(text).map_err(|cause| NotWritten::because(path, cause)),
        }
    }

    /// Gives the file its name.
    fn finish(self) -> Result<Option<PathBuf>, Failure> {
        match self {
            Self::Terminal => Ok(None),
            Self::File { file, part, path } => {
                let file = file.into_inner().map_err(|error| NotWritten::because(&path, error.into_error()))?;
                let named = file.sync_all().and_then(|()| fs::rename(&part, &path));
                named.map_err(|cause| NotWritten::because(&path, cause))?;
                Ok(Some(path))
            }
        }
    }

    fn give_up(self) {
        match self {
            Self::Terminal => {}
            // What cannot be removed says by its name that it is not whole.
            Self::File { part, .. } => drop(fs::remove_file(part)),
        }
    }
}

/// The list cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be written", .path.display())]
struct NotWritten {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

impl NotWritten {
    fn because(path: &Path, cause: io::Error) -> Failure {
        Failure::of(Self { path: path.to_owned(), cause })
    }
}

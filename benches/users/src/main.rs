//! Ten million users in authferry's store: how fast they come in, how much room they take, how fast they are found, and the same
//! users in SQLite and LMDB beside it, all in one run.
//!
//! ```text
//! people    makes users, always the same ones          engine/   the three stores, behind one trait
//! driver    what is measured, in which order           child     does it, in a process of its own, so that memory can be told apart
//! measure   time, memory, the machine                  report    the table
//! ```

mod child;
mod driver;
mod engine;
mod measure;
mod people;
mod report;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// The proxy's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What goes wrong ends the run.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Builds stores of many users and measures them: authferry's, SQLite and LMDB side by side.
#[derive(Parser)]
#[command(name = "users", max_term_width = 100)]
struct Arguments {
    /// How many users.
    #[arg(long, default_value_t = 10_000_000, conflicts_with = "quick")]
    users: u64,
    /// 200,000 users, in under two minutes.
    #[arg(long)]
    quick: bool,
    /// Prints everything that was measured as JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Prints the table as Markdown.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Where the files are made, in a directory of their own that is deleted afterwards. It must lie on a disk.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Measures these alone.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = engine::Kind::ALL)]
    engines: Vec<engine::Kind>,
    /// Users in one commit of authferry's import, if not as many as it takes by itself.
    #[arg(long)]
    batch: Option<u32>,
    /// Keeps the files.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    // The processes that do the work are this program too.
    if let Some(code) = engine::command_if_asked().or_else(child::serve_if_asked) {
        return code;
    }
    let arguments = Arguments::parse();
    let users = if arguments.quick { 200_000 } else { arguments.users };
    let plan = driver::Plan {
        users,
        directory: arguments.directory,
        engines: arguments.engines,
        batch: arguments.batch,
        keep: arguments.keep,
    };
    match driver::run(&plan) {
        Ok(results) => {
            let text = match (arguments.json, arguments.markdown) {
                (true, _) => report::json(&results),
                (false, true) => report::markdown(&results),
                (false, false) => report::text(&results),
            };
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("users: {error}");
            ExitCode::FAILURE
        }
    }
}

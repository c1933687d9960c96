//! The command line: what can be asked for, and which file does it. A file a subcommand.
//!
//! ```text
//! run        serves until a signal            status  users  mode    ask the running proxy, or the store itself
//! conflicts  explain                          ask, and change users, in the same way
//! check      judges proxy.toml offline        demo    everything in one process, nothing left behind
//! hash       what a stored hash is, and whether a known password is its own
//! tune       password parameters for this machine
//! import  export                              users in files            
//! config     its JSON schema                  version  completions      (both in `configuration`)
//! store      the file: check, compact, backup, restore
//!
//! terminal   where everything is printed      operator   the admin API, over HTTP or in this process
//! failure    messages and exit codes          options    --config, --admin, --token-file
//! ```
//!
//! Called by `main` alone. Decides nothing about users; prints no hash and no token.

pub mod check;
mod completions;
mod configuration;
mod conflicts;
mod demo;
mod doors;
mod explain;
mod export;
mod failure;
mod hash;
mod import;
mod mode;
mod operator;
mod options;
mod progress;
mod roster;
mod run;
pub mod schema;
mod status;
mod store;
mod successor;
mod terminal;
mod text;
mod tune;
mod users;
mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::failure::Ended;
use self::terminal::Terminal;

/// A reverse proxy that moves an app's users out of a legacy auth backend, one login at a time.
#[derive(Parser)]
#[command(
    name = "authferry",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "New here? `authferry demo` shows a migration in half a minute, and leaves nothing behind."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Check(configuration::Check),
    Config(configuration::ConfigCommand),
    Status(status::StatusCommand),
    Users(users::Users),
    Conflicts(conflicts::Conflicts),
    Explain(explain::Explain),
    Roster(roster::Roster),
    Import(Box<import::Import>),
    Export(export::Export),
    Mode(mode::ModeCommand),
    Hash(hash::HashCommand),
    Tune(tune::Tune),
    Store(store::StoreCommand),
    Demo(demo::Demo),
    Version(version::VersionCommand),
    Completions(completions::Completions),
}

/// Parses this process's arguments, does what they ask for, and gives the exit code. Wrong usage ends the process with code 2.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut terminal = Terminal::of_process();
    match dispatch(&arguments.command, &mut terminal).and_then(|()| Ok(terminal.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&mut terminal),
    }
}

fn dispatch(command: &Command, terminal: &mut Terminal) -> Ended {
    match command {
        Command::Run(run) => run.execute(),
        Command::Check(check) => check.execute(terminal),
        Command::Config(config) => config.execute(terminal),
        Command::Status(status) => status.execute(terminal),
        Command::Users(users) => users.execute(terminal),
        Command::Conflicts(conflicts) => conflicts.execute(terminal),
        Command::Explain(explain) => explain.execute(terminal),
        Command::Roster(roster) => roster.execute(terminal),
        Command::Import(import) => import.execute(terminal),
        Command::Export(export) => export.execute(terminal),
        Command::Mode(mode) => mode.execute(terminal),
        Command::Hash(hash) => hash.execute(terminal),
        Command::Tune(tune) => tune.execute(terminal),
        Command::Store(store) => store.execute(terminal),
        Command::Demo(demo) => demo.execute(terminal),
        Command::Version(version) => version.execute(terminal),
        Command::Completions(completions) => completions.execute(terminal),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_subcommand_says_what_it_does_in_one_line_of_a_narrow_terminal() {
        for command in Arguments::command().get_subcommands() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!((10..=66).contains(&about.len()), "{}: {about:?}", command.get_name());
        }
    }
}

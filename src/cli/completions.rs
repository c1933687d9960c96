//! `authferry completions`: a script that teaches a shell our command line.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Arguments;
use super::failure::Ended;
use super::terminal::Terminal;

/// Print a completion script for a shell
///
/// For bash: `authferry completions bash > /etc/bash_completion.d/authferry`
#[derive(clap::Args)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), env!("CARGO_PKG_NAME"), &mut script);
        terminal.print(String::from_utf8_lossy(&script))?;
        Ok(())
    }
}

//! `authferry check` and `authferry config schema`: the configuration, judged and described. Opens no socket and no store.

use super::failure::Ended;
use super::options::ConfigFile;
use super::terminal::Terminal;
use super::{check, schema};

/// Judge the configuration offline, and say what it will do
#[derive(clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigFile,
}

impl Check {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        let config = self.config.load()?;
        terminal.print(check::describe(&config))?;
        Ok(())
    }
}

/// Print the JSON schema of the configuration
#[derive(clap::Args)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Print the JSON schema of proxy.toml, for editors
    Schema,
}

impl ConfigCommand {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        match self.action {
            Action::Schema => terminal.print(schema::text())?,
        }
        Ok(())
    }
}

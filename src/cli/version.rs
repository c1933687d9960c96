//! `authferry version`.

use super::failure::Ended;
use super::terminal::Terminal;

/// Print the version
#[derive(clap::Args)]
pub(super) struct VersionCommand {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl VersionCommand {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        if self.json {
            terminal.line(serde_json::json!({ "name": name, "version": version }))?;
        } else {
            terminal.line(format_args!("{name} {version}"))?;
        }
        Ok(())
    }
}

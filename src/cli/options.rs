//! Options that several subcommands share: which proxy.toml, and how the running proxy is reached.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::config::{self, Config, DEFAULT_PATH, Environment};

/// Which configuration.
#[derive(Clone, clap::Args)]
pub(super) struct ConfigFile {
    /// The configuration
    #[arg(long, short, value_name = "PATH", default_value = DEFAULT_PATH, env = "AUTHFERRY_CONFIG")]
    config: PathBuf,
}

impl ConfigFile {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.config
    }

    /// Whether none was named, and none is in the usual place.
    pub(super) fn is_absent(&self) -> bool {
        self.config.as_os_str() == DEFAULT_PATH && !self.config.exists()
    }

    /// Reads it, with what the environment overrides. Every problem is in the failure, rendered.
    pub(super) fn load(&self) -> Result<Config, Failure> {
        let loaded = config::load(Some(&self.config), &Environment::of_process());
        loaded.map_err(|problems| Failure::Config(problems.to_string()))
    }
}

/// How the running proxy is reached.
#[derive(Clone, clap::Args)]
pub(super) struct Reach {
    #[command(flatten)]
    pub(super) config: ConfigFile,
    /// The admin listener, as http://127.0.0.1:9090 [default: `admin.bind` of the configuration]
    #[arg(long, value_name = "URL")]
    pub(super) admin: Option<String>,
    /// A file with the admin token [default: `admin.token` of the configuration]
    #[arg(long, value_name = "PATH")]
    pub(super) token_file: Option<PathBuf>,
}

#[cfg(test)]
impl Reach {
    /// By this configuration alone.
    pub(super) fn by(config: PathBuf) -> Self {
        Self { config: ConfigFile { config }, admin: None, token_file: None }
    }
}

//! What a configuration takes from around it, as one snapshot: variables and the number of cores. Nothing else in `config`
//! asks the process, so that a test says what there is.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

/// The start of a variable that overrides a key.
pub const OVERRIDE_PREFIX: &str = "AUTHFERRY__";

/// A snapshot of the environment. No `Debug`: secrets may be in it.
pub struct Environment {
    variables: BTreeMap<String, String>,
    cores: NonZeroUsize,
}

impl Environment {
    /// The environment of this process. Variables that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { variables: variables.collect(), cores }
    }

    /// An environment of exactly this.
    #[must_use]
    pub fn new<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>, cores: NonZeroUsize) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { variables: variables.collect(), cores }
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// What `workers = "auto"` means.
    pub(super) fn cores(&self) -> NonZeroUsize {
        self.cores
    }

    /// The variables that override keys, in the order of their names, each with the key's segments.
    pub(super) fn overrides(&self) -> impl Iterator<Item = (&str, Vec<&str>, &str)> {
        let from = self.variables.range(OVERRIDE_PREFIX.to_owned()..);
        from.map_while(|(name, value)| {
            let key = name.strip_prefix(OVERRIDE_PREFIX)?;
            Some((name.as_str(), key.split("__").collect(), value.as_str()))
        })
    }
}

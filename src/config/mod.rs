//! proxy.toml: raw text to valid settings, every problem in one run.
//!
//! ```text
//! text -> document (places) + environment -> shape (unknown keys, types) -> raw -> resolve (meaning) -> Config
//! ```
//!
//! [`Config`] holds only valid values: templates are compiled, secrets are read, sizes and durations are numbers. Nothing
//! of the file's own form leaves this module, and no secret ever reaches a message. Imported whole only by `app` and `cli`;
//! the adapters see their own settings.

mod document;
mod environment;
mod overrides;
mod raw;
mod report;
mod resolve;
mod settings;
mod shape;

use std::io::ErrorKind;
use std::path::Path;

use self::document::{Node, Places};
use self::report::Findings;
use self::resolve::Resolver;

pub use environment::{Environment, OVERRIDE_PREFIX};
pub use report::{Excerpt, Finding, Place, Problems, Warning};
pub(crate) use resolve::{duration as parse_duration, size as parse_size};
pub use settings::{Config, MigrationSettings};

/// What `run` and `check` read when they are not told otherwise.
pub const DEFAULT_PATH: &str = "proxy.toml";

/// The largest configuration that is read, in bytes.
const MAX_BYTES: u64 = 4 * 1_024 * 1_024;

/// Reads and resolves a file; without one, [`DEFAULT_PATH`]. Relative paths in it start where the process does.
pub fn load(path: Option<&Path>, environment: &Environment) -> Result<Config, Problems> {
    let path = path.unwrap_or_else(|| Path::new(DEFAULT_PATH));
    let origin = path.display().to_string();
    let unreadable = |message: String, help: &str| Problems::single(message, Some(help.to_owned()), &origin);
    let failed = |error: std::io::Error| {
        let help = match error.kind() {
            ErrorKind::NotFound => "name the file with --config; `authferry demo` needs none",
            ErrorKind::PermissionDenied => "the user who runs authferry has to be able to read it",
            _ => "it has to be a text file, in UTF-8",
        };
        unreadable(format!("the file cannot be read: {error}"), help)
    };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_BYTES {
        return Err(unreadable("the file is larger than 4 MiB".into(), "is it the right one?"));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Config::from_text(&text, &origin, environment)
}

/// The JSON schema of proxy.toml, for editors and for `authferry config schema`.
#[must_use]
pub fn schema() -> serde_json::Value {
    shape::SCHEMA.clone()
}

impl Config {
    /// Resolves a text; `origin` is what messages call it. Every problem is found in one run, but for a file whose grammar is
    /// broken: of that only its broken places are told.
    pub fn from_text(text: &str, origin: &str, environment: &Environment) -> Result<Self, Problems> {
        let mut findings = Findings::default();
        let Some(mut root) = Node::parse(text, shape::is_key, &mut findings) else {
            return Err(findings.into_problems(origin, text));
        };
        overrides::apply(&mut root, environment, &mut findings);
        let dropped = shape::check(&mut root, &mut findings);
        let places = Places::of(&root, dropped);
        let resolved = match serde_json::from_value(root.to_json()) {
            Ok(raw) => resolve::resolve(raw, &mut Resolver { places: &places, environment, findings: &mut findings }),
            // The walk over the schema lets nothing through that serde refuses; its own words might quote a secret.
            Err(_) => None,
        };
        match resolved {
            Some(config) if !findings.has_problems() => {
                Ok(Self { warnings: findings.into_warnings(origin, text), ..config })
            }
            Some(_) | None => Err(findings.into_problems(origin, text)),
        }
    }
}

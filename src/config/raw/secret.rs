//! Where a secret is to be had, as written.

use serde::Deserialize;

/// Exactly one of the four. No `Debug`, no `Serialize`.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-secret" = true))]
#[schemars(rename = "Secret")]
pub(in crate::config) struct RawSecret {
    /// A file; one newline at its end is left out.
    pub(in crate::config) file: Option<String>,
    /// An environment variable.
    pub(in crate::config) env: Option<String>,
    /// A systemd credential: a file in `$CREDENTIALS_DIRECTORY`.
    pub(in crate::config) credential: Option<String>,
    /// The secret itself. For trying things out: a warning says so.
    #[schemars(extend("writeOnly" = true))]
    pub(in crate::config) value: Option<String>,
}

//! `authferry config schema`: the JSON schema of proxy.toml, for editors.

/// The schema as text, ending in a newline.
#[must_use]
pub fn text() -> String {
    format!("{:#}\n", crate::config::schema())
}

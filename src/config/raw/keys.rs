//! `[store] encryption` and `[password] pepper` as written: named keys, and which of them is used from now on.

use serde::Deserialize;

use super::{RawSecret, Table};

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Encryption")]
pub(in crate::config) struct RawEncryption {
    /// The name of the key that profiles are sealed with when they are written; `none` to seal no more.
    #[schemars(required)]
    pub(in crate::config) seal_with: Option<String>,
    /// All keys that records need, by name: 1 to 8 letters, digits, `-` or `_`. A key is 32 random bytes in base64, as
    /// `openssl rand -base64 32` prints them.
    #[serde(default)]
    pub(in crate::config) keys: Table<RawSecret>,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Pepper")]
pub(in crate::config) struct RawPepper {
    /// The name of the key that goes into new hashes; `none` for none. A user hashed with another one is hashed anew at the next
    /// login.
    #[schemars(required)]
    pub(in crate::config) hash_with: Option<String>,
    /// All keys that hashes need, by name, as under `[store] encryption`.
    #[serde(default)]
    pub(in crate::config) keys: Table<RawSecret>,
}

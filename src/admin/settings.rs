//! What the admin listener needs to be told.

use std::net::SocketAddr;

use zeroize::Zeroizing;

/// `[admin]`, resolved. No `Debug`: it holds the token.
pub struct AdminSettings {
    /// Where to listen; none for no admin listener at all.
    pub bind: Option<SocketAddr>,
    /// What opens the API and the console. Without one both stay locked: there are no default credentials (R108).
    pub token: Option<Zeroizing<String>>,
    /// Further names in `Host` that are answered.
    pub hosts: Vec<String>,
}

//! Where a configured URL leads.

use std::fmt;

/// The origin of the upstream or of legacy, from the configuration and from nowhere else (R81).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Whether the connection is TLS.
    pub https: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// A path that every request path is appended to; empty, or starting with `/` and not ending with it.
    pub base_path: String,
}

/// Why a URL cannot be an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// No URL at all.
    #[error("this is not a URL: {0}")]
    NotAUrl(String),
    /// Neither http nor https.
    #[error("the scheme has to be http or https, not `{0}`")]
    Scheme(String),
    /// No host.
    #[error("the URL names no host")]
    NoHost,
    /// User and password, a query or a fragment.
    #[error("the URL may have no user, password, query or fragment")]
    Extras,
}

impl Target {
    /// Reads `http://host[:port][/base]`.
    pub fn parse(text: &str) -> Result<Self, InvalidTarget> {
        let url = url::Url::parse(text).map_err(|error| InvalidTarget::NotAUrl(error.to_string()))?;
        let https = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(InvalidTarget::Scheme(other.to_owned())),
        };
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidTarget::Extras);
        }
        let host = match url.host() {
            Some(url::Host::Domain(name)) => name.to_owned(),
            Some(url::Host::Ipv4(addr)) => addr.to_string(),
            Some(url::Host::Ipv6(addr)) => addr.to_string(),
            None => return Err(InvalidTarget::NoHost),
        };
        let port = url.port_or_known_default().unwrap_or(if https { 443 } else { 80 });
        Ok(Self { https, host, port, base_path: url.path().trim_end_matches('/').to_owned() })
    }

    /// `host` or `host:port` as a `Host` header has it.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.https { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.https { "https" } else { "http" }, self.authority(), self.base_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_origins() {
        for (url, shown, host) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000", "127.0.0.1"),
            ("http://127.0.0.1:3000/", "http://127.0.0.1:3000", "127.0.0.1"),
            ("https://App.example.com/base/", "https://app.example.com/base", "app.example.com"),
            ("http://[::1]:80", "http://[::1]", "::1"),
        ] {
            let target = Target::parse(url).expect("a target");
            assert_eq!((target.to_string().as_str(), target.host.as_str()), (shown, host));
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for url in ["", "localhost:3000", "ftp://x", "unix:/x", "http://u:p@x", "http://x/?a", "http://x/#a"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}

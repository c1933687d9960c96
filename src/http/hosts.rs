//! The hosts that the operator serves, where he lists them (R7): a request for another one was not meant for this app, and what an app
//! makes of a foreign `Host` (links in mails, caches) is an attacker's choice. Pure; asked by the edge for every request.

use std::collections::BTreeSet;

use http::StatusCode;

use super::gate::{Refusal, canonical_host, refusal};

const MISDIRECTED: Refusal = refusal(StatusCode::MISDIRECTED_REQUEST, "host_unknown", "This host is not served here");

/// `server.hosts`. An empty list serves every host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    names: BTreeSet<String>,
    /// What stands behind the asterisk of `*.example.com`, with its dot.
    suffixes: Vec<String>,
}

/// An entry that is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not the name or address of a host without a port")]
pub struct NoHost;

impl AllowedHosts {
    /// Adds `example.com`, `*.example.com` (every name below it, not itself), `192.0.2.1` or `[2001:db8::1]`.
    pub fn add(&mut self, entry: &str) -> Result<(), NoHost> {
        let (below, name) = entry.strip_prefix("*.").map_or((false, entry), |name| (true, name));
        let name = canonical_host(name.as_bytes()).ok_or(NoHost)?;
        if without_port(&name) != &*name || (below && name.starts_with('[')) {
            return Err(NoHost);
        }
        let name = name.strip_suffix('.').unwrap_or(&name);
        if below {
            self.suffixes.push(format!(".{name}"));
        } else {
            self.names.insert(name.to_owned());
        }
        Ok(())
    }

    /// Refuses a host that is not listed; whatever its port: that is the listener's business, and a port forwarding's.
    /// `host` is [`super::gate::Admitted::host`].
    pub fn judge(&self, host: &str) -> Result<(), Refusal> {
        if self.names.is_empty() && self.suffixes.is_empty() {
            return Ok(());
        }
        let name = without_port(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_listed = self.names.contains(name)
            || self.suffixes.iter().any(|suffix| name.len() > suffix.len() && name.ends_with(suffix));
        if is_listed { Ok(()) } else { Err(MISDIRECTED) }
    }
}

/// A canonical host without its port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // Inside the brackets of an IPv6 address there are colons too.
        Some((name, port)) if !port.ends_with(']') => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(entries: &[&str]) -> AllowedHosts {
        let mut hosts = AllowedHosts::default();
        for entry in entries {
            hosts.add(entry).expect("a host");
        }
        hosts
    }

    #[test]
    fn r7_without_a_list_every_host_is_served_and_with_one_only_its_own() {
        assert_eq!(hosts(&[]).judge("anything.example"), Ok(()));
        let hosts = hosts(&["App.example", "*.shop.example", "192.0.2.1", "[2001:db8::1]"]);
        for host in [
            "app.example",
            "app.example.",
            "app.example:8080",
            "a.shop.example",
            "a.b.shop.example:1",
            "192.0.2.1:80",
            "[2001:db8::1]",
            "[2001:db8::1]:443",
        ] {
            assert_eq!(hosts.judge(host), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "xapp.example",
            "a.app.example",
            "shop.example",
            ".shop.example",
            "xshop.example",
            "192.0.2.2",
            "[2001:db8::2]",
            "[::1]",
            "app.example.evil",
            "",
        ] {
            let refused = hosts.judge(host).expect_err("refused");
            assert_eq!((refused.status.as_u16(), refused.reason), (421, "host_unknown"), "{host}");
        }
    }

    #[test]
    fn only_hosts_can_be_listed() {
        for entry in
            ["", "*", "*.", "a b", "http://a", "a:80", "[::1]:80", "*.[::1]", "a/b", "é.example", "a.*.example"]
        {
            assert_eq!(AllowedHosts::default().add(entry), Err(NoHost), "{entry}");
        }
    }
}

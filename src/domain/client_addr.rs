//! The address a request is counted under.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address of the client itself, as far as trusted proxies tell it. Made by the walk over their headers in `http`, or from
/// the socket where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddr(IpAddr);

impl ClientAddr {
    /// Called by the trusted-proxy walk alone. An IPv4 address in IPv6 clothes is taken for what it is.
    #[must_use]
    pub fn assert_by_trusted_walk(addr: IpAddr) -> Self {
        Self(addr.to_canonical())
    }

    /// Of a request that nobody sent, and that an operator asks about.
    #[must_use]
    pub fn supposed(addr: IpAddr) -> Self {
        Self(addr.to_canonical())
    }

    /// The address.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// The network that limits are kept for: an IPv4 address itself, an IPv6 address cut to `ipv6_prefix` bits, since one
    /// subscriber holds at least a /64 (R62).
    #[must_use]
    pub fn limit_key(self, ipv6_prefix: u8) -> IpAddr {
        network_of(self.0, ipv6_prefix)
    }

    /// What one customer of a provider may hold all of: an IPv4 address cut to a /24, an IPv6 address cut to a /48 (RFC 6177, 2).
    #[must_use]
    pub fn site(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & 0xffff_ff00)),
            IpAddr::V6(_) => network_of(self.0, 48),
        }
    }
}

/// What counts as one client: an IPv4 address itself, an IPv6 address cut to `ipv6_prefix` bits.
#[must_use]
pub fn network_of(addr: IpAddr, ipv6_prefix: u8) -> IpAddr {
    match addr {
        IpAddr::V4(_) => addr,
        IpAddr::V6(v6) => {
            let kept = u32::from(ipv6_prefix.min(128));
            let mask = u128::MAX.checked_shl(128 - kept).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r62_hosts_of_one_ipv6_network_share_a_key() {
        let key = |addr: &str, prefix| {
            ClientAddr::assert_by_trusted_walk(addr.parse().expect("an address")).limit_key(prefix)
        };
        assert_eq!(key("2001:db8:1:2::1", 64), key("2001:db8:1:2:ffff::9", 64));
        assert_ne!(key("2001:db8:1:2::1", 64), key("2001:db8:1:3::1", 64));
        assert_ne!(key("2001:db8::1", 128), key("2001:db8::2", 128));
        assert_eq!(key("2001:db8::1", 0), key("fe80::2", 0));
        assert_ne!(key("192.0.2.1", 64), key("192.0.2.2", 64));
        assert_eq!(key("::ffff:192.0.2.1", 64), key("192.0.2.1", 64));
    }

    #[test]
    fn r62_the_networks_of_one_line_are_one_site() {
        let site = |addr: &str| ClientAddr::assert_by_trusted_walk(addr.parse().expect("an address")).site();
        assert_eq!(site("2001:db8:1:2::1"), site("2001:db8:1:ffff:ffff::9"));
        assert_ne!(site("2001:db8:1:2::1"), site("2001:db8:2:2::1"));
        assert_eq!(site("192.0.2.1"), site("192.0.2.255"));
        assert_eq!(site("192.0.2.1"), site("::ffff:192.0.2.1"));
        assert_ne!(site("192.0.2.1"), site("192.0.3.1"));
    }
}

//! Who the client is: the walk over the forwarding headers of trusted proxies (R71).
//!
//! Each proxy appends the address that it got a request from, so that the headers are read from the right, and only as long as
//! whoever wrote an entry is trusted. Whatever stands to the left of the first untrusted hop is the client's own text and has no
//! influence. Pure; the only maker of a [`ClientAddr`]. Called by the interceptor for every request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderMap;

use super::settings::{ForwardingHeader, TrustedProxies};
use crate::domain::client_addr::ClientAddr;

/// The rightmost hop that is not trusted. If an entry that a trusted proxy wrote cannot be read, the proxies are not what the
/// operator thinks, and the peer itself is taken.
#[must_use]
pub fn client_addr(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> ClientAddr {
    ClientAddr::assert_by_trusted_walk(walk(peer, headers, trusted).unwrap_or(peer))
}

/// Whether an address may say where a client is.
#[must_use]
pub fn is_trusted(addr: IpAddr, trusted: &TrustedProxies) -> bool {
    let addr = addr.to_canonical();
    trusted.cidrs.iter().any(|cidr| cidr.contains(&addr))
}

/// What an entry says of the hop before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hop {
    Addr(IpAddr),
    /// `unknown`, or a made-up name (RFC 7239, section 6.2 and 6.3): the proxy does not tell.
    Hidden,
}

/// The header is not what its definition says.
struct Malformed;

fn walk(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> Result<IpAddr, Malformed> {
    let mut hop = peer;
    // Nearly always, and then nothing that anybody wrote matters.
    if !is_trusted(hop, trusted) {
        return Ok(hop);
    }
    let name = match trusted.header {
        ForwardingHeader::XForwardedFor => "x-forwarded-for",
        ForwardingHeader::Forwarded => "forwarded",
    };
    for line in headers.get_all(name).iter().rev() {
        let mut rest = Some(line.as_bytes());
        while let Some(line) = rest {
            if !is_trusted(hop, trusted) {
                return Ok(hop);
            }
            let entry;
            (rest, entry) = last_entry(line);
            let entry = std::str::from_utf8(entry).map_err(|_| Malformed)?.trim_matches([' ', '\t']);
            let written = match trusted.header {
                ForwardingHeader::XForwardedFor => forwarded_for_hop(entry)?,
                ForwardingHeader::Forwarded => forwarded_hop(entry)?,
            };
            match written {
                Hop::Addr(addr) => hop = addr.to_canonical(),
                Hop::Hidden => return Ok(hop),
            }
        }
    }
    Ok(hop)
}

/// Splits the last entry off. Read from the right, so that a quote that the client opened further left and never closed cannot
/// swallow what a proxy appended.
fn last_entry(line: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut quoted = false;
    for (at, byte) in line.iter().enumerate().rev() {
        match byte {
            b'"' if !is_escaped(line, at) => quoted = !quoted,
            b',' if !quoted => {
                let (left, right) = line.split_at(at);
                return (Some(left), right.get(1..).unwrap_or_default());
            }
            _ => {}
        }
    }
    (None, line)
}

/// Whether an odd number of backslashes stands before a byte (RFC 9110, section 5.6.4).
fn is_escaped(line: &[u8], at: usize) -> bool {
    let before = line.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// An entry of `X-Forwarded-For`: an address, which some proxies write with a port.
fn forwarded_for_hop(entry: &str) -> Result<Hop, Malformed> {
    if entry.eq_ignore_ascii_case("unknown") {
        return Ok(Hop::Hidden);
    }
    match entry.parse() {
        Ok(addr) => Ok(Hop::Addr(addr)),
        Err(_) => node(entry),
    }
}

/// An element of `Forwarded` (RFC 7239, section 4): `for=192.0.2.1;proto=https`.
fn forwarded_hop(element: &str) -> Result<Hop, Malformed> {
    let mut found = None;
    let mut rest = element;
    loop {
        let (name, after) = rest.split_once('=').ok_or(Malformed)?;
        let name = name.trim_matches([' ', '\t']);
        let (value, after) = value(after)?;
        if !is_token(name) || (name.eq_ignore_ascii_case("for") && found.replace(node_or_hidden(&value)?).is_some()) {
            return Err(Malformed);
        }
        let after = after.trim_start_matches([' ', '\t']);
        match after.strip_prefix(';') {
            Some(after) => rest = after,
            None if after.is_empty() => break,
            None => return Err(Malformed),
        }
    }
    Ok(found.unwrap_or(Hop::Hidden))
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Result<(String, &str), Malformed> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        let (token, after) = text.split_at(end);
        return if is_token(token) { Ok((token.to_owned(), after)) } else { Err(Malformed) };
    };
    let mut unquoted = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((unquoted, quoted.get(at + 1..).unwrap_or_default())),
            '\\' => unquoted.extend(chars.next().map(|(_, escaped)| escaped)),
            c => unquoted.push(c),
        }
    }
    Err(Malformed)
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn node_or_hidden(node_id: &str) -> Result<Hop, Malformed> {
    let name = node_id.split(':').next().unwrap_or_default();
    let obfuscated = name.strip_prefix('_').is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    });
    if obfuscated || name.eq_ignore_ascii_case("unknown") { Ok(Hop::Hidden) } else { node(node_id) }
}

/// `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]`, `[2001:db8::1]:80` (RFC 7239, section 6).
fn node(text: &str) -> Result<Hop, Malformed> {
    let (addr, port): (IpAddr, _) = if let Some(bracketed) = text.strip_prefix('[') {
        let (addr, after) = bracketed.split_once(']').ok_or(Malformed)?;
        let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(Malformed)?) };
        (IpAddr::V6(addr.parse::<Ipv6Addr>().map_err(|_| Malformed)?), port)
    } else {
        let (addr, port) = text.split_once(':').map_or((text, None), |(addr, port)| (addr, Some(port)));
        (IpAddr::V4(addr.parse::<Ipv4Addr>().map_err(|_| Malformed)?), port)
    };
    match port {
        None => Ok(Hop::Addr(addr)),
        Some(port)
            if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok() =>
        {
            Ok(Hop::Addr(addr))
        }
        Some(_) => Err(Malformed),
    }
}

#[cfg(test)]
mod tests;

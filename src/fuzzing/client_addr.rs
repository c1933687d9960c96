//! Who the client is: the rightmost hop that is not trusted, or the peer (R71).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderValue};

use super::Input;
use crate::http::client_addr::{client_addr as ours, is_trusted};
use crate::http::settings::{ForwardingHeader, TrustedProxies};

const PEERS: [&str; 4] = ["10.0.0.1", "203.0.113.9", "2001:db8::1", "::ffff:10.0.0.2"];
const NETWORKS: [&[&str]; 4] =
    [&[], &["10.0.0.0/8"], &["10.0.0.0/8", "2001:db8::/32", "127.0.0.0/8"], &["0.0.0.0/0", "::/0"]];

/// A byte for which header, one for the peer, one for who is trusted; then lines of the header.
pub fn client_addr(data: &[u8]) {
    let mut input = Input(data);
    let header = input.of(&[ForwardingHeader::XForwardedFor, ForwardingHeader::Forwarded]);
    let peer: IpAddr = input.of(&PEERS).parse().expect("an address");
    let networks = input.of(&NETWORKS).iter().map(|cidr| cidr.parse().expect("a network"));
    let trusted = TrustedProxies { cidrs: networks.collect(), header };
    let lines: Vec<&[u8]> =
        input.0.split(|byte| *byte == b'\n').filter(|line| HeaderValue::from_bytes(line).is_ok()).collect();

    let found = ours(peer, &headers(header, &lines), &trusted).ip();
    // An IPv4 address in IPv6 clothes is that IPv4 address.
    let peer = peer.to_canonical();
    if !is_trusted(peer, &trusted) {
        assert_eq!(found, peer, "somebody untrusted was believed");
    }
    match header {
        ForwardingHeader::XForwardedFor => assert_eq!(found, rightmost(peer, &entries(&lines), &trusted)),
        ForwardingHeader::Forwarded => {
            let elements: Option<Vec<Vec<Hop>>> = lines.iter().map(|line| elements(line)).collect();
            if let Some(elements) = elements {
                assert_eq!(found, rightmost(peer, &elements.concat(), &trusted));
            }
        }
    }
    if found != peer && !is_trusted(found, &trusted) {
        for claim in [&b"198.51.100.66"[..], b"for=198.51.100.66", b"for=\"198.51.100.66", b"\"", b","] {
            let (first, rest) = lines.split_first().expect("somebody said so");
            let longer = [claim, b",", first].concat();
            let on_the_same_line: Vec<&[u8]> = [longer.as_slice()].into_iter().chain(rest.iter().copied()).collect();
            let on_a_line_before: Vec<&[u8]> = [claim].into_iter().chain(lines.iter().copied()).collect();
            for claimed in [on_the_same_line, on_a_line_before] {
                assert_eq!(ours(peer, &headers(header, &claimed), &trusted).ip(), found, "a client's claim counted");
            }
        }
    }
}

fn headers(header: ForwardingHeader, lines: &[&[u8]]) -> HeaderMap {
    let name = match header {
        ForwardingHeader::XForwardedFor => "x-forwarded-for",
        ForwardingHeader::Forwarded => "forwarded",
    };
    lines.iter().fold(HeaderMap::new(), |mut headers, line| {
        headers.append(name, HeaderValue::from_bytes(line).expect("filtered"));
        headers
    })
}

/// What one hop said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hop {
    Addr(IpAddr),
    Hidden,
    Unreadable,
}

/// The rule in its plainest form.
fn rightmost(peer: IpAddr, hops: &[Hop], trusted: &TrustedProxies) -> IpAddr {
    let is_trusted = |addr: IpAddr| trusted.cidrs.iter().any(|cidr| cidr.contains(&addr.to_canonical()));
    let mut at = peer;
    for hop in hops.iter().rev() {
        if !is_trusted(at) {
            return at;
        }
        match hop {
            Hop::Addr(addr) => at = addr.to_canonical(),
            Hop::Hidden => return at,
            Hop::Unreadable => return peer,
        }
    }
    at
}

/// `X-Forwarded-For`: all lines are one list.
fn entries(lines: &[&[u8]]) -> Vec<Hop> {
    if lines.is_empty() {
        return Vec::new();
    }
    let list = lines.join(&b',');
    let entries = list.split(|byte| *byte == b',').map(|entry| match str::from_utf8(entry) {
        Ok(entry) if entry.trim_matches([' ', '\t']).eq_ignore_ascii_case("unknown") => Hop::Hidden,
        Ok(entry) => addr(entry.trim_matches([' ', '\t'])),
        Err(_) => Hop::Unreadable,
    });
    entries.collect()
}

fn addr(text: &str) -> Hop {
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let bare = bracketed.and_then(|text| text.parse::<Ipv6Addr>().ok()).map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().filter(|_| !text.contains('%')).map(|addr| addr.ip());
    let plain = || text.parse::<IpAddr>().ok();
    bare.or_else(plain).or_else(with_port).map_or(Hop::Unreadable, Hop::Addr)
}

/// A line of `Forwarded`, read from the left by the grammar of RFC 7239, section 4; none if it is not of that grammar.
fn elements(line: &[u8]) -> Option<Vec<Hop>> {
    let mut text = str::from_utf8(line).ok()?;
    let mut elements = Vec::new();
    loop {
        text = text.trim_start_matches([' ', '\t']);
        let mut hops = Vec::new();
        loop {
            let (name, after) = token(text)?;
            let (value, after) = match after.strip_prefix('=')? {
                after if after.starts_with('"') => quoted(after)?,
                after => token(after).map(|(value, after)| (value.to_owned(), after))?,
            };
            if name.eq_ignore_ascii_case("for") {
                hops.push(node(&value));
            }
            text = after;
            match text.strip_prefix(';') {
                Some(after) => text = after,
                None => break,
            }
        }
        elements.push(match hops.as_slice() {
            [] => Hop::Hidden,
            [hop] => *hop,
            [_, _, ..] => Hop::Unreadable,
        });
        text = text.trim_start_matches([' ', '\t']);
        match text.strip_prefix(',') {
            Some(after) => text = after,
            None => return text.is_empty().then_some(elements),
        }
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut inside = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((inside, text.get(at + 1..)?)),
            '\\' => inside.push(chars.next()?.1),
            c => inside.push(c),
        }
    }
    None
}

/// RFC 7239, section 6.
fn node(text: &str) -> Hop {
    let name = text.split(':').next().unwrap_or_default();
    let obscured = name.len() > 1
        && name.starts_with('_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if obscured || name.eq_ignore_ascii_case("unknown") {
        return Hop::Hidden;
    }
    match addr(text) {
        // An IPv6 address has its brackets here.
        Hop::Addr(IpAddr::V6(_)) if !text.starts_with('[') => Hop::Unreadable,
        hop => hop,
    }
}

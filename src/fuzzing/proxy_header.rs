//! The PROXY protocol's header: read to its end and no further, and as the specification says (R72).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use futures_util::FutureExt as _;

use crate::http::proxy_protocol::{Origin, ProxyHeaderError, read};

/// The first bytes of a connection.
pub fn proxy_header(data: &[u8]) {
    let mut rest = data;
    let ours = read(&mut rest).now_or_never().expect("a slice never waits");
    let taken = data.len() - rest.len();
    match (ours, expected(data)) {
        (Ok(origin), Some((expected, length))) => {
            assert_eq!(origin, expected);
            assert_eq!(taken, length, "the header's length");
            // Whatever follows has no influence, and is left alone.
            let followed = [data.get(..length).unwrap_or_default(), b"GET / HTTP/1.1\r\n"].concat();
            let mut rest = followed.as_slice();
            assert!(read(&mut rest).now_or_never().is_some_and(|again| again.is_ok_and(|again| again == origin)));
            assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        }
        (Err(ProxyHeaderError::Io(_)), None) => assert!(rest.is_empty(), "it said that there was no more"),
        (Err(ProxyHeaderError::Malformed), None) => assert!(taken <= 16 + 4096, "read on without a header"),
        (ours, expected) => panic!("{ours:?} instead of {expected:?}"),
    }
}

/// Who is there, and how long the header is; none if it is no header or goes on.
fn expected(data: &[u8]) -> Option<(Origin, usize)> {
    if data.starts_with(b"\r\n\r\n\0\r\nQUIT\n") { version_2(data) } else { version_1(data) }
}

fn version_1(data: &[u8]) -> Option<(Origin, usize)> {
    let end = data.windows(2).position(|pair| pair == b"\r\n")?;
    let line = str::from_utf8(data.get(..end)?).ok()?;
    // The shortest line has 15 bytes with its end, the longest 107 (section 2.1).
    if !(13..=105).contains(&end) {
        return None;
    }
    let words: Vec<&str> = line.split(' ').collect();
    let origin = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Origin::Socket,
        ["PROXY", family @ ("TCP4" | "TCP6"), peer, local, peer_port, local_port] => {
            let addr = |text: &str| -> Option<IpAddr> {
                match *family {
                    "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
                    _ => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
                }
            };
            // Written as a number is, in one way.
            let port = |text: &str| text.parse::<u16>().ok().filter(|port| port.to_string() == text);
            Origin::Client {
                peer: SocketAddr::new(addr(peer)?, port(peer_port)?),
                local: SocketAddr::new(addr(local)?, port(local_port)?),
            }
        }
        _ => return None,
    };
    Some((origin, end + 2))
}

fn version_2(data: &[u8]) -> Option<(Origin, usize)> {
    let byte = |at: usize| data.get(at).copied();
    let number = |at: usize| Some(u16::from_be_bytes([byte(at)?, byte(at + 1)?]));
    let length = usize::from(number(14)?);
    let whole = data.get(..16 + length)?;
    if length > 4096 {
        return None;
    }
    let v4 = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(whole.get(at..at + 4)?).ok()?));
    let v6 = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(whole.get(at..at + 16)?).ok()?));
    let port = |at: usize| Some(u16::from_be_bytes(<[u8; 2]>::try_from(whole.get(at..at + 2)?).ok()?));
    let origin = match (byte(12)?, byte(13)?) {
        (0x20, _) | (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => Origin::Socket,
        (0x21, 0x11) => {
            Origin::Client { peer: SocketAddr::new(v4(16)?, port(24)?), local: SocketAddr::new(v4(20)?, port(26)?) }
        }
        (0x21, 0x21) => {
            Origin::Client { peer: SocketAddr::new(v6(16)?, port(48)?), local: SocketAddr::new(v6(32)?, port(50)?) }
        }
        _ => return None,
    };
    Some((origin, 16 + length))
}

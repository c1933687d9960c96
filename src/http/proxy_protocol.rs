//! The PROXY protocol, versions 1 and 2, as a load balancer in front speaks it (R72; the specification is HAProxy's
//! `doc/proxy-protocol.txt`). Where a listener has it, it is mandatory and never guessed. Reads not one byte beyond the
//! header; called by [`super::worker`] before anything else is read.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its end included (section 2.1).
const MAX_LINE: usize = 107;
/// The longest block of version 2 that is read: addresses, and more room for TLVs than any balancer uses.
const MAX_BLOCK: usize = 4096;

/// Who is connected to the balancer, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The balancer itself (a health check), or an address of a kind that we have no use for: the socket's own addresses stand.
    Socket,
    /// A client.
    Client { peer: SocketAddr, local: SocketAddr },
}

/// Not a PROXY header, or a broken one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyHeaderError {
    #[error("the connection broke off before its PROXY header was complete")]
    Io(#[from] io::Error),
    #[error("the PROXY header is malformed")]
    Malformed,
}

/// Reads the header at the start of a connection.
pub(crate) async fn read<S: AsyncRead + Unpin>(socket: &mut S) -> Result<Origin, ProxyHeaderError> {
    // The shortest line of version 1 has 15 bytes: reading 12 never reads too far.
    let mut start = [0; SIGNATURE.len()];
    socket.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return read_block(socket).await;
    }
    let mut line = Vec::with_capacity(MAX_LINE);
    line.extend_from_slice(&start);
    while !line.ends_with(b"\r\n") {
        if line.len() == MAX_LINE || !line.starts_with(b"PROXY ") {
            return Err(ProxyHeaderError::Malformed);
        }
        line.push(socket.read_u8().await?);
    }
    parse_line(&line).ok_or(ProxyHeaderError::Malformed)
}

/// Version 1, section 2.1.
fn parse_line(line: &[u8]) -> Option<Origin> {
    let line = std::str::from_utf8(line).ok()?.strip_prefix("PROXY ")?.strip_suffix("\r\n")?;
    let mut words = line.split(' ');
    let (peer, local) = match words.next()? {
        "UNKNOWN" => return Some(Origin::Socket),
        "TCP4" => addresses::<Ipv4Addr>(&mut words)?,
        "TCP6" => addresses::<Ipv6Addr>(&mut words)?,
        _ => return None,
    };
    words.next().is_none().then_some(Origin::Client { peer, local })
}

fn addresses<'a, A: FromStr + Into<IpAddr>>(
    words: &mut impl Iterator<Item = &'a str>,
) -> Option<(SocketAddr, SocketAddr)> {
    let mut address = || words.next()?.parse::<A>().ok().map(Into::into);
    let (peer, local): (IpAddr, IpAddr) = (address()?, address()?);
    // Decimal, without a sign or leading zeros.
    let mut port = || words.next().filter(|word| is_plain_number(word))?.parse::<u16>().ok();
    let (peer_port, local_port) = (port()?, port()?);
    Some((SocketAddr::new(peer, peer_port), SocketAddr::new(local, local_port)))
}

fn is_plain_number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'))
}

/// Version 2 after its signature, section 2.2. What follows the addresses, the TLVs, is skipped by the length of the block and never
/// looked into: none of them changes who the client is.
async fn read_block<S: AsyncRead + Unpin>(socket: &mut S) -> Result<Origin, ProxyHeaderError> {
    let command = socket.read_u8().await?;
    let family = socket.read_u8().await?;
    let length = usize::from(socket.read_u16().await?);
    if length > MAX_BLOCK {
        return Err(ProxyHeaderError::Malformed);
    }
    let mut block = vec![0; length];
    socket.read_exact(&mut block).await?;
    match command {
        0x20 => Ok(Origin::Socket),
        0x21 => parse_block(family, &block).ok_or(ProxyHeaderError::Malformed),
        _ => Err(ProxyHeaderError::Malformed),
    }
}

fn parse_block(family: u8, block: &[u8]) -> Option<Origin> {
    let mut rest = block;
    let (peer, local): (IpAddr, IpAddr) = match family {
        0x11 => (Ipv4Addr::from(chunk::<4>(&mut rest)?).into(), Ipv4Addr::from(chunk::<4>(&mut rest)?).into()),
        0x21 => (Ipv6Addr::from(chunk::<16>(&mut rest)?).into(), Ipv6Addr::from(chunk::<16>(&mut rest)?).into()),
        // Datagrams, Unix sockets, unspecified: legal, and nothing that we could take for a client's address.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => return Some(Origin::Socket),
        _ => return None,
    };
    let peer = SocketAddr::new(peer, u16::from_be_bytes(chunk(&mut rest)?));
    let local = SocketAddr::new(local, u16::from_be_bytes(chunk(&mut rest)?));
    Some(Origin::Client { peer, local })
}

fn chunk<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*chunk)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn header(bytes: &[u8]) -> (Result<Origin, ProxyHeaderError>, usize) {
        let mut rest = bytes;
        let origin = read(&mut rest).now_or_never().expect("a slice never waits");
        (origin, rest.len())
    }

    fn client(peer: &str, local: &str) -> Origin {
        Origin::Client { peer: peer.parse().expect("an address"), local: local.parse().expect("an address") }
    }

    fn block(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    #[test]
    fn r72_both_versions_name_the_client_and_nothing_behind_the_header_is_read() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x34, 0x00, 0x50];
        let mut v6 = [0; 36 + 7];
        (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 3, 4);
        let cases = [
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 4660 80\r\n".to_vec(), client("192.0.2.1:4660", "198.51.100.2:80")),
            (b"PROXY TCP6 ::1 ::2 3 4\r\n".to_vec(), client("[::1]:3", "[::2]:4")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Origin::Socket),
            (b"PROXY UNKNOWN whatever there is\r\n".to_vec(), Origin::Socket),
            (block(0x21, 0x11, &v4), client("192.0.2.1:4660", "198.51.100.2:80")),
            (block(0x21, 0x21, &v6), client("[::1]:3", "[::2]:4")),
            (block(0x20, 0x00, b""), Origin::Socket),
            (block(0x21, 0x31, &[0; 216]), Origin::Socket),
        ];
        for (mut bytes, expected) in cases {
            bytes.extend_from_slice(b"GET / HTTP/1.1");
            let (origin, left) = header(&bytes);
            assert_eq!(origin.expect("a header"), expected);
            assert_eq!(left, 14, "{expected:?}");
        }
    }

    #[test]
    fn r72_what_is_no_header_is_never_taken_for_a_client() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE));
        let cases: [&[u8]; 15] = [
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 4660\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 4660 80 1\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 80\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 +660 80\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 4660 080\r\n",
            b"PROXY TCP4 192.0.2.01 198.51.100.2 4660 80\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 4660 80\n\r\n",
            b"PROXY TCP4 ::1 ::2 4660 80\r\n",
            b"PROXY TCP9 192.0.2.1 198.51.100.2 4660 80\r\n",
            b"PROXY  TCP4 192.0.2.1 198.51.100.2 4660 80\r\n",
            long.as_bytes(),
            &block(0x22, 0x11, &[0; 12]),
            &block(0x21, 0x11, &[0; 11]),
            &block(0x21, 0x11, &[0; MAX_BLOCK + 1]),
        ];
        for bytes in cases {
            assert!(
                matches!(header(bytes).0, Err(ProxyHeaderError::Malformed)),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        assert!(matches!(header(b"PROXY TCP4 1").0, Err(ProxyHeaderError::Io(_))));
    }

    fn tlvs() -> impl Strategy<Value = Vec<u8>> {
        // Sound ones, ones whose length lies, and noise.
        let sound = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(kind, value)| [&[kind, 0, u8::try_from(value.len()).expect("short")][..], &value].concat());
        let lying = (any::<[u8; 3]>(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(head, value)| [&head[..], &value].concat());
        let noise = prop::collection::vec(any::<u8>(), 0..40);
        prop::collection::vec(prop_oneof![sound, lying, noise], 0..20).prop_map(|all| all.concat())
    }

    proptest! {
        #[test]
        fn r72_tlvs_never_change_who_the_client_is_nor_where_the_header_ends(
            tlvs in tlvs(),
            peer in any::<([u8; 4], u16)>(),
            v6 in any::<Option<[u8; 16]>>(),
            behind in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let (family, address, expected): (_, Vec<u8>, IpAddr) = match v6 {
                None => (0x11, peer.0.to_vec(), peer.0.into()),
                Some(v6) => (0x21, v6.to_vec(), v6.into()),
            };
            let ports = [peer.1.to_be_bytes(), 443_u16.to_be_bytes()].concat();
            let body = [&address[..], &address, &ports, &tlvs].concat();
            let bytes = [&block(0x21, family, &body)[..], &behind].concat();
            let (origin, left) = header(&bytes);
            let (peer, local) = (SocketAddr::new(expected, peer.1), SocketAddr::new(expected, 443));
            prop_assert_eq!(origin.expect("a header"), Origin::Client { peer, local });
            prop_assert_eq!(left, behind.len());
            // A health check of the balancer's own may carry them too.
            let (origin, left) = header(&[&block(0x20, 0, &tlvs)[..], &behind].concat());
            prop_assert_eq!((origin.expect("a header"), left), (Origin::Socket, behind.len()));
        }

        #[test]
        fn r72_a_header_that_breaks_off_anywhere_is_none(cut in 0_usize..200, tlvs in tlvs()) {
            let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 4660 80\r\n".to_vec();
            for whole in [line, block(0x21, 0x11, &[&[7; 12][..], &tlvs].concat())] {
                if let Some(part) = whole.get(..cut).filter(|part| part.len() < whole.len()) {
                    prop_assert!(matches!(header(part).0, Err(ProxyHeaderError::Io(_))));
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), version in 0..3) {
            let start: &[u8] = match version { 0 => b"", 1 => b"PROXY TCP4 ", _ => &SIGNATURE };
            let _origin = header(&[start, &bytes].concat());
        }
    }
}

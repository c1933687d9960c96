//! The one grammar that everything the upstream gets must be in (R6), written for these tests alone: nothing in it comes from the
//! code that it judges. Stricter than RFC 9112, which lets a sender choose where readers are known to differ.

use std::net::IpAddr;

/// What a head says, as far as the tests ask.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) framing: Framing,
    /// Bytes up to and with the empty line.
    pub(super) length: usize,
}

/// How long the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(usize),
    Chunked,
}

impl Head {
    /// The only value of a header.
    pub(super) fn only(&self, name: &str) -> Result<Option<&[u8]>, String> {
        let mut lines = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_slice());
        let only = lines.next();
        match lines.next() {
            None => Ok(only),
            Some(_) => Err(format!("{name} comes twice")),
        }
    }
}

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What ends with the client's connection, or tells two readers two things.
const FORBIDDEN: [&str; 17] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "te",
    "trailer",
    "expect",
    "http2-settings",
    "x-hop",
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-user",
    "x-forwarded-scheme",
    "x-forwarded-prefix",
    "x-original-host",
];

/// Reads a head; none if it is not all there. The error says what is wrong.
pub(super) fn head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let mut lines = Lines(&bytes[..end + 2]);
    let (method, target) = request_line(lines.next().ok_or("no request line")?)?;
    let headers = lines.map(header_line).collect::<Result<Vec<_>, _>>()?;
    let mut head = Head { method, target, headers, framing: Framing::Length(0), length: end + 4 };
    head.framing = framing(&head)?;
    connection(&head)?;
    host(head.only("host")?.ok_or("no host")?)?;
    provenance(&head)?;
    Ok(Some(head))
}

/// The body behind a head: its content, and how many bytes it took. None if it is not all there.
pub(super) fn body(framing: Framing, bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    match framing {
        Framing::Length(length) if bytes.len() < length => Ok(None),
        Framing::Length(length) => Ok(Some((bytes[..length].to_vec(), length))),
        Framing::Chunked => chunks(bytes),
    }
}

/// Upper-case sizes without zeros in front, no extensions, no trailers.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else {
            return if bytes.len() - at < 18 { Ok(None) } else { Err("a chunk size without an end".into()) };
        };
        let digits = &bytes[at..at + line];
        let canonical = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'))
            && (digits == b"0" || (!digits.is_empty() && digits[0] != b'0'));
        let size = std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let size = size.filter(|_| canonical).ok_or_else(|| format!("a chunk size {:?}", show(digits)))?;
        at += line + 2;
        if bytes.len() < at + size + 2 {
            return Ok(None);
        }
        if &bytes[at + size..at + size + 2] != b"\r\n" {
            return Err(format!("a chunk that does not end: {:?}", show(&bytes[at..])));
        }
        content.extend_from_slice(&bytes[at..at + size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((content, at)));
        }
    }
}

/// The lines before an empty one. Each ends in CRLF and holds neither CR nor LF.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = find(self.0, b"\r\n")?;
        let (line, rest) = self.0.split_at(end);
        self.0 = &rest[2..];
        Some(line)
    }
}

fn request_line(line: &[u8]) -> Result<(String, String), String> {
    let wrong = || format!("a request line {:?}", show(line));
    let line = std::str::from_utf8(line).map_err(|_| wrong())?;
    let [method, target, "HTTP/1.1"] = line.split(' ').collect::<Vec<_>>()[..] else { return Err(wrong()) };
    let target_is_fine = if target == "*" { method == "OPTIONS" } else { origin_form(target) };
    if !METHODS.contains(&method) || !target_is_fine {
        return Err(wrong());
    }
    Ok((method.to_owned(), target.to_owned()))
}

fn origin_form(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut segments = path.split('/').skip(1).peekable();
    let mut fine = path.starts_with('/') && query.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b'#');
    while let Some(segment) = segments.next() {
        let name = segment.split(';').next().unwrap_or_default();
        fine &= name != "." && name != ".." && (!segment.is_empty() || segments.peek().is_none()) && pchars(segment);
    }
    fine
}

/// RFC 3986, section 3.3, each character in its one normal spelling (section 6.2.2).
fn pchars(segment: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'%' => {
                let (high, low) = (bytes.next().unwrap_or(b'%'), bytes.next().unwrap_or(b'%'));
                let value = |digit: u8| b"0123456789ABCDEF".iter().position(|known| *known == digit);
                match (value(high), value(low)) {
                    (Some(high), Some(low)) => {
                        let decoded = u8::try_from(high * 16 + low).unwrap_or(0);
                        !unreserved(decoded) && !matches!(decoded, 0 | b'/' | b'\\')
                    }
                    (None, _) | (_, None) => false,
                }
            }
            byte => unreserved(byte) || b"!$&'()*+,;=:@".contains(&byte),
        };
        if !fine {
            return false;
        }
    }
    true
}

fn header_line(line: &[u8]) -> Result<(String, Vec<u8>), String> {
    let wrong = || format!("a header line {:?}", show(line));
    let colon = line.iter().position(|byte| *byte == b':').ok_or_else(wrong)?;
    let (name, value) = (&line[..colon], line[colon + 1..].strip_prefix(b" ").ok_or_else(wrong)?);
    let in_names = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9') || b"!#$%&'*+-.^`|~".contains(byte);
    let in_values = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    let padded =
        value.first().is_some_and(u8::is_ascii_whitespace) || value.last().is_some_and(u8::is_ascii_whitespace);
    if name.is_empty() || !name.iter().all(in_names) || padded || !value.iter().all(in_values) {
        return Err(wrong());
    }
    let name = String::from_utf8_lossy(name).into_owned();
    if FORBIDDEN.contains(&name.as_str()) {
        return Err(format!("a header that ends here: {name}"));
    }
    Ok((name, value.to_vec()))
}

/// A length or chunks, never both, and a body where the method has one.
fn framing(head: &Head) -> Result<Framing, String> {
    let coding = head.only("transfer-encoding")?;
    match (head.only("content-length")?, coding) {
        (None, Some(b"chunked")) => Ok(Framing::Chunked),
        (Some(digits), None) => {
            let canonical = digits.iter().all(u8::is_ascii_digit) && (digits == b"0" || digits.first() != Some(&b'0'));
            let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            length.filter(|_| canonical).map(Framing::Length).ok_or_else(|| format!("a length {:?}", show(digits)))
        }
        (None, None) if matches!(head.method.as_str(), "POST" | "PUT" | "PATCH") => Err("no length at all".into()),
        (None, None) => Ok(Framing::Length(0)),
        (_, Some(coding)) => Err(format!("a transfer coding {:?}", show(coding))),
    }
}

/// Only a WebSocket is asked for, and in full.
fn connection(head: &Head) -> Result<(), String> {
    match (head.only("connection")?, head.only("upgrade")?) {
        (None, None) => Ok(()),
        (Some(b"upgrade"), Some(b"websocket")) if head.method == "GET" && head.framing == Framing::Length(0) => Ok(()),
        (connection, upgrade) => Err(format!("connection {connection:?}, upgrade {upgrade:?}")),
    }
}

fn host(host: &[u8]) -> Result<(), String> {
    let in_hosts = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte);
    if host.is_empty() || !host.iter().all(in_hosts) { Err(format!("a host {:?}", show(host))) } else { Ok(()) }
}

/// Who sent it, by us and nobody else: every client of these tests claims to be `evil` somebody if it claims anything.
fn provenance(head: &Head) -> Result<(), String> {
    let client = head.only("x-forwarded-for")?.and_then(|value| std::str::from_utf8(value).ok());
    let client = client.and_then(|text| text.parse::<IpAddr>().ok()).ok_or("no x-forwarded-for of ours")?;
    // The private and the example address are gunicorn's, in PROXY headers.
    let (known, spelled) = match client {
        IpAddr::V4(v4) => (v4.is_loopback() || v4.is_private(), format!("for={v4};")),
        IpAddr::V6(v6) => (v6.segments()[..2] == [0x2001, 0xdb8], format!("for=\"[{v6}]\";")),
    };
    if !known || head.only("x-real-ip")? != head.only("x-forwarded-for")? {
        return Err(format!("a client {client}"));
    }
    for (name, value) in &head.headers {
        let ours = name.starts_with("x-forwarded") || name == "forwarded" || name == "x-real-ip";
        if ours && find(value, b"evil").is_some() {
            return Err(format!("{name} of the client's own: {:?}", show(value)));
        }
    }
    let forwarded = head.only("forwarded")?.ok_or("no forwarded")?;
    if !forwarded.starts_with(spelled.as_bytes()) {
        return Err(format!("forwarded {:?}", show(forwarded)));
    }
    let via = head.headers.iter().filter(|(name, _)| name == "via").map(|(_, value)| value).next_back();
    let ours = |via: &Vec<u8>| via.starts_with(b"1.1 authferry-") && via.len() == "1.1 authferry-".len() + 8;
    if via.is_some_and(ours) { Ok(()) } else { Err(format!("via {:?}", via.map(|via| show(via)))) }
}

/// Where some bytes first are.
pub(super) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == first)?;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// Bytes for a message, not too many of them.
pub(super) fn show(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(400)];
    let more =
        if cut.len() < bytes.len() { format!(" and {} bytes more", bytes.len() - cut.len()) } else { String::new() };
    format!("{}{more}", cut.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "POST /a/b%20c?d=%zz HTTP/1.1\r\nhost: a.example:80\r\nx-a: b\r\ncontent-length: 2\r\nx-forwarded-for: 127.0.0.1\r\n\
        x-real-ip: 127.0.0.1\r\nforwarded: for=127.0.0.1;host=\"a\";proto=http\r\nvia: 1.1 authferry-00000001\r\n\r\nok";

    fn judged(text: &str) -> Result<Option<Head>, String> {
        head(text.as_bytes())
    }

    #[test]
    fn what_is_canonical_is_read() {
        let head = judged(FINE).expect("canonical").expect("whole");
        assert_eq!((head.method.as_str(), head.target.as_str()), ("POST", "/a/b%20c?d=%zz"));
        assert_eq!(body(head.framing, &FINE.as_bytes()[head.length..]), Ok(Some((b"ok".to_vec(), 2))));
        let chunked = judged(&FINE.replace("content-length: 2", "transfer-encoding: chunked"))
            .expect("canonical")
            .expect("whole");
        assert_eq!(chunked.framing, Framing::Chunked);
        assert_eq!(
            body(Framing::Chunked, b"2\r\nok\r\nA\r\n0123456789\r\n0\r\n\r\nG"),
            Ok(Some((b"ok0123456789".to_vec(), 27)))
        );
        for unfinished in ["2\r\nok\r\n0\r\n", "2\r\no", "2", ""] {
            assert_eq!(body(Framing::Chunked, unfinished.as_bytes()), Ok(None), "{unfinished}");
        }
        assert!(judged(&FINE[..FINE.len() - 4]).is_ok_and(|head| head.is_none()));
    }

    #[test]
    fn everything_else_is_named() {
        for (from, to) in [
            ("POST", "post"),
            ("POST", "TRACE"),
            ("POST /a", "POST  /a"),
            ("POST /a", "POST //a"),
            ("POST /a", "POST /./a"),
            ("POST /a", "POST /..;x/a"),
            ("POST /a", "POST http://a/a"),
            ("POST /a", "POST *a"),
            ("b%20c", "b%2fc"),
            ("b%20c", "b%5Cc"),
            ("b%20c", "b%00c"),
            ("b%20c", "b%41c"),
            ("b%20c", "b%c3%A9c"),
            ("b%20c", "b%2"),
            ("b%20c", "b\"c"),
            ("?d", "?#d"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("x-a: b", "X-A: b"),
            ("x-a: b", "x_a: b"),
            ("x-a: b", "x-a:b"),
            ("x-a: b", "x-a:  b"),
            ("x-a: b", "x-a: b "),
            ("x-a: b", "x-a : b"),
            ("x-a: b", "x-a: b\nc: d"),
            ("x-a: b", "x-a: b\r c"),
            ("x-a: b", "x-a: b\r\n c"),
            ("x-a: b", "x-a: b\0"),
            ("x-a: b", "x-a"),
            ("x-a: b", ": b"),
            ("x-a: b", "connection: close"),
            ("x-a: b", "connection: upgrade\r\nupgrade: websocket"),
            ("x-a: b", "upgrade: h2c"),
            ("x-a: b", "expect: 100-continue"),
            ("x-a: b", "te: trailers"),
            ("x-a: b", "host: b"),
            ("x-a: b", "content-length: 2"),
            ("x-a: b", "transfer-encoding: chunked"),
            ("x-a: b", "x-forwarded-for: 127.0.0.1"),
            ("x-a: b", "x-forwarded-host: evil"),
            ("content-length: 2", "content-length: 02"),
            ("content-length: 2", "content-length: +2"),
            ("content-length: 2", "content-length: 2, 2"),
            ("content-length: 2", "transfer-encoding: Chunked"),
            ("content-length: 2\r\n", ""),
            ("host: a.example:80\r\n", ""),
            ("host: a.example:80", "host: "),
            ("host: a.example:80", "host: a b"),
            ("x-forwarded-for: 127.0.0.1", "x-forwarded-for: 8.8.8.8"),
            ("x-forwarded-for: 127.0.0.1", "x-forwarded-for: 127.0.0.2"),
            ("forwarded: for=127.0.0.1;", "forwarded: for=9.9.9.9;"),
            ("via: 1.1 authferry-00000001\r\n", ""),
            ("via: 1.1 authferry-00000001", "via: 1.1 other"),
        ] {
            let changed = FINE.replacen(from, to, 1);
            assert_ne!(changed, FINE, "{from}");
            assert!(judged(&changed).is_err(), "{changed}");
        }
        for chunks in [
            "02\r\nok\r\n0\r\n\r\n",
            "2;a\r\nok\r\n0\r\n\r\n",
            "a\r\n0123456789\r\n",
            "2\r\nokk\r\n",
            "\r\n",
            "00\r\n\r\n",
            "0\r\nx: y\r\n\r\n",
        ] {
            assert!(body(Framing::Chunked, chunks.as_bytes()).is_err(), "{chunks}");
        }
    }
}

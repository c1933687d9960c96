//! The head of an answer: parsed once [`super::super::guard`] has passed it, held to one meaning about where its body ends (RFC 9112 section
//! 6.3), and what it says of the connection. Copies no value: they are slices of what was read. Pure.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use hyper::ext::ReasonPhrase;

use super::super::hop_by_hop::has_option;
use super::Fault;
use super::framing::Framing;

/// The most header lines of an answer.
const MAX_LINES: usize = 100;

/// What an answer begins with.
#[derive(Debug)]
pub(in crate::net) struct AnswerHead {
    pub(in crate::net) status: StatusCode,
    pub(in crate::net) version: Version,
    pub(in crate::net) headers: HeaderMap,
    /// Where it is not the usual one.
    pub(in crate::net) reason: Option<ReasonPhrase>,
    /// Whether the connection goes on after the answer.
    pub(super) persists: bool,
}

/// The head of the answer to a request with everything that was read of it, interim answers included, which are passed over; how its body
/// ends; and what was read behind it. `headers` is an empty map to be used.
pub(super) fn parse(
    mut read: Bytes,
    mut headers: HeaderMap,
    to_head: bool,
) -> Result<(AnswerHead, Framing, Bytes), Fault> {
    loop {
        let mut lines = [const { MaybeUninit::uninit() }; MAX_LINES];
        let mut answer = httparse::Response::new(&mut []);
        let length = match httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut answer,
            &read,
            &mut lines,
        )? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Err(Fault::Incomplete),
        };
        let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(httparse::Error::Status)?;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            let _passed_over = read.split_to(length);
            continue;
        }
        let version = if answer.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
        let reason = answer.reason.filter(|reason| Some(*reason) != status.canonical_reason());
        let reason = reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok());
        headers.reserve(answer.headers.len());
        let mut frames = Framed::default();
        for line in answer.headers.iter() {
            let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| httparse::Error::HeaderName)?;
            let value = read.slice_ref(line.value);
            let value = HeaderValue::from_maybe_shared(value).map_err(|_| httparse::Error::HeaderValue)?;
            frames.coded |= name == TRANSFER_ENCODING;
            frames.measured |= name == CONTENT_LENGTH;
            frames.connected |= name == CONNECTION;
            headers.append(name, value);
        }
        let behind = read.split_off(length);
        let framing = framing(status, version, &headers, frames, to_head).map_err(Fault::Malformed)?;
        let persists = persists(version, &headers, frames) && status != StatusCode::SWITCHING_PROTOCOLS;
        return Ok((AnswerHead { status, version, headers, reason, persists }, framing, behind));
    }
}

/// Which of the fields that frame an answer it has. Noted while they are read: asking the map for each costs more.
#[derive(Debug, Clone, Copy, Default)]
struct Framed {
    coded: bool,
    measured: bool,
    connected: bool,
}

/// How an answer's body ends. Finds fault with every answer whose end a next reader could take for another than ours.
fn framing(
    status: StatusCode,
    version: Version,
    headers: &HeaderMap,
    has: Framed,
    to_head: bool,
) -> Result<Framing, &'static str> {
    if has.coded {
        if has.measured {
            return Err("it has both a length and a transfer encoding");
        }
        let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
        let encoding = encodings.next().map_or(&b""[..], HeaderValue::as_bytes);
        if encodings.next().is_some() || !encoding.eq_ignore_ascii_case(b"chunked") {
            return Err("its transfer encoding is not just chunked");
        }
        if version != Version::HTTP_11 || status == StatusCode::NO_CONTENT {
            return Err("it has a transfer encoding and can have none");
        }
    }
    let mut lengths = has.measured.then(|| headers.get_all(CONTENT_LENGTH).iter()).into_iter().flatten();
    let length = match lengths.next() {
        None => None,
        Some(length) => {
            // In an answer to HEAD, and in a 304, too, where nobody reads a body by it: it goes on.
            let is_number = (1..=19).contains(&length.len()) && length.as_bytes().iter().all(u8::is_ascii_digit);
            let number = length.to_str().ok().filter(|_| is_number).and_then(|digits| digits.parse::<u64>().ok());
            match number {
                Some(number) if lengths.next().is_none() => Some(number),
                Some(_) | None => return Err("its length is not one number"),
            }
        }
    };
    if !to_head && status == StatusCode::NO_CONTENT && length.is_some_and(|length| length != 0) {
        return Err("it has a length and can have no body");
    }
    let has_none = [StatusCode::SWITCHING_PROTOCOLS, StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
    if to_head || has_none.contains(&status) {
        return Ok(Framing::default());
    }
    Ok(match length {
        _ if has.coded => Framing::chunked(),
        Some(length) => Framing::of_length(length),
        None => Framing::until_closed(),
    })
}

/// RFC 9112, section 9.3.
fn persists(version: Version, headers: &HeaderMap, has: Framed) -> bool {
    if !has.connected {
        return version == Version::HTTP_11;
    }
    let says = |option: &[u8]| headers.get_all(CONNECTION).iter().any(|line| has_option(line, option));
    !says(b"close") && (version == Version::HTTP_11 || says(b"keep-alive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, to_head: bool) -> Result<(AnswerHead, Framing, Bytes), Fault> {
        parse(Bytes::copy_from_slice(text.as_bytes()), HeaderMap::new(), to_head)
    }

    #[test]
    fn an_answer_ends_where_rfc_9112_says() {
        for (head, to_head, ends) in [
            ("200 OK\r\ncontent-length: 5\r\n", false, Framing::of_length(5)),
            ("200 OK\r\ncontent-length: 5\r\n", true, Framing::default()),
            ("304 Not Modified\r\ncontent-length: 5\r\n", false, Framing::default()),
            ("204 No Content\r\n", false, Framing::default()),
            ("204 No Content\r\ncontent-length: 0\r\n", false, Framing::default()),
            ("101 Switching\r\n", false, Framing::default()),
            ("200 OK\r\ntransfer-encoding: Chunked\r\n", false, Framing::chunked()),
            ("200 OK\r\ntransfer-encoding: chunked\r\n", true, Framing::default()),
            ("200 OK\r\n", false, Framing::until_closed()),
            (
                "100 Continue\r\n\r\nHTTP/1.1 103 Early\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n",
                false,
                Framing::of_length(0),
            ),
        ] {
            let (answer, framing, behind) = parsed(&format!("HTTP/1.1 {head}\r\nbehind"), to_head).expect(head);
            assert_eq!((format!("{framing:?}"), &behind[..]), (format!("{ends:?}"), &b"behind"[..]), "{head}");
            assert!(answer.headers.get("a").is_none(), "of an interim answer");
        }
    }

    #[test]
    fn r20_an_answer_that_may_end_elsewhere_for_others_is_malformed() {
        for head in [
            "1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n",
            "1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n",
            "1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "1.0 200 OK\r\ntransfer-encoding: chunked\r\n",
            "1.1 204 No Content\r\ntransfer-encoding: chunked\r\n",
            "1.1 204 No Content\r\ncontent-length: 5\r\n",
            "1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n",
            "1.1 200 OK\r\ncontent-length: 5, 5\r\n",
            "1.1 200 OK\r\ncontent-length: +5\r\n",
            "1.1 200 OK\r\ncontent-length:\r\n",
            "1.1 200 OK\r\ncontent-length: 12345678901234567890\r\n",
            "1.1 304 Not Modified\r\ncontent-length: x\r\n",
            "1.1 200 OK\r\nbad name: a\r\n",
            "1.1 200 OK\r\nname : a\r\n",
            "1.1 200 OK\r\nno colon\r\n",
        ] {
            assert!(parsed(&format!("HTTP/{head}\r\n"), false).is_err(), "{head}");
        }
        let many = "a: b\r\n".repeat(MAX_LINES + 1);
        assert!(parsed(&format!("HTTP/1.1 200 OK\r\n{many}\r\n"), false).is_err());
    }

    #[test]
    fn a_connection_goes_on_unless_either_says_otherwise() {
        for (head, goes_on) in [
            ("1.1 200 OK\r\n", true),
            ("1.1 200 OK\r\nconnection: x\r\n", true),
            ("1.1 200 OK\r\nconnection: keep-alive\r\nconnection: x, Close\r\n", false),
            ("1.1 101 Switching\r\nconnection: upgrade\r\n", false),
            ("1.0 200 OK\r\n", false),
            ("1.0 200 OK\r\nconnection: Keep-Alive\r\n", true),
            ("1.0 200 OK\r\nconnection: close, keep-alive\r\n", false),
        ] {
            assert_eq!(parsed(&format!("HTTP/{head}\r\n"), false).expect(head).0.persists, goes_on, "{head}");
        }
    }

    #[test]
    fn a_reason_of_its_own_is_kept() {
        let reason = |text: &str| parsed(text, false).expect(text).0.reason.map(|reason| reason.as_bytes().to_vec());
        assert_eq!(reason("HTTP/1.1 200 OK\r\n\r\n"), None);
        assert_eq!(reason("HTTP/1.1 200 Fine\r\n\r\n"), Some(b"Fine".to_vec()));
    }
}

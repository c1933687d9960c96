//! Streams that hyper would take, and what becomes of them.

use proptest::prelude::*;

use super::*;
use crate::http::gate::MAX_HEADER_LINES;

const RULES: HeadRules = HeadRules { head_bytes: 16 * 1024, uri_bytes: 8 * 1024, paths: PathPolicy::Strict };

/// The reason that a stream is refused for, if it is, and how much of it is passed.
fn judged(stream: &[u8], rules: HeadRules) -> (usize, Option<&'static str>) {
    let scanned = Scanner::new(rules).feed_all(stream);
    (scanned.passed, word(scanned.then))
}

fn word(then: Then) -> Option<&'static str> {
    match then {
        Then::More => None,
        Then::Another => Some("another"),
        Then::Waiting => Some("waiting"),
        Then::Refused { refusal, .. } => Some(refusal.reason),
        Then::Broken(fault) => Some(fault.as_str()),
    }
}

/// Why this one head is refused; `None` if it is passed.
fn head(head: impl AsRef<[u8]>) -> Option<&'static str> {
    let head = head.as_ref();
    let (passed, reason) = judged(head, RULES);
    assert_eq!(passed, if matches!(reason, None | Some("waiting")) { head.len() } else { 0 }, "{}", show(head));
    reason
}

fn with(fields: &str) -> Option<&'static str> {
    head(format!("POST /login HTTP/1.1\r\nhost: app\r\n{fields}\r\n"))
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[test]
fn an_ordinary_head_is_passed() {
    for text in [
        "GET / HTTP/1.1\r\nhost: app\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nhost: app\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost:app\r\n\r\n",
        "GET http://app/x?y HTTP/1.1\r\nHost: app\r\n\r\n",
        "GET HTTPS://[::1]:8443 HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n",
        "GET http://app?q HTTP/1.0\r\nHost: app\r\nx:\r\ny: \t a\tb é \t\r\n\r\n",
        "get /%zz\\//..?a=%00 HTTP/1.1\r\nhost: app\r\n!#$%&'*+-.^_`|~0: x\r\n\r\n",
        "HEAD / HTTP/1.0\r\nhost: \r\nConnection: keep-alive\r\n\r\n",
    ] {
        assert_eq!(head(text), None, "{text}");
    }
}

#[test]
fn a_request_line_is_method_target_version_with_one_space_between() {
    for (line, reason) in [
        ("GET  / HTTP/1.1\r\n", "request_line"),
        (" GET / HTTP/1.1\r\n", "request_line"),
        ("GET / HTTP/1.1 \r\n", "request_line"),
        ("GET /  HTTP/1.1\r\n", "request_line"),
        ("GET /a b HTTP/1.1\r\n", "request_line"),
        ("GET\t/ HTTP/1.1\r\n", "request_line"),
        ("GET /\tHTTP/1.1\r\n", "target_control_byte"),
        ("GET /\r\n", "request_line"),
        ("GET /\n", "request_line"),
        ("GET\r\n", "request_line"),
        ("GET / HTTP/1.1\n", "line_ending"),
        ("GET / HTTP/1.1\r\r\n", "line_ending"),
        ("GET / HTTP/1.1\rX", "line_ending"),
        ("\nGET / HTTP/1.1\r\n", "request_line"),
        ("\r\n\r\nGET / HTTP/1.1\r\n", "request_line"),
        ("\rGET / HTTP/1.1\r\n", "request_line"),
        ("G(T / HTTP/1.1\r\n", "request_line"),
        ("!refused / HTTP/1.1\r\n", "request_line"),
        ("\u{16}\u{3}\u{1}", "request_line"),
        ("GET / http/1.1\r\n", "request_line"),
        ("GET / HTTP/1\r\n", "request_line"),
        ("GET / HTTP/1.11\r\n", "request_line"),
        ("GET / HTTP/01.1\r\n", "request_line"),
        ("GET / HTTP/1,1\r\n", "request_line"),
        ("GET / HTP/1.1\r\n", "request_line"),
        ("GET / HTTP/1.2\r\n", "http_version"),
        ("GET / HTTP/0.9\r\n", "http_version"),
        ("GET / HTTP/2.0\r\n", "http_version"),
        ("PRI * HTTP/2.0\r\n", "http_version"),
        ("GET * x", "request_line"),
        ("GET *x HTTP/1.1\r\n", "target_malformed"),
        ("GET app HTTP/1.1\r\n", "path_not_absolute"),
        ("GET app:80 HTTP/1.1\r\n", "path_not_absolute"),
        ("GET 127.0.0.1:80 HTTP/1.1\r\n", "path_not_absolute"),
        ("GET ?a HTTP/1.1\r\n", "target_malformed"),
        ("GET ftp://app/ HTTP/1.1\r\n", "scheme"),
        ("GET http:/app/ HTTP/1.1\r\n", "path_not_absolute"),
        ("GET http:///x HTTP/1.1\r\n", "host"),
        ("GET http://user@app/x HTTP/1.1\r\n", "host"),
        ("GET http://a:b:c/x HTTP/1.1\r\n", "host"),
        ("GET http://[::1/x HTTP/1.1\r\n", "host"),
        ("GET /#frag HTTP/1.1\r\n", "target_fragment"),
        ("GET /?a#frag HTTP/1.1\r\n", "target_fragment"),
        ("GET http://app#frag HTTP/1.1\r\n", "target_fragment"),
        ("GET /é HTTP/1.1\r\n", "target_not_ascii"),
        ("GET /?é HTTP/1.1\r\n", "target_not_ascii"),
        ("GET /\0 HTTP/1.1\r\n", "target_control_byte"),
        ("GET /\u{7f} HTTP/1.1\r\n", "target_control_byte"),
        ("GET /<x> HTTP/1.1\r\n", "target_malformed"),
        ("CONNECT app:443 HTTP/1.1\r\n", "method_not_allowed"),
    ] {
        assert_eq!(judged(line.as_bytes(), RULES), (0, Some(reason)), "{}", show(line.as_bytes()));
    }
    let long = format!("{} / HTTP/1.1\r\n", "A".repeat(25));
    assert_eq!(head(long), Some("method_unknown"));
    let host = format!("GET http://{}/ HTTP/1.1\r\n", "a".repeat(263));
    assert_eq!(head(host), Some("host"));
}

#[test]
fn a_tolerant_edge_takes_bytes_over_127_that_are_utf8_and_no_others() {
    let rules = HeadRules { paths: PathPolicy::Tolerant, ..RULES };
    let judge = |target: &[u8]| judged(&[b"GET ", target, b" HTTP/1.1\r\nhost: a\r\n\r\n"].concat(), rules).1;
    assert_eq!(judge("/é/ü?ß=x".as_bytes()), None);
    for target in [&b"/\xc3"[..], b"/\xc3?\xa9", b"/\xc3/\xa9", b"/x?\xa9\xc3", b"/\xff"] {
        assert_eq!(judge(target), Some("target_malformed"), "{}", show(target));
    }
    assert_eq!(judge("/é#x".as_bytes()), Some("target_fragment"));
}

#[test]
fn r1_to_r4_the_length_of_a_body_has_one_answer() {
    for (fields, reason) in [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "length_and_coding"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "length_and_coding"),
        ("Content-Length: 3\r\nContent-Length: 3\r\n", "content_length"),
        ("Content-Length: 3\r\ncontent-length: 4\r\n", "content_length"),
        ("Content-Length: 3, 3\r\n", "content_length"),
        ("Content-Length: +3\r\n", "content_length"),
        ("Content-Length: -3\r\n", "content_length"),
        ("Content-Length: 0x3\r\n", "content_length"),
        ("Content-Length: 3 3\r\n", "content_length"),
        ("Content-Length:\r\n", "content_length"),
        ("Content-Length: 3.0\r\n", "content_length"),
        ("Content-Length: 3;\r\n", "content_length"),
        ("Content-Length: ३\r\n", "content_length"),
        ("Content-Length: 99999999999999999999\r\n", "content_length"),
        ("Content-Length: 00000000000000000003\r\n", "content_length"),
        ("Transfer-Encoding: gzip, chunked\r\n", "transfer_encoding"),
        ("Transfer-Encoding: chunked, chunked\r\n", "transfer_encoding"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "transfer_encoding"),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "transfer_encoding"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "transfer_encoding"),
        ("Transfer-Encoding: xchunked\r\n", "transfer_encoding"),
        ("Transfer-Encoding: chunked;q=1\r\n", "transfer_encoding"),
        ("Transfer-Encoding: \"chunked\"\r\n", "transfer_encoding"),
        ("Transfer-Encoding: ,chunked\r\n", "transfer_encoding"),
        ("Transfer-Encoding:\r\n", "transfer_encoding"),
        ("Transfer-Encoding: \u{b}chunked\r\n", "header_control_byte"),
        ("Transfer-Encoding : chunked\r\n", "header_name"),
        ("Transfer-Encoding\t: chunked\r\n", "header_name"),
        ("Transfer-Encoding:\r\n chunked\r\n", "transfer_encoding"),
        ("Transfer-Encoding: chunked\r\n , identity\r\n", "header_fold"),
        ("Transfer-Encoding: chunked\n", "line_ending"),
        ("Content-Length: 3\nx: y\r\n", "line_ending"),
        ("Content-Length: 3\rx: y\r\n", "line_ending"),
        ("Content-Length: 3\r\r\n", "line_ending"),
    ] {
        assert_eq!(with(fields), Some(reason), "{fields:?}");
    }
    for fields in [
        "Content-Length: \t0 \t\r\n",
        "Content-Length: 0000000000000000000\r\n",
        "Transfer-Encoding: \tChUnKeD\t \r\n",
        "TRANSFER-ENCODING:chunked\r\n",
        "X-Content-Length: 1, 2\r\nContent-Length-X: a\r\n",
    ] {
        assert_eq!(with(fields), None, "{fields:?}");
    }
}

#[test]
fn r3_http_1_0_has_no_transfer_codings_and_no_body_without_a_length() {
    let old = |rest: &str| judged(format!("POST / HTTP/1.0\r\nhost: a\r\n{rest}").as_bytes(), RULES);
    assert_eq!(old("Transfer-Encoding: chunked\r\n\r\n").1, Some("transfer_encoding"));
    assert_eq!(old("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n").1, Some("transfer_encoding"));
    assert_eq!(old("Content-Length: 3\r\n\r\nabc").1, None);
    let (passed, reason) = old("\r\n{\"close\":\"delimited\"}");
    assert_eq!((passed, reason), ("POST / HTTP/1.0\r\nhost: a\r\n\r\n".len(), Some("request_line")));
}

#[test]
fn r7_a_head_names_one_host() {
    assert_eq!(head("GET / HTTP/1.1\r\n\r\n"), Some("host"));
    assert_eq!(head("GET / HTTP/1.0\r\n\r\n"), None, "left to the gate");
    assert_eq!(head("GET / HTTP/1.1\r\nhost: a\r\nHOST: a\r\n\r\n"), Some("host"));
    assert_eq!(head("GET / HTTP/1.0\r\nhost: a\r\nHost: a\r\n\r\n"), Some("host"));
    assert_eq!(head("GET / HTTP/1.1\r\nhost : a\r\n\r\n"), Some("header_name"));
    assert_eq!(head("GET / HTTP/1.1\r\n host: a\r\n\r\n"), Some("header_name"));
}

#[test]
fn r15_every_byte_has_its_places_in_a_head() {
    for byte in 0..=u8::MAX {
        let at = |before: &str, after: &str| {
            let stream = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            judged(&stream, RULES).1.is_none()
        };
        let name = http::HeaderName::from_bytes(&[byte]).is_ok();
        assert_eq!(at("GET / HTTP/1.1\r\nhost: a\r\nx", "y: z\r\n\r\n"), name || byte == b':', "name {byte}");
        let value = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        assert_eq!(at("GET / HTTP/1.1\r\nhost: a\r\nx: a", "b\r\n\r\n"), value, "value {byte}");
        let tails = at("GET / HTTP/1.1\r\nhost: a\r\nx: abcdefghijklmnopqrstuvwxyz", "0123456789\r\n\r\n");
        assert_eq!(tails, value, "long value {byte}");
        let method = http::Method::from_bytes(&[b'A', byte]).is_ok() || byte == b' ';
        assert_eq!(at("A", if byte == b' ' { "/ H" } else { " / H" }), method, "method {byte}");
    }
}

#[test]
fn r21_the_target_the_head_and_its_lines_are_bounded_to_the_byte() {
    let rules = HeadRules { head_bytes: 300, uri_bytes: 100, ..RULES };
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(length - 1));
    assert_eq!(judged(target(100).as_bytes(), rules).1, None);
    assert_eq!(judged(target(101).as_bytes(), rules), (0, Some("uri_too_long")));
    let absolute = |length: usize| format!("GET http://a?{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(length - 9));
    assert_eq!(judged(absolute(100).as_bytes(), rules).1, None);
    assert_eq!(judged(absolute(101).as_bytes(), rules), (0, Some("uri_too_long")));

    for blank in ["", "\r\n"] {
        let rest = "GET / HTTP/1.1\r\nhost: a\r\nx: \r\n\r\n".len();
        let long =
            |length: usize| format!("{blank}GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(length - rest));
        assert_eq!(judged(long(300).as_bytes(), rules).1, None);
        assert_eq!(judged(long(301).as_bytes(), rules), (0, Some("head_too_large")));
    }
    let endless = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(300));
    assert_eq!(judged(endless.as_bytes(), rules), (0, Some("head_too_large")));

    let lines = |count: usize| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x:\r\n".repeat(count - 1));
    assert_eq!(head(lines(MAX_HEADER_LINES)), None);
    assert_eq!(head(lines(MAX_HEADER_LINES + 1)), Some("head_too_large"));
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn r5_chunks_are_read_in_one_way() {
    let judge = |body: &str| {
        let (passed, reason) = judged(format!("{CHUNKED}{body}").as_bytes(), RULES);
        reason.map(|reason| (passed - CHUNKED.len(), reason))
    };
    for body in [
        "0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "A\r\n0123456789\r\n0\r\n\r\n",
        "a\r\n0123456789\r\n000\r\n\r\n",
        "0000000000000003\r\nabc\r\n0\r\n\r\n",
        "3;a=b\r\nabc\r\n0;c\r\n\r\n",
        "3; \ta=\"b;c\"\t;d\r\nabc\r\n0\r\n\r\n",
        "0\r\nx: y\r\nexpires: \tnow\r\n\r\n",
        "3\r\n\r\n\n\r\n0\r\n\r\n",
    ] {
        assert_eq!(judge(body), None, "{body:?}");
        assert_eq!(judge(&format!("{body}{NEXT}")), None, "{body:?} and another");
        let (_, reason) = judged(format!("{CHUNKED}{body}X").as_bytes(), RULES);
        assert_eq!(reason, None, "{body:?} ends where it ends");
        assert_eq!(judge(&format!("{body}\0")), Some((body.len(), "request_line")), "{body:?} ends where it ends");
    }
    for (body, at, reason) in [
        ("\r\n", 0, "chunk_size"),
        (" 3\r\n", 0, "chunk_size"),
        ("3 \r\n", 1, "chunk_size"),
        ("3\t;a\r\n", 1, "chunk_size"),
        ("0x3\r\n", 1, "chunk_size"),
        ("-1\r\n", 0, "chunk_size"),
        ("+3\r\n", 0, "chunk_size"),
        ("g\r\n", 0, "chunk_size"),
        ("3_0\r\n", 1, "chunk_size"),
        (";a\r\n", 0, "chunk_size"),
        ("00000000000000003\r\n", 16, "chunk_size"),
        ("10000000000000000\r\n", 16, "chunk_size"),
        ("3\nabc\r\n", 1, "chunk_ending"),
        ("3\r\r\n", 2, "chunk_ending"),
        ("3\rabc", 2, "chunk_ending"),
        ("3\r\nabcd\r\n", 6, "chunk_ending"),
        ("3\r\nabc\n0\r\n", 6, "chunk_ending"),
        ("3\r\nabc\r0\r\n", 7, "chunk_ending"),
        ("3\r\nabc0\r\n", 6, "chunk_ending"),
        ("0\r\n\n", 3, "chunk_trailer"),
        ("0\r\n\rX", 4, "chunk_ending"),
        ("0\n\r\n", 1, "chunk_ending"),
        ("3;\r\n", 2, "chunk_extension"),
        ("3;=b\r\n", 2, "chunk_extension"),
        ("3;a\nb\r\n", 3, "chunk_ending"),
        ("3;a\u{1}\r\n", 3, "chunk_extension"),
        ("3;a\rb", 4, "chunk_ending"),
        ("0\r\n: y\r\n", 3, "chunk_trailer"),
        ("0\r\n x: y\r\n", 3, "chunk_trailer"),
        ("0\r\nx : y\r\n", 4, "chunk_trailer"),
        ("0\r\nx\r\n", 4, "chunk_trailer"),
        ("0\r\nx: \0\r\n", 6, "chunk_trailer"),
        ("0\r\nx: y\n", 7, "chunk_trailer"),
        ("0\r\nx: y\rz", 8, "chunk_ending"),
        ("0\r\nGET / HTTP/1.1\r\n", 6, "chunk_trailer"),
        ("0\r\nContent-Length: 3\r\n", 17, "chunk_trailer"),
        ("0\r\nTransfer-Encoding: chunked\r\n", 20, "chunk_trailer"),
        ("0\r\nHOST: a\r\n", 7, "chunk_trailer"),
    ] {
        assert_eq!(judge(body), Some((at, reason)), "{body:?}");
    }
}

#[test]
fn r5_extensions_and_trailers_of_a_body_are_bounded_together() {
    let judge = |body: String| judged(format!("{CHUNKED}{body}").as_bytes(), RULES).1;
    let extension = |length: usize| format!("1;{}\r\na\r\n", "x".repeat(length - 1));
    assert_eq!(judge(extension(4096)), None);
    assert_eq!(judge(extension(4097)), Some("chunk_overhead"));
    assert_eq!(judge(extension(64).repeat(64)), None);
    assert_eq!(judge(extension(64).repeat(65)), Some("chunk_overhead"));
    let trailer = |length: usize| format!("x:{}\r\n", "y".repeat(length - 4));
    assert_eq!(judge(format!("0\r\n{}\r\n", trailer(4096))), None);
    assert_eq!(judge(format!("0\r\n{}\r\n", trailer(4097))), Some("chunk_overhead"));
    assert_eq!(judge(format!("{}0\r\n{}\r\n", extension(96), trailer(4000))), None);
    assert_eq!(judge(format!("{}0\r\n{}\r\n", extension(97), trailer(4000))), Some("chunk_overhead"));
    assert_eq!(judge(format!("0\r\n{}\r\n", "x:\r\n".repeat(64))), None);
    assert_eq!(judge(format!("0\r\n{}\r\n", "x:\r\n".repeat(65))), Some("chunk_overhead"));
    // One body's do not count against the next one's.
    assert_eq!(judge(format!("{}0\r\n\r\n{CHUNKED}{}", extension(4096), extension(4096))), None);
}

#[test]
fn what_comes_before_a_refused_head_is_passed_and_nothing_after_it() {
    let bad = "GET /#x HTTP/1.1\r\nhost: a\r\n\r\n";
    let stream = format!("{NEXT}POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc{bad}{NEXT}");
    let mut scanner = Scanner::new(RULES);
    let scanned = scanner.feed_all(stream.as_bytes());
    assert_eq!(scanned.passed, stream.len() - bad.len() - NEXT.len());
    assert_eq!(word(scanned.then), Some("target_fragment"));
    assert_eq!(scanner.heads(), 2);
    let again = scanner.feed_all(NEXT.as_bytes());
    assert_eq!((again.passed, again.then), (0, scanned.then));
}

#[test]
fn a_request_is_passed_by_itself_and_what_follows_it_is_not_looked_at() {
    let chunked = format!("{CHUNKED}3\r\nabc\r\n0\r\n\r\n");
    let length = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc".to_owned();
    for request in [NEXT.to_owned(), length, chunked] {
        for behind in [NEXT, "\0", "\r\n"] {
            let stream = format!("{request}{behind}");
            for cut in 1..request.len() {
                let mut scanner = Scanner::new(RULES);
                let begun = scanner.feed(&stream.as_bytes()[..cut]);
                assert_eq!(begun.then, Then::More, "{cut} of {stream:?}");
                let ended = scanner.feed(&stream.as_bytes()[cut..]);
                assert_eq!((cut + ended.passed, ended.then), (request.len(), Then::Another), "{cut} of {stream:?}");
                assert!(scanner.heads() == 1 && scanner.is_between_requests());
            }
        }
    }
}

#[test]
fn a_refused_head_request_is_known_to_be_one() {
    let to_head = |stream: &str| match Scanner::new(RULES).feed_all(stream.as_bytes()).then {
        Then::Refused { to_head, .. } => to_head,
        Then::More | Then::Another | Then::Waiting | Then::Broken(_) => panic!("refused"),
    };
    assert!(to_head("HEAD /#x HTTP/1.1\r\n"));
    assert!(!to_head("GET /#x HTTP/1.1\r\n"));
    assert!(!to_head("HEAD / HTTP/1.1\r\nhost: a\r\n\r\nGET /#x"));
}

#[test]
fn r9_behind_a_request_for_a_websocket_nothing_is_read_as_http() {
    let ask = |line: &str, fields: &str| {
        let asked = format!("{line}\r\nhost: a\r\nconnection: upgrade\r\n{fields}\r\n");
        let (passed, reason) = judged(format!("{asked}{NEXT}").as_bytes(), RULES);
        assert!(passed == asked.len() || reason != Some("waiting"));
        reason
    };
    assert_eq!(ask("GET / HTTP/1.1", "upgrade: WebSocket\r\n"), Some("waiting"));
    assert_eq!(ask("GET / HTTP/1.1", "upgrade: h2c\r\nUpgrade: websocket\r\n"), Some("waiting"));
    for (line, fields) in [
        ("GET / HTTP/1.1", "upgrade: h2c\r\n"),
        ("GET / HTTP/1.1", "upgrade: websocket, h2c\r\n"),
        ("GET / HTTP/1.0", "upgrade: websocket\r\n"),
        ("POST / HTTP/1.1", "upgrade: websocket\r\n"),
    ] {
        assert_eq!(ask(line, fields), None, "{line} {fields}");
    }
    let with_body =
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 3\r\n\r\nabc";
    assert_eq!(judged(format!("{with_body}{NEXT}").as_bytes(), RULES).1, None);
}

#[test]
fn the_request_that_stands_for_a_refused_one_is_read_by_hyper_and_refused_from_clients() {
    let mut headers = [httparse::EMPTY_HEADER; 4];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(REFUSED_REQUEST);
    assert_eq!(parsed, Ok(httparse::Status::Complete(REFUSED_REQUEST.len())));
    assert_eq!(request.method, Some(REFUSED_METHOD));
    assert_eq!(head(REFUSED_REQUEST), Some("request_line"));
}

// ---------------------------------------------------------------------------------------------------------------- fuzzed

/// Pieces that heads and bodies are made of, the wrong ones too.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("GET / HTTP/1.1\r\n"),
        Just("GET / HTTP/1.1\r\nhost: a\r\n"),
        Just("POST /x?y=z HTTP/1.1\r\nHost: a\r\n"),
        Just("HEAD http://a/ HTTP/1.0\r\nhost: a\r\n"),
        Just("\r\n"),
        Just("content-length: 3\r\n"),
        Just("Content-Length: 0\r\n\r\n"),
        Just("content-length: 12\r\n\r\nabc"),
        Just("transfer-encoding: chunked\r\n"),
        Just("transfer-encoding: chunked\r\n\r\n"),
        Just("transfer-encoding: gzip, chunked\r\n"),
        Just("connection: upgrade\r\nupgrade: websocket\r\n"),
        Just("x-long-name-of-a-header: and \t its value\r\n"),
        Just("3\r\nabc\r\n"),
        Just("3;a=b\r\nabc\r\n"),
        Just("0\r\n\r\n"),
        Just("0\r\nx: y\r\n\r\n"),
        Just("abc"),
        Just("GET /é HTTP/1.1\r\n"),
        Just("a: b\n"),
        Just(" folded\r\n"),
        Just(" "),
        Just("\r"),
        Just("\n"),
        Just(":"),
    ];
    let piece = prop_oneof![12 => line.prop_map(|line| line.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 1..4)];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

fn rules() -> impl Strategy<Value = HeadRules> {
    let paths = prop_oneof![Just(PathPolicy::Strict), Just(PathPolicy::Tolerant)];
    let sizes = prop_oneof![4 => Just((16 * 1024, 8 * 1024)), 1 => (10_usize..120, 1_usize..40)];
    (sizes, paths).prop_map(|((head_bytes, uri_bytes), paths)| HeadRules { head_bytes, uri_bytes, paths })
}

/// What hyper makes of a head: method, target, version, and how its body is framed.
fn as_hyper_reads(head: &[u8]) -> Option<(usize, Option<Body>)> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = request.parse(head) else { return None };
    request.path?.parse::<http::Uri>().ok()?;
    http::Method::from_bytes(request.method?.as_bytes()).ok()?;
    let all = |name: &str| {
        let named = request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).collect::<Vec<_>>()
    };
    let body = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Some(Body::Length(0)),
        ([length], []) => std::str::from_utf8(length).ok()?.parse().ok().map(Body::Length),
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Some(Body::Chunked),
        _ => None,
    };
    Some((length, body))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_verdict_does_not_depend_on_how_the_stream_is_cut(
        stream in stream(),
        rules in rules(),
        cuts in prop::collection::vec(0_usize..400, 0..12),
    ) {
        let mut scanner = Scanner::new(rules);
        let whole = scanner.feed_all(&stream);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let each: Vec<usize> = (0..=stream.len()).collect();
        for cuts in [cuts, each] {
            let mut cut = Scanner::new(rules);
            let (mut passed, mut then) = (0, Then::More);
            for piece in cuts.windows(2) {
                let scanned = cut.feed_all(&stream[piece[0]..piece[1]]);
                if scanned.passed > 0 {
                    passed = piece[0] + scanned.passed;
                }
                then = scanned.then;
            }
            prop_assert_eq!((passed, then), (whole.passed, whole.then), "{}", show(&stream));
            prop_assert_eq!(cut.heads(), scanner.heads());
            prop_assert_eq!(cut.is_in_body(), scanner.is_in_body());
            prop_assert_eq!(cut.is_between_requests(), scanner.is_between_requests());
        }
    }

    #[test]
    fn hyper_reads_every_passed_head_in_the_same_way(stream in stream(), rules in rules()) {
        let mut head = Head::default();
        if let Ok(Read::Complete { length, body, .. }) = head.read(&stream, &rules) {
            prop_assert_eq!(as_hyper_reads(&stream), Some((length, Some(body))), "{}", show(&stream));
        }
    }

    #[test]
    fn hyper_reads_every_passed_target_in_the_same_way(target in "[/*a-z]{0,2}(https?://)?[!-~é]{0,12}", tolerant: bool) {
        let paths = if tolerant { PathPolicy::Tolerant } else { PathPolicy::Strict };
        let stream = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut head = Head::default();
        if head.read(stream.as_bytes(), &HeadRules { paths, ..RULES }).is_ok() {
            let read = as_hyper_reads(stream.as_bytes());
            prop_assert_eq!(read, Some((stream.len(), Some(Body::Length(0)))), "{}", target);
            let uri: http::Uri = target.parse().expect("read before");
            let path = uri.path_and_query().map(|path| path.as_str()).unwrap_or_default();
            prop_assert!(target.ends_with(path) || path == "/" || path.starts_with("/?"), "{} {}", target, path);
        }
    }

    #[test]
    fn no_bytes_make_it_panic_and_none_are_passed_twice(stream in prop::collection::vec(any::<u8>(), 0..200), rules in rules()) {
        let scanned = Scanner::new(rules).feed_all(&stream);
        prop_assert!(scanned.passed <= stream.len());
    }
}

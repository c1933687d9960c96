//! What can be done to a request: each operator is one known way to have two readers disagree about it, in all its spellings.
//! Sources: RFC 9112 sections 2.2, 3, 5, 6, 7 and 11; the request smuggling collections that requirements.md names.

use super::generator::Verdict::{Cut, May, Pass, Refuse};
use super::generator::{CANARY, Draft, Rng, Verdict, chunked};

/// What an operator starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// No body.
    Plain,
    /// A body with a `Content-Length`.
    Length,
    /// A body in chunks.
    Chunked,
    /// Any of them.
    Any,
}

/// One of them.
pub(super) struct Operator {
    pub(super) name: &'static str,
    pub(super) base: Base,
    pub(super) verdict: Verdict,
    pub(super) spoil: fn(&mut Draft, &mut Rng),
}

const fn op(name: &'static str, base: Base, verdict: Verdict, spoil: fn(&mut Draft, &mut Rng)) -> Operator {
    Operator { name, base, verdict, spoil }
}

/// All of them.
pub(super) const OPERATORS: &[Operator] = &[
    // How long is the body?
    op("length and chunked", Base::Length, Refuse, |draft, rng| {
        draft.insert(b"Transfer-Encoding: chunked", rng);
    }),
    op("chunked and length", Base::Chunked, Refuse, |draft, rng| {
        let length = [0, 1, draft.body.len(), draft.content.len()][rng.below(4)];
        draft.insert(format!("Content-Length: {length}").as_bytes(), rng);
    }),
    op("length and another coding", Base::Length, Refuse, |draft, rng| {
        let coding = rng.pick(&[
            "identity",
            "gzip",
            "",
            "cow",
            "chunked, identity",
            "identity, chunked",
            "xchunked",
            "chunked\x0b",
        ]);
        draft.insert(format!("Transfer-Encoding: {coding}").as_bytes(), rng);
    }),
    op("one length twice", Base::Length, Refuse, |draft, rng| {
        draft.insert(format!("Content-Length: {}", draft.content.len()).as_bytes(), rng);
    }),
    op("two lengths", Base::Length, Refuse, |draft, rng| {
        let other = [0, 1, draft.content.len() + 5][rng.below(3)];
        let other = if other == draft.content.len() { other + 1 } else { other };
        draft.insert(
            format!("{}: {other}", rng.pick(&["Content-Length", "content-length", "CONTENT-LENGTH"])).as_bytes(),
            rng,
        );
    }),
    op("a list of lengths", Base::Length, Refuse, |draft, rng| {
        let length = draft.content.len();
        let list = [
            format!("{length}, {length}"),
            format!("{length},0"),
            format!("0,{length}"),
            format!("{length},"),
            format!(",{length}"),
        ];
        draft.replace("content-length", format!("Content-Length: {}", list[rng.below(list.len())]).as_bytes());
    }),
    op("a length with a sign", Base::Length, Refuse, |draft, rng| {
        let sign = rng.pick(&["+", "-", "- ", "+ ", "--", "\u{2212}"]);
        draft.replace("content-length", format!("Content-Length: {sign}{}", draft.content.len()).as_bytes());
    }),
    op("a length that is no number", Base::Length, Refuse, |draft, rng| {
        let length = draft.content.len();
        let text = [
            format!("0x{length:x}"),
            format!("{length}.0"),
            format!("{length}e0"),
            format!("0_{length}"),
            format!("{length} {length}"),
            format!("{length};a"),
            format!("{length}a"),
            format!("\"{length}\""),
            "\u{ff11}\u{ff12}".to_owned(),
            format!("{length}\u{a0}"),
            String::new(),
            "chunked".to_owned(),
        ];
        draft.replace("content-length", format!("Content-Length: {}", text[rng.below(text.len())]).as_bytes());
    }),
    op("a length beyond all numbers", Base::Length, Refuse, |draft, rng| {
        let length = 18_446_744_073_709_551_616_u128 + draft.content.len() as u128;
        let zeros = "0".repeat(rng.below(3) * 30);
        draft.replace("content-length", format!("Content-Length: {zeros}{length}").as_bytes());
    }),
    op("a length with a control byte", Base::Length, Refuse, |draft, rng| {
        let (length, byte) = (draft.content.len().to_string(), [rng.pick(&[0, 1, 8, 11, 12, 13, 31, 127])]);
        let value =
            if rng.below(2) == 0 { [length.as_bytes(), &byte].concat() } else { [&byte, length.as_bytes()].concat() };
        draft.replace("content-length", &[b"Content-Length: ", &value[..]].concat());
    }),
    op("a length folded onto the next line", Base::Length, Refuse, |draft, rng| {
        let fold = rng.pick(&["\r\n ", "\r\n\t", "\n ", "\r\n \r\n "]);
        draft.replace("content-length", format!("Content-Length:{fold}{}", draft.content.len()).as_bytes());
    }),
    op("a length by another name", Base::Length, Refuse, |draft, rng| {
        let name = rng.pick(&NOT_CONTENT_LENGTH);
        draft.replace("content-length", &[name, b": ", draft.content.len().to_string().as_bytes()].concat());
    }),
    op("a length behind a lone CR or LF", Base::Plain, Refuse, |draft, rng| {
        let between = rng.pick(&["\r", "\n", "\n\r", "\u{85}\n"]);
        draft.insert(format!("X-Before: a{between}Content-Length: {}", CANARY.len()).as_bytes(), rng);
        draft.body = CANARY.into();
    }),
    op("zeros before the length", Base::Length, May, |draft, rng| {
        draft.replace(
            "content-length",
            format!("Content-Length: {}{}", "0".repeat(1 + rng.below(12)), draft.content.len()).as_bytes(),
        );
    }),
    op("blanks around the length", Base::Length, May, |draft, rng| {
        let (before, after) = (rng.pick(&["", " ", "\t", " \t "]), rng.pick(&["", " ", "\t"]));
        draft.replace("content-length", format!("Content-Length:{before}{}{after}", draft.content.len()).as_bytes());
    }),
    // Is it in chunks?
    op("chunked twice", Base::Chunked, Refuse, |draft, rng| draft.insert(b"transfer-encoding: chunked", rng)),
    op("chunked and another line", Base::Chunked, Refuse, |draft, rng| {
        draft.insert(coding_line(rng.pick(&["identity", "gzip", "", "chunkedx", "\"chunked\""])).as_bytes(), rng);
    }),
    op("a list of codings", Base::Chunked, Refuse, |draft, rng| {
        let list = [
            "chunked, chunked",
            "gzip, chunked",
            "identity, chunked",
            "chunked, identity",
            "chunked,",
            ",chunked",
            "chunked,,",
            "chunked ,gzip",
            "gzip,chunked,",
        ];
        draft.replace("transfer-encoding", coding_line(rng.pick(&list)).as_bytes());
    }),
    op("another coding", Base::Chunked, Refuse, |draft, rng| {
        let codings = [
            "identity",
            "gzip",
            "xchunked",
            "chunkedx",
            "chunked;q=1",
            "chunked; a",
            "\"chunked\"",
            "'chunked'",
            "chunk",
            "",
            "chunked\u{a0}",
            "\u{ff}chunked",
            "chunked chunked",
            "c hunked",
            "chun\u{212a}ed",
            "chunked-false",
            "(chunked)",
            "x, chunked",
            "deflate",
        ];
        draft.replace("transfer-encoding", coding_line(rng.pick(&codings)).as_bytes());
    }),
    op("a coding with a control byte", Base::Chunked, Refuse, |draft, rng| {
        let byte = [rng.pick(&[0, 1, 8, 11, 12, 13, 31, 127])];
        let value = if rng.below(2) == 0 { [b"chunked", &byte[..]].concat() } else { [&byte[..], b"chunked"].concat() };
        draft.replace("transfer-encoding", &[b"Transfer-Encoding: ", &value[..]].concat());
    }),
    op("a coding folded onto the next line", Base::Chunked, Refuse, |draft, rng| {
        let fold = rng.pick(&["\r\n ", "\r\n\t", "\n ", " identity\r\n , "]);
        draft.replace("transfer-encoding", format!("Transfer-Encoding:{fold}chunked").as_bytes());
    }),
    op("a coding by another name", Base::Chunked, Refuse, |draft, rng| {
        let name = rng.pick(&NOT_TRANSFER_ENCODING);
        draft.replace("transfer-encoding", &[name, b": chunked"].concat());
    }),
    op("a coding behind a lone CR or LF", Base::Length, Refuse, |draft, rng| {
        let between = rng.pick(&["\r", "\n", "\n\r"]);
        draft.insert(format!("X-Before: a{between}Transfer-Encoding: chunked").as_bytes(), rng);
    }),
    op("chunks in HTTP/1.0", Base::Chunked, Refuse, |draft, rng| {
        draft.version = b"HTTP/1.0".to_vec();
        if rng.below(2) == 0 {
            draft.push(b"Connection: keep-alive");
        }
    }),
    op("chunked in another case", Base::Chunked, May, |draft, rng| {
        let text = rng.pick(&["CHUNKED", "Chunked", "\tchunked", "chunked \t", "  cHuNkEd  "]);
        draft.replace("transfer-encoding", format!("Transfer-Encoding:{text}").as_bytes());
    }),
    // Where does a chunk end?
    op("a chunk size that is no number", Base::Chunked, Cut, |draft, rng| {
        let size = rng.pick(&[
            "+5", "-5", "0x5", " 5", "\t5", "5_0", "5g", "g", "5 5", "5.0", "\u{ff15}", "5\0", "\x0055", "5,", "=5",
            "\u{a0}5", "-0", "+0",
        ]);
        draft.body = format!("{size}\r\nhello\r\n0\r\n\r\n").into();
    }),
    op("no chunk size", Base::Chunked, Cut, |draft, rng| {
        draft.body = format!("{}\r\nhello\r\n0\r\n\r\n{CANARY}", rng.pick(&["", ";a=b", " ;a", " ", "\t"])).into();
    }),
    op("a chunk size of too many digits", Base::Chunked, Cut, |draft, rng| {
        draft.body = format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(16 + rng.below(300))).into();
    }),
    op("a chunk size beyond all numbers", Base::Chunked, Cut, |draft, rng| {
        let size = rng.pick(&[
            "10000000000000005",
            "FFFFFFFFFFFFFFFFFF",
            "1000000000000000000000000000000005",
            "80000000000000000005",
        ]);
        draft.body = format!("{size}\r\nhello\r\n0\r\n\r\n{CANARY}").into();
    }),
    op("a line feed alone among chunks", Base::Chunked, Cut, |draft, rng| {
        let bodies = [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r\n0\n\r\n",
            "5\r\nhello\r\n0\r\n\n",
            "5\nhello\n0\n\n",
            "5;a\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n0\r\nX: y\n\r\n",
            "5\n\nhello\r\n0\r\n\r\n",
        ];
        draft.body = rng.pick(&bodies).into();
    }),
    op("a carriage return alone among chunks", Base::Chunked, Cut, |draft, rng| {
        let bodies = [
            "5\rhello\r\n0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "5\r\rhello\r\n0\r\n\r\n",
            "5\r\nhello\r\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\r\n",
        ];
        draft.body = rng.pick(&bodies).into();
    }),
    op("more in a chunk than its size", Base::Chunked, Cut, |draft, rng| {
        draft.body =
            format!("5\r\nhello{}0\r\n\r\n", rng.pick(&["x\r\n", "", "xx", CANARY, "\r\n\r\n", "\n\r\n"])).into();
    }),
    op("less in a chunk than its size", Base::Chunked, Cut, |draft, rng| {
        draft.body = format!("{}\r\nhello\r\n0\r\n\r\n{CANARY}", rng.pick(&["6", "7", "a", "c"])).into();
    }),
    op("an extension with what no line may hold", Base::Chunked, Cut, |draft, rng| {
        let bytes: [&[u8]; 7] = [b";a\nb", b";a\0", b";a=\"\n\"", b";\x01", b";a\x7f", b";a=\"\r\"", b";\n;"];
        draft.body = [&b"5"[..], rng.pick(&bytes), b"\r\nhello\r\n0\r\n\r\n"].concat();
    }),
    op("an extension without an end", Base::Chunked, Cut, |draft, rng| {
        draft.body = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(4500 + rng.below(20_000))).into();
    }),
    op("extensions without an end", Base::Chunked, Cut, |draft, rng| {
        let chunk = format!("1;{}\r\nx\r\n", "a".repeat(100 + rng.below(100)));
        draft.body = format!("{}0\r\n\r\n", chunk.repeat(64)).into();
    }),
    op("trailers without an end", Base::Chunked, Cut, |draft, rng| {
        let line = format!("X-A: {}\r\n", "a".repeat(rng.below(100)));
        draft.body = format!("5\r\nhello\r\n0\r\n{}\r\n", line.repeat(800)).into();
    }),
    op("trailers that are none", Base::Chunked, Cut, |draft, rng| {
        let trailers = [
            "GET /canary HTTP/1.1\r\nHost: canary\r\n",
            " folded: x\r\n",
            "X : y\r\n",
            "X\0: y\r\n",
            ": y\r\n",
            "X: \0\r\n",
            "X: y\r\n z\r\n",
            "X: y\x0b\r\n",
            "no colon\r\n",
        ];
        draft.body = format!("5\r\nhello\r\n0\r\n{}\r\n", rng.pick(&trailers)).into();
    }),
    op("an extension", Base::Chunked, May, |draft, rng| {
        let extension = rng.pick(&[";a", ";a=b", "; a = b", ";a=\"b c\"", " ;a", ";a=\"\\\"\"", ";", ";a;b=c;d"]);
        let size = draft.content.len();
        draft.body = [format!("{size:x}{extension}\r\n").as_bytes(), &draft.content, b"\r\n0\r\n\r\n"].concat();
    }),
    op("trailers", Base::Chunked, May, |draft, rng| {
        let trailers = [
            "X-Sum: 1\r\n",
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Host: evil\r\n",
            "X-Case: pass-0\r\n",
            "X-Forwarded-For: 8.8.8.8\r\n",
            "Authorization: Basic eA==\r\n",
            "X-A: 1\r\nX-B: 2\r\n",
            "Connection: close\r\n",
            "Cookie: evil\r\n",
        ];
        draft.body.truncate(draft.body.len() - 2);
        draft.body.extend_from_slice(rng.pick(&trailers).as_bytes());
        draft.body.extend_from_slice(b"\r\n");
    }),
    op("zeros before a chunk size", Base::Chunked, May, |draft, rng| {
        let width = 3 + rng.below(14);
        let size = draft.content.len();
        draft.body = [
            format!("{size:0width$x}\r\n").as_bytes(),
            &draft.content,
            b"\r\n",
            "0".repeat(1 + rng.below(16)).as_bytes(),
            b"\r\n\r\n",
        ]
        .concat();
    }),
    op("blanks after a chunk size", Base::Chunked, May, |draft, rng| {
        let size = draft.content.len();
        draft.body =
            [format!("{size:x}{}\r\n", rng.pick(&[" ", "\t", "  "])).as_bytes(), &draft.content, b"\r\n0\r\n\r\n"]
                .concat();
    }),
    op("many small chunks", Base::Chunked, May, |draft, rng| {
        draft.content = vec![b'z'; 50 + rng.below(200)];
        draft.body = [b"1\r\nz\r\n".repeat(draft.content.len()), b"0\r\n\r\n".to_vec()].concat();
    }),
    // Where does a line end?
    op("line feeds only", Base::Any, Refuse, |draft, _| {
        (draft.line_end, draft.end) = (b"\n".to_vec(), b"\n".to_vec());
        draft.headers.iter_mut().for_each(|(_, end)| *end = b"\n".to_vec());
    }),
    op("one line feed", Base::Any, Refuse, |draft, rng| {
        let at = rng.below(draft.headers.len());
        draft.headers[at].1 = b"\n".to_vec();
    }),
    op("a line feed after the request line", Base::Any, Refuse, |draft, _| draft.line_end = b"\n".to_vec()),
    op("a line feed for an empty line", Base::Any, Refuse, |draft, _| draft.end = b"\n".to_vec()),
    op("an odd line end", Base::Any, Refuse, |draft, rng| {
        let at = rng.below(draft.headers.len());
        draft.headers[at].1 = rng.pick(&["\r", "\r\r\n", "\n\r", "\0\r\n", "\r\n\0", "\r\n\r", "\x0b"]).into();
    }),
    op("empty lines first", Base::Any, May, |draft, rng| draft.before = rng.pick(&["\r\n", "\r\n\r\n", "\n"]).into()),
    op("something else first", Base::Any, Refuse, |draft, rng| {
        draft.before = rng.pick(&["\0", " ", "\t", "\r", "\r\r\n", "\u{feff}", "\x0b", "0\r\n\r\n", "x\r\n"]).into();
    }),
    op("a control byte in a value", Base::Any, Refuse, |draft, rng| {
        let byte = [rng.pick(&[
            0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30,
            31, 127,
        ])];
        draft.insert(&[b"X-A: a", &byte[..], word(rng)].concat(), rng);
    }),
    op("a byte in a name that is for none", Base::Any, Refuse, |draft, rng| {
        let mut byte = u8::try_from(rng.below(256)).unwrap_or(0);
        if byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^`|~:_\r\n".contains(&byte) {
            byte = b'(';
        }
        let at = rng.below(4);
        let mut name = b"X-Abc".to_vec();
        name.insert(at, byte);
        draft.insert(&[&name[..], b": a"].concat(), rng);
    }),
    op("a folded line", Base::Any, Refuse, |draft, rng| {
        draft.insert(
            format!("X-A: a\r\n{}{}", rng.pick(&[" ", "\t", "  \t"]), rng.pick(&["b", "Content-Length: 5", ""]))
                .as_bytes(),
            rng,
        );
    }),
    op("a first line that is folded", Base::Any, Refuse, |draft, rng| {
        let line = rng.pick(&[" X-A: b", "\tX-A: b", " ", " Content-Length: 0", " Host: evil"]);
        draft.headers.insert(0, (line.into(), b"\r\n".to_vec()));
    }),
    op("a line without a name", Base::Any, Refuse, |draft, rng| {
        draft.insert(rng.pick(&["no colon", ": a", ":", " : a", "\0: a", "GET /canary HTTP/1.1"]).as_bytes(), rng);
    }),
    op("a blank before the colon", Base::Any, Refuse, |draft, rng| {
        draft.insert(
            rng.pick(&[
                "X-A : a",
                "X-A\t: a",
                "Host : evil",
                "Content-Length : 0",
                "Transfer-Encoding : chunked",
                "X A: b",
            ])
            .as_bytes(),
            rng,
        );
    }),
    op("blanks in the request line", Base::Any, Refuse, |draft, rng| match rng.below(5) {
        0 => draft.gap = b"  ".to_vec(),
        1 => draft.gap = b"\t".to_vec(),
        2 => draft.version.extend_from_slice(b" "),
        3 => draft.target.extend_from_slice(b" x"),
        _ => draft.target.extend_from_slice(b"\tHTTP/1.1"),
    }),
    op("another version", Base::Any, Refuse, |draft, rng| {
        let versions = [
            "HTTP/1.2",
            "HTTP/2.0",
            "HTTP/2",
            "HTTP/0.9",
            "http/1.1",
            "HTTP/1.1x",
            "HTTP/01.1",
            "HTTP/1",
            "HTTP/1.10",
            "HTTP/1,1",
            "HTTPS/1.1",
            "HTTP 1.1",
            "HTTP/3.0",
            "ICY/1.1",
            "HTTP/",
            "/1.1",
            "HTTP/1.1\0",
            "HTTP/+1.1",
            "HTTP/-1.1",
            "HTTP/1.\u{ff11}",
        ];
        draft.version = rng.pick(&versions).into();
    }),
    op("no version", Base::Any, Refuse, |draft, _| draft.version.clear()),
    op("a control byte in the request line", Base::Any, Refuse, |draft, rng| {
        let byte = rng.pick(&[0, 1, 8, 11, 12, 13, 27, 31, 127]);
        match rng.below(3) {
            0 => draft.method.push(byte),
            1 => draft.target.push(byte),
            _ => draft.target.insert(1, byte),
        }
    }),
    op("the start of HTTP/2", Base::Plain, Refuse, |draft, rng| {
        draft.method = b"PRI".to_vec();
        draft.target = b"*".to_vec();
        draft.version = b"HTTP/2.0".to_vec();
        draft.headers.truncate(rng.below(2));
        draft.body = [b"SM\r\n\r\n", CANARY.as_bytes()].concat();
    }),
    // What is to be done?
    op("a method in lower case", Base::Any, Refuse, |draft, rng| {
        draft.method = rng.pick(&["get", "Get", "post", "pOST", "head", "gET", "Options", "delete"]).into();
    }),
    op("a method that nobody knows", Base::Any, Refuse, |draft, rng| {
        let methods = [
            "TRACK",
            "FOO",
            "PROPFIND",
            "GETPOST",
            "XGET",
            "M-SEARCH",
            "BREW",
            "LINK",
            "SEARCH",
            "POSTPOSTPOSTPOSTPOSTPOSTPOST",
            "GET!",
            "PATCHX",
            "DEBUG",
            "MOVE",
        ];
        draft.method = rng.pick(&methods).into();
    }),
    op("a method that is no word", Base::Any, Refuse, |draft, rng| {
        draft.method = rng
            .pick(&["G:ET", "(GET)", "G=ET", "GE\u{df}", "\"GET\"", "GET,", "", "G/ET", "GET\u{a0}", "0\r\nGET"])
            .into();
    }),
    op("a tunnel", Base::Any, Refuse, |draft, rng| {
        (draft.method, draft.target) = match rng.below(4) {
            0 => (b"CONNECT".to_vec(), b"app.example:443".to_vec()),
            1 => (b"CONNECT".to_vec(), b"/".to_vec()),
            2 => (b"TRACE".to_vec(), draft.target.clone()),
            _ => (b"CONNECT".to_vec(), b"http://app.example/".to_vec()),
        };
    }),
    // For whom?
    op("no host", Base::Any, Refuse, |draft, rng| {
        draft.remove("host");
        if rng.below(3) == 0 {
            draft.push(b"X-Forwarded-Host: app.example");
        }
    }),
    op("two hosts", Base::Any, Refuse, |draft, rng| {
        draft.insert(
            rng.pick(&["Host: app.example", "host: evil.example", "HOST:", "Host: app.example:80"]).as_bytes(),
            rng,
        );
    }),
    op("a host that is none", Base::Any, Refuse, |draft, rng| {
        let hosts = [
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "u@a",
            "u:p@a",
            "a,b",
            "a:99999",
            "a:b",
            "a:1:2",
            "[::1",
            "::1]",
            "[::1]x",
            "[zz]",
            "",
            "a\\b",
            "a\"b",
            "a%00b",
            "a;b",
            "..",
            "a..b",
            "\u{e9}",
            ":80",
            "a:",
            "a: 80",
            "http://a",
            "a\tb",
            "<a>",
            "{a}",
            "0.0.0.0=5000",
        ];
        draft.replace("host", format!("Host: {}", rng.pick(&hosts)).as_bytes());
    }),
    op("an absolute target of another host", Base::Any, Refuse, |draft, rng| {
        let other = rng.pick(&[
            "http://evil.example",
            "http://app.example:81",
            "http://app.example.evil",
            "http://u@app.example",
            "http://app.example@evil",
            "http://",
        ]);
        draft.target = [other.as_bytes(), &draft.target].concat();
    }),
    op("an absolute target of another scheme", Base::Any, Refuse, |draft, rng| {
        let scheme = rng.pick(&[
            "ftp://app.example",
            "file://app.example",
            "ws://app.example",
            "javascript://app.example",
            "s://]ufd",
            "//app.example",
            "http:/app.example",
            "app.example",
        ]);
        draft.target = [scheme.as_bytes(), &draft.target].concat();
    }),
    op("an absolute target", Base::Any, May, |draft, rng| {
        draft.target = [
            rng.pick(&["http://app.example", "http://app.example:80", "HTTP://APP.example", "https://app.example"])
                .as_bytes(),
            &draft.target,
        ]
        .concat();
    }),
    // What stays here?
    op("Connection names what the app relies on", Base::Any, Refuse, |draft, rng| {
        let names = [
            "Host",
            "Content-Length",
            "Transfer-Encoding",
            "Cookie",
            "X-Forwarded-For",
            "Authorization",
            "Via",
            "Forwarded",
            "X-Real-IP",
            "Content-Type",
            "x-forwarded-host",
        ];
        draft.insert(
            format!("Connection: {}{}", rng.pick(&["", "keep-alive, ", ",,"]), rng.pick(&names)).as_bytes(),
            rng,
        );
    }),
    op("Connection names what is no name", Base::Any, Refuse, |draft, rng| {
        draft.insert(
            rng.pick(&[
                "Connection: a b",
                "Connection: @",
                "Connection: keep-alive; a",
                "Connection: \"close\"",
                "Connection: (x)",
            ])
            .as_bytes(),
            rng,
        );
    }),
    op("Connection names a header", Base::Any, May, |draft, rng| {
        draft.insert(b"X-Hop: 1", rng);
        draft.insert(
            rng.pick(&["Connection: X-Hop", "Connection: keep-alive, x-hop", "connection: ,x-hop,"]).as_bytes(),
            rng,
        );
    }),
    op("headers of one hop", Base::Any, May, |draft, rng| {
        let lines = [
            "TE: trailers, chunked",
            "Trailer: X-A",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: close",
            "Proxy-Authorization: Basic eA==",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
        ];
        draft.insert(rng.pick(&lines).as_bytes(), rng);
    }),
    op("an upgrade to HTTP/2", Base::Any, May, |draft, rng| {
        draft.insert(b"Connection: Upgrade, HTTP2-Settings", rng);
        draft.insert(
            rng.pick(&["Upgrade: h2c", "upgrade: h2c, websocket", "Upgrade: HTTP/2.0", "Upgrade: TLS/1.0"]).as_bytes(),
            rng,
        );
        draft.insert(b"HTTP2-Settings: AAMAAABkAAQAAP__", rng);
    }),
    op("an upgrade to a WebSocket", Base::Any, May, |draft, rng| {
        draft.insert(b"Connection: upgrade", rng);
        draft
            .insert(rng.pick(&["Upgrade: websocket", "Upgrade: WebSocket", "Upgrade: websocket, h2c"]).as_bytes(), rng);
        draft.insert(b"Sec-WebSocket-Version: 13", rng);
    }),
    op("100-continue", Base::Any, May, |draft, rng| {
        draft.insert(rng.pick(&["Expect: 100-continue", "expect: 100-Continue"]).as_bytes(), rng)
    }),
    op("an expectation that nobody can meet", Base::Any, Refuse, |draft, rng| {
        let lines = [
            "Expect: 200-ok",
            "Expect: 100-continue, a",
            "Expect: 100",
            "Expect:",
            "Expect: 100-continue\r\nExpect: 100-continue",
            "Expect: x 100-continue",
        ];
        draft.insert(rng.pick(&lines).as_bytes(), rng);
    }),
    op("a header with an underscore", Base::Any, Refuse, |draft, rng| {
        draft.insert(
            rng.pick(&[
                "X_Forwarded_For: evil",
                "content_length: 0",
                "_: a",
                "A_: b",
                "Transfer_Encoding: chunked",
                "Remote_User: evil",
                "X_A: b",
            ])
            .as_bytes(),
            rng,
        );
    }),
    op("a client that says who it is", Base::Any, Pass, |draft, rng| {
        let lines = [
            "X-Forwarded-For: 9.9.9.9, evil",
            "X-Forwarded-Host: evil.example",
            "X-Forwarded-Proto: evil",
            "X-Forwarded-Port: evil",
            "X-Forwarded-Server: evil",
            "X-Real-IP: evil",
            "Forwarded: for=evil;host=evil",
            "X-Forwarded-User: evil",
            "X-FORWARDED-SSL: evil",
            "X-Forwarded-Prefix: /evil",
            "Via: 1.0 somebody",
        ];
        for _ in 0..=rng.below(4) {
            draft.insert(rng.pick(&lines).as_bytes(), rng);
        }
    }),
    op("a header that is another path", Base::Any, May, |draft, rng| {
        draft.insert(
            rng.pick(&[
                "X-Original-URL: /canary",
                "X-Rewrite-URL: /canary",
                "X-HTTP-Method-Override: DELETE",
                "X-Method-Override: PUT",
            ])
            .as_bytes(),
            rng,
        );
    }),
    op("one header twice", Base::Any, May, |draft, rng| {
        let lines = [
            "Cookie: c=3",
            "Content-Type: text/html\r\nContent-Type: application/json",
            "Authorization: Basic eA==\r\nAuthorization: Basic eQ==",
            "Accept: a\r\nAccept: b",
        ];
        draft.insert(rng.pick(&lines).as_bytes(), rng);
    }),
    op("a request in a value", Base::Any, Pass, |draft, rng| {
        draft.insert(
            rng.pick(&[
                "X-A: GET /canary HTTP/1.1",
                "X-A: \\r\\n\\r\\nGET /canary HTTP/1.1",
                "X-A: %0d%0a%0d%0aGET /canary HTTP/1.1",
                "X-A: \u{560d}\u{560a}GET /canary",
            ])
            .as_bytes(),
            rng,
        );
    }),
    // Where to?
    op("a path that backends read differently", Base::Any, Refuse, |draft, rng| {
        let odd = [
            "//",
            "/./",
            "/../",
            "/%2e/",
            "/%2E%2e/",
            "/.%2e/",
            "/%2f",
            "/a%2Fb",
            "/%5c",
            "/\\",
            "/a\\b",
            "/%00",
            "/a%00",
            "/..;/",
            "/.;a/",
            "//a",
            "/a/..",
            "/a/%2e%2e",
        ];
        let odd = rng.pick(&odd);
        let at = if rng.below(2) == 0 { 0 } else { 2 };
        draft.target.splice(at..at, odd.bytes());
    }),
    op("a percent sign that encodes nothing", Base::Any, Refuse, |draft, rng| {
        let odd = rng.pick(&["%zz", "%", "%2", "%u002f", "%%", "%-1", "%\u{ff11}1", "%0x"]);
        draft.target.splice(2..2, odd.bytes());
    }),
    op("a fragment", Base::Any, Refuse, |draft, rng| {
        draft.target.extend_from_slice(rng.pick(&["#", "#a", "#/../canary", "?#", "?a#b"]).as_bytes())
    }),
    op("a target that is not ASCII", Base::Any, Refuse, |draft, rng| {
        let odd: [&[u8]; 6] = [b"\xc3\xa9", b"\xff", b"\xc0\xaf", b"\xe2\x84\xaa", b"\x80", b"\xf0\x9f\x98\x80"];
        let odd = rng.pick(&odd);
        draft.target.splice(2..2, odd.iter().copied());
    }),
    op("a target that is no path", Base::Any, Refuse, |draft, rng| {
        draft.target = rng
            .pick(&[
                "g/canary",
                "*",
                "canary",
                "?a=b",
                ".",
                "../canary",
                "app.example:443",
                "http:",
                "\\canary",
                "#",
                "*/canary",
            ])
            .into();
        if draft.target == b"*" && draft.method == b"OPTIONS" {
            draft.method = b"GET".to_vec();
        }
    }),
    op("a path to be spelled anew", Base::Any, May, |draft, rng| {
        let odd = ["%41", "%7e", "%2d", "\"", "<>", "%c3%a9", "|", "^", "{x}", "%2a", ";a=%2e", "'", "[1]", "`"];
        let odd = rng.pick(&odd);
        draft.target.splice(3..3, odd.bytes());
    }),
    op("all of the server", Base::Plain, May, |draft, _| {
        draft.method = b"OPTIONS".to_vec();
        draft.target = b"*".to_vec();
    }),
    // How much?
    op("a head that is too large", Base::Any, Refuse, |draft, rng| {
        let line = format!("X-Long: {}", "a".repeat(3000 + rng.below(3000)));
        (0..6).for_each(|_| draft.push(line.as_bytes()));
    }),
    op("a target that is too long", Base::Any, Refuse, |draft, rng| {
        draft.target.extend_from_slice("a".repeat(8 * 1024 + rng.below(3000)).as_bytes())
    }),
    op("too many headers", Base::Any, Refuse, |draft, rng| (0..101 + rng.below(100)).for_each(|_| draft.push(b"A: b"))),
    op("a long body", Base::Length, Pass, |draft, rng| {
        draft.content = CANARY.repeat(20 + rng.below(200)).into_bytes();
        draft.body = draft.content.clone();
        draft.replace("content-length", format!("Content-Length: {}", draft.content.len()).as_bytes());
    }),
    op("a long body in chunks", Base::Chunked, Pass, |draft, rng| {
        draft.content = CANARY.repeat(20 + rng.below(100)).into_bytes();
        draft.body = chunked(rng, &draft.content);
    }),
    op("a length of nothing", Base::Plain, Pass, |draft, rng| draft.insert(b"Content-Length: 0", rng)),
    op("HTTP/1.0", Base::Length, May, |draft, rng| {
        draft.version = b"HTTP/1.0".to_vec();
        if rng.below(2) == 0 {
            draft.push(b"Connection: keep-alive");
        }
    }),
];

fn coding_line(coding: &str) -> String {
    format!("Transfer-Encoding: {coding}")
}

fn word(rng: &mut Rng) -> &'static [u8] {
    rng.pick(&[b"", b"b", b"GET /canary HTTP/1.1", b"Content-Length: 0"])
}

const NOT_CONTENT_LENGTH: [&[u8]; 12] = [
    b"Content-Length ",
    b"Content-Length\t",
    b"Content_Length",
    b" Content-Length",
    b"\tContent-Length",
    b"Content-Length\0",
    b"Content-Length\xff",
    b"Content Length",
    b"\x0bContent-Length",
    b"Content-Length\x01",
    b"\"Content-Length\"",
    b"Content-Length\x0b",
];

const NOT_TRANSFER_ENCODING: [&[u8]; 13] = [
    b"Transfer-Encoding ",
    b"Transfer-Encoding\t",
    b"Transfer_Encoding",
    b" Transfer-Encoding",
    b"\tTransfer-Encoding",
    b"Transfer-Encoding\0",
    b"Transfer-Encoding\xff",
    b"Transfer Encoding",
    b"\x0bTransfer-Encoding",
    b"Transfer-Encoding\x01",
    b"(Transfer-Encoding)",
    b"Transfer-\xcbncoding",
    b"Transfer-Encoding\x0b",
];

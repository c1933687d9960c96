//! The variants of a login: each is an ordinary login with one, two or three things about it changed - the spelling of the path, the
//! method, the query, the declared type, the body, a further header. All pairs of changes are more than a hundred thousand variants.
//!
//! Every variant is for a user of its own, so that no limit by account meets it and that whoever was taken for logged in can be
//! told: [`Who`].

use super::backends::Format;

/// Whom a variant is for: in templates `$N`, his password `$P`, and `$O` whom it names where it names two.
pub(super) struct Who {
    pub(super) name: String,
    other: String,
    password: String,
}

impl Who {
    fn of(number: usize) -> Self {
        Self {
            name: format!("u{number}@example.com"),
            other: format!("v{number}@example.com"),
            password: format!("pass-{number}"),
        }
    }

    /// Fills a template.
    fn fill(&self, template: &str) -> String {
        template.replace("$N", &self.name).replace("$O", &self.other).replace("$P", &self.password)
    }
}

/// A request, ready to be sent.
pub(super) struct Variant {
    pub(super) method: String,
    pub(super) bytes: Vec<u8>,
    /// The declared types and the body, as a decoder gets them.
    pub(super) types: Vec<String>,
    pub(super) body: Vec<u8>,
    /// What was changed, for people.
    pub(super) label: String,
}

/// What may be changed about a request.
const AXES: usize = 6;

/// Which choice is made on each axis: path, method, query, type, body, header. The first of each list is the ordinary one, but for
/// type and body, whose ordinary ones depend on the format.
pub(super) type Choice = [usize; AXES];

/// One thing that is changed, to an entry of its list.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Path(String),
    Method(&'static str),
    Query(&'static str),
    Type(&'static str),
    Body(&'static str),
    Header(&'static str),
}

/// Everything that can be chosen from, for a login at one path.
pub(super) struct Catalogue {
    paths: Vec<String>,
    ordinary: Choice,
    lists: [usize; AXES],
}

impl Catalogue {
    pub(super) fn new(path: &str, format: Format) -> Self {
        let paths = paths(path);
        let lists = [paths.len(), METHODS.len(), QUERIES.len(), TYPES.len(), BODIES.len(), EXTRAS.len()];
        let ordinary = Self::ordinary(format);
        Self { paths, ordinary, lists }
    }

    fn ordinary(format: Format) -> Choice {
        let (kind, body) = match format {
            Format::Json => (JSON, r#"{"email":"$N","password":"$P"}"#),
            Format::Form => (FORM, "email=$N&password=$P"),
        };
        let kind = TYPES.iter().position(|types| **types == [kind]).expect("an ordinary type");
        let body = BODIES.iter().position(|(text, _)| *text == body).expect("an ordinary body");
        [0, 0, 0, kind, body, 0]
    }

    /// Every choice with at most one change from the ordinary login.
    pub(super) fn singles(&self) -> Vec<Choice> {
        let changes = (0..AXES).flat_map(|axis| self.changes(axis).map(move |change| (axis, change)));
        std::iter::once(self.ordinary).chain(changes.map(|(axis, change)| with(self.ordinary, axis, change))).collect()
    }

    /// The ordinary login with these things changed, each to an entry of its list.
    pub(super) fn changed(&self, changes: &[Change]) -> Choice {
        changes.iter().fold(self.ordinary, |choice, change| {
            let at = |found: Option<usize>| found.unwrap_or_else(|| panic!("{change:?} is in no list"));
            match change {
                Change::Path(path) => with(choice, 0, at(self.paths.iter().position(|known| known == path))),
                Change::Method(method) => with(choice, 1, at(METHODS.iter().position(|known| known == method))),
                Change::Query(query) => with(choice, 2, at(QUERIES.iter().position(|known| known == query))),
                Change::Type(kind) => with(choice, 3, at(TYPES.iter().position(|known| **known == [*kind]))),
                Change::Body(body) => with(choice, 4, at(BODIES.iter().position(|(known, _)| known == body))),
                Change::Header(line) => with(choice, 5, at(EXTRAS.iter().position(|known| known == line))),
            }
        })
    }

    /// Every choice with two changes, in an order of no meaning that is the same each time.
    pub(super) fn pairs(&self) -> Vec<Choice> {
        let mut pairs = Vec::new();
        for first in 0..AXES {
            for second in first + 1..AXES {
                for one in self.changes(first) {
                    let one = with(self.ordinary, first, one);
                    pairs.extend(self.changes(second).map(|other| with(one, second, other)));
                }
            }
        }
        let mut order = Order(0x5eed);
        for last in (1..pairs.len()).rev() {
            pairs.swap(last, order.below(last + 1));
        }
        pairs
    }

    /// So many choices with anything changed.
    pub(super) fn mixtures(&self, count: usize) -> Vec<Choice> {
        let mut order = Order(0xfe11);
        let mut mixture = || {
            let mut choice = self.ordinary;
            for _ in 0..3 {
                let axis = order.below(AXES);
                choice[axis] = order.below(self.lists[axis]);
            }
            choice
        };
        (0..count).map(|_| mixture()).collect()
    }

    fn changes(&self, axis: usize) -> impl Iterator<Item = usize> + use<> {
        let ordinary = self.ordinary[axis];
        (0..self.lists[axis]).filter(move |choice| *choice != ordinary)
    }

    /// The request that a choice comes to, for a user of this number.
    pub(super) fn variant(&self, choice: Choice, number: usize) -> Variant {
        let who = Who::of(number);
        let [path, method, query, types, body, extra] = choice;
        let (text, coding) = BODIES[body];
        let (method, types, extra) = (METHODS[method], TYPES[types], EXTRAS[extra]);
        let target = [who.fill(&self.paths[path]), who.fill(QUERIES[query])].concat();
        let body = coding.encode(&who.fill(text));
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: app.example\r\n");
        for value in types {
            head += &format!("Content-Type: {value}\r\n");
        }
        let chunked = extra == CHUNKED;
        for line in extra.lines().filter(|line| !line.is_empty()) {
            head += &format!("{}\r\n", who.fill(&line.replace("$T", &self.paths[0])));
        }
        if !chunked && (!body.is_empty() || !matches!(method, "GET" | "HEAD")) {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut bytes = [head.as_bytes(), b"\r\n"].concat();
        match (chunked, body.as_slice()) {
            (false, body) => bytes.extend(body),
            (true, []) => bytes.extend(b"0\r\n\r\n"),
            (true, body) => {
                let (first, rest) = body.split_at(body.len() / 2);
                for part in [first, rest].into_iter().filter(|part| !part.is_empty()) {
                    bytes.extend([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
                }
                bytes.extend(b"0\r\n\r\n");
            }
        }
        let shown: String = text.chars().take(120).collect();
        let label = format!("{method} {target} {types:?} {shown:?} as {coding:?} {extra:?}");
        let types = types.iter().map(|value| (*value).to_owned()).collect();
        Variant { method: method.to_owned(), bytes, types, body, label }
    }
}

fn with(mut choice: Choice, axis: usize, change: usize) -> Choice {
    choice[axis] = change;
    choice
}

/// Numbers of no meaning (Steele and others, SplitMix64), the same each time.
struct Order(u64);

impl Order {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).expect("below a length")
    }
}

// ---------------------------------------------------------------------------------------------------------- the spellings

/// Every spelling of a path, the ordinary one first.
fn paths(path: &str) -> Vec<String> {
    let mut all = vec![path.to_owned()];
    for (at, letter) in path.char_indices().filter(|(_, letter)| *letter != '/') {
        let (before, after) = (&path[..at], &path[at + 1..]);
        let code = u32::from(letter);
        all.push(format!("{before}{}{after}", letter.to_ascii_uppercase()));
        all.push(format!("{before}%{code:02x}{after}"));
        all.push(format!("{before}%{code:02X}{after}"));
        all.push(format!("{before}%25{code:02x}{after}"));
    }
    all.push(path.to_ascii_uppercase());
    all.push(path.bytes().map(|byte| if byte == b'/' { "/".into() } else { format!("%{byte:02x}") }).collect());
    for suffix in SUFFIXES {
        all.push(format!("{path}{suffix}"));
    }
    for prefix in PREFIXES {
        all.push(format!("{prefix}{path}"));
    }
    let (folder, name) = path.rsplit_once('/').expect("a path in a folder");
    for between in BETWEEN {
        all.push(format!("{folder}{between}{name}"));
    }
    let dotless = name.replace('i', "%C4%B1");
    all.extend([
        format!("{folder}/{dotless}"),
        format!("{folder}/{}", name.replace('i', "%C4%B0")),
        format!("{folder}/{}", name.replace('l', "%EF%BD%8C")),
        format!("{folder}/{}", name.replace('l', "%u006c")),
        format!("{folder}/{}", name.replace('l', "%c1%ac")),
        path.trim_start_matches('/').to_owned(),
        folder.to_owned(),
        format!("{folder}/"),
    ]);
    all.extend(["/", "*", "/other", "/index.php", "/x", "//", "/api", "/login"].map(ToOwned::to_owned));
    let mut seen = std::collections::HashSet::new();
    all.retain(|path| seen.insert(path.clone()));
    all
}

const SUFFIXES: [&str; 68] = [
    "/",
    "//",
    "/.",
    "/..",
    "/./",
    "/x/..",
    "/x/../",
    "/x",
    "/index",
    "/index.html",
    ".json",
    ".JSON",
    ".xml",
    ".html",
    ".php",
    ".json/",
    ".json;x=1",
    ";",
    ";x=1",
    ";jsessionid=1",
    ";a=1;b=2",
    "/;x",
    ";email=$O",
    ";/",
    "%20",
    "%09",
    "%0a",
    "%0d%0a",
    "%0b",
    "+",
    ".",
    "..",
    "...",
    "%2e",
    "%2ejson",
    "%2f",
    "%2F",
    "%252f",
    "%5c",
    "\\",
    "%00",
    "%00.json",
    "%2500",
    "%3f",
    "%3fx=1",
    "%3Femail=$O",
    "%23",
    "%23x",
    "#",
    "#x",
    "%3b",
    "%3bx=1",
    "%253b",
    "::$DATA",
    "%u0000",
    "~",
    "%c0%af",
    "%ef%bc%8f",
    "%e2%80%8b",
    "%c2%a0",
    "%ff",
    "%",
    "%zz",
    "%2",
    ",",
    ":",
    "\u{b}",
    "\u{e9}",
];

const PREFIXES: [&str; 43] = [
    "/",
    "//",
    "/.",
    "/./",
    "/..",
    "/../",
    "/x/..",
    "/x/../",
    "/x/%2e%2e",
    "/x/%2E%2E/",
    "/%2e",
    "/%2e%2e",
    "/;x",
    "/;",
    "/..;",
    "/..;/",
    "/.;",
    "/x/..;",
    "/x/%252e%252e",
    "/%252e",
    "\\",
    "/\\",
    "/%5c",
    "/%2f",
    "/%20",
    "/index.php",
    "/app.php",
    "/INDEX.PHP",
    "/index.php/",
    "http://app.example",
    "HTTP://app.example",
    "https://app.example",
    "http://other.example",
    "http://app.example/",
    "http://user@app.example",
    "//app.example",
    "/http://app.example",
    "/other",
    "/x",
    "/%00",
    "?",
    "#",
    "/static/..%2f",
];

const BETWEEN: [&str; 26] = [
    "//",
    "///",
    "/./",
    "/.//",
    "/x/../",
    ";x/",
    ";x=1/",
    ";/",
    "/;/",
    "/;x/",
    "%2f",
    "%2F",
    "%252f",
    "\\",
    "%5c",
    "%5C",
    "/%2e/",
    "/.;/",
    "/%252e/",
    "/x/%2e%2e/",
    "%c0%af",
    "%c1%9c",
    "%ef%bc%8f",
    "/%20",
    "%3b/",
    "%00/",
];

const METHODS: [&str; 21] = [
    "POST", "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "post", "Post", "pOST", "TRACE", "CONNECT", "PROPFIND",
    "QUERY", "SEARCH", "LINK", "MKCOL", "REPORT", "XPOST", "PURGE", "M-SEARCH",
];

const QUERIES: [&str; 78] = [
    "",
    "?",
    "?email=$O",
    "?password=$P",
    "?email=$N&password=$P",
    "?email=$O&password=$P",
    "?email=$N",
    "?EMAIL=$O",
    "?Email=$O&Password=$P",
    "?EMAIL=$N&PASSWORD=$P",
    "?%65mail=$O",
    "?e%6Dail=$N&p%61ssword=$P",
    "?email[]=$O",
    "?email[]=$N&password[]=$P",
    "?email%5b%5d=$O",
    "?email[0]=$O",
    "?email[a]=$O",
    "?user[email]=$N&user[password]=$P",
    "?user.email=$N&user.password=$P",
    "?a=1&email=$O",
    "?a=1;email=$O",
    "?a;email=$N;password=$P",
    "?;email=$N;password=$P",
    "?email=$N;password=$P",
    "?email=$O%26password=$P",
    "?email",
    "?email=",
    "?email==$O",
    "?email%3d$O",
    "?+email=$O",
    "?%20email=$O&%20password=$P",
    "?%09email=$O",
    "?email%20=$O",
    "?email%00=$O",
    "?email%00x=$N&password%00x=$P",
    "?email.=$O",
    "?_email=$O",
    "?email[=$O",
    "?email]=$O",
    "?[email]=$O",
    "?[email]=$N&[password]=$P",
    "?email%EF%BB%BF=$O",
    "?%EF%BD%85mail=$O",
    "?%u0065mail=$O",
    "?%2565mail=$O",
    "?%c1%a5mail=$O",
    "?_method=POST",
    "?_method=post",
    "?_method=PUT",
    "?_METHOD=POST",
    "?%5fmethod=POST",
    "?_method=POST&email=$N&password=$P",
    "?_method[]=POST",
    "?X-HTTP-Method-Override=POST",
    "?__proto__[email]=$O&__proto__[password]=$P",
    "?constructor[prototype][email]=$O",
    "?_charset_=utf-16",
    "?x=%zz",
    "?x=%",
    "?x=%ff",
    "?callback=f",
    "?format=json",
    "?next=/",
    "?utm_source=mail&x=1",
    "??email=$N&password=$P",
    "?&email=$N&password=$P",
    "?&&",
    "?x#email=$N&password=$P",
    "#email=$N&password=$P",
    "?%3femail=$O",
    "?%26email=$O",
    "?{\"email\":\"$N\",\"password\":\"$P\"}",
    "?url=/api/login",
    "?r=api/login",
    "?username=$O&pass=$P",
    "?x=\u{e9}",
    "?e\\mail=$O",
    "?a=1&a=2&a=3",
];

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

const TYPES: [&[&str]; 66] = [
    &[JSON],
    &[FORM],
    &[],
    &[""],
    &["application/json; charset=utf-8"],
    &["application/json;charset=UTF-8"],
    &["application/json; charset=\"utf-8\""],
    &["application/json; charset=utf8"],
    &["Application/JSON"],
    &["APPLICATION/JSON ; CHARSET=UTF-8"],
    &["application/json; charset=utf-16"],
    &["application/json; charset=utf-16le"],
    &["application/json; charset=utf-16be"],
    &["application/json; charset=utf-32"],
    &["application/json; charset=utf-7"],
    &["application/json; charset=iso-8859-1"],
    &["application/json; charset=us-ascii"],
    &["application/json; charset=ibm037"],
    &["application/json; charset=utf-8; charset=utf-16"],
    &["application/json; charset=utf-16; charset=utf-8"],
    &["application/json; charset*=utf-8''utf-16"],
    &["application/json;"],
    &["application/json; x=1"],
    &["application/json,"],
    &["application/json, text/plain"],
    &["text/plain, application/json"],
    &["application/json, application/x-www-form-urlencoded"],
    &["application/jsonp"],
    &["application/json+x"],
    &["text/json"],
    &["text/x-json"],
    &["text/plain"],
    &["text/plain;charset=UTF-8"],
    &["text/html"],
    &["application/vnd.api+json"],
    &["application/ld+json"],
    &["application/problem+json; charset=utf-8"],
    &["application/csp-report"],
    &["application/javascript"],
    &["application/octet-stream"],
    &["application/graphql"],
    &["application/xml"],
    &["text/xml"],
    &["application/msgpack"],
    &["application/x-www-form-urlencoded; charset=utf-8"],
    &["application/x-www-form-urlencoded;charset=UTF-8"],
    &["Application/X-WWW-Form-Urlencoded"],
    &["application/x-www-form-urlencoded; charset=iso-8859-1"],
    &["application/x-www-form-urlencoded; charset=utf-16"],
    &["application/x-www-form-urlencoded; charset=utf-7"],
    &["application/x-www-form-urlencoded; charset=ibm037"],
    &["application/x-www-form-urlencoded; boundary=B"],
    &["application/x-www-form-urlencoded, application/json"],
    &["application/x-url-encoded"],
    &["multipart/form-data; boundary=B"],
    &["multipart/form-data; boundary=\"B\""],
    &["Multipart/Form-Data;Boundary=B"],
    &["multipart/form-data"],
    &["multipart/mixed; boundary=B"],
    &["multipart/form-data; boundary=B; boundary=C"],
    &["*/*"],
    &["json"],
    &[JSON, FORM],
    &[FORM, JSON],
    &[JSON, JSON],
    &["multipart/form-data; boundary=B", FORM],
];

/// A further framing, told by its name among the headers.
const CHUNKED: &str = "Transfer-Encoding: chunked";

const EXTRAS: [&str; 66] = [
    "",
    CHUNKED,
    "X-HTTP-Method-Override: POST",
    "X-HTTP-Method-Override: post",
    "X-HTTP-Method-Override: PUT",
    "X-HTTP-Method-Override: GET",
    "x-http-method-override: POST",
    "X_HTTP_METHOD_OVERRIDE: POST",
    "X-HTTP-Method: POST",
    "X-HTTP-Method: PUT",
    "X-Method-Override: POST",
    "X-Method-Override: PUT",
    "X-Method: POST",
    "X-Original-Method: POST",
    "X-Forwarded-Method: POST",
    "X-Original-URL: $T",
    "X-Original-URL: $T?email=$N&password=$P",
    "X-Original-Url: $T\nX-HTTP-Method-Override: POST",
    "X_ORIGINAL_URL: $T",
    "X-Rewrite-URL: $T",
    "X-Rewrite-URL: $T?x=1",
    "X-Original-URI: $T",
    "X-Forwarded-URI: $T",
    "X-Forwarded-Path: $T",
    "X-Forwarded-Prefix: /other",
    "X-Forwarded-Prefix: /x",
    "X-Script-Name: /other",
    "X-Script-Name: /x",
    "SCRIPT_NAME: /other",
    "SCRIPT_NAME: /x",
    "Script-Name: /x",
    "PATH_INFO: $T",
    "Path-Info: $T",
    "X-Original-Path: $T",
    "X-Request-URI: $T",
    "X-Envoy-Original-Path: $T",
    "X-Replaced-Path: $T",
    "X-Override-URL: $T",
    "Content-Encoding: gzip",
    "Content-Encoding: deflate",
    "Content-Encoding: br",
    "Content-Encoding: identity",
    "Content-Encoding: GZIP",
    "Content-Encoding: gzip, identity",
    "Content-Encoding: utf-8",
    "Content-Encoding:",
    "Content_Type: application/json",
    "Content_Encoding: gzip",
    "Content-Transfer-Encoding: base64",
    "Cookie: email=$O; password=$P",
    "Cookie: email=$O",
    "Cookie: EMAIL=$O; x=1",
    "Cookie: a=1;email[]=$O",
    "Cookie: e%6dail=$O; passw%6frd=$P",
    "Cookie: a=1\nCookie: email=$O; password=$P",
    "Cookie: _method=POST",
    "Connection: content-type",
    "Connection: content-encoding, x-http-method-override\nX-HTTP-Method-Override: PUT",
    "Connection: cookie",
    "Accept: application/json",
    "X-Requested-With: XMLHttpRequest",
    "Trailer: X-Email",
    "TE: trailers",
    "Upgrade: h2c\nConnection: upgrade\nHTTP2-Settings: AAMAAABkAAQAAP__",
    "Expect: 200-ok",
    "Referer: http://app.example/x",
];

/// How a body's text becomes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Utf8,
    /// With a byte-order mark.
    Bom,
    Utf16Le,
    Utf16Be,
    Utf16WithMark,
    Utf32Le,
    /// With letters of a name in base64 (RFC 2152).
    Utf7,
    /// `¤` stands for a byte that is no UTF-8.
    BadUtf8,
    Gzip,
    Deflate,
    /// EBCDIC (code page 37), which Python knows as a charset.
    Ebcdic,
    /// Padded to more than a login may have.
    Huge,
    /// With many fields in front.
    Many,
}

impl Coding {
    fn encode(self, text: &str) -> Vec<u8> {
        let utf16 = |le: bool| -> Vec<u8> {
            text.encode_utf16().flat_map(|unit| if le { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
        };
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Bom => ["\u{feff}".as_bytes(), text.as_bytes()].concat(),
            Self::Utf16Le => utf16(true),
            Self::Utf16Be => utf16(false),
            Self::Utf16WithMark => [&[0xff, 0xfe][..], &utf16(true)].concat(),
            Self::Utf32Le => text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(),
            Self::Utf7 => text.replace('@', "+AEA-").replace("email", "+AGU-mail").into_bytes(),
            Self::BadUtf8 => {
                text.bytes().filter(|byte| *byte != 0xc2).map(|byte| if byte == 0xa4 { 0xff } else { byte }).collect()
            }
            Self::Gzip => gzip(text.as_bytes()),
            Self::Deflate => zlib(text.as_bytes()),
            Self::Ebcdic => text.bytes().map(ebcdic).collect(),
            Self::Huge => [text.as_bytes(), &b" ".repeat(17_000)].concat(),
            Self::Many => ["a=b&".repeat(1_100).as_bytes(), text.as_bytes()].concat(),
        }
    }
}

/// One stored block (RFC 1951, section 3.2.4).
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short body");
    [&[1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), bytes].concat()
}

/// RFC 1952.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let length = u32::try_from(bytes.len()).expect("a short body");
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    [&head[..], &stored(bytes), &(!crc).to_le_bytes(), &length.to_le_bytes()].concat()
}

/// RFC 1950.
fn zlib(bytes: &[u8]) -> Vec<u8> {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    [&[0x78, 0x01][..], &stored(bytes), &((b << 16) | a).to_be_bytes()].concat()
}

fn ebcdic(byte: u8) -> u8 {
    match byte {
        b'a'..=b'i' => byte - b'a' + 0x81,
        b'j'..=b'r' => byte - b'j' + 0x91,
        b's'..=b'z' => byte - b's' + 0xa2,
        b'0'..=b'9' => byte - b'0' + 0xf0,
        b'{' => 0xc0,
        b'}' => 0xd0,
        b'"' => 0x7f,
        b':' => 0x7a,
        b',' => 0x6b,
        b'.' => 0x4b,
        b'@' => 0x7c,
        b'-' => 0x60,
        b'=' => 0x7e,
        b'&' => 0x50,
        other => other,
    }
}

use Coding::{BadUtf8, Bom, Deflate, Ebcdic, Gzip, Huge, Many, Utf7, Utf8, Utf16Be, Utf16Le, Utf16WithMark, Utf32Le};

const BODIES: [(&str, Coding); 154] = [
    // JSON.
    (r#"{"email":"$N","password":"$P"}"#, Utf8),
    (r#"{"email":"$N","password":"$P"}"#, Bom),
    (r#"{"email":"$N","password":"$P"}"#, Utf16Le),
    (r#"{"email":"$N","password":"$P"}"#, Utf16Be),
    (r#"{"email":"$N","password":"$P"}"#, Utf16WithMark),
    (r#"{"email":"$N","password":"$P"}"#, Utf32Le),
    (r#"{"email":"$N","password":"$P"}"#, Utf7),
    (r#"{"email":"$N","password":"$P"}"#, Gzip),
    (r#"{"email":"$N","password":"$P"}"#, Deflate),
    (r#"{"email":"$N","password":"$P"}"#, Ebcdic),
    (r#"{"email":"$N","password":"$P"}"#, Huge),
    (r#"{"email":"$N","password":"$P","x":"¤"}"#, BadUtf8),
    (r#"{"email":"$N¤","password":"$P"}"#, BadUtf8),
    (" \r\n\t{ \"password\" : \"$P\" ,\n\"email\":\"$N\" } ", Utf8),
    (r#"{"email":"$N","password":"$P","remember":true,"role":"admin"}"#, Utf8),
    (r#"{"email":"$N","email":"$O","password":"$P"}"#, Utf8),
    (r#"{"email":"$O","email":"$N","password":"$P"}"#, Utf8),
    (r#"{"email":"$N","password":"$P","password":"x"}"#, Utf8),
    (r#"{"email":"$N","\u0065mail":"$O","password":"$P"}"#, Utf8),
    (r#"{"\u0065mail":"$N","p\u0061ssword":"$P"}"#, Utf8),
    (r#"{"email":"\u0075\u0040$N","password":"\u0070$P"}"#, Utf8),
    (r#"{"email":"$N","Email":"$O","password":"$P"}"#, Utf8),
    (r#"{"Email":"$O","email":"$N","password":"$P"}"#, Utf8),
    (r#"{"EMAIL":"$N","PASSWORD":"$P"}"#, Utf8),
    (r#"{"Email":"$N","Password":"$P"}"#, Utf8),
    (r#"{"email ":"$N","password":"$P"}"#, Utf8),
    (r#"{" email":"$O","email":"$N","password":"$P"}"#, Utf8),
    (r#"{"email\u0000":"$O","email":"$N","password":"$P"}"#, Utf8),
    (r#"{"email\u200b":"$O","email":"$N","password":"$P"}"#, Utf8),
    (r#"{"ema\u0131l":"$N","pa\u017fsword":"$P"}"#, Utf8),
    (r#"{"email":"$N","password":"$P","user":{"email":"$O"}}"#, Utf8),
    (r#"{"user":{"email":"$N","password":"$P"}}"#, Utf8),
    (r#"{"user[email]":"$N","user[password]":"$P"}"#, Utf8),
    (r#"{"email[]":"$O","email":"$N","password":"$P"}"#, Utf8),
    (r#"[{"email":"$N","password":"$P"}]"#, Utf8),
    (r#"{"email":["$N"],"password":"$P"}"#, Utf8),
    (r#"{"email":["$O","$N"],"password":["$P"]}"#, Utf8),
    (r#"{"email":{"$ne":""},"password":{"$ne":""}}"#, Utf8),
    (r#"{"email":1,"password":2}"#, Utf8),
    (r#"{"email":true,"password":true}"#, Utf8),
    (r#"{"email":null,"password":"$P"}"#, Utf8),
    (r#"{"email":"","password":"$P"}"#, Utf8),
    (r#"{"email":"$N"}"#, Utf8),
    (r#"{"password":"$P"}"#, Utf8),
    (r#"{"email":"$N","password":"$P"}x"#, Utf8),
    (r#"{"email":"$N","password":"$P"}{"email":"$O"}"#, Utf8),
    ("{\"email\":\"$N\",\"password\":\"$P\"}\n{\"email\":\"$O\",\"password\":\"$P\"}", Utf8),
    (r#"{"email":"$N","password":"$P",}"#, Utf8),
    (r#"{"email":"$N","password":"$P"/*x*/}"#, Utf8),
    ("{\"email\":\"$N\",\"password\":\"$P\"}//x\n", Utf8),
    (r#"{'email':'$N','password':'$P'}"#, Utf8),
    (r#"{email:"$N",password:"$P"}"#, Utf8),
    (r#"{"email":"$N","password":"$P","x":NaN}"#, Utf8),
    (r#"{"email":"$N","password":"$P","x":Infinity}"#, Utf8),
    (r#"{"email":"$N","password":"$P","x":1e999}"#, Utf8),
    (r#"{"email":"$N","password":"$P","x":01}"#, Utf8),
    (r#"{"email":"$N","password":"$P","x":"\ud800"}"#, Utf8),
    (r#"{"email":"$N\ud800","password":"$P"}"#, Utf8),
    (r#"{"email":"$N\u0000","password":"$P"}"#, Utf8),
    (r#"{"email":"$N\n","password":"$P "}"#, Utf8),
    ("{\"email\":\"$N\n\",\"password\":\"$P\"}", Utf8),
    ("{\"email\":\"$N\t\",\"password\":\"$P\"}", Utf8),
    (r#"{"email":"$N","password":"$P","x":[[[[[[[[[1]]]]]]]]]}"#, Utf8),
    (r#"{"__proto__":{"email":"$N","password":"$P"}}"#, Utf8),
    (r#"{"constructor":{"prototype":{"email":"$N","password":"$P"}}}"#, Utf8),
    (r#"{"email":"$N","password":"$P","__proto__":{"email":"$O"}}"#, Utf8),
    (r#"{"email":"$N","password":"$P","_method":"POST"}"#, Utf8),
    (r#"{"email":"$N","password":"$P","_method":"PUT"}"#, Utf8),
    (r#"{"email":"$N","password":"$P","_METHOD":"PUT"}"#, Utf8),
    (")]}',\n{\"email\":\"$N\",\"password\":\"$P\"}", Utf8),
    (r#""{\"email\":\"$N\",\"password\":\"$P\"}""#, Utf8),
    (r#"{"email":"Ünï-$N","password":"pässwörd-$P"}"#, Utf8),
    (r#"{"email":"a\u030a-$N","password":"\u2028$P"}"#, Utf8),
    (r#"{"email":"$N\/","password":"\\\"$P"}"#, Utf8),
    ("", Utf8),
    (" ", Utf8),
    ("null", Utf8),
    ("[]", Utf8),
    ("{}", Utf8),
    ("\"\"", Utf8),
    ("0", Utf8),
    // Forms.
    ("email=$N&password=$P", Utf8),
    ("email=$N&password=$P", Bom),
    ("email=$N&password=$P", Utf16Le),
    ("email=$N&password=$P", Utf16WithMark),
    ("email=$N&password=$P", Utf7),
    ("email=$N&password=$P", Gzip),
    ("email=$N&password=$P", Deflate),
    ("email=$N&password=$P", Ebcdic),
    ("email=$N&password=$P&x=", Huge),
    ("email=$N&password=$P", Many),
    ("email=$N&password=$P&x=¤", BadUtf8),
    ("email=$N¤&password=$P", BadUtf8),
    ("password=$P&email=$N", Utf8),
    ("email=$N&password=$P&remember=1&csrf=x", Utf8),
    ("email=$N&email=$O&password=$P", Utf8),
    ("email=$O&password=$P&email=$N", Utf8),
    ("email=$N&password=$P&password=x", Utf8),
    ("email[]=$N&password[]=$P", Utf8),
    ("email=$N&email[]=$O&password=$P", Utf8),
    ("email[]=$O&email=$N&password=$P", Utf8),
    ("email[0]=$O&email=$N&password=$P", Utf8),
    ("email=$N&email[a]=$O&password=$P", Utf8),
    ("email=$N;email=$O&password=$P", Utf8),
    ("email=$N;password=$P", Utf8),
    ("%65mail=$N&p%61ssword=$P", Utf8),
    ("%65mail=$O&email=$N&password=$P", Utf8),
    ("EMAIL=$N&PASSWORD=$P", Utf8),
    ("Email=$O&email=$N&password=$P", Utf8),
    ("email%00=$O&email=$N&password=$P", Utf8),
    ("email%00x=$N&password%00x=$P", Utf8),
    ("+email=$N&+password=$P", Utf8),
    ("%20email=$O&email=$N&password=$P", Utf8),
    ("\temail=$N&password=$P", Utf8),
    (".email=$O&email=$N&password=$P", Utf8),
    ("email.=$O&email=$N&password=$P", Utf8),
    ("email[=$O&email=$N&password=$P", Utf8),
    ("email]=$O&email=$N&password=$P", Utf8),
    ("[email]=$N&[password]=$P", Utf8),
    ("[email]=$O&email=$N&password=$P", Utf8),
    ("_email=$O&email=$N&password=$P", Utf8),
    ("user[email]=$N&user[password]=$P", Utf8),
    ("user[email]=$O&email=$N&password=$P", Utf8),
    ("user.email=$N&user.password=$P", Utf8),
    ("email==$N&password=$P", Utf8),
    ("email=&password=$P", Utf8),
    ("email&password=$P", Utf8),
    ("email=$N", Utf8),
    ("password=$P", Utf8),
    ("?email=$N&password=$P", Utf8),
    ("&&email=$N&&password=$P&", Utf8),
    ("email=$N&password=$P#x", Utf8),
    ("email=$N%26password=x&password=$P", Utf8),
    ("email=$N&password=$P&_method=POST", Utf8),
    ("email=$N&password=$P&_method=PUT", Utf8),
    ("_METHOD=PUT&email=$N&password=$P", Utf8),
    ("_method[]=PUT&email=$N&password=$P", Utf8),
    ("email=$N&password=$P&_charset_=utf-16", Utf8),
    ("email=$N&password=$P&utf8=%E2%9C%93", Utf8),
    ("email=$N%zz&password=$P", Utf8),
    ("email=$N&password=$P%", Utf8),
    ("email=$N%ff&password=$P", Utf8),
    ("%u0065mail=$N&password=$P", Utf8),
    ("email=$N\r\n&password=$P", Utf8),
    ("email=$N\r\npassword=$P\r\n", Utf8),
    ("email=+$N+&password=+$P%20", Utf8),
    ("email=%C3%BC-$N&password=p%C3%A4ss-$P", Utf8),
    ("email=\u{fc}-$N&password=$P", Utf8),
    ("__proto__[email]=$N&__proto__[password]=$P", Utf8),
    ("{\"email\":\"$N\",\"password\":\"$P\",\"x\":\"=\"}", Utf8),
    // Other kinds.
    (
        "--B\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\n$N\r\n--B\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n$P\r\n--B--\r\n",
        Utf8,
    ),
    (
        "--B\r\nContent-Disposition: form-data; name=email\r\n\r\n$N\r\n--B\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\n$O\r\n--B\r\nContent-Disposition: form-data; name=\"password\"; x=\"y\"\r\n\r\n$P\r\n--B--\r\n",
        Utf8,
    ),
    ("<?xml version=\"1.0\"?><login><email>$N</email><password>$P</password></login>", Utf8),
    (
        "<?xml version=\"1.0\"?><methodCall><methodName>wp.getUsersBlogs</methodName><params><param><value>$N</value></param><param><value>$P</value></param></params></methodCall>",
        Utf8,
    ),
];

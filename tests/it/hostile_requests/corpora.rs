//! The two corpora as `tests/corpora/install` leaves them, and each case made whole: a request without the `Host` that this edge wants
//! would be refused for that, and show nothing about what it is there for.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use super::generator::CANARY;
use super::grammar::find;

/// A case as its authors wrote it.
#[derive(Debug, Deserialize)]
pub(super) struct Case {
    pub(super) corpus: String,
    pub(super) name: String,
    /// What their title for it is, or their word.
    #[serde(default)]
    pub(super) title: String,
    pub(super) verdict: Says,
    pub(super) says: String,
    settings: Vec<Vec<serde_json::Value>>,
    #[serde(deserialize_with = "hex")]
    bytes: Vec<u8>,
    /// What a server should take a valid one for.
    requests: Vec<Expected>,
}

/// What its authors say of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Says {
    Valid,
    Invalid,
}

/// A request that a case holds.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) method: String,
    pub(super) target: String,
    version: String,
    #[serde(deserialize_with = "hex")]
    pub(super) body: Vec<u8>,
}

fn hex<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    let digits = |at: usize| text.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    (0..text.len()).step_by(2).map(digits).collect::<Option<_>>().ok_or_else(|| serde::de::Error::custom("no hex"))
}

/// A case in the form in which it is sent.
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    /// What the upstream should see of a valid one.
    pub(super) expected: Vec<Expected>,
    /// Whether a `Host` had to be added.
    pub(super) host_added: bool,
}

const HOST: &[u8] = b"Host: corpus.example\r\n";

/// All cases; none if whoever runs the tests wants them without.
pub(super) fn cases() -> Option<Vec<Case>> {
    if std::env::var_os("AUTHFERRY_SKIP_CORPORA").is_some_and(|value| !value.is_empty()) {
        println!("AUTHFERRY_SKIP_CORPORA is set: nothing was tested with the corpora of others");
        return None;
    }
    let beside_the_build = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/corpora");
    let path =
        std::env::var_os("AUTHFERRY_CORPORA_DIR").map_or_else(beside_the_build, PathBuf::from).join("cases.json");
    let text = std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}. Run `tests/run`, or once `tests/corpora/install`; AUTHFERRY_SKIP_CORPORA=1 leaves them out",
            path.display()
        )
    });
    Some(serde_json::from_slice(&text).expect("a list of cases"))
}

impl Case {
    /// As it was written.
    pub(super) fn as_written(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it begins with a PROXY header.
    pub(super) fn wants_proxy_protocol(&self) -> bool {
        self.settings.iter().any(|setting| setting.first().is_some_and(|name| name == "proxy_protocol"))
    }

    /// With a host, and with the body that its head announces.
    pub(super) fn whole(&self) -> Whole {
        let mut whole = Whole { bytes: self.bytes.clone(), expected: self.requests.clone(), host_added: false };
        if self.corpus == "gunicorn" {
            let mut from = 0;
            for request in &self.requests {
                let line = format!("{} {} HTTP/{}\r\n", request.method, request.target, request.version);
                // A case may be written in another case than it is read.
                if let Some(at) = find(&whole.bytes[from..], line.as_bytes()) {
                    from += at + line.len();
                    whole.add_host(from);
                }
            }
            let empty = whole.bytes.chunks(2).take_while(|pair| pair == b"\r\n").count() * 2;
            if let Some(end) = find(&whole.bytes[empty..], b"\r\n").filter(|_| self.requests.is_empty()) {
                whole.add_host(empty + end + 2);
            }
            for request in &mut whole.expected {
                request.target = canonical(&request.target);
            }
        } else {
            let end = find(&whole.bytes, b"\r\n").expect("a request line");
            let line = String::from_utf8_lossy(&whole.bytes[..end]).into_owned();
            whole.add_host(end + 2);
            let (body, on_the_wire) = self.body();
            whole.bytes.extend_from_slice(&on_the_wire);
            if let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] {
                let (method, version) = (method.to_owned(), version.to_owned());
                whole.expected = vec![Expected { method, target: canonical(target), version, body }];
            }
        }
        whole
    }

    /// A body for a case that has none: what its framing headers announce where they announce one thing, and a canary where they do not.
    fn body(&self) -> (Vec<u8>, Vec<u8>) {
        let text = String::from_utf8_lossy(&self.bytes);
        let lines = text.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        // A name that is legal and another one is another header: what follows such a head is a request, and hides none.
        let legal = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
        let lines = lines.filter(|(name, _)| name.len() <= "transfer-encoding".len() || !legal(name));
        let plain =
            |name: &str| name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
        let framing: Vec<(&str, &str)> =
            lines.filter(|(name, _)| ["contentlength", "transferencoding"].contains(&plain(name).as_str())).collect();
        match framing[..] {
            [] => (Vec::new(), Vec::new()),
            [(name, value)] if name.eq_ignore_ascii_case("content-length") => {
                let length = value.trim().parse().unwrap_or(0_usize).min(8 << 20);
                let body = CANARY.bytes().cycle().take(length).collect::<Vec<_>>();
                (body.clone(), body)
            }
            [(name, value)] if name.eq_ignore_ascii_case("transfer-encoding") && value.trim() == "chunked" => {
                (CANARY.into(), format!("{:x}\r\n{CANARY}\r\n0\r\n\r\n", CANARY.len()).into())
            }
            _ => (Vec::new(), CANARY.into()),
        }
    }
}

impl Whole {
    /// Adds a host at the start of the headers if there is none.
    fn add_host(&mut self, at: usize) {
        let end = find(&self.bytes[at - 2..], b"\r\n\r\n").map_or(self.bytes.len(), |end| at - 2 + end);
        let head = self.bytes[at - 2..end].to_ascii_lowercase();
        if find(&head, b"\r\nhost:").is_none() {
            self.bytes.splice(at..at, HOST.iter().copied());
            self.host_added = true;
        }
    }
}

/// A target as the upstream should see it: without scheme and host, and with what no path may hold encoded (RFC 3986, section 3.3).
fn canonical(target: &str) -> String {
    let origin = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        Some(_) | None => target,
    };
    let (path, query) = origin.split_once('?').map_or((origin, None), |(path, query)| (path, Some(query)));
    let mut canonical = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte) {
            canonical.push(char::from(byte));
        } else {
            canonical.push_str(&format!("%{byte:02X}"));
        }
    }
    query.map_or(canonical.clone(), |query| format!("{canonical}?{query}"))
}

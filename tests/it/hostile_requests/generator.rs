//! Requests without end: sound ones, and sound ones that one operator has spoilt. The same number gives the same bytes.
//!
//! Wherever a reader could be led to see a second request, there is one to see: the [`CANARY`]. It must never arrive.

use super::operators::{Base, OPERATORS, Operator};

/// What may become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It arrives, as what it is.
    Pass,
    /// It is refused, or arrives in canonical form and with its own body.
    May,
    /// Its head is sound and its body is not: it may begin to arrive, and is never whole.
    Cut,
    /// Not a byte of it arrives.
    Refuse,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::May => "may",
            Self::Cut => "cut",
            Self::Refuse => "refuse",
        }
    }
}

/// A request that nobody sends.
pub(super) const CANARY: &str = "GET /canary HTTP/1.1\r\nHost: canary\r\n\r\n";

/// One request.
pub(super) struct Generated {
    pub(super) verdict: Verdict,
    /// What was done to it.
    pub(super) operator: &'static str,
    pub(super) bytes: Vec<u8>,
    /// `x-case`.
    pub(super) case: String,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: Vec<u8>,
}

/// A request in parts that can be spoilt one by one.
pub(super) struct Draft {
    pub(super) before: Vec<u8>,
    pub(super) method: Vec<u8>,
    pub(super) gap: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) version: Vec<u8>,
    /// The end of the request line.
    pub(super) line_end: Vec<u8>,
    /// Each line with its end.
    pub(super) headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The empty line.
    pub(super) end: Vec<u8>,
    /// As it is on the wire.
    pub(super) body: Vec<u8>,
    /// What the body holds.
    pub(super) content: Vec<u8>,
}

impl Draft {
    fn new(rng: &mut Rng, base: Base, id: u64) -> Self {
        let base = match base {
            Base::Any => [Base::Plain, Base::Length, Base::Chunked][rng.below(3)],
            Base::Plain | Base::Length | Base::Chunked => base,
        };
        let method = match base {
            Base::Plain => rng.pick(&["GET", "GET", "HEAD", "DELETE", "OPTIONS"]),
            Base::Length | Base::Chunked | Base::Any => rng.pick(&["POST", "POST", "PUT", "PATCH", "DELETE", "GET"]),
        };
        let query = rng.pick(&["", "", "?a=b", "?q=%41%zz&r[]=1", "?next=http://a/../b"]);
        let target = format!("/g/{}{id}{query}", rng.pick(&["", "a.b/", "%20/", "x;y=z/", "~u/"]));
        let mut draft = Self {
            before: Vec::new(),
            method: method.into(),
            gap: b" ".to_vec(),
            target: target.into(),
            version: b"HTTP/1.1".to_vec(),
            line_end: b"\r\n".to_vec(),
            headers: Vec::new(),
            end: b"\r\n".to_vec(),
            body: Vec::new(),
            content: Vec::new(),
        };
        draft.push(b"Host: app.example");
        for line in [
            "Accept: */*",
            "user-agent: somebody/1.0 (a; b)",
            "Cookie: a=1; b=2",
            "X-Empty:",
            "X-Text: caf\u{e9}",
            "If-None-Match: \"a\"",
        ] {
            if rng.below(3) == 0 {
                draft.push(line.as_bytes());
            }
        }
        match base {
            Base::Plain => {}
            Base::Length | Base::Any => {
                draft.content = content(rng);
                draft.body = draft.content.clone();
                draft.push(format!("Content-Length: {}", draft.content.len()).as_bytes());
            }
            Base::Chunked => {
                draft.content = content(rng);
                draft.body = chunked(rng, &draft.content);
                draft.push(b"Transfer-Encoding: chunked");
            }
        }
        draft
    }

    /// Another header line at the end.
    pub(super) fn push(&mut self, line: &[u8]) {
        self.headers.push((line.to_vec(), b"\r\n".to_vec()));
    }

    /// Another header line anywhere.
    pub(super) fn insert(&mut self, line: &[u8], rng: &mut Rng) {
        let at = rng.below(self.headers.len() + 1);
        self.headers.insert(at, (line.to_vec(), b"\r\n".to_vec()));
    }

    /// Another line in place of the header of this name.
    pub(super) fn replace(&mut self, name: &str, line: &[u8]) {
        let known = self.headers.iter_mut().find(|(known, _)| starts_with(known, name));
        known.expect("the base has this header").0 = line.to_vec();
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.headers.retain(|(known, _)| !starts_with(known, name));
    }

    fn render(&self) -> Vec<u8> {
        let first = [&self.before[..], &self.method, &self.gap, &self.target];
        let space: &[u8] = if self.version.is_empty() { b"" } else { b" " };
        let mut bytes = [&first[..], &[space, &self.version, &self.line_end]].concat().concat();
        for (line, end) in &self.headers {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(end);
        }
        bytes.extend_from_slice(&self.end);
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

fn starts_with(line: &[u8], name: &str) -> bool {
    line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
        && line.get(name.len()) == Some(&b':')
}

/// Bytes that look like the end of a body and the start of a request to whoever takes their length for another.
fn content(rng: &mut Rng) -> Vec<u8> {
    let filler = vec![b'x'; rng.below(60)];
    match rng.below(5) {
        0 => CANARY.into(),
        1 => [b"0\r\n\r\n", CANARY.as_bytes()].concat(),
        2 => [b"\r\n", CANARY.as_bytes(), &filler].concat(),
        3 => [&filler[..], b"\r\n0\r\n\r\n", CANARY.as_bytes()].concat(),
        _ => [&b"a"[..], &filler].concat(),
    }
}

/// The same in chunks, as anybody may write them.
pub(super) fn chunked(rng: &mut Rng, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(1 + rng.below(rest.len()));
        let size = if rng.below(2) == 0 { format!("{:x}\r\n", chunk.len()) } else { format!("{:X}\r\n", chunk.len()) };
        bytes.extend_from_slice(size.as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
        rest = after;
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// A sound request.
pub(super) fn sound(rng: &mut Rng, id: u64, last: bool) -> Generated {
    let mut draft = Draft::new(rng, Base::Any, id);
    if last {
        draft.push(b"Connection: close");
    }
    finish(draft, Verdict::Pass, "sound", id)
}

/// A request that an operator has been at.
pub(super) fn spoilt(rng: &mut Rng, id: u64, operator: &Operator) -> Generated {
    let mut draft = Draft::new(rng, operator.base, id);
    (operator.spoil)(&mut draft, rng);
    finish(draft, operator.verdict, operator.name, id)
}

fn finish(mut draft: Draft, verdict: Verdict, operator: &'static str, id: u64) -> Generated {
    let case = format!("{}-{id}", verdict.word());
    let line = format!("X-Case: {case}");
    // Among the sound lines: what spoils a request by its place has to stay there.
    let at = draft.headers.iter().position(|(line, _)| line.starts_with(b"Host")).map_or(0, |at| at + 1);
    draft.headers.insert(at, (line.into_bytes(), b"\r\n".to_vec()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Generated {
        verdict,
        operator,
        bytes: draft.render(),
        case,
        method: text(&draft.method),
        target: text(&draft.target),
        body: draft.content,
    }
}

/// What is sent over one connection, one after the other without waiting: sound requests, some that may pass, then one that an
/// operator has been at, each in its turn, and a sound one or two, of which the last ends the connection.
pub(super) fn connection(seed: u64, number: u64) -> Vec<Generated> {
    let mut rng = Rng::new(seed, number);
    let ids = number * 32..;
    let (before, after) = (rng.below(16), 1 + rng.below(2));
    let operator = &OPERATORS[usize::try_from(number).unwrap_or(0) % OPERATORS.len()];
    let of = |place: usize, id: u64, rng: &mut Rng| match place {
        place if place == before => spoilt(rng, id, operator),
        place if place > before => sound(rng, id, place == before + after),
        _ => match rng.pick(&[None, None, Some(())]).map(|()| &OPERATORS[rng.below(OPERATORS.len())]) {
            Some(gentle) if matches!(gentle.verdict, Verdict::Pass | Verdict::May) => spoilt(rng, id, gentle),
            Some(_) | None => sound(rng, id, false),
        },
    };
    (0..=before + after).zip(ids).map(|(place, id)| of(place, id, &mut rng)).collect()
}

/// SplitMix64: small, the same everywhere, and one seed for each connection.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        // The states of two streams must not be steps of one another.
        let mut rng = Self(seed);
        let seed = rng.next();
        rng = Self(stream);
        Self(seed ^ rng.next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or(0)
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

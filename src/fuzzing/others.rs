//! How somebody else reads the same bytes: small models of the specifications and of the backends behind us, written without
//! the product's own code, so that a mistake is not made twice. Called by the targets.

use std::collections::HashSet;

/// Percent-decodes once; what encodes nothing stays (as most backends do it).
pub(super) fn decoded(text: &[u8]) -> Vec<u8> {
    let hex = |at: usize| text.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

/// What `;` means to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameters {
    CutFirst,
    CutLast,
    Unknown,
}

/// How a backend finds the place that a path leads to.
#[derive(Debug, Clone, Copy)]
pub(super) struct PathReader {
    /// How often it decodes.
    pub(super) decodings: usize,
    /// Whether it cuts `;parameters` off before it decodes, as servlets do, or after, or knows of none.
    pub(super) parameters: Parameters,
    /// Whether it makes one slash of several before it resolves `..`, as Tomcat and nginx do, or after.
    pub(super) merges_first: bool,
    /// Whether a backslash is a slash (IIS, and what runs on Windows).
    pub(super) backslash: bool,
}

impl PathReader {
    pub(super) const ALL: [Self; 7] = [
        Self { decodings: 1, parameters: Parameters::CutFirst, merges_first: false, backslash: false },
        Self { decodings: 1, parameters: Parameters::CutLast, merges_first: false, backslash: false },
        Self { decodings: 1, parameters: Parameters::CutLast, merges_first: false, backslash: true },
        Self { decodings: 2, parameters: Parameters::CutLast, merges_first: false, backslash: true },
        Self { decodings: 1, parameters: Parameters::CutFirst, merges_first: true, backslash: false },
        Self { decodings: 1, parameters: Parameters::Unknown, merges_first: true, backslash: false },
        Self { decodings: 1, parameters: Parameters::Unknown, merges_first: false, backslash: true },
    ];

    /// The place, in lower case, without a slash at the end.
    pub(super) fn place(self, path: &str) -> String {
        let mut bytes = path.as_bytes().to_vec();
        if self.parameters == Parameters::CutFirst {
            bytes = without_parameters(&bytes);
        }
        for _ in 0..self.decodings {
            bytes = decoded(&bytes);
        }
        if self.backslash {
            bytes.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
        }
        if self.parameters == Parameters::CutLast {
            bytes = without_parameters(&bytes);
        }
        let mut places: Vec<&[u8]> = Vec::new();
        for segment in bytes.split(|byte| *byte == b'/').skip(1) {
            match segment {
                b"." => {}
                b"" if self.merges_first => {}
                b".." => drop(places.pop()),
                segment => places.push(segment),
            }
        }
        places.retain(|segment| !segment.is_empty());
        format!("/{}", String::from_utf8_lossy(&places.join(&b'/')).to_ascii_lowercase())
    }
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let segments = path.split(|byte| *byte == b'/').map(|segment| segment.split(|byte| *byte == b';').next());
    segments.map(Option::unwrap_or_default).collect::<Vec<_>>().join(&b'/')
}

/// What a JSON text holds that two readers could take differently. The text has to be JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JsonFacts {
    /// How deep it nests.
    pub(super) depth: usize,
    /// Whether some object has a key twice, escapes undone.
    pub(super) twice: bool,
}

/// Looks through a JSON text from left to right, with nothing but a stack.
pub(super) fn json_facts(text: &str) -> JsonFacts {
    let mut facts = JsonFacts { depth: 0, twice: false };
    let mut open: Vec<Option<HashSet<String>>> = Vec::new();
    let mut last_string = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '{' => open.push(Some(HashSet::new())),
            '[' => open.push(None),
            '}' | ']' => drop(open.pop()),
            ':' => {
                if let (Some(Some(keys)), Some(key)) = (open.last_mut(), last_string.take()) {
                    facts.twice |= !keys.insert(key);
                }
            }
            '"' => {
                let mut end = at + 1;
                while let Some((next, c)) = chars.next() {
                    match c {
                        '\\' => drop(chars.next()),
                        '"' => {
                            end = next;
                            break;
                        }
                        _ => {}
                    }
                }
                last_string = text.get(at + 1..end).map(unescaped);
            }
            _ => {}
        }
        facts.depth = facts.depth.max(open.len());
    }
    facts
}

/// The text of a JSON string between its quotes.
fn unescaped(inside: &str) -> String {
    let mut units: Vec<u16> = Vec::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next() {
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('u') => {
                    let digits =
                        chars.by_ref().take(4).fold(0, |unit, digit| unit * 16 + digit.to_digit(16).unwrap_or(0));
                    units.push(u16::try_from(digits).unwrap_or_default());
                    continue;
                }
                Some(other) => other,
                None => break,
            },
            c => c,
        };
        units.extend(plain.encode_utf16(&mut [0; 2]).iter());
    }
    String::from_utf16_lossy(&units)
}

/// Reads a form as the WHATWG's URL standard says (section 5.1), without any refusal.
pub(super) fn form(body: &[u8]) -> Vec<(String, String)> {
    let part = |part: &[u8]| {
        let spaced: Vec<u8> = part.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        String::from_utf8_lossy(&decoded(&spaced)).into_owned()
    };
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            (part(halves.next().unwrap_or_default()), part(halves.next().unwrap_or_default()))
        })
        .collect()
}

/// The name of a field as a sloppy reader compares it: PHP makes `_` of dots and spaces, some ignore case, `a[]` is `a`.
pub(super) fn sloppy_name(name: &str) -> String {
    let until_nul = name.split('\0').next().unwrap_or_default();
    until_nul.trim().trim_end_matches("[]").replace(['.', ' '], "_").to_ascii_lowercase()
}

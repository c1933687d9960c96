//! One request head (RFC 9112, sections 2 to 6), byte by byte: its grammar without any of the tolerance that recipients are allowed, and
//! the few fields that say how long the message is. What it passes, hyper reads in exactly the same way.

use http::StatusCode;

use super::super::gate::{HEAD_TOO_LARGE, MAX_HEADER_LINES, Refusal, URI_TOO_LONG, bad, canonical_host, refusal};
use super::super::path::{PathError, PathPolicy};
use super::HeadRules;
use super::bytes::{is_path, is_query, is_token, run, value_run};

const REQUEST_LINE: Refusal = bad("request_line", "The request line is malformed");
const LINE_ENDING: Refusal = bad("line_ending", "Lines end with CR LF, and neither stands alone");
const HEADER_NAME: Refusal = bad("header_name", "A header has no proper name");
const HEADER_FOLD: Refusal = bad("header_fold", "A header goes on in a second line");
const HEADER_CONTROL: Refusal = bad("header_control_byte", "Header values have no control bytes");
const HOST: Refusal = bad("host", "A request names one host");
const CONTENT_LENGTH: Refusal = bad("content_length", "There is more than one length, or none");
const TRANSFER_ENCODING: Refusal = bad("transfer_encoding", "The only transfer coding is chunked, once, in HTTP/1.1");
const LENGTH_AND_CODING: Refusal = bad("length_and_coding", "A body has a length or a transfer coding");
const TARGET: Refusal = bad("target_malformed", "The request target is malformed");
const VERSION: Refusal =
    refusal(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "http_version", "The version is HTTP/1.1 or HTTP/1.0");
const TUNNEL: Refusal = refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The method is not allowed");
const METHOD_UNKNOWN: Refusal = refusal(StatusCode::NOT_IMPLEMENTED, "method_unknown", "The method is not known");

/// The longest word that is kept to be compared: more than any of those that matter.
const WORD: usize = 24;
/// The longest authority of an absolute-form target.
const AUTHORITY: usize = 262;

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Length(u64),
    Chunked,
}

/// What came of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// All of it belongs to the head, whose end is not there.
    Incomplete,
    /// The head is complete after so many bytes of it.
    Complete { length: usize, body: Body, websocket: bool },
}

/// Where in the head we are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Start,
    /// In the one empty line that may come before a request (RFC 9112, section 2.2).
    BlankLf,
    Method,
    TargetStart,
    /// In `http://` or `https://`.
    Scheme,
    Authority,
    Path,
    Query,
    /// Behind the only byte of `*`.
    Asterisk,
    Version,
    RequestLf,
    LineStart,
    Name,
    ValueStart,
    Value,
    ValueLf,
    EndLf,
}

/// The fields that matter here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Field {
    #[default]
    Other,
    ContentLength,
    TransferEncoding,
    Upgrade,
}

/// A head as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Head {
    part: Part,
    /// Bytes so far, without the empty line before it.
    length: usize,
    had_blank_line: bool,
    target_length: usize,
    lines: usize,
    http_10: bool,
    is_get: bool,
    is_head: bool,
    /// The method, scheme, version, name or value that is being read, as far as it is kept: in lower case, but for methods and versions.
    word: [u8; WORD],
    /// How long that really is.
    word_length: usize,
    /// The same without spaces at its end.
    word_end: usize,
    field: Field,
    has_host: bool,
    content_length: Option<u64>,
    is_chunked: bool,
    websocket: bool,
    /// An authority, or what follows the first byte over 127: both are rare.
    kept: Vec<u8>,
}

impl Head {
    pub(super) fn reset(&mut self) {
        let mut kept = std::mem::take(&mut self.kept);
        kept.clear();
        *self = Self { kept, ..Self::default() };
    }

    pub(super) fn is_to_head(&self) -> bool {
        self.is_head
    }

    pub(super) fn has_not_begun(&self) -> bool {
        self.part == Part::Start && !self.had_blank_line
    }

    /// Reads on. `piece` is not empty.
    pub(super) fn read(&mut self, piece: &[u8], rules: &HeadRules) -> Result<Read, Refusal> {
        let mut rest = piece;
        while let Some(first) = rest.first() {
            // No more than may be is looked at: where a piece ends must not decide which fault is found first.
            let allowed = rules.head_bytes.saturating_sub(self.length);
            if allowed == 0 {
                return Err(HEAD_TOO_LARGE);
            }
            let visible = rest.get(..allowed).unwrap_or(rest);
            let taken = self.step(*first, visible, rules)?;
            let Some(taken) = taken else {
                return self.complete(piece.len() - rest.len() + 1);
            };
            self.length += taken;
            if self.part == Part::Start {
                self.length = 0;
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(Read::Incomplete)
    }

    /// Takes one byte, or a run that begins with it, and says how many; `None` for the last byte of the head.
    fn step(&mut self, first: u8, rest: &[u8], rules: &HeadRules) -> Result<Option<usize>, Refusal> {
        let taken = match self.part {
            Part::Start | Part::BlankLf | Part::Method => self.method(first)?,
            Part::TargetStart | Part::Scheme | Part::Authority | Part::Path | Part::Query | Part::Asterisk => {
                let taken = self.target(first, rest, rules)?;
                if self.part != Part::Version {
                    self.target_length += taken;
                }
                if self.target_length > rules.uri_bytes {
                    return Err(URI_TOO_LONG);
                }
                taken
            }
            Part::Version | Part::RequestLf => self.version(first, rest)?,
            Part::LineStart | Part::Name => self.name(first, rest)?,
            Part::ValueStart | Part::Value | Part::ValueLf => self.value(first, rest)?,
            Part::EndLf if first == b'\n' => return Ok(None),
            Part::EndLf => return Err(LINE_ENDING),
        };
        Ok(Some(taken))
    }

    // ---------------------------------------------------------------------------------------------------- request line

    fn method(&mut self, byte: u8) -> Result<usize, Refusal> {
        match (self.part, byte) {
            (Part::Start, b'\r') if !self.had_blank_line => self.part = Part::BlankLf,
            (Part::BlankLf, b'\n') => (self.part, self.had_blank_line) = (Part::Start, true),
            // A letter: see `REFUSED_METHOD`.
            (Part::Start, byte) if byte.is_ascii_alphabetic() => {
                self.part = Part::Method;
                self.keep(byte);
            }
            (Part::Method, b' ') => {
                match self.word() {
                    // What follows a CONNECT may be anything, whatever is answered.
                    Some(b"CONNECT") => return Err(TUNNEL),
                    Some(b"GET") => self.is_get = true,
                    Some(b"HEAD") => self.is_head = true,
                    Some(_) => {}
                    None => return Err(METHOD_UNKNOWN),
                }
                self.start_word(Part::TargetStart);
            }
            (Part::Method, byte) if is_token(byte) => self.keep(byte),
            _ => return Err(REQUEST_LINE),
        }
        Ok(1)
    }

    fn target(&mut self, first: u8, rest: &[u8], rules: &HeadRules) -> Result<usize, Refusal> {
        match (self.part, first) {
            (Part::TargetStart, b'/') => self.part = Part::Path,
            (Part::TargetStart, b'*') => self.part = Part::Asterisk,
            (Part::TargetStart | Part::Scheme, byte) if byte.is_ascii_alphabetic() || matches!(byte, b':' | b'/') => {
                self.part = Part::Scheme;
                self.keep(byte.to_ascii_lowercase());
                match self.word() {
                    Some(b"http://" | b"https://") => self.part = Part::Authority,
                    Some(word) if b"https://".starts_with(word) || b"http://".starts_with(word) => {}
                    Some(word) if word.ends_with(b"://") => {
                        return Err(bad("scheme", "The scheme is http or https"));
                    }
                    Some(_) => {}
                    None => return Err(PathError::NotAbsolute.into()),
                }
            }
            (Part::Authority, b'/' | b'?' | b' ') => {
                if canonical_host(&self.kept).is_none() {
                    return Err(HOST);
                }
                self.kept.clear();
                match first {
                    b'/' => self.part = Part::Path,
                    b'?' => self.part = Part::Query,
                    _ => self.start_word(Part::Version),
                }
            }
            (Part::Authority, byte) if is_path(byte) && self.kept.len() < AUTHORITY => self.kept.push(byte),
            (Part::Authority, byte) if is_path(byte) => return Err(HOST),
            (Part::Path | Part::Query | Part::Asterisk, b' ') => {
                if std::str::from_utf8(&self.kept).is_err() {
                    return Err(TARGET);
                }
                self.start_word(Part::Version);
            }
            (Part::Path, b'?') => {
                self.part = Part::Query;
                return self.target_run(first, rest.get(..1).unwrap_or_default(), |_| true);
            }
            (Part::Path | Part::Query, byte) if byte >= 0x80 && rules.paths == PathPolicy::Tolerant => {
                self.kept.push(byte);
            }
            (Part::Path, _) => return self.target_run(first, rest, is_path),
            (Part::Query, _) => return self.target_run(first, rest, is_query),
            (Part::Scheme, b' ') => return Err(PathError::NotAbsolute.into()),
            (Part::TargetStart | Part::Scheme, byte) if is_path(byte) => return Err(PathError::NotAbsolute.into()),
            (_, byte) => return Err(target_fault(byte)),
        }
        Ok(1)
    }

    fn target_run(&mut self, first: u8, rest: &[u8], is_in: impl Fn(u8) -> bool) -> Result<usize, Refusal> {
        match run(rest, is_in) {
            0 => Err(target_fault(first)),
            length => {
                // Between two bytes over 127 it matters where they stand.
                if !self.kept.is_empty() {
                    self.kept.extend_from_slice(rest.get(..length).unwrap_or_default());
                }
                Ok(length)
            }
        }
    }

    fn version(&mut self, first: u8, rest: &[u8]) -> Result<usize, Refusal> {
        const USUAL: &[u8] = b"HTTP/1.1\r\n";
        if self.word_length == 0 && rest.starts_with(USUAL) {
            self.part = Part::LineStart;
            return Ok(USUAL.len());
        }
        match (self.part, first) {
            (Part::RequestLf, b'\n') => self.part = Part::LineStart,
            (Part::Version, b'\r') => match self.word() {
                Some(b"HTTP/1.1") => self.part = Part::RequestLf,
                Some(b"HTTP/1.0") => (self.part, self.http_10) = (Part::RequestLf, true),
                Some(_) | None => return Err(REQUEST_LINE),
            },
            (Part::Version, b'\n') => return Err(if self.word_length == 8 { LINE_ENDING } else { REQUEST_LINE }),
            (Part::Version, byte) => {
                self.keep(byte);
                match self.word() {
                    Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
                        if major.is_ascii_digit() && minor.is_ascii_digit() =>
                    {
                        if (*major, matches!(minor, b'0' | b'1')) != (b'1', true) {
                            return Err(VERSION);
                        }
                    }
                    Some([b'H', b'T', b'T', b'P', b'/', major, b'.']) if major.is_ascii_digit() => {}
                    Some([b'H', b'T', b'T', b'P', b'/', major]) if major.is_ascii_digit() => {}
                    Some(word) if b"HTTP/".starts_with(word) => {}
                    Some(_) | None => return Err(REQUEST_LINE),
                }
            }
            _ => return Err(LINE_ENDING),
        }
        Ok(1)
    }

    // ----------------------------------------------------------------------------------------------------------- fields

    fn name(&mut self, first: u8, rest: &[u8]) -> Result<usize, Refusal> {
        match (self.part, first) {
            (Part::LineStart, b'\r') => self.part = Part::EndLf,
            (Part::LineStart, b'\n') => return Err(LINE_ENDING),
            (Part::LineStart, b' ' | b'\t') if self.lines > 0 => return Err(HEADER_FOLD),
            (Part::LineStart, byte) if is_token(byte) => {
                self.lines += 1;
                if self.lines > MAX_HEADER_LINES {
                    return Err(HEAD_TOO_LARGE);
                }
                self.start_word(Part::Name);
                return self.name_run(rest);
            }
            (Part::Name, byte) if is_token(byte) => return self.name_run(rest),
            (Part::Name, b':') => {
                self.field = self.field()?;
                self.start_word(Part::ValueStart);
                // Nearly always there is one space.
                return Ok(if rest.get(1) == Some(&b' ') { 2 } else { 1 });
            }
            _ => return Err(HEADER_NAME),
        }
        Ok(1)
    }

    fn name_run(&mut self, rest: &[u8]) -> Result<usize, Refusal> {
        let length = run(rest, is_token);
        let room = self.word.get_mut(self.word_length..).unwrap_or_default();
        let kept = length.min(room.len());
        if let (Some(room), Some(name)) = (room.get_mut(..kept), rest.get(..kept)) {
            room.copy_from_slice(name);
            room.make_ascii_lowercase();
        }
        self.word_length += length;
        Ok(length)
    }

    /// Which field a name means. Those that frame the message come once.
    fn field(&mut self) -> Result<Field, Refusal> {
        Ok(match self.word() {
            Some(b"host") if self.has_host => return Err(HOST),
            Some(b"host") => {
                self.has_host = true;
                Field::Other
            }
            Some(b"content-length") if self.content_length.is_some() => return Err(CONTENT_LENGTH),
            Some(b"content-length") => Field::ContentLength,
            Some(b"transfer-encoding") if self.is_chunked => return Err(TRANSFER_ENCODING),
            Some(b"transfer-encoding") => Field::TransferEncoding,
            Some(b"upgrade") => Field::Upgrade,
            Some(_) | None => Field::Other,
        })
    }

    fn value(&mut self, first: u8, rest: &[u8]) -> Result<usize, Refusal> {
        match (self.part, first) {
            (Part::ValueStart, b' ' | b'\t') => {}
            (Part::ValueStart | Part::Value, b'\r') => {
                self.conclude()?;
                self.part = Part::ValueLf;
            }
            (Part::ValueLf, b'\n') => self.part = Part::LineStart,
            (Part::ValueLf, _) | (_, b'\n') => return Err(LINE_ENDING),
            _ => {
                self.part = Part::Value;
                let length = value_run(rest);
                if length == 0 {
                    return Err(HEADER_CONTROL);
                }
                if self.field != Field::Other {
                    for byte in rest.iter().take(length) {
                        self.keep(byte.to_ascii_lowercase());
                        if !matches!(byte, b' ' | b'\t') {
                            self.word_end = self.word_length;
                        }
                    }
                }
                // The end of the line at once, where it is there: there is one to every field.
                if rest.get(length..).is_some_and(|after| after.starts_with(b"\r\n")) {
                    self.conclude()?;
                    self.part = Part::LineStart;
                    return Ok(length + 2);
                }
                return Ok(length);
            }
        }
        Ok(1)
    }

    /// Judges the value of a field that frames the message.
    fn conclude(&mut self) -> Result<(), Refusal> {
        let value = self.word.get(..self.word_end);
        match self.field {
            Field::Other => {}
            Field::ContentLength => {
                let digits = value.filter(|digits| (1..=19).contains(&digits.len()));
                let length = digits.and_then(|digits| {
                    digits.iter().try_fold(0_u64, |length, digit| {
                        let digit = char::from(*digit).to_digit(10)?;
                        length.checked_mul(10)?.checked_add(u64::from(digit))
                    })
                });
                self.content_length = Some(length.ok_or(CONTENT_LENGTH)?);
            }
            Field::TransferEncoding => {
                if value != Some(b"chunked") || self.http_10 {
                    return Err(TRANSFER_ENCODING);
                }
                self.is_chunked = true;
            }
            Field::Upgrade => self.websocket |= value == Some(b"websocket"),
        }
        Ok(())
    }

    fn complete(&mut self, length: usize) -> Result<Read, Refusal> {
        // HTTP/1.0 has none. Whether we serve such a request is not a matter of framing.
        if !self.has_host && !self.http_10 {
            return Err(HOST);
        }
        let body = match (self.content_length, self.is_chunked) {
            (Some(_), true) => return Err(LENGTH_AND_CODING),
            (Some(length), false) => Body::Length(length),
            (None, true) => Body::Chunked,
            (None, false) => Body::Length(0),
        };
        let websocket = self.websocket && self.is_get && !self.http_10;
        Ok(Read::Complete { length, body, websocket })
    }

    // ------------------------------------------------------------------------------------------------------------ words

    fn start_word(&mut self, part: Part) {
        (self.part, self.word_length, self.word_end) = (part, 0, 0);
    }

    fn keep(&mut self, byte: u8) {
        if let Some(place) = self.word.get_mut(self.word_length) {
            *place = byte;
        }
        self.word_length += 1;
    }

    /// The word, if it was short enough to be kept whole.
    fn word(&self) -> Option<&[u8]> {
        self.word.get(..self.word_length)
    }
}

/// Why a byte cannot stand in a target.
fn target_fault(byte: u8) -> Refusal {
    match byte {
        b' ' | b'\r' | b'\n' => REQUEST_LINE,
        b'#' => PathError::Fragment.into(),
        0x80.. => PathError::NotAscii.into(),
        0..=0x1f | 0x7f => PathError::Control.into(),
        _ => TARGET,
    }
}
